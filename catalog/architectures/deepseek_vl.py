"""DeepSeek-VL2, DeepSeek-OCR, Unlimited-OCR: DeepSeek V2 behind towers whose sizes the engine knows, not the config."""

from __future__ import annotations

from dataclasses import replace

from catalog.architectures import deepseek, deepseek_moe
from catalog.blocks import Shape, column, row, vision_linear, vision_norm
from catalog.model import Matrix, VisionTower
from catalog.reading import Fields
from catalog.towers import clip

ARCHITECTURES = ("DeepseekVLV2ForCausalLM", "DeepseekOCRForCausalLM", "UnlimitedOCRForCausalLM")
MODEL_TYPES = ("deepseek_vl_v2", "deepseek_ocr", "unlimited-ocr", "unlimited_ocr")

_READS_DOCUMENTS = {
    "DeepseekOCRForCausalLM",
    "UnlimitedOCRForCausalLM",
    "deepseek_ocr",
    "unlimited-ocr",
    "unlimited_ocr",
}

_SIGLIP = {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "patches": 27**2}
"""timm's vit_so400m_patch14_siglip_384: vLLM 0.32.0 `deepseek_vl2.py` builds it whatever the config says."""

_CLIP = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 224,
    "patch_size": 14,
}
"""vLLM 0.32.0 `deepseek_ocr.py`."""

_SAM_WIDTH, _SAM_HEAD, _SAM_LAYERS, _SAM_GLOBAL_LAYERS, _SAM_PATCHES, _SAM_WINDOW = 768, 64, 12, 4, 64, 14
"""SAM's ViT-B on images of 1024 x 1024, whose other layers see windows: vLLM 0.32.0 `deepencoder.py`."""


def read(config: Fields) -> Shape:
    """The language model is in language_config, or in transformers' word for it."""
    text = _text(config.section("language_config", "text_config"))
    projector = config.section("projector_config")
    names = (*(config.words("architectures") if "architectures" in config else ()), config.get("model_type"))
    tower = _tower() if _READS_DOCUMENTS.isdisjoint(map(str, names)) else _document_tower()
    joined = (*_projector(projector), vision_norm("image_newline_and_view_separator", 2 * text.hidden_size))
    return replace(text, vision=replace(tower, matrices=(*tower.matrices, *joined)))


def _text(text: Fields) -> Shape:
    """Small ones have plain heads: both parts of a latent head are then 0, which is how vLLM tells them apart."""
    parts = [
        text.count(name, default=default) for name, default in (("qk_nope_head_dim", 128), ("qk_rope_head_dim", 64))
    ]
    if any(parts):
        return deepseek.text_shape(text, "DeepSeek V2", "language.model.layers")
    return replace(deepseek_moe.read(text), family="DeepSeek V2", layer_path="language.model.layers")


def _projector(config: Fields) -> tuple[Matrix, ...]:
    """One matrix, or an MLP over downsample x downsample patches. Defaults are those of vLLM's MlpProjectorConfig."""
    kind, width = config.word("projector_type", default="downsample_mlp_gelu"), config.size("input_dim", default=1152)
    output = config.size("n_embed", default=2048)
    if kind == "linear":
        return (vision_linear("projector.layers", output, width, bias=True),)
    config.require(kind == "downsample_mlp_gelu", "projector_type", "linear or downsample_mlp_gelu")
    merged = width * config.size("downsample_ratio", default=2, largest=64) ** 2
    inner, depth = output * config.size("mlp_ratio", default=1, largest=64), config.size("depth", default=2, largest=64)
    return (
        vision_linear("projector.layers.0", inner, merged, bias=True),
        *(vision_linear(f"projector.layers.{2 * i}", inner, inner, bias=True) for i in range(1, depth - 1)),
        vision_linear("projector.layers.last", output, inner, bias=True),
    )


def _tower() -> VisionTower:
    """SigLIP as timm has it: TP divides only the MLPs; the pooling head is loaded, too."""
    width, inner, layers = _SIGLIP["hidden_size"], _SIGLIP["intermediate_size"], _SIGLIP["num_hidden_layers"]
    matrices = (
        vision_linear("vision.patch_embed.proj", width, 3 * 14**2, bias=True),
        vision_norm("vision.pos_embed", _SIGLIP["patches"] * width),
        vision_linear("vision.blocks.attn.qkv", 3 * width, width, copies=layers, bias=True),
        vision_linear("vision.blocks.attn.proj", width, width, copies=layers, bias=True),
        vision_norm("vision.blocks.norms", 2 * width, copies=layers, bias=True),
        vision_norm("vision.norm", width, bias=True),
        vision_norm("vision.attn_pool.latent", width),
        vision_linear("vision.attn_pool.projections", width, width, copies=4, bias=True),
        vision_norm("vision.attn_pool.norm", width, bias=True),
        column("vision.mlp.fc1", inner, width, copies=layers + 1, bias=True),
        row("vision.mlp.fc2", width, inner, copies=layers + 1, bias=True),
    )
    return VisionTower(matrices, layers, width)


def _document_tower() -> VisionTower:
    """SAM sees the image and makes a sixteenth of its patches; CLIP's layers see those."""
    tower = clip(Fields(_CLIP), _CLIP["num_hidden_layers"], last_norm=False)
    return replace(tower, matrices=(*_sam(), *tower.matrices), idle=())


def _sam() -> tuple[Matrix, ...]:
    """Every rank has it whole: patches, positions, layers with relative positions, and four convolutions."""
    width, layers = _SAM_WIDTH, _SAM_LAYERS
    relative = [(_SAM_PATCHES, _SAM_GLOBAL_LAYERS), (_SAM_WINDOW, layers - _SAM_GLOBAL_LAYERS)]
    return (
        vision_linear("sam_model.patch_embed.proj", width, 3 * 16**2, bias=True),
        vision_norm("sam_model.pos_embed", _SAM_PATCHES**2 * width),
        vision_linear("sam_model.blocks.attn.qkv", 3 * width, width, copies=layers, bias=True),
        vision_linear("sam_model.blocks.attn.proj", width, width, copies=layers, bias=True),
        *(vision_norm("sam_model.blocks.attn.rel_pos", 2 * (2 * n - 1) * _SAM_HEAD, copies=c) for n, c in relative),
        vision_linear("sam_model.blocks.mlp.lin1", 4 * width, width, copies=layers, bias=True),
        vision_linear("sam_model.blocks.mlp.lin2", width, 4 * width, copies=layers, bias=True),
        vision_norm("sam_model.blocks.norms", 2 * width, copies=layers, bias=True),
        vision_linear("sam_model.neck.0", 256, width),
        vision_linear("sam_model.neck.2", 256, 9 * 256),
        vision_norm("sam_model.neck.norms", 256, copies=2, bias=True),
        vision_linear("sam_model.net_2", 512, 9 * 256),
        vision_linear("sam_model.net_3", 1024, 9 * 512),
    )
