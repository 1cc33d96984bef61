"""Read tables of reviews in batches: CSV, TSV, JSON Lines and Parquet, plain or compressed, in bounded memory."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

import polars as pl

from tsirius.errors import UserError, nearest
from tsirius.io.readers import MENDS_NUL, cells, json_object, open_parquet, raise_cell_limit
from tsirius.io.readers import Source as Source  # part of what this module gives
from tsirius.io.streams import COMPRESSIONS, SAMPLE_BYTES, SPOKEN, faults, guessed_encoding, named_encoding, open_bytes

FORMATS = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
TEXT_NAMES = (
    "text", "review", "review text", "отзыв", "текст", "текст отзыва", "comment", "комментарий", "feedback", "content",
    "body", "message", "сообщение",
)  # fmt: skip
ID_NAMES = ("id", "review id", "uid", "uuid", "id отзыва", "ид", "№")
CATEGORY_NAMES = ("category", "категория", "label", "класс", "target")
"""Names taken when a column is "auto", the likeliest first; case, ``_`` and ``-`` do not matter."""

_MENDS_EMPTY = "Give a file with a header and reviews."


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
        with faults(path, "", "", lambda: str(path)), open_parquet(path, compression) as file:
            columns = list(file.schema_arrow.names)
    else:
        head = b""
        with (
            faults(path, "", "", lambda: f"{path}, after line {head.count(10)}"),
            open_bytes(path, compression) as stream,
        ):
            while len(head) < SAMPLE_BYTES and (block := stream.read(1 << 14)):
                head += block
            whole = len(head) < SAMPLE_BYTES
            if kind == "jsonl" and b"\n" not in head:
                head += stream.readline()
            found = guessed_encoding(head, stream, path) if encoding == "auto" else named_encoding(path, encoding)
        with faults(path, found, compression, lambda: str(path)):
            text = codecs.getincrementaldecoder(found)().decode(head, final=whole)
        if not text.strip():
            raise UserError("is empty", where=path, remedy=_MENDS_EMPTY)
        if kind == "jsonl":
            columns = _json_columns(text, path, whole=whole)
        else:
            delimiter, columns = _header(text, path, tabs=kind == "tsv")
    twice = next((name for place, name in enumerate(columns) if name and name in columns[:place]), None)
    if twice is not None:
        raise UserError(f"has two columns named {_shown(twice)}", where=path, remedy="Rename or remove one.")
    text_name = _column(columns, text_column, TEXT_NAMES, "text_column", path)
    if text_name is None and len(columns) == 1 and text_required:
        text_name = columns[0]
    if not columns:
        raise UserError("has no columns", where=path, remedy=_MENDS_EMPTY)
    if text_name is None and text_required:
        raise UserError("no column has a usual name for the text", where=path,
                        remedy=f"Set text_column to one of: {_listed(columns)}.")  # fmt: skip
    rest = [name for name in columns if name != text_name]
    id_name = None
    if id_column != "none" or "none" in columns:
        id_name = _column(rest, id_column, ID_NAMES, "id_column", path)
    category = _column([name for name in rest if name != id_name], "auto", CATEGORY_NAMES, "category", path)
    return Source(path, text_name, id_name, category, found, kind, compression, delimiter, tuple(columns))


def open_other(path: Path, *, text_column: str, id_column: str, encoding: str, text_required: bool) -> Source:
    """:func:`open_source` for a file beside the one that the columns were named for: a name that it lacks is "auto"."""
    found = open_source(path, text_column="auto", id_column="auto", encoding=encoding, text_required=False)
    return open_source(
        path,
        text_column=text_column if text_column in found.columns else "auto",
        id_column=id_column if id_column in (*found.columns, "none") else "auto",
        encoding=encoding,
        text_required=text_required,
    )


def describe_source(source: Source) -> str:
    """What :func:`open_source` decided about a file, in one line."""
    notes = [f"text from {_shown(source.text_column)}" if source.text_column else "no texts"]
    notes.append(f"ids from {_shown(source.id_column)}" if source.id_column else "rows are numbered")
    if source.encoding not in ("", "utf-8", "utf-8-sig"):
        notes.append(f"encoding {SPOKEN.get(source.encoding, source.encoding.upper())}")
    if source.delimiter not in ("", "," if source.format == "csv" else "\t"):
        notes.append(f"separated by {source.delimiter!r}")
    if source.delimiter and len(source.columns) == 1 and _plain(source.columns[0]) not in TEXT_NAMES:
        notes.append(f"the first line {_shown(source.columns[0])} was taken for the header")
    return f"{source.path.name}: {', '.join(notes)}"


def read_batches(
    source: Source, *, rows: int, seen: dict[Path, dict[str, int]] | None = None, check_ids: bool = True
) -> Iterator[pl.DataFrame]:
    """The file's rows in its order, at most ``rows`` at a time.

    Columns: ``row`` (Int64, 1-based, the header not counted), ``id`` (String: the file's, else the 0-based row
    number), and, where the file has such columns, ``text`` and ``category`` (String, "" where a cell is empty). A blank
    line is an empty text where there is one column, else nothing. Beside the batch, only the file's ids are kept.

    Args:
        source: what :func:`open_source` found.
        rows: rows in a batch.
        seen: the ids of files read before, by path; this file's are added.
        check_ids: refuse an id that is empty or comes twice.

    Raises:
        UserError: a row cannot be read, or an id is empty or comes twice.
    """
    names = [name for name in (source.text_column, source.id_column, source.category_column) if name is not None]
    ids: dict[Path, dict[str, int]] = {} if seen is None else seen
    done = 0
    for found in cells(source, names, rows=rows):
        count = len(found[names[0]])
        numbers = range(done + 1, done + count + 1)
        if source.id_column is None:
            identity = [str(number - 1) for number in numbers]
        else:
            identity = [name or "" for name in found[source.id_column]]
            if check_ids:
                _check_ids(identity, numbers, source.path, ids)
        data = {
            "row": pl.Series(numbers, dtype=pl.Int64),
            "id": pl.Series(identity, dtype=pl.String),
        }
        if source.text_column is not None:
            data["text"] = pl.Series(found[source.text_column], dtype=pl.String).fill_null("")
        if source.category_column is not None:
            data["category"] = pl.Series(found[source.category_column], dtype=pl.String).fill_null("")
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
    kind = kind_of_name(path)
    if not path.is_file():  # it is read twice: a pipe would be empty by then
        raise UserError("is not an ordinary file", where=path, remedy="Save it to a file first.")
    if path.stat().st_size == 0:
        raise UserError("is empty", where=path, remedy=_MENDS_EMPTY)
    return kind


def kind_of_name(path: Path) -> tuple[str, str]:
    """The format and the compression ("": none) that a file's name says.

    Raises:
        UserError: its ending says no known format.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compression = COMPRESSIONS.get(suffixes[-1], "") if suffixes else ""
    suffix = suffixes[-2 if compression else -1] if len(suffixes) > bool(compression) else ""
    if suffix not in FORMATS:
        raise UserError(f"the name's ending {suffix!r} says no known format", where=path,
                        remedy=f"Known: {', '.join(FORMATS)}, each also with {', '.join(COMPRESSIONS)}.")  # fmt: skip
    return FORMATS[suffix], compression


# --- columns ----------------------------------------------------------------------------------------------------------


def _column(columns: Sequence[str], wanted: str, usual: Sequence[str], setting: str, path: Path) -> str | None:
    """The column called ``wanted``; for "auto" the one with the likeliest usual name, or None."""
    if wanted == "auto":
        names = {_plain(name): name for name in reversed(columns)}
        return next((names[name] for name in usual if name in names), None)
    if wanted not in columns:
        raise UserError(f"no column {wanted!r}{nearest(wanted, columns)}", where=path,
                        remedy=f"Set {setting} to one of: {_listed(columns)}.")  # fmt: skip
    return wanted


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


def _shown(name: str) -> str:
    return repr(name if len(name) <= 40 else f"{name[:39]}…")  # a review taken for a header can be of any length


def _listed(columns: Sequence[str]) -> str:
    shown = ", ".join(map(_shown, columns[:12]))
    return f"{shown} and {len(columns) - 12} more" if len(columns) > 12 else shown


def _header(text: str, path: Path, *, tabs: bool) -> tuple[str, list[str]]:
    """The delimiter under which the first rows fit the header best, and the header's names."""
    best: tuple[tuple[float, int], str, list[str]] | None = None
    raise_cell_limit()
    for delimiter in "\t,;" if tabs else ",;\t|":
        rows = []
        with suppress(csv.Error):  # a cell beyond the limit: the rows so far tell enough
            for row in islice(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), 50):
                rows += [row] if row else []
        if not rows:
            continue
        fits = sum(len(row) == len(rows[0]) for row in rows) / len(rows)
        score = (fits, len(rows[0])) if len(rows[0]) > 1 else (0.0, 1)
        if best is None or score > best[0]:
            best = score, delimiter, [name.strip() for name in rows[0]]
    if best is None:
        raise UserError("has no readable header", where=path, remedy="Start the file with a line of column names.")
    _, delimiter, columns = best
    if "\0" in "".join(columns):
        raise UserError("has NUL characters in its header", where=path, remedy=MENDS_NUL)
    return delimiter, columns


def _json_columns(text: str, path: Path, *, whole: bool) -> list[str]:
    """The keys of the first hundred objects, in their order."""
    lines = text.split("\n")
    names: dict[str, None] = {}
    for number, line in enumerate(lines[:100] if whole or len(lines) == 1 else lines[:-1][:100], 1):
        if line.strip():
            names.update(dict.fromkeys(json_object(line, f"{path}, line {number}")))
    return list(names)
