"""The model in a GGUF file: its shape by the original's config or the header itself, its storage by its tensors."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from catalog.errors import CatalogError, UnknownArchitecture
from catalog.gguf import GgufHeader
from catalog.model import Layers, Matrix, ModelSpec
from catalog.quantization import SCHEMES
from catalog.read import read_config
from catalog.reading import Fields
from catalog.storage import dominant_format

Find = Callable[[str], ModelSpec]

_HUB_NAME = re.compile(r"https?://(?:www\.)?(?:huggingface\.co|hf\.co)/([\w.-]+/[\w.-]+?)/?", re.ASCII)

_ARCHITECTURES = {
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "qwen3moe": "Qwen3MoeForCausalLM",
}
"""GGUF architectures whose header alone tells the whole shape."""

_TENSORS = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.qkv_proj": "attn_qkv",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "mlp.gate_up_proj": "ffn_up",
    "mlp.gate": "ffn_gate_inp",
    "mlp.experts.gate_proj": "ffn_gate_exps",
    "mlp.experts.up_proj": "ffn_up_exps",
    "mlp.experts.down_proj": "ffn_down_exps",
    "block_sparse_moe.experts.gate_proj": "ffn_gate_exps",
    "block_sparse_moe.experts.up_proj": "ffn_up_exps",
    "block_sparse_moe.experts.down_proj": "ffn_down_exps",
}
"""What GGUF calls the modules of a layer."""

_OUTSIDE = {"model.embed_tokens": "token_embd.weight", "lm_head": "output.weight"}
_SIXTEEN_BIT = {"f16": "fp16", "bf16": "bf16", "f32": "bf16", "f64": "bf16"}
"""Engines load unquantized tensors in 16 bit."""


def original_name(header: GgufHeader) -> str | None:
    """The repository that the file was made from, if its header says so.

    >>> original_name(GgufHeader({"general.base_model.0.repo_url": "https://huggingface.co/Qwen/Qwen3-8B"}, {}))
    'Qwen/Qwen3-8B'
    """
    url = header.metadata.get("general.base_model.0.repo_url")
    found = _HUB_NAME.fullmatch(url) if isinstance(url, str) else None
    return found[1] if found else None


def gguf_model(header: GgufHeader, find_original: Find, originals: tuple[str, ...]) -> tuple[ModelSpec, str]:
    """The model that a GGUF file holds, with the storage of its tensors, and how its shape is known.

    Args:
        header: of the file.
        find_original: looks a repository up.
        originals: repositories that it may have been made from, the likeliest first.

    Raises:
        UnknownArchitecture: no original has this shape, and the header alone does not tell it.
    """
    for name in originals:
        try:
            spec = find_original(name)
        except CatalogError:
            continue
        if _agrees(spec, header):
            return _stored(spec, header), f"the shape of {name}, which it was made from"
    return _stored(read_config(config_of(header)), header), "the shape in the file's own header"


def _agrees(spec: ModelSpec, header: GgufHeader) -> bool:
    """Whether a model has the sizes that the header names."""
    architecture = header.metadata.get("general.architecture")
    sizes = (header.metadata.get(f"{architecture}.{name}") for name in ("block_count", "embedding_length"))
    layers, hidden = sizes
    return hidden == spec.hidden_size and layers in (spec.layer_count, len({i for g in spec.layers for i in g.indices}))


def config_of(header: GgufHeader) -> dict[str, object]:
    """A config.json of the shape that the header describes.

    Raises:
        UnknownArchitecture: its architecture is one whose header leaves things out.
        BadModelConfig: a value is missing or absurd.
    """
    values = Fields(header.metadata, "the GGUF header")
    kind = str(values.word("general.architecture"))
    if kind not in _ARCHITECTURES:
        raise UnknownArchitecture(
            f"The GGUF architecture {kind[:40]!r} cannot be read from the file alone; name the model that it was "
            "made from instead."
        )
    return _config(_under(values, kind), kind, header)


def _under(values: Fields, kind: str) -> Fields:
    """The keys of one architecture, without its name in front."""
    own = {key.removeprefix(f"{kind}."): value for key, value in values.values.items() if key.startswith(f"{kind}.")}
    tokens = values.get("#tokenizer.ggml.tokens")
    return Fields({"vocab_size": tokens, **own}, "the GGUF header")


def _config(own: Fields, kind: str, header: GgufHeader) -> dict[str, object]:
    heads, experts = own.size("attention.head_count"), own.optional_size("expert_count")
    config: dict[str, object] = {
        "architectures": ["MixtralForCausalLM" if experts and kind == "llama" else _ARCHITECTURES[kind]],
        "model_type": "mixtral" if experts and kind == "llama" else kind.replace("qwen3moe", "qwen3_moe"),
        "hidden_size": own.size("embedding_length"),
        "num_hidden_layers": own.size("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": own.size("attention.head_count_kv", default=heads),
        "intermediate_size": own.size("feed_forward_length"),
        "vocab_size": own.size("vocab_size"),
        "max_position_embeddings": own.get("context_length"),
        "tie_word_embeddings": "output.weight" not in header.tensors,
        "attention_bias": "blk.0.attn_q.bias" in header.tensors,
        "head_dim": own.get("attention.key_length"),
    }
    if experts:
        config |= {"num_experts": experts, "num_local_experts": experts}
        config |= {"num_experts_per_tok": own.size("expert_used_count")}
        config |= {"moe_intermediate_size": own.get("expert_feed_forward_length"), "norm_topk_prob": True}
    return {key: value for key, value in config.items() if value is not None}


def _stored(spec: ModelSpec, header: GgufHeader) -> ModelSpec:
    """The same shape with every matrix stored as its tensor is."""
    layers = tuple(part for group in spec.layers for part in _split(group, header.tensors))
    outside = tuple(
        replace(m, stored_as=_scheme(header.tensors.get(_OUTSIDE[m.name]), m)) if m.name in _OUTSIDE else _plain(m)
        for m in spec.outside
    )
    stored = [(m, group.stored_copies or group.count) for group in layers for m in group.matrices]
    return replace(
        spec,
        layers=layers,
        outside=outside,
        vision=None,
        weight_format=dominant_format(stored),
        quantization_method="gguf",
        kv_cache_format=None,
    )


def _split(group: Layers, tensors: Mapping[str, tuple[str, int]]) -> list[Layers]:
    """Layers of equal shape, apart where their tensors are stored in different types."""
    alike: dict[tuple[Matrix, ...], list[int]] = {}
    if group.next_token_prediction or group.stored_copies is not None:
        return [replace(group, matrices=tuple(_plain(m) for m in group.matrices))]
    for index in group.indices:
        matrices = tuple(replace(m, stored_as=_scheme(_tensor(m, index, tensors), m)) for m in group.matrices)
        alike.setdefault(matrices, []).append(index)
    return [replace(group, indices=tuple(indices), matrices=matrices) for matrices, indices in alike.items()]


def _tensor(matrix: Matrix, index: int, tensors: Mapping[str, tuple[str, int]]) -> tuple[str, int] | None:
    name = _TENSORS.get(matrix.name)
    return tensors.get(f"blk.{index}.{name}.weight") if name else None


def _plain(matrix: Matrix) -> Matrix:
    return replace(matrix, stored_as=_scheme(None, matrix))


def _scheme(tensor: tuple[str, int] | None, matrix: Matrix) -> str:
    """The scheme of a tensor's type; what the file does not name stays in 16 bit."""
    if tensor is None:
        return "bf16"
    kind = tensor[0]
    if kind == "mxfp4":
        return "mxfp4"
    return _SIXTEEN_BIT.get(kind) or (f"gguf_{kind}" if f"gguf_{kind}" in SCHEMES else matrix.stored_as)
