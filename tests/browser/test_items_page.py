"""The page of single items in Chromium: search, filters, keys, hostile texts, and ten thousand items."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gldbench.items.page import page
from gldbench.items.records import Answer, Items, ItemView, Mark

pytestmark = pytest.mark.browser

HOSTILE = (
    "</script><script>document.title = 'taken'</script>",
    "<img src=x onerror=\"document.title = 'taken'\">",
    "<!-- <script>",
    "\u2028&lt;b&gt;\u2029 \x1b[31m",
)


def answer(right: bool, status: str, text: str) -> Answer:
    value = float(right)
    mark = Mark("ours", "answer", "exact_match", "", value, status, "cue", "18" if right else text, "18 is not 17")
    other = Mark("lm_eval", "strict-match", "exact_match", "", 1.0, "ok", "", "", "")
    return Answer(f"We count. {text} The answer is 18.", "", mark, (mark, other))


def view(number: int) -> ItemView:
    """The items repeat: both right, A right and B wrong, B right and A without an answer, both wrong."""
    right = [(True, True), (True, False), (False, True), (False, False)][number % 4]
    text = HOSTILE[number % len(HOSTILE)]
    answers = tuple(
        answer(own, "no_answer" if side == 0 and number % 4 == 2 else "ok", text) for side, own in enumerate(right)
    )
    return ItemView(
        task="gsm8k" if number % 2 else "math",
        variant="default",
        item=f"item-{number}" if number else HOSTILE[0],
        cluster="",
        prompt=f"Question {number}. {text}",
        gold="18",
        answers=answers,
    )


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("small"), 40)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("large"), 10_000)


def write(folder: Path, count: int) -> Path:
    path = folder / "items.html"
    path.write_text(page(Items(("out:A", "out:B"), tuple(view(number) for number in range(count))), "Items of A and B"))
    return path


def choose(browser: Any, select: str, text: str) -> None:
    from selenium.webdriver.support.ui import Select

    Select(browser.find_element("id", select)).select_by_visible_text(text)


def count(browser: Any) -> str:
    return browser.find_element("id", "count").text


def shown(browser: Any) -> str:
    return browser.find_element("css selector", "#item h2").text


@pytest.mark.parametrize(
    ("filter_name", "expected"),
    [
        ("A right, B wrong", "10 of 40 items"),
        ("A wrong, B right", "10 of 40 items"),
        ("both wrong", "10 of 40 items"),
        ("scores differ", "20 of 40 items"),
        ("no answer found in A or B", "10 of 40 items"),
        ("A or B wrong", "30 of 40 items"),
        ("graders differ on A or B", "30 of 40 items"),
    ],
)
def test_filters(visit: Callable[..., Any], small: Path, filter_name: str, expected: str) -> None:
    browser = visit(small)
    assert count(browser) == "40 of 40 items"
    choose(browser, "filter", filter_name)
    assert count(browser) == expected


def test_the_item_shows_what_was_found_and_why(visit: Callable[..., Any], small: Path) -> None:
    browser = visit(small)
    choose(browser, "filter", "A right, B wrong")
    assert shown(browser) == "item-1"
    text = browser.find_element("id", "item").text
    for words in (
        "Question 1.",
        "A: out:A: right",
        "B: out:B: wrong",
        "18 (cue)",
        "18 is not 17",
        "lm_eval, strict-match",
    ):
        assert words in text, words
    choose(browser, "side-b", "none")
    choose(browser, "filter", "wrong")
    assert count(browser) == "20 of 40 items"
    assert "out:B" not in browser.find_element("id", "item").text


def test_keys_move_and_search(visit: Callable[..., Any], small: Path) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import WebDriverWait

    browser = visit(small)

    def press(*keys: str) -> None:
        ActionChains(browser).send_keys(*keys).perform()

    press("j", "j", Keys.ARROW_DOWN)
    assert shown(browser) == "item-3"
    press("k", Keys.ARROW_UP)
    assert shown(browser) == "item-1"
    press(Keys.END)
    assert shown(browser) == "item-39"
    press("/", "question 17.")
    WebDriverWait(browser, 5).until(lambda b: count(b) == "1 of 40 items")
    assert shown(browser) == "item-17"
    assert [mark.text for mark in browser.find_elements("tag name", "mark")] == ["Question 17."]
    press("jk")
    WebDriverWait(browser, 5).until(lambda b: count(b) == "0 of 40 items")
    assert "No item meets these conditions" in browser.find_element("id", "item").text
    press(Keys.ESCAPE)
    assert browser.switch_to.active_element.get_attribute("id") == "list"


def test_hostile_texts_stay_texts(visit: Callable[..., Any], small: Path) -> None:
    browser = visit(small)
    for _ in range(5):
        assert browser.title == "Items of A and B"
        assert browser.find_elements("css selector", "#item img, #item script, #item b") == []
        browser.find_element("id", "list").send_keys("j")
    browser.find_element("css selector", "#row-0").click()
    assert shown(browser) == HOSTILE[0]


@pytest.mark.parametrize("width", [390, 768, 1280, 1920])
def test_nothing_is_wider_than_the_window(visit: Callable[..., Any], small: Path, width: int) -> None:
    browser = visit(small, width)
    wide = browser.execute_script(
        "return [...document.querySelectorAll('html, body, header, #item, #list, pre, table')]"
        ".filter((box) => box.scrollWidth > box.clientWidth).map((box) => box.id || box.tagName)"
    )
    assert wide == []


def test_ten_thousand_items(visit: Callable[..., Any], large: Path) -> None:
    """Only the rows in sight are drawn, and the last item is one key away."""
    browser = visit(large)
    assert count(browser) == "10,000 of 10,000 items"
    assert len(browser.find_elements("css selector", ".row")) < 60
    browser.find_element("id", "list").send_keys("\ue010")  # End
    assert shown(browser) == "item-9999"
    assert browser.find_element("css selector", '.row[aria-selected="true"]').text.startswith("item-9999")
    choose(browser, "filter", "A right, B wrong")
    assert count(browser) == "2,500 of 10,000 items"
