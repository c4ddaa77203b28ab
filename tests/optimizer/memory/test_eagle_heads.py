"""Draft heads by their published configs: parameters as checkpoints hold them, and beside the model they serve."""

import numpy as np
import pytest

from catalog.find import find_model
from catalog.read import read_config
from catalog.sizes import total_parameters
from optimizer.engines.find import find_engine
from optimizer.errors import BadRequirements
from optimizer.memory.speculation import Speculation
from optimizer.memory.vram import MemorySettings, measure_memory
from optimizer.requirements import EngineOptions, SpeculativeDecoding, Workload
from optimizer.settings import memory_settings

# yuhuili/EAGLE3-LLaMA3.1-Instruct-8B, config.json
EAGLE3 = {
    "architectures": ["LlamaForCausalLMEagle3"],
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 1,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "draft_vocab_size": 32000,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
}
EAGLE1 = {**EAGLE3, "architectures": ["EagleLlamaForCausalLM"]}
LAYER = 4096 * (4096 + 1024 + 1024 + 4096) + 3 * 14336 * 4096


def test_an_eagle3_head_holds_what_its_checkpoint_does() -> None:
    """Its checkpoint is 0.85 GB of 16-bit values: layer, fc and LM head, without the embedding that it shares."""
    head = read_config(EAGLE3)
    wide = LAYER + 4096 * (4096 + 1024 + 1024)
    stored = wide + 3 * 4096 * 4096 + 32000 * 4096 + 4 * 4096
    assert total_parameters(head) - 128256 * 4096 == stored
    assert 2 * stored == pytest.approx(0.85e9, rel=0.005)


def test_an_eagle_head_joins_two_vectors() -> None:
    head = read_config(EAGLE1)
    assert total_parameters(head) == LAYER + 2 * 4096 * 4096 + 2 * 128256 * 4096 + 3 * 4096


@pytest.mark.parametrize(
    ("method", "config", "outside"),
    [("eagle3", EAGLE3, 3 * 4096 * 4096 + 32000 * 4096 // 2 + 4096), ("eagle", EAGLE1, 2 * 4096 * 4096 + 4096)],
)
def test_a_head_beside_its_model_shares_the_embedding(make_rows, make_gpu, method, config, outside) -> None:
    spec, rows = find_model("meta-llama/Llama-3.1-8B-Instruct"), make_rows([make_gpu()], [2])
    settings = MemorySettings(8192, 8192, speculation=Speculation(method, 3, read_config(config)))
    memory = measure_memory(spec, find_engine("vllm"), rows, "bf16", settings, np.array([64]))
    inputs = 2 * 4096 if method == "eagle3" else 4096
    layer = inputs * (4096 + 1024 + 1024) // 2 + 4096 * 4096 // 2 + 3 * 14336 * 4096 // 2
    norms = (3 if method == "eagle3" else 2) * 4096
    assert memory.draft_bytes[0] == 2 * (layer + norms + outside)
    assert memory.kv_bytes_per_token[0] == (32 + 1) * 2 * (8 // 2) * 128 * 2


@pytest.mark.parametrize(
    ("method", "draft", "said"),
    [
        ("eagle", read_config(EAGLE3, repo_id="head"), "head is a head for eagle3, not for eagle"),
        ("draft_model", read_config(EAGLE1, repo_id="head"), "head is a head for eagle, not for draft"),
        ("eagle", read_config({**EAGLE1, "hidden_size": 2048}, repo_id="head"), "it is the head of another model"),
        ("eagle3", find_model("meta-llama/Llama-3.1-8B-Instruct"), "it is a model and no head"),
    ],
)
def test_a_head_that_does_not_suit_is_refused(method, draft, said) -> None:
    asked = EngineOptions(speculation=SpeculativeDecoding(method=method, tokens=3, draft="x"))
    with pytest.raises(BadRequirements, match=said):
        memory_settings(find_model("meta-llama/Llama-3.1-8B-Instruct"), Workload(), asked, 8192, draft)
