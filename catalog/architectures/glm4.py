"""GLM-4 as transformers names it (GlmForCausalLM), GLM-4 0414 and GLM-Z1 (Glm4ForCausalLM): biased queries and keys."""

from __future__ import annotations

from catalog.architectures.llama import read_attention
from catalog.blocks import Layer, Shape, attention, gated_mlp, language_model, norm, pre_norms
from catalog.reading import Fields

ARCHITECTURES = ("GlmForCausalLM", "Glm4ForCausalLM")
MODEL_TYPES = ("glm", "glm4", "glm4v_text", "glm_ocr_text")


def read(config: Fields) -> Shape:
    """All but the first have norms behind both halves of a layer, too; all but GLM-OCR biases, which are not stated."""
    config.require("vision_config" not in config, "vision_config", "left out, as GLM-Edge's towers are not described")
    hidden, mixer = config.size("hidden_size"), read_attention(config)
    after = ("post_self_attn_layernorm", "post_mlp_layernorm") if config.get("model_type") != "glm" else ()
    biased = config.flag("attention_bias", default=config.get("model_type") != "glm_ocr_text")
    matrices = (
        *attention(hidden, mixer, qkv_bias=biased),
        *gated_mlp(hidden, config.size("intermediate_size")),
        *pre_norms(hidden),
        *(norm(name, hidden) for name in after),
    )
    return language_model(config, "GLM 4", [Layer((mixer,), matrices)] * config.layers())
