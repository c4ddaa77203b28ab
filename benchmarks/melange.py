"""Mélange's problem solved by us and by its own program (PuLP with CBC), in turn, in one run: cost and time as ratios.

    python benchmarks/melange.py [CASES.json] [--seconds 30]

Without a file the sample in `tests/oracles/melange_sample.json` is read. Mélange (arXiv:2404.14527) cuts each bucket
into slices and gives each slice one binary per GPU; the program is written here again as published, with throughputs
of 0 as no choice (its own code divides by them). `pip install pulp` for its side; without it only ours is timed.
"""

from __future__ import annotations

import argparse
import json
import runpy
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

SAMPLE = ROOT / "tests" / "oracles" / "melange_sample.json"
AS_FLEET = ROOT / "tests" / "optimizer" / "fleet" / "melange.py"
NO_THROUGHPUT = 1e-6


def slices_of(case: dict) -> list[tuple[dict[str, float], float]]:
    """(load on each GPU, share of the bucket) of each slice; buckets that no GPU serves are left out."""
    found = []
    for row, weights in enumerate(case["workload_distribution"]):
        for place, weight in enumerate(weights):
            rates = {name: gpu["tputs"][row][place] for name, gpu in case["gpu_info"].items()}
            served = {name: rate for name, rate in rates.items() if rate > NO_THROUGHPUT}
            demand = case["total_request_rate"] * weight / case["slice_factor"]
            if demand and served:
                found += [({name: demand / rate for name, rate in served.items()}, demand)] * case["slice_factor"]
    return found


def melange(case: dict, seconds: float) -> tuple[float | None, float]:
    """Cost by Mélange's own program, and its seconds; None when time ran out first."""
    import pulp

    began = time.perf_counter()
    problem = pulp.LpProblem("melange", pulp.LpMinimize)
    gpus = case["gpu_info"]
    count = {name: pulp.LpVariable(f"y_{number}", 0, cat="Integer") for number, name in enumerate(gpus)}
    load = {name: [] for name in gpus}
    for number, (loads, _) in enumerate(slices_of(case)):
        chosen = {name: pulp.LpVariable(f"x_{number}_{place}", cat="Binary") for place, name in enumerate(loads)}
        problem += pulp.lpSum(chosen.values()) == 1
        for name, one in chosen.items():
            load[name].append(loads[name] * one)
    for name in gpus:
        problem += pulp.lpSum(load[name]) <= count[name]
    problem += pulp.lpSum(gpus[name]["cost"] * count[name] for name in gpus)
    problem.solve(pulp.PULP_CBC_CMD(msg=False, timeLimit=seconds))
    spent = time.perf_counter() - began
    solved = problem.sol_status == pulp.LpSolutionOptimal
    return (float(pulp.value(problem.objective)) if solved else None), spent


def ours(case: dict, seconds: float) -> tuple[float, float, str]:
    """Cost, seconds and status by the fleet solver, the building of the problem included."""
    from optimizer.fleet.solve import solve_fleet

    as_fleet = runpy.run_path(str(AS_FLEET))["as_fleet"]  # some installed package may be called tests, too
    began = time.perf_counter()
    solution = solve_fleet(as_fleet(case), gap=0.0, time_limit_seconds=seconds)
    return solution.cost_micro_usd / 1e6, time.perf_counter() - began, str(solution.status)


def main(arguments: Sequence[str] | None = None) -> None:
    """One line per case, then the medians."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("cases", nargs="?", type=Path, default=SAMPLE)
    parser.add_argument("--seconds", type=float, default=30.0, help="time limit of each solver")
    asked = parser.parse_args(arguments)
    cases = json.loads(asked.cases.read_text())["cases"]
    ours(cases[0], asked.seconds)  # loads the solvers
    try:
        import pulp  # noqa: F401
    except ImportError:
        sys.exit("pip install pulp, to compare with Mélange's own program")
    ratios, spent = [], []
    for case in cases:
        cost, mine, status = ours(case, asked.seconds)
        theirs, seconds = melange(case, asked.seconds)
        ratios.append(seconds / mine)
        spent.append((mine, seconds))
        other = "no answer" if theirs is None else f"{theirs:10.3f}"
        print(
            f"{case['id']:12} {cost:10.3f} ({status})  Melange {other}  "
            f"{mine:7.3f} s  {seconds:7.3f} s  x{ratios[-1]:.2f}"
        )
    mine, others = zip(*spent, strict=True)
    print(
        f"ours: median {statistics.median(mine):.3f} s, worst {max(mine):.3f} s; Melange's: median "
        f"{statistics.median(others):.3f} s, worst {max(others):.3f} s; median ratio {statistics.median(ratios):.2f}"
    )


if __name__ == "__main__":
    main()
