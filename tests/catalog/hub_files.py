"""Files as repositories hold them: configs of tiny models, safetensors and GGUF headers."""

from __future__ import annotations

import json
import struct

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
    "max_position_embeddings": 4096,
    "torch_dtype": "bfloat16",
}
PARAMETERS = 1_692_928
"""2 * 1000 * 256 (embedding, head) + 2 * (2 * 256 * 256 + 2 * 256 * 128 + 3 * 256 * 512 + 2 * 256) + 256."""


def llama_tensors(dtype: str = "BF16") -> dict[str, tuple[str, list[int]]]:
    """Names, types and shapes of that model's tensors, as transformers writes them."""
    tensors = {
        "model.embed_tokens.weight": [1000, 256],
        "model.norm.weight": [256],
        "lm_head.weight": [1000, 256],
    }
    for layer in range(2):
        tensors |= {
            f"model.layers.{layer}.self_attn.q_proj.weight": [256, 256],
            f"model.layers.{layer}.self_attn.k_proj.weight": [128, 256],
            f"model.layers.{layer}.self_attn.v_proj.weight": [128, 256],
            f"model.layers.{layer}.self_attn.o_proj.weight": [256, 256],
            f"model.layers.{layer}.mlp.gate_proj.weight": [512, 256],
            f"model.layers.{layer}.mlp.up_proj.weight": [512, 256],
            f"model.layers.{layer}.mlp.down_proj.weight": [256, 512],
            f"model.layers.{layer}.input_layernorm.weight": [256],
            f"model.layers.{layer}.post_attention_layernorm.weight": [256],
        }
    return {name: (dtype, shape) for name, shape in tensors.items()}


def safetensors(tensors: dict[str, tuple[str, list[int]]], pad: int = 0) -> bytes:
    """The beginning of a safetensors file; its data is left out, as only headers are read."""
    header: dict[str, object] = {"__metadata__": {"format": "pt", "pad": "x" * pad}}
    for name, (dtype, shape) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [0, 0]}
    body = json.dumps(header).encode()
    return struct.pack("<Q", len(body)) + body


def _string(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _value(value: object) -> bytes:
    """A GGUF value with its type in front."""
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + _string(value)
    assert isinstance(value, list)
    kind = 8 if isinstance(value[0], str) else 4
    items = b"".join(_string(v) if kind == 8 else struct.pack("<I", v) for v in value)
    return struct.pack("<IIQ", 9, kind, len(value)) + items


GGML = {"f32": 0, "f16": 1, "q8_0": 8, "q4_k": 12, "q6_k": 14}


def gguf(metadata: dict[str, object], tensors: dict[str, tuple[str, list[int]]], version: int = 3) -> bytes:
    """A GGUF header, version 3, without data."""
    parts = [b"GGUF", struct.pack("<IQQ", version, len(tensors), len(metadata))]
    parts += [_string(key) + _value(value) for key, value in metadata.items()]
    for name, (kind, shape) in tensors.items():
        dims = b"".join(struct.pack("<Q", size) for size in shape)
        parts.append(_string(name) + struct.pack("<I", len(shape)) + dims + struct.pack("<IQ", GGML[kind], 0))
    return b"".join(parts)


def llama_gguf(*, kind: str = "q4_k", careful_kind: str = "q6_k", **more: object) -> bytes:
    """The same Llama as Q4_K_M writes it: half of the value and down projections in Q6_K."""
    metadata: dict[str, object] = {
        "general.architecture": "llama",
        "general.name": "Tiny",
        "llama.block_count": 2,
        "llama.context_length": 4096,
        "llama.embedding_length": 256,
        "llama.feed_forward_length": 512,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2,
        "llama.rope.freq_base": 10000.0,
        "tokenizer.ggml.tokens": [f"token {number}" for number in range(1000)],
        "tokenizer.ggml.add_bos_token": True,
    }
    tensors: dict[str, tuple[str, list[int]]] = {
        "token_embd.weight": (kind, [256, 1000]),
        "output.weight": (careful_kind, [256, 1000]),
        "output_norm.weight": ("f32", [256]),
    }
    for layer in range(2):
        careful = careful_kind if layer == 0 else kind
        tensors |= {
            f"blk.{layer}.attn_q.weight": (kind, [256, 256]),
            f"blk.{layer}.attn_k.weight": (kind, [256, 128]),
            f"blk.{layer}.attn_v.weight": (careful, [256, 128]),
            f"blk.{layer}.attn_output.weight": (kind, [256, 256]),
            f"blk.{layer}.ffn_gate.weight": (kind, [256, 512]),
            f"blk.{layer}.ffn_up.weight": (kind, [256, 512]),
            f"blk.{layer}.ffn_down.weight": (careful, [512, 256]),
            f"blk.{layer}.attn_norm.weight": ("f32", [256]),
            f"blk.{layer}.ffn_norm.weight": ("f32", [256]),
        }
    return gguf({key: value for key, value in (metadata | more).items() if value is not None}, tensors)
