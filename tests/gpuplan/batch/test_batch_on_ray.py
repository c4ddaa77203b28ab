"""The same table on a Ray cluster of this machine gives the same bytes."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is an optional extra: pip install 'gpuplan[ray]'")
TABLE = "model,min_tps\nllama-3.1-8b,300\nnonsense,1\nqwen3-8b,200\nllama-3.1-8b,300\n"
FAST = ("--gpu", "L4,A10G", "--quantization", "bf16")
ON_A_CLUSTER = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
try:
    from gpuplan.cli.app import main
    status = main(["batch", *sys.argv[1:], "--ray", cluster.address])
finally:
    cluster.shutdown()
sys.exit(status)
"""


def ran(*words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"}
    return subprocess.run([sys.executable, *words], cwd=ROOT, env=env, capture_output=True, text=True, check=False)


@needs_ray
@pytest.mark.slow
def test_a_cluster_answers_as_this_process_does(tmp_path: Path) -> None:
    table, here, there = tmp_path / "models.csv", tmp_path / "here.csv", tmp_path / "there.csv"
    table.write_text(TABLE)
    assert ran("-m", "gpuplan", "batch", str(table), "--out", str(here), *FAST).returncode == 0
    done = ran("-c", ON_A_CLUSTER, str(table), "--out", str(there), *FAST)
    assert done.returncode == 0, done.stderr
    assert there.read_bytes() == here.read_bytes()


def test_without_ray_there_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    from gpuplan.cli import app

    (tmp_path / "models.csv").write_text(TABLE)
    monkeypatch.setitem(sys.modules, "ray", None)
    assert app.main(["batch", str(tmp_path / "models.csv"), "--ray", "127.0.0.1:6379"]) == 2
    assert "pip install 'gpuplan[ray]'" in capsys.readouterr().err
