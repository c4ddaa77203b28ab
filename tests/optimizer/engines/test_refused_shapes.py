from dataclasses import replace

import numpy as np
import pytest

from catalog.find import find_model
from catalog.quantization import requantized
from optimizer.engines.find import find_engine

VLLM = find_engine("vllm")


def refused(spec, rows, engine=VLLM):
    """Row -> reasons."""
    reasons = [[] for _ in range(rows.rows)]
    for mask, reason in engine.refused_shapes(spec, rows):
        assert mask.shape == (rows.rows,)
        for row in np.flatnonzero(mask):
            reasons[row].append(reason)
    return reasons


def test_tensor_parallelism_must_divide_the_heads(llama_70b, make_gpu, make_rows):
    one, three, eight = refused(llama_70b, make_rows([make_gpu()], [1, 3, 8]))
    assert not one
    assert not eight
    assert any("64 attention heads" in reason for reason in three)


@pytest.mark.parametrize(
    ("repo", "tp", "says"),
    [
        ("Qwen/Qwen2.5-7B", 8, "28 attention heads"),  # vLLM: must be divisible by tensor parallel size (8)
        ("microsoft/phi-4", 4, "10 KV heads"),  # vLLM: an assertion in llama.py
        ("microsoft/phi-4", 8, "10 KV heads"),
    ],
)
def test_shapes_that_vllm_itself_refused_are_refused(repo, tp, says, make_gpu, make_rows):
    (reasons,) = refused(find_model(repo), make_rows([make_gpu()], [tp]))
    assert any(says in reason for reason in reasons)


def test_groups_of_int4_are_not_cut(make_gpu, make_rows):
    # vLLM refuses Qwen2.5-72B in AWQ at TP 8: 29568 / 8 = 3696 inputs hold no whole number of groups of 128.
    spec = requantized(find_model("Qwen/Qwen2.5-72B"), "int4")
    one, eight = refused(spec, make_rows([make_gpu()], [1, 8]))
    assert not one
    assert any("blocks of 128" in reason for reason in eight)


@pytest.mark.parametrize(("version", "refuses"), [("0.31.0", True), ("0.32.0", False)])
def test_square_blocks_of_experts_are_cut_where_the_engine_recuts_them(version, refuses, make_gpu, make_rows):
    # vLLM 0.32 loads Qwen3-235B-A22B-FP8 at TP 8: 1536 / 8 = 192 become blocks of 64.
    spec, rows = find_model("Qwen/Qwen3-235B-A22B-FP8"), make_rows([make_gpu()], [8])
    (reasons,) = refused(spec, rows, find_engine("vllm", version))
    assert any("blocks of 128" in reason for reason in reasons) == refuses


def test_a_replicated_kv_head_is_no_reason_to_refuse(make_gpu, make_rows):
    (reasons,) = refused(find_model("Qwen/Qwen3-235B-A22B"), make_rows([make_gpu()], [8]))
    assert not reasons


def test_pipelines_deeper_than_the_model_are_refused(llama_70b, make_gpu, make_rows):
    fits, deep = refused(llama_70b, make_rows([make_gpu()], [1, 1], pp=[80, 81], node=81))
    assert not any("stages" in reason for reason in fits)
    assert any("80 layers" in reason for reason in deep)


def test_experts_are_needed_for_expert_parallelism_and_attention_dp(llama_70b, make_gpu, make_rows):
    rows = make_rows([make_gpu()], [4, 4], dp=[1, 2], ep=[4, 1])
    dealt, doubled = refused(llama_70b, rows)
    assert any("dense" in reason for reason in dealt)
    assert any("dense" in reason for reason in doubled)
    assert refused(find_model("deepseek-ai/DeepSeek-V3"), make_rows([make_gpu()], [1], dp=[8], ep=[8])) == [[]]


def test_experts_are_dealt_to_all_ranks_or_none(make_gpu, make_rows):
    (reasons,) = refused(find_model("deepseek-ai/DeepSeek-V3"), make_rows([make_gpu()], [4], dp=[2], ep=[4]))
    assert any("all TP x DP ranks" in reason for reason in reasons)


def test_tensor_parallelism_stays_inside_a_machine(llama_70b, make_gpu, make_rows):
    inside, across = refused(llama_70b, make_rows([make_gpu()], [8, 16], node=8))
    assert not inside
    assert any("spans machines" in reason for reason in across)


def test_machines_without_a_known_network_serve_no_replica_together(llama_70b, make_gpu, make_rows):
    from dataclasses import replace

    rows = make_rows([make_gpu()], [8], pp=[2], node=8)
    assert refused(llama_70b, rows) == [[]]
    unknown = replace(rows, internode_bytes_per_second=np.array([np.nan]))
    assert any("no network" in reason for reason in refused(llama_70b, unknown)[0])


def test_blocks_of_fp8_are_not_cut_between_experts_shards_but_whole_experts_are_fine(make_gpu, make_rows):
    # Qwen3-235B-A22B-FP8: experts are 1536 wide; 1536 / 8 = 192 is no multiple of 128.
    spec = find_model("Qwen/Qwen3-235B-A22B-FP8")
    divided, dealt = refused(spec, make_rows([make_gpu()], [8, 8], ep=[1, 8]), find_engine("vllm", "0.31.0"))
    assert any("blocks of 128" in reason for reason in divided)
    assert not dealt


def test_tensorrt_replicates_attention_under_attention_dp(make_gpu, make_rows):
    spec = find_model("deepseek-ai/DeepSeek-V3")
    mixed, whole = refused(spec, make_rows([make_gpu()], [2, 1], dp=[4, 8], ep=[8, 8]), find_engine("tensorrt-llm"))
    assert any("TP must be 1" in reason for reason in mixed)
    assert not whole


@pytest.mark.parametrize("engine", ["vllm", "sglang", "tensorrt-llm"])
@pytest.mark.parametrize(
    ("repo", "refuses"),
    [("Deci/DeciLM-7B", True), ("nvidia/Llama-3_3-Nemotron-Super-49B-v1", False)],
)
def test_of_two_kinds_of_decilm_engines_read_the_one_with_blocks(engine, repo, refuses, make_gpu):
    ((said, _),) = find_engine(engine).weight_refusals(find_model(repo), [make_gpu()])
    assert ("block_configs" in said) == refuses


@pytest.mark.parametrize(
    ("repo", "engines"),
    [
        ("EleutherAI/gpt-j-6b", {"vllm", "sglang"}),
        ("bigscience/bloom-7b1", {"vllm"}),
        ("tiiuae/falcon-40b", {"vllm"}),
        ("zai-org/glm-4-9b-chat", {"vllm", "sglang"}),
        ("BAAI/Aquila-7B", set()),  # vLLM dropped it in 0.24.0
    ],
)
def test_old_models_run_where_their_class_still_is(repo, engines, make_gpu):
    names = ("vllm", "sglang", "tensorrt-llm")
    said = {name: find_engine(name).weight_refusals(find_model(repo), [make_gpu()])[0][0] for name in names}
    assert {name for name, reason in said.items() if not reason} == engines
    assert all("does not implement" in reason for name, reason in said.items() if name not in engines)


@pytest.mark.parametrize(
    ("architecture", "refuses"), [("Glm4vForConditionalGeneration", False), ("VoxtralForConditionalGeneration", True)]
)
def test_a_tower_that_tp_does_not_divide_is_refused_where_it_cannot_be_whole(
    architecture, refuses, make_gpu, make_rows
):
    # The tower has twelve heads: vLLM stops at TP 8, unless the model's class takes --mm-encoder-tp-mode data.
    spec = replace(find_model("zai-org/GLM-4.1V-9B-Thinking"), architecture=architecture)
    four, eight = refused(spec, make_rows([make_gpu()], [4, 8]))
    assert not four
    assert any("encoder is not divisible" in reason for reason in eight) == refuses


@pytest.mark.parametrize(
    ("repo", "refuses"), [("microsoft/Phi-4-multimodal-instruct", True), ("OpenGVLab/InternVL2_5-78B", False)]
)
def test_a_class_without_stages_is_not_cut(repo, refuses, make_gpu, make_rows):
    one, two = refused(find_model(repo), make_rows([make_gpu()], [1, 1], pp=[1, 2]))
    assert not one
    assert any("pipeline stages" in reason for reason in two) == refuses
