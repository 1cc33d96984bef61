"""Sources: tables of reviews in any supported format, read in batches and bounded memory."""

from __future__ import annotations

import codecs
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice, product
from pathlib import Path
from typing import Any

import polars as pl

from tsirius.errors import UserError, nearest
from tsirius.io.columns import UNSEPARATED, Table, choose, json_columns, sheet_table, shown, table
from tsirius.io.names import INVISIBLE, visible
from tsirius.io.readers import LONGEST_LINE, Cells, cells, open_workbook, parquet_schema, seekable, too_long_row
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

FORMATS = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet",
           ".xlsx": "xlsx", ".xlsm": "xlsx"}  # fmt: skip
OTHER_SPREADSHEETS = {".xls": "an old Excel file", ".xlsb": "a binary Excel file", ".ods": "an OpenDocument file",
                      ".numbers": "a spreadsheet of Numbers"}  # fmt: skip
FIRST_ROWS = 50
"""Rows of a sheet that are looked at to find its header."""
KEPT = "kept "
"""Before the name of a column that :func:`read_batches` hands on as the file has it."""
TextColumns = str | Sequence[str]
_MENDS_EMPTY = "Give a file with a header and reviews."


def open_source(
    path: Path,
    *,
    text_column: TextColumns,
    id_column: str,
    encoding: str,
    text_required: bool,
    category_column: str = "auto",
    sheet: str | int = "auto",
) -> Source:
    """Find out how to read a file from its beginning.

    Args:
        path: ``.csv``, ``.tsv``, ``.jsonl``, ``.parquet`` or ``.xlsx``, with or without ``.gz``, ``.xz`` or ``.zst``.
        text_column: its name, or those of several whose texts are joined; or "auto": a usual name with the parts of a
            review beside it (pros, cons), or the only column.
        id_column: its name, "auto" (a usual name, else rows are numbered) or "none" (rows are numbered).
        encoding: a Python codec, or "auto": UTF-8, UTF-16 or a code page, where it can be told.
        text_required: refuse a file in which no column can be taken for the text.
        category_column: its name, or "auto": a usual name.
        sheet: of a workbook: its name, its number from 1, or "auto": the first that is not hidden.

    Raises:
        UserError: the file, its encoding, a sheet or a column is missing or not usable.
    """
    kind, compression = _kind(path)
    codec, layout, sheet_name, sheets = "", Table((), "", 0, True), "", 0
    texts = [text_column] if isinstance(text_column, str) else text_column
    named = [name for name in (*texts, id_column, category_column) if name not in ("auto", "none")]
    if kind == "xlsx":
        with faults(path, "", "", lambda: str(path)), open_workbook(path, compression, sheet=sheet) as opened:
            sheet_name, sheets = opened.name, 1 + len(opened.others)
            layout = sheet_table(list(islice(opened.rows, FIRST_ROWS)), path, named=named)
    elif kind == "parquet":
        with faults(path, "", "", lambda: str(path)), seekable(path, compression) as file:
            layout = replace(layout, columns=tuple(parquet_schema(file, path)))
    else:
        text, codec, whole = _head(path, kind, compression, encoding)
        if not text.strip().strip(INVISIBLE):
            raise UserError("is empty", where=path, remedy=_MENDS_EMPTY)
        refuse_markup(text, path)
        if kind == "jsonl":
            layout = replace(layout, columns=tuple(json_columns(text, path, whole=whole)))
        else:
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
        sheet_name,
        sheets,
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
    path: Path,
    *,
    text_column: TextColumns,
    id_column: str,
    encoding: str,
    text_required: bool,
    category_column: str = "auto",
    sheet: str | int = "auto",
) -> Source:
    """:func:`open_source` for a file beside the one that the columns were named for: a name that it lacks is "auto".

    So is the sheet.
    """
    read = {"text_column": "auto", "id_column": "auto", "encoding": encoding, "text_required": False}
    try:
        other = open_source(path, **read, sheet=sheet)  # type: ignore[arg-type]  # as they are named above
    except UserError as error:
        if sheet == "auto" or not error.what.startswith("no sheet"):
            raise
        sheet = "auto"
        other = open_source(path, **read)  # type: ignore[arg-type]  # as above
    known = {visible(name) for name in (*other.columns, *other.first_row)}
    texts = [text_column] if isinstance(text_column, str) else list(text_column)
    return open_source(
        path,
        text_column=texts if {visible(name) for name in texts} <= known else "auto",
        id_column=id_column if visible(id_column) in {*known, "none"} else "auto",
        encoding=encoding,
        text_required=text_required,
        category_column=category_column,
        sheet=sheet,
    )


def is_reviews(name: str) -> bool:
    """Whether a file of a folder is one of reviews, by its path in the folder: no workbook, and nothing hidden."""
    if any(part[:1] in "._" for part in name.split("/")):
        return False
    suffixes = [suffix.lower() for suffix in Path(name).suffixes]
    if suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes.pop()
    return bool(suffixes) and FORMATS.get(suffixes[-1], "xlsx") != "xlsx"


def expand(paths: Sequence[Path]) -> list[Path]:
    """Each path; for a folder its files of reviews and those of its folders, and for a pattern with ``*``, ``?`` or
    ``[…]`` that is no file's name the files that it stands for.

    Raises:
        UserError: no file has such a name, a folder has none, or a file is named twice.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if file.is_file())
            inside = [file for file in inside if is_reviews(file.relative_to(path).as_posix())]
            if not inside:
                raise UserError(
                    "holds no file of reviews", where=path, remedy=f"Name a folder with {', '.join(FORMATS)}."
                )
            found += inside
            continue
        if path.exists() or not set("*?[") & set(str(path)):
            found.append(path)
            continue
        names = Path(path.anchor).glob(str(path.relative_to(path.anchor)))
        some = sorted(name for name in names if name.is_file())
        if not some:
            raise UserError("no file has such a name", where=path, remedy="Check the pattern.")
        found += some
    twice = next((path for number, path in enumerate(found) if path in found[:number]), None)
    if twice is not None:
        raise UserError("is named twice", where=twice, remedy="Name it once.")
    return found


def names(sources: Sequence[Source]) -> dict[Source, str]:
    """What to call each of several files: its name, or, where they lie in several folders, its path in that of all, so
    that the partitions which the folders are stay known."""
    paths = [source.path for source in sources]
    if len({path.parent.absolute() for path in paths}) < 2:
        return {source: source.path.name for source in sources}
    base = Path(os.path.commonpath([path.absolute() for path in paths]))
    return {source: source.path.absolute().relative_to(base).as_posix() for source in sources}


def open_alike(
    path: Path, before: Mapping[str, Any], *, text_column: TextColumns, id_column: str, **read_as: Any
) -> Source:
    """Like :func:`open_source`, but a column that is "auto" is that of an earlier file, where this one has it.

    Args:
        before: ``text_column`` and ``id_column`` of that file.
        read_as: the rest of :func:`open_source`'s.

    Raises:
        UserError: as of :func:`open_source`.
    """
    texts = [before["text_column"]] if text_column == "auto" and "text_column" in before else []
    ids = [before["id_column"]] if id_column == "auto" and "id_column" in before else []
    for text, identity in list(product([*texts, text_column], [*ids, id_column]))[:-1]:
        with suppress(UserError):
            return open_source(path, text_column=text, id_column=identity, **read_as)
    return open_source(path, text_column=text_column, id_column=id_column, **read_as)


def open_sources(
    paths: Sequence[Path], *, text_column: TextColumns, id_column: str, encoding: str, sheet: str | int
) -> list[Source]:
    """Several files of reviews that are read as one: see :func:`open_source`.

    Raises:
        UserError: one of them cannot be used, or some have an id column and some none.
    """
    sources = [
        open_source(
            path, text_column=text_column, id_column=id_column, encoding=encoding, text_required=True, sheet=sheet
        )
        for path in paths
    ]
    without = [source for source in sources if source.id_column is None]
    if without and len(without) < len(sources):
        raise UserError("has no id column while other files have one", where=without[0].path,
                        remedy='Add one, or set id_column = "none" to number all rows.')  # fmt: skip
    return sources


def describe_source(source: Source) -> str:
    """What :func:`open_source` decided about a file, in one line."""
    texts = " + ".join(map(shown, source.text_columns))
    notes = [f"text from {texts}" if texts else "no texts"]
    notes.append(f"ids from {shown(source.id_column)}" if source.id_column else "rows are numbered")
    if source.encoding not in ("", "utf-8", "utf-8-sig"):
        notes.append(f"encoding {SPOKEN.get(source.encoding, source.encoding.upper())}")
    if source.delimiter not in ("", UNSEPARATED, "," if source.format == "csv" else "\t"):
        notes.append(f"separated by {source.delimiter!r}")
    if not source.headed:
        notes.append(f"no header: the first line {shown(source.first_row[0])} is a review too")
    if source.sheets > 1:
        notes.append(f"sheet {shown(source.sheet)} of {source.sheets}")
    return f"{source.path.name}: {', '.join(notes)}"


def read_batches(
    source: Source,
    *,
    rows: int,
    cut: Callable[[int, int], None] = lambda row, characters: None,
    keep: Sequence[str] = (),
) -> Iterator[pl.DataFrame]:
    """The file's rows in its order, at most ``rows`` at a time; the ids as they are: see :mod:`tsirius.io.ids`.

    Columns: ``row`` (Int64, 1-based, the header not counted), ``id`` (String: the file's, else the 0-based row
    number), and, where the file has such columns, ``text`` and ``category`` (String, "" where a cell is empty). A blank
    line is an empty text where there is one column and other rows follow, else nothing. Of a text the first
    :data:`tsirius.language.clean.LONGEST` characters are read; ``cut`` is told the row and the length of a longer one.
    Several columns of text are joined, each that is not empty with its name before it.

    The columns named in ``keep`` follow as the file has them, each under its name with :data:`KEPT` before it.

    Raises:
        UserError: a row cannot be read.
    """
    own = [name for name in (*source.text_columns, source.id_column, source.category_column) if name is not None]
    names = list(dict.fromkeys([*own, *keep]))
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
        if source.text_columns:
            data["text"] = pl.Series(_joined(source.text_columns, chunk), dtype=pl.String).fill_null("")
        if source.category_column is not None:
            data["category"] = pl.Series(chunk[source.category_column], dtype=pl.String).fill_null("")
        for name in keep:
            data[KEPT + name] = pl.Series(chunk[name], dtype=pl.String).fill_null("")
        done += count
        yield pl.DataFrame(data)


def _joined(columns: Sequence[str], chunk: Cells) -> list[str | None]:
    """Each row's text, of one column or several."""
    if len(columns) == 1:
        return chunk[columns[0]]
    rows = zip(*(chunk[name] for name in columns), strict=True)
    return [
        "\n".join(f"{name}: {cell.strip()}" for name, cell in zip(columns, row, strict=True) if cell and cell.strip())
        for row in rows
    ]


# --- what kind of file ------------------------------------------------------------------------------------------------


def _kind(path: Path) -> tuple[str, str]:
    if path.is_dir():
        raise UserError("is a folder, not a file", where=path, remedy="Give the file in it.")
    if not path.exists():
        near = nearest(path.name, [item.name for item in path.parent.iterdir() if item.name != path.name]
                       if path.parent.is_dir() else [])  # fmt: skip
        raise UserError(f"no such file{near}", where=path, remedy="Check the path.")
    kind = kind_of_name(path)
    if not path.is_file():  # it is read twice: a pipe would be empty by then
        raise UserError("is not an ordinary file", where=path, remedy="Save it to a file first.")
    if path.stat().st_size == 0:
        raise UserError("is empty", where=path, remedy=_MENDS_EMPTY)
    signature = packed_signature(kind[1]) or {"parquet": b"PAR1", "xlsx": b"PK\x03\x04"}.get(kind[0], b"")
    with path.open("rb") as raw:
        head = raw.read(2000)
    if kind[0] == "xlsx" and not kind[1] and head.startswith(b"\xd0\xcf\x11\xe0"):
        raise UserError("has a password, or is an old Excel file with a new name", where=path,
                        remedy="Open it in Excel and save it as .xlsx without a password.")  # fmt: skip
    refuse_binary(head, path, expected=signature)
    return kind


def kind_of_name(path: Path) -> tuple[str, str]:
    """The format and the compression ("": none) by a file's name.

    Raises:
        UserError: the format is not supported.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compression = COMPRESSIONS.get(suffixes[-1], "") if suffixes else ""
    suffix = suffixes[-2 if compression else -1] if len(suffixes) > bool(compression) else ""
    if suffix in OTHER_SPREADSHEETS:
        raise UserError(f"is {OTHER_SPREADSHEETS[suffix]}, which cannot be read", where=path,
                        remedy="Open it and save it as .xlsx (Excel Workbook) or CSV.")  # fmt: skip
    if suffix not in FORMATS:
        raise UserError(f"unsupported file type {suffix!r}", where=path,
                        remedy=f"Use {', '.join(FORMATS)}, each also with {', '.join(COMPRESSIONS)}.")  # fmt: skip
    return FORMATS[suffix], compression
