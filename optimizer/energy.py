"""From the watts of GPUs to what a deployment draws at the wall, costs in electricity and emits. Arithmetic, no facts.

    machine watts = gpu watts + host share * gpu limit        CPUs, fans, network cards
    wall watts    = machine watts * PUE                        cooling and power conversion of the room

PUE: ISO/IEC 30134-2, all energy of a data centre over that of its machines.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from optimizer.requirements import Frozen

JOULES_PER_KILOWATT_HOUR = 3_600_000
SECONDS_PER_HOUR = 3_600
MILLION = 1_000_000
KILO = 1_000

Ratio = Annotated[float, Field(ge=1, le=3, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Supply(Frozen):
    """Where the machines stand: what comes on top of GPUs' watts, and what a kilowatt-hour costs and emits.

    Attributes:
        host_share: what a machine draws beside its GPUs, over the power limits of its GPUs.
        pue: all power of the room over that of its machines.
        usd_per_kilowatt_hour: None = not known.
        grams_co2e_per_kilowatt_hour: None = not known.
        sources: where each number is from, with its day.
    """

    host_share: Share
    pue: Ratio
    usd_per_kilowatt_hour: NotNegative | None = None
    grams_co2e_per_kilowatt_hour: NotNegative | None = None
    sources: tuple[str, ...] = ()


class Energy(Frozen):
    """What serving draws, and what that costs and emits; None where a price or an intensity is not known.

    Attributes:
        gpu_watts: all GPUs. wall_watts: with hosts and the room.
        gpu_joules_per_output_token, wall_joules_per_output_token: at the throughput that goes with these watts.
        idle_gpu_watts: the same GPUs with nothing to do; None when not known.
    """

    gpu_watts: float
    wall_watts: float
    idle_gpu_watts: float | None
    gpu_joules_per_output_token: float
    wall_joules_per_output_token: float
    electricity_usd_per_hour: float | None
    electricity_usd_per_million_output_tokens: float | None
    grams_co2e_per_hour: float | None
    grams_co2e_per_million_output_tokens: float | None
    supply: Supply


class PurchaseEnergy(Frozen):
    """What a whole purchase draws while it serves, idle GPUs of its machines and hosts included.

    Attributes:
        gpu_watts: GPUs that serve under the planned load, and those that idle beside them.
        wall_watts: with hosts and rooms.
        gpu_joules_per_output_token, wall_joules_per_output_token: at the planned throughput.
        electricity_usd_per_hour, grams_co2e_per_hour, grams_co2e_per_million_output_tokens: None when the price or the
            carbon of one machine's place is not known. Rent includes its electricity.
        sources: where the numbers are from, with their days.
    """

    gpu_watts: float
    wall_watts: float
    gpu_joules_per_output_token: float
    wall_joules_per_output_token: float
    electricity_usd_per_hour: float | None
    grams_co2e_per_hour: float | None
    grams_co2e_per_million_output_tokens: float | None
    sources: tuple[str, ...]


@dataclass(frozen=True)
class MachineLoad:
    """What one kind of machine draws: watts of its GPUs under the load, the sum of their limits, and what is around."""

    gpu_watts: float
    limit_watts: float
    supply: Supply


def purchase_energy(loads: Sequence[MachineLoad], output_tokens_per_second: float) -> PurchaseEnergy:
    """The sum over all kinds of machine.

    >>> supply = Supply(host_share=0.5, pue=1.2, grams_co2e_per_kilowatt_hour=400)
    >>> purchase_energy([MachineLoad(gpu_watts=1000, limit_watts=1400, supply=supply)], 500).grams_co2e_per_hour
    816.0
    """
    used = [energy_of(load.gpu_watts, load.limit_watts, output_tokens_per_second, load.supply) for load in loads]
    gpu, wall = math.fsum(one.gpu_watts for one in used), math.fsum(one.wall_watts for one in used)
    return PurchaseEnergy(
        gpu_watts=gpu,
        wall_watts=wall,
        gpu_joules_per_output_token=gpu / output_tokens_per_second,
        wall_joules_per_output_token=wall / output_tokens_per_second,
        electricity_usd_per_hour=_summed([one.electricity_usd_per_hour for one in used]),
        grams_co2e_per_hour=_summed([one.grams_co2e_per_hour for one in used]),
        grams_co2e_per_million_output_tokens=_summed([one.grams_co2e_per_million_output_tokens for one in used]),
        sources=tuple(dict.fromkeys(source for load in loads for source in load.supply.sources)),
    )


def _summed(amounts: Sequence[float | None]) -> float | None:
    """None when one is not known."""
    known = [amount for amount in amounts if amount is not None]
    return math.fsum(known) if len(known) == len(amounts) else None


def energy_of(
    gpu_watts: float,
    limit_watts: float,
    output_tokens_per_second: float,
    supply: Supply,
    idle_gpu_watts: float | None = None,
) -> Energy:
    """What a deployment draws while it serves.

    Args:
        gpu_watts: of all GPUs together under this load.
        limit_watts: the sum of their power limits.
        output_tokens_per_second: of all of them.
        supply: what stands around them.
        idle_gpu_watts: of all GPUs together with nothing to do.

    Raises:
        ValueError: no tokens are generated.

    >>> supply = Supply(host_share=0.5, pue=1.2, usd_per_kilowatt_hour=0.1, grams_co2e_per_kilowatt_hour=400)
    >>> used = energy_of(1000, 1400, 500, supply)
    >>> used.wall_watts, used.gpu_joules_per_output_token, round(used.electricity_usd_per_hour, 3)
    (2040.0, 2.0, 0.204)
    """
    if not output_tokens_per_second > 0:
        raise ValueError(f"Energy per token needs tokens, not {output_tokens_per_second} per second.")
    wall = wall_watts(gpu_watts, limit_watts, supply)
    kilowatt_hours = wall / KILO
    million_seconds = MILLION / output_tokens_per_second
    per_million = wall * million_seconds / JOULES_PER_KILOWATT_HOUR
    price, grams = supply.usd_per_kilowatt_hour, supply.grams_co2e_per_kilowatt_hour
    return Energy(
        gpu_watts=gpu_watts,
        wall_watts=wall,
        idle_gpu_watts=idle_gpu_watts,
        gpu_joules_per_output_token=gpu_watts / output_tokens_per_second,
        wall_joules_per_output_token=wall / output_tokens_per_second,
        electricity_usd_per_hour=_times(kilowatt_hours, price),
        electricity_usd_per_million_output_tokens=_times(per_million, price),
        grams_co2e_per_hour=_times(kilowatt_hours, grams),
        grams_co2e_per_million_output_tokens=_times(per_million, grams),
        supply=supply,
    )


def wall_watts(gpu_watts: float, limit_watts: float, supply: Supply) -> float:
    """Watts at the meter of the room."""
    return (gpu_watts + supply.host_share * limit_watts) * supply.pue


def _times(amount: float, rate: float | None) -> float | None:
    return None if rate is None else amount * rate
