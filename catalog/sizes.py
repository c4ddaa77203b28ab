"""How big a model is: pure arithmetic on its published shape, no GPU and no engine.

Multi-token-prediction layers are left out: engines load and run them only for speculative decoding. Published totals
of DeepSeek-V3 (685 B with them, 671 B without) and others differ by that.
"""

from __future__ import annotations

from collections.abc import Iterator

from catalog.model import Matrix, ModelSpec, Part
from catalog.quantization import stored_bytes

PARTS: tuple[Part, ...] = (
    "embedding", "lm_head", "attention", "linear_attention", "mlp", "experts", "shared_experts", "router", "norms",
    "vision", "other",
)  # fmt: skip


def stored_matrices(spec: ModelSpec) -> Iterator[tuple[Matrix, int]]:
    """Every matrix of a model that is not for speculative decoding, with how many times it is stored."""
    for group in spec.layers:
        if not group.next_token_prediction:
            times = group.count if group.stored_copies is None else group.stored_copies
            yield from ((matrix, times) for matrix in group.matrices)
    yield from ((matrix, 1) for matrix in spec.outside)
    if spec.vision is not None:
        yield from ((matrix, 1) for matrix in spec.vision.stored)


def used_matrices(spec: ModelSpec) -> Iterator[tuple[Matrix, int]]:
    """Every matrix of the language model, with how many layers use it: a shared block counts at each use."""
    for group in spec.layers:
        if not group.next_token_prediction:
            yield from ((matrix, group.count) for matrix in group.matrices)
    yield from ((matrix, 1) for matrix in spec.outside)


def total_parameters(spec: ModelSpec) -> int:
    """Parameters stored, vision tower included, tied embeddings once."""
    return sum(matrix.parameters * times for matrix, times in stored_matrices(spec))


def parameters_by_part(spec: ModelSpec) -> dict[Part, int]:
    """`total_parameters` by part; every part is a key, absent ones are 0."""
    parts = dict.fromkeys(PARTS, 0)
    for matrix, times in stored_matrices(spec):
        parts[matrix.part] += matrix.parameters * times
    return parts


def active_parameters(spec: ModelSpec) -> int:
    """Parameters of the language model that one token passes: top-k of the experts, no vision tower.

    Embedding and LM head are counted. OpenAI's 3.6 B and 5.1 B for gpt-oss leave the embedding out.
    """
    vision = 0 if spec.vision is None else sum(matrix.parameters for matrix in spec.vision.stored)
    idle = sum((matrix.parameters - matrix.active_parameters) * times for matrix, times in stored_matrices(spec))
    return total_parameters(spec) - vision - idle


def weight_bytes(spec: ModelSpec) -> int:
    """Bytes of all weights as stored, on one device, scales included."""
    return sum(
        times * stored_bytes(matrix, matrix.outputs, matrix.inputs, matrix.copies)
        for matrix, times in stored_matrices(spec)
    )


def flop_per_token(spec: ModelSpec) -> int:
    """Floating-point operations of all matrix multiplications for one token, attention scores not included.

    Two per active weight (Kaplan et al. 2020, arXiv:2001.08361, section 2.1), LM head included, embedding lookup not.
    """
    weights = sum(matrix.active_parameters * times for matrix, times in used_matrices(spec) if matrix.gemm)
    tied = spec.vocabulary * spec.hidden_size if spec.tied_embeddings else 0
    return 2 * (weights + tied)
