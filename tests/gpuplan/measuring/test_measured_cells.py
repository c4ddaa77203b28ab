"""Free text of measured rows -> settings, or a sentence that says why not."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuplan.measuring.cells import GIB_PER_GPU, count, flag, kv_format, number, version, weight_format
from gpuplan.measuring.errors import Unpredictable


@pytest.mark.parametrize("text", ["90", "nan", "inf", "-0.1", "0.9 GiB", "1e400", "abc", "0x1"])
def test_a_share_outside_its_range_is_refused_with_its_value(text):
    with pytest.raises(Unpredictable, match="gpu_memory_utilization is"):
        number({"gpu_memory_utilization": text}, "gpu_memory_utilization", 0.001, 1)


def test_percent_and_mib_are_guessed_at_in_words_never_in_numbers():
    with pytest.raises(Unpredictable, match=r"not percent: 0\.9\?"):
        number({"u": "90"}, "u", 0.001, 1)
    with pytest.raises(Unpredictable, match="in GiB"):
        number({"m": "81559"}, "m", 0, GIB_PER_GPU)


def test_empty_is_none_and_missing_is_empty():
    assert number({"a": " "}, "a", 0, 1) is None
    assert count({}, "a") is None
    assert flag({}, "a") is None


def test_counts_are_whole():
    assert count({"tp": "8.0"}, "tp") == 8
    assert count({"n": "178,880"}, "n") == 178_880
    with pytest.raises(Unpredictable, match="no whole number"):
        count({"tp": "1.5"}, "tp")


def test_a_flag_is_true_or_false_and_nothing_else():
    assert flag({"e": "True"}, "e") is True
    assert flag({"e": "0.0"}, "e") is False
    with pytest.raises(Unpredictable, match="neither"):
        flag({"e": "maybe"}, "e")


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("bf16 (dummy load)", "bf16"),
        ("fp16/bf16", "bf16"),
        ("fp8 (Marlin weight-only)", "fp8"),
        ("deepseek_v4_fp8", "fp8"),
        ("awq int4 (compressed-tensors g32)", "int4"),
        ("gptq int4 (Marlin)", "int4"),
        ("int8 w8a8", "int8"),
        ("nvfp4 (modelopt)", "nvfp4"),
        ("fp4 (engine)", "nvfp4"),
        ("mxfp4 (Triton)", "mxfp4"),
        ("bitsandbytes nf4", "nf4"),
        ("", None),
    ],
)
def test_weight_formats_as_people_write_them(text, stored):
    assert weight_format(text) == stored


@pytest.mark.parametrize("text", ["fp8/fp4 mixed", "nvfp4+fp8 mixed", "exl3", "2-bit", "8-bit class (inferred)"])
def test_weight_formats_that_say_too_little_are_refused(text):
    with pytest.raises(Unpredictable, match="not described here"):
        weight_format(text)


@pytest.mark.parametrize(
    ("text", "own", "stored"),
    [
        ("auto", None, "bf16"),
        ("", "fp8", "fp8"),
        ("auto (bf16)", "fp8", "bf16"),
        ("auto (fp16)", None, "bf16"),
        ("16-bit", None, "bf16"),
        ("fp8_e4m3", None, "fp8"),
        ("fp8 (fp8_ds_mla)", None, "fp8"),
    ],
)
def test_kv_formats_as_people_write_them(text, own, stored):
    assert kv_format(text, own) == stored


@pytest.mark.parametrize("text", ["int3_per_token_head", "int2 (group 32)", "turbo"])
def test_kv_formats_that_are_not_described_are_refused(text):
    with pytest.raises(Unpredictable):
        kv_format(text, None)


@pytest.mark.parametrize(
    ("text", "named", "legacy"),
    [
        ("0.11.0", "0.11.0", False),
        ("0.7.3 (V0)", "0.7.3", True),
        ("0.7.1 (V1)", "0.7.1", False),
        ("0.10.x (V0)", "0.10", True),
        ("0.6.6", "0.6.6", True),
        (">=0.21", "0.21", False),
        ("0.28+ (2026-09)", "0.28", False),
        ("0.15.2rc1.dev93", "0.15.2", False),
        ("0.2x (2026-09)", None, False),
        ("0.1.dev20073+g8e685d198", None, False),
        ("2026-09", None, False),
        ("(V0)", None, True),
        ("", None, False),
    ],
)
def test_versions_as_people_write_them(text, named, legacy):
    said = version(text)
    assert (said.number, said.legacy) == (named, legacy)


@given(st.text(max_size=60))
def test_any_text_is_a_value_or_a_sentence(text):
    version(text)
    for read in (weight_format, lambda word: kv_format(word, None), lambda word: count({"a": word}, "a")):
        with suppress(Unpredictable):
            read(text)
