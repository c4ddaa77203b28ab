"""GGUF: which file is meant, and headers that are sound, cut, or made to hurt."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.errors import BadHubAnswer, CatalogError, UnknownModel
from catalog.gguf import GgufHeader, choose_file, file_format, read_gguf_header
from catalog.gguf_model import config_of, gguf_model
from catalog.quantization import GGML_BLOCKS, SCHEMES
from tests.catalog.hub_files import llama_gguf

SOUND = llama_gguf()


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("Qwen3-8B-Q4_K_M.gguf", "Q4_K_M"),
        ("qwen2.5-7b-instruct-q4_k_m.gguf", "Q4_K_M"),
        ("Llama-3.2-1B-Instruct.Q8_0.gguf", "Q8_0"),
        ("DeepSeek-V3-UD-IQ1_S/DeepSeek-V3-UD-IQ1_S-00001-of-00004.gguf", "UD-IQ1_S"),
        ("BF16/Qwen3-235B-A22B-BF16-00002-of-00010.gguf", "BF16"),
        ("gpt-oss-20b-mxfp4.gguf", "MXFP4"),
        ("Q6_K/model.gguf", "Q6_K"),
        ("gemma-3-4b-it-f16.gguf", "F16"),
        ("ggml-model-TQ1_0.gguf", "TQ1_0"),
        ("model.gguf", ""),
        ("Qwen3-8B.gguf", ""),
    ],
)
def test_the_format_is_the_end_of_the_name(name, word):
    assert file_format(name) == word


def test_all_parts_of_a_file_belong_to_it():
    names = [f"Q4_K_M/x-Q4_K_M-{part:05}-of-00003.gguf" for part in (2, 1, 3)] + ["x-Q8_0.gguf"]
    chosen = choose_file(names)
    assert [part[-19:-14] for part in chosen.parts] == ["00001", "00002", "00003"]
    assert choose_file(names, "q8_0").parts == ("x-Q8_0.gguf",)


def test_without_a_usual_format_the_first_is_taken():
    assert choose_file(["b-Q2_K.gguf", "a-IQ4_XS.gguf"]).file == "a-IQ4_XS.gguf"
    assert choose_file(["mmproj-model-f16.gguf"]) is None
    with pytest.raises(UnknownModel, match="no GGUF file"):
        choose_file([], "Q4_K_M")


def test_the_header_is_read_back():
    header = read_gguf_header(SOUND + b"\0" * 50, "x.gguf", whole=True)
    assert header.metadata["llama.block_count"] == 2
    assert header.metadata["#tokenizer.ggml.tokens"] == 1000
    assert header.metadata["tokenizer.ggml.add_bos_token"] is True
    assert header.tensors["blk.1.ffn_down.weight"] == ("q4_k", 512 * 256)


@given(end=st.integers(0, len(SOUND) - 1))
@settings(max_examples=100, deadline=None)
def test_a_beginning_asks_for_more_or_is_refused_when_there_is_no_more(end):
    assert read_gguf_header(SOUND[:end], "x.gguf", whole=False) is None if end >= 4 else True
    with pytest.raises(BadHubAnswer, match=r"x\.gguf"):
        read_gguf_header(SOUND[:end], "x.gguf", whole=True)


@given(at=st.integers(0, 3000), change=st.binary(min_size=1, max_size=8))
@settings(max_examples=300, deadline=None)
def test_a_changed_header_is_read_or_refused(at, change):
    body = SOUND[:at] + change + SOUND[at + len(change) :]
    with suppress(CatalogError):
        spec, _ = gguf_model(read_gguf_header(body, "x.gguf", whole=True), find_original=pytest.fail, originals=())
        assert spec.quantization_method == "gguf"


def header_of(*values: bytes, tensors: int = 0, keys: int = 1) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, keys) + b"".join(values)


KEY = struct.pack("<Q", 1) + b"k"


@pytest.mark.parametrize(
    "body",
    [
        header_of(tensors=2**63),
        header_of(keys=2**63),
        header_of(struct.pack("<Q", 2**60)),
        header_of(KEY + struct.pack("<IIQ", 9, 8, 2**62)),
        header_of(KEY + struct.pack("<IIQ", 9, 4, 2**62)),
        header_of(KEY + struct.pack("<IIQ", 9, 9, 1)),
        header_of(KEY + struct.pack("<I", 99)),
        header_of(KEY + struct.pack("<I", 4) + b"\0" * 4 + KEY + struct.pack("<I", 200), tensors=1),
        header_of(KEY + struct.pack("<I", 2) + struct.pack("<QQIQ", 2**40, 2**40, 0, 0), tensors=1, keys=0),
        b"GGUF" + struct.pack("<IQQ", 1, 0, 0),
    ],
)
def test_lengths_that_no_file_has_are_refused_at_once(body):
    with pytest.raises(BadHubAnswer):
        read_gguf_header(body + b"\0" * 64, "x.gguf", whole=True)


def test_tensor_types_have_the_bits_that_people_know():
    """Bits per weight as llama.cpp prints them for its types."""
    known = {"q4_0": 4.5, "q8_0": 8.5, "q4_k": 4.5, "q5_k": 5.5, "q6_k": 6.5625, "q3_k": 3.4375, "q2_k": 2.625}
    known |= {"iq4_xs": 4.25, "iq4_nl": 4.5, "iq3_s": 3.4375, "iq3_xxs": 3.0625, "iq2_xxs": 2.0625, "iq1_s": 1.5625}
    found = {name: 8 * size / block for name, _, block, size in GGML_BLOCKS if name in known}
    assert found == known
    assert all(f"gguf_{name}" in SCHEMES for name, *_ in GGML_BLOCKS)


def test_a_mixture_of_experts_is_told_by_its_header():
    metadata = {
        "general.architecture": "qwen3moe",
        "qwen3moe.block_count": 48,
        "qwen3moe.context_length": 40960,
        "qwen3moe.embedding_length": 2048,
        "qwen3moe.feed_forward_length": 6144,
        "qwen3moe.attention.head_count": 32,
        "qwen3moe.attention.head_count_kv": 4,
        "qwen3moe.attention.key_length": 128,
        "qwen3moe.expert_count": 128,
        "qwen3moe.expert_used_count": 8,
        "qwen3moe.expert_feed_forward_length": 768,
        "#tokenizer.ggml.tokens": 151936,
    }
    from catalog.find import find_model
    from catalog.read import read_config
    from catalog.sizes import total_parameters

    spec = read_config(config_of(GgufHeader(metadata, {"output.weight": ("q6_k", 1)})))
    assert total_parameters(spec) == total_parameters(find_model("Qwen/Qwen3-30B-A3B"))
