"""The tables that flow between stages: their columns, checked each time that one is written or read.

Every table is a Parquet file in a stage's folder. A column named here means the same thing everywhere:

- ``id`` names a review: the file's own id where it has one, else its 0-based row number, as text.
- ``row`` is the 1-based data row in ``source``, the file's name (a header is not counted).
- ``text`` is the review as it came; ``clean`` the same after :func:`tsirius.language.clean.normalise`.
- ``group`` is shared by exact and near duplicates; it never crosses the split.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
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

``confidence`` is the label's probability, ``margin`` its lead over the second, ``labellers`` who gave that label,
``doubtful`` whether it is likely wrong by what like reviews are labelled.
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


def write(table: pl.DataFrame, schema: Schema, path: Path) -> None:
    """Write ``table`` as Parquet with exactly the columns of ``schema``, in its order.

    Raises:
        ValueError: a column is missing or of another type: a mistake in the stage, not in its input.
    """
    _check(table.schema, schema, path)
    table.select(schema.keys()).write_parquet(path)


@contextmanager
def writer(
    schema: Schema, path: Path, *, notes: Mapping[str, str] | None = None
) -> Iterator[Callable[[pl.DataFrame], None]]:
    """Write a table that does not fit in memory: each call of the given function adds rows to ``path``.

    ``notes`` become the file's key-value metadata; with them each page has a checksum.

    Raises:
        ValueError: as :func:`write`.
    """
    import pyarrow.parquet as pq

    fields = pl.DataFrame(schema=schema).to_arrow(compat_level=pl.CompatLevel.oldest()).schema
    with pq.ParquetWriter(path, fields, compression="zstd", write_page_checksum=bool(notes)) as file:

        def add(table: pl.DataFrame) -> None:
            _check(table.schema, schema, path)
            if table.height:
                file.write_table(table.select(schema.keys()).to_arrow(compat_level=pl.CompatLevel.oldest()))

        yield add
        if notes:
            file.add_key_value_metadata(notes)


def batches(path: Path, *, rows: int) -> Iterator[pl.DataFrame]:
    """The rows of a table at most ``rows`` at a time, in its order."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=rows):
            yield pl.DataFrame(pl.from_arrow(pa.Table.from_batches([batch])))


def read(path: Path, schema: Schema) -> pl.DataFrame:
    """Read a table that :func:`write` wrote.

    Raises:
        ValueError: the file has other columns than ``schema``.
    """
    table = pl.read_parquet(path)
    _check(table.schema, schema, path)
    return table


def _check(columns: Mapping[str, Any], schema: Schema, path: Path) -> None:
    for name, kind in schema.items():
        if name not in columns:
            raise ValueError(f"{path}: column {name!r} is missing")
        if columns[name] != kind:
            raise ValueError(f"{path}: column {name!r} is {columns[name]}, not {kind}")
