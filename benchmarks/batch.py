"""How many rows per second `plan batch` answers, and where their time goes.

    python benchmarks/batch.py [--rows 1000] [--jobs 2] [--seed 7] [--table models.csv] [--profile] [--kills 20]

The table is generated: row after row the next of all bundled models, with a random request (128 to 16k tokens in,
64 to 2k out), one of the three kinds of demand, and with chance limits of TTFT, TPOT, budget and GPUs, written in
the units and spellings that people use. Demands are small for one model and large for another, so that some rows
fit nowhere. Wall and CPU time of the whole run are reported (all processes), since other work may share the
machine; `--profile` solves the first 60 rows in this process under cProfile and prints the CPU time of each part of
a question. `--kills` runs the table once undisturbed, then again, ended so many times by SIGKILL at random moments and
resumed, and compares both outputs byte for byte.
"""

from __future__ import annotations

import argparse
import csv
import io
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

PROFILED = 60
PARTS = {
    "finding the model": "find_model",
    "understanding the row": "question",
    "candidates (memory, speed)": "_collect",
    "requests that come at random": "under_arrivals",
    "pruning to columns": "prune",
    "the integer program": "solve_program",
    "why nothing fits": "relaxations_of",
    "audit": "audit",
    "writing the plan": "write_plan",
    "energy": "with_energy",
    "all": "answer",
}
"""What a question's time is told apart by -> the function that it is spent in (callees included)."""
HEADER = (
    "Model",
    "input tokens",
    "OSL",
    "min tps",
    "requests per minute",
    "users",
    "max TTFT",
    "TPOT (ms)",
    "budget",
    "max GPUs",
)


def table(rows: int, seed: int) -> str:
    """A table of questions over all bundled models, as CSV."""
    from catalog.find import bundled_models

    dice, models = random.Random(seed), [record.repo_id for record in bundled_models()]
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(HEADER)
    for number in range(rows):
        writer.writerow([models[number % len(models)], *_request(dice), *_demand(dice), *_limits(dice)])
    return out.getvalue()


def _request(dice: random.Random) -> list[str]:
    tokens = dice.choice([128, 256, 512, 1024, 2000, 4000, 8000, 16000])
    written = f"{tokens // 1000}k" if tokens % 1000 == 0 else f"{tokens:,}"
    return [written, str(dice.choice([64, 128, 256, 512, 1024, 2048]))]


def _demand(dice: random.Random) -> list[str]:
    kind = dice.randrange(3)
    rate = round(10 ** dice.uniform(1.5, 4.3))
    return [
        f"{rate} tok/s" if kind == 0 else "",
        str(round(10 ** dice.uniform(0.5, 3))) if kind == 1 else "",
        str(round(10 ** dice.uniform(0, 2.7))) if kind == 2 else "",
    ]


def _limits(dice: random.Random) -> list[str]:
    return [
        dice.choice(["", "", "500 ms", "2s", "5 s"]),
        dice.choice(["", "", "25", "50", "100"]),
        dice.choice(["", "", "$5/h", "$20/h", "36,500 USD/month", "100"]),
        dice.choice(["", "", "", "8", "64"]),
    ]


def started(questions: Path, out: Path, jobs: int) -> subprocess.Popen[bytes]:
    """`plan batch` on a table, begun or continued."""
    words = [sys.executable, "-m", "gpuplan", "batch", str(questions), "--out", str(out), "--jobs", str(jobs)]
    return subprocess.Popen([*words, "--resume"], cwd=Path(__file__).resolve().parent.parent)


def run(questions: Path, out: Path, jobs: int) -> tuple[float, float]:
    """Wall and CPU seconds of `plan batch` on a table."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.monotonic()
    if started(questions, out, jobs).wait():
        raise SystemExit("plan batch did not end well")
    wall = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def kill_and_resume(questions: Path, folder: Path, rows: int, jobs: int, kills: int, seed: int) -> None:
    """Print whether a run that was killed so many times ends in the bytes of one that nobody disturbed."""
    whole, out, dice = folder / "plans.csv", folder / "killed.csv", random.Random(seed)
    moments = sorted(dice.sample(range(1, rows), kills))
    for moment in moments:
        process = started(questions, out, jobs)
        while process.poll() is None and written(out) < moment:
            time.sleep(0.02)
        time.sleep(dice.random())
        process.kill()
        process.wait()
        sys.stdout.write(f"  killed at {written(out):,} rows\n")
        sys.stdout.flush()
    if started(questions, out, jobs).wait():
        raise SystemExit("the last run did not end well")
    same = out.read_bytes() == whole.read_bytes()
    sys.stdout.write(f"killed {kills} times and resumed: {'the same bytes' if same else 'OTHER BYTES'}\n")


def written(out: Path) -> int:
    """Whole lines that an output holds."""
    return out.read_bytes().count(b"\n") if out.exists() else 0


def profile(questions: str) -> None:
    """Print what each part of the first questions takes, per row."""
    import cProfile
    import pstats
    from datetime import date

    from gpuplan.batch.desk import Desk
    from gpuplan.batch.errors import BadRow
    from gpuplan.batch.run import understood
    from gpuplan.batch.tables import read_table
    from gpuplan.cli.app import understand
    from gpuplan.cli.rows import RowReader

    job = understood(read_table(questions.encode(), "table"), ())
    reader = RowReader(job.columns, understand(["batch", "x"])[1])
    desk = Desk(today=date.today())
    desk.answer(reader.question(job.table.rows[0]))
    watch = cProfile.Profile(time.process_time)
    watch.enable()
    for row in job.table.rows[1 : PROFILED + 1]:
        try:
            desk.answer(reader.question(row))
        except BadRow:
            continue
    watch.disable()
    times: Counter[str] = Counter()
    for (_, _, function), (_, _, _, seconds, _) in pstats.Stats(watch).stats.items():  # type: ignore[attr-defined]
        times[function] = max(times[function], seconds)
    for part, function in PARTS.items():
        sys.stdout.write(f"  {part:28s} {1e3 * times[function] / PROFILED:7.1f} ms per row under the profiler\n")


def main() -> int:
    """Generate, run, report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--table", help="write the table here and leave")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--kills", type=int, default=0)
    asked = parser.parse_args()
    questions = table(asked.rows, asked.seed)
    if asked.table:
        Path(asked.table).write_text(questions, encoding="utf-8")
        return 0
    if asked.profile:
        profile(questions)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        place, out = Path(folder) / "models.csv", Path(folder) / "plans.csv"
        place.write_text(questions, encoding="utf-8")
        wall, cpu = run(place, out, asked.jobs)
        with out.open(encoding="utf-8", newline="") as file:
            statuses = Counter(row["status"] for row in csv.DictReader(file))
        if asked.kills:
            kill_and_resume(place, Path(folder), asked.rows, asked.jobs, asked.kills, asked.seed)
    sys.stdout.write(
        f"{asked.rows:,} rows, {asked.jobs} processes: {wall:.1f} s wall, {cpu:.1f} s CPU; "
        f"{asked.rows / wall:.1f} rows/s, {asked.rows / cpu:.1f} rows per CPU second, "
        f"{resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024:.0f} MiB in the largest process; "
        f"{dict(statuses)}\n"
    )
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    sys.exit(main())
