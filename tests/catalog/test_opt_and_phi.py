"""Older families with biases and LayerNorms: their published numbers of parameters, to the last one."""

import pytest

from catalog.errors import CatalogError
from catalog.find import find_model
from catalog.read import read_config
from catalog.sizes import total_parameters

PUBLISHED = {
    "facebook/opt-125m": 125_239_296,
    "facebook/opt-6.7b": 6_658_473_984,
    "microsoft/phi-1_5": 1_418_270_720,
    "mistralai/Mistral-7B-Instruct-v0.1": 7_241_732_096,
    "Qwen/Qwen1.5-7B-Chat": 7_721_324_544,
    "Qwen/Qwen2-VL-7B-Instruct": 8_291_375_616,
    "huggyllama/llama-65b": 65_285_660_672,
}
"""As counted from the checkpoints by the Hugging Face Hub."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_it_has_the_parameters_that_were_published(name):
    assert total_parameters(find_model(name)) == PUBLISHED[name]


def test_opt_caches_768_values_of_keys_and_as_many_of_values_in_each_of_12_layers():
    mixers = [mixer for group in find_model("facebook/opt-125m").layers for mixer in group.mixers * len(group.indices)]
    assert sum(mixer.kv_heads * (mixer.head_dim + mixer.value_head_dim) for mixer in mixers) == 12 * 2 * 768


def test_an_opt_whose_embedding_is_narrower_than_its_layers_is_refused():
    config = {
        "architectures": ["OPTForCausalLM"], "model_type": "opt", "vocab_size": 50272, "hidden_size": 1024,
        "word_embed_proj_dim": 512, "ffn_dim": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
        "max_position_embeddings": 2048,
    }  # fmt: skip
    with pytest.raises(CatalogError, match="word_embed_proj_dim"):
        read_config(config, None, repo_id="facebook/opt-350m", source="a test")
