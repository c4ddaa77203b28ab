"""How a plan is shown to a person: one screen, and nothing on it that the plan does not say."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from gpuplan.cli.console import (
    Ink,
    Line,
    Part,
    Styled,
    aligned,
    bar,
    duration,
    gib,
    header,
    quantity,
    usd,
    wrapped,
)
from gpuplan.cli.layout_page import additions, degrees, named
from optimizer.plan import counted

if TYPE_CHECKING:
    from optimizer import plan as nouns
    from optimizer.energy import PurchaseEnergy
    from optimizer.requirements import Choices, Requirements, Workload

BLANK: Line = ()
SHOWN_REJECTIONS = 8


def title(text: str) -> Line:
    """The first line of a part of the page."""
    return (Styled(text, "bold"),)


def titled(name: str, text: str, ink: Ink) -> list[Line]:
    """A title, and beside it what is to be known of its part, on as many lines as that takes."""
    first, *rest = wrapped(text, ink.width, len(name) + 2, "dim")
    return [(*title(name), "  ", *first[1:]), *rest]


# ── the question ─────────────────────────────────────────────────────────────────────────────────────────────────────


def asked_for(question: Requirements) -> str:
    """The question in one sentence, so that a misread unit is seen at once."""
    work = question.workload
    request = f"{work.input_tokens:,} tokens in and {work.output_tokens:,} out per request"
    goal = f"best {question.objective.value}" if question.objective.value != "cost" else ""
    wishes = [*_promises(question), request, *_likeness(work), additions(question.options)]
    wishes += [*_restrictions(question.choices), goal]
    return ", ".join(wish for wish in wishes if wish)


def _promises(question: Requirements) -> list[str]:
    demand, level, limits = question.demand, question.service_level, question.limits
    said = [
        (demand.output_tokens_per_second, "at least {} output tok/s", quantity),
        (demand.requests_per_second, "at least {} requests/s", quantity),
        (demand.concurrency, "{} in flight", lambda count: counted(count, "request")),
        (level.ttft_seconds, "TTFT up to {}", duration),
        (level.tpot_seconds, "TPOT up to {}", duration),
        (None if level.confidence == EVEN_ODDS else 100 * level.confidence, "{}% confidence", quantity),
        (limits.budget_usd_per_hour, "at most {} USD/h", usd),
        (limits.gpus, "at most {}", lambda count: counted(count, "GPU")),
        (limits.power_watts, "at most {} W of GPUs", quantity),
    ]
    return [words.format(say(value)) for value, words, say in said if value is not None]


def _likeness(work: Workload) -> list[str]:
    """How lengths differ, and what requests share."""
    longest = f"{len(work.lengths):,} lengths up to {work.longest_request:,}" if work.lengths else ""
    return [longest, f"{work.shared_prefix_tokens:,} tokens shared" if work.shared_prefix_tokens else ""]


def _restrictions(choices: Choices) -> list[str]:
    """What is considered, where that is not what is considered by default."""
    default = type(choices)()
    said = {
        "gpus": "only {}",
        "gpus_excluded": "not {}",
        "providers": "from {}",
        "regions": "in {}",
        "billings": "billed {}",
        "allowed_restrictions": "{} offers too",
        "prices_since": "prices read since {}",
        "weight_formats": "{} weights",
        "kv_cache_formats": "{} KV cache",
        "engines": "on {}",
        "max_model_len": "max_model_len {}",
        "tensor_parallel": "TP {}",
        "pipeline_parallel": "PP {}",
    }
    values = {name: getattr(choices, name) for name in said if getattr(choices, name) != getattr(default, name)}
    words = {name: " or ".join(value) if isinstance(value, tuple) else str(value) for name, value in values.items()}
    return [said[name].format(words[name]) for name in words] + ([] if choices.mix else ["no mix"])


# ── what to buy ──────────────────────────────────────────────────────────────────────────────────────────────────────


def machines(line: nouns.Line) -> str:
    """What to rent, from whom, for how much, and of what day the price is."""
    if line.shares_machines_of_line is not None:
        return f"on the machines of kind {line.shares_machines_of_line + 1}"
    offer = line.offer
    marks = f" [{', '.join(offer.restrictions)}]" if offer.restrictions else ""
    return (
        f"{line.count} x {offer.provider} {offer.instance_type} ({offer.gpu_count} x {offer.gpu}), {offer.region}, "
        f"{offer.billing}, {usd(offer.price_usd_per_hour)} USD/h each as of {offer.as_of.isoformat()}{marks}"
    )


def layout(replica: nouns.Replica) -> str:
    """How one replica lies on its GPUs: only what is not 1."""
    nodes = f" over {replica.nodes} machines" if replica.nodes > 1 else ""
    return degrees(replica) + nodes


def servers(line: nouns.Line) -> str:
    """What runs on the machines."""
    replica = line.replica
    gpus = f"{replica.gpus} GPU{'s' if replica.gpus > 1 else ''}"
    weights = (
        f"{replica.weight_format} weights{'' if replica.weights_from == 'checkpoint' else f' ({replica.weights_from})'}"
    )
    return (
        f"{line.replicas} replica{'s' if line.replicas > 1 else ''} of {gpus}: {layout(replica)}, "
        f"{weights}, {replica.kv_cache_format} KV cache, {replica.engine} {replica.engine_version}, "
        f"max_num_seqs {replica.max_num_seqs}, max_model_len {replica.max_model_len}"
        + (f", with {added}" if (added := additions(replica.options)) else "")
    )


def _labelled(label: str, text: str, ink: Ink) -> list[Line]:
    return wrapped(text, ink.width, 2, mark=f"{label:<7}")


# ── speed ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def between(interval: nouns.Interval, say: Callable[[float], str]) -> list[Part]:
    """A value as it is said, and its error bar or that there is none."""
    if interval.low is None or interval.high is None:
        return [say(interval.value), Styled("not known", "yellow")]
    return [say(interval.value), Styled(f"{say(interval.low)} to {say(interval.high)}", "dim")]


def speed(answer: nouns.Plan, ink: Ink) -> list[Line]:
    """Expected speed of the whole purchase, then of a replica where there are several kinds."""
    assert answer.totals is not None
    confidence = answer.question.service_level.confidence
    rows: list[list[Part]] = [header(["", "expected", "9 of 10 within", "planned", "asked", "chance to miss"])]
    rows.append(["output tok/s", *_promise(answer.totals.output_tokens_per_second, quantity), *_asked_rate(answer)])
    for number, line in enumerate(answer.lines, start=1):
        of = f" ({number})" if len(answer.lines) > 1 else ""
        ttft, tpot = line.estimate.ttft_seconds, line.estimate.tpot_seconds
        rows.append([f"TTFT{of}", *_promise(ttft, duration), *_asked_time(answer, "--max-ttft")])
        rows.append([f"TPOT{of}", *_promise(tpot, duration), *_asked_time(answer, "--max-tpot")])
    if confidence == EVEN_ODDS:
        rows = [[*row[:3], *row[4:]] for row in rows]
    return [
        *titled("Speed", f"{_load(answer.totals, answer.lines)}; {_resting_on(answer)}", ink),
        *aligned([[*row[:-1], *_unless_empty(row[-1])] for row in rows], right=(1,)),
        *(line for number, one in enumerate(answer.lines, start=1) for line in _arrivals_of(one, number, answer)),
    ]


def _load(totals: nouns.Totals, lines: Sequence[nouns.Line]) -> str:
    """How much is served at once, and what TTFT and TPOT are of."""
    coming = lines[0].estimate.arrivals
    if coming is None:
        return f"{counted(totals.concurrency, 'request')} in flight"
    rate = quantity(totals.requests_per_second)
    return f"up to {rate} requests/s at random; TTFT and TPOT p{coming.percentile:g} at that most"


def _arrivals_of(line: nouns.Line, number: int, answer: nouns.Plan) -> list[Line]:
    return arrivals(line.estimate, f" ({number})" if len(answer.lines) > 1 else "")


def arrivals(estimate: nouns.Estimate, of: str = "") -> list[Line]:
    """What requests meet that come at random at the rate of one replica."""
    coming = estimate.arrivals
    if coming is None:
        return []
    rows: list[list[Part]] = [header([f"requests{of}", "mean", "p50", "p95", "p99"])]
    for name, times in (("TTFT", coming.ttft_seconds), ("TPOT", coming.tpot_seconds)):
        rows.append([name, *(duration(time) for time in (times.mean, times.p50, times.p95, times.p99))])
    said = [
        f"a replica at {quantity(coming.requests_per_second)} requests/s",
        f"{estimate.concurrency:,} in flight",
        f"{100 * coming.busy_share:.0f}% busy",
        f"{100 * coming.slot_wait_share:.1f}% wait for a slot",
    ]
    if coming.within_limits_share is not None and coming.goodput_requests_per_second is not None:
        good = quantity(coming.goodput_requests_per_second)
        said.append(f"goodput {good} requests/s ({100 * coming.within_limits_share:.0f}% within limits)")
    return [*aligned(rows, right=(1, 2, 3, 4)), (Styled(f"  {', '.join(said)}", "dim"),)]


EVEN_ODDS = 0.5


def _resting_on(answer: nouns.Plan) -> str:
    """What the estimates rest on, and on which end of their error bars the plan counts."""
    confidence = answer.question.service_level.confidence
    ends = " (the estimates)" if confidence == EVEN_ODDS else ""
    return f"{answer.lines[0].estimate.calibration}; planned with {100 * confidence:g}% confidence{ends}"


def _promise(interval: nouns.Interval, say: Callable[[float], str]) -> list[Part]:
    return [*between(interval, say), say(interval.planned)]


def _asked_rate(answer: nouns.Plan) -> list[Part]:
    demand = answer.question.demand
    if demand.output_tokens_per_second is not None:
        return [f"at least {quantity(demand.output_tokens_per_second)}", _chance(answer, "--min-tps")]
    if demand.requests_per_second is not None:
        wanted = demand.requests_per_second * answer.question.workload.output_tokens
        return [f"at least {quantity(wanted)}", _chance(answer, "--requests-per-second")]
    return ["", ""]


def _asked_time(answer: nouns.Plan, option: str) -> list[Part]:
    asked = next((risk.asked for risk in answer.risks if risk.option == option), None)
    return ["", ""] if asked is None else [f"up to {duration(asked)}", _chance(answer, option)]


def _chance(answer: nouns.Plan, option: str) -> str:
    chance = next((risk.chance for risk in answer.risks if risk.option == option), None)
    return "not known" if chance is None else f"{100 * chance:.0f}%"


def _unless_empty(part: Part) -> list[Part]:
    return [part] if part else []


def energy(used: PurchaseEnergy) -> list[Line]:
    """What the purchase draws, in one or two lines."""
    per_token = f"{used.wall_joules_per_output_token:.3g} J per output token"
    lines: list[Line] = [(f"  {used.gpu_watts:,.0f} W of GPUs, {used.wall_watts:,.0f} W at the wall: {per_token}",)]
    if used.grams_co2e_per_hour is not None and used.grams_co2e_per_million_output_tokens is not None:
        million = f"{quantity(used.grams_co2e_per_million_output_tokens)} g per million output tokens"
        lines.append((f"  {quantity(used.grams_co2e_per_hour)} g of CO2e per hour, {million}",))
    return lines


# ── memory ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def memory_rows(memory: nouns.Memory, ink: Ink) -> list[Line]:
    """Bytes of one GPU, part by part, each with its share of the GPU and a bar."""
    always = ("weights", "KV cache", "activations", "CUDA graphs", "non-torch")
    sizes = {
        "weights": memory.weight_bytes - memory.draft_weight_bytes,
        "draft weights": memory.draft_weight_bytes,
        "LoRA adapters": memory.adapter_bytes,
        "KV cache": memory.kv_cache_bytes,
        "activations": memory.activation_bytes,
        "CUDA graphs": memory.graph_bytes,
        "non-torch": memory.non_torch_bytes,
        "other processes": memory.occupied_bytes,
    }
    parts = [(name, size) for name, size in sizes.items() if size or name in always]
    parts.append(("free", memory.total_bytes - sum(sizes.values())))
    rows: list[list[Part]] = [header(["", "GiB", "%", ""])]
    for name, size in parts:
        share = 100 * size / memory.total_bytes
        filled = Styled(bar(size, memory.total_bytes, 30, ink), "dim" if name == "free" else "cyan")
        rows.append([name, gib(size), f"{share:.1f}", filled if size >= 0 else Styled("missing", "red")])
    rows.append(["one GPU", gib(memory.total_bytes), "100.0"])
    if memory.offloaded_weight_bytes:
        rows.append(["in the host's memory", gib(memory.offloaded_weight_bytes)])
    return aligned(rows, right=(1, 2))


def lengths_of(workload: Workload) -> str:
    """How long the requests are that memory counts, in tokens."""
    mean, shared = f"{workload.mean_length:,.0f}", workload.shared_prefix_tokens
    of = f"{len(workload.lengths):,} lengths, {mean} in the mean" if workload.lengths else mean
    return of + (f", {shared:,} shared" if shared else "")


def memory(line: nouns.Line, workload: Workload, ink: Ink) -> list[Line]:
    """The memory of one replica's poorest GPU."""
    fit = f"{counted(line.memory.requests_that_fit, 'request')} of {lengths_of(workload)}"
    holds = f"  KV cache holds {line.memory.kv_tokens:,} tokens: {fit}"
    return [(*title(f"Memory of each {line.replica.gpu}"), Styled(holds, "dim")), *memory_rows(line.memory, ink)]


# ── proof, alternatives, warnings, command ───────────────────────────────────────────────────────────────────────────


def proof(answer: nouns.Plan) -> str:
    """The certificate in one sentence."""
    made = answer.proof
    facts = [
        answer.proven,
        f"gap {100 * made.gap:.2g}%" if made.gap is not None else "",
        f"{made.solver} {made.solver_version} in {made.seconds:.2f} s",
        f"{made.candidates:,} candidates, {made.candidates_after_pruning:,} left after pruning",
        "every promise re-derived by audit" if made.audited else "",
    ]
    return "; ".join(fact for fact in facts if fact)


def rejections(rows: Sequence[nouns.Rejection], shown: int | None) -> list[Line]:
    """The best on each other GPU and what decided against it, then those that cannot and why."""
    could = [row for row in rows[:shown] if row.cost_usd_per_hour is not None]
    could_not = [row for row in rows[:shown] if row.cost_usd_per_hour is None]
    lines = aligned(
        [header(["GPU", "GPUs", "replicas", "USD/h", "tok/s", "what decided"]), *map(_rejected, could)], (1, 3, 4)
    )
    reasons: list[list[Part]] = [[row.gpu, row.reason] for row in could_not]
    lines = [*(lines if could else []), *aligned([header(["GPU", "why not"]), *reasons] if reasons else [])]
    if shown is not None and len(rows) > shown:
        lines.append((Styled(f"  and {len(rows) - shown} more; --verbose shows all", "dim"),))
    return lines


def _rejected(row: nouns.Rejection) -> list[Part]:
    return [
        row.gpu,
        f"{row.gpus:,}" if row.gpus is not None else "",
        Styled(f"{row.replicas:,} x {degrees(row)}" if row.replicas is not None else degrees(row), "dim"),
        usd(row.cost_usd_per_hour) if row.cost_usd_per_hour is not None else "",
        quantity(row.output_tokens_per_second) if row.output_tokens_per_second is not None else "",
        row.reason,
    ]


def warnings(answer: nouns.Plan, ink: Ink) -> list[Line]:
    """What a careful buyer should know before signing."""
    return [line for text in answer.warnings for line in wrapped(text, ink.width, 2, "yellow", mark="! ")]


def commands(answer: nouns.Plan) -> list[Line]:
    """What to run, quoted for a POSIX shell; one line per kind of replica."""
    return [(f"  {shlex.join(line.replica.command)}",) for line in answer.lines]


# ── pages ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _verdict(answer: nouns.Plan) -> list[Part]:
    if answer.status == "optimal":
        return [Styled("proven optimal", "green")]
    return [Styled("best found before the time limit, not proven", "yellow")]


def _price_line(answer: nouns.Plan) -> Line:
    totals = answer.totals
    assert totals is not None
    assert answer.cost_usd_per_hour is not None
    return (
        Styled(f"{usd(answer.cost_usd_per_hour)} USD/h", "bold"),
        f"   {usd(totals.usd_per_month)} USD/month   ",
        f"{usd(totals.usd_per_million_output_tokens)} USD per million output tokens   ",
        *_verdict(answer),
    )


def _solved(answer: nouns.Plan, ink: Ink) -> list[Line]:
    page: list[Line] = [_price_line(answer), BLANK]
    for line in answer.lines:
        machine = _labelled("Use" if line.offer.billing == "owned" else "Rent", machines(line), ink)
        page += machine + _labelled("Serve", servers(line), ink)
    page += [BLANK, *speed(answer, ink)]
    if answer.energy is not None:
        page += energy(answer.energy)
    for line in answer.lines:
        page += [BLANK, *memory(line, answer.question.workload, ink)]
    page += [BLANK, title("Proof"), *wrapped(proof(answer), ink.width, 2)]
    return page


def _unsolved(answer: nouns.Plan, ink: Ink) -> list[Line]:
    page: list[Line] = [(Styled("Nothing fits", "red"), " (proven: no plan keeps every rule that was asked)")]
    if answer.conflicts:
        page += [BLANK, title("What conflicts")]
        page += [line for text in answer.conflicts for line in wrapped(text, ink.width, 2, mark="- ")]
    if answer.relaxations:
        page += [BLANK, title("What would give a plan (each alone)")]
        page += relaxations(answer.relaxations, ink)
    return page


def relaxations(rows: Sequence[nouns.Relaxation], ink: Ink) -> list[Line]:
    """Each change that gives a plan, as one types it, and the price of the plan that it gives."""
    return [line for row in rows for line in wrapped(row.sentence, ink.width, 2, mark="- ")]


def full(answer: nouns.Plan, ink: Ink, *, verbose: bool = False, shown: int = SHOWN_REJECTIONS) -> list[Line]:
    """The whole page.

    Args:
        answer: a plan, or the reasons why there is none.
        ink: what the terminal can show.
        verbose: whether long lists are shown whole, and next best plans too.
        shown: how many other GPUs are shown otherwise.
    """
    most = None if verbose else shown
    asked = wrapped(asked_for(answer.question), ink.width, 0, "dim")
    page: list[Line] = [named(answer.model, answer.model_revision), *asked, BLANK]
    page += _solved(answer, ink) if answer.totals is not None else _unsolved(answer, ink)
    if answer.rejections:
        heading = "Best on each other GPU" if answer.lines else "Nearest on each GPU"
        page += [BLANK, title(heading), *rejections(answer.rejections, most)]
    if answer.alternatives and verbose:
        page += [BLANK, title("Next best plans"), *rejections(answer.alternatives, None)]
    if answer.warnings:
        page += [BLANK, title("Before you sign"), *warnings(answer, ink)]
    if answer.lines:
        page += [BLANK, title("Run"), *commands(answer)]
    return page


def short(answer: nouns.Plan) -> list[Line]:
    """The essential line, then the command; or, when nothing fits, the cheapest relaxation."""
    if answer.totals is None or answer.cost_usd_per_hour is None:
        sentence = answer.relaxations[0].sentence if answer.relaxations else "; ".join(answer.conflicts)
        return [(f"nothing fits: {sentence}",)]
    bought = " + ".join(f"{machines(line)}: {servers(line)}" for line in answer.lines)
    commands = [(shlex.join(line.replica.command),) for line in answer.lines]
    return [(f"{answer.status} {usd(answer.cost_usd_per_hour)} USD/h: {bought}",), *commands]
