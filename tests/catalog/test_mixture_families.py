"""Mixtures of experts whose configs state one size in several ways: the published form and the library's are one."""

import json
from pathlib import Path

import pytest

from catalog.errors import BadModelConfig
from catalog.read import read_config
from catalog.sizes import total_parameters

ORACLES = Path(__file__).parent.parent / "oracles" / "architectures"


def config_of(name):
    return json.loads((ORACLES / f"{name}.json").read_text(encoding="utf-8"))["config"]


def without(config, *keys):
    return {key: value for key, value in config.items() if key not in keys}


def sparse(spec):
    """Which layers have experts."""
    return {i for g in spec.layers for i in g.indices if any(m.part == "experts" for m in g.matrices)}


def test_sizes_listed_for_every_layer_are_those_of_one_number():
    one = config_of("HunYuanMoEV1")
    count = one["num_hidden_layers"]
    sizes = {"moe_topk": one["moe_topk"], "num_experts": 64, "moe_intermediate_size": 3072, "num_shared_expert": 1}
    assert read_config(one | {name: [size] * count for name, size in sizes.items()}) == read_config(one)


def test_a_layer_with_more_experts_is_larger_than_the_others():
    one = config_of("HunYuanMoEV1")
    more = one | {"num_experts": [64] * (one["num_hidden_layers"] - 1) + [65]}
    expert_and_router_row = 3 * 4096 * 3072 + 4096
    assert total_parameters(read_config(more)) - total_parameters(read_config(one)) == expert_and_router_row


@pytest.mark.parametrize(
    "change", [{"moe_topk": 65}, {"moe_topk": [8]}, {"use_cla": True}, {"num_experts": 2**20}, {"num_experts": []}]
)
def test_a_hunyuan_that_cannot_be_is_refused(change):
    with pytest.raises(BadModelConfig, match=next(iter(change)).removesuffix("_topk")):
        read_config(config_of("HunYuanMoEV1") | change)


def test_hy_3_states_its_experts_under_two_names():
    library = config_of("HYV3")
    published = without(library, "mlp_layer_types", "moe_intermediate_size")
    published |= {"first_k_dense_replace": 1, "expert_hidden_dim": library["moe_intermediate_size"], "qk_norm": True}
    assert read_config(published) == read_config(library)


def test_every_other_layer_of_ernie_has_experts_from_the_first_to_the_last_that_may():
    config = config_of("Ernie4_5_Moe") | {"moe_layer_interval": 2, "moe_layer_start_index": 4, "moe_layer_end_index": 9}
    assert sparse(read_config(config)) == {5, 7, 9}
    open_end = without(config, "moe_layer_end_index")
    assert sparse(read_config(open_end)) == sparse(read_config(open_end | {"moe_layer_end_index": -1}))
    assert max(sparse(read_config(open_end))) == config["num_hidden_layers"] - 1


def test_layers_that_predict_a_further_token_are_not_counted():
    for name in ("Ernie4_5_Moe", "HYV3"):
        config = config_of(name)
        predicting = read_config(config | {"num_nextn_predict_layers": 1})
        assert total_parameters(predicting) == total_parameters(read_config(config))
        assert sum(group.next_token_prediction for group in predicting.layers) == 1
