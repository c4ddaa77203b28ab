"""Indexers with pooled keys beside recurrent states: groups and blocks as vLLM 0.32's own planner makes them."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from catalog.read import read_config
from optimizer.engines.find import find_engine
from optimizer.memory.page_groups import plan_pages
from optimizer.memory.pipelines import pipelines

ORACLES = Path(__file__).parents[2] / "oracles" / "architectures"
POOL_BYTES = 40 * 2**30
TRUTHS = [
    # name, TP, context, layers of each group, blocks of 40 GiB, requests of the whole context that they hold
    ("Glm5Next", 8, 1_048_576, [9, 9, 8, 8, 22, 11], 5771, 3.4933414043583535),
    ("Qwen4ExpPlain", 1, 262_144, [12, 12, 12, 12, 24], 1080, 6.171428571428572),
]


@pytest.mark.parametrize(("name", "ranks", "context", "layers", "blocks", "requests"), TRUTHS)
def test_groups_and_blocks_are_those_of_the_engines_own_planner(
    name, ranks, context, layers, blocks, requests, make_gpu
):
    config = json.loads((ORACLES / f"{name}.json").read_text(encoding="utf-8"))["config"]
    spec, vllm = read_config(config), find_engine("vllm", "0.32.0")
    plan = plan_pages(spec, ranks, "bf16", vllm.block_rule(spec, make_gpu(), "bf16"))
    assert Counter(len(group.layers) for group in plan.groups) == Counter(layers)
    pool = POOL_BYTES // int(plan.block_bytes(pipelines(spec.layer_count, (1,)))[0])
    assert pool == blocks
    need = plan.blocks(np.array([context]), np.array([8192]))[0]
    assert pool / need == pytest.approx(requests, rel=1e-12)
