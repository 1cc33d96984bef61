"""Read tables of reviews in batches: CSV, TSV, JSON Lines and Parquet, plain or compressed, in bounded memory."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import polars as pl

from tsirius.errors import UserError, nearest
from tsirius.streams import COMPRESSIONS, SAMPLE_BYTES, SPOKEN, faults, guessed_encoding, named_encoding, open_bytes

if TYPE_CHECKING:
    import pyarrow.parquet as pq

FORMATS = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
TEXT_NAMES = (
    "text", "review", "review text", "отзыв", "текст", "текст отзыва", "comment", "комментарий", "feedback", "content",
    "body", "message", "сообщение",
)  # fmt: skip
ID_NAMES = ("id", "review id", "uid", "uuid", "id отзыва", "ид", "№")
CATEGORY_NAMES = ("category", "категория", "label", "класс", "target")
"""Names taken when a column is "auto", the likeliest first; case, ``_`` and ``-`` do not matter."""

LONGEST_CELL = 1 << 24
_MENDS_EMPTY = "Give a file with a header and reviews."
_MENDS_NUL = 'Remove them; if the file is UTF-16 without its mark, set encoding = "utf-16-le".'


@dataclass(frozen=True)
class Source:
    """A file of reviews as :func:`open_source` found it: which column is which, and how its bytes are read.

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


def open_source(path: Path, *, text_column: str, id_column: str, encoding: str, text_required: bool) -> Source:
    """Find out how to read a file from its beginning.

    Args:
        path: ``.csv``, ``.tsv``, ``.jsonl`` or ``.parquet``, with or without ``.gz``, ``.xz`` or ``.zst``.
        text_column: its name, or "auto": a usual name, or the only column.
        id_column: its name, "auto" (a usual name, else rows are numbered) or "none" (rows are numbered).
        encoding: a Python codec, or "auto": UTF-8, UTF-16 with its mark, or CP1251.
        text_required: refuse a file in which no column can be taken for the text.

    Raises:
        UserError: the file, its encoding or a column is missing or not usable.
    """
    kind, compression = _kind(path)
    found, delimiter = "", ""
    if kind == "parquet":
        with faults(path, "", "", lambda: str(path)), _parquet(path, compression) as file:
            columns = list(file.schema_arrow.names)
    else:
        head = b""
        with (
            faults(path, "", "", lambda: f"{path}, after line {head.count(10)}"),
            open_bytes(path, compression) as stream,
        ):
            while len(head) < SAMPLE_BYTES and (block := stream.read(1 << 14)):
                head += block
            found = guessed_encoding(head, stream, path) if encoding == "auto" else named_encoding(path, encoding)
        whole = len(head) < SAMPLE_BYTES
        with faults(path, found, compression, lambda: str(path)):
            text = codecs.getincrementaldecoder(found)().decode(head, final=whole)
        if not text.strip():
            raise UserError("is empty", where=path, remedy=_MENDS_EMPTY)
        if kind == "jsonl":
            columns = _json_columns(text, path, whole=whole)
        else:
            delimiter, columns = _header(text, path, tabs=kind == "tsv")
    text_name = _column(columns, text_column, TEXT_NAMES, "text_column", path)
    if text_name is None and len(columns) == 1:
        text_name = columns[0]
    if text_name is None and text_required:
        raise UserError("no column has a usual name for the text", where=path,
                        remedy=f"Set text_column to one of: {_listed(columns)}.")  # fmt: skip
    rest = [name for name in columns if name != text_name]
    id_name = None
    if id_column != "none" or "none" in columns:
        id_name = _column(rest, id_column, ID_NAMES, "id_column", path)
    category = _column(rest, "auto", CATEGORY_NAMES, "category", path)
    return Source(path, text_name, id_name, category, found, kind, compression, delimiter, tuple(columns))


def describe(source: Source) -> str:
    """What :func:`open_source` decided about a file, in one line."""
    notes = [f"text from {source.text_column!r}" if source.text_column else "no texts"]
    notes.append(f"ids from {source.id_column!r}" if source.id_column else "rows are numbered")
    if source.encoding not in ("", "utf-8", "utf-8-sig"):
        notes.append(f"encoding {SPOKEN.get(source.encoding, source.encoding.upper())}")
    if source.delimiter not in ("", "," if source.format == "csv" else "\t"):
        notes.append(f"separated by {source.delimiter!r}")
    return f"{source.path.name}: {', '.join(notes)}"


def batches(source: Source, *, rows: int, seen: dict[Path, dict[str, int]] | None = None) -> Iterator[pl.DataFrame]:
    """The file's rows in its order, at most ``rows`` at a time.

    Columns: ``row`` (Int64, 1-based, the header not counted), ``id`` (String: the file's, else the 0-based row
    number), and, where the file has such columns, ``text`` and ``category`` (String, "" where a cell is empty). A blank
    line is an empty text where there is one column, else nothing. Beside the batch, only the file's ids are kept.

    Args:
        source: what :func:`open_source` found.
        rows: rows in a batch.
        seen: the ids of files read before, by path; this file's are added.

    Raises:
        UserError: a row cannot be read, or an id is empty or comes twice.
    """
    names = [name for name in (source.text_column, source.id_column, source.category_column) if name is not None]
    ids: dict[Path, dict[str, int]] = {} if seen is None else seen
    done = 0
    for cells in _parquet_cells(source, names, rows) if source.format == "parquet" else _cells(source, names, rows):
        count = len(cells[names[0]])
        numbers = range(done + 1, done + count + 1)
        if source.id_column is None:
            identity = [str(number - 1) for number in numbers]
        else:
            identity = [name or "" for name in cells[source.id_column]]
            _check_ids(identity, numbers, source.path, ids)
        data = {
            "row": pl.Series(numbers, dtype=pl.Int64),
            "id": pl.Series(identity, dtype=pl.String),
        }
        if source.text_column is not None:
            data["text"] = pl.Series(cells[source.text_column], dtype=pl.String).fill_null("")
        if source.category_column is not None:
            data["category"] = pl.Series(cells[source.category_column], dtype=pl.String).fill_null("")
        done += count
        yield pl.DataFrame(data)


def _check_ids(identity: list[str], numbers: range, path: Path, seen: dict[Path, dict[str, int]]) -> None:
    own = seen.setdefault(path, {})
    others = [(other, known) for other, known in seen.items() if other != path]
    for number, name in zip(numbers, identity, strict=True):
        if not name:
            raise UserError("has no id", where=f"{path}, row {number}",
                            remedy='Fill it in, or set id_column = "none" to number the rows.')  # fmt: skip
        first = own.setdefault(name, number)
        at = f"row {first}" if first != number else ""
        for other, known in others:
            if name in known:
                at = f"row {known[name]} of {other}"
        if at:
            raise UserError(f"repeats the id {name!r} of {at}", where=f"{path}, row {number}",
                            remedy='Make ids unique, or set id_column = "none" to number the rows.')  # fmt: skip


# --- what kind of file ------------------------------------------------------------------------------------------------


def _kind(path: Path) -> tuple[str, str]:
    if path.is_dir():
        raise UserError("is a folder, not a file", where=path, remedy="Give the file in it.")
    if not path.exists():
        near = nearest(path.name, [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else [])
        raise UserError(f"no such file{near}", where=path, remedy="Check the path.")
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compression = COMPRESSIONS.get(suffixes[-1], "") if suffixes else ""
    suffix = suffixes[-2 if compression else -1] if len(suffixes) > bool(compression) else ""
    if suffix not in FORMATS:
        raise UserError(f"the name's ending {suffix!r} says no known format", where=path,
                        remedy=f"Known: {', '.join(FORMATS)}, each also with {', '.join(COMPRESSIONS)}.")  # fmt: skip
    if path.stat().st_size == 0:
        raise UserError("is empty", where=path, remedy=_MENDS_EMPTY)
    return FORMATS[suffix], compression


@contextmanager
def _parquet(path: Path, compression: str) -> Iterator[pq.ParquetFile]:
    import pyarrow.parquet as pq

    if not compression:
        with pq.ParquetFile(path) as file:
            yield file
        return
    with tempfile.TemporaryFile() as unpacked:  # Parquet is read from its end: unpack onto the disk, not into memory
        with open_bytes(path, compression) as stream:
            shutil.copyfileobj(stream, unpacked, 1 << 20)
        with pq.ParquetFile(unpacked) as file:
            yield file


# --- columns ----------------------------------------------------------------------------------------------------------


def _column(columns: Sequence[str], wanted: str, usual: Sequence[str], setting: str, path: Path) -> str | None:
    """The column called ``wanted``; for "auto" the one with the likeliest usual name, or None."""
    if wanted == "auto":
        names = {re.sub(r"[\s_-]+", " ", name).strip().casefold(): name for name in reversed(columns)}
        return next((names[name] for name in usual if name in names), None)
    if wanted not in columns:
        raise UserError(f"no column {wanted!r}{nearest(wanted, columns)}", where=path,
                        remedy=f"Set {setting} to one of: {_listed(columns)}.")  # fmt: skip
    return wanted


def _listed(columns: Sequence[str]) -> str:
    shown = ", ".join(repr(name[:40]) for name in columns[:12])
    return f"{shown} and {len(columns) - 12} more" if len(columns) > 12 else shown


def _header(text: str, path: Path, *, tabs: bool) -> tuple[str, list[str]]:
    """The delimiter under which the first rows fit the header best, and the header's names."""
    best: tuple[tuple[float, int], str, list[str]] | None = None
    for delimiter in "\t,;" if tabs else ",;\t":
        try:
            rows = [row for row in islice(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), 50) if row]
        except csv.Error:  # a cell beyond the limit: the rows so far would not tell more
            continue
        fits = sum(len(row) == len(rows[0]) for row in rows) / len(rows)
        score = (fits, len(rows[0])) if len(rows[0]) > 1 else (0.0, 1)
        if best is None or score > best[0]:
            best = score, delimiter, [name.strip() for name in rows[0]]
    if best is None:
        raise UserError("has no readable header", where=path, remedy="Start the file with a line of column names.")
    _, delimiter, columns = best
    if "\0" in "".join(columns):
        raise UserError("has NUL characters in its header", where=path, remedy=_MENDS_NUL)
    twice = next((name for place, name in enumerate(columns) if name in columns[:place]), None)
    if twice is not None:
        raise UserError(f"has two columns named {twice!r}", where=path, remedy="Rename or remove one.")
    return delimiter, columns


def _json_columns(text: str, path: Path, *, whole: bool) -> list[str]:
    """The keys of the first hundred objects, in their order."""
    lines = text.split("\n")
    names: dict[str, None] = {}
    for number, line in enumerate(lines[:100] if whole or len(lines) == 1 else lines[:-1][:100], 1):
        if line.strip():
            names.update(dict.fromkeys(_object(line, f"{path}, line {number}")))
    return list(names)


# --- rows -------------------------------------------------------------------------------------------------------------

Cells = dict[str, list[str | None]]


def _cells(source: Source, names: list[str], rows: int) -> Iterator[Cells]:
    """``rows`` rows of the named columns at a time."""
    records = _json_records if source.format == "jsonl" else _csv_records
    cells: Cells = {name: [] for name in names}
    for record in records(source, names):
        for name, cell in zip(names, record, strict=True):
            cells[name].append(cell)
        if len(cells[names[0]]) == rows:
            yield cells
            cells = {name: [] for name in names}
    if cells[names[0]]:
        yield cells


def _csv_records(source: Source, names: list[str]) -> Iterator[list[str | None]]:
    places = [source.columns.index(name) for name in names]
    width = len(source.columns)
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_CELL))
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
                if "unexpected end" in str(error) or "limit" in str(error):
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
                raise UserError("holds a NUL character", where=at(), remedy=_MENDS_NUL)
            if row:
                yield [cells[place] for place in places]
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
            record = _object(written, at())
            yield [_cell(record.get(name), name, at()) for name in names]


def _object(line: str, where: str) -> dict[str, Any]:
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
        _parquet(source.path, source.compression) as file,
    ):
        for name in names:
            kind = file.schema_arrow.field(name).type
            if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
                raise UserError(f"column {name!r} holds {kind}, not text", where=source.path,
                                remedy="Name another column, or save it as strings.")  # fmt: skip
        for batch in file.iter_batches(batch_size=rows, columns=names):
            yield {name: batch.column(name).cast(pa.string()).to_pylist() for name in names}
            done += batch.num_rows
