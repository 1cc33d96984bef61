"""Answers in a terminal: by lines, by single keys, interrupted, killed and resumed."""

from __future__ import annotations

import csv
import fcntl
import io
import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from audited import NAMES, call, figures
from hypothesis import given, settings
from hypothesis import strategies as st

from tsirius import i18n
from tsirius.commands.audit import asking

TEXTS = {"a": "Ботинки", "b": "Кружка\x1b[2J", "c": "Куртка"}


def typed(keys: str, answers: dict[str, str], texts: dict[str, str]) -> tuple[str, list[dict[str, str]]]:
    """What the screen shows, and what was saved after each answer."""
    screen, saved = io.StringIO(), list[dict[str, str]]()
    asking.ask(
        texts,
        answers,
        names=NAMES,
        descriptions=[""] * 4,
        hints={},
        save=lambda: saved.append(dict(answers)),
        keyboard=io.StringIO(keys),
        screen=screen,
    )
    return screen.getvalue(), saved


def test_lines_answer_skip_go_back_and_stop() -> None:
    answers: dict[str, str] = {}
    screen, saved = typed("1\ns\nb\n2\n7\nq\n", answers, TEXTS)
    assert answers == {"a": "обувь", "b": "посуда"}
    assert saved == [{"a": "обувь"}, {"a": "обувь", "b": ""}, {"a": "обувь", "b": "посуда"}]
    assert "2 of 3" in screen and "You skipped it" in screen and "Press 1 to 4" in screen
    assert "\x1b" not in screen, "a review commands the terminal"
    screen, saved = typed("3\n", answers, TEXTS)
    assert "1 of 3" not in screen and answers["c"] == "одежда"


def test_it_asks_in_russian_and_leaves_the_reviews_as_they_are() -> None:
    with i18n.speaking("ru"):
        screen, saved = typed("x\n1\ns\nb\n2\nq\n", {}, {**TEXTS, "a": "skipped"})
    assert saved[-1] == {"a": "обувь", "b": "посуда"}
    own = [line for line in screen.splitlines() if re.search("[A-Za-z]{2}", line.replace("Enter", ""))]
    assert own == ["skipped"], "the review that says so"
    assert "2 из 3" in screen and "пропущено" in screen


def test_the_end_of_the_input_stops() -> None:
    answers: dict[str, str] = {}
    typed("4\n", answers, TEXTS)
    assert answers == {"a": "нет товара"}


@settings(max_examples=50)
@given(st.text("1234sbqйыи79\n x", max_size=40))
def test_any_keys_leave_valid_answers(keys: str) -> None:
    answers: dict[str, str] = {}
    typed("\n".join(keys), answers, TEXTS)
    assert set(answers.values()) <= {*NAMES, ""} and answers.keys() <= TEXTS.keys()


class Terminal:
    """`tsirius audit` in a terminal of its own, where Ctrl-C is a signal."""

    def __init__(self, run: Path, *more: str) -> None:
        self.handle, inner = pty.openpty()
        self.seen = ""

        def own() -> None:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            [sys.executable, "-m", "tsirius", "audit", str(run), *more],
            stdin=inner, stdout=subprocess.PIPE, stderr=inner, start_new_session=True, preexec_fn=own,
        )  # fmt: skip
        os.close(inner)

    def until(self, words: str) -> str:
        """What is shown up to ``words``; what comes after them is kept for the next call."""
        end = time.monotonic() + 60
        while words not in self.seen:
            assert time.monotonic() < end, self.seen
            if select.select([self.handle], [], [], 0.2)[0]:
                self.seen += os.read(self.handle, 4096).decode("utf-8", "replace")
        before, _, self.seen = self.seen.partition(words)
        return before

    def press(self, keys: str) -> None:
        os.write(self.handle, keys.encode())

    def end(self) -> tuple[int, str]:
        out, _ = self.process.communicate(timeout=60)
        os.close(self.handle)
        return self.process.returncode, out.decode()


def answered(run: Path) -> list[str]:
    with (run / "audit" / "answers.csv").open(encoding="utf-8-sig", newline="") as handle:
        return [line["category"] for line in csv.DictReader(handle)]


def test_single_keys_in_a_terminal_with_an_interruption_and_a_kill(run: Path) -> None:
    terminal = Terminal(run, "--count", "20")
    assert "labelled" not in terminal.until("1 of 20"), "the audit is blind"
    terminal.until("> ")
    terminal.press("3")
    terminal.until("2 of 20")
    terminal.press("\x1b[3~ы")  # a Delete key is no answer 3; ы is s on a Russian keyboard
    terminal.until("3 of 20")
    terminal.press("\x03")
    assert terminal.end() == (130, "")
    assert answered(run) == ["одежда", ""]

    terminal = Terminal(run)
    terminal.until("3 of 20")
    terminal.until("> ")
    terminal.press("1")
    terminal.until("4 of 20")
    terminal.process.kill()
    terminal.end()
    assert answered(run) == ["одежда", "", "обувь"]

    terminal = Terminal(run)
    terminal.until("4 of 20")
    terminal.until("> ")
    terminal.press("44q")
    code, out = terminal.end()
    assert code == 0 and "4 answers by a person" in out
    assert answered(run) == ["одежда", "", "обувь", "нет товара", "нет товара"]


def test_keys_that_are_pressed_before_they_are_asked_for_count_and_are_not_echoed(run: Path) -> None:
    terminal = Terminal(run, "--count", "20")
    terminal.until("1 of 20")
    terminal.until("> ")
    terminal.press("1")
    for key in ("2", "ы", "3"):
        time.sleep(0.02)  # while the answer before is being saved
        terminal.press(key)
    shown = terminal.until("5 of 20")
    assert "2 of 20" in shown and not {"> 1", "> 2", "> ы", "> 3"} & set(shown.split("\r\n"))
    terminal.press("q")
    assert terminal.end()[0] == 0
    assert answered(run) == ["обувь", "посуда", "", "одежда"]


def test_a_count_asks_so_many_also_where_more_were_drawn(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call(run, write=tmp_path / "drawn.csv")
    for sitting in (1, 2):
        keyboard, screen = io.StringIO("1\n" * 40), io.StringIO()
        monkeypatch.setattr(asking, "terminal", lambda keyboard=keyboard, screen=screen: (keyboard, screen))
        assert call(run, count=5)
        assert figures(run)["answered"] == 5 * sitting
