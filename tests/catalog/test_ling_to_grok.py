"""Ling, Ring, LongCat, Trinity, Command A+, K-EXAONE, Step 3, Grok: other forms of their configs."""

import json
from pathlib import Path

import pytest

from catalog.errors import BadModelConfig
from catalog.model import Attention, LatentAttention, RecurrentState
from catalog.read import read_config
from catalog.sizes import active_parameters, total_parameters

ORACLES = Path(__file__).parent.parent / "oracles" / "architectures"
GROK_2 = {
    **{"architectures": ["Grok1ForCausalLM"], "model_type": "git", "torch_dtype": "bfloat16", "vocab_size": 131072},
    **{"hidden_size": 8192, "num_hidden_layers": 64, "num_attention_heads": 64, "num_key_value_heads": 8},
    **{"intermediate_size": 32768, "moe_intermediate_size": 16384, "num_local_experts": 8, "num_experts_per_tok": 2},
    **{"residual_moe": True, "head_dim": 128, "max_position_embeddings": 131072},
}


def config_of(name):
    return json.loads((ORACLES / f"{name}.json").read_text(encoding="utf-8"))["config"]


def without(config, *keys):
    return {key: value for key, value in config.items() if key not in keys}


def kinds(spec):
    """What each layer keeps, in their order."""
    found = {index: type(group.mixers[0]) for group in spec.layers for index in group.indices}
    return [found[index] for index in sorted(found)]


def test_grok_2_has_the_270_billion_parameters_that_were_published():
    assert total_parameters(read_config(GROK_2)) == pytest.approx(270e9, rel=0.003)


def test_grok_1_has_the_314_billion_parameters_that_were_published():
    grok_1 = without(GROK_2, "moe_intermediate_size", "residual_moe") | {"hidden_size": 6144, "num_attention_heads": 48}
    assert total_parameters(read_config(grok_1)) == pytest.approx(314e9, rel=0.01)


@pytest.mark.parametrize("full", [Attention, LatentAttention])
def test_every_fifth_layer_of_ring_has_softmax_attention(full):
    name = "BailingMoeV2_5" if full is LatentAttention else "BailingMoeV2"
    spec = read_config(config_of(name) | {"layer_group_size": 5})
    assert kinds(spec) == ([RecurrentState] * 4 + [full]) * 4


def test_lings_layers_that_predict_further_tokens_are_in_no_total():
    ling = config_of("BailingMoeV2")
    assert total_parameters(read_config(ling | {"num_nextn_predict_layers": 1})) == total_parameters(read_config(ling))


def test_experts_of_longcat_that_return_their_input_have_no_weights():
    longcat = config_of("LongcatFlash")
    spec, all_real = read_config(longcat), read_config(longcat | {"zero_expert_num": 0})
    routed = 3 * longcat["hidden_size"] * longcat["expert_ffn_hidden_size"] * longcat["num_layers"]
    scores = 256 * longcat["hidden_size"] * longcat["num_layers"]
    assert total_parameters(spec) - total_parameters(all_real) == scores
    assert active_parameters(all_real) - active_parameters(spec) == (12 - 8) * routed - scores


@pytest.mark.parametrize(
    ("name", "listed"), [("Afmoe", ["layer_types"]), ("ExaoneMoe", ["layer_types", "mlp_layer_types"])]
)
def test_lists_of_layers_that_follow_the_librarys_rule_can_be_left_out(name, listed):
    config = config_of(name)
    assert read_config(without(config, *listed)) == read_config(config)


def test_command_a_plus_lists_its_layers_or_states_how_many_are_dense():
    listed = config_of("Cohere2Moe")
    stated = without(listed, "layer_types", "mlp_layer_types") | {"first_k_dense_replace": 2}
    assert read_config(stated) == read_config(listed)


def test_layers_of_k_exaone_may_have_windows_of_their_own():
    config = config_of("ExaoneMoe")
    own = [0 if kind == "full_attention" else 128 for kind in config["layer_types"]]
    assert read_config(config | {"sliding_windows": own}) == read_config(config)
    assert {m.window for m in read_config(config | {"sliding_windows": [64, *own[1:]]}).mixers} == {64, 128, None}


@pytest.mark.parametrize("change", [{"moe_layers_enum": None}, {"num_attention_groups": 2}, {"moe_layers_enum": "a,b"}])
def test_a_step_3_that_cannot_be_is_refused(change):
    with pytest.raises(BadModelConfig, match=next(iter(change))):
        read_config(config_of("Step3Text") | change)
