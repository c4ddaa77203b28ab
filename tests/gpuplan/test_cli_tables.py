"""`plan gpus` and `plan models`: filters, sorting, and the same facts in both forms."""

from __future__ import annotations

import json

import pytest

from catalog.find import bundled_models, find_model
from catalog.sizes import active_parameters, total_parameters
from gpu_db.load import load_gpus, load_offers
from gpuplan.cli import app


def listed(capsys: pytest.CaptureFixture[str], *argv: str) -> list[dict]:
    assert app.main([*argv, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_every_gpu_and_every_model_is_listed(capsys) -> None:
    assert {row["name"] for row in listed(capsys, "gpus")} == set(load_gpus())
    assert [row["repo_id"] for row in listed(capsys, "models")] == [record.repo_id for record in bundled_models()]


def test_a_model_has_the_promised_fields_computed_from_its_shape(capsys) -> None:
    row = next(row for row in listed(capsys, "models") if row["repo_id"] == "meta-llama/Llama-3.3-70B-Instruct")
    spec = find_model("llama-3.3-70b")
    assert row["architecture"] == "LlamaForCausalLM"
    assert (row["total_parameters"], row["active_parameters"]) == (total_parameters(spec), active_parameters(spec))
    assert row["total_parameters"] == 70_553_706_496


def test_a_gpu_is_found_by_any_alias_and_shown_in_base_units(capsys) -> None:
    (row,) = listed(capsys, "gpus", "--name", "NVIDIA H100 80GB HBM3")
    assert row["name"] == "H100 SXM 80GB"
    assert row["memory_bytes"] == 81559 * 2**20


def test_filters_keep_only_what_passes(capsys) -> None:
    rows = listed(capsys, "gpus", "--vendor", "nvidia", "--min-memory", "79", "--max-price", "4")
    assert rows
    assert all(row["vendor"] == "NVIDIA" and row["memory_bytes"] >= 79 * 2**30 for row in rows)
    assert all(row["cheapest_usd_per_gpu_hour"] <= 4 for row in rows)
    rows = listed(capsys, "models", "--family", "llama", "--max-parameters", "10b", "--min-context", "100k")
    assert rows
    assert all("llama" in row["family"].lower() and row["total_parameters"] <= 10e9 for row in rows)


def test_the_cheapest_price_is_that_of_no_restricted_offer(capsys) -> None:
    ids = {row["cheapest_offer_id"] for row in listed(capsys, "gpus")} - {None}
    offers = {offer.offer_id: offer for offer in load_offers()}
    assert all(offers[each].billing == "on-demand" and not offers[each].restrictions for each in ids)


@pytest.mark.parametrize(
    ("sort", "value", "descending"),
    [
        ("price", lambda row: row["cheapest_usd_per_gpu_hour"], False),
        ("memory", lambda row: row["memory_bytes"], True),
        ("bf16", lambda row: row["flop_per_second"].get("bf16"), True),
    ],
)
def test_gpus_are_sorted_with_the_unknown_ones_last(capsys, sort: str, value, descending: bool) -> None:
    values = [value(row) for row in listed(capsys, "gpus", "--sort", sort)]
    known = [each for each in values if each is not None]
    assert known == sorted(known, reverse=descending)
    assert values == known + [None] * (len(values) - len(known))


@pytest.mark.parametrize("sort", ["parameters", "active", "context"])
def test_models_are_sorted_from_large_to_small(capsys, sort: str) -> None:
    column = {"parameters": "total_parameters", "active": "active_parameters", "context": "max_context_tokens"}[sort]
    values = [row[column] for row in listed(capsys, "models", "--sort", sort)]
    assert values == sorted(values, reverse=True)


def test_mixtures_of_experts_are_told_from_dense_models(capsys) -> None:
    names = {row["repo_id"] for row in listed(capsys, "models", "--moe")}
    assert "openai/gpt-oss-120b" in names
    assert "meta-llama/Llama-3.3-70B-Instruct" not in names
    assert not {name for name in names if "gemma-3-" in name}


@pytest.mark.parametrize("command", ["gpus", "models"])
def test_the_table_has_a_line_for_each_object(capsys, command: str) -> None:
    count = len(listed(capsys, command))
    assert app.main([command]) == 0
    assert len(capsys.readouterr().out.splitlines()) == count + 3


def test_nothing_found_is_an_empty_list(capsys) -> None:
    assert listed(capsys, "gpus", "--name", "no such thing") == []
    assert listed(capsys, "models", "--name", "no such thing") == []
