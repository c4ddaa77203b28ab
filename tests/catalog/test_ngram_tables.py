"""Tables of hashed n-grams: prime numbers of rows, kept in the host's memory."""

import json
from pathlib import Path

import numpy as np
import pytest

from catalog.errors import BadModelConfig
from catalog.primes import is_prime, primes_from
from catalog.read import read_config
from optimizer.memory.weights import Division, shard_bytes

CONFIG = json.loads(
    (Path(__file__).parents[1] / "oracles" / "architectures" / "Qwen4Exp.json").read_text(encoding="utf-8")
)["config"]


def table_of(spec):
    [table] = [m for group in spec.layers for m in group.matrices if m.name.endswith("ngram_embedding")]
    return table


def test_primes_are_those_that_no_smaller_number_divides():
    slow = [n for n in range(2, 2000) if all(n % d for d in range(2, int(n**0.5) + 1))]
    assert list(primes_from(2, len(slow))) == slow
    assert not any(is_prime(n) for n in (0, 1, 561, 1_373_653, 25_326_001))


def test_a_published_table_has_the_values_that_a_public_copy_in_4_bit_has():
    """32,000,153,600 bytes at 4 bits, and a 16-bit scale and zero per 32 values: Vontra's MLX copy at 43a82b3f."""
    assert table_of(read_config(CONFIG)).parameters * (4 + 32 / 32) / 8 == 32_000_153_600


def test_a_table_on_the_host_takes_no_memory_of_a_gpu():
    one = np.ones(1, dtype=np.int64)
    assert shard_bytes(table_of(read_config(CONFIG)), Division.of(one)).tolist() == [0]


@pytest.mark.parametrize("wrong", [{"ple_layer_ids": [49]}, {"heads_per_ngram": 7}, {"ngram_vocab_size_base": 2**40}])
def test_a_table_that_cannot_be_is_refused(wrong):
    with pytest.raises(BadModelConfig, match=next(iter(wrong))):
        read_config({**CONFIG, "text_config": {**CONFIG["text_config"], **wrong}})
