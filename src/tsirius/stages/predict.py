"""Predict: the only stage that opens the test file. Every row of it gets a category, in the file's order.

The file is read once to its end before any work. Then it goes through in windows of ``batch_rows`` rows: within one,
texts of like length are classified together; a window that is done is kept, so that a killed run goes on after it. What
was written is compared with the file before it counts.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from pydantic import Field

from tsirius import tables
from tsirius.io import compare, ids, writers
from tsirius.io.source import Source, describe_source, read_batches
from tsirius.progress import Advance, progress, say
from tsirius.section import Section
from tsirius.store import replacing

if TYPE_CHECKING:
    from tsirius.models.classifier import Classifier

VERSION = 2


class Config(Section):
    batch_rows: int = Field(20_000, ge=1)
    """Rows read and classified at a time: bounds the memory, changes no result."""

    speed_only = frozenset({"batch_rows"})


def run(config: Config, given: Mapping[str, Path], out: Path, *, source: Source, scratch: Path) -> dict[str, Any]:
    from tsirius.models.classifier import Classifier

    say(f"  {describe_source(source)}")
    rows = ids.check(source)
    classifier = Classifier.load(given["train"] / "model")
    layout = writers.layout(out / "submission.csv", source, confidence=False)
    parts = scratch / f"windows-{config.batch_rows}"
    start, before = time.monotonic(), done(parts, rows=rows, batch_rows=config.batch_rows)
    with (
        writers.to_file(out / "submission.csv", layout) as add,
        tables.writer(tables.PREDICTIONS, out / "predictions.parquet") as keep,
    ):
        for part in windows(classifier, source, rows=rows, batch_rows=config.batch_rows, parts=parts):
            add(part)
            keep(part)
    counts = compare.check(layout.written(out / "submission.csv"), source, names=classifier.names)
    seconds = time.monotonic() - start
    say(f"  {rows:,} reviews predicted ({(rows - before) / max(seconds, 1e-9):,.0f}/s): "
        + ", ".join(f"{n:,} {name}" for name, n in counts.items()))  # fmt: skip
    notes: dict[str, Any] = {"rows": rows, "categories": counts}
    found = compare.drift(counts, _estimated(given))
    if found is not None:
        notes["drift"] = found.to_dict()
        if found.distance > compare.FAR:
            say(f"  look at the submission: {found.line()}")
    return notes


def _estimated(given: Mapping[str, Path]) -> dict[str, float]:
    """The natural mix as the label stage took it from the reviews; empty where it is not known."""
    path = given["label"] / "mix.json" if "label" in given else None
    if path is None or not path.is_file():
        return {}
    return {str(name): float(share) for name, share in json.loads(path.read_text(encoding="utf-8")).items()}


def done(parts: Path, *, rows: int, batch_rows: int) -> int:
    """How many of the rows an earlier try has left in ``parts``."""
    return min(batch_rows * sum(1 for _ in parts.glob("*.parquet")), rows)


def windows(
    classifier: Classifier, source: Source, *, rows: int, batch_rows: int, parts: Path | None
) -> Iterator[pl.DataFrame]:
    """Classify a file of reviews a window at a time, in its order.

    Args:
        classifier: what predicts.
        source: the file, whose ids were checked.
        rows: how many it has.
        batch_rows: rows a window.
        parts: a folder that keeps what is done, for this file, model and ``batch_rows`` only; None keeps nothing.

    Yields:
        Each window's predictions, a table of :data:`tsirius.tables.PREDICTIONS`.
    """
    if parts is not None:
        parts.mkdir(parents=True, exist_ok=True)
    before = 0 if parts is None else done(parts, rows=rows, batch_rows=batch_rows)
    if before:
        say(f"  goes on after row {before:,}")
    with progress("predict", total=rows, before=before) as advance:
        for number, batch in enumerate(read_batches(source, rows=batch_rows, check_ids=False)):
            path = None if parts is None else parts / f"{number:06}.parquet"
            if path is not None and path.is_file():
                part = tables.read(path, tables.PREDICTIONS)
            else:
                part = _classify(classifier, batch, advance)
                if path is not None:
                    with replacing(path) as temporary:
                        tables.write(part, tables.PREDICTIONS, temporary)
            yield part


def _classify(classifier: Classifier, batch: pl.DataFrame, advance: Advance) -> pl.DataFrame:
    probabilities = classifier.predict_proba(batch["text"].to_list(), advance=advance)
    return batch.select("id").with_columns(
        category=pl.Series(classifier.names, dtype=pl.String).gather(probabilities.argmax(axis=1)),
        confidence=pl.Series(probabilities.max(axis=1), dtype=pl.Float32),
    )
