"""What each command prints with `--json` is what `plan schema` says of it: real answers, checked by a validator."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from gpuplan.cli import app
from gpuplan.cli.commands.schema import SCHEMAS, schema_of

ORACLES = Path(__file__).parents[1] / "oracles"
MODEL = "llama-3.1-8b"
WORDS = ["--model", MODEL, "--min-tps", "100", "--gpu", "L40S,H100 SXM 80GB"]
LAYOUT = [MODEL, "--gpu", "L40S", "--max-model-len", "8k"]
FLEET = f"services: [{{name: chat, model: {MODEL}, min_tps: 500, gpu: [L40S]}}]\n"
DEMAND = "month,service,min_tps\n2027-01,chat,500\n2027-02,chat,900\n"
LOG = "Available KV cache memory: 8.11 GiB\nGPU KV cache size: 178,880 tokens\n"
RESULT = {
    **{"model_id": MODEL, "completed": 32, "failed": 0, "max_concurrency": 64, "output_throughput": 200.0},
    **{"total_input_tokens": 32 * 1024, "total_output_tokens": 32 * 512, "request_throughput": 0.4},
    **{"mean_ttft_ms": 400.0, "p95_ttft_ms": 500.0, "mean_tpot_ms": 21.0, "p95_tpot_ms": 30.0},
}
COMMANDS = {
    "plan": WORDS,
    "memory": ["memory", *LAYOUT],
    "estimate": ["estimate", *LAYOUT, "--concurrency", "8"],
    "fleet": ["fleet", "FOLDER/fleet.yaml"],
    "calendar": ["fleet", "FOLDER/fleet.yaml", "--demand", "FOLDER/demand.csv"],
    "pareto": ["pareto", *WORDS, "--axis", "cost,latency"],
    "compare": ["compare", "FOLDER/plan.json", "--engine", "sglang"],
    "check-memory": ["check", "memory", str(ORACLES / "measured_memory_sample.csv")],
    "check-serving": ["check", "serving", str(ORACLES / "measured_serving_sample.csv")],
    "check-promise": ["check", "promise", "FOLDER/plan.json", "FOLDER/result.json"],
    "models": ["models", "--family", "llama"],
    "models-search": ["models", "search", "llama", "--offline"],
    "gpus": ["gpus", "--name", "h100"],
    "prices-diff": ["prices", "diff", "--since", "2026-09-01"],
    "read-log": ["read-log", "FOLDER/server.log"],
}
FILES = {"plan-file", "fleet-file", "batch"}
"""Schemas of what is read or written and not printed; tests/gpuplan/fleets/test_fleet_schema.py has fleet files."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("schemas")
    (place / "fleet.yaml").write_text(FLEET)
    (place / "demand.csv").write_text(DEMAND)
    (place / "server.log").write_text(LOG)
    (place / "result.json").write_text(json.dumps(RESULT))
    assert app.main([*WORDS, "--save", str(place / "plan.json"), "-q"]) == 0
    return place


def printed(capsys: pytest.CaptureFixture[str], words: list[str], folder: Path) -> Any:
    capsys.readouterr()
    status = app.main([word.replace("FOLDER", str(folder)) for word in words] + ["--json"])
    assert status in (app.ANSWERED, 3)  # 3: a promise is broken
    return json.loads(capsys.readouterr().out)


def check(answer: Any, name: str) -> None:
    schema = schema_of(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker()).validate(answer)
    assert set(undeclared(answer, schema, schema)) == set()


def undeclared(answer: Any, schema: dict[str, Any], whole: dict[str, Any]) -> Iterator[str]:
    """Keys that an answer has and its schema does not name, one level down."""
    if "$ref" in schema:
        schema = whole["$defs"][schema["$ref"].rpartition("/")[2]]
    if schema.get("type") == "array":
        for each in answer[:3]:
            yield from undeclared(each, schema["items"], whole)
    elif schema.get("type") == "object":
        yield from set(answer) - set(schema["properties"])


@pytest.mark.parametrize("name", COMMANDS)
def test_what_a_command_prints_is_what_its_schema_says(
    name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = printed(capsys, COMMANDS[name], folder)
    assert answer
    check(answer, name)


def test_every_schema_is_checked_against_a_real_answer() -> None:
    assert set(SCHEMAS) == set(COMMANDS) | FILES


def test_every_command_with_json_has_a_schema_of_its_name() -> None:
    """`plan show` prints what was saved, whose schema is that of what was saved."""
    names = [*app.command_names(), app.MAIN_JOB]
    with_json = {name for name in names if "json" in inspect.signature(app.load(name).command).parameters}
    assert {name.replace(" ", "-") for name in with_json - {"show"}} <= set(SCHEMAS)


def test_a_plan_file_is_what_its_schema_says(folder: Path) -> None:
    check(json.loads((folder / "plan.json").read_text()), "plan-file")


def test_a_line_of_a_batch_is_what_its_schema_says(tmp_path: Path) -> None:
    table, out = tmp_path / "models.csv", tmp_path / "plans.jsonl"
    table.write_text(f"model,min tps,team\n{MODEL},100,ours\n{MODEL},-1,ours\nno/such,100,ours\n")
    assert app.main(["batch", str(table), "--out", str(out), "--offline", "--keep", "team"]) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["status"] for row in rows] == ["optimal", "error", "error"]
    for row in rows:
        jsonschema.validate(row, schema_of("batch"))
        assert row["team"] == "ours"
