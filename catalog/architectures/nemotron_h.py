"""Nemotron-H and Nemotron 3: layers of one thing each, Mamba-2, attention, an MLP without gate, or experts."""

from __future__ import annotations

from dataclasses import replace

from catalog.blocks import Layer, Shape, attention, embedding_and_head, linear, norm, plain_mlp, routed_experts, router
from catalog.mixers import Mamba2, mamba2, state_type
from catalog.model import Attention, Matrix
from catalog.reading import Fields, max_context

ARCHITECTURES = ("NemotronHForCausalLM",)
MODEL_TYPES = ("nemotron_h",)

_LETTERS = {"M": "mamba", "*": "attention", "-": "mlp", "E": "moe"}
_KINDS = {kind: kind for kind in _LETTERS.values()} | {"linear_attention": "mamba", "full_attention": "attention"}


def read(config: Fields) -> Shape:
    """Layers in the order of the config's pattern; the module in each is called `mixer`, whatever it is."""
    hidden, vocabulary = config.size("hidden_size"), config.size("vocab_size")
    tied = config.flag("tie_word_embeddings", default=False)
    kinds = _layer_kinds(config)
    by_kind = {kind: _layer(config, hidden, kind) for kind in sorted(set(kinds))}
    ends = embedding_and_head(vocabulary, hidden, tied=tied, name="backbone.embeddings")
    return Shape(
        family="Nemotron 3" if "moe" in kinds else "Nemotron-H",
        hidden_size=hidden,
        vocabulary=vocabulary,
        max_context_tokens=max_context(config),
        tied_embeddings=tied,
        layers=[*(by_kind[kind] for kind in kinds), *_predictors(config, hidden)],
        outside=(*ends, norm("backbone.norm_f", hidden)),
        layer_path="backbone.layers",
    )


def _layer_kinds(config: Fields) -> list[str]:
    """What each layer is: from the letters of the pattern or from the list of words."""
    if "hybrid_override_pattern" in config:
        return _letters(config, "hybrid_override_pattern")
    return _words(config, "layers_block_type" if "layers_block_type" in config else "layer_types")


def _letters(config: Fields, name: str) -> list[str]:
    pattern = config.word(name) or ""
    config.require(0 < len(pattern) <= 1024 and set(pattern) <= set(_LETTERS), name, "a pattern of M, *, - and E")
    return [_LETTERS[letter] for letter in pattern]


def _words(config: Fields, name: str) -> list[str]:
    words = config.words(name)
    config.require(0 < len(words) <= 1024 and set(words) <= set(_KINDS), name, f"a list of {', '.join(_KINDS)}")
    return [_KINDS[word] for word in words]


def _layer(config: Fields, hidden: int, kind: str) -> Layer:
    layer = {"mamba": _mamba, "attention": _attention, "mlp": _mlp, "moe": _mixture}[kind](config, hidden)
    return replace(layer, matrices=(*layer.matrices, norm("norm", hidden)))


def _mamba(config: Fields, hidden: int) -> Layer:
    shape = Mamba2(
        hidden=hidden,
        heads=config.size("mamba_num_heads", largest=2**16),
        head_dim=config.size("mamba_head_dim"),
        state_dim=config.size("ssm_state_size"),
        groups=config.size("n_groups", "mamba_n_groups", default=8, largest=2**16),
        kernel=config.size("conv_kernel", "mamba_d_conv", default=4, largest=64),
        projection_bias=config.flag("use_bias", default=False),
        convolution_bias=config.flag("use_conv_bias", "mamba_conv_bias", default=True),
        state_stored_as=state_type(config, "mamba_ssm_cache_dtype", default="fp32"),
    )
    return Layer((shape.state,), mamba2(shape, name="mixer"))


def _attention(config: Fields, hidden: int) -> Layer:
    heads = config.size("num_attention_heads", largest=2**16)
    kv_heads = config.size("num_key_value_heads", default=8, largest=2**16)
    config.require(heads % kv_heads == 0, "num_key_value_heads", f"a divisor of num_attention_heads = {heads}")
    head_dim = config.size("head_dim", "attention_head_dim", default=128)
    mixer = Attention(heads, kv_heads, head_dim, head_dim)
    return Layer((mixer,), attention(hidden, mixer, name="mixer"))


def _mlp(config: Fields, hidden: int) -> Layer:
    bias = config.flag("mlp_bias", default=False)
    return Layer((), plain_mlp(hidden, config.size("intermediate_size"), name="mixer", bias=bias))


def _mixture(config: Fields, hidden: int) -> Layer:
    """Experts without gates; Nemotron 3 Super and Ultra put them between projections into a narrower space and back."""
    inner = config.optional_size("moe_latent_size")
    experts = config.size("n_routed_experts", largest=2**16)
    top_k = config.size("num_experts_per_tok", largest=experts)
    shared = config.count("n_shared_experts", default=1) * config.size("moe_shared_expert_intermediate_size")
    always = plain_mlp(hidden, shared, name="mixer.shared_experts", part="shared_experts") if shared else ()
    matrices = (
        router(hidden, experts, name="mixer.gate"),
        *routed_experts(
            inner or hidden, config.size("moe_intermediate_size"), experts, top_k, name="mixer.experts", gated=False
        ),
        *(_latent_projections(hidden, inner) if inner else ()),
        *always,
    )
    return Layer((), matrices)


def _latent_projections(hidden: int, inner: int) -> tuple[Matrix, ...]:
    """Into the experts' space and back, on every TP rank."""
    return (
        linear("mixer.fc1_latent_proj", "mlp", inner, hidden),
        linear("mixer.fc2_latent_proj", "mlp", hidden, inner),
    )


def _predictors(config: Fields, hidden: int) -> list[Layer]:
    """Multi-token prediction: a few layers by a pattern of their own, behind a projection of two streams to one."""
    times = config.count("num_nextn_predict_layers", default=0, largest=64)
    if not times:
        return []
    if "mtp_hybrid_override_pattern" in config:
        kinds = _letters(config, "mtp_hybrid_override_pattern")
    else:
        kinds = _words(config, "mtp_layers_block_type")
    first = (norm("enorm", hidden), norm("hnorm", hidden), linear("eh_proj", "other", hidden, 2 * hidden))
    layers = []
    for i, kind in enumerate(kinds * times):
        layer = _layer(config, hidden, kind)
        front = (*first, norm("final_layernorm", hidden)) if i % len(kinds) == 0 else ()
        matrices = (*front, *layer.matrices)
        layers.append(Layer(layer.mixers, matrices, path=f"mtp.layers.{i}", next_token_prediction=True))
    return layers
