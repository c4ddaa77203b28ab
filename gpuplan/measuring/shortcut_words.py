"""What a row says about guessed tokens and cached prefixes -> Shortcuts, or why it cannot be told."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import cast, get_args

from catalog.model import ModelSpec
from gpuplan.measuring.cells import number
from gpuplan.measuring.errors import Unpredictable
from gpuplan.measuring.serving_words import model_of
from optimizer.memory.speculation import NEEDS_DRAFT, BadSpeculation, Method, Speculation, with_drafts
from optimizer.performance.shortcuts import Shortcuts

_GUESSES = re.compile(
    r"SPEC-DECODING|speculative decoding: (?!none\b)|\b(?:MTP|EAGLE)\b(?! ?(?:off|none|=0))"
)  # fmt: skip
_SHARES = re.compile(r"prefix cach(?:e|ing) (?:on|enabled|hit)|shared prefix", re.IGNORECASE)
_WORDS = {"draft": "draft_model", "nextn": "mtp"}
MOST_GUESSES = 64


def shortcuts_of(row: Mapping[str, str], spec: ModelSpec, configs_dir: Path | None) -> Shortcuts:
    """What spared the run work.

    Args:
        row: its columns `speculative` (METHOD[:TOKENS[:DRAFT]]), `acceptance_rate`, `prefix_hit_rate` and `note`.
        spec: the model that was served.
        configs_dir: for drafts that are not bundled.

    Raises:
        Unpredictable: it guessed or shared, and does not say how well.
    """
    note = row.get("note", "")
    hits = number(row, "prefix_hit_rate", 0, 1)
    if hits is None and _SHARES.search(note):
        raise Unpredictable("prompts shared a prefix in a cache, and column prefix_hit_rate does not say how much")
    speculation = _speculation(row.get("speculative", "").strip(), configs_dir)
    if speculation is None:
        if _GUESSES.search(note):
            raise Unpredictable(
                "it ran, or may have run, with speculative decoding, and columns speculative and acceptance_rate do "
                "not say how"
            )
        return Shortcuts(hits or 0.0)
    rate = number(row, "acceptance_rate", 0, 1)
    if rate is None:
        raise Unpredictable("it guessed tokens, and column acceptance_rate does not say how many were right")
    try:
        with_drafts(spec, speculation)
    except BadSpeculation as wrong:
        raise Unpredictable(str(wrong)) from wrong
    return Shortcuts(hits or 0.0, speculation, rate)


def _speculation(words: str, configs_dir: Path | None) -> Speculation | None:
    if words.lower() in {"", "none", "off"}:
        return None
    name, _, rest = words.partition(":")
    tokens, _, draft = rest.partition(":")
    method = _WORDS.get(name.lower(), name.lower())
    guesses = int(tokens) if tokens.isdigit() and len(tokens) < 4 else 1
    if method not in get_args(Method) or not 1 <= guesses <= MOST_GUESSES or bool(draft) != (method in NEEDS_DRAFT):
        raise Unpredictable(f"column speculative says {words[:60]!r}; METHOD:TOKENS or METHOD:TOKENS:DRAFT is known")
    return Speculation(cast(Method, method), guesses, model_of(draft, None, configs_dir) if draft else None)
