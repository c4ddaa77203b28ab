"""Defaults of the library's config classes, which tables name tfdefault/CLASS, against its and the engine's classes."""

import csv
from pathlib import Path

import pytest

from catalog.sizes import total_parameters
from gpu_db.query import find_gpu
from gpuplan.measuring.memory_check import check_memory
from gpuplan.measuring.names import named_model
from gpuplan.measuring.truth import FULL, WEIGHT_BYTES
from tests.optimizer.rank_bytes import CACHES, rank_cache_bytes, rank_weight_bytes

with (Path(__file__).parents[2] / "oracles" / "default_configs.csv").open(encoding="utf-8") as _table:
    ROWS = {row["model"]: row for row in csv.DictReader(_table)}
BUILT = [name for name, row in ROWS.items() if row["weight_bytes_rank0"]]


def spec_of(name):
    return named_model({"model": name}, None).spec


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row["parameters"]])
def test_defaults_have_the_parameters_of_the_librarys_own_class(name):
    assert total_parameters(spec_of(name)) == int(ROWS[name]["parameters"])


@pytest.mark.parametrize("name", BUILT)
def test_defaults_weigh_and_keep_what_the_engines_own_class_does(name):
    served = spec_of(name), find_gpu("H100 SXM 80GB"), 1
    assert rank_weight_bytes(*served) == pytest.approx(int(ROWS[name]["weight_bytes_rank0"]), rel=0.0005)
    assert rank_cache_bytes(*served) == tuple(float(ROWS[name][kind]) for kind in CACHES)


QUANTIZED = """\
model,gpu,tp,dtype,quant,max_model_len,kv_bytes_per_token_full,weight_bytes_rank0
synthetic--Qwen2.5-7B-AWQ,h100,1,float16,auto_awq,32768,57344,5570747392
synthetic--Meta-Llama-3.1-8B-GPTQ,h100,1,float16,auto_gptq,32768,131072,5727854592
synthetic--Meta-Llama-3.1-8B-GPTQ,h100,8,float16,gptq_marlin,32768,16384,716447744
synthetic--Llama-3.1-70B-Instruct-GPTQ-Int4,h100,8,float16,auto_gptq,32768,40960,4973281280
synthetic/Mixtral-8x7B-v0.1-AWQ,h100,8,float16,awq_marlin,32768,16384,3084001280
"""
"""Real models with the usual block of AWQ or GPTQ in their config, built by vLLM 0.32's own classes."""


def test_a_name_with_a_quantizers_word_is_the_real_model_so_quantized(tmp_path):
    table = tmp_path / "table.csv"
    table.write_text(QUANTIZED, encoding="utf-8")
    report = check_memory(table)
    assert report.predicted == 5
    assert all(report.of(part).within_a_thousandth == 1 for part in (FULL, WEIGHT_BYTES))


@pytest.mark.parametrize(
    ("name", "said", "stored"),
    [
        ("Qwen/Qwen2.5-7B-Instruct-GPTQ-Int8", "gptq_marlin", "int8_group128"),
        ("Qwen/Qwen2.5-7B-Instruct-GPTQ-Int8", "", "int8_group128"),
        ("Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4", "auto_gptq", "int4_group128"),
        ("someone/Llama-3.1-8B-Instruct-FP8-dynamic", "compressed-tensors", "fp8_channel"),
        ("Qwen/Qwen2.5-7B-Instruct", "gptq", "int4_group128"),
        ("Qwen/Qwen2.5-7B-Instruct", "", "bf16"),
    ],
)
def test_a_method_leaves_the_bits_to_the_name(name, said, stored):
    spec = named_model({"model": name, "weights_dtype_or_quant": said}, None).spec
    assert spec.layers[0].matrices[0].stored_as == stored
