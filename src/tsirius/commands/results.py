"""What a user does with a finished run: its scores, predictions for a file, a score against answers."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
from filelock import FileLock, Timeout

from tsirius import tables
from tsirius.errors import UserError
from tsirius.io import compare, ids, writers
from tsirius.io.source import describe_source, open_other, open_source
from tsirius.models.classifier import Classifier, find
from tsirius.progress import say
from tsirius.stages import evaluate, predict
from tsirius.store import Store, fingerprint, replacing, versions, write_text


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
    model: str | Path,
    reviews: str | Path,
    output: str | Path | None = None,
    *,
    text_column: str = "auto",
    id_column: str = "auto",
    encoding: str = "auto",
) -> None:
    """Predict every review of a file, in its order.

    The name of the output says its format, as an input's does. It appears whole or not at all, once it was compared
    with the reviews; what is done is kept beside it until then, so that the same command goes on after a kill. To
    standard output (``output`` is None), or into a pipe, each window of rows goes as it is done.

    Raises:
        UserError: the model or the file cannot be read, or the output is the file itself or of no known format.
    """
    model, reviews, output = Path(model), Path(reviews), None if output is None else Path(output)
    if output is not None and output.is_dir():
        raise UserError("is a folder", where=output, remedy="Name the file to write.")
    if output is not None and output.exists() and reviews.exists() and output.samefile(reviews):
        raise UserError("is the file of reviews itself", where=output, remedy="Name another file to write.")
    if output is None and sys.stdout is None:
        raise UserError("standard output is closed", remedy="Name a file to write with -o.")
    source = open_source(reviews, text_column=text_column, id_column=id_column, encoding=encoding, text_required=True)
    layout = writers.layout(output, source, confidence=True)
    say(describe_source(source))
    classifier = Classifier.load(model)
    rows = ids.check(source)
    predicted = partial(predict.windows, classifier, source, rows=rows, batch_rows=predict.Config().batch_rows)
    if output is None:
        add = writers.to_stream(sys.stdout, layout)
        for part in predicted(parts=None):
            add(part)
    elif output.exists() and not output.is_file():
        with replacing(output) as place, writers.to_file(place, layout) as add:
            for part in predicted(parts=None):
                add(part)
    else:
        key = {
            "version": predict.VERSION,
            "reviews": fingerprint(reviews),
            "columns": [source.text_column, source.id_column, source.encoding],
            "model": fingerprint(find(model)),
            "batch_rows": predict.Config().batch_rows,
            "packages": versions(),
        }
        start = time.monotonic()
        with _work_folder(output, key) as folder, replacing(output) as temporary:
            before = predict.done(folder / "windows", rows=rows, batch_rows=predict.Config().batch_rows)
            made = folder / f"made{''.join(output.suffixes[-2:])}"
            with writers.to_file(made, layout) as add:
                for part in predicted(parts=folder / "windows"):
                    add(part)
            counts = compare.check(layout.written(made), source, names=classifier.names)
            made.replace(temporary)
        rate = (rows - before) / max(time.monotonic() - start, 1e-9)
        say(f"{rows:,} reviews predicted: {output} ({rate:,.0f}/s; "
            + ", ".join(f"{count:,} {name}" for name, count in counts.items()) + ")")  # fmt: skip


@contextmanager
def _work_folder(output: Path, key: dict[str, Any]) -> Iterator[Path]:
    """A folder beside ``output`` that outlives a killed process and is removed when the block ends well.

    What an earlier try left is kept where it was for the same ``key``, else it is thrown away.

    Raises:
        UserError: another process is at work on the same output.
    """
    folder = output.with_name(f".{output.name}.unfinished")
    if not output.parent.exists():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(output.parent))
    folder.mkdir(exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError("another process is at work on it", where=output,
                        remedy="Wait for it to end, or name another file.") from None  # fmt: skip
    try:
        said = json.dumps(key, ensure_ascii=False, sort_keys=True)
        mark = folder / "key.json"
        if not mark.is_file() or mark.read_text(encoding="utf-8") != said:
            shutil.rmtree(folder / "windows", ignore_errors=True)
            write_text(mark, said)
        yield folder
        shutil.rmtree(folder)
    finally:
        lock.release()


def check_submission(run: Path, submission: Path | None) -> str:
    """Compare a run's submission, or a file made of it, with the run's test file; what was found, in two lines at most.

    Raises:
        UserError: it does not answer the test file, or the run has none.
    """
    try:
        config = json.loads((run / "config.json").read_text(encoding="utf-8"))["ingest"]
        record = json.loads((run / "label" / "record.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError):
        raise UserError("holds no finished run", where=run, remedy="Name a folder that 'tsirius run' made.") from None
    if not config.get("test"):
        raise UserError("the run has no test file", where=run, remedy="Set ingest.test and run again.")
    columns = {"text_column": config["text_column"], "id_column": config["id_column"]}
    asked = open_other(Path(config["test"]), **columns, encoding=config["encoding"], text_required=True)
    path = submission if submission is not None else run / "submission.csv"
    wanted = writers.layout(None, asked, confidence=False).id_column
    written = open_source(path, text_column="auto", id_column=wanted or "none", encoding="auto", text_required=False)
    if written.category_column is None:
        raise UserError("has no column of categories", where=path, remedy="Call it category.")
    counts = compare.check(written, asked, names=Classifier.load(run).names)
    lines = [f"{path}: answers {asked.path}, {sum(counts.values()):,} rows"]
    found = compare.drift(counts, record.get("notes", {}).get("estimated_mix", {}))
    return "\n".join([*lines, *([found.line()] if found else [])])


def evaluate_file(model: Path, gold: Path, *, text_column: str, id_column: str, encoding: str) -> str:
    """Score a run or model against a file of answers; the per-category report as text.

    The file has the reviews' text beside the category, or the test file's ids: then the run's predictions are scored.

    Raises:
        UserError: the file has neither, or names an unknown category or id.
    """
    settings = evaluate.Config()
    classifier = Classifier.load(model)
    source = open_source(gold, text_column=text_column, id_column=id_column, encoding=encoding, text_required=False)
    say(describe_source(source))
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
