"""What changed between two versions of a run: the reviews of which labels or model say something else."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

EXAMPLES = 3
"""Reviews that are shown of a change."""
FLIPS = 12
"""Changes from one category to another that are shown, the most frequent first."""


@dataclass(frozen=True)
class Flip:
    """Reviews that went from one category to another; None: no label."""

    before: str | None
    after: str | None
    count: int
    ids: list[str]


def flips(before: pl.DataFrame, after: pl.DataFrame, *, of: str) -> tuple[int, list[Flip]]:
    """How many reviews changed, and the most frequent changes.

    Args:
        before: a table of :data:`tsirius.desk.versions.SAID`.
        after: the same, later; reviews that only one has are left out.
        of: ``label`` or ``model``.
    """
    both = before.select("id", before=of).join(after.select("id", after=of), on="id", maintain_order="left")
    changed = both.filter(pl.col("before").ne_missing(pl.col("after")))
    groups = (
        changed.group_by("before", "after", maintain_order=True)
        .agg(count=pl.len(), ids=pl.col("id").head(EXAMPLES))
        .sort("count", descending=True, maintain_order=True)
    )
    return changed.height, [Flip(**row) for row in groups.head(FLIPS).iter_rows(named=True)]


def by_category(before: pl.DataFrame, after: pl.DataFrame, *, of: str) -> list[tuple[str, int, int]]:
    """For each category how many reviews it had before and has after."""
    counts = [
        table[of].drop_nulls().value_counts().rename({of: "name", "count": place})
        for table, place in ((before, "before"), (after, "after"))
    ]
    joined = counts[0].join(counts[1], on="name", how="full", coalesce=True).fill_null(0).sort("name")
    return [(row["name"], row["before"], row["after"]) for row in joined.iter_rows(named=True)]
