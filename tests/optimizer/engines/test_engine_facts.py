import json
from importlib.resources import files

import numpy as np
import pytest

from catalog.find import find_model
from catalog.quantization import requantized
from gpu_db.gpu import Gpu
from gpu_db.load import load_gpus
from optimizer.answer import weights_from
from optimizer.engines.errors import UnknownEngine
from optimizer.engines.find import ENGINES, find_engine
from optimizer.engines.vllm import Vllm
from optimizer.memory.vram import MemorySettings
from optimizer.settings import launch_of

VLLM, SGLANG, TENSORRT = (find_engine(name) for name in ("vllm", "sglang", "tensorrt-llm"))


@pytest.fixture
def t4(make_gpu):
    return make_gpu("T4", "7.5", 15360)


@pytest.fixture
def v100(make_gpu):
    return make_gpu("V100 SXM2 32GB", "7.0", 32768)


@pytest.fixture
def a100(make_gpu):
    return make_gpu("A100 SXM 80GB", "8.0", 81920)


@pytest.fixture
def b200(make_gpu):
    return make_gpu("B200 SXM 180GB", "10.0", 183359)


@pytest.fixture
def mi300x(make_gpu):
    return make_gpu("MI300X 192GB", "gfx942", 196592, "AMD")


@pytest.mark.parametrize("name", ENGINES)
def test_every_fact_of_an_engine_has_a_source(name):
    facts = json.loads(
        files("optimizer.engines").joinpath(f"data/{name.replace('-', '_')}.json").read_text(encoding="utf-8")
    )

    def without_source(value, path):
        if isinstance(value, list):
            return [miss for i, entry in enumerate(value) for miss in without_source(entry, f"{path}[{i}]")]
        if isinstance(value, dict):
            facts_here = {key for key in value if key in ("value", "from", "architectures", "tokens", "cards", "names")}
            if facts_here and "source" not in value:
                return [path]
            return [m for key, entry in value.items() if key != "cards" for m in without_source(entry, f"{path}.{key}")]
        return []

    assert facts["version"]
    assert facts["as_of"]
    assert without_source(facts, name) == []


@pytest.mark.parametrize("card", ["P40 24GB", "P100 PCIe 16GB"])
@pytest.mark.parametrize("engine", [VLLM, SGLANG, TENSORRT], ids=ENGINES)
def test_pascal_is_refused_by_every_engine_by_its_compute_capability(llama_70b, engine, card):
    gpu = load_gpus()[card]
    reason = engine.refuses(llama_70b, gpu, "bf16")
    assert f"from compute capability {engine.facts['gpus']['NVIDIA']['from']} on" in reason
    assert reason.endswith(f"{card} has {gpu.compute_capability}")


def test_a_card_below_the_engines_floor_is_refused_with_both_numbers(llama_70b, v100):
    reason = VLLM.refuses(llama_70b, v100, "bf16")
    assert "7.5" in reason
    assert "7.0" in reason


@pytest.mark.parametrize(
    ("engine", "repo", "kv", "refused"),
    [
        # vLLM runs fp8 weights on Ampere by Marlin; TensorRT-LLM does not.
        (VLLM, "Qwen/Qwen3-8B-FP8", "bf16", None),
        (SGLANG, "Qwen/Qwen3-8B-FP8", "bf16", None),
        (TENSORRT, "Qwen/Qwen3-8B-FP8", "bf16", "9.0"),
        # fp8 KV needs fp8 types.
        (VLLM, "Qwen/Qwen3-8B", "fp8", "8.9"),
        (TENSORRT, "Qwen/Qwen3-8B", "fp8", None),
        # 4-bit.
        (VLLM, "openai/gpt-oss-20b", "bf16", None),
        (TENSORRT, "openai/gpt-oss-20b", "bf16", "10.0"),
    ],
)
def test_an_a100_runs_what_the_engines_documents_say(a100, engine, repo, kv, refused):
    reason = engine.refuses(find_model(repo), a100, kv)
    assert reason is None if refused is None else refused in reason


def test_int8_is_refused_on_blackwell_and_allowed_on_ampere(llama_70b, a100, b200):
    int8 = requantized(llama_70b, "int8")
    assert VLLM.refuses(int8, a100, "bf16") is None
    assert "fp8" in VLLM.refuses(int8, b200, "bf16")


def test_nvfp4_computes_in_fp4_on_blackwell_only(a100, b200, mi300x):
    assert VLLM.computes_in("nvfp4", b200) == "fp4"
    assert VLLM.computes_in("nvfp4", a100) == "bf16"
    assert VLLM.computes_in("nvfp4", mi300x) is None


def test_turing_runs_bf16_checkpoints_in_fp16_except_where_that_is_unstable(t4, llama_70b):
    assert VLLM.computes_in("bf16", t4) == "fp16"
    assert VLLM.refuses(llama_70b, t4, "bf16") is None
    assert "unstable in fp16" in VLLM.refuses(find_model("google/gemma-3-27b-it"), t4, "bf16")


@pytest.mark.parametrize("vendor", ["Intel", "Google", "AWS", "Apple", "Nobody"])
@pytest.mark.parametrize("engine", [VLLM, SGLANG, TENSORRT], ids=lambda e: e.name)
def test_other_vendors_are_refused_with_a_sentence(llama_70b, make_gpu, engine, vendor):
    reason = engine.refuses(llama_70b, make_gpu("some card", "", 98304, vendor), "bf16")
    assert len(reason.split()) > 5
    assert "{" not in reason


def test_an_amd_card_runs_fp8_from_mi300_on(llama_70b, mi300x, make_gpu):
    fp8 = requantized(llama_70b, "fp8")
    mi210 = make_gpu("MI210 64GB", "gfx90a", 65520, "AMD")
    assert VLLM.refuses(fp8, mi300x, "fp8") is None
    assert "gfx942" in VLLM.refuses(fp8, mi210, "bf16")
    assert VLLM.refuses(llama_70b, mi210, "bf16") is None


def test_a_package_of_two_devices_is_not_one_card(llama_70b, make_gpu):
    mi250 = make_gpu("MI250 128GB (2 GCD)", "gfx90a", 131040, "AMD")
    assert "two devices of 64 GB" in VLLM.refuses(llama_70b, mi250, "bf16")


def test_a_card_without_capability_or_memory_is_refused(llama_70b, make_gpu):
    assert "compute capability" in VLLM.refuses(llama_70b, make_gpu("Rubin", "", 294912), "bf16")
    assert "nobody published" in VLLM.refuses(llama_70b, make_gpu("B100 SXM", "10.0", None), "bf16")


def test_an_architecture_that_the_engine_lacks_is_named():
    jamba = find_model("ai21labs/AI21-Jamba-1.5-Mini")
    h100 = Gpu("H100", "NVIDIA", "", "9.0", 81559 << 20, 0, None, {}, None, None, None, None, 8, "", True, 2022,
               None, None, "test", "high")  # fmt: skip
    assert VLLM.refuses(jamba, h100, "bf16") is None
    assert "JambaForCausalLM" in SGLANG.refuses(jamba, h100, "bf16")


@pytest.mark.parametrize(
    ("name", "capability", "mib", "seqs", "tokens"),
    [
        ("H100 SXM 80GB", "9.0", 81559, 1024, 8192),
        ("A100 SXM 80GB", "8.0", 81920, 256, 2048),
        ("L40S 48GB", "8.9", 46068, 256, 2048),
        ("B200 SXM 180GB", "10.0", 183359, 1024, 16384),
        ("DGX Spark GB10 128GB", "12.1", 122570, 256, 2048),
    ],
)
def test_vllm_batch_defaults_follow_the_card(make_gpu, name, capability, mib, seqs, tokens):
    gpu = make_gpu(name, capability, mib)
    assert (VLLM.default_max_num_seqs(gpu), VLLM.default_max_batched_tokens(gpu)) == (seqs, tokens)


@pytest.mark.parametrize(("version", "share"), [("0.10.2", 0.90), ("0.19.3", 0.90), ("0.20.0", 0.92), ("0.33.0", 0.92)])
def test_vllm_utilization_changed_with_0_20(version, share):
    assert find_engine("vllm", version).memory_utilization == share


@pytest.mark.parametrize(("version", "inside"), [("0.20.2", False), ("0.21.0", True)])
def test_vllm_charges_graphs_from_0_21_on(version, inside):
    gemma = find_model("google/gemma-3-27b-it")  # of the first model runner until 0.25
    assert find_engine("vllm", version).graphs_inside_budget(gemma) is inside


def test_sglang_derives_the_fraction_that_it_prints(make_gpu, make_rows):
    # SGLang 0.5.23 resolves mem_fraction_static to 0.829 for Qwen3-8B at TP 2 on a card of 80 GiB.
    card = make_gpu("some card of 80 GiB", "9.0", 81920 + 461)  # 461 MiB are never seen by an engine
    rows = make_rows([card], [2])
    share = SGLANG.utilization(find_model("Qwen/Qwen3-8B"), rows, np.array([8192]))
    assert share[0] == pytest.approx(0.829, abs=0.0005)


@pytest.mark.parametrize("name", ["vllm", "VLLM", "sglang", "trtllm", "TensorRT-LLM", "tensorrt_llm"])
def test_engines_are_found_by_any_of_their_names(name):
    assert find_engine(name).name in ENGINES


@pytest.mark.parametrize(
    ("name", "version", "says"),
    [("vlm", None, "known are vllm"), ("vllm", "9.9", "newer than"), ("vllm", "latest", "not a version")],
)
def test_unknown_engines_and_versions_are_named(name, version, says):
    with pytest.raises(UnknownEngine, match=says):
        find_engine(name, version)


def test_the_checkpoints_own_kv_format_comes_first(make_gpu):
    gpu = make_gpu()
    assert VLLM.kv_formats(find_model("Qwen/Qwen3-8B"), gpu) == ("bf16", "fp8")
    prescribed = find_model("nvidia/Llama-3.1-70B-Instruct-FP8")
    assert VLLM.kv_formats(prescribed, gpu) == ("fp8", "bf16")


def test_engines_of_one_version_are_equal_and_hash_alike():
    assert find_engine("vllm") == find_engine("vllm")
    assert {find_engine("vllm"), find_engine("vllm")} == {find_engine("vllm")}
    assert isinstance(find_engine("vllm"), Vllm)


def test_only_an_engine_that_quantizes_while_loading_serves_fp8_from_a_16_bit_checkpoint():
    llama = find_model("llama-3.3-70b")
    fp8, int4 = requantized(llama, "fp8"), requantized(llama, "int4")
    assert [weights_from(llama, fp8, engine) for engine in (VLLM, SGLANG, TENSORRT)] == [
        "online quantization",  # layer by layer
        "a quantized checkpoint to be named",  # it quantizes what is already on the GPUs in 16 bit
        "a quantized checkpoint to be named",  # ModelOpt makes it beforehand
    ]
    assert weights_from(llama, int4, VLLM) == "a quantized checkpoint to be named"
    assert weights_from(llama, llama, TENSORRT) == "checkpoint"


def test_a_command_does_not_name_the_published_weights_where_others_are_planned():
    llama = find_model("llama-3.3-70b")
    settings = MemorySettings(max_model_len=4096, tokens_per_request=1536)
    commands = [
        engine.command(launch_of(llama, engine, settings, weight_format=weights, kv_format="bf16"))
        for engine in (VLLM, SGLANG, TENSORRT)
        for weights in ("bf16", "fp8")
    ]
    made_up = ["<fp8 weights of meta-llama/Llama-3.3-70B-Instruct>" in command for command in commands]
    assert made_up == [False, False, False, True, False, True]
