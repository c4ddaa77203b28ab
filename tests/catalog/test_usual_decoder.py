"""The usual decoder under another name: believed where the weight files agree, and then right; else refused."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from catalog.errors import CatalogError, UnknownArchitecture
from catalog.find import find_model
from catalog.model import Attention
from catalog.read import read_config
from catalog.sizes import active_parameters, total_parameters
from catalog.usual_decoder import AGREES_WITHIN, read_usual_decoder

ORACLES = Path(__file__).parent.parent / "oracles"
ENTRIES = {
    **json.loads((ORACLES / "attention_configs.json").read_text()),
    **json.loads((ORACLES / "latent_and_recurrent_configs.json").read_text()),
}

SMOLLM3 = {
    "architectures": ["SmolLM3ForCausalLM"],
    "hidden_size": 2048,
    "intermediate_size": 11008,
    "num_hidden_layers": 36,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "vocab_size": 128256,
    "max_position_embeddings": 65536,
}
SMOLLM3_PARAMETERS = 3_075_098_624
"""HuggingFaceTB/SmolLM3-3B as the Hub counts it; its embeddings are tied, which its config leaves to the library."""

QWEN_MOE = {
    "architectures": ["Qwen2MoeForCausalLM"],
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "moe_intermediate_size": 1408,
    "shared_expert_intermediate_size": 5632,
    "num_experts": 60,
    "num_experts_per_tok": 4,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "vocab_size": 151936,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": False,
}
QWEN_MOE_PARAMETERS = 14_315_784_192
"""Qwen/Qwen1.5-MoE-A2.7B as the Hub counts it."""

PHI = {
    "architectures": ["PhiForCausalLM"],
    "hidden_size": 2560,
    "intermediate_size": 10240,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "vocab_size": 51200,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": False,
}
PHI_PARAMETERS = 2_779_683_840
"""microsoft/phi-2 as the Hub counts it: an MLP without a gate, biases everywhere."""


UNDESCRIBED = {"architectures": ["UndescribedForCausalLM"]}


def read(config, counted):
    """The model if it agrees with a count of parameters."""
    return read_usual_decoder(config, None, lambda spec: abs(total_parameters(spec) / counted - 1))


@pytest.mark.parametrize(
    ("config", "parameters"), [(SMOLLM3, SMOLLM3_PARAMETERS), (QWEN_MOE, QWEN_MOE_PARAMETERS), (PHI, PHI_PARAMETERS)]
)
def test_published_models_are_recognized_by_their_counts(config, parameters):
    spec, share = read(config, parameters)
    assert share <= AGREES_WITHIN
    assert spec.architecture == config["architectures"][0]


@pytest.mark.parametrize("config", [SMOLLM3, QWEN_MOE])
def test_an_architecture_that_is_not_described_is_refused_without_a_count(config):
    with pytest.raises(UnknownArchitecture):
        read_config(config | UNDESCRIBED)


def test_a_described_architecture_has_every_parameter_that_the_usual_decoder_comes_near():
    assert total_parameters(read_config(PHI)) == PHI_PARAMETERS


def test_what_the_config_leaves_open_is_told_by_the_count():
    smol, _ = read(SMOLLM3, SMOLLM3_PARAMETERS)
    assert (smol.tied_embeddings, total_parameters(smol)) == (True, SMOLLM3_PARAMETERS)
    phi, _ = read(PHI, PHI_PARAMETERS)
    assert not any("gate" in matrix.name for matrix in phi.layers[0].matrices)
    moe, _ = read(QWEN_MOE, QWEN_MOE_PARAMETERS)
    assert 2.6e9 < active_parameters(moe) < 2.8e9


@pytest.mark.parametrize("share", [0.98, 1.02])
def test_weights_that_do_not_agree_are_not_believed(share):
    assert read(SMOLLM3, SMOLLM3_PARAMETERS * share) is None


def test_without_a_count_nothing_is_believed():
    assert read_usual_decoder(SMOLLM3, None, lambda spec: math.inf) is None


def test_what_is_believed_is_right():
    """Every config whose family is described, under a name that is not: refused, or read as its family reads it."""
    believed = 0
    for entry in ENTRIES.values():
        config = entry.get("config", entry)
        true = read_config(config, entry.get("hf_quant_config"))
        config = {key: value for key, value in config.items() if key != "quantization_config"}
        plain = read_config(config)
        found = read({**config, "architectures": ["UnknownForCausalLM"]}, total_parameters(plain))
        if found is None:
            continue
        believed += 1
        spec = found[0]
        assert kept(spec) == kept(true)
        assert abs(active_parameters(spec) / active_parameters(true) - 1) < 0.02
    assert believed >= 30


def kept(spec):
    """What each layer keeps, in order."""
    passed = [group for group in spec.layers if not group.next_token_prediction]
    by_layer = {index: mixer for group in passed for index in group.indices for mixer in group.mixers}
    assert all(isinstance(mixer, Attention) for mixer in by_layer.values())
    return [(m.kv_heads, m.head_dim, m.window) for _, m in sorted(by_layer.items())]


@pytest.mark.parametrize(
    "key", ["mamba_d_state", "kv_lora_rank", "layers_block_type", "vision_config", "num_kv_shared_layers"]
)
def test_other_kinds_of_layers_are_refused_unread(key):
    assert read({**SMOLLM3, key: 64}, SMOLLM3_PARAMETERS) is None
    assert read({**SMOLLM3, key: None}, SMOLLM3_PARAMETERS) is not None


def test_on_the_hub_it_says_how_it_was_read(hub):
    smol = SMOLLM3 | UNDESCRIBED
    counted = {"safetensors": {"parameters": {"BF16": SMOLLM3_PARAMETERS}}}
    hub.add("org/smol", {"config.json": smol}, about=counted)
    spec = find_model("org/smol")
    assert (spec.confidence, spec.max_context_tokens) == ("inferred", 65536)
    assert "UndescribedForCausalLM is not described here" in spec.notes[0]
    hub.add("org/other", {"config.json": smol}, about={"safetensors": {"parameters": {"BF16": 10**9}}})
    hub.add("org/none", {"config.json": smol})
    for name in ("org/other", "org/none"):
        with pytest.raises(CatalogError, match="UndescribedForCausalLM"):
            find_model(name)


@pytest.mark.parametrize("value", [None, -1, 0, "8", [1], {}, 10**30, 0.5, True])
@pytest.mark.parametrize("key", sorted(QWEN_MOE))
def test_any_value_is_answered(key, value):
    try:
        found = read({**QWEN_MOE, key: value}, QWEN_MOE_PARAMETERS)
    except CatalogError:
        return
    assert found is None or found[1] <= AGREES_WITHIN
