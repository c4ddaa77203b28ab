"""Re-derives every promise of a fleet's plan from the plan and the file's words, without the solver and its program.

Each kind of replica is measured again as `optimizer.audit` measures one; replicas are counted on the machines that
carry them, machines against what their offers allow, demands, survival, spot shares, quotas, budget and power against
the question as it was asked, and sums are added up again. What explains a plan (worths, relaxations) is not looked at.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from catalog.quantization import SCHEMES
from gpu_db.gpu import Gpu
from gpu_db.offer import Offer
from gpu_db.query import find_gpus, select_offers
from gpu_db.regions import is_everywhere, region_classes, region_words
from optimizer.answer import HOURS_PER_MONTH, offered
from optimizer.audit import CENT_OF_MICRO, RELATIVE, Stated, audit_choices, audit_replica, speed_of
from optimizer.fleet.gpu_parts import GpuPart, ways_to_cut
from optimizer.fleet.plan import FleetPlan, MachineLine, ServedBy, ServiceAnswer
from optimizer.fleet.services import QUOTA_UNITS, QuotaOn, Service
from optimizer.plan import Replica
from optimizer.requirements import Requirements, ServiceLevel
from optimizer.search import Knowledge
from optimizer.shapes import Place

SPOT = "spot"
FLAG = "--gpu-memory-utilization"
STEPS = 10_000
CENTS = CENT_OF_MICRO * 10


@dataclass(frozen=True)
class FleetKnowledge:
    """What a fleet's plan was made from.

    Attributes:
        offers: every machine on offer, whatever its billing or restriction.
        gpus: by name, parts of GPUs among them.
        asked: (service, model's full name) -> what is known of the model, and what each size of requests (input and
            output tokens) asks of it.
        parts: GPU -> the parts that it may be cut into.
    """

    offers: tuple[Offer, ...]
    gpus: Mapping[str, Gpu]
    asked: Mapping[tuple[str, str], tuple[Knowledge, Mapping[tuple[int, int], Requirements]]]
    parts: Mapping[str, tuple[GpuPart, ...]] = field(default_factory=dict)


def audit_fleet(plan: FleetPlan, knowledge: FleetKnowledge) -> tuple[str, ...]:
    """What a fleet's plan says that is not so, one sentence each; empty when every promise holds.

    Args:
        plan: one without a plan (infeasible, unknown) promises nothing, and may buy nothing.
        knowledge: the facts that it was made from.
    """
    if plan.status in ("infeasible", "unknown"):
        return ("a plan that is none buys something",) if plan.machines or plan.cost_usd_per_hour is not None else ()
    audit = _Audit(plan, knowledge)
    return (*audit.machines(), *audit.services(), *audit.limits(), *audit.sums(), *audit.proof())


class _Audit:
    """One plan beside what it is made from."""

    def __init__(self, plan: FleetPlan, knowledge: FleetKnowledge) -> None:
        self.plan, self.fleet, self.knowledge = plan, plan.question, knowledge
        self.offer = {offer.offer_id: offer for offer in knowledge.offers}
        self.region_quotas = [quota.name.strip().casefold() for quota in self.fleet.limits.quotas if _is_region(quota)]

    # machines

    def machines(self) -> Iterator[str]:
        """Machines are on offer as stated, no more and no fewer than can be had, and hold what they carry."""
        bought: Counter[str] = Counter()
        for line in self.plan.machines:
            bought[line.offer.offer_id] += line.count
            offer = self._offer(line)
            if offer is None or line.offer != offered(offer).model_copy(update={"offer_id": line.offer.offer_id}):
                yield f"{line.offer.offer_id} is not offered as the plan says"
            if line.count < 1:
                yield f"{line.count} x {line.offer.offer_id}"
            yield from self._holds(line)
        for name, count in bought.items():
            offer = self.offer.get(self._sold_as(name)[0])
            if offer is not None and count < offer.minimum_count:
                yield f"{count} x {name}, of which no less than {offer.minimum_count} are sold"
            if offer is not None and offer.available_count is not None and count > offer.available_count:
                yield f"{count} x {name}, of which {offer.available_count} can be had"

    def _sold_as(self, name: str) -> tuple[str, str | None]:
        """The offer's own name, and the region with a quota in which the plan rents it."""
        if name in self.offer:
            return name, None
        base, _, region = name.rpartition(" in ")
        return (base, region) if region in self.region_quotas else (name, None)

    def _offer(self, line: MachineLine) -> Offer | None:
        name, region = self._sold_as(line.offer.offer_id)
        offer = self.offer.get(name)
        if offer is None or region is None:
            return offer
        return (
            offer
            if select_offers([offer], regions=[region], billings=[offer.billing], allow=offer.restrictions)
            else None
        )

    def _holds(self, line: MachineLine) -> Iterator[str]:
        """GPUs of one machine: whole ones, cut ones with their parts, or its piece of a replica over several."""
        cut = sum(each.gpus for each in line.cuts)
        whole = sum(each.replicas * each.gpus for each in line.carries if not each.part)
        used = line.offer.gpu_count if line.spans else whole + cut
        if used != line.gpus_used or used > line.offer.gpu_count:
            yield f"{used} GPUs used on {line.offer.offer_id} of {line.offer.gpu_count}, {line.gpus_used} stated"
        if line.spans and (len(line.carries) != 1 or line.carries[0].gpus != line.offer.gpu_count):
            yield f"{line.offer.offer_id} carries a piece of a replica beside something else"
        kinds = self.knowledge.parts.get(line.offer.gpu, ())
        ways = (
            [Counter(dict(way)) for way in ways_to_cut(self.knowledge.gpus[line.offer.gpu], kinds)] if line.cuts else []
        )
        there: Counter[str] = Counter()
        for each in line.cuts:
            there.update(part for part in each.parts for _ in range(each.gpus))
            if each.gpus < 1 or not any(Counter(each.parts) <= way for way in ways):
                yield f"no {line.offer.gpu} can be cut into {', '.join(each.parts)}"
        taken: Counter[str] = Counter()
        share = {kind.name: kind.share for kind in kinds}
        for one in line.carries:
            if one.part:
                taken[one.part] += one.replicas
            if (one.replicas < 1 and not line.spans) or one.share != share.get(one.part, 1.0):
                yield f"{one.replicas} replicas of {one.service} on {line.offer.offer_id}"
        if not taken <= there:
            yield f"{line.offer.offer_id} carries more replicas than its GPUs are cut for"

    # services

    def services(self) -> Iterator[str]:
        """Each service in the order of the question; what is served keeps every word of it."""
        if [answer.name for answer in self.plan.services] != [service.name for service in self.fleet.services]:
            yield "the services are not those that were asked for"
            return
        for service, answer in zip(self.fleet.services, self.plan.services, strict=True):
            yield from self._asked_and_given(service, answer)
            if answer.served:
                yield from self._service(service, answer)
            elif service.required or answer.serving:
                yield f"{service.name} is {'required' if service.required else 'not served, and runs'}"

    def _service(self, service: Service, answer: ServiceAnswer) -> Iterator[str]:
        for one in answer.serving:
            yield from self._serving(service, one)
        yield from self._placed(service, answer)
        yield from _demand(service, answer, self._spot(service))
        if service.survives_losing_one_machine:
            yield from self._survival(service, answer)
        running = sum(one.replicas for one in answer.serving)
        if running < service.replicas_at_least:
            yield f"{service.name}: {running} of {service.replicas_at_least} replicas run"

    def _spot(self, service: Service) -> float:
        buying = self.fleet.buying
        return min(service.spot_share_most, buying.spot_share_most) if SPOT in buying.billings else 0.0

    def _is_spot(self, line: MachineLine) -> bool:
        """Whether a machine may be taken away, and somebody cares."""
        return line.offer.billing == SPOT and any(self._spot(service) < 1 for service in self.fleet.services)

    def _lines(self, service: Service, one: ServedBy) -> list[MachineLine]:
        """Machines that carry this kind of replica, by the words of both."""
        return [
            line
            for line in self.plan.machines
            if self._is_spot(line) == one.spot
            for each in line.carries
            if each.service == service.name and _label(line, each.part) == one.machine
        ]

    def _serving(self, service: Service, one: ServedBy) -> Iterator[str]:
        """One kind of replica: model, formats, memory and speed, and the promises of every size it serves."""
        known = self.knowledge.asked.get((service.name, one.replica.model))
        lines = self._lines(service, one)
        if known is None or not lines or not one.sizes:
            yield f"{service.name}: {one.replica.model} on {one.machine} was not asked for, or no machine carries it"
            return
        knowledge, asked = known
        yield from self._floor(service, one)
        found = []
        for place in dict.fromkeys(self._place(line, one) for line in lines):
            found.append(self._measured(service, one, knowledge, asked, place))
            if not found[-1]:
                return
        yield from found[0]

    def _place(self, line: MachineLine, one: ServedBy) -> Place:
        offer = self._offer(line)
        if one.replica.gpu != line.offer.gpu or offer is None:
            return Place(one.replica.gpu, 1, 1, 0.0, 0.0)
        return Place.of(offer)

    def _measured(
        self,
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
        replica = self._without_neighbours(one, knowledge)
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

    def _without_neighbours(self, one: ServedBy, knowledge: Knowledge) -> Replica | None:
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

    def _floor(self, service: Service, one: ServedBy) -> Iterator[str]:
        bits = {scheme.format: scheme.bits_per_weight for scheme in SCHEMES.values()}
        floor = bits.get(service.weight_format_floor or "", 0)
        if bits.get(one.replica.weight_format, 0) < floor:
            yield f"{service.name}: {one.replica.weight_format} weights are below {service.weight_format_floor}"

    def _placed(self, service: Service, answer: ServiceAnswer) -> Iterator[str]:
        """As many replicas stand on machines as serve, and only where the service accepts them."""
        said: Counter[tuple[str, bool]] = Counter()
        for one in answer.serving:
            if one.replicas < 1:
                yield f"{service.name}: {one.replicas} replicas"
            said[one.machine, one.spot] += one.replicas
        there: Counter[tuple[str, bool]] = Counter()
        for line in self.plan.machines:
            for each in line.carries:
                if each.service == service.name:
                    there[_label(line, each.part), self._is_spot(line)] += line.count * each.replicas
                    if not self._accepts(service, line):
                        yield f"{service.name} stands on {line.offer.offer_id}, which it does not accept"
        yield from self._spread(service, answer)
        if said != there:
            yield f"{service.name}: {sum(there.values())} replicas stand on machines, {sum(said.values())} serve"

    def _spread(self, service: Service, answer: ServiceAnswer) -> Iterator[str]:
        """Replicas larger than a machine have as many whole machines as they need, and no others say so."""
        wanted: Counter[str] = Counter()
        for one in answer.serving:
            for line in self._lines(service, one)[:1]:
                if one.replica.gpus > line.offer.gpu_count:
                    wanted[one.machine] += one.replicas * -(-one.replica.gpus // line.offer.gpu_count)
        had: Counter[str] = Counter()
        for line in self.plan.machines:
            if line.spans and any(each.service == service.name for each in line.carries):
                had[_label(line, "")] += line.count
        if wanted != had:
            yield f"{service.name}: replicas over several machines want {dict(wanted)}, and have {dict(had)}"

    def _accepts(self, service: Service, line: MachineLine) -> bool:
        choices, buying = service.choices, self.fleet.buying
        name, region = self._sold_as(line.offer.offer_id)
        accepted = select_offers(
            self.knowledge.offers,
            gpus=choices.gpus,
            gpus_excluded=choices.gpus_excluded,
            providers=choices.providers,
            regions=choices.regions,
            billings=tuple(b for b in buying.billings if b != SPOT or self._spot(service) > 0),
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

    def _survival(self, service: Service, answer: ServiceAnswer) -> Iterator[str]:
        """What is left without any one machine, whichever it is, is what was asked."""
        for line in self.plan.machines:
            gone = Counter(
                {
                    _label(line, each.part): max(each.replicas, 1)
                    for each in line.carries
                    if each.service == service.name
                }
            )
            for at, one in enumerate(answer.serving):
                lost = gone.get(one.machine, 0) if one.spot == self._is_spot(line) else 0
                if lost:
                    left = answer.model_copy(update={"serving": _left(answer.serving, at, lost)})
                    for finding in _demand(service, left, self._spot(service)):
                        yield f"without one {line.offer.offer_id}: {finding}"

    def _asked_and_given(self, service: Service, answer: ServiceAnswer) -> Iterator[str]:
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

    # limits

    def limits(self) -> Iterator[str]:
        """Budget, GPUs, watts and quotas, counted from the machines; each stated as it is used."""
        limits, found = self.fleet.limits, {}
        lines = self.plan.machines
        if limits.budget_usd_per_hour is not None:
            cost = sum(line.count * line.offer.price_usd_per_hour for line in lines)
            found["budget"] = (cost, limits.budget_usd_per_hour)
        if limits.gpus is not None:
            found["max_gpus"] = (sum(line.count * line.offer.gpu_count for line in lines), limits.gpus)
        if limits.power_watts is not None:
            found["max_power"] = (_watts(self.plan), limits.power_watts)
        for quota in limits.quotas:
            found[f"quota of {_WORDS[quota.kind]} {quota.name}"] = (self._counted(quota), quota.most)
        stated = {use.option: use for use in self.plan.limits}
        if set(stated) != set(found):
            yield f"limits on {', '.join(sorted(found))} were asked for"
            return
        for name, (used, most) in found.items():
            use = stated[name]
            if used > most + CENTS:
                yield f"{name}: {used} used of {most}"
            if not math.isclose(use.used, used, abs_tol=CENTS, rel_tol=RELATIVE):
                yield f"{name}: {used} used, {use.used} stated"
            if not math.isclose(use.most, math.floor(most) if name == "max_power" else most, abs_tol=CENTS):
                yield f"{name} is {most}, {use.most} stated"

    def _counted(self, quota: QuotaOn) -> int:
        """What counts for a quota: machines of a type, or GPUs; rented ones, for a GPU also what is owned."""
        counted = [line for line in self.plan.machines if self._counts(quota, line)]
        return sum(
            line.count * (1 if QUOTA_UNITS[quota.kind] == "machines" else line.offer.gpu_count) for line in counted
        )

    def _counts(self, quota: QuotaOn, line: MachineLine) -> bool:
        offer, key = line.offer, quota.name.strip().casefold()
        if quota.kind == "gpu":
            return offer.gpu in {gpu.name for gpu in find_gpus(quota.name)}
        if offer.billing == "owned":
            return False
        if quota.kind == "provider":
            return key in {offer.provider.casefold(), offer.provider.casefold().split(":")[0]}
        if quota.kind == "instance_type":
            return offer.instance_type.casefold() == key
        return self._in_region(line, key)

    def _in_region(self, line: MachineLine, key: str) -> bool:
        """Rented in it by name; or nowhere else to be had."""
        name, region = self._sold_as(line.offer.offer_id)
        offer = self.offer.get(name)
        if region is not None or offer is None or is_everywhere(offer.region):
            return region == key
        return set(region_words(offer.region)) <= {key} or set(offer.region_classes) <= {key}

    # sums and proof

    def sums(self) -> Iterator[str]:
        """Costs of the machines, their sum by the hour and the month, and what each service has of it."""
        for line in self.plan.machines:
            if not math.isclose(line.cost_usd_per_hour, line.count * line.offer.price_usd_per_hour, abs_tol=CENTS):
                yield f"{line.count} x {line.offer.offer_id} cost something else"
        cost = sum(line.count * line.offer.price_usd_per_hour for line in self.plan.machines)
        if self.plan.cost_usd_per_hour is None or not math.isclose(self.plan.cost_usd_per_hour, cost, abs_tol=CENTS):
            yield f"the machines cost {cost:.6f} USD/h, not {self.plan.cost_usd_per_hour}"
            return
        month = self.plan.cost_usd_per_hour * HOURS_PER_MONTH
        if self.plan.cost_usd_per_month is None or not math.isclose(self.plan.cost_usd_per_month, month):
            yield f"a month costs {month:.2f} USD, not {self.plan.cost_usd_per_month}"
        shares = _shares(self.plan)
        for answer in self.plan.services:
            if not math.isclose(answer.shares_cost_usd_per_hour, shares.get(answer.name, 0.0), abs_tol=CENTS):
                yield f"{answer.name} has {shares.get(answer.name, 0.0):.6f} USD/h of the machines"

    def proof(self) -> Iterator[str]:
        """The bound is below the cost, the status what it says, the day that of the oldest price."""
        plan, proof = self.plan, self.plan.proof
        cost, bound = plan.cost_usd_per_hour or 0.0, plan.bound_usd_per_hour
        if (proof.status, proof.bound_usd_per_hour) != (plan.status, bound):
            yield "the proof is of another plan"
        if bound is None or bound > cost + CENTS or bound < 0:
            yield f"the bound {bound} is above the cost"
        elif plan.status == "optimal" and bound < cost - CENTS:
            yield f"the bound {bound} is below the cost {cost:.6f}, so it is not proven optimal"
        elif proof.gap is None or not math.isclose(proof.gap, (cost - bound) / cost if cost else 0.0, abs_tol=GAPS):
            yield f"the bound is {(cost - bound) / cost if cost else 0.0:.4%} below the cost"
        oldest = min((line.offer.as_of for line in plan.machines), default=None)
        if plan.prices_as_of != oldest:
            yield f"the oldest price is of {oldest}, not {plan.prices_as_of}"
        unserved = {answer.name for answer in plan.services if not answer.served}
        if not {one.service for one in plan.dropped} <= unserved:
            yield "a service that is served is said to be dropped"


RATES = 1e-6
"""Relative, of rates that were added up in floating point."""
GAPS = 1e-9
_WORDS = {"gpu": "GPU", "instance_type": "instance type", "provider": "provider", "region": "region"}


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


def _is_region(quota: QuotaOn) -> bool:
    return quota.kind == "region"


def _label(line: MachineLine, part: str) -> str:
    """What a machine, or a part of its GPUs, is called."""
    return f"{part} of {line.offer.gpu}" if part else f"{line.offer.gpu_count} x {line.offer.gpu}"


def _left(serving: tuple[ServedBy, ...], at: int, lost: int) -> tuple[ServedBy, ...]:
    """Replicas without those of one kind on a lost machine."""
    one = serving[at]
    fewer = one.model_copy(update={"replicas": max(one.replicas - lost, 0)})
    return (*serving[:at], fewer, *serving[at + 1 :])


def _demand(service: Service, answer: ServiceAnswer, spot: float) -> Iterator[str]:
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
    run: Counter[tuple[int, int]] = Counter()
    on_spot: Counter[tuple[int, int]] = Counter()
    rate = dict.fromkeys(((size.input_tokens, size.output_tokens) for size in service.sizes), 0.0)
    for size, share in zip(service.sizes, service.size_shares, strict=True):
        rate[size.input_tokens, size.output_tokens] += share * service.requests_per_second
    for one in answer.serving:
        work = 0.0
        for served in one.sizes:
            key = (served.input_tokens, served.output_tokens)
            run[key] += served.share  # type: ignore[assignment]
            on_spot[key] += served.share if one.spot else 0  # type: ignore[assignment]
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


def _watts(plan: FleetPlan) -> float:
    """Of all replicas, each kind rounded up to whole watts."""
    return sum(
        one.replicas * math.ceil(math.inf if one.power_watts is None else one.power_watts)
        for answer in plan.services
        for one in answer.serving
    )


def _shares(plan: FleetPlan) -> dict[str, float]:
    """Service -> its part of the machines that it stands on, by GPUs and parts of them."""
    shares: dict[str, float] = {}
    for line in plan.machines:
        whole = sum(each.replicas * each.gpus * each.share for each in line.carries)
        for each in line.carries:
            part = each.replicas * each.gpus * each.share / whole if whole else 1 / len(line.carries)
            shares[each.service] = shares.get(each.service, 0.0) + part * line.count * line.offer.price_usd_per_hour
    return shares
