"""The user's own machines and negotiated prices: a CSV file that nobody has checked -> Offers, or every problem in it.

Nothing in the file is guessed right: a price is a plain number of US dollars per hour for the whole machine ("3.20",
not "$3.20/h" or "3,20"), because a currency or a unit read wrongly is a wrong plan. See docs/data.md for the columns.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, cast

from gpu_db.errors import OfferFileError, UnknownGpu, nearest_names, shown
from gpu_db.gpu import Gpu
from gpu_db.machines import scaleup, topology_of_gpu
from gpu_db.offer import BILLINGS, Billing, Offer
from gpu_db.regions import region_classes
from gpu_db.tables import GIB, GIGA

REQUIRED_COLUMNS = ("provider", "instance_type", "gpu", "gpu_count", "price_usd_per_hour")
OPTIONAL_COLUMNS = (
    "region",
    "billing",
    "as_of",
    "available_count",
    "minimum_count",
    "vcpus",
    "memory_gib",
    "scaleup_domain_gpus",
    "link_gb_per_second",
    "internode_gb_per_second",
    "source",
    "notes",
)
COLUMNS = REQUIRED_COLUMNS + OPTIONAL_COLUMNS

LARGEST_FILE_BYTES = 5_000_000
MOST_ROWS = 10_000
MOST_PROBLEMS = 100
LONGEST_CELL = 500
LARGEST_PRICE_USD_PER_HOUR = 100_000
LARGEST_COUNT = 1_000_000
MOST_GPUS_PER_MACHINE = 1024

_FORMULA_STARTS = ("=", "+", "-", "@")  # what a spreadsheet would run when somebody opens a report with this text
_TEXT_COLUMNS = ("provider", "instance_type", "gpu", "region", "billing", "as_of", "source", "notes")

Cells = dict[str, str]


class _Problem(Exception):
    """One sentence about one place of the file."""


def read_offer_file(path: str | Path, find_gpu: Callable[[str], Gpu], known: Sequence[Offer]) -> tuple[Offer, ...]:
    """Return the offers of a user's file.

    Args:
        path: a CSV file with the columns COLUMNS, in any order; those of OPTIONAL_COLUMNS may be absent or empty.
        find_gpu: how a GPU's name is understood.
        known: bundled offers: a machine that is among them keeps its links, vCPUs and memory where the file is silent.

    Raises:
        OfferFileError: with one sentence for every problem of the file.
    """
    try:
        text, changed = _text_of(path)
        rows = list(_rows(text))
    except _Problem as problem:
        raise OfferFileError(path, [str(problem)]) from problem
    convert = _converters(find_gpu)
    machines = {_machine(offer.provider, offer.instance_type, offer.gpu, offer.gpu_count): offer for offer in known}
    offers: list[Offer] = []
    problems: list[str] = []
    for line, cells in rows:
        row_problems = list(_shape_problems(cells)) or list(_text_problems(cells))
        values = {} if row_problems else _values(cells, convert, row_problems)
        problems += [f"Line {line}: {problem}" for problem in row_problems]
        if not row_problems:
            offers.append(_offer(values, f"{Path(path).name} line {line}", changed, machines))
        if len(problems) >= MOST_PROBLEMS:
            problems.append(f"Reading stopped at line {line}, after {MOST_PROBLEMS} problems.")
            break
    problems += _duplicates(offers)
    if problems:
        raise OfferFileError(path, problems)
    return tuple(offers)


def _text_of(path: str | Path) -> tuple[str, date]:
    """Return the file's text and the day on which it was last changed."""
    try:
        size = Path(path).stat().st_size
        if size > LARGEST_FILE_BYTES:
            raise _Problem(f"It has {size:,} bytes; at most {LARGEST_FILE_BYTES:,} are read.")
        content = Path(path).read_bytes()
        changed = datetime.fromtimestamp(Path(path).stat().st_mtime, UTC).date()
    except (OSError, ValueError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or "not a path"
        raise _Problem(f"It cannot be read: {reason}.") from error
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise _Problem("It is encoded in UTF-16; save it as CSV UTF-8.")
    try:
        return content.decode("utf-8-sig"), changed
    except UnicodeDecodeError as error:
        raise _Problem(f"Byte {error.start} is not UTF-8 text; save it as CSV UTF-8.") from error


def _rows(text: str) -> Iterator[tuple[int, Cells]]:
    """Yield (line, cells by column) of every row that is not blank."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = _header(next(reader, []))
        count = 0
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            count += 1
            if count > MOST_ROWS:
                raise _Problem(f"It has more than {MOST_ROWS:,} rows.")
            named = {name: cell.strip() for name, cell in zip(header, cells, strict=False)}
            yield reader.line_num, named | ({"": f"{len(cells)}"} if len(cells) != len(header) else {})
    except csv.Error as error:
        raise _Problem(f"Line {reader.line_num} is not CSV: {error}.") from error
    if not count:
        raise _Problem("It has a header and no rows.")


def _header(cells: Sequence[str]) -> list[str]:
    names = [cell.strip().casefold() for cell in cells]
    if not any(names):
        raise _Problem(f"Its first line is empty; write the column names {', '.join(REQUIRED_COLUMNS)}.")
    if len(names) == 1 and re.search(r"[;\t]", names[0]):
        raise _Problem("Its columns are separated by semicolons or tabs; separate them by commas.")
    if len(names) > 4 * len(COLUMNS):
        raise _Problem(f"It has {len(names):,} columns; the known ones are {', '.join(COLUMNS)}.")
    sentences = [_unknown_column(name) for name in names if name not in COLUMNS][:5]
    sentences += [f"The column {name} stands twice." for name in COLUMNS if names.count(name) > 1]
    missing = [name for name in REQUIRED_COLUMNS if name not in names]
    if missing:
        sentences.append(f"It lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}.")
    if sentences:
        raise _Problem(" ".join(sentences))
    return names


def _unknown_column(name: str) -> str:
    near = nearest_names(name, COLUMNS, count=1)
    hint = f"did you mean {near[0]}?" if near else f"the known ones are {', '.join(COLUMNS)}."
    return f"It has an unknown column {shown(name)}: {hint}"


def _shape_problems(cells: Cells) -> Iterator[str]:
    if "" in cells:
        yield f"it has {cells['']} cells, the header has another number of columns; quote a cell that holds a comma."


def _text_problems(cells: Cells) -> Iterator[str]:
    for column, cell in cells.items():
        if len(cell) > LONGEST_CELL:
            yield f"{column} has {len(cell):,} letters; at most {LONGEST_CELL} are read."
        elif not cell.isprintable():
            yield f"{column} is {shown(cell)}, which holds control characters."
        elif column in _TEXT_COLUMNS and cell.startswith(_FORMULA_STARTS):
            yield f"{column} is {shown(cell)}; text may not begin with {cell[0]!r} (spreadsheets run it)."


def _converters(find_gpu: Callable[[str], Gpu]) -> Mapping[str, Callable[[str], Any]]:
    def gpu(cell: str) -> Gpu:
        try:
            return find_gpu(cell)
        except UnknownGpu as error:
            raise _Problem(f"is unknown: {error}") from error

    return {
        "provider": str,
        "instance_type": str,
        "gpu": gpu,
        "gpu_count": lambda cell: _whole(cell, 1, MOST_GPUS_PER_MACHINE),
        "price_usd_per_hour": lambda cell: _decimal(cell, LARGEST_PRICE_USD_PER_HOUR, "US dollars per hour"),
        "region": str,
        "billing": _billing,
        "as_of": _day,
        "available_count": lambda cell: _whole(cell, 0, LARGEST_COUNT),
        "minimum_count": lambda cell: _whole(cell, 1, LARGEST_COUNT),
        "vcpus": lambda cell: _decimal(cell, LARGEST_COUNT, "virtual CPUs"),
        "memory_gib": lambda cell: _decimal(cell, LARGEST_COUNT, "GiB"),
        "scaleup_domain_gpus": lambda cell: _whole(cell, 1, MOST_GPUS_PER_MACHINE),
        "link_gb_per_second": lambda cell: _decimal(cell, LARGEST_COUNT, "10^9 bytes per second, one direction"),
        "internode_gb_per_second": lambda cell: _decimal(cell, LARGEST_COUNT, "10^9 bytes per second, one direction"),
        "source": str,
        "notes": str,
    }


def _values(cells: Cells, convert: Mapping[str, Callable[[str], Any]], problems: list[str]) -> dict[str, Any]:
    """Return the converted cells that are not empty; add to `problems` what is wrong with the others."""
    values = {}
    for column, cell in cells.items():
        if cell:
            try:
                values[column] = convert[column](cell)
            except _Problem as problem:
                problems.append(f"{column} {problem}")
        elif column in REQUIRED_COLUMNS:
            problems.append(f"{column} is empty; it is required.")
    free = values.get("price_usd_per_hour") == 0 and values.get("billing") != "owned"
    if free:
        problems.append('price_usd_per_hour is 0; only a machine with billing "owned" may cost nothing.')
    return values


def _decimal(cell: str, largest: float, unit: str) -> float:
    """Return a plain decimal number from 0 to `largest`.

    >>> _decimal("3.20", 100, "US dollars per hour")
    3.2
    """
    if not re.fullmatch(r"\d{1,15}(\.\d{1,15})?", cell, re.ASCII) or float(cell) > largest:
        raise _Problem(f"is {shown(cell)}; write a plain number of {unit} from 0 to {largest:,}, such as 3.20.")
    return float(cell)


def _whole(cell: str, smallest: int, largest: int) -> int:
    if not re.fullmatch(r"\d{1,9}", cell, re.ASCII) or not smallest <= int(cell) <= largest:
        raise _Problem(f"is {shown(cell)}; write a whole number from {smallest} to {largest:,}.")
    return int(cell)


def _billing(cell: str) -> Billing:
    if cell.casefold() not in BILLINGS:
        raise _Problem(f"is {shown(cell)}; write one of {', '.join(BILLINGS)}.")
    return cast(Billing, cell.casefold())


def _day(cell: str) -> date:
    try:
        return date.fromisoformat(cell) if re.fullmatch(r"\d{4}-\d\d-\d\d", cell, re.ASCII) else _no_day(cell)
    except ValueError:
        return _no_day(cell)


def _no_day(cell: str) -> date:
    raise _Problem(f"is {shown(cell)}; write a date as YYYY-MM-DD.")


def _offer(
    values: Mapping[str, Any], place: str, changed: date, machines: Mapping[tuple[str, str, str, int], Offer]
) -> Offer:
    """Return the offer of a row; what the row leaves open comes from the bundled machine of that name, else its GPU."""
    gpu: Gpu = values["gpu"]
    provider, instance_type, gpu_count = values["provider"], values["instance_type"], values["gpu_count"]
    region, billing = values.get("region", "any"), values.get("billing", "on-demand")
    bundled = machines.get(_machine(provider, instance_type, gpu.name, gpu_count))
    domain, link = scaleup(topology_of_gpu(gpu), gpu_count)
    memory_gib = values.get("memory_gib")
    classes = region_classes(region)
    offer = Offer(
        offer_id=f"{provider}/{instance_type}/{gpu_count}x {gpu.name}/{region}/{billing}",
        provider=provider,
        instance_type=instance_type,
        gpu=gpu.name,
        gpu_count=gpu_count,
        region=region,
        region_class=classes[0] if len(classes) == 1 else "any",
        billing=billing,
        price_usd_per_hour=values["price_usd_per_hour"],
        as_of=values.get("as_of", changed),
        source=values.get("source", place),
        confidence="high",
        scaleup_domain_gpus=bundled.scaleup_domain_gpus if bundled else domain,
        link_bytes_per_second=bundled.link_bytes_per_second if bundled else link,
        internode_bytes_per_second=bundled.internode_bytes_per_second if bundled else None,
        available_count=values.get("available_count"),
        vcpus=values.get("vcpus", bundled.vcpus if bundled else None),
        memory_bytes=round(memory_gib * GIB) if memory_gib else (bundled.memory_bytes if bundled else None),
        notes=values.get("notes", ""),
        region_classes=classes,
        minimum_count=values.get("minimum_count", 1),
    )
    return replace(offer, **_stated_links(values))


def _machine(provider: str, instance_type: str, gpu: str, gpu_count: int) -> tuple[str, str, str, int]:
    return (provider.casefold(), instance_type.casefold(), gpu, gpu_count)


def _stated_links(values: Mapping[str, Any]) -> dict[str, Any]:
    stated: dict[str, Any] = {}
    if "scaleup_domain_gpus" in values:
        stated["scaleup_domain_gpus"] = values["scaleup_domain_gpus"]
    for column, attribute in _LINK_COLUMNS.items():
        if column in values:
            stated[attribute] = values[column] * GIGA or None
    return stated


_LINK_COLUMNS = {
    "link_gb_per_second": "link_bytes_per_second",
    "internode_gb_per_second": "internode_bytes_per_second",
}


def _duplicates(offers: Sequence[Offer]) -> Iterator[str]:
    counts = Counter(offer.offer_id.casefold() for offer in offers)
    for offer_id, count in counts.items():
        if count > 1:
            yield f"The machine {shown(offer_id)} stands {count} times; keep one row of it."
