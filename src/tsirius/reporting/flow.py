"""What became of the reviews: rows and categories after each stage, variants, rejected rows, costs, warnings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from tsirius import tables
from tsirius.io import compare
from tsirius.reporting import figures
from tsirius.reporting.records import Records, count_values, height, notes, read_columns, read_table

ROW_RANGES, REJECTED_GROUPS, VARIANTS_SHOWN = 100, 50, 5
"""What bounds the size of the page, whatever the tables hold."""

Counts = Mapping[str, Mapping[str, int]]
"""Rows of each category after each step: step → category → rows, in the flow's order."""


RESULTS = {"table": ("labelled.xlsx", "labelled.csv"), "predict": ("submission.csv",)}
"""What lies beside the report for a person to open, by the stage that wrote it."""


def results(given: Mapping[str, Path]) -> list[str]:
    """The files beside the report that a person may want to open."""
    return [
        name for stage, names in RESULTS.items() if stage in given for name in names if (given[stage] / name).is_file()
    ]


def count_categories(given: Mapping[str, Path], labelled: pl.DataFrame, predicted: pl.DataFrame | None) -> Counts:
    """Rows of each category after each step that changes them.

    Args:
        given: the stages' folders.
        labelled: ``label`` and ``kept`` of every review.
        predicted: ``category`` of every row of the test file; None where there is none.
    """
    series = {"labelled": labelled["label"], "selected": labelled.filter("kept")["label"]}
    for step, stage, table in (
        ("train", "split", "train"),
        ("valid", "split", "valid"),
        ("balanced", "balance", "train"),
        ("augmented", "augment", "train"),
    ):
        series[step] = read_columns(given[stage] / f"{table}.parquet", tables.EXAMPLES, ("label",))["label"]
    if predicted is not None:
        series["predicted"] = predicted["category"]
    return {step: count_values(values) for step, values in series.items()}


def mix(names: Sequence[str], counts: Counts) -> dict[str, Any]:
    """The table of the class distribution: a row a category, a cell a step with its share and its bar."""
    totals = {step: sum(rows.values()) for step, rows in counts.items()}
    highest = {step: max(rows.values(), default=0) for step, rows in counts.items()}
    rows = [
        (name, [(rows.get(name, 0), totals[step], highest[step]) for step, rows in counts.items()]) for name in names
    ]
    return {"columns": list(counts), "rows": rows, "totals": list(totals.values())}


def funnel(given: Mapping[str, Path], labelled: pl.DataFrame, counts: Counts) -> dict[str, Any]:
    """Rows after each step, in the flow's order, each with what became of the others.

    Args:
        given: the stages' folders.
        labelled: ``label`` and ``reason`` of every review.
        counts: see :func:`count_categories`.
    """
    reviews = tables.scan(given["ingest"] / "reviews.parquet").select(rows=pl.len(), groups=pl.col("group").n_unique())
    kept, groups = reviews.collect().row(0)
    dropped = height(given["ingest"] / "rejected.parquet")
    total = {step: sum(rows.values()) for step, rows in counts.items()}
    # Balance repeats reviews of a category that is short of them; a repeat is no variant.
    repeats = height(given["balance"] / "train.parquet", pl.col("method") == "repeat")
    variants = height(given["augment"] / "train.parquet", ~pl.col("method").is_in(["written", "repeat"]))
    over_quota = total["train"] - (total["balanced"] - repeats)
    balanced = f"quotas dropped {over_quota:,} and repeated {repeats:,}" if over_quota or repeats else "no change"
    unasked = labelled.filter(pl.col("reason") == "not sampled").height
    silent = labelled["label"].null_count() - unasked
    abstained = f"all labellers abstained on {silent:,}"
    if unasked:
        abstained = f"all labellers abstained on {silent:,}; {unasked:,} are not in the sample"
    steps = [
        ("read", kept + dropped, "from the training files"),
        ("kept", kept, f"{dropped:,} rejected; {kept - groups:,} exact or near duplicates"),
        ("labelled", total["labelled"], abstained),
        ("selected", total["selected"], f"{total['labelled'] - total['selected']:,} dropped, for the reasons below"),
        ("train", total["train"], "training rows"),
        ("valid", total["valid"], "validation rows, at their natural mix"),
        ("balanced", total["balanced"], balanced),
        ("augmented", total["augmented"], f"{variants:,} variants of training reviews added"),
    ]
    return {"steps": steps, "highest": max(rows for _, rows, _ in steps), "predicted": total.get("predicted")}


def variants(folder: Path, records: Records) -> dict[str, Any]:
    """Variants by method, accepted and refused, the reasons, examples of both, and the categories that are still
    short of their target.

    Args:
        folder: of the augment stage.
        records: of the stages.
    """
    accepted = read_table(folder / "variants.parquet", tables.VARIANTS)
    refused = read_table(folder / "refused.parquet", tables.REFUSED)
    noted = notes(records, "augment")
    by_method = noted.get("refused_by_method") or {}
    counts = count_values(accepted["method"])
    because = noted.get("short_because") or {}
    # The least similar first: what a reader should look at.
    shown = accepted.sort("similarity", "id", nulls_last=True)
    shown = shown.filter(pl.int_range(pl.len()).over("method") < VARIANTS_SHOWN).sort("method", maintain_order=True)
    few = refused.filter(pl.int_range(pl.len()).over("reason") < VARIANTS_SHOWN)
    return {
        "methods": [
            (method, counts.get(method, 0), sum(by_method.get(method, {}).values()))
            for method in {**counts, **by_method}
        ],
        "refused": list((noted.get("refused") or {}).items()),
        "short": [(name, rows, because.get(name, "")) for name, rows in (noted.get("short") or {}).items()],
        "accepted_examples": _examples(shown.select("method", "similarity", "source", "clean")),
        "refused_examples": _examples(few.select("method", "reason", "source", "clean")),
    }


def _examples(rows: pl.DataFrame) -> list[tuple[Any, ...]]:
    """Method, why, and both texts as excerpts."""
    return [(method, why, *map(figures.excerpt, texts)) for method, why, *texts in rows.iter_rows()]


def rejected(path: Path) -> dict[str, Any]:
    """Rows that ingest rejected, by file and reason, with their row numbers."""
    rows = read_columns(path, tables.REJECTED, ("source", "reason", "row"))
    groups = rows.group_by("source", "reason").agg(pl.col("row").sort()).sort("source", "reason")
    listed = []
    for source, reason, numbers in groups.head(REJECTED_GROUPS).iter_rows():
        ranges, more = figures.ranges(numbers, ROW_RANGES)
        listed.append({"source": source, "reason": reason, "rows": len(numbers), "numbers": ranges, "more": more})
    return {"rows": rows.height, "groups": listed, "more": max(0, groups.height - REJECTED_GROUPS)}


def costs(records: Records) -> dict[str, Any]:
    """Seconds and peak memory of each stage, as its record says."""
    rows = [
        (stage, record.get("seconds"), record.get("peak_memory_mib")) for stage, record in records.items() if record
    ]
    seconds = [spent for _, spent, _ in rows if spent is not None]
    memory = [peak for _, _, peak in rows if peak is not None]
    return {
        "rows": rows,
        "seconds": sum(seconds),
        "longest": max(seconds, default=0),
        "peak": max(memory, default=None),
        "highest": max(memory, default=0),
    }


def hints(names: Sequence[str], counts: Counts, scores: Sequence[Mapping[str, Any]], *, records: Records) -> list[str]:
    """What a reader should know before trusting the figures, in whole sentences; empty where all is well.

    Args:
        names: the categories.
        counts: see :func:`count_categories`.
        scores: each with ``kind``, ``majority`` and ``beaten``.
        records: of the stages.
    """
    lines = []
    if not scores:
        lines.append("Nothing was scored: there was no review to score on.")
    lines += [
        f"{'The score against gold' if score['kind'] == 'gold' else 'The agreement with pseudo-labels'} is not"
        f" clearly better than always answering «{figures.short(score['majority'])}»."
        for score in scores
        if not score["beaten"]
    ]
    absent = [name for name in names if not counts["labelled"].get(name)]
    if absent:
        lines.append(f"No review was labelled as {figures.listing(absent)}.")
    # A category without labels has no training rows either: that is told once.
    untrained = [name for name in names if not counts["train"].get(name) and name not in absent]
    if untrained:
        lines.append(f"There are no training rows for {figures.listing(untrained)}.")
    if "predicted" in counts:
        never = [name for name in names if not counts["predicted"].get(name) and counts["train"].get(name)]
        if never:
            lines.append(f"Trained on, but never predicted for the test file: {figures.listing(never)}.")
    return lines + _drift(records)


def _drift(records: Records) -> list[str]:
    """A sentence where the predictions' mix is far from the one that was estimated from the reviews."""
    drift = notes(records, "predict").get("drift")
    if not isinstance(drift, Mapping) or drift.get("distance", 0) <= compare.FAR:
        return []
    line = compare.Drift(**drift).line()
    return [f"{line[:1].upper()}{line[1:]}."]
