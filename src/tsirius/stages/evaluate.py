"""Evaluate: how well the classifier does, beside the baseline of always answering one category.

Two scores that never mix. ``pseudo_label`` compares with the labels of the validation rows, which a labeller gave: it
says how well the model repeats the labeller. ``gold`` compares with answers that people gave, in the file ``gold``: it
alone says how right the model is. Both are in ``scores.json``; the cells of their confusion matrices that are not zero
also are in ``confusion.csv``, for a spreadsheet or a notebook.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from pydantic import Field

from tsirius import metrics, tables
from tsirius.categories import key, spellings
from tsirius.errors import UserError, nearest
from tsirius.headline import AGREEMENT
from tsirius.io import ids, spreadsheet
from tsirius.io.source import Source, open_other, read_batches
from tsirius.language.clean import normalise
from tsirius.progress import progress, say
from tsirius.section import Section

if TYPE_CHECKING:
    from tsirius.models.classifier import Classifier

VERSION = 3

PREDICTED: tables.Schema = {
    "id": pl.String,
    "clean": pl.String,
    "label": pl.String,
    "predicted": pl.String,
    "confidence": pl.Float32,
}
"""The rows that were scored: ``label`` is the answer, ``confidence`` the probability of ``predicted``."""

AGAINST = {"pseudo_label": "against pseudo-labels", "gold": "against gold"}
"""What each score is a comparison with. Only the one against gold is called the weighted F1 of a run."""
CONFUSION: tables.Schema = {"score": pl.String, "label": pl.String, "predicted": pl.String, "rows": pl.Int64}
"""``confusion.csv``: the rows with each answer and prediction; ``score`` is ``pseudo_label`` or ``gold``."""
TABLES = {"pseudo_label": "valid_predictions.parquet", "gold": "gold_predictions.parquet"}


class Config(Section):
    gold: Path | None = None
    """A file of answers by people, columns text and category; "" for none."""
    rounds: int = Field(1000, ge=0)
    """Bootstrap resamples for the 95 % interval of the weighted F1 (0: no interval)."""


def check(config: Config, *, names: Sequence[str], columns: Mapping[str, Any]) -> None:
    """Check that the gold file, where there is one, has texts and a known category for each.

    Args:
        config: the settings.
        names: the categories.
        columns: ``text_column``, ``id_column`` and ``sheet`` as they were named for the reviews.

    Raises:
        UserError: it lacks one of them.
    """
    if config.gold is not None:
        read_gold(_open_gold(config.gold, columns), names=names)


def former(config: Config, *, names: Sequence[str], known: Sequence[str], columns: Mapping[str, Any]) -> str | None:
    """The first category of the gold file that is among ``known`` and not among ``names``; None where there is none.

    Raises:
        UserError: as :func:`check`, of both.
    """
    if config.gold is None:
        return None
    labels = read_gold(_open_gold(config.gold, columns), names=list(dict.fromkeys([*known, *names])))["label"]
    return next((label for label in labels.unique(maintain_order=True) if label not in names), None)


def run(
    config: Config, given: Mapping[str, Path], out: Path, *, seed: int, scratch: Path, columns: Mapping[str, Any]
) -> dict[str, Any]:
    from tsirius.models.classifier import Classifier

    classifier = Classifier.load(given["train"] / "model", embedded=given["label"])
    valid = tables.read(given["split"] / "valid.parquet", tables.EXAMPLES).select("id", "clean", "label")
    answers = {"pseudo_label": valid}
    if config.gold is not None:
        answers["gold"] = read_gold(_open_gold(config.gold, columns), names=classifier.names)
    scores: dict[str, metrics.Score | None] = {"pseudo_label": None, "gold": None}
    for kind, rows in answers.items():
        predicted = predict(classifier, rows)
        tables.write(predicted, PREDICTED, out / TABLES[kind])
        if predicted.is_empty():
            say("  no validation rows: nothing to score against pseudo-labels")
            continue
        scores[kind] = score = score_rows(predicted, names=classifier.names, rounds=config.rounds, seed=seed)
        title, total = (
            (f"{AGREEMENT}:", "agreement") if kind == "pseudo_label" else (f"{AGAINST[kind]}:", "weighted F1")
        )
        say(f"  {title}")
        say("\n".join(f"    {line}" for line in score.table(total).splitlines()))
    written = {kind: score.to_dict() if score else None for kind, score in scores.items()}
    (out / "scores.json").write_text(json.dumps(written, ensure_ascii=False, indent=1), encoding="utf-8")
    names = pl.col("label", "predicted").map_elements(spreadsheet.escape, return_dtype=pl.String)
    confusion(scores).with_columns(names).write_csv(out / "confusion.csv")
    return {kind: _summary(score) for kind, score in scores.items()}


def _summary(score: metrics.Score | None) -> dict[str, Any] | None:
    if score is None:
        return None
    return {"rows": score.rows, "weighted_f1": score.weighted_f1, "majority_weighted_f1": score.majority.weighted_f1}


def confusion(scores: Mapping[str, metrics.Score | None]) -> pl.DataFrame:
    """The cells of the scores' confusion matrices that are not zero, in the order of the categories; see ``CONFUSION``.

    A cell a row, as the square of a thousand categories is a million cells, and most of them are zero.
    """
    cells = [
        (kind, label, predicted, rows)
        for kind, score in scores.items()
        if score is not None
        for label, counts in zip(score.names, score.confusion, strict=True)
        for predicted, rows in zip(score.names, counts, strict=True)
        if rows
    ]
    return pl.DataFrame(cells, schema=dict(CONFUSION), orient="row")


def read_gold(source: Source, *, names: Sequence[str]) -> pl.DataFrame:
    """The answers of a file by people: ``id``, ``clean``, ``label``. Rows without a category are left out.

    A file may have ids in place of texts; ``clean`` is then null. Beside texts, ids may repeat.

    Raises:
        UserError: the file cannot be read, has no categories, or names one that is not among ``names``.
    """
    path, spelled = source.path, spellings(names)
    if source.category_column is None:
        raise UserError("has no column of categories", where=path, remedy="Call it category.")
    if not source.text_columns and source.id_column is None:
        raise UserError("has neither texts nor ids", where=path, remedy="Call their column text or id.")
    parts, empty = [], 0
    batches = (
        ids.read_unique(source, rows=20_000)
        if not source.text_columns
        else read_batches(source, rows=20_000, cut=ids.say_cut(source))
    )
    for batch in batches:
        written = [name.strip() for name in batch["category"]]
        given = [spelled.get(key(name), name) if key(name) else "" for name in written]
        labels = batch.with_columns(label=pl.Series(given, dtype=pl.String))
        empty += labels.filter(pl.col("label") == "").height
        labels = labels.filter(pl.col("label") != "")
        for row, label in labels.select("row", "label").iter_rows():
            if label not in names:
                raise UserError(f"unknown category {label!r}{nearest(label, names)}", where=f"{path}, row {row}",
                                remedy=f"Known: {', '.join(names)}.")  # fmt: skip
        clean = pl.Series([None] * labels.height, dtype=pl.String)
        if source.text_columns:
            clean = pl.Series([normalise(text) for text in labels["text"]], dtype=pl.String)
        parts.append(labels.select("id", "label").with_columns(clean=clean))
    rows = pl.concat([pl.DataFrame(schema={"id": pl.String, "label": pl.String, "clean": pl.String}), *parts])
    if empty:
        say(f"  {path.name}: {empty:,} rows have no category and are left out")
    if rows.is_empty():
        raise UserError("no row has a category", where=path, remedy="Fill in the category column.")
    return rows


def _open_gold(path: Path, columns: Mapping[str, Any]) -> Source:
    source = open_other(path, **columns, encoding="auto", text_required=False)
    if not source.text_columns and source.category_column is not None:
        raise UserError("has no column of texts", where=path,
                        remedy="Call it text; answers by id are for 'tsirius evaluate RUN GOLD'.")  # fmt: skip
    return source


def predict(classifier: Classifier, rows: pl.DataFrame) -> pl.DataFrame:
    """Add ``predicted`` and ``confidence`` to rows with ``clean``; the columns are those of ``PREDICTED``."""
    with progress("evaluate", total=rows.height) as advance:
        probabilities = classifier.predict_proba(rows["clean"].to_list(), advance=advance)
    predicted = [classifier.names[index] for index in probabilities.argmax(axis=1)]
    return rows.with_columns(
        predicted=pl.Series(predicted, dtype=pl.String),
        confidence=pl.Series(probabilities.max(axis=1), dtype=pl.Float32),
    ).select(PREDICTED.keys())


def score_rows(predicted: pl.DataFrame, *, names: Sequence[str], rounds: int, seed: int) -> metrics.Score:
    """Score rows with ``label`` and ``predicted``."""
    return metrics.score(
        predicted["label"].to_list(), predicted["predicted"].to_list(), names=names, rounds=rounds, seed=seed
    )
