"""The importer on tables small enough to check by eye."""

import csv

import pytest

from gpu_db.import_offers import internode, ruling, tidy_offers
from gpu_db.import_tables import alias_words, main
from gpu_db.tables import DATA, read_table

PRICE = {
    "provider": "aws",
    "instance_type": "p5.48xlarge",
    "gpu": "H100 SXM 80GB",
    "gpu_db_name": "H100 SXM 80GB",
    "gpu_count": "8",
    "vcpus": "192",
    "memory_gb": "2048",
    "region": "us-east-1",
    "pricing_model": "on-demand",
    "on_demand_usd_per_hour": "55.04",
    "spot_usd_per_hour": "",
    "reserved_1y": "",
    "reserved_3y": "",
    "usd_per_gpu_hour": "6.88",
    "interconnect_between_nodes": "EFAv2 3200 Gbps",
    "as_of": "2026-09-19",
    "as_of_note": "",
    "newest_for_offer": "yes",
    "source": "price sheet",
    "confidence": "high",
    "notes": "",
}


def tidy(*changes, rules=()):
    return tidy_offers([PRICE | change for change in changes], rules, {"aws p5.48xlarge"})


def rule(**words):
    anything = dict.fromkeys(("provider", "instance_type", "gpu", "billing"), "*")
    nothing = dict.fromkeys(
        ("machine_gpus", "minimum_gpus", "restriction", "topology", "replaced_by", "not_planned_because"), ""
    )
    return anything | nothing | words


def test_a_row_of_four_prices_becomes_four_rows():
    rows = tidy({"spot_usd_per_hour": "20.784", "reserved_1y": "40", "reserved_3y": "23.776"})
    assert [(row["billing"], row["price_usd_per_hour"]) for row in rows] == [
        ("on-demand", "55.04"),
        ("spot", "20.784"),
        ("reserved-1y", "40"),
        ("reserved-3y", "23.776"),
    ]
    assert {row["topology"] for row in rows} == {"aws p5.48xlarge"}


def test_the_newest_reading_is_found_by_region_and_billing():
    rows = tidy(
        {"as_of": "2026-07-20", "spot_usd_per_hour": "10"},
        {"as_of": "2026-09-19", "region": "us-east-1 = us-west-2"},
        {"as_of": "2025-11-18", "region": "eu-north-1"},
    )
    newest = [(row["billing"], row["as_of"]) for row in rows if row["newest"] == "yes"]
    assert newest == [("spot", "2026-07-20"), ("on-demand", "2026-09-19"), ("on-demand", "2025-11-18")]


def test_a_replaced_list_is_never_the_newest():
    rows = tidy({}, rules=[rule(provider="aws", replaced_by="a newer list")])
    assert [row["newest"] for row in rows] == ["no"]


def test_spot_at_the_price_of_on_demand_is_not_planned_with():
    spot = tidy({"spot_usd_per_hour": "55.04"})[1]
    assert spot["not_planned_because"].startswith("spot costs as much")
    assert tidy({"spot_usd_per_hour": "55.03"})[1]["not_planned_because"] == ""


def test_each_aspect_comes_from_the_first_rule_that_speaks_of_it():
    rules = [
        rule(provider="x", gpu="H100*", machine_gpus="8"),
        rule(provider="x", billing="spot", restriction="from-price"),
        rule(provider="x", machine_gpus="1/2"),
    ]
    assert ruling(rules, "x", "any", "H100 SXM", "spot")["machine_gpus"] == "8"
    assert ruling(rules, "x", "any", "H100 SXM", "spot")["restriction"] == "from-price"
    assert ruling(rules, "x", "any", "L4", "on-demand")["machine_gpus"] == "1/2"
    assert ruling(rules, "y", "any", "L4", "on-demand")["machine_gpus"] == ""


@pytest.mark.parametrize(
    ("fabric", "gpus", "rate"),
    [
        ("IB NDR 400G x8", "8", ("3200", "8")),
        ("IB NDR 400G x8", "1", ("3200", "8")),
        ("RoCE 400G x4 + NVLink5 72-GPU domain", "4", ("1600", "4")),
        ("8x200 Gbps GPUDirect-TCPXO", "8", ("1600", "8")),
        ("EFAv4 28.8 Tbps + 72-GPU NVLink domain", "72", ("28800", "72")),
        ("up to 25 Gbps", "1", ("", "")),
        ("50-400 Gbps", "1", ("", "")),
        ("on-demand: none; 1-Click Clusters IB 400G x8", "8", ("", "")),
        ("Ethernet", "8", ("", "")),
        ("", "8", ("", "")),
    ],
)
def test_a_listed_fabric_is_a_rate_of_a_whole_node_or_nothing(fabric, gpus, rate):
    assert internode(fabric, gpus) == rate


def test_every_rule_of_the_bundled_judgements_decides_something_and_has_a_source():
    for row in read_table("offer_rules.csv", ("provider", "why", "source", "as_of")):
        aspects = ("machine_gpus", "minimum_gpus", "restriction", "topology", "replaced_by", "not_planned_because")
        assert any(row[aspect] for aspect in aspects) or row["why"], row
        assert row["source"], row
        assert row["as_of"], row


def test_every_rule_of_the_bundled_judgements_matches_an_offer():
    from fnmatch import fnmatchcase

    offers = list(read_table("offers.csv", ("provider", "instance_type", "gpu", "billing")))
    columns = ("provider", "instance_type", "gpu", "billing")
    for row in read_table("offer_rules.csv", columns):
        assert any(all(fnmatchcase(offer[c], row[c]) for c in columns) for offer in offers), row


def test_a_replaced_price_has_a_newer_price_of_the_same_provider_and_gpu():
    """Otherwise a rule would make a GPU vanish from a provider."""
    offers = list(read_table("offers.csv", ("provider", "instance_type", "gpu", "billing", "newest", "as_of")))
    rules = [row for row in read_table("offer_rules.csv", ("replaced_by",)) if row["replaced_by"]]
    replaced = [
        o for o in offers if ruling(rules, o["provider"], o["instance_type"], o["gpu"], o["billing"])["replaced_by"]
    ]
    assert len(replaced) > 15
    for old in replaced:
        newer = [o for o in offers if (o["provider"], o["gpu"], o["newest"]) == (old["provider"], old["gpu"], "yes")]
        assert any(o["as_of"] > old["as_of"] for o in newer), (old["provider"], old["instance_type"], old["gpu"])


def test_cells_that_list_several_aliases_are_split():
    assert list(alias_words("gke nvidia-h100-80gb / nvidia-h100-mega-80gb")) == [
        "nvidia-h100-80gb",
        "nvidia-h100-mega-80gb",
    ]
    assert list(alias_words("MI325X (288 in gpuhunt: wrong)")) == ["MI325X"]


def collected_tables(folder):
    """Write collected tables of two GPUs and one price, with the columns that collectors use."""
    rates = dict.fromkeys(
        (
            "fp32_tflops",
            "fp16_dense_tflops",
            "bf16_dense_tflops",
            "fp8_dense_tflops",
            "int8_dense_tops",
            "fp4_dense_tflops",
            "fp16_fp16acc_dense_tflops",
        ),
        "100",
    )
    gpu = rates | {
        "name": "H100 SXM 80GB",
        "vendor": "NVIDIA",
        "architecture": "Hopper",
        "compute_capability": "9.0",
        "memory_gb": "80",
        "memory_mib_usable": "81559",
        "memory_type": "HBM3",
        "bandwidth_gbs": "3350",
        "interconnect": "NVLink 4 (NVSwitch)",
        "interconnect_gbs_per_gpu_bidir": "900",
        "pcie_gen": "5 x16",
        "tdp_w": "700",
        "idle_w": "70",
        "form_factor": "SXM5",
        "max_gpus_per_node": "8",
        "mig_capable": "yes (7)",
        "release_year": "2022",
        "list_or_street_price_usd": "27500",
        "price_note": "",
        "price_date": "2026-05",
        "price_source": "list (not re-read)",
        "source": "datasheet",
        "verified_by": "",
        "confidence": "high",
        "conflicts_notes": "",
    }
    alias_columns = (
        "nvidia_smi_name",
        "gfd_label_nvidia.com/gpu.product",
        "gpuhunt",
        "skypilot",
        "aiconfigurator_system",
        "llm_d_planner",
        "gke_label",
    )
    alias = {"gpu_db_name": "H100 SXM 80GB"} | dict.fromkeys(alias_columns, "") | {"gpuhunt": "H100:80"}
    topology = {
        "provider": "azure",
        "instance_type": "Standard_NC96ads_A100_v4",
        "gpu_db_name": "A100 PCIe 80GB",
        "gpus_per_node": "4",
        "scaleup_domain_gpus": "2",
        "scaleup_fabric": "NVLink bridge pairs",
        "scaleup_gbs_per_gpu_uni": "300",
        "internode_fabric": "Ethernet",
        "nics_per_node": "",
        "nic_gbps": "",
        "internode_gbps_per_node": "80",
        "gpudirect_rdma": "no",
        "as_of": "2026-06-18",
        "source": "docs",
        "confidence": "medium",
        "notes": "",
    }
    system = dict.fromkeys(
        ("system", "gpu_db_name", "gpus", "price_usd_low", "price_usd_typical", "price_usd_high"), "1"
    )
    system |= {
        "max_kw": "1",
        "planning_kw_per_gpu": "",
        "as_of": "2024-06",
        "source": "s",
        "confidence": "low",
        "notes": "",
    }
    energy = {"kind": "pue", "key": "k", "value": "1.2", "unit": "ratio", "as_of": "2025-07", "source": "s"}
    energy |= {"confidence": "high", "notes": ""}
    tables = {"gpus": gpu, "aliases": alias, "prices": PRICE, "topology": topology, "systems": system, "energy": energy}
    for name, row in tables.items():
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, list(row))
            writer.writeheader()
            writer.writerow(row)


def test_the_command_writes_every_table_the_same_each_time(tmp_path):
    source, into = tmp_path / "source", tmp_path / "into"
    source.mkdir()
    into.mkdir()
    collected_tables(source)
    (into / "offer_rules.csv").write_bytes((DATA / "offer_rules.csv").read_bytes())
    main([str(source), "--into", str(into), "--as-of", "2026-11-22"])
    first = {path.name: path.read_bytes() for path in into.iterdir()}
    assert set(first) == {
        f"{n}.csv" for n in ("gpus", "aliases", "offers", "topology", "systems", "energy", "offer_rules")
    }
    main([str(source), "--into", str(into), "--as-of", "2026-11-22"])
    assert {path.name: path.read_bytes() for path in into.iterdir()} == first
    (gpu,) = read_table("gpus.csv", ("name",), into)
    assert (gpu["link_gb_per_second"], gpu["pcie_gb_per_second"], gpu["memory_mib"]) == ("450", "63.02", "81559")
    assert (gpu["list_price_as_of"], gpu["list_price_source"]) == ("2026-05-01", "list")


def test_the_bundled_tables_have_the_columns_that_the_command_writes():
    """A column added by hand would be lost at the next import."""
    from gpu_db.import_offers import OFFER_COLUMNS

    with (DATA / "offers.csv").open(encoding="utf-8", newline="") as stream:
        assert tuple(next(csv.reader(stream))) == OFFER_COLUMNS
