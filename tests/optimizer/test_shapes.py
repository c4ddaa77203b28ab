"""Layouts of a replica: what is offered, and that what is offered packs without gaps."""

from datetime import date

import pytest

from gpu_db.gpu import Gpu
from gpu_db.offer import Offer
from optimizer.cp_sat.constraints import is_gapless
from optimizer.shapes import enumerate_shapes, layouts, sizes_in_one_machine


def test_sizes_in_one_machine_form_a_divisibility_chain_for_any_count() -> None:
    for count in range(1, 129):
        sizes = sizes_in_one_machine(count)
        assert is_gapless(frozenset(sizes), count)
        assert sizes[-1] == count


def shapes_of(count: int, domain: int, *, spans: bool, experts: bool, **forced: int) -> set[tuple[int, ...]]:
    table = layouts(
        count,
        scaleup_domain_gpus=domain,
        spans_nodes=spans,
        experts=experts,
        tensor_parallel=forced.get("tp"),
        pipeline_parallel=forced.get("pp"),
    )
    return {tuple(row) for row in table.tolist()}


def test_a_dense_model_gets_no_expert_parallelism_and_no_attention_dp() -> None:
    assert all(ep == 1 and dp == 1 for _, _, dp, ep, _ in shapes_of(8, 8, spans=True, experts=False))


def test_inside_one_node_tp_times_pp_divides_the_machine() -> None:
    inside = [row for row in shapes_of(8, 8, spans=False, experts=False) if row[4] == 1]
    assert {tp * pp for tp, pp, *_ in inside} == {1, 2, 4, 8}
    assert (4, 2, 1, 1, 1) in inside


def test_tensor_parallelism_crosses_nodes_only_inside_a_scaleup_domain() -> None:
    assert all(tp <= 8 for tp, *_ in shapes_of(8, 8, spans=True, experts=False))
    assert any(tp == 16 for tp, *_ in shapes_of(4, 72, spans=True, experts=False))


def test_a_forced_tp_keeps_only_layouts_that_have_it() -> None:
    assert {row[0] for row in shapes_of(8, 8, spans=True, experts=False, tp=3)} == {3}


def test_attention_dp_deals_the_experts_over_all_its_gpus() -> None:
    assert all(ep == tp * dp for tp, _, dp, ep, _ in shapes_of(8, 8, spans=True, experts=True) if dp > 1)


def gpu(name: str) -> Gpu:
    return Gpu(name, "NVIDIA", "Hopper", "9.0", 80 << 30, 80 << 30, 3e12, {"bf16": 1e15}, 4.5e11, 6e10, 700, 70, 8,
               "SXM", False, 2022, None, None, "made up", "high")  # fmt: skip


def machine(name: str, count: int, **facts: object) -> Offer:
    rest = {"scaleup_domain_gpus": count, "link_bytes_per_second": 4.5e11, **facts}
    return Offer(name, "p", name, "G", count, "x", "any", "on-demand", 1.0, date(2026, 1, 1), "made up", "high",
                 **rest)  # type: ignore[arg-type]  # fmt: skip


@pytest.mark.parametrize("internode", [None, 5e10])
def test_one_gpu_is_one_shape_wherever_it_stands(internode: float | None) -> None:
    offers = (machine("a", 1), machine("b", 8, internode_bytes_per_second=internode))
    table = enumerate_shapes(offers, {"G": gpu("G")}, experts=False, tensor_parallel=None, pipeline_parallel=None)
    assert (table.columns.gpu_count == 1).sum() == 1
    single = int((table.columns.gpu_count == 1).argmax())
    assert sorted(table.pair_place[table.pair_shape == single].tolist()) == [0, 1]
    assert (table.columns.nodes > 1).any() == (internode is not None)


def test_tp_beyond_a_bridged_pair_talks_over_pcie() -> None:
    offers = (machine("pairs", 4, scaleup_domain_gpus=2, link_bytes_per_second=3e11),)
    columns = enumerate_shapes(
        offers, {"G": gpu("G")}, experts=False, tensor_parallel=None, pipeline_parallel=None
    ).columns
    pairs = columns.tensor_parallel == 2
    assert set(columns.link_bytes_per_second[pairs]) == {3e11}
    assert set(columns.link_bytes_per_second[columns.tensor_parallel == 4]) == {6e10}
