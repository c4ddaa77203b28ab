"""Models of 2023 and 2024 that benchmarks still run: as many parameters as their published files hold."""

import pytest

from catalog.find import find_model
from catalog.model import Attention
from catalog.sizes import total_parameters

PUBLISHED = {  # sums of the tensors in the published safetensors files
    "google/gemma-2b-it": 2_506_172_416,
    "google/gemma-1.1-7b-it": 8_537_680_896,
    "codellama/CodeLlama-7b-hf": 6_738_546_688,
    "codellama/CodeLlama-13b-hf": 13_016_028_160,
    "codellama/CodeLlama-70b-hf": 68_976_910_336,
    "mistralai/Mistral-7B-v0.1": 7_241_732_096,
    "huggyllama/llama-7b": 6_738_415_616,
    "huggyllama/llama-13b": 13_015_864_320,
    "huggyllama/llama-30b": 32_528_943_616,
    "huggyllama/llama-65b": 65_285_660_672,
    "Qwen/Qwen1.5-7B": 7_721_324_544,
    "Qwen/Qwen1.5-14B": 14_167_290_880,
    "Qwen/Qwen1.5-32B": 32_512_218_112,
    "Qwen/Qwen1.5-72B": 72_287_920_128,
    "Qwen/Qwen1.5-110B": 111_209_914_368,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_those_of_the_published_files(name: str) -> None:
    assert total_parameters(find_model(name)) == PUBLISHED[name]


def test_the_first_mistral_slides_its_window() -> None:
    (group,) = find_model("mistralai/Mistral-7B-v0.1").layers
    (mixer,) = group.mixers
    assert isinstance(mixer, Attention)
    assert mixer.window == 4096


def test_gemmas_heads_are_wider_than_its_hidden_size_says() -> None:
    (group,) = find_model("google/gemma-7b").layers
    (mixer,) = group.mixers
    assert isinstance(mixer, Attention)
    assert (mixer.query_heads * mixer.head_dim, find_model("google/gemma-7b").hidden_size) == (4096, 3072)
