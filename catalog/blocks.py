"""What most families are built of: attention, gated MLP, mixture of experts, embeddings and norms as weight matrices.

Names are module paths as in the published checkpoints, so that quantization lists, which name modules, apply to them.
A family file puts these together into a `Shape`; how each matrix is stored is decided later, in `catalog/read.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from catalog.model import Attention, Matrix, Mixer, Part, Sharding, VisionTower
from catalog.reading import Fields, max_context

UNDECIDED = "bf16"
"""`stored_as` of a matrix whose storage follows the checkpoint; every other word stays as the family file wrote it."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of a model, before its storage is known.

    Attributes:
        mixers, matrices: as in `catalog.model.Layers`.
        index: its position; None = after the layer before it in the list.
        path: where its modules live in the checkpoint; None = the shape's `layer_path` and its index.
        stored_copies, next_token_prediction: as in `catalog.model.Layers`.
    """

    mixers: tuple[Mixer, ...]
    matrices: tuple[Matrix, ...]
    index: int | None = None
    path: str | None = None
    stored_copies: int | None = None
    next_token_prediction: bool = False


@dataclass(frozen=True, slots=True)
class Shape:
    """What a family file reads from a config: everything but storage and names."""

    family: str
    hidden_size: int
    vocabulary: int
    max_context_tokens: int
    tied_embeddings: bool
    layers: Sequence[Layer]
    outside: tuple[Matrix, ...]
    layer_path: str = "model.layers"
    vision: VisionTower | None = None
    notes: tuple[str, ...] = field(default=())


def linear(
    name: str,
    part: Part,
    outputs: int,
    inputs: int,
    sharding: Sharding = "replicated",
    *,
    copies: int = 1,
    active_copies: int | None = None,
    bias: bool = False,
    granule: int = 1,
    stored_as: str = UNDECIDED,
    quantizable: bool = True,
) -> Matrix:
    """A matrix that tokens are multiplied with, stored as the checkpoint's quantization says."""
    return Matrix(
        name,
        part,
        outputs,
        inputs,
        sharding,
        copies,
        active_copies,
        bias,
        stored_as=stored_as,
        granule=granule,
        quantizable=quantizable,
    )


def table(
    name: str,
    part: Part,
    outputs: int,
    inputs: int = 1,
    sharding: Sharding = "replicated",
    *,
    copies: int = 1,
    bias: bool = False,
    granule: int = 1,
    stored_as: str = UNDECIDED,
) -> Matrix:
    """Weights that are looked up or multiplied element by element: embeddings, norms, convolutions. Never quantized."""
    return Matrix(
        name, part, outputs, inputs, sharding, copies, None, bias, stored_as=stored_as, granule=granule, gemm=False
    )


def norm(name: str, size: int, *, part: Part = "norms", bias: bool = False, copies: int = 1) -> Matrix:
    """A normalization's scale (and shift, with `bias`): `size` values on every rank."""
    return table(name, part, size, copies=copies, bias=bias)


def pre_norms(hidden: int, *, bias: bool = False) -> tuple[Matrix, ...]:
    """The two norms of a Llama-style layer: before attention and before the MLP."""
    return norm("input_layernorm", hidden, bias=bias), norm("post_attention_layernorm", hidden, bias=bias)


def attention(
    hidden: int,
    mixer: Attention,
    *,
    name: str = "self_attn",
    qkv_bias: bool = False,
    output_bias: bool = False,
    qk_norm: tuple[int, int] | None = None,
    gated: bool = False,
) -> tuple[Matrix, ...]:
    """Projections of softmax attention: query, key, value, output.

    Args:
        hidden: width of the residual stream.
        mixer: heads and their sizes; with `shares_kv` there are no key and value projections.
        name: module path of the attention inside its layer.
        qkv_bias: whether query, key and value projections have biases.
        output_bias: whether the output projection has one.
        qk_norm: sizes of the query and key norms (head_dim each in Qwen3, all heads in OLMo).
        gated: the query projection also makes an output gate of the same size (Qwen3-Next).
    """
    head, value, heads, kv_heads = mixer.head_dim, mixer.value_head_dim, mixer.query_heads, mixer.kv_heads
    query = heads * head * (2 if gated else 1)
    matrices = [
        linear(f"{name}.q_proj", "attention", query, hidden, "column", bias=qkv_bias, granule=query // heads),
    ]
    if not mixer.shares_kv:
        matrices += [
            linear(f"{name}.k_proj", "attention", kv_heads * head, hidden, "kv_heads", bias=qkv_bias, granule=head),
            linear(f"{name}.v_proj", "attention", kv_heads * value, hidden, "kv_heads", bias=qkv_bias, granule=value),
        ]
    matrices.append(
        linear(f"{name}.o_proj", "attention", hidden, heads * value, "row", bias=output_bias, granule=value)
    )
    if qk_norm is not None:
        sizes = zip(("q_norm", "k_norm"), qk_norm, strict=True)
        kept = [(n, s) for n, s in sizes if not (mixer.shares_kv and n == "k_norm")]
        matrices += [norm(f"{name}.{n}", s, part="attention") for n, s in kept]
    return tuple(matrices)


def gated_mlp(
    hidden: int, intermediate: int, *, name: str = "mlp", part: Part = "mlp", bias: bool = False
) -> tuple[Matrix, ...]:
    """Gate, up and down projection of a SwiGLU-like MLP."""
    return (
        linear(f"{name}.gate_proj", part, intermediate, hidden, "column", bias=bias),
        linear(f"{name}.up_proj", part, intermediate, hidden, "column", bias=bias),
        linear(f"{name}.down_proj", part, hidden, intermediate, "row", bias=bias),
    )


def plain_mlp(
    hidden: int, intermediate: int, *, name: str = "mlp", part: Part = "mlp", bias: bool = False
) -> tuple[Matrix, ...]:
    """Up and down projection of an MLP without a gate."""
    return (
        linear(f"{name}.up_proj", part, intermediate, hidden, "column", bias=bias),
        linear(f"{name}.down_proj", part, hidden, intermediate, "row", bias=bias),
    )


def router(
    hidden: int, experts: int, *, name: str = "mlp.gate", bias: bool = False, stored_as: str = UNDECIDED
) -> Matrix:
    """The matrix that scores experts for a token; every rank has it, some engines and families in fp32."""
    return linear(name, "router", experts, hidden, bias=bias, stored_as=stored_as)


def routed_experts(
    hidden: int,
    intermediate: int,
    experts: int,
    top_k: int,
    *,
    name: str = "mlp.experts",
    gated: bool = True,
    bias: bool = False,
) -> tuple[Matrix, ...]:
    """The experts of a mixture-of-experts layer, of which a token uses `top_k`.

    Sharding "expert": without expert parallelism, TP divides the outputs of gate and up and the inputs of down.
    """
    shapes = [("up_proj", intermediate, hidden), ("down_proj", hidden, intermediate)]
    if gated:
        shapes.insert(0, ("gate_proj", intermediate, hidden))
    return tuple(
        linear(f"{name}.{n}", "experts", o, i, "expert", copies=experts, active_copies=top_k, bias=bias)
        for n, o, i in shapes
    )


def mixture_of_experts(
    hidden: int,
    width: int,
    experts: int,
    top_k: int,
    *,
    shared: int = 0,
    gate: Matrix | None = None,
    shared_bias: bool = False,
) -> tuple[Matrix, ...]:
    """Router, routed experts, and the shared expert that every token passes.

    Args:
        hidden: width of the residual stream.
        width: of a routed expert.
        experts: how many are routed.
        top_k: how many of them a token uses.
        shared: width of all shared experts together; 0 = there is none.
        gate: the router, where it is not a plain one.
        shared_bias: whether the shared expert has biases.
    """
    name = "mlp.shared_experts"
    always = gated_mlp(hidden, shared, name=name, part="shared_experts", bias=shared_bias) if shared else ()
    return (gate or router(hidden, experts), *routed_experts(hidden, width, experts, top_k), *always)


def embedding_and_head(
    vocabulary: int, hidden: int, *, tied: bool, name: str = "model.embed_tokens", head_name: str = "lm_head"
) -> tuple[Matrix, ...]:
    """The token embedding and, unless tied to it, the LM head."""
    embedding = table(name, "embedding", vocabulary, hidden, "vocabulary")
    if tied:
        return (embedding,)
    return embedding, linear(head_name, "lm_head", vocabulary, hidden, "vocabulary")


def outside(vocabulary: int, hidden: int, *, tied: bool, shifted: bool = False) -> tuple[Matrix, ...]:
    """What a Llama-style model holds outside its layers: embedding, LM head unless tied, final norm."""
    return (*embedding_and_head(vocabulary, hidden, tied=tied), norm("model.norm", hidden, bias=shifted))


def vision_linear(name: str, outputs: int, inputs: int, *, copies: int = 1, bias: bool = False) -> Matrix:
    """A matrix of a vision tower or its projector. It is on every rank."""
    return linear(name, "vision", outputs, inputs, copies=copies, bias=bias)


def vision_norm(name: str, size: int, *, copies: int = 1, bias: bool = False) -> Matrix:
    """A norm of a vision tower."""
    return norm(name, size, part="vision", copies=copies, bias=bias)


def language_model(
    text: Fields,
    family: str,
    layers: Sequence[Layer],
    *,
    tied: bool | None = None,
    shifted: bool = False,
    layer_path: str = "model.layers",
) -> Shape:
    """Llama's frame around any layers: embedding, final norm, LM head unless tied, as `text` states their sizes.

    Args:
        text: the config of the language model.
        family: what people call it.
        layers: the layers in order.
        tied: whether the LM head reuses the embedding; None = as `text` says, which is false when it says nothing.
        shifted: whether the final norm has a shift beside its scale.
        layer_path: where the layers live in the checkpoint.
    """
    hidden, vocabulary = text.size("hidden_size"), text.size("vocab_size")
    tied = text.flag("tie_word_embeddings", default=False) if tied is None else tied
    return Shape(
        family=family,
        hidden_size=hidden,
        vocabulary=vocabulary,
        max_context_tokens=max_context(text),
        tied_embeddings=tied,
        layers=layers,
        outside=outside(vocabulary, hidden, tied=tied, shifted=shifted),
        layer_path=layer_path,
    )


def column(name: str, outputs: int, inputs: int, *, copies: int = 1, bias: bool = False, granule: int = 1) -> Matrix:
    """A matrix of a vision tower whose outputs TP divides."""
    return linear(name, "vision", outputs, inputs, "column", copies=copies, bias=bias, granule=granule)


def row(name: str, outputs: int, inputs: int, *, copies: int = 1, bias: bool = False) -> Matrix:
    """A matrix of a vision tower whose inputs TP divides; its bias is on every rank."""
    return linear(name, "vision", outputs, inputs, "row", copies=copies, bias=bias)


def renamed(matrices: Iterable[Matrix], names: Mapping[str, str]) -> tuple[Matrix, ...]:
    """The same matrices under the names of another checkpoint: the last word of each path is looked up in `names`.

    >>> [m.name for m in renamed(gated_mlp(64, 128), {"down_proj": "wo"})]
    ['mlp.gate_proj', 'mlp.up_proj', 'mlp.wo']
    """

    def name(path: str) -> str:
        module, _, last = path.rpartition(".")
        return f"{module}.{names.get(last, last)}"

    return tuple(replace(matrix, name=name(matrix.name)) for matrix in matrices)
