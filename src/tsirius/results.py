"""What a user does with a finished run: its scores, predictions for a file, a score against answers."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import polars as pl

from tsirius import files, tables
from tsirius.errors import UserError
from tsirius.models.classifier import Classifier
from tsirius.progress import say
from tsirius.stages import evaluate, predict
from tsirius.store import Store, replacing


def summary(run: Path) -> str:
    """The scores of a run and where its results lie, a line each."""
    scores = json.loads((run / "evaluate" / "scores.json").read_text(encoding="utf-8"))
    lines = [score_line(scores[kind], against) for kind, against in evaluate.AGAINST.items() if scores.get(kind)]
    names = ("submission.csv", "report.html")
    return "\n".join([*lines, *(str(run / name) for name in names if (run / name).is_file())])


def score_line(score: dict[str, Any], against: str) -> str:
    """A score beside its majority baseline, in one line."""
    low, high = score["interval"]
    majority = score["majority"]
    return (
        f"weighted F1 {score['weighted_f1']:.3f} {against} (95 % interval {low:.3f}-{high:.3f}, {score['rows']:,} rows;"
        f" always «{majority['category']}»: {majority['weighted_f1']:.3f})"
    )


def predict_file(
    model: Path, reviews: Path, output: Path | None, *, text_column: str, id_column: str, encoding: str
) -> None:
    """Predict every review of a file.

    An output file appears whole or not at all; to standard output (``output`` is None) each row goes as it is done.

    Raises:
        UserError: the model or the file cannot be read, or the output is the file itself.
    """
    if output is not None and output.is_dir():
        raise UserError("is a folder", where=output, remedy="Name the file to write.")
    if output is not None and output.exists() and reviews.exists() and output.samefile(reviews):
        raise UserError("is the file of reviews itself", where=output, remedy="Name another file to write.")
    if output is None and sys.stdout is None:
        raise UserError("standard output is closed", remedy="Name a file to write with -o.")
    source = files.open_source(
        reviews, text_column=text_column, id_column=id_column, encoding=encoding, text_required=True
    )
    say(files.describe(source))
    classifier = Classifier.load(model)
    batch_rows = predict.Config().batch_rows
    if output is None:
        for _ in predict.write_predictions(classifier, source, sys.stdout, batch_rows=batch_rows, confidence=True):
            pass
        return
    with replacing(output) as temporary, temporary.open("w", encoding="utf-8", newline="") as handle:
        parts = predict.write_predictions(classifier, source, handle, batch_rows=batch_rows, confidence=True)
        rows = sum(part.height for part in parts)
    say(f"{rows:,} reviews predicted: {output}")


def evaluate_file(model: Path, gold: Path, *, text_column: str, id_column: str, encoding: str) -> str:
    """Score a run or model against a file of answers; the per-category report as text.

    The file has the reviews' text beside the category, or the test file's ids: then the run's predictions are scored.

    Raises:
        UserError: the file has neither, or names an unknown category or id.
    """
    settings = evaluate.Config()
    classifier = Classifier.load(model)
    source = files.open_source(
        gold, text_column=text_column, id_column=id_column, encoding=encoding, text_required=False
    )
    say(files.describe(source))
    answers = evaluate.read_gold(source, names=classifier.names)
    if answers["clean"].null_count():
        found = _predicted_before(model, answers, gold)
    else:
        found = evaluate.predict(classifier, answers)
    score = evaluate.score_rows(found, names=classifier.names, rounds=settings.rounds, seed=0)
    return f"{score.table()}\n{score_line(score.to_dict(), evaluate.AGAINST['gold'])}"


def _predicted_before(run: Path, answers: pl.DataFrame, gold: Path) -> pl.DataFrame:
    """``answers`` with what the run predicted for the test file's rows of the same ids."""
    path = run / "predict" / "predictions.parquet"
    if not path.is_file():
        raise UserError("has ids but no texts, and there are no predictions to look them up in", where=gold,
                        remedy="Give a file with texts, or a run that has a test file.")  # fmt: skip
    Store(run).check_finished(["predict"])
    predictions = tables.read(path, tables.PREDICTIONS).rename({"category": "predicted"})
    unknown = answers.join(predictions, on="id", how="anti")
    if unknown.height:
        raise UserError(f"the run has no prediction for the id {unknown['id'][0]!r} ({unknown.height:,} such ids)",
                        where=gold, remedy="Use the ids of the run's test file.")  # fmt: skip
    return answers.join(predictions, on="id", how="inner", maintain_order="left")
