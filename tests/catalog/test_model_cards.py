"""Sentences of model cards, as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.find import find_model
from catalog.model_card import read_card, stretched
from catalog.sizes import total_parameters


@pytest.mark.parametrize(
    ("text", "parameters"),
    [
        ("- Number of Parameters: 8.2B", 8_200_000_000),
        ("A 70 billion parameter model", 70_000_000_000),
        ("**Model Size:** 494M", 494_000_000),
        ("with 671B total parameters with 37B activated for each token", 671_000_000_000),
        ("| Parameters | 3.8B |", 3_800_000_000),
        ("Our 1.5B-parameter model", 1_500_000_000),
        ("This 2-trillion-parameter model", 2_000_000_000_000),
        ("trained on 15T tokens", None),
        ("version 3.1", None),
        ("costs 8B dollars", None),
    ],
)
def test_parameter_counts(text, parameters):
    assert read_card(text).parameters == parameters


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Context Length: 32,768 tokens", 32768),
        ("a context window of 128k", 131072),
        ("supports a 1M-token context", 1048576),
        ("| Context length | 131072 |", 131072),
        ("- Context: 8K", 8192),
        ("128k tokens of context", 131072),
        ("in this context, 7 people", None),
        ("no word of it", None),
    ],
)
def test_context_lengths(text, tokens):
    assert read_card(text).context_tokens == tokens


@pytest.mark.parametrize(
    ("front", "base"),
    [
        ("base_model: Qwen/Qwen3-8B", "Qwen/Qwen3-8B"),
        ("base_model:\n- Qwen/Qwen3-8B\n- other/one", "Qwen/Qwen3-8B"),
        ('base_model: "Qwen/Qwen3-8B"', "Qwen/Qwen3-8B"),
        ("base_model_relation: quantized", None),
        ("base_model: ../../etc", None),
        ("base_model: !!python/object/apply:os.system ['id']", None),
    ],
)
def test_bases_stand_in_the_front_matter_only(front, base):
    assert read_card(f"---\nlicense: mit\n{front}\n---\n# Card").base == base
    assert read_card(f"# Card\n{front}").base is None


@given(text=st.text(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_text_is_read(text):
    card = read_card(text)
    assert card.parameters is None or card.parameters > 0


def test_a_hostile_text_is_read_in_no_time():
    for text in ("parameters " * 50_000, "context " * 50_000, "1" * 200_000, "---\n" + "base_model:\n" * 20_000):
        read_card(text * 3)


@pytest.mark.parametrize("billions", [0.7, 3, 8, 9, 32, 65])
def test_a_stretched_model_has_about_as_many_parameters(billions):
    spec = find_model("Qwen/Qwen3-8B") if billions < 20 else find_model("meta-llama/Llama-3.1-70B")
    longer = stretched(spec, round(billions * 1e9))
    layer = sum(matrix.parameters for matrix in spec.layers[0].matrices)
    outside = total_parameters(spec) - spec.layer_count * layer
    assert abs(total_parameters(longer) - max(billions * 1e9, outside + layer)) <= layer
    assert sorted(i for group in longer.layers for i in group.indices) == list(range(longer.layer_count))
