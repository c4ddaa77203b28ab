"""The house keeps its walls: who may import whom, and where each foreign library lives."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("gpu_db", "catalog", "optimizer", "gpuplan")
MAY_IMPORT = {
    "gpu_db": {"gpu_db"},
    "catalog": {"catalog"},
    "optimizer": {"optimizer", "catalog", "gpu_db"},
    "gpuplan": {"gpuplan", "optimizer", "catalog", "gpu_db"},
}
HOMES = {
    "typer": ("gpuplan/cli/",),
    "rich": ("gpuplan/cli/",),
    "ortools": ("optimizer/cp_sat/",),
    "pandas": ("optimizer/cp_sat/library.py",),
    "huggingface_hub": ("catalog/huggingface.py",),
    "scipy": ("gpuplan/fitting/",),
    "gpuhunt": ("gpu_db/price_sources/gpuhunt_catalog.py",),
    "openpyxl": ("gpuplan/batch/tables.py",),
    "vl_convert": ("gpuplan/reports/charts.py",),
    "xlsxwriter": ("gpuplan/reports/workbook.py", "gpuplan/batch/spreadsheet.py"),
    "yaml": ("gpuplan/fleets/plain.py", "gpuplan/deploy/"),
}
THINKERS = ("numpy", "ortools", "pandas", "pydantic", "scipy", "huggingface_hub")
TELLS_THE_TIME = {"date.today", "datetime.now", "time.time", "datetime.today", "datetime.utcnow"}


@cache
def sources() -> list[Path]:
    return sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))


def name_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


@cache
def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute, so that one can see where they go"
            yield node.module or ""


@pytest.fixture(scope="module")
def imported() -> dict[str, set[str]]:
    """File -> the modules that it imports anywhere, function bodies included."""
    return {name_of(file): set(imports(tree_of(file))) for file in sources()}


@pytest.mark.parametrize("package", PACKAGES)
def test_no_arrow_goes_up(package: str, imported: dict[str, set[str]]) -> None:
    wrong = [
        f"{file} imports {module}"
        for file, modules in imported.items()
        for module in modules
        if file.startswith(f"{package}/")
        and module.split(".")[0] in PACKAGES
        and module.split(".")[0] not in MAY_IMPORT[package]
    ]
    assert not wrong


@pytest.mark.parametrize("library", HOMES)
def test_each_foreign_library_has_one_home(library: str, imported: dict[str, set[str]]) -> None:
    strangers = [
        file
        for file, modules in imported.items()
        if any(module.split(".")[0] == library for module in modules) and not file.startswith(HOMES[library])
    ]
    assert not strangers


def test_the_command_line_is_typers(imported: dict[str, set[str]]) -> None:
    """Typer is fixed by our user, and a well-kept library beats a parser of our own, even when it starts slower.

    Options are declared as typer functions (one command, one file), `--help` and docs/cli.md come from typer, and no
    module here builds an argparse parser of its own. The Python face never loads it. The 0.2 s that typer costs are
    paid for by CP-SAT without pandas; the goal stays 1.6 x the import of cp_model.
    """
    assert any("typer" in modules for file, modules in imported.items() if file.startswith("gpuplan/cli/"))
    assert not [file for file, modules in imported.items() if file.startswith("gpuplan/cli/") and "argparse" in modules]


def test_only_the_known_libraries_are_used(imported: dict[str, set[str]]) -> None:
    known = {*sys.stdlib_module_names, *PACKAGES, *HOMES, "numpy", "pydantic"}
    foreign = {module.split(".")[0] for modules in imported.values() for module in modules} - known
    assert not foreign


def test_package_files_re_export_nothing() -> None:
    """A package's face is its docstring; only `gpuplan` hands out names, lazily."""
    for file in sources():
        if file.name != "__init__.py" or name_of(file) == "gpuplan/__init__.py":
            continue
        assert len(tree_of(file).body) == 1, f"{name_of(file)} holds more than its docstring"
        assert ast.get_docstring(tree_of(file)), name_of(file)


FOUND_BY_FOLDER = {"architectures", "commands", "platforms", "price_sources"}
"""Folders of files that are all alike: a list would say what the folder says."""


def test_the_face_of_a_package_names_its_rooms() -> None:
    """Who opens a folder reads first what lies in it, in an order in which it can be read."""
    for folder in {file.parent for file in sources()}:
        if folder.name not in FOUND_BY_FOLDER:
            face = ast.get_docstring(tree_of(folder / "__init__.py")) or ""
            lists = re.findall(r"^    (\w+(?:, \w+)*)(?:  |$)", face, re.MULTILINE)
            named = [name for names in lists for name in names.split(", ")]
            rooms = {file.stem for file in folder.glob("*.py")} | {inner.parent.name for inner in folder.glob("*/*.py")}
            assert sorted(named) == sorted(rooms - {"__init__", "__main__"}), f"{name_of(folder)}/__init__.py"


def test_every_module_says_what_room_it_is() -> None:
    silent = [name_of(file) for file in sources() if not ast.get_docstring(tree_of(file))]
    assert not silent


def test_only_the_console_prints() -> None:
    """Thinkers return; `console` (and `app`, for help) writes. Tools that people run as modules may print."""
    talkers = [
        name_of(file)
        for file in sources()
        for node in ast.walk(tree_of(file))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in {"print", "sys.stdout.write", "sys.stderr.write"}
        and name_of(file) not in {"gpuplan/cli/console.py", "gpuplan/cli/app.py"}
        and "def main(" not in file.read_text()
    ]
    assert not talkers


def test_solving_reads_no_clock_and_no_network(imported: dict[str, set[str]]) -> None:
    for file, modules in imported.items():
        if file.startswith("optimizer/"):
            assert not modules & {"socket", "urllib", "urllib.request", "http.client", "requests"}, file
            calls = {ast.unparse(node.func) for node in ast.walk(tree_of(ROOT / file)) if isinstance(node, ast.Call)}
            assert not calls & TELLS_THE_TIME, file


def test_the_walls_of_this_test_can_be_felt() -> None:
    """The walk sees imports wherever they stand; a walk that saw nothing would pass everything above."""
    tree = ast.parse("def f():\n    import ortools.sat\n    from gpu_db.load import load_gpus\n")
    assert list(imports(tree)) == ["ortools.sat", "gpu_db.load"]


@pytest.mark.parametrize(
    ("argv", "allowed"),
    [
        (["--help"], []),
        (["gpus", "--help"], ["pydantic"]),
        (["models", "--help"], ["pydantic"]),
        (["models", "--json"], ["pydantic"]),
        (["--version"], ["pydantic"]),
        (["gpuz"], ["pydantic"]),
    ],
)
def test_what_needs_no_thinker_loads_none(argv: list[str], allowed: list[str]) -> None:
    """Typer itself reads values with pydantic; `plan --help` reads none."""
    code = (
        "import sys\nfrom gpuplan.cli.app import main\n"
        f"main({argv!r})\n"
        f"print([name for name in {THINKERS!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == str(allowed)


def test_importing_gpuplan_loads_nothing_until_a_name_is_asked_for() -> None:
    loaded = "print('pydantic' in sys.modules)"
    code = f"import sys, gpuplan; {loaded}; gpuplan.Requirements; {loaded}"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_tests_have_no_package_files() -> None:
    """`tests/gpu_db/__init__.py` would make pytest shadow the real package."""
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_test_files_have_unique_names() -> None:
    names = [file.name for file in (ROOT / "tests").rglob("test_*.py")]
    assert len(names) == len(set(names))
