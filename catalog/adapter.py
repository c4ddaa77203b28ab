"""A LoRA adapter's adapter_config.json: which model it adapts, and how large its matrices are."""

from __future__ import annotations

import re
from dataclasses import dataclass

from catalog.errors import BadModelConfig, UnknownArchitecture
from catalog.reading import Fields

LARGEST_RANK = 4096
MOST_TARGETS = 10_000
_MODULE = re.compile(r"[A-Za-z_]\w{0,60}", re.ASCII)


@dataclass(frozen=True, slots=True)
class AdapterConfig:
    """What an adapter says of itself.

    Attributes:
        base: the model that it was trained on: a repository or a path of its author's.
        base_revision: the commit or branch of it, "" if none is named.
        rank: the largest rank of any module.
        targets: names of the modules that it changes; empty when it names them by a pattern.
        notes: what an engine does not load of it, one sentence each.
    """

    base: str
    base_revision: str
    rank: int
    targets: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def read_adapter_config(config: object) -> AdapterConfig:
    """What this adapter_config.json says.

    Raises:
        UnknownArchitecture: it is no LoRA.
        BadModelConfig: a value is missing, of the wrong type or absurd.

    >>> read_adapter_config({"peft_type": "LORA", "r": 16, "base_model_name_or_path": "Qwen/Qwen3-8B"}).rank
    16
    """
    own = Fields(config, "adapter_config.json")
    kind = own.word("peft_type", default="LORA")
    if str(kind).upper() != "LORA":
        raise UnknownArchitecture(f"The adapter is of the kind {str(kind)[:40]!r}; only LoRA can be planned.")
    base = str(own.word("base_model_name_or_path"))
    if not base.strip() or len(base) > 300:
        raise BadModelConfig(f"The adapter names {base[:60]!r} as the model that it adapts.")
    ranks = [own.size("r", largest=LARGEST_RANK)]
    pattern = own.optional_section("rank_pattern")
    if pattern is not None:
        ranks += [pattern.size(name, largest=LARGEST_RANK) for name in pattern.values]
    return AdapterConfig(base, own.word("revision", default=None) or "", max(ranks), _targets(own), tuple(_notes(own)))


def _targets(own: Fields) -> tuple[str, ...]:
    """The modules' own names, without the path in front of some."""
    value = own.get("target_modules")
    if not isinstance(value, list) or len(value) > MOST_TARGETS:
        return ()
    names = {name.rpartition(".")[2] for name in value if isinstance(name, str)}
    return tuple(sorted(names)) if all(_MODULE.fullmatch(name) for name in names) else ()


def _notes(own: Fields) -> list[str]:
    notes = []
    if own.get("use_dora"):
        notes.append("The adapter uses DoRA, which vLLM and SGLang do not load: merge it into its base.")
    if own.get("modules_to_save"):
        notes.append("The adapter replaces whole modules (modules_to_save), which engines do not load with a LoRA.")
    return notes
