"""A plain MLP of squared ReLU behind Llama's attention: Nemotron-4 and Jais 2 with LayerNorms, Arcee's AFM."""

from __future__ import annotations

from catalog.architectures.llama import read_attention
from catalog.blocks import Layer, Shape, attention, language_model, plain_mlp, pre_norms
from catalog.reading import Fields

ARCHITECTURES = ("NemotronForCausalLM", "Jais2ForCausalLM", "ArceeForCausalLM")
MODEL_TYPES = ("nemotron", "jais2", "arcee")

_FAMILIES = {"nemotron": "Nemotron", "jais2": "Jais 2", "arcee": "AFM"}


def read(config: Fields) -> Shape:
    """Jais 2 has biases everywhere unless its config says no, the others only where theirs asks for them."""
    kind = str(config.get("model_type"))
    hidden, mixer, shifted = config.size("hidden_size"), read_attention(config), kind != "arcee"
    biased = config.flag("attention_bias", default=kind == "jais2")
    matrices = (
        *attention(hidden, mixer, qkv_bias=biased, output_bias=biased),
        *plain_mlp(hidden, config.size("intermediate_size"), bias=config.flag("mlp_bias", default=kind == "jais2")),
        *pre_norms(hidden, bias=shifted),
    )
    family = _FAMILIES.get(kind, "Nemotron")
    return language_model(config, family, [Layer((mixer,), matrices)] * config.layers(), shifted=shifted)
