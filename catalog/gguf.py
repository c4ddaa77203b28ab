"""GGUF files: which one of a repository is meant, and what its header says; no tensor is fetched.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3. The reader is our own because the
file is hostile and lies far away: it takes the first bytes only, and believes no length that goes beyond them.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from catalog.errors import BadHubAnswer, UnknownModel

Scalar = int | float | bool | str

MOST_KEYS = 10_000
MOST_TENSORS = 1_000_000
LARGEST_STRING = 2**24
KEPT_STRING = 4096
KEPT_ARRAY = 1024
"""Layers have an entry each in some arrays; vocabularies and merges are longer and not kept."""
MOST_VALUES = 2**48

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9

TENSOR_TYPES = {
    0: "f32", 1: "f16", 2: "q4_0", 3: "q4_1", 6: "q5_0", 7: "q5_1", 8: "q8_0", 10: "q2_k", 11: "q3_k", 12: "q4_k",
    13: "q5_k", 14: "q6_k", 16: "iq2_xxs", 17: "iq2_xs", 18: "iq3_xxs", 19: "iq1_s", 20: "iq4_nl", 21: "iq3_s",
    22: "iq2_s", 23: "iq4_xs", 28: "f64", 29: "iq1_m", 30: "bf16", 34: "tq1_0", 35: "tq2_0", 39: "mxfp4",
}  # fmt: skip
"""`enum ggml_type` of ggml.h."""

PREFERRED = ("Q4_K_M", "Q8_0")
"""What llama.cpp takes first when a repository holds several."""

_PART = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf", re.DOTALL)
_FORMAT = re.compile(r"(?:^|[-._/])((?:UD-)?(?:I?Q\d+(?:_[A-Z0-9]+)*|TQ\d_\d|MXFP4(?:_MOE)?|BF16|FP?16|FP?32))$", re.I)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The GGUF file that is meant: its name, all its parts, and the formats that there are."""

    file: str
    parts: tuple[str, ...]
    formats: tuple[str, ...]


def choose_file(names: Sequence[str], wanted: str = "") -> Chosen | None:
    """The file of the wanted format, else of the usual one; None when there is no model among them.

    Raises:
        UnknownModel: none is in the wanted format.

    >>> choose_file(["x-Q8_0.gguf", "x-Q4_K_M.gguf", "mmproj-F16.gguf"]).file
    'x-Q4_K_M.gguf'
    """
    by_format: dict[str, list[str]] = {}
    for name in sorted(names):
        if not name.rpartition("/")[2].lower().startswith(("mmproj", "imatrix")):
            by_format.setdefault(file_format(name), []).append(name)
    if not by_format and not wanted:
        return None
    known = {word.upper(): word for word in by_format}
    if wanted and wanted.upper() not in known:
        there = f"there are {', '.join(by_format)[:300]}" if by_format else "the repository has no GGUF file"
        raise UnknownModel(f"No GGUF file is in the format {wanted[:40]!r}; {there}.")
    word = known[wanted.upper()] if wanted else next((w for w in PREFERRED if w in by_format), next(iter(by_format)))
    first, *others = by_format[word]
    part = _PART.fullmatch(first)
    parts = [name for name in others if part and name.startswith(f"{part[1]}-") and _PART.fullmatch(name)]
    return Chosen(first, (first, *parts), tuple(by_format))


def file_format(name: str) -> str:
    """The format that a file's name ends in, or its folder's; "" when neither says one.

    >>> file_format("UD-Q4_K_XL/Qwen3-UD-Q4_K_XL-00001-of-00002.gguf"), file_format("model.gguf")
    ('UD-Q4_K_XL', '')
    """
    part = _PART.fullmatch(name)
    stem = part[1] if part else name.removesuffix(".gguf")
    found = _FORMAT.search(stem) or _FORMAT.search(stem.rpartition("/")[0])
    return found[1].upper() if found else ""


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What the header of a GGUF file says.

    Attributes:
        metadata: its key-value pairs; of long arrays only the length, under the key with "#" in front.
        tensors: of each tensor its number type and how many values it has.
    """

    metadata: Mapping[str, Scalar | list[Scalar]]
    tensors: Mapping[str, tuple[str, int]]

    def with_tensors_of(self, others: Sequence[GgufHeader]) -> GgufHeader:
        """The header of a file in several parts."""
        together = dict(self.tensors)
        for other in others:
            together.update(other.tensors)
        return replace(self, tensors=together)

    def check(self) -> None:
        """Raise ValueError where a kept header is not what this class says."""
        sound = isinstance(self.metadata, Mapping) and isinstance(self.tensors, Mapping)
        rows = list(self.tensors.values()) if sound else [None]
        if not all(
            isinstance(row, list | tuple) and len(row) == 2 and isinstance(row[0], str) and type(row[1]) is int
            for row in rows
        ):
            raise ValueError("not a GGUF header")


class _NeedsMore(Exception):
    """The header goes on beyond the bytes at hand."""


class _Reader:
    """Takes values off the beginning of a file; every length is checked against what is there."""

    def __init__(self, data: bytes, file: str) -> None:
        self.data, self.file, self.at = data, file, 0

    def bad(self, what: str) -> BadHubAnswer:
        return BadHubAnswer(f"{self.file} is no sound GGUF file: {what}.")

    def skip(self, size: int) -> int:
        """Where `size` bytes begin that are now behind."""
        start, self.at = self.at, self.at + size
        if self.at > len(self.data):
            raise _NeedsMore
        return start

    def number(self, code: str) -> int:
        return int(struct.unpack_from(f"<{code}", self.data, self.skip(struct.calcsize(f"<{code}")))[0])

    def string(self) -> str:
        size = self.number("Q")
        if size > LARGEST_STRING:
            raise self.bad(f"a text of {size} bytes")
        start = self.skip(size)
        return self.data[start : start + min(size, KEPT_STRING)].decode("utf-8", errors="replace")

    def scalar(self, kind: int) -> Scalar:
        if kind == _STRING:
            return self.string()
        if kind not in _SCALARS:
            raise self.bad(f"a value of type {kind}")
        code = f"<{_SCALARS[kind]}"
        value: Scalar = struct.unpack_from(code, self.data, self.skip(struct.calcsize(code)))[0]
        return value

    def array(self) -> tuple[int, list[Scalar]]:
        """Its length, and its values if they are few."""
        kind, length = self.number("I"), self.number("Q")
        if length > len(self.data) and kind != _ARRAY:
            self._refuse_or_wait(length)
        if kind == _ARRAY:
            raise self.bad("an array of arrays")
        if length <= KEPT_ARRAY:
            return length, [self.scalar(kind) for _ in range(length)]
        if kind == _STRING:
            self.skip_strings(length)
        elif kind in _SCALARS:
            self.skip(length * struct.calcsize(f"<{_SCALARS[kind]}"))
        else:
            raise self.bad(f"an array of type {kind}")
        return length, []

    def skip_strings(self, count: int) -> None:
        """Leave a vocabulary of some hundred thousand texts behind, quickly."""
        size_at, data, at, end = struct.Struct("<Q").unpack_from, self.data, self.at, len(self.data) - 8
        for _ in range(count):
            if at > end:
                raise _NeedsMore
            at += 8 + size_at(data, at)[0]
        self.at = at
        self.skip(0)

    def _refuse_or_wait(self, length: int) -> None:
        if length > LARGEST_STRING:
            raise self.bad(f"an array of {length} values")
        raise _NeedsMore


def read_gguf_header(start: bytes, file: str, *, whole: bool) -> GgufHeader | None:
    """What the header at the beginning of a file says.

    Args:
        start: the first bytes.
        file: its name, for people.
        whole: whether no more bytes can be had.

    Returns:
        None when more bytes are needed.

    Raises:
        BadHubAnswer: it is not a GGUF file, or no more bytes can be had and the header has not ended.
    """
    reader = _Reader(start, file)
    try:
        return _header(reader)
    except _NeedsMore:
        if whole:
            raise reader.bad(f"its header does not end within {len(start)} bytes") from None
        return None


def _header(reader: _Reader) -> GgufHeader:
    if reader.data[:4] != b"GGUF":
        raise reader.bad("it does not begin with GGUF")
    reader.skip(4)
    version, tensors, keys = reader.number("I"), reader.number("Q"), reader.number("Q")
    if version not in (2, 3):
        raise reader.bad(f"version {version}, of which only 2 and 3 are known")
    if tensors > MOST_TENSORS or keys > MOST_KEYS:
        raise reader.bad(f"{tensors} tensors and {keys} keys")
    metadata: dict[str, Scalar | list[Scalar]] = {}
    for _ in range(keys):
        key, kind = reader.string(), reader.number("I")
        if kind != _ARRAY:
            metadata[key] = reader.scalar(kind)
            continue
        metadata[f"#{key}"], values = reader.array()
        if values:
            metadata[key] = values
    return GgufHeader(metadata, dict(_tensor(reader) for _ in range(tensors)))


def _tensor(reader: _Reader) -> tuple[str, tuple[str, int]]:
    name, dimensions = reader.string(), reader.number("I")
    if dimensions > 8:
        raise reader.bad(f"a tensor of {dimensions} dimensions")
    values = 1
    for _ in range(dimensions):
        values *= reader.number("Q")
    kind = reader.number("I")
    reader.skip(8)
    if values > MOST_VALUES:
        raise reader.bad(f"a tensor of {values:.3g} values")
    return name, (TENSOR_TYPES.get(kind, f"type {kind}"), values)
