"""The page of a run's drift: every comparison, the latest first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tsirius.reporting import page


def render(history: Sequence[Mapping[str, Any]], *, name: str) -> str:
    """The page as HTML; nothing in it runs or is loaded, and every text is escaped.

    Args:
        history: the comparisons, as ``history.json`` has them, the oldest first.
        name: of the run.
    """
    names: dict[str, None] = {}
    for comparison in history:
        names |= dict.fromkeys(one["name"] for one in comparison["measures"])
    rows = [
        {**comparison, "of": {one["name"]: one for one in comparison["measures"]}} for comparison in reversed(history)
    ]
    return page.environment().get_template("drift.html.j2").render(rows=rows, names=list(names), name=name)
