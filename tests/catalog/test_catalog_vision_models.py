"""Models that see: inner configs with the library's defaults, towers up to the layer that is read, published counts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from catalog.errors import BadModelConfig, UnknownArchitecture
from catalog.read import read_config
from catalog.sizes import active_parameters, total_parameters

ORACLES = Path(__file__).parent.parent / "oracles" / "architectures"

SMALL_TOWER = {
    **{"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16},
    **{"image_size": 448, "norm_type": "layer_norm", "qk_normalization": False, "qkv_bias": True},
}
LARGE_TOWER = {"image_size": 448, "num_hidden_layers": 45}
"""InternViT 6B as the defaults of its own class leave it, but for three layers and the size of images."""

INTERNVL_2_5 = {
    "1B": (("qwen2", 896, 4864, 24, 14, 2), SMALL_TOWER, 938_193_024),
    "2B": (("internlm2", 2048, 8192, 24, 16, 8), SMALL_TOWER, 2_205_754_368),
    "4B": (("qwen2", 2048, 11008, 36, 16, 2), SMALL_TOWER, 3_712_637_952),
    "8B": (("internlm2", 4096, 14336, 32, 32, 8), SMALL_TOWER, 8_075_365_376),
    "26B": (("internlm2", 6144, 16384, 48, 48, 8), LARGE_TOWER, 25_514_186_112),
    "38B": (("qwen2", 5120, 27648, 64, 40, 8), LARGE_TOWER, 38_388_164_992),
    "78B": (("qwen2", 8192, 29568, 80, 64, 8), LARGE_TOWER, 78_408_318_336),
}
"""Language model, tower, and the parameters in the published weight files (floschne/gimmick on github counts them)."""


def oracle(name):
    return json.loads((ORACLES / f"{name}.json").read_text(encoding="utf-8"))["config"]


def internvl(language_model, tower):
    model_type, hidden, inner, layers, heads, kv_heads = language_model
    return {
        "architectures": ["InternVLChatModel"],
        "llm_config": {
            **{"model_type": model_type, "bias": False, "hidden_size": hidden, "intermediate_size": inner},
            **{"num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv_heads},
            **{"vocab_size": 151_674 if model_type == "qwen2" else 92_553, "max_position_embeddings": 32_768},
        },
        "vision_config": tower,
    }


@pytest.mark.parametrize(("language_model", "tower", "published"), INTERNVL_2_5.values(), ids=INTERNVL_2_5)
def test_every_size_of_internvl_has_the_parameters_of_its_weight_files(language_model, tower, published):
    assert total_parameters(read_config(internvl(language_model, tower))) == published


def test_layers_behind_the_one_that_is_read_are_counted_and_not_loaded():
    config = oracle("Llava")
    specs = [read_config(config | {"vision_feature_layer": layer}) for layer in (-1, -2, 12, [3, 12])]
    towers = [spec.vision for spec in specs]
    assert [tower.layers for tower in towers] == [24, 23, 12, 12]
    assert len({total_parameters(spec) for spec in specs[:3]}) == 1
    assert len({active_parameters(spec) for spec in specs}) == 1
    layer = sum(m.parameters for m in towers[0].matrices) - sum(m.parameters for m in towers[1].matrices)
    assert layer == 4 * 1024 * 1025 + 2 * 1024 * 4096 + 4096 + 1024 + 4 * 1024


@pytest.mark.parametrize("layer", [0, -25, 25, "last", [], ["last"], [-2, 30], True])
def test_a_layer_that_the_tower_has_not_is_refused(layer):
    with pytest.raises(BadModelConfig, match="vision_feature_layer"):
        read_config(oracle("Llava") | {"vision_feature_layer": layer})


def test_a_key_that_is_left_out_has_the_librarys_value_and_an_empty_one_has_none():
    config = oracle("LlavaNext")
    text = {key: value for key, value in config["text_config"].items() if key != "sliding_window"}
    windows = [
        {mixer.window for mixer in read_config(config | {"text_config": each}).mixers}
        for each in (text, text | {"sliding_window": None})
    ]
    assert windows == [{4096}, {None}]


def test_a_tower_or_a_language_model_that_is_not_described_is_named():
    config = oracle("Llava")
    with pytest.raises(BadModelConfig, match=r"model_type = 'dinov2'.*clip_vision_model"):
        read_config(config | {"vision_config": config["vision_config"] | {"model_type": "dinov2"}})
    with pytest.raises(UnknownArchitecture, match="'rwkv9'"):
        read_config(config | {"text_config": {"model_type": "rwkv9"}})
    nemotron = oracle("NemotronH_Nano_VL_V2")
    with pytest.raises(BadModelConfig, match=r"vit_tiny.*vit_huge"):
        read_config(nemotron | {"vision_config": {"args": {"model": "vit_tiny"}}})


def test_adapters_of_phi_4_are_counted_and_not_loaded():
    """Of ranks 256 and 320 in each of 32 layers; 370 and 460 million were published."""
    config = oracle("Phi4MM")
    spec = read_config(config)
    bare = read_config({key: value for key, value in config.items() if not key.endswith("_lora")})
    assert spec.vision.matrices == bare.vision.matrices
    widths = (3072 + 5120) + (3072 + 3072) + (3072 + 2 * 8192) + (8192 + 3072)
    assert total_parameters(spec) - total_parameters(bare) == 32 * (256 + 320) * widths
