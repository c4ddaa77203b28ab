import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.find import find_model
from catalog.model import Layers, Matrix
from catalog.sizes import weight_bytes
from optimizer.memory.pipelines import pipeline_stages, pipelines
from optimizer.memory.weights import (
    Division,
    allocated_matrices,
    latent_copies,
    layers_by_stage,
    shard_bytes,
    weights_by_stage,
)


def divided(tp, dp=1, ep=1):
    return Division.of(np.atleast_1d(np.array(tp)), dp, ep)


def stages_of(spec, depth):
    return pipelines(spec.layer_count, (depth,))


def test_latent_attention_keeps_its_quantized_up_projection_once_more_in_16_bit():
    # DeepSeek-V3 in FP8: 128 heads of 128 + 128 rows, 512 wide, in 61 layers; bf16 ones are used in place.
    spec = find_model("deepseek-ai/DeepSeek-V3")
    copies = sum(g.count * latent_copies(g, divided([1, 8])) for g in spec.layers if not g.next_token_prediction)
    assert copies.tolist() == [61 * 128 * 256 * 512 * 2, 61 * 16 * 256 * 512 * 2]
    plain = find_model("deepseek-ai/DeepSeek-Coder-V2-Lite-Instruct")
    assert sum(int(latent_copies(g, divided(8))[0]) for g in plain.layers) == 0


def test_one_rank_holds_the_whole_checkpoint():
    for repo in ("Qwen/Qwen3-8B", "openai/gpt-oss-20b", "deepseek-ai/DeepSeek-V3", "Qwen/Qwen3-Next-80B-A3B-Instruct"):
        spec = find_model(repo)
        ours = int(weights_by_stage(spec, divided(1), stages_of(spec, 1))[0, 0])
        # The vocabulary is padded to 64 and nothing else is added.
        assert 0 <= ours - weight_bytes(spec) < 64 * spec.hidden_size * 4


def test_stages_of_a_pipeline_hold_the_model_together(llama_70b):
    whole = int(weights_by_stage(llama_70b, divided(1), stages_of(llama_70b, 1))[0, 0])
    for depth in (2, 3, 4, 8):
        assert int(weights_by_stage(llama_70b, divided(1), stages_of(llama_70b, depth)).sum()) == whole


def test_a_tied_embedding_is_stored_again_on_the_last_stage():
    spec = find_model("Qwen/Qwen3-0.6B")
    assert spec.tied_embeddings
    whole, halves = (
        weights_by_stage(spec, divided(1), stages_of(spec, 1)),
        weights_by_stage(spec, divided(1), stages_of(spec, 2)),
    )
    assert int(halves.sum() - whole.sum()) == spec.vocabulary * spec.hidden_size * 2


def test_the_first_stage_has_the_embedding_and_the_last_the_lm_head(llama_70b):
    first, middle, _, last = weights_by_stage(llama_70b, divided(1), stages_of(llama_70b, 4))[:, 0]
    embedding = 128256 * 8192 * 2
    assert first - middle == embedding
    assert last - middle == embedding + 8192 * 2


@pytest.mark.parametrize(
    ("layers", "depth", "dealt"),
    [(80, 4, (20, 20, 20, 20)), (61, 4, (15, 15, 16, 15)), (62, 4, (15, 16, 16, 15)), (63, 4, (16, 16, 16, 15)),
     (61, 8, (7, 7, 8, 8, 8, 8, 8, 7)), (3, 3, (1, 1, 1))],
)  # fmt: skip
def test_layers_are_dealt_as_vllm_deals_them(layers, depth, dealt):
    assert pipeline_stages(layers, depth) == dealt


@given(st.integers(1, 200), st.integers(1, 16))
def test_every_layer_is_dealt_once_and_stages_differ_by_one(layers, depth):
    dealt = pipeline_stages(layers, min(depth, layers))
    assert sum(dealt) == layers
    assert max(dealt) - min(dealt) <= 1


def test_layers_of_a_group_are_counted_on_their_stages():
    spec = find_model("google/gemma-3-27b-it")
    counts = layers_by_stage(spec, stages_of(spec, 4))
    assert counts.sum() == spec.layer_count
    assert counts.sum(axis=1).tolist() == list(pipeline_stages(spec.layer_count, 4))


def test_kv_heads_are_replicated_beyond_their_count():
    key = Matrix("k_proj", "attention", 8 * 128, 4096, "kv_heads", granule=128)
    assert shard_bytes(key, divided([8, 16, 32])).tolist() == [128 * 4096 * 2] * 3


def test_whole_experts_are_dealt_and_the_fullest_rank_counts():
    up = Matrix("mlp.experts.up_proj", "experts", 2048, 7168, "expert", copies=256)
    one = 2048 * 7168 * 2
    assert shard_bytes(up, divided(8, dp=1, ep=8)).tolist() == [32 * one]
    assert shard_bytes(up, divided(1, dp=24, ep=24)).tolist() == [11 * one]


def test_undealt_experts_are_divided_by_all_ranks_of_the_replica():
    up = Matrix("mlp.experts.up_proj", "experts", 2048, 7168, "expert", copies=256)
    assert shard_bytes(up, divided(4, dp=2)).tolist() == [256 * 2048 // 8 * 7168 * 2]


def test_the_vocabulary_is_padded_to_64_before_it_is_divided():
    table = Matrix("embed", "embedding", 151_669, 1024, "vocabulary", gemm=False)
    assert shard_bytes(table, divided([1, 8])).tolist() == [151_680 * 1024 * 2, 18_960 * 1024 * 2]


def test_a_value_projection_is_allocated_where_values_equal_keys():
    key = Matrix("self_attn.k_proj", "attention", 2048, 4096, "kv_heads", granule=512)
    names = [matrix.name for matrix in allocated_matrices(Layers((0,), (), (key,)))]
    assert names == ["self_attn.k_proj", "self_attn.v_proj"]


@given(st.integers(0, 4))
def test_more_tensor_parallelism_never_makes_a_rank_heavier(power):
    spec = find_model("meta-llama/Llama-3.1-8B")
    lighter, heavier = weights_by_stage(spec, divided([2 ** (power + 1), 2**power]), stages_of(spec, 1))[0]
    assert lighter <= heavier
