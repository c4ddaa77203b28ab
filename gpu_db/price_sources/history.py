"""What the bundled table knew on a day: of each machine the last reading of its price up to then."""

from __future__ import annotations

from datetime import date

from gpu_db.errors import GpuDbError
from gpu_db.load import load_offers
from gpu_db.offer import Offer


class NoPricesYet(GpuDbError):
    """No price had been read on that day."""


def offers_on(day: date) -> tuple[Offer, ...]:
    """Every machine whose price had been read by the end of a day, at the last such price.

    What was first read later is not among them, even if it could be rented already. An old reading counts until its
    provider's price of that GPU and billing was read again, under whatever name (of a GPU that it no longer sells, any
    price): that is when a renamed or dropped machine left the list.

    Raises:
        NoPricesYet: nothing had been read.

    >>> all(offer.as_of <= date(2026, 8, 31) for offer in offers_on(date(2026, 8, 31)))
    True
    """
    newest = load_offers()
    known = [offer for offer in newest if offer.as_of <= day]
    sold_now = {_listed(offer) for offer in newest}
    again: dict[tuple[str, ...], date] = {}
    for offer in known:
        for key in (_listed(offer), _seller(offer)):
            again[key] = max(offer.as_of, again.get(key, offer.as_of))
    last = {offer.offer_id: offer for offer in known}
    for offer in _older(newest):
        before = last.get(offer.offer_id)
        key = _listed(offer) if _listed(offer) in sold_now else _seller(offer)
        superseded = again.get(key, date.min) > offer.as_of
        if offer.as_of <= day and not superseded and (before is None or offer.as_of > before.as_of):
            last[offer.offer_id] = offer
    if not last:
        first = min(offer.as_of for offer in load_offers(older_readings=True))
        raise NoPricesYet(f"No price had been read by {day}; the first is of {first}.")
    return tuple(last.values())


def _older(newest: tuple[Offer, ...]) -> list[Offer]:
    """Readings that were made again since."""
    current = {(offer.offer_id, offer.as_of) for offer in newest}
    return [each for each in load_offers(older_readings=True) if (each.offer_id, each.as_of) not in current]


def _listed(offer: Offer) -> tuple[str, ...]:
    return offer.provider, offer.billing, offer.gpu


def _seller(offer: Offer) -> tuple[str, ...]:
    return offer.provider, offer.billing
