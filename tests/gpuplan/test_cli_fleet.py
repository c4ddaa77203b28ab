"""`plan fleet` and `plan pareto` as they are typed."""

import json

import jsonschema
import pytest

from gpuplan.cli.app import main
from gpuplan.fleets.file import read_fleet
from optimizer.fleet.calendar import Calendar
from optimizer.fleet.plan import FleetPlan
from optimizer.frontier import Frontier

FLEET = """
name: small
services:
  - {name: chat, model: llama-3.1-8b, min_tps: 3000, max_tpot: 50ms, gpu: [L40S, RTX A4000], priority: 1}
  - {name: code, model: llama-3.1-8b, min_tps: 4000, isl: 2k, max_tpot: 50ms, gpu: [L40S, RTX A4000]}
"""


@pytest.fixture
def fleet(tmp_path):
    file = tmp_path / "fleet.yaml"
    file.write_text(FLEET)
    return file


def typed(capsys, *words):
    status = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return status, out, err


def test_the_answer_says_machines_services_and_proof(fleet, capsys):
    status, out, err = typed(capsys, "fleet", fleet, "--gap", 0, "--verbose")
    assert (status, err) == (0, "")
    for words in ("small  2 services", "proven optimal", "Machines", "chat", "gap 0%", "vllm serve"):
        assert words in out


def test_json_keeps_its_schema_and_the_same_question_gives_the_same_bytes(fleet, capsys):
    answers = []
    for _ in range(2):
        status, out, _ = typed(capsys, "fleet", fleet, "--gap", 0, "--json")
        assert status == 0
        answer = json.loads(out)
        jsonschema.validate(answer, FleetPlan.model_json_schema(mode="serialization"))
        answer["proof"].pop("seconds")
        answers.append(json.dumps(answer))
    assert answers[0] == answers[1]
    assert FleetPlan.model_validate_json(out).question == read_fleet(fleet).fleet


def test_what_is_not_served_is_said_and_is_an_exit_status(fleet, capsys):
    status, out, _ = typed(capsys, "fleet", fleet, "--gap", 0, "--budget", "0.5")
    assert status == 3
    assert "Not served" in out
    assert "What would serve everything" in out
    assert "budget" in out


def test_options_replace_the_files_limits(fleet, capsys):
    status, out, _ = typed(capsys, "fleet", fleet, "--max-gpus", 100, "--max-power", "50kW", "--budget", 90, "--brief")
    assert status == 0
    for limit in ("max_gpus", "max_power", "budget"):
        assert limit in out


def test_bad_services_stop_it_unless_they_may_be_skipped(fleet, capsys):
    fleet.write_text(FLEET + "  - {name: odd, model: llama-3.1-8b, min_tpz: 1}\n")
    status, out, err = typed(capsys, "fleet", fleet)
    assert (status, out) == (2, "")
    assert "service 'odd': 'min_tpz' is no word here. Did you mean 'min_tps'?" in err
    status, out, _ = typed(capsys, "fleet", fleet, "--skip-bad", "--quiet")
    assert status == 0
    assert "2 of 2 services" in out


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("llama-3.1-8b", "no-such-model"), "no-such-model"),
        (("gpu: [L40S, RTX A4000], priority: 1", "gpu: H1000"), "H1000"),
        (("isl: 2k", "isl: 900k"), "Service 'code': A request of"),
    ],
)
def test_unknown_names_and_contradictions_are_one_sentence(change, said, fleet, capsys):
    fleet.write_text(FLEET.replace(*change))
    status, out, err = typed(capsys, "fleet", fleet, "--offline")
    assert (status, out) == (2, "")
    assert said in err
    assert "Traceback" not in err


def test_a_calendar_is_printed_and_keeps_its_schema(fleet, tmp_path, capsys):
    demand = tmp_path / "demand.csv"
    demand.write_text("month,service,min_tps\n1,chat,3000\n2,chat,9000\n")
    status, out, _ = typed(capsys, "fleet", fleet, "--demand", demand)
    assert status == 0
    assert "Month by month" in out
    status, out, _ = typed(capsys, "fleet", fleet, "--demand", demand, "--json")
    jsonschema.validate(json.loads(out), Calendar.model_json_schema(mode="serialization"))


def test_a_calendar_says_what_is_not_served_what_was_skipped_and_fits_in_a_line(fleet, tmp_path, capsys):
    fleet.write_text(FLEET + "  - {name: odd, model: llama-3.1-8b}\nlimits: {max_gpus: 12}\n")
    demand = tmp_path / "demand.csv"
    demand.write_text("month,service,min_tps\n1,chat,3000\n2,chat,90000\n")
    status, out, _ = typed(capsys, "fleet", fleet, "--demand", demand, "--skip-bad")
    assert status == 3
    assert "Not served\n  ! chat in 2" in out
    assert "service 'odd': asks for nothing" in out
    assert "OR-Tools" in out
    status, out, _ = typed(capsys, "fleet", fleet, "--demand", demand, "--skip-bad", "--quiet")
    assert status == 3
    assert out.startswith("small: ")
    assert len(out.splitlines()) == 1
    status, _, err = typed(capsys, "fleet", fleet, "--demand", demand, "--skip-bad", "--why-not", "H100")
    assert status == 2
    assert "--why-not and --sensitivity explain the plan of one month" in err


def test_months_in_which_nobody_asks_for_anything_cost_nothing(fleet, tmp_path, capsys):
    fleet.write_text(FLEET.replace("  - {name: code", "  # {name: code"))
    demand = tmp_path / "demand.csv"
    demand.write_text("month,service,min_tps\n1,chat,\n2,chat,\n")
    status, out, _ = typed(capsys, "fleet", fleet, "--demand", demand)
    assert status == 0
    assert "0.00 USD over all months   proven optimal" in out


def test_how_far_the_search_is_stands_on_a_terminal_only(capsys, monkeypatch):
    from gpuplan.cli import console

    assert console.progress() is None
    assert console.notice() is None
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    console.progress("USD")(2_000_000, 1_900_000)
    console.hush()
    assert capsys.readouterr().err == "\r\x1b[K2.00 USD found, at least 1.90, gap 5.00%\r\x1b[K"
    console.notice()("finding the conflict")
    assert capsys.readouterr().err == "\r\x1b[Kfinding the conflict"


def test_ctrl_c_gives_the_best_so_far_and_says_so(fleet, tmp_path, capsys, monkeypatch):
    stopped = "optimizer.cp_sat.interruption.run_until_interrupted"
    monkeypatch.setattr(stopped, lambda work: (work(), True))
    status, out, err = typed(capsys, "fleet", fleet, "--gap", 0)
    assert status == 130
    assert "USD/h" in out
    assert "Ctrl-C ended the search: this is the best that was found until then." in out
    demand = tmp_path / "demand.csv"
    demand.write_text("month,service,min_tps\n1,chat,3000\n")
    status, out, err = typed(capsys, "fleet", fleet, "--demand", demand)
    assert (status, err) == (130, "plan: stopped\n")
    assert "Ctrl-C ended the search" in out


def test_a_front_is_plotted_listed_and_keeps_its_schema(capsys):
    words = ("pareto", "--model", "llama-3.1-8b", "--min-tps", 3000, "--gpu", "L40S,H100")
    status, out, err = typed(capsys, *words, "--points", 5)
    assert (status, err) == (0, "")
    assert "are not beaten in cost, latency" in out
    assert "--points or --json shows all" in out
    _, out, _ = typed(capsys, *words, "--axis", "cost,quality", "--json")
    jsonschema.validate(json.loads(out), Frontier.model_json_schema(mode="serialization"))


def test_an_empty_front_is_an_exit_status(capsys):
    words = ("pareto", "--model", "llama-3.1-8b", "--min-tps", 3000, "--budget", "0.01")
    status, out, _ = typed(capsys, *words)
    assert status == 3
    assert "nothing fits" in out
