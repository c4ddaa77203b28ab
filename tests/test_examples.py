"""Every example runs, and prints what it is there to show."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
SHOWN = {
    "service_levels.py": ["TPOT up to 200 ms:", "optimal", "USD/h"],
    "context_on_each_gpu.py": ["H100", "tokens"],
    "own_machines.sh": ["proven optimal", "1 x cellar dgx-h100 (8 x H100 SXM 80GB), eu, owned"],
    "fleet.sh": [
        "twenty services:",
        "19 of 19 services",
        "owned cellar (8 x H100 SXM 80GB)",
        "1 GPU cut into 7 x 1g.10gb",
        "commitments save",
        "2028-12",
    ],
    "report.sh": ["| USD in all after | 1 year |", "| reserved-1y |", "| bought, cash that has left |"],
    "deploy.sh": ["deploy/compose is what", "deploy/kubernetes is what", "--model meta-llama/Llama-3.3-70B-Instruct"],
    "cost_of_models.sh": ["openai/gpt-oss-120b optimal", "Qwen/Qwen3-32B optimal"],
}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A PATH on which `plan` and `python` are this interpreter's, as in an activated environment."""
    folder = tmp_path_factory.mktemp("bin")
    (folder / "python").symlink_to(sys.executable)
    plan = folder / "plan"
    plan.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m gpuplan "$@"\n')
    plan.chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}


def test_every_example_is_known_here_and_in_its_table() -> None:
    scripts = {file.name for file in EXAMPLES.iterdir() if file.suffix in {".py", ".sh"}}
    assert scripts == set(SHOWN)
    table = (EXAMPLES / "README.md").read_text()
    assert all(f"({name})" in table for name in scripts)


@pytest.mark.parametrize("name", SHOWN)
def test_an_example_runs(name: str, environment: dict[str, str]) -> None:
    program = [sys.executable] if name.endswith(".py") else ["bash"]
    done = subprocess.run(
        [*program, str(EXAMPLES / name)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    for words in SHOWN[name]:
        assert words in done.stdout
