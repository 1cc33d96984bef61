"""Compare a submission with the test file that it answers."""

from __future__ import annotations

from pathlib import Path

from tsirius.errors import UserError
from tsirius.io import compare, writers
from tsirius.io.source import open_other, open_source
from tsirius.models.classifier import describe, find
from tsirius.store import Store, verify


def check_submission(
    run: Path,
    submission: Path | None,
    *,
    id_column: str = "auto",
    category_column: str = "auto",
    encoding: str = "auto",
    sheet: str | int = "auto",
) -> str:
    """Compare a run's submission, or another file of categories, with the run's test file; the result in two lines.

    Args:
        run: the run's folder.
        submission: the file; None for the run's own.
        id_column, category_column, encoding, sheet: of the file; "auto": the test file's id column, a usual name,
            told, the first.

    Raises:
        UserError: it does not answer the test file, or the run has none.
    """
    store = Store(run)
    config = store.settings("ingest")
    if not config:
        raise UserError("holds no run", where=run, remedy="Name a folder that 'tsirius run' made.")
    store.read("label")
    model = find(run)
    verify(model)
    if not config.get("test"):
        raise UserError("the run has no test file", where=run, remedy="Set ingest.test and run again.")
    read_as = {name: config.get(name, "auto") for name in ("text_column", "id_column", "encoding", "sheet")}
    test = open_other(Path(config["test"]), **read_as, text_required=True)
    path = submission if submission is not None else run / "submission.csv"
    if id_column == "auto":
        id_column = writers.layout(None, test, confidence=False).id_column or "none"
    written = open_source(
        path,
        text_column="auto",
        id_column=id_column,
        category_column=category_column,
        encoding=encoding,
        text_required=False,
        sheet=sheet,
    )
    if written.category_column is None:
        raise UserError("has no column of categories", where=path, remedy="Call it category.")
    counts = compare.check(written, test, names=describe(model).names, escaped=False)
    lines = [f"{path}: answers {test.path}, {sum(counts.values()):,} rows"]
    record = store.record("label") or {}
    drift = compare.drift(counts, record.get("notes", {}).get("estimated_mix", {}))
    return "\n".join([*lines, *([drift.line()] if drift else [])])
