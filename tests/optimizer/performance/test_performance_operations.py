"""Counts of work against sums done by hand, and laws of how parallelism divides them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.model import Attention, LatentAttention, Layers, Matrix, ModelSpec, RecurrentState, StateArray
from gpu_db.load import load_gpus
from optimizer.performance.operations import KERNELS, kernel_of, measure_work
from optimizer.replica_columns import ReplicaColumns

BF16 = KERNELS.index("bf16")


def rows(tp=(1,), pp=1, dp=1, ep=1) -> ReplicaColumns:
    tensor = np.array(tp, dtype=np.int64)
    ones = np.ones_like(tensor)
    return ReplicaColumns(
        gpus=(load_gpus()["H100 SXM 80GB"],),
        gpu=0 * ones,
        tensor_parallel=tensor,
        pipeline_parallel=pp * ones,
        data_parallel=dp * ones,
        expert_parallel=ep * ones,
        nodes=ones,
        gpus_per_node=tensor * pp * dp,
        link_bytes_per_second=np.full(len(tensor), 450e9),
        has_fast_links=np.ones(len(tensor), dtype=np.bool_),
        internode_bytes_per_second=np.full(len(tensor), np.nan),
    )


def model(mixers=(), matrices=(), layers=3, predictor=False, kv_heads=2) -> ModelSpec:
    groups = [Layers(tuple(range(layers)), tuple(mixers), tuple(matrices))]
    if predictor:
        groups.append(Layers((layers,), tuple(mixers), tuple(matrices), next_token_prediction=True))
    return ModelSpec(
        repo_id="tiny",
        architecture="Tiny",
        family="Tiny",
        hidden_size=64,
        vocabulary=1000,
        max_context_tokens=4096,
        tied_embeddings=True,
        layers=tuple(groups),
        outside=(Matrix("embed", "embedding", 1000, 64, "vocabulary", gemm=False),),
        query_heads=8,
        kv_heads=kv_heads,
    )


UP = Matrix("up", "mlp", 256, 64, "column")
EXPERT = Matrix("experts.up", "experts", 32, 64, "expert", copies=16, active_copies=4)


def test_a_matrix_costs_two_flop_and_two_bytes_per_weight():
    work = measure_work(model(matrices=[UP]), rows(), 2, 100, 100)
    assert work.dense_flop[0, BF16] == 3 * 2 * 256 * 64
    assert work.dense_bytes[0, BF16] == 3 * 2 * 256 * 64
    assert work.dense_values[0] == 3 * (256 + 64)
    assert work.products[0, BF16] == 3


def test_the_embedding_is_not_read_but_stands_in_for_a_tied_head():
    work = measure_work(model(), rows(), 2, 100, 100)
    assert work.dense_bytes.sum() == 0
    assert work.head_bytes[0] == 1000 * 64 * 2
    assert work.head_flop[0] == 2 * 1000 * 64


def test_prediction_layers_do_not_run_without_speculation():
    plain, with_predictor = (measure_work(model(matrices=[UP], predictor=p), rows(), 2, 9, 9) for p in (False, True))
    np.testing.assert_array_equal(plain.dense_flop, with_predictor.dense_flop)
    assert with_predictor.layers[0] == 3


def test_a_routed_expert_is_stored_whole_and_used_in_part():
    work = measure_work(model(matrices=[EXPERT]), rows(), 2, 100, 100)
    assert work.expert_bytes[0, BF16] == 3 * 16 * 32 * 64 * 2
    assert work.expert_flop[0, BF16] == 3 * 4 * 32 * 64 * 2
    assert (work.experts[0], work.experts_per_token[0], work.expert_layers[0]) == (16, 4, 3)


def test_expert_parallelism_deals_out_what_tensor_parallelism_would_cut():
    cut = measure_work(model(matrices=[EXPERT]), rows(tp=[4]), 2, 100, 100)
    dealt = measure_work(model(matrices=[EXPERT]), rows(tp=[4], ep=4), 2, 100, 100)
    np.testing.assert_array_equal(cut.expert_bytes, dealt.expert_bytes)
    over_ranks = measure_work(model(matrices=[EXPERT]), rows(tp=[1], dp=8, ep=8), 2, 100, 100)
    assert over_ranks.expert_bytes[0, BF16] == 3 * 2 * 32 * 64 * 2


def test_one_gpu_sends_nothing():
    work = measure_work(model(mixers=[Attention(8, 2, 16, 16)], matrices=[UP, EXPERT]), rows(tp=[1, 2]), 2, 100, 100)
    assert work.all_reduces[0] == 0
    assert work.all_reduces[1] == 3 * 2  # after attention and after the MLP
    assert (work.expert_exchanges == 0).all()


def test_tokens_of_attention_ranks_meet_twice_per_expert_layer():
    work = measure_work(model(matrices=[EXPERT]), rows(tp=[1], dp=4, ep=4), 2, 100, 100)
    assert work.expert_exchanges[0] == 2 * 3


def test_kv_heads_are_divided_until_one_is_left():
    spec = model(mixers=[Attention(8, 2, 16, 16)])
    read = measure_work(spec, rows(tp=[1, 2, 4, 8]), 2, 100, 100).decode_kv_bytes
    whole = 3 * 150 * 2 * (16 + 16) * 2  # layers, mean context, heads, key and value, bytes
    np.testing.assert_array_equal(read, [whole, whole / 2, whole / 2, whole / 2])


def test_a_latent_cache_is_read_whole_on_every_rank():
    mla = LatentAttention(query_heads=8, kv_rank=32, rope_dim=8, nope_dim=16, value_dim=16)
    work = measure_work(model(mixers=[mla]), rows(tp=[1, 8]), 1, 1000, 100)
    np.testing.assert_array_equal(work.decode_kv_bytes, [3 * 1050 * 40.0] * 2)
    np.testing.assert_array_equal(
        work.decode_attention_flop, [3 * 2 * 8 * (2 * 32 + 8) * 1050, 3 * 2 * (2 * 32 + 8) * 1050]
    )


def test_a_state_is_read_and_written_whatever_the_context():
    state = RecurrentState("mamba2", (StateArray("ssm", (8, 4, 16), 0, "fp32"),), heads=8, head_dim=4, state_dim=16)
    short, long = (measure_work(model(mixers=[state]), rows(tp=[1, 2]), 2, n, 10) for n in (10, 10_000))
    np.testing.assert_array_equal(short.decode_kv_bytes, long.decode_kv_bytes)
    assert short.decode_kv_bytes[0] == 3 * 2 * 8 * 4 * 16 * 4
    assert short.decode_kv_bytes[1] == short.decode_kv_bytes[0] / 2


def test_causal_attention_of_a_prompt_is_half_a_square():
    work = measure_work(model(mixers=[Attention(8, 2, 16, 16)]), rows(), 2, 1000, 10)
    assert work.prefill_attention_flop[0] == 3 * 2 * 8 * 32 * 1000 * 1000 / 2


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_a_window_never_adds_work(tokens, window):
    full = measure_work(model(mixers=[Attention(8, 2, 16, 16)]), rows(), 2, tokens, 10)
    banded = measure_work(model(mixers=[Attention(8, 2, 16, 16, window=window)]), rows(), 2, tokens, 10)
    assert banded.prefill_attention_flop[0] <= full.prefill_attention_flop[0]
    assert banded.decode_kv_bytes[0] <= full.decode_kv_bytes[0]
    if tokens + 5 <= window:
        assert banded.decode_kv_bytes[0] == full.decode_kv_bytes[0]


@pytest.mark.parametrize(
    ("stored_as", "kernel"),
    [("bf16", "bf16"), ("fp32", "bf16"), ("fp8_tensor", "fp8"), ("fp8_block128", "fp8_block"), ("nvfp4", "fp4")],
)
def test_storage_decides_the_kernel(stored_as, kernel):
    assert kernel_of(stored_as) == kernel


def test_products_of_one_input_are_launched_together():
    parts = [("q", "column"), ("k", "kv_heads"), ("v", "kv_heads"), ("o", "row")]
    matrices = [Matrix(name, "attention", 64, 64, sharding) for name, sharding in parts]
    work = measure_work(model(matrices=matrices), rows(), 2, 100, 100)
    assert work.products[0, KERNELS.index("bf16")] == 3 * 2  # q, k and v; o


def test_experts_of_a_layer_are_launched_once_by_their_kernel():
    gate = Matrix("experts.gate", "experts", 64, 32, "expert", copies=8, active_copies=2, stored_as="mxfp4")
    down = Matrix("experts.down", "experts", 32, 64, "expert", copies=8, active_copies=2, stored_as="mxfp4")
    work = measure_work(model(matrices=[gate, down]), rows(), 2, 100, 100)
    assert work.expert_products[0, KERNELS.index("mxfp4")] == 3
    assert work.products.sum() == 0


def test_attention_ranks_share_the_experts_that_nobody_deals_out():
    gate = Matrix("experts.gate", "experts", 64, 32, "expert", copies=8, active_copies=2)
    spec = model(matrices=[gate])
    alone, four = (measure_work(spec, rows(dp=dp), 2, 100, 100).expert_bytes.sum() for dp in (1, 4))
    assert four == alone / 4


def test_a_norm_over_all_heads_is_summed_over_ranks():
    norms = [
        Matrix("self_attn.q_norm", "attention", 64, 1, "column", gemm=False),
        Matrix("self_attn.k_norm", "attention", 16, 1, "kv_heads", gemm=False),
    ]
    work = measure_work(model(matrices=norms), rows(tp=(1, 2)), 2, 100, 100)
    assert work.norm_reductions.tolist() == [0, 3 * 2]
    each = [Matrix("self_attn.q_norm", "attention", 16, 1, gemm=False)]
    assert measure_work(model(matrices=each), rows(tp=(2,)), 2, 100, 100).norm_reductions.tolist() == [0]


def test_a_prompt_through_a_state_is_not_attention():
    state = RecurrentState("gdn", (StateArray("ssm", (4, 8, 16), 0, "fp32"),), heads=4, head_dim=8, state_dim=16)
    work = measure_work(model([state]), rows(), 2, 100, 100)
    assert work.prefill_attention_flop.tolist() == [0]
    assert work.prefill_state_flop.tolist() == [3 * 4 * 4 * 8 * 16 * 100]
