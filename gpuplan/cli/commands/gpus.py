"""`plan gpus`: every GPU that is known, as a table one can filter and sort."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpu_db.gpu import Gpu
from gpuplan.cli import console, words
from gpuplan.cli.options import PRINTING, Asked, asked_in, flag, option, several

if TYPE_CHECKING:
    from gpu_db.offer import Offer

SUMMARY = "Every GPU that is known: memory, speed, power and its cheapest price."
SORTS = ("name", "vendor", "memory", "bandwidth", "bf16", "fp8", "power", "year", "price")
EXAMPLES = ("plan gpus --vendor nvidia --min-memory 80 --sort price", "plan gpus --name h100", "plan gpus --json")
WHICH = "Which"


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedGpu(Gpu):
    """A GPU and the cheapest that anybody can rent it for, on demand; one object of `plan gpus --json`.

    Attributes:
        cheapest_usd_per_gpu_hour: of one GPU in the cheapest machine; None = nobody's price is known.
        cheapest_offer_id: that machine.
        cheapest_as_of: the day on which its price was read.
    """

    cheapest_usd_per_gpu_hour: float | None
    cheapest_offer_id: str | None
    cheapest_as_of: date | None


Name = Annotated[str | None, option("--name", "Only GPUs whose name or alias contains this", words.name, "NAME", WHICH)]
Vendors = Annotated[list[str] | None, several("--vendor", "Only these vendors", "NAME", WHICH)]
Architectures = Annotated[list[str] | None, several("--architecture", "Only these architectures", "NAME", WHICH)]
MinMemory = Annotated[int | None, option("--min-memory", "At least this many GiB", words.gibibytes, "GIB", WHICH)]
MaxPrice = Annotated[
    float | None, option("--max-price", "At most this, in USD per GPU and hour", words.price, "USD", WHICH)
]
Sort = Annotated[str, option("--sort", "The column to sort by", words.name, "COLUMN", PRINTING, SORTS)]
Json = Annotated[bool, flag("--json", "A list of objects, in base units", PRINTING)]


def command(
    context: typer.Context,
    name: Name = None,
    vendor: Vendors = None,
    architecture: Architectures = None,
    min_memory: MinMemory = None,
    max_price: MaxPrice = None,
    sort: Sort = "vendor",
    json: Json = False,
) -> int:
    """Every GPU that is known: memory, speed, power and its cheapest price.

    Memory is what the driver shows, in GiB; rates are dense; the price is the cheapest on-demand price of one GPU in a
    machine that anybody can rent (USD per GPU and hour), with its date.
    """
    return run(asked_in(context))


def run(asked: Asked) -> int:
    """Print the GPUs that were asked for."""
    from gpu_db.load import load_gpus, load_offers

    prices = cheapest_prices(load_offers())
    rows = [row_of(gpu, prices.get(gpu.name)) for gpu in load_gpus().values()]
    rows = sorted((row for row in rows if wanted(row, asked)), key=lambda row: sort_key(row, asked.sort))
    console.show_rows(rows, lambda ink: table(rows, ink), as_json=asked.json)
    return 0


def cheapest_prices(offers: Iterable[Offer]) -> dict[str, Offer]:
    """GPU name -> the offer with the least price per GPU among those that anybody can rent on demand."""
    cheapest: dict[str, Offer] = {}
    for offer in offers:
        if offer.billing == "on-demand" and not offer.restrictions:
            best = cheapest.get(offer.gpu)
            if best is None or _per_gpu(offer) < _per_gpu(best):
                cheapest[offer.gpu] = offer
    return cheapest


def _per_gpu(offer: Offer) -> float:
    return offer.price_usd_per_hour / offer.gpu_count


def row_of(gpu: Gpu, offer: Offer | None) -> dict[str, Any]:
    """One GPU as the object that `--json` prints: its own fields in base units, and its cheapest offer."""
    priced = PricedGpu(
        **asdict(gpu),
        cheapest_usd_per_gpu_hour=_per_gpu(offer) if offer else None,
        cheapest_offer_id=offer.offer_id if offer else None,
        cheapest_as_of=offer.as_of if offer else None,
    )
    return asdict(priced)


def wanted(row: Mapping[str, Any], asked: Asked) -> bool:
    """Whether a GPU passes every filter."""
    return (
        (asked.name is None or any(contains(word, asked.name) for word in (row["name"], *row["aliases"])))
        and (asked.vendor is None or row["vendor"].casefold() in folded(asked.vendor))
        and (asked.architecture is None or row["architecture"].casefold() in folded(asked.architecture))
        and (asked.min_memory is None or (row["memory_bytes"] or 0) >= asked.min_memory)
        and (asked.max_price is None or (row["cheapest_usd_per_gpu_hour"] or float("inf")) <= asked.max_price)
    )


def contains(text: str, part: str) -> bool:
    """Whether `part` is in `text`, whatever the case."""
    return part.casefold() in text.casefold()


def folded(names: Iterable[str]) -> set[str]:
    """Names without their case."""
    return {name.casefold() for name in names}


def sort_key(row: Mapping[str, Any], sort: str) -> tuple[Any, ...]:
    """Numbers from large to small, prices from small to large, unknown ones last; then vendor and name."""
    rates = row["flop_per_second"]
    numbers = {
        "memory": row["memory_bytes"],
        "bandwidth": row["memory_bandwidth_bytes_per_second"],
        "bf16": rates.get("bf16"),
        "fp8": rates.get("fp8"),
        "power": row["power_watts"],
        "year": row["release_year"],
        "price": row["cheapest_usd_per_gpu_hour"],
    }
    name = (row["vendor"], row["architecture"], row["name"])
    if sort in numbers:
        number = numbers[sort]
        return (number is None, (number or 0) * (1 if sort == "price" else -1), *name)
    return (row["name"],) if sort == "name" else name


def table(rows: list[dict[str, Any]], ink: console.Ink) -> list[console.Line]:
    """The GPUs as aligned columns."""
    names = ["GPU", "architecture", "GiB", "TB/s", "bf16 TFLOP/s", "fp8", "link GB/s", "W", "year", "USD/h", "as of"]
    cells = [console.header(names)]
    for row in rows:
        cells.append([row["name"], console.Styled(row["architecture"], "dim"), *_numbers(row)])
    spare = [names.index(name) for name in ("year", "architecture", "link GB/s", "fp8", "W")]
    return [*console.fitted(cells, ink, range(2, 10), spare), (), (f"  {len(rows)} GPUs",)]


def _numbers(row: Mapping[str, Any]) -> list[console.Part]:
    rates = row["flop_per_second"]
    return [
        scaled(row["memory_bytes"], console.GIB, 1),
        scaled(row["memory_bandwidth_bytes_per_second"], 1e12, 2),
        scaled(rates.get("bf16"), 1e12, 0),
        scaled(rates.get("fp8"), 1e12, 0),
        scaled(row["link_bytes_per_second"], 1e9, 0),
        scaled(row["power_watts"], 1, 0),
        str(row["release_year"] or ""),
        console.usd(row["cheapest_usd_per_gpu_hour"]) if row["cheapest_usd_per_gpu_hour"] is not None else "",
        console.Styled(str(row["cheapest_as_of"] or ""), "dim"),
    ]


def scaled(number: float | None, unit: float, decimals: int) -> str:
    """A number in a larger unit; nothing when it is not known."""
    return "" if number is None else f"{number / unit:,.{decimals}f}"
