"""The wheel holds every fact, and runs without the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import gpuplan

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("gpu_db", "catalog", "optimizer", "gpuplan")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built by the same backend that pip uses."""
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)], cwd=ROOT, check=True)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the wheel's files lie, away from the checkout."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def run(folder: Path, *argv: str) -> str:
    """Run the program from the unpacked wheel, outside the checkout."""
    done = subprocess.run(
        [sys.executable, "-m", "gpuplan", *argv],
        cwd=folder.parent,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def in_checkout(pattern: str) -> set[str]:
    """Files of the four packages that are no byte code."""
    return {
        file.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for file in (ROOT / package).rglob(pattern)
        if file.is_file() and "__pycache__" not in file.parts
    }


def test_every_file_of_the_packages_is_in_the_wheel(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    assert in_checkout("*") <= held
    assert {"gpu_db/data/offers.csv", "catalog/data/models/index.json"} <= held


def test_the_wheel_holds_nothing_else(wheel: Path) -> None:
    foreign = [name for name in zipfile.ZipFile(wheel).namelist() if not name.startswith((*PACKAGES, "gpuplan-"))]
    assert not foreign


def test_the_wheel_is_marked_as_typed(wheel: Path) -> None:
    held = zipfile.ZipFile(wheel).namelist()
    assert all(f"{package}/py.typed" in held for package in PACKAGES)


def test_both_names_start_the_same_program(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (entry,) = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
        lines = archive.read(entry).decode().split()
    assert lines.count("gpuplan.__main__:main") == 2
    assert {"plan", "gpuplan"} <= set(lines)


def test_the_unpacked_wheel_knows_its_models_and_gpus(unpacked: Path) -> None:
    assert run(unpacked, "--version") == f"gpuplan {gpuplan.__version__}\n"
    assert len(json.loads(run(unpacked, "models", "--json"))) > 100
    assert len(json.loads(run(unpacked, "gpus", "--json"))) > 100


def test_the_unpacked_wheel_plans(unpacked: Path) -> None:
    assert json.loads(run(unpacked, "--model", "llama-3.1-8b", "--min-tps", "100", "--json"))["status"] == "optimal"


def test_the_version_has_one_home() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" in project["project"]["dynamic"]
    assert project["tool"]["hatch"]["version"]["path"] == "gpuplan/__init__.py"


def test_every_data_folder_that_plans_rest_on_enters_the_fingerprint() -> None:
    from gpuplan.planning import data_files

    data = {name for name in in_checkout("*") if "data" in Path(name).parts[:-1] and not name.startswith("gpuplan/")}
    assert {file.relative_to(ROOT).as_posix() for file in data_files()} == data


def test_the_fingerprint_changes_with_the_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from gpuplan import planning

    (tmp_path / "gpu_db" / "data").mkdir(parents=True)
    file = tmp_path / "gpu_db" / "data" / "offers.csv"
    monkeypatch.setattr(planning, "ROOT", tmp_path)
    file.write_text("1.99")
    before = planning.data_fingerprint()
    assert planning.data_fingerprint() == before
    file.write_text("2.99")
    assert planning.data_fingerprint() != before
