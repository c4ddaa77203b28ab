"""Every number that a docstring shows is what the function gives."""

from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("gpu_db", "catalog", "optimizer", "gpuplan")


def shown() -> list[str]:
    """Modules whose docstrings hold an example."""
    files = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
    with_examples = [file.relative_to(ROOT).with_suffix("") for file in files if ">>> " in file.read_text()]
    return [".".join(name.parts).removesuffix(".__init__") for name in with_examples]


@pytest.mark.parametrize("module", shown())
def test_examples_in_docstrings_hold(module: str) -> None:
    result = doctest.testmod(import_module(module))
    assert result.attempted
    assert not result.failed
