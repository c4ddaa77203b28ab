"""Repositories on the Hub become models: every kind of file that says what one is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from catalog.errors import BadHubAnswer, BadModelConfig, CatalogError, UnknownArchitecture, UnknownModel
from catalog.find import bundled_models, find_model
from catalog.hub import asked_in, search_hub
from catalog.model import Adapter
from catalog.read import read_config
from catalog.sizes import parameters_by_part, total_parameters, weight_bytes
from tests.catalog.hub_files import LLAMA, PARAMETERS, llama_gguf, llama_tensors, safetensors

ORACLES = Path(__file__).parent.parent / "oracles"


def test_a_config_on_the_hub_is_the_model_of_the_same_config_in_a_folder(hub):
    repo = hub.add("org/tiny", {"config.json": LLAMA})
    spec = find_model("org/tiny")
    assert replace(spec, repo_id="", source="", as_of="", revision="") == read_config(LLAMA)
    assert (spec.repo_id, spec.revision) == ("org/tiny", repo.branches["main"])
    assert repo.branches["main"][:12] in spec.source


def test_published_configs_are_read_from_the_hub_as_from_disk(hub):
    entries = json.loads((ORACLES / "attention_configs.json").read_text())
    for name, entry in list(entries.items())[::4]:
        files = {"config.json": entry["config"]}
        if "hf_quant_config" in entry:
            files["hf_quant_config.json"] = entry["hf_quant_config"]
        hub.add(f"copy-of/{name.replace('/', '-').replace('--', '-')}", files)
        spec = find_model(f"copy-of/{name.replace('/', '-').replace('--', '-')}")
        assert spec.layers == read_config(entry["config"], entry.get("hf_quant_config")).layers


def test_bundled_names_never_reach_the_network(hub):
    for record in bundled_models()[::10]:
        find_model(record.repo_id)
    assert hub.asked == []


def test_a_bundled_name_with_a_revision_is_read_from_the_hub(hub):
    repo = hub.add("Qwen/Qwen3-8B", {"config.json": LLAMA})
    spec = find_model("qwen3-8b", "main")
    assert (spec.revision, spec.hidden_size) == (repo.branches["main"], 256)


def test_a_revision_is_the_one_that_was_asked_for(hub):
    first = hub.add("org/tiny", {"config.json": LLAMA}).branches["main"]
    hub.add("org/tiny", {"config.json": LLAMA | {"num_hidden_layers": 3}})
    assert find_model("org/tiny", first).layer_count == 2
    assert find_model("org/tiny").layer_count == 3


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("https://huggingface.co/org/tiny", ("org/tiny", "main", "")),
        ("hf.co/org/tiny/tree/v2", ("org/tiny", "v2", "")),
        (" org/tiny ", ("org/tiny", "main", "")),
        ("org/tiny:Q8_0", ("org/tiny", "main", "Q8_0")),
        ("org/ti ny", None),
        ("org/..", None),
        ("datasets/org/tiny", None),
        ("org/tiny\n", ("org/tiny", "main", "")),
        ("o" * 97 + "/x", None),
        ("о/кириллица", None),
    ],
)
def test_what_a_name_means(name, meant):
    asked = asked_in(name)
    assert (asked and (asked.repo_id, asked.revision, asked.gguf_format)) == meant


# ── weights, counted ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_headers_that_agree_with_the_config_are_not_worth_a_word(hub):
    hub.add("org/tiny", {"config.json": LLAMA, "model.safetensors": safetensors(llama_tensors())})
    assert find_model("org/tiny").notes == ()


def test_headers_are_read_through_the_redirect_of_large_files_and_beyond_the_first_range(hub):
    files = {"config.json": LLAMA, "model.safetensors": safetensors(llama_tensors(), pad=150_000) + b"\0" * 500_000}
    hub.add("org/tiny", files, large=frozenset({"model.safetensors"}))
    assert find_model("org/tiny").notes == ()
    spans = [headers["range"] for line, headers in hub.asked if "model.safetensors" in line and "range" in headers]
    assert len(set(spans)) == 2
    assert any("/cdn/" in path for path in hub.paths)


def test_the_token_does_not_follow_a_redirect_to_another_host(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    files = {"config.json": LLAMA, "model.safetensors": safetensors(llama_tensors())}
    hub.add("org/tiny", files, large=frozenset({"model.safetensors"}))
    find_model("org/tiny")
    sent = {("/cdn/" in line, headers.get("authorization")) for line, headers in hub.asked}
    assert sent == {(False, "Bearer hf_good"), (True, None)}


def test_a_mismatch_names_both_counts(hub):
    tensors = llama_tensors() | {"model.extra.weight": ("BF16", [100, 1000])}
    hub.add("org/tiny", {"config.json": LLAMA, "model.safetensors": safetensors(tensors)})
    (note,) = find_model("org/tiny").notes
    assert f"{PARAMETERS + 100_000:,}" in note
    assert f"{PARAMETERS:,}" in note
    assert "-5.6 %" in note


def test_what_the_hub_has_counted_is_taken_instead_of_headers(hub):
    counted = {"safetensors": {"parameters": {"BF16": PARAMETERS}, "total": PARAMETERS}}
    hub.add("org/tiny", {"config.json": LLAMA, "model.safetensors": b"nothing sound"}, about=counted)
    assert find_model("org/tiny").notes == ()


@pytest.mark.parametrize("share", [0.994, 1.006])
def test_half_a_percent_is_where_the_warning_begins(hub, share):
    counted = {"safetensors": {"parameters": {"BF16": round(PARAMETERS * share)}}}
    hub.add("org/tiny", {"config.json": LLAMA}, about=counted)
    assert len(find_model("org/tiny").notes) == 1
    near = {"safetensors": {"parameters": {"BF16": round(PARAMETERS * (1 + (share - 1) * 0.8))}}}
    hub.add("org/near", {"config.json": LLAMA}, about=near)
    assert find_model("org/near").notes == ()


def test_tied_embeddings_may_be_stored_twice(hub):
    hub.add(
        "org/tiny",
        {"config.json": LLAMA | {"tie_word_embeddings": True}, "model.safetensors": safetensors(llama_tensors())},
    )
    assert find_model("org/tiny").notes == ()


def test_packed_weights_are_compared_in_bytes(hub):
    """GPTQ packs eight 4-bit weights into one I32; a count of values would be off by far."""
    config = LLAMA | {"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True}}
    spec = read_config(config)
    packed = weight_bytes(spec) - 2 * (2 * 1000 * 256 + 5 * 256)
    values = {"I32": packed // 4, "BF16": 2 * 1000 * 256 + 5 * 256}
    hub.add("org/packed", {"config.json": config}, about={"safetensors": {"parameters": values}})
    assert find_model("org/packed").notes == ()
    hub.add("org/other", {"config.json": config}, about={"safetensors": {"parameters": {**values, "F16": 500_000}}})
    assert "GiB" in find_model("org/other").notes[0]


def test_several_shards_are_added_and_consolidated_copies_are_not(hub):
    names = list(llama_tensors().items())
    files = {
        "config.json": LLAMA,
        "model-00001-of-00002.safetensors": safetensors(dict(names[:9])),
        "model-00002-of-00002.safetensors": safetensors(dict(names[9:])),
        "consolidated.safetensors": safetensors(llama_tensors()),
    }
    hub.add("org/tiny", files)
    assert find_model("org/tiny").notes == ()


# ── other files ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_quantizers_own_files_are_read(hub):
    hub.add("org/modelopt", {"config.json": LLAMA, "hf_quant_config.json": {"quantization": {"quant_algo": "FP8"}}})
    hub.add("org/gptq", {"config.json": LLAMA, "quantize_config.json": {"bits": 4, "group_size": 128, "sym": True}})
    awq = {"zero_point": True, "q_group_size": 128, "w_bit": 4, "version": "GEMM"}
    hub.add("org/awq", {"config.json": LLAMA, "quant_config.json": awq})
    found = {name: find_model(f"org/{name}") for name in ("modelopt", "gptq", "awq")}
    assert {name: spec.quantization_method for name, spec in found.items()} == {
        "modelopt": "modelopt",
        "gptq": "gptq",
        "awq": "awq",
    }
    assert {name: spec.weight_format for name, spec in found.items()} == {
        "modelopt": "fp8",
        "gptq": "int4",
        "awq": "int4",
    }


def test_a_nested_text_config_is_read(hub):
    entries = json.loads((ORACLES / "attention_configs.json").read_text())
    nested = next(entry for entry in entries.values() if "text_config" in entry["config"])
    hub.add("org/sees", {"config.json": nested["config"]})
    assert find_model("org/sees").layers == read_config(nested["config"], nested.get("hf_quant_config")).layers


def test_mistrals_params_stand_in_for_a_config(hub):
    params = {
        "dim": 256,
        "n_layers": 2,
        "hidden_dim": 512,
        "n_heads": 4,
        "n_kv_heads": 2,
        "vocab_size": 1000,
        "max_position_embeddings": 4096,
        "norm_eps": 1e-5,
    }
    hub.add("org/params", {"params.json": params, "consolidated.safetensors": safetensors(llama_tensors())})
    spec = find_model("org/params")
    assert (total_parameters(spec), spec.max_context_tokens, spec.notes) == (PARAMETERS, 4096, ())
    hub.add("org/moe", {"params.json": params | {"moe": {"num_experts": 8, "num_experts_per_tok": 2}}})
    assert find_model("org/moe").architecture == "MixtralForCausalLM"
    hub.add("org/hears", {"params.json": params | {"multimodal": {"whisper_model_args": {}}}})
    with pytest.raises(UnknownArchitecture, match=r"org/hears: .*multimodal"):
        find_model("org/hears")


MISTRAL_SMALL_4 = {
    **{"dim": 4096, "n_layers": 36, "n_heads": 32, "n_kv_heads": 32, "hidden_dim": 12288, "vocab_size": 131072},
    **{"head_dim": 128, "kv_lora_rank": 256, "q_lora_rank": 1024, "qk_nope_head_dim": 64, "qk_rope_head_dim": 64},
    **{"v_head_dim": 128, "max_position_embeddings": 1048576, "quantization": {"qformat_weight": "fp8_e4m3"}},
    "moe": {"num_experts": 128, "num_experts_per_tok": 4, "num_shared_experts": 1, "expert_hidden_dim": 2048},
    "vision_encoder": {
        **{"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16},
        **{"num_channels": 3, "patch_size": 14, "image_size": 1540, "mm_projector_id": "patch_merge"},
        **{"spatial_merge_size": 2, "adapter_bias": False},
    },
}
"""Sizes of Mistral Small 4 119B A6B: those of transformers' Mistral4Config."""


def test_mistrals_params_of_latent_attention_shared_experts_and_images_are_read(hub):
    hub.add("org/small-4", {"params.json": MISTRAL_SMALL_4})
    spec = find_model("org/small-4")
    mixer = next(spec.mixers)
    assert (mixer.kv_rank + mixer.rope_dim, spec.layer_count, spec.weight_format) == (320, 36, "fp8")
    assert total_parameters(spec) == pytest.approx(119.4e9, rel=0.001)  # as the publisher counts
    without = {key: value for key, value in MISTRAL_SMALL_4.items() if key not in ("moe", "vision_encoder")}
    hub.add("org/dense", {"params.json": without})
    dense = find_model("org/dense")
    assert (dense.architecture, parameters_by_part(dense)["experts"]) == ("MistralLarge3ForCausalLM", 0)


PIXTRAL = {
    **{"dim": 5120, "n_layers": 40, "n_heads": 32, "n_kv_heads": 8, "hidden_dim": 14336, "vocab_size": 131072},
    "head_dim": 128,
    "vision_encoder": {
        **{"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16},
        **{"num_channels": 3, "patch_size": 16, "image_size": 1024, "rope_theta": 10000.0, "image_token_id": 10},
    },
}
"""Pixtral 12B 2409; transformers' class counts as many parameters for its other form."""


def test_mistrals_params_of_a_tower_without_merging_are_read_as_engines_read_them(hub):
    hub.add("org/pixtral", {"params.json": PIXTRAL})
    spec = find_model("org/pixtral")
    assert (spec.architecture, total_parameters(spec)) == ("PixtralForConditionalGeneration", 12_682_739_712)


def test_the_limit_in_generation_config_is_said(hub):
    hub.add("org/tiny", {"config.json": LLAMA, "generation_config.json": {"max_new_tokens": 2048, "top_p": 0.9}})
    assert find_model("org/tiny").notes == (
        "Its generation_config.json limits answers to 2,048 tokens, and vLLM keeps to that.",
    )


def test_code_in_the_repository_is_not_run_and_its_architecture_is_named(hub):
    config = LLAMA | {"architectures": ["OwnForCausalLM"], "auto_map": {"AutoModelForCausalLM": "modeling.Own"}}
    hub.add("org/own", {"config.json": config, "modeling.py": b"raise SystemExit('run!')"})
    with pytest.raises(UnknownArchitecture, match=r"org/own: .*OwnForCausalLM.*never run"):
        find_model("org/own")
    assert not any("modeling.py" in path for path in hub.paths)


def test_a_repository_without_anything_says_what_it_lacks(hub):
    hub.add("org/empty", {"weights.bin": b"x"})
    with pytest.raises(BadModelConfig, match=r"org/empty: .*config\.json"):
        find_model("org/empty")


def test_a_renamed_repository_is_followed_and_named(hub):
    hub.add("org/new", {"config.json": LLAMA})
    hub.moved["org/old"] = "org/new"
    spec = find_model("org/old")
    assert (spec.repo_id, spec.notes) == ("org/new", ("org/old is now called org/new.",))


# ── adapters ─────────────────────────────────────────────────────────────────────────────────────────────────────────

LORA = {"peft_type": "LORA", "r": 16, "base_model_name_or_path": "org/base", "target_modules": ["q_proj"]}


def test_an_adapter_plans_its_base_with_its_rank(hub):
    hub.add("org/base", {"config.json": LLAMA})
    hub.add("me/tuned", {"adapter_config.json": LORA, "adapter_model.safetensors": safetensors({})})
    spec = find_model("me/tuned")
    assert (spec.repo_id, spec.adapter) == ("org/base", Adapter("me/tuned", 16, ("q_proj",)))
    assert spec.notes[0].startswith("me/tuned is a LoRA adapter of rank 16")


def test_an_adapter_of_a_bundled_model_needs_the_hub_for_itself_only(hub):
    hub.add("me/tuned", {"adapter_config.json": LORA | {"base_model_name_or_path": "Qwen/Qwen3-8B"}})
    assert find_model("me/tuned").layers == find_model("Qwen/Qwen3-8B").layers
    assert all("me/tuned" in path for path in hub.paths)


def test_the_largest_rank_of_any_module_counts(hub):
    hub.add(
        "me/tuned", {"adapter_config.json": LORA | {"base_model_name_or_path": "qwen3-8b", "rank_pattern": {"k": 64}}}
    )
    assert find_model("me/tuned").adapter == Adapter("me/tuned", 64, ("q_proj",))


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"peft_type": "IA3"}, UnknownArchitecture, "IA3"),
        ({"r": 0}, BadModelConfig, "r = 0"),
        ({"r": 10**30}, BadModelConfig, "20 digits"),
        ({"base_model_name_or_path": None}, BadModelConfig, "base_model_name_or_path"),
        ({"base_model_name_or_path": "/home/me/model"}, UnknownModel, "/home/me/model"),
        ({"base_model_name_or_path": "/etc"}, UnknownModel, "/etc"),
        ({"base_model_name_or_path": "org/missing"}, UnknownModel, "org/missing"),
        ({"base_model_name_or_path": "me/tuned"}, CatalogError, "too many"),
    ],
)
def test_an_adapter_that_cannot_be_planned_says_why(hub, change, error, words):
    hub.add("me/tuned", {"adapter_config.json": LORA | change})
    with pytest.raises(error, match=words) as caught:
        find_model("me/tuned")
    assert str(caught.value).startswith("me/tuned: ")


def test_a_whole_model_that_brings_its_adapter_config_is_a_whole_model(hub):
    files = {"config.json": LLAMA, "adapter_config.json": LORA, "model.safetensors": safetensors(llama_tensors())}
    hub.add("me/merged", files)
    assert find_model("me/merged").adapter is None


# ── GGUF ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_gguf_file_is_described_by_its_own_header(hub):
    hub.add("me/tiny-GGUF", {"tiny-Q4_K_M.gguf": llama_gguf() + b"\0" * 1000, "README.md": b"# tiny"})
    spec = find_model("me/tiny-GGUF")
    assert total_parameters(spec) == PARAMETERS
    assert (spec.weight_format, spec.quantization_method, spec.max_context_tokens) == ("q4_k", "gguf", 4096)
    stored = {index: {m.name: m.stored_as for m in g.matrices} for g in spec.layers for index in g.indices}
    assert [stored[layer]["mlp.down_proj"] for layer in (0, 1)] == ["gguf_q6_k", "gguf_q4_k"]
    # 144 bytes per 256 values in Q4_K, 210 in Q6_K, norms in 16 bit
    q6 = 1000 * 256 + 128 * 256 + 512 * 256
    norms = 5 * 256
    assert weight_bytes(spec) == (PARAMETERS - q6 - norms) // 256 * 144 + q6 // 256 * 210 + 2 * norms


def test_of_several_gguf_files_the_named_one_is_taken_and_the_others_are_named(hub):
    files = {f"tiny-{word}.gguf": llama_gguf() for word in ("Q8_0", "Q4_K_M", "IQ3_XXS")} | {"mmproj-F16.gguf": b"x"}
    hub.add("me/tiny-GGUF", files)
    assert "tiny-Q8_0.gguf (there are IQ3_XXS, Q4_K_M, Q8_0)" in find_model("me/tiny-GGUF:q8_0").notes[0]
    assert "tiny-Q4_K_M.gguf" in find_model("me/tiny-GGUF").notes[0]
    with pytest.raises(UnknownModel, match=r"'Q2_K'; there are IQ3_XXS, Q4_K_M, Q8_0"):
        find_model("me/tiny-GGUF:Q2_K")


def test_the_original_gives_the_shape_where_it_agrees(hub):
    hub.add("org/tiny", {"config.json": LLAMA | {"sliding_window": 1024}})
    url = "https://huggingface.co/org/tiny"
    hub.add("me/tiny-GGUF", {"tiny-Q4_K_M.gguf": llama_gguf(**{"general.base_model.0.repo_url": url})})
    spec = find_model("me/tiny-GGUF")
    assert spec.layers[0].mixers[0].window == 1024
    assert "--model org/tiny plans the model" in spec.notes[0]
    hub.add("org/tiny", {"config.json": LLAMA | {"num_hidden_layers": 3}})
    hub.add("you/tiny-GGUF", {"tiny-Q4_K_M.gguf": llama_gguf(**{"general.base_model.0.repo_url": url})})


def test_a_header_longer_than_the_first_range_is_fetched_in_longer_ones(hub):
    tokens = [f"a token that is long {number}" for number in range(1000)] * 60
    hub.add("me/tiny-GGUF", {"x-Q4_K_M.gguf": llama_gguf(**{"tokenizer.ggml.merges": tokens})})
    assert total_parameters(find_model("me/tiny-GGUF")) == PARAMETERS
    assert sum("gguf" in path and "resolve" in path for path in hub.paths) == 2


def test_an_architecture_whose_header_leaves_things_out_asks_for_the_original(hub):
    hub.add("me/odd-GGUF", {"x-Q4_K_M.gguf": llama_gguf(**{"general.architecture": "deepseek2"})})
    with pytest.raises(UnknownArchitecture, match="deepseek2"):
        find_model("me/odd-GGUF")


@pytest.mark.parametrize(
    "body",
    [b"", b"GGUF", b"NOPE" + b"\0" * 100, llama_gguf()[:500], b"GGUF" + b"\xff" * 400],
)
def test_a_broken_gguf_file_is_refused_by_name(hub, body):
    hub.add("me/broken-GGUF", {"x-Q4_K_M.gguf": body})
    with pytest.raises(BadHubAnswer, match=r"x-Q4_K_M\.gguf"):
        find_model("me/broken-GGUF")


# ── model cards ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_card_gives_size_and_context_and_says_so(hub):
    card = b"# Tiny\nA dense model with **8.03B parameters** and a context length of 128K tokens."
    hub.add("org/card", {"README.md": card})
    spec = find_model("org/card")
    assert (spec.confidence, spec.max_context_tokens) == ("card", 131072)
    assert abs(total_parameters(spec) / 8.03e9 - 1) < 0.03
    assert "has no config" in spec.notes[0]


def test_the_base_that_a_card_names_gives_the_shape(hub):
    card = b"---\nlicense: mit\nbase_model:\n- Qwen/Qwen3-8B\n---\nOur model has 8.2B parameters."
    hub.add("org/card", {"README.md": card})
    spec = find_model("org/card")
    assert (spec.layers, spec.confidence) == (find_model("Qwen/Qwen3-8B").layers, "card")
    hub.add("org/larger", {"README.md": card.replace(b"8.2B", b"70B")})
    with pytest.raises(BadModelConfig, match="context"):
        find_model("org/larger")


def test_counted_weights_beat_what_a_card_says(hub):
    counted = {"safetensors": {"parameters": {"BF16": 14_000_000_000}}}
    hub.add("org/card", {"README.md": b"A 13B parameters model. Context window: 8192"}, about=counted)
    spec = find_model("org/card")
    assert abs(total_parameters(spec) / 14e9 - 1) < 0.03
    assert "14,000,000,000" in spec.notes[0]


@pytest.mark.parametrize(
    "card", [b"", b"# Hello", b"A model of 8B parameters.", b"context length 4096", b"9e99B params"]
)
def test_a_card_that_does_not_say_enough_is_refused(hub, card):
    hub.add("org/card", {"README.md": card})
    with pytest.raises(BadModelConfig, match="org/card"):
        find_model("org/card")


# ── search ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_search_finds_what_matches_all_words(hub):
    hub.add("org/tiny-llama", {}, about={"safetensors": {"total": 1000}, "downloads": 12})
    hub.add("org/tiny-qwen", {})
    (found,) = search_hub("tiny llama", 10)
    assert (found.repo_id, found.parameters, found.downloads, found.gated) == ("org/tiny-llama", 1000, 12, False)
    assert len(search_hub("tiny", 1)) == 1


def test_a_wrong_name_is_answered_with_names_that_there_are(hub):
    hub.add("some-org/Some-Model-7B", {"config.json": LLAMA})
    with pytest.raises(UnknownModel, match="Did you mean some-org/Some-Model-7B") as caught:
        find_model("some-org/Some-Modle-7B")
    assert caught.value.nearest == ("some-org/Some-Model-7B",)
    with pytest.raises(UnknownModel, match=r"Did you mean meta-llama/Llama-3\.3-70B-Instruct"):
        find_model("meta-llama/Llama-3.3-70B-Instruc")
