"""Nemotron Nano VL 1 and 2, and Nemotron Omni: Llama or Nemotron-H behind C-RADIO, Omni behind Parakeet too."""

from __future__ import annotations

from dataclasses import replace

from catalog.audio_towers import halving_convolutions, halving_factor
from catalog.blocks import Shape, vision_linear, vision_norm
from catalog.inner import read_language_model
from catalog.model import Matrix
from catalog.reading import Fields
from catalog.towers import radio, shuffle_projector

_OMNI = (
    "NemotronH_Nano_Omni_Reasoning_V3",
    "NemotronH_Super_Omni_Reasoning_V3",
    "NemotronH_Omni_Reasoning_V3",
)
ARCHITECTURES = ("Llama_Nemotron_Nano_VL", "NemotronH_Nano_VL_V2", *_OMNI)
MODEL_TYPES = ARCHITECTURES


def read(config: Fields) -> Shape:
    """The text in llm_config, the tower in vision_config, a projector on every rank; sound in sound_config.

    For the first, vLLM runs the tower that its repository brings, whole on every rank.

    Source: vLLM 0.32.0 `vllm/model_executor/models/nemotron_vl.py`, `nano_nemotron_vl.py`, `parakeet.py`.
    """
    kind = config.word("model_type", default="NemotronH_Nano_VL_V2")
    hybrid = kind != "Llama_Nemotron_Nano_VL"
    shape = read_language_model(
        _in_16_bit(config) if kind in _OMNI else config,
        "llm_config",
        "text_config",
        model_type="nemotron_h" if hybrid else "llama",
    )
    hidden, sound = shape.hidden_size, config.optional_section("sound_config")
    tower = radio(config.section("vision_config"), divided=hybrid)
    width, inner = config.size("vit_hidden_size"), config.size("projector_hidden_size")
    predicts = hybrid and any(layer.next_token_prediction for layer in shape.layers)
    matrices = (
        *tower.matrices,
        *([vision_norm("vision_final_layernorm", width, bias=True)] if predicts else []),
        *shuffle_projector(config, width, hidden, inner, bias=not hybrid),
        *([] if sound is None else _parakeet(sound, hidden)),
    )
    family = "Nemotron Omni" if kind in _OMNI else "Nemotron Nano VL"
    return replace(shape, family=family, vision=replace(tower, matrices=matrices))


def _in_16_bit(config: Fields) -> Fields:
    """The config with recurrent states in 16 bit: for Omni, vLLM does not ask which type the language model states.

    Source: vLLM 0.32.0 and 0.33.0 `vllm/model_executor/models/config.py`, `MODELS_CONFIG_MAP`, which lacks its names.
    """
    name = "llm_config" if "llm_config" in config else "text_config"
    text = {**config.section(name).values, "mamba_ssm_cache_dtype": "bfloat16"}
    return Fields({**config.values, name: text}, config.where)


def _parakeet(sound: Fields, hidden: int) -> tuple[Matrix, ...]:
    """A conformer whose projections have no biases, and a projector; all on every rank."""
    width, layers = sound.size("hidden_size"), sound.layers()
    inner, kernel = sound.size("intermediate_size"), sound.size("conv_kernel_size", default=9, largest=1024)
    biased = sound.flag("convolution_bias", default=True)
    projected, bias = sound.size("projection_hidden_size"), sound.flag("projection_bias", default=False)
    bins, channels = sound.size("num_mel_bins", default=80), sound.size("subsampling_conv_channels", default=256)
    return (
        *halving_convolutions(
            "sound.subsampling", width, bins, channels, halving_factor(sound, "subsampling_factor", 8)
        ),
        vision_linear("sound.feed_forward.linear1", inner, width, copies=2 * layers),
        vision_linear("sound.feed_forward.linear2", width, inner, copies=2 * layers),
        vision_linear("sound.self_attn", width, width, copies=5 * layers),
        vision_norm("sound.self_attn.bias_u_and_v", 2 * width, copies=layers),
        vision_linear("sound.conv.pointwise_conv1", 2 * width, width, copies=layers, bias=biased),
        vision_linear("sound.conv.depthwise_conv", width, kernel, copies=layers, bias=biased),
        vision_linear("sound.conv.pointwise_conv2", width, width, copies=layers, bias=biased),
        vision_norm("sound.norms", 6 * width, copies=layers, bias=True),
        vision_norm("sound.projection.norm", width),
        vision_linear("sound.projection.linear1", projected, width, bias=bias),
        vision_linear("sound.projection.linear2", hidden, projected, bias=bias),
    )
