"""Putting replicas on machines once the counts are known."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.cp_sat.objectives import Goal
from optimizer.cp_sat.program import Purchase
from optimizer.packing import share_machines
from optimizer.pruning import Columns
from tests.optimizer.test_purchase_against_brute_force import offer


def purchase(gpu_count: int, machines: int, sizes: list[int], replicas: list[int]) -> Purchase:
    count = len(sizes)
    columns = Columns(
        offers=(offer("m", gpu_count, 1.0, machines),),
        machine=np.zeros(count, dtype=np.int64),
        candidate=np.arange(count),
        gpus=np.asarray(sizes),
        output_tokens_per_second=np.ones(count),
        concurrency=np.ones(count, dtype=np.int64),
        power_watts=np.ones(count),
        idle_watts=np.zeros(1),
    )
    return Purchase(columns, np.asarray([machines]), np.asarray(replicas), Goal.COST, True, True, 0, 0, 1.0, 1.0, 0.0)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_sizes_of_a_chain_always_pack_when_their_gpus_add_up(data: st.DataObject) -> None:
    gpu_count = data.draw(st.sampled_from([1, 2, 4, 6, 8, 12]))
    chain = [size for size in (1, 2, 4, 6, 12, 8) if gpu_count % size == 0 and (size in (1, 2, 4) or size == gpu_count)]
    machines = data.draw(st.integers(1, 9))
    left = gpu_count * machines
    replicas = []
    for size in chain:
        replicas.append(data.draw(st.integers(0, left // size)))
        left -= replicas[-1] * size
    if not any(replicas):
        return
    shares = share_machines(purchase(gpu_count, machines, chain, replicas))
    assert sum(share.machines for share in shares) <= machines
    for column, wanted in enumerate(replicas):
        assert sum(share.replicas for share in shares if share.column == column) == wanted


def test_replicas_over_several_machines_take_them_whole() -> None:
    shares = share_machines(purchase(8, 5, [16, 4], [2, 2]))
    assert [(share.machines, share.replicas, share.with_line) for share in shares] == [(4, 2, None), (1, 2, None)]


def test_replicas_that_share_a_machine_point_to_the_line_that_bought_it() -> None:
    shares = share_machines(purchase(8, 1, [4, 2], [1, 2]))
    assert [(share.machines, share.replicas, share.with_line) for share in shares] == [(1, 1, None), (0, 2, 0)]


def test_counts_that_cannot_be_packed_are_refused() -> None:
    counts = purchase(8, 1, [4], [2])
    with pytest.raises(ValueError, match="find no machine"):
        share_machines(replace(counts, replicas=np.asarray([3])))
