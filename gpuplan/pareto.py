"""The front of one question: look up the data, then compare every plan."""

from __future__ import annotations

from pathlib import Path

from catalog.find import find_model
from catalog.quantization import available_formats
from gpu_db.load import load_gpus, load_offers, load_user_offers
from gpu_db.query import override_offers
from gpuplan.planning import engine_named
from optimizer.engines.find import ENGINES
from optimizer.frontier import Axis, Frontier, frontier
from optimizer.performance.factors import load_factors
from optimizer.requirements import Requirements
from optimizer.search import Knowledge, Search


def front_of(
    requirements: Requirements,
    axes: tuple[Axis, ...],
    *,
    offers_file: str | Path | None = None,
    factors_dir: str | Path | None = None,
    offline: bool = False,
) -> Frontier:
    """The plans that no other beats in all of the axes.

    Where quality is an axis and no weight format was asked for, all formats of the model are considered.

    Args:
        requirements: the question; without a demand each plan is one replica.
        axes: what is compared.
        offers_file, factors_dir, offline: as for `plan`.
    """
    offers = load_offers()
    if offers_file is not None:
        offers = override_offers(offers, load_user_offers(offers_file))
    named = {engine.name: engine for engine in map(engine_named, requirements.choices.engines)}
    engines = {name: engine_named(name) for name in ENGINES} | named
    spec = find_model(requirements.model, requirements.revision, offline=offline)
    update: dict[str, object] = {"engines": tuple(named)}
    if "quality" in axes and requirements.choices.weight_formats is None:
        update["weight_formats"] = available_formats(spec)
    asked = requirements.model_copy(update={"choices": requirements.choices.model_copy(update=update)})
    factors = load_factors(None if factors_dir is None else Path(factors_dir))
    return frontier(Search(Knowledge(spec, offers, load_gpus(), engines, factors)), asked, axes)
