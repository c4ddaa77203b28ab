"""Options of where machines stand -> Place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from gpuplan.cli import words
from gpuplan.cli.options import Asked, option

if TYPE_CHECKING:
    from gpuplan.electricity import Place

PLACE = "Where it stands (energy, carbon)"

Grid = Annotated[
    float | None,
    option("--grid", "Grams of CO2e per kWh (default the region's)", words.per_kilowatt_hour, "GRAMS", PLACE),
]
Electricity = Annotated[
    float | None,
    option("--electricity", "USD per kWh (default the region's usual)", words.per_kilowatt_hour, "USD", PLACE),
]
Pue = Annotated[
    float | None,
    option("--pue", "All power of the room over that of its machines (default 1.2)", words.pue, "RATIO", PLACE),
]


def place_of(asked: Asked, region: str | None = None) -> Place:
    """What was typed of the place, as a Place."""
    from gpuplan.electricity import Place

    return Place(
        region=region,
        pue=asked.pue,
        usd_per_kilowatt_hour=asked.electricity,
        grams_co2e_per_kilowatt_hour=asked.grid,
    )
