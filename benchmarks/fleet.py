"""How fast fleets are solved, and how far from a proven bound.

    python benchmarks/fleet.py --services 1000 --gap 0.001 --seconds 3

The instances (`make_fleet`): services draw one of `PROFILES` (model, request size, service level) of the bundled
models with the columns that the single-model search gives on every kind of machine on offer. Demands follow Zipf's law:
the r-th service asks 20,000 output tokens per second / r^0.9, plus a log-normal amount of median 50. Machines come from
the bundled on-demand offers and are shared by replicas of all services; quotas stand on GPUs of one kind at one
provider. They bind: three times in turn the fleet is laid on the cheapest machines left, and what it takes there is cut
to 60 %. `--heavy` multiplies the demands by ten.

Reported are wall seconds and seconds of processor time of solving (the machine may be shared), the gap to the proven
bound, and the peak memory of the process.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

REQUESTS = ((1024, 128), (512, 512), (2000, 300), (8000, 500), (200, 1000))
LEVELS = ((2.0, 0.05), (5.0, 0.1), (1.0, 0.03))
PROFILES = 60
MEDIAN_LEAST_DEMAND = 50.0
EXPONENT = 0.9
LARGEST_DEMAND = 20_000.0
QUOTA_SHARE = 0.6
WAVES = 3
KIB, GIB = 1 << 10, 1 << 30


@dataclass(frozen=True)
class Market:
    """What services may run on: profiles of columns, and the machines to rent.

    Attributes:
        profiles: (place, GPUs, output tokens/s in thousandths) of each profile's columns.
        offer_place, offer_gpus, offer_price: of each offer: its place, GPUs, micro-dollars per hour.
        offer_quota: which quota an offer draws on.
    """

    places: int
    profiles: tuple[tuple[np.ndarray, np.ndarray, np.ndarray], ...]
    offer_place: np.ndarray
    offer_gpus: np.ndarray
    offer_price: np.ndarray
    offer_quota: np.ndarray
    quota_names: tuple[str, ...]


def load_market(profiles: int = PROFILES, seed: int = 1) -> Market:
    """The bundled on-demand offers, and what bundled models make of them."""
    from catalog.find import bundled_models
    from gpu_db.load import load_gpus, load_offers
    from gpu_db.query import select_offers
    from optimizer.cp_sat.integers import capacity_milli, micro_usd
    from optimizer.shapes import Place

    offers = select_offers(load_offers(), billings=("on-demand",))
    places = {place: number for number, place in enumerate(sorted({Place.of(offer) for offer in offers}))}
    quotas = sorted({f"{offer.provider} {offer.gpu}" for offer in offers})
    found = [
        (
            np.array([places[Place.of(c.offers[m])] for m in c.machine]),
            c.gpus,
            capacity_milli(c.output_tokens_per_second),
        )
        for c in _columns_of_profiles(
            [record.repo_id for record in bundled_models()], offers, load_gpus(), profiles, seed
        )
    ]
    return Market(
        len(places),
        tuple(found),
        np.array([places[Place.of(offer)] for offer in offers]),
        np.array([offer.gpu_count for offer in offers]),
        np.array([micro_usd(offer.price_usd_per_hour) for offer in offers]),
        np.array([quotas.index(f"{offer.provider} {offer.gpu}") for offer in offers]),
        tuple(quotas),
    )


def _columns_of_profiles(names: list[str], offers: tuple, gpus: dict, profiles: int, seed: int) -> list:
    """Columns of models, request sizes and service levels drawn at random; what nothing can serve is drawn again."""
    from catalog.find import find_model
    from optimizer.engines.find import ENGINES, find_engine
    from optimizer.errors import BadRequirements
    from optimizer.fleet.columns import service_columns
    from optimizer.performance.factors import load_factors
    from optimizer.requirements import Requirements, ServiceLevel, Workload
    from optimizer.search import Knowledge, Search

    rng, found = np.random.default_rng(seed), []
    engines, factors = {name: find_engine(name) for name in ENGINES}, load_factors()
    while len(found) < profiles:
        name = names[int(rng.integers(len(names)))]
        (isl, osl), (ttft, tpot) = REQUESTS[int(rng.integers(len(REQUESTS)))], LEVELS[int(rng.integers(len(LEVELS)))]
        search = Search(Knowledge(find_model(name), offers, gpus, engines, factors))
        workload, level = (
            Workload(input_tokens=isl, output_tokens=osl),
            ServiceLevel(ttft_seconds=ttft, tpot_seconds=tpot),
        )
        try:
            columns = service_columns(search, Requirements(model=name, workload=workload, service_level=level), offers)
        except BadRequirements:  # the request is longer than the model's context
            continue
        if len(columns):
            found.append(columns)
    return found


def make_fleet(market: Market, services: int, *, heavy: bool, seed: int):
    """The instance of the module's docstring."""
    rng = np.random.default_rng(seed)
    rank = rng.permutation(services) + 1
    scale = 10 if heavy else 1
    least = MEDIAN_LEAST_DEMAND * rng.lognormal(size=services)
    demand = np.ceil((LARGEST_DEMAND / rank**EXPONENT + least) * scale * 1000).astype(np.int64)
    profile = rng.integers(len(market.profiles), size=services)
    quota = bind_quotas(market, demand, profile)
    return lay_out(market, demand, profile, quota)


def bind_quotas(market: Market, demand: np.ndarray, profile: np.ndarray) -> np.ndarray:
    """GPUs of each quota: three times what the cheapest choice takes, cut to its share; the rest has no limit."""
    quota = np.full(len(market.quota_names), np.iinfo(np.int64).max // 2**24)
    closed = np.zeros(len(quota), dtype=bool)
    for _ in range(WAVES):
        slot_price, offer = _cheapest_slots(market, closed)
        taken = np.zeros(len(quota))
        for number, (place, gpus, tokens) in enumerate(market.profiles):
            per_token = slot_price[place] * gpus / tokens
            best = int(np.argmin(per_token))
            mine = demand[profile == number]
            taken[market.offer_quota[offer[place[best]]]] += float((mine / tokens[best]).sum() * gpus[best])
        used = (taken > 0) & ~closed
        quota[used] = np.ceil(taken[used] * QUOTA_SHARE).astype(np.int64)
        closed |= used
    return quota


def _cheapest_slots(market: Market, closed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Price of one GPU on each place and the offer that has it, among those whose quota is not used up yet."""
    price = market.offer_price / market.offer_gpus
    price = np.where(closed[market.offer_quota], np.inf, price)
    order = np.lexsort((price, market.offer_place))
    _, first = np.unique(market.offer_place[order], return_index=True)
    return price[order[first]], order[first]


def lay_out(market: Market, demand: np.ndarray, profile: np.ndarray, quota: np.ndarray):
    """The problem: slots of each place, quotas, offers as supply, the columns of each service's profile."""
    from optimizer.fleet.problem import SUPPLY, FleetProblem
    from optimizer.fleet.sparse import SparseRows

    services, offers = len(demand), len(market.offer_place)
    sizes = np.array([len(place) for place, _, _ in market.profiles])
    starts = np.concatenate(([0], np.cumsum(sizes)))
    place, gpus, tokens = (np.concatenate(parts) for parts in zip(*market.profiles, strict=True))
    count = sizes[profile]
    service = np.repeat(np.arange(services), count)
    row = np.arange(len(service)) - np.repeat(np.cumsum(count) - count, count) + np.repeat(starts[profile], count)
    columns = offers + len(row)
    both = np.stack((market.offer_place, market.places + market.offer_quota), axis=1)
    uses = SparseRows(
        np.concatenate((2 * np.arange(offers), 2 * offers + np.arange(len(row) + 1))),
        np.concatenate((both.ravel(), place[row])),
        np.concatenate((np.stack((-market.offer_gpus, market.offer_gpus), axis=1).ravel(), gpus[row])),
    )
    covers = SparseRows(
        np.concatenate((np.zeros(offers, dtype=np.int64), np.arange(len(row) + 1))), service, tokens[row]
    )
    most = int(demand.sum() // tokens.min()) + 1
    return FleetProblem(
        service_names=tuple(map(str, range(services))),
        required=np.ones(services, dtype=bool),
        priority=np.zeros(services, dtype=np.int64),
        weight=np.ones(services, dtype=np.int64),
        cover_service=np.arange(services),
        cover_demand=demand,
        cover_is_bucket=np.zeros(services, dtype=bool),
        cover_survives=np.zeros(services, dtype=bool),
        column_service=np.concatenate((np.full(offers, SUPPLY), service)),
        column_price_micro_usd=np.concatenate((market.offer_price, np.zeros(len(row), dtype=np.int64))),
        column_least=np.ones(columns, dtype=np.int64),
        column_most=np.concatenate((np.full(offers, min(most, 1_000_000)), -(-demand[service] // tokens[row]))),
        column_lost_replicas=np.ones(columns, dtype=np.int64),
        column_covers=covers,
        column_uses=uses,
        resource_names=(*(f"slots {number}" for number in range(market.places)), *market.quota_names),
        resource_limit=np.concatenate((np.zeros(market.places, dtype=np.int64), quota)),
    )


def solve_one(market: Market, services: int, *, heavy: bool, seed: int, gap: float, seconds: float) -> None:
    """One instance, one line."""
    from optimizer.fleet.solve import solve_fleet

    problem = make_fleet(market, services, heavy=heavy, seed=seed)
    began = time.process_time()
    solution = solve_fleet(problem, gap=gap, time_limit_seconds=seconds)
    spent = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB / GIB
    print(
        f"{services:7,d} {'heavy' if heavy else 'light'} seed {seed}  {problem.columns:10,d} columns  "
        f"{solution.status:10}  "
        f"gap {solution.gap:8.4%}  wall {solution.seconds:6.1f} s  processor {spent:6.1f} s  peak {peak:4.1f} GiB",
        flush=True,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Solve instances of the sizes asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--services", type=int, nargs="+", default=[100, 300, 1000, 10_000])
    parser.add_argument("--heavy", action="store_true", help="ten times the demand")
    parser.add_argument("--gap", type=float, default=0.001)
    parser.add_argument("--seconds", type=float, default=30.0, help="time limit of each")
    parser.add_argument("--seeds", type=int, default=3, help="instances of each size")
    asked = parser.parse_args(arguments)
    market = load_market()
    for services in asked.services:
        for seed in range(asked.seeds):
            solve_one(market, services, heavy=asked.heavy, seed=seed, gap=asked.gap, seconds=asked.seconds)


if __name__ == "__main__":
    main()
