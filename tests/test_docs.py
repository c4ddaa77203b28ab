"""The docs are not older than the program, and every link leads somewhere."""

from __future__ import annotations

import doctest
import io
import re
import shlex
import stat
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

import gpuplan
from gpuplan.cli import app

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
DUE = "run `python docs/refresh.py`"


@pytest.fixture(scope="module")
def refresh() -> ModuleType:
    """docs/refresh.py as a module."""
    spec = spec_from_file_location("refresh", ROOT / "docs" / "refresh.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shell_lines(page: Path) -> list[str]:
    """Commands in a page's bash blocks."""
    blocks = re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


def test_what_is_generated_in_the_docs_is_what_the_program_says(refresh: ModuleType) -> None:
    for page, text in refresh.pages().items():
        assert page.read_text(encoding="utf-8") == text, f"{page.name}: {DUE}"


def test_readmes_first_command_asks_the_question_whose_answer_it_shows(refresh: ModuleType) -> None:
    assert shell_lines(ROOT / "README.md")[0].endswith(f"/plan {shlex.join(refresh.QUESTION)}")


def test_ci_runs_readmes_test_command() -> None:
    ci = ROOT / ".ci" / "run"
    assert ci.stat().st_mode & stat.S_IXUSR
    assert ci.read_text().splitlines()[-1] == shell_lines(ROOT / "README.md")[1]


def test_readme_fits_a_screen() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 72


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_relative_link_leads_to_a_file(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_command_in_the_docs_can_be_typed(page: Path) -> None:
    """Each `plan ...` line is read by the real options; nothing is run."""
    for line in shell_lines(page):
        words = shlex.split(line.split("|")[0].split(">")[0])
        if words[0] == "plan":
            app.understand(words[1:])


def test_every_example_in_the_help_can_be_typed() -> None:
    for name in [*app.command_names(), app.MAIN_JOB]:
        for example in app.load(name).EXAMPLES:
            words = shlex.split(example.split(">")[0])
            assert app.understand(words[1:])[0] == name


def test_every_python_block_compiles() -> None:
    for page in PAGES:
        for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            compile(block, str(page), "exec")


def test_every_python_session_prints_what_it_shows() -> None:
    """Sessions of one page follow each other, as they are read."""
    for page in PAGES:
        sessions = re.findall(r"```pycon\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
        told = doctest.DocTestParser().get_doctest("\n".join(sessions), {}, page.name, str(page), 0)
        report = io.StringIO()
        assert not doctest.DocTestRunner().run(told, out=report.write).failed, report.getvalue()


def test_python_md_names_everything_that_the_package_hands_out() -> None:
    told = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    assert [name for name in gpuplan.__all__ if getattr(gpuplan, name).__name__ not in told] == []


def test_the_field_words_have_one_meaning_each() -> None:
    rows = re.findall(r"^\| ([^|]+) \|", (ROOT / "docs" / "concepts.md").read_text(encoding="utf-8"), re.MULTILINE)
    words = [row.strip() for row in rows]
    assert len(words) == len(set(words))
    assert {"TTFT", "TPOT", "replica", "offer", "relaxation"} <= set(words)
