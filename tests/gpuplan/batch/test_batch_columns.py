"""Headers and cells as people write them mean one option and one number each, or are refused."""

from __future__ import annotations

import inspect

import pytest

from gpuplan.batch.cells import KINDS, UNITS, words_for
from gpuplan.batch.columns import OTHER_NAMES, understand_columns
from gpuplan.batch.errors import BadQuestions, BadRow
from gpuplan.cli import app
from gpuplan.cli.commands import batch, plan
from gpuplan.cli.question_words import QUESTION_OPTIONS


def meant(title: str) -> tuple[str | None, str]:
    (column,) = understand_columns([title])
    return column.option, column.unit


def value(option: str, cell: str, unit: str = "") -> object:
    """What the option holds after the cell was typed."""
    return getattr(app.understand(words_for(option, cell, unit))[1], option)


@pytest.mark.parametrize(
    ("title", "option", "unit"),
    [
        ("model", "model", ""),
        ("Model ID", "model", ""),
        ("--max-tpot", "max_tpot", ""),
        ("max TPOT (ms)", "max_tpot", "ms"),
        ("max_tpot_ms", "max_tpot", "ms"),
        ("TTFT [seconds]", "max_ttft", "s"),
        ("ttft_seconds", "max_ttft", "s"),
        ("Budget ($/h)", "budget", "usd/h"),
        ("budget_usd_per_hour", "budget", "usd/h"),
        ("budget usd per month", "budget", "usd/month"),
        ("min tps", "min_tps", ""),
        ("Throughput (tok/s)", "min_tps", "tok/s"),
        ("QPS", "requests_per_second", ""),
        ("requests (per minute)", "requests_per_second", "/min"),
        ("ISL", "isl", ""),
        ("input tokens (k)", "isl", "k"),
        ("users", "concurrency", ""),
        ("GPUs", "gpu", ""),
        ("max_power_kw", "max_power", "kw"),
        ("confidence (%)", "confidence", "%"),
        ("Team", None, ""),
    ],
)
def test_a_header_means_an_option_and_a_unit(title: str, option: str | None, unit: str) -> None:
    assert meant(title) == (option, unit)


@pytest.mark.parametrize(
    ("titles", "said"),
    [
        (["bugdet"], "'bugdet' is no option of `plan`. Did you mean 'budget'?"),
        (["budget (EUR/h)"], "'budget (EUR/h)' is in 'eur/h'; budget is in usd/h"),
        (["isl (ms)"], "isl is in tok, k"),
        (["model (ms)"], "model is in no unit"),
        (["tps", "throughput"], "'tps' and 'throughput' both mean min_tps"),
        (["save"], "'save' is no option"),
        (["offers"], "'offers' is no option"),
        (["x" * 1000], "is no option"),
    ],
)
def test_a_header_that_means_nothing_is_refused(titles: list[str], said: str) -> None:
    with pytest.raises(BadQuestions) as refused:
        understand_columns(titles)
    assert said in str(refused.value)
    assert len(str(refused.value)) < 300


def test_a_column_that_is_kept_means_nothing_to_the_planner() -> None:
    (column,) = understand_columns(["budget line"], kept=["budget line"])
    assert column.option is None


@pytest.mark.parametrize(
    ("option", "cell", "unit", "expected"),
    [
        ("budget", "10", "", 10.0),
        ("budget", "$10/h", "", 10.0),
        ("budget", "$ 10.50 per hour", "", 10.5),
        ("budget", "10 USD/h", "", 10.0),
        ("budget", "US$10/hr", "", 10.0),
        ("budget", "$7,300/month", "", 10.0),
        ("budget", "7300", "usd/month", 10.0),
        ("budget", "$240/day", "usd/month", 10.0),
        ("max_tpot", "25 ms", "", 0.025),
        ("max_tpot", "25", "ms", 0.025),
        ("max_tpot", "0.025", "", 0.025),
        ("max_tpot", "25 ms", "s", 0.025),
        ("max_ttft", "1.5 seconds", "", 1.5),
        ("max_ttft", "0.5 min", "", 30.0),
        ("isl", "4k", "", 4000),
        ("isl", "4K", "", 4096),
        ("isl", "4 k tokens", "", 4000),
        ("isl", "4", "k", 4000),
        ("isl", "4,096", "", 4096),
        ("isl", "4096.0", "", 4096),
        ("isl", "4096 tokens", "", 4096),
        ("min_tps", "500 tok/s", "", 500.0),
        ("min_tps", "2,500 tokens per second", "", 2500.0),
        ("requests_per_second", "120/min", "", 2.0),
        ("requests_per_second", "120 requests per minute", "", 2.0),
        ("requests_per_second", "7200", "req/h", 2.0),
        ("concurrency", "64 users", "", 64),
        ("concurrency", "64.0", "", 64),
        ("max_power", "5 kW", "", 5000.0),
        ("max_power", "5", "kw", 5000.0),
        ("confidence", "90%", "", 0.9),
        ("confidence", "90", "%", 0.9),
        ("prefix_hit_rate", "25%", "", 0.25),
        ("percentile", "p99", "", 99.0),
        ("gpu", "H100; L4", "", ["H100", "L4"]),
        ("gpu", "H100, L4|A10G", "", ["H100", "L4", "A10G"]),
        ("no_mix", "Yes", "", True),
        ("no_mix", "0", "", False),
        ("speculative", "mtp:2", "", ("mtp", 2, None)),
        ("lengths", "1k:3,8k:1", "", ((1000, 3.0), (8000, 1.0))),
    ],
)
def test_a_cell_is_read_in_its_unit(option: str, cell: str, unit: str, expected: object) -> None:
    assert value(option, cell, unit) == expected


@pytest.mark.parametrize(
    ("option", "cell", "said"),
    [
        ("budget", "€10/h", "'€10/h' is not a price"),
        ("budget", "10 EUR", "'10 EUR' is in 'EUR'; write it in usd/h"),
        ("budget", "3,20", "'3,20' is not a price"),
        ("budget", "1.000,50", "'1.000,50' is not a price"),
        ("budget", "$10/GPU/h", "is in 'usd/GPU/h'; write it in usd/h"),
        ("max_tpot", "25 m", "'25 m' is in 'm'; write it in s, ms, us, min"),
        ("isl", "4.5k", "'4.5k' is not a number of tokens"),
        ("isl", "4 kB", "'4 kB' is in 'kB'"),
        ("min_tps", "fast", "'fast' is not a rate"),
        ("min_tps", "nan", "'nan' is not a rate"),
        ("min_tps", "1e999", "is too large"),
        ("concurrency", "6.5", "'6.5' is not a whole number"),
        ("no_mix", "maybe", "'maybe' is neither yes nor no"),
        ("gpu", ";", "a name is needed"),
        ("objective", "cheap", "is none of cost, throughput"),
    ],
)
def test_a_cell_that_is_no_value_is_refused_in_its_own_words(option: str, cell: str, said: str) -> None:
    import typer

    with pytest.raises((BadRow, typer.BadParameter)) as refused:
        value(option, cell)
    assert said in (str(refused.value) or refused.value.message)


def test_the_tables_of_names_and_units_fit_the_options() -> None:
    """Every option that is part of a question may be a column, and no other."""
    assert {name.replace("_", "-") for name in KINDS} == QUESTION_OPTIONS
    of_the_run = {"context", "file", "out", "resume", "keep", "jobs", "ray", "fleet", "limits", "save_fleet"}
    of_rows = set(inspect.signature(batch.command).parameters) - of_the_run
    assert of_rows - set(batch.OF_ALL_ROWS) == set(KINDS) <= set(inspect.signature(plan.command).parameters)
    assert set(OTHER_NAMES) <= set(KINDS)
    assert set(KINDS.values()) <= set(UNITS)


def test_no_other_name_means_two_options() -> None:
    names = [*KINDS, *(name for others in OTHER_NAMES.values() for name in others.split())]
    assert len(names) == len(set(names))
