import pytest

from gpu_db.errors import AmbiguousGpu, BadGpuDb, UnknownGpu
from gpu_db.load import load_gpus
from gpu_db.query import find_gpu, find_gpus
from gpu_db.tables import read_table


def test_all_110_gpus_load():
    assert len(load_gpus()) == 110


def test_memory_is_what_nvidia_smi_shows_and_not_what_is_marketed():
    h100 = load_gpus()["H100 SXM 80GB"]
    assert h100.memory_bytes == 81559 * 2**20
    assert h100.memory_marketed_bytes == 80 * 10**9


def test_a_gpu_whose_driver_memory_nobody_published_has_none():
    assert load_gpus()["TPU v5e"].memory_bytes is None
    assert load_gpus()["GH200 144GB"].memory_bytes is None


def test_h100_rates_are_dense_and_in_base_units():
    """NVIDIA H100 datasheet: 1979 FP16 and 3958 FP8 TFLOPS are with sparsity."""
    h100 = load_gpus()["H100 SXM 80GB"]
    assert h100.flop_per_second["bf16"] == pytest.approx(1979e12 / 2, rel=1e-3)
    assert h100.flop_per_second["fp8"] == pytest.approx(3958e12 / 2, rel=1e-3)
    assert "fp4" not in h100.flop_per_second
    assert h100.memory_bandwidth_bytes_per_second == 3.35e12


def test_a_link_is_one_direction():
    """NVLink 4 is sold as 900 GB/s, both directions added up; a Gaudi 3 has 21 ports of 200 Gbit/s inside the box."""
    gpus = load_gpus()
    assert gpus["H100 SXM 80GB"].link_bytes_per_second == 450e9
    assert gpus["B200 SXM 180GB"].link_bytes_per_second == 900e9
    assert gpus["Gaudi3 OAM 128GB"].link_bytes_per_second == pytest.approx(21 * 200e9 / 8)


@pytest.mark.parametrize(
    ("name", "bytes_per_second"), [("T4", 15.75e9), ("L4 24GB", 31.5e9), ("H100 PCIe 80GB", 63e9), ("A2 16GB", 15.75e9)]
)
def test_pcie_rate_is_one_direction_after_coding(name, bytes_per_second):
    assert load_gpus()[name].pcie_bytes_per_second == pytest.approx(bytes_per_second, rel=0.002)


def test_pcie_lanes_that_are_shared_or_unstated_have_no_rate():
    assert load_gpus()["A16 (per GPU, board has 4)"].pcie_bytes_per_second is None
    assert load_gpus()["DGX Spark GB10 128GB"].pcie_bytes_per_second is None


def test_pcie_cards_have_no_scaleup_link_and_bridges_are_an_option():
    gpus = load_gpus()
    assert gpus["L40S 48GB"].link_bytes_per_second is None
    assert gpus["DGX Spark GB10 128GB"].link_bytes_per_second is None, "two network ports are not a scale-up fabric"
    assert gpus["H100 NVL 94GB"].scaleup_domain_gpus == 1
    assert gpus["H100 NVL 94GB"].link_bytes_per_second == 300e9


def test_scaleup_domains_are_8_on_a_board_and_72_in_a_rack():
    gpus = load_gpus()
    domains = {name: gpus[name].scaleup_domain_gpus for name in ("H100 SXM 80GB", "MI300X 192GB", "L40S 48GB")}
    assert domains == {"H100 SXM 80GB": 8, "MI300X 192GB": 8, "L40S 48GB": 1}
    assert gpus["GB200 NVL72 (per GPU)"].scaleup_domain_gpus == 72


def test_a_partial_price_date_becomes_its_earliest_day():
    assert load_gpus()["RTX 3060 12GB"].list_price_date.isoformat() == "2021-01-01"


def test_every_gpu_has_a_source_a_date_and_a_confidence():
    for gpu in load_gpus().values():
        assert gpu.source, gpu.name
        assert gpu.as_of, gpu.name
        assert gpu.confidence in {"high", "medium", "low"}, gpu.name


def test_every_alias_finds_its_gpu():
    for row in read_table("aliases.csv", ("alias", "gpu")):
        assert row["gpu"] in {gpu.name for gpu in find_gpus(row["alias"])}, row


def test_an_alias_that_only_one_gpu_has_is_never_taken_over_by_another():
    gpus_of_alias = {}
    for row in read_table("aliases.csv", ("alias", "gpu", "naming_system")):
        gpus_of_alias.setdefault(row["alias"], set()).add(row["gpu"])
    alone = {alias: names.pop() for alias, names in gpus_of_alias.items() if len(names) == 1}
    wrong = {alias: find_gpu(alias).name for alias, gpu in alone.items() if find_gpu(alias).name != gpu}
    assert wrong == {}


def test_nvidia_smi_names_find_exactly_their_gpu():
    for row in read_table("aliases.csv", ("alias", "gpu", "naming_system")):
        if row["naming_system"] == "nvidia-smi":
            assert find_gpu(row["alias"]).name == row["gpu"]


@pytest.mark.parametrize("name", ["H100 SXM 80GB", "h100-sxm-80gb", " H100_SXM_80GB ", "NVIDIA-H100-80GB-HBM3", "h100"])
def test_spelling_does_not_matter(name):
    assert find_gpu(name).name == "H100 SXM 80GB"


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("A100", "A100 SXM 80GB"),
        ("A100-40GB", "A100 SXM 40GB"),
        ("H200", "H200 SXM 141GB"),
        ("B200", "B200 SXM 180GB"),
        ("MI300X", "MI300X 192GB"),
        ("L40S", "L40S 48GB"),
        ("rtx 4090", "RTX 4090 24GB"),
        ("RTX PRO 6000", "RTX PRO 6000 Blackwell Server 96GB"),
        ("gb200", "GB200 NVL72 (per GPU)"),
        ("A100-80G", "A100 SXM 80GB"),
        ("A10G", "A10G 24GB"),  # no size
        ("H800", "H800 SXM 80GB"),  # nothing else begins so
        ("Radeon RX 7900 XTX", "RX 7900 XTX 24GB"),
        ("V100-SXM2-32GB", "V100 SXM2 32GB"),
    ],
)
def test_the_word_that_people_type_is_what_they_mean(word, name):
    assert find_gpu(word).name == name


def test_a_family_covers_all_its_forms_but_not_a_longer_name():
    assert [gpu.name for gpu in find_gpus("L40")] == ["L40 48GB"]
    assert {gpu.name for gpu in find_gpus("A100")} == {
        "A100 PCIe 40GB",
        "A100 SXM 40GB",
        "A100 PCIe 80GB",
        "A100 SXM 80GB",
    }


def test_an_unknown_gpu_names_the_nearest():
    with pytest.raises(UnknownGpu, match=r"No GPU named 'H1000'. Did you mean .*H100.* lists all 110"):
        find_gpu("H1000")


@pytest.mark.parametrize("name", ["", " ", "---", "x" * 10_000, "💥", "%s%n", "NaN"])
def test_nonsense_is_an_unknown_gpu(name):
    with pytest.raises(UnknownGpu):
        find_gpu(name)
    with pytest.raises(UnknownGpu):
        find_gpus(name)


def test_a_word_of_two_unlike_chips_is_ambiguous():
    with pytest.raises(AmbiguousGpu, match="Trainium1, Inferentia2"):
        find_gpu("neuron")


def test_a_fact_without_a_source_does_not_load(tmp_path, monkeypatch):
    from gpu_db import load, tables

    text = (tables.DATA / "gpus.csv").read_text(encoding="utf-8").replace("NVIDIA T4 datasheet", "", 1)
    (tmp_path / "gpus.csv").write_text(text, encoding="utf-8")
    (tmp_path / "aliases.csv").write_bytes((tables.DATA / "aliases.csv").read_bytes())
    monkeypatch.setattr(load, "read_table", lambda name, columns: tables.read_table(name, columns, folder=tmp_path))
    load._gpus.cache_clear()
    with pytest.raises(BadGpuDb, match=r"gpus.csv, row 'T4, NVIDIA, Turing': its source is empty"):
        load_gpus()
    monkeypatch.undo()
    load._gpus.cache_clear()
