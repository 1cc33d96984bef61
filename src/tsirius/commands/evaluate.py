"""Score a finished run or a model's folder against a file of answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from tsirius import tables
from tsirius.errors import UserError
from tsirius.io.source import TextColumns, describe_source, open_source
from tsirius.models.classifier import Classifier
from tsirius.progress import say
from tsirius.stages import evaluate
from tsirius.store import Store


def evaluate_file(
    model: Path,
    gold: Path,
    *,
    text_column: TextColumns = "auto",
    id_column: str = "auto",
    category_column: str = "auto",
    encoding: str = "auto",
    sheet: str | int = "auto",
) -> str:
    """Score a run or model against a file of answers; the per-category report as text.

    The file has the reviews' text beside the category, or the test file's ids: then the run's predictions are scored.

    Raises:
        UserError: the file has neither, or names an unknown category or id.
    """
    settings = evaluate.Config()
    classifier = Classifier.load(model)
    source = open_source(
        gold,
        text_column=text_column,
        id_column=id_column,
        category_column=category_column,
        encoding=encoding,
        text_required=False,
        sheet=sheet,
    )
    say(describe_source(source))
    answers = evaluate.read_gold(source, names=classifier.names)
    if answers["clean"].null_count():
        predicted = _predicted_before(model, answers, gold)
    else:
        predicted = evaluate.predict(classifier, answers)
    score = evaluate.score_rows(predicted, names=classifier.names, rounds=settings.rounds, seed=0)
    return f"{score.table()}\n{score_line(score.to_dict(), evaluate.AGAINST['gold'])}"


def score_line(score: dict[str, Any], against: str) -> str:
    """A score beside its majority baseline, in one line."""
    low, high = score["interval"]
    majority = score["majority"]
    return (
        f"weighted F1 {score['weighted_f1']:.3f} {against} (95 % interval {low:.3f}-{high:.3f}, {score['rows']:,} rows;"
        f" always «{majority['category']}»: {majority['weighted_f1']:.3f})"
    )


def _predicted_before(run: Path, answers: pl.DataFrame, gold: Path) -> pl.DataFrame:
    """``answers`` with the run's predictions for the test file's rows of the same ids."""
    store = Store(run)
    if not (store.folder("predict") / "predictions.parquet").is_file():
        raise UserError("has ids but no texts, and there are no predictions to look them up in", where=gold,
                        remedy="Give a file with texts, or a run that has a test file.")  # fmt: skip
    store.check_finished(["predict"])
    predictions = tables.read(store.folder("predict") / "predictions.parquet", tables.PREDICTIONS)
    predictions = predictions.rename({"category": "predicted"})
    unknown = answers.join(predictions, on="id", how="anti")
    if unknown.height:
        raise UserError(f"the run has no prediction for the id {unknown['id'][0]!r} ({unknown.height:,} such ids)",
                        where=gold, remedy="Use the ids of the run's test file.")  # fmt: skip
    return answers.join(predictions, on="id", how="inner", maintain_order="left")
