"""Architectures against the engine's and the library's own classes: parameters, weights per rank, KV cache, states."""

import json
from pathlib import Path

import pytest

from catalog.read import read_config
from catalog.sizes import total_parameters
from tests.optimizer.rank_bytes import CACHES, rank_cache_bytes, rank_weight_bytes

TRUTHS = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((Path(__file__).parents[2] / "oracles" / "architectures").glob("*.json"))
}
ROWS = [(name, row) for name, truth in TRUTHS.items() for row in truth["rows"]]


def spec_of(name):
    return read_config(TRUTHS[name]["config"], repo_id=f"oracle/{name}")


@pytest.mark.parametrize("name", [name for name, truth in TRUTHS.items() if truth["parameters"] is not None])
def test_parameters_equal_the_librarys_own_class(name):
    assert total_parameters(spec_of(name)) == TRUTHS[name]["parameters"]


@pytest.mark.parametrize(("name", "row"), ROWS, ids=[f"{name}-tp{row['tensor_parallel']}" for name, row in ROWS])
def test_weights_and_caches_equal_the_engines_own_classes(name, row, make_gpu):
    served = spec_of(name), make_gpu(), row["tensor_parallel"]
    assert rank_weight_bytes(*served) == pytest.approx(row["weight_bytes_rank0"], rel=0.0005)
    assert rank_cache_bytes(*served) == tuple(row[kind] for kind in CACHES)
