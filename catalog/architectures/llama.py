"""Llama 1 to 3, and families whose layers have the same matrices: Mistral, Granite 3, Yi, Aquila, InternLM 3, Solar."""

from __future__ import annotations

from dataclasses import replace

from catalog.blocks import Layer, Shape, attention, gated_mlp, language_model, pre_norms
from catalog.model import Attention
from catalog.reading import LARGEST_CONTEXT, Fields, windows

ARCHITECTURES = (
    "LlamaForCausalLM",
    "MistralForCausalLM",
    "Ministral3ForCausalLM",
    "GraniteForCausalLM",
    "AquilaForCausalLM",
    "AquilaModel",
    "BaichuanForCausalLM",
    "BaiChuanForCausalLM",
    "InternLM3ForCausalLM",
    "SolarForCausalLM",
    "LLaMAForCausalLM",
    "IQuestCoderForCausalLM",
    "TeleChat3ForCausalLM",
    "XverseForCausalLM",
)
MODEL_TYPES = (
    "llama",
    "mistral",
    "ministral3",
    "granite",
    "aquila",
    "baichuan",
    "internlm3",
    "solar",
    "iquestcoder",
    "telechat3",
    "xverse",
)

_FAMILIES = {
    "llama": "Llama",
    "mistral": "Mistral",
    "ministral3": "Mistral",
    "granite": "Granite",
    "aquila": "Aquila",
    "baichuan": "Baichuan",
    "internlm3": "InternLM 3",
    "solar": "Solar",
    "iquestcoder": "IQuest Coder",
    "telechat3": "TeleChat",
    "xverse": "XVERSE",
}


def read(config: Fields) -> Shape:
    """Grouped-query attention and a gated MLP in every layer; Mistral may use a sliding window."""
    return text_shape(config, _FAMILIES.get(str(config.get("model_type")), "Llama"))


def text_shape(text: Fields, family: str, layer_path: str = "model.layers") -> Shape:
    """The language model that `text` describes."""
    hidden, mixer = text.size("hidden_size"), read_attention(text)
    matrices = (
        *attention(
            hidden,
            mixer,
            qkv_bias=text.flag("qkv_bias", "attention_bias", "bias", "use_bias", default=False),
            output_bias=text.flag("attention_out_bias", "attention_bias", "bias", "use_bias", default=False),
        ),
        *gated_mlp(hidden, text.size("intermediate_size"), bias=text.flag("mlp_bias", "use_bias", default=False)),
        *pre_norms(hidden),
    )
    layers = [Layer((replace(mixer, window=window),), matrices) for window in layer_windows(text)]
    return language_model(text, family, layers, layer_path=layer_path)


def layer_windows(text: Fields) -> tuple[int | None, ...]:
    """The window of each layer: as `layer_types` says, without it the one `sliding_window` of all."""
    if "layer_types" in text:
        return windows(text, text.layers())
    return (text.optional_size("sliding_window", largest=LARGEST_CONTEXT),) * text.layers()


def read_attention(text: Fields, window: int | None = None, *, heads: int | None = None) -> Attention:
    """Heads as Llama's config states them; without num_key_value_heads, each query head has its own."""
    heads = heads or text.size("num_attention_heads", largest=2**16)
    kv_heads = text.size("num_key_value_heads", default=heads, largest=2**16)
    text.require(heads % kv_heads == 0, "num_key_value_heads", f"a divisor of num_attention_heads = {heads}")
    head_dim = text.optional_size("head_dim", largest=2**14) or _even_head_dim(text, heads)
    return Attention(heads, kv_heads, head_dim, head_dim, window=window)


def _even_head_dim(text: Fields, heads: int) -> int:
    hidden = text.size("hidden_size")
    text.require(hidden % heads == 0, "hidden_size", f"divisible by {heads} attention heads, as head_dim is missing")
    return hidden // heads
