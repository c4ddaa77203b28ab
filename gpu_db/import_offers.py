"""How offers.csv is made: one collected row with four prices -> one row per billing kind, each with its own date.

What a price row does not say by itself (how many GPUs one machine really has, what is an old list, what is no price at
all) is not decided here but in `data/offer_rules.csv`, one judgement per line with its reason and source. The newest
reading is found per provider, type, region and billing kind; older ones stay in the table to show movement.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from gpu_db.machines import PricedRow
from gpu_db.regions import region_words
from gpu_db.tables import read_table

Row = dict[str, str]

OFFER_COLUMNS = PricedRow._fields
RULE_ASPECTS = ("machine_gpus", "minimum_gpus", "restriction", "topology", "replaced_by", "not_planned_because")

_BILLING_COLUMNS = {
    "on-demand": "on_demand_usd_per_hour",
    "spot": "spot_usd_per_hour",
    "reserved-1y": "reserved_1y",
    "reserved-3y": "reserved_3y",
}

_RESTRICTION_OF_MODEL = {
    "on-demand": "",
    "spot-only": "",
    "reserved-only": "",
    "marketplace": "marketplace",
    "capacity-block": "capacity-block",
    "dws-flex-start": "flex-start",
    "serverless": "serverless",
    "quote": "quote",
    "gpu-part-only": "part-only",
    "cluster-minimum-term": "minimum-purchase",
}

# Remarks that say a spot price was read, or derived from something read, on another day than the row: (pattern, day).
_SPOT_DAYS = (
    (re.compile(r"Spot Advisor .*?(\d{4}-\d\d-\d\d)"), ""),
    (re.compile(r"spot is cheapest US AZ in an undated 2026-H1 catalog"), "2026-01-01"),
    (re.compile(r"spot MI300X .*? note (\d{4}-\d\d-\d\d)"), ""),
)


def tidy_offers(prices: Sequence[Row], rules: Sequence[Row], topology_keys: set[str]) -> list[Row]:
    """Return one row per collected row and billing kind, in the collected order, with `newest` decided."""
    rows = [row for price in prices for row in _billing_rows(price, rules, topology_keys)]
    newest: dict[tuple[str, ...], Row] = {}
    for row in rows:
        best = newest.get(_reading_key(row))
        if not row["replaced_by"] and (best is None or row["as_of"] > best["as_of"]):
            newest[_reading_key(row)] = row
    for row in rows:
        row["newest"] = "yes" if newest.get(_reading_key(row)) is row else "no"
    return [{column: row[column] for column in OFFER_COLUMNS} for row in rows]


def _billing_rows(price: Row, rules: Sequence[Row], topology_keys: set[str]) -> Iterator[Row]:
    for billing, column in _BILLING_COLUMNS.items():
        if price[column]:
            # Salad's containers are interruptible; the collected table files them under on-demand.
            really = "spot" if price["instance_type"] == "spot" else billing
            no_spot = billing == "spot" and not _is_cheaper(price[column], price["on_demand_usd_per_hour"])
            yield _offer_row(price, really, price[column], no_spot, rules, topology_keys)


def _is_cheaper(spot: str, on_demand: str) -> bool:
    return not on_demand or float(spot) < float(on_demand)


def _offer_row(
    price: Row, billing: str, amount: str, no_spot: bool, rules: Sequence[Row], topology_keys: set[str]
) -> Row:
    instance_type = _instance_type(price)
    ruled = ruling(rules, price["provider"], instance_type, price["gpu_db_name"], billing)
    gbit, node_gpus = internode(price["interconnect_between_nodes"], price["gpu_count"])
    if price["provider"] == "gcp" and float(price["gpu_count"]) < 8:
        gbit, node_gpus = "", ""  # the price list repeats the full machine's network for every size
    restrictions = dict.fromkeys([_RESTRICTION_OF_MODEL[price["pricing_model"]], ruled["restriction"]])
    minimum = ruled["minimum_gpus"]
    if minimum and int(minimum) > int(ruled["machine_gpus"]):
        restrictions["minimum-purchase"] = None
    as_of = _as_of(price, billing)
    return {
        "provider": price["provider"],
        "instance_type": instance_type,
        "gpu": price["gpu_db_name"],
        "gpu_as_listed": price["gpu"],
        "priced_gpus": price["gpu_count"],
        "machine_gpus": ruled["machine_gpus"],
        "minimum_gpus": minimum,
        "region": price["region"],
        "billing": billing,
        "price_usd_per_hour": amount,
        "restrictions": "/".join(word for word in restrictions if word),
        "not_planned_because": ruled["not_planned_because"] or _not_planned(price, no_spot),
        "topology": ruled["topology"] or _topology_key(price, topology_keys),
        "internode_fabric": price["interconnect_between_nodes"],
        "internode_gbit_per_second": gbit,
        "internode_node_gpus": node_gpus,
        "vcpus": price["vcpus"],
        "memory_gb": price["memory_gb"],
        "as_of": as_of,
        "as_of_note": price["as_of_note"] if as_of == price["as_of"] else "spot price derived from an older reading",
        "source": re.sub(r", pages \w+$", "", price["source"]),
        "confidence": price["confidence"] if as_of == price["as_of"] else "low",
        "notes": price["notes"],
        "replaced_by": ruled["replaced_by"],
    }


def ruling(rules: Sequence[Row], provider: str, instance_type: str, gpu: str, billing: str) -> Row:
    """Return what offer_rules.csv decides for an offer: for each aspect the first matching line that speaks of it."""
    decided = dict.fromkeys(RULE_ASPECTS, "")
    named = (("provider", provider), ("instance_type", instance_type), ("gpu", gpu), ("billing", billing))
    for rule in rules:
        if all(fnmatchcase(value, rule[column]) for column, value in named):
            decided = {aspect: decided[aspect] or rule[aspect] for aspect in RULE_ASPECTS}
    return decided


def internode(fabric: str, gpu_count: str) -> tuple[str, str]:
    """Return (Gbit/s of a whole node, GPUs of that node) that a listed fabric states; empty when it states no rate.

    "up to", ranges and cluster products are no rate of this machine.

    >>> internode("RoCE 200G x16 (3200 Gbps)", "8"), internode("EFAv4 3200 Gbps", "8"), internode("10-100 Gbps", "1")
    (('3200', '8'), ('3200', '8'), ('', ''))
    """
    if re.search(r"up to|none|Clusters|\d-\d+ Gbps|ICI", fabric):
        return "", ""
    if cards := re.search(r"(\d+)G(?:/\d+G)? x(\d+)", fabric):
        return str(int(cards[1]) * int(cards[2])), "4" if cards[2] == "4" else "8"
    if cards := re.search(r"(\d+)x(\d+) Gbps", fabric):
        return str(int(cards[1]) * int(cards[2])), gpu_count
    if total := re.search(r"([\d.]+) (G|T)bps", fabric):
        gbit = float(total[1]) * (1000 if total[2] == "T" else 1)
        return f"{gbit:g}", "8" if "GPUDirect" in fabric else gpu_count
    return "", ""


def _instance_type(price: Row) -> str:
    """Two prices of one type differ by a remark after the GPU ("NVLink bridge"): it belongs to the type."""
    remark = re.search(r" (\((?:NVLink bridge|High freq\.)\))$", price["gpu"])
    return price["instance_type"] + (f" {remark[1]}" if remark else "")


def _as_of(price: Row, billing: str) -> str:
    if billing == "spot":
        for pattern, fixed_day in _SPOT_DAYS:
            if found := pattern.search(price["notes"]):
                return fixed_day or found[1]
    return price["as_of"]


def _not_planned(price: Row, no_spot: bool) -> str:
    if not price["gpu_db_name"]:
        return "its GPU is not in gpus.csv"
    if float(price["gpu_count"]) != int(float(price["gpu_count"])):
        return "a fraction of a GPU"
    return "spot costs as much as on-demand: no spot is sold" if no_spot else ""


def _topology_key(price: Row, keys: set[str]) -> str:
    key = f"{price['provider']} {price['instance_type']}"
    if key in keys:
        return key
    return next((known for known in sorted(keys) if "*" in known and fnmatchcase(key, known)), "")


def _reading_key(row: Row) -> tuple[str, ...]:
    """Two rows with the same key are readings of the same price on different days."""
    region = (*region_words(row["region"]), "")[0]
    return (row["provider"], row["instance_type"], row["gpu"], row["priced_gpus"], region, row["billing"])


def topology_row(row: Row) -> Row:
    """Translate one collected topology row; its key is what offers.csv refers to."""
    kind = row["instance_type"].replace("on-demand ", "")
    gbit = row["internode_gbps_per_node"] if "Ethernet (internet)" not in row["internode_fabric"] else ""
    return {
        "key": f"{row['provider']} {kind}",
        "provider": row["provider"],
        "instance_type": kind,
        "gpu": row["gpu_db_name"],
        "gpus_per_node": row["gpus_per_node"],
        "scaleup_domain_gpus": row["scaleup_domain_gpus"],
        "scaleup_fabric": row["scaleup_fabric"],
        "link_gb_per_second": row["scaleup_gbs_per_gpu_uni"],
        "internode_fabric": row["internode_fabric"],
        "internode_gbit_per_second": gbit,
        "nics_per_node": row["nics_per_node"],
        "nic_gbit_per_second": row["nic_gbps"],
        "gpudirect_rdma": row["gpudirect_rdma"],
        "as_of": row["as_of"],
        "source": re.sub(r" \(\w+ doc \d+\)", "", row["source"]),
        "confidence": row["confidence"],
        "notes": row["notes"],
    }


def topology_rows(collected: Sequence[Row]) -> Iterator[Row]:
    """Yield the translated rows; the two sizes of the GB200 UltraServer become two rows."""
    for row in map(topology_row, collected):
        if "u-p6e-gb200x36/x72" not in row["instance_type"]:
            yield row
            continue
        for gpus in ("36", "72"):
            kind = f"p6e-gb200 x{gpus}"
            yield row | {"key": f"aws {kind}", "instance_type": kind, "scaleup_domain_gpus": gpus}
    bridge = next(row for row in collected if row["instance_type"] == "Standard_NC96ads_A100_v4")
    yield topology_row(bridge) | {
        "key": "hyperstack NVLink bridge",
        "provider": "hyperstack",
        "instance_type": "NVLink bridge",
        "gpu": "",
        "gpus_per_node": "8",
        "link_gb_per_second": "300",
        "internode_fabric": "",
        "internode_gbit_per_second": "",
        "gpudirect_rdma": "",
        "notes": "NVLink 3 and 4 bridges are both 600 GB/s in both directions",
    }


def read_rules(folder: Path) -> list[Row]:
    """Read the judgements, whose columns the caller can rely on."""
    columns = ("provider", "instance_type", "gpu", "billing", *RULE_ASPECTS, "why", "source", "as_of")
    return list(read_table("offer_rules.csv", columns, folder))
