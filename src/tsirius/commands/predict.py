"""Predict a file of reviews with a finished run or a model's folder."""

from __future__ import annotations

import csv
import errno
import json
import os
import posixpath
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tsirius.errors import UserError
from tsirius.io import addresses, ids, spreadsheet, workbook, writers
from tsirius.io.source import Source, TextColumns, describe_source, open_alike
from tsirius.models.classifier import Classifier, load_known
from tsirius.progress import say
from tsirius.publish import locked, replacing, write_text
from tsirius.shards import Shards
from tsirius.stages import predict
from tsirius.store import Store, fingerprint, versions


def split(columns: str) -> list[str]:
    """The names in ``columns``, separated by commas; one with a comma in it is quoted, as in CSV."""
    return [name for name in next(csv.reader([columns], skipinitialspace=True), []) if name.strip()]


@dataclass(frozen=True)
class Table:
    """Which columns are written.

    What programs read has the id, the category and the confidence; what a person opens has all columns of the reviews
    as well: an Excel workbook, and what is ``for_excel``.

    Attributes:
        columns: which instead, by their names in the file of reviews or in the output; "all" for all of them.
        runner_up: whether the second category and its probability are written too.
        for_excel: CSV as an Excel of this machine's locale opens it.
    """

    columns: Sequence[str] = ()
    runner_up: bool = False
    for_excel: bool = False

    def layout(self, output: Path | None, source: Source) -> writers.Layout:
        """The layout of ``output``; see :func:`tsirius.io.writers.layout`."""
        excel = spreadsheet.excel_delimiter() if self.for_excel else ""
        person = self.for_excel or (output is not None and workbook.is_workbook(output))
        columns = self.columns or ([writers.ALL] if person else [])
        return writers.layout(output, source, confidence=True, columns=columns, runner_up=self.runner_up, excel=excel)


def predict_file(
    model: str | Path,
    reviews: str | Path,
    output: str | Path | None = None,
    *,
    text_column: TextColumns = "auto",
    id_column: str = "auto",
    encoding: str = "auto",
    sheet: str | int = "auto",
    table: Table = Table(),
) -> None:
    """Predict every review of a file, in its order.

    Either may be a URL, see :mod:`tsirius.io.addresses`: the file is then worked on in a temporary folder here.

    The name of the output says its format, as an input's does. It appears whole or not at all, once it was compared
    with the reviews; finished windows are kept beside it until then, so that the same command resumes after a kill. To
    standard output (``output`` is None), or into a pipe, each window of rows goes as it is done. Columns that are
    "auto" are those that the run's settings name, where the file has them.

    Raises:
        UserError: the model or the file cannot be read, or the output is the file itself or of an unsupported
            type.
    """
    model = Path(model)
    with _ordinary(reviews) as file, _published(output) as output:
        _check_output(output, file)
        read_as = {"encoding": encoding, "text_required": True, "sheet": sheet}
        source = open_alike(
            file, Store(model).settings("ingest"), text_column=text_column, id_column=id_column, **read_as
        )
        _predict(model, source, output, table.layout(output, source))


def _predict(model: Path, source: Source, output: Path | None, layout: writers.Layout) -> None:
    say(describe_source(source))
    classifier, loaded = load_known(model)
    rows, batch_rows = ids.check(source), predict.Config().batch_rows
    if layout.format == "xlsx" and output is not None and rows >= workbook.ROWS:
        raise workbook.too_many(output, rows)
    if output is None or (output.exists() and not output.is_file()):
        _stream(classifier, source, output, layout, rows=rows, batch_rows=batch_rows)
        return
    key = {
        "version": predict.VERSION,
        "reviews": fingerprint(source.path),
        "columns": [source.text_columns, source.id_column, source.encoding, source.sheet],
        "model": loaded,
        "batch_rows": batch_rows,
        "packages": versions(),
    }
    with _unfinished(output, key) as folder, replacing(output) as temporary:
        new = folder / f"new{''.join(output.suffixes[-2:])}"
        shards = Shards(folder / "windows")
        predicted = predict.to_file(
            classifier, source, new, layout, rows=rows, batch_rows=batch_rows, shards=shards, also=None
        )
        new.replace(temporary)
    say(f"{output}: {predicted.line()}")


STDIN = Path("-")
_ENDINGS = {b"PK\x03\x04": ".xlsx", b"PAR1": ".parquet", b"\x1f\x8b": ".csv.gz", b"{": ".jsonl"}
"""What standard input holds, by its first bytes; else CSV."""


@contextmanager
def _ordinary(reviews: str | Path) -> Iterator[Path]:
    """The file of reviews; standard input ("-") and what a URL leads to are copied to one, as it is read several times.

    Raises:
        UserError: standard input is closed, or a terminal; the store does not give the file.
    """
    if addresses.is_url(str(reviews)):
        with tempfile.TemporaryDirectory(prefix="tsirius-") as folder:
            fetched = addresses.fetch(str(reviews), Path(folder))
            with addresses.told_as(fetched, addresses.shown(str(reviews))):
                yield fetched
        return
    reviews = Path(reviews)
    if reviews != STDIN:
        yield reviews
        return
    if sys.stdin is None or sys.stdin.isatty():
        raise UserError("standard input holds no file", remedy="Write: tsirius predict RUN - < reviews.csv.")
    with tempfile.TemporaryDirectory(prefix="tsirius-") as folder:
        head = sys.stdin.buffer.read(64)
        ending = next((end for mark, end in _ENDINGS.items() if head.lstrip(b" \r\n\t").startswith(mark)), ".csv")
        path = Path(folder) / f"stdin{ending}"
        with path.open("wb") as copy:
            copy.write(head)
            shutil.copyfileobj(sys.stdin.buffer, copy)
        yield path


@contextmanager
def _published(output: str | Path | None) -> Iterator[Path | None]:
    """The file to write; of a URL a local one, which is put there at a good end."""
    if output is None or not addresses.is_url(str(output)):
        yield None if output is None else Path(output)
        return
    with tempfile.TemporaryDirectory(prefix="tsirius-") as folder:
        local = Path(folder) / posixpath.basename(urlsplit(str(output)).path)
        yield local
        addresses.put(local, str(output))


def _check_output(output: Path | None, reviews: Path) -> None:
    if output is None:
        if sys.stdout is None:
            raise UserError("standard output is closed", remedy="Name a file to write with -o.")
    elif output.is_dir():
        raise UserError("is a folder", where=output, remedy="Name the file to write.")
    elif output.exists() and reviews.exists() and output.samefile(reviews):
        raise UserError("is the file of reviews itself", where=output, remedy="Name another file to write.")


def _stream(
    classifier: Classifier,
    source: Source,
    output: Path | None,
    layout: writers.Layout,
    *,
    rows: int,
    batch_rows: int,
) -> None:
    """Write each window to standard output, a pipe or a device as it is done."""
    windows = predict.windows(classifier, source, rows=rows, batch_rows=batch_rows, shards=None, keep=layout.kept)
    if output is None:
        add = writers.to_stream(sys.stdout, layout)
        for window in windows:
            add(window)
        return
    with replacing(output) as path, writers.to_file(path, layout) as add:
        for window in windows:
            add(window)


@contextmanager
def _unfinished(output: Path, key: Mapping[str, Any]) -> Iterator[Path]:
    """A folder beside the file that ``output`` leads to: it outlives a killed process, and is removed at a good end.

    What an earlier try left is kept for the same ``key``, else removed.

    Raises:
        UserError: another process is writing the same output.
    """
    target = Path(os.path.realpath(output))
    if not target.parent.exists():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(output.parent))
    folder = target.with_name(f".{target.name}.unfinished")
    folder.mkdir(exist_ok=True)
    busy = UserError("another process is writing it", where=output,
                     remedy="Wait for it to end, or name another file.")  # fmt: skip
    with locked(folder, busy):
        text = json.dumps(key, ensure_ascii=False, sort_keys=True)
        mark = folder / "key.json"
        if not mark.is_file() or mark.read_bytes() != text.encode(errors="surrogateescape"):
            shutil.rmtree(folder / "windows", ignore_errors=True)
            write_text(mark, text)
        yield folder
        shutil.rmtree(folder)
