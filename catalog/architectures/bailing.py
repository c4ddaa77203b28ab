"""Ling and Ring (Bailing MoE), and the models of Sarvam and Param 2, which have the same keys and the same experts.

Ling 1 and 2 have grouped-query attention. Ling 2.5 puts lightning attention between layers of latent attention, Ring
2 Linear between layers of grouped-query attention. Ling 3 has delta attention where Ling 2.5 has lightning attention.
"""

from __future__ import annotations

from dataclasses import replace

from catalog.architectures.deepseek import predictor
from catalog.architectures.kimi import delta_attention
from catalog.architectures.llama import read_attention
from catalog.blocks import (
    UNDECIDED,
    Layer,
    Shape,
    attention,
    embedding_and_head,
    gated_mlp,
    language_model,
    linear,
    mixture_of_experts,
    norm,
    pre_norms,
    renamed,
    router,
    table,
)
from catalog.mixers import latent_attention
from catalog.model import LatentAttention, Matrix, Part, RecurrentState, StateArray
from catalog.reading import LARGEST_EXPERTS, LARGEST_LAYERS, Fields

ARCHITECTURES = (
    "BailingMoeForCausalLM",
    "BailingMoeV2ForCausalLM",
    "BailingMoeV2_5ForCausalLM",
    "BailingMoeV3ForCausalLM",
    "BailingMoeLinearForCausalLM",
    "BailingMoeLinearV2ForCausalLM",
    "SarvamMoEForCausalLM",
    "SarvamMLAForCausalLM",
    "Param2MoEForCausalLM",
)
MODEL_TYPES = ("bailing_moe", "bailing_moe_linear", "bailing_hybrid", "sarvam_moe", "sarvam_mla", "param2moe")

_FAMILIES = {"sarvam_moe": "Sarvam", "sarvam_mla": "Sarvam", "param2moe": "Param 2"}
_NAMES = {
    **dict.fromkeys(("q_proj", "k_proj", "v_proj"), "query_key_value"),
    "o_proj": "dense",
    "q_norm": "query_layernorm",
    "k_norm": "key_layernorm",
}


def read(config: Fields) -> Shape:
    """Dense layers first; every `layer_group_size`th layer, or every one without it, has softmax attention."""
    hidden, count = config.size("hidden_size"), config.layers()
    full = _full_attention(config, hidden)
    mixers = _mixers(config, hidden, full, count)
    dense = config.count("first_k_dense_replace", default=1 if _is_sarvams(config) else 0, largest=LARGEST_LAYERS)
    plain = gated_mlp(hidden, config.size("intermediate_size"), bias=_biased(config)) if dense else ()
    sparse = _mixture(config, hidden)
    layers = [_joined(mixer, plain if i < dense else sparse, hidden) for i, mixer in enumerate(mixers)]
    predictors = config.count("num_nextn_predict_layers", default=0, largest=64)
    layers += [predictor(_joined(full, sparse, hidden), hidden)] * predictors
    shape = language_model(config, _FAMILIES.get(_kind(config), "Ling"), layers)
    ends = embedding_and_head(
        shape.vocabulary, hidden, tied=shape.tied_embeddings, name=f"model.{_embedding_name(config)}"
    )
    return replace(shape, outside=(*ends, norm("model.norm", hidden)))


def _mixers(config: Fields, hidden: int, full: Layer, count: int) -> list[Layer]:
    """One layer of a group has softmax attention, and in Ling 3 each behind the last whole group."""
    group = config.count("layer_group_size", default=1, largest=LARGEST_LAYERS)
    if group < 2:
        return [full] * count
    delta = "short_conv_kernel_size" in config
    other = _delta_attention(config, hidden) if delta else _lightning_attention(config, hidden)
    whole = count // group * group if delta else count
    return [full if (i + 1) % group == 0 or i >= whole else other for i in range(count)]


def _kind(config: Fields) -> str:
    return str(config.get("model_type"))


def _is_sarvams(config: Fields) -> bool:
    """Whether vLLM's sarvam.py or param2moe.py gives the defaults."""
    return _kind(config) in ("sarvam_mla", "param2moe")


def _is_latent(config: Fields) -> bool:
    return _kind(config) in ("bailing_hybrid", "sarvam_mla") or "kv_lora_rank" in config


def _embedding_name(config: Fields) -> str:
    return "embed_tokens" if _kind(config) == "sarvam_mla" else "word_embeddings"


def _biased(config: Fields) -> bool:
    return config.flag("use_bias", default=False)


def _joined(mixer: Layer, feed_forward: tuple[Matrix, ...], hidden: int) -> Layer:
    return Layer(mixer.mixers, (*mixer.matrices, *feed_forward, *pre_norms(hidden)))


def _full_attention(config: Fields, hidden: int) -> Layer:
    if _is_latent(config):
        mla = _latent(config)
        own_name = _kind(config) == "sarvam_mla"
        weights = latent_attention(hidden, mla, name="self_attn" if own_name else "attention")
        own = weights if own_name else renamed(weights, {"o_proj": "dense"})
        return Layer((mla,), (*own, *_output_gate(config, hidden, mla)))
    mixer = read_attention(config)
    norms = (mixer.head_dim, mixer.head_dim) if config.flag("use_qk_norm", default=False) else None
    biased = _biased(config) or config.flag("use_qkv_bias", default=False)
    weights = attention(hidden, mixer, name="attention", qkv_bias=biased, output_bias=_biased(config), qk_norm=norms)
    return Layer((mixer,), renamed(weights, _NAMES))


def _latent(config: Fields) -> LatentAttention:
    """Defaults of vLLM 0.32 bailing_moe_linear.py, which are those of the published configuration class."""
    return LatentAttention(
        query_heads=config.size("num_attention_heads", largest=2**16),
        kv_rank=config.size("kv_lora_rank", default=512),
        rope_dim=config.size("qk_rope_head_dim", default=64),
        nope_dim=config.size("qk_nope_head_dim", default=128),
        value_dim=config.size("v_head_dim", default=128),
        q_rank=config.optional_size("q_lora_rank"),
    )


def _output_gate(config: Fields, hidden: int, mla: LatentAttention) -> tuple[Matrix, ...]:
    """Ling 3 scales what each head says, or each of its values."""
    kind = config.word("gated_attention_proj_granularity_type", default=None)
    widths = {"head_wise": 1, "element_wise": mla.value_dim}
    if kind not in widths:
        return ()
    width = widths[kind]
    return (linear("attention.g_proj", "attention", mla.query_heads * width, hidden, "column", granule=width),)


def _delta_attention(config: Fields, hidden: int) -> Layer:
    """Kimi's, without low ranks. Source: vLLM 0.32 bailing_moe_v3.py."""
    config.require(config.flag("no_kda_lora", default=False), "no_kda_lora", "true: engines know no other")
    sizes = {
        "num_heads": config.size("num_attention_heads", largest=2**16),
        "head_dim": read_attention(config).head_dim,
        "short_conv_kernel_size": config.get("short_conv_kernel_size"),
        "use_full_rank_gate": True,
    }
    state, matrices = delta_attention(hidden, Fields(sizes, config.where), full_rank_decay=True)
    return Layer((state,), tuple(replace(m, name=m.name.replace("self_attn.", "attention.", 1)) for m in matrices))


def _lightning_attention(config: Fields, hidden: int) -> Layer:
    """As many key as query heads; one matrix of state per head, in the model's own 16-bit type.

    Source: MiniMax-01 (arXiv:2501.08313), section 2; vLLM 0.32 bailing_linear_attn.py.
    """
    heads = config.size("num_attention_heads", largest=2**16)
    head_dim = read_attention(config).head_dim
    width, name = heads * head_dim, "attention"
    part: Part = "linear_attention"
    state = StateArray("recurrence", (heads, head_dim, head_dim), 0, "bf16")
    biased = _biased(config) or config.flag("use_qkv_bias", default=False)
    norms = ("query_layernorm", "key_layernorm") if config.flag("use_qk_norm", default=False) else ()
    matrices = (
        linear(f"{name}.query_key_value", part, 3 * width, hidden, "column", bias=biased, granule=3 * head_dim),
        linear(f"{name}.g_proj", part, width, hidden, "column", granule=head_dim),
        linear(f"{name}.dense", part, hidden, width, "row", bias=_biased(config), granule=head_dim),
        table(f"{name}.g_norm", part, width, sharding="column", granule=head_dim),
        *(norm(f"{name}.{each}", head_dim, part=part) for each in norms),
    )
    return Layer((RecurrentState("lightning_attention", (state,), heads, head_dim, head_dim),), matrices)


def _mixture(config: Fields, hidden: int) -> tuple[Matrix, ...]:
    experts = config.size("num_experts", largest=LARGEST_EXPERTS)
    top_k, width = config.size("num_experts_per_tok", largest=experts), config.size("moe_intermediate_size")
    gate = router(hidden, experts, stored_as=_router_type(config))
    shared = _shared_width(config, width)
    return mixture_of_experts(hidden, width, experts, top_k, shared=shared, gate=gate, shared_bias=_biased(config))


def _shared_width(config: Fields, width: int) -> int:
    """Param 2 states the width of all shared experts together, the others that of one."""
    number = config.count("num_shared_experts", default=1 if _is_sarvams(config) else 0, largest=1024)
    stated = config.optional_size("moe_shared_expert_intermediate_size")
    if stated is not None and _kind(config) == "param2moe":
        return stated if number else 0
    return number * (stated or width)


def _router_type(config: Fields) -> str:
    """In fp32 where the config says so; Ring 2.5 where it does not say otherwise, Param 2 always (vLLM 0.32)."""
    kind, word = _kind(config), config.word("router_dtype", default=None)
    if kind == "sarvam_mla":
        return UNDECIDED
    precise = kind == "param2moe" or word == "fp32" or (word is None and _is_latent(config))
    return "fp32" if precise else UNDECIDED
