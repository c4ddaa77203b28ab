import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.find import find_model
from gpu_db.load import load_gpus
from optimizer.engines.find import find_engine
from optimizer.memory.pipelines import pipeline_stages, pipelines
from optimizer.memory.pools import PagePlans, lay_out_pages
from optimizer.memory.stages import cut_pools, lay_out_stages
from optimizer.replica_columns import ReplicaColumns


@given(st.integers(1, 130), st.lists(st.integers(1, 40), min_size=1, max_size=4, unique=True))
def test_every_layer_is_on_one_stage_of_each_pipeline(layers, depths):
    spans = pipelines(layers, tuple(depths))
    values = np.arange(1.0, layers + 1)
    for depth in depths:
        sums = spans.sums(range(layers), values)[spans.depth == depth]
        edges = np.cumsum([0, *pipeline_stages(layers, depth)])
        assert sums.tolist() == [values[a:b].sum() for a, b in itertools.pairwise(edges)]


def test_what_lies_behind_the_last_layer_is_on_the_last_stage_even_when_that_is_empty():
    assert pipelines(2, (1, 3)).sums([0, 1, 2, 7], [1, 2, 4, 8]).tolist() == [15, 1, 2, 12]


def test_only_stages_that_hold_alike_count_as_one():
    spans = pipelines(80, (1, 8))
    unlike, kind = spans.unlike(np.zeros((1, len(spans))))
    assert unlike == [0, 1, 2, 8]  # the whole; the first, one from the middle, the last
    assert kind.tolist() == [0, 1, 2, 2, 2, 2, 2, 2, 3]
    lighter = np.zeros((1, len(spans)))
    lighter[0, 5] = -1
    assert spans.unlike(lighter)[0] == [0, 1, 2, 5, 8]


@pytest.mark.parametrize("repo", ["Qwen/Qwen3-Next-80B-A3B-Instruct", "google/gemma-3-27b-it", "openai/gpt-oss-120b"])
@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_the_stages_left_out_hold_what_a_kept_one_holds(repo, engine):
    """Independent route: every stage of every depth on its own, as a model of one pipeline."""
    spec, made = find_model(repo), find_engine(engine)
    depths = np.array([1, 2, 3, 6, 8, 16])
    rows = replicas(depths)
    pages = lay_out_pages(spec, made, rows, "bf16", np.full(len(depths), 8192))
    stages = cut_pools(spec, rows, pages)
    for row, depth in enumerate(depths.tolist()):
        spans = pipelines(spec.layer_count, (depth,))
        every = np.vstack([pages.plans[0].block_bytes(spans), pages.plans[0].rates(spans)])
        mine = stages.row == row
        kept = np.vstack([stages.block_bytes[mine], stages.rates[:, mine]])
        assert {tuple(stage) for stage in every.T} == {tuple(stage) for stage in kept.T}
        assert stages.is_last[mine].sum() == 1
        assert mine.sum() <= depth


class Uneven:
    """A plan whose blocks differ from layer to layer although the layers' weights do not."""

    def block_bytes(self, spans):
        return spans.sums(range(spans.total), np.arange(1.0, spans.total + 1)).astype(np.int64)

    def rates(self, spans):
        return np.zeros((3, len(spans)))


def test_stages_that_cache_unlike_find_the_one_that_weighs_alike():
    spec, depths = find_model("Qwen/Qwen3-8B"), np.array([4, 1, 2])
    stages = lay_out_stages(spec, find_engine("vllm"), replicas(depths))
    rows = np.array([2, 0])
    pages = PagePlans((Uneven(),), np.zeros(2, dtype=np.int64), np.zeros(2, dtype=np.int64))
    pools = cut_pools(spec, replicas(depths[rows]), pages, stages.depths)
    at = pools.places(stages, rows)
    assert pools.row.tolist() == [0, 0, 1, 1, 1, 1]
    assert rows[pools.row].tolist() == stages.row[at].tolist()
    assert at.tolist() == [4, 5, 0, 1, 1, 2]
    assert len(set(pools.block_bytes.tolist())) == len(at)


def replicas(depths):
    ones = np.ones(len(depths), dtype=np.int64)
    return ReplicaColumns(
        gpus=(load_gpus()["H100 SXM 80GB"],),
        gpu=0 * ones,
        tensor_parallel=ones,
        pipeline_parallel=depths,
        data_parallel=ones,
        expert_parallel=ones,
        nodes=ones,
        gpus_per_node=depths,
        link_bytes_per_second=450e9 * ones,
        has_fast_links=ones.astype(bool),
        internode_bytes_per_second=np.full(len(depths), np.nan),
    )
