"""The report page in Chromium: no table is wider than its box, and the headings sort."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gldbench.report import Run, analyse, write_report
from tests.gldbench.report import conftest as made

pytestmark = pytest.mark.browser

TOO_WIDE = """
document.querySelectorAll("details").forEach((part) => { part.open = true; });
return [...document.querySelectorAll("html, body, .scroll, pre, figure, dl")]
  .filter((box) => box.tagName !== "PRE" && box.scrollWidth > box.clientWidth)
  .map((box) => [box.querySelector("table")?.id || box.id || box.tagName, box.scrollWidth, box.clientWidth]);
"""
COLUMN = """
const text = (line) => line.classList.contains("group") ? line : line.cells[arguments[0]].firstChild;
return [...document.querySelectorAll("#table-scores tbody tr")].map((line) => text(line).textContent.trim());
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run with seven families, fifteen methods and long fusion methods' names."""
    folder = tmp_path_factory.mktemp("report")
    skill = made.SKILL | {"sft+kl": 0.97, "sft+kl-shuffled": made.SKILL["sft"] - 0.05}
    rows = made.world_rows(skill) + made.training_rows()
    run = Run(rows, made.SPEC, made.ENVIRONMENT)
    return write_report(run, analyse(rows, made.SPEC, made.CHANCE), folder, items="items.html").html


@pytest.mark.parametrize("width", [390, 768, 1280, 1920])
def test_no_table_is_wider_than_its_box(visit: Callable[..., Any], page: Path, width: int) -> None:
    assert visit(page, width).execute_script(TOO_WIDE) == []


@pytest.mark.parametrize("width", [390, 1280])
def test_every_cell_is_on_the_page(visit: Callable[..., Any], page: Path, width: int) -> None:
    """Nothing is hidden on a phone: each cell has a place inside the window, and its heading beside or above it."""
    outside = visit(page, width).execute_script(
        """
        document.querySelectorAll("details").forEach((part) => { part.open = true; });
        return [...document.querySelectorAll("td, tbody th, nav a")].filter((cell) => {
          const box = cell.getBoundingClientRect();
          return box.width === 0 || box.left < 0 || box.right > innerWidth + 0.5;
        }).map((cell) => cell.textContent);
        """
    )
    assert outside == []


def test_print_shows_all(visit: Callable[..., Any], page: Path) -> None:
    """In print the tables of seven families stay tables, and what is folded is open."""
    browser = visit(page)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 703, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
    )
    try:
        assert browser.execute_script(TOO_WIDE) == []
        assert (
            browser.execute_script("return getComputedStyle(document.getElementById('table-scores')).display")
            == "table"
        )
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    browser.execute_script("document.querySelectorAll('details').forEach((part) => { part.open = false; })")
    pdf = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {})["data"])
    pages = len(re.findall(rb"/Type\s*/Page\b", pdf))
    assert 5 <= pages <= 20
    assert not browser.execute_script("return document.querySelectorAll('details[open]').length")


def test_headings_sort_by_click_and_keyboard(visit: Callable[..., Any], page: Path) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    browser = visit(page)
    before = browser.execute_script(COLUMN, 2)
    groups = [text for text in before if not re.match(r"[−\d]", text)]
    heading = browser.find_element(By.CSS_SELECTOR, "#table-scores thead th:nth-child(3)")
    button = heading.find_element(By.TAG_NAME, "button")

    def by_group() -> list[list[float]]:
        found: list[list[float]] = []
        for text in browser.execute_script(COLUMN, 2):
            if text in groups:
                found.append([])
            else:
                found[-1].append(float(text.replace("−", "-")))
        return found

    button.click()
    assert heading.get_attribute("aria-sort") == "descending"
    assert by_group() == [sorted(lines, reverse=True) for lines in by_group()]
    button.send_keys(Keys.ENTER)
    assert heading.get_attribute("aria-sort") == "ascending"
    assert by_group() == [sorted(lines) for lines in by_group()]
    assert [text for text in browser.execute_script(COLUMN, 2) if text in groups] == groups
    button.send_keys(Keys.SPACE)
    assert heading.get_attribute("aria-sort") == "none"
    assert browser.execute_script(COLUMN, 2) == before


def test_the_answer_comes_before_the_gate(visit: Callable[..., Any], page: Path) -> None:
    from selenium.webdriver.common.by import By

    browser = visit(page)
    assert (
        "In this run sft+uld+gld and sft+uld score above sft."
        in browser.find_element(By.CSS_SELECTOR, ".verdict .lead").text
    )
    first = browser.find_element(By.CSS_SELECTOR, ".verdict li").text
    assert first.startswith("sft+uld+gld scores above sft (+")
    assert browser.find_element(By.LINK_TEXT, "Single items").get_attribute("href").endswith("/items.html")
