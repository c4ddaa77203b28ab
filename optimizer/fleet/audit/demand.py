"""What a fleet's services asked for beside what runs, also when any one machine is lost."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator

from optimizer.fleet.audit.beside import Beside, label
from optimizer.fleet.plan import MachineLine, ServedBy, ServiceAnswer
from optimizer.fleet.services import Service

RATES = 1e-6
"""Relative, of rates that were added up in floating point."""


def survives(beside: Beside, service: Service, answer: ServiceAnswer) -> Iterator[str]:
    """What is left without any one machine, whichever it is, is what was asked."""
    for line in beside.plan.machines:
        for left in _without_one(beside, line, service, answer):
            for finding in met(service, left, beside.spot_share(service)):
                yield f"without one {line.offer.offer_id}: {finding}"


def _without_one(beside: Beside, line: MachineLine, service: Service, answer: ServiceAnswer) -> Iterator[ServiceAnswer]:
    """What is left of a service without one machine: of each kind of replica on it, the most that one carries."""
    gone = {label(line, each.part): max(each.replicas, 1) for each in line.carries if each.service == service.name}
    for at, one in enumerate(answer.serving):
        lost = gone.get(one.machine, 0) if one.spot == beside.is_spot(line) else 0
        if lost:
            yield answer.model_copy(update={"serving": _left(answer.serving, at, lost)})


def asked_and_given(service: Service, answer: ServiceAnswer) -> Iterator[str]:
    """What a service asks for and is given is stated as it is."""
    demand = service.demand
    asked = {
        "output_tokens_per_second": demand.output_tokens_per_second,
        "requests_per_second": demand.requests_per_second,
        "concurrency": demand.concurrency,
    }
    known = {name: float(value) for name, value in asked.items() if value is not None}
    if answer.asked != known:
        yield f"{service.name} asks for {known}"
    given = _given(service, answer)
    if set(answer.given) != set(given) or any(
        not math.isclose(answer.given[name], given[name], rel_tol=RATES, abs_tol=RATES) for name in given
    ):
        yield f"{service.name} is given {given}"


def _left(serving: tuple[ServedBy, ...], at: int, lost: int) -> tuple[ServedBy, ...]:
    """Replicas without those of one kind on a lost machine."""
    one = serving[at]
    fewer = one.model_copy(update={"replicas": max(one.replicas - lost, 0)})
    return (*serving[:at], fewer, *serving[at + 1 :])


def met(service: Service, answer: ServiceAnswer, spot: float) -> Iterator[str]:
    """What runs is what was asked; without spot machines, what may not run on them."""
    if len(service.sizes) > 1:
        yield from _demand_of_sizes(service, answer, spot)
        return
    wanted = max(
        service.demand.output_tokens_per_second or 0.0,
        (service.demand.requests_per_second or 0.0) * service.sizes[0].output_tokens,
    )
    if any(len(one.sizes) != 1 or one.sizes[0].share != 1.0 for one in answer.serving):
        yield f"{service.name} has one size of requests, and all of it runs on each of its replicas"
    for steady, share in ((False, 1.0), (True, 1.0 - spot)):
        some = [one for one in answer.serving if one.sizes and not (steady and one.spot)]
        tokens = sum(one.replicas * one.sizes[0].estimate.output_tokens_per_second.planned for one in some)
        if tokens < wanted * share * (1 - RATES):
            yield f"{service.name}: {tokens:.3f} output tokens/s of {wanted * share:.3f}"
        requests = sum(one.replicas * one.sizes[0].estimate.concurrency for one in some)
        if requests < (service.demand.concurrency or 0) * share:
            yield f"{service.name}: {requests} requests in flight of {service.demand.concurrency}"


def _demand_of_sizes(service: Service, answer: ServiceAnswer, spot: float) -> Iterator[str]:
    """All of each size runs somewhere, no replica works longer than all of its time, no more than may is on spot."""
    run: defaultdict[tuple[int, int], float] = defaultdict(float)
    on_spot: defaultdict[tuple[int, int], float] = defaultdict(float)
    rate = dict.fromkeys(((size.input_tokens, size.output_tokens) for size in service.sizes), 0.0)
    for size, share in zip(service.sizes, service.size_shares, strict=True):
        rate[size.input_tokens, size.output_tokens] += share * service.requests_per_second
    for one in answer.serving:
        work = 0.0
        for served in one.sizes:
            key = (served.input_tokens, served.output_tokens)
            run[key] += served.share
            on_spot[key] += served.share if one.spot else 0
            planned = served.estimate.output_tokens_per_second.planned / served.output_tokens
            work += served.share * rate.get(key, math.inf) / planned
        if work > one.replicas * (1 + RATES):
            yield f"{service.name}: the work of {work:.4f} replicas on {one.replicas} on {one.machine}"
    for key in rate:
        if not math.isclose(run[key], 1.0, abs_tol=RATES):
            yield f"{service.name}: {run[key]:.4%} of requests of {key[0]}/{key[1]} run"
        if on_spot[key] > spot + RATES:
            yield f"{service.name}: {on_spot[key]:.2%} of requests of {key[0]}/{key[1]} run on spot machines"


def _given(service: Service, answer: ServiceAnswer) -> dict[str, float]:
    if len(service.sizes) > 1:
        return {}
    first = [(one.replicas, one.sizes[0].estimate) for one in answer.serving if one.sizes]
    tokens = sum(replicas * made.output_tokens_per_second.planned for replicas, made in first)
    given = {
        "output_tokens_per_second": tokens,
        "requests_per_second": tokens / service.sizes[0].output_tokens,
        "concurrency": float(sum(replicas * made.concurrency for replicas, made in first)),
    }
    return {name: given[name] for name in answer.asked if name in given}
