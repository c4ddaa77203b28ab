"""Vision towers that several families share, as weight matrices: CLIP, SigLIP, InternViT, Pixtral, RADIO.

Most projectors into the language model are their families' own. Names are those of vLLM's modules, without their root.
"""

from __future__ import annotations

from dataclasses import replace

from catalog.blocks import column, row, vision_linear, vision_norm
from catalog.model import Matrix, VisionTower
from catalog.reading import Fields


def clip(vision: Fields, read_layers: int, *, last_norm: bool | None = None) -> VisionTower:
    """CLIP: a class token, norms before and behind the layers, biases everywhere but in the patches.

    Args:
        vision: its config.
        read_layers: layers up to the one whose output is read; engines load no more.
        last_norm: whether engines load the norm behind the layers; None = if all layers are loaded.

    Source: vLLM 0.32.0 `vllm/model_executor/models/clip.py`.
    """
    width, positions = vision.size("hidden_size"), patches(vision) + 1
    front = (
        vision_norm("embeddings.class_embedding", width),
        vision_linear("embeddings.patch_embedding", width, patch_values(vision)),
        vision_norm("embeddings.position_embedding", positions * width),
        vision_norm("pre_layrnorm", width, bias=True),
    )
    return _cut(vision, front, read_layers, last_norm)


def siglip(vision: Fields, read_layers: int | None = None, *, last_norm: bool | None = None) -> VisionTower:
    """SigLIP: a bias in the patches too, no class token. Arguments as in `clip`; None = all layers are read.

    The library's own class has a head that pools, unless the config says no; engines that generate load none.

    Source: vLLM 0.32.0 `vllm/model_executor/models/siglip.py`, `idefics2_vision_model.py`.
    """
    width, layers = vision.size("hidden_size"), vision.layers() if read_layers is None else read_layers
    front = (
        vision_linear("embeddings.patch_embedding", width, patch_values(vision), bias=True),
        vision_norm("embeddings.position_embedding", patches(vision) * width),
    )
    tower = _cut(vision, front, layers, last_norm)
    pools = vision.get("model_type") == "siglip_vision_model" and vision.flag("vision_use_head", default=True)
    return replace(tower, idle=(*tower.idle, *pooling_head(vision, width))) if pools else tower


def pooling_head(vision: Fields, width: int) -> tuple[Matrix, ...]:
    """One learned query that attends to all patches, and an MLP."""
    inner = vision.size("intermediate_size")
    return (
        vision_norm("head.probe", width),
        vision_linear("head.attention.in_proj", 3 * width, width, bias=True),
        vision_linear("head.attention.out_proj", width, width, bias=True),
        vision_norm("head.layernorm", width, bias=True),
        vision_linear("head.mlp.fc1", inner, width, bias=True),
        vision_linear("head.mlp.fc2", width, inner, bias=True),
    )


def _cut(vision: Fields, front: tuple[Matrix, ...], read_layers: int, last_norm: bool | None) -> VisionTower:
    """A tower up to the layer that is read."""
    width, idle_layers = vision.size("hidden_size"), vision.layers() - read_layers
    kept, idle = (encoder_layers(vision, count) for count in (read_layers, idle_layers))
    last = (vision_norm("post_layernorm", width, bias=True),)
    if idle_layers == 0 if last_norm is None else last_norm:
        return VisionTower((*front, *kept, *last), read_layers, width, idle=idle)
    return VisionTower((*front, *kept), read_layers, width, idle=(*idle, *last))


def intern_vit(vision: Fields, read_layers: int, *, divided: bool = True) -> VisionTower:
    """InternViT: a class token, two scales per layer, in the large one norms over all queries and keys.

    TP does not divide its 25 heads, so attention is whole on every rank and the MLPs are not.

    Args:
        vision: its config, in OpenGVLab's form or in transformers'.
        read_layers: layers up to the one whose output is read.
        divided: whether TP divides its attention at all; vLLM's class for transformers' form does not.

    Source: vLLM 0.32.0 `vllm/model_executor/models/intern_vit.py`, `interns1_vit.py`.
    """
    width, positions = vision.size("hidden_size"), patches(vision) + 1
    front = (
        vision_norm("embeddings.class_embedding", width),
        vision_linear("embeddings.patch_embedding", width, patch_values(vision), bias=True),
        vision_norm("embeddings.position_embedding", positions * width),
    )
    kept, idle = (
        _intern_layers(vision, count, divided=divided) for count in (read_layers, vision.layers() - read_layers)
    )
    heads = vision.size("num_attention_heads", largest=2**10)
    return VisionTower((*front, *kept), read_layers, width, heads, "attn.", idle)


def _intern_layers(vision: Fields, layers: int, *, divided: bool) -> tuple[Matrix, ...]:
    if layers == 0:
        return ()
    width = vision.size("hidden_size")
    normed = vision.flag("qk_normalization", "use_qk_norm", default=False)
    qkv_bias = vision.flag("qkv_bias", "attention_bias", default=False)
    layer_norm = vision.word("norm_type", default="layer_norm") == "layer_norm"
    return (
        *encoder_layers(vision, layers, "attn", qkv_bias=qkv_bias, norm_bias=layer_norm, divided=divided),
        vision_norm("scales", 2 * width, copies=layers),
        *([vision_norm("attn.qk_norms", 2 * width, copies=layers)] if normed else []),
    )


RADIO_SIZES = {
    "vit_small_patch16_224": (384, 12, 6, 1536),
    "vit_base_patch16_224": (768, 12, 12, 3072),
    "vit_large_patch16_224": (1024, 24, 16, 4096),
    "vit_huge_patch16_224": (1280, 32, 16, 5120),
}
"""Width, layers, heads and width of the MLP by what a config calls the ViT (vLLM 0.32.0 `configs/radio.py`)."""


def radio(vision: Fields, *, divided: bool = True) -> VisionTower:
    """C-RADIO: a ViT with one class token per teacher, registers, and a table of positions for the largest image.

    Args:
        vision: its config, whose `args` name the ViT.
        divided: whether the engine runs its own class, which TP divides and which has two scales per layer.

    Source: vLLM 0.32.0 `vllm/model_executor/models/radio.py`, `nano_nemotron_vl.py`.
    """
    args, patch = vision.section("args"), vision.size("patch_size", default=16, largest=1024)
    sizes = RADIO_SIZES.get(str(args.get("model")))
    if sizes is None:
        raise args.bad("model", f"one of {', '.join(RADIO_SIZES)}")
    width, layers, heads, inner = sizes
    tokens = _radio_tokens(args)
    edge, values = round(args.size("cpe_max_size", default=2048, largest=2**14) / patch), 3 * patch**2
    frames = vision.size("video_temporal_patch_size", default=1, largest=64)
    front = (
        vision_linear("patch_generator.patch_embedder", width, values),
        *([vision_linear("patch_generator.video_embedder", width, frames * values)] if frames > 1 else []),
        vision_norm("patch_generator.pos_embed", edge**2 * width),
        vision_norm("patch_generator.cls_token", tokens * width),
    )
    vit = Fields({"hidden_size": width, "num_attention_heads": heads, "intermediate_size": inner}, "the ViT")
    matrices = (*front, *encoder_layers(vit, layers, "attn", divided=divided))
    if not divided:
        whole = tuple(replace(matrix, sharding="replicated") for matrix in matrices)
        return VisionTower(whole, layers, width)
    return VisionTower((*matrices, vision_norm("scales", 2 * width, copies=layers)), layers, width, heads, "attn.")


def _radio_tokens(args: Fields) -> int:
    """Class tokens, and registers up to a multiple."""
    names = [teacher.word("name") for teacher in args.sections("teachers")] if "teachers" in args else []
    classes = len(set(names)) if args.flag("cls_token_per_teacher", default=False) else 1
    multiple = args.optional_size("register_multiple", largest=1024)
    return classes + (0 if multiple is None else multiple - classes % multiple)


def encoder_layers(
    vision: Fields,
    layers: int,
    attention: str = "self_attn",
    *,
    qkv_bias: bool = True,
    norm_bias: bool = True,
    divided: bool = True,
) -> tuple[Matrix, ...]:
    """ViT's layers: attention without grouped heads, an MLP without a gate, two norms.

    Args:
        vision: a config with hidden_size, num_attention_heads and intermediate_size.
        layers: how many.
        attention: what the attention is called.
        qkv_bias, norm_bias: whether these have biases; all other matrices have.
        divided: whether TP divides attention.
    """
    if layers == 0:
        return ()
    width, inner, head = vision.size("hidden_size"), vision.size("intermediate_size"), head_size(vision)
    qkv = column(f"{attention}.qkv_proj", 3 * width, width, copies=layers, bias=qkv_bias, granule=head)
    out = row(f"{attention}.out_proj", width, width, copies=layers, bias=True)
    return (
        *((qkv, out) if divided else (replace(part, sharding="replicated") for part in (qkv, out))),
        column("mlp.fc1", inner, width, copies=layers, bias=True),
        row("mlp.fc2", width, inner, copies=layers, bias=True),
        vision_norm("norms", 2 * width, copies=layers, bias=norm_bias),
    )


def pixtral(vision: Fields, read_layers: int | None = None) -> VisionTower:
    """Pixtral: rotary positions, gated MLPs, RMS norms and no bias anywhere.

    Source: vLLM 0.32.0 `vllm/model_executor/models/pixtral.py`, `PixtralHFVisionModel`.
    """
    hidden, layers = vision.size("hidden_size"), vision.layers()
    read_layers = layers if read_layers is None else read_layers
    front = (vision_linear("patch_conv", hidden, patch_values(vision)), vision_norm("ln_pre", hidden))
    kept, idle = (_pixtral_layers(vision, count) for count in (read_layers, layers - read_layers))
    return VisionTower((*front, *kept), read_layers, hidden, idle=idle)


def _pixtral_layers(vision: Fields, layers: int) -> tuple[Matrix, ...]:
    if layers == 0:
        return ()
    hidden, width = vision.size("hidden_size"), vision.size("intermediate_size")
    heads = vision.size("num_attention_heads", largest=2**10)
    head = vision.size("head_dim", default=max(1, hidden // heads))
    return (
        column("attention.qkv_proj", 3 * heads * head, hidden, copies=layers, granule=head),
        row("attention.o_proj", hidden, heads * head, copies=layers),
        column("feed_forward.gate_up_proj", 2 * width, hidden, copies=layers),
        row("feed_forward.down_proj", hidden, width, copies=layers),
        vision_norm("norms", 2 * hidden, copies=layers),
    )


def shuffle_projector(
    config: Fields, width: int, hidden: int, inner: int | None = None, *, bias: bool = True
) -> tuple[Matrix, ...]:
    """A norm and two matrices, on every rank; as many patches become one token as `downsample_ratio` says.

    Args:
        config: may hold `downsample_ratio`, of each edge.
        width: of the tower.
        hidden: of the language model.
        inner: between the two matrices; None = `hidden`.
        bias: whether all three have one.
    """
    ratio = config.number("downsample_ratio", default=0.5)
    config.require(1 / 64 <= ratio <= 1, "downsample_ratio", "from 1/64 to 1")
    merged, inner = width * int(1 / ratio) ** 2, inner or hidden
    return (
        vision_norm("mlp1.0", merged, bias=bias),
        vision_linear("mlp1.1", inner, merged, bias=bias),
        vision_linear("mlp1.3", hidden, inner, bias=bias),
    )


def patches(vision: Fields) -> int:
    """Patches of one square image."""
    return (square(vision, "image_size", 2**14) // square(vision, "patch_size", 1024)) ** 2


def patch_values(vision: Fields) -> int:
    """Values of one patch: channels and pixels."""
    return vision.size("num_channels", default=3, largest=16) * square(vision, "patch_size", 1024) ** 2


def square(vision: Fields, name: str, largest: int) -> int:
    """An edge in pixels that the config states once, or twice in a list."""
    if not isinstance(vision.get(name), list):
        return vision.size(name, largest=largest)
    high, wide = vision.sizes(name, length=2)
    vision.require(high == wide <= largest, name, f"the same number twice, at most {largest}")
    return high


def head_size(vision: Fields) -> int:
    """Values per attention head."""
    width, heads = vision.size("hidden_size"), vision.size("num_attention_heads", largest=2**10)
    vision.require(width % heads == 0, "hidden_size", f"divisible by num_attention_heads = {heads}")
    return width // heads


def layers_up_to(vision: Fields, config: Fields, name: str, default: int, *, first: int = 1) -> int:
    """How many layers produce the output that the config names; a negative number counts from the end.

    Args:
        vision: the tower's config.
        config: holds `name`, a number or a list of numbers, of which the deepest counts.
        default: what the family's library takes when nothing is said.
        first: the number of the first layer, 0 or 1.
    """
    count, value = vision.layers(), config.get(name)
    named = value if isinstance(value, list) and value else [default if value is None else value]
    whole = [index for index in named if isinstance(index, int) and not isinstance(index, bool)]
    layers = [count + index + 1 if index < 0 else index + 1 - first for index in whole]
    config.require(len(whole) == len(named), name, "a number, or a list of numbers")
    config.require(all(0 < layer <= count for layer in layers), name, f"one of {count} layers")
    return max(layers)
