"""The desk in a real browser, a process of its own behind it: keys, people, a phone, a kill, a training.

They need the extra ``browser``, and Chromium as the system has it.
"""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import shop as sample
from desking import NAMES, make_run

from tsirius.answers.log import Log
from tsirius.commands.categories.preview import categories_of

pytestmark = pytest.mark.slow
playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
)
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
           "--disable-component-update", "--disable-sync"]  # fmt: skip
PATIENCE = 120_000
"""Milliseconds that a page may take on a busy machine."""
ASKED = "input[name=review]"
CHANGED = "before => (document.querySelector('input[name=review]') || {}).value !== before"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not CHROMIUM:
        pytest.skip("no Chromium")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield opened
        opened.close()


@contextmanager
def desk(run: Path, *, port: int = 0, cwd: Path | None = None) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The process of a desk, and its address."""
    command = [sys.executable, "-m", "tsirius", "desk", str(run), "--port", str(port), "--no-browser", "--lang", "en"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=cwd) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip(), process
        finally:
            process.kill()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run", rows=200)


def enter(browser: Any, address: str, name: str, **options: Any) -> Any:
    """A page of a person who has said their name; whatever it complains of is a failure."""
    page = browser.new_context(**options).new_page()
    page.set_default_timeout(PATIENCE)
    page.complaints = []
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("console", lambda message: page.complaints.append(message.text) if message.type == "error" else None)
    page.goto(address)
    page.fill("input[name=who]", name)
    page.keyboard.press("Enter")
    page.wait_for_selector(".queues")
    return page


def go(page: Any, path: str) -> None:
    page.goto(page.url.split("/", 3)[0] + "//" + page.url.split("/", 3)[2] + path)


def press(page: Any, key: str) -> str:
    """Press a key that answers, wait for the next review, and return the one that was answered."""
    before = page.get_attribute(ASKED, "value")
    page.keyboard.press(key)
    page.wait_for_function(CHANGED, arg=before)
    return str(before)


def shoot(page: Any, name: str) -> None:
    """Keep a picture of the page, where one is asked for: in the folder ``SCREENSHOTS``."""
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=f"{folder}/{name}.png", full_page=True)


def named(path: str) -> str:
    return path.partition("&")[0].strip("/").replace("?queue=", "-") or "home"


def faults(page: Any) -> list[tuple[str, str, str | None]]:
    """What axe finds that is at least moderate: rule, element, what to mend."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    response = axe.run(page).response
    assert len(response["passes"]) > 5, "it looked"
    return [
        (one["id"], one["nodes"][0]["html"], one["nodes"][0].get("failureSummary"))
        for one in response["violations"]
        if one["impact"] in ("serious", "critical", "moderate")
    ]


def said(run: Path) -> list[tuple[str, str, str | None]]:
    return [(one.who, one.review, one.category) for one in Log(run).standing()]


def test_fifty_reviews_by_keyboard_alone_and_undo(browser: Any, run: Path) -> None:
    with desk(run) as (address, _):
        page = enter(browser, address, "Анна", locale="ru-RU")
        page.focus(".queues a")
        page.keyboard.press("Enter")
        page.wait_for_selector("blockquote")
        expected = list[tuple[str, str, str | None]]()
        for number in range(50):
            digit = number % 3
            expected.append(("Анна", press(page, f"{'Digit' if number % 2 else 'Numpad'}{digit + 1}"), NAMES[digit]))
        page.keyboard.press("KeyN")
        page.keyboard.type("заметка 1")
        page.keyboard.press("Enter")
        expected.append(("Анна", press(page, "KeyX"), None))
        assert said(run) == expected and Log(run).standing()[-1].note == "заметка 1"
        for left in range(50, 40, -1):
            page.keyboard.press("KeyZ")
            page.wait_for_function("said => !document.querySelector('.last').innerText.includes(said)", arg="заметка 1")
            page.wait_for_function("() => !document.body.classList.contains('busy')")
            assert said(run) == expected[:left]
        assert page.complaints == []


def test_many_are_labelled_at_once_by_keys(browser: Any, run: Path) -> None:
    with desk(run) as (address, _):
        page = enter(browser, address, "Анна")
        go(page, "/work?queue=category&category=посуда")
        page.wait_for_selector(".rows")
        for key in ("Space", "ArrowDown", "ArrowDown", "Space"):
            page.keyboard.press(key)
        assert page.inner_text("[data-count]") == "2"
        wanted = [page.locator(ASKED).nth(place).get_attribute("value") for place in (0, 2)]
        page.keyboard.press("Digit2")
        page.wait_for_selector(".last")
        assert said(run) == [("Анна", name, "посуда") for name in wanted]
        page.check("[data-all]")
        assert page.inner_text("[data-count]") == "50"
        page.keyboard.press("KeyZ")
        page.wait_for_function("() => document.querySelectorAll('.last li').length === 0")
        assert said(run) == [] and page.complaints == [], "what was answered at once is undone at once"


def test_two_people_and_a_search(browser: Any, run: Path) -> None:
    with desk(run) as (address, _):
        anna, boris = enter(browser, address, "Анна"), enter(browser, address, "Борис")
        for page in (anna, boris):
            go(page, "/work?queue=unsure")
        first = press(anna, "Digit1")
        assert press(boris, "Digit2") != first
        go(boris, "/work?queue=second")
        assert boris.get_attribute(ASKED, "value") == first and boris.locator(".card .tag").count() == 0
        press(boris, "Digit3")
        go(anna, "/work?queue=disputed")
        assert "Борис" in anna.inner_text(".people") and anna.get_attribute(ASKED, "value") == first
        go(anna, "/work?queue=search")
        anna.keyboard.press("Slash")
        anna.keyboard.type("тапки")
        anna.keyboard.press("Enter")
        anna.wait_for_selector("text=found: 1")
        assert "<b>тапки</b>" in anna.inner_text(".rows") and anna.locator(".rows b").count() == 0
        assert anna.complaints == boris.complaints == []


@pytest.mark.parametrize("path", ["/", "/work?queue=unsure", "/work?queue=category&category=обувь",
                                  "/work?queue=search", "/work?queue=exam", "/model", "/categories",
                                  "/hello"])  # fmt: skip
def test_it_fits_a_phone(browser: Any, run: Path, path: str) -> None:
    with desk(run) as (address, _):
        page = enter(browser, address, "Анна", viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
        go(page, path)
        shoot(page, f"phone-{named(path)}")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        for button in page.locator("button:visible, select:visible").all():
            box = button.bounding_box()
            assert box["height"] >= 36 and box["x"] + box["width"] <= 360


def test_a_kill_in_between_loses_nothing(browser: Any, run: Path) -> None:
    with desk(run) as (address, process):
        page = enter(browser, address, "Анна")
        go(page, "/work?queue=unsure")
        answered = [press(page, "Digit1") for _ in range(10)]
        process.kill()
        process.wait()
        before = page.get_attribute(ASKED, "value")
        page.keyboard.press("Digit1")
        page.wait_for_selector("#alert:not([hidden])")
        assert "Not kept" in page.inner_text("#alert") and page.get_attribute(ASKED, "value") == before
        assert [review for _, review, _ in said(run)] == answered
    with desk(run) as (address, _):
        page = enter(browser, address, "Анна")
        go(page, "/work?queue=unsure")
        assert page.get_attribute(ASKED, "value") not in answered
        press(page, "Digit1")
        assert len(said(run)) == 11


def of_shop(base: Path, folder: Path) -> tuple[Path, Path]:
    """A copy of the finished sample: its folder, and its run."""
    made = Path(shutil.copytree(sample.finished(base), folder))
    return made, made / "runs" / "shop"


def test_categories_are_changed_on_the_page(
    browser: Any, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    folder, run = of_shop(tmp_path_factory.getbasetemp(), tmp_path / "shop")
    own = categories_of(run)

    def show(page: Any) -> str:
        page.click("text=Show the difference")
        page.wait_for_selector(".proposed")
        return str(page.inner_text(".proposed"))

    with desk(run, cwd=folder) as (address, process):
        page = enter(browser, address, "Анна")
        go(page, "/categories")
        page.locator("input[name=name]").nth(len(own)).fill("часы")
        page.locator("textarea[name=description]").nth(len(own)).fill("наручные часы, будильники, ремешок")
        assert "added: часы" in show(page) and categories_of(run) == own
        page.click("text=Drop")
        page.wait_for_selector(".proposed", state="detached")
        names = page.locator("input[name=name]")
        first, second = [place for place, one in enumerate(own) if not one.none][:2]
        merged, gone = names.nth(first).input_value(), names.nth(second).input_value()
        gold = (folder / "gold.csv").read_text(encoding="utf-8")  # of former names it would be refused
        for former in (merged, gone):
            gold = gold.replace(f",{former}", ",Всё вместе")
        (folder / "gold.csv").write_text(gold, encoding="utf-8")
        names.nth(first).fill("Всё вместе")
        names.nth(second).fill("Всё вместе")
        names.nth(len(own)).fill("часы")
        shown = show(page)
        assert f"renamed: {merged} → Всё вместе" in shown and f"renamed: {gone} → Всё вместе" in shown
        assert "added: часы" in shown and categories_of(run) == own
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            shoot(page, f"{scheme}-categories-proposed")
            assert faults(page) == []
        page.set_viewport_size({"width": 360, "height": 740})
        shoot(page, "phone-categories-proposed")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        process.kill()
        process.wait()
    with desk(run, cwd=folder) as (address, _):
        page = enter(browser, address, "Анна")
        go(page, "/categories")
        assert page.inner_text(".proposed") == shown, "a kill in between loses nothing"
        page.click("text=Accept and run on")
        page.wait_for_selector(".versions", timeout=600_000)
        left = [name for name in own.names if name not in (merged, gone)]
        assert sorted(categories_of(run).names) == sorted([*left, "Всё вместе", "часы"])
        go(page, "/work?queue=unsure")
        page.wait_for_selector("blockquote")
        assert "Всё вместе" in page.inner_text(".choices")
        go(page, "/model")
        page.click("text=Go back to this")
        page.wait_for_selector("text=in use", timeout=600_000)
        assert categories_of(run) == own and page.complaints == []


def test_a_training_with_what_changed_and_back(
    browser: Any, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    folder, run = of_shop(tmp_path_factory.getbasetemp(), tmp_path / "shop")
    with (folder / "gold.csv").open(encoding="utf-8", newline="") as file:
        gold = {" ".join(row["text"].split()): row["category"] for row in csv.DictReader(file)}
    model = (run / "train" / "record.json").read_bytes()
    with desk(run, cwd=folder) as (address, _):
        page = enter(browser, address, "Анна")

        def answer(path: str, count: int) -> None:
            go(page, path)
            if page.locator("text=Draw the exam").count():
                page.click("text=Draw the exam")
            page.wait_for_selector("blockquote")
            for _ in range(count):
                names = [one.get_attribute("value") for one in page.locator("button[name=category_is]").all()]
                text = " ".join(page.text_content("blockquote").split())
                press(page, f"Digit{names.index(gold[text]) + 1}")

        answer("/work?queue=exam", 15)
        answer("/work?queue=unsure", 20)
        go(page, "/model")
        page.click("button.main")
        page.wait_for_selector(".versions", timeout=600_000)
        words = page.inner_text("main")
        assert "reviews changed" in words and "Weighted F1 on the exam" in words and "→" in words
        assert (run / "train" / "record.json").read_bytes() != model
        page.click("text=Go back to this")
        page.wait_for_selector("text=in use", timeout=600_000)
        assert (run / "train" / "record.json").read_bytes() == model
        assert page.complaints == [] and len(said(run)) == 35


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(browser: Any, run: Path, scheme: str) -> None:
    with desk(run) as (address, _):
        page = enter(browser, address, "Анна", color_scheme=scheme)
        go(page, "/work?queue=unsure")
        for key in ("Digit1", "KeyX", "KeyC"):
            press(page, key)
        paths = ["/", "/work?queue=unsure", "/work?queue=category&category=посуда", "/work?queue=search&words=чашка",
                 "/work?queue=exam", "/model", "/categories", "/hello", "/nothing"]  # fmt: skip
        for path in paths:
            go(page, path)
            shoot(page, f"{scheme}-{named(path)}")
            assert faults(page) == [], path
