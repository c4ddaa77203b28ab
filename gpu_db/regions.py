"""Where a machine stands: a region as its provider writes it -> the words in it, its class and its country."""

from __future__ import annotations

import re
from functools import cache

from gpu_db.tables import read_table

REGION_CLASSES = ("us", "eu", "asia", "other")
"""The classes that one can ask for; "eu" is Europe (Norway, Iceland, Switzerland and the UK included)."""

_EVERYWHERE = {"global", "any", "all", ""}
_BY_FIRST_WORD = {"us": "us", "eu": "eu", "europe": "eu", "ap": "asia", "asia": "asia"}


@cache
def region_words(region: str) -> tuple[str, ...]:
    """Return the single regions that a provider's wording lists, lower case, remarks in brackets dropped.

    >>> region_words("eu-north1/eu-west1/us-central1 (uniform)")
    ('eu-north1', 'eu-west1', 'us-central1')
    >>> region_words("us-east-1 = us-west-2"), region_words("global")
    (('us-east-1', 'us-west-2'), ('global',))
    """
    plain = re.sub(r"\([^()]*\)", "", region.casefold())
    return tuple(word for word in re.split(r"[\s/=,;|]+", plain) if word)


def is_everywhere(region: str) -> bool:
    """Return whether an offer's region says "global", "any", "all commercial regions" or nothing.

    >>> is_everywhere("all commercial regions (uniform list)"), is_everywhere("us-east-1")
    (True, False)
    """
    words = region_words(region)
    return not words or words[0] in _EVERYWHERE


@cache
def region_classes(region: str) -> tuple[str, ...]:
    """Return the classes of all regions that the wording lists, ("any",) for everywhere.

    A region that data/regions.csv does not know is classed by its first word (us-, eu-, europe-, ap-, asia-), or as
    "other".

    >>> region_classes("us/eu (uniform)"), region_classes("global"), region_classes("mars-1")
    (('us', 'eu'), ('any',), ('other',))
    """
    if is_everywhere(region):
        return ("any",)
    return tuple(dict.fromkeys(_class_of_word(word) for word in region_words(region)))


def country_of(region: str) -> str | None:
    """Return the ISO 3166 alpha-3 country of a single region; None when it is unknown or the wording lists several.

    >>> country_of("eu-north-1"), country_of("us/eu (uniform)")
    ('SWE', None)
    """
    countries = {_table().get(word, ("", ""))[1] for word in region_words(region)}
    return next(iter(countries)) or None if len(countries) == 1 else None


def known_regions() -> tuple[str, ...]:
    """Return every single region of data/regions.csv."""
    return tuple(_table())


def _class_of_word(word: str) -> str:
    known = _table().get(word)
    return known[0] if known else _BY_FIRST_WORD.get(word.partition("-")[0], "other")


@cache
def _table() -> dict[str, tuple[str, str]]:
    rows = read_table("regions.csv", ("region", "region_class", "country_iso3"))
    return {row["region"]: (row["region_class"], row["country_iso3"]) for row in rows}
