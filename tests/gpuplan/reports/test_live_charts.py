"""The charts' library is bundled once, and what was kept of it is only believed when it is whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpuplan.reports.live_charts import kept_bundle


class Bundler:
    """A drawing library that counts how often it is asked for its bundle."""

    __version__ = "1.2.3"

    def __init__(self) -> None:
        self.asked = 0

    def javascript_bundle(self, snippet: str) -> str:
        self.asked += 1
        return f"{snippet}\r\nvar é;"


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GPUPLAN_CACHE", str(tmp_path))
    return tmp_path / "report" / "vega-1.2.3.js"


def test_the_bundle_is_made_once_for_all_runs(kept: Path) -> None:
    first, second = Bundler(), Bundler()
    text = kept_bundle(first)
    assert kept_bundle(second) == text == "window.vegaEmbed = vegaEmbed;\r\nvar é;"
    assert (first.asked, second.asked) == (1, 0)
    assert [each.name for each in kept.parent.iterdir()] == [kept.name]


@pytest.mark.parametrize("change", [b"", b"x", b"\xff", None])
def test_what_was_changed_or_torn_is_made_anew(kept: Path, change: bytes | None) -> None:
    text = kept_bundle(Bundler())
    kept.write_bytes(kept.read_bytes()[:-3] if change is None else kept.read_bytes() + change if change else b"")
    again = Bundler()
    assert kept_bundle(again) == text
    assert again.asked == 1


def test_a_place_that_cannot_be_written_only_takes_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GPUPLAN_CACHE", str(tmp_path / "file"))
    assert kept_bundle(Bundler()).startswith("window.")
