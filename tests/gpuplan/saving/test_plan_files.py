"""A saved plan is read back equal, through every door; what is no plan is refused in one sentence."""

from __future__ import annotations

import contextlib
import io
import json
import math
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpuplan.cli import app, saved
from gpuplan.cli.question import requirements_of
from gpuplan.cli.question_words import QUESTION_OPTIONS, typed, words_of
from gpuplan.electricity import Place
from gpuplan.saving import fingerprints as prints
from gpuplan.saving.errors import BadPlanFile
from gpuplan.saving.plan_file import (
    LARGEST_FILE_BYTES,
    PlanFile,
    Sources,
    parse_plan,
    read_plan_file,
    write_plan_file,
)
from gpuplan.saving.plan_file import saved as saved_now
from optimizer.plan import Plan
from optimizer.requirements import (
    Choices,
    Demand,
    EngineOptions,
    LengthShare,
    Limits,
    LoraAdapters,
    Requirements,
    ServiceLevel,
    SpeculativeDecoding,
    Workload,
)

WORDS = ["--model", "llama-3.1-8b", "--min-tps", "300", "--gpu", "L4,A10G", "--alternatives", "0"]


@pytest.fixture
def file(solved: Plan) -> PlanFile:
    return saved_now(solved, Sources(place=Place(pue=1.3)))


def refusal(content: bytes | str | dict) -> str:
    if isinstance(content, dict):
        content = json.dumps(content)
    with pytest.raises(BadPlanFile) as refused:
        parse_plan(content.encode() if isinstance(content, str) else content, "'plan.json'")
    said = str(refused.value)
    assert "\n" not in said
    assert len(said) < 400
    return said


def test_a_plan_is_read_back_as_it_was_written(tmp_path: Path, file: PlanFile) -> None:
    write_plan_file(tmp_path / "plan.json", file)
    assert read_plan_file(tmp_path / "plan.json") == file


def test_writing_a_plan_leaves_nothing_else_behind(tmp_path: Path, file: PlanFile) -> None:
    write_plan_file(tmp_path / "plan.json", file)
    write_plan_file(tmp_path / "plan.json", file)
    assert [each.name for each in tmp_path.iterdir()] == ["plan.json"]


def test_a_file_that_is_no_plan_is_not_overwritten(tmp_path: Path, file: PlanFile) -> None:
    (tmp_path / "models.csv").write_text("model\n")
    with pytest.raises(BadPlanFile, match="is there and is no plan, so it is not overwritten"):
        write_plan_file(tmp_path / "models.csv", file)
    assert (tmp_path / "models.csv").read_text() == "model\n"


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path, file: PlanFile) -> None:
    with pytest.raises(BadPlanFile, match="cannot be written: No such file or directory"):
        write_plan_file(tmp_path / "no" / "plan.json", file)


def test_what_plan_json_prints_is_read_as_version_1(solved: Plan) -> None:
    migrated = parse_plan(solved.model_dump_json().encode(), "x")
    assert (migrated.plan, migrated.version, migrated.fingerprints) == (solved, 2, None)


def test_a_newer_version_is_refused_with_what_to_do(file: PlanFile) -> None:
    newer = json.loads(file.model_dump_json()) | {"version": 3}
    assert "is a plan of version 3; this program reads versions 1 and 2" in refusal(newer)


@pytest.mark.parametrize("version", [None, "2", 0, 2.5, [2], 10**50, True])
def test_a_version_that_never_was_is_refused(file: PlanFile, version: object) -> None:
    assert "this program reads versions 1 and 2" in refusal(json.loads(file.model_dump_json()) | {"version": version})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ("\xff\xfe{}".encode("latin-1"), "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ('{"a": NaN}', "NaN is no number"),
        ('{"a": 1, "a": 2}', "a key stands twice"),
        ('{"a": ' + "9" * 5000 + "}", "is not JSON"),
        ("[]", "holds a list, not a plan"),
        ("{}", 'lacks "format"'),
        ({"format": ["gpuplan plan"]}, 'lacks "format"'),
        ({"schema_version": "1"}, "is no plan that this program wrote: at plan."),
        ({"format": "gpuplan plan", "version": 2}, "at fingerprints: Field required"),
    ],
)
def test_what_is_no_plan_is_one_sentence(content: bytes | str | dict, said: str) -> None:
    assert said in refusal(content)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "big.json").open("wb") as big:
        big.truncate(LARGEST_FILE_BYTES + 1)
    with pytest.raises(BadPlanFile, match="larger than 32 MiB"):
        read_plan_file(tmp_path / "big.json")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"status": "infeasible"}, "it is infeasible, and its machines, its totals or its cost say otherwise"),
        ({"totals": None}, "its totals or its cost say otherwise"),
        ({"lines": []}, "its totals or its cost say otherwise"),
        ({"model": "x" * 5000}, "its names are longer than any"),
    ],
)
def test_a_plan_that_contradicts_itself_is_refused(file: PlanFile, change: dict, said: str) -> None:
    record = json.loads(file.model_dump_json())
    record["plan"] |= change
    assert said in refusal(record)


def _places(record: object, path: tuple = ()) -> list[tuple]:
    inner = record.items() if isinstance(record, dict) else enumerate(record) if isinstance(record, list) else ()
    return [path, *(place for key, value in inner for place in _places(value, (*path, key)))]


WRONG = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.sampled_from(
        [0, -1, 0.0, 1e308, -1e308, 10**400, "", "\x1b[2J", "\ud800", "x" * 1000, [], {}, [[]], "2026-13-01"]
    ),
    st.text(max_size=10),
)


WAYS = ("--verbose", "--quiet", "--json")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_change_to_a_plan_file_ends_in_a_traceback(file: PlanFile, tmp_path: Path, data: st.DataObject) -> None:
    """Any one value replaced: the file is refused in a sentence, or shown in any of the three ways."""
    record = json.loads(file.model_dump_json())
    *outer, last = data.draw(st.sampled_from(_places(record)[1:]))
    inside = record
    for key in outer:
        inside = inside[key]
    inside[last] = data.draw(WRONG)
    place = tmp_path / "changed.json"
    place.write_text(json.dumps(record))
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        assert app.main(["show", str(place), data.draw(st.sampled_from(WAYS))]) in {0, 2, 3}


# ── through the command line ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plan that `plan ... --save` wrote."""
    place = tmp_path_factory.mktemp("saved") / "plan.json"
    assert app.main([*WORDS, "--pue", "1.3", "--save", str(place), "--quiet"]) == 0
    return place


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert app.main(words) == 0
    return capsys.readouterr().out


def test_show_prints_the_page_that_was_printed_when_it_was_made(capsys, made: Path) -> None:
    said = printed(capsys, "show", str(made))
    again = printed(capsys, *WORDS, "--pue", "1.3")

    def page(text: str) -> str:
        return re.sub(r" in \d+\.\d+ s;", ";", text)

    assert page(said).startswith(page(again))
    assert "Made by" in said
    assert "the data is that of now" in said


def test_show_json_is_the_answer_that_plan_json_prints(capsys, made: Path) -> None:
    shown = json.loads(printed(capsys, "show", str(made), "--json"))
    assert shown == json.loads(made.read_text())["plan"]


def test_from_asks_the_same_question_of_the_same_place(capsys, made: Path) -> None:
    again = json.loads(printed(capsys, "--from", str(made), "--json"))
    shown = json.loads(made.read_text())["plan"]
    again["proof"]["seconds"] = shown["proof"]["seconds"]
    assert again == shown


def test_what_is_typed_beside_from_changes_the_question(capsys, made: Path) -> None:
    again = json.loads(printed(capsys, "--from", str(made), "--max-tpot", "0.05", "--gpu", "A10G", "--json"))
    before = json.loads(made.read_text())["plan"]["question"]
    assert again["question"]["service_level"]["tpot_seconds"] == 0.05
    assert again["question"]["choices"]["gpus"] == ["A10G"]
    assert again["question"]["demand"] == before["demand"]


def test_from_and_from_url_are_not_given_together(capsys, made: Path) -> None:
    assert app.main(["--from", str(made), "--from-url", "#v=1&model=x"]) == 2
    assert "name two questions" in capsys.readouterr().err


def test_a_plan_says_which_data_has_changed_since(capsys, made: Path, tmp_path: Path) -> None:
    record = json.loads(made.read_text())
    record["fingerprints"]["catalog"] = "0" * 16
    (tmp_path / "old.json").write_text(json.dumps(record))
    assert "since then changed: catalog" in printed(capsys, "show", str(tmp_path / "old.json"))


def test_fingerprints_cover_every_data_file_once() -> None:
    from gpuplan.planning import data_files

    told = [file for kind in prints.KINDS for file in prints.bundled_files(kind)]
    assert sorted(told) == data_files()


def test_own_files_are_remembered_with_what_they_said(tmp_path: Path) -> None:
    own = tmp_path / "own.csv"
    own.write_text("provider,instance_type,gpu,gpu_count,price_usd_per_hour\nus,box,L4,1,0.10\n")
    asked = app.understand([*WORDS, "--offers", str(own)])[1]
    before = saved.sources_of(asked)
    assert before.offers_file == str(own)
    own.write_text(own.read_text().replace("0.10", "0.11"))
    assert saved.sources_of(asked).offers_digest != before.offers_digest


# ── a question and the words that ask it ─────────────────────────────────────────────────────────────────────────────

rates = st.floats(1e-3, 1e9)
counts = st.integers(1, 10**6)
names = st.lists(st.sampled_from(["h100", "L4", "rtx 4090", "eu", "fp8"]), min_size=1, max_size=3, unique=True).map(
    tuple
)


def maybe(strategy: st.SearchStrategy) -> st.SearchStrategy:
    return st.none() | strategy


@st.composite
def questions(draw: st.DrawFn) -> Requirements:
    """Any question that the command line can ask."""
    isl, osl = draw(st.integers(1, 1 << 20)), draw(st.integers(1, 1 << 20))
    work = Workload(
        input_tokens=isl,
        output_tokens=osl,
        shared_prefix_tokens=draw(st.integers(0, isl)),
        lengths=draw(st.sampled_from([(), (LengthShare(tokens=isl + osl, weight=draw(rates)),)])),
    )
    speculation = draw(
        st.sampled_from(
            [
                None,
                SpeculativeDecoding(method="mtp", tokens=2, acceptance_rate=0.7),
                SpeculativeDecoding(method="draft_model", tokens=4, draft="Qwen/Qwen3-0.6B"),
            ]
        )
    )
    arrivals = draw(maybe(rates))
    return Requirements(
        model=draw(st.sampled_from(["llama-3.3-70b", "Qwen/Qwen3-32B", "./a b", "-x"])),
        revision=draw(maybe(st.just("main"))),
        workload=work,
        demand=Demand(
            output_tokens_per_second=draw(maybe(rates)), requests_per_second=arrivals, concurrency=draw(maybe(counts))
        ),
        service_level=ServiceLevel(
            ttft_seconds=draw(maybe(rates)),
            tpot_seconds=draw(maybe(rates)),
            confidence=draw(st.floats(0.5, 0.99)),
            percentile=None if arrivals is None else draw(maybe(st.floats(50, 99.9))),
        ),
        limits=Limits(budget_usd_per_hour=draw(maybe(rates)), gpus=draw(maybe(counts)), power_watts=draw(maybe(rates))),
        choices=Choices(
            gpus=draw(maybe(names)),
            gpus_excluded=draw(st.just(()) | names),
            regions=draw(maybe(names)),
            billings=draw(st.sampled_from([("on-demand",), ("spot", "owned")])),
            allowed_restrictions=draw(st.sampled_from([(), ("marketplace",)])),
            prices_since=draw(maybe(st.dates())),
            weight_formats=draw(maybe(names)),
            engines=draw(st.sampled_from([("vllm",), ("sglang", "vllm==0.33.0")])),
            max_model_len=draw(maybe(counts)),
            tensor_parallel=draw(maybe(counts)),
            mix=draw(st.booleans()),
        ),
        options=EngineOptions(
            speculation=speculation,
            adapters=draw(maybe(st.just(LoraAdapters(rank=32, loaded=2, targets=("q_proj", "v_proj"))))),
            decode_context_parallel=draw(st.sampled_from([1, 2])),
            language_model_only=draw(st.booleans()),
        ),
        alternatives=draw(st.integers(0, 1000)),
        time_limit_seconds=draw(rates),
    )


@settings(max_examples=60, deadline=None)
@given(questions())
def test_the_words_of_a_question_ask_that_question(question: Requirements) -> None:
    asked = app.understand(typed(words_of(question)))[1]
    assert requirements_of(asked) == question


def test_every_option_of_a_question_may_stand_in_a_link() -> None:
    """And none that reads or writes a file of whoever opens it."""
    options = {param.name.strip("_").replace("_", "-") for param in app.program().params} - {"help"}
    elsewhere = {"offers", "prices-as-of", "offline", "factors", "json", "quiet", "verbose", "version"}
    elsewhere |= {"save", "from", "url", "from-url", "deploy", "format", "force"}
    assert options - elsewhere == QUESTION_OPTIONS


def test_numbers_are_written_so_that_they_are_read_back_exactly() -> None:
    question = Requirements(model="x", service_level=ServiceLevel(tpot_seconds=math.pi / 100))
    assert ("max-tpot", repr(math.pi / 100)) in words_of(question)
