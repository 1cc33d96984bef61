"""Writers: predictions in any format that is read, plain or compressed, a part at a time in bounded memory.

The same rows give the same bytes: nothing of the time or of the file's name is written.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import lzma
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TextIO

import polars as pl

from tsirius import tables
from tsirius.errors import UserError, nearest
from tsirius.io import noted, spreadsheet
from tsirius.io.names import visible
from tsirius.io.readers import BOM
from tsirius.io.source import KEPT, Source, kind_of_name
from tsirius.io.streams import zstd
from tsirius.io.workbook import SHEET, new_sheet, typed_rows

DELIMITERS = {"csv": ",", "tsv": "\t"}
PREDICTED = ("category", "confidence")
RUNNER_UP = tuple(tables.RUNNER_UP)
NUMBERS = ("confidence", "runner_up_confidence")
"""Columns of predictions: those that are always there, those that are asked for, and which of them are numbers."""
ALL = "all"
BESIDE = " (input)"
"""After the name of a column of the input that is called as one of the predictions."""

Add = Callable[[pl.DataFrame], None]


@dataclass(frozen=True)
class Layout:
    """How predictions are written.

    Attributes:
        format: ``csv``, ``tsv``, ``jsonl``, ``parquet`` or ``xlsx``.
        compression: ``gz``, ``xz``, ``zst``, or "" for none.
        fields: the columns in their order: the name of each in the output → in the tables that are written.
        texts: those that hold reviews.
        excel: the delimiter that an Excel here expects in a CSV file that a person opens with it; "" for one that
            programs read.
        notes: key-value metadata of a Parquet file: see :mod:`tsirius.io.noted`.
    """

    format: str
    compression: str
    fields: Mapping[str, str]
    texts: tuple[str, ...] = ()
    excel: str = ""
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns' names in their order."""
        return tuple(self.fields)

    @property
    def id_column(self) -> str | None:
        """The name of the column of ids; None where there is none."""
        return next((name for name, held in self.fields.items() if held == "id"), None)

    @property
    def kept(self) -> tuple[str, ...]:
        """The columns of the input that are written too, by their names there."""
        return tuple(held.removeprefix(KEPT) for held in self.fields.values() if held.startswith(KEPT))

    @property
    def delimiter(self) -> str:
        """Between two cells; "" for formats without one."""
        return self.excel or DELIMITERS.get(self.format, "")

    def written(self, path: Path) -> Source:
        """How to read what was written to ``path`` so."""
        encoding = {"parquet": "", "xlsx": ""}.get(self.format, "utf-8-sig" if self.excel else "utf-8")
        return Source(
            path,
            (),
            self.id_column,
            "category",
            encoding,
            self.format,
            self.compression,
            self.delimiter,
            self.columns,
            sheet=SHEET if self.format == "xlsx" else "",
        )


def layout(
    output: Path | None,
    source: Source,
    *,
    confidence: bool,
    columns: Sequence[str] = (),
    runner_up: bool = False,
    excel: str = "",
) -> Layout:
    """The layout that a file's name asks for; CSV for standard output and for what is not an ordinary file.

    The id column of ``source`` keeps its name, or is "id" where that would be taken for another column; it comes first.

    Args:
        output: the file; None for standard output.
        source: what is predicted.
        confidence: whether the predicted category's probability is written too.
        columns: which to write, by their names in ``source`` or here; "all" for all of them, none for those that
            programs expect: the id, the category, the confidence.
        runner_up: whether the second category and its probability are written too.
        excel: see :class:`Layout`.

    Raises:
        UserError: the file type is not supported, or there is no such column.
    """
    plain = output is None or (output.exists() and not output.is_file())
    kind, compression = ("csv", "") if plain or output is None else kind_of_name(output)
    known: dict[str, str] = {}
    if source.id_column is not None:
        taken = source.id_column in (*PREDICTED, *RUNNER_UP) or "\r" in source.id_column
        known["id" if taken else source.id_column] = "id"
    own = [*PREDICTED[: 1 + confidence], *(RUNNER_UP if runner_up or set(columns) & set(RUNNER_UP) else ())]
    kept = dict.fromkeys(name for name in source.columns if name and name != source.id_column)
    names = {name: apart(name, [*known, *own]) for name in kept}
    every = {**known, **{names[name]: KEPT + name for name in kept}, **{name: name for name in own}}
    fields = {**known, **{name: name for name in own}}
    if list(columns) == [ALL]:
        fields = every
    elif columns:
        fields = _picked(columns, every)
        fields |= {name: name for name in own if runner_up and name in RUNNER_UP}
    texts = tuple(names[name] for name in source.text_columns if name in names)
    return Layout(kind, compression, fields, texts, excel if kind == "csv" else "")


def apart(name: str, taken: Sequence[str]) -> str:
    """The name of a column of the input beside columns of ours, which keep theirs."""
    return name if name not in taken else f"{name}{BESIDE}"


def _picked(columns: Sequence[str], every: Mapping[str, str]) -> dict[str, str]:
    """Those of ``every`` that are named in ``columns``; "label" is the category, as labels and predictions are.

    Raises:
        UserError: one is not known, or the category is not among them.
    """
    fields = {}
    for name in columns:
        found = next((known for known in every if visible(known) == visible(name)), None)
        if found is None and name == "label":
            found = "category"
        if found is None and name == "id":
            found = next((known for known, held in every.items() if held == "id"), None)
        if found is None:
            raise UserError(f"no column {name!r}{nearest(name, every)}", where="--columns",
                            remedy=f"Name some of: {', '.join(every)}.")  # fmt: skip
        fields[found] = every[found]
    if "category" not in fields:
        raise UserError("the category is not among them", where="--columns", remedy="Add category.")
    return fields


@contextmanager
def to_file(path: Path, layout: Layout) -> Iterator[Add]:
    """Write tables of :data:`tsirius.tables.PREDICTIONS` to ``path``: each call of the given function adds rows.

    They also have the columns of the layout that are not predictions.
    """
    with ExitStack() as stack:
        if layout.format in ("parquet", "xlsx"):
            plain = path if not layout.compression else path.with_name(f"{path.name}.plain")
            with (_parquet if layout.format == "parquet" else _workbook)(plain, layout) as add:
                yield add
            if layout.compression:
                with plain.open("rb") as read, open_compressed(path, layout.compression) as write:
                    shutil.copyfileobj(read, write, 1 << 20)
                plain.unlink()
            return
        binary = stack.enter_context(open_compressed(path, layout.compression))
        text = stack.enter_context(io.TextIOWrapper(binary, encoding="utf-8", newline=""))
        yield to_stream(text, layout)


def to_stream(handle: TextIO, layout: Layout) -> Add:
    """The same for text that goes to ``handle`` as it comes; not for Parquet or Excel."""
    if layout.format == "jsonl":
        return lambda part: handle.writelines(
            json.dumps(dict(zip(layout.columns, row, strict=True)), ensure_ascii=False) + "\n"
            for row in _rows(part, layout)
        )
    if layout.excel:
        return _to_person(handle, layout)
    plain = csv.writer(handle, delimiter=layout.delimiter, lineterminator="\n")
    quoting = csv.writer(handle, delimiter=layout.delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL)
    plain.writerow(layout.columns)

    def add(part: pl.DataFrame) -> None:
        for row in _rows(part, layout):
            returns = any("\r" in cell for cell in row if isinstance(cell, str))
            (quoting if returns else plain).writerow(row)  # csv sees no need to quote it

    return add


def _to_person(handle: TextIO, layout: Layout) -> Add:
    """CSV for a spreadsheet: no cell of it is run as a formula, and numbers are written as it reads them."""
    handle.write(BOM)
    writer = spreadsheet.writer(handle, delimiter=layout.delimiter)
    writer([layout.columns])
    return lambda part: writer(_rows(part, layout))


def _rows(part: pl.DataFrame, layout: Layout) -> Iterator[Sequence[Any]]:
    return _table(part, layout).iter_rows()


def _table(part: pl.DataFrame, layout: Layout) -> pl.DataFrame:
    """``part`` with the layout's columns; a confidence with four digits, which is more than it is worth."""
    columns = {name: pl.col(held) for name, held in layout.fields.items()}
    columns |= {
        name: column.cast(pl.Float64).round(4) for name, column in columns.items() if layout.fields[name] in NUMBERS
    }
    return part.select(**columns)


@contextmanager
def _parquet(path: Path, layout: Layout) -> Iterator[Add]:
    schema = {name: pl.Float64 if held in NUMBERS else pl.String for name, held in layout.fields.items()}
    with noted.writer(schema, path, layout.notes) if layout.notes else tables.writer(schema, path) as add:
        yield lambda part: add(_table(part, layout))


@contextmanager
def _workbook(path: Path, layout: Layout) -> Iterator[Add]:
    plain = {*layout.texts, "category", "runner_up"}
    with new_sheet(path, layout.columns, texts=layout.texts) as add:
        yield lambda part: add(typed_rows(_rows(part, layout), layout.columns, plain=plain))


@contextmanager
def open_compressed(path: Path, compression: str) -> Iterator[IO[bytes]]:
    """``path`` to write bytes to, which are compressed on their way."""
    with path.open("wb") as raw:
        opened: Any
        if compression == "gz":
            opened = gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0, compresslevel=6)
        elif compression == "xz":
            opened = lzma.LZMAFile(raw, mode="wb", preset=3)  # noqa: SIM115 (closed below)
        elif compression == "zst":
            module = zstd()
            checked = {module.CompressionParameter.checksum_flag: 1}
            opened = module.ZstdFile(raw, mode="wb", options=checked)
        else:
            yield raw
            return
        with opened:
            yield opened
