"""Zamba2: Mamba-2 in every layer; some also run a transformer block whose weights they share, with small adapters."""

from __future__ import annotations

from catalog.blocks import Layer, Shape, attention, embedding_and_head, linear, norm
from catalog.mixers import Mamba2, mamba2
from catalog.model import Attention, Matrix
from catalog.reading import Fields, max_context

ARCHITECTURES = ("Zamba2ForCausalLM",)
MODEL_TYPES = ("zamba2",)

_KINDS = ("mamba", "linear_attention", "hybrid")


def read(config: Fields) -> Shape:
    """A hybrid layer is two of our layers with one index: what it has of its own, and the shared block.

    Source: Zamba2 (arXiv:2411.15242), section 2; transformers 5.23 for what is tied.
    """
    hidden, vocabulary, count = config.size("hidden_size"), config.size("vocab_size"), config.layers()
    tied = config.flag("tie_word_embeddings", default=True)
    kinds = config.words("layers_block_type" if "layers_block_type" in config else "layer_types", length=count)
    config.require(set(kinds) <= set(_KINDS), "layers_block_type", f"a list of {', '.join(_KINDS)}")
    own, block = _mamba(config, hidden), _shared_block(config, hidden, kinds.count("hybrid"))
    adapters = _adapters(config, hidden)
    layers = []
    for i, kind in enumerate(kinds):
        extra = adapters if kind == "hybrid" else ()
        layers.append(Layer(own.mixers, (*own.matrices, *extra), index=i))
        layers += [block_at(block, i)] if kind == "hybrid" else []
    ends = embedding_and_head(vocabulary, hidden, tied=tied)
    return Shape(
        family="Zamba 2",
        hidden_size=hidden,
        vocabulary=vocabulary,
        max_context_tokens=max_context(config),
        tied_embeddings=tied,
        layers=layers,
        outside=(*ends, norm("model.final_layernorm", hidden)),
    )


def block_at(block: Layer, index: int) -> Layer:
    """The shared block at one of its layers."""
    return Layer(block.mixers, block.matrices, index=index, stored_copies=block.stored_copies)


def _mamba(config: Fields, hidden: int) -> Layer:
    heads = config.size("n_mamba_heads", largest=2**16)
    width = hidden * config.size("mamba_expand", default=2, largest=64)
    config.require(width % heads == 0, "n_mamba_heads", f"a divisor of mamba_expand * hidden_size = {width}")
    shape = Mamba2(
        hidden=hidden,
        heads=heads,
        head_dim=width // heads,
        state_dim=config.size("mamba_d_state"),
        groups=config.size("mamba_ngroups", default=1, largest=2**16),
        kernel=config.size("mamba_d_conv", default=4, largest=64),
        projection_bias=config.flag("add_bias_linear", default=False),
    )
    return Layer((shape.state,), (*mamba2(shape, name="mamba"), norm("input_layernorm", hidden)))


def _shared_block(config: Fields, hidden: int, uses: int) -> Layer:
    """Attention over the hidden state beside the embedding, twice as wide, and an MLP."""
    heads, both = config.size("num_attention_heads", largest=2**16), 2 * hidden
    kv_heads = config.size("num_key_value_heads", default=heads, largest=2**16)
    config.require(both % heads == 0 and heads % kv_heads == 0, "num_attention_heads", "a divisor of 2 * hidden_size")
    mixer = Attention(heads, kv_heads, both // heads, both // heads)
    width, bias = config.size("intermediate_size", default=4 * hidden), config.flag("add_bias_linear", default=False)
    name = "shared_transformer"
    matrices = (
        *(_output_narrowed(m, hidden) for m in attention(both, mixer, name=f"{name}.self_attn")),
        linear(f"{name}.feed_forward.gate_up_proj", "mlp", 2 * width, hidden, "column", bias=bias),
        linear(f"{name}.feed_forward.down_proj", "mlp", hidden, width, "row", bias=bias),
        norm(f"{name}.input_layernorm", both),
        norm(f"{name}.pre_ff_layernorm", hidden),
    )
    blocks = config.size("num_mem_blocks", default=1, largest=1024)
    return Layer((mixer,), matrices, stored_copies=min(blocks, max(1, uses)))


def _output_narrowed(matrix: Matrix, hidden: int) -> Matrix:
    """The output projection goes back to the width of the residual stream."""
    if not matrix.name.endswith(".o_proj"):
        return matrix
    return linear(matrix.name, "attention", hidden, matrix.inputs, "row", granule=matrix.granule)


def _adapters(config: Fields, hidden: int) -> tuple[Matrix, ...]:
    """What a hybrid layer has of its own: a projection of the block's output and low-rank adapters of the block."""
    rank, width = config.size("adapter_rank", default=128), config.size("intermediate_size", default=4 * hidden)
    mlp, heads = "shared_transformer.feed_forward.gate_up_proj_adapter", "shared_transformer.self_attn"
    attends: tuple[Matrix, ...] = ()
    if config.flag("use_shared_attention_adapter", default=False):
        both = 2 * hidden
        for letter in "qkv":
            attends += (
                linear(f"{heads}.linear_{letter}_adapter.0", "attention", rank, both),
                linear(f"{heads}.linear_{letter}_adapter.1", "attention", both, rank, "column"),
            )
    return (
        linear("linear", "other", hidden, hidden),
        linear(f"{mlp}.0", "mlp", rank, hidden),
        linear(f"{mlp}.1", "mlp", 2 * width, rank, "column"),
        *attends,
    )
