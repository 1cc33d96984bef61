"""What is printed at the end of a run."""

from __future__ import annotations

import json
from pathlib import Path

from tsirius.commands.evaluate import score_line
from tsirius.stages import evaluate
from tsirius.store import Store


def summary(run: Path) -> str:
    """The scores of a run and where its results lie, a line each.

    Raises:
        UserError: it was not evaluated, or the scores are damaged.
    """
    scores = json.loads((Store(run).read("evaluate") / "scores.json").read_text(encoding="utf-8"))
    lines = [score_line(scores[kind], against) for kind, against in evaluate.AGAINST.items() if scores.get(kind)]
    names = ("labelled.csv", "labelled.xlsx", "submission.csv", "report.html")
    return "\n".join([*lines, *(str(run / name) for name in names if (run / name).is_file())])


def next_step(run: Path) -> str:
    """What to do after a run, in one line."""
    scores = json.loads((Store(run).read("evaluate") / "scores.json").read_text(encoding="utf-8"))
    if not scores.get("gold"):
        return f"next: tsirius audit {run} (some answers of yours tell how right the labels are)"
    return f"next: tsirius predict {run} REVIEWS -o answers.xlsx"
