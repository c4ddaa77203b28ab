"""Architectures against the engine's and the library's own classes: parameters, weights per rank, KV cache, states."""

import json
from pathlib import Path

import numpy as np
import pytest

from catalog.read import read_config
from catalog.sizes import total_parameters
from optimizer.engines.find import find_engine
from optimizer.memory.page_groups import plan_pages
from optimizer.memory.pipelines import pipelines
from optimizer.memory.weights import Division, weights_by_stage

TRUTHS = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((Path(__file__).parents[2] / "oracles" / "architectures").glob("*.json"))
}
ROWS = [(name, row) for name, truth in TRUTHS.items() for row in truth["rows"]]
VLLM = find_engine("vllm", "0.32.0")
CACHES = ("kv_bytes_per_token_full", "kv_bytes_per_token_window", "state_bytes_per_request")


def spec_of(name):
    return read_config(TRUTHS[name]["config"], repo_id=f"oracle/{name}")


def weights_of(spec, gpu, tensor_parallel):
    one = np.ones(1, dtype=np.int64)
    inner, hidden = VLLM.expert_padding(spec, gpu, served=False)
    division = Division(one * tensor_parallel, one, one, one * inner, one * hidden)
    return int(weights_by_stage(spec, division, pipelines(spec.layer_count, (1,)))[0, 0])


@pytest.mark.parametrize("name", [name for name, truth in TRUTHS.items() if truth["parameters"] is not None])
def test_parameters_equal_the_librarys_own_class(name):
    assert total_parameters(spec_of(name)) == TRUTHS[name]["parameters"]


@pytest.mark.parametrize(("name", "row"), ROWS, ids=[f"{name}-tp{row['tensor_parallel']}" for name, row in ROWS])
def test_weights_and_caches_equal_the_engines_own_classes(name, row, make_gpu):
    spec, gpu = spec_of(name), make_gpu()
    assert weights_of(spec, gpu, row["tensor_parallel"]) == pytest.approx(row["weight_bytes_rank0"], rel=0.0005)
    kv_format = spec.kv_cache_format or "bf16"
    plan = plan_pages(spec, row["tensor_parallel"], kv_format, VLLM.block_rule(spec, gpu, kv_format))
    ours = (plan.full_bytes_per_token, plan.window_bytes_per_token, plan.state_bytes_per_request)
    assert ours == tuple(row[kind] for kind in CACHES)
