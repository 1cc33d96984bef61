"""Progress on standard error: a bar with rate and time left in a terminal or a notebook, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from tsirius.i18n import translate

PLAIN_SECONDS = 10.0
"""Without a terminal, a line is written at most this often."""


class Advance(Protocol):
    """Report that ``rows`` more rows are done."""

    def __call__(self, rows: int = 1) -> None: ...


def say(line: str) -> None:
    """Write one line to standard error, in the user's language."""
    print(translate(line), file=sys.stderr, flush=True)


@contextmanager
def progress(what: str, total: int | None = None, *, before: int = 0) -> Iterator[Advance]:
    """Show the progress of ``what`` over ``total`` rows (None: unknown) while the block runs.

    ``before`` rows were done by an earlier try: they count, but not in the rate.

    Example:
        >>> with progress("label", total=2) as advance:
        ...     for _ in range(2):
        ...         advance()
    """
    if sys.stderr.isatty():
        with _bar(translate(what), total, before) as advance:
            yield advance
    elif _in_notebook():
        with _notebook_bar(translate(what), total, before) as advance:
            yield advance
    else:
        yield _lines(what, total, before)


def _in_notebook() -> bool:
    """Whether this process is the kernel of a notebook: IPython is loaded there before anything of ours."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


@contextmanager
def _notebook_bar(what: str, total: int | None, before: int) -> Iterator[Advance]:
    """The bar that notebooks know; of characters where they have no widgets."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no widgets
        from tqdm.auto import tqdm
    with tqdm(total=total, initial=before, desc=what, leave=False) as bar:

        def advance(rows: int = 1) -> None:
            bar.update(rows)

        yield advance


@contextmanager
def _bar(what: str, total: int | None, before: int) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:,.0f}/s" if task.speed else "")

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"  {what}", total=total, completed=before)

        def advance(rows: int = 1) -> None:
            bar.advance(task, rows)

        yield advance


def _lines(what: str, total: int | None, before: int) -> Advance:
    start = last = time.monotonic()
    done = before

    def advance(rows: int = 1) -> None:
        nonlocal last, done
        done += rows
        now = time.monotonic()
        if now - last < PLAIN_SECONDS:
            return
        last = now
        rate = (done - before) / (now - start)
        left = f" of {total:,}, {(total - done) / rate:,.0f} s left" if total else ""
        say(f"  {what}: {done:,}{left} ({rate:,.0f}/s)")

    return advance
