"""Files that a person opens in a spreadsheet: no cell of them is run as a formula.

A cell that a spreadsheet would take for a formula gets an apostrophe before it, and loses it when it is read back. What
programs read (predictions, submissions) is written as it is: see :mod:`tsirius.io.writers`.
"""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from tsirius.publish import replacing

FORMULA = frozenset("=+-@|%＝＋－＠")
"""What a formula, or a command to another program, begins with; also full width, as some spreadsheets read it so."""
MARK = "'"


def write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]], *, delimiter: str) -> None:
    """Write a table whose cells are text: UTF-8 with its mark, as a spreadsheet expects, whole or not at all."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8-sig", newline="") as handle:
        writer = csv.writer(handle, delimiter=delimiter)
        writer.writerow([escape(name) for name in columns])
        writer.writerows([escape(cell) for cell in row] for row in rows)


def escape(cell: str) -> str:
    """The cell with an apostrophe before it if a spreadsheet would run it.

    Example:
        >>> escape("=1+1"), escape(" -5"), escape("5-1")
        ("'=1+1", "' -5", '5-1')
    """
    return MARK + cell if _runs(cell) else cell


def unescape(cell: str) -> str:
    """The cell that :func:`escape` was given."""
    return cell[1:] if cell.startswith(MARK) and _runs(cell[1:]) else cell


def _runs(cell: str) -> bool:
    """Whether the first character that shows, apostrophes left out, begins a formula."""
    for letter in cell:
        if letter in "\t\r\n":
            return True
        if letter != MARK and not letter.isspace() and unicodedata.category(letter) not in ("Cc", "Cf", "Cs", "Mn"):
            return letter in FORMULA
    return False
