"""How the bundled tables are made: collected CSV tables in, our data files out, byte for byte the same each time.

    python -m gpu_db.import_tables SOURCE_DIR [--into DIR] [--as-of YYYY-MM-DD]

SOURCE_DIR holds `gpus.csv`, `aliases.csv`, `prices.csv`, `topology.csv`, `systems.csv` and `energy.csv` as collected.
The collected tables mix conventions (both directions of a link added up, marketing GB beside driver MiB, four prices in
one row); the written ones have one meaning per column, its unit in its name. Nothing here guesses: what a source leaves
empty stays empty.
"""

from __future__ import annotations

import argparse
import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from gpu_db.import_offers import OFFER_COLUMNS, read_rules, tidy_offers, topology_rows

Row = dict[str, str]

GPU_TABLE_AS_OF = "2026-11-22"  # the day on which the collected datasheet facts were last compared with each other

_RATES = {
    "fp32_tflop_per_second": "fp32_tflops",
    "fp16_tflop_per_second": "fp16_dense_tflops",
    "bf16_tflop_per_second": "bf16_dense_tflops",
    "fp8_tflop_per_second": "fp8_dense_tflops",
    "int8_top_per_second": "int8_dense_tops",
    "fp4_tflop_per_second": "fp4_dense_tflops",
    "fp16_accumulate_fp16_tflop_per_second": "fp16_fp16acc_dense_tflops",
}

# One lane, one direction, after line coding: 8 and 16 and 32 GT/s x 128/130 / 8 bits (PCI-SIG base specifications);
# generation 6 sends 64 GT/s in 256-byte flits of which 242 bytes are payload and headers.
_PCIE_LANE_GB_PER_SECOND = {3: 8 * 128 / 130 / 8, 4: 16 * 128 / 130 / 8, 5: 32 * 128 / 130 / 8, 6: 64 * 242 / 256 / 8}

# What people mean by a word that several GPUs share. "H100" in a cloud is the SXM module, "RTX PRO 6000" in a cloud
# the Server Edition (trap 6); an A100 for language models is the 80 GB one unless they say 40.
_PREFERRED = {
    "A100": "A100 SXM 80GB",
    "A100-80GB": "A100 SXM 80GB",
    "A100-80": "A100 SXM 80GB",
    "A100:80": "A100 SXM 80GB",
    "A100 80GB": "A100 SXM 80GB",
    "A100 SXM": "A100 SXM 80GB",
    "A100 SXM4": "A100 SXM 80GB",
    "A100 PCIe": "A100 PCIe 80GB",
    "A100 40GB": "A100 SXM 40GB",
    "A100:40": "A100 SXM 40GB",
    "H100": "H100 SXM 80GB",
    "H100:80": "H100 SXM 80GB",
    "H100 80GB": "H100 SXM 80GB",
    "H100 SXM5": "H100 SXM 80GB",
    "H200": "H200 SXM 141GB",
    "H20": "H20 96GB",
    "V100": "V100 SXM2 16GB",
    "V100 SXM2": "V100 SXM2 16GB",
    "V100:16": "V100 SXM2 16GB",
    "V100:32": "V100 SXM2 32GB",
    "GH200": "GH200 96GB",
    "B200": "B200 SXM 180GB",
    "B300": "B300 SXM 288GB",
    "GB200": "GB200 NVL72 (per GPU)",
    "GB300": "GB300 NVL72 (per GPU)",
    "RTX PRO 6000": "RTX PRO 6000 Blackwell Server 96GB",
    "RTX PRO 6000 Blackwell": "RTX PRO 6000 Blackwell Server 96GB",
    "RTXPRO6000:96": "RTX PRO 6000 Blackwell Server 96GB",
    "RTX PRO 4500": "RTX PRO 4500 Blackwell 32GB",
    "RTX PRO 5000": "RTX PRO 5000 Blackwell 48GB",
    "Gaudi3": "Gaudi3 OAM 128GB",
    "DGX Spark": "DGX Spark GB10 128GB",
    "Trillium": "TPU v6e (Trillium)",
    "Ironwood": "TPU v7x (Ironwood)",
}

_ALIAS_COLUMNS = {
    "nvidia_smi_name": "nvidia-smi",
    "gfd_label_nvidia.com/gpu.product": "gpu-feature-discovery",
    "gpuhunt": "gpuhunt",
    "skypilot": "skypilot",
    "aiconfigurator_system": "aiconfigurator",
    "llm_d_planner": "llm-d-planner",
    "gke_label": "gke",
}

# How a collector found a fact is not its source: such remarks are cut.
_READING_REMARKS = (
    re.compile(r"\s*\([^()]*\b(?:read|doc \d+)\b[^()]*\)"),
    re.compile(r"\bfind_\w+:[^,;]*(?:, gfx\w+)?"),
    re.compile(r",?\s*\bfind_\w+[^,;]*"),
    re.compile(r",\s*pages\b(?: \([^()]*\))?"),
)


def read_rows(path: Path) -> list[Row]:
    """Read a collected table."""
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Row]) -> None:
    """Write a table with these columns, LF line ends, so that a diff shows facts and nothing else."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def source_text(text: str) -> str:
    """Return a source without remarks on how its collector came by it.

    >>> source_text("NVIDIA MSRP (announcement; not re-read)")
    'NVIDIA MSRP'
    """
    for remark in _READING_REMARKS:
        text = remark.sub("", text)
    return text.strip(" ,;")


def number_text(value: float) -> str:
    """Write a derived number with the digits that a datasheet would carry.

    >>> number_text(31.507692307692306), number_text(450.0)
    ('31.51', '450')
    """
    return f"{value:.4g}" if value < 10000 else f"{value:.0f}"


def first_day(text: str) -> str:
    """Return the earliest day that a partial date allows, so that a warning about age errs on the safe side.

    >>> first_day("2025"), first_day("2025-08"), first_day("2025-08-24")
    ('2025-01-01', '2025-08-01', '2025-08-24')
    """
    return text if not text else "-".join([*text.split("-"), "01", "01"][:3])


def pcie_gb_per_second(slot: str) -> str:
    """Return the rate of a slot such as "5 x16", one direction; empty when lanes are not stated or are shared.

    >>> pcie_gb_per_second("5 x16"), pcie_gb_per_second("4 x16 (board)"), pcie_gb_per_second("5")
    ('63.02', '', '')
    """
    match = re.fullmatch(r"(\d) x(\d+)", slot)
    return number_text(_PCIE_LANE_GB_PER_SECOND[int(match[1])] * int(match[2])) if match else ""


def link_gb_per_second(fabric: str, both_directions: str) -> str:
    """Return one direction of the scale-up fabric; PCIe cards and boxes joined by a network card have none."""
    if not both_directions or fabric.startswith(("PCIe", "ConnectX")) or not fabric:
        return ""
    return number_text(float(both_directions) / 2)


def scaleup_domain_gpus(row: Row) -> str:
    """Return how many GPUs the fabric joins as sold: 1 for PCIe and for bridges, which are an option."""
    fabric = row["interconnect"]
    if not link_gb_per_second(fabric, row["interconnect_gbs_per_gpu_bidir"]) or "bridge" in fabric:
        return "1"
    rack = re.search(r"(\d+)-GPU", fabric)
    return rack[1] if rack else row["max_gpus_per_node"]


def gpu_row(row: Row, as_of: str) -> Row:
    """Translate one collected GPU."""
    return {
        "name": row["name"],
        "vendor": row["vendor"],
        "architecture": row["architecture"],
        "compute_capability": row["compute_capability"],
        "memory_mib": row["memory_mib_usable"],
        "memory_marketed_gb": row["memory_gb"],
        "memory_type": row["memory_type"],
        "memory_bandwidth_gb_per_second": row["bandwidth_gbs"],
        **{ours: row[theirs] for ours, theirs in _RATES.items()},
        "scaleup_fabric": row["interconnect"],
        "scaleup_domain_gpus": scaleup_domain_gpus(row),
        "link_gb_per_second": link_gb_per_second(row["interconnect"], row["interconnect_gbs_per_gpu_bidir"]),
        "pcie": row["pcie_gen"],
        "pcie_gb_per_second": pcie_gb_per_second(row["pcie_gen"]),
        "power_watts": row["tdp_w"],
        "idle_watts": row["idle_w"],
        "form_factor": row["form_factor"],
        "max_gpus_per_node": row["max_gpus_per_node"],
        "hardware_partitions": row["mig_capable"],
        "release_year": row["release_year"],
        "list_price_usd": row["list_or_street_price_usd"],
        "list_price_as_of": first_day(row["price_date"]),
        "list_price_note": row["price_note"],
        "list_price_source": source_text(row["price_source"]),
        "as_of": as_of,
        "source": source_text(row["source"]),
        "verified_by": source_text(row["verified_by"]),
        "confidence": row["confidence"],
        "notes": row["conflicts_notes"],
    }


def alias_words(cell: str) -> Iterator[str]:
    """Split a cell of the alias table into the words it lists, remarks dropped.

    >>> list(alias_words("H100; GCP also H100-MEGA")), list(alias_words("tpu-v5p-N (N counts cores)"))
    (['H100', 'H100-MEGA'], ['tpu-v5p'])
    """
    plain = re.sub(r"\([^()]*\)|^gke |GCP also ", "", cell)
    for word in re.split(r";| / ", plain):
        cleaned = word.strip().removesuffix("-N")
        if cleaned:
            yield cleaned


def short_name(name: str) -> str:
    """Return a name without its memory size and brackets.

    >>> short_name("H100 SXM 80GB"), short_name("GB200 NVL72 (per GPU)")
    ('H100 SXM', 'GB200 NVL72')
    """
    return re.sub(r"\s*\([^()]*\)|\s\d+GB\b", "", name).strip()


def alias_rows(aliases: Sequence[Row], names: Sequence[str]) -> Iterator[Row]:
    """Yield one row per alias, naming system and GPU; the system "short" decides where several GPUs share a word."""
    for row in aliases:
        for column, system in _ALIAS_COLUMNS.items():
            for word in alias_words(row[column]):
                yield {"alias": word, "gpu": row["gpu_db_name"], "naming_system": system}
    shorts = [short_name(name) for name in names]
    unique = {short: name for short, name in zip(shorts, names, strict=True) if shorts.count(short) == 1}
    for short, name in (unique | _PREFERRED).items():
        if short != name:
            yield {"alias": short, "gpu": name, "naming_system": "short"}


def import_gpus(source: Path, into: Path, as_of: str) -> None:
    """Write gpus.csv and aliases.csv."""
    gpus = [gpu_row(row, as_of) for row in read_rows(source / "gpus.csv")]
    write_rows(into / "gpus.csv", list(gpus[0]), gpus)
    rows = alias_rows(read_rows(source / "aliases.csv"), [row["name"] for row in gpus])
    write_rows(into / "aliases.csv", ["alias", "gpu", "naming_system"], rows)


def import_offers(source: Path, into: Path) -> None:
    """Write topology.csv and offers.csv; read offer_rules.csv from where they are written."""
    topology = list(topology_rows(read_rows(source / "topology.csv")))
    write_rows(into / "topology.csv", list(topology[0]), topology)
    offers = tidy_offers(read_rows(source / "prices.csv"), read_rules(into), {row["key"] for row in topology})
    write_rows(into / "offers.csv", OFFER_COLUMNS, offers)


HOST_SHARE = {
    "kind": "host_share",
    "key": "DEFAULT 8-GPU server",
    "value": "0.5",
    "unit": "ratio",
    "as_of": "2024-12-11",
    "source": "Latif et al., Empirical Measurements of AI Training Power Demand on a GPU-Accelerated Node "
    "(arXiv:2412.08602; IEEE Access 13, 2025)",
    "confidence": "medium",
    "notes": "8.4 kW at most with 8 H100 near full load: (8.4 - 5.6) / 5.6 kW of GPU limits; nameplate 10.2 kW",
}
"""Read from the paper beside the collected table."""


def import_costs(source: Path, into: Path) -> None:
    """Write systems.csv (what a server or rack costs to buy) and energy.csv (electricity, carbon, PUE, colocation)."""
    systems = [
        {
            "system": row["system"],
            "gpu": row["gpu_db_name"],
            "gpus": row["gpus"],
            "price_low_usd": row["price_usd_low"],
            "price_typical_usd": row["price_usd_typical"],
            "price_high_usd": row["price_usd_high"],
            "nameplate_kw": row["max_kw"],
            "planning_kw_per_gpu": row["planning_kw_per_gpu"],
            "as_of": first_day(row["as_of"]),
            "source": source_text(row["source"]),
            "confidence": row["confidence"],
            "notes": row["notes"],
        }
        for row in read_rows(source / "systems.csv")
    ]
    write_rows(into / "systems.csv", list(systems[0]), systems)
    energy = [
        row | {"as_of": first_day(row["as_of"]), "source": source_text(row["source"])}
        for row in read_rows(source / "energy.csv")
    ]
    energy.append(HOST_SHARE)
    write_rows(into / "energy.csv", list(energy[0]), energy)


def main(argv: Sequence[str] | None = None) -> None:
    """Import every table of SOURCE_DIR."""
    parser = argparse.ArgumentParser(prog="python -m gpu_db.import_tables", description=__doc__.split("\n")[0])
    parser.add_argument("source", type=Path, metavar="SOURCE_DIR", help="folder with the collected tables")
    parser.add_argument("--into", type=Path, default=Path(__file__).parent / "data", help="where to write")
    parser.add_argument("--as-of", default=GPU_TABLE_AS_OF, help="day on which the datasheet facts were checked")
    arguments = parser.parse_args(argv)
    import_gpus(arguments.source, arguments.into, arguments.as_of)
    import_offers(arguments.source, arguments.into)
    import_costs(arguments.source, arguments.into)


if __name__ == "__main__":
    main()
