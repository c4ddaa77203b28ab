import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.find import find_model
from catalog.model import Attention
from optimizer.engines.find import find_engine
from optimizer.memory.kv_cache import UnknownKvFormat, mixer_caches
from optimizer.memory.page_groups import Group
from optimizer.memory.pipelines import pipelines
from optimizer.memory.pools import longest_context
from optimizer.memory.token_pools import TokenPools

VLLM, SGLANG = find_engine("vllm", "0.32.0"), find_engine("sglang")


def plan_of(repo, gpu, tp=1, kv="bf16", engine=VLLM):
    spec = find_model(repo)
    return engine.cache_plan(spec, tp, kv, engine.block_rule(spec, gpu, kv))


def test_latent_attention_is_the_same_on_every_rank(make_gpu):
    # 61 layers x (512 + 64) x 2 bytes at any TP: public logs of Kimi-K2 and DeepSeek-R1 agree.
    for tp in (1, 8, 16):
        assert plan_of("deepseek-ai/DeepSeek-V3", make_gpu(), tp).full_bytes_per_token == 70_272


def test_fp8_halves_keys_and_values_but_not_the_recurrent_state(make_gpu):
    half = plan_of("Qwen/Qwen3-Next-80B-A3B-Instruct", make_gpu(), kv="fp8")
    full = plan_of("Qwen/Qwen3-Next-80B-A3B-Instruct", make_gpu())
    assert half.full_bytes_per_token == full.full_bytes_per_token / 2
    assert half.state_bytes_per_request == pytest.approx(full.state_bytes_per_request, rel=0.02)


def test_gemma_3_27b_falls_into_seven_groups_of_at_most_ten_layers(make_gpu):
    # vLLM: "Add 8 padding layers"; 52 windowed layers over 6 groups of 10, and 10 full ones.
    groups = plan_of("google/gemma-3-27b-it", make_gpu()).groups
    assert [group.kind for group in groups] == ["window"] * 6 + ["full"]
    assert max(len(group.layers) for group in groups) == 10
    assert sum(len(group.layers) for group in groups) == 62


def test_a_hybrid_block_holds_a_whole_state(make_gpu):
    groups = plan_of("Qwen/Qwen3-Next-80B-A3B-Instruct", make_gpu()).groups
    assert {group.block_tokens for group in groups} == {544}
    assert len({size for group in groups for size in group.page_bytes}) == 1


def test_a_window_needs_no_more_blocks_however_long_the_request(make_gpu):
    plan = plan_of("openai/gpt-oss-20b", make_gpu())
    one = np.array(1)
    short, long = plan.blocks(np.array(4096), one), plan.blocks(np.array(65536), one)
    full = [group for group in plan.groups if group.kind == "full"]
    assert int(long - short) == sum((65536 - 4096) // group.block_tokens for group in full)


@pytest.mark.parametrize(
    "repo",
    ["Qwen/Qwen3-8B", "google/gemma-3-27b-it", "Qwen/Qwen3-Next-80B-A3B-Instruct", "deepseek-ai/DeepSeek-V4-Flash",
     "meta-llama/Llama-4-Scout-17B-16E-Instruct"],
)  # fmt: skip
@pytest.mark.parametrize("engine", [VLLM, SGLANG], ids=lambda e: e.name)
def test_the_longest_context_is_the_last_length_that_fits(make_gpu, repo, engine):
    plan, in_flight = plan_of(repo, make_gpu(), engine=engine), np.array(16384)
    lengths = np.arange(1, 70_000, 97)
    need = plan.blocks(lengths, in_flight)
    for blocks in (1, 40, 1_000, 20_000):
        fitting = lengths[need <= blocks]
        longest = int(longest_context(plan, np.array(blocks), in_flight, 70_000))
        assert longest >= (fitting.max() if fitting.size else 0)
        if longest < 70_000:
            assert int(plan.blocks(np.array(longest + 1), in_flight)) > blocks
        if longest:
            assert int(plan.blocks(np.array(longest), in_flight)) <= blocks


@given(
    st.sampled_from(["full", "window", "chunk", "state"]),
    st.integers(1, 10**7),
    st.integers(0, 10**6),
    st.integers(1, 20_000),
    st.integers(1, 4096),
)
def test_a_longer_request_never_takes_fewer_blocks(kind, tokens, more, in_flight, block):
    group = Group(kind, 1024, block, (0,), (64,))
    short, long = group.blocks(np.array([tokens, tokens + more]), np.array(in_flight))
    assert 1 <= short <= long


@pytest.mark.parametrize("kv", ["bf17", "", "FP8"])
def test_an_unknown_kv_format_is_named(make_gpu, kv):
    rule = VLLM.block_rule(find_model("Qwen/Qwen3-8B"), make_gpu(), "bf16")
    with pytest.raises(UnknownKvFormat, match="known are fp32"):
        list(mixer_caches(Attention(8, 8, 128, 128), 1, kv, rule))


def test_sglang_keeps_four_windowed_tokens_for_five_full_ones():
    pools = TokenPools((0, 1), (100.0, 0.0), (0.0, 100.0), (0, 0), 0.8, 0.9, 1024)
    assert pools.block_bytes(pipelines(2, (1,))).tolist() == [180]
    # 10,000 tokens need 10,000 full slots; 1,024 + 1 windowed ones are there long before.
    assert int(pools.blocks(np.array(10_000), np.array(1))) == 10_000
    # 1,000 tokens are inside the window: 1,000 windowed slots come with 1,250 full ones.
    assert int(pools.blocks(np.array(1_000), np.array(1))) == 1_250


def test_sglang_states_take_their_share_of_the_pool():
    pools = TokenPools((0, 1), (100.0, 0.0), (0.0, 0.0), (0, 90_000), 0.8, 0.9, 0)
    assert pools.block_bytes(pipelines(2, (1,))).tolist() == [190]
    # Memory for one state is 90 bytes per slot: a request takes at least 1,000 slots.
    assert int(pools.blocks(np.array(10), np.array(1))) == 1_000
    assert int(pools.blocks(np.array(5_000), np.array(1))) == 5_000
