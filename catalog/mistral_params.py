"""Mistral's own params.json, for repositories that have no config.json: the same facts under other names.

Names and defaults as vLLM 0.33.0 maps them, `vllm/transformers_utils/configs/mistral.py`.
"""

from __future__ import annotations

from catalog.errors import BadModelConfig, UnknownArchitecture, UnknownQuantization
from catalog.reading import LARGEST_CONTEXT, LARGEST_LAYERS, Fields

DEFAULT_CONTEXT = 128_000
_LATENT = ("kv_lora_rank", "q_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
_EXPERTS = {
    "n_routed_experts": "num_experts",
    "num_experts_per_tok": "num_experts_per_tok",
    "n_shared_experts": "num_shared_experts",
    "moe_intermediate_size": "expert_hidden_dim",
    "first_k_dense_replace": "first_k_dense_replace",
}
"""DeepSeek V3's names of experts, whose layers Mistral Large 3 and Small 4 have, and Mistral's."""


def config_of_params(params: object) -> dict[str, object]:
    """A config.json that says what this params.json says.

    Raises:
        UnknownArchitecture: sound, whose names differ too much.
        BadModelConfig: a value is missing, of the wrong type or absurd.

    >>> sizes = {"dim": 4096, "n_layers": 32, "n_heads": 32, "n_kv_heads": 8, "hidden_dim": 14336, "vocab_size": 32768}
    >>> config_of_params(sizes)["num_key_value_heads"]
    8
    """
    own = Fields(params, "params.json")
    vision = own.optional_section("vision_encoder")
    if "multimodal" in own:
        raise UnknownArchitecture(
            "The params.json has multimodal, which is read from a config.json only; there is none."
        )
    config = {**_sizes(own), **_layers(own)}
    return config if vision is None else _with_vision(config, vision)


def _with_vision(text: dict[str, object], vision: Fields) -> dict[str, object]:
    """The language model behind a Pixtral tower, whose sizes have the same names as in a config.json."""
    stored = text.pop("quantization_config", None)
    return {
        "architectures": ["PixtralForConditionalGeneration"],
        "model_type": "pixtral",
        "text_config": text,
        "vision_config": vision.values,
        **({} if stored is None else {"quantization_config": stored}),
    }


def _layers(own: Fields) -> dict[str, object]:
    """What the layers are made of: Mistral's or Mixtral's, or latent attention and shared experts as in DeepSeek V3."""
    experts = own.optional_section("moe")
    if "qk_nope_head_dim" in own or (experts is not None and experts.count("num_shared_experts", default=0)):
        named = {} if experts is None else {name: experts.get(mistrals) for name, mistrals in _EXPERTS.items()}
        dense = {"first_k_dense_replace": own.size("n_layers", largest=LARGEST_LAYERS)} if experts is None else {}
        latent = {name: own.get(name) for name in _LATENT}
        return {"architectures": ["MistralLarge3ForCausalLM"], "model_type": "mistral4", **named, **dense, **latent}
    if experts is None:
        return {"architectures": ["MistralForCausalLM"], "model_type": "mistral"}
    return {
        "architectures": ["MixtralForCausalLM"],
        "model_type": "mixtral",
        "num_local_experts": experts.size("num_experts"),
        "num_experts_per_tok": experts.size("num_experts_per_tok"),
    }


def _sizes(own: Fields) -> dict[str, object]:
    """What all of Mistral's models state."""
    config: dict[str, object] = {
        "hidden_size": own.size("dim"),
        "num_hidden_layers": own.size("n_layers", largest=LARGEST_LAYERS),
        "num_attention_heads": own.size("n_heads"),
        "num_key_value_heads": own.size("n_kv_heads", default=own.size("n_heads")),
        "intermediate_size": own.size("hidden_dim"),
        "vocab_size": own.size("vocab_size"),
        "tie_word_embeddings": own.flag("tied_embeddings", default=False),
        "max_position_embeddings": own.size(
            "max_position_embeddings", "max_seq_len", default=DEFAULT_CONTEXT, largest=LARGEST_CONTEXT
        ),
    }
    if "head_dim" in own:
        config["head_dim"] = own.size("head_dim")
    if "sliding_window" in own:
        config["sliding_window"] = _window(own)
    quantization = own.optional_section("quantization")
    if quantization is not None:
        config["quantization_config"] = _quantization(quantization)
    return config


def _window(own: Fields) -> int:
    """One window for all layers."""
    value = own.get("sliding_window")
    if isinstance(value, list):
        raise BadModelConfig("params.json gives each layer its own sliding_window; only one for all is read.")
    return own.size("sliding_window", largest=LARGEST_CONTEXT)


def _quantization(quantization: Fields) -> dict[str, object]:
    if quantization.get("qformat_weight") == "fp8_e4m3":
        dynamic = quantization.get("qscheme_act") == "NO_SCALES"
        return {"quant_method": "fp8", "activation_scheme": "dynamic" if dynamic else "static"}
    method = quantization.word("quant_method", default="") or ""
    if method.lower().replace("_", "-") == "compressed-tensors":
        return {**quantization.values, "quant_method": "compressed-tensors"}
    raise UnknownQuantization("The quantization in params.json is neither fp8_e4m3 nor compressed-tensors.")
