"""Mistral Small 3.1 to 4, Devstral Small 2: a Mistral language model behind a Pixtral vision tower."""

from __future__ import annotations

from dataclasses import replace

from catalog.architectures import deepseek
from catalog.architectures.llama import text_shape
from catalog.blocks import Shape, column, row, vision_linear, vision_norm
from catalog.inner import filled
from catalog.model import Matrix
from catalog.reading import Fields
from catalog.towers import pixtral

ARCHITECTURES = ("Mistral3ForConditionalGeneration",)
MODEL_TYPES = ("mistral3",)


def read(config: Fields) -> Shape:
    """The language model of text_config, the tower of vision_config and the projector between them."""
    own = filled(config.section("text_config"), "mistral")
    if config.flag("tie_word_embeddings", default=False):  # transformers 5 asks the outer config
        own = Fields({**own.values, "tie_word_embeddings": True}, own.where)
    latent = "kv_lora_rank" in own
    text = deepseek.text_shape(own, "Mistral") if latent else text_shape(own, "Mistral")
    vision = filled(config.section("vision_config"), "pixtral")
    merge = config.size("spatial_merge_size", default=2, largest=64)
    bias = config.flag("multimodal_projector_bias", default=False)
    projector = merging_projector(vision.size("hidden_size"), text.hidden_size, merge, bias=bias)
    if latent:  # vLLM 0.32 serves it by pixtral.py, whose VisionLanguageAdapter every rank has whole
        projector = tuple(replace(matrix, sharding="replicated") for matrix in projector)
    tower = pixtral(vision)
    return replace(text, vision=replace(tower, matrices=(*tower.matrices, *projector)))


def merging_projector(vision_hidden: int, hidden: int, merge: int, *, bias: bool) -> tuple[Matrix, ...]:
    """A projector that makes one token of merge x merge patches before its two matrices."""
    return (
        vision_norm("multi_modal_projector.norm", vision_hidden),
        vision_linear("multi_modal_projector.patch_merger", vision_hidden, vision_hidden * merge**2),
        column("multi_modal_projector.linear_1", hidden, vision_hidden, bias=bias),
        row("multi_modal_projector.linear_2", hidden, hidden, bias=bias),
    )
