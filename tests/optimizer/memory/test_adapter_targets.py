"""What adapters wrap when their targets are named, and what an EAGLE-3 head keeps of its own."""

import numpy as np

from catalog.find import find_model
from optimizer.engines.find import find_engine
from optimizer.memory.adapters import Adapters, target_names
from optimizer.memory.speculation import Speculation
from optimizer.memory.vram import MemorySettings, measure_memory


def adapter_bytes(spec, rows, **settings):
    return measured(spec, rows, adapters=Adapters(rank=16, loaded=3, **settings)).adapter_bytes[0]


def measured(spec, rows, **settings):
    lengths = MemorySettings(max_model_len=8192, tokens_per_request=8192, **settings)
    return measure_memory(spec, find_engine("vllm"), rows, "bf16", lengths, np.array([64]))


def test_a_target_wraps_the_layers_that_the_engine_fuses_with_it(llama_70b, make_gpu, make_rows):
    rows = make_rows([make_gpu()], [4])
    q, kv = 8192 + 8192 // 4, 8192 + 1024 // 4
    assert adapter_bytes(llama_70b, rows, targets=("v_proj",)) == 80 * (q + 2 * kv) * 16 * 3 * 2
    fused = [adapter_bytes(llama_70b, rows, targets=(name,)) for name in ("qkv_proj", "q_proj", "k_proj")]
    assert set(fused) == {80 * (q + 2 * kv) * 16 * 3 * 2}
    gate = 8192 + 28672 // 4
    assert adapter_bytes(llama_70b, rows, targets=("up_proj",)) == 80 * 2 * gate * 16 * 3 * 2
    assert adapter_bytes(llama_70b, rows, targets=("o_proj",)) == 80 * (8192 // 4 + 8192) * 16 * 3 * 2


def test_naming_every_target_is_naming_none(llama_70b, make_gpu, make_rows):
    rows = make_rows([make_gpu()], [4])
    assert adapter_bytes(llama_70b, rows, targets=target_names(llama_70b)) == adapter_bytes(llama_70b, rows)


def test_experts_are_one_target_and_a_dense_name_does_not_mean_them(make_gpu, make_rows):
    spec, rows = find_model("Qwen/Qwen3-30B-A3B"), make_rows([make_gpu()], [1])
    assert target_names(spec) == ("q_proj", "k_proj", "v_proj", "o_proj", "experts")
    assert adapter_bytes(spec, rows, targets=("gate_proj", "down_proj")) == 0
    one_expert = 3 * (2048 + 768)
    assert adapter_bytes(spec, rows, targets=("experts",)) == 48 * 128 * one_expert * 16 * 3 * 2


def test_an_eagle3_head_has_an_lm_head_of_its_own(llama_70b, make_llama, make_gpu, make_rows):
    rows, head = make_rows([make_gpu()], [4]), make_llama(layers=1)
    first, third = (measured(llama_70b, rows, speculation=Speculation(m, 3, head)) for m in ("eagle", "eagle3"))
    joined = 2 * 8192 * 8192  # a config that says LlamaForCausalLM leaves it out; EAGLE-3's say what they are
    lm_head, spare = 2 * 128256 * 8192 // 4, 2**20  # 501 MiB in a segment of 502
    assert third.weight_bytes[0] - first.weight_bytes[0] == lm_head + spare - 2 * joined
