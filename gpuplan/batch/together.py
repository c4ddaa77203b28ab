"""Rows of a table planned together as one fleet under shared limits: each row a service, one answer per row and in all.

What a row asks is what it would ask alone, plus what only a fleet knows: who is served first, and how surely. Money,
GPUs and power are limited for all rows at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from catalog.errors import CatalogError
from catalog.find import find_model
from gpuplan.batch.answers import COLUMNS, OFFER_FIELDS, REPLICA_FIELDS, Answer, Value, joined, refused, short
from gpuplan.batch.columns import Column, bare
from gpuplan.batch.errors import BadQuestions, BadRow
from gpuplan.batch.output import Record
from gpuplan.batch.run import Job, Reader, recorded, understood
from gpuplan.batch.tables import Row, Table
from gpuplan.errors import BadWord
from gpuplan.fleets.vocabulary import SERVICE
from optimizer.answer import HOURS_PER_MONTH
from optimizer.fleet.plan import FleetPlan, MachineLine, ServedBy, ServiceAnswer
from optimizer.fleet.services import Fleet, RequestSize, Service
from optimizer.plan import Interval
from optimizer.requirements import Choices, Requirements

OF_A_FLEET = (
    "priority",
    "weight",
    "required",
    "min_replicas",
    "survive_losing_one_machine",
    "spot_share",
    "quantization_floor",
)
"""Columns that only rows of a fleet have: words of a service, as in a fleet file."""
SHARED = ("budget", "max_gpus", "max_power", "billing", "allow", "time_limit")
"""What holds for all rows at once, and can be no column then."""
NOT_IN_A_FLEET = (
    "revision",
    "lengths",
    "shared_prefix_tokens",
    "prefix_hit_rate",
    "speculative",
    "acceptance_rate",
    "no_mix",
    "grid",
    "electricity",
    "pue",
    "objective",
    "alternatives",
)
"""What a fleet does not plan with."""
NAMES = ("name", "id", "label")
IN_ALL = "all"
"""Stands for a row's number in the last row, which is of the whole fleet."""


def understood_together(table: Table, keep: Sequence[str]) -> Job:
    """What a table asks column by column when its rows are one fleet; the fleet's own columns are handed through.

    Raises:
        BadQuestions: a column means nothing, two mean the same, or one means what all rows share.
    """
    own = [title for title in table.columns if bare(title) in OF_A_FLEET]
    job = understood(table, [*keep, *own])
    for column in job.columns:
        if column.option in SHARED:
            raise BadQuestions(
                f"The column {column.title[:60]!r} limits each row, and with --fleet all rows share one: leave it out "
                f"and type --{column.option.replace('_', '-')}."
            )
        if column.option in NOT_IN_A_FLEET:
            raise BadQuestions(
                f"The column {column.title[:60]!r} is nothing that a fleet is planned with; leave it out or plan its "
                "rows without --fleet."
            )
    return job


@dataclass(frozen=True)
class Rows:
    """Rows of a table as services.

    Attributes:
        services: those that can be asked.
        names: number of a row -> its service's name.
        refused: number of a row -> why it cannot be asked.
    """

    services: tuple[Service, ...]
    names: Mapping[int, str]
    refused: Mapping[int, str]

    def without(self, wrong: Mapping[str, str]) -> Rows:
        """The same without services that cannot be planned, by name, each with its reason."""
        left = {row: name for row, name in self.names.items() if name not in wrong}
        out = {row: wrong[name] for row, name in self.names.items() if name in wrong}
        services = tuple(each for each in self.services if each.name not in wrong)
        return Rows(services, left, {**self.refused, **out})


def services_of(job: Job, read: Reader, *, offline: bool = False) -> Rows:
    """Each row as a service; those that cannot be asked say why.

    Args:
        job: see `understood_together`.
        read: turns a row into a question.
        offline: whether the Hub may not be asked for models that are not bundled.
    """
    services: dict[str, Service] = {}
    names, wrong = {}, {}
    for row in job.table.rows:
        try:
            service = _service(row, job.columns, read(row), services)
            find_model(service.models[0], offline=offline)
        except (BadRow, CatalogError) as error:
            wrong[row.number] = str(error).rstrip(".") + "."
            continue
        services[service.name] = service
        names[row.number] = service.name
    return Rows(tuple(services.values()), names, wrong)


def _service(row: Row, columns: Sequence[Column], asked: Requirements, taken: Mapping[str, Service]) -> Service:
    """One row, under a name that no row before it has."""
    work = asked.workload
    fields: dict[str, Any] = {
        "name": _name(row, columns, asked.model, taken),
        "models": (asked.model,),
        "sizes": (RequestSize(input_tokens=work.input_tokens, output_tokens=work.output_tokens),),
        "demand": asked.demand,
        "service_level": asked.service_level,
        "choices": asked.choices.model_copy(
            update={name: Choices.model_fields[name].default for name in ("billings", "allowed_restrictions")}
        ),
        "options": asked.options,
    }
    fields |= _own(row, columns)
    try:
        return Service(**fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise BadRow(str(first["msg"]).removeprefix("Value error, ")) from None


def _name(row: Row, columns: Sequence[Column], model: str, taken: Mapping[str, Service]) -> str:
    titles = {bare(each.title): each.title for each in columns if each.option is None}
    said = next((row.cells[titles[name]] for name in NAMES if name in titles and row.cells.get(titles[name])), model)
    name = said[:100]
    return name if name not in taken else f"{name} (row {row.number})"


def _own(row: Row, columns: Sequence[Column]) -> dict[str, Any]:
    """What only a fleet knows of a row."""
    fields: dict[str, Any] = {}
    for column in columns:
        word, cell = bare(column.title), row.cells.get(column.title, "")
        if column.option is None and word in OF_A_FLEET and cell:
            try:
                fields[SERVICE[word].place[0]] = SERVICE[word].read(cell)
            except BadWord as error:
                raise BadRow(f"{word}: {error}") from error
    return fields


# ── answers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def records_of(job: Job, rows: Rows, plan: FleetPlan | None) -> Iterator[Record]:
    """The rows of the output in order, then one of the whole fleet.

    Args:
        job: the table.
        rows: its rows as services.
        plan: of the services; None when no row could be asked.
    """
    served = {} if plan is None else {each.name: each for each in plan.services}
    for row in job.table.rows:
        name = rows.names.get(row.number)
        if plan is None or name is None:
            yield recorded(job, row, refused(rows.refused[row.number]))
        else:
            yield recorded(job, row, answer_of_service(served[name], plan))
    if plan is not None:
        yield {**answer_of_fleet(plan), "row": IN_ALL}


def answer_of_service(service: ServiceAnswer, plan: FleetPlan) -> Answer:
    """The row of one service: its part of the machines that it runs on."""
    if not service.served:
        reasons = [one.reason for one in plan.dropped if one.service == service.name]
        said = " ".join(reasons) or _why_nothing(plan)
        return {**refused(said), "status": "not served", **_made_by(plan)}
    lines = [line for line in plan.machines if any(each.service == service.name for each in line.carries)]
    cost = service.shares_cost_usd_per_hour
    return {
        **dict.fromkeys(COLUMNS),
        "status": plan.status,
        **_paid(cost, lines),
        **_serving(service.serving, cost),
        "machines": sum(line.count for line in lines),
        **_made_by(plan),
    }


def answer_of_fleet(plan: FleetPlan) -> Answer:
    """The row of everything together."""
    found = plan.cost_usd_per_hour is not None
    serving = [one for service in plan.services if service.served for one in service.serving]
    limits = [f"{each.option}: {each.used:g} of {each.most:g} {each.unit}" for each in plan.limits]
    return {
        **dict.fromkeys(COLUMNS),
        "status": plan.status,
        **(_paid(plan.cost_usd_per_hour or 0.0, plan.machines) if found else {}),
        **(_served_by(serving) if found else {}),
        "machines": sum(line.count for line in plan.machines) if found else None,
        "gpus": sum(line.count * line.offer.gpu_count for line in plan.machines) if found else None,
        "message": "; ".join(limits if found else [_why_nothing(plan)]),
        "warnings": " ".join(plan.warnings),
        **_made_by(plan),
    }


def _made_by(plan: FleetPlan) -> Answer:
    return {
        "prices_as_of": plan.prices_as_of.isoformat() if plan.prices_as_of else None,
        "gpuplan_version": plan.gpuplan_version,
        "data_fingerprint": plan.data_fingerprint,
    }


def _why_nothing(plan: FleetPlan) -> str:
    """Why there is no plan at all."""
    if plan.status == "unknown":
        return "No plan was found in time; give more with --time-limit."
    changes = [f"cheapest change: {each.sentence}" for each in plan.relaxations[:1]]
    return "; ".join([*(f"in conflict: {rule}" for rule in plan.conflicts), *changes])


def _paid(cost: float, lines: Iterable[MachineLine]) -> Answer:
    kept = list(lines)
    offered: Answer = {name: joined(dict.fromkeys(getattr(each.offer, name) for each in kept)) for name in OFFER_FIELDS}
    return {"cost_usd_per_hour": short(cost), "usd_per_month": short(cost * HOURS_PER_MONTH), **offered}


def _serving(serving: Sequence[ServedBy], cost: float) -> Answer:
    """What the replicas of one row are and give."""
    made = [one.sizes[0].estimate for one in serving]
    counts = [one.replicas for one in serving]
    rate = sum(count * each.output_tokens_per_second.value for count, each in zip(counts, made, strict=True))
    rates = [each.output_tokens_per_second for each in made]
    return {
        **_served_by(serving),
        **{name: joined(getattr(one.replica, name) for one in serving) for name in REPLICA_FIELDS},
        "usd_per_million_output_tokens": short(cost / rate / 3600 * 1e6) if rate else None,
        "output_tokens_per_second": short(rate),
        "output_tokens_per_second_low": short(_sum(counts, [each.low for each in rates])),
        "output_tokens_per_second_high": short(_sum(counts, [each.high for each in rates])),
        "ttft_seconds": short(_slowest(each.ttft_seconds for each in made)),
        "tpot_seconds": short(_slowest(each.tpot_seconds for each in made)),
        "calibration": joined(each.calibration for each in made),
        "command": _command(serving),
    }


def _served_by(serving: Sequence[ServedBy]) -> Answer:
    """Replicas with their GPUs and watts."""
    watts = [one.power_watts for one in serving]
    return {
        "replicas": sum(one.replicas for one in serving),
        "gpus": sum(one.replicas * _gpus(one) for one in serving),
        "power_watts": short(_sum([one.replicas for one in serving], watts)),
    }


def _gpus(one: ServedBy) -> int:
    replica = one.replica
    return replica.tensor_parallel * replica.pipeline_parallel * replica.data_parallel


def _sum(counts: Sequence[int], values: Sequence[float | None]) -> float | None:
    """A sum that is only known when every part is."""
    known = [count * value for count, value in zip(counts, values, strict=True) if value is not None]
    return math.fsum(known) if len(known) == len(values) else None


def _slowest(times: Iterable[Interval]) -> float | None:
    return max((each.value for each in times), default=None)


def _command(serving: Sequence[ServedBy]) -> Value:
    import shlex

    return next((shlex.join(one.replica.command) for one in serving), "")


def fleet_of(services: Sequence[Service], terms: Mapping[str, Any], name: str) -> Fleet:
    """The question of all rows.

    Args:
        services: at least one.
        terms: limits, ways of paying, owned machines (see `gpuplan.fleets.file.read_terms`).
        name: of the table.
    """
    return Fleet(**{"name": name[:200] or "fleet", **terms, "services": tuple(services)})
