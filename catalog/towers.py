"""Vision towers that several families share, as weight matrices: CLIP, SigLIP, InternViT, Pixtral, RADIO.

Projectors into the language model are their families' own. Names are those of vLLM's modules, without their root.
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
    return replace(tower, idle=(*tower.idle, *_pooling_head(vision, width))) if pools else tower


def _pooling_head(vision: Fields, width: int) -> tuple[Matrix, ...]:
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


def encoder_layers(
    vision: Fields, layers: int, *, attention: str = "self_attn", qkv_bias: bool = True, norm_bias: bool = True
) -> tuple[Matrix, ...]:
    """ViT's layers: attention without grouped heads, an MLP without a gate, two norms.

    Args:
        vision: a config with hidden_size, num_attention_heads and intermediate_size.
        layers: how many.
        attention: what the attention is called.
        qkv_bias, norm_bias: whether these have biases; all other matrices have.
    """
    if layers == 0:
        return ()
    width, inner = vision.size("hidden_size"), vision.size("intermediate_size")
    return (
        column(f"{attention}.qkv_proj", 3 * width, width, copies=layers, bias=qkv_bias, granule=head_size(vision)),
        row(f"{attention}.out_proj", width, width, copies=layers, bias=True),
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


def layers_up_to(vision: Fields, config: Fields, name: str, default: int) -> int:
    """How many layers produce the output that the config names: counted from 0, or from the end when negative.

    Args:
        vision: the tower's config.
        config: holds `name`, a number or a list of numbers, of which the deepest counts.
        default: what the family's library takes when nothing is said.
    """
    count, value = vision.layers(), config.get(name)
    named = value if isinstance(value, list) and value else [default if value is None else value]
    whole = [index for index in named if isinstance(index, int) and not isinstance(index, bool)]
    layers = [count + index + 1 if index < 0 else index for index in whole]
    config.require(len(whole) == len(named), name, "a number, or a list of numbers")
    config.require(all(0 < layer <= count for layer in layers), name, f"one of {count} layers")
    return max(layers)
