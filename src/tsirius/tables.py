"""The tables that flow between stages: their columns, checked each time that one is written or read.

Every table is a Parquet file in a stage's folder. A column named here means the same thing everywhere:

- ``id`` names a review: the file's own id where it has one, else its 0-based row number, as text.
- ``row`` is the 1-based data row in ``source``, the file's name (a header is not counted).
- ``text`` is the review as it came; ``clean`` the same after :func:`tsirius.language.clean.normalise`.
- ``group`` is shared by exact and near duplicates; it never crosses the split.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import polars as pl

Schema = Mapping[str, Any]

PROBABILITIES = pl.List(pl.Float32)

REVIEWS: Schema = {
    "id": pl.String,
    "source": pl.String,
    "row": pl.Int64,
    "text": pl.String,
    "clean": pl.String,
    "group": pl.Int64,
}
"""ingest: the reviews that are kept."""

REJECTED: Schema = {"id": pl.String, "source": pl.String, "row": pl.Int64, "reason": pl.String}
"""ingest: the rows that are set aside, and why: ``empty``, ``too long`` or ``nothing left``."""

VOTES: Schema = {
    "id": pl.String,
    "labeller": pl.String,
    "said": pl.String,
    "probabilities": PROBABILITIES,
    "evidence": pl.List(pl.String),
}
"""label: one row a review and labeller; ``said`` is its likeliest category and ``probabilities`` are in the categories'
order, both null where it abstains; ``evidence`` are the words or names that decided, the weightiest first."""

LABELS: Schema = {
    "id": pl.String,
    "label": pl.String,
    "confidence": pl.Float32,
    "margin": pl.Float32,
    "labellers": pl.List(pl.String),
    "doubtful": pl.Boolean,
}
"""label: the reconciled label of each review, null where every labeller abstained.

``confidence`` is the label's probability, ``margin`` its lead over the second, ``labellers`` who gave that label (null:
the review was not in the sample that labellers were asked about), ``doubtful`` whether it is likely wrong by what like
reviews are labelled.
"""

TAUGHT: Schema = {**LABELS, "role": pl.String, "weight": pl.Float32}
"""answers: the same after what people said. ``role`` is what their answers make of the review, see
:data:`tsirius.answers.standing.ANSWERED`, null where they say nothing of it; ``weight`` is how much it counts in
training."""

LABELLED: Schema = {
    "id": pl.String,
    "clean": pl.String,
    "group": pl.Int64,
    "label": pl.String,
    "confidence": pl.Float32,
    "kept": pl.Boolean,
    "reason": pl.String,
    "weight": pl.Float32,
}
"""select: every review with the decision about it, and how much it counts in training."""

EXAMPLES: Schema = {
    "id": pl.String,
    "clean": pl.String,
    "group": pl.Int64,
    "label": pl.String,
    "confidence": pl.Float32,
    "origin": pl.String,
    "method": pl.String,
    "weight": pl.Float32,
}
"""split, balance, augment: labelled rows. ``origin`` is the id of the review that a row derives from (its own id
where ``method`` is ``written``, that is, where a person wrote it); ``weight`` is how much it counts in training, 1 but
for variants and answered reviews."""

VARIANTS: Schema = {
    "id": pl.String,
    "origin": pl.String,
    "method": pl.String,
    "label": pl.String,
    "clean": pl.String,
    "source": pl.String,
    "similarity": pl.Float32,
}
"""augment: the variants that were accepted, beside their sources' texts; ``similarity`` is that of their meaning."""

REFUSED: Schema = dict.fromkeys(("reason", "method", "label", "clean", "source"), pl.String)
"""augment: some of the variants that were not, and why."""

PREDICTIONS: Schema = {"id": pl.String, "category": pl.String, "confidence": pl.Float32}
"""predict: one row a review of the file, in its order."""

RUNNER_UP: Schema = {"runner_up": pl.String, "runner_up_confidence": pl.Float32}
"""predict, while it works: the second category of each row, and its probability."""


ROW_GROUP = 20_000
"""Rows of a row group in a table that is written in pieces."""
HELD_BYTES = 32 << 20
"""Bytes of such a table that are held in memory."""


def write(table: pl.DataFrame, schema: Schema, path: Path) -> None:
    """Write ``table`` as Parquet with exactly the columns of ``schema``, in its order.

    Raises:
        ValueError: a column is missing or of another type: a mistake in the stage, not in its input.
    """
    check(table.schema, schema, path)
    table.select(schema.keys()).write_parquet(path)


@contextmanager
def writer(schema: Schema, path: Path) -> Iterator[Callable[[pl.DataFrame], None]]:
    """Write a table that does not fit in memory: each call of the given function adds rows to ``path``.

    The rows wait beside ``path``, in files of about :data:`HELD_BYTES`, until all have come: polars writes no Parquet
    file piece by piece.

    Raises:
        ValueError: as :func:`write`.
    """
    waiting, parts = [pl.DataFrame(schema=schema)], list[Path]()
    with tempfile.TemporaryDirectory(prefix=".tsirius-", dir=path.parent) as folder:

        def put_aside() -> None:
            parts.append(Path(folder) / f"{len(parts)}.arrow")
            pl.concat(waiting).write_ipc(parts[-1], compression="zstd")
            del waiting[1:]

        def add(table: pl.DataFrame) -> None:
            check(table.schema, schema, path)
            waiting.append(table.select(schema.keys()))
            if sum(one.estimated_size() for one in waiting) > HELD_BYTES:
                put_aside()

        yield add
        if parts:
            put_aside()
            pl.scan_ipc(parts).sink_parquet(path, row_group_size=ROW_GROUP)
        else:
            pl.concat(waiting).write_parquet(path, row_group_size=ROW_GROUP)


def scan(path: Path) -> pl.LazyFrame:
    """A table that is read later, or in part; brackets and ``a=b`` in its path are no pattern and no partition."""
    return pl.scan_parquet(path, glob=False, hive_partitioning=False)


def batches(path: Path, *, rows: int, columns: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
    """The rows of a table, or some of its columns, at most ``rows`` at a time, in its order."""
    table = scan(path)
    if columns is not None:
        table = table.select(columns)
    for start in count(0, rows):
        batch = table.slice(start, rows).collect()
        if batch.height:
            yield batch
        if batch.height < rows:
            return


def read(path: Path, schema: Schema, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """Read a table that :func:`write` wrote, or some of its columns: a million texts would not fit a small machine.

    Raises:
        ValueError: the file has other columns than ``schema``.
    """
    table = (scan(path) if columns is None else scan(path).select(columns)).collect()
    check(table.schema, schema if columns is None else {name: schema[name] for name in columns}, path)
    return table


def check(columns: Mapping[str, Any], schema: Schema, path: Path) -> None:
    """Make sure that a table for ``path`` has the columns of ``schema``; it may have others.

    Raises:
        ValueError: one is missing or of another type.
    """
    for name, kind in schema.items():
        if name not in columns:
            raise ValueError(f"{path}: column {name!r} is missing")
        if columns[name] != kind:
            raise ValueError(f"{path}: column {name!r} is {columns[name]}, not {kind}")
