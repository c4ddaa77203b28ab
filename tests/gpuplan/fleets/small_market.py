"""A market of a few machines on which a fleet's plan can be worked out by hand, and fleets as a file writes them."""

import json
from dataclasses import replace
from datetime import date
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np

from gpu_db.load import load_offers
from gpuplan.fleets.explained import Wishes
from gpuplan.fleets.file import read_fleet
from gpuplan.fleets.planning import Desk, Effort, plan_fleet
from optimizer.shapes import Place

MODEL = "llama-3.1-8b"
TODAY = date(2026, 11, 22)


@cache
def plain(gpu, gpus=1):
    """A bundled offer of a GPU without restrictions, to make others of."""
    found = next(o for o in load_offers() if o.gpu == gpu and o.gpu_count == gpus and o.billing == "on-demand")
    return replace(found, restrictions=(), available_count=None, minimum_count=1, as_of=date(2026, 11, 1))


def offer(name, price, *, gpu="L40S 48GB", gpus=1, provider="acme", region="eu", billing="on-demand", restrictions=()):
    """A machine of this market."""
    return replace(
        plain(gpu, gpus),
        offer_id=name,
        provider=provider,
        instance_type=f"{name}-type",
        region=region,
        region_class=region,
        region_classes=(region,),
        billing=billing,
        price_usd_per_hour=price,
        restrictions=restrictions,
    )


def offers():
    """L40S that differ in who has them, where, and how they are paid; and what is dearer for what it does."""
    return (
        offer("cheap", 1.0),
        offer("dear", 1.5, provider="brand", region="us"),
        offer("spot", 0.4, billing="spot"),
        offer("bound", 0.5, restrictions=("minimum-purchase",)),
        offer("reserved", 0.8, billing="reserved-1y"),
        offer("pair", 9.0, gpus=2, provider="brand", region="us"),
        offer("big", 20.0, gpu="H100 SXM 80GB", provider="brand", region="us"),
    )


def fleet_of(services, **rest):
    """What a file with these words says; services are mappings of words."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "fleet.json"
        file.write_text(json.dumps({"services": services, **rest}))
        return read_fleet(file).fleet


def words(name="chat", machines=3.0, **more):
    """The words of a service that asks for so many cheap machines' throughput, a little less."""
    asked = {"name": name, "model": MODEL, "max_tpot": "50ms"} | more
    demands = ("min_tps", "requests_per_second", "concurrency")
    return asked if any(one in asked for one in demands) else asked | {"min_tps": machines * one_machine()}


@cache
def one_machine():
    """Tokens per second of one cheap machine, a little less."""
    program = Desk(fleet_of([words(min_tps=1)]), offers()[:1]).program()
    (column,) = program.columns
    return 0.99 * float(column.replicas.output_tokens_per_second.max())


@cache
def capacity(**demand):
    """(tokens per second, requests in flight) of one cheap machine for a service with these words."""
    ((replicas,),) = Desk(fleet_of([words(**demand)]), offers()[:1]).replicas
    return float(replicas.output_tokens_per_second.max()), int(replicas.concurrency.max())


@cache
def fastest(promise):
    """The least TTFT or TPOT, in seconds, that any machine of this market can promise."""
    asked = fleet_of([words(min_tps=1, max_tpot="60s")])
    ((replicas,),) = Desk(asked, offers()).replicas
    table = replicas.search.candidates(replicas.questions[0])
    mine = {Place.of(one) for one in offers()}
    places = [at for at, place in enumerate(table.shapes.places) if place in mine]
    shapes = table.shapes.pair_shape[np.isin(table.shapes.pair_place, places)]
    return float(getattr(table, promise)[np.isin(table.shape, shapes)].min())


def planned(services, *, gap=0.0, seconds=30.0, wishes=None, market=offers, **rest):
    """The plan of a file with these words, in this market."""
    with (
        patch("gpuplan.fleets.planning.load_offers", market),
        patch("gpuplan.fleets.planning.data_fingerprint", lambda: "small market"),
    ):
        return plan_fleet(
            fleet_of(services, **rest),
            effort=Effort(gap=gap, time_limit_seconds=seconds),
            wishes=wishes or Wishes(worth=False),
            today=TODAY,
        )


def machines(plan):
    """How many machines of each offer a plan has."""
    counts = {}
    for line in plan.machines:
        name = line.offer.offer_id.split(" in ")[0]
        counts[name] = counts.get(name, 0) + line.count
    return counts


def served(plan):
    """Names of the services that a plan serves."""
    return {one.name for one in plan.services if one.served}
