"""Command, GLM 4, Granite with windows, StableLM and MPT: what their configs leave to the reader."""

import json
from pathlib import Path

import pytest

from catalog.errors import BadModelConfig
from catalog.find import find_model
from catalog.read import read_config
from catalog.sizes import total_parameters

ORACLES = Path(__file__).parents[1] / "oracles" / "architectures"
BILLIONS = {
    "CohereLabs/c4ai-command-a-03-2025": 111,
    "CohereLabs/c4ai-command-r-plus": 104,
    "CohereLabs/c4ai-command-r-08-2024": 32,
    "zai-org/GLM-4-32B-0414": 32,
    "LGAI-EXAONE/EXAONE-3.5-7.8B-Instruct": 7.8,
}
"""Parameters as names and model cards state them."""


def config_of(name):
    return json.loads((ORACLES / f"{name}.json").read_text(encoding="utf-8"))["config"]


def without(config, *keys):
    return {key: value for key, value in config.items() if key not in keys}


def windows_of(config):
    return [(mixer.window, group.indices[:3]) for group in read_config(config).layers for mixer in group.mixers]


@pytest.mark.parametrize("name", BILLIONS)
def test_it_is_as_large_as_its_publisher_says(name):
    assert total_parameters(find_model(name)) == pytest.approx(BILLIONS[name] * 1e9, rel=0.02)


def test_cohere_2_keeps_the_newest_token_beside_its_window_in_three_layers_of_four():
    config = without(config_of("Cohere2"), "layer_types") | {"sliding_window": 4096}
    assert windows_of(config) == [(4097, (0, 1, 2)), (None, (3, 7, 11))]
    assert windows_of(config | {"sliding_window_pattern": 2}) == [(4097, (0, 2, 4)), (None, (1, 3, 5))]


def test_the_first_command_r_plus_is_as_long_as_its_model_max_length():
    assert find_model("CohereLabs/c4ai-command-r-plus").max_context_tokens == 131_072


def test_granite_with_windows_sees_everything_in_every_fourth_layer_from_the_first():
    config = without(config_of("GraniteSWA"), "layer_types")
    assert windows_of(config) == [(None, (0, 4, 8)), (128, (1, 2, 3))]


def test_granite_without_experts_and_shared_mlp_is_refused():
    config = config_of("GraniteMoe") | {"num_local_experts": 0}
    with pytest.raises(BadModelConfig, match="num_local_experts"):
        read_config(config)


def test_stablelm_in_parallel_has_one_norm_less_per_layer_and_a_scale_per_head():
    plain = config_of("StableLm")
    layers, hidden, heads = plain["num_hidden_layers"], plain["hidden_size"], 2 * plain["num_attention_heads"]
    one_norm, head_dim = 2 * hidden, hidden // plain["num_attention_heads"]
    parallel = plain | {"use_parallel_residual": True, "qk_layernorm": True}
    more = total_parameters(read_config(parallel)) - total_parameters(read_config(plain))
    assert more == layers * (heads * head_dim - one_norm)


@pytest.mark.parametrize(("change", "named"), [({"alibi": False}, "alibi"), ({"kv_n_heads": 5}, "kv_n_heads")])
def test_an_mpt_whose_attention_no_engine_serves_is_refused(change, named):
    config = config_of("Mpt")
    with pytest.raises(BadModelConfig, match=named):
        read_config(config | {"attn_config": config["attn_config"] | change})


def test_an_mpt_with_few_kv_heads_keeps_their_keys_only():
    config = config_of("Mpt")
    spec = read_config(config | {"attn_config": config["attn_config"] | {"kv_n_heads": 8}})
    assert (spec.query_heads, spec.kv_heads) == (32, 8)


def test_a_glm_that_also_sees_is_refused_and_not_read_as_its_language_model():
    with pytest.raises(BadModelConfig, match="vision_config"):
        read_config(config_of("Glm") | {"vision_config": {"hidden_size": 1152}})
