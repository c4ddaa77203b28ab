"""OLMo Hybrid: gated delta nets in three layers of four, OLMo's attention with norms behind it in the fourth."""

from __future__ import annotations

from catalog.architectures.llama import read_attention
from catalog.blocks import Layer, Shape, attention, gated_mlp, language_model, linear, norm, pre_norms, table
from catalog.mixers import GatedDeltaNet
from catalog.model import Matrix, Part
from catalog.reading import Fields

ARCHITECTURES = ("OlmoHybridForCausalLM",)
MODEL_TYPES = ("olmo_hybrid",)

_KINDS = ("linear_attention", "full_attention")


def read(config: Fields) -> Shape:
    """Layers by layer_types. Source: transformers 5.19's OlmoHybridConfig for what a config may leave out."""
    hidden, count = config.size("hidden_size"), config.layers()
    by_kind = {"linear_attention": _delta_layer(config, hidden), "full_attention": _attention_layer(config, hidden)}
    mlp = gated_mlp(hidden, config.size("intermediate_size"))
    mixers = [by_kind[kind] for kind in _layer_kinds(config, count)]
    return language_model(config, "OLMo", [Layer(each.mixers, (*each.matrices, *mlp)) for each in mixers])


def _layer_kinds(config: Fields, count: int) -> tuple[str, ...]:
    """Every fourth layer attends, or the last of fewer than four."""
    if "layer_types" not in config:
        return tuple(_KINDS[i % 4 == 3 or i == count - 1 < 3] for i in range(count))
    kinds = config.words("layer_types", length=count)
    config.require(set(kinds) <= set(_KINDS), "layer_types", f"a list of {' and '.join(_KINDS)}")
    return kinds


def _attention_layer(config: Fields, hidden: int) -> Layer:
    mixer, bias = read_attention(config), config.flag("attention_bias", default=False)
    widths = (mixer.query_heads * mixer.head_dim, mixer.kv_heads * mixer.head_dim)
    matrices = (
        *attention(hidden, mixer, qkv_bias=bias, output_bias=bias, qk_norm=widths),
        norm("post_attention_layernorm", hidden),
        norm("post_feedforward_layernorm", hidden),
    )
    return Layer((mixer,), matrices)


def _delta_layer(config: Fields, hidden: int) -> Layer:
    heads = config.size("num_attention_heads", largest=2**16)
    key_heads = config.size("linear_num_key_heads", default=heads, largest=2**16)
    key_dim = config.size("linear_key_head_dim", default=max(1, 3 * hidden // (4 * key_heads)))
    shape = GatedDeltaNet(
        hidden=hidden,
        key_heads=key_heads,
        key_head_dim=key_dim,
        value_heads=config.size("linear_num_value_heads", default=heads, largest=2**16),
        value_head_dim=config.size("linear_value_head_dim", default=2 * key_dim),
        kernel=config.size("linear_conv_kernel_dim", default=4, largest=64),
    )
    return Layer((shape.state,), (*_delta_net(shape), *pre_norms(hidden)))


def _delta_net(shape: GatedDeltaNet) -> tuple[Matrix, ...]:
    """A projection for each of queries, keys, values, gate, write strength and decay."""
    keys, heads = shape.key_heads * shape.key_head_dim, shape.value_heads
    outputs = {"q": keys, "k": keys, "v": shape.value_width, "g": shape.value_width, "b": heads, "a": heads}
    name, dim = "linear_attn", shape.value_head_dim
    part: Part = "linear_attention"
    return (
        *(linear(f"{name}.{n}_proj", part, size, shape.hidden, "column") for n, size in outputs.items()),
        table(f"{name}.conv1d", part, shape.channels, shape.kernel, "column"),
        table(f"{name}.A_log", part, heads, sharding="column"),
        table(f"{name}.dt_bias", part, heads, sharding="column"),
        norm(f"{name}.o_norm", dim, part=part),
        linear(f"{name}.o_proj", part, shape.hidden, shape.value_width, "row", granule=dim),
    )
