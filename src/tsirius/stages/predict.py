"""Predict: the only stage that opens the test file. Every row of it gets a category, in the file's order."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import polars as pl
from pydantic import Field

from tsirius import files, tables
from tsirius.progress import progress, say
from tsirius.section import Section

if TYPE_CHECKING:
    from tsirius.models.classifier import Classifier

VERSION = 1


class Config(Section):
    batch_rows: int = Field(20_000, ge=1)
    """Rows read and classified at a time: bounds the memory, changes no result."""

    speed_only = frozenset({"batch_rows"})


def run(config: Config, given: Mapping[str, Path], out: Path, *, source: files.Source) -> dict[str, Any]:
    from tsirius.models.classifier import Classifier

    say(f"  {files.describe(source)}")
    classifier = Classifier.load(given["train"] / "model")
    with (out / "submission.csv").open("w", encoding="utf-8", newline="") as handle:
        parts = list(write_predictions(classifier, source, handle, batch_rows=config.batch_rows, confidence=False))
    predictions = pl.concat([pl.DataFrame(schema=tables.PREDICTIONS), *parts])
    tables.write(predictions, tables.PREDICTIONS, out / "predictions.parquet")
    counts = dict(predictions["category"].value_counts(sort=True).iter_rows())
    say(f"  {predictions.height:,} reviews predicted: " + ", ".join(f"{n:,} {name}" for name, n in counts.items()))
    return {"rows": predictions.height, "categories": counts}


def write_predictions(
    classifier: Classifier, source: files.Source, handle: TextIO, *, batch_rows: int, confidence: bool
) -> Iterator[pl.DataFrame]:
    """Classify a file of reviews batch by batch, and write one CSV line a row in its order.

    Args:
        classifier: what predicts.
        source: the file; its id column, where it has one, is the first column written, under its own name
            ("id" where that would be taken for another column).
        handle: takes the CSV text.
        batch_rows: rows a batch.
        confidence: whether the predicted category's probability is written as the last column.

    Yields:
        Each batch's predictions, a table of :data:`tsirius.tables.PREDICTIONS`, once they are written.
    """
    ids = [] if source.id_column is None else [source.id_column]
    if ids and (ids[0] in ("category", "confidence") or "\r" in ids[0]):
        ids = ["id"]
    plain = csv.writer(handle, lineterminator="\n")
    quoting = csv.writer(handle, lineterminator="\n", quoting=csv.QUOTE_ALL)
    plain.writerow([*ids, "category", *(["confidence"] if confidence else [])])
    with progress("predict") as advance:
        for batch in files.batches(source, rows=batch_rows):
            probabilities = classifier.predict_proba(batch["text"].to_list())
            names = [classifier.names[index] for index in probabilities.argmax(axis=1)]
            part = batch.select("id").with_columns(
                category=pl.Series(names, dtype=pl.String),
                confidence=pl.Series(probabilities.max(axis=1), dtype=pl.Float32),
            )
            columns = [part["id"], part["category"], part["confidence"].cast(pl.Float64).round(4)]
            for row in zip(*columns[0 if ids else 1 : 3 if confidence else 2], strict=True):
                (quoting if "\r" in row[0] else plain).writerow(row)  # csv sees no need to quote it
            advance(batch.height)
            yield part
