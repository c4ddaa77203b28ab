"""The tables of docs/data.md, made from the data so that the page cannot grow old.

    python -m gpu_db.describe docs/data.md

writes them between their marks (`<!-- name -->` ... `<!-- end name -->`).
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from gpu_db.load import load_gpus, load_offers
from gpu_db.offer import Offer
from gpu_db.ownership import load_energy, load_systems
from gpu_db.tables import read_table


def tables() -> dict[str, str]:
    """Return every table of the page by its mark, as Markdown."""
    return {"counts": counts(), "providers": providers(), "judgements": judgements(), "sources": sources()}


def counts() -> str:
    """How much there is of everything."""
    rows = list(read_table("offers.csv", ("newest", "not_planned_because")))
    newest = sum(row["newest"] == "yes" for row in rows)
    lines = [
        ("gpus.csv", len(load_gpus()), "GPUs and other accelerators"),
        ("aliases.csv", _rows("aliases.csv"), "names that other tools give them"),
        ("offers.csv", len(rows), f"prices, one per offer and billing kind; {newest} are the newest reading"),
        ("(loaded)", len(load_offers()), "machines that can be planned with, sizes of per-GPU prices included"),
        ("offer_rules.csv", _rows("offer_rules.csv"), "judgements about offers, each with its reason and source"),
        ("topology.csv", _rows("topology.csv"), "machine types and how their GPUs reach each other"),
        ("regions.csv", _rows("regions.csv"), "regions with their class and country"),
        ("systems.csv", len(load_systems()), "servers and racks to buy"),
        ("energy.csv", len(load_energy()), "electricity prices, carbon intensities, PUE, colocation"),
    ]
    return _markdown(("file", "rows", "what"), lines)


def providers() -> str:
    """What is known of each provider: how many machines, where, how paid, as of when, behind which restrictions."""
    by_provider: dict[str, list[Offer]] = {}
    for offer in load_offers():
        by_provider.setdefault(offer.provider.split(":")[0], []).append(offer)
    return _markdown(
        ("provider", "machines", "free to plan with", "billing", "regions", "prices as of", "restrictions"),
        [_provider_line(name, offers) for name, offers in sorted(by_provider.items())],
    )


def _provider_line(name: str, offers: Sequence[Offer]) -> tuple[object, ...]:
    free = [offer for offer in offers if not offer.restrictions]
    days = sorted(offer.as_of for offer in offers)
    restrictions = Counter(word for offer in offers for word in offer.restrictions)
    return (
        name,
        len(offers),
        len(free),
        _listed(offer.billing for offer in offers),
        _listed(word for offer in offers for word in offer.region_classes),
        f"{days[0]}" if days[0] == days[-1] else f"{days[0]} to {days[-1]}",
        ", ".join(f"{word} ({count})" for word, count in sorted(restrictions.items())),
    )


def judgements() -> str:
    """Every line of offer_rules.csv, as a sentence about the offers that it matches."""
    columns = ("provider", "instance_type", "gpu", "billing", "why", "source", "as_of")
    return _markdown(
        ("provider", "which", "decided", "why", "source"),
        [
            (row["provider"], _which(row), _decided(row), row["why"], f"{row['source']}, {row['as_of']}")
            for row in read_table("offer_rules.csv", columns)
        ],
    )


def _which(row: dict[str, str]) -> str:
    parts = (row["instance_type"], row["gpu"], row["billing"])
    return " · ".join(f"`{part}`" for part in parts if part != "*") or "all"


def _decided(row: dict[str, str]) -> str:
    sentences = {
        "machine_gpus": "machines of {} GPUs",
        "minimum_gpus": "at least {} GPUs",
        "restriction": "restricted: {}",
        "topology": "network of `{}`",
        "replaced_by": "replaced by: {}",
        "not_planned_because": "not planned with",
    }
    return "; ".join(sentence.format(row[aspect]) for aspect, sentence in sentences.items() if row[aspect])


def sources() -> str:
    """Where prices were read, with how many each gave."""
    where = Counter(row["source"] for row in read_table("offers.csv", ("source",)))
    return _markdown(("prices", "source"), [(count, source) for source, count in sorted(where.items())])


def _rows(name: str) -> int:
    return sum(1 for _ in read_table(name, ()))


def _listed(words: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(words))


def _markdown(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def with_tables(page: str) -> str:
    """Return a page with its marked tables written anew.

    Raises:
        ValueError: a mark is missing.
    """
    for name, table in tables().items():
        before, start, rest = page.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"\n<!-- end {name} -->")
        if not (start and end):
            raise ValueError(f"The page lacks the mark <!-- {name} --> ... <!-- end {name} -->.")
        page = f"{before}{start}{table}{end}{after}"
    return page


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.write_text(with_tables(target.read_text(encoding="utf-8")), encoding="utf-8")
