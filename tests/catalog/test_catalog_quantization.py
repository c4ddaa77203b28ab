"""Bytes per weight, by hand; what a checkpoint can be turned into; what quantizers' lists of modules mean."""

from __future__ import annotations

import numpy as np
import pytest

from catalog.errors import BadModelConfig, UnknownQuantization
from catalog.find import find_model
from catalog.model import Matrix
from catalog.quantization import SCHEMES, available_formats, requantized, stored_bytes
from catalog.read import read_config
from catalog.reading import Fields
from catalog.sizes import weight_bytes
from catalog.storage import Modules, read_storage

SMALL_LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
    "max_position_embeddings": 2048,
    "torch_dtype": "bfloat16",
}


def matrix(stored_as, bias=False):
    return Matrix("x", "mlp", 300, 256, bias=bias, stored_as=stored_as)


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [
        ("bf16", 300 * 256 * 2),
        ("fp32", 300 * 256 * 4),
        ("fp8_tensor", 300 * 256 + 4),
        ("fp8_channel", 300 * 256 + 300 * 4),
        ("fp8_block128", 300 * 256 + 3 * 2 * 4),
        ("int8_channel", 300 * 256 + 300 * 4),
        ("int4_group128", 300 * 256 // 2 + 300 * 2 * 2 + 300 * 2 // 2),
        ("int4_group128_symmetric", 300 * 256 // 2 + 300 * 2 * 2),
        ("int4_group32_symmetric", 300 * 256 // 2 + 300 * 8 * 2),
        ("int4_group128_gptq", 300 * 256 // 2 + 300 * 2 * 2 + 300 * 2 // 2 + 256 * 4),
        ("nvfp4", 300 * 256 // 2 + 300 * 16 + 8),
        ("mxfp4", 300 * 256 // 2 + 300 * 8),
    ],
)
def test_bytes_of_a_matrix_are_its_values_and_its_scales(scheme, expected):
    assert stored_bytes(matrix(scheme), 300, 256, 1) == expected


def test_biases_stay_in_16_bit_and_experts_multiply_everything():
    assert stored_bytes(matrix("fp8_tensor", bias=True), 300, 256, 8) == 8 * (300 * 256 + 4 + 300 * 2)


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
def test_arrays_of_shards_give_the_same_bytes_as_one_shard_at_a_time(scheme):
    outputs, inputs, copies = (
        np.array([300, 150, 75, 1, 0]),
        np.array([256, 128, 64, 33, 16]),
        np.array([1, 2, 3, 4, 5]),
    )
    columnar = stored_bytes(matrix(scheme, bias=True), outputs, inputs, copies)
    rows = zip(outputs.tolist(), inputs.tolist(), copies.tolist(), strict=True)
    assert columnar.tolist() == [stored_bytes(matrix(scheme, bias=True), *row) for row in rows]


def test_an_unknown_scheme_is_named():
    with pytest.raises(UnknownQuantization, match="fp3"):
        stored_bytes(matrix("fp3"), 1, 1, 1)


def test_a_bf16_model_can_be_served_in_every_lower_format_and_embeddings_keep_16_bit():
    spec = read_config(SMALL_LLAMA)
    assert available_formats(spec) == ("bf16", "fp8", "int8", "int4", "nvfp4")
    fp8 = requantized(spec, "fp8")
    linear = 2 * (256 * (256 + 128 + 128 + 256) + 3 * 256 * 512)
    assert weight_bytes(spec) - weight_bytes(fp8) == linear - 2 * 7 * 4
    assert {m.stored_as for m in fp8.outside} == {"bf16"}
    assert fp8.weight_format == "fp8"


def test_a_checkpoint_is_never_requantized_upwards():
    fp8 = requantized(read_config(SMALL_LLAMA), "fp8")
    assert available_formats(fp8) == ("fp8", "int4", "nvfp4")
    with pytest.raises(UnknownQuantization, match="bf16"):
        requantized(fp8, "bf16")


def test_what_a_quantizer_left_alone_stays_so_when_requantized():
    quantization = {"quant_method": "fp8", "modules_to_not_convert": ["self_attn"]}
    spec = requantized(read_config({**SMALL_LLAMA, "quantization_config": quantization}), "int4")
    stored = {m.name.split(".")[0]: m.stored_as for m in spec.layers[0].matrices if m.gemm}
    assert stored == {"self_attn": "bf16", "mlp": "int4_group128"}


def test_own_format_changes_nothing():
    spec = read_config(SMALL_LLAMA)
    assert requantized(spec, "bf16") is spec


@pytest.mark.parametrize(
    ("entry", "path", "held"),
    [
        ("lm_head", "lm_head", True),
        ("gate", "model.layers.3.mlp.gate", True),
        ("gate", "model.layers.3.mlp.gate_proj", False),
        ("model.layers.1.mlp", "model.layers.1.mlp.up_proj", True),
        ("model.layers.1.mlp", "model.layers.11.mlp.up_proj", False),
        ("model.layers.*.self_attn", "model.layers.7.self_attn.q_proj", True),
        ("model.layers.21.self_attn*", "model.layers.21.self_attn.o_proj", True),
        ("model.layers.2.self_attn*", "model.layers.21.self_attn.o_proj", False),
        ("model.language_model.layers.0.linear_attn*", "model.layers.0.linear_attn.out_proj", True),
        ("*.mlp.shared_expert.*", "model.layers.0.mlp.shared_expert.up_proj", True),
        (r"re:.*\.self_attn\.q_proj$", "model.layers.0.self_attn.q_proj", True),
        (r"re:.*mlp\.(gate|up|gate_up|down)_proj.*", "model.layers.0.mlp.experts.up_proj", False),
        ("model.layers.0.self_attn.qkv_proj", "model.layers.0.self_attn.k_proj", True),
        ("model.layers.0.mlp.experts.0.up_proj", "model.layers.0.mlp.experts.up_proj", True),
    ],
)
def test_lists_of_modules_are_understood_in_every_dialect(entry, path, held):
    assert Modules([entry]).holds(path) is held


@pytest.mark.parametrize("pattern", ["re:(a+)+$", "re:(", "re:.*a.*b.*c.*d.*e.*f", "x" * 400])
def test_a_pattern_that_could_hang_or_is_none_is_refused(pattern):
    with pytest.raises(BadModelConfig):
        Modules([pattern])


@pytest.mark.parametrize(
    ("quantization", "scheme"),
    [
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8_block128"),
        ({"quant_method": "fp8", "activation_scheme": "static"}, "fp8_tensor_static"),
        ({"quant_method": "fp8", "activation_scheme": "dynamic"}, "fp8_tensor"),
        ({"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}, "int4_group128"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False}, "int4_group128_gptq"),
        ({"quant_method": "gptq", "bits": 8, "group_size": -1}, "int8_channel_weight_only_gptq"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "nf4_group64"),
        ({"quant_method": "fbgemm_fp8"}, "fp8_channel"),
        ({"quant_method": "auto-round", "bits": 4, "group_size": 128, "sym": True}, "int4_group128"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "nvfp4"),
        ({"quant_algo": "FP8", "ignore": ["lm_head"]}, "fp8_tensor_static"),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {
                    "group_0": {
                        "targets": ["Linear"],
                        "weights": {"num_bits": 4, "type": "int", "group_size": 32, "symmetric": True},
                    }
                },
            },
            "int4_group32_symmetric",
        ),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {
                    "group_0": {
                        "targets": ["Linear"],
                        "input_activations": {"num_bits": 8, "type": "float", "dynamic": True},
                        "weights": {"num_bits": 8, "type": "float", "strategy": "channel"},
                    }
                },
            },
            "fp8_channel",
        ),
    ],
)
def test_every_published_dialect_gives_its_scheme(quantization, scheme):
    spec = read_config({**SMALL_LLAMA, "quantization_config": quantization})
    assert {m.stored_as for m in spec.layers[0].matrices if m.gemm} == {scheme}
    assert {m.stored_as for m in spec.outside} == {"bf16"}
    assert spec.weight_format == SCHEMES[scheme].format


def test_layers_that_the_quantizer_skipped_form_their_own_group():
    quantization = {"quant_method": "fp8", "modules_to_not_convert": ["model.layers.1.mlp"]}
    first, second = read_config({**SMALL_LLAMA, "quantization_config": quantization}).layers
    assert (first.indices, second.indices) == ((0,), (1,))
    kept = {m.name for m in second.matrices if m.gemm and m.stored_as == "bf16"}
    assert kept == {"mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"}


def test_an_unknown_method_is_an_error_that_names_it():
    with pytest.raises(UnknownQuantization, match="quip"):
        read_storage(Fields({**SMALL_LLAMA, "quantization_config": {"quant_method": "quip"}}))


def test_modelopt_files_beside_the_config_are_read():
    quant = {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8"}}
    spec = read_config(SMALL_LLAMA, quant)
    assert (spec.weight_format, spec.quantization_method, spec.kv_cache_format) == ("nvfp4", "modelopt_fp4", "fp8")


def test_fp16_checkpoints_stay_fp16():
    assert read_config({**SMALL_LLAMA, "torch_dtype": "float16"}).weight_format == "fp16"


def test_a_quantizers_own_list_decides_what_stays_in_sixteen_bit():
    ours = find_model("cyankiwi/Kimi-Linear-48B-A3B-Instruct-AWQ-4bit")
    assert weight_bytes(ours) == pytest.approx(30.53e9, rel=0.0005)  # its files on the Hub; all int4 would be 27.6
    assert {m.part for g in ours.layers for m in g.matrices if m.stored_as.startswith("int4")} == {"experts"}
