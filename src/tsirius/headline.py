"""What a run says first: how right it is by answers of people, or that nobody knows yet and how to find out.

Agreement with pseudo-labels is never a headline: it says how well the model repeats the labellers, which err too.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tsirius.progress import say
from tsirius.store import Store, with_checksum

AGREEMENT = "agreement with pseudo-labels"
NOT_KNOWN = "not known yet"
ANSWERS, SECONDS = 100, 9
"""How many answers are asked for, and what one takes a person."""
AUDITS = {
    "predictions": ("audit/predictions/audit.json", "predict", "of the predictions"),
    "labels": ("audit/audit.json", "label", "of the labels, not of the model"),
}
"""What can be audited, the best first: the figures in the run's folder, the stage that they are of, and in words."""


@dataclass(frozen=True)
class Headline:
    """How right a run is.

    Attributes:
        f1: the weighted F1 by answers of people; None: not known.
        low: the lower end of its 95 % interval.
        high: the upper end.
        rows: the answers that it comes from.
        of: what was scored, against what.
        command: what asks a person for the answers that are missing.
        count: how many it asks for.
        minutes: what they take.
    """

    f1: float | None
    low: float | None
    high: float | None
    rows: int
    of: str
    command: str
    count: int
    minutes: int

    def line(self) -> str:
        """The headline in one line of text."""
        if self.f1 is None:
            return f"weighted F1: {NOT_KNOWN}; {self.remedy()}"
        return f"weighted F1 {self.f1:.3f} {self.of} (95 % interval {self.low:.3f}-{self.high:.3f}, {self.rows:,} rows)"

    def remedy(self) -> str:
        """What makes it known, in words."""
        return f"answer {self.count:,} reviews with `{self.command}`, about {self.minutes:,} minutes"


def read(run: Path, scores: Mapping[str, Any]) -> Headline:
    """The headline of a run: by the gold answers, else by those of an audit of its present predictions or labels.

    Args:
        run: its folder, as the user calls it.
        scores: of its stage evaluate: ``gold``, with ``weighted_f1``, ``interval`` and ``rows``, may be there.
    """
    command, count = _question(run)
    made = partial(Headline, command=command, count=count, minutes=max(1, math.ceil(count * SECONDS / 60)))
    gold = scores.get("gold")
    if gold:
        low, high = gold["interval"]
        return made(gold["weighted_f1"], low, high, gold["rows"], "against gold")
    for path, stage, of in AUDITS.values():
        figures = _figures(run / path)
        if figures is None or figures.get("output") != (Store(run).record(stage) or {}).get("output"):
            continue  # none, or of what another run made
        found = figures["weighted_f1_with_gold"]["all"]
        return made(found["value"], found["low"], found["high"], found["rows"], f"{of}, by an audit")
    return made(None, None, None, 0, "")


def agreement(score: Mapping[str, Any]) -> str:
    """The score against pseudo-labels in one line, by the name that says what it is."""
    low, high = score["interval"]
    return (
        f"{AGREEMENT}, which may be wrong themselves: {score['weighted_f1']:.3f}"
        f" (95 % interval {low:.3f}-{high:.3f}, {score['rows']:,} rows)"
    )


def _question(run: Path) -> tuple[str, int]:
    """The command that asks for answers, and for how many."""
    kind = "predictions" if Store(run).record("predict") else "labels"
    record = Store(run).record(AUDITS[kind][1]) or {}
    count = min(ANSWERS, (record.get("notes") or {}).get("rows") or ANSWERS)
    option = " --of predictions" if kind == "predictions" else ""
    # shlex would quote Cyrillic too, in a way that Windows does not know
    folder = str(run) if re.fullmatch(r"[\w@%+=:,./\\-]+", str(run)) else f'"{run}"'
    return f"tsirius audit {folder}{option} --count {count}", count


def _figures(path: Path) -> dict[str, Any] | None:
    """What an audit found; None where there was none, or its file is not what was written."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError):
        stored = None
    if not isinstance(stored, dict) or with_checksum(stored) != stored:
        say(f"{path}: was altered or damaged, and is left out. 'tsirius audit' writes it again.")
        return None
    return stored
