"""One question's candidates and purchases, also for the questions next to it (what if a rule were softer?)."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from catalog.model import Matrix, ModelSpec
from catalog.quantization import available_formats, requantized
from gpu_db.gpu import Gpu
from gpu_db.offer import Offer
from gpu_db.query import select_offers
from optimizer.candidates import BATCHES, Candidates, Outcome, Placed, collect, try_variant
from optimizer.cp_sat.objectives import GOALS, WANTS_MUCH, Goal
from optimizer.cp_sat.program import Purchase, solve_program
from optimizer.engines.engine import Engine
from optimizer.errors import BadRequirements, SolverFailed
from optimizer.memory.vram import MemorySettings
from optimizer.open_loop import Part, parts_of, under_arrivals
from optimizer.performance.estimate import read_hardware
from optimizer.performance.factors import Factors
from optimizer.performance.rates import Hardware
from optimizer.performance.shortcuts import Shortcuts
from optimizer.promises import promised
from optimizer.pruning import Columns, Reads, cheapest_offers, prune
from optimizer.replica_columns import Bools
from optimizer.requirements import Choices, Demand, EngineOptions, Objective, Requirements, ServiceLevel, Workload
from optimizer.settings import memory_settings, shortcuts_of
from optimizer.shapes import ShapeTable, enumerate_shapes
from optimizer.uniform import affordable_columns, usable, with_columns, worthwhile

_ANY_MACHINE = {
    "mix": True,
    **dict.fromkeys(("gpus", "providers", "regions", "prices_since")),
    **dict.fromkeys(("gpus_excluded", "billings", "allowed_restrictions"), ()),
}
_OF_MACHINES = {
    **{name: name for name in ("gpus", "gpus_excluded", "providers", "regions", "billings")},
    **{"allowed_restrictions": "allow", "prices_since": "since"},
}
"""Choices that say which machines may be bought -> what `select_offers` calls them."""
CONTEXT_ROOM = 2
"""Requests are not all of mean length: by default the context has room for twice the mean request."""
CONTEXT_LEAST = 4096
TOKENS_ROUNDING = 1.0
"""Demand and capacity are rounded to thousandths of a token/s before they are compared; one token/s is beyond that."""
CONTEXT_STEP = 1024
SEARCHES_KEPT = 2
"""Each holds some megabytes for every kind of request that it was asked about."""


@dataclass(frozen=True)
class Knowledge:
    """Everything that is known before a question is asked; the solver reads no file, no network, no clock.

    Attributes:
        spec: the model.
        offers: every machine on offer, whatever its billing or restriction.
        gpus: by name.
        engines: by name.
        factors: of the performance model.
        draft: what guesses tokens, when a question names it.
    """

    spec: ModelSpec
    offers: tuple[Offer, ...]
    gpus: dict[str, Gpu]
    engines: dict[str, Engine]
    factors: Factors
    draft: ModelSpec | None = None


@dataclass(frozen=True)
class Tried:
    """What one evaluation depends on, besides the lengths."""

    weight_format: str
    engine: str
    kv_format: str
    tensor_parallel: int | None
    pipeline_parallel: int | None


class Selected(NamedTuple):
    """Machines that some choices leave, and of them those that some cheapest plan may buy."""

    offers: tuple[Offer, ...]
    cheapest: tuple[Offer, ...]


class MachineTables:
    """What is the same for every model: shapes of replicas on all machines, and what the hardware of them can do.

    Args:
        offers, gpus, factors: those of the Knowledge of every search that shares this.
    """

    def __init__(self, offers: tuple[Offer, ...], gpus: dict[str, Gpu], factors: Factors) -> None:
        self._offers, self._gpus, self._factors = offers, gpus, factors
        self.shapes = lru_cache(maxsize=8)(self._enumerate_shapes)
        self.hardware = lru_cache(maxsize=8)(self._read_hardware)
        self._selected = lru_cache(maxsize=16)(self._select)
        self._parts: tuple[Candidates, tuple[Part, ...]] | None = None
        self._searches: OrderedDict[Hashable, Search] = OrderedDict()

    def search(self, knowledge: Knowledge) -> Search:
        """What was found of the same model and engines before, for another question; only of the last few models."""
        engines = tuple((engine.name, engine.version) for engine in knowledge.engines.values())
        key = (knowledge.spec, knowledge.draft, engines)
        found = self._searches.pop(key, None) or Search(knowledge, self)
        self._searches[key] = found
        while len(self._searches) > SEARCHES_KEPT:
            self._searches.popitem(last=False)
        return found

    def selected(self, choices: Choices) -> Selected:
        """What these choices leave to buy."""
        return self._selected(*(getattr(choices, name) for name in _OF_MACHINES))

    def parts(self, candidates: Candidates, workload: Workload) -> tuple[Part, ...]:
        """Those of the candidates that were last asked about are kept: they are large, and wanted for each level."""
        if self._parts is None or self._parts[0] is not candidates:
            self._parts = candidates, parts_of(candidates, workload)
        return self._parts[1]

    def _select(self, *wanted: Any) -> Selected:
        offers = select_offers(self._offers, **dict(zip(_OF_MACHINES.values(), wanted, strict=True)))
        return Selected(offers, cheapest_offers(offers))

    def _enumerate_shapes(
        self, experts: bool, tensor_parallel: int | None, pipeline_parallel: int | None
    ) -> ShapeTable:
        return enumerate_shapes(
            self._offers,
            self._gpus,
            experts=experts,
            tensor_parallel=tensor_parallel,
            pipeline_parallel=pipeline_parallel,
        )

    def _read_hardware(
        self, engine: str, experts: bool, tensor_parallel: int | None, pipeline_parallel: int | None
    ) -> Hardware:
        return read_hardware(self.shapes(experts, tensor_parallel, pipeline_parallel).columns, engine, self._factors)


class Search:
    """Answers what is best for a question; candidates of equal choices are evaluated once.

    Args:
        knowledge: what is known of the model and the world.
        tables: of the same world, shared with the searches of other models; None = its own.
    """

    def __init__(self, knowledge: Knowledge, tables: MachineTables | None = None) -> None:
        self.knowledge = knowledge
        self._tables = tables or MachineTables(knowledge.offers, knowledge.gpus, knowledge.factors)
        self._experts = has_experts(knowledge.spec)
        self._candidates = lru_cache(maxsize=64)(self._collect)
        self._promised = lru_cache(maxsize=64)(self._promise)
        self._outcome = lru_cache(maxsize=64)(self._try)
        self._placed = lru_cache(maxsize=16)(self._place)

    def candidates(self, requirements: Requirements) -> Candidates:
        """Every replica that could serve, on any machine there is, whatever demand, service level and limits are."""
        choices = requirements.choices.model_copy(update=_ANY_MACHINE)
        comes = requirements.demand.requests_per_second is not None
        level = requirements.service_level if comes else ServiceLevel(confidence=requirements.service_level.confidence)
        return self._promised(choices, requirements.workload, requirements.options, level, comes)

    def offers(self, choices: Choices) -> tuple[Offer, ...]:
        """The machines that these choices leave."""
        return self._tables.selected(choices).offers

    def cheapest_offers(self, choices: Choices) -> tuple[Offer, ...]:
        """Of those, the ones that some cheapest plan may buy; see `optimizer.pruning.cheapest_offers`."""
        return self._tables.selected(choices).cheapest

    def columns(self, requirements: Requirements, allowed: Bools | None = None, goal: Goal | None = None) -> Columns:
        """What the solver must see.

        Args:
            requirements: the question.
            allowed: replicas, shape (candidates,); None = those that keep the service level.
            goal: what is made best first; None = that of the question's objective.
        """
        candidates, goal = self.candidates(requirements), goal or GOALS[requirements.objective][0]
        if allowed is None:
            allowed = keeps_service_level(candidates, requirements)
        asked = requirements.demand.concurrency
        if asked is not None and requirements.demand == Demand(concurrency=asked) and goal not in WANTS_MUCH:
            allowed = allowed & ~_beyond_the_load(candidates, asked, allowed)
        offers = self.cheapest_offers(requirements.choices)
        enough = requirements.wanted_output_tokens_per_second + TOKENS_ROUNDING
        reads = Reads(
            concurrency=requirements.demand.concurrency is not None,
            power=goal is Goal.POWER or requirements.limits.power_watts is not None,
            tokens_enough=np.inf if requirements.objective is Objective.THROUGHPUT else enough,
        )
        return prune(candidates, offers, allowed, reads)

    def purchase(self, requirements: Requirements, goals: tuple[Goal, ...] | None = None) -> Purchase | None:
        """The best purchase, proven; None when it is proven that there is none."""
        if goals is None and requirements.objective is Objective.LATENCY:
            return self._fastest(requirements)
        goals = goals or GOALS[requirements.objective]
        if requirements.limits.power_watts is not None and goals[0] is not Goal.POWER:
            return self._within_power(requirements, goals, requirements.limits.power_watts)
        columns = self.columns(requirements, goal=goals[0])
        if goals[0] not in (Goal.COST, Goal.POWER):
            return solve_program(requirements, columns, goals)
        kept = worthwhile(columns, requirements, goals[0])
        best = solve_program(requirements, with_columns(columns, kept), goals)
        return None if best is None else best.among(columns, kept)

    def _within_power(self, requirements: Requirements, goals: tuple[Goal, ...], most_watts: float) -> Purchase | None:
        """The best purchase whose GPUs draw no more than `most_watts`.

        The best without the limit, if it is within it, is the best, and found among far fewer columns. The most frugal
        purchase tells whether there is any; for the goal of cost nothing dearer is of use, and when time ends before
        anything cheaper is found it is a plan, with the cost of the best without the limit as its bound.
        """
        unlimited = _without_power_limit(requirements)
        best = self.purchase(unlimited, goals)
        if best is None or best.power_watts <= most_watts:
            return best
        frugal = self.purchase(unlimited, (Goal.POWER, Goal.COST))
        if frugal is None or (frugal.power_watts > most_watts and frugal.optimal):
            return None
        columns = self.columns(requirements, goal=goals[0])
        if goals[0] is not Goal.COST or frugal.power_watts > most_watts:
            kept = usable(columns, requirements, Goal.POWER, most_watts)
            return solve_program(requirements, with_columns(columns, kept), goals)
        try:
            affordable = affordable_columns(columns, requirements, frugal.cost_usd_per_hour)
            return solve_program(requirements, affordable, goals)
        except SolverFailed:
            return frugal.as_unproven(best.bound, best.cost_bound_usd_per_hour)

    def _fastest(self, requirements: Requirements) -> Purchase | None:
        """The cheapest purchase at the shortest request latency that any purchase keeps.

        Whether a plan exists can only turn from no to yes as the allowed latency grows, so bisection over the
        candidates' latencies finds the least one: at the next shorter latency there is proven to be none.
        """
        candidates = self.candidates(requirements)
        allowed = keeps_service_level(candidates, requirements)
        latency = request_seconds(candidates, requirements.workload)
        steps = np.unique(latency[allowed])
        goals = GOALS[Objective.LATENCY]

        def within(step: int, wanted: tuple[Goal, ...]) -> Purchase | None:
            columns = self.columns(requirements, allowed & (latency <= steps[step]))
            return solve_program(requirements, columns, wanted)

        low, high = 0, len(steps) - 1
        if high < 0 or within(high, goals[:1]) is None:
            return None
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if within(middle, goals[:1]) is not None else (middle + 1, high)
        return within(high, goals)

    def _promise(
        self, choices: Choices, workload: Workload, options: EngineOptions, level: ServiceLevel, comes: bool
    ) -> Candidates:
        """Candidates as they are planned with; `comes` if requests come at random instead of always being there."""
        candidates = self._candidates(choices, workload, options)
        if comes:
            candidates = under_arrivals(candidates, self._tables.parts(candidates, workload), level)
        return promised(candidates, level.confidence)

    def _collect(self, choices: Choices, workload: Workload, options: EngineOptions) -> Candidates:
        spec = self.knowledge.spec
        settings = planned_settings(self.knowledge, choices, workload, options)
        shortcuts = shortcuts_of(workload, options, settings)
        outcomes = tuple(
            self._outcome(
                Tried(stored.weight_format, engine, kv_format, choices.tensor_parallel, choices.pipeline_parallel),
                settings,
                workload,
                shortcuts,
            )
            for stored in stored_variants(spec, choices)
            for engine in choices.engines
            for kv_format in kv_cache_formats(stored, choices)
        )
        shapes = self._shapes(choices.tensor_parallel, choices.pipeline_parallel)
        return collect(shapes, outcomes, self.knowledge.factors)

    def _shapes(self, tensor_parallel: int | None, pipeline_parallel: int | None) -> ShapeTable:
        return self._tables.shapes(self._experts, tensor_parallel, pipeline_parallel)

    def _hardware(self, engine: str, tensor_parallel: int | None, pipeline_parallel: int | None) -> Hardware:
        return self._tables.hardware(engine, self._experts, tensor_parallel, pipeline_parallel)

    def _place(
        self,
        weight_format: str,
        engine: str,
        layout: tuple[int | None, int | None],
        settings: MemorySettings,
        workload: Workload,
        shortcuts: Shortcuts,
    ) -> Placed:
        known = self.knowledge
        return Placed(
            requantized(known.spec, weight_format),
            known.engines[engine],
            self._shapes(*layout).columns,
            self._hardware(engine, *layout),
            settings,
            workload,
            known.factors,
            shortcuts,
        )

    def _try(self, tried: Tried, settings: MemorySettings, workload: Workload, shortcuts: Shortcuts) -> Outcome:
        layout = tried.tensor_parallel, tried.pipeline_parallel
        placed = self._placed(tried.weight_format, tried.engine, layout, settings, workload, shortcuts)
        return try_variant(placed, tried.kv_format)


def _without_power_limit(requirements: Requirements) -> Requirements:
    """The same question with any number of watts."""
    limits = requirements.limits.model_copy(update={"power_watts": None})
    return requirements.model_copy(update={"limits": limits})


def keeps_service_level(candidates: Candidates, requirements: Requirements) -> Bools:
    """Shape (candidates,): whether the replica's TTFT and TPOT stay within what is asked."""
    level = requirements.service_level
    ttft = math.inf if level.ttft_seconds is None else level.ttft_seconds
    tpot = math.inf if level.tpot_seconds is None else level.tpot_seconds
    return (candidates.ttft_seconds <= ttft) & (candidates.tpot_seconds <= tpot)


def _beyond_the_load(candidates: Candidates, concurrency: int, allowed: Bools) -> Bools:
    """Shape (candidates,): has slots for more requests than are asked for, where a smaller batch takes them all.

    When only requests in flight are asked for, nobody fills the slots beyond them: the allowed replica that is alike
    but for its batch serves the same load, and its speed is that of the load.
    """
    batch = BATCHES[candidates.batch]
    before = candidates.concurrency // batch * BATCHES[np.maximum(candidates.batch - 1, 0)]
    beyond = (candidates.batch > 0) & (before >= concurrency)
    replica = candidates.evaluation * (candidates.row.max(initial=0) + 1) + candidates.row
    takes_all = np.zeros(replica.max(initial=0) + 1, dtype=bool)
    takes_all[replica[allowed & ~beyond & (candidates.concurrency >= concurrency)]] = True
    return np.asarray(beyond & takes_all[replica])


def request_seconds(candidates: Candidates, workload: Workload) -> np.ndarray:
    """Shape (candidates,): from arrival to last token, TTFT + TPOT x (output tokens - 1)."""
    return candidates.ttft_seconds + candidates.tpot_seconds * (workload.output_tokens - 1)


def has_experts(spec: ModelSpec) -> bool:
    """Whether some layer routes tokens to experts."""

    def routed(matrix: Matrix) -> bool:
        return matrix.part == "experts"

    return any(routed(matrix) for group in spec.layers for matrix in group.matrices)


def planned_settings(known: Knowledge, choices: Choices, workload: Workload, options: EngineOptions) -> MemorySettings:
    """What the memory of every replica is measured with.

    Raises:
        BadRequirements: a length or an option does not suit the model.
    """
    length = planned_max_model_len(known.spec, workload, choices)
    return memory_settings(known.spec, workload, options, length, known.draft)


def planned_max_model_len(spec: ModelSpec, workload: Workload, choices: Choices) -> int:
    """The context that every replica is started with: what was asked, else room for twice the mean request.

    Where lengths are given, it is room for the longest of them.

    Raises:
        BadRequirements: the request or the context asked for is longer than the model allows.
    """
    least, most = workload.longest_request, spec.max_context_tokens
    if least > most:
        one = f"{least}" if workload.lengths else f"{workload.input_tokens} + {workload.output_tokens}"
        raise BadRequirements(
            f"A request of {one} tokens is longer than the context of {spec.repo_id} ({most} tokens); lower "
            f"{'--lengths' if workload.lengths else '--isl or --osl'}."
        )
    asked = choices.max_model_len
    if asked is None:
        room = max(least if workload.lengths else CONTEXT_ROOM * least, CONTEXT_LEAST)
        return min(-(-room // CONTEXT_STEP) * CONTEXT_STEP, most)
    if not least <= asked <= most:
        raise BadRequirements(
            f"--max-model-len {asked} must lie between one request ({least} tokens) and the context of "
            f"{spec.repo_id} ({most} tokens)."
        )
    return asked


def stored_variants(spec: ModelSpec, choices: Choices) -> tuple[ModelSpec, ...]:
    """The ways to store the weights that may be considered, the checkpoint's own first.

    By default those without known loss of quality: the checkpoint's own and, for a 16-bit checkpoint, FP8.

    Raises:
        BadRequirements: a format was asked for that this checkpoint cannot be had in.
    """
    possible = available_formats(spec)
    wanted = choices.weight_formats or tuple(f for f in possible if f in (spec.weight_format, "fp8"))
    unknown = [name for name in wanted if name not in possible]
    if unknown:
        raise BadRequirements(
            f"{spec.repo_id} cannot be had in {', '.join(unknown)} weights; --quantization takes {', '.join(possible)}."
        )
    return tuple(requantized(spec, name) for name in possible if name in wanted)


def kv_cache_formats(stored: ModelSpec, choices: Choices) -> tuple[str, ...]:
    """KV-cache formats that may be considered: what was asked, else what the checkpoint prescribes, else 16 bit."""
    return choices.kv_cache_formats or (stored.kv_cache_format or "bf16",)
