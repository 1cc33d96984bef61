"""Readers: the rows of CSV, JSON Lines, Parquet and Excel files in batches, each fault with its position."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import IO, Any

import polars as pl

from tsirius.errors import UserError
from tsirius.io.names import INVISIBLE, is_usual, visible
from tsirius.io.streams import NO_ROOM, faults, open_bytes
from tsirius.io.workbook import Sheet, open_sheet
from tsirius.language.clean import LONGEST

LONGEST_CELL = 1 << 24
"""Characters of a cell: a longer one is refused, as a quote that never closes would be read into memory."""
LONGEST_LINE = LONGEST_CELL + (1 << 20)
"""Characters of a row in all its cells."""
BOM = "\ufeff"
LONGEST_NAME = 1000
"""Characters of an id or a category."""
PARQUET_ROWS = 1000, 16_000
"""Rows of a Parquet file that are unpacked at a time, whose texts may be long: of the first part, and at most."""
PARQUET_BYTES = 8 << 20
"""Bytes of such a part, about."""
MENDS_NUL = 'Remove them; if the file is UTF-16 without its mark, set encoding = "utf-16-le".'

Cells = dict[str, list[str | None]]


@dataclass(frozen=True)
class Source:
    """A file of reviews: which column is which, and how its bytes are read.

    ``text_columns`` are joined to one text where there are several, and there may be none, as ``id_column`` may be
    None. ``encoding`` is a Python codec ("" for Parquet and Excel), ``delimiter`` is "" for formats without one.
    ``skipped`` lines come before the header; where there is none (not ``headed``), ``first_row`` is the first row.
    ``sheet`` is that of a workbook, and ``sheets`` how many it has.
    """

    path: Path
    text_columns: tuple[str, ...]
    id_column: str | None
    category_column: str | None
    encoding: str
    format: str
    compression: str
    delimiter: str
    columns: tuple[str, ...]
    skipped: int = 0
    headed: bool = True
    first_row: tuple[str, ...] = ()
    sheet: str = ""
    sheets: int = 0

    @property
    def limits(self) -> dict[str, int]:
        """The columns whose cells may only have so many characters."""
        short = {name: LONGEST_NAME for name in (self.id_column, self.category_column) if name is not None}
        return short | dict.fromkeys(self.text_columns, LONGEST)


def cells(source: Source, names: list[str], *, rows: int, cut: Callable[[int, int], None]) -> Iterator[Cells]:
    """``rows`` rows of the named columns at a time; a text is cut to ``LONGEST``, and ``cut`` is told the row.

    A list or table in a column that is no text, id or category comes as JSON.

    Raises:
        UserError: a row cannot be read, or an id or a category is longer than ``LONGEST_NAME``.
    """
    if source.format == "parquet":
        yield from _parquet_cells(source, names, rows, cut)
        return
    records = {"jsonl": _json_records, "xlsx": _xlsx_records}.get(source.format, _csv_records)
    chunk: Cells = {name: [] for name in names}
    limits = source.limits
    for row, record in enumerate(records(source, names), 1):
        for name, cell in zip(names, record, strict=True):
            if cell is not None and len(cell) > LONGEST_NAME:
                limit = limits.get(name, len(cell))
                if limit == LONGEST_NAME:
                    raise _too_long(source, row, name, len(cell))
                if len(cell) > limit:
                    cut(row, len(cell))
                    cell = cell[:limit]
            chunk[name].append(cell)
        if len(chunk[names[0]]) == rows:
            yield chunk
            chunk = {name: [] for name in names}
    if chunk[names[0]]:
        yield chunk


def _too_long(source: Source, row: int, name: str, characters: int) -> UserError:
    return UserError(f"{name!r} has {characters:,} characters, more than {LONGEST_NAME:,}",
                     where=f"{source.path}, row {row}", remedy="Name another column.")  # fmt: skip


def _csv_records(source: Source, names: list[str]) -> Iterator[list[str | None]]:
    positions = [source.columns.index(name) for name in names]
    width = len(source.columns)
    repeats = _header_test(source)
    raise_cell_limit()
    row, line, blank = 0 if source.headed else 1, 1, 0

    def at() -> str:
        return f"{source.path}, row {row} (line {line})"

    with _lines(source, at) as lines:
        reader = csv.reader(lines, delimiter=source.delimiter, strict=True)
        while True:
            lines.begin()
            line = source.skipped + reader.line_num + 1
            try:
                cells = next(reader, None)
            except csv.Error as error:
                if "limit" in str(error):
                    raise UserError(f"a cell has more than {LONGEST_CELL:,} characters", where=at(),
                                    remedy="Close the quote that opens it, or cut the text.") from None  # fmt: skip
                if "unexpected end" in str(error):
                    raise UserError("a quote opens here and never closes", where=at(),
                                    remedy='Close it, or double it ("") inside a text.') from None  # fmt: skip
                raise UserError(f"quotes do not match ({error})", where=at(),
                                remedy='Double ("") each quote inside a quoted text.') from None  # fmt: skip
            if cells is None:
                return
            if not cells:  # no row where there are more columns, nor at the end of the file
                blank += width == 1 and row > 0
                continue
            for _ in range(blank):
                yield [""]
            row, blank = row + blank, 0
            if len(cells) != width:
                raise UserError(f"{len(cells)} cells where the header names {width}", where=at(),
                                remedy=f'Put texts that contain {source.delimiter!r} in double quotes.')  # fmt: skip
            if any("\0" in cell for cell in cells):
                raise UserError("holds a NUL character", where=at(), remedy=MENDS_NUL)
            if row:
                if cells[0][:1] == BOM and source.columns[0] not in source.text_columns:  # two files were joined
                    cells[0] = cells[0].lstrip(BOM)
                if repeats(cells):
                    raise UserError("repeats the header, as if two files were joined", where=at(),
                                    remedy="Remove that line.")  # fmt: skip
                yield [cells[position] for position in positions]
            row += 1


def _header_test(source: Source) -> Callable[[list[str]], bool]:
    """Whether a row is the header once more: the same names in any order."""
    if not source.headed or (len(source.columns) == 1 and not is_usual(source.columns[0])):
        return lambda cells: False
    names = sorted(name.casefold() for name in source.columns)
    known = frozenset(names)

    def repeats(cells: list[str]) -> bool:
        first = cells[0].strip(f" {INVISIBLE}").casefold()
        return first in known and sorted(visible(cell).casefold() for cell in cells) == names

    return repeats


def _json_records(source: Source, names: list[str]) -> Iterator[list[str | None]]:
    row, line, limits = 0, 0, source.limits

    def at() -> str:
        return f"{source.path}, row {row} (line {line})"

    def beyond() -> str:
        return f"{source.path}, row {row + 1} (line {line + 1})"

    with _lines(source, beyond) as lines:
        for line, written in enumerate(lines, 1):  # noqa: B007 (at() reads it)
            lines.begin()
            if not written.strip().strip(INVISIBLE):
                continue
            row += 1
            record = json_object(written, at())
            yield [_cell(record.get(name), name, at(), plain=name in limits) for name in names]


def _xlsx_records(source: Source, names: list[str]) -> Iterator[list[str | None]]:
    positions = [source.columns.index(name) for name in names]
    width, row, blank = len(source.columns), 0, 0
    repeats = _header_test(source)
    with (
        faults(source.path, "", source.compression, lambda: f"{source.path}, row {row + 1}"),
        open_workbook(source.path, source.compression, sheet=source.sheet) as sheet,
    ):
        for cells in islice(sheet.rows, source.skipped + source.headed, None):
            if not any(cells[:width]):  # no row where there are more columns, nor at the end of the sheet
                blank += width == 1 and row > 0
                continue
            for _ in range(blank):
                yield [""]
            row, blank = row + blank + 1, 0
            cells += [""] * (width - len(cells))
            if repeats(cells[:width]):
                raise UserError("repeats the header, as if two sheets were joined", where=f"{source.path}, row {row}",
                                remedy="Remove that row.")  # fmt: skip
            yield [cells[position] for position in positions]


def json_object(line: str, where: str) -> dict[str, Any]:
    """The object in a line of JSON Lines: numbers as they are written, NaN and Infinity as null.

    Raises:
        UserError: there is none.
    """
    try:
        value = json.loads(line.lstrip(INVISIBLE), parse_int=str, parse_float=str, parse_constant=lambda name: None,
                           object_pairs_hook=_once)  # fmt: skip
    except KeyError as error:
        raise UserError(f"names {error.args[0]!r} twice", where=where, remedy="Remove one of the two.") from None
    except (ValueError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else "too deep or too long"
        raise UserError(f"not valid JSON: {reason}", where=where, remedy="Write one JSON object a line.") from None
    if not isinstance(value, dict):
        raise UserError("not a JSON object", where=where, remedy='Write one object a line: {"text": "…"}.')
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these pairs; KeyError where a key comes twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise KeyError(next(name for name in names if names.count(name) > 1))
    return found


def _cell(value: Any, name: str, where: str, *, plain: bool) -> str | None:
    if value is None:
        return None
    if isinstance(value, str):  # half of a surrogate pair is no character, and no file could hold it
        return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, (dict, list)) and plain:
        raise UserError(f"{name!r} is a {'list' if isinstance(value, list) else 'table'}, not text", where=where,
                        remedy="Name another column.")  # fmt: skip
    return json.dumps(value, ensure_ascii=False)


def too_long_row(where: str) -> UserError:
    """The failure of a row that is longer than ``LONGEST_LINE``."""
    return UserError(f"a row has more than {LONGEST_LINE:,} characters", where=where,
                     remedy="Split it, or cut its texts.")  # fmt: skip


class _Lines:
    """The lines of a text file, without invisible characters before the first; a record of them has a limit.

    Args:
        handle: the file.
        at: names the position that was reached.
    """

    def __init__(self, handle: IO[str], at: Callable[[], str]) -> None:
        self._handle, self._at, self._left, self._first = handle, at, LONGEST_LINE, True

    def begin(self) -> None:
        """Begin the next record."""
        self._left = LONGEST_LINE

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._handle.readline(self._left + 1)
        self._left -= len(line)
        if self._left < 0:
            raise too_long_row(self._at())
        if self._first:
            line, self._first = line.lstrip(INVISIBLE), False
        if not line:
            raise StopIteration
        return line


@contextmanager
def _lines(source: Source, at: Callable[[], str]) -> Iterator[_Lines]:
    with (
        faults(source.path, source.encoding, source.compression, at),
        open_bytes(source.path, source.compression) as stream,
        io.TextIOWrapper(stream, encoding=source.encoding, newline="" if source.delimiter else "\n") as handle,
    ):
        lines = _Lines(handle, at)
        for _ in range(source.skipped):
            next(lines, None)
            lines.begin()
        yield lines


def _parquet_cells(source: Source, names: list[str], rows: int, cut: Callable[[int, int], None]) -> Iterator[Cells]:
    done = 0
    with (
        faults(source.path, "", "", lambda: f"{source.path}, after row {done}"),
        seekable(source.path, source.compression) as file,
    ):
        kinds = parquet_schema(file, source.path)
        for name in names:
            if name in source.limits and not holds_text(kinds[name]):
                raise UserError(f"column {name!r} holds {kinds[name]}, not text", where=source.path,
                                remedy="Name another column, or save it as strings.")  # fmt: skip
        waiting: Cells = {name: [] for name in names}
        for part in _parts(pl.scan_parquet(file).select(names)):
            for name, cells in waiting.items():
                cells += _parquet_texts(source, name, part[name], done, cut)
            done += part.height
            while len(waiting[names[0]]) >= rows:
                yield {name: cells[:rows] for name, cells in waiting.items()}
                waiting = {name: cells[rows:] for name, cells in waiting.items()}
        if waiting[names[0]]:
            yield waiting


def _parts(table: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    """The rows of a Parquet file, some at a time, the more the shorter they are: each time the file is opened anew."""
    start, rows, height = 0, PARQUET_ROWS[0], -1
    while height:
        part = table.slice(start, rows).collect()
        yield part
        start, height = start + part.height, part.height
        if part.estimated_size() > PARQUET_BYTES:
            rows = max(1, rows // 2)
        elif 2 * part.estimated_size() < PARQUET_BYTES:
            rows = min(2 * rows, PARQUET_ROWS[1])


def _parquet_texts(
    source: Source, name: str, column: pl.Series, before: int, cut: Callable[[int, int], None]
) -> list[str | None]:
    """The cells of a column as text: whole numbers as integers, NaN and infinity as null.

    Raises:
        UserError: an id is a number that its type cannot tell from its neighbours.
    """
    if not holds_text(column.dtype):
        return [None if value is None else json.dumps(value, ensure_ascii=False, default=str)
                for value in column.to_list()]  # fmt: skip
    if column.dtype.is_float():
        whole = 2 ** {"Float16": 11, "Float32": 24}.get(str(column.dtype), 53)
        spelled = column.cast(pl.Float64).to_list()
        for number, value in enumerate(spelled, before + 1):
            if name == source.id_column and value is not None and math.isfinite(value) and abs(value) > whole:
                raise UserError(f"the id {value:.0f} is a {column.dtype} beyond {whole:,}: it may stand for several",
                                where=f"{source.path}, row {number}",
                                remedy="Save ids as integers or strings.")  # fmt: skip
        texts = column.cast(pl.String).to_list()
        return [
            None if value is None or not math.isfinite(value) else str(int(value)) if value == int(value) else text
            for value, text in zip(spelled, texts, strict=True)
        ]
    if column.dtype.is_decimal():
        return [None if value is None else _decimal(value) for value in column.to_list()]
    column = column.cast(pl.String)
    lengths = column.str.len_chars()
    longest = source.limits.get(name)
    if longest is not None and (lengths.max() or 0) > longest:  # type: ignore[operator]  # of numbers
        for number, characters in enumerate(lengths.to_list(), before + 1):
            if characters is not None and characters > longest:
                if longest == LONGEST_NAME:
                    raise _too_long(source, number, name, characters)
                cut(number, characters)
        column = column.str.head(longest)
    texts_of: list[str | None] = column.to_list()
    return texts_of


def holds_text(kind: pl.DataType) -> bool:
    """Whether a column of Parquet has cells that can be taken for text: strings, numbers, dates."""
    return not kind.is_nested() and kind not in (pl.Binary, pl.Duration)


def _decimal(value: Decimal) -> str:
    """A decimal number as it is, without zeros after the point if it is whole."""
    return str(int(value)) if value == value.to_integral_value() else format(value, "f")


def parquet_schema(file: IO[bytes], path: Path) -> pl.Schema:
    """The columns of a Parquet file, and what they hold.

    Raises:
        UserError: two have one name.
    """
    try:
        return pl.Schema(pl.read_parquet_schema(file))
    except pl.exceptions.DuplicateError as error:
        name = str(error).partition("'")[2].rpartition("'")[0]
        raise UserError(f"has two columns named {name!r}", where=path, remedy="Rename or remove one.") from None


@contextmanager
def open_workbook(path: Path, compression: str, *, sheet: str | int) -> Iterator[Sheet]:
    """A sheet of an Excel file, compressed as a whole or not: see :func:`tsirius.io.workbook.open_sheet`."""
    with seekable(path, compression) as handle, open_sheet(path, handle, sheet=sheet) as opened:
        yield opened


@contextmanager
def seekable(path: Path, compression: str) -> Iterator[IO[bytes]]:
    """The bytes of a file that is read from its end: unpacked onto the disk, not into memory."""
    if not compression:
        with path.open("rb") as handle:
            yield handle
        return
    with tempfile.TemporaryFile() as unpacked:
        with open_bytes(path, compression) as stream:
            try:
                shutil.copyfileobj(stream, unpacked, 1 << 20)
                unpacked.flush()
            except OSError as error:
                if error.errno in NO_ROOM:
                    error.filename = tempfile.gettempdir()
                raise
        unpacked.seek(0)
        yield unpacked


def raise_cell_limit() -> None:
    """Have the csv module read long texts; it takes 128 KiB for a mistake."""
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_CELL))
