"""How a fleet's plan looks in a terminal: machines to have, what serves each service, limits, proof."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from gpuplan.cli.console import Ink, Line, Part, Styled, aligned, header, quantity, usd, wrapped
from optimizer.fleet.market import PURCHASED
from optimizer.fleet.plan import CutGpu, FleetPlan, LimitUse, MachineLine, ServedBy, ServiceAnswer

CONFLICT = "the conflict"
UNITS = {"output_tokens_per_second": "tok/s", "requests_per_second": "req/s", "concurrency": "in flight"}


def full(plan: FleetPlan, ink: Ink, *, verbose: bool = False) -> list[Line]:
    """The whole answer.

    Args:
        plan: the answer.
        ink: what the terminal can show.
        verbose: commands and every machine's load too.
    """
    parts = (
        _title(plan),
        _cost(plan),
        _machines(plan, verbose=verbose),
        _cuts(plan, ink),
        _services(plan),
        _dropped(plan, ink),
        _limits(plan),
        _conflicts(plan, ink),
        _relaxations(plan, ink),
        _gpus(plan, ink),
        _cut_short(plan, ink),
        _proof(plan, ink),
        _commands(plan) if verbose else [],
        _warnings(plan, ink),
    )
    lines: list[Line] = []
    for part in parts:
        section = list(part)
        if section:
            lines += [*([()] if lines else []), *section]
    return lines


def short(plan: FleetPlan) -> list[Line]:
    """The answer in one line."""
    if plan.cost_usd_per_hour is None:
        return [(f"{plan.question.name}: {plan.status}",)]
    served = sum(service.served for service in plan.services)
    return [
        (
            f"{plan.question.name}: {usd(plan.cost_usd_per_hour)} USD/h, {_proven(plan)}, {served} of "
            f"{len(plan.services)} services, {sum(line.count for line in plan.machines)} machines",
        )
    ]


def _title(plan: FleetPlan) -> Iterator[Line]:
    number = len(plan.services)
    yield (Styled(plan.question.name, "bold"), f"  {number} service{'s' if number != 1 else ''}")


def _proven(plan: FleetPlan) -> str:
    if plan.status == "optimal":
        return "proven optimal"
    gap = plan.proof.gap or 0.0
    return f"proven within {gap:.2%} of the best" if plan.status == "within gap" else f"{plan.status}, gap {gap:.1%}"


def _cost(plan: FleetPlan) -> Iterator[Line]:
    if plan.cost_usd_per_hour is None:
        words = (
            "No plan serves every required service." if plan.status == "infeasible" else "No plan was found in time."
        )
        yield (Styled(words, "red"),)
        return
    if not any(one.served for one in plan.services):
        yield (Styled("No service can be served.", "red"),)
        return
    month = usd(plan.cost_usd_per_month or 0.0)
    yield (
        Styled(f"{usd(plan.cost_usd_per_hour)} USD/h", "bold"),
        f"   {month} USD/month   ",
        Styled(_proven(plan), "green" if plan.status in ("optimal", "within gap") else "yellow"),
    )


def _machines(plan: FleetPlan, *, verbose: bool) -> Iterator[Line]:
    if not plan.machines:
        return
    yield (Styled("Machines", "bold"),)
    rows: list[Sequence[Part]] = [
        header(("", "machine", "how", "USD/h", "GPUs used", *(("carries",) if verbose else ())))
    ]
    lines = plan.machines if verbose else _together(plan.machines)
    for line in lines:
        offer = line.offer
        row: list[Part] = [
            f"{line.count} x",
            f"{offer.provider} {offer.instance_type} ({offer.gpu_count} x {offer.gpu}), {offer.region}",
            "bought" if offer.provider == PURCHASED else offer.billing,
            usd(line.cost_usd_per_hour),
            f"{line.gpus_used} of {offer.gpu_count * (1 if verbose else line.count)}",
        ]
        rows.append([*row, _carried(line)] if verbose else row)
    yield from aligned(rows, right=(0, 3, 4))


def _cuts(plan: FleetPlan, ink: Ink) -> Iterator[Line]:
    """How GPUs that several replicas share are to be cut."""
    lines = [line for line in plan.machines if line.cuts]
    if lines:
        yield (Styled("GPUs that are shared", "bold"),)
    for line in lines:
        parts = "; ".join(f"{cut.gpus} GPU{'s' if cut.gpus > 1 else ''} cut into {_parts(cut)}" for cut in line.cuts)
        yield from wrapped(f"{line.count} x {line.offer.provider} {line.offer.instance_type}: {parts}", ink.width, 2)


def _parts(cut: CutGpu) -> str:
    return ", ".join(f"{number} x {part}" for part, number in Counter(cut.parts).items())


def _together(machines: Iterable[MachineLine]) -> list[MachineLine]:
    """One line per offer; `gpus_used` over all of its machines."""
    merged: dict[str, MachineLine] = {}
    for line in machines:
        used = line.gpus_used * line.count
        known = merged.get(line.offer.offer_id)
        update = {
            "count": line.count + (known.count if known else 0),
            "cost_usd_per_hour": line.cost_usd_per_hour + (known.cost_usd_per_hour if known else 0.0),
            "gpus_used": used + (known.gpus_used if known else 0),
        }
        merged[line.offer.offer_id] = line.model_copy(update=update)
    return sorted(merged.values(), key=lambda line: -line.cost_usd_per_hour)


def _carried(line: MachineLine) -> str:
    parts = (f" on {each.part}" if each.part else "" for each in line.carries)
    carried = (f"{each.replicas} x {each.service}{part}" for each, part in zip(line.carries, parts, strict=True))
    return ", ".join(carried) or "nothing"


def _services(plan: FleetPlan) -> Iterator[Line]:
    if not any(one.served for one in plan.services):
        return
    yield (Styled("Services", "bold"),)
    rows: list[Sequence[Part]] = [header(("service", "asked", "given", "USD/h", "served by"))]
    for answer in plan.services:
        if answer.served:
            rows += _rows_of(answer)
    yield from aligned(rows, right=(1, 2, 3))


def _rows_of(answer: ServiceAnswer) -> Iterator[Sequence[Part]]:
    asked = ", ".join(f"{quantity(value)} {UNITS[name]}" for name, value in answer.asked.items())
    given = ", ".join(quantity(value) for value in answer.given.values())
    for number, one in enumerate(answer.serving):
        first = (answer.name, asked, given, usd(answer.shares_cost_usd_per_hour)) if not number else ("",) * 4
        yield (*first, _layout(one, several=len({s.input_tokens for a in answer.serving for s in a.sizes}) > 1))


def _layout(one: ServedBy, *, several: bool) -> str:
    replica = one.replica
    ways = [
        f"{word} {number}"
        for word, number in (
            ("TP", replica.tensor_parallel),
            ("PP", replica.pipeline_parallel),
            ("DP", replica.data_parallel),
        )
        if number > 1
    ]
    layout = " ".join(ways) or ("a part" if " of " in one.machine else "1 GPU")
    spot = " (spot)" if one.spot else ""
    sizes = "; ".join(f"{s.share:.0%} of {s.input_tokens}/{s.output_tokens}" for s in one.sizes) if several else ""
    return (
        f"{one.replicas} x {replica.model.split('/')[-1]} {layout}, {replica.weight_format}, on {one.machine}{spot}"
        + (f": {sizes}" if sizes else "")
    )


def _dropped(plan: FleetPlan, ink: Ink) -> Iterator[Line]:
    if not plan.dropped:
        return
    yield (Styled("Not served", "bold"),)
    for one in plan.dropped:
        yield from wrapped(f"{one.service} (priority {one.priority}): {one.reason}", ink.width, 2, mark="! ")


def _limits(plan: FleetPlan) -> Iterator[Line]:
    if not plan.limits:
        return
    yield (Styled("Limits", "bold"),)
    rows: list[Sequence[Part]] = [header(("limit", "used", "of", "", "worth"))]
    for limit in plan.limits:
        write = usd if limit.unit == "USD/h" else quantity
        rows.append((limit.option, write(limit.used), write(limit.most), limit.unit, worth_of(limit)))
    yield from aligned(rows, right=(1, 2))


def worth_of(limit: LimitUse) -> str:
    """What a little more of a limit is worth; where the proofs leave a span, the span."""
    if limit.worth_unknown:
        return "time ended before its worth was found"
    if limit.worth_step is None:
        return ""
    more = f"{limit.worth_step:,.2f}" if limit.unit == "USD/h" else f"{limit.worth_step:g}"
    if limit.worth_serves:
        instead = f" instead of {', '.join(limit.worth_drops)}" if limit.worth_drops else ""
        return f"{more} more serves {', '.join(limit.worth_serves)}{instead}"
    least, most = usd(limit.worth_least_usd_per_hour or 0.0), usd(limit.worth_most_usd_per_hour or 0.0)
    if most == usd(0.0):
        return f"{more} more saves nothing"
    return f"{more} more saves {least if least == most else f'{least} to {most}'} USD/h"


def _conflicts(plan: FleetPlan, ink: Ink) -> Iterator[Line]:
    if plan.conflicts:
        more = " (perhaps fewer of them cannot either: time ended)" if CONFLICT in plan.cut_short else ""
        yield (Styled(f"These rules cannot all be kept{more}", "bold"),)
        for sentence in plan.conflicts:
            yield from wrapped(sentence, ink.width, 2, mark="- ")


def _relaxations(plan: FleetPlan, ink: Ink) -> Iterator[Line]:
    if plan.relaxations:
        never = any(not one.has_machine for one in plan.dropped)
        words = "all others" if never else "everything"
        yield (Styled(f"What would serve {words} (each alone is enough)", "bold"),)
        for one in plan.relaxations:
            less = "" if one.proven else "; less may do"
            yield from wrapped(f"{one.sentence}{less}", ink.width, 2, mark="- ")


def _gpus(plan: FleetPlan, ink: Ink) -> Iterator[Line]:
    if plan.why_not or plan.sensitivity:
        yield (Styled("GPUs that were asked about", "bold"),)
        for sentence in [*(one.sentence for one in plan.why_not), *(one.sentence for one in plan.sensitivity)]:
            yield from wrapped(sentence, ink.width, 2, mark="- ")


def _cut_short(plan: FleetPlan, ink: Ink) -> Iterator[Line]:
    if plan.cut_short:
        yield (Styled("Not all was found", "bold"),)
        words = f"time ended while finding {', '.join(plan.cut_short)}; raise --time-limit"
        yield from wrapped(words, ink.width, 2, mark="! ")


def _proof(plan: FleetPlan, ink: Ink) -> Iterator[Line]:
    proof = plan.proof
    yield (Styled("Proof", "bold"),)
    solver = f"{proof.solver} {proof.solver_version} ({proof.engine}); {proof.columns:,} columns"
    if proof.bound_usd_per_hour is None:
        text = "no plan exists" if plan.status == "infeasible" else "neither a plan nor a proof"
        yield from wrapped(f"{text}; {solver}", ink.width, 2)
        return
    served = "nothing that serves as much" if plan.dropped else "nothing"
    gap = f"gap {proof.gap:.2%}" if proof.gap else "gap 0%"
    yield from wrapped(
        f"{served} costs less than {usd(proof.bound_usd_per_hour)} USD/h; {gap}; {_choice(plan)}{solver}; every rule "
        "re-derived from the counts",
        ink.width,
        2,
    )


def _choice(plan: FleetPlan) -> str:
    """Whether it is proven that nobody more important could be served."""
    if not any(one.has_machine for one in plan.dropped):
        return ""
    proven = plan.proof.served_proven
    return f"who is served is {'proven' if proven else 'not proven'} to be the most important that can be; "


def _commands(plan: FleetPlan) -> Iterator[Line]:
    yield (Styled("Run", "bold"),)
    for answer in plan.services:
        for one in answer.serving:
            yield (f"  {answer.name}, {one.replicas} x on {one.machine}:",)
            yield (f"    {' '.join(one.replica.command)}",)


def _warnings(plan: FleetPlan, ink: Ink) -> Iterator[Line]:
    if plan.warnings:
        yield (Styled("Before you sign", "bold"),)
        for sentence in plan.warnings:
            yield from wrapped(sentence, ink.width, 2, mark="! ")
