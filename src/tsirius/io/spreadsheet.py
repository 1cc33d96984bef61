"""Files that a person opens in a spreadsheet: no cell of them is run as a formula.

A cell that a spreadsheet would take for a formula gets an apostrophe before it, and loses it when it is read back. What
programs read (predictions, submissions) is written as it is: see :mod:`tsirius.io.writers`.
"""

from __future__ import annotations

import csv
import locale
import os
import sys
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from tsirius.io.workbook import is_workbook, new_sheet
from tsirius.publish import replacing

FORMULA = frozenset("=+-@|%＝＋－＠")
"""What a formula, or a command to another program, begins with; also full width, as some spreadsheets read it so."""
MARK = "'"


POINT = ("en", "zh", "ja", "ko", "th", "he", "hi", "ms", "ga", "mt", "cy")
"""Languages in whose countries a decimal point is usual, so that a comma separates the cells of a list."""


def write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]], *, delimiter: str) -> None:
    """Write a table whose cells are text, whole or not at all: an Excel workbook where the name says so.

    Else CSV, UTF-8 with its mark, as a spreadsheet expects.
    """
    with replacing(path) as temporary:
        if is_workbook(path):
            with new_sheet(temporary, columns, texts=["text"]) as add:
                add(rows)
            return
        with temporary.open("w", encoding="utf-8-sig", newline="") as handle:
            add = writer(handle, delimiter=delimiter)
            add([columns])
            add(rows)


def writer(handle: TextIO, *, delimiter: str) -> Callable[[Iterable[Sequence[Any]]], None]:
    """A function that adds rows of text and numbers to CSV; a semicolon means that numbers have a decimal comma."""
    csv_writer = csv.writer(handle, delimiter=delimiter)

    def spelled(cell: Any) -> str:
        if isinstance(cell, str):
            return escape(cell)
        text = "" if cell is None else str(cell)
        return text.replace(".", ",") if delimiter == ";" else text

    return lambda rows: csv_writer.writerows([spelled(cell) for cell in row] for row in rows)


def excel_delimiter(environment: Mapping[str, str] | None = None) -> str:
    """What an Excel of this machine's locale expects between two cells: a semicolon where it writes a decimal comma.

    Where the locale names no country, as on a server, a semicolon: reviews are Russian first.
    """
    if environment is None and sys.platform == "win32":
        name = locale.getlocale(locale.LC_NUMERIC)[0] or locale.getlocale()[0] or ""
        return "," if name.lower().startswith(("en", "chinese", "japanese", "korean")) else ";"
    known = os.environ if environment is None else environment
    name = known.get("LC_ALL") or known.get("LC_NUMERIC") or known.get("LANG") or ""
    return "," if name.partition("_")[0].partition(".")[0].casefold() in POINT else ";"


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
