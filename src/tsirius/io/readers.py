"""Readers: the rows of CSV, JSON Lines and Parquet files in batches, each fault with its position."""

from __future__ import annotations

import csv
import io
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from tsirius.errors import UserError
from tsirius.io.streams import NO_ROOM, faults, open_bytes

if TYPE_CHECKING:
    import pyarrow.parquet as pq

LONGEST_CELL = 1 << 24
MENDS_NUL = 'Remove them; if the file is UTF-16 without its mark, set encoding = "utf-16-le".'

Cells = dict[str, list[str | None]]


@dataclass(frozen=True)
class Source:
    """A file of reviews: which column is which, and how its bytes are read.

    ``text_column`` and ``id_column`` are None where the file has none, ``encoding`` is a Python codec ("" for Parquet),
    ``delimiter`` is "" for formats without one.
    """

    path: Path
    text_column: str | None
    id_column: str | None
    category_column: str | None
    encoding: str
    format: str
    compression: str
    delimiter: str
    columns: tuple[str, ...]


def cells(source: Source, names: list[str], *, rows: int) -> Iterator[Cells]:
    """``rows`` rows of the named columns at a time.

    Raises:
        UserError: a row cannot be read.
    """
    if source.format == "parquet":
        yield from _parquet_cells(source, names, rows)
        return
    records = _json_records if source.format == "jsonl" else _csv_records
    chunk: Cells = {name: [] for name in names}
    for record in records(source, names):
        for name, cell in zip(names, record, strict=True):
            chunk[name].append(cell)
        if len(chunk[names[0]]) == rows:
            yield chunk
            chunk = {name: [] for name in names}
    if chunk[names[0]]:
        yield chunk


def _csv_records(source: Source, names: list[str]) -> Iterator[list[str | None]]:
    positions = [source.columns.index(name) for name in names]
    width = len(source.columns)
    raise_cell_limit()
    row, line = 0, 1

    def at() -> str:
        return f"{source.path}, row {row} (line {line})"

    with _lines(source, at) as lines:
        reader = csv.reader(lines, delimiter=source.delimiter, strict=True)
        while True:
            line = reader.line_num + 1
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
            if not cells and (width > 1 or not row):
                continue
            cells = cells or [""]
            if len(cells) != width:
                raise UserError(f"{len(cells)} cells where the header names {width}", where=at(),
                                remedy=f'Put texts that contain {source.delimiter!r} in double quotes.')  # fmt: skip
            if any("\0" in cell for cell in cells):
                raise UserError("holds a NUL character", where=at(), remedy=MENDS_NUL)
            if row:
                yield [cells[position] for position in positions]
            row += 1


def _json_records(source: Source, names: list[str]) -> Iterator[list[str | None]]:
    row, line = 0, 0

    def at() -> str:
        return f"{source.path}, row {row} (line {line})"

    with _lines(source, at) as lines:
        for line, written in enumerate(lines, 1):  # noqa: B007 (at() reads it)
            if not written.strip():
                continue
            row += 1
            record = json_object(written, at())
            yield [_cell(record.get(name), name, at()) for name in names]


def json_object(line: str, where: str) -> dict[str, Any]:
    """The object in a line of JSON Lines.

    Raises:
        UserError: there is none.
    """
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else "too deep or too long"
        raise UserError(f"not valid JSON: {reason}", where=where, remedy="Write one JSON object a line.") from None
    if not isinstance(value, dict):
        raise UserError("not a JSON object", where=where, remedy='Write one object a line: {"text": "…"}.')
    return value


def _cell(value: Any, name: str, where: str) -> str | None:
    if value is None:
        return None
    if isinstance(value, str):  # half of a surrogate pair is no character, and no file could hold it
        return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, (dict, list)):
        raise UserError(f"{name!r} is a {'list' if isinstance(value, list) else 'table'}, not text", where=where,
                        remedy="Name another column.")  # fmt: skip
    return json.dumps(value)


@contextmanager
def _lines(source: Source, at: Callable[[], str]) -> Iterator[IO[str]]:
    with (
        faults(source.path, source.encoding, source.compression, at),
        open_bytes(source.path, source.compression) as stream,
        io.TextIOWrapper(stream, encoding=source.encoding, newline="" if source.delimiter else "\n") as lines,
    ):
        yield lines


def _parquet_cells(source: Source, names: list[str], rows: int) -> Iterator[Cells]:
    import pyarrow as pa

    done = 0
    with (
        faults(source.path, "", "", lambda: f"{source.path}, after row {done}"),
        open_parquet(source.path, source.compression) as file,
    ):
        for name in names:
            kind = file.schema_arrow.field(name).type
            if pa.types.is_nested(kind) or "binary" in str(getattr(kind, "storage_type", kind)):
                raise UserError(f"column {name!r} holds {kind}, not text", where=source.path,
                                remedy="Name another column, or save it as strings.")  # fmt: skip
        waiting: Cells = {name: [] for name in names}  # pyarrow may end a batch where a row group ends
        for batch in file.iter_batches(batch_size=rows, columns=names):
            for name, cells in waiting.items():
                cells += batch.column(name).cast(pa.string()).to_pylist()
            done += batch.num_rows
            if len(waiting[names[0]]) >= rows:
                yield {name: cells[:rows] for name, cells in waiting.items()}
                waiting = {name: cells[rows:] for name, cells in waiting.items()}
        if waiting[names[0]]:
            yield waiting


@contextmanager
def open_parquet(path: Path, compression: str) -> Iterator[pq.ParquetFile]:
    """A Parquet file, compressed as a whole or not."""
    import pyarrow.parquet as pq

    if not compression:
        with pq.ParquetFile(path) as file:
            yield file
        return
    with tempfile.TemporaryFile() as unpacked:  # Parquet is read from its end: unpack onto the disk, not into memory
        with open_bytes(path, compression) as stream:
            try:
                shutil.copyfileobj(stream, unpacked, 1 << 20)
                unpacked.flush()
            except OSError as error:
                if error.errno in NO_ROOM:
                    error.filename = tempfile.gettempdir()
                raise
        with pq.ParquetFile(unpacked) as file:
            yield file


def raise_cell_limit() -> None:
    """Have the csv module read long texts; it takes 128 KiB for a mistake."""
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_CELL))
