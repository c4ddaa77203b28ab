"""Options of the main job -> Requirements."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from gpuplan.cli.additions import engine_options_of, workload_of
from gpuplan.cli.options import Asked
from gpuplan.errors import BadWord
from optimizer.requirements import Requirements

# Where each option's value stands in Requirements: a path of field names.
PLACES: dict[str, tuple[str, ...]] = {
    "model": ("model",),
    "revision": ("revision",),
    "min_tps": ("demand", "output_tokens_per_second"),
    "requests_per_second": ("demand", "requests_per_second"),
    "concurrency": ("demand", "concurrency"),
    "max_ttft": ("service_level", "ttft_seconds"),
    "max_tpot": ("service_level", "tpot_seconds"),
    "confidence": ("service_level", "confidence"),
    "percentile": ("service_level", "percentile"),
    "budget": ("limits", "budget_usd_per_hour"),
    "max_gpus": ("limits", "gpus"),
    "max_power": ("limits", "power_watts"),
    "gpu": ("choices", "gpus"),
    "exclude_gpu": ("choices", "gpus_excluded"),
    "provider": ("choices", "providers"),
    "region": ("choices", "regions"),
    "billing": ("choices", "billings"),
    "allow": ("choices", "allowed_restrictions"),
    "prices_since": ("choices", "prices_since"),
    "quantization": ("choices", "weight_formats"),
    "kv_cache_dtype": ("choices", "kv_cache_formats"),
    "engine": ("choices", "engines"),
    "max_model_len": ("choices", "max_model_len"),
    "tensor_parallel": ("choices", "tensor_parallel"),
    "pipeline_parallel": ("choices", "pipeline_parallel"),
    "objective": ("objective",),
    "alternatives": ("alternatives",),
    "time_limit": ("time_limit_seconds",),
}


def requirements_of(asked: Asked) -> Requirements:
    """What was typed, as Requirements; an option that was not given keeps the default there.

    Raises:
        BadWord: the values contradict each other or are out of range.
    """
    if asked.model is None:
        raise BadWord("Say which model: --model meta-llama/Llama-3.3-70B-Instruct; `plan models` lists them.")
    fields: dict[str, Any] = {"choices": {"mix": not asked.no_mix}}
    fields |= {"workload": workload_of(asked), "options": engine_options_of(asked)}
    for key, place in PLACES.items():
        value = getattr(asked, key)
        if value is not None:
            _put(fields, place, value)
    try:
        return Requirements.model_validate(fields)
    except ValidationError as wrong:
        raise BadWord(_first_complaint(wrong)) from None


def _put(fields: dict[str, Any], place: tuple[str, ...], value: object) -> None:
    *outer, last = place
    for name in outer:
        fields = fields.setdefault(name, {})
    fields[last] = value


def _first_complaint(wrong: ValidationError) -> str:
    """The first thing that pydantic found, said with the option's name."""
    first = wrong.errors(include_url=False)[0]
    option = next((key for key, place in PLACES.items() if place == tuple(first["loc"][: len(place)])), None)
    message = str(first["msg"]).removeprefix("Value error, ")
    return f"--{option.replace('_', '-')}: {message}" if option else message
