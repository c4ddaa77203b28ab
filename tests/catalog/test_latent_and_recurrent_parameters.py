"""Families with latent or sparse attention, recurrent state or unusual layers, against counted truth and by hand.

`tests/oracles/latent_and_recurrent_configs.json` holds what the readers use of 24 published configs and of five library
defaults; `tests/oracles/model_parameters.csv` what instantiating the published classes gives.
"""

import json
from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import BadModelConfig
from catalog.mixers import QWEN3_NEXT_INPUTS, GatedDeltaNet, Mamba2, gated_delta_net, mamba2
from catalog.model import Attention, Compressor, LatentAttention, RecurrentState
from catalog.quantization import requantized
from catalog.read import read_config
from catalog.sizes import active_parameters, parameters_by_part, total_parameters, weight_bytes
from tests.catalog.counted import COLUMNS, COUNTED, ORACLES

CONFIGS = json.loads((ORACLES / "latent_and_recurrent_configs.json").read_text())
ROWS = [name for name in CONFIGS if name in COUNTED and COUNTED[name]["total_params"]]

# Where the count files a weight elsewhere than we do, by the name of the module around it. Sums of these are compared.
FILED_TOGETHER = {
    "DeepseekV4ForCausalLM": ("mlp", "other"),  # hyper-connections: "hc_ffn" counts as mlp there, all are other here
    "FalconH1ForCausalLM": ("linear_attention", "other"),  # its Mamba has no name that the count knows
    "JambaForCausalLM": ("attention", "linear_attention", "norms"),  # a layer's norms count with its mixer there
    "Mamba2ForCausalLM": ("linear_attention", "norms"),  # the same
    "NemotronHForCausalLM": ("attention", "mlp"),  # projections into the experts' space count as attention there
    "Zamba2ForCausalLM": ("attention", "linear_attention", "norms"),  # norms count with the mixer
}


def spec_of(name, **changes):
    return read_config({**CONFIGS[name], **changes}, repo_id=name)


def state_bytes(mixer):
    width = {"bf16": 2, "fp32": 4}
    total = 0
    for array in mixer.arrays:
        size = width[array.stored_as]
        for extent in array.shape:
            size *= extent
        total += size
    return total


def mixers_of(spec, kind):
    return [
        mixer
        for group in spec.layers
        if not group.next_token_prediction
        for mixer in group.mixers
        for _ in group.indices
        if isinstance(mixer, kind)
    ]


# The oracle, row by row: no tolerance.


@pytest.mark.parametrize("name", ROWS)
def test_parameters_equal_those_of_the_published_class(name):
    assert total_parameters(spec_of(name)) == int(COUNTED[name]["total_params"])


@pytest.mark.parametrize("name", ROWS)
def test_every_part_equals_the_count_or_only_differs_in_where_a_module_is_filed(name):
    ours, row = parameters_by_part(spec_of(name)), COUNTED[name]
    together = FILED_TOGETHER.get(row["architecture"], ())
    for part, column in COLUMNS.items():
        if part not in together:
            assert ours[part] == int(row[column] or 0), part
    assert sum(ours[p] for p in together) == sum(int(row[COLUMNS[p]] or 0) for p in together)


@pytest.mark.parametrize("name", [name for name in ROWS if COUNTED[name]["active_params"]])
def test_active_parameters_equal_the_count(name):
    assert active_parameters(spec_of(name)) == int(COUNTED[name]["active_params"])


# Copies without their quantizer's producer, which vLLM therefore loads as bf16.
UNQUANTIZED_THERE = ("nvidia/NVIDIA-Nemotron-3-Super-120B-NVFP4-FP8KV", "nvidia/nemotron-ultra-rl-050826")


@pytest.mark.parametrize("name", [n for n in ROWS if COUNTED[n]["vllm_weight_bytes"] and n not in UNQUANTIZED_THERE])
def test_bytes_equal_what_vllm_allocates_on_one_gpu(name):
    # Not counted here: routing biases and, in DeepSeek-V4, an integer hash table. They are buffers.
    buffers = 6.1e-5 if COUNTED[name]["architecture"].startswith("DeepseekV4") else 1e-6
    assert weight_bytes(spec_of(name)) == pytest.approx(int(COUNTED[name]["vllm_weight_bytes"]), rel=buffers)


# By hand.


def test_deepseek_v3_keeps_576_values_per_token_and_layer_whatever_its_heads():
    latents = mixers_of(spec_of("deepseek-ai/DeepSeek-V3"), LatentAttention)
    assert len(latents) == 61
    assert sum((m.kv_rank + m.rope_dim) * 2 for m in latents) == 70_272  # vLLM: bytes per token in bf16


def test_a_prediction_layer_is_described_but_not_counted():
    spec = spec_of("deepseek-ai/DeepSeek-V3")
    (predictor,) = [group for group in spec.layers if group.next_token_prediction]
    assert predictor.indices == (61,)
    assert spec.layer_count == 61
    extra = sum(matrix.parameters for matrix in predictor.matrices)
    layer = next(g for g in spec.layers if len(g.indices) == 58)
    # Two norms in front, a projection from two streams to one, a norm behind.
    assert extra == sum(m.parameters for m in layer.matrices) + 2 * 7168**2 + 3 * 7168
    without = spec_of("deepseek-ai/DeepSeek-V3", num_nextn_predict_layers=0)
    assert total_parameters(spec) == total_parameters(without)


def test_glm_5_2_keeps_indexer_keys_in_21_of_78_layers_and_computes_no_scores_in_the_rest():
    latents = mixers_of(spec_of("zai-org/GLM-5.2"), LatentAttention)
    own = [m for m in latents if not m.indexer.shared]
    assert (len(latents), len(own)) == (78, 21)
    assert sum(1152 for _ in latents) + sum(132 for _ in own) == 92_628  # vLLM: bytes per token, bf16 beside fp8 keys


def test_glm_5_2_has_indexer_weights_only_where_the_indexer_is_its_own():
    for group in spec_of("zai-org/GLM-5.2").layers:
        has_weights = any(".indexer." in matrix.name for matrix in group.matrices)
        assert has_weights != group.mixers[0].indexer.shared


def test_deepseek_v4_layers_have_a_window_and_what_their_ratio_says():
    spec = spec_of("deepseek-ai/DeepSeek-V4-Flash")
    by_ratio = {mixers[-1].compression: mixers for mixers in (g.mixers for g in spec.layers)}
    assert {ratio: len(mixers) for ratio, mixers in by_ratio.items()} == {1: 1, 4: 2, 128: 2}
    assert all(mixers[0].window == 128 for mixers in by_ratio.values())
    # vLLM's caches: 2 x 2 x 512 values of 8 tokens, 2 x 512 of 128; the indexer's 2 x 2 x 128 of 8.
    assert by_ratio[4][1].compressor == Compressor(2048, 8)
    assert by_ratio[128][1].compressor == Compressor(1024, 128)
    assert by_ratio[4][1].indexer.compressor == Compressor(512, 8)
    assert by_ratio[128][1].indexer is None


def test_deepseek_v4_stores_attention_in_fp8_experts_in_mxfp4_and_mixing_in_fp32():
    spec = spec_of("deepseek-ai/DeepSeek-V4-Flash")
    stored = {m.name: m.stored_as for g in spec.layers for m in g.matrices}
    assert stored["attn.wq_b"] == "fp8_block128_ue8m0"
    assert stored["ffn.experts.up_proj"] == "mxfp4"
    assert stored["attn.compressor.wkv"] == "bf16"
    assert stored["hc_attn_fn"] == "fp32"


@pytest.mark.parametrize(
    ("name", "layers", "bytes_each"),
    [
        # (kernel - 1) x channels x 2 + heads x head_dim x state x 2 or 4, as vLLM's state shapes say.
        ("Qwen/Qwen3-Next-80B-A3B-Instruct", 36, 3 * 8192 * 2 + 32 * 128 * 128 * 2),
        ("Qwen/Qwen3.5-122B-A10B", 36, 3 * 12288 * 2 + 64 * 128 * 128 * 4),
        ("Qwen/Qwen3.8-2.4T-A95B", 69, 3 * 20480 * 2 + 128 * 128 * 128 * 4),
        ("nvidia/NVIDIA-Nemotron-3-Super-120B-NVFP4-FP8KV", 40, 3 * 10240 * 2 + 128 * 64 * 128 * 4),
        ("ai21labs/AI21-Jamba-1.5-Mini", 28, 3 * 8192 * 2 + 8192 * 16 * 2),
        ("tfdefault/Mamba2Config", 64, 3 * 10240 * 2 + 128 * 64 * 128 * 2),
        ("tfdefault/FalconH1Config", 32, 3 * 1536 * 2 + 128 * 8 * 256 * 2),
        ("tfdefault/Zamba2Config", 54, 3 * 5248 * 2 + 8 * 640 * 64 * 2),
        ("moonshotai/Kimi-K3", 69, 3 * 3 * 96 * 128 * 2 + 96 * 128 * 128 * 4),
        ("tfdefault/MiniMaxConfig", 16, 32 * 128 * 128 * 2),
    ],
)
def test_recurrent_layers_keep_what_the_engine_keeps_per_request(name, layers, bytes_each):
    states = mixers_of(spec_of(name), RecurrentState)
    assert [state_bytes(state) for state in states] == [bytes_each] * layers


def test_a_mamba_convolution_keeps_one_whole_group_on_each_rank():
    # vLLM's Falcon-H1 on 8 GPUs: 640 = 1024 / 8 + 2 x 256, because its one group cannot be divided.
    mamba = mixers_of(spec_of("tfdefault/FalconH1Config"), RecurrentState)[0]
    channels = 0
    for array in mamba.arrays[:2]:
        _, *rest = array.shape
        rest[array.tp_axis - 1] = max(1, rest[array.tp_axis - 1] // 8)
        channels += rest[0] * (rest[1] if len(rest) == 2 else 1)
    assert channels == 640


def test_zamba2_stores_its_shared_block_once_and_counts_its_layers_once():
    spec = spec_of("tfdefault/Zamba2Config")
    assert spec.layer_count == 54
    (block,) = [group for group in spec.layers if group.stored_copies is not None]
    assert (block.stored_copies, block.count) == (1, 9)
    assert [m.kv_heads * (m.head_dim + m.value_head_dim) * 2 for m in mixers_of(spec, Attention)] == [20_480] * 9
    two = spec_of("tfdefault/Zamba2Config", num_mem_blocks=2)
    shared = sum(matrix.parameters for matrix in block.matrices)
    assert total_parameters(two) - total_parameters(spec) == shared


def test_minimax_m3_chooses_16_blocks_of_128_in_57_layers():
    attentions = mixers_of(spec_of("MiniMaxAI/MiniMax-M3"), Attention)
    sparse = [m for m in attentions if m.indexer is not None]
    assert (len(attentions), len(sparse)) == (60, 57)
    assert {(m.indexer.top_k, m.indexer.block, m.indexer.keys_stored_as) for m in sparse} == {(2048, 128, "bf16")}


@pytest.mark.parametrize(
    ("name", "billions", "active_billions"),
    [
        # Recalled from their publishers' cards, not read; no published class was counted for these.
        ("deepseek-ai/DeepSeek-V2-Lite", 15.7, 2.7),  # "15.7B total parameters", 2.4B activated without the embedding
        ("zai-org/GLM-4.7-Flash", 30, 3.6),  # "30B-A3B", again without the embedding
        ("MiniMaxAI/MiniMax-M3", 426, 26),
        ("moonshotai/Kimi-K3", 2780, 105),
    ],
)
def test_sizes_of_models_without_a_counted_class(name, billions, active_billions):
    """Recalled sizes, not read ones: they only catch gross mistakes."""
    spec = spec_of(name)
    assert total_parameters(spec) / 1e9 == pytest.approx(billions, rel=0.01)
    assert active_parameters(spec) / 1e9 == pytest.approx(active_billions, rel=0.1)


KIMI_LINEAR = {
    "architectures": ["KimiLinearForCausalLM"],
    **{"vocab_size": 163840, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 27},
    **{"num_attention_heads": 32, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64},
    **{"v_head_dim": 128, "num_experts": 256, "num_experts_per_token": 8, "moe_intermediate_size": 1024},
    **{"num_shared_experts": 1, "first_k_dense_replace": 1, "max_position_embeddings": 1048576},
    "linear_attn_config": {
        "kda_layers": [i for i in range(1, 27) if i % 4],
        **{"head_dim": 128, "num_heads": 32, "short_conv_kernel_size": 4},
    },
}
GRANITE_SMALL = {
    "architectures": ["GraniteMoeHybridForCausalLM"],
    **{"vocab_size": 100352, "hidden_size": 4096, "intermediate_size": 768, "shared_intermediate_size": 1536},
    **{"num_hidden_layers": 40, "num_attention_heads": 32, "num_key_value_heads": 8, "tie_word_embeddings": True},
    **{"num_local_experts": 72, "num_experts_per_tok": 10, "max_position_embeddings": 131072},
    **{"mamba_n_heads": 128, "mamba_d_state": 128, "mamba_n_groups": 1, "mamba_d_conv": 4, "mamba_expand": 2},
    "layer_types": ["attention" if i % 10 == 5 else "mamba" for i in range(40)],
}


@pytest.mark.parametrize(
    ("config", "billions", "active_billions"),
    [(KIMI_LINEAR, 48, 3), (GRANITE_SMALL, 32, 9)],  # the one's name: "48B-A3B"; the other's size as recalled
    ids=["Kimi-Linear-48B-A3B", "granite-4.0-h-small"],
)
def test_hybrids_without_a_bundled_config_have_about_the_size_that_they_are_known_for(
    config, billions, active_billions
):
    """Dimensions and sizes are recalled, not read: this only catches gross mistakes."""
    spec = read_config(config)
    assert total_parameters(spec) / 1e9 == pytest.approx(billions, rel=0.03)
    assert active_parameters(spec) / 1e9 == pytest.approx(active_billions, rel=0.2)


def test_online_fp8_leaves_16_bit_what_engines_never_quantize():
    stored = {m.name: m.stored_as for g in requantized(spec_of("zai-org/GLM-5"), "fp8").layers for m in g.matrices}
    assert stored["self_attn.q_b_proj"].startswith("fp8")
    assert stored["self_attn.indexer.wk"] == stored["self_attn.indexer.weights_proj"] == "bf16"


def test_step_gives_sliding_layers_their_own_heads():
    other = {"num_attention_heads": 96, "num_attention_groups": 8, "head_dim": 128}
    attentions = mixers_of(spec_of("stepfun-ai/Step-3.7-Flash", attention_other_setting=other), Attention)
    assert {(m.query_heads, m.window) for m in attentions} == {(64, None), (96, 512)}


def test_step_3_7_is_its_196_8_billion_language_model_and_a_tower_of_2_billion():
    """196.81 billion is recalled from Step-3.5-Flash's card, not read; the tower is counted by hand."""
    tower = {"width": 1536, "layers": 47, "image_size": 728, "patch_size": 14, "mlp_ratio": 8960 / 1536}
    other = {"num_attention_heads": 96, "num_attention_groups": 8, "head_dim": 128}
    spec = spec_of("stepfun-ai/Step-3.7-Flash", attention_other_setting=other, vision_config=tower)
    vision = parameters_by_part(spec)["vision"]
    # 196.81 B in all, of which the layers, the embedding and the head.
    assert total_parameters(spec) - vision == pytest.approx(196.81e9, rel=1e-3)
    layer = 4 * (1536 + 1) * 1536 + 2 * 1536 * 8960 + 8960 + 1536 + 6 * 1536
    stem = 3 * 14 * 14 * 1536 + 52 * 52 * 1536 + 2 * 1536
    ends = (9 * 1536 + 1) * 3072 + (9 * 3072 + 1) * 6144 + 6144 * 4096
    assert vision == stem + 47 * layer + ends


# Laws.

shapes = st.integers(1, 64)


@given(shapes, shapes, shapes, shapes, st.integers(2, 8))
def test_mamba2_projects_to_gate_input_groups_and_steps(heads, head_dim, state_dim, groups, kernel):
    shape = Mamba2(32, heads, head_dim, state_dim, groups, kernel)
    weights = mamba2(shape, name="mixer")
    outputs = sum(m.outputs for m in weights if m.name == "mixer.in_proj")
    assert outputs == 2 * heads * head_dim + 2 * groups * state_dim + heads
    convolved = sum(m.outputs for m in weights if m.name == "mixer.conv1d")
    assert state_bytes(shape.state) == 2 * (convolved * (kernel - 1) + heads * head_dim * state_dim)


@given(shapes, shapes, shapes, shapes)
def test_a_delta_net_convolves_exactly_what_it_projects_to_queries_keys_and_values(keys, key_dim, values, value_dim):
    shape = GatedDeltaNet(32, keys, key_dim, values, value_dim, 4, "fp32")
    weights = {m.name: m for m in gated_delta_net(shape, QWEN3_NEXT_INPUTS)}
    assert weights["linear_attn.conv1d"].outputs == shape.channels == shape.state.arrays[0].shape[1]
    assert weights["linear_attn.out_proj"].inputs == values * value_dim


# Hostile configs.


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("deepseek-ai/DeepSeek-V3", {"kv_lora_rank": "512"}, "kv_lora_rank"),
        ("deepseek-ai/DeepSeek-V3", {"num_experts_per_tok": 257}, "num_experts_per_tok"),
        ("deepseek-ai/DeepSeek-V3", {"num_hidden_layers": 10**30}, "num_hidden_layers"),
        ("deepseek-ai/DeepSeek-V3.2", {"q_lora_rank": None}, "q_lora_rank"),
        ("zai-org/GLM-5.2", {"indexer_types": ["full"]}, "indexer_types"),
        ("zai-org/GLM-5.2", {"indexer_types": ["half"] * 78}, "indexer_types"),
        ("deepseek-ai/DeepSeek-V4-Flash", {"compress_ratios": [3] * 44}, "compress_ratios"),
        ("deepseek-ai/DeepSeek-V4-Flash", {"compress_ratios": [4]}, "compress_ratios"),
        ("deepseek-ai/DeepSeek-V4-Flash", {"expert_dtype": "fp2"}, "expert_dtype"),
        ("deepseek-ai/DeepSeek-V4-Flash", {"qk_rope_head_dim": 512}, "qk_rope_head_dim"),
        ("Qwen/Qwen3-Next-80B-A3B-Instruct", {"layer_types": ["dense"] * 48}, "layer_types"),
        ("Qwen/Qwen3-Next-80B-A3B-Instruct", {"num_key_value_heads": 3}, "num_key_value_heads"),
        ("Qwen/Qwen3-Next-80B-A3B-Instruct", {"mamba_ssm_dtype": "float8"}, "mamba_ssm_dtype"),
        ("nvidia/Nemotron-3-Nano", {"hybrid_override_pattern": "M" * 2000}, "hybrid_override_pattern"),
        ("nvidia/Nemotron-3-Nano", {"hybrid_override_pattern": "MX"}, "hybrid_override_pattern"),
        ("nvidia/nemotron-ultra-rl-050826", {"layers_block_type": ["mamba", "ffn"]}, "layers_block_type"),
        ("ai21labs/AI21-Jamba-1.5-Mini", {"attn_layer_offset": 8}, "attn_layer_offset"),
        ("tfdefault/Mamba2Config", {"num_heads": 100}, "num_heads"),
        ("tfdefault/FalconH1Config", {"mamba_n_heads": 100}, "mamba_n_heads"),
        ("tfdefault/Zamba2Config", {"layers_block_type": ["hybrid"]}, "layers_block_type"),
        ("tfdefault/Zamba2Config", {"n_mamba_heads": 7}, "n_mamba_heads"),
        ("tfdefault/Lfm2Config", {"layer_types": ["lstm"] * 32}, "layer_types"),
        ("tfdefault/MiniMaxConfig", {"attn_type_list": [1]}, "attn_type_list"),
        ("MiniMaxAI/MiniMax-M3", {"moe_layer_freq": [1, 0]}, "moe_layer_freq"),
        ("XiaomiMiMo/MiMo-V2-Flash", {"hybrid_layer_pattern": None}, "hybrid_layer_pattern"),
        ("stepfun-ai/Step-3.7-Flash", {"moe_layers_enum": "3;4"}, "moe_layers_enum"),
        ("stepfun-ai/Step-3.7-Flash", {"vision_config": {"layers": 4}}, "width"),
        ("moonshotai/Kimi-K3", {"vision_config": {"vt_hidden_size": -1}}, "vt_hidden_size"),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(name, changes, said):
    with pytest.raises(BadModelConfig, match=said):
        spec_of(name, **changes)


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_every_number_that_is_missing_wrong_or_absurd_is_refused_or_changes_nothing_but_the_model(name):
    config = CONFIGS[name]
    for key in config:
        for wrong in (None, "x", -1, [], {}, 10**40, float("nan")):
            changed = {**deepcopy(config), key: wrong}
            try:
                read_config(changed)
            except Exception as error:  # any other type is the failure that this looks for
                assert type(error).__module__ == "catalog.errors", f"{key} = {wrong!r}: {error!r}"  # noqa: PT017
