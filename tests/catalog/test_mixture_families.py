"""Mixtures of experts whose configs state one size in several ways: the published form and the library's are one."""

import json
from pathlib import Path

import pytest

from catalog.errors import BadModelConfig
from catalog.find import find_model
from catalog.read import read_config
from catalog.sizes import active_parameters, total_parameters

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
    published = config_of("HYV3")
    kinds = ["dense"] + ["sparse"] * (published["num_hidden_layers"] - 1)
    library = without(published, "first_k_dense_replace", "expert_hidden_dim", "qk_norm")
    library |= {"moe_intermediate_size": published["expert_hidden_dim"], "mlp_layer_types": kinds}
    assert read_config(library) == read_config(published)
    assert read_config(without(library, "mlp_layer_types")) == read_config(published)


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
        plain = read_config(without(config, "num_nextn_predict_layers"))
        assert total_parameters(predicting) == total_parameters(plain)
        assert sum(group.next_token_prediction for group in predicting.layers) == 1


def test_hy_3_with_its_layer_that_predicts_has_the_parameters_of_its_weight_files():
    spec = read_config(config_of("HYV3"))
    layers = sum(matrix.parameters * group.count for group in spec.layers for matrix in group.matrices)
    # metadata of tencent/Hy3@716aa7241bd6: 298,786,140,416 in bf16, and 15,360 corrections of routers in fp32
    assert layers + sum(matrix.parameters for matrix in spec.outside) == 298_786_140_416


@pytest.mark.parametrize(
    ("repo", "active_billions"),
    [
        ("tencent/Hy3", 21),
        ("databricks/dbrx-instruct", 36),
        ("rednote-hilab/dots.llm1.inst", 14),
        ("microsoft/Phi-3.5-MoE-instruct", 6.6),
        ("allenai/OLMoE-1B-7B-0924", 1.3),
        ("Qwen/Qwen1.5-MoE-A2.7B-Chat", 2.7),
    ],
)
def test_a_token_passes_as_many_parameters_as_publishers_say(repo, active_billions):
    assert active_parameters(find_model(repo)) / 1e9 == pytest.approx(active_billions, rel=0.02)
