"""Where the labels come from: their confidence, the labellers, the reasons of select, labels that are likely wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from tsirius import tables
from tsirius.language import word_vectors
from tsirius.language.words import lemmas
from tsirius.reporting import charts, figures

BINS = 20
"""Columns of a confidence histogram."""
BATCH_ROWS = 20_000
"""Reviews in memory at a time."""

SUSPECT: dict[str, Any] = {
    "id": pl.String,
    "clean": pl.String,
    "label": pl.String,
    "predicted": pl.String,
    "confidence": pl.Float32,
}


def histograms(
    labelled: pl.DataFrame, predicted: pl.DataFrame | None, *, thresholds: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Histograms of the confidence of the labels (kept and dropped ones apart) and of the predictions.

    Args:
        labelled: ``label``, ``confidence`` and ``kept`` of every review.
        predicted: ``confidence`` of every row of the test file; None where there is none.
        thresholds: select's settings, of which ``grey`` and ``sure`` are drawn where they are numbers.
    """
    with_label = labelled.filter(pl.col("label").is_not_null())
    layers = {
        "kept": with_label.filter("kept")["confidence"],
        "dropped": with_label.filter(~pl.col("kept"))["confidence"],
    }
    marks = {
        name: float(thresholds[name]) for name in ("grey", "sure") if isinstance(thresholds.get(name), int | float)
    }
    parts = [_histogram("Labels", "labels", layers, marks)]
    if predicted is not None:
        parts.append(_histogram("Predictions", "predictions", {"predicted": predicted["confidence"]}, {}))
    return parts


def _histogram(title: str, what: str, layers: Mapping[str, pl.Series], marks: Mapping[str, float]) -> dict[str, Any]:
    values = pl.concat([layer.cast(pl.Float64) for layer in layers.values()]).drop_nulls().drop_nans()
    median = values.median()
    caption = f"{values.len():,} {what}, median confidence {figures.decimal(median)}" if values.len() else f"No {what}."  # type: ignore[arg-type]  # a number's median
    binned = {name: bins(layer, BINS) for name, layer in layers.items()}
    chart = charts.histogram(binned, marks, f"Histogram of confidence: {caption}")
    return {"title": title, "caption": caption, "chart": chart, "layers": [*layers], "rows": values.len()}


def bins(values: pl.Series, count: int) -> list[int]:
    """The number of ``values`` in each of ``count`` equal parts of 0 to 1; missing values are in none."""
    numbers = values.cast(pl.Float64).drop_nulls().drop_nans()
    # A 32-bit 0.7 is a hair below 0.7: rounding puts it into the part that starts there.
    indices = (numbers * count).round(5).floor().clip(0, count - 1).cast(pl.Int64)
    counts = dict(indices.rename("bin").value_counts().iter_rows())
    return [counts.get(index, 0) for index in range(count)]


def reasons(labelled: pl.DataFrame) -> list[tuple[str, bool, int]]:
    """Why reviews were kept or dropped: reason, whether kept, rows; kept ones first, the most frequent before."""
    counts = labelled.group_by("reason", "kept").len().sort("kept", "len", "reason", descending=[True, True, False])
    return [(reason, kept, rows) for reason, kept, rows in counts.iter_rows()]


def labellers(votes: pl.DataFrame, labels: pl.DataFrame) -> list[dict[str, Any]]:
    """How many reviews each labeller voted on, and how many of these votes are the final label, by labeller.

    Args:
        votes: see :func:`tsirius.reporting.records.read_votes`.
        labels: ``id`` and ``label`` of every review.
    """
    counts = (
        votes.join(labels, on="id", how="left")
        .group_by("labeller")
        .agg(
            rows=pl.len(),
            voted=pl.col("vote").is_not_null().sum(),
            agreed=(pl.col("vote") == pl.col("label")).sum(),
        )
        .sort("labeller")
    )
    return list(counts.iter_rows(named=True))


def agreements(votes: pl.DataFrame) -> list[dict[str, Any]]:
    """For every two labellers: on how many reviews both voted, and on how many of them for the same category.

    Args:
        votes: see :func:`tsirius.reporting.records.read_votes`.
    """
    votes = votes.drop_nulls("vote")
    counts = (
        votes.join(votes, on="id", suffix="_other")
        .filter(pl.col("labeller") < pl.col("labeller_other"))
        .group_by("labeller", "labeller_other")
        .agg(both=pl.len(), same=(pl.col("vote") == pl.col("vote_other")).sum())
        .sort("labeller", "labeller_other")
    )
    return list(counts.iter_rows(named=True))


def suspects(given: Mapping[str, Path], votes: pl.DataFrame, *, limit: int) -> list[dict[str, Any]]:
    """The labels that are most likely wrong, with the words that they rest on.

    First those of validation reviews that the model contradicts with most confidence; then those that similar reviews
    contradict, the most confident before, as they were left out of training.

    Args:
        given: the stages' folders.
        votes: see :func:`tsirius.reporting.records.read_votes`.
        limit: the number of labels at most.
    """
    contradicted = _contradicted(given["evaluate"] / "valid_predictions.parquet", limit=limit)
    doubtful = _doubtful(given, without=contradicted["id"], limit=limit - contradicted.height)
    rows = pl.concat([contradicted, doubtful], how="vertical_relaxed")
    shown_ids = pl.col("id").is_in(rows["id"].to_list())
    evidence = tables.scan(given["label"] / "votes.parquet").select("id", "labeller", "evidence").filter(shown_ids)
    votes = votes.filter(shown_ids).join(evidence.collect(), on=["id", "labeller"], maintain_order="left")
    shown = []
    for row in rows.iter_rows(named=True):
        own = votes.filter((pl.col("id") == row["id"]) & (pl.col("vote") == row["label"]))
        words = set(own["evidence"].explode().drop_nulls().to_list())
        shown.append(
            {
                "label": row["label"],
                "predicted": row["predicted"],
                "confidence": row["confidence"],
                "labellers": ", ".join(own["labeller"].to_list()),
                "text": figures.highlighted(row["clean"], _forms(row["clean"] or "", words)),
            }
        )
    return shown


def _contradicted(path: Path, *, limit: int) -> pl.DataFrame:
    """The validation reviews whose label the model contradicts, the most confident predictions first."""
    if not path.is_file():
        return pl.DataFrame(schema=SUSPECT)
    return (
        tables.scan(path)
        .collect()
        .filter(pl.col("label") != pl.col("predicted"))
        .sort("confidence", "id", descending=[True, False], nulls_last=True)
        .head(limit)
        .select(SUSPECT.keys())
    )


def _doubtful(given: Mapping[str, Path], *, without: pl.Series, limit: int) -> pl.DataFrame:
    """The reviews whose label similar reviews contradict, the most confident labels first; none has a prediction."""
    reviews = tables.scan(given["ingest"] / "reviews.parquet").select("id", "clean")
    return (
        tables.scan(given["label"] / "labels.parquet")
        .filter(pl.col("doubtful"), ~pl.col("id").is_in(without.to_list()))
        .sort("confidence", "id", descending=[True, False], nulls_last=True)
        .head(limit)
        .join(reviews, on="id", maintain_order="left")
        .with_columns(predicted=pl.lit(None, dtype=pl.String))
        .select(SUSPECT.keys())
        .collect()
    )


def least_sure(path: Path, *, limit: int) -> list[dict[str, Any]]:
    """The reviews whose label has the least confidence, each text once: ``text``, ``label``, ``confidence``.

    Args:
        path: of the select stage's ``labelled.parquet``.
        limit: the number of reviews at most.
    """
    rows = (
        tables.scan(path)
        .filter(pl.col("label").is_not_null())
        .select("clean", "label", "confidence", "id")
        .sort("confidence", "id")
        .head(4 * limit)  # copies of a text have one confidence and stand together
        .collect()
    )
    rows = rows.unique("clean", keep="first", maintain_order=True).head(limit)
    return [
        {"text": figures.excerpt(text), "label": label, "confidence": confidence}
        for text, label, confidence, _ in rows.iter_rows()
    ]


def without_known_word(path: Path, *, limit: int) -> dict[str, Any]:
    """The reviews of which no word is in the word list: other languages, codes, slips of the keyboard.

    Args:
        path: of the select stage's ``labelled.parquet``.
        limit: the number of reviews that are shown at most.

    Returns:
        ``rows``, how many there are, and ``shown``: ``text``, ``label`` (None: none) and ``confidence`` of the first.
    """
    known = pl.Series(word_vectors.load().words, dtype=pl.String).implode()
    rows, shown = 0, list[dict[str, Any]]()
    for batch in tables.batches(path, rows=BATCH_ROWS):
        word = pl.col("clean").str.to_lowercase().str.replace_all("ё", "е").str.extract_all(r"\p{L}+")
        found = (
            batch.lazy()
            .select(row=pl.int_range(pl.len()), word=word)
            .explode("word")
            .filter(pl.col("word").is_in(known) & pl.col("word").str.contains(r"\p{L}{2}"))
            .select(pl.col("row").unique())
            .collect()["row"]
        )
        strange = batch.filter(~pl.int_range(pl.len()).is_in(found.implode()))
        rows += strange.height
        shown += [
            {"text": figures.excerpt(text), "label": label, "confidence": confidence}
            for text, label, confidence in strange.head(limit - len(shown))
            .select("clean", "label", "confidence")
            .iter_rows()
        ]
    return {"rows": rows, "shown": shown}


def _forms(text: str, words: set[str]) -> set[str]:
    """The words of a text, as they are written there, whose lemma is one of ``words``."""
    return {word for word in re.findall(r"\w+", text) if words & {word.lower(), *lemmas(word)}}
