"""Ask a person, in the terminal, for the category of each review. One key is an answer, and each is saved at once."""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import sys
import textwrap
import threading
import unicodedata
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from typing import TextIO

from tsirius.i18n import translate

KEYS = {"s": "skip", "b": "back", "q": "stop", "ы": "skip", "и": "back", "й": "stop"}
"""The letters, also where they lie on a Russian keyboard."""
SINGLE_KEYS = 9
"""Up to this many categories one key is an answer; more need a number and Enter."""
WIDEST = 100

_ESCAPES = re.compile(r"\x1b(?:[\[O][0-9;]*[A-Za-z~]|.)?", re.DOTALL)


def ask(
    texts: Mapping[str, str],
    answers: MutableMapping[str, str],
    *,
    names: Sequence[str],
    descriptions: Sequence[str],
    hints: Mapping[str, str],
    save: Callable[[], None],
    keyboard: TextIO,
    screen: TextIO,
) -> None:
    """Ask about each text that ``answers`` does not have yet, until all are answered or the person stops.

    Args:
        texts: the reviews by id, in the order to ask in.
        answers: the category by id, "" where it was skipped; changed as answers come.
        names: the categories.
        descriptions: what each means; shown once at the start.
        hints: by id, a line that is shown with the review.
        save: called after every change of ``answers``.
        keyboard: a terminal, or lines of text.
        screen: where to show the reviews.
    """
    ids = list(texts)
    width = min(WIDEST, shutil.get_terminal_size().columns)
    single = len(names) <= SINGLE_KEYS
    keys = _keys_line(names, width)

    def put(line: str = "") -> None:
        print(line, file=screen, flush=True)

    def show(line: str) -> None:
        put(translate(line))

    show("Which category is each review of? Answer by what the text says.")
    for number, (name, description) in enumerate(zip(names, descriptions, strict=True), 1):
        line = f"{number:>3}  {name}" + (f": {description}" if description else "")
        put(textwrap.fill(line, width, subsequent_indent=" " * 5))
    index = _next(ids, answers, 0)
    with _reader(keyboard, screen, single=single) as pressed:
        while index < len(ids):
            name = ids[index]
            put(_review(texts[name], hints.get(name), place=f"{index + 1:,} of {len(ids):,}", width=width))
            put(f"\n{keys}")
            before = answers.get(name)
            if before:
                show(f"Your answer: {before} (Enter keeps it)")
            elif before is not None:
                show("You skipped it (Enter keeps it so)")
            meaning, chosen = _answer(pressed, names, before=before, single=single, screen=screen)
            if chosen:
                put(chosen)
            else:
                show(_done(meaning))
            if meaning == "stop":
                return
            if meaning == "back":
                index = max(0, index - 1)
                continue
            if meaning != "keep":
                answers[name] = chosen or ""
                save()
            index = index + 1 if before is not None else _next(ids, answers, index)


def _answer(
    pressed: Iterator[str], names: Sequence[str], *, before: str | None, single: bool, screen: TextIO
) -> tuple[str, str | None]:
    """What the next valid key means, "" for a category, and the category, None for none."""
    while True:
        print("> ", end="", file=screen, flush=True)
        key = next(pressed, "q").strip().lower()
        meaning = KEYS.get(key, "keep" if not key and before is not None else "")
        chosen = names[int(key) - 1] if key.isdecimal() and 1 <= int(key) <= len(names) else None
        if meaning or chosen is not None:
            return meaning, chosen
        press = f"Press 1 to {len(names)}, s, b or q." if single else f"Press 1 to {len(names)}, s, b or q, then Enter."
        print(translate(press), file=screen, flush=True)


def _review(text: str, hint: str | None, *, place: str, width: int) -> str:
    """A review as it is shown, under a line that says which one it is."""
    lines = ["\n" + f"--- {translate(place)} ".ljust(width, "-")]
    lines += [textwrap.fill(paragraph, width) for paragraph in printable(text).splitlines()]
    return "\n".join([*lines, f"[{hint}]"] if hint else lines)


def _done(meaning: str) -> str:
    """What was done, where no category was chosen."""
    if meaning == "stop":
        return "stopped"
    if meaning == "back":
        return "one review back"
    return "kept" if meaning == "keep" else "skipped"


def _keys_line(names: Sequence[str], width: int) -> str:
    letters = (translate("s skip"), translate("b back"), translate("q stop"))
    keys = "  ".join([*(f"{number} {name}" for number, name in enumerate(names, 1)), *letters])
    return textwrap.fill(keys, width, break_long_words=False)


def _next(ids: Sequence[str], answers: Mapping[str, str], start: int) -> int:
    return next((index for index in range(start, len(ids)) if ids[index] not in answers), len(ids))


def printable(text: str) -> str:
    """``text`` without the characters that would move the cursor, or command the terminal otherwise."""
    return "".join(
        letter if letter == "\n" or unicodedata.category(letter) not in ("Cc", "Cf", "Cs") else " " for letter in text
    )


@contextmanager
def _reader(keyboard: TextIO, screen: TextIO, *, single: bool) -> Iterator[Iterator[str]]:
    """What the person types: keys one by one from a terminal, where one key is an answer; else lines.

    ``getchar`` of click and typer is not enough: between two calls the terminal echoes, and keys that are pressed then,
    while an answer is being saved, are lost.
    """
    try:
        import termios
        import tty
    except ImportError:  # not POSIX
        single = False
    if not single or not keyboard.isatty():
        yield iter(keyboard.readline, "")
        return
    handle = keyboard.fileno()
    before = termios.tcgetattr(handle)
    try:
        tty.setcbreak(handle, termios.TCSANOW)  # no echo, no Enter; Ctrl-C still interrupts
        yield _keys(handle)
    finally:
        termios.tcsetattr(handle, termios.TCSANOW, before)  # not after output that nobody may read


def _keys(handle: int) -> Iterator[str]:
    """The keys that are pressed in a terminal; arrows and the like are left out. Ends where the terminal is gone."""
    while True:
        data = os.read(handle, 1024)
        # A letter, or the code of one key, may come in parts.
        while data and (data.endswith(b"\x1b") or not _whole(data)) and select.select([handle], [], [], 0.05)[0]:
            data += os.read(handle, 1024)
        if not data or data == b"\x04":
            return
        yield from _ESCAPES.sub("", data.decode("utf-8", "ignore"))


def _whole(data: bytes) -> bool:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return re.search(r"\x1b(?:[\[O][0-9;]*)?$", text) is None


def terminal() -> tuple[TextIO, TextIO]:
    """Where a person answers and reads: standard input, and standard error, as standard output is for the report.

    Ctrl-C is made to interrupt again: polars leaves a handler behind, under which the system goes on reading the
    keyboard after it.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.getsignal(signal.SIGINT))
    return sys.stdin, sys.stderr
