"""Mistral's own params.json, for repositories that have no config.json: the same facts under other names.

Names and defaults as vLLM 0.33.0 maps them, `vllm/transformers_utils/configs/mistral.py`.
"""

from __future__ import annotations

from catalog.errors import BadModelConfig, UnknownArchitecture, UnknownQuantization
from catalog.reading import LARGEST_CONTEXT, LARGEST_LAYERS, Fields

DEFAULT_CONTEXT = 128_000
_REFUSED = ("qk_nope_head_dim", "multimodal", "vision_encoder")


def config_of_params(params: object) -> dict[str, object]:
    """A config.json that says what this params.json says.

    Raises:
        UnknownArchitecture: latent attention, shared experts, images or sound, whose names differ too much.
        BadModelConfig: a value is missing, of the wrong type or absurd.

    >>> sizes = {"dim": 4096, "n_layers": 32, "n_heads": 32, "n_kv_heads": 8, "hidden_dim": 14336, "vocab_size": 32768}
    >>> config_of_params(sizes)["num_key_value_heads"]
    8
    """
    own = Fields(params, "params.json")
    strange = next((name for name in _REFUSED if name in own), None)
    experts = own.optional_section("moe")
    if strange is not None or (experts is not None and experts.count("num_shared_experts", default=0)):
        what = strange or "moe.num_shared_experts"
        raise UnknownArchitecture(f"The params.json has {what}, which is read from a config.json only; there is none.")
    config: dict[str, object] = {
        "architectures": ["MistralForCausalLM" if experts is None else "MixtralForCausalLM"],
        "model_type": "mistral",
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
    if experts is not None:
        config["num_local_experts"] = experts.size("num_experts")
        config["num_experts_per_tok"] = experts.size("num_experts_per_tok")
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
