"""Writers: predictions as CSV, TSV, JSON Lines or Parquet, plain or compressed, a part at a time in bounded memory.

The same rows give the same bytes: nothing of the time or of the file's name is written.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import lzma
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TextIO, cast

import polars as pl

from tsirius import tables
from tsirius.io.source import Source, kind_of_name

DELIMITERS = {"csv": ",", "tsv": "\t"}
ID_TAKEN = ("category", "confidence")

Add = Callable[[pl.DataFrame], None]


@dataclass(frozen=True)
class Layout:
    """How predictions are written.

    Attributes:
        format: ``csv``, ``tsv``, ``jsonl`` or ``parquet``.
        compression: ``gz``, ``xz``, ``zst``, or "" for none.
        id_column: the name of the first column; None where rows have no ids of their own.
        confidence: whether the predicted category's probability is the last column.
    """

    format: str
    compression: str
    id_column: str | None
    confidence: bool

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns' names in their order."""
        ids = [] if self.id_column is None else [self.id_column]
        return (*ids, "category", *(["confidence"] if self.confidence else []))

    def written(self, path: Path) -> Source:
        """How to read what was written to ``path`` so."""
        delimiter = DELIMITERS.get(self.format, "")
        encoding = "" if self.format == "parquet" else "utf-8"
        return Source(
            path, None, self.id_column, "category", encoding, self.format, self.compression, delimiter, self.columns
        )


def layout(output: Path | None, source: Source, *, confidence: bool) -> Layout:
    """The layout that a file's name asks for; CSV for standard output and for what is not an ordinary file.

    The id column of ``source`` keeps its name, or is "id" where that would be taken for another column.

    Raises:
        UserError: the file type is not supported.
    """
    name = source.id_column
    if name is not None and (name in ID_TAKEN or "\r" in name):
        name = "id"
    plain = output is None or (output.exists() and not output.is_file())
    kind = ("csv", "") if plain or output is None else kind_of_name(output)
    return Layout(*kind, name, confidence)


@contextmanager
def to_file(path: Path, layout: Layout) -> Iterator[Add]:
    """Write tables of :data:`tsirius.tables.PREDICTIONS` to ``path``: each call of the given function adds rows."""
    with ExitStack() as stack:
        if layout.format == "parquet":
            plain = path if not layout.compression else path.with_name(f"{path.name}.plain")
            with _parquet(plain, layout) as add:
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
    """The same for text that goes to ``handle`` as it comes; not for Parquet."""
    if layout.format == "jsonl":
        return lambda part: handle.writelines(
            json.dumps(dict(zip(layout.columns, row, strict=True)), ensure_ascii=False) + "\n"
            for row in _rows(part, layout)
        )
    delimiter = DELIMITERS[layout.format]
    plain = csv.writer(handle, delimiter=delimiter, lineterminator="\n")
    quoting = csv.writer(handle, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL)
    plain.writerow(layout.columns)

    def add(part: pl.DataFrame) -> None:
        for row in _rows(part, layout):
            (quoting if "\r" in row[0] else plain).writerow(row)  # csv sees no need to quote it

    return add


def _rows(part: pl.DataFrame, layout: Layout) -> Iterator[Sequence[Any]]:
    return _table(part, layout).iter_rows()


def _table(part: pl.DataFrame, layout: Layout) -> pl.DataFrame:
    """``part`` with the layout's columns; the confidence with four digits, which is more than it is worth."""
    columns = [] if layout.id_column is None else [pl.col("id").alias(layout.id_column)]
    columns.append(pl.col("category"))
    if layout.confidence:
        columns.append(pl.col("confidence").cast(pl.Float64).round(4))
    return part.select(columns)


@contextmanager
def _parquet(path: Path, layout: Layout) -> Iterator[Add]:
    schema: dict[str, Any] = dict.fromkeys(layout.columns, pl.String)
    if layout.confidence:
        schema["confidence"] = pl.Float64
    with tables.writer(schema, path) as add:
        yield lambda part: add(_table(part, layout))


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
            import pyarrow as pa

            opened = io.BufferedWriter(cast(Any, pa.CompressedOutputStream(raw, "zstd")))
        else:
            yield raw
            return
        with opened:
            yield opened
