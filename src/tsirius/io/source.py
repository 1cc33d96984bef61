"""Sources: tables of reviews in any supported format, read in batches and bounded memory."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl

from tsirius.errors import UserError, nearest
from tsirius.io.columns import UNSEPARATED, Table, choose, json_columns, shown, table
from tsirius.io.names import INVISIBLE, visible
from tsirius.io.readers import LONGEST_LINE, cells, open_parquet, too_long_row
from tsirius.io.readers import Source as Source  # part of what this module gives
from tsirius.io.streams import (
    COMPRESSIONS,
    SAMPLE_BYTES,
    SPOKEN,
    faults,
    guessed_encoding,
    named_encoding,
    open_bytes,
    packed_signature,
    refuse_binary,
    refuse_markup,
)

FORMATS = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
_MENDS_EMPTY = "Give a file with a header and reviews."


def open_source(
    path: Path, *, text_column: str, id_column: str, encoding: str, text_required: bool, category_column: str = "auto"
) -> Source:
    """Find out how to read a file from its beginning.

    Args:
        path: ``.csv``, ``.tsv``, ``.jsonl`` or ``.parquet``, with or without ``.gz``, ``.xz`` or ``.zst``.
        text_column: its name, or "auto": a usual name, or the only column.
        id_column: its name, "auto" (a usual name, else rows are numbered) or "none" (rows are numbered).
        encoding: a Python codec, or "auto": UTF-8, UTF-16 or a code page, where it can be told.
        text_required: refuse a file in which no column can be taken for the text.
        category_column: its name, or "auto": a usual name.

    Raises:
        UserError: the file, its encoding or a column is missing or not usable.
    """
    kind, compression = _kind(path)
    codec, layout = "", Table((), "", 0, True)
    if kind == "parquet":
        with faults(path, "", "", lambda: str(path)), open_parquet(path, compression) as file:
            layout = replace(layout, columns=tuple(file.schema_arrow.names))
    else:
        text, codec, whole = _head(path, kind, compression, encoding)
        if not text.strip().strip(INVISIBLE):
            raise UserError("is empty", where=path, remedy=_MENDS_EMPTY)
        refuse_markup(text, path)
        if kind == "jsonl":
            layout = replace(layout, columns=tuple(json_columns(text, path, whole=whole)))
        else:
            named = [name for name in (text_column, id_column, category_column) if name not in ("auto", "none")]
            layout = table(text, path, tabs=kind == "tsv", named=named)
    if not layout.columns:
        raise UserError("has no columns", where=path, remedy=_MENDS_EMPTY)
    chosen = choose(
        layout.columns,
        path,
        text_column=text_column,
        id_column=id_column,
        category_column=category_column,
        text_required=text_required,
    )
    return Source(
        path,
        *chosen,
        codec,
        kind,
        compression,
        layout.delimiter,
        layout.columns,
        layout.skipped,
        layout.headed,
        layout.first_row,
    )


def _head(path: Path, kind: str, compression: str, encoding: str) -> tuple[str, str, bool]:
    """The beginning of a text file, its encoding, and whether that is the whole file."""
    head = b""
    with faults(path, "", "", lambda: f"{path}, after line {head.count(10)}"), open_bytes(path, compression) as stream:
        while len(head) < SAMPLE_BYTES and (block := stream.read(1 << 14)):
            head += block
        whole = len(head) < SAMPLE_BYTES
        if kind == "jsonl" and b"\n" not in head:
            head += stream.readline(4 * LONGEST_LINE)  # as many bytes as a row may have
            if len(head) > 4 * LONGEST_LINE:
                raise too_long_row(f"{path}, row 1 (line 1)")
        refuse_binary(head, path, expected=b"")
        codec = guessed_encoding(head, stream, path) if encoding == "auto" else named_encoding(path, encoding)
    with faults(path, codec, compression, lambda: str(path)):
        return codecs.getincrementaldecoder(codec)().decode(head, final=whole), codec, whole


def open_other(
    path: Path, *, text_column: str, id_column: str, encoding: str, text_required: bool, category_column: str = "auto"
) -> Source:
    """:func:`open_source` for a file beside the one that the columns were named for: a name that it lacks is "auto"."""
    other = open_source(path, text_column="auto", id_column="auto", encoding=encoding, text_required=False)
    known = {visible(name) for name in (*other.columns, *other.first_row)}
    return open_source(
        path,
        text_column=text_column if visible(text_column) in known else "auto",
        id_column=id_column if visible(id_column) in {*known, "none"} else "auto",
        encoding=encoding,
        text_required=text_required,
        category_column=category_column,
    )


def describe_source(source: Source) -> str:
    """What :func:`open_source` decided about a file, in one line."""
    notes = [f"text from {shown(source.text_column)}" if source.text_column else "no texts"]
    notes.append(f"ids from {shown(source.id_column)}" if source.id_column else "rows are numbered")
    if source.encoding not in ("", "utf-8", "utf-8-sig"):
        notes.append(f"encoding {SPOKEN.get(source.encoding, source.encoding.upper())}")
    if source.delimiter not in ("", UNSEPARATED, "," if source.format == "csv" else "\t"):
        notes.append(f"separated by {source.delimiter!r}")
    if not source.headed:
        notes.append(f"no header: the first line {shown(source.first_row[0])} is a review too")
    return f"{source.path.name}: {', '.join(notes)}"


def read_batches(
    source: Source, *, rows: int, cut: Callable[[int, int], None] = lambda row, characters: None
) -> Iterator[pl.DataFrame]:
    """The file's rows in its order, at most ``rows`` at a time; the ids as they are: see :mod:`tsirius.io.ids`.

    Columns: ``row`` (Int64, 1-based, the header not counted), ``id`` (String: the file's, else the 0-based row
    number), and, where the file has such columns, ``text`` and ``category`` (String, "" where a cell is empty). A blank
    line is an empty text where there is one column and other rows follow, else nothing. Of a text the first
    :data:`tsirius.language.clean.LONGEST` characters are read; ``cut`` is told the row and the length of a longer one.

    Raises:
        UserError: a row cannot be read.
    """
    names = [name for name in (source.text_column, source.id_column, source.category_column) if name is not None]
    done = 0
    for chunk in cells(source, names, rows=rows, cut=cut):
        count = len(chunk[names[0]])
        if source.id_column is None:
            identity = [str(number) for number in range(done, done + count)]
        else:
            identity = [name or "" for name in chunk[source.id_column]]
        data = {
            "row": pl.Series(range(done + 1, done + count + 1), dtype=pl.Int64),
            "id": pl.Series(identity, dtype=pl.String),
        }
        if source.text_column is not None:
            data["text"] = pl.Series(chunk[source.text_column], dtype=pl.String).fill_null("")
        if source.category_column is not None:
            data["category"] = pl.Series(chunk[source.category_column], dtype=pl.String).fill_null("")
        done += count
        yield pl.DataFrame(data)


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
    with path.open("rb") as raw:
        refuse_binary(
            raw.read(2000), path, expected=packed_signature(kind[1]) or (b"PAR1" if kind[0] == "parquet" else b"")
        )
    return kind


def kind_of_name(path: Path) -> tuple[str, str]:
    """The format and the compression ("": none) by a file's name.

    Raises:
        UserError: the format is not supported.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compression = COMPRESSIONS.get(suffixes[-1], "") if suffixes else ""
    suffix = suffixes[-2 if compression else -1] if len(suffixes) > bool(compression) else ""
    if suffix not in FORMATS:
        raise UserError(f"unsupported file type {suffix!r}", where=path,
                        remedy=f"Use {', '.join(FORMATS)}, each also with {', '.join(COMPRESSIONS)}.")  # fmt: skip
    return FORMATS[suffix], compression
