"""The main question's options for what is served besides the model reach the plan, the page and the command."""

from __future__ import annotations

import json

import pytest

from gpuplan.cli import app

QUESTION = ("--model", "llama-3.3-70b", "--min-tps", "500")


def test_a_plan_says_what_it_was_asked_to_serve_besides_the_model(capsys) -> None:
    words = "--lora-rank 16 --max-loras 4 --lengths 1k:3,3k:1 --prefix-hit-rate 0.5"
    guessed = "--speculative draft:3:llama-3.1-8b --acceptance-rate 0.7"
    assert app.main([*QUESTION, *words.split(), *guessed.split()]) == 0
    page = " ".join(capsys.readouterr().out.split())
    assert "2 lengths up to 3,000, 512 tokens shared, 3 tokens guessed per step (draft_model by llama-3.1-8b)" in page
    assert "max_model_len 4096, with 3 tokens guessed per step" in page
    assert "requests of 2 lengths, 1,500 in the mean, 512 shared" in page
    assert "draft weights" in page
    assert "LoRA adapters" in page
    for told in (
        "--enable-prefix-caching",
        "--speculative-config '{",
        "--enable-lora --max-loras 4 --max-lora-rank 16",
    ):
        assert told in page


def test_the_json_of_a_plan_holds_its_options(capsys) -> None:
    assert app.main([*QUESTION, "--max-loras", "2", "--shared-prefix-tokens", "100", "--json"]) == 0
    got = json.loads(capsys.readouterr().out)
    assert got["question"]["workload"]["shared_prefix_tokens"] == 100
    assert got["question"]["options"]["adapters"] == {"rank": 16, "loaded": 2, "targets": []}
    assert got["lines"][0]["replica"]["options"] == got["question"]["options"]
    assert got["lines"][0]["memory"]["adapter_bytes"] > 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--speculative medusa", "is no way to guess tokens"),
        ("--speculative mtp", "has no multi-token-prediction layers"),
        ("--max-lora-rank 20", "vLLM 0.33.0 takes a LoRA rank of 1, 8, 16"),
        ("--lora-target-modules w_pack", "no linear layer 'w_pack'"),
        ("--lengths 9k:1", "--lengths average 9000 tokens"),
        ("--lengths 1k:1,x:2", "--lengths: 'x' is not a number of tokens"),
        ("--shared-prefix-tokens 5000", "is longer than the input of 1024"),
        ("--decode-context-parallel 0", "'0' is not a whole number from 1"),
        ("--decode-context-parallel 5000", "--decode-context-parallel: Input should be less than or equal to 4096"),
    ],
)
def test_a_wrong_option_is_one_sentence(capsys, words: str, said: str) -> None:
    assert app.main([*QUESTION, *words.split()]) == app.BAD_INPUT
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert err.count("\n") == 1


def test_what_a_model_says_of_itself_does_not_hide_how_well_its_shape_is_known(capsys) -> None:
    assert app.main(["--model", "Qwen/Qwen3.8-Flash-Next", "--min-tps", "100"]) == 0
    page = " ".join(capsys.readouterr().out.split())
    assert "Its table of n-grams" in page
    assert "plan models --name Qwen/Qwen3.8-Flash-Next --json` names the sources" in page
