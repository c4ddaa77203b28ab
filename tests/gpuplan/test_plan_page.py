"""The page says what the plan says, and nothing else."""

from __future__ import annotations

import shlex

import pytest

from gpuplan.cli import plan_page
from gpuplan.cli.console import Ink, render
from optimizer.plan import Interval, Plan
from optimizer.requirements import Choices, Demand, Requirements, ServiceLevel


def page(answer: Plan, *, verbose: bool = False, width: int = 120) -> str:
    return render(plan_page.full(answer, Ink(width=width), verbose=verbose), Ink(width=width))


@pytest.mark.parametrize(
    "words",
    [
        "2 x lambda gpu_1x_gh200 (1 x GH200 96GB), us-east-3, on-demand, 1.99 USD/h each as of 2026-10-02",
        "3.98 USD/h   2,905.40 USD/month   1.81 USD per million output tokens   proven optimal",
        "TP 1, fp8 weights (online quantization), fp8 KV cache, vllm 0.33.0",
        "612  540 to 700        at least 500",
        "25.4 ms  20 ms to 30 ms    up to 50 ms   1%",
        "at least 500  4%",
        "planned with 50% confidence (the estimates)",
        "fitted on this GPU",
        "weights      68.00   70.8",
        "free          8.00    8.3",
        "104,857 tokens: 68 requests of 1,536",
        "nothing costs less than 3.98 USD/h; gap 0%; CP-SAT 9.15",
        "every promise re-derived by audit",
        "costs 9.80 USD/h, 146% more",
        "112 days old",
    ],
)
def test_the_page_of_a_plan_holds_its_promises(solved: Plan, words: str) -> None:
    assert words in page(solved, width=200)


def test_memory_parts_and_free_add_up_to_the_gpu(solved: Plan) -> None:
    rows = render(plan_page.memory_rows(solved.lines[0].memory, Ink()), Ink()).splitlines()[1:]
    sizes = [float(row[13:].split()[0]) for row in rows]
    assert sum(sizes[:-1]) == pytest.approx(sizes[-1], abs=0.05)


def test_the_command_is_quoted_so_that_a_shell_reads_it_back(solved: Plan) -> None:
    last = page(solved).rstrip().splitlines()[-1]
    assert tuple(shlex.split(last)) == solved.lines[0].replica.command
    assert tuple(shlex.split(render(plan_page.short(solved), Ink()).splitlines()[1])) == solved.lines[0].replica.command


def test_a_plan_that_is_not_proven_says_so(solved: Plan) -> None:
    found = solved.model_copy(update={"status": "feasible"})
    assert "not proven" in page(found)
    assert "proven optimal" not in page(found)


def test_an_uncalibrated_estimate_shows_no_error_bar(solved: Plan) -> None:
    assert solved.totals is not None
    bare = Interval(value=612.0, low=None, high=None, planned=612.0)
    blind = solved.model_copy(update={"totals": solved.totals.model_copy(update={"output_tokens_per_second": bare})})
    assert "not known" in page(blind)


def test_an_audit_that_did_not_run_is_not_claimed(solved: Plan) -> None:
    unchecked = solved.model_copy(update={"proof": solved.proof.model_copy(update={"audited": False})})
    assert "audit" not in page(unchecked)


def test_restricted_offers_are_marked(solved: Plan) -> None:
    line = solved.lines[0]
    marked = line.model_copy(update={"offer": line.offer.model_copy(update={"restrictions": ("marketplace",)})})
    assert "[marketplace]" in page(solved.model_copy(update={"lines": (marked,)}))


def test_what_conflicts_and_what_to_type_instead_is_shown_when_nothing_fits(unsolved: Plan) -> None:
    text = page(unsolved)
    assert "Nothing fits" in text
    assert "exclude each other" in text
    assert "budget 3.98 instead of 1.00" in text
    assert "Run" not in text.splitlines()


def test_the_short_form_of_nothing_is_the_cheapest_relaxation(unsolved: Plan) -> None:
    assert render(plan_page.short(unsolved), Ink()) == "nothing fits: budget 3.98 instead of 1.00\n"


def test_long_lists_are_cut_unless_verbose(solved: Plan) -> None:
    many = solved.model_copy(update={"rejections": solved.rejections * 10})
    assert "and 12 more; --verbose shows all" in page(many)
    assert "more; --verbose" not in page(many, verbose=True)
    assert "Next best plans" in page(many, verbose=True)


def test_the_question_is_said_back_with_its_units() -> None:
    question = Requirements(
        model="m", demand=Demand(requests_per_second=2, concurrency=8), service_level=ServiceLevel(tpot_seconds=25)
    )
    assert plan_page.asked_for(question) == (
        "at least 2 requests/s, 8 requests in flight, TPOT up to 25 s, 1,024 tokens in and 512 out per request"
    )


def test_what_was_restricted_is_said_back() -> None:
    choices = Choices(gpus=("H100", "H200"), providers=("aws",), billings=("spot",), tensor_parallel=2, mix=False)
    question = Requirements(model="m", demand=Demand(concurrency=1), choices=choices)
    assert plan_page.asked_for(question).endswith("only H100 or H200, from aws, billed spot, TP 2, no mix")


def test_a_hostile_provider_cannot_write_to_the_terminal(solved: Plan) -> None:
    line = solved.lines[0]
    evil = line.offer.model_copy(update={"provider": "\x1b[2Jevil\nRun"})
    text = page(solved.model_copy(update={"lines": (line.model_copy(update={"offer": evil}),)}))
    assert "\x1b" not in text
    assert "\\x1b[2Jevil\\nRun" in text


def test_the_page_fits_a_screen(solved: Plan) -> None:
    lines = page(solved).splitlines()
    assert len(lines) <= 50
    assert max(len(line) for line in lines) <= 120


def test_words_beside_a_title_stay_within_the_screen() -> None:
    lines = plan_page.titled(
        "Speed", "192 requests in flight; this model fitted on this GPU; planned with 50%", Ink(width=60)
    )
    text = render(lines, Ink(width=60)).splitlines()
    assert text == ["Speed  192 requests in flight; this model fitted on this", "       GPU; planned with 50%"]


def test_what_is_owned_is_used_and_not_rented(solved: Plan) -> None:
    offer = solved.lines[0].offer
    owned = solved.lines[0].model_copy(update={"offer": offer.model_copy(update={"billing": "owned"})})
    page = render(plan_page.full(solved.model_copy(update={"lines": (owned,)}), Ink()), Ink())
    assert f"Use    {owned.count} x " in page
    assert "Rent " not in page
