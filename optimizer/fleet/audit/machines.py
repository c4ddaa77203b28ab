"""Machines of a fleet's plan: on offer as stated, as many as can be had, holding what they carry."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from optimizer.answer import offered
from optimizer.fleet.audit.beside import Beside
from optimizer.fleet.gpu_parts import ways_to_cut
from optimizer.fleet.plan import MachineLine


def audit_machines(beside: Beside) -> Iterator[str]:
    """Machines are on offer as stated, no more and no fewer than can be had, and hold what they carry."""
    bought: Counter[str] = Counter()
    for line in beside.plan.machines:
        bought[line.offer.offer_id] += line.count
        offer = beside.offer_of(line)
        if offer is None or line.offer != offered(offer).model_copy(update={"offer_id": line.offer.offer_id}):
            yield f"{line.offer.offer_id} is not offered as the plan says"
        if line.count < 1:
            yield f"{line.count} x {line.offer.offer_id}"
        yield from _holds(beside, line)
    for name, count in bought.items():
        offer = beside.offer.get(beside.sold_as(name)[0])
        if offer is not None and count < offer.minimum_count:
            yield f"{count} x {name}, of which no less than {offer.minimum_count} are sold"
        if offer is not None and offer.available_count is not None and count > offer.available_count:
            yield f"{count} x {name}, of which {offer.available_count} can be had"


def _holds(beside: Beside, line: MachineLine) -> Iterator[str]:
    """GPUs of one machine: whole ones, cut ones with their parts, or its piece of a replica over several."""
    cut = sum(each.gpus for each in line.cuts)
    whole = sum(each.replicas * each.gpus for each in line.carries if not each.part)
    used = line.offer.gpu_count if line.spans else whole + cut
    if used != line.gpus_used or used > line.offer.gpu_count:
        yield f"{used} GPUs used on {line.offer.offer_id} of {line.offer.gpu_count}, {line.gpus_used} stated"
    if line.spans and (len(line.carries) != 1 or line.carries[0].gpus != line.offer.gpu_count):
        yield f"{line.offer.offer_id} carries a piece of a replica beside something else"
    kinds = beside.knowledge.parts.get(line.offer.gpu, ())
    ways = (
        [Counter(dict(way)) for way in ways_to_cut(beside.knowledge.gpus[line.offer.gpu], kinds)] if line.cuts else []
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
