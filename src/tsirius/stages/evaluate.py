"""Evaluate: how well the classifier does, beside what always answering one category would reach.

Two scores that never mix. ``pseudo_label`` compares with the labels of the validation rows, which a labeller gave: it
says how well the model repeats the labeller. ``gold`` compares with answers that people gave, in the file ``gold``: it
alone says how right the model is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from pydantic import Field

from tsirius import metrics, tables
from tsirius.errors import UserError, nearest
from tsirius.io.source import Source, open_other, read_batches
from tsirius.language.clean import normalise
from tsirius.progress import progress, say
from tsirius.section import Section

if TYPE_CHECKING:
    from tsirius.models.classifier import Classifier

VERSION = 1

PREDICTED: tables.Schema = {
    "id": pl.String,
    "clean": pl.String,
    "label": pl.String,
    "predicted": pl.String,
    "confidence": pl.Float32,
}
"""The rows that were scored: ``label`` is the answer, ``confidence`` the probability of ``predicted``."""

AGAINST = {"pseudo_label": "against pseudo-labels", "gold": "against gold"}
TABLES = {"pseudo_label": "valid_predictions.parquet", "gold": "gold_predictions.parquet"}


class Config(Section):
    gold: Path | None = None
    """A file of answers that people gave, columns text and category; "" for none."""
    rounds: int = Field(1000, ge=0)
    """Resamples for the 95 % interval of the weighted F1 (0: none)."""


def check(config: Config, *, names: Sequence[str], columns: Mapping[str, str]) -> None:
    """Make sure that the gold file, where there is one, has texts and a known category for each.

    Args:
        config: the settings.
        names: the categories.
        columns: ``text_column`` and ``id_column`` as they were named for the reviews.

    Raises:
        UserError: it has not.
    """
    if config.gold is not None:
        read_gold(_open_gold(config.gold, columns), names=names)


def run(
    config: Config, given: Mapping[str, Path], out: Path, *, seed: int, scratch: Path, columns: Mapping[str, str]
) -> dict[str, Any]:
    from tsirius.models.classifier import Classifier

    classifier = Classifier.load(given["train"] / "model", embedded=given["label"])
    valid = tables.read(given["split"] / "valid.parquet", tables.EXAMPLES).select("id", "clean", "label")
    answers = {"pseudo_label": valid}
    if config.gold is not None:
        answers["gold"] = read_gold(_open_gold(config.gold, columns), names=classifier.names)
    scores: dict[str, metrics.Score | None] = {"pseudo_label": None, "gold": None}
    for kind, rows in answers.items():
        found = predict(classifier, rows)
        tables.write(found, PREDICTED, out / TABLES[kind])
        if found.is_empty():
            say("  no validation rows: nothing to score against pseudo-labels")
            continue
        scores[kind] = score = score_rows(found, names=classifier.names, rounds=config.rounds, seed=seed)
        say(f"  {AGAINST[kind]}:")
        say("\n".join(f"    {line}" for line in score.table().splitlines()))
    written = {kind: score.to_dict() if score else None for kind, score in scores.items()}
    (out / "scores.json").write_text(json.dumps(written, ensure_ascii=False, indent=1), encoding="utf-8")
    drawn = "gold" if scores["gold"] else "pseudo_label"
    if (score_drawn := scores[drawn]) is not None:
        draw_confusion(score_drawn, out / "confusion.png", title=AGAINST[drawn])
    return {kind: _summary(score) for kind, score in scores.items()}


def _summary(score: metrics.Score | None) -> dict[str, Any] | None:
    if score is None:
        return None
    return {"rows": score.rows, "weighted_f1": score.weighted_f1, "majority_weighted_f1": score.majority.weighted_f1}


def read_gold(source: Source, *, names: Sequence[str]) -> pl.DataFrame:
    """The answers of a file that people wrote: ``id``, ``clean``, ``label``. Rows without a category are left out.

    A file may have ids in place of texts; ``clean`` is then null. Beside texts, ids may repeat.

    Raises:
        UserError: the file cannot be read, has no categories, or names one that is not among ``names``.
    """
    path, known = source.path, set(names)
    if source.category_column is None:
        raise UserError("has no column of categories", where=path, remedy="Call it category.")
    if source.text_column is None and source.id_column is None:
        raise UserError("has neither texts nor ids", where=path, remedy="Call their column text or id.")
    parts, empty = [], 0
    for batch in read_batches(source, rows=20_000, check_ids=source.text_column is None):
        labels = batch.with_columns(label=pl.col("category").str.strip_chars())
        empty += labels.filter(pl.col("label") == "").height
        labels = labels.filter(pl.col("label") != "")
        for row, label in labels.select("row", "label").iter_rows():
            if label not in known:
                raise UserError(f"unknown category {label!r}{nearest(label, names)}", where=f"{path}, row {row}",
                                remedy=f"Known: {', '.join(names)}.")  # fmt: skip
        clean = pl.Series([None] * labels.height, dtype=pl.String)
        if source.text_column is not None:
            clean = pl.Series([normalise(text) for text in labels["text"]], dtype=pl.String)
        parts.append(labels.select("id", "label").with_columns(clean=clean))
    rows = pl.concat([pl.DataFrame(schema={"id": pl.String, "label": pl.String, "clean": pl.String}), *parts])
    if empty:
        say(f"  {path.name}: {empty:,} rows have no category and are left out")
    if rows.is_empty():
        raise UserError("no row has a category", where=path, remedy="Fill in the category column.")
    return rows


def _open_gold(path: Path, columns: Mapping[str, str]) -> Source:
    source = open_other(path, **columns, encoding="auto", text_required=False)
    if source.text_column is None and source.category_column is not None:
        raise UserError("has no column of texts", where=path,
                        remedy="Call it text; answers by id are for 'tsirius evaluate RUN GOLD'.")  # fmt: skip
    return source


def predict(classifier: Classifier, rows: pl.DataFrame) -> pl.DataFrame:
    """Add ``predicted`` and ``confidence`` to rows with ``clean``; the columns are those of ``PREDICTED``."""
    with progress("evaluate", total=rows.height) as advance:
        probabilities = classifier.predict_proba(rows["clean"].to_list(), advance=advance)
    predicted = [classifier.names[place] for place in probabilities.argmax(axis=1)]
    return rows.with_columns(
        predicted=pl.Series(predicted, dtype=pl.String),
        confidence=pl.Series(probabilities.max(axis=1), dtype=pl.Float32),
    ).select(PREDICTED.keys())


def score_rows(predicted: pl.DataFrame, *, names: Sequence[str], rounds: int, seed: int) -> metrics.Score:
    """Score rows with ``label`` and ``predicted``."""
    return metrics.score(
        predicted["label"].to_list(), predicted["predicted"].to_list(), names=names, rounds=rounds, seed=seed
    )


def draw_confusion(score: metrics.Score, path: Path, *, title: str) -> None:
    """Draw the confusion matrix as a PNG: counts in the cells, their colour the share of the answer's rows.

    Args:
        score: what to draw.
        path: where the picture goes.
        title: what the answers are.
    """
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    counts = np.array(score.confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = 3.0 + 0.6 * len(score.names)
    figure = Figure(figsize=(size, size), layout="constrained")
    FigureCanvasAgg(figure)  # the figure has a canvas of its own: no window, and no state of pyplot's
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    names = [_short(name) for name in score.names]
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    for row, column in zip(*np.nonzero(counts), strict=True):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, f"{counts[row, column]:,}", ha="center", va="center", color=colour, fontsize=9)
    axes.set_xlabel("predicted")
    axes.set_ylabel("answer")
    axes.set_title(f"Weighted F1 {score.weighted_f1:.3f} {title}\n{score.rows:,} rows; {score.baseline()}", fontsize=10)
    figure.savefig(path, dpi=110, metadata={"Software": None})  # the same bytes from every version's stamp


def _short(name: str) -> str:
    plain = name.replace("$", r"\$")  # matplotlib takes what is between two for a formula
    return plain if len(plain) <= 28 else f"{plain[:27]}…"
