"""Several plans side by side: what each says, where they differ, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpuplan.saving.fingerprints import KINDS
from optimizer.requirements import Frozen

if TYPE_CHECKING:
    from gpuplan.saving.plan_file import PlanFile
    from optimizer.plan import Line

GIB = 1 << 30


class Fact(Frozen):
    """One thing that plans say.

    Attributes:
        group: what it belongs to: "question", "purchase", "serving", "speed", "memory", "made from".
        name: of the thing, with its unit.
        values: one per plan, in words; "" where a plan says nothing.
    """

    group: str
    name: str
    values: tuple[str, ...]

    @property
    def differs(self) -> bool:
        """Whether the plans say different things."""
        return len(set(self.values)) > 1


class Reason(Frozen):
    """Why a plan differs from the first.

    Attributes:
        plan: its number, from 1 for the second.
        kind: "rule changed", "model changed", "price moved", "data changed", "program changed", "solver".
        sentence: what changed.
    """

    plan: int
    kind: str
    sentence: str


class Comparison(Frozen):
    """Plans side by side.

    Attributes:
        names: of the plans.
        facts: all that they say, in one fixed order.
        reasons: of each plan but the first; empty for one that says the same.
    """

    names: tuple[str, ...]
    facts: tuple[Fact, ...]
    reasons: tuple[Reason, ...]

    @property
    def differences(self) -> tuple[Fact, ...]:
        """Facts in which the plans differ."""
        return tuple(fact for fact in self.facts if fact.differs)


@dataclass(frozen=True)
class Named:
    """A plan, and what it is called."""

    name: str
    file: PlanFile
    asked: dict[str, str]


def compare(plans: Sequence[Named]) -> Comparison:
    """What the plans say, and why each differs from the first.

    Args:
        plans: two or more; `asked` is the question as options and their words.
    """
    facts = tuple(_facts(plans))
    changed = {at for at in range(1, len(plans)) if any(_tells(fact, at) for fact in facts)}
    reasons = tuple(reason for at in sorted(changed) for reason in _reasons(at, plans[0], plans[at]))
    return Comparison(names=tuple(each.name for each in plans), facts=facts, reasons=reasons)


def _tells(fact: Fact, at: int) -> bool:
    return fact.values[at] != fact.values[0]


# ── what plans say ───────────────────────────────────────────────────────────────────────────────────────────────────


def _facts(plans: Sequence[Named]) -> Iterator[Fact]:
    options = dict.fromkeys(name for each in plans for name in each.asked)
    for name in options:
        yield Fact(group="question", name=f"--{name}", values=tuple(each.asked.get(name, "") for each in plans))
    for group, name, say in _SAID:
        yield Fact(group=group, name=name, values=tuple(say(each.file) for each in plans))


def _lines(say: Callable[[Line], object]) -> Callable[[PlanFile], str]:
    """What the lines of a plan say, joined."""
    return lambda file: " + ".join(str(say(line)) for line in file.plan.lines)


def _total(name: str, form: str = ",.4g") -> Callable[[PlanFile], str]:
    """One of a plan's totals."""

    def say(file: PlanFile) -> str:
        value = None if file.plan.totals is None else getattr(file.plan.totals, name)
        return "" if value is None else format(getattr(value, "value", value), form)

    return say


def _print_of(kind: str) -> Callable[[PlanFile], str]:
    return lambda file: "" if file.fingerprints is None else str(getattr(file.fingerprints, kind))


def _cost(file: PlanFile) -> str:
    return "" if file.plan.cost_usd_per_hour is None else f"{file.plan.cost_usd_per_hour:,.4f}"


_SAID: tuple[tuple[str, str, Callable[[PlanFile], str]], ...] = (
    ("purchase", "status", lambda file: file.plan.status),
    ("purchase", "cost, USD/h", _cost),
    ("purchase", "USD/month", _total("usd_per_month", ",.2f")),
    ("purchase", "USD per million output tokens", _total("usd_per_million_output_tokens")),
    ("purchase", "machines", _lines(lambda line: f"{line.count} x {line.offer.provider} {line.offer.instance_type}")),
    ("purchase", "GPUs", _lines(lambda line: f"{line.count * line.offer.gpu_count} x {line.offer.gpu}")),
    ("purchase", "region", _lines(lambda line: line.offer.region)),
    ("purchase", "billing", _lines(lambda line: line.offer.billing)),
    ("purchase", "price each, USD/h", _lines(lambda line: f"{line.offer.price_usd_per_hour:,.4f}")),
    ("purchase", "price of", _lines(lambda line: line.offer.as_of)),
    ("serving", "replicas", _lines(lambda line: line.replicas)),
    ("serving", "TP", _lines(lambda line: line.replica.tensor_parallel)),
    ("serving", "PP", _lines(lambda line: line.replica.pipeline_parallel)),
    ("serving", "DP", _lines(lambda line: line.replica.data_parallel)),
    ("serving", "EP", _lines(lambda line: line.replica.expert_parallel)),
    ("serving", "weights", _lines(lambda line: line.replica.weight_format)),
    ("serving", "KV cache", _lines(lambda line: line.replica.kv_cache_format)),
    ("serving", "engine", _lines(lambda line: f"{line.replica.engine} {line.replica.engine_version}")),
    ("serving", "max_num_seqs", _lines(lambda line: line.replica.max_num_seqs)),
    ("serving", "max_model_len", _lines(lambda line: line.replica.max_model_len)),
    ("speed", "output tok/s", _total("output_tokens_per_second")),
    ("speed", "TTFT, s", _total("ttft_seconds")),
    ("speed", "TPOT, s", _total("tpot_seconds")),
    ("speed", "power, W", _total("power_watts")),
    ("speed", "calibration", _lines(lambda line: line.estimate.calibration)),
    ("memory", "weights, GiB", _lines(lambda line: f"{line.memory.weight_bytes / GIB:.2f}")),
    ("memory", "KV cache, GiB", _lines(lambda line: f"{line.memory.kv_cache_bytes / GIB:.2f}")),
    ("made from", "model", lambda file: file.plan.model),
    ("made from", "model's commit", lambda file: file.plan.model_revision or ""),
    ("made from", "gpuplan", lambda file: file.plan.gpuplan_version),
    ("made from", "all data", lambda file: file.plan.data_fingerprint),
    *(("made from", f"data: {kind}", _print_of(kind)) for kind in KINDS),
    ("made from", "prices as of", lambda file: file.sources.prices_as_of or "newest"),
    ("made from", "own offers", lambda file: file.sources.offers_digest or ""),
    ("made from", "own factors", lambda file: file.sources.factors_digest or ""),
    ("made from", "solver", lambda file: f"{file.plan.proof.solver} {file.plan.proof.solver_version}"),
)
"""What is told of a plan besides its question: its group, its name, and how it is said."""


# ── why ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _reasons(at: int, first: Named, other: Named) -> Iterator[Reason]:
    """Everything that the other plan rests on and the first does not."""
    found = [*_of_question(first, other), *_of_prices(first, other), *_of_data(first, other)]
    if not found:
        found = [
            ("solver", "they rest on the same: one of them was ended by its time limit, or ties were broken otherwise")
        ]
    for kind, sentence in found:
        yield Reason(plan=at, kind=kind, sentence=sentence)


def _of_question(first: Named, other: Named) -> Iterator[tuple[str, str]]:
    for name in dict.fromkeys([*first.asked, *other.asked]):
        before, after = first.asked.get(name, "nothing"), other.asked.get(name, "nothing")
        if before != after:
            kind = "model changed" if name in {"model", "revision"} else "rule changed"
            yield kind, f"--{name}: {before or 'given'} became {after or 'given'}"


def _of_prices(first: Named, other: Named) -> Iterator[tuple[str, str]]:
    """Machines that both plans speak of, at different prices."""
    known = {line.offer.offer_id: line.offer for line in first.file.plan.lines}
    for line in other.file.plan.lines:
        before, after = known.get(line.offer.offer_id), line.offer
        if before is not None and before.price_usd_per_hour != after.price_usd_per_hour:
            share = after.price_usd_per_hour / before.price_usd_per_hour - 1 if before.price_usd_per_hour else 0.0
            yield (
                "price moved",
                f"{after.offer_id}: {before.price_usd_per_hour:g} USD/h ({before.as_of}) became "
                f"{after.price_usd_per_hour:g} ({after.as_of}), {share:+.1%}",
            )
    days = [each.file.sources.prices_as_of or "the newest" for each in (first, other)]
    if days[0] != days[1]:
        yield "rule changed", f"--prices-as-of: {days[0]} became {days[1]}"


def _of_data(first: Named, other: Named) -> Iterator[tuple[str, str]]:
    one, two = first.file, other.file
    if one.fingerprints is not None and two.fingerprints is not None:
        for kind, what in _DATA_WORDS.items():
            if getattr(one.fingerprints, kind) != getattr(two.fingerprints, kind):
                yield "model changed" if kind == "catalog" else "data changed", f"{what} are other data"
    elif one.plan.data_fingerprint != two.plan.data_fingerprint:
        yield "data changed", "the bundled data differ"
    if one.plan.model_revision != two.plan.model_revision:
        yield (
            "model changed",
            f"commit {one.plan.model_revision or 'bundled'} became {two.plan.model_revision or 'bundled'}",
        )
    if one.sources.offers_digest != two.sources.offers_digest:
        yield "data changed", "own offers (--offers) differ"
    if one.sources.factors_digest != two.sources.factors_digest:
        yield "data changed", "own factors (--factors) differ"
    if one.plan.gpuplan_version != two.plan.gpuplan_version:
        yield "program changed", f"gpuplan {one.plan.gpuplan_version} became {two.plan.gpuplan_version}"


_DATA_WORDS = {
    "gpu_db": "machines, prices and electricity",
    "catalog": "shapes of models",
    "engines": "what engines support and take",
    "factors": "factors of speed",
}
