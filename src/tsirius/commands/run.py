"""What is printed at the end of a run."""

from __future__ import annotations

import json
from pathlib import Path

from tsirius import headline
from tsirius.commands.evaluate import score_line
from tsirius.stages import evaluate
from tsirius.store import Store


def summary(run: Path) -> str:
    """How right a run is, how well its model repeats the labellers, and where its results lie, a line each.

    Raises:
        UserError: it was not evaluated, or the scores are damaged.
    """
    scores = json.loads((Store(run).read("evaluate") / "scores.json").read_text(encoding="utf-8"))
    gold, pseudo = scores.get("gold"), scores.get("pseudo_label")
    lines = [score_line(gold, evaluate.AGAINST["gold"]) if gold else headline.read(run, scores).line()]
    if pseudo:
        lines.append(f"  {headline.agreement(pseudo)}")
    names = ("labelled.csv", "labelled.xlsx", "submission.csv", "report.html")
    return "\n".join([*lines, *(str(run / name) for name in names if (run / name).is_file())])


def next_step(run: Path) -> str:
    """What to do after a run, in one line."""
    scores = json.loads((Store(run).read("evaluate") / "scores.json").read_text(encoding="utf-8"))
    found = headline.read(run, scores)
    if found.f1 is None:
        return f"next: {found.command}"
    return f"next: tsirius predict {run} REVIEWS -o answers.xlsx"
