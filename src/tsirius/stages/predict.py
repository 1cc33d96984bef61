"""Predict: the only stage that opens the test file. Every row of it gets a category, in the file's order.

The file is read once to its end before any work. Then it is classified in windows of ``batch_rows`` rows: within one,
texts of like length share a batch; a finished window is kept, so that a killed run resumes after it. What was written
is compared with the file before it counts.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from pydantic import Field

from tsirius import tables
from tsirius.io import compare, ids, writers
from tsirius.io.source import KEPT, Source, describe_source, read_batches
from tsirius.progress import Advance, progress, say
from tsirius.section import Section
from tsirius.shards import Shards

if TYPE_CHECKING:
    from tsirius.models.classifier import Classifier

VERSION = 3


class Config(Section):
    batch_rows: int = Field(20_000, ge=1)
    """Rows read and classified at a time: bounds the memory, changes no result."""

    speed_only = frozenset({"batch_rows"})


@dataclass(frozen=True)
class Predicted:
    """What became of a file.

    Attributes:
        rows: reviews in it.
        categories: reviews of each category, the commonest first.
        per_second: reviews classified a second, those that an earlier try had finished left out.
    """

    rows: int
    categories: Mapping[str, int]
    per_second: float

    def line(self) -> str:
        """The counts in one line."""
        counts = ", ".join(f"{count:,} {name}" for name, count in self.categories.items())
        return f"{self.rows:,} reviews predicted ({self.per_second:,.0f}/s): {counts}"


def run(config: Config, given: Mapping[str, Path], out: Path, *, source: Source, scratch: Path) -> dict[str, Any]:
    from tsirius.models.classifier import Classifier

    say(f"  {describe_source(source)}")
    rows = ids.check(source)
    classifier = Classifier.load(given["train"] / "model")
    with tables.writer(tables.PREDICTIONS, out / "predictions.parquet") as keep:
        predicted = to_file(
            classifier,
            source,
            out / "submission.csv",
            writers.layout(out / "submission.csv", source, confidence=False),
            rows=rows,
            batch_rows=config.batch_rows,
            shards=Shards(scratch / f"windows-{config.batch_rows}"),
            also=keep,
        )
    say(f"  {predicted.line()}")
    notes: dict[str, Any] = {"rows": rows, "categories": dict(predicted.categories)}
    drift = compare.drift(predicted.categories, _estimated(given))
    if drift is not None:
        notes["drift"] = drift.to_dict()
        if drift.distance > compare.FAR:
            say(f"  look at the submission: {drift.line()}")
    return notes


def _estimated(given: Mapping[str, Path]) -> dict[str, float]:
    """The natural mix as it was estimated from the reviews; empty where it is not known."""
    path = given["answers"] / "mix.json" if "answers" in given else None
    if path is None or not path.is_file():
        return {}
    return {str(name): float(share) for name, share in json.loads(path.read_text(encoding="utf-8")).items()}


def to_file(
    classifier: Classifier,
    source: Source,
    path: Path,
    layout: writers.Layout,
    *,
    rows: int,
    batch_rows: int,
    shards: Shards | None,
    also: Callable[[pl.DataFrame], None] | None,
) -> Predicted:
    """Classify a file of reviews into ``path``, and compare what was written with it.

    Args:
        classifier: what predicts.
        source: the file, whose ids were checked.
        path: the file to write.
        layout: how.
        rows: reviews in the file.
        batch_rows: rows a window.
        shards: finished windows, of this file, model and ``batch_rows`` only; None keeps nothing.
        also: given each window as well.

    Raises:
        UserError: a row cannot be read, or what was written does not answer the file.
    """
    before = 0 if shards is None else finished(shards, rows=rows, batch_rows=batch_rows)
    start = time.monotonic()
    with writers.to_file(path, layout) as add:
        for window in windows(classifier, source, rows=rows, batch_rows=batch_rows, shards=shards, keep=layout.kept):
            add(window)
            if also is not None:
                also(window)
    answered = source if layout.id_column is not None else replace(source, id_column=None)
    counts = compare.check(layout.written(path), answered, names=classifier.names, escaped=bool(layout.excel))
    return Predicted(rows, counts, (rows - before) / max(time.monotonic() - start, 1e-9))


def finished(shards: Shards, *, rows: int, batch_rows: int) -> int:
    """How many of the rows an earlier try has finished."""
    return min(batch_rows * len(shards.names()), rows)


def windows(
    classifier: Classifier,
    source: Source,
    *,
    rows: int,
    batch_rows: int,
    shards: Shards | None,
    keep: Sequence[str] = (),
) -> Iterator[pl.DataFrame]:
    """Classify a file of reviews a window at a time, in its order.

    Args:
        classifier: what predicts.
        source: the file, whose ids were checked.
        rows: reviews in the file.
        batch_rows: rows a window.
        shards: finished windows, of this file, model and ``batch_rows`` only; None keeps nothing.
        keep: columns of the file to hand on: see :func:`tsirius.io.source.read_batches`.

    Yields:
        Each window's predictions, a table of :data:`tsirius.tables.PREDICTIONS`, with the second category of each row,
        ``runner_up``, its probability ``runner_up_confidence``, and the columns to keep.
    """
    before = 0 if shards is None else finished(shards, rows=rows, batch_rows=batch_rows)
    if before:
        say(f"  resuming after row {before:,}")
    with progress("predict", total=rows, before=before) as advance:
        for number, batch in enumerate(read_batches(source, rows=batch_rows, keep=keep)):
            window = None if shards is None else shards.read(f"{number:06}")
            if window is None:
                window = _classify(classifier, batch, advance)
                if shards is not None:
                    shards.write(f"{number:06}", window)
            yield window.hstack(batch.select(KEPT + name for name in keep)) if keep else window


def _classify(classifier: Classifier, batch: pl.DataFrame, advance: Advance) -> pl.DataFrame:
    probabilities = classifier.predict_proba(batch["text"].to_list(), advance=advance)
    names, order = pl.Series(classifier.names, dtype=pl.String), probabilities.argsort(axis=1, kind="stable")
    # of equal probabilities the first is the category
    first, rows = probabilities.argmax(axis=1), np.arange(len(probabilities))
    second = np.where(order[:, -1] == first, order[:, -2], order[:, -1])
    return batch.select("id").with_columns(
        category=names.gather(first),
        confidence=pl.Series(probabilities[rows, first], dtype=pl.Float32),
        runner_up=names.gather(second),
        runner_up_confidence=pl.Series(probabilities[rows, second], dtype=pl.Float32),
    )
