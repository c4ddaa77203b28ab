"""EAGLE heads: a Llama-style layer that guesses tokens from a model's hidden states; served beside it, never alone.

EAGLE reads one hidden state and the token's embedding; EAGLE-3 three hidden states, and its layer attends to embedding
and state side by side. Source: vLLM 0.33.0 `vllm/model_executor/models/llama_eagle.py` and `llama_eagle3.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from catalog.architectures.llama import text_shape
from catalog.blocks import Layer, Shape, linear, norm
from catalog.model import Matrix
from catalog.reading import Fields

FIRST = ("EagleLlamaForCausalLM", "LlamaForCausalLMEagle", "EagleMistralForCausalLM")
THIRD = ("LlamaForCausalLMEagle3", "Eagle3LlamaForCausalLM", "Eagle3Qwen3vlForCausalLM", "Eagle3Qwen2_5vlForCausalLM")
ARCHITECTURES = (*FIRST, *THIRD)
METHODS = {**dict.fromkeys(FIRST, "eagle"), **dict.fromkeys(THIRD, "eagle3")}
"""What engines call the way of guessing that each suits."""
MODEL_TYPES = ()

STATES_READ = 3
"""Hidden states that an EAGLE-3 head reads unless its config says otherwise: of a low, a middle and a high layer."""


def read(config: Fields) -> Shape:
    """A Llama of one layer, with what joins hidden states and embeddings."""
    base = text_shape(config, "EAGLE")
    if config.words("architectures")[0] in FIRST:
        return replace(base, outside=(*base.outside, joined(base.hidden_size)))
    return _third(config, base)


def joined(hidden: int, states: int = 2) -> Matrix:
    """What brings `states` vectors back to one; on every rank."""
    return linear("fc", "other", hidden, states * hidden)


def _third(config: Fields, base: Shape) -> Shape:
    hidden, states = base.hidden_size, config.size("num_aux_hidden_states", default=STATES_READ, largest=64)
    vocabulary = config.size("draft_vocab_size", default=base.vocabulary, largest=2**26)
    outside = [replace(m, outputs=vocabulary) if m.part == "lm_head" else m for m in base.outside]
    first, *others = base.layers
    return replace(base, layers=[_wide(first, hidden), *others], outside=(*outside, joined(hidden, states)))


def _wide(layer: Layer, hidden: int) -> Layer:
    """The first layer's queries, keys and values read embedding and hidden state side by side, each normed."""
    matrices: Sequence[Matrix] = [
        replace(matrix, inputs=2 * hidden) if matrix.name.endswith(("q_proj", "k_proj", "v_proj")) else matrix
        for matrix in layer.matrices
    ]
    return replace(layer, matrices=(*matrices, norm("hidden_norm", hidden)))
