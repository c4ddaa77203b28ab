"""What people type -> numbers in base units; anything else is one sentence that says what to type instead."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import date

from gpuplan.errors import BadWord

MOST_TOKENS = 1 << 30
MOST_COUNT = 1_000_000_000
LARGEST_NUMBER = 1e12

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_TOKENS = re.compile(r"(?P<number>\d{1,10})(?P<unit>[kKmM]?)", re.ASCII)
_UNITS_PER_SECOND = {"us": 1_000_000, "ms": 1_000, "s": 1, "": 1}
_WATTS = {"": 1.0, "w": 1.0, "kw": 1e3, "mw": 1e6}
_UNIT_TOKENS = {"": 1, "k": 1_000, "K": 1 << 10, "m": 1_000_000, "M": 1 << 20}


def _finite(word: str, wanted: str) -> float:
    """A finite decimal number, or BadWord that says what was wanted."""
    if not _NUMBER.fullmatch(word.strip()):
        raise BadWord(f"{word!r} is not {wanted}")
    number = float(word.strip())
    if not math.isfinite(number) or abs(number) > LARGEST_NUMBER:
        raise BadWord(f"{word!r} is too large; {wanted} is at most {LARGEST_NUMBER:g}")
    return number


def _not_below_zero(word: str, wanted: str) -> float:
    number = _finite(word, wanted)
    if number < 0:
        raise BadWord(f"{word!r} is below zero; write {wanted}")
    return number


def _above_zero(word: str, wanted: str) -> float:
    number = _finite(word, wanted)
    if number <= 0:
        raise BadWord(f"{word!r} is not above zero; write {wanted}")
    return number


def _within(number: float, least: float, most: float, word: str, wanted: str) -> float:
    """The number of a word, between two bounds."""
    if not least <= number <= most:
        raise BadWord(f"{word!r} is not {wanted}")
    return number


def _with_unit(word: str, units: Iterable[str], wanted: str) -> tuple[float, str]:
    """A number and its unit in lower case, "" where none is typed."""
    parts = re.fullmatch(rf"(?P<number>.*?)\s*(?P<unit>{'|'.join(units)})", word.strip(), re.IGNORECASE)
    if parts is None or not _NUMBER.fullmatch(parts["number"]):
        raise BadWord(f"{word!r} is not {wanted}")
    return _finite(parts["number"], wanted), parts["unit"].lower()


def percentage(word: str, wanted: str, least: float = 0, most: float = 1) -> float:
    """A share between two bounds, as a number or in percent; `wanted` is what errors ask for.

    >>> percentage("0.1%", "a share")
    0.001
    """
    bare = word.strip().removesuffix("%")
    return _within(_finite(bare, wanted) / (100 if bare != word.strip() else 1), least, most, word, wanted)


def rate(word: str) -> float:
    """A number per second, above zero.

    >>> rate("500")
    500.0
    """
    return _above_zero(word, "a rate per second such as 500 or 2.5")


def price(word: str) -> float:
    """USD per hour, zero or more.

    >>> price("12.40")
    12.4
    """
    return _not_below_zero(word, "a price in USD per hour such as 10 or 12.50 (the number alone)")


def share(word: str) -> float:
    """A share of the whole, above 0 and at most 1.

    >>> share("0.92"), share("92%")
    (0.92, 0.92)
    """
    wanted = "a share above 0 and at most 1 such as 0.92 or 92%"
    number = percentage(word, wanted)
    if number == 0:
        raise BadWord(f"{word!r} is not {wanted}")
    return number


def gap(word: str) -> float:
    """A relative distance to a bound, from 0 to 1.

    >>> gap("0.001"), gap("0.1%")
    (0.001, 0.001)
    """
    return percentage(word, "a distance from 0 to 1 such as 0.001 or 0.1%")


def portion(word: str) -> float:
    """A part of something, from 0 to 1.

    >>> portion("0.12"), portion("12%")
    (0.12, 0.12)
    """
    return percentage(word, "a share from 0 to 1 such as 0.12 or 12%")


def duty(word: str) -> float:
    """A share of all hours, above 0 and at most 1.

    >>> duty("70%")
    0.7
    """
    number = portion(word)
    if number == 0:
        raise BadWord(f"{word!r} is never; write a share above 0 and at most 1 such as 0.7 or 70%")
    return number


def amount(word: str) -> float:
    """An amount of USD, zero or more; k and m are thousands and millions.

    >>> amount("285000"), amount("285k"), amount("1.5m")
    (285000.0, 285000.0, 1500000.0)
    """
    wanted = "an amount in USD such as 285000 or 285k"
    scale = {"k": 1e3, "m": 1e6}.get(word.strip()[-1:].casefold(), 1.0)
    number = _finite(word.strip().rstrip("kKmM") if scale > 1 else word, wanted) * scale
    if number < 0:
        raise BadWord(f"{word!r} is below zero; write {wanted}")
    return number


def years(word: str) -> float:
    """A number of years, above zero and at most 50.

    >>> years("3")
    3.0
    """
    wanted = "a number of years above 0 and at most 50 such as 3"
    number = _finite(word, wanted)
    if not 0 < number <= 50:
        raise BadWord(f"{word!r} is not {wanted}")
    return number


def confidence(word: str) -> float:
    """A chance from 0.5 (as likely as not) to 0.99.

    >>> confidence("0.9"), confidence("90%")
    (0.9, 0.9)
    """
    return percentage(word, "a chance from 0.5 to 0.99 such as 0.9 or 90%", 0.5, 0.99)


def pue(word: str) -> float:
    """All power of a room over that of its machines, from 1 to 3.

    >>> pue("1.2")
    1.2
    """
    wanted = "a PUE from 1 to 3 such as 1.2"
    return _within(_finite(word, wanted), 1, 3, word, wanted)


def watts(word: str) -> float:
    """Power in watts; `kW` and `MW` are read as such.

    >>> [watts("700"), watts("700 W"), watts("5.5kW"), watts("1MW")]
    [700.0, 700.0, 5500.0, 1000000.0]
    """
    wanted = "a power such as 5000, 5kW or 0.5MW (a bare number is in watts)"
    number, unit = _with_unit(word, _WATTS, wanted)
    if number < 0:
        raise BadWord(f"{word!r} is below zero; write {wanted}")
    return number * _WATTS[unit]


def per_kilowatt_hour(word: str) -> float:
    """Grams or USD of one kilowatt-hour, zero or more.

    >>> [per_kilowatt_hour("380"), per_kilowatt_hour("0.12")]
    [380.0, 0.12]
    """
    return _not_below_zero(word, "a number per kWh such as 380 (grams) or 0.12 (USD)")


def percentile(word: str) -> float:
    """How many of 100 requests: from 50 to 99.9.

    >>> percentile("p95"), percentile("99")
    (95.0, 99.0)
    """
    wanted = "a percentile from p50 to p99.9 such as p95"
    return _within(_finite(word.strip().lower().removeprefix("p"), wanted), 50, 99.9, word, wanted)


def seconds(word: str) -> float:
    """A duration in seconds; a bare number is in seconds, `ms` and `us` are read as such.

    >>> [seconds("25ms"), seconds("0.025"), seconds("0.025s"), seconds("2 s")]
    [0.025, 0.025, 0.025, 2.0]
    """
    wanted = "a duration such as 25ms, 0.025s or 0.025 (a bare number is in seconds)"
    number, unit = _with_unit(word, _UNITS_PER_SECOND, wanted)
    if number <= 0:
        raise BadWord(f"{word!r} is not above zero; write {wanted}")
    return number / _UNITS_PER_SECOND[unit]


def tokens(word: str) -> int:
    """A number of tokens; k and m are thousands and millions, K and M are 1024 and 1024², as vLLM reads them.

    >>> [tokens("4096"), tokens("32k"), tokens("32K")]
    [4096, 32000, 32768]
    """
    wanted = f"a number of tokens from 1 to {MOST_TOKENS}, such as 4096, 32k (32,000) or 32K (32,768)"
    parts = _TOKENS.fullmatch(word.strip())
    if parts is None:
        raise BadWord(f"{word!r} is not {wanted}")
    number = int(parts["number"]) * _UNIT_TOKENS[parts["unit"]]
    if not 1 <= number <= MOST_TOKENS:
        raise BadWord(f"{word!r} is not {wanted}")
    return number


def _whole(word: str, least: int) -> int:
    wanted = f"a whole number from {least} to {MOST_COUNT}"
    digits = word.strip()
    if not re.fullmatch(r"\d{1,10}", digits, re.ASCII) or not least <= int(digits) <= MOST_COUNT:
        raise BadWord(f"{word!r} is not {wanted}")
    return int(digits)


def count(word: str) -> int:
    """A whole number, one or more.

    >>> count("8")
    8
    """
    return _whole(word, 1)


def count_or_none(word: str) -> int:
    """A whole number, zero or more.

    >>> count_or_none("0")
    0
    """
    return _whole(word, 0)


def gibibytes(word: str) -> int:
    """Memory typed in GiB -> bytes.

    >>> gibibytes("80") == 80 * 2**30
    True
    """
    return int(_not_below_zero(word, "a size in GiB such as 80") * (1 << 30))


def hit_rate(word: str) -> float:
    """A share of the prompt's tokens, from 0 to 1.

    >>> hit_rate("0.5"), hit_rate("50%")
    (0.5, 0.5)
    """
    return percentage(word, "a share of the input from 0 to 1 such as 0.5 or 50%")


SPECULATIVE = {
    "mtp": "mtp",
    "eagle": "eagle",
    "eagle3": "eagle3",
    "ngram": "ngram",
    "draft": "draft_model",
    "draft_model": "draft_model",
}
"""Ways of guessing as they are typed -> as engines call them."""


def speculative(word: str) -> tuple[str, int, str | None]:
    """METHOD[:TOKENS[:DRAFT]]: how tokens are guessed, how many per step (1), and with which model.

    >>> speculative("mtp"), speculative("draft:4:Qwen/Qwen3-0.6B")
    (('mtp', 1, None), ('draft_model', 4, 'Qwen/Qwen3-0.6B'))
    """
    method, _, rest = word.strip().partition(":")
    guesses, _, draft = rest.partition(":")
    if method.lower() not in SPECULATIVE:
        raise BadWord(
            f"{word!r} is no way to guess tokens; write mtp:1, ngram:4, draft:3:MODEL, eagle:3:HEAD or eagle3:3:HEAD"
        )
    return SPECULATIVE[method.lower()], count(guesses) if guesses else 1, name(draft) if draft else None


def lengths(word: str) -> tuple[tuple[int, float], ...]:
    """How long requests are and how often: TOKENS:WEIGHT, ... or the name of a CSV; a weight left out is 1.

    >>> lengths("1k:3,8K:1")
    ((1000, 3.0), (8192, 1.0))
    """
    if word.strip().lower().endswith(".csv"):
        from gpuplan.cli.length_table import read_lengths

        return read_lengths(word.strip())
    pairs = [each.partition(":") for each in word.split(",")]
    return tuple((tokens(length), rate(weight) if weight else 1.0) for length, _, weight in pairs)


_HELD = re.compile(r"(?P<number>[\d.]+)\s*(?P<unit>GiB|GB|MiB|MB)", re.ASCII | re.IGNORECASE)
_UNIT_BYTES = {"gib": 1 << 30, "gb": 10**9, "mib": 1 << 20, "mb": 10**6}


def neighbours(word: str) -> tuple[tuple[float, ...], int]:
    """Who else is on the GPU: shares that engines take, and sizes that other processes hold.

    >>> neighbours("0.4,2GiB")
    ((0.4,), 2147483648)
    """
    shares: list[float] = []
    held = 0
    for each in word.split(","):
        size = _HELD.fullmatch(each.strip())
        if size is None:
            shares.append(share(each))
        else:
            held += int(_finite(size["number"], "a size such as 12GiB") * _UNIT_BYTES[size["unit"].lower()])
    return tuple(shares), held


def parameters(word: str) -> int:
    """A parameter count: `8b` is 8e9, `500m` is 5e8.

    >>> [parameters("70b"), parameters("0.5B"), parameters("500m")]
    [70000000000, 500000000, 500000000]
    """
    wanted = "a parameter count such as 70b, 500m or 70e9"
    scale = {"b": 1e9, "m": 1e6, "t": 1e12}.get(word.strip()[-1:].lower(), 1.0)
    number = _finite(word.strip()[:-1] if scale > 1 else word, wanted)
    if number * scale > LARGEST_NUMBER * 1e3 or number < 0:
        raise BadWord(f"{word!r} is not {wanted}")
    return round(number * scale)


def day(word: str) -> date:
    """A day as YYYY-MM-DD.

    >>> day("2026-09-01").isoformat()
    '2026-09-01'
    """
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", word.strip(), re.ASCII):
            return date.fromisoformat(word.strip())
    except ValueError:
        raise BadWord(f"{word!r} is no day of the calendar") from None
    raise BadWord(f"{word!r} is not a day such as 2026-09-01")


def name(word: str) -> str:
    """A name as typed, without blanks around it; not empty and without control characters.

    >>> name(" llama-3.3-70b ")
    'llama-3.3-70b'
    """
    if not word.strip():
        raise BadWord("a name is needed, and it is empty")
    if not word.isprintable():
        raise BadWord(f"{word!r} holds characters that no name has")
    return word.strip()
