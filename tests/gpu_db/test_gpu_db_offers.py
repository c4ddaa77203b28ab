from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_db.errors import (
    GpuDbError,
    UnknownBilling,
    UnknownGpu,
    UnknownInstanceType,
    UnknownProvider,
    UnknownRegion,
    UnknownRestriction,
)
from gpu_db.load import load_gpus, load_offers
from gpu_db.offer import BILLINGS, RESTRICTIONS
from gpu_db.query import select_offers, stale_after_days, staleness_warnings
from gpu_db.regions import country_of, region_classes
from gpu_db.tables import read_table

TODAY = date(2026, 11, 22)


def one(**words):
    """The only default offer with these attributes."""
    words = {"billing": "on-demand"} | words
    found = [offer for offer in load_offers() if all(getattr(offer, name) == value for name, value in words.items())]
    assert len(found) == 1, [offer.offer_id for offer in found]
    return found[0]


def providers_of(offers):
    return {offer.provider for offer in offers}


# What an offer is.


def test_every_offer_has_a_known_gpu_a_positive_price_a_source_and_a_date():
    for offer in load_offers():
        assert offer.gpu in load_gpus(), offer.offer_id
        assert offer.gpu_count >= 1, offer.offer_id
        assert 0 < offer.price_usd_per_hour < 1000, offer.offer_id
        assert offer.source, offer.offer_id
        assert date(2024, 1, 1) < offer.as_of <= TODAY, offer.offer_id
        assert offer.billing in BILLINGS
        assert set(offer.restrictions) <= set(RESTRICTIONS)


def test_offer_ids_are_unique_and_readable():
    ids = [offer.offer_id for offer in load_offers()]
    assert len(set(ids)) == len(ids)
    assert "aws/p5.48xlarge/eu-north-1/on-demand" in ids
    assert "runpod/pod secure/4x H100 SXM 80GB/global/on-demand" in ids


def test_a_price_per_gpu_becomes_the_machine_sizes_that_the_provider_rents():
    pods = [o for o in load_offers() if o.instance_type == "pod secure" and o.gpu == "H100 SXM 80GB"]
    assert [(o.gpu_count, o.price_usd_per_hour) for o in pods] == [(1, 3.99), (2, 7.98), (4, 15.96), (8, 31.92)]
    assert "priced per GPU" in pods[-1].notes
    droplets = [o for o in load_offers() if o.provider == "digitalocean" and o.billing == "on-demand"]
    assert {o.gpu_count for o in droplets if o.gpu == "H200 SXM 141GB"} == {1, 8}
    assert {o.gpu_count for o in droplets if o.gpu == "L40S 48GB"} == {1}


@pytest.mark.parametrize(
    ("provider", "gpu"),
    [
        ("crusoe", "H100 SXM 80GB"),
        ("hyperstack", "H100 SXM 80GB"),
        ("tensorwave", "MI300X 192GB"),
        ("together", "H100 SXM 80GB"),
    ],
)
def test_whole_nodes_are_not_sold_by_the_gpu(provider, gpu):
    sizes = {o.gpu_count for o in load_offers() if o.provider == provider and o.gpu == gpu}
    assert sizes == {8}


def test_two_forms_of_one_listed_type_stay_apart():
    types = {o.instance_type for o in load_offers() if o.provider == "hyperstack" and o.gpu == "H100 PCIe 80GB"}
    assert types == {"n3-H100-PCIe-80GB (per GPU)", "n3-H100-PCIe-80GB (per GPU) (NVLink bridge)"}


# How its GPUs reach each other.


def test_an_hgx_node_has_nvlink_and_its_provider_network():
    p5 = one(provider="aws", instance_type="p5.48xlarge", region="eu-north-1")
    assert (p5.scaleup_domain_gpus, p5.link_bytes_per_second, p5.internode_bytes_per_second) == (8, 450e9, 50e9)


def test_an_old_efa_is_slow_as_the_table_says():
    """p4d: 400 Gbit/s for 8 GPUs."""
    p4d = one(provider="aws", instance_type="p4d.24xlarge", region="eu-north-1")
    assert p4d.internode_bytes_per_second == 400e9 / 8 / 8


def test_a_pcie_machine_has_domain_1_and_the_rate_of_its_slots():
    g6e = one(instance_type="g6e.48xlarge")
    assert g6e.scaleup_domain_gpus == 1
    assert g6e.link_bytes_per_second == pytest.approx(31.5e9, rel=0.01)


def test_bridged_pairs_have_domain_2():
    assert one(instance_type="Standard_NC96ads_A100_v4", region="eastus").scaleup_domain_gpus == 2


def test_a_slice_of_a_board_keeps_its_switch_and_loses_the_network():
    half = one(instance_type="a3-highgpu-4g", region="us-central1")
    assert (half.scaleup_domain_gpus, half.link_bytes_per_second, half.internode_bytes_per_second) == (4, 450e9, None)
    whole = one(instance_type="a3-highgpu-8g", region="us-central1 (default region)")
    assert whole.internode_bytes_per_second == 800e9 / 8 / 8


def test_a_tray_of_a_rack_reaches_the_whole_rack():
    assert one(instance_type="BM.GPU.GB200.4").scaleup_domain_gpus == 72
    ultra = one(instance_type="u-p6e-gb200x36 (Capacity Block)")
    assert (ultra.gpu_count, ultra.minimum_count, ultra.scaleup_domain_gpus) == (4, 9, 36)
    assert ultra.price_usd_per_hour * 9 == pytest.approx(380.952)


@pytest.mark.parametrize("provider", ["runpod", "verda", "vast", "salad", "tensordock", "akash"])
def test_machines_without_a_fast_fabric_cannot_serve_one_replica_together(provider):
    offers = [o for o in load_offers() if o.provider == provider]
    assert offers
    assert {o.internode_bytes_per_second for o in offers} == {None}


def test_lambda_joins_machines_in_its_clusters_only():
    lambda_offers = [o for o in load_offers() if o.provider == "lambda"]
    joined = {o.instance_type for o in lambda_offers if o.internode_bytes_per_second}
    assert joined == {f"1-Click Cluster {gpus} GPUs" for gpus in (16, 64, 256)}


def test_a_machine_without_infiniband_has_none():
    assert one(instance_type="Standard_ND96is_H100_v5").internode_bytes_per_second is None
    with_infiniband = one(instance_type="Standard_ND96isr_H100_v5", region="uksouth")
    assert with_infiniband.internode_bytes_per_second == 50e9


def test_one_gpu_alone_has_no_link():
    assert {o.link_bytes_per_second for o in load_offers() if o.gpu_count == 1} == {None}


def test_reference_designs_agree_with_the_datasheets():
    """An independent source: links of gpus.csv against those of the reference designs in topology.csv."""
    gpus = load_gpus()
    for row in read_table("topology.csv", ("key", "provider", "gpu", "link_gb_per_second", "scaleup_domain_gpus")):
        if row["provider"] == "reference design" and row["link_gb_per_second"]:
            gpu = gpus[row["gpu"]]
            datasheet = gpu.link_bytes_per_second or gpu.pcie_bytes_per_second
            assert float(row["link_gb_per_second"]) * 1e9 == pytest.approx(datasheet, rel=0.005), row["key"]
            assert int(row["scaleup_domain_gpus"]) == gpu.scaleup_domain_gpus, row["key"]


# Choosing.


def test_by_default_only_unrestricted_on_demand_offers_are_chosen():
    chosen = select_offers(load_offers())
    assert {o.billing for o in chosen} == {"on-demand"}
    assert {o.restrictions for o in chosen} == {()}
    assert {"aws", "azure", "gcp", "oci", "lambda", "runpod", "nebius"} <= providers_of(chosen)
    assert not providers_of(chosen) & {"vast", "akash", "salad", "modal", "sfcompute"}


def test_gpu_names_are_aliases_and_families():
    assert {o.gpu for o in select_offers(load_offers(), gpus=["h100"])} == {
        "H100 SXM 80GB",
        "H100 PCIe 80GB",
        "H100 NVL 94GB",
    }
    assert {o.gpu for o in select_offers(load_offers(), gpus=["NVIDIA H100 80GB HBM3"])} == {"H100 SXM 80GB"}
    rest = select_offers(load_offers(), gpus=["h100"], gpus_excluded=["H100 PCIe"])
    assert "H100 PCIe 80GB" not in {o.gpu for o in rest}


def test_naming_a_provider_lifts_what_is_weak_about_it_but_not_what_sells_something_else():
    vast = select_offers(load_offers(), providers=["Vast"])
    assert {o.restrictions for o in vast} == {("marketplace",)}
    aws = select_offers(load_offers(), providers=["aws"])
    assert not any("capacity-block" in o.restrictions for o in aws)
    block = select_offers(load_offers(), providers=["aws"], allow={"capacity-block"}, gpus=["H200"])
    assert any("capacity-block" in o.restrictions for o in block)


def test_naming_an_instance_type_lifts_everything_about_it():
    chosen = select_offers(load_offers(), instance_types=["p5.48XLARGE (capacity block)"])
    assert [o.price_usd_per_hour for o in chosen] == [41.528]


def test_allow_admits_a_restriction_and_no_other():
    chosen = select_offers(load_offers(), allow={"marketplace"})
    assert {o.restrictions for o in chosen} == {(), ("marketplace",)}


def test_old_prices_are_left_out_from_a_day_on_but_never_machines_that_are_owned():
    some = next(offer for offer in load_offers() if offer.as_of == date(2026, 8, 26) and offer.billing == "on-demand")
    owned = replace(some, offer_id="mine", billing="owned")
    kept = {
        day: [
            offer.offer_id
            for offer in select_offers([some, owned], billings=["on-demand"], allow=RESTRICTIONS, since=day)
        ]
        for day in (date(2026, 8, 26), date(2026, 8, 27))
    }
    assert kept == {date(2026, 8, 26): [some.offer_id, "mine"], date(2026, 8, 27): ["mine"]}


def test_a_broker_covers_its_hosts():
    chosen = select_offers(load_offers(), providers=["shadeform"])
    assert len(providers_of(chosen)) >= 5
    assert all(o.provider.startswith("shadeform:") for o in chosen)


def test_a_region_is_a_class_a_single_region_or_a_wording():
    offers = load_offers()
    assert "us-east-1 = us-west-2" in {o.region for o in select_offers(offers, regions=["us-west-2"])}
    assert "eu-north1/eu-west1/us-central1 (uniform)" in {o.region for o in select_offers(offers, regions=["eu-west1"])}
    everywhere = {"global", "all commercial regions (uniform list)"}
    wording = {o.region for o in select_offers(offers, regions=["us/eu (uniform)"])}
    assert wording == {"us/eu (uniform)"} | everywhere
    eu = select_offers(offers, regions=["eu"])
    assert {"eu-north-1", "northeurope", "europe-west4", "us/eu (uniform)", "global"} <= {o.region for o in eu}
    assert "us-central1" not in {o.region for o in eu}


def test_a_region_is_not_found_inside_a_longer_name():
    chosen = select_offers(load_offers(), regions=["eastus"], providers=["azure"])
    assert {o.region for o in chosen} == {"eastus"}
    dallas = select_offers(load_offers(), regions=["us-east-1"], allow={"capacity-block", "minimum-purchase"})
    assert "us-east-1-dfw (Dallas Local Zone)" not in {o.region for o in dallas}


def test_an_offer_everywhere_answers_every_region():
    for region in ("us", "eu", "asia", "other", "ap-northeast-1"):
        assert "oci" in providers_of(select_offers(load_offers(), regions=[region]))


def test_a_price_list_of_some_regions_does_not_answer_for_others():
    assert "lambda" not in providers_of(select_offers(load_offers(), regions=["asia"]))
    assert "lambda" in providers_of(select_offers(load_offers(), regions=["eu"]))


@pytest.mark.parametrize(
    ("words", "error", "sentence"),
    [
        ({"providers": ["lamda"]}, UnknownProvider, "No provider named 'lamda'. Did you mean 'lambda'"),
        ({"regions": ["us-east1-z"]}, UnknownRegion, "No region named 'us-east1-z'. Did you mean 'us-east1'"),
        ({"billings": ["ondemand"]}, UnknownBilling, "Did you mean 'on-demand'.*Allowed are on-demand, spot"),
        ({"allow": ["market"]}, UnknownRestriction, "Did you mean 'marketplace'"),
        ({"instance_types": ["p5.48"]}, UnknownInstanceType, "Did you mean 'p5.48xlarge'"),
        ({"gpus": ["H900"]}, UnknownGpu, "Did you mean 'H"),
        ({"gpus_excluded": ["H900"]}, UnknownGpu, "Did you mean 'H"),
    ],
)
def test_an_unknown_word_names_the_nearest(words, error, sentence):
    with pytest.raises(error, match=sentence):
        select_offers(load_offers(), **words)


def test_regions_have_classes_and_countries():
    assert region_classes("nyc2/tor1/atl1/ams3 (uniform)") == ("us", "other", "eu")
    assert region_classes("IN") == ("asia",)
    assert country_of("northeurope") == "IRL"
    assert country_of("global") is None


def test_every_region_of_the_table_is_known():
    from gpu_db.regions import known_regions, region_words

    everywhere = {"global", "all"}
    for offer in load_offers():
        if region_words(offer.region)[0] not in everywhere:
            assert set(region_words(offer.region)) <= set(known_regions()), offer.region


# How old a price is.


def test_a_warning_starts_the_day_after_the_sixtieth():
    lambda_h100 = [one(instance_type="gpu_8x_h100_sxm5")]
    assert lambda_h100[0].as_of == date(2026, 9, 20)
    assert staleness_warnings(lambda_h100, date(2026, 11, 19)) == ()
    assert staleness_warnings(lambda_h100, date(2026, 11, 20)) != ()


def test_list_prices_of_the_big_four_are_trusted_for_180_days():
    p5 = one(provider="aws", instance_type="p5.48xlarge", region="us-east-1 = us-west-2")
    assert stale_after_days(p5) == 180
    assert staleness_warnings([p5], TODAY) == ()
    spot = one(provider="aws", instance_type="p5.48xlarge", region="us-east-1 = us-west-2", billing="spot")
    assert stale_after_days(spot) == 60
    block = one(instance_type="p5.48xlarge (Capacity Block)")
    assert stale_after_days(block) == 60


def test_a_price_from_the_future_is_named():
    assert "after today" in staleness_warnings([one(instance_type="gpu_8x_h100_sxm5")], date(2026, 1, 1))[0]


# Laws of choosing.

some_words = st.fixed_dictionaries(
    {},
    optional={
        "gpus": st.lists(
            st.sampled_from(["H100", "A100", "L40S", "MI300X", "B200", "RTX 4090"]), min_size=1, max_size=3
        ),
        "gpus_excluded": st.lists(st.sampled_from(["H100 PCIe", "A100 40GB", "L4"]), max_size=2),
        "providers": st.lists(st.sampled_from(["aws", "runpod", "lambda", "vast", "oci"]), min_size=1, max_size=3),
        "regions": st.lists(st.sampled_from(["us", "eu", "asia", "us-east-1", "europe-west4"]), min_size=1, max_size=2),
        "billings": st.lists(st.sampled_from(BILLINGS), min_size=1, max_size=3),
        "allow": st.lists(st.sampled_from(RESTRICTIONS), max_size=4),
    },
)


@settings(max_examples=60, deadline=None)
@given(some_words, st.sampled_from(["gpus", "regions", "gpus_excluded"]))
def test_a_narrower_question_never_finds_more(words, dropped):
    narrow = select_offers(load_offers(), **words)
    wide = select_offers(load_offers(), **{name: value for name, value in words.items() if name != dropped})
    assert {o.offer_id for o in narrow} <= {o.offer_id for o in wide}


@settings(max_examples=60, deadline=None)
@given(some_words)
def test_what_is_chosen_is_chosen_again_and_keeps_its_order(words):
    chosen = select_offers(load_offers(), **words)
    positions = {offer.offer_id: index for index, offer in enumerate(load_offers())}
    assert [positions[offer.offer_id] for offer in chosen] == sorted(positions[offer.offer_id] for offer in chosen)
    again = select_offers(chosen, billings=BILLINGS, allow=RESTRICTIONS)
    assert again == chosen


@settings(max_examples=60, deadline=None)
@given(some_words, st.sampled_from(RESTRICTIONS))
def test_allowing_a_restriction_only_adds_offers_that_have_it(words, restriction):
    before = {o.offer_id for o in select_offers(load_offers(), **words)}
    after = select_offers(load_offers(), **(words | {"allow": [*words.get("allow", ()), restriction]}))
    assert before <= {o.offer_id for o in after}
    assert all(restriction in offer.restrictions for offer in after if offer.offer_id not in before)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=30), st.sampled_from(["gpus", "gpus_excluded", "providers", "regions", "billings", "allow"]))
def test_whatever_word_is_typed_only_our_error_escapes(word, kind):
    try:
        chosen = select_offers(load_offers(), **{kind: [word]})
    except GpuDbError as error:
        assert str(error).endswith("."), str(error)  # noqa: PT017
    else:
        assert isinstance(chosen, tuple)
