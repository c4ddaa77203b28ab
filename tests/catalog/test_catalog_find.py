"""Names find models: exact, short, sibling, folder; and what a wrong name or a wrong file says."""

from __future__ import annotations

import json

import pytest

from catalog.errors import BadModelConfig, CatalogError, UnknownModel
from catalog.find import DATA, _index, _key, _resolve, _siblings, bundled_models, find_model, stored_otherwise
from catalog.quantization import SCHEMES
from catalog.sizes import active_parameters, total_parameters


def test_a_repository_id_finds_its_own_model():
    assert find_model("Qwen/Qwen3-32B").repo_id == "Qwen/Qwen3-32B"


@pytest.mark.parametrize(
    ("name", "repo_id"),
    [
        ("llama-3.3-70b", "meta-llama/Llama-3.3-70B-Instruct"),
        ("LLAMA-3.3-70B", "meta-llama/Llama-3.3-70B-Instruct"),
        ("meta-llama/llama-3.3-70b-instruct", "meta-llama/Llama-3.3-70B-Instruct"),
        ("Llama-3.3-70B-Instruct", "meta-llama/Llama-3.3-70B-Instruct"),
        (" deepseek-r1 ", "deepseek-ai/DeepSeek-R1"),
        ("Llama 3.3 70B", "meta-llama/Llama-3.3-70B-Instruct"),
        ("gpt-oss-120b", "openai/gpt-oss-120b"),
        ("qwen3-32b", "Qwen/Qwen3-32B"),
        ("qwen2.5-vl-7b", "Qwen/Qwen2.5-VL-7B-Instruct"),
        ("minimax-m2", "MiniMaxAI/MiniMax-M2"),  # M2.5 is another model of the same shape
        ("gemma-4-31b", "google/gemma-4-31B"),
    ],
)
def test_names_are_found_in_any_case_and_without_the_organization(name, repo_id):
    assert find_model(name).repo_id == repo_id


def test_a_sibling_has_the_shape_of_its_model_and_its_own_context():
    base, sibling = find_model("Qwen/Qwen3-235B-A22B"), find_model("Qwen/Qwen3-235B-A22B-Instruct-2507")
    assert sibling.layers == base.layers
    assert (base.max_context_tokens, sibling.max_context_tokens) == (40960, 262144)


def test_a_spec_knows_its_short_names():
    assert "llama-3.3-70b" in find_model("meta-llama/Llama-3.3-70B-Instruct").aliases


def test_an_unknown_name_is_refused_with_near_ones():
    with pytest.raises(UnknownModel, match=r"meta-llama/Llama-3\.3-70B-Instruct") as caught:
        find_model("llama-3.3-70bb")
    assert caught.value.nearest[0] == "meta-llama/Llama-3.3-70B-Instruct"


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("jamba", "ai21labs/AI21-Jamba-1.5-Mini"),
        ("nemotron-h", "nvidia/Nemotron-H-56B-Base-8K"),
        ("qwen3 coder 30b", "Qwen/Qwen3-Coder-30B-A3B-Instruct"),
    ],
)
def test_a_part_of_a_name_proposes_the_models_that_hold_it(name, nearest):
    with pytest.raises(UnknownModel) as caught:
        find_model(name)
    assert caught.value.nearest[0] == nearest


@pytest.mark.parametrize("name", ["", " ", "\0", "x" * 10_000, "/", "..", "~nobody-of-that-name/x", "a/b/c", "😀"])
def test_any_text_is_answered_with_a_catalog_error(name):
    with pytest.raises(CatalogError):
        find_model(name)


def test_every_bundled_model_and_every_sibling_loads_with_the_size_that_the_table_shows():
    for record in bundled_models():
        spec = find_model(record.repo_id)
        assert spec.repo_id == record.repo_id
        assert total_parameters(spec) == record.total_parameters
        assert active_parameters(spec) == record.active_parameters
        assert spec.weight_format == record.weight_format
        assert spec.max_context_tokens == record.max_context_tokens


def test_every_file_is_in_the_index_and_the_other_way_round():
    files = {path.stem for path in (DATA / "models").glob("*--*.json")}
    assert files == {repo_id.replace("/", "--") for repo_id in _index()}


def test_every_alias_ends_at_a_bundled_model_and_gives_a_reason():
    for sibling in _siblings().values():
        assert sibling.reason
        assert _resolve(sibling.name) in {*_index(), *_siblings()}
        assert sibling.name not in _index()


def test_what_was_not_read_says_so_in_its_source():
    for record in bundled_models():
        spec = find_model(record.repo_id)
        assert (record.source, record.confidence) == (spec.source, spec.confidence)
        for sibling in _siblings().values():
            if sibling.name == record.repo_id and sibling.confidence == "recalled":
                assert "recalled, not read" in sibling.reason
        if record.confidence == "recalled":
            assert "recalled" in record.source


def test_a_sibling_is_known_no_better_than_the_model_whose_shape_it_has():
    order = ("read", "inferred", "recalled")
    for sibling in _siblings().values():
        if sibling.is_repository:
            base = find_model(sibling.same_as)
            assert order.index(find_model(sibling.name).confidence) >= order.index(base.confidence)


def test_no_two_names_differ_only_in_case():
    names = [*_index(), *_siblings()]
    assert len({_key(name) for name in names}) == len(names)


def test_every_bundled_model_says_where_and_when_its_config_was_read():
    for repo_id in _index():
        spec = find_model(repo_id)
        assert len(spec.source) > 10
        assert len(spec.as_of) == len("2026-11-22")


LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 1000,
    "max_position_embeddings": 2048,
}


def test_a_folder_and_the_file_in_it_are_read_alike(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    from_folder, from_file = find_model(str(tmp_path)), find_model(str(tmp_path / "config.json"))
    assert from_folder == from_file
    assert from_folder.repo_id == tmp_path.name
    assert from_folder.kv_heads == 4


def test_modelopts_file_in_the_folder_is_read_too(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    (tmp_path / "hf_quant_config.json").write_text(json.dumps({"quantization": {"quant_algo": "FP8"}}))
    assert find_model(str(tmp_path)).weight_format == "fp8"


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "NaN", '"x"', "[" * 100_000, '{"architectures": 3}', "{}"])
def test_a_file_that_is_no_config_is_refused(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(BadModelConfig):
        find_model(str(tmp_path))


def test_a_huge_file_is_refused_unread(tmp_path):
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(65 * 2**20)
    with pytest.raises(BadModelConfig, match="64 MiB"):
        find_model(str(tmp_path))


def test_a_folder_without_config_is_refused(tmp_path):
    with pytest.raises(BadModelConfig, match=r"config\.json"):
        find_model(str(tmp_path))


def test_a_siblings_scheme_is_of_the_format_that_it_claims():
    for sibling in _siblings().values():
        if sibling.scheme is not None:
            assert SCHEMES[sibling.scheme].format == sibling.weight_format
            stored = {m.stored_as for g in find_model(sibling.name).layers for m in g.matrices if m.part == "mlp"}
            assert stored <= {sibling.scheme}


def test_a_published_fp8_sibling_keeps_the_blocks_of_its_publisher():
    spec = find_model("Qwen/Qwen3-8B-FP8")
    assert (spec.weight_format, spec.quantization_method) == ("fp8", "fp8")
    assert {m.stored_as for g in spec.layers for m in g.matrices if m.gemm} == {"fp8_block128"}


def test_only_the_same_release_counts_as_the_same_model_in_another_format():
    assert stored_otherwise("Qwen/Qwen3-30B-A3B", "fp8") == ("Qwen/Qwen3-30B-A3B-FP8",)  # not Instruct-2507-FP8
    assert stored_otherwise("Qwen/Qwen3-30B-A3B-Instruct-2507", "fp8") == ("Qwen/Qwen3-30B-A3B-Instruct-2507-FP8",)
    assert stored_otherwise("google/gemma-3-27b-it", "fp8") == ()
