"""What a safetensors file holds, from its header alone: an 8-byte length, then JSON with each tensor's type and shape.

Format: https://github.com/huggingface/safetensors#format. No tensor is fetched or loaded.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

from catalog.errors import BadHubAnswer

HEADER_START_BYTES = 100_000
"""What one asks for first, as huggingface_hub does; most headers end within it."""
LARGEST_HEADER_BYTES = 100_000_000
"""The format's own limit."""
MOST_DIMENSIONS = 8
LARGEST_TENSOR = 2**48

BITS = {
    "F64": 64, "I64": 64, "U64": 64, "F32": 32, "I32": 32, "U32": 32, "F16": 16, "BF16": 16, "I16": 16, "U16": 16,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "I8": 8, "U8": 8, "BOOL": 8, "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
}  # fmt: skip
"""Bits of one value of each type that the format knows."""


def header_bytes(start: bytes, file: str) -> int:
    """How many bytes the header takes, its length field included.

    Raises:
        BadHubAnswer: there is not even a length.
    """
    if len(start) < 8:
        raise BadHubAnswer(f"{file} ends after {len(start)} bytes, before a safetensors header.")
    return 8 + int.from_bytes(start[:8], "little")


def count_values(start: bytes, file: str) -> dict[str, int]:
    """Values by number type over all tensors of the file whose whole header this is.

    Raises:
        BadHubAnswer: it is not a safetensors header.
    """
    end = header_bytes(start, file)
    try:
        header = json.loads(start[8:end]) if end <= len(start) else None
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise BadHubAnswer(f"{file} has no safetensors header.")
    total: dict[str, int] = {}
    for name, tensor in header.items():
        if name != "__metadata__":
            kind, values = _tensor(tensor, file)
            total[kind] = total.get(kind, 0) + values
    return total


def _tensor(tensor: object, file: str) -> tuple[str, int]:
    if isinstance(tensor, Mapping):
        kind, shape = tensor.get("dtype"), tensor.get("shape")
        if isinstance(kind, str) and isinstance(shape, list) and len(shape) <= MOST_DIMENSIONS:
            whole = all(type(size) is int and 0 <= size < LARGEST_TENSOR for size in shape)
            values = math.prod(shape) if whole else LARGEST_TENSOR
            if values < LARGEST_TENSOR:
                return kind, values
    raise BadHubAnswer(f"{file} describes a tensor without a sound type and shape.")


def stored_bytes_of(values_by_type: Mapping[str, int]) -> int | None:
    """Bytes of so many values of each type; None when a type is not known.

    >>> stored_bytes_of({"BF16": 10, "F8_E4M3": 100})
    120
    """
    if not BITS.keys() >= values_by_type.keys():
        return None
    return sum(math.ceil(values * BITS[kind] / 8) for kind, values in values_by_type.items())
