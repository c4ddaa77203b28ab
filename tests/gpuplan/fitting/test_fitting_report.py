"""The tables in the method's page are those of the bundled factors."""

from __future__ import annotations

from pathlib import Path

from gpuplan.fitting.report import rewritten
from optimizer.performance.estimate import load_factors

PAGE = Path(__file__).parents[3] / "docs" / "method" / "latency.md"


def test_the_tables_of_the_page_are_the_bundled_ones():
    text = PAGE.read_text(encoding="utf-8")
    assert text == rewritten(text, load_factors()), "run: python -m gpuplan.fitting.report docs/method/latency.md"
