"""A report -> files: the format is what the name ends with."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gpuplan.reports import charts
from gpuplan.reports import workbook as spreadsheets
from gpuplan.reports.document import Report
from gpuplan.reports.errors import BadReport
from gpuplan.reports.markdown import markdown
from gpuplan.reports.page import html


def write_report(report: Report, path: str | Path) -> tuple[Path, ...]:
    """Write a report as .html, .md (its charts in a folder beside it) or .xlsx.

    Each file is replaced whole or not at all.

    Returns:
        The files that were written, the report first.

    Raises:
        BadReport: the name ends otherwise, a library of the format is not installed, or the place cannot be written.
    """
    place = Path(path)
    check_name(place)
    files = FORMATS[place.suffix.lower()](report, place)
    for file, content in files.items():
        _replace(file, content, file.parent != place.parent)
    return tuple(files)


def check_name(path: str | Path) -> None:
    """Refuse a name of no format, or of one that cannot be written here, before any work is done.

    Raises:
        BadReport: it is none, or its library is not installed.
    """
    ending = Path(path).suffix.lower()
    if ending not in FORMATS:
        raise BadReport(f"{str(path)!r} is no report: its name ends with {', '.join(FORMATS)}; print the .html as PDF.")
    LIBRARIES[ending]()


def _html(report: Report, place: Path) -> dict[Path, bytes]:
    return {place: html(report).encode("utf-8", "backslashreplace")}


def _markdown(report: Report, place: Path) -> dict[Path, bytes]:
    folder = place.with_name(f"{place.stem}_charts")
    text = markdown(report, quote(folder.name))
    drawn = [chart for section in report.sections for chart in section.charts]
    pictures = {folder / f"{chart.name}.png": charts.png(chart) for chart in drawn}
    return {place: text.encode("utf-8", "backslashreplace"), **pictures}


def _workbook(report: Report, place: Path) -> dict[Path, bytes]:
    return {place: spreadsheets.workbook(report)}


FORMATS: Mapping[str, Callable[[Report, Path], dict[Path, bytes]]] = {
    ".html": _html,
    ".md": _markdown,
    ".xlsx": _workbook,
}
LIBRARIES: Mapping[str, Callable[[], Any]] = {
    ".html": charts.library,
    ".md": charts.library,
    ".xlsx": spreadsheets.library,
}


def _replace(file: Path, content: bytes, own_folder: bool) -> None:
    beside = file.with_name(f"{file.name}.{os.getpid()}.new")
    try:
        if own_folder:
            file.parent.mkdir(exist_ok=True)
        beside.write_bytes(content)
        beside.replace(file)
    except (OSError, ValueError) as error:
        raise BadReport(f"{str(file)!r} cannot be written: {getattr(error, 'strerror', None) or error}.") from error
