"""Each word of a fleet file three times: what it allows, what it forbids, and what just passes.

The market is small enough to say by hand which machines the cheapest plan has: see small_market.py.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import pytest

from catalog.errors import CatalogError
from catalog.find import find_model
from gpu_db.errors import GpuDbError
from gpu_db.ownership import load_systems, power_usage_effectiveness
from gpuplan.errors import GpuplanError
from gpuplan.fleets import vocabulary
from gpuplan.fleets.planning import formats_above
from optimizer.errors import OptimizerError
from optimizer.fleet.services import QUOTA_UNITS, Service, with_shared_replicas
from optimizer.requirements import Demand, LoraAdapters
from tests.gpuplan.fleets.small_market import (
    MODEL,
    capacity,
    fastest,
    fleet_of,
    machines,
    offer,
    planned,
    served,
    words,
)

TWO_MODELS = [MODEL, "Qwen/Qwen3-32B"]
SYSTEM = "8x H100 SXM HGX server"


@dataclass(frozen=True)
class Case:
    """One fleet, and what its plan must be.

    Attributes:
        services: their words.
        gives: machines by offer; or names of the services served; or words of the refusal; or what `seen` finds.
        rest: the words beside the services.
    """

    services: list[dict[str, Any]]
    gives: Any
    rest: dict[str, Any]


def case(gives: Any, *services: dict[str, Any], **rest: Any) -> Case:
    return Case(list(services) or [words()], gives, rest)


def one(gives: Any, machines: float = 3.0, **more: Any) -> Case:
    """A single service with these words."""
    return case(gives, words(machines=machines, **more))


def replica(word: str, plan: Any) -> Any:
    """What all replicas of a plan have in common."""
    found = {getattr(each.replica, word) for answer in plan.services for each in answer.serving}
    return found.pop() if len(found) == 1 else found or None


def seen(plan: Any, gives: Any) -> Any:
    """Of a plan, what a case speaks of."""
    if isinstance(gives, set):
        return served(plan)
    if isinstance(gives, tuple):
        return (gives[0], replica(gives[0], plan))
    return machines(plan) if isinstance(gives, dict) else round(plan.cost_usd_per_hour, 6)


CHEAP, NONE = {"cheap": 3}, {}
SPOT = {"billing": ["on-demand", "spot"]}
TWO = (words("a"), words("b"))
OWNED = {"name": "o", "gpu": "L40S", "gpus": 1, "machines": 3}
LONE = {"budget": 3}
LORA = {"max_lora_rank": 8, "max_loras": 1}


SMALL = tuple(words(name, model="llama-3.2-1b", min_tps=100, gpu="H100") for name in "abc")


def group(first: str, second: str) -> tuple[dict[str, Any], ...]:
    """Two services of almost half a machine each, in these groups."""
    return tuple(words(name, 0.45, shares_replicas=of, **LORA) for name, of in (("a", first), ("b", second)))


def quota(kind: str, name: str, most: int) -> dict[str, Any]:
    return {"limits": {kind: {name: most}}}


def owned(gives: Any, service: dict[str, Any] | None = None, **change: Any) -> Case:
    return case(gives, service or words(), owned=[OWNED | change])


def bought(gives: Any, **terms: Any) -> Case:
    """A demand for many H100, whose price for rent is 20 USD/h each."""
    purchase = {"systems": SYSTEM, "usd_per_kwh": 0.1} | terms
    return case(gives, words(machines=20, gpu="H100"), buying={"purchase": purchase})


def of_a_server(years: float = 4, upkeep: float = 0.0, usd_per_kwh: float = 0.1, room: str = "colo") -> float:
    """USD per hour of one bought server, worked out from its row of the table."""
    system = next(each for each in load_systems() if each.name == SYSTEM)
    kilowatts = system.power_watts / 1000 * power_usage_effectiveness(room).value
    return round(system.price_typical_usd * (1 / years + upkeep) / 8760 + kilowatts * usd_per_kwh, 6)


def dearer(plan: Any) -> bool:
    """Whether everything is served, for more than three cheap machines cost."""
    return served(plan) == {"chat"} and plan.cost_usd_per_hour > 3.0


def of_8_bits(plan: Any) -> bool:
    return replica("weight_format", plan) in {"fp8", "int8"}


def adapters(number: int) -> Callable[[Any], bool]:
    """Whether so many adapters of rank 64 have room on every replica."""
    one_of_them = capacity_of_an_adapter()
    return lambda plan: all(
        each.memory.adapter_bytes == number * one_of_them for answer in plan.services for each in answer.serving
    )


def capacity_of_an_adapter() -> int:
    """Bytes of one adapter of rank 64: (inputs + outputs) x rank x 2 bytes of every linear layer.

    Of Llama-3.1-8B: query and output 4096 + 4096, key and value 4096 + 1024, gate, up and down 4096 + 14336.
    """
    return 32 * (2 * (4096 + 4096) + 2 * (4096 + 1024) + 3 * (4096 + 14336)) * 64 * 2


def only(name: str) -> Callable[[Any], bool]:
    return lambda plan: set(machines(plan)) == {name}


RATE = capacity(requests_per_second=0.01)[0] / 512
FLIGHT = capacity(concurrency=1000)[1]
WATTS = round(planned([words()], limits={"max_power": "1MW"}).limits[0].used)
TRIOS: dict[str, tuple[Case, Case, Case]] = {
    # what a service is and asks for
    "model": (
        one(("model", "meta-llama/Llama-3.1-8B-Instruct"), model=TWO_MODELS),
        one("no-such-model", model="no-such-model"),
        one(("model", "Qwen/Qwen3-32B"), 0.1, model=TWO_MODELS[1:]),
    ),
    "name": (case({"a", "b"}, *TWO), case("names must differ", TWO[0], TWO[0]), case({"a", "A"}, TWO[0], words("A"))),
    "isl": (one(CHEAP, isl=1024), one("longer than the context", isl="200k"), one(dearer, isl="4k")),
    "osl": (one(CHEAP, osl=512), one("longer than the context", osl="200k"), one(dearer, isl=100, osl="6k")),
    "sizes": (
        one(CHEAP, sizes="1024/512:1"),
        one("longer than the context", sizes="1024/512:9, 200k/100:1"),
        one(dearer, sizes="1024/512:3, 4k/512:1"),
    ),
    "min_tps": (one(CHEAP, 3.0), one({"cheap": 4}, 3.05), one(CHEAP, 2.95)),
    "requests_per_second": (
        one({"cheap": 1}, requests_per_second=0.99 * RATE),
        one({"cheap": 2}, requests_per_second=1.01 * RATE),
        one({"cheap": 1}, requests_per_second=0.01),
    ),
    "concurrency": (
        one(CHEAP, concurrency=3 * FLIGHT),
        one({"cheap": 4}, concurrency=3 * FLIGHT + 1),
        one(CHEAP, concurrency=3 * FLIGHT - 1),
    ),
    # its promises
    "max_ttft": (
        one({"chat"}, 0.01, max_ttft=1.001 * fastest("ttft_seconds")),
        one(set(), 0.01, max_ttft=0.999 * fastest("ttft_seconds")),
        one(CHEAP, max_ttft="60s"),
    ),
    "max_tpot": (
        one({"chat"}, 0.01, max_tpot=1.001 * fastest("tpot_seconds")),
        one(set(), 0.01, max_tpot=0.999 * fastest("tpot_seconds")),
        one(dearer, max_tpot="20ms"),
    ),
    "percentile": (
        one({"chat"}, requests_per_second=6, max_ttft="1s", percentile=50),
        one("percentile is of requests that come at random", max_ttft="1s", percentile=50),
        one({"chat"}, requests_per_second=6, max_ttft="1s", percentile=99.9),
    ),
    "confidence": (one(CHEAP, confidence="50%"), one(dearer, confidence="95%"), one("confidence", confidence="100%")),
    # what its replicas may be
    "quantization": (
        one(("weight_format", "bf16"), quantization="bf16"),
        one("cannot be had in fp9 weights", quantization="fp9"),
        one(of_8_bits, quantization="bf16,fp8"),
    ),
    "quantization_floor": (
        one(("weight_format", "bf16"), quantization_floor="bf16"),
        one("below the floor bf16", quantization_floor="bf16", quantization="fp8"),
        one(of_8_bits, quantization_floor="fp8"),
    ),
    "kv_cache_dtype": (
        one(("kv_cache_format", "fp8"), kv_cache_dtype="fp8"),
        one("'int4' is no KV-cache format; kv_cache_dtype takes", kv_cache_dtype="int4"),
        one(("kv_cache_format", "bf16"), kv_cache_dtype="auto"),
    ),
    "engine": (
        one(("engine", "sglang"), engine="sglang"),
        one("No engine is called 'x'", engine="x"),
        one(("engine", "vllm"), engine="vllm==0.33.0"),
    ),
    "max_model_len": (
        one(("max_model_len", 8000), max_model_len="8k"),
        one("max_model_len 1535 must lie between one request", max_model_len=1535),
        one(("max_model_len", 1536), max_model_len=1536),
    ),
    "tensor_parallel": (
        one({"pair": 2}, tensor_parallel=2),
        one(NONE, tensor_parallel=3),
        one(CHEAP, tensor_parallel=1),
    ),
    "pipeline_parallel": (
        one({"pair": 2}, pipeline_parallel=2),
        one(NONE, pipeline_parallel=3),
        one(CHEAP, pipeline_parallel=1),
    ),
    "max_lora_rank": (one(CHEAP, max_lora_rank=16), one("not 17", max_lora_rank=17), one(CHEAP, max_lora_rank=1)),
    "max_loras": (
        one(adapters(1), max_lora_rank=64, max_loras=1),
        one("is not a whole number from 1", max_lora_rank=8, max_loras=0),
        one(adapters(8), max_lora_rank=64, max_loras=8),
    ),
    "shares_replicas": (
        case({"cheap": 1}, *group("base", "base")),
        case({"cheap": 2}, *group("base", "other")),
        case("share replicas and differ in model", group("g", "g")[0], group("g", "g")[1] | {"gpu": "L40S"}),
    ),
    # where they may stand
    "gpu": (one({"big": 1}, 2, gpu="H100"), one(NONE, gpu="T4"), one(CHEAP, gpu="H100,L40S")),
    "exclude_gpu": (
        one(CHEAP, exclude_gpu="H100"),
        one({"big": 1}, 2, exclude_gpu="L40S"),
        one(CHEAP, exclude_gpu="T4"),
    ),
    "provider": (one(CHEAP, provider="acme"), one({"dear": 3}, provider="brand"), one(CHEAP, provider="acme,brand")),
    "region": (one(CHEAP, region="eu"), one({"dear": 3}, region="us"), one(CHEAP, region="eu,us")),
    # who is served first
    "required": (
        case({"b"}, words("a", priority=9), words("b", required="yes"), limits=LONE),
        case({"a"}, words("a", priority=9), words("b", required="no"), limits=LONE),
        case(set(), words("a", required="yes"), words("b", required="yes"), limits=LONE),
    ),
    "priority": (
        case({"a"}, words("a", priority=2), words("b", priority=1), limits=LONE),
        case({"b"}, words("a", priority=1), words("b", priority=2), limits=LONE),
        case({"b"}, words("a", priority=-1), words("b"), limits=LONE),
    ),
    "weight": (
        case({"b"}, words("a"), words("b", weight=2), limits=LONE),
        case({"a"}, words("a", weight=2), words("b"), limits=LONE),
        case({"a"}, words("a", priority=1), words("b", weight=9), limits=LONE),
    ),
    # how many, and of what they may be lost
    "min_replicas": (one({"cheap": 4}, min_replicas=4), one(CHEAP, min_replicas=3), one(CHEAP, min_replicas=1)),
    "survive_losing_one_machine": (
        one({"cheap": 4}, survive_losing_one_machine="yes"),
        one(CHEAP, survive_losing_one_machine="no"),
        one({"cheap": 2}, 1.0, survive_losing_one_machine="yes"),
    ),
    "spot_share": (
        case({"cheap": 2, "spot": 1}, words(spot_share="34%"), buying=SPOT),
        case(CHEAP, words(spot_share=0), buying=SPOT),
        case({"spot": 3}, words(spot_share=1), buying=SPOT),
    ),
    # shared limits
    "limits.budget": (
        case({"chat"}, limits={"budget": 3}),
        case(set(), limits={"budget": 2.99}),
        case({"chat"}, limits={"budget": 3.01}),
    ),
    "limits.max_gpus": (
        case({"cheap": 2}, words(machines=2), limits={"max_gpus": 2}),
        case({"big": 1}, words(machines=2), limits={"max_gpus": 1}),
        case({"cheap": 2}, words(machines=2), limits={"max_gpus": 3}),
    ),
    "limits.max_power": (
        case(CHEAP, limits={"max_power": WATTS}),
        case(NONE, limits={"max_power": "99W"}),
        case(dearer, limits={"max_power": WATTS - 1}),
    ),
    "limits.gpu": (
        case({"cheap": 2}, words(machines=2), **quota("gpu", "L40S", 2)),
        case({"big": 1}, words(machines=2), **quota("gpu", "L40S", 0)),
        case({"big": 1}, words(machines=2), **quota("gpu", "L40S", 1)),
    ),
    "limits.instance_type": (
        case(CHEAP, **quota("instance_type", "cheap-type", 3)),
        case({"dear": 3}, **quota("instance_type", "cheap-type", 0)),
        case({"cheap": 2, "dear": 1}, **quota("instance_type", "cheap-type", 2)),
    ),
    "limits.provider": (
        case(CHEAP, **quota("provider", "acme", 3)),
        case({"dear": 3}, **quota("provider", "acme", 0)),
        case({"cheap": 2, "dear": 1}, **quota("provider", "acme", 2)),
    ),
    "limits.region": (
        case(CHEAP, **quota("region", "eu", 3)),
        case({"dear": 3}, **quota("region", "eu", 0)),
        case({"cheap": 2, "dear": 1}, **quota("region", "eu", 2)),
    ),
    # how machines are paid
    "buying.billing": (
        case({"reserved": 3}, buying={"billing": ["on-demand", "reserved-1y"]}),
        case(NONE, buying={"billing": "reserved-3y"}),
        case({"spot": 3}, buying=SPOT),
    ),
    "buying.spot_share": (
        case({"spot": 3}, buying=SPOT | {"spot_share": 1}),
        case(CHEAP, words(spot_share=1), buying=SPOT | {"spot_share": 0}),
        case({"cheap": 2, "spot": 1}, buying=SPOT | {"spot_share": "66%"}),
    ),
    "buying.allow": (
        case({"bound": 3}, buying={"allow": "minimum-purchase"}),
        case(CHEAP, buying={"allow": "marketplace"}),
        case(CHEAP, buying={}),
    ),
    "buying.purchase": (
        bought({f"purchased/{SYSTEM}": 1}),
        case(only("big"), words(machines=20, gpu="H100"), buying={"purchase": False}),
        case(CHEAP, buying={"purchase": {}}),
    ),
    "purchase.years": (bought(of_a_server()), bought("years", years=11), bought(of_a_server(years=10), years=10)),
    "purchase.usd_per_kwh": (
        bought(of_a_server(usd_per_kwh=0.3), usd_per_kwh=0.3),
        bought("usd_per_kwh", usd_per_kwh=6),
        bought(of_a_server(usd_per_kwh=0), usd_per_kwh=0),
    ),
    "purchase.place": (
        bought(of_a_server(), place="de"),
        bought("No electricity price", place="xx", usd_per_kwh=None),
        bought(of_a_server(), place="us"),
    ),
    "purchase.room": (
        bought(of_a_server(room="cloud"), room="cloud"),
        bought("No ", room="shed"),
        bought(of_a_server(), room="colo"),
    ),
    "purchase.upkeep_per_year": (
        bought(of_a_server(upkeep=0.1), upkeep_per_year="10%"),
        bought("upkeep_per_year", upkeep_per_year="120%"),
        bought(of_a_server(), upkeep_per_year=0),
    ),
    "purchase.systems": (
        bought({f"purchased/{SYSTEM}": 1}),
        bought("No system named", systems="x"),
        bought(only("big"), systems="DGX Spark"),
    ),
    # machines that are there
    "owned.name": (
        owned({"owned/o": 3}),
        case("names must differ", owned=[OWNED, OWNED]),
        case(
            {"owned/p": 2, "owned/o": 1},
            owned=[OWNED | {"machines": 1, "usd_per_hour": 0.1}, OWNED | {"name": "p", "machines": 2}],
        ),
    ),
    "owned.gpu": (owned({"owned/o": 3}, gpu="L40S"), owned("No GPU named", gpu="L41S"), owned(CHEAP, gpu="T4")),
    "owned.gpus": (
        owned({"owned/o": 1}, gpus=8, machines=1),
        owned("gpus", gpus=0),
        owned({"owned/o": 2}, gpus=2, usd_per_hour=0.1),
    ),
    "owned.machines": (owned({"owned/o": 3}), owned(CHEAP, machines=0), owned({"owned/o": 2, "cheap": 1}, machines=2)),
    "owned.usd_per_hour": (
        owned(0.3, usd_per_hour=0.1),
        owned(CHEAP, usd_per_hour=1.01),
        owned({"owned/o": 3}, usd_per_hour=0.99),
    ),
    "owned.region": (
        owned({"owned/o": 3}, words(region="us"), region="us"),
        owned(CHEAP, words(region="eu"), region="us"),
        owned({"owned/o": 3}, words(region="eu"), region="eu"),
    ),
    # several replicas on one GPU
    "share_gpus": (
        case({"big": 1}, *SMALL, share_gpus=["mig"]),
        case("is none of mig, fractions", share_gpus="halves"),
        case({"big": 1}, *SMALL, share_gpus="fractions"),
    ),
}
ELSEWHERE = {"name", "services", "defaults", "offers", "demand"}
"""Words beside the services that are no rules: test_fleet_file.py, test_cli_fleet.py, test_fleet_calendar.py."""


def words_of_the_file() -> set[str]:
    """Every word that a fleet file may have, by its place."""
    places = {
        "limits": vocabulary.LIMITS,
        "buying": vocabulary.BUYING,
        "purchase": vocabulary.PURCHASE,
        "owned": vocabulary.OWNED,
    }
    inner = {f"{place}.{word}" for place, known in places.items() for word in known}
    quotas = {f"limits.{kind}" for kind in QUOTA_UNITS}
    single = set(vocabulary.TOP) - ELSEWHERE - set(places)
    return set(vocabulary.SERVICE) | inner | quotas | {"buying.purchase"} | single


def test_every_word_of_a_fleet_file_has_its_three_cases():
    assert set(TRIOS) == words_of_the_file()


@pytest.mark.parametrize("place", [0, 1, 2], ids=["allowed", "forbidden", "neighbour"])
@pytest.mark.parametrize("word", TRIOS)
def test_a_rule_allows_forbids_and_just_passes(word, place):
    asked = TRIOS[word][place]
    if isinstance(asked.gives, str):
        with pytest.raises((CatalogError, GpuDbError, GpuplanError, OptimizerError), match=asked.gives):
            planned(asked.services, **asked.rest)
        return
    plan = planned(asked.services, **asked.rest)
    assert asked.gives(plan) if callable(asked.gives) else seen(plan, asked.gives) == asked.gives
    assert all(limit.used <= limit.most for limit in plan.limits)


def test_small_models_share_no_gpu_unless_it_is_asked_for():
    alone, shared = planned(SMALL), planned(SMALL, share_gpus=["mig"])
    assert (machines(alone), machines(shared)) == ({"big": 3}, {"big": 1})
    (line,) = shared.machines
    cut = Counter(part for one in line.cuts for part in one.parts)
    assert Counter(each.part for each in line.carries) <= cut


def test_a_lost_machine_takes_spot_replicas_or_steady_ones_and_not_both():
    """Of five alike, three of them steady, any one may be lost: the audit agrees."""
    asked = words(machines=2.0, survive_losing_one_machine="yes", min_replicas=2, spot_share="50%")
    assert machines(planned([asked], buying=SPOT)) == {"cheap": 2, "spot": 1}


def test_no_more_machines_of_a_bulk_offer_are_had_than_its_least_number_or_none():
    def market():
        from dataclasses import replace

        return (replace(offer("bulk", 0.7), minimum_count=4), offer("cheap", 1.0))

    assert machines(planned([words(machines=4)], market=market)) == {"bulk": 4}
    assert machines(planned([words(machines=2)], market=market)) == {"cheap": 2}
    assert machines(planned([words(machines=3)], market=market)) == {"bulk": 4}


def test_comparing_fewer_replicas_with_each_other_leaves_the_optimum():
    limits = {"max_power": "2kW"}
    pair = [words("a", 1.3), words("b", 2.2, isl="2k")]
    whole = planned(pair, limits=limits)
    with patch("optimizer.fleet.dominance.PAIRS_MOST", 1):
        assert planned(pair, limits=limits).cost_usd_per_hour == whole.cost_usd_per_hour


def test_a_group_has_room_for_all_adapters_and_keeps_the_tightest_promise():
    first = words("a", max_lora_rank=8, max_loras=2, shares_replicas="g")
    second = first | {"name": "b", "isl": 100, "osl": 50, "max_tpot": "20ms"}
    asked = fleet_of([first, second])
    (together,) = with_shared_replicas(asked).services
    assert together.options.adapters == LoraAdapters(rank=8, loaded=4)
    assert together.service_level.tpot_seconds == 0.02
    assert together.requests_per_second == pytest.approx(sum(one.requests_per_second for one in asked.services))


@pytest.mark.parametrize(("floor", "kept"), [("bf16", {"bf16"}), ("fp8", {"bf16", "fp8", "int8"}), (None, None)])
def test_a_floor_admits_formats_of_no_fewer_bits(floor, kept):
    asked = Service(name="a", models=(MODEL,), demand=Demand(concurrency=1), weight_format_floor=floor)
    found = formats_above(find_model(MODEL), asked)
    assert (None if found is None else set(found)) == kept
