"""Mélange's problem (requests of several sizes on several kinds of GPUs) as a fleet of one service in buckets."""

from decimal import Decimal

from optimizer.fleet.draft import FleetDraft

RATE_SCALE = 10**9
"""Rates in 1e-9 requests per second: exact for all published cases."""
MOST = 10_000


def as_fleet(case):
    """A case of the shape of Mélange's own inputs: weights of buckets, throughput and price of each GPU.

    Buckets that no GPU serves are left out, as Mélange's users do.
    """
    draft = FleetDraft()
    service = draft.add_service(case["id"])
    gpus = list(case["gpu_info"].values())
    covers = {}
    for row, weights in enumerate(case["workload_distribution"]):
        for place, weight in enumerate(weights):
            rates = [scaled(gpu["tputs"][row][place]) for gpu in gpus]
            demand = -int(-(Decimal(str(case["total_request_rate"])) * Decimal(str(weight)) * RATE_SCALE) // 1)
            if demand and any(rates):
                covers[draft.add_cover(service, demand, bucket=True)] = [
                    rate if rate and demand // rate < MOST else 0 for rate in rates
                ]
    price = [int(Decimal(str(gpu["cost"])) * 10**6) for gpu in gpus]
    draft.add_columns(service, price_micro_usd=price, covers=covers, most=MOST)
    return draft.build()


def scaled(rate):
    """Requests per second in units of RATE_SCALE, rounded down; the smallest rates stand for none."""
    return int(Decimal(str(rate)) * RATE_SCALE) if rate > 1e-6 else 0
