"""What was read of a Hub repository at one commit: its small files, as they were, and what its weight files hold.

A snapshot is all that a ModelSpec is made of, so one that was kept on disk gives the same model as one just taken.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Protocol

from catalog.errors import BadHubAnswer
from catalog.gguf import GgufHeader, choose_file, read_gguf_header
from catalog.huggingface import is_repository_name
from catalog.reading import Fields
from catalog.safetensors import HEADER_START_BYTES, LARGEST_HEADER_BYTES, count_values, header_bytes

COMMIT = re.compile(r"[0-9a-f]{40}")
JSON_FILES = (
    "config.json",
    "hf_quant_config.json",
    "quantize_config.json",
    "quant_config.json",
    "generation_config.json",
    "params.json",
    "adapter_config.json",
)
CARD = "README.md"
MOST_FILES = 100_000
MOST_SHARDS = 64
"""Headers of more files than that are not fetched one by one; the Hub itself has nearly always counted them."""
FIRST_GGUF_BYTES = 2**20
LARGEST_GGUF_HEADER_BYTES = 2**26

_SAFETENSORS = re.compile(r"(model|consolidated)[\w.-]{0,80}\.safetensors")
_WEIGHTS = re.compile(r"(model|pytorch_model|consolidated)[\w.-]{0,80}\.(safetensors|bin|pth)")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One repository at one commit.

    Attributes:
        repo_id: as the Hub calls it now; `asked_as` is what it was asked for, which differs after a renaming.
        revision: as asked: a branch, a tag, or a commit. `commit` is what it meant.
        endpoint: the Hub or mirror that answered.
        read_at: when, as an ISO time in UTC with whole seconds.
        files: parsed JSON of those `JSON_FILES` that there are.
        values_by_type: how many values the safetensors files hold in each of their number types; empty = not known.
        has_weights: whether it holds a whole model's weights, in whatever kind of file but GGUF.
        card: text of the model card; read only when no file says what the model is.
        gguf_file: the GGUF file that was chosen, "" if there is none; `gguf` is its header.
        gguf_formats: formats that its GGUF files are in.
    """

    repo_id: str
    asked_as: str
    revision: str
    commit: str
    endpoint: str
    read_at: str
    files: Mapping[str, object] = field(default_factory=dict)
    values_by_type: Mapping[str, int] = field(default_factory=dict)
    has_weights: bool = False
    card: str = ""
    gguf_file: str = ""
    gguf: GgufHeader | None = None
    gguf_formats: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """Where it was read, for people."""
        return f"{self.repo_id} at {self.commit[:12]} ({self.endpoint.split('//', 1)[-1]})"


class Source(Protocol):
    """What a snapshot is taken from; `catalog.huggingface.Hub` is one."""

    endpoint: str

    def repository(self, repo_id: str, revision: str) -> Mapping[str, object]:
        """The Hub's description of a repository."""

    def text(self, repo_id: str, commit: str, path: str) -> str:
        """A small text file."""

    def span(self, repo_id: str, commit: str, path: str, first: int, size_bytes: int) -> bytes:
        """Some bytes of a file."""


def take_snapshot(hub: Source, repo_id: str, revision: str, read_at: str, gguf_format: str = "") -> Snapshot:
    """Read of a repository what tells its shape.

    Args:
        hub: where to read.
        repo_id, revision: what to read.
        read_at: the time that is written into it.
        gguf_format: which of several GGUF files is meant, such as "Q4_K_M".

    Raises:
        CatalogError: see `catalog.huggingface.Hub`; BadHubAnswer, BadModelConfig where an answer makes no sense.
    """
    about = Fields(hub.repository(repo_id, revision), f"the Hub's description of {repo_id}")
    commit, name = str(about.word("sha")), str(about.word("id", "modelId"))
    if not COMMIT.fullmatch(commit):
        raise BadHubAnswer(f"{hub.endpoint} names {commit[:60]!r} as the commit of {repo_id}, which is none.")
    if not is_repository_name(name):
        raise BadHubAnswer(f"{hub.endpoint} calls {repo_id} {name[:60]!r}, which is no repository's name.")
    names = _file_names(about)
    files = {file: _json(hub.text(name, commit, file), file, name) for file in JSON_FILES if file in names}
    gguf_names = tuple(file for file in names if file.endswith(".gguf"))
    says_shape = {"config.json", "params.json", "adapter_config.json"} & files.keys()
    chosen = choose_file(gguf_names, gguf_format) if gguf_format or not says_shape else None
    return Snapshot(
        repo_id=name,
        asked_as=repo_id,
        revision=revision,
        commit=commit,
        endpoint=hub.endpoint,
        read_at=read_at,
        files=files,
        values_by_type=_counted(hub, about, name, commit, names),
        has_weights=any(_WEIGHTS.fullmatch(file) for file in names),
        card=hub.text(name, commit, CARD) if CARD in names and not says_shape else "",
        gguf_file=chosen.file if chosen else "",
        gguf=_gguf(hub, name, commit, chosen.parts) if chosen else None,
        gguf_formats=chosen.formats if chosen else (),
    )


def _file_names(about: Fields) -> tuple[str, ...]:
    rows = about.sequence("siblings") if "siblings" in about else ()
    if len(rows) > MOST_FILES:
        raise about.bad("siblings", f"a list of at most {MOST_FILES} files")
    names = (row.get("rfilename") for row in rows if isinstance(row, Mapping))
    return tuple(name for name in names if isinstance(name, str) and 0 < len(name) <= 1024 and name.isprintable())


def _json(text: str, file: str, repo_id: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadHubAnswer(f"{file} of {repo_id} is not JSON: {str(error)[:100]}.") from error


def _counted(hub: Source, about: Fields, repo_id: str, commit: str, names: Iterable[str]) -> dict[str, int]:
    """Values by number type, as the Hub has counted them; else from the files' own headers."""
    counted = about.optional_section("safetensors")
    if counted is not None and "parameters" in counted:
        types = counted.section("parameters")
        return {str(kind): types.count(kind, largest=2**53) for kind in types.values}
    shards = sorted(name for name in names if _SAFETENSORS.fullmatch(name))
    if any(name.startswith("model") for name in shards):  # consolidated files beside them hold the same weights again
        shards = [name for name in shards if name.startswith("model")]
    total: dict[str, int] = {}
    for shard in shards if len(shards) <= MOST_SHARDS else ():
        for kind, values in _count_of(hub, repo_id, commit, shard).items():
            total[kind] = total.get(kind, 0) + values
    return total


def _count_of(hub: Source, repo_id: str, commit: str, shard: str) -> dict[str, int]:
    start = hub.span(repo_id, commit, shard, 0, HEADER_START_BYTES)
    needed = header_bytes(start, shard)
    if needed > LARGEST_HEADER_BYTES:
        raise BadHubAnswer(f"{shard} of {repo_id} has a header of {needed} bytes; the format allows 100 MB.")
    if needed > HEADER_START_BYTES:
        start += hub.span(repo_id, commit, shard, HEADER_START_BYTES, needed - HEADER_START_BYTES)
    return count_values(start, shard)


def _gguf(hub: Source, repo_id: str, commit: str, parts: tuple[str, ...]) -> GgufHeader:
    """The header of a GGUF file in one or several parts; only the first part has the metadata."""
    headers = [_gguf_part(hub, repo_id, commit, part) for part in parts[:MOST_SHARDS]]
    return headers[0].with_tensors_of(headers[1:])


def _gguf_part(hub: Source, repo_id: str, commit: str, file: str) -> GgufHeader:
    start, size = b"", FIRST_GGUF_BYTES
    while True:
        start += hub.span(repo_id, commit, file, len(start), size - len(start))
        header = read_gguf_header(start, file, whole=len(start) < size or size >= LARGEST_GGUF_HEADER_BYTES)
        if header is not None:
            return header
        size *= 4


def to_json(snapshot: Snapshot) -> str:
    """A snapshot as one line of JSON."""
    return json.dumps(asdict(snapshot))


def from_json(text: str) -> Snapshot:
    """The snapshot that `to_json` wrote.

    Raises:
        ValueError: it is something else.
    """
    try:
        record = json.loads(text)
        if record.keys() != {each.name for each in fields(Snapshot)}:
            raise ValueError("the memory of another release")
        header = record.pop("gguf")
        snapshot = Snapshot(
            **{**record, "gguf_formats": tuple(record["gguf_formats"])},
            gguf=None if header is None else GgufHeader(**header),
        )
    except (TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError("not a snapshot of a repository") from error
    _check_kinds(snapshot)
    return snapshot


def _check_kinds(snapshot: Snapshot) -> None:
    """A file on disk may hold anything; what is in `files` is checked when it is read as a config."""
    words = (snapshot.repo_id, snapshot.asked_as, snapshot.revision, snapshot.commit, snapshot.endpoint)
    texts = (*words, snapshot.read_at, snapshot.card, snapshot.gguf_file, *snapshot.gguf_formats)
    counts = snapshot.values_by_type
    if not all(isinstance(text, str) for text in texts) or not isinstance(snapshot.files, dict):
        raise ValueError("not a snapshot of a repository")
    if not isinstance(counts, dict) or not all(type(n) is int and 0 <= n < 2**63 for n in counts.values()):
        raise ValueError("not a count of values")
    if snapshot.gguf is not None:
        snapshot.gguf.check()
