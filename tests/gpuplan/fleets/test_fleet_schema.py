"""`plan schema`: each schema is one, and what is read and printed keeps it."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from gpuplan.cli.app import main
from gpuplan.cli.commands.schema import SCHEMAS, schema_of
from gpuplan.fleets.errors import BadFleetFile
from gpuplan.fleets.schema import fleet_file_schema
from gpuplan.fleets.vocabulary import SERVICE
from tests.gpuplan.fleets.small_market import fleet_of, words
from tests.gpuplan.fleets.test_fleet_rules import TRIOS

FLEET_FILE = jsonschema.Draft202012Validator(fleet_file_schema())
"""Made once: to check the schema itself, which `jsonschema.validate` does each time, takes longer than all files."""
EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("fleet*.yaml"))


@pytest.mark.parametrize("name", SCHEMAS)
def test_each_schema_is_one_and_names_its_fields(name):
    schema = schema_of(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    row = schema.get("items", schema)
    if "$ref" in row:
        row = schema["$defs"][row["$ref"].rpartition("/")[2]]
    assert len(row["properties"]) > 2


def test_an_unknown_schema_is_one_sentence(capsys):
    assert main(["schema", "fleat"]) == 2
    assert "No schema of 'fleat'; there are plan, plan-file" in capsys.readouterr().err


def test_models_printed_as_json_keep_their_schema(capsys):
    assert main(["models", "--json"]) == 0
    jsonschema.validate(json.loads(capsys.readouterr().out), schema_of("models"))


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_the_examples_keep_the_schema_of_fleet_files(file):
    FLEET_FILE.validate(yaml.safe_load(file.read_text()))


@pytest.mark.parametrize("word", TRIOS)
def test_whatever_the_reader_takes_the_schema_takes(word):
    for case in TRIOS[word]:
        content = {"services": case.services, **case.rest}
        try:
            fleet_of(**content)
        except BadFleetFile:
            continue
        FLEET_FILE.validate(content)


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"services": []},
        {"services": [{"model": "m", "min_tps": 1}]},
        {"services": [words(min_tpz=1)]},
        {"services": [words(model=[])]},
        {"services": [words(sizes=[{"isl": 5}])]},
        {"services": [words()], "limits": {"bugdet": 1}},
        {"services": [words()], "limits": {"gpu": [1]}},
        {"services": [words()], "buying": {"billing": ["spott"]}},
        {"services": [words()], "owned": [{"gpu": "H100"}]},
        {"services": [words()], "owned": {"gpu": "H100"}},
    ],
)
def test_what_the_schema_refuses_the_reader_refuses_too(content):
    with pytest.raises(jsonschema.ValidationError):
        FLEET_FILE.validate(content)
    with pytest.raises(BadFleetFile):
        fleet_of(content.get("services"), **{key: value for key, value in content.items() if key != "services"})


def test_every_word_of_a_service_is_in_the_schema():
    assert set(fleet_file_schema()["properties"]["services"]["items"]["properties"]) == set(SERVICE)
