"""What must hold for every shape, length and batch size."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.find import find_model
from gpu_db.query import find_gpu
from optimizer.engines.find import ENGINES, find_engine
from optimizer.memory.adapters import Adapters
from optimizer.memory.graphs import captured_sizes
from optimizer.memory.lengths import Lengths
from optimizer.memory.vram import MemorySettings, measure_memory
from optimizer.replica_columns import ReplicaColumns

MODELS = ("meta-llama/Llama-3.1-8B", "google/gemma-3-27b-it", "Qwen/Qwen3-Next-80B-A3B-Instruct",
          "deepseek-ai/DeepSeek-V2-Lite", "openai/gpt-oss-20b")  # fmt: skip
BATCHES = np.array([1, 8, 64, 512])


def rows_of(gpu, tp, pp=1):
    one = np.array([1])
    node = one * tp * pp
    return ReplicaColumns((find_gpu(gpu),), 0 * one, one * tp, one * pp, one, one, one, node, one * 4e11, one == 1,
                          one * np.nan)  # fmt: skip


def measured(model, engine="vllm", gpu="H100 SXM 80GB", tp=2, pp=1, kv="bf16", length=8192, tokens=1024, **more):
    settings_ = MemorySettings(length, tokens, **more)
    return measure_memory(find_model(model), find_engine(engine), rows_of(gpu, tp, pp), kv, settings_, BATCHES)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("model", MODELS)
def test_more_sequences_never_leave_more_room(engine, model):
    memory = measured(model, engine)
    for column in (memory.kv_pool_bytes, memory.requests_capacity, memory.longest_context, memory.kv_tokens):
        assert (np.diff(column[0]) <= 0).all()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("model", MODELS)
def test_an_fp8_cache_never_holds_fewer_requests_of_a_page_or_more(engine, model):
    # Recurrent states stay in 16 bit, so their pages count in larger blocks; a long request shows it least.
    wide, narrow = (measured(model, engine, kv=kv, length=32768, tokens=32768) for kv in ("bf16", "fp8"))
    assert (narrow.requests_capacity >= wide.requests_capacity).all()


@pytest.mark.parametrize("model", MODELS)
def test_a_pipeline_holds_at_least_what_its_poorest_stage_alone_would_leave(model):
    memory = measured(model, pp=2)
    parts = memory.weight_bytes + memory.non_torch_bytes + memory.activation_bytes[0] + memory.graph_bytes[0]
    assert memory.kv_pool_bytes[0] == pytest.approx(memory.budget_bytes - parts)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(MODELS),
    st.sampled_from(ENGINES),
    st.sampled_from([1, 2, 4, 8]),
    st.integers(1, 32768),
    st.integers(1, 32768),
)
def test_longer_requests_never_fit_in_greater_numbers(model, engine, tp, some, more):
    short, long = sorted((some, more))
    few = measured(model, engine, tp=tp, length=32768, tokens=long)
    many = measured(model, engine, tp=tp, length=32768, tokens=short)
    assert (few.requests_capacity <= many.requests_capacity).all()
    # What fits at the longest length is inside the longest context, and the other way round.
    assert ((few.requests_capacity >= 1) <= (few.longest_context >= long)).all()


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(MODELS), st.floats(0.3, 0.9), st.floats(0.0, 0.09))
def test_a_larger_share_of_memory_never_holds_less(model, share, more):
    less, full = (measured(model, memory_utilization=value) for value in (share, share + more))
    assert (full.requests_capacity >= less.requests_capacity).all()
    assert (full.kv_pool_bytes >= less.kv_pool_bytes).all()


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(MODELS), st.integers(1, 64), st.integers(1, 8))
def test_adapters_never_leave_more_room(model, rank, loaded):
    plain, adapted = (measured(model, adapters=each) for each in (None, Adapters(rank, loaded)))
    assert (plain.kv_pool_bytes - adapted.kv_pool_bytes).ravel() == pytest.approx(int(adapted.adapter_bytes[0]))


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(MODELS), st.integers(0, 1024), st.integers(0, 1024))
def test_a_longer_shared_prefix_never_holds_fewer_requests(model, some, more):
    less, full = sorted((some, more))
    few, many = (measured(model, shared_prefix_tokens=tokens) for tokens in (less, full))
    assert (many.requests_capacity >= few.requests_capacity).all()
    assert (many.fits >= few.fits).all()


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(MODELS), st.integers(1, 8192), st.floats(0.5, 0.999))
def test_one_length_for_certain_is_that_length(model, tokens, confidence):
    plain = measured(model, tokens=tokens)
    mixed = measured(model, tokens=tokens, lengths=Lengths((tokens,), (1,), confidence))
    assert (mixed.requests_capacity <= plain.requests_capacity).all()
    surer = measured(model, tokens=tokens, lengths=Lengths((tokens, 8192), (1, 1), confidence))
    assert (surer.requests_capacity <= mixed.requests_capacity).all()


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(MODELS), st.integers(0, 60))
def test_more_offloaded_never_leaves_less_once_anything_is(model, gib):
    some, more = (measured(model, tp=1, offload_bytes=size << 30) for size in (gib + 1, gib + 2))
    assert (more.kv_pool_bytes >= some.kv_pool_bytes).all()


def test_a_table_without_rows_has_no_answers():
    memory = measure_memory(
        find_model(MODELS[0]), find_engine("vllm"), rows_of("L4", 1).take(np.array([], dtype=np.int64)), "bf16",
        MemorySettings(8192, 1024), BATCHES,
    )  # fmt: skip
    assert memory.fits.shape == (0, 4)


@given(st.integers(1, 2048), st.sampled_from([512, 1024]))
def test_captured_sizes_are_what_vllm_lists(sequences, largest):
    limit = min(2 * sequences, largest)
    listed = [size for size in (1, 2, 4) if size <= limit]
    listed += [*range(8, min(limit + 1, 256), 8), *range(256, limit + 1, 16)]
    assert int(captured_sizes(np.array(sequences), np.array(largest))) == len(listed)
