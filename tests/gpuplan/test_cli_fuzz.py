"""Any command line ends in an answer, one sentence or "nothing fits": never in a traceback.

`GPUPLAN_FUZZ` says how many command lines to try (by default 100 of each kind; 10,000 take some minutes).
"""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from catalog.find import bundled_models
from gpu_db.load import load_gpus, load_offers
from gpuplan.cli import app
from gpuplan.cli.commands import gpus, models
from gpuplan.cli.commands import plan as main_job

EXAMPLES = int(os.environ.get("GPUPLAN_FUZZ", "100"))
ALLOWED = {app.ANSWERED, app.BAD_INPUT, app.NOTHING_FITS}
FUZZ = settings(
    max_examples=EXAMPLES,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),  # shrinking a question that takes seconds to answer takes minutes
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)

MODELS = sorted(record.repo_id for record in bundled_models())
GPUS = sorted(load_gpus())
PROVIDERS = sorted({offer.provider for offer in load_offers()})
REGIONS = sorted({offer.region for offer in load_offers()} | {"us", "eu", "asia"})
COMMANDS = [app.MAIN_JOB, *app.command_names()]
OPTIONS = {name: (app.program() if name == app.MAIN_JOB else app.command_of(name)).params for name in COMMANDS}

numbers = st.one_of(
    st.integers(-2, 100_000).map(str),
    st.floats(allow_nan=True).map(str),
    st.sampled_from(
        ["0", "-0", "1e400", "1e-400", "10$", "$10", "32k", "32K", "25ms", "0.5s", "7b", "٣", "1_0", "0x1", ""]
    ),
    st.integers(0, 10**30).map(str),
)
names = st.one_of(
    st.sampled_from(MODELS),
    st.sampled_from(["llama-3.3-70b", "qwen3-30b-a3b", "gpt-oss-120b", ".", "/", "/etc/passwd", "~", "config.json"]),
    st.sampled_from(GPUS),
    st.sampled_from(["H100", "a100", "mi300x", "L4", "rtx 4090"]),
    st.sampled_from(PROVIDERS),
    st.sampled_from(REGIONS),
    st.sampled_from(
        ["fp8", "bf16", "int4", "nvfp4", "mxfp4", "auto", "vllm", "sglang", "vllm==0.10.0", "vllm==x", "spot"]
    ),
    st.text(max_size=40),
)
everything = st.one_of(names, numbers)
likely = st.sampled_from([*main_job.OBJECTIVES, *main_job.BILLINGS, *main_job.RESTRICTIONS, *gpus.SORTS, *models.SORTS])


def words_of(name: str) -> st.SearchStrategy[list[str]]:
    """Command lines of one command: some of its options with any values, and stray words."""

    if not OPTIONS[name]:
        return st.lists(everything, max_size=2).map(lambda words: [name, *words])

    def typed(option) -> st.SearchStrategy[list[str]]:
        spelling = option.opts[-1]
        if not spelling.startswith("-"):
            return names.map(lambda value: [value])
        if option.is_flag:
            return st.just([spelling])
        return st.one_of(likely, everything).map(lambda value: [spelling, value])

    option = st.sampled_from(OPTIONS[name]).flatmap(typed)
    stray = st.one_of(st.text(max_size=20).map(lambda word: [word]), st.sampled_from([["--json"], ["--nonsense", "1"]]))
    many = st.lists(st.one_of(option, option, option, stray), max_size=7)
    return many.map(lambda parts: [name.split(" ") * (name != app.MAIN_JOB), *parts]).map(
        lambda parts: [word for part in parts for word in part]
    )


def outcome(argv: list[str]) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of the program in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = app.main(argv)
    return status, out.getvalue(), err.getvalue()


def check(argv: list[str]) -> int:
    """What holds for every command line."""
    status, out, err = outcome(argv)
    assert status in ALLOWED
    if status == app.BAD_INPUT:
        assert out == ""
        assert err.startswith("plan: ")
        assert err.count("\n") == 1
    else:
        assert err == ""
        assert out
    assert all(each.isprintable() or each == "\n" for each in err)
    if "--json" in argv and status != app.BAD_INPUT and not {"--help", "-h", "--version"} & set(argv):
        json.loads(out)
    return status


@pytest.mark.slow
@FUZZ
@given(st.sampled_from(COMMANDS).flatmap(words_of))
def test_no_command_line_ends_in_a_traceback(argv: list[str]) -> None:
    check(argv)


def number_or(default: str) -> st.SearchStrategy[str]:
    return st.one_of(st.just(default), st.integers(1, 5000).map(str), numbers)


questions = st.fixed_dictionaries(
    {"--model": st.sampled_from(MODELS)},
    optional={
        "--min-tps": number_or("500"),
        "--requests-per-second": number_or("2"),
        "--concurrency": number_or("16"),
        "--isl": number_or("1024"),
        "--osl": number_or("256"),
        "--max-ttft": number_or("2s"),
        "--max-tpot": number_or("50ms"),
        "--budget": number_or("20"),
        "--max-gpus": number_or("16"),
        "--gpu": st.one_of(st.sampled_from(GPUS), st.just("H100,H200")),
        "--exclude-gpu": st.sampled_from(GPUS),
        "--provider": st.sampled_from(PROVIDERS),
        "--region": st.sampled_from(REGIONS),
        "--billing": st.sampled_from(["on-demand", "spot", "reserved-1y", "reserved-3y", "owned"]),
        "--quantization": st.sampled_from(["bf16", "fp8", "int4", "fp8,bf16", "mxfp4"]),
        "--kv-cache-dtype": st.sampled_from(["bf16", "fp8", "auto", "fp3"]),
        "--engine": st.sampled_from(["vllm", "sglang", "tensorrt-llm", "vllm==0.12.0"]),
        "--max-model-len": number_or("8k"),
        "--tensor-parallel": st.sampled_from(["1", "2", "3", "4", "8", "16", "1000"]),
        "--pipeline-parallel": st.sampled_from(["1", "2", "5", "64"]),
        "--objective": st.sampled_from(["cost", "throughput", "latency", "energy"]),
        "--alternatives": st.sampled_from(["0", "1", "50"]),
        "--time-limit": st.sampled_from(["1", "5"]),
        "--confidence": st.sampled_from(["0.5", "0.9", "0.99", "1", "90%"]),
        "--percentile": st.sampled_from(["p50", "p95", "99.9", "100"]),
        "--max-power": st.sampled_from(["700", "3kW", "0"]),
        "--speculative": st.sampled_from(["mtp:1", "ngram:4", "eagle:3", "mtp:0"]),
        "--acceptance-rate": st.sampled_from(["0", "0.7", "1", "2"]),
        "--prefix-hit-rate": st.sampled_from(["0", "0.5", "1", "-1"]),
        "--shared-prefix-tokens": number_or("512"),
        "--lengths": st.sampled_from(["1k:3,8k:1", "1k", "no-such.csv", "0:1"]),
        "--max-lora-rank": st.sampled_from(["8", "16", "20"]),
        "--max-loras": st.sampled_from(["1", "4"]),
        "--decode-context-parallel": st.sampled_from(["1", "2", "3"]),
        "--prices-as-of": st.sampled_from(["2026-05-01", "1999-01-01", "tomorrow"]),
    },
)


@pytest.fixture(autouse=True, scope="module")
def _elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What a drawn command line writes lands in a folder of its own."""
    with contextlib.chdir(tmp_path_factory.mktemp("fuzz")):
        yield


@pytest.mark.slow
@settings(FUZZ, max_examples=max(EXAMPLES // 5, 10))
@given(questions)
def test_every_sensible_question_is_answered_or_refused(question: dict[str, str]) -> None:
    check([*(word for pair in question.items() for word in pair), "--json"])


@FUZZ
@given(st.lists(st.text(max_size=30), max_size=6))
def test_no_garbage_ends_in_a_traceback(argv: list[str]) -> None:
    check(argv)


@pytest.mark.slow
@FUZZ
@given(st.binary(max_size=400) | st.text(max_size=400).map(str.encode))
def test_no_offers_file_ends_in_a_traceback(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "offers.csv"
    file.write_bytes(content)
    check(["--model", "llama-3.1-8b", "--min-tps", "1", "--offers", str(file), "--gpu", "L4"])


@pytest.mark.slow
@FUZZ
@given(
    st.dictionaries(
        st.sampled_from(
            [
                "architectures",
                "model_type",
                "hidden_size",
                "num_hidden_layers",
                "num_attention_heads",
                "num_key_value_heads",
                "intermediate_size",
                "vocab_size",
                "max_position_embeddings",
                "torch_dtype",
                "quantization_config",
                "head_dim",
            ]
        ),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers(-5, 10**20)
            | st.floats()
            | st.sampled_from(["LlamaForCausalLM", "llama", "x"]),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
            max_leaves=5,
        ),
    )
)
def test_no_model_config_ends_in_a_traceback(tmp_path_factory: pytest.TempPathFactory, config: dict) -> None:
    folder = tmp_path_factory.getbasetemp() / "fuzzed-model"
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(
        json.dumps({"architectures": ["LlamaForCausalLM"], "model_type": "llama"} | config)
    )
    check(["memory", str(folder), "--gpu", "H100", "--json"])
