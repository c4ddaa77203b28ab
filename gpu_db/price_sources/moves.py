"""What moved between two price lists: machines of the same name, place and billing at different prices."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gpu_db.offer import Offer
from gpu_db.query import override_offers


@dataclass(frozen=True)
class Moves:
    """What is otherwise in a later list.

    Attributes:
        moved: (before, after) of machines whose price changed, the largest change first.
        same: how many did not change.
        new: machines that only the later list has.
    """

    moved: tuple[tuple[Offer, Offer], ...]
    same: int
    new: tuple[Offer, ...]


def change(before: Offer, after: Offer) -> float:
    """Share by which a price rose (0.1 = 10%); infinite from nothing.

    >>> from dataclasses import replace
    >>> from gpu_db.load import load_offers
    >>> offer = load_offers()[0]
    >>> round(change(offer, replace(offer, price_usd_per_hour=1.1 * offer.price_usd_per_hour)), 6)
    0.1
    """
    if before.price_usd_per_hour == 0:
        return float("inf") if after.price_usd_per_hour else 0.0
    return after.price_usd_per_hour / before.price_usd_per_hour - 1


def moves(before: Iterable[Offer], after: Iterable[Offer]) -> Moves:
    """Compare two lists; a place matches where `override_offers` would replace the one offer by the other.

    A machine that the earlier list has at several prices for places that one later place answers for is compared with
    each of them.
    """
    earlier: dict[tuple[str, ...], list[Offer]] = {}
    for offer in before:
        earlier.setdefault(_machine(offer), []).append(offer)
    moved: list[tuple[Offer, Offer]] = []
    new: list[Offer] = []
    same = 0
    for offer in after:
        met = [each for each in earlier.get(_machine(offer), ()) if not override_offers([each], [offer])[1:]]
        pairs = [(each, offer) for each in met if each.price_usd_per_hour != offer.price_usd_per_hour]
        same += len(met) - len(pairs)
        moved += pairs
        if not met:
            new.append(offer)
    moved.sort(key=lambda pair: (-abs(change(*pair)), pair[1].offer_id))
    return Moves(tuple(moved), same, tuple(new))


def _machine(offer: Offer) -> tuple[str, ...]:
    words = (offer.provider, offer.instance_type, offer.gpu, str(offer.gpu_count), offer.billing)
    return tuple(word.casefold() for word in words)
