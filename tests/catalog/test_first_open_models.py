"""Families of 2021 to 2023 that are neither Llama nor near it, and later small models: parameters to the last one."""

import pytest

from catalog.errors import CatalogError
from catalog.find import find_model
from catalog.model import Attention, ModelSpec
from catalog.read import read_config
from catalog.sizes import parameters_by_part, total_parameters

COUNTED = {  # torch's meta device, transformers 5.23.0; ChatGLM, GLM-4, DeciLM: the tensors in the published files
    "BAAI/Aquila-7B": 7_295_537_152,
    "bigcode/starcoder": 15_517_456_384,
    "bigcode/starcoder2-15b": 15_957_889_024,
    "bigscience/bloom": 176_247_271_424,
    "bigscience/bloom-7b1": 7_069_016_064,
    "Deci/DeciLM-7B": 7_043_551_232,
    "EleutherAI/gpt-j-6b": 6_050_882_784,
    "EleutherAI/gpt-neox-20b": 20_554_567_680,
    "facebook/opt-13b": 12_853_473_280,
    "microsoft/phi-2": 2_779_683_840,
    "ibm-granite/granite-4.0-h-micro": 3_191_396_096,
    "mistralai/Ministral-3-14B-Instruct-2512": 13_945_031_680,
    "moonshotai/Kimi-Linear-48B-A3B-Instruct": 49_122_675_072,
    "Qwen/Qwen3.5-9B": 9_409_813_744,
    "tiiuae/falcon-7b": 6_921_720_704,
    "tiiuae/falcon-40b": 41_303_293_952,
    "zai-org/chatglm3-6b": 6_243_584_000,
    "zai-org/glm-4-9b-chat": 9_399_951_360,
}

ON_THE_HUB = {  # as the Hub counts the published files, layers of multi-token prediction included
    "Qwen/Qwen3.5-0.8B": 873_438_784,
    "Qwen/Qwen3.5-2B": 2_274_069_824,
    "Qwen/Qwen3.5-4B": 4_659_865_088,
    "Qwen/Qwen3.5-9B": 9_653_104_368,
}


@pytest.mark.parametrize("name", COUNTED)
def test_it_has_the_parameters_that_its_own_class_has(name: str) -> None:
    assert total_parameters(find_model(name)) == COUNTED[name]


@pytest.mark.parametrize("name", ON_THE_HUB)
def test_with_the_layers_that_guess_it_has_the_parameters_on_the_hub(name: str) -> None:
    spec = find_model(name)
    guessing = [group for group in spec.layers if group.next_token_prediction]
    extra = sum(matrix.parameters * group.count for group in guessing for matrix in group.matrices)
    assert total_parameters(spec) + extra == ON_THE_HUB[name]


def kept_values(spec: ModelSpec) -> int:
    """Values of keys and of values that one token keeps."""
    attending = [(mixer, group.count) for group in spec.layers for mixer in group.mixers]
    heads = [(mixer.kv_heads, mixer.head_dim, count) for mixer, count in attending if isinstance(mixer, Attention)]
    return sum(2 * kv_heads * head_dim * count for kv_heads, head_dim, count in heads)


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("bigcode/starcoder", 40 * 2 * 128),  # one KV head
        ("bigscience/bloom-7b1", 30 * 2 * 4096),
        ("Deci/DeciLM-7B", 67 * 2 * 128),  # 7 layers of 4 KV heads, 14 of 2, 11 of 1
        ("EleutherAI/gpt-j-6b", 28 * 2 * 4096),
        ("bigcode/starcoder2-15b", 40 * 2 * 4 * 128),
        ("tiiuae/falcon-7b", 32 * 2 * 64),
        ("tiiuae/falcon-40b", 60 * 2 * 8 * 64),
        ("zai-org/glm-4-9b-chat", 40 * 2 * 2 * 128),
    ],
)
def test_a_token_keeps_keys_and_values_of_its_kv_heads_only(name: str, kept: int) -> None:
    assert kept_values(find_model(name)) == kept


def test_a_tuned_sibling_is_found_with_its_bases_shape() -> None:
    assert total_parameters(find_model("tiiuae/falcon-7b-instruct")) == COUNTED["tiiuae/falcon-7b"]


FALCON = {
    "architectures": ["FalconForCausalLM"], "model_type": "falcon", "hidden_size": 64, "num_attention_heads": 8,
    "num_hidden_layers": 2, "vocab_size": 100,
}  # fmt: skip
GPTJ = {
    "architectures": ["GPTJForCausalLM"], "model_type": "gptj", "n_embd": 64, "n_head": 4, "n_layer": 2,
    "n_positions": 32, "vocab_size": 100,
}  # fmt: skip
DECILM = {
    "architectures": ["DeciLMForCausalLM"], "model_type": "deci", "hidden_size": 64, "intermediate_size": 128,
    "max_position_embeddings": 32, "num_attention_heads": 8, "num_hidden_layers": 2, "vocab_size": 100,
    "num_key_value_heads_per_layer": [4, 1],
}  # fmt: skip


def test_falcon_of_the_first_design_has_one_kv_head_whatever_num_kv_heads_says() -> None:
    assert read_config(FALCON | {"num_kv_heads": 8}).kv_heads == 1
    assert read_config(FALCON | {"num_kv_heads": 4, "new_decoder_architecture": True}).kv_heads == 4
    assert read_config(FALCON | {"multi_query": False}).kv_heads == 8


def test_falcons_two_designs_differ_by_one_norm_in_each_layer() -> None:
    one, two = read_config(FALCON), read_config(FALCON | {"num_kv_heads": 1, "new_decoder_architecture": True})
    apart = read_config(FALCON | {"parallel_attn": False})
    norms = [parameters_by_part(spec)["norms"] for spec in (one, two, apart)]
    assert norms == [2 * 128 + 128, 4 * 128 + 128, 4 * 128 + 128]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (GPTJ | {"n_head": 5}, "n_head = 5"),
        (GPTJ | {"n_layer": "28"}, "n_layer = '28'"),
        (FALCON | {"num_kv_heads": 3, "new_decoder_architecture": True}, "num_kv_heads = 3"),
        (DECILM | {"num_key_value_heads_per_layer": [4, 3]}, "num_key_value_heads_per_layer"),
        (DECILM | {"num_key_value_heads_per_layer": [4]}, "a list of 2 values"),
    ],
)
def test_sizes_that_contradict_each_other_are_refused_by_name(config: dict[str, object], said: str) -> None:
    with pytest.raises(CatalogError, match=said):
        read_config(config)


BAICHUAN = {
    "architectures": ["BaichuanForCausalLM"], "model_type": "baichuan", "hidden_size": 5120,
    "intermediate_size": 13696, "num_hidden_layers": 40, "num_attention_heads": 40, "vocab_size": 125_696,
    "model_max_length": 4096,
}  # fmt: skip
INTERNLM = {
    "architectures": ["InternLM2ForCausalLM"], "model_type": "internlm2", "hidden_size": 4096, "bias": False,
    "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
    "vocab_size": 92_544, "max_position_embeddings": 32_768,
}  # fmt: skip


def test_baichuan_2_13b_and_internlm_2_7b_have_the_parameters_that_were_published() -> None:
    assert total_parameters(read_config(BAICHUAN)) == 13_896_668_160
    assert total_parameters(read_config(INTERNLM)) == 7_737_708_544


def test_internlms_bias_is_on_all_four_projections_of_attention() -> None:
    added = total_parameters(read_config(INTERNLM | {"bias": True})) - total_parameters(read_config(INTERNLM))
    assert added == 32 * (2 * 4096 + 2 * 8 * 128)
