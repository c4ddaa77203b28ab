"""Whatever a config.json holds, reading it gives a ModelSpec or a CatalogError with one sentence, quickly."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.errors import BadModelConfig, CatalogError, UnknownArchitecture
from catalog.model import ModelSpec
from catalog.quantization import available_formats, requantized
from catalog.read import known_architectures, read_config
from catalog.sizes import active_parameters, flop_per_token, total_parameters, weight_bytes

ORACLES = Path(__file__).parent.parent / "oracles"
ENTRIES = json.loads((ORACLES / "attention_configs.json").read_text()).values()
LATENT = json.loads((ORACLES / "latent_and_recurrent_configs.json").read_text()).values()
CONFIGS = [entry["config"] for entry in ENTRIES] + [entry.get("config", entry) for entry in LATENT]
QUANTIZATIONS = [entry["hf_quant_config"] for entry in ENTRIES if "hf_quant_config" in entry]
LLAMA = next(config for config in CONFIGS if config["architectures"] == ["LlamaForCausalLM"])

JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.sampled_from([10**30, -1, 2**31, 2**63, 0.5, 1e308, float("nan"), float("inf"), 7, 8.0]),
    st.text(max_size=5),
    st.just([]),
    st.just({}),
    st.lists(st.integers(-2, 3), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


def paths(value, prefix=()):
    """Every key and index inside a config, the first few of long lists."""
    items = value.items() if isinstance(value, dict) else enumerate(value[:3]) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*prefix, key)
        yield from paths(inner, (*prefix, key))


@st.composite
def mutated(draw, originals):
    config = copy.deepcopy(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(1, 3))):
        *outer, last = draw(st.sampled_from(list(paths(config))))
        holder = config
        for key in outer:
            holder = holder[key]
        if isinstance(holder, dict) and draw(st.booleans()):
            del holder[last]
        else:
            holder[last] = draw(JUNK)
        if not config:
            break
    return config


def read_or_refuse(config, hf_quant_config=None):
    """The spec and no sentence, or no spec and the sentence why."""
    try:
        return read_config(config, hf_quant_config), ""
    except CatalogError as error:
        return None, str(error)


def check_answer(spec, sentence):
    if spec is None:
        assert 10 < len(sentence) < 1000
        assert "\n" not in sentence
        return
    assert isinstance(spec, ModelSpec)
    assert 0 < active_parameters(spec) <= total_parameters(spec)
    assert weight_bytes(spec) > 0
    assert flop_per_token(spec) > 0
    for word in available_formats(spec):
        assert weight_bytes(requantized(spec, word)) > 0


@settings(max_examples=400, deadline=None)
@given(config=mutated(CONFIGS))
def test_a_mutated_config_gives_a_spec_or_a_catalog_error(config):
    check_answer(*read_or_refuse(config))


@settings(max_examples=100, deadline=None)
@given(quantization=mutated(QUANTIZATIONS))
def test_a_mutated_quantization_file_gives_a_spec_or_a_catalog_error(quantization):
    check_answer(*read_or_refuse(LLAMA, quantization))


@settings(max_examples=100, deadline=None)
@given(config=st.dictionaries(st.text(max_size=12), JUNK, max_size=5))
def test_any_object_is_answered(config):
    with pytest.raises(CatalogError):
        read_config(config)


@settings(max_examples=100, deadline=None)
@given(
    architecture=st.sampled_from(known_architectures()), config=st.dictionaries(st.text(max_size=12), JUNK, max_size=3)
)
def test_a_bare_architecture_name_is_refused(architecture, config):
    with pytest.raises(CatalogError):
        read_config(config | {"architectures": [architecture]})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden_size", 10**30),
        ("hidden_size", 0),
        ("hidden_size", -4096),
        ("hidden_size", True),
        ("hidden_size", "4096"),
        ("hidden_size", 4096.5),
        ("num_hidden_layers", 10**9),
        ("num_hidden_layers", None),
        ("vocab_size", float("nan")),
        ("max_position_embeddings", float("inf")),
        ("num_key_value_heads", 3),
        ("architectures", "LlamaForCausalLM"),
        ("tie_word_embeddings", "yes"),
    ],
)
def test_an_absurd_value_is_refused_by_name(key, value):
    with pytest.raises(BadModelConfig, match=key):
        read_config(LLAMA | {key: value})


def test_sizes_that_are_sane_one_by_one_and_absurd_together_are_refused():
    with pytest.raises(BadModelConfig, match="parameters"):
        read_config(LLAMA | {"hidden_size": 2**24, "vocab_size": 2**24, "head_dim": 128})


def test_a_whole_number_that_json_wrote_as_a_float_is_taken():
    assert read_config(LLAMA | {"hidden_size": float(LLAMA["hidden_size"])}) == read_config(LLAMA)


def test_an_unknown_architecture_is_named_with_near_ones():
    with pytest.raises(UnknownArchitecture, match=r"'LlamaForCausalLN'.*LlamaForCausalLM"):
        read_config({"architectures": ["LlamaForCausalLN"]})


def test_model_type_stands_in_for_a_missing_architecture():
    without = {key: value for key, value in LLAMA.items() if key != "architectures"}
    assert read_config(without) == read_config(LLAMA)
