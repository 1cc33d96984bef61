"""The failures that a user can mend. Each says what is wrong, where, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class UserError(Exception):
    """A failure that the user can mend: the command line prints it as one line and exits with 2.

    Args:
        what: what is wrong, in a few words.
        where: the file, row or key that it is about.
        remedy: what to do about it.
    """

    def __init__(self, what: str, *, where: str | Path | None = None, remedy: str | None = None) -> None:
        self.what, self.where, self.remedy = what, where, remedy
        line = f"{where}: {what}" if where is not None else what
        stop = "" if line.endswith("?") else "."
        super().__init__(" ".join(f"{line}{stop} {remedy}".split()) if remedy else " ".join(line.split()))


def nearest(word: str, known: Iterable[str]) -> str:
    """'; did you mean X?' for the known word closest to ``word``, or an empty string."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""
