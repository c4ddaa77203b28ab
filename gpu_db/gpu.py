"""What one accelerator can do, in base units."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date


@dataclass(frozen=True, slots=True)
class Gpu:
    """One accelerator as its driver and its datasheet describe it.

    Rates are dense (never "with sparsity"); a rate that the source does not give is absent, never guessed.

    Attributes:
        name: the name used everywhere in this project, such as "H100 SXM 80GB".
        vendor: "NVIDIA", "AMD", "Intel", "Google", "AWS", "Apple".
        architecture: "Hopper", "CDNA3", ...
        compute_capability: "9.0", "gfx942"; empty when the vendor has no such number.
        memory_bytes: what the driver shows, or None when nobody published it (then it is not planned with).
        memory_marketed_bytes: what the datasheet sells; never used for sizing.
        memory_bandwidth_bytes_per_second: datasheet rate.
        flop_per_second: dense rate by number format: "fp32", "fp16", "bf16", "fp8", "int8", "fp4", and
            "fp16_accumulate_fp16" where a consumer card is faster with an FP16 accumulator. GeForce rates under the
            plain names are with an FP32 accumulator, which is what engines use.
        link_bytes_per_second: one direction, one GPU to its peers over the scale-up fabric; None when unknown.
        pcie_bytes_per_second: one direction over its PCIe slot; None when unknown.
        power_watts: board power limit; None when unknown.
        idle_watts: None when unknown.
        max_gpus_per_node: how many one server holds.
        form_factor: as the source words it.
        mig_capable: whether it can be split in hardware.
        release_year: None when unknown.
        list_price_usd: purchase price, dated by `list_price_date`; None when unknown.
        source: where the row was read.
        confidence: "high", "medium" or "low".
        aliases: every other name it is known by (nvidia-smi, SkyPilot, gpuhunt, ...).
        scaleup_fabric: what joins it to its peers, as the source words it: "NVLink 4 (NVSwitch)", "PCIe", ...
        scaleup_domain_gpus: how many of them that fabric joins without options; 1 = PCIe only (or a bridge sold apart).
        as_of: the day on which the row was last checked.
        notes: conflicts between sources, and what was decided.
        part_of: the card that this is a slice or share of; empty = a card.
    """

    name: str
    vendor: str
    architecture: str
    compute_capability: str
    memory_bytes: int | None
    memory_marketed_bytes: int
    memory_bandwidth_bytes_per_second: float | None
    flop_per_second: dict[str, float]
    link_bytes_per_second: float | None
    pcie_bytes_per_second: float | None
    power_watts: float | None
    idle_watts: float | None
    max_gpus_per_node: int | None
    form_factor: str
    mig_capable: bool
    release_year: int | None
    list_price_usd: float | None
    list_price_date: date | None
    source: str
    confidence: str
    aliases: tuple[str, ...] = field(default=())
    scaleup_fabric: str = ""
    scaleup_domain_gpus: int = 1
    as_of: date | None = None
    notes: str = ""
    part_of: str = ""
