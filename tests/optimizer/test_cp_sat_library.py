"""CP-SAT works without pandas, and with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent

SOLVE = """
model = cp_model.CpModel()
x = model.new_int_var(0, 10, "x")
model.add(x >= 3)
model.minimize(x)
solver = cp_model.CpSolver()
assert solver.solve(model) == cp_model.OPTIMAL
assert solver.value(x) == 3
"""
USE_SERIES = """
import pandas
series = model.new_int_var_series("y", pandas.Index(["a", "b"]), 0, 5)
model.add(series.sum() == 7)
assert solver.solve(model) == cp_model.OPTIMAL
assert isinstance(solver.values(series), pandas.Series)
assert solver.values(series).sum() == 7
"""


def run(code: str) -> str:
    """Run code in a fresh process; its output."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_solving_does_not_load_pandas() -> None:
    loaded = "import sys; print([name for name in sys.modules if name.split('.')[0] == 'pandas'])"
    assert run(f"from optimizer.cp_sat.library import cp_model\n{SOLVE}\n{loaded}") == "[]"


@pytest.mark.parametrize(
    "before",
    ["", "import pandas", "from ortools.sat.python import cp_model as theirs"],
    ids=["pandas later", "pandas before", "ortools before"],
)
def test_series_of_variables_work_whenever_pandas_is_loaded(before: str) -> None:
    run(f"{before}\nfrom optimizer.cp_sat.library import cp_model\n{SOLVE}\n{USE_SERIES}")


def test_pandas_itself_is_the_real_one_afterwards() -> None:
    code = "from optimizer.cp_sat.library import cp_model\nimport pandas\nprint(pandas.Series([1, 2]).sum())"
    assert run(code) == "3"
