"""Prices from public catalogs, asked of a server on this machine: whose GPUs are ours, and never used unasked."""

from __future__ import annotations

import csv
import gc
import io
import json
import threading
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from gpu_db.load import load_offers, load_user_offers
from gpu_db.price_sources.gpuhunt_catalog import Catalog, PriceSourceError, _day, download, snapshot
from gpu_db.price_sources.moves import moves
from gpuplan.cli import app

FIELDS = [
    *("instance_name", "location", "price", "cpu", "memory", "gpu_count", "gpu_name", "gpu_memory", "spot"),
    *("disk_size", "gpu_vendor", "flags", "cpu_arch", "provider_data"),
]
AWS = [
    ("p5.48xlarge", "us-east-1", 51.5, 8, "H100", 80, False, ""),
    ("p5.48xlarge", "us-east-1", 20.5, 8, "H100", 80, True, ""),
    ("p5.48xlarge", "us-east-1", 21.5, 8, "H100", 80, True, ""),  # another zone
    ("p4d.24xlarge", "us-east-1", 21.0, 8, "A100", 40, False, ""),
    ("p4d.24xlarge", "us-east-1", 21.0, 8, "A100", 40, True, ""),  # no spot is sold at the price of on-demand
    ("x99.mystery", "us-east-1", 30.0, 8, "A100", 80, False, ""),  # PCIe or SXM?
    ("g9.new", "us-east-1", 1.25, 1, "L4", 24, False, ""),
    ("p5.48xlarge", "eu-west-9", 1.0, 8, "A100", 40, False, ""),  # contradicts our machine
    ("p6.flagged", "us-east-1", 9.0, 1, "L4", 24, False, "capacity-block"),
    ("free.lunch", "us-east-1", 0.0, 1, "L4", 24, False, ""),
    ("=cmd()", "us-east-1", 1.0, 1, "L4", 24, False, ""),
    ("m7i.large", "us-east-1", 0.1, 0, "", None, False, ""),
]
LAMBDA = [("gpu_1x_gh200", "us-east-3", 2.19, 1, "GH200", 96, False, "")]


def catalog_csv(rows: list[tuple]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, FIELDS)
    writer.writeheader()
    for name, place, price, count, gpu, memory, spot, flags in rows:
        vendor = "nvidia" if count else ""
        known = {"instance_name": name, "location": place, "price": price, "cpu": 8, "memory": 64, "gpu_count": count}
        known |= {"gpu_name": gpu, "gpu_memory": memory or "", "spot": spot, "disk_size": "", "gpu_vendor": vendor}
        writer.writerow(known | {"flags": flags, "cpu_arch": "x86", "provider_data": "{}"})
    return out.getvalue()


def publish(folder: Path, provider: str, version: str, rows: list[tuple]) -> None:
    home = folder / provider / version
    home.mkdir(parents=True)
    (folder / provider / "version").write_text(version)
    with zipfile.ZipFile(home / "catalog.zip", "w") as archive:
        archive.writestr(f"{provider}.csv", catalog_csv(rows))


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where catalogs are published; those of all but two providers hold nothing."""
    folder = tmp_path_factory.mktemp("published")
    for provider in ("azure", "verda", "gcp", "nebius", "oci", "runpod", "cloudrift"):
        publish(folder, provider, "20261120-1", [])
    publish(folder, "aws", "20261120-1", AWS)
    publish(folder, "lambdalabs", "2026-11-21", LAMBDA)
    publish(folder / "undated", "aws", "latest", AWS)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _litter_of_gpuhunt() -> Iterator[None]:
    """Answers of the server that gpuhunt does not close are collected before they warn in another test."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()


@pytest.fixture
def prices(address: str, tmp_path: Path) -> Path:
    place = tmp_path / "prices.csv"
    assert app.main(["prices", "refresh", "--out", str(place), "--url", address]) == 0
    return place


def test_a_snapshot_is_an_offers_file_with_the_day_and_catalog_of_each_price(prices: Path) -> None:
    offers = {(offer.instance_type, offer.billing): offer for offer in load_user_offers(prices)}
    assert set(offers) == {
        ("p5.48xlarge", "on-demand"),
        ("p5.48xlarge", "spot"),
        ("p4d.24xlarge", "on-demand"),
        ("g9.new", "on-demand"),
        ("gpu_1x_gh200", "on-demand"),
    }
    p5 = offers["p5.48xlarge", "on-demand"]
    assert (p5.price_usd_per_hour, p5.as_of.isoformat()) == (51.5, "2026-11-20")
    assert p5.source == "gpuhunt catalog 20261120-1 of aws"
    assert offers["gpu_1x_gh200", "on-demand"].provider == "lambda"


def test_what_a_gpu_is_and_how_machines_are_linked_is_ours(prices: Path) -> None:
    """Theirs says H100 with 80 GB; ours knows that this machine holds SXM modules, and its network."""
    bundled = next(offer for offer in load_offers() if offer.instance_type == "p5.48xlarge")
    p5 = next(offer for offer in load_user_offers(prices) if offer.instance_type == "p5.48xlarge")
    assert p5.gpu == "H100 SXM 80GB"
    assert p5.internode_bytes_per_second == bundled.internode_bytes_per_second


def test_of_several_zones_the_dearest_counts(prices: Path) -> None:
    (spot,) = [offer for offer in load_user_offers(prices) if offer.billing == "spot"]
    assert spot.price_usd_per_hour == 21.5


def test_what_is_left_out_is_counted_with_its_reason(address: str) -> None:
    found = snapshot(download(url=address))
    assert found.left_out == {
        "which GPU A100:80 is cannot be told": 1,
        "which GPU A100:40 is cannot be told": 1,
        "it needs 'capacity-block'": 1,
        "its price is no price": 1,
        "its text is not printable, too long, or a formula": 1,
        "spot costs as much as on-demand: no spot is sold": 1,
    }
    assert (found.versions["aws"], found.versions["lambda"]) == ("20261120-1", "2026-11-21")


def test_a_plan_uses_new_prices_only_when_it_is_told_to(prices: Path, capsys) -> None:
    words = ["--model", "llama-3.1-8b", "--min-tps", "100", "--provider", "lambda", "--gpu", "GH200", "--json"]
    capsys.readouterr()
    assert app.main(words) == 0
    before = json.loads(capsys.readouterr().out)
    assert app.main([*words, "--offers", str(prices)]) == 0
    after = json.loads(capsys.readouterr().out)
    assert before["cost_usd_per_hour"] != 2.19
    assert "gpuhunt" not in before["lines"][0]["offer"]["source"]
    assert after["cost_usd_per_hour"] == 2.19
    assert after["lines"][0]["offer"]["source"] == "gpuhunt catalog 2026-11-21 of lambda"


def test_diff_names_what_moved_since_the_bundled_prices(prices: Path, capsys) -> None:
    capsys.readouterr()
    assert app.main(["prices", "diff", str(prices), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    gh200 = next(each for each in found["moved"] if "gh200" in each["after"]["offer_id"])
    bundled = next(offer for offer in load_offers() if offer.instance_type == "gpu_1x_gh200")
    assert gh200["before"]["price_usd_per_hour"] == bundled.price_usd_per_hour
    assert gh200["after"] == {
        "offer_id": f"lambda/gpu_1x_gh200/1x GH200 96GB/{bundled.region}/on-demand",
        "price_usd_per_hour": 2.19,
        "as_of": "2026-11-21",
    }
    assert [each["offer_id"] for each in found["new"]] == ["aws/g9.new/1x L4 24GB/us-east-1/on-demand"]


def test_diff_since_a_day_shows_how_the_bundled_prices_moved(capsys) -> None:
    assert app.main(["prices", "diff", "--since", "2026-09-01", "--provider", "aws"]) == 0
    out = capsys.readouterr().out
    assert "p5.48xlarge" in out
    assert "+104.1%" in out  # spot from 10.18 to 20.78 USD/h, the two readings that the notes on prices tell apart


def test_nothing_moves_between_a_list_and_itself() -> None:
    found = moves(load_offers(), load_offers())
    assert found.moved == ()
    assert found.new == ()
    offer = next(each for each in load_offers() if each.region == "us-east-1")
    raised = moves([offer], [replace(offer, price_usd_per_hour=2 * offer.price_usd_per_hour)])
    assert len(raised.moved) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["refresh"], "Say where prices go"),
        (["refresh", "--out", "{there}"], "is there; --force replaces it"),
        (["refresh", "--out", "{new}"], "HF_HUB_OFFLINE=1 forbids to ask the network"),
        (["refresh", "--out", "{new}", "--url", "file:///etc"], "is no address of the web"),
        (["refresh", "--out", "{new}", "--url", "{address}/nowhere"], "No catalog of prices could be had"),
        (
            ["refresh", "--out", "{new}", "--url", "{address}", "--version", "20200101"],
            "No catalog of prices could be had",
        ),
        (["refresh", "--out", "{new}", "--url", "{address}/undated"], "is called 'latest', which names no day"),
        (["diff"], "Name an offers file, or --since a day"),
        (["diff", "{there}", "--since", "2026-09-01"], "Name an offers file, or --since a day"),
        (["diff", "none.csv"], "cannot be read"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(words: list[str], said: str, address: str, tmp_path: Path, capsys) -> None:
    (tmp_path / "there.csv").write_text("mine")
    named = {"there": tmp_path / "there.csv", "new": tmp_path / "new.csv", "address": address}
    assert app.main(["prices", *(word.format(**named) for word in words)]) == 2
    out, err = capsys.readouterr()
    assert said in err
    assert err.count("\n") == 1
    assert out == ""
    assert not (tmp_path / "new.csv").exists()
    assert (tmp_path / "there.csv").read_text() == "mine"


@pytest.mark.parametrize("version", ["latest", "", "20261341", "v3"])
def test_a_catalog_without_a_day_is_not_used(version: str) -> None:
    with pytest.raises(PriceSourceError, match="names no day"):
        _day("aws", version)


def test_catalogs_without_a_known_gpu_give_no_file() -> None:
    with pytest.raises(PriceSourceError, match="nothing is written"):
        snapshot([Catalog("aws", "20261120", _day("aws", "20261120"), ())])
