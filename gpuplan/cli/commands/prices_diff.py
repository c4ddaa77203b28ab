"""`plan prices diff`: what moved since the bundled prices, or since a day."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import date
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gpuplan.cli import console, words
from gpuplan.cli.options import PRINTING, Asked, argument, asked_in, flag, option, several
from gpuplan.errors import BadWord

if TYPE_CHECKING:
    from gpu_db.offer import Offer
    from gpu_db.price_sources.moves import Moves

SUMMARY = "What moved: between the bundled prices and a file, or since a day."
EXAMPLES = ("plan prices diff prices.csv", "plan prices diff --since 2026-09-01 --provider nebius,aws")
SHOWN = 30
WHICH = "Which prices"


@dataclass(frozen=True)
class Reading:
    """The price of a machine as it was read on a day."""

    offer_id: str
    price_usd_per_hour: float
    as_of: date


@dataclass(frozen=True)
class Move:
    """One machine at two prices."""

    before: Reading
    after: Reading


@dataclass(frozen=True)
class PricesDiff:
    """What moved; the JSON of `plan prices diff`.

    Attributes:
        moved: machines whose price changed, the largest change first.
        same: how many did not change.
        new: machines that only the later list has.
    """

    moved: tuple[Move, ...]
    same: int
    new: tuple[Reading, ...]
    schema_version: Literal["1"] = "1"


File = Annotated[str | None, argument("An offers file, such as `plan prices refresh` writes", words.name, "FILE")]
Since = Annotated[
    object | None, option("--since", "Compare with what was known on this day", words.day, "YYYY-MM-DD", WHICH)
]
Providers = Annotated[list[str] | None, several("--provider", "Only these providers", "NAME", WHICH)]
Verbose = Annotated[bool, flag("--verbose -v", "Every price that moved, and every new one", PRINTING)]
Json = Annotated[bool, flag("--json", "One JSON object on stdout", PRINTING)]


def command(
    context: typer.Context,
    file: File = None,
    since: Since = None,
    provider: Providers = None,
    verbose: Verbose = False,
    json: Json = False,
) -> int:
    """What moved: between the bundled prices and a file, or since a day.

    With a FILE, its prices against the bundled ones of the same machine, place and billing; with --since, the newest
    bundled prices against those that were known on that day. The largest change comes first.

    Exit status: 0 compared, 2 bad input.
    """
    return run(asked_in(context))


def run(asked: Asked) -> int:
    """Print what moved."""
    from gpu_db.load import load_offers, load_user_offers
    from gpu_db.price_sources.history import offers_on
    from gpu_db.price_sources.moves import moves

    if (asked.file is None) == (asked.since is None):
        raise BadWord("Name an offers file, or --since a day: `plan prices diff prices.csv`, `--since 2026-09-01`.")
    after = load_offers() if asked.file is None else load_user_offers(asked.file)
    before = load_offers() if asked.since is None else offers_on(asked.since)
    found = moves(_of(before, asked.provider), _of(after, asked.provider))
    if asked.json:
        console.show_json(_json(found))
    else:
        console.show(_page(found, whole=asked.verbose))
    return 0


def _of(offers: tuple[Offer, ...], providers: list[str] | None) -> tuple[Offer, ...]:
    if not providers:
        return offers
    wanted = {name.casefold() for name in providers}
    return tuple(offer for offer in offers if offer.provider.casefold() in wanted)


def _page(found: Moves, *, whole: bool) -> list[console.Line]:
    from gpu_db.price_sources.moves import change

    lines: list[console.Line] = [
        (f"{len(found.moved):,} prices moved, {found.same:,} did not, {len(found.new):,} machines are new",)
    ]
    shown = found.moved if whole else found.moved[:SHOWN]
    rows = [console.header(["machine", "USD/h before", "", "after", "", "change"])] if shown else []
    for before, after in shown:
        share = change(before, after)
        style = "red" if share > 0 else "green"
        rows.append(
            [
                after.offer_id,
                console.usd(before.price_usd_per_hour),
                before.as_of.isoformat(),
                console.usd(after.price_usd_per_hour),
                after.as_of.isoformat(),
                console.Styled(f"{share:+.1%}", style),
            ]
        )
    lines += console.aligned(rows, right=(1, 3, 5))
    if len(found.moved) > len(shown):
        lines.append((console.Styled(f"  and {len(found.moved) - len(shown)} more; --verbose shows all", "dim"),))
    if whole and found.new:
        lines += [(), (console.Styled("New", "bold"),)]
        new = [[each.offer_id, console.usd(each.price_usd_per_hour), each.as_of.isoformat()] for each in found.new]
        lines += console.aligned(new, right=(1,))
    return lines


def _json(found: Moves) -> str:
    import json

    def read(offer: Offer) -> Reading:
        return Reading(offer.offer_id, offer.price_usd_per_hour, offer.as_of)

    moved = tuple(Move(read(before), read(after)) for before, after in found.moved)
    diff = PricesDiff(moved, found.same, tuple(map(read, found.new)))
    return json.dumps(asdict(diff), indent=2, default=str)
