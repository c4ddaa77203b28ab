"""`plan deploy` and `plan ... --deploy`: nothing is overwritten, nothing is written elsewhere, errors are sentences."""

import json

import pytest

from gpuplan.cli.app import main
from gpuplan.deploy.deployment import DeployFile
from gpuplan.deploy.errors import BadPlan, FileExists
from gpuplan.deploy.formats import format_names, write
from gpuplan.deploy.read import read_plan


@pytest.fixture
def saved(make, tmp_path):
    file = tmp_path / "plan.json"
    file.write_text(make(tensor_parallel=4).model_dump_json())
    return file


def test_a_saved_plan_is_read_back(make, saved):
    assert read_plan(saved) == make(tensor_parallel=4)


def test_files_are_written_once_and_replaced_only_by_force(saved, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["deploy", str(saved), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert {path.name for path in out.iterdir()} == set(format_names())
    assert all(str(path) in said for path in out.rglob("*") if path.is_file())
    script = out / "shell" / "start.sh"
    assert script.stat().st_mode & 0o111
    script.write_text("mine")
    assert main(["deploy", str(saved), "--out", str(out)]) == 2
    assert "exists" in capsys.readouterr().err
    assert script.read_text() == "mine"
    assert main(["deploy", str(saved), "--out", str(out), "--force"]) == 0
    assert script.read_text() != "mine"


def test_nothing_is_written_through_a_link(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    out = tmp_path / "out"
    out.mkdir()
    (out / "shell").symlink_to(elsewhere)
    with pytest.raises(FileExists, match="link"):
        write([DeployFile("shell/start.sh", "x")], out, overwrite=True)
    assert not list(elsewhere.iterdir())


def test_one_format_is_printed(saved, capsys):
    assert main(["deploy", str(saved), "--format", "kubernetes"]) == 0
    assert "kind: Deployment" in capsys.readouterr().out
    assert main(["deploy", str(saved), "--trust-remote-code", "--format", "shell"]) == 0
    assert "--trust-remote-code" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["deploy"], "Name the plan"),
        (["deploy", "PLAN"], "Say where to write"),
        (["deploy", "PLAN", "--format", "kubernets"], "Did you mean 'kubernetes'"),
        (["deploy", "PLAN.missing", "--format", "shell"], "cannot be read"),
    ],
)
def test_what_is_typed_wrong_is_one_sentence(words, part, saved, capsys):
    assert main([word.replace("PLAN", str(saved)) for word in words]) == 2
    assert part in capsys.readouterr().err


def test_the_formats_are_listed(capsys):
    assert main(["deploy", "--list"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in format_names())


def test_a_plan_is_deployed_at_once(tmp_path, capsys):
    words = ["--model", "llama-3.1-8b", "--min-tps", "500", "--alternatives", "0", "--deploy", str(tmp_path / "out")]
    assert main([*words, "--format", "kubernetes,shell", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    command = plan["lines"][0]["replica"]["command"]
    assert " ".join(command) in (tmp_path / "out" / "shell" / "start.sh").read_text()
    assert (tmp_path / "out" / "kubernetes" / "kubernetes.yaml").exists()


def test_a_saved_question_and_answer_is_deployed_too(tmp_path, capsys):
    file = str(tmp_path / "saved.json")
    assert main(["--model", "llama-3.1-8b", "--min-tps", "500", "--alternatives", "0", "--save", file, "-q"]) == 0
    capsys.readouterr()
    assert main(["deploy", file, "--format", "shell"]) == 0
    assert "vllm serve" in capsys.readouterr().out


def test_formats_without_a_folder_are_refused(capsys):
    assert main(["--model", "llama-3.1-8b", "--min-tps", "500", "--format", "shell"]) == 2
    assert "--deploy DIR" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change",
    [
        lambda plan: plan.update(lines="x"),
        lambda plan: plan["lines"][0]["replica"].update(command=["rm", "-rf", "/"]),
        lambda plan: plan["lines"][0]["replica"].update(gpu="H1000"),
        lambda plan: plan["lines"][0]["replica"].update(engine="evil"),
        lambda plan: plan["lines"][0]["replica"].update(engine_version="latest"),
        lambda plan: plan["lines"][0]["replica"].update(engine_version="0.33.0; id"),
        lambda plan: plan["lines"][0]["replica"].update(nodes=0),
        lambda plan: plan["lines"][0]["replica"].update(nodes=3),
        lambda plan: plan["lines"][0].update(replicas=10**12),
        lambda plan: plan["lines"][0].update(count=10**9),
        lambda plan: plan["lines"][0].update(count=-1),
        lambda plan: plan["lines"][0].update(shares_machines_of_line=0),
        lambda plan: plan["lines"][0]["offer"].update(gpu_count=0),
        lambda plan: plan["lines"][0]["replica"].update(options_file="x: y"),
    ],
)
def test_a_plan_that_somebody_changed_ends_in_one_sentence(change, saved, tmp_path, capsys):
    plan = json.loads(saved.read_text())
    change(plan)
    saved.write_text(json.dumps(plan))
    assert main(["deploy", str(saved), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith("plan: ")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"a": 1}', "[" * 100_000, '"\\ud800"'], ids=lambda t: t[:10])
def test_what_is_no_plan_is_refused(text, tmp_path):
    file = tmp_path / "plan.json"
    file.write_text(text)
    with pytest.raises(BadPlan):
        read_plan(file)
