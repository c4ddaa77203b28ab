"""Services of a fleet's plan: each kind of replica measured again, standing where it may, enough of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping

from catalog.quantization import SCHEMES
from gpu_db.query import select_offers
from gpu_db.regions import region_classes
from optimizer.audit import Stated, audit_choices, audit_replica, speed_of
from optimizer.fleet.audit.beside import SPOT, Beside, label
from optimizer.fleet.audit.demand import asked_and_given, met, survives
from optimizer.fleet.plan import MachineLine, ServedBy, ServiceAnswer
from optimizer.fleet.services import Service
from optimizer.plan import Replica
from optimizer.requirements import Requirements, ServiceLevel
from optimizer.search import Knowledge
from optimizer.shapes import Place

FLAG = "--gpu-memory-utilization"
STEPS = 10_000


def audit_services(beside: Beside) -> Iterator[str]:
    """Each service in the order of the question; what is served keeps every word of it."""
    if [answer.name for answer in beside.plan.services] != [service.name for service in beside.fleet.services]:
        yield "the services are not those that were asked for"
        return
    for service, answer in zip(beside.fleet.services, beside.plan.services, strict=True):
        yield from asked_and_given(service, answer)
        if answer.served:
            yield from _service(beside, service, answer)
        elif service.required or answer.serving:
            yield f"{service.name} is {'required' if service.required else 'not served, and runs'}"


def _service(beside: Beside, service: Service, answer: ServiceAnswer) -> Iterator[str]:
    for one in answer.serving:
        yield from _serving(beside, service, one)
    yield from _placed(beside, service, answer)
    yield from met(service, answer, beside.spot_share(service))
    if service.survives_losing_one_machine:
        yield from survives(beside, service, answer)
    running = sum(one.replicas for one in answer.serving)
    if running < service.replicas_at_least:
        yield f"{service.name}: {running} of {service.replicas_at_least} replicas run"


def _serving(beside: Beside, service: Service, one: ServedBy) -> Iterator[str]:
    """One kind of replica: model, formats, memory and speed, and the promises of every size it serves."""
    known = beside.knowledge.asked.get((service.name, one.replica.model))
    lines = _lines(beside, service, one)
    if known is None or not lines or not one.sizes:
        yield f"{service.name}: {one.replica.model} on {one.machine} was not asked for, or no machine carries it"
        return
    knowledge, asked = known
    yield from _floor(service, one)
    found = []
    for place in dict.fromkeys(_place(beside, line, one) for line in lines):
        found.append(_measured(beside, service, one, knowledge, asked, place))
        if not found[-1]:
            return
    yield from found[0]


def _lines(beside: Beside, service: Service, one: ServedBy) -> list[MachineLine]:
    """Machines that carry this kind of replica, by the words of both."""
    return [
        line
        for line in beside.plan.machines
        if beside.is_spot(line) == one.spot
        for each in line.carries
        if each.service == service.name and label(line, each.part) == one.machine
    ]


def _place(beside: Beside, line: MachineLine, one: ServedBy) -> Place:
    offer = beside.offer_of(line)
    if one.replica.gpu != line.offer.gpu or offer is None:
        return Place(one.replica.gpu, 1, 1, 0.0, 0.0)
    return Place.of(offer)


def _measured(
    beside: Beside,
    service: Service,
    one: ServedBy,
    knowledge: Knowledge,
    asked: Mapping[tuple[int, int], Requirements],
    place: Place,
) -> list[str]:
    """Memory and speed on one kind of machine, size by size."""
    if place.gpu not in knowledge.gpus:
        return [f"{service.name}: no {place.gpu} is known"]
    findings: list[str] = []
    level = service.service_level
    replica = _without_neighbours(one, knowledge)
    if replica is None:
        return [f"{service.name}: the replica on {one.machine} takes another share of the GPU's memory"]
    for at, served in enumerate(one.sizes):
        question = asked.get((served.input_tokens, served.output_tokens))
        if question is None:
            return [f"{service.name}: no requests of {served.input_tokens}/{served.output_tokens} were asked for"]
        stated = Stated(question, replica, one.memory if at == 0 else None, served.estimate, one.machine)
        findings += [*audit_choices(stated, knowledge)] if at == 0 else []
        findings += audit_replica(stated, place, knowledge)
        if served.estimate.ttft_seconds.planned > (level.ttft_seconds or math.inf):
            findings.append(f"{service.name}: TTFT of {served.estimate.ttft_seconds.planned:.4f} s")
        if served.estimate.tpot_seconds.planned > (level.tpot_seconds or math.inf):
            findings.append(f"{service.name}: TPOT of {served.estimate.tpot_seconds.planned:.4f} s")
    if not findings and one.power_watts != _power(one, replica, asked, place, knowledge, level):
        findings.append(f"{service.name}: {one.power_watts} W is not what the replica on {one.machine} draws")
    return findings


def _power(
    one: ServedBy,
    replica: Replica,
    asked: Mapping[tuple[int, int], Requirements],
    place: Place,
    knowledge: Knowledge,
    level: ServiceLevel,
) -> float | None:
    """Watts of one replica: the most of all sizes that it can serve in time; None when unknown."""
    if len(asked) == 1:
        return one.sizes[0].estimate.power_watts
    made = [speed_of(question, replica, place, knowledge) for question in asked.values()]
    able = [
        each
        for each in made
        if each.ttft_seconds.planned <= (level.ttft_seconds or math.inf)
        and each.tpot_seconds.planned <= (level.tpot_seconds or math.inf)
    ]
    watts = [each.power_watts for each in able]
    return max((each for each in watts if each is not None), default=None) if None not in watts else None


def _without_neighbours(one: ServedBy, knowledge: Knowledge) -> Replica | None:
    """The replica as it would be started alone on its part; None when its share of the card is not the part's."""
    replica, engine = one.replica, knowledge.engines.get(one.replica.engine)
    if "/" not in one.machine.split()[0] or engine is None or engine.memory_utilization is None:
        return replica
    alone = engine.memory_utilization
    numerator, denominator = one.machine.split()[0].split("/")
    share = math.floor(alone * int(numerator) / int(denominator) * STEPS) / STEPS
    command = list(replica.command)
    if FLAG not in command or replica.gpu_memory_utilization != share:
        return None
    at = command.index(FLAG) + 1
    if command[at] != f"{share:g}":
        return None
    command[at] = f"{alone:g}"
    return replica.model_copy(update={"gpu_memory_utilization": alone, "command": tuple(command)})


def _floor(service: Service, one: ServedBy) -> Iterator[str]:
    bits = {scheme.format: scheme.bits_per_weight for scheme in SCHEMES.values()}
    floor = bits.get(service.weight_format_floor or "", 0)
    if bits.get(one.replica.weight_format, 0) < floor:
        yield f"{service.name}: {one.replica.weight_format} weights are below {service.weight_format_floor}"


def _placed(beside: Beside, service: Service, answer: ServiceAnswer) -> Iterator[str]:
    """As many replicas stand on machines as serve, and only where the service accepts them."""
    said: Counter[tuple[str, bool]] = Counter()
    for one in answer.serving:
        if one.replicas < 1:
            yield f"{service.name}: {one.replicas} replicas"
        said[one.machine, one.spot] += one.replicas
    there: Counter[tuple[str, bool]] = Counter()
    carried = [(line, each) for line in beside.plan.machines for each in line.carries if each.service == service.name]
    for line, each in carried:
        there[label(line, each.part), beside.is_spot(line)] += line.count * each.replicas
        if not _accepts(beside, service, line):
            yield f"{service.name} stands on {line.offer.offer_id}, which it does not accept"
    yield from _spread(beside, service, answer)
    if said != there:
        yield f"{service.name}: {sum(there.values())} replicas stand on machines, {sum(said.values())} serve"


def _spread(beside: Beside, service: Service, answer: ServiceAnswer) -> Iterator[str]:
    """Replicas larger than a machine have as many whole machines as they need, and no others say so."""
    wanted: Counter[str] = Counter()
    for one in answer.serving:
        for line in _lines(beside, service, one)[:1]:
            if one.replica.gpus > line.offer.gpu_count:
                wanted[one.machine] += one.replicas * -(-one.replica.gpus // line.offer.gpu_count)
    had: Counter[str] = Counter()
    for line in beside.plan.machines:
        if line.spans and any(each.service == service.name for each in line.carries):
            had[label(line, "")] += line.count
    if wanted != had:
        yield f"{service.name}: replicas over several machines want {dict(wanted)}, and have {dict(had)}"


def _accepts(beside: Beside, service: Service, line: MachineLine) -> bool:
    choices, buying = service.choices, beside.fleet.buying
    name, region = beside.sold_as(line.offer.offer_id)
    accepted = select_offers(
        beside.knowledge.offers,
        gpus=choices.gpus,
        gpus_excluded=choices.gpus_excluded,
        providers=choices.providers,
        regions=choices.regions,
        billings=tuple(b for b in buying.billings if b != SPOT or beside.spot_share(service) > 0),
        allow=frozenset(buying.allowed_restrictions),
        since=choices.prices_since,
    )
    if name not in {offer.offer_id for offer in accepted}:
        return False
    asked = [word.strip().casefold() for word in choices.regions or ()]
    if region is None or not asked:
        return True
    mine = {region, *region_classes(region)}
    return any(word in mine or region in region_classes(word) for word in asked)
