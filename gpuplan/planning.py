"""Look up the data, then solve: what every face calls, the Python one included."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

from gpuplan.errors import nearest
from optimizer.errors import BadRequirements
from optimizer.requirements import EngineOptions, LoraAdapters, Objective, Requirements

if TYPE_CHECKING:
    from catalog.model import ModelSpec
    from gpu_db.gpu import Gpu
    from gpu_db.offer import Offer
    from gpuplan.electricity import Place
    from optimizer.engines.engine import Engine
    from optimizer.performance.factors import Factors
    from optimizer.plan import Plan
    from optimizer.search import MachineTables

ROOT = Path(__file__).resolve().parent.parent
DATA_FOLDERS = (
    "gpu_db/data",
    "catalog/data",
    "optimizer/engines/data",
    "optimizer/memory/data",
    "optimizer/performance/data",
)


def plan(
    requirements: Requirements,
    *,
    offers_file: str | Path | None = None,
    factors_dir: str | Path | None = None,
    today: date | None = None,
    offline: bool = False,
    place: Place | None = None,
    prices_as_of: date | None = None,
) -> Plan:
    """Answer one question from the bundled data and the asker's own offers.

    The network is asked for one thing: a model that is not bundled, on the Hub.

    Args:
        requirements: the question.
        offers_file: a CSV of own machines and negotiated prices, which add to or override the bundled ones.
        factors_dir: a folder that `plan fit serving` wrote; None = the bundled factors.
        today: the day that prices are judged by for age; None asks the clock.
        offline: whether the Hub may not be asked; what was read of it before still counts.
        place: what is known better of electricity and rooms than the bundled facts; regions are those of the offers.
        prices_as_of: plan with the last prices that had been read by the end of this day; None = the newest.

    Returns:
        The plan, with warnings for prices that have grown old and what is odd about the model. `status` is
        "infeasible" when nothing fits.

    Raises:
        BadRequirements: the question leaves out what it needs or contradicts itself.
        catalog.errors.CatalogError: the model is unknown, cannot be had, or its config cannot be read.
        gpu_db.errors.GpuDbError: a GPU, provider or region is unknown, or the offers file cannot be read.
        optimizer.performance.factors.BadFactors: the factors cannot be read.

    >>> from optimizer.requirements import Demand, Requirements
    >>> answer = plan(Requirements(model="llama-3.1-8b", demand=Demand(output_tokens_per_second=100)))
    >>> answer.status
    'optimal'
    """
    facts = load_facts(offers_file=offers_file, factors_dir=factors_dir, prices_as_of=prices_as_of)
    judged_on = today or min(prices_as_of or date.max, date.today())
    return answer(requirements, facts, today=judged_on, offline=offline, place=place)


@dataclass(frozen=True)
class Facts:
    """What is the same for every question of one run: read once, asked often.

    Attributes:
        offers: bundled machines and the asker's own.
        gpus: by name.
        factors: of the performance model.
        data_fingerprint: of all bundled data.
        tables: what is the same for every model, worked out when it is first needed.
    """

    offers: tuple[Offer, ...]
    gpus: dict[str, Gpu]
    factors: Factors
    data_fingerprint: str
    tables: MachineTables


def load_facts(
    *,
    offers_file: str | Path | None = None,
    factors_dir: str | Path | None = None,
    prices_as_of: date | None = None,
) -> Facts:
    """Read the bundled data and the asker's own files; arguments and errors are those of `plan`."""
    from gpu_db.load import load_gpus
    from optimizer.performance.factors import load_factors
    from optimizer.search import MachineTables

    offers, gpus = _offers(offers_file, prices_as_of), load_gpus()
    factors = load_factors(None if factors_dir is None else Path(factors_dir))
    return Facts(offers, gpus, factors, data_fingerprint(), MachineTables(offers, gpus, factors))


def answer(
    requirements: Requirements,
    facts: Facts,
    *,
    today: date | None = None,
    offline: bool = False,
    place: Place | None = None,
    brief: bool = False,
) -> Plan:
    """Answer one question from facts that were read before; arguments and errors are those of `plan`.

    `brief` leaves out what every other GPU could do.
    """
    _check_demand(requirements)
    from catalog.find import find_model
    from gpuplan import __version__
    from gpuplan.electricity import Place, with_energy
    from optimizer.solve import solve

    spec = find_model(requirements.model, requirements.revision, offline=offline)
    asked = requirements.model_copy(update={"options": with_adapter(requirements.options, spec)})
    named = _engines(requirements.choices.engines)
    draft = draft_of(asked.options, offline=offline)
    check_options(asked, spec, named, draft)
    solved = solve(
        in_known_names(asked, spec, named),
        spec,
        facts.offers,
        facts.gpus,
        _with_the_others(named),
        facts.factors,
        draft=draft,
        gpuplan_version=__version__,
        data_fingerprint=facts.data_fingerprint,
        tables=facts.tables,
        brief=brief,
    )
    powered = with_energy(_as_asked(solved, requirements, spec), facts.gpus, facts.factors, place or Place())
    return _with_age_warnings(powered, facts.offers, today or date.today())


def _as_asked(solved: Plan, requirements: Requirements, spec: ModelSpec) -> Plan:
    """A plan with the question in the asker's words, and what is odd about the model."""
    return solved.model_copy(
        update={
            "question": requirements,
            "model_revision": spec.revision or None,
            "warnings": (*spec.notes, *solved.warnings, *_published(solved)),
        }
    )


def _published(solved: Plan) -> Iterator[str]:
    """Where there are weights of a format that the plan counts on and the engine cannot make."""
    from catalog.find import stored_otherwise

    for replica in {line.replica.weight_format: line.replica for line in solved.lines}.values():
        if replica.weights_from == "a quantized checkpoint to be named":
            found = stored_otherwise(replica.checkpoint, replica.weight_format)
            if found:
                yield f"Published with {replica.weight_format} weights: {', '.join(found)}; --model plans it as it is."


def with_adapter(options: EngineOptions, spec: ModelSpec) -> EngineOptions:
    """The same options with room for the LoRA adapter that was asked for as the model.

    Raises:
        BadRequirements: adapters were asked for too, of a smaller rank.
    """
    if spec.adapter is None:
        return options
    if options.adapters is not None:
        if options.adapters.rank < spec.adapter.rank:
            raise BadRequirements(
                f"{spec.adapter.repo_id} has rank {spec.adapter.rank}, more than the rank {options.adapters.rank} that "
                "was asked for."
            )
        return options
    from optimizer.engines.vllm import LORA_RANKS

    rank = next((each for each in LORA_RANKS if each >= spec.adapter.rank), spec.adapter.rank)
    return options.model_copy(update={"adapters": LoraAdapters(rank=rank, targets=spec.adapter.targets)})


def _check_demand(requirements: Requirements) -> None:
    """Refuse a question about cost that does not say how much must be served: the cheapest of nothing is nothing."""
    demand = requirements.demand
    asked = (demand.output_tokens_per_second, demand.requests_per_second, demand.concurrency)
    if requirements.objective is Objective.COST and not any(asked):
        raise BadRequirements(
            "Say how much must be served: --min-tps 500 (output tokens per second), --requests-per-second 2 or "
            "--concurrency 64."
        )


def draft_of(options: EngineOptions, *, offline: bool = False) -> ModelSpec | None:
    """The shape of the draft that is named; one in a folder keeps the folder as its name, for the engine to find."""
    from catalog.find import find_model

    name = options.speculation.draft if options.speculation else None
    if name is None:
        return None
    found = find_model(name, offline=offline)
    return replace(found, repo_id=name) if Path(name).exists() else found


def check_options(
    requirements: Requirements, spec: ModelSpec, named: Sequence[Engine], draft: ModelSpec | None
) -> None:
    """Refuse a question that none of the named engines can be started for."""
    from optimizer.search import planned_max_model_len
    from optimizer.settings import launch_of, memory_settings

    work, options = requirements.workload, requirements.options
    length = planned_max_model_len(spec, work, requirements.choices)
    settings = memory_settings(spec, work, options, length, draft)
    own, cache = spec.weight_format, spec.kv_cache_format or "bf16"
    refused = [
        engine.refuses_launch(launch_of(spec, engine, settings, weight_format=own, kv_format=cache)) for engine in named
    ]
    if all(refused):
        why = "; ".join(dict.fromkeys(filter(None, refused)))
        raise BadRequirements(" ".join((f"This cannot be started: {why}.", *spec.notes)))


def _offers(offers_file: str | Path | None, prices_as_of: date | None) -> tuple[Offer, ...]:
    """The bundled offers; the asker's own come first and replace those of the same machine, region and billing."""
    from gpu_db.load import load_offers, load_user_offers
    from gpu_db.price_sources.history import offers_on
    from gpu_db.query import override_offers

    bundled = load_offers() if prices_as_of is None else offers_on(prices_as_of)
    if offers_file is None:
        return bundled
    return override_offers(bundled, load_user_offers(offers_file))


def engine_named(name: str) -> Engine:
    """An engine by name, at one version if `name` says so ("vllm==0.33.0"), else at the newest known."""
    from optimizer.engines.find import find_engine

    bare, _, version = name.partition("==")
    return find_engine(bare, version or None)


def _engines(names: Sequence[str]) -> tuple[Engine, ...]:
    """The engines that may serve, each once."""
    engines = {engine.name: engine for engine in map(engine_named, names)}
    if len(engines) < len(set(names)):
        raise BadRequirements(f"{', '.join(names)} names one engine in two versions; compare them one at a time.")
    return tuple(engines.values())


def _with_the_others(named: Sequence[Engine]) -> tuple[Engine, ...]:
    """The engines that were named, then every other: a relaxation may propose one."""
    from optimizer.engines.find import ENGINES

    taken = {engine.name for engine in named}
    return (*named, *(engine_named(name) for name in ENGINES if name not in taken))


def in_known_names(requirements: Requirements, spec: ModelSpec, engines: Sequence[Engine]) -> Requirements:
    """The same question with engines by their bare names and KV-cache formats by their own ("auto" is the model's)."""
    update: dict[str, object] = {"engines": tuple(engine.name for engine in engines)}
    formats = requirements.choices.kv_cache_formats
    if formats is not None:
        update["kv_cache_formats"] = tuple(dict.fromkeys(cache_format(name, spec, engines) for name in formats))
    return requirements.model_copy(update={"choices": requirements.choices.model_copy(update=update)})


def cache_format(name: str, spec: ModelSpec, engines: Sequence[Engine]) -> str:
    """A KV-cache format that some of the engines has; "auto" is the checkpoint's own, else 16 bit.

    Raises:
        BadRequirements: none of them has it.
    """
    if name.lower() == "auto":
        return spec.kv_cache_format or "bf16"
    known = sorted({entry["format"] for engine in engines for entry in engine.facts["kv_formats"]})
    if name.lower() not in known:
        raise BadRequirements(
            f"{name!r} is no KV-cache format; --kv-cache-dtype takes auto, {', '.join(known)}.{nearest(name, known)}"
        )
    return name.lower()


def _with_age_warnings(answer: Plan, offers: Iterable[Offer], today: date) -> Plan:
    """Add one warning for each offer of the plan whose price is older than its kind may be."""
    from gpu_db.query import staleness_warnings

    used = {line.offer.offer_id for line in answer.lines}
    old = staleness_warnings([offer for offer in offers if offer.offer_id in used], today)
    return answer.model_copy(update={"warnings": (*answer.warnings, *old)}) if old else answer


def data_files() -> list[Path]:
    """Every bundled data file, in one fixed order."""
    return sorted(file for folder in DATA_FOLDERS for file in (ROOT / folder).rglob("*") if file.is_file())


def data_fingerprint() -> str:
    """A short hash of all bundled data: two plans with the same fingerprint were made from the same facts."""
    digest = blake2b(digest_size=8)
    for file in data_files():
        digest.update(f"{file.relative_to(ROOT).as_posix()}\0{file.stat().st_size}\0".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()
