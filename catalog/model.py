"""The shape of a model: its weight matrices and what its layers keep per token or per sequence.

Everything downstream (parameters, weight bytes per rank, KV cache, operations) is arithmetic on these nouns, so a
model family is described once, in `catalog/architectures/`, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

Part = Literal[
    "embedding",
    "lm_head",
    "attention",
    "linear_attention",
    "mlp",
    "experts",
    "shared_experts",
    "router",
    "norms",
    "vision",
    "other",
]

Sharding = Literal["column", "row", "kv_heads", "expert", "vocabulary", "replicated"]
"""How tensor parallelism splits a matrix, as Megatron and every engine after it do.

column: outputs are divided by TP. row: inputs are divided by TP. kv_heads: outputs are divided by TP until one KV head
is left on each rank, then replicated. expert: whole experts are dealt out under expert parallelism; otherwise each
expert is divided by TP. vocabulary: rows of the (padded) vocabulary are divided by TP. replicated: every rank has
it all.
"""


Confidence = Literal["read", "inferred", "recalled", "card"]
"""How well a shape is known, from best to worst.

read: its own config, or an exact copy of it, was read. inferred: read for a close relative that must agree, such as the
storage of another size of the same release. recalled: written from memory; nothing was found that says so. card: only
what the model card says of its size is known, and another model's shape is stretched to it.
"""

CONFIDENCES: tuple[Confidence, ...] = ("read", "inferred", "recalled", "card")


def confidence_named(word: object) -> Confidence:
    """The confidence that a data file names.

    Raises:
        ValueError: it is none of `CONFIDENCES`.
    """
    if word not in CONFIDENCES:
        raise ValueError(f"A confidence must be one of {', '.join(CONFIDENCES)}, not {word!r}.")
    return CONFIDENCES[CONFIDENCES.index(word)]


def weakest(*known: Confidence) -> Confidence:
    """The worst of them: a chain of facts is as good as that.

    >>> weakest("read", "recalled", "inferred")
    'recalled'
    """
    return max(known, key=CONFIDENCES.index)


@dataclass(frozen=True, slots=True)
class Matrix:
    """One weight matrix of a layer, or several alike.

    Attributes:
        name: module path inside its layer, such as "self_attn.q_proj", or in the model for layer-less ones.
        part: which group of the parameter count it belongs to.
        outputs, inputs: its shape; a vector (a norm, a bias table) has inputs=1.
        sharding: how TP and EP divide it.
        copies: how many alike the layer holds (the experts).
        active_copies: how many of them one token uses (top_k); None = all.
        bias: whether it has a bias vector of `outputs` values per copy.
        stored_as: name of the scheme in `catalog.quantization.SCHEMES` in which its values are stored.
        granule: outputs that TP must keep together (head_dim for projections by head); 1 = none.
        gemm: whether tokens are multiplied with it (False for norms, tables, convolutions, buffers).
        quantizable: False where engines keep it in 16 bit whatever the checkpoint's scheme says.
        on_host: whether engines keep it in the host's memory, as a table of n-grams of which a token reads few rows.
    """

    name: str
    part: Part
    outputs: int
    inputs: int
    sharding: Sharding = "replicated"
    copies: int = 1
    active_copies: int | None = None
    bias: bool = False
    stored_as: str = "bf16"
    granule: int = 1
    gemm: bool = True
    quantizable: bool = True
    on_host: bool = False

    @property
    def parameters(self) -> int:
        """Values stored, biases included."""
        return self.copies * self.outputs * (self.inputs + (1 if self.bias else 0))

    @property
    def active_parameters(self) -> int:
        """Values that one token is multiplied with."""
        used = self.copies if self.active_copies is None else self.active_copies
        return used * self.outputs * (self.inputs + (1 if self.bias else 0))


@dataclass(frozen=True, slots=True)
class Attention:
    """Softmax attention that keeps keys and values per token: full, sliding window or chunked.

    `window` is None for full attention. `shares_kv` marks layers that read another layer's cache and keep none.
    `value_head_dim` differs from `head_dim` in few families. `indexer` chooses the tokens attended (MiniMax-M3);
    all are kept. `cross` attention keeps the encoder's tokens, at most `window`, however long the request is.
    """

    query_heads: int
    kv_heads: int
    head_dim: int
    value_head_dim: int
    window: int | None = None
    chunked: bool = False
    shares_kv: bool = False
    cross: bool = False
    indexer: Indexer | None = None


@dataclass(frozen=True, slots=True)
class Compressor:
    """What a compressed cache keeps of its newest tokens, until they have become one entry (DeepSeek-V4).

    `values` float32 values per token, for the newest `window` tokens.
    """

    values: int
    window: int


@dataclass(frozen=True, slots=True)
class Indexer:
    """The sparse-attention indexer of DeepSeek-V3.2 and its heirs: a small key per token, top-k entries attended.

    Attributes:
        heads, head_dim: its query heads; its one key has `head_dim` values per entry.
        top_k: entries that a query attends to.
        shared: reuses the choice of an earlier layer: keeps no keys and computes no scores (GLM-5.2).
        compression: tokens per key, as in the cache it indexes.
        compressor: what it keeps of tokens that are not compressed yet.
        block: tokens that are chosen together; 1 = single entries (MiniMax-M3 chooses blocks of 128).
        keys_stored_as: "fp8" (one byte per value and a 4-byte scale per 128) or "bf16".
        open_values: 16-bit values that it keeps of each token whose `compression` tokens are not yet complete.
    """

    heads: int
    head_dim: int
    top_k: int
    shared: bool = False
    compression: int = 1
    compressor: Compressor | None = None
    block: int = 1
    keys_stored_as: str = "fp8"
    open_values: int = 0


@dataclass(frozen=True, slots=True)
class LatentAttention:
    """Multi-head latent attention: one compressed vector per token, replicated on every TP rank.

    `kv_rank` + `rope_dim` values per token (512 + 64 in DeepSeek-V3). `compression` > 1: one entry per that many
    tokens (DeepSeek-V4), and `compressor` is what is kept of the tokens that have no entry yet. `window` limits it to
    the newest tokens.
    """

    query_heads: int
    kv_rank: int
    rope_dim: int
    nope_dim: int
    value_dim: int
    q_rank: int | None = None
    indexer: Indexer | None = None
    window: int | None = None
    compression: int = 1
    compressor: Compressor | None = None


@dataclass(frozen=True, slots=True)
class StateArray:
    """One array of recurrent state per sequence.

    `shape` before TP; axis `tp_axis` is divided by TP until 1 is left, which every rank then holds (None: not divided).
    `stored_as` is "bf16" (the model's own 16-bit type) or "fp32".
    """

    name: str
    shape: tuple[int, ...]
    tp_axis: int | None
    stored_as: str


@dataclass(frozen=True, slots=True)
class RecurrentState:
    """A layer whose memory does not grow with context: Mamba, gated delta net, linear attention, short convolution."""

    kind: str
    arrays: tuple[StateArray, ...]
    heads: int
    head_dim: int
    state_dim: int


Mixer = Attention | LatentAttention | RecurrentState


@dataclass(frozen=True, slots=True)
class Layers:
    """Layers of equal shape: same matrices, same mixers, same storage.

    Attributes:
        indices: their positions in the model, for pipeline stages.
        mixers: what each of them keeps (empty for a pure MLP layer; two for parallel attention and Mamba).
        matrices: the weights of *one* of them.
        stored_copies: how many times the weights are stored; None = once per layer. A block shared by all its layers
            is stored once; what such a layer has of its own is another group with the same index (Zamba 2).
        next_token_prediction: MTP layers: in the checkpoint, but loaded and run only for speculative decoding.
        drafts: layers that guess tokens, numbered behind the model's own: loaded and run on its last stage, but no
            token of an answer passes them (`optimizer.memory.speculation`).
    """

    indices: tuple[int, ...]
    mixers: tuple[Mixer, ...]
    matrices: tuple[Matrix, ...]
    stored_copies: int | None = None
    next_token_prediction: bool = False
    drafts: bool = False

    @property
    def count(self) -> int:
        """How many layers."""
        return len(self.indices)


@dataclass(frozen=True, slots=True)
class VisionTower:
    """The encoder of images (or audio) in front of a language model.

    Attributes:
        matrices: all of it; a matrix that every encoder layer has counts them in `copies`.
        layers: encoder layers.
        hidden_size: width of the encoder.
        whole_heads: attention heads, where every rank keeps the whole tower if TP does not divide them; None where
            engines always divide it, or refuse to.
        whole_names: how the names begin of what is whole then; "" = of all of it.
        idle: matrices that the checkpoint has and engines do not load: encoder layers behind the one that is read.
    """

    matrices: tuple[Matrix, ...]
    layers: int
    hidden_size: int
    whole_heads: int | None = None
    whole_names: str = ""
    idle: tuple[Matrix, ...] = ()

    @property
    def stored(self) -> tuple[Matrix, ...]:
        """All that the checkpoint has of it."""
        return (*self.matrices, *self.idle)


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter that a model is served with.

    Attributes:
        repo_id: where it is.
        rank: the largest rank of its matrices.
        targets: names of the linear layers that it changes, such as "q_proj"; empty = it does not say which.
    """

    repo_id: str
    rank: int
    targets: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What requests call it: its repository without the owner."""
        return self.repo_id.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """The shape of one model as its publisher describes it.

    Attributes:
        repo_id: "meta-llama/Llama-3.3-70B-Instruct".
        architecture: the class name in config.json, such as "LlamaForCausalLM".
        family: what people call it: "Llama 3", "Qwen 3", ...
        hidden_size, vocabulary: widths of the residual stream and of the logits.
        max_context_tokens: the longest context that the config allows.
        tied_embeddings: whether the LM head reuses the embedding (then `outside` holds no lm_head).
        layers: groups of equal layers.
        outside: matrices outside the layers: embedding, final norm, lm_head.
        vision: None for a text model.
        weight_format: the word people use for how most weights are stored: "bf16", "fp8", "int4", "mxfp4", ...
        quantization_method: the checkpoint's own word ("fp8", "modelopt_fp4", "awq", ...); None if not quantized.
        kv_cache_format: what the checkpoint itself prescribes, else None.
        query_heads, kv_heads: the largest of its attention layers; TP must divide the first. 0 if it has none.
        source: where its config was read; `as_of`: when.
        confidence: how well that is known.
        aliases: short names that it is found by.
        revision: commit of the Hub repository that its config was read at; "" for a bundled model or a folder.
        notes: what somebody who plans with it should know of how it was read, one sentence each.
        adapter: the adapter that was asked for, when this is its base.
    """

    repo_id: str
    architecture: str
    family: str
    hidden_size: int
    vocabulary: int
    max_context_tokens: int
    tied_embeddings: bool
    layers: tuple[Layers, ...]
    outside: tuple[Matrix, ...]
    vision: VisionTower | None = None
    weight_format: str = "bf16"
    quantization_method: str | None = None
    kv_cache_format: str | None = None
    query_heads: int = 0
    kv_heads: int = 0
    source: str = ""
    as_of: str = ""
    confidence: Confidence = "read"
    aliases: tuple[str, ...] = field(default=())
    revision: str = ""
    notes: tuple[str, ...] = ()
    adapter: Adapter | None = None

    @property
    def mixers(self) -> Iterator[Mixer]:
        """What every group of layers keeps, in one row."""
        return (mixer for group in self.layers for mixer in group.mixers)

    @property
    def layer_count(self) -> int:
        """Layers of the language model that every token passes; one whose parts are in two groups counts once."""
        passed = (group for group in self.layers if not (group.next_token_prediction or group.drafts))
        return len({index for group in passed for index in group.indices})
