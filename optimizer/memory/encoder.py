"""The vision encoder's activation: the engine profiles it with as many of the largest images as one step may hold."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from catalog.model import Matrix, ModelSpec, VisionTower
from optimizer.memory.activations import ACTIVATION_BYTES
from optimizer.memory.weights import Division

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_EMBEDS_PATCHES = re.compile(r"patch_(emb|conv)")


@dataclass(frozen=True, slots=True)
class Images:
    """The largest image of a family.

    Attributes:
        tokens: that it puts into the prompt.
        patches_per_token: that the encoder sees.
    """

    tokens: int
    patches_per_token: int


@dataclass(frozen=True, slots=True)
class EncoderFactors:
    """16-bit values per patch; sources are in `data/images.json`."""

    values_per_hidden: float
    values_per_intermediate: float
    images: dict[str, Images]


@cache
def encoder_factors() -> EncoderFactors:
    """The bundled factors."""
    raw = json.loads(files(__package__).joinpath("data/images.json").read_text(encoding="utf-8"))
    factors = raw["factors"]
    images = {name: Images(each["tokens"], each["patches_per_token"]) for name, each in raw["image_tokens"].items()}
    return EncoderFactors(factors["values_per_hidden"], factors["values_per_intermediate"], images)


def profiled_tokens(spec: ModelSpec, max_batched_tokens: Ints) -> Ints:
    """Image tokens that are encoded in one step: as many whole images as the step holds, at least one.

        floor(max(step, image) / image) * image

    A family whose largest image nobody published is profiled with a step full of patches.

    Source: vLLM 0.33.0 `vllm/multimodal/encoder_budget.py`.

    >>> from catalog.find import find_model
    >>> gemma = find_model("google/gemma-3-27b-it")
    >>> profiled_tokens(gemma, np.array([2048, 100])).tolist()
    [2048, 256]
    """
    image = encoder_factors().images.get(spec.architecture)
    if image is None:
        return max_batched_tokens
    return np.asarray(np.maximum(max_batched_tokens, image.tokens) // image.tokens * image.tokens)


def encoder_bytes_per_token(spec: ModelSpec, division: Division) -> Floats:
    """Peak of the encoder per image token on one rank, shape (keys,); zero for a text model.

        2 * (patches per token * (4 * encoder width + 1.5 * widest MLP matrix) + hidden)

    The last term is the encoded image itself.

    Args:
        spec: the model.
        division: ways to divide it; a tower that is replicated is not divided.
    """
    if spec.vision is None:
        return np.zeros(division.tensor_parallel.shape)
    factors = encoder_factors()
    image = factors.images.get(spec.architecture)
    patches = 1 if image is None else image.patches_per_token
    widest = _widest(spec.vision, division)
    values = factors.values_per_hidden * spec.vision.hidden_size + factors.values_per_intermediate * widest
    return np.asarray(ACTIVATION_BYTES * (patches * values + spec.hidden_size), dtype=np.float64)


def kept_bytes_per_image_token(spec: ModelSpec) -> int:
    """What the engine keeps of an encoded image until the step is over, per token: the token, and its pixels.

        2 * (hidden + patches per token * values of a patch)

    Source: vLLM 0.19.0 `vllm/v1/worker/gpu_model_runner.py`, `profile_run`: `encoder_cache`, the batch of dummy images.

    >>> from catalog.find import find_model
    >>> kept_bytes_per_image_token(find_model("google/gemma-3-27b-it")) == 2 * (5376 + 16 * 14 * 14 * 3)
    True
    """
    if spec.vision is None:
        return 0
    image = encoder_factors().images.get(spec.architecture)
    patches = 1 if image is None else image.patches_per_token
    pixels = [matrix.inputs for matrix in spec.vision.matrices if _EMBEDS_PATCHES.search(matrix.name)]
    return ACTIVATION_BYTES * (spec.hidden_size + patches * max(pixels, default=0))


def _widest(tower: VisionTower, division: Division) -> Floats:
    """Outputs of the widest matrix that every encoder layer has."""
    repeated = [matrix for matrix in tower.matrices if matrix.copies >= tower.layers and matrix.inputs > 1]
    widths = [_outputs(matrix, division) for matrix in repeated] or [np.zeros(division.tensor_parallel.shape)]
    return np.asarray(np.max(widths, axis=0))


def _outputs(matrix: Matrix, division: Division) -> Floats:
    split = division.tensor_parallel if matrix.sharding == "column" else 1
    return matrix.outputs / (np.ones(division.tensor_parallel.shape) * split)
