"""Speculative decoding: what guesses the next tokens has weights, a KV cache and logits of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from catalog.model import Layers, Matrix, ModelSpec, Part

Method = Literal["mtp", "draft_model", "eagle", "eagle3", "ngram"]
METHODS: tuple[Method, ...] = ("mtp", "draft_model", "eagle", "eagle3", "ngram")
NEEDS_DRAFT: tuple[Method, ...] = ("draft_model", "eagle", "eagle3")
"""Methods whose guesses come from weights of another checkpoint."""

DRAFT_PREFIX = "draft."


class BadSpeculation(ValueError):
    """A way of speculating that does not suit the model."""


@dataclass(frozen=True, slots=True)
class Speculation:
    """How tokens are guessed before the model checks them.

    Attributes:
        method: "mtp": the checkpoint's own multi-token-prediction layers; "draft_model": a whole smaller model;
            "eagle": a draft head that reads the model's hidden states and shares its embedding and LM head; "eagle3":
            one that shares the embedding and has an LM head of its own; "ngram": the request's own text, which needs
            no memory on the GPU.
        tokens: guessed per step.
        draft: the draft model, or the EAGLE head; None for the other two.
    """

    method: Method
    tokens: int
    draft: ModelSpec | None = None

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise BadSpeculation(f"No speculative method is called {self.method!r}; known are {', '.join(METHODS)}.")
        if self.tokens < 1:
            raise BadSpeculation(f"{self.tokens} speculative tokens per step; it must be at least 1.")
        if (self.draft is not None) != (self.method in NEEDS_DRAFT):
            need = "needs a draft" if self.draft is None else "takes no draft"
            raise BadSpeculation(f"The speculative method {self.method!r} {need}.")


def with_drafts(spec: ModelSpec, speculation: Speculation | None) -> ModelSpec:
    """The model with the layers that guess, as layers behind the last one: they run on the last pipeline stage.

    Everything after this (weights per rank, KV blocks) follows from the layers. A draft keeps keys and values for the
    same tokens as the model. Embedding and LM head of MTP layers and EAGLE heads are the model's own.

    Raises:
        BadSpeculation: the checkpoint has no multi-token-prediction layers.

    Source: vLLM 0.33.0 `vllm/v1/spec_decode/`; drafts are allocated with the target's KV cache in
    `get_kv_cache_groups`.
    """
    if speculation is None or speculation.method == "ngram":
        return spec
    if speculation.draft is not None:
        draft = _joining(speculation.draft) if speculation.method == "eagle" else speculation.draft
        return _with_model(spec, draft, SHARED_TABLES.get(speculation.method, ()))
    groups = [group for group in spec.layers if group.next_token_prediction]
    if not groups:
        raise BadSpeculation(
            f"{spec.repo_id} has no multi-token-prediction layers; use a draft model, an EAGLE head or n-grams."
        )
    others = tuple(group for group in spec.layers if not group.next_token_prediction)
    return replace(spec, layers=others + _behind(spec, tuple(groups)))


SHARED_TABLES: dict[Method, tuple[Part, ...]] = {"eagle": ("embedding", "lm_head"), "eagle3": ("embedding",)}
"""What a draft head uses of the model. Source: vLLM 0.33.0 `vllm/v1/spec_decode/llm_base_proposer.py`: the embedding
is shared; an EAGLE-3 head has an LM head over its own, smaller vocabulary."""


def _joining(head: ModelSpec) -> ModelSpec:
    """An EAGLE head with what joins embedding and hidden state; configs that call it a plain Llama leave that out.

    Source: vLLM 0.33.0 `vllm/model_executor/models/llama_eagle.py`, LlamaModel.fc.
    """
    if any(matrix.name == "fc" for matrix in head.outside):
        return head
    return replace(head, outside=(*head.outside, Matrix("fc", "other", head.hidden_size, 2 * head.hidden_size)))


def _with_model(spec: ModelSpec, draft: ModelSpec, shared: tuple[Part, ...]) -> ModelSpec:
    groups = tuple(group for group in draft.layers if not group.next_token_prediction)
    outside = tuple(_on_last_stage(matrix) for matrix in draft.outside if matrix.part not in shared)
    return replace(spec, layers=spec.layers + _behind(spec, groups), outside=spec.outside + outside)


def _on_last_stage(matrix: Matrix) -> Matrix:
    """Only the model's own embedding lies on the first stage."""
    return replace(matrix, name=f"{DRAFT_PREFIX}{matrix.name}", part="other")


def is_draft(matrix: Matrix) -> bool:
    """Whether a matrix outside the layers belongs to a draft."""
    return matrix.name.startswith(DRAFT_PREFIX)


def _behind(spec: ModelSpec, groups: tuple[Layers, ...]) -> tuple[Layers, ...]:
    """Layers renumbered to come after the model's."""
    numbers = sorted({index for group in groups for index in group.indices})
    place = {index: spec.layer_count + position for position, index in enumerate(numbers)}
    return tuple(
        replace(
            group,
            indices=tuple(place[index] for index in group.indices),
            next_token_prediction=False,
            drafts=True,
        )
        for group in groups
    )
