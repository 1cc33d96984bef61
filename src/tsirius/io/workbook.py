"""Workbooks: the rows of one sheet of an .xlsx file as text, and rows into a new one, a row at a time.

The texts of a workbook lie apart from its sheets, in one list. openpyxl reads that list into memory; here it goes to a
temporary file as far as it is needed, so that memory does not grow with the workbook.
"""

from __future__ import annotations

import re
import tempfile
import warnings
import zipfile
import zlib
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import IO, Any

from tsirius.errors import UserError, nearest
from tsirius.io.names import visible

ROWS, COLUMNS = 1_048_576, 16_384
"""What a sheet holds."""
LINE, LINES = 15, 27
"""The height of a line in points, and the lines that a row, of at most 409 points, has room for."""
BROKEN = 55
"""Characters after which a line in a wide column is surely broken."""
LONGEST = 32_767
"""Characters of a cell, in UTF-16 units."""
ERRORS = frozenset({"#N/A", "#DIV/0!", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!", "#GETTING_DATA"})
"""What a cell shows whose formula fails: no text of anybody's."""
BLOCK = 1 << 16
WIDTHS = {True: 60, False: 16}
"""Of a column in characters: of one whose cells are texts, and the least of any other."""
FILTER = 4
"""Characters that the arrow of the filter takes beside a column's name."""
DIGITS = 15
"""A spreadsheet keeps so many of a number."""
SHEET = "reviews"
"""The name of the sheet of a new workbook."""
Cell = str | float | date | None
_ESCAPE = re.compile(r"_x([0-9A-Fa-f]{4})_")
_DAMAGED = (zipfile.BadZipFile, zlib.error, KeyError, ValueError, IndexError, AttributeError, TypeError, OverflowError,
            NotImplementedError, RuntimeError, EOFError, SyntaxError)  # fmt: skip
"""What reading a damaged workbook raises; a parser's own error is a SyntaxError."""


@dataclass(frozen=True)
class Sheet:
    """A sheet of an open workbook.

    Attributes:
        name: its name.
        others: the names of the workbook's other sheets.
        rows: its rows from the first, each as many cells as it has; "" for an empty cell.
    """

    name: str
    others: tuple[str, ...]
    rows: Iterator[list[str]]


@contextmanager
def open_sheet(path: Path, handle: IO[bytes], *, sheet: str | int) -> Iterator[Sheet]:
    """A sheet of a workbook, to be read once.

    Args:
        path: the file, for messages.
        handle: its bytes, which can be read at any place.
        sheet: its name, or its number from 1; "auto" for the first that is not hidden.

    Raises:
        UserError: it is no workbook, it is damaged, or it has no such sheet.
    """
    from openpyxl.reader.excel import ExcelReader
    from openpyxl.styles.stylesheet import apply_stylesheet

    with _damage_named(path), tempfile.TemporaryFile() as spool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of styles and extensions that are not read
        reader = ExcelReader(handle, read_only=True, data_only=True, keep_links=False)
        with reader.archive:
            reader.read_manifest()
            strings = _Strings(reader.archive, _strings_part(reader), spool)
            reader.shared_strings = strings
            reader.read_workbook()
            apply_stylesheet(reader.archive, reader.wb)  # it tells a date from a number
            reader.read_worksheets()
            chosen = _choose(reader.wb, sheet, path)
            chosen.reset_dimensions()  # what a file says of its size need not be so
            others = tuple(other.title for other in reader.wb.worksheets if other is not chosen)
            try:
                yield Sheet(chosen.title, others, _texts(chosen))
            finally:
                strings.close()


def _choose(workbook: Any, wanted: str | int, path: Path) -> Any:
    sheets = workbook.worksheets
    shown = [sheet for sheet in sheets if sheet.sheet_state == "visible"] or sheets
    if not sheets:
        raise UserError("has no sheet with cells", where=path, remedy="Give a workbook with a table.")
    if wanted == "auto":
        return shown[0]
    name = visible(str(wanted))
    found = next((sheet for sheet in sheets if visible(sheet.title) == name), None)
    if found is None and name.isdecimal() and 1 <= int(name) <= len(sheets):
        found = sheets[int(name) - 1]
    if found is None:
        names = [sheet.title for sheet in sheets]
        listed = ", ".join(f"{number} {name!r}" for number, name in enumerate(names[:20], 1))
        raise UserError(f"no sheet {wanted!r}{nearest(name, names)}", where=path,
                        remedy=f"Set sheet to the name or number of one of: {listed}.")  # fmt: skip
    return found


def _texts(sheet: Any) -> Iterator[list[str]]:
    for row in sheet.iter_rows(values_only=True):
        yield [_text(value) for value in row]


def _text(value: Any) -> str:
    """A cell as text: a whole number as an integer, a date as ISO 8601 has it, a formula by its last result."""
    if value is None:
        return ""
    if isinstance(value, str):
        return "" if value in ERRORS else unescape(value)
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e16 else repr(value)
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat(" ", "seconds")
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return str(value)
    return str(value)


def unescape(text: str) -> str:
    """The text of which a workbook wrote the characters that XML cannot hold as ``_x000D_``.

    Example:
        >>> unescape("a_x000A_b, _x005F_x0041_")
        'a\\nb, _x0041_'
    """
    if "_x" not in text:
        return text
    return (
        _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)
        .encode("utf-16", "surrogatepass")
        .decode("utf-16", "replace")
    )


# --- the texts of a workbook ------------------------------------------------------------------------------------------


def _strings_part(reader: Any) -> str | None:
    from openpyxl.xml.constants import SHARED_STRINGS

    part = reader.package.find(SHARED_STRINGS)
    return None if part is None else str(part.PartName[1:])


class _Strings:
    """The shared strings of a workbook by their number: parsed as far as they were asked for, and kept in a file."""

    def __init__(self, archive: zipfile.ZipFile, part: str | None, spool: IO[bytes]) -> None:
        self._spool, self._ends, self._size = spool, array("Q"), 0
        self._block, self._block_at = b"", 0
        self._part = None if part is None else archive.open(part)
        self._parsed = iter(()) if self._part is None else _parse(self._part)

    def close(self) -> None:
        if self._part is not None:
            self._part.close()

    def __getitem__(self, number: int) -> str:
        while number >= len(self._ends):
            text = next(self._parsed, None)
            if text is None:
                raise IndexError(number)
            data = text.encode("utf-8", "surrogatepass")
            self._spool.seek(self._size)
            self._spool.write(data)
            self._size += len(data)
            self._ends.append(self._size)
        start = self._ends[number - 1] if number else 0
        return self._read(start, self._ends[number] - start).decode("utf-8", "surrogatepass")

    def _read(self, start: int, size: int) -> bytes:
        at = start - self._block_at
        if at < 0 or at + size > len(self._block):  # sheets name most strings in their order
            self._spool.seek(start)
            self._block, self._block_at, at = self._spool.read(max(BLOCK, size)), start, 0
        return self._block[at : at + size]


def _parse(part: IO[bytes]) -> Iterator[str]:
    from openpyxl.cell.text import Text
    from openpyxl.xml.constants import SHEET_MAIN_NS
    from openpyxl.xml.functions import iterparse

    string = f"{{{SHEET_MAIN_NS}}}si"
    root = None
    for event, node in iterparse(part, ("start", "end")):
        if root is None:
            root = node
        if event == "end" and node.tag == string:
            yield Text.from_tree(node).content
            root.clear()  # else it would keep an empty element of each


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Turn what reading a damaged workbook raises into one line.

    Raises:
        UserError: it does.
    """
    try:
        yield
    except (PermissionError, FileNotFoundError):
        raise
    except _DAMAGED as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"damaged, or no Excel workbook ({reason})", where=path,
                        remedy="Open it in Excel and save it again as .xlsx.") from None  # fmt: skip


# --- writing ----------------------------------------------------------------------------------------------------------


def _lines(cells: Sequence[Cell], wide: Sequence[int]) -> int:
    """How many lines the longest text of a row is broken into, as many as a row may be high at most.

    Excel finds the height of a row by itself where none is written; LibreOffice prints lines over each other.
    """
    texts = (cell for number in wide if isinstance(cell := cells[number], str))
    longest = max((sum(1 + len(line) // BROKEN for line in text.split("\n")) for text in texts), default=1)
    return min(longest, LINES)


@contextmanager
def new_sheet(
    path: Path, columns: Sequence[str], *, texts: Sequence[str]
) -> Iterator[Callable[[Iterable[Sequence[Cell]]], None]]:
    """Write a workbook with one sheet: each call of the given function adds rows, in memory that does not grow.

    A string is written as text, never as a formula or a link. Of one that is longer than a cell can be the beginning is
    written. The same rows give the same bytes.

    Args:
        path: the file.
        columns: the first row.
        texts: those of the columns that hold long texts: they are wide, and broken into lines.

    Raises:
        UserError: the rows are more than a sheet holds.
    """
    import xlsxwriter
    from xlsxwriter.exceptions import FileCreateError

    if len(columns) > COLUMNS:
        raise UserError(f"{len(columns):,} columns, more than the {COLUMNS:,} of a sheet", where=path,
                        remedy="Write CSV.")  # fmt: skip
    book = xlsxwriter.Workbook(str(path), {"constant_memory": True})
    book.set_properties({"created": datetime(2000, 1, 1)})
    sheet = book.add_worksheet(SHEET)
    sheet.freeze_panes(1, 0)
    sheet.set_landscape()
    sheet.set_paper(9)  # A4
    sheet.fit_to_pages(1, 0)
    sheet.repeat_rows(0)
    top, wrapped = book.add_format({"valign": "top"}), book.add_format({"valign": "top", "text_wrap": True})
    formats = {date: book.add_format({"num_format": "yyyy-mm-dd", "valign": "top"}),
               datetime: book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss", "valign": "top"})}  # fmt: skip
    wide = [number for number, column in enumerate(columns) if column in texts]
    for number, column in enumerate(columns):
        narrow = min(max(WIDTHS[False], len(column) + FILTER), WIDTHS[True])
        sheet.set_column(number, number, *((WIDTHS[True], wrapped) if number in wide else (narrow, top)))
    bold, plain = book.add_format({"bold": True}), book.add_format()
    for number, column in enumerate(columns):
        sheet.write_string(0, number, column, bold)
    row = 0

    def add(rows: Iterable[Sequence[Cell]]) -> None:
        nonlocal row
        for cells in rows:
            row += 1
            if row >= ROWS:
                raise too_many(path, row)
            if (lines := _lines(cells, wide)) > 1:
                sheet.set_row(row, LINE * lines)
            for number, cell in enumerate(cells):
                if isinstance(cell, str):
                    if cell.startswith("<r>") and cell.endswith("</r>"):  # a string like this is taken for XML as it is
                        sheet.write_rich_string(row, number, "<", plain, cell[1 : LONGEST // 2])
                    elif cell:
                        sheet.write_string(row, number, cell)
                elif isinstance(cell, date):
                    sheet.write_datetime(row, number, cell, formats[type(cell)])
                elif cell is not None:
                    sheet.write_number(row, number, cell)

    try:
        yield add
        sheet.autofilter(0, 0, row, max(len(columns) - 1, 0))
    finally:
        try:
            book.close()
        except FileCreateError as error:
            raise error.args[0] from None  # the OSError in it


def is_workbook(path: Path) -> bool:
    """Whether a file's name says that it is an Excel workbook."""
    return path.suffix.lower() in (".xlsx", ".xlsm")


def too_many(path: Path, rows: int) -> UserError:
    """The failure of a table with more rows than a sheet holds."""
    return UserError(f"{rows:,} rows and a header are more than the {ROWS:,} rows of a sheet", where=path,
                     remedy="Write CSV or Parquet.")  # fmt: skip


def typed(cell: str) -> Cell:
    """A cell as a number or a date where that is what its text says and shows; else the text itself.

    What has leading zeros, more than fifteen digits or another notation stays text, so that it is read back the same.

    Example:
        >>> typed("12"), typed("4.5"), typed("007"), typed("2026-01-31")
        (12, 4.5, '007', datetime.date(2026, 1, 31))
    """
    if _WHOLE.fullmatch(cell):
        return int(cell) if abs(int(cell)) < 10**DIGITS else cell
    if _DECIMAL.fullmatch(cell):
        number = float(cell)
        return number if repr(number) == cell and not number.is_integer() and len(cell) <= DIGITS else cell
    if _DAY.fullmatch(cell):
        try:
            return date.fromisoformat(cell) if len(cell) == 10 else datetime.fromisoformat(cell)
        except ValueError:
            return cell
    return cell


_WHOLE, _DECIMAL = re.compile("0|-?[1-9][0-9]{0,15}"), re.compile(r"-?(?:0|[1-9][0-9]{0,9})\.[0-9]{1,12}")
_DAY = re.compile(r"(?:19[1-9]\d|20\d\d)-\d\d-\d\d(?: (?!00:00:00)\d\d:\d\d:\d\d)?")


def typed_rows(
    rows: Iterable[Sequence[Any]], columns: Sequence[str], *, plain: Collection[str]
) -> Iterator[list[Cell]]:
    """The rows with :func:`typed` cells, but for those of the columns in ``plain``."""
    as_they_are = [name in plain for name in columns]
    for row in rows:
        yield [
            cell if whole or not isinstance(cell, str) else typed(cell)
            for cell, whole in zip(row, as_they_are, strict=True)
        ]
