"""A plan, or why there is none -> one row of fixed columns, the same bytes for the same question and data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optimizer import plan as nouns

Value = str | int | float | None
Answer = dict[str, Value]

OFFER_FIELDS = ("provider", "instance_type", "gpu", "region", "billing")
REPLICA_FIELDS = (
    "tensor_parallel",
    "pipeline_parallel",
    "data_parallel",
    "expert_parallel",
    "weight_format",
    "kv_cache_format",
    "engine",
    "engine_version",
    "max_num_seqs",
    "max_model_len",
)
COLUMNS: dict[str, str] = {
    "row": "number of the row in the table, as a spreadsheet counts (the header is row 1); of JSON Lines, the line",
    "model": "as it was asked for",
    "status": "optimal (proven), feasible (time ran out), infeasible (proven: nothing fits), error (see message)",
    "cost_usd_per_hour": "of everything",
    "usd_per_month": "730 hours",
    "usd_per_million_output_tokens": "at the expected throughput",
    "machines": "that are bought",
    "gpus": "in them",
    "provider": "of each kind of machine, joined by ' + '",
    "instance_type": "what to ask the provider for",
    "gpu": "in the machine",
    "region": "as the provider writes it",
    "billing": "how it is paid",
    "replicas": "servers in all",
    "tensor_parallel": "of each kind of replica, joined by ' + '",
    "pipeline_parallel": "",
    "data_parallel": "attention-DP inside a replica",
    "expert_parallel": "",
    "weight_format": "",
    "kv_cache_format": "",
    "engine": "",
    "engine_version": "",
    "max_num_seqs": "requests at once, per attention-DP rank",
    "max_model_len": "tokens",
    "output_tokens_per_second": "expected, of everything",
    "output_tokens_per_second_low": "9 of 10 measured cases lie above; empty = nothing was measured",
    "output_tokens_per_second_high": "9 of 10 measured cases lie below",
    "ttft_seconds": "of the slowest replica",
    "tpot_seconds": "of the slowest replica",
    "power_watts": "of all GPUs that serve",
    "calibration": "what the estimate was fitted on",
    "prices_as_of": "the oldest price of the plan",
    "message": "what conflicts and the cheapest change, or what is wrong with the row",
    "warnings": "what to know before signing",
    "command": "starts the first kind of replica",
    "gpuplan_version": "",
    "data_fingerprint": "of the bundled data",
}
"""Every column of the output, in order, with its meaning. New ones are added at the end."""


def row_schema() -> dict[str, Any]:
    """The JSON schema of one line of `plan batch --out plans.jsonl`; columns that were handed through come on top."""
    any_value = ["string", "number", "null"]
    said: dict[str, dict[str, Any]] = {
        name: {"description": meaning, "type": any_value} for name, meaning in COLUMNS.items()
    }
    return {"type": "object", "properties": said, "required": list(COLUMNS), "additionalProperties": {"type": "string"}}


def answer_of(plan: nouns.Plan) -> Answer:
    """The row of one plan; the number of the row and the model as it was asked for are not known here."""
    return {
        **dict.fromkeys(COLUMNS),
        "status": plan.status,
        "cost_usd_per_hour": plan.cost_usd_per_hour,
        **_totals(plan.totals),
        **{name: joined(getattr(line.offer, name) for line in plan.lines) for name in OFFER_FIELDS},
        **{name: joined(getattr(line.replica, name) for line in plan.lines) for name in REPLICA_FIELDS},
        "calibration": joined(line.estimate.calibration for line in plan.lines),
        "prices_as_of": plan.prices_as_of.isoformat() if plan.prices_as_of else None,
        "message": _message(plan),
        "warnings": " ".join(plan.warnings),
        "command": _command(plan.lines),
        "gpuplan_version": plan.gpuplan_version,
        "data_fingerprint": plan.data_fingerprint,
    }


def refused(sentence: str) -> Answer:
    """The row of a question that cannot be asked."""
    return {**dict.fromkeys(COLUMNS), "status": "error", "message": sentence}


def _totals(totals: nouns.Totals | None) -> Answer:
    if totals is None:
        return {}
    rate = totals.output_tokens_per_second
    return {
        "usd_per_month": short(totals.usd_per_month),
        "usd_per_million_output_tokens": short(totals.usd_per_million_output_tokens),
        "machines": totals.machines,
        "gpus": totals.gpus,
        "replicas": totals.replicas,
        "output_tokens_per_second": short(rate.value),
        "output_tokens_per_second_low": short(rate.low),
        "output_tokens_per_second_high": short(rate.high),
        "ttft_seconds": short(totals.ttft_seconds),
        "tpot_seconds": short(totals.tpot_seconds),
        "power_watts": short(totals.power_watts),
    }


def short(number: float | None) -> float | None:
    """Six significant digits: more than any estimate has."""
    return None if number is None else float(f"{number:.6g}")


def joined(said: Iterable[object]) -> Value:
    """What the lines say, once when all say the same."""
    words = [str(word) for word in said]
    return " + ".join(words if len(set(words)) > 1 else words[:1])


def _message(plan: nouns.Plan) -> str:
    if plan.status != "infeasible":
        return ""
    cheapest = [row.sentence for row in plan.relaxations[:1]]
    return "; ".join(
        [*(f"in conflict: {rule}" for rule in plan.conflicts), *(f"cheapest change: {c}" for c in cheapest)]
    )


def _command(lines: Iterable[nouns.Line]) -> str:
    import shlex

    return next((shlex.join(line.replica.command) for line in lines), "")
