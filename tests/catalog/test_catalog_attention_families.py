"""Families with per-token attention against their reference implementations: every parameter, part by part.

`tests/oracles/attention_configs.json` holds the published configs without keys that no shape depends on;
`tests/oracles/model_parameters.csv` the counts of the instantiated reference models.
"""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from catalog.errors import BadModelConfig
from catalog.find import _index, _siblings, find_model
from catalog.model import Attention
from catalog.read import read_config
from catalog.sizes import (
    active_parameters,
    flop_per_token,
    parameters_by_part,
    total_parameters,
    weight_bytes,
)
from tests.catalog.counted import COLUMNS, COUNTED, ORACLES

CONFIGS = json.loads((ORACLES / "attention_configs.json").read_text())

NO_COUNT = {
    "XiaomiMiMo/MiMo-7B-Base": "the reference library lacks its model type; its total is recalled",
    "nvidia/Llama-3_3-Nemotron-Super-49B-v1": "the reference library lacks its model type; its total is recalled",
}

BY_ANOTHER_NAME = {
    "Qwen/Qwen3-Omni-30B-A3B": "counted from an incomplete copy, which the reference library refuses; bundled as "
    "Qwen/Qwen3-Omni-30B-A3B-Instruct from a complete one",
}

OTHER_BYTES = {
    "Qwen/Qwen3-32B-FP8-Static-PerTensor": "this copy of its config lacks quant_method, so the engine loaded bf16",
    "mistralai/Devstral-Small-2-24B-Instruct": "the engine allocates fp8 for the vision tower, the checkpoint has bf16",
    "google/gemma-4-31B": "the engine allocates v_proj where keys are values; the checkpoint has none",
    "nvidia/Gemma-4-26B-A4B-NVFP4": "as gemma-4-31B",
    "nvidia/Gemma-4-31B-IT-NVFP4": "as gemma-4-31B",
}

RECALLED_TOTALS = {
    # Totals that the repositories are remembered to state: nobody read them for this test, so they are no oracle.
    # MTP layers are included where they are in the checkpoint.
    "meta-llama/Llama-3.3-70B-Instruct": 70_553_706_496,
    "meta-llama/Llama-3.1-8B-Instruct": 8_030_261_248,
    "meta-llama/Llama-2-7b-hf": 6_738_415_616,
    "Qwen/Qwen2.5-72B-Instruct": 72_706_203_648,
    "Qwen/Qwen2.5-3B-Instruct": 3_085_938_688,
    "Qwen/Qwen2.5-0.5B-Instruct": 494_032_768,
    "Qwen/Qwen3-30B-A3B": 30_532_122_624,
    "Qwen/Qwen3-8B": 8_190_735_360,
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": 1_777_088_000,
    "google/gemma-2-2b-it": 2_614_341_888,
    "google/gemma-3-1b-it": 999_885_952,
    "microsoft/Phi-4-mini-instruct": 3_836_021_760,
    "microsoft/Phi-3.5-mini-instruct": 3_821_079_552,
    "mistralai/Mistral-7B-Instruct-v0.2": 7_241_732_096,
    "mistralai/Mistral-Nemo-Instruct-2407": 12_247_782_400,
    "mistralai/Mistral-Small-24B-Instruct-2501": 23_572_403_200,
    "mistralai/Mistral-Small-3.2-24B-Instruct-2506": 24_011_361_280,
    "mistralai/Mistral-Large-Instruct-2411": 122_610_069_504,
    "mistralai/Mixtral-8x22B-Instruct-v0.1": 140_630_071_296,
    "Qwen/Qwen2.5-VL-3B-Instruct": 3_754_622_976,
    "Qwen/Qwen2.5-VL-32B-Instruct": 33_452_718_336,
    "Qwen/Qwen2.5-VL-72B-Instruct": 73_410_777_344,
    "mistralai/Codestral-22B-v0.1": 22_247_282_688,
    "microsoft/Phi-3-medium-128k-instruct": 13_960_238_080,
    "HuggingFaceTB/SmolLM2-1.7B-Instruct": 1_711_376_384,
    "TinyLlama/TinyLlama-1.1B-Chat-v1.0": 1_100_048_384,
    "01-ai/Yi-1.5-34B-Chat": 34_388_917_248,
    "allenai/OLMo-2-0325-32B-Instruct": 32_234_279_936,
    "allenai/OLMo-2-1124-13B-Instruct": 13_716_198_400,
    "google/gemma-3-270m-it": 268_098_176,
    "ibm-granite/granite-3.1-8b-instruct": 8_170_848_256,
    "deepseek-ai/DeepSeek-V2.5": 235_741_434_880,
    # The MTP layer in this checkpoint is remembered to have copies of the embedding and the head, 151,552 x 5,120 each.
    "zai-org/GLM-4.5": 358_337_776_896 - 2 * 151_552 * 5_120,
    "nvidia/Llama-3_3-Nemotron-Super-49B-v1": 49_867_145_216,
    "XiaomiMiMo/MiMo-7B-Base": 7_833_409_536,
}

ROWS = sorted(set(CONFIGS) - set(NO_COUNT))


def read(model_id):
    entry = CONFIGS[model_id]
    return read_config(entry["config"], entry.get("hf_quant_config"), model_id)


@pytest.mark.parametrize("model_id", ROWS)
def test_every_parameter_is_counted_in_its_part(model_id):
    spec, truth = read(model_id), COUNTED[model_id]
    counted = {COLUMNS[part]: count for part, count in parameters_by_part(spec).items()}
    assert counted == {column: int(truth[column]) for column in COLUMNS.values()}
    assert total_parameters(spec) == int(truth["total_params"])
    if truth["active_params"]:
        assert active_parameters(spec) == int(truth["active_params"])


@pytest.mark.parametrize("model_id", [m for m in ROWS if COUNTED[m]["vllm_weight_bytes"] and m not in OTHER_BYTES])
def test_weight_bytes_equal_what_the_engine_allocates(model_id):
    # 2e-5: the engine holds some input scales twice and query norms of OLMo for all heads.
    assert weight_bytes(read(model_id)) == pytest.approx(int(COUNTED[model_id]["vllm_weight_bytes"]), rel=2e-5)


@pytest.mark.parametrize("model_id", sorted(OTHER_BYTES))
def test_known_differences_in_bytes_still_differ(model_id):
    assert weight_bytes(read(model_id)) != pytest.approx(int(COUNTED[model_id]["vllm_weight_bytes"]), rel=2e-5)


@pytest.mark.parametrize(("name", "recalled"), RECALLED_TOTALS.items())
def test_totals_are_still_those_recalled_as_published(name, recalled):
    """Recalled, not read: this holds our own counts where they are; what proves them is the counted table above."""
    spec = find_model(name)
    predicting = sum(m.parameters * g.count for g in spec.layers if g.next_token_prediction for m in g.matrices)
    assert total_parameters(spec) + predicting == recalled


@pytest.mark.parametrize("model_id", sorted(set(CONFIGS) & set(_index())))
def test_bundled_models_are_what_reading_gives_today(model_id):
    bundled = find_model(model_id)
    read_now = read(model_id)
    same = {name: getattr(bundled, name) for name in ("source", "as_of", "max_context_tokens", "aliases")}
    assert replace(read_now, **same) == bundled


def test_every_counted_model_is_supported():
    known = {
        *_index(),
        *_siblings(),
        *CONFIGS,
        *json.loads((ORACLES / "latent_and_recurrent_configs.json").read_text()),
    }
    assert set(COUNTED) - known == set(BY_ANOTHER_NAME)


def test_qwen3_omni_is_qwen3_30b_with_a_larger_vocabulary_behind_the_tower_of_qwen3_vl_and_an_encoder_of_sound():
    spec = find_model("Qwen/Qwen3-Omni-30B-A3B-Instruct")
    parts = parameters_by_part(spec)
    seeing = int(COUNTED["Qwen/Qwen3-VL-235B-A22B-Instruct"]["vision"])
    narrower = 4 * (4 * 1152 + 1) * (4096 - 2048)  # each merger ends at the width of the language model
    more_words = 2 * (152_064 - 151_936) * 2048  # in the embedding and in the head
    assert total_parameters(spec) - parts["vision"] == total_parameters(find_model("Qwen/Qwen3-30B-A3B")) + more_words
    layer = 4 * (1280 + 1) * 1280 + (1280 + 1) * 5120 + (5120 + 1) * 1280 + 4 * 1280
    convolutions = (9 + 1) * 480 + 2 * (9 * 480 + 1) * 480 + 16 * 480 * 1280
    ends = 2 * 1280 + (1280 + 1) * 1280 + (1280 + 1) * 2048
    assert parts["vision"] == seeing - narrower + convolutions + 32 * layer + ends


def test_active_parameters_of_gpt_oss_without_its_embedding_are_those_recalled_from_its_card():
    """3.6 and 5.1 billion are recalled, not read."""
    for name, billions in (("openai/gpt-oss-20b", 3.6), ("openai/gpt-oss-120b", 5.1)):
        spec = find_model(name)
        assert round((active_parameters(spec) - parameters_by_part(spec)["embedding"]) / 1e9, 1) == billions


def test_windows_follow_the_layers():
    gemma = read("google/gemma-3-27b-it")
    full = next(g for g in gemma.layers if g.mixers[0].window is None)
    assert full.indices == tuple(range(5, 62, 6))
    gpt_oss = read("openai/gpt-oss-20b")
    assert gpt_oss.layers[0].indices == tuple(range(0, 24, 2))
    assert gpt_oss.layers[0].mixers[0].window == 128


def test_shared_caches_of_gemma_4_store_no_keys():
    spec = read("google/gemma-4-E4B")
    sharing = [g for g in spec.layers if g.mixers[0].shares_kv]
    assert sum(g.count for g in sharing) == 18
    assert not any(m.name.endswith(("k_proj", "v_proj", "k_norm")) for g in sharing for m in g.matrices)


def test_pruned_layers_of_nemotron_keep_no_cache():
    spec = read("nvidia/Llama-3_3-Nemotron-Super-49B-v1")
    assert sum(g.count for g in spec.layers if not g.mixers) == 31
    assert spec.layer_count == 80


def test_kv_heads_and_query_heads_are_the_largest():
    spec = read("XiaomiMiMo/MiMo-V2-Flash")
    assert (spec.query_heads, spec.kv_heads) == (64, 8)
    assert {(m.head_dim, m.value_head_dim) for g in spec.layers for m in g.mixers if isinstance(m, Attention)} == {
        (192, 128)
    }


def test_flop_per_token_is_twice_what_is_multiplied():
    spec = find_model("meta-llama/Llama-3.1-8B-Instruct")
    embedding_and_norms = 128_256 * 4096 + 65 * 4096
    assert flop_per_token(spec) == 2 * (total_parameters(spec) - embedding_and_norms)
    tied = find_model("meta-llama/Llama-3.2-1B-Instruct")
    assert flop_per_token(tied) == 2 * (total_parameters(tied) - 33 * 2048)


def test_head_counts_that_do_not_divide_are_refused():
    config = dict(CONFIGS["meta-llama/Meta-Llama-3.1-70B"]["config"])
    with pytest.raises(BadModelConfig, match="num_key_value_heads = 7"):
        read_config(config | {"num_key_value_heads": 7})
