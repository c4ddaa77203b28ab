"""Qwen 3, dense and mixture of experts: normalized queries and keys, no biases, experts in most layers."""

from __future__ import annotations

from catalog.architectures.llama import read_attention
from catalog.architectures.qwen2 import qwen_windows
from catalog.blocks import Layer, Shape, attention, gated_mlp, language_model, pre_norms, routed_experts, router
from catalog.model import Matrix
from catalog.reading import LARGEST_EXPERTS, LARGEST_LAYERS, Fields

ARCHITECTURES = ("Qwen3ForCausalLM", "Qwen3MoeForCausalLM")
MODEL_TYPES = ("qwen3", "qwen3_moe")

_EXPERTS = ("num_experts", "num_local_experts")
"""As Qwen's configs call their number, and as transformers 5 writes it."""


def read(config: Fields) -> Shape:
    """The text models."""
    return text_shape(config, tied=config.flag("tie_word_embeddings", default=False))


def text_shape(text: Fields, *, tied: bool, layer_path: str = "model.layers") -> Shape:
    """The language model that `text` describes; with `num_experts`, layers off the dense list have experts."""
    hidden = text.size("hidden_size")
    sparse = sparse_layers(text)
    mlp = _experts(text, hidden) if any(sparse) else ()
    layers = []
    for is_sparse, window in zip(sparse, qwen_windows(text), strict=True):
        mixer = read_attention(text, window)
        biased = text.flag("attention_bias", default=False)
        matrices = (
            *attention(hidden, mixer, qkv_bias=biased, output_bias=biased, qk_norm=(mixer.head_dim, mixer.head_dim)),
            *(mlp if is_sparse else gated_mlp(hidden, text.size("intermediate_size"))),
            *pre_norms(hidden),
        )
        layers.append(Layer((mixer,), matrices))
    return language_model(text, "Qwen 3", layers, tied=tied, layer_path=layer_path)


def sparse_layers(text: Fields) -> list[bool]:
    """Which layers have experts: every `decoder_sparse_step`-th that is not on the dense list."""
    count = text.layers()
    if text.get(*_EXPERTS) is None:
        return [False] * count
    step = text.size("decoder_sparse_step", default=1, largest=LARGEST_LAYERS)
    dense = set(text.sizes("mlp_only_layers", least=0)) if "mlp_only_layers" in text else set()
    return [(i + 1) % step == 0 and i not in dense for i in range(count)]


def _experts(text: Fields, hidden: int) -> tuple[Matrix, ...]:
    experts = text.size(*_EXPERTS, largest=LARGEST_EXPERTS)
    top_k = text.size("num_experts_per_tok", largest=experts)
    return (
        router(hidden, experts),
        *routed_experts(hidden, text.size("moe_intermediate_size"), experts, top_k),
    )
