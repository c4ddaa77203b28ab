"""What people write about a fleet, read or refused with one sentence for every problem."""

import json

import pytest

from gpuplan.fleets.errors import BadFleetFile
from gpuplan.fleets.file import read_fleet

FLEET = """
name: ours
defaults: {max_tpot: 50ms, quantization: [fp8]}
services:
  - {name: chat, model: llama-3.3-70b, min_tps: 2000, isl: 1k, osl: 300, priority: -2, required: yes}
  - {name: rag, model: [a, b], requests_per_second: 5, sizes: "300/100:0.8, 6k/500:0.2", max_tpot: 1s}
limits: {budget: 60, max_power: 5kW, gpu: {H100: 8}, provider: {aws: 16}}
buying: {billing: [on-demand, spot], spot_share: 30%}
owned: [{gpu: H100, gpus: 8, machines: 2, usd_per_hour: 3.2}]
"""


@pytest.fixture
def written(tmp_path):
    def write(text, name="fleet.yaml"):
        file = tmp_path / name
        file.write_text(text)
        return file

    return write


def problems_of(file, **options):
    with pytest.raises(BadFleetFile) as caught:
        read_fleet(file, **options)
    return caught.value.problems


def test_words_become_nouns_in_base_units(written):
    fleet = read_fleet(written(FLEET)).fleet
    chat, rag = fleet.services
    assert (chat.sizes[0].input_tokens, chat.sizes[0].output_tokens) == (1000, 300)
    assert (chat.service_level.tpot_seconds, rag.service_level.tpot_seconds) == (0.05, 1.0)
    assert (chat.required, chat.priority, rag.required) == (True, -2, False)
    assert rag.models == ("a", "b")
    assert rag.size_shares == pytest.approx((0.8, 0.2))
    assert rag.choices.weight_formats == ("fp8",)
    assert fleet.limits.power_watts == 5000
    assert [(quota.kind, quota.name, quota.most) for quota in fleet.limits.quotas] == [
        ("gpu", "H100", 8),
        ("provider", "aws", 16),
    ]
    assert fleet.buying.spot_share_most == pytest.approx(0.3)
    assert fleet.owned[0].running_usd_per_hour == 3.2


def test_yaml_json_and_csv_say_the_same(written):
    rows = [{"name": "a", "model": "m", "min_tps": 5, "max_ttft": "2s"}, {"name": "b", "model": "n", "concurrency": 3}]
    by_yaml = read_fleet(written(f"services: {json.dumps(rows)}")).fleet
    by_json = read_fleet(written(json.dumps({"services": rows}), "fleet.json")).fleet
    by_csv = read_fleet(written("name,model,min_tps,max_ttft,concurrency\na,m,5,2s,\n\nb,n,,,3\n", "fleet.csv")).fleet
    assert by_yaml == by_json == by_csv


@pytest.mark.parametrize(
    ("service", "said"),
    [
        (
            "{name: x, model: m, min_tpz: 5}",
            "fleet.yaml, service 'x': 'min_tpz' is no word here. Did you mean 'min_tps'?",
        ),
        ("{name: x, model: m, min_tps: -5}", "fleet.yaml, service 'x', min_tps: '-5' is not above zero"),
        ("{name: x, model: m, min_tps: .nan}", "fleet.yaml, service 'x', min_tps: nan is not a number"),
        ("{name: x, model: m, min_tps: [1, 2]}", "fleet.yaml, service 'x', min_tps: a list is not a single word"),
        ("{name: x, model: m, min_tps: 5, required: maybe}", "required: 'maybe' is neither yes nor no"),
        ("{name: x, model: m}", "fleet.yaml, service 'x': asks for nothing: give it min_tps"),
        ("{name: x, min_tps: 5}", "fleet.yaml, service 'x': model: it is missing; write it"),
        ("{model: m, min_tps: 5}", "fleet.yaml, service 1: name: it is missing; write it"),
        ("{name: x, model: m, min_tps: 5, isl: 9, sizes: 5/5}", "`sizes` names several; keep one of them"),
        ("{name: x, model: m, min_tps: 5, sizes: 5x5}", "sizes: '5x5' is no size; write INPUT/OUTPUT:SHARE"),
        ("{name: x, model: m, concurrency: 5, sizes: '5/5,6/6'}", "concurrency of several sizes says nothing"),
        ("{name: x, model: m, min_tps: 5, percentile: 99}", "it needs requests_per_second"),
        ("{name: x, model: m, min_tps: 5, weight: 99999999999999999999}", "weight: '99999999999999999999' is not"),
        ("hello", "fleet.yaml, service 1: it is 'hello'; write its words"),
        ("{name: %s, model: m, min_tps: 5}" % ("x" * 999), "name: it is longer than 200 characters"),
        ("{name: x, model: %s, min_tps: 5}" % ("m" * 999), "model: it is longer than 200 characters"),
        ("{name: x, model: m, min_tps: %s}" % ("y" * 10**6), "min_tps: 'yyy"),
        ("{name: x, model: m, min_tps: 5, sizes: '%s'}" % ("5/5," * 49 + "5/5"), "sizes: it names 50; at most 24"),
    ],
)
def test_each_problem_is_one_sentence_with_its_place(service, said, written):
    (problem,) = problems_of(written(f"services:\n  - {service}\n"))
    assert said in problem
    assert len(problem) < 1000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it holds None; write `services:`"),
        ("services: []", "`services:` is an empty list; write a list with at least one"),
        ("services: {a: 1}", "`services:` is a mapping"),
        ("services: [1", "it cannot be read: not YAML in line"),
        ("services: 1\nservices: 2", "'services' stands twice, near line 1"),
        ("a: &a [*a]", "found unconstructable recursive node"),
        ("services: [!!python/object/apply:os.system [ls]]", "not YAML"),
    ],
)
def test_a_file_that_is_no_fleet_is_refused(text, said, written):
    assert said in problems_of(written(text))[0]


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("limits: {bugdet: 5}", "limits: 'bugdet' is no word here. Did you mean 'budget'?"),
        ("limits: {gpu: {H100: -1}}", "limits, gpu H100: '-1' is not a whole number"),
        ("limits: {gpu: {H100: 1, h100: 2}}", "the quota of gpu 'h100' stands twice"),
        ("limits: [1]", "limits: it is a list"),
        ("buying: {billing: spott}", "buying, billing: 'spott' is none of on-demand"),
        ("buying: {spot_share: 1.5}", "buying, spot_share: '1.5' is not a share from 0 to 1"),
        ("owned: [{gpu: H100}]", "owned 1: gpus: it is missing"),
        ("offers: [a]", "fleet.yaml, offers: it is a list; write the name of a CSV"),
        ("limits: {budget: %s}" % ("9" * 5000), "a number in it has thousands of digits"),
    ],
)
def test_problems_beside_the_services_name_their_place(rest, said, written):
    found = problems_of(written("services: [{name: x, model: m, min_tps: 5}]\n" + rest))
    assert any(said in problem for problem in found)


def test_a_number_of_thousands_of_digits_in_json_is_one_sentence(written):
    (problem,) = problems_of(written('{"services": [{"name": "x", "min_tps": 1' + "0" * 5000 + "}]}", "fleet.json"))
    assert problem == "fleet.json: it cannot be read: a number in it has thousands of digits."


def test_all_problems_are_listed_at_once(written):
    good = "- {name: b, model: m, min_tps: 1}\n"
    text = f"services:\n- {{name: a, min_tps: x, modle: m}}\n{good}{good}limits: {{budget: x}}"
    assert len(problems_of(written(text))) == 4


def test_bad_services_are_skipped_only_when_asked(written):
    file = written("services:\n- {name: a, model: m}\n- {name: b, model: m, min_tps: 1}\n")
    assert len(problems_of(file)) == 1
    read = read_fleet(file, skip_bad=True)
    assert [service.name for service in read.fleet.services] == ["b"]
    assert "service 'a'" in read.skipped[0]


def test_no_service_left_is_an_error_even_when_bad_ones_are_skipped(written):
    found = problems_of(written("services: [{name: a}]"), skip_bad=True)
    assert "no service is left to plan" in found[-1]


def test_a_laughing_file_is_refused_quickly(written):
    layers = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"] + [
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)
    ]
    found = problems_of(written("\n".join([*layers, "services: *a11"])))
    assert found


def test_a_missing_or_foreign_file_is_named(written, tmp_path):
    assert "No such file" in problems_of(tmp_path / "nowhere.yaml")[0]
    assert "is written in .yaml, .json or .csv" in problems_of(written("x", "fleet.toml"))[0]
