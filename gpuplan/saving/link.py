"""A question as the fragment of a link: the options as one types them, nothing that stays on the asker's disk.

#v=1&model=meta-llama/Llama-3.3-70B-Instruct&min-tps=500&budget=10
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from urllib.parse import parse_qsl, quote

from gpuplan.errors import nearest
from gpuplan.saving.errors import BadLink

VERSION = "1"
LONGEST_LINK = 100_000
MOST_WORDS = 2_000

Words = list[tuple[str, str]]
"""Options without their dashes, each with its value; "" for one that is given or not."""


def fragment_of(words: Iterable[tuple[str, str]]) -> str:
    """What stands after the address of a page, # included.

    >>> fragment_of([("model", "Qwen/Qwen3-32B"), ("max-tpot", "0.025"), ("no-mix", "")])
    '#v=1&model=Qwen/Qwen3-32B&max-tpot=0.025&no-mix='
    """
    pairs = [("v", VERSION), *words]
    return "#" + "&".join(f"{name}={quote(word, safe='/:,=.@')}" for name, word in pairs)


def words_in(link: str, known: Collection[str]) -> Words:
    """The options in a link or in its fragment alone.

    Args:
        link: anything up to the first # is left aside.
        known: the options that a question may have, without their dashes.

    Raises:
        BadLink: it is no link of ours, of another version, or names what is no option of a question.

    >>> words_in("https://example.org/plan#v=1&model=Qwen/Qwen3-32B&no-mix=", {"model", "no-mix"})
    [('model', 'Qwen/Qwen3-32B'), ('no-mix', '')]
    """
    if len(link) > LONGEST_LINK:
        raise BadLink(f"The link has {len(link):,} letters; at most {LONGEST_LINK:,} are read.")
    fragment = link.strip().partition("#")[2] or link.strip()
    try:
        pairs = parse_qsl(
            fragment, keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=MOST_WORDS
        )
    except ValueError as error:
        raise BadLink(f"{link[:60]!r} holds no question; `plan ... --url` writes such links.") from error
    if not pairs or pairs[0] != ("v", VERSION):
        said = dict(pairs).get("v")
        told = (
            f"is of version {said[:20]!r}; this program reads version {VERSION}" if said else "has no version in front"
        )
        raise BadLink(f"The link {told}: ask for one that begins with #v={VERSION}&model=...")
    for name, _ in pairs[1:]:
        if name not in known:
            raise BadLink(f"The link asks for {name[:60]!r}, which is no option of a question.{nearest(name, known)}")
    return pairs[1:]
