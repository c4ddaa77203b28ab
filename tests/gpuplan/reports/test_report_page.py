"""The report as a page: all of it, alone in one file, readable by anybody, and proof against hostile names."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from gpuplan.reports.assumptions import assume
from gpuplan.reports.charts import COLOURS, HIGH_COLOUR, LOW_COLOUR
from gpuplan.reports.fleet import fleet_report
from gpuplan.reports.page import html
from gpuplan.reports.words import said

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class Reader(HTMLParser):
    """What a page holds: tables by caption, elements with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open_cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in {"td", "th"}:
            self.open_cell = True
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in {"td", "th"}:
            self.open_cell = False

    def handle_data(self, data: str) -> None:
        if self.open_cell:
            self.tables[-1][-1][-1] += data


@pytest.fixture(scope="module")
def page(made) -> str:
    return html(made.report)


def test_every_cell_stands_in_the_page_in_its_words(made, page):
    read = Reader(page).tables
    expected = []
    for section in made.report.sections:
        for table in (*(chart.table for chart in section.charts), *section.tables):
            rows = [
                [said(cell, column.kind) for cell, column in zip(row, table.columns, strict=True)] for row in table.rows
            ]
            expected.append([[column.name for column in table.columns], *rows])
    assert read == expected


def test_the_page_names_nothing_to_load(page):
    outside = [
        (tag, name, value)
        for tag, attributes in Reader(page).tags
        for name, value in attributes.items()
        if name in {"src", "href", "srcset", "action", "data"} and not str(value).startswith(("#", "data:"))
    ]
    assert not outside
    assert "default-src 'none'" in page


def test_hostile_names_stay_text_in_the_page(made, hostile):
    read, usual = Reader(html(hostile.report)), Reader(html(made.report))
    assert sum(tag == "script" for tag, _ in read.tags) == sum(tag == "script" for tag, _ in usual.tags)
    assert not [tag for tag, attributes in read.tags for name in attributes if name.startswith("on")]
    cells = [cell for table in read.tables for row in table for cell in row]
    assert any("<script>alert(1)</script>" in cell for cell in cells)


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("colour", sorted({*COLOURS, LOW_COLOUR, HIGH_COLOUR}))
@pytest.mark.parametrize("paper", ["#ffffff", "#14171b"])
def test_marks_keep_the_contrast_that_graphics_need_on_both_papers(colour, paper):
    """WCAG 2.2, 1.4.11: 3 to 1."""
    light, dark = sorted((luminance(colour), luminance(paper)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 3


# ── in a browser ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    if BROWSER is None:
        pytest.skip("no Chromium is installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        opened = started.chromium.launch(executable_path=BROWSER, args=list(QUIET))
        yield opened
        opened.close()


def visit(browser, text: str, folder: Path, **settings):
    """Open the page and wait until every chart is drawn live: the page, what it said, what it asked for."""
    file = folder / "report.html"
    file.write_text(text, encoding="utf-8")
    page = browser.new_context(**settings).new_page()
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(file.as_uri())
    live = "document.querySelectorAll('.chart[data-live=yes]').length === document.querySelectorAll('.chart').length"
    page.wait_for_function(live, timeout=60_000)
    return page, said, asked


LOOKS = {
    "light": {"color_scheme": "light", "viewport": {"width": 1200, "height": 900}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1200, "height": 900}},
    "phone": {"color_scheme": "light", "viewport": {"width": 380, "height": 800}},
}


@pytest.mark.slow
@pytest.mark.parametrize("look", LOOKS)
def test_a_browser_draws_every_chart_in_silence_and_alone(browser, page, tmp_path, look):
    seen, said_there, asked = visit(browser, page, tmp_path, **LOOKS[look])
    assert seen.locator(".chart svg").count() == 3
    assert seen.evaluate(
        "[...document.querySelectorAll('.chart svg')].every(one => one.querySelectorAll('path').length > 3)"
    )
    assert said_there == []
    assert asked == [(tmp_path / "report.html").as_uri()]
    width = LOOKS[look]["viewport"]["width"]
    assert seen.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.slow
@pytest.mark.parametrize("look", LOOKS)
def test_axe_finds_nothing_to_mend(browser, page, tmp_path, look):
    from axe_playwright_python.sync_playwright import Axe

    seen, _, _ = visit(browser, page, tmp_path, bypass_csp=True, **LOOKS[look])
    found = Axe().run(seen).response
    assert len(found["passes"]) > 15
    assert [(one["id"], one["impact"], one["nodes"][0]["html"][:200]) for one in found["violations"]] == []


@pytest.mark.slow
def test_a_fleet_is_drawn_in_silence_and_axe_finds_nothing(browser, fleet_plan, today, tmp_path):
    from axe_playwright_python.sync_playwright import Axe

    (line,) = fleet_plan.machines
    other = line.model_copy(update={"offer": line.offer.model_copy(update={"offer_id": "second", "gpu": "L40S 48GB"})})
    served = [each.model_copy(update={"served": True}) for each in fleet_plan.services]
    plan = fleet_plan.model_copy(update={"machines": (line, other), "services": tuple(served)})
    text = html(fleet_report(plan, assume({}), today))
    look = {"color_scheme": "dark", "viewport": LOOKS["phone"]["viewport"]}
    seen, said_there, asked = visit(browser, text, tmp_path, bypass_csp=True, **look)
    assert seen.locator(".chart svg").count() == 2
    assert said_there == []
    assert len(asked) == 1
    assert seen.evaluate("document.documentElement.scrollWidth") <= look["viewport"]["width"]
    found = Axe().run(seen).response
    assert [(one["id"], one["nodes"][0]["html"][:200]) for one in found["violations"]] == []


@pytest.mark.slow
def test_a_chart_answers_the_pointer_and_tables_the_keyboard(browser, page, tmp_path):
    seen, _, _ = visit(browser, page, tmp_path, **LOOKS["light"])
    seen.locator("#chart-options .mark-rect path").first.hover()
    assert seen.locator("#vg-tooltip-element.visible").inner_text().count("USD/h") == 1
    seen.locator("summary").first.focus()
    seen.keyboard.press("Enter")
    assert seen.locator("details[open] table").first.is_visible()
    seen.keyboard.press("Tab")
    assert seen.evaluate("document.activeElement.className") == "wide"


@pytest.mark.slow
def test_without_scripts_the_still_charts_are_there(browser, page, tmp_path):
    file = tmp_path / "report.html"
    file.write_text(page, encoding="utf-8")
    seen = browser.new_context(java_script_enabled=False).new_page()
    seen.goto(file.as_uri())
    assert seen.locator(".chart svg[role=img]").count() == 3


@pytest.mark.slow
def test_hostile_names_run_nothing_in_a_browser(browser, hostile, tmp_path):
    seen, said_there, asked = visit(browser, html(hostile.report), tmp_path)
    assert said_there == []
    assert len(asked) == 1
    assert seen.locator("text=<script>alert(1)</script>").count() > 0
