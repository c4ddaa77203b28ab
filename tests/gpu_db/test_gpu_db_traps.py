"""Each mistake that public tables of GPUs and prices were found to make, held out of ours: one test per trap."""

from datetime import date

import pytest

from gpu_db.load import load_gpus, load_offers
from gpu_db.query import select_offers
from gpu_db.tables import read_table

WINDOWS_USD_PER_VCPU_HOUR = 0.046


def readings():
    """Every price row of the table, older readings and unplannable ones included."""
    return list(read_table("offers.csv", ("provider", "instance_type", "region", "billing", "price_usd_per_hour")))


def price_rows(**words):
    return [row for row in readings() if all(row[name] == value for name, value in words.items())]


def prices(**words):
    return {float(row["price_usd_per_hour"]) for row in price_rows(**words)}


def test_the_table_holds_every_collected_price():
    """539 collected rows with up to four prices each are 883 prices; 1 Gaudi and 1 RTX 3070 have no GPU of ours."""
    rows = readings()
    assert len(rows) == 883
    assert sum(row["gpu"] == "" for row in rows) == 2
    assert sum(row["not_planned_because"] == "a fraction of a GPU" for row in rows) == 4


def test_trap_01_no_azure_price_is_a_windows_meter():
    """Trap 1: some scrapes carry Linux + 0.046 USD per vCPU-hour, a 9 to 30 % rise that never was."""
    linux = {
        ("Standard_NC48ads_A100_v4", "eastus"): 7.346,
        ("Standard_NC96ads_A100_v4", "eastus"): 14.692,
        ("Standard_NC80adis_H100_v5", "eastus"): 13.960,
        ("Standard_ND96asr_v4", "eastus"): 27.197,
        ("Standard_ND96isr_H200_v5", "swedencentral"): 110.272,
        ("Standard_ND128isr_NDR_GB200_v6", "eastus2 = westus3"): 108.160,
    }
    for (kind, region), price in linux.items():
        found = prices(provider="azure", instance_type=kind, region=region, billing="on-demand")
        assert found
        assert all(value == pytest.approx(price, abs=0.001) for value in found), kind


def test_trap_01_no_two_azure_readings_differ_by_the_windows_licence():
    """Trap 1, for every type: the licence is a fixed sum per vCPU, so it shows between two readings of one price."""
    by_place = {}
    for row in price_rows(provider="azure", billing="on-demand"):
        by_place.setdefault((row["instance_type"], row["region"]), []).append(row)
    compared = 0
    for rows in by_place.values():
        licence = WINDOWS_USD_PER_VCPU_HOUR * float(rows[0]["vcpus"] or 0)
        values = [float(row["price_usd_per_hour"]) for row in rows]
        compared += len(values) > 1 and licence > 0
        assert licence == 0 or max(values) - min(values) < 0.5 * licence, rows[0]["instance_type"]
    assert compared >= 5


def test_trap_02_spot_at_the_price_of_on_demand_is_no_spot():
    """Trap 2: the Azure API answers on-demand prices as spot for H200 and GB200."""
    azure_spot = {offer.gpu for offer in load_offers() if offer.provider == "azure" and offer.billing == "spot"}
    assert azure_spot
    assert not azure_spot & {"H200 SXM 141GB", "GB200 NVL72 (per GPU)"}


def test_trap_02_spot_is_cheaper_than_on_demand_for_every_machine():
    """Trap 2, for every provider, within one region and machine size."""
    on_demand = {}
    for offer in load_offers():
        if offer.billing == "on-demand" and not offer.restrictions:
            on_demand[offer.offer_id.removesuffix("on-demand")] = offer.price_usd_per_hour
    compared = 0
    for offer in load_offers():
        list_price = on_demand.get(offer.offer_id.removesuffix("spot"))
        if offer.billing == "spot" and list_price:
            compared += 1
            assert offer.price_usd_per_hour < list_price, offer.offer_id
    assert compared > 100


def test_trap_03_gcp_list_prices_are_not_flex_start_prices():
    """Trap 3: SkyPilot's GCP price mixes queued capacity (H100 4.20) with the list (11.06)."""
    chosen = select_offers(load_offers(), providers=["gcp"], gpus=["H100 SXM"], billings=["on-demand"])
    assert min(offer.price_usd_per_hour / offer.gpu_count for offer in chosen) == pytest.approx(11.06, abs=0.01)
    flex = [offer for offer in load_offers() if "DWS" in offer.instance_type]
    assert len(flex) == 10
    assert all("flex-start" in offer.restrictions for offer in flex)


def test_trap_03_gcp_sells_no_b200_on_demand():
    """Trap 3: 64.44 is 8 x 8.055, the flex-start price."""
    assert select_offers(load_offers(), providers=["gcp"], gpus=["B200"], billings=["on-demand"]) == ()


def test_trap_03_no_tpu_costs_700():
    """Trap 3: 700.0 is SkyPilot's word for an unknown TPU price."""
    tpus = [offer for offer in load_offers() if offer.gpu.startswith("TPU")]
    assert tpus
    assert max(offer.price_usd_per_hour / offer.gpu_count for offer in tpus) < 5


def test_trap_04_memory_and_capability_are_not_those_of_the_announcements():
    """Trap 4: MI325X has 256 GB (not 288), MI308X 192 (not 128), B300 is capability 10.3 and GeForce 50 is 12.0."""
    gpus = load_gpus()
    assert gpus["MI325X 256GB"].memory_bytes == 262128 * 2**20
    assert gpus["MI308X 192GB"].memory_bytes == 196592 * 2**20
    assert {gpus[name].compute_capability for name in ("B300 SXM 288GB", "GB300 NVL72 (per GPU)")} == {"10.3"}
    consumer = [gpu for gpu in gpus.values() if gpu.architecture == "Blackwell" and gpu.name.startswith("RTX")]
    assert len(consumer) >= 10
    assert {gpu.compute_capability for gpu in consumer} == {"12.0"}


@pytest.mark.parametrize(
    ("name", "number_format", "tflop_per_second"),
    [
        ("H100 SXM 80GB", "fp16", 989),
        ("GH200 96GB", "fp16", 989),
        ("B100 SXM", "fp16", 1750),
        ("GB200 NVL72 (per GPU)", "fp16", 2500),
        ("TPU v6e (Trillium)", "bf16", 918),
        ("RTX PRO 6000 Blackwell Server 96GB", "fp4", 1871.2),
        ("L4 24GB", "fp8", 242.5),
    ],
)
def test_trap_05_rates_are_dense(name, number_format, tflop_per_second):
    """Trap 5: sparse rates are printed as dense in several public tables, twice too fast."""
    assert load_gpus()[name].flop_per_second[number_format] == pytest.approx(tflop_per_second * 1e12)


def test_trap_05_halving_the_format_doubles_the_rate_and_no_more():
    """Trap 5, for every NVIDIA tensor core: FP8 is 2 x BF16; a sparse entry in either column breaks the ratio."""
    compared = 0
    for gpu in load_gpus().values():
        rates = gpu.flop_per_second
        announced = gpu.architecture == "Rubin"
        if gpu.vendor == "NVIDIA" and {"bf16", "fp8"} <= set(rates) and not announced:
            compared += 1
            assert rates["fp8"] == pytest.approx(2 * rates["bf16"], rel=0.02), gpu.name
    assert compared > 30


def test_trap_06_clouds_rent_the_server_edition_at_1597_gb_per_second():
    """Trap 6: 1792 GB/s is the Workstation card; 12 % of decode speed."""
    assert load_gpus()["RTX PRO 6000 Blackwell Server 96GB"].memory_bandwidth_bytes_per_second == 1597e9
    rented = {offer.gpu for offer in select_offers(load_offers()) if offer.gpu.startswith("RTX PRO 6000")}
    assert rented == {"RTX PRO 6000 Blackwell Server 96GB"}


@pytest.mark.parametrize(
    ("name", "mib"),
    [
        ("B300 SXM 288GB", 275040),
        ("B200 SXM 180GB", 183359),
        ("H200 SXM 141GB", 143771),
        ("GB200 NVL72 (per GPU)", 189471),
        ("A100 SXM 80GB", 81920),
    ],
)
def test_trap_07_memory_is_the_mib_that_the_driver_shows(name, mib):
    """Trap 7: "268 GB", "180 GB" and "192 GiB" are one unit called by the name of the other."""
    assert load_gpus()[name].memory_bytes == mib * 2**20


def test_trap_07_driver_memory_is_the_marketed_number_in_gb_or_gib():
    """Trap 7, for every GPU: usable memory lies between 0.93 x GB and 1 x GiB of the marketed number."""
    for gpu in load_gpus().values():
        marketed = gpu.memory_marketed_bytes / 1e9
        if gpu.memory_bytes:
            assert 0.93e9 * marketed < gpu.memory_bytes <= 1.0743e9 * marketed, gpu.name


def test_trap_08_blackwell_ultra_has_almost_no_int8():
    """Trap 8: about 0.15 POPS, 30 times below B200; a W8A8 plan must not land there."""
    gpus = load_gpus()
    for name in ("B300 SXM 288GB", "GB300 NVL72 (per GPU)"):
        assert gpus[name].flop_per_second["int8"] < 170e12
    assert gpus["B200 SXM 180GB"].flop_per_second["int8"] == 4500e12


def test_trap_09_gaudi3_peaks_at_1677():
    """Trap 9: 1835 TFLOP/s is a clock that is not shipped."""
    assert load_gpus()["Gaudi3 OAM 128GB"].flop_per_second["bf16"] == 1677e12


def test_trap_10_a10g_is_not_a10():
    """Trap 10: 70 against 125 TFLOP/s, 300 against 150 W; AWS rents the A10G."""
    gpus = load_gpus()
    assert (gpus["A10G 24GB"].flop_per_second["bf16"], gpus["A10G 24GB"].power_watts) == (70e12, 300)
    assert (gpus["A10 24GB"].flop_per_second["bf16"], gpus["A10 24GB"].power_watts) == (125e12, 150)
    assert {offer.gpu for offer in load_offers() if offer.instance_type.startswith("g5.")} == {"A10G 24GB"}


def test_trap_11_p5e_is_not_sold_on_demand():
    """Trap 11: Vantage shows 1.84 USD/h, less than its own spot price."""
    assert select_offers(load_offers(), instance_types=["p5e.48xlarge"]) == ()
    assert not [value for value in prices(provider="aws", gpu="H200 SXM 141GB") if abs(value / 8 - 1.84) < 0.05]


def test_trap_12_p5_costs_what_it_has_cost_since_june_2025():
    """Trap 12: 98.32 still appears in articles of 2026; the list says 55.04."""
    assert 98.32 not in prices(provider="aws", instance_type="p5.48xlarge")
    us = price_rows(provider="aws", instance_type="p5.48xlarge", region="us-east-1 = us-west-2", billing="on-demand")
    assert [(row["price_usd_per_hour"], row["newest"]) for row in us] == [("55.04", "yes")]


def test_trap_13_no_price_is_a_hand_typed_round_number():
    """Trap 13: llm-d-planner's catalogue (and its 80 GB B100, its 40 GB L40) is no source."""
    assert not [row for row in readings() if "llm-d-planner" in row["source"]]
    assert load_gpus()["B100 SXM"].memory_marketed_bytes == 192e9
    assert load_gpus()["L40 48GB"].memory_marketed_bytes == 48e9


def test_trap_14_spot_is_a_number_of_one_zone_and_hour():
    """Trap 14: 10.18 and 20.78 for one machine: the low one is old and weak, and no default plan uses spot."""
    us = price_rows(provider="aws", instance_type="p5.48xlarge", billing="spot")
    newest = [row["price_usd_per_hour"] for row in us if row["newest"] == "yes" and row["region"].startswith("us")]
    assert newest == ["20.784"]
    low = next(row for row in us if row["price_usd_per_hour"] == "10.1808")
    assert (low["newest"], low["confidence"], low["as_of"]) == ("no", "low", "2026-01-01")
    assert all(offer.billing != "spot" for offer in select_offers(load_offers()))


def test_trap_14_a_spot_price_derived_from_savings_carries_the_date_of_the_savings():
    """Trap 14: AWS Spot Advisor savings of July 2025 times a list price of July 2026 is no price of July 2026."""
    derived = [row for row in readings() if row["billing"] == "spot" and "Spot Advisor" in row["notes"]]
    assert len(derived) > 30
    assert {(row["as_of"], row["confidence"]) for row in derived} == {("2025-07-28", "low")}


def test_trap_15_a_floating_from_price_is_not_planned_with():
    """Trap 15: Nebius spot is a "from" price since October 2026; its fixed September list is over."""
    assert not [o for o in select_offers(load_offers(), billings=["spot"]) if o.provider == "nebius"]
    named = select_offers(load_offers(), billings=["spot"], providers=["nebius"], gpus=["H100 SXM"])
    assert {o.price_usd_per_hour / o.gpu_count for o in named} == {0.79}
    assert {row["newest"] for row in price_rows(provider="nebius", instance_type="per GPU")} == {"no"}


def test_trap_16_an_average_over_a_platform_is_not_a_price():
    """Trap 16: SF Compute's 2.11 is a blend, not an H100."""
    assert price_rows(provider="sfcompute"), "it is in the table"
    assert not [offer for offer in load_offers() if offer.provider == "sfcompute"]


def test_trap_17_the_network_of_p6e_is_the_lower_of_two_tables():
    """Trap 17: 3200 Gbit/s per instance by one table, 28.8 Tbit/s / 18 = 1600 by the other."""
    ultra = [offer for offer in load_offers(older_readings=True) if offer.instance_type.startswith("u-p6e")]
    assert {offer.internode_bytes_per_second for offer in ultra} == {1600e9 / 8 / 4}


# What the same notes say about movement, minimum sizes and discounts.


@pytest.mark.parametrize(
    ("gpu", "low"),
    [
        ("A100 SXM 80GB", 1.29),
        ("H100 SXM 80GB", 2.29),
        ("H200 SXM 141GB", 3.39),
        ("B200 SXM 180GB", 4.89),
        ("B300 SXM 288GB", 6.99),
        ("GB200 NVL72 (per GPU)", 10.50),
        ("GB300 NVL72 (per GPU)", 7.99),
        ("MI300X 192GB", 1.50),
        ("L40S 48GB", 0.55),
        ("L4 24GB", 0.44),
        ("RTX PRO 6000 Blackwell Server 96GB", 1.69),
    ],
)
def test_the_cheapest_price_per_gpu_is_the_surveyed_low(gpu, low):
    """The survey's newest on-demand spread, marketplaces and weak rows excluded, was made without this code."""
    offers = [offer for offer in select_offers(load_offers()) if offer.gpu == gpu]
    assert min(offer.price_usd_per_hour / offer.gpu_count for offer in offers) == pytest.approx(low)


@pytest.mark.parametrize(
    ("provider", "gpu", "older", "newer"),
    [
        ("nebius", "H100 SXM 80GB", 3.85, 4.50),
        ("nebius", "B200 SXM 180GB", 7.15, 8.50),
        ("runpod", "H100 SXM 80GB", 3.49, 3.99),
        ("digitalocean", "MI300X 192GB", 1.99, 2.59),
        ("digitalocean", "H100 SXM 80GB", 3.39, 4.41),
        ("hotaisle", "MI300X 192GB", 1.99, 2.99),
    ],
)
def test_a_price_that_moved_is_planned_with_at_its_newest_reading(provider, gpu, older, newer):
    def per_gpu(offers):
        mine = [o for o in offers if o.provider == provider and o.gpu == gpu and o.billing == "on-demand"]
        return {round(o.price_usd_per_hour / o.gpu_count, 4) for o in mine if "marketplace" not in o.restrictions}

    assert newer in per_gpu(load_offers())
    assert older not in per_gpu(load_offers())
    assert older in per_gpu(load_offers(older_readings=True))


def test_european_list_prices_are_not_lost_to_newer_american_readings():
    eu = select_offers(load_offers(), providers=["aws", "azure", "gcp"], regions=["eu"], gpus=["H100 SXM"])
    assert {offer.region for offer in eu} >= {"eu-north-1", "uksouth", "europe-west1"}


def test_a_bulk_offer_says_how_many_machines_are_the_least():
    least = {
        (offer.provider, offer.gpu): offer.minimum_count * offer.gpu_count
        for offer in load_offers()
        if "minimum-purchase" in offer.restrictions and offer.provider == "together"
    }
    assert least[("together", "B200 SXM 180GB")] == 256
    assert least[("together", "H200 SXM 141GB")] == 256
    clusters = [offer for offer in load_offers() if offer.instance_type == "1-Click Cluster 64 GPUs"]
    assert {offer.minimum_count for offer in clusters} == {8}
    b200 = next(offer for offer in clusters if offer.gpu == "B200 SXM 180GB")
    assert b200.price_usd_per_hour * 8 == pytest.approx(599.04)


def test_reserved_is_not_always_the_cheapest():
    """A one-year GB200 of Azure (17.31 per GPU) is dearer than one of CoreWeave on demand (10.50)."""

    def cheapest(provider, billing):
        offers = select_offers(load_offers(), gpus=["GB200"], providers=[provider], billings=[billing])
        return min(offer.price_usd_per_hour / offer.gpu_count for offer in offers)

    assert cheapest("azure", "reserved-1y") == pytest.approx(17.306)
    assert cheapest("coreweave", "on-demand") == pytest.approx(10.5)


def test_from_prices_of_reservations_are_not_taken_for_one_year_prices():
    assert not [
        offer
        for offer in select_offers(load_offers(), billings=["reserved-1y"])
        if offer.provider in {"hyperstack", "together"}
    ]


def test_an_undated_snapshot_has_the_earliest_day_that_it_can_have():
    undated = [row for row in readings() if row["as_of_note"].startswith("undated")]
    assert len(undated) >= 44
    assert max(row["as_of"] for row in undated) <= date(2026, 8, 19).isoformat()
