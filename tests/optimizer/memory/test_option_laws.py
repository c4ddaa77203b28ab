"""Laws of what is added to a model: parts add up, nothing is free, and what is shared or left out only helps."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.find import find_model
from gpu_db.query import find_gpu
from optimizer.engines.find import find_engine
from optimizer.memory.adapters import Adapters
from optimizer.memory.lengths import Lengths
from optimizer.memory.speculation import Speculation
from optimizer.memory.vram import MemoryColumns, MemorySettings, measure_memory
from optimizer.replica_columns import ReplicaColumns

MODEL = find_model("meta-llama/Llama-3.1-8B-Instruct")
DRAFTS = [None, Speculation("ngram", 3), Speculation("draft_model", 3, find_model("meta-llama/Llama-3.2-1B-Instruct"))]
GIB = 1 << 30

SETTINGS = st.builds(
    MemorySettings,
    max_model_len=st.just(32768),
    tokens_per_request=st.integers(1, 32768),
    enforce_eager=st.booleans(),
    speculation=st.sampled_from(DRAFTS),
    adapters=st.none() | st.builds(Adapters, rank=st.integers(1, 256), loaded=st.integers(1, 16)),
    offload_bytes=st.integers(0, 20 * GIB),
    shared_prefix_tokens=st.integers(0, 40000),
    occupied_bytes=st.integers(0, 10 * GIB),
    memory_utilization=st.floats(0.2, 1.0),
)


def measured(
    how: MemorySettings, engine: str = "vllm", tensor_parallel: int = 1, pipeline_parallel: int = 1
) -> MemoryColumns:
    one = np.array([1])
    degrees = (one * tensor_parallel, one * pipeline_parallel, one, one, one, one * tensor_parallel * pipeline_parallel)
    rows = ReplicaColumns((find_gpu("H100 SXM 80GB"),), 0 * one, *degrees, one * 450e9, one == 1, one * np.nan)
    return measure_memory(MODEL, find_engine(engine), rows, "bf16", how, np.array([64]))


@given(how=SETTINGS, tensor_parallel=st.sampled_from([1, 2, 4, 8]), pipeline_parallel=st.sampled_from([1, 2]))
@settings(max_examples=60, deadline=None)
def test_parts_of_the_budget_add_up_to_it(how: MemorySettings, tensor_parallel: int, pipeline_parallel: int) -> None:
    memory = measured(how, "vllm", tensor_parallel, pipeline_parallel)
    parts = memory.weight_bytes[0] + memory.adapter_bytes[0] + memory.non_torch_bytes[0]
    parts += memory.activation_bytes[0, 0] + memory.graph_bytes[0, 0] + memory.kv_pool_bytes[0, 0]
    assert parts == pytest.approx(memory.budget_bytes[0], abs=2)
    assert 0 <= memory.draft_bytes[0] <= memory.weight_bytes[0] + memory.offloaded_bytes[0]
    assert memory.fits[0, 0] <= memory.starts[0, 0]


@given(how=SETTINGS, engine=st.sampled_from(["vllm", "sglang", "tensorrt-llm"]))
@settings(max_examples=60, deadline=None)
def test_what_is_added_never_makes_room(how: MemorySettings, engine: str) -> None:
    with_all = measured(how, engine)
    for field in ("speculation", "adapters"):
        without = measured(replace(how, **{field: None}), engine)
        assert with_all.kv_pool_bytes[0, 0] <= without.kv_pool_bytes[0, 0]
        assert with_all.requests_capacity[0, 0] <= without.requests_capacity[0, 0]


@given(how=SETTINGS, more=st.integers(1, 4096))
@settings(max_examples=60, deadline=None)
def test_sharing_and_offloading_more_never_holds_less(how: MemorySettings, more: int) -> None:
    shared = replace(how, shared_prefix_tokens=how.shared_prefix_tokens + more)
    assert measured(shared).requests_capacity[0, 0] >= measured(how).requests_capacity[0, 0]
    # the first bytes that move bring a buffer for the layer that streams; from then on each one counts
    started = replace(how, offload_bytes=max(how.offload_bytes, 1))
    offloaded = replace(started, offload_bytes=started.offload_bytes + more * 2**20)
    assert measured(offloaded).kv_pool_bytes[0, 0] >= measured(started).kv_pool_bytes[0, 0]


@given(tokens=st.integers(16, 16384))
@settings(max_examples=40, deadline=None)
def test_one_length_is_no_distribution(tokens: int) -> None:
    plain = MemorySettings(32768, tokens)
    alike = replace(plain, lengths=Lengths((tokens,), (2.0,)))
    assert measured(alike).requests_capacity[0, 0] == measured(plain).requests_capacity[0, 0]
