"""What occupies a GPU besides a plain model reaches the user: each option, its part, its sentence when it is wrong."""

from __future__ import annotations

import json

import jsonschema
import pytest

from gpuplan.cli import app
from gpuplan.cli.length_table import read_lengths
from gpuplan.errors import BadWord

GIB = 1 << 30
LLAMA = ("llama-3.3-70b", "--gpu", "H100", "--tensor-parallel", "4", "--max-model-len", "32K")
DEEPSEEK = ("deepseek-v3", "--gpu", "B300", "--tensor-parallel", "8", "--max-model-len", "32K")
VISION = ("Qwen/Qwen2.5-VL-7B-Instruct", "--gpu", "H100", "--max-model-len", "32K")


@pytest.fixture
def memory(capsys: pytest.CaptureFixture[str]):
    """`plan memory ... --json` as an object."""

    def ask(*argv: str) -> dict:
        app.main(["memory", *argv, "--json"])
        out, err = capsys.readouterr()
        assert err == ""
        return json.loads(out)

    return ask


def refusal(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert app.main(["memory", *argv]) == app.BAD_INPUT
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err


def page(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    app.main(["memory", *argv])
    return capsys.readouterr().out


# ── speculation ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_draft_model_is_a_part_of_its_own(memory, capsys) -> None:
    argv = (*LLAMA, "--speculative", "draft:3:llama-3.1-8b")
    plain, alone = memory(*LLAMA)["memory"], memory("llama-3.1-8b", *LLAMA[1:])["memory"]
    got = memory(*argv)
    draft = alone["weight_bytes"] - 131_072 * 128 * 2  # both turn positions by one table
    assert got["memory"]["draft_weight_bytes"] == draft
    assert got["memory"]["weight_bytes"] == plain["weight_bytes"] + draft
    assert got["memory"]["kv_bytes_per_token"] == plain["kv_bytes_per_token"] + alone["kv_bytes_per_token"]
    asked = {"method": "draft_model", "tokens": 3, "draft": "llama-3.1-8b"}
    assert asked.items() <= got["layout"]["options"]["speculation"].items()
    text = page(capsys, *argv)
    assert f"draft weights {draft / GIB:.2f}" in " ".join(text.split())
    assert "3 tokens guessed per step (draft_model by llama-3.1-8b)" in text


def test_mtp_layers_are_a_part_of_their_own(memory) -> None:
    plain, got = memory(*DEEPSEEK)["memory"], memory(*DEEPSEEK, "--speculative", "mtp")["memory"]
    assert got["draft_weight_bytes"] == got["weight_bytes"] - plain["weight_bytes"] > GIB
    assert got["kv_bytes_per_token"] - plain["kv_bytes_per_token"] == (512 + 64) * 2


def test_ngrams_have_no_weights(memory) -> None:
    assert memory(*LLAMA, "--speculative", "ngram:4")["memory"]["draft_weight_bytes"] == 0


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("medusa", "--speculative: 'medusa' is no way to guess tokens; write mtp:1"),
        ("draft:3", "draft needs its draft: draft:3:NAME"),
        ("mtp:1:llama-3.1-8b", "mtp takes no draft; write mtp:1"),
        ("mtp:0", "'0' is not a whole number from 1"),
        ("mtp:99999", "--speculative: Input should be less than or equal to 1024"),
        ("mtp", "has no multi-token-prediction layers"),
        ("draft:3:nothing-like-it", "nothing-like-it"),
        ("draft:3:Qwen/Qwen3-0.6B", "must guess in the model's own tokens"),
        ("eagle:3:llama-3.1-8b", "it is the head of another model"),
    ],
)
def test_a_wrong_way_of_guessing_is_one_sentence(capsys, word: str, said: str) -> None:
    assert said in refusal(capsys, *LLAMA, "--speculative", word)


def test_a_head_in_a_folder_is_read_and_named_by_its_folder(memory, capsys, tmp_path) -> None:
    sizes = {"hidden_size": 8192, "intermediate_size": 28672, "num_attention_heads": 64, "num_key_value_heads": 8}
    names = {"architectures": ["LlamaForCausalLMEagle3"], "vocab_size": 128256, "draft_vocab_size": 32000}
    config = {**names, **sizes, "num_hidden_layers": 1, "max_position_embeddings": 131072, "model_type": "llama"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    got = memory(*LLAMA, "--speculative", f"eagle3:3:{tmp_path}")
    layer = 2 * 8192 * (8192 + 2 * 1024) // 4 + 8192 * 8192 // 4 + 3 * 28672 * 8192 // 4 + 3 * 8192
    assert got["memory"]["draft_weight_bytes"] == 2 * (layer + 3 * 8192 * 8192 + 32000 * 8192 // 4 + 8192)
    told = f'{{"method":"eagle3","model":"{tmp_path}","num_speculative_tokens":3}}'
    assert got["command"][got["command"].index("--speculative-config") + 1] == told
    assert f"'{told}'" in page(capsys, *LLAMA, "--speculative", f"eagle3:3:{tmp_path}")


# ── LoRA ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_adapters_are_rank_times_both_sides(memory, capsys) -> None:
    words = ("--max-lora-rank", "16", "--max-loras", "4", "--lora-target-modules", "q_proj,o_proj")
    q_and_fused = (8192 + 8192 // 4) + 2 * (8192 + 1024 // 4)
    wrapped = 80 * (q_and_fused + (8192 // 4 + 8192)) * 16 * 4 * 2
    got = memory(*LLAMA, *words)
    assert got["memory"]["adapter_bytes"] == wrapped
    told = "--enable-lora --max-loras 4 --max-lora-rank 16 --lora-target-modules q_proj o_proj"
    assert " ".join(got["command"]).endswith(told)
    assert f"LoRA adapters {wrapped / GIB:.2f}" in " ".join(page(capsys, *LLAMA, *words).split())


def test_lora_has_a_shorter_spelling_and_vllms_defaults(memory) -> None:
    short, long = memory(*LLAMA, "--lora-rank", "32"), memory(*LLAMA, "--max-lora-rank", "32")
    assert short == long
    assert memory(*LLAMA, "--max-loras", "2")["memory"]["adapter_bytes"] == short["memory"]["adapter_bytes"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--max-lora-rank", "20"), "takes a LoRA rank of 1, 8, 16, 32"),
        (("--lora-target-modules", "w_pack"), "no linear layer 'w_pack' to adapt; --lora-target-modules takes q_proj"),
        (("--max-loras", "0"), "--max-loras: '0' is not a whole number"),
        (("--max-loras", "999999"), "--max-loras: Input should be less than or equal to 65536"),
    ],
)
def test_wrong_adapters_are_one_sentence(capsys, words: tuple[str, ...], said: str) -> None:
    assert said in refusal(capsys, *LLAMA, *words)


# ── offload, context ranks, vision ───────────────────────────────────────────────────────────────────────────────────


def test_offloaded_weights_lie_in_the_hosts_memory(memory, capsys) -> None:
    plain, got = memory(*LLAMA)["memory"], memory(*LLAMA, "--cpu-offload-gb", "10")["memory"]
    assert got["offloaded_weight_bytes"] == 10 * GIB == plain["weight_bytes"] - got["weight_bytes"]
    assert plain["kv_cache_bytes"] < got["kv_cache_bytes"] < plain["kv_cache_bytes"] + 10 * GIB
    text = page(capsys, *LLAMA, "--cpu-offload-gb", "10")
    assert "in the host's memory  10.00" in text
    assert "Every step reads 10.0 GiB of weights over PCIe" in text


def test_context_ranks_divide_the_tokens(memory, capsys) -> None:
    plain, got = memory(*DEEPSEEK), memory(*DEEPSEEK, "--decode-context-parallel", "8")
    assert got["memory"]["kv_bytes_per_token"] * 8 == plain["memory"]["kv_bytes_per_token"]
    assert "--decode-context-parallel: " in refusal(capsys, *LLAMA, "--decode-context-parallel", "3")
    assert "--decode-context-parallel-size" in got["command"]


def test_a_language_model_alone_has_no_tower(memory) -> None:
    plain, got = memory(*VISION), memory(*VISION, "--language-model-only")
    assert plain["memory"]["weight_bytes"] - got["memory"]["weight_bytes"] > GIB
    assert got["command"][-1] == "--language-model-only"


# ── several on one GPU ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_mig_slice_is_a_gpu_of_its_own(memory, capsys) -> None:
    small = ("llama-3.1-8b", "--gpu", "H100", "--max-model-len", "8K")
    whole, half = memory(*small), memory(*small, "--mig", "3g.40gb")
    assert half["layout"]["gpu"] == "H100 SXM 80GB MIG 3g.40gb"
    assert half["memory"]["total_bytes"] == pytest.approx(whole["memory"]["total_bytes"] / 2, rel=0.01)
    assert "it has 1g.10gb, 1g.20gb, 2g.20gb, 3g.40gb" in refusal(capsys, *small, "--mig", "5g.50gb")
    assert "cannot be split by MIG" in refusal(capsys, "llama-3.1-8b", "--gpu", "L40S", "--mig", "1g.6gb")
    assert "MIG slices cannot serve one model together" in refusal(capsys, *LLAMA, "--mig", "3g.40gb")


def test_an_engine_starts_beside_others_only_in_what_they_leave(memory, capsys) -> None:
    small = ("llama-3.1-8b", "--gpu", "H100", "--max-model-len", "8K")
    assert not memory(*small, "--share", "0.4")["starts"]
    text = page(capsys, *small, "--share", "0.4")
    assert "its share of 72.85 GiB is not free" in text
    assert "--gpu-memory-utilization 0.58" in text
    assert "other processes" in text
    assert memory(*small, "--share", "0.4", "--gpu-memory-utilization", "0.58")["starts"]
    assert not memory(*small, "--share", "0.4", "--gpu-memory-utilization", "0.6")["starts"]


def test_engines_and_processes_add_up(memory) -> None:
    got = memory(*LLAMA, "--share", "0.1,0.2,2GiB")["memory"]
    contexts = got["occupied_bytes"] - 2 * GIB - 0.3 * got["total_bytes"]
    assert contexts == pytest.approx(2 * 0.45 * GIB, rel=0.01)


@pytest.mark.parametrize("word", ["1.5", "0", "2 parsecs", "0.4;0.2", "1e99GiB", "--", "0.4,,0.2"])
def test_a_wrong_share_is_one_sentence(capsys, word: str) -> None:
    assert refusal(capsys, *LLAMA, "--share", word).startswith("plan: ")


# ── requests ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_prefix_is_kept_once(memory, capsys) -> None:
    long = (*LLAMA, "--isl", "8000", "--osl", "192")
    plain, shared = memory(*long), memory(*long, "--shared-prefix-tokens", "4000")
    fit = [one["memory"]["requests_that_fit"] for one in (plain, shared)]
    blocks = plain["memory"]["kv_tokens"] // 16 - 1
    assert fit == [blocks // 512, (blocks - 250) // (512 - 250)]
    assert memory(*long, "--prefix-hit-rate", "0.5") == shared
    assert "--enable-prefix-caching" in shared["command"]
    assert "requests of 8,192, 4,000 shared tokens" in page(capsys, *long, "--prefix-hit-rate", "0.5")


def test_lengths_are_counted_with_a_margin(memory) -> None:
    plain, mixed = memory(*LLAMA), memory(*LLAMA, "--lengths", "1k:3,9k:1")
    tokens = plain["memory"]["kv_tokens"]
    assert tokens // 9000 < mixed["memory"]["requests_that_fit"] < tokens // 3000
    assert mixed["tokens_per_request"] == 3000
    assert [each["tokens"] for each in mixed["workload"]["lengths"]] == [1000, 9000]


def test_lengths_come_from_a_file_too(memory, tmp_path) -> None:
    table = tmp_path / "lengths.csv"
    table.write_text("tokens,weight\n1000,3\n9000,1\n")
    assert memory(*LLAMA, "--lengths", str(table)) == memory(*LLAMA, "--lengths", "1k:3,9k:1")
    table.write_text("input_tokens,output_tokens\n900,100\n1000,0\n")
    with pytest.raises(BadWord, match="line 3"):
        read_lengths(str(table))
    table.write_text("input_tokens,output_tokens\n900,100\n500,500\n8000,1000\n")
    assert read_lengths(str(table)) == ((1000, 2.0), (9000, 1.0))


def test_many_lengths_are_rounded_up_never_down(tmp_path) -> None:
    table = tmp_path / "lengths.csv"
    table.write_text("tokens\n" + "".join(f"{tokens}\n" for tokens in range(1, 5001)))
    got = read_lengths(str(table))
    assert len(got) == 1000
    assert got[0] == (5, 5.0)
    assert got[-1] == (5000, 5.0)
    assert sum(weight for _, weight in got) == 5000


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "lacks its columns"),
        (b"length\n5\n", "lacks its columns"),
        (b"tokens\n", "has no rows"),
        (b"tokens\n-5\n", "line 2"),
        (b"tokens\n=1+1\n", "line 2"),
        (b"tokens,weight\n5,nan\n", "line 2"),
        (b"tokens,weight\n5,0\n", "line 2"),
        (b"tokens\n" + b"9" * 100_000 + b"\n", "line 2"),
        (b"tokens\n" + b"9" * 1_000_000 + b"\n", "cannot be read"),
        (b"tokens\n\xff\xfe\n", "cannot be read"),
        (b"tokens\n1\n\x00\n", "line 3"),
    ],
)
def test_a_hostile_table_of_lengths_is_one_sentence(capsys, tmp_path, content: bytes, said: str) -> None:
    table = tmp_path / "lengths.csv"
    table.write_bytes(content)
    assert said in refusal(capsys, *LLAMA, "--lengths", str(table))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--lengths", "1k:3,8k:x"), "--lengths: 'x' is not a rate"),
        (("--lengths", "64k:1"), "A request of 64000 tokens is longer than max_model_len 32768"),
        (("--lengths", "nothing.csv"), "cannot be read as a CSV"),
        (("--prefix-hit-rate", "1.5"), "--prefix-hit-rate: '1.5' is not a share of the input from 0 to 1"),
        (("--shared-prefix-tokens", "2000"), "a shared prefix of 2000 tokens is longer than the input of 1024"),
        (("--shared-prefix-tokens", "20", "--prefix-hit-rate", "0.1"), "say the same; give one"),
    ],
)
def test_wrong_requests_are_one_sentence(capsys, words: tuple[str, ...], said: str) -> None:
    assert said in refusal(capsys, *LLAMA, *words)


# ── other engines ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_an_engine_cannot_be_told_is_refused(capsys) -> None:
    argv = (*LLAMA, "--engine", "tensorrt-llm", "--cpu-offload-gb", "5")
    assert "TensorRT-LLM 1.3.0rc27 has no option for weights in the host's memory" in refusal(capsys, *argv)


# ── contradictions ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ((*LLAMA, "--max-model-len", "4K"), "max_num_batched_tokens 8,192 is above max_model_len 4,096"),
        ((*LLAMA, "--max-num-batched-tokens", "512"), "max_num_batched_tokens 512 is below max_num_seqs 1,024"),
        (
            (*LLAMA, "--max-num-batched-tokens", "2048", "--speculative", "ngram:4"),
            "Checking 4 guesses of 1,024 sequences takes 5,120 tokens a step",
        ),
        (LLAMA, "of max_num_seqs 1,024 requests of 1,536 tokens fit at once"),
        (("deepseek-r1", "--gpu", "RTX 4090"), "times the memory of RTX 4090 24GB"),
        ((*LLAMA, "--quantization", "int4"), "int4 weights need a checkpoint that somebody has quantized"),
        ((*LLAMA, "--quantization", "fp8", "--engine", "trtllm"), "fp8 weights need a checkpoint"),
        ((*LLAMA, "--max-model-len", "256K"), "max_model_len 262,144 is above the 131,072 tokens"),
        ((*LLAMA, "--language-model-only"), "has no vision tower: --language-model-only changes nothing"),
        (
            ("llama-3.1-8b", "--gpu", "H100", "--speculative", "draft:2:meta-llama/Llama-3.2-3B-Instruct"),
            "of the parameters of meta-llama/Llama-3.1-8B-Instruct: guessing costs almost what it saves",
        ),
        (
            (*LLAMA, "--speculative", "draft:2:meta-llama/Meta-Llama-3-8B-Instruct"),
            "guesses up to 8,192 tokens of context, and max_model_len is 32,768",
        ),
        ((*LLAMA, "--max-loras", "64", "--max-num-seqs", "32"), "--max-loras 64 is above max_num_seqs 32"),
        ((*LLAMA, "--lora-rank", "512", "--max-loras", "16"), "LoRA buffers of"),
        ((*LLAMA, "--cpu-offload-gb", "500"), "--cpu-offload-gb 500 is more than the 32.9 GiB of weights"),
        (
            (*LLAMA, "--isl", "512", "--osl", "512", "--lengths", "256:1,1k:1", "--prefix-hit-rate", "0.5"),
            "not shorter",
        ),
        (("llama-3.1-8b", "--gpu", "H100", "--mig", "3g.40gb", "--share", "0.1"), "counted of the MIG slice"),
    ],
)
def test_settings_that_contradict_each_other_are_named(memory, argv: tuple[str, ...], said: str) -> None:
    warnings = memory(*argv)["warnings"]
    assert len([sentence for sentence in warnings if said in sentence]) == 1


def test_settings_that_go_together_are_not_named(memory) -> None:
    argv = ("--max-num-seqs", "64", "--lora-rank", "16", "--prefix-hit-rate", "0.5", "--decode-context-parallel", "1")
    assert memory(*LLAMA, *argv)["warnings"] == []


def test_the_schema_of_the_answer_is_printed_and_holds(memory, capsys) -> None:
    assert app.main(["schema", "memory"]) == 0
    schema = json.loads(capsys.readouterr().out)
    jsonschema.validate(memory(*DEEPSEEK, "--speculative", "mtp", "--lora-rank", "8", "--lengths", "1k,2k:2"), schema)
    assert app.main(["schema", "memry"]) == app.BAD_INPUT
    assert "Did you mean 'memory'?" in capsys.readouterr().err
