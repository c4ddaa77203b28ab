import numpy as np
import pytest

from optimizer.engines.find import find_engine
from optimizer.memory.vram import MemorySettings, measure_memory

GIB = 2**30
VLLM = find_engine("vllm")


def measured(spec, rows, batches, kv_format="bf16", engine=VLLM, **settings):
    lengths = {"max_model_len": 8192, "tokens_per_request": 2048, **settings}
    return measure_memory(spec, engine, rows, kv_format, MemorySettings(**lengths), np.array(batches))


def test_llama_70b_on_four_h100_adds_up_by_hand(llama_70b, make_gpu, make_rows):
    memory = measured(llama_70b, make_rows([make_gpu()], [4]), [256])
    layer = (64 + 2 * 8 + 64) * 128 * 8192 // 4 + 3 * 28672 * 8192 // 4 + 2 * 8192
    weights = 2 * (80 * layer + 2 * 128256 * 8192 // 4 + 8192)
    weights += 131072 * 128 * 2 + 2 * 2**20  # a table of positions; embedding and LM head of 501 MiB in segments of 502
    assert memory.weight_bytes[0] == weights
    parts = weights + memory.non_torch_bytes[0] + memory.activation_bytes[0, 0] + memory.graph_bytes[0, 0]
    assert memory.kv_pool_bytes[0, 0] == pytest.approx(memory.budget_bytes[0] - parts, abs=1)
    assert memory.kv_bytes_per_token[0] == 2 * 80 * (8 // 4) * 128 * 2
    blocks = int(memory.kv_pool_bytes[0, 0] // (16 * 81920))
    assert memory.requests_capacity[0, 0] == (blocks - 1) // (2048 // 16)


def test_the_sampler_is_the_peak_of_many_sequences_and_the_forward_pass_of_few(llama_70b, make_gpu, make_rows):
    memory = measured(llama_70b, make_rows([make_gpu()], [8]), [8, 1024], engine=find_engine("vllm", "0.11.0"))
    # 1024 sequences of Llama 3's vocabulary measured 4.76 to 4.84 GiB on H100 (vLLM 0.11).
    assert memory.activation_bytes[0, 1] / GIB == pytest.approx(4.80, rel=0.02)
    assert memory.activation_bytes[0, 0] < memory.activation_bytes[0, 1]


def test_weights_that_do_not_fit_leave_a_negative_pool_and_no_requests(llama_70b, make_gpu, make_rows):
    memory = measured(llama_70b, make_rows([make_gpu()], [1]), [1])
    assert memory.kv_pool_bytes[0, 0] < 0
    assert memory.requests_capacity[0, 0] == 0
    assert memory.longest_context[0, 0] == 0
    assert not memory.fits[0, 0]


def test_exactly_the_requests_that_fit_are_promised_and_one_more_is_not(llama_70b, make_gpu, make_rows):
    rows = make_rows([make_gpu()], [4])
    capacity = int(measured(llama_70b, rows, [64]).requests_capacity[0, 0])
    # Below 384 sequences neither the sampler nor the forward pass changes between these two; graphs may.
    inside = measured(llama_70b, rows, [capacity], enforce_eager=True)
    limit = int(inside.requests_capacity[0, 0])
    assert inside.fits[0, 0] == (limit >= capacity)
    assert not measured(llama_70b, rows, [limit + 50], enforce_eager=True).fits[0, 0]


def test_tensor_parallelism_beyond_kv_heads_does_not_shrink_the_cache(llama_70b, make_gpu, make_rows):
    memory = measured(llama_70b, make_rows([make_gpu()], [8, 16], node=16), [8])
    assert memory.kv_bytes_per_token.tolist() == [40960, 40960]


@pytest.mark.parametrize(
    ("version", "capability", "tokens"),
    [("0.7.3", "9.0", 8192), ("0.7.3", "9.0", 2048), ("0.10.2", "7.5", 8192), ("0.10.2", "8.0", 2048)],
)
def test_the_first_generation_profiles_a_whole_prompt(version, capability, tokens, make_gpu):
    # V0: max(max_model_len, 2048); cards below 8.0 kept it until 0.11.
    gpu, engine = make_gpu("A10 24GB", capability, 24 << 10), find_engine("vllm", version)
    longest = tokens if tokens > 2048 or version == "0.7.3" else 8192
    assert engine.default_max_batched_tokens(gpu, longest) == tokens
    assert engine.default_max_num_seqs(gpu) == 256


def test_the_first_generation_cuts_prompts_beyond_32768_tokens(make_gpu):
    gpu, engine = make_gpu(), find_engine("vllm", "0.7.3")
    assert engine.default_max_batched_tokens(gpu, 32768) == 32768
    assert engine.default_max_batched_tokens(gpu, 32769) == 2048


def test_tensor_parallelism_over_fast_links_costs_two_gib_since_0_12(llama_70b, make_gpu, make_rows):
    # vLLM 0.19 on H100 at 0.95: Llama 3.1 8B at TP 2 keeps 63.76 GiB for KV; the parts by hand:
    peak, weights, budget = 1.89, 7.51, 0.95 * 79.19
    buffers = budget - weights - peak - 63.76
    rows = make_rows([make_gpu()], [2])
    memory = measured(llama_70b, rows, [1024], engine=find_engine("vllm", "0.19.0"))
    assert memory.non_torch_bytes[0] / GIB == pytest.approx(buffers, abs=0.02)


def test_two_engine_versions_differ_in_budget_and_graphs(llama_70b, make_gpu, make_rows):
    rows = make_rows([make_gpu()], [4])
    old, new = (measured(llama_70b, rows, [64], engine=find_engine("vllm", v)) for v in ("0.19.0", "0.33.0"))
    assert old.budget_bytes[0] / old.total_bytes[0] == pytest.approx(0.90, abs=1e-6)
    assert new.budget_bytes[0] / new.total_bytes[0] == pytest.approx(0.92, abs=1e-6)
    old_parts, new_parts = (each.budget_bytes - each.kv_pool_bytes[0] - each.weight_bytes for each in (old, new))
    kept = [(each.non_torch_bytes + each.activation_bytes[0])[0] for each in (old, new)]
    assert old_parts[0] == pytest.approx(kept[0], abs=1)  # graphs lie beside the budget
    assert new_parts[0] == pytest.approx(kept[1] + new.graph_bytes[0, 0], abs=1)


def test_rows_are_independent_of_their_neighbours(llama_70b, make_gpu, make_rows):
    gpus = [make_gpu(), make_gpu("L40S 48GB", "8.9", 46068)]
    shapes = {"tp": [4, 8, 2, 4], "pp": [1, 1, 4, 2], "gpu": [0, 1, 0, 1]}
    together = measured(llama_70b, make_rows(gpus, **shapes), [8, 64])
    for row in range(4):
        alone = measured(llama_70b, make_rows(gpus, **{k: [v[row]] for k, v in shapes.items()}), [8, 64])
        alike = {"pages", "reserved_blocks", "max_model_len", "most_tokens"}
        for name in {*vars(together), "longest_context", "kv_tokens"} - alike:
            assert np.array_equal(getattr(together, name)[row : row + 1], getattr(alone, name)), name


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"tokens_per_request": 9000}, "between 1 and max_model_len"),
        ({"memory_utilization": 1.5}, "above 0 and at most 1"),
        ({"max_batched_tokens": 0}, "at least 1"),
    ],
)
def test_impossible_settings_are_named(wrong, says):
    with pytest.raises(ValueError, match=says):
        MemorySettings(**{"max_model_len": 8192, "tokens_per_request": 2048, **wrong})


def test_a_card_without_published_memory_is_not_sized(llama_70b, make_gpu, make_rows):
    with pytest.raises(ValueError, match="Nobody published"):
        measured(llama_70b, make_rows([make_gpu("B100 SXM", "10.0", None)], [8]), [1])
