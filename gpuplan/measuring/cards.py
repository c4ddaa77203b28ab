"""Names of GPUs in measured rows -> the cards that they mean.

A card that is not named, or named only by its class, is every card of about the stated memory: what they agree on is
predicted, and where they differ the prediction says which it took.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from gpu_db.errors import GpuDbError
from gpu_db.gpu import Gpu
from gpu_db.load import load_gpus
from gpu_db.query import find_gpu, find_gpus
from gpuplan.measuring.cells import GIB_PER_GPU, number
from gpuplan.measuring.errors import Unpredictable
from optimizer.memory.communication import visible_bytes
from optimizer.memory.factors import GIB, memory_factors

SAME_MEMORY = 0.04
"""Cards whose totals differ by less are taken for one size: 23.5 to 24 GiB are 24 GB cards, A10s with 22.06 are not."""


@dataclass(frozen=True)
class Cards:
    """The cards that a row may have run on, with the total that was printed.

    Attributes:
        candidates: at least one.
        total_known: whether the memory that engines see is known: printed, or of a named card.
        assumed: what was taken because the row does not say; "" when nothing.
        reason: why the total is not known.
        only_class: whether the row says no more than what cards of its kind are sold as, "24GB class".
    """

    candidates: tuple[Gpu, ...]
    total_known: bool
    assumed: str = ""
    reason: str = ""
    only_class: bool = False


ANY_CARD = ("T4", "RTX 3090", "RTX 4090", "RTX 5090", "A100 SXM 80GB", "H100 SXM 80GB", "B200 SXM 180GB")
"""One of each generation: what these agree on does not depend on the card."""


def any_card(reason: str) -> Cards:
    """Cards of every generation, for a row that does not say which it ran on."""
    return Cards(tuple(find_gpu(name) for name in ANY_CARD), False, reason=reason)


def named_cards(row: Mapping[str, str]) -> Cards:
    """The cards of a row.

    Raises:
        Unpredictable: the card is named, but not known, and no total is stated.
    """
    total_gib = _total_gib(row)
    text = row.get("gpu", "").strip()
    named = _named(text)
    if named and total_gib is None:
        return _of_size(named, text)
    if named:
        assert total_gib is not None
        near = tuple(gpu for gpu in named if abs(visible_bytes(gpu) / GIB / total_gib - 1) < SAME_MEMORY) or named[:1]
        if _is_nominal(row):
            return Cards(near, True)
        return Cards(tuple(_with_total(gpu, total_gib) for gpu in near[:1]), True)
    if total_gib is None:
        return _of_words(text)
    return _of_class(total_gib) if _is_nominal(row) else _of_total(total_gib)


_CLASS = re.compile(r"(?<![\d.])(\d{1,3})\s?GB(?=$| class| card| \()")


def _of_words(text: str) -> Cards:
    """The cards of a size, where that is all that is said of a card: "24GB class", or of one that is not described."""
    size = _CLASS.search(text)
    if size is None or text.startswith(memory_factors().unified):
        what = f"its GPU {text[:40]!r} is not described here" if text else "its GPU is not stated"
        raise Unpredictable(f"{what}, and no total is stated")
    try:
        return replace(_of_class(float(size[1])), only_class=True)
    except Unpredictable:
        reserve = memory_factors().unseen_bytes_default["NVIDIA"] / GIB
        seen = float(size[1]) - reserve
        return replace(
            _of_total(seen), only_class=True, assumed=f"a card of {size[1]} GB, of which engines see {seen:.2f} GiB"
        )


def _total_gib(row: Mapping[str, str]) -> float | None:
    if "+" in row.get("gpu_mem_gib", ""):
        raise Unpredictable(f"its GPUs differ: {row['gpu_mem_gib'][:40]} GiB")
    return number(row, "gpu_mem_gib", 1, GIB_PER_GPU)


def _is_nominal(row: Mapping[str, str]) -> bool:
    """Whether a total is what cards are sold as ("24"), not what an engine printed ("23.55", "12.00")."""
    return row["gpu_mem_gib"].strip().isdigit()


def _of_size(named: tuple[Gpu, ...], text: str) -> Cards:
    """Of cards that share a name, those of the size in the name; the first of those is what people usually mean."""
    size = re.search(r"(\d+)\s*GB", text)
    fitting = tuple(gpu for gpu in named if size is None or _is_about(gpu, int(size[1])))
    sizes = sorted({round(gpu.memory_marketed_bytes / 1e9) for gpu in fitting})
    if len(sizes) != 1:
        known = " and ".join(str(each) for each in sizes or {round(gpu.memory_marketed_bytes / 1e9) for gpu in named})
        raise Unpredictable(f"its GPU is {text[:40]!r}, which is sold with {known} GB, and no total is stated")
    return Cards(fitting[:1], True)


def _is_about(gpu: Gpu, gigabytes: int) -> bool:
    """Whether a card is sold with about so many GB: a B300 of 288 GB has 283 left."""
    return abs(gpu.memory_marketed_bytes / 1e9 / gigabytes - 1) < SAME_MEMORY


def _of_class(marketed_gb: float) -> Cards:
    """Every card that is sold with so many GB."""
    near = [gpu for gpu in _engine_cards() if round(gpu.memory_marketed_bytes / 1e9) == int(marketed_gb)]
    if not near:
        raise Unpredictable(f"no card is sold with {marketed_gb:g} GB, and its total is not stated to the decimal")
    return Cards(tuple(near), True, f"a card of {marketed_gb:g} GB")


def _of_total(total_gib: float) -> Cards:
    """Every card of about this total."""
    near = [gpu for gpu in _engine_cards() if abs(visible_bytes(gpu) / GIB / total_gib - 1) < SAME_MEMORY]
    return Cards(tuple(_with_total(gpu, total_gib) for gpu in near or [find_gpu("A100")]), True)


def _engine_cards() -> list[Gpu]:
    return [gpu for gpu in load_gpus().values() if gpu.memory_bytes and gpu.vendor in ("NVIDIA", "AMD")]


def _with_total(gpu: Gpu, total_gib: float) -> Gpu:
    """The same card with the total that a log printed."""
    assert gpu.memory_bytes is not None
    return replace(gpu, memory_bytes=gpu.memory_bytes + round(total_gib * GIB) - visible_bytes(gpu))


_HOW_MANY = re.compile(r"^\s*\d{1,4}\s?[x×*]\s?|(?<=\w)[x×]\d{1,2}$|\s[x×*]\s?\d{1,3}$", re.IGNORECASE)


def one_card(text: str) -> str:
    """The name of a card without how many of it there are.

    >>> one_card("8xH100"), one_card("H100 x 8"), one_card("4 × A100-80GB"), one_card("RTX4090")
    ('H100', 'H100', 'A100-80GB', 'RTX4090')
    """
    return _HOW_MANY.sub("", text.strip()).strip()


@lru_cache(maxsize=4096)
def _named(text: str) -> tuple[Gpu, ...]:
    """The cards that free text names: its first words that any card answers to; () when it names none.

    What stands in brackets names it when nothing before them does.

    >>> [gpu.name for gpu in _named("RTX 4090 (WSL2)")], _named("24GB class"), _named("")
    (['RTX 4090 24GB'], (), ())
    >>> _named("DGX Spark (GB10)") == _named("GB10")
    True
    """
    outside = _cards_of(re.sub(r"\(.*?\)", " ", text))
    clear = (inside for inside in re.findall(r"\((.*?)\)", text) if "/" not in inside and "class" not in inside)
    return outside or next((found for inside in clear if (found := _cards_of(inside))), ())


def _cards_of(text: str) -> tuple[Gpu, ...]:
    """The cards that text without brackets begins with."""
    words = one_card(re.sub(r"\bclass\b.*|\b\d+\s*x\b|,.*", " ", text).split("+")[0].split("/")[0]).split()
    for stop in range(len(words), 0, -1):
        name = " ".join(words[:stop])
        if not re.search(r"\d", name) or re.fullmatch(r"\d+\s*GB", name):
            break  # "RTX" alone, or only a size
        try:
            decided = find_gpu(name)
        except GpuDbError:
            decided = None
        try:
            family = find_gpus(name)
        except GpuDbError:
            family = ()
        alike = re.compile(rf"{re.escape(name)}(-\w+)?( \d+GB)?", re.IGNORECASE)  # "H20" is also "H20-3e 141GB"
        like = [gpu for gpu in _engine_cards() if alike.fullmatch(gpu.name)]
        found = {gpu.name: gpu for gpu in (decided, *family, *like) if gpu}
        if found:  # a card whose visible memory is not known is not the next one of a shorter name
            return tuple(gpu for gpu in found.values() if gpu.memory_bytes)
    return ()


def spread(values: Sequence[float], tolerance: float) -> bool:
    """Whether values differ by more than a share of the largest."""
    return max(values) - min(values) > tolerance * max(map(abs, values))
