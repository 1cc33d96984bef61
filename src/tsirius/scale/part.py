"""One part: read its reviews, classify them, check what was written, publish it. Any worker may die at any moment."""

from __future__ import annotations

import posixpath
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tsirius.errors import UserError
from tsirius.io import addresses, ids, writers
from tsirius.io.names import visible
from tsirius.io.source import Source, open_source
from tsirius.models.classifier import Classifier, load_known
from tsirius.scale.plan import Job, Part, is_done
from tsirius.stages import predict

COPY_ROWS = 10_000
"""Rows of a Parquet file that are copied at a time."""
BUFFER_BYTES = 4 << 20
"""Bytes of a column that are asked of a store at a time."""


@dataclass(frozen=True)
class Done:
    """What became of a part.

    Attributes:
        output: the path of its predictions.
        rows: how many reviews it has; 0 where another worker had finished it.
        seconds: that took.
        categories: reviews of each category.
    """

    output: str
    rows: int
    seconds: float
    categories: Mapping[str, int]


def worker(job: Job) -> Callable[[Part], Done]:
    """The function from a part to its published output; the model is loaded once.

    Raises:
        UserError: the model is not the one that the job was planned with.
    """
    classifier, loaded = load_known(Path(job.model))
    if loaded != job.fingerprint:
        raise UserError("is another model than the work was planned with", where=job.model, remedy="Start again.")
    return lambda part: run(job, part, classifier)


def run(job: Job, part: Part, classifier: Classifier) -> Done:
    """Predict a part and publish its output, unless that is there; the same part gives the same bytes.

    Raises:
        UserError: a row cannot be read, an id is missing or comes twice, or the file changed since it was planned.
    """
    if is_done(job, part):
        return Done(part.output, 0, 0.0, {})
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tsirius-") as name:
        folder = Path(name)
        with _local(job, part, folder) as local:
            source = open_part(job, local)
            rows = ids.check(source)
            if part.rows is not None and rows != part.rows:
                raise UserError(f"has {rows:,} rows where its footer says {part.rows:,}", where=local)
            new = folder / "predicted.parquet"
            predicted = predict.to_file(
                classifier,
                source,
                new,
                replace(layout(job, source, new), notes=job.note(part)),
                rows=rows,
                batch_rows=predict.Config().batch_rows,
                shards=None,
                also=None,
            )
        addresses.put(new, job.place(part))
    return Done(part.output, rows, time.monotonic() - start, dict(predicted.categories))


def open_part(job: Job, local: Path) -> Source:
    """A part's file, with the columns of the job."""
    return open_source(
        local,
        text_column=job.text_columns,
        id_column=job.id_column,
        encoding=job.encoding,
        text_required=True,
    )


def layout(job: Job, source: Source, output: Path) -> writers.Layout:
    """The columns of a part's output."""
    return writers.layout(output, source, confidence=True, columns=job.columns, runner_up=job.runner_up)


@contextmanager
def _local(job: Job, part: Part, folder: Path) -> Iterator[Path]:
    """A local file with the reviews of a part; errors about it name the part.

    Of a Parquet file in a store, or cut between row groups, it has the needed columns alone. The file in its place is
    looked at again when all is read: it must be the one that was planned.
    """
    if part.groups is None and not addresses.is_url(part.address):
        check_unchanged(part)
        yield Path(part.address)
        check_unchanged(part)
        return
    local = folder / posixpath.basename(part.name)
    if part.rows is not None:
        addresses.retrying(lambda: _copy(job, part, local), part.shown)
    else:
        addresses.fetch(part.address, folder)
    check_unchanged(part)
    with addresses.told_as(local, part.shown):
        yield local


def check_unchanged(part: Part) -> None:
    """Make sure that a part's file is still the one that was planned.

    Raises:
        UserError: it was replaced.
    """
    if addresses.state(part.address) != (part.size, part.mark):
        raise UserError("changed since the work was planned", where=part.shown, remedy="Start again, with --redo.")


def head(part: Part, folder: Path) -> Path:
    """A local file with the columns of a part, and not all of its rows where that can be helped."""
    if part.rows is None:
        return addresses.fetch(part.address, folder)
    import pyarrow.parquet as pq

    local = folder / posixpath.basename(part.name)

    def read() -> None:
        with addresses.opened(part.address) as handle:
            pq.write_table(pq.read_schema(handle).empty_table(), local)

    addresses.retrying(read, part.shown)
    return local


def _copy(job: Job, part: Part, local: Path) -> None:
    """Copy the needed columns of a part's row groups, some rows at a time."""
    import pyarrow.parquet as pq

    with addresses.opened(part.address) as handle:
        file = pq.ParquetFile(handle, buffer_size=BUFFER_BYTES, pre_buffer=False)
        columns = _needed(job, file.schema_arrow.names)
        groups = list(range(*(part.groups or (0, file.num_row_groups))))
        schema = file.schema_arrow if columns is None else _of(file.schema_arrow, columns)
        with pq.ParquetWriter(local, schema, compression="zstd") as copy:
            for batch in file.iter_batches(batch_size=COPY_ROWS, row_groups=groups, columns=columns):
                copy.write_batch(batch)


def _of(schema: Any, columns: list[str]) -> Any:
    """The columns of a schema, in its order, as batches of them have."""
    import pyarrow as pa

    return pa.schema([field for field in schema if field.name in columns])


def _needed(job: Job, names: list[str]) -> list[str] | None:
    """The columns of a file that are read or written; None for all of them."""
    if list(job.columns) == [writers.ALL]:
        return None
    wanted = {visible(name) for name in (*job.text_columns, job.id_column, *job.columns)}
    return [name for name in names if visible(name) in wanted]
