"""Report: one page, ``report.html``, that says what happened to the reviews and how well the model does.

The page is one file without scripts, fonts or pictures from elsewhere. A score against pseudo-labels (agreement with
the labeller) and a score against gold (answers by people) are never mixed. The same run gives the same bytes.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic import Field

from tsirius import calibration, metrics, tables
from tsirius.categories import Categories
from tsirius.io import compare
from tsirius.language.words import lemmas
from tsirius.progress import say
from tsirius.reporting import charts
from tsirius.section import Section

VERSION = 4

STAGES = ("ingest", "label", "select", "split", "balance", "augment", "train", "evaluate", "predict")

BINS = 20
"""Columns of a confidence histogram."""

KINDS = {
    "gold": {
        "against": "against gold",
        "means": "Gold: answers by people, which no stage before this score has seen.",
        "answer": "gold answer",
        "table": "gold_predictions.parquet",
    },
    "pseudo_label": {
        "against": "against pseudo-labels",
        "means": "Agreement with the labeller on reviews held back from training: not truth, as the labeller errs too.",
        "answer": "pseudo-label",
        "table": "valid_predictions.parquet",
    },
}
"""Both kinds of score, what each is called, and where its predictions lie; gold first, as it says more."""

RELIABILITY_BINS, ROUNDS, FEW = 10, 400, 10
"""Dots of a reliability drawing; resamples for the interval of a category's F1, and reviews below which it has none."""

METRIC = "early_stopping_metric"
CURVES = {
    "weighted_f1": ("Weighted F1 against pseudo-labels", max),
    "eval_loss": ("Loss on the reviews held back", min),
}
"""What train measures along the way: what it is called, and which value is the best."""

EXAMPLE_CHARACTERS, ROW_RANGES, REJECTED_GROUPS, VARIANTS_SHOWN = 280, 100, 50, 5
"""What bounds the size of the page, whatever the tables hold."""


class Config(Section):
    pairs: int = Field(10, ge=0, le=100)
    """How many of the most confused pairs of categories are shown."""
    examples: int = Field(3, ge=0, le=20)
    """How many reviews are shown for each of these pairs."""
    suspects: int = Field(12, ge=0, le=100)
    """How many of the labels that the model contradicts most firmly are shown."""


def run(config: Config, given: Mapping[str, Path], out: Path, *, seed: int, scratch: Path) -> dict[str, Any]:
    names = Categories.from_json((given["ingest"] / "categories.json").read_text(encoding="utf-8")).names
    records = {stage: _json(given[stage] / "record.json") for stage in STAGES if stage in given}
    found = _json(given["evaluate"] / "scores.json")
    scores = [
        assess(kind, found[kind], given["evaluate"], pairs=config.pairs, examples=config.examples)
        for kind in KINDS
        if found.get(kind)
    ]
    labelled = _columns(
        given["select"] / "labelled.parquet", tables.LABELLED, ("label", "confidence", "kept", "reason")
    )
    predicted = (
        _columns(given["predict"] / "predictions.parquet", tables.PREDICTIONS, ("category", "confidence"))
        if "predict" in given
        else None
    )
    counts = count_categories(given, labelled, predicted)
    page = render(
        name=given["ingest"].resolve().parent.name,
        scores=scores,
        hints=hints(names, counts, scores) + drift_hint(records),
        funnel=funnel(given, labelled, counts),
        mix=mix(names, counts),
        histograms=histograms(labelled, predicted, settings=_settings(records.get("select", {}))),
        reasons=reasons(labelled),
        labellers=labellers(given["label"]),
        agreements=agreements(given["label"]),
        learning=learning(_notes(records, "train"), metric=_settings(records.get("train", {})).get(METRIC)),
        variants=variants(given["augment"], records.get("augment", {})),
        suspects=suspects(given, limit=config.suspects),
        rejected=rejected(given["ingest"] / "rejected.parquet"),
        costs=costs(records),
        details=details(records),
        versions=versions(records),
    )
    (out / "report.html").write_text(page, encoding="utf-8", newline="\n")
    say(f"  report.html: {len(page.encode()) / 1024:,.0f} KiB")
    return {"bytes": len(page.encode()), "scores": [score["kind"] for score in scores]}


def render(**parts: Any) -> str:
    """The page, from what the functions below return; every text in it is escaped by the template."""
    environment = Environment(
        loader=PackageLoader("tsirius", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": charts.number,
        "decimal": charts.decimal,
        "duration": charts.duration,
        "memory": charts.memory,
        "printable": charts.printable,
        "short": charts.short,
    }
    environment.globals |= {"percent": charts.percent, "width": charts.width}
    return environment.get_template("report.html.j2").render(parts)


def count_categories(
    given: Mapping[str, Path], labelled: pl.DataFrame, predicted: pl.DataFrame | None
) -> dict[str, dict[str, int]]:
    """Rows of each category after each stage that changes them: stage's word → category → rows, in the flow's order."""
    series = {"labelled": labelled["label"], "selected": labelled.filter("kept")["label"]}
    for word, stage, table in (
        ("train", "split", "train"),
        ("valid", "split", "valid"),
        ("balanced", "balance", "train"),
        ("augmented", "augment", "train"),
    ):
        series[word] = _columns(given[stage] / f"{table}.parquet", tables.EXAMPLES, ("label",))["label"]
    if predicted is not None:
        series["predicted"] = predicted["category"]
    return {word: _counts(values) for word, values in series.items()}


def mix(names: Sequence[str], counts: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """The table of categories before and after: a row a category, a cell a stage with its share and its bar."""
    totals = {word: sum(found.values()) for word, found in counts.items()}
    highest = {word: max(found.values(), default=0) for word, found in counts.items()}
    rows = [
        (name, [(found.get(name, 0), totals[word], highest[word]) for word, found in counts.items()]) for name in names
    ]
    return {"columns": list(counts), "rows": rows, "totals": list(totals.values())}


def funnel(
    given: Mapping[str, Path], labelled: pl.DataFrame, counts: Mapping[str, Mapping[str, int]]
) -> dict[str, Any]:
    """Rows after each stage, in the flow's order, each with what became of the others."""
    reviews = pl.scan_parquet(given["ingest"] / "reviews.parquet").select(
        rows=pl.len(), groups=pl.col("group").n_unique()
    )
    kept, groups = reviews.collect().row(0)
    left = _height(given["ingest"] / "rejected.parquet")
    total = {word: sum(found.values()) for word, found in counts.items()}
    # Balance repeats reviews of a category that is short of them; a repeat is no variant.
    repeats = _height(given["balance"] / "train.parquet", pl.col("method") == "repeat")
    variants = _height(given["augment"] / "train.parquet", ~pl.col("method").is_in(["written", "repeat"]))
    dropped = total["train"] - (total["balanced"] - repeats)
    balanced = f"quotas left out {dropped:,} and repeated {repeats:,}" if dropped or repeats else "no change"
    steps = [
        ("read", kept + left, "from the training files"),
        ("kept", kept, f"{left:,} rejected; {kept - groups:,} are copies or near copies of another"),
        ("labelled", total["labelled"], f"no labeller spoke on {labelled['label'].null_count():,}"),
        ("selected", total["selected"], f"{total['labelled'] - total['selected']:,} not sure enough"),
        ("train", total["train"], "to learn from"),
        ("valid", total["valid"], "held back to score, at their natural mix"),
        ("balanced", total["balanced"], balanced),
        ("augmented", total["augmented"], f"{variants:,} variants made of training reviews"),
    ]
    return {"steps": steps, "highest": max(rows for _, rows, _ in steps), "predicted": total.get("predicted")}


def histograms(
    labelled: pl.DataFrame, predicted: pl.DataFrame | None, *, settings: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The confidence of the labels (kept and left apart, with the thresholds) and of the predictions."""
    spoken = labelled.filter(pl.col("label").is_not_null())
    layers = {"kept": spoken.filter("kept")["confidence"], "left": spoken.filter(~pl.col("kept"))["confidence"]}
    marks = {
        name: float(settings[name]) for name in ("grey", "sure") if isinstance(settings.get(name), int | float)
    }  # fmt: skip
    parts = [("Labels", "labels", layers, marks)]
    if predicted is not None:
        parts.append(("Predictions", "predictions", {"predicted": predicted["confidence"]}, {}))
    return [_histogram(title, what, layers, marks) for title, what, layers, marks in parts]


def _histogram(title: str, what: str, layers: Mapping[str, pl.Series], marks: Mapping[str, float]) -> dict[str, Any]:
    values = pl.concat([layer.cast(pl.Float64) for layer in layers.values()]).drop_nulls().drop_nans()
    median = values.median()
    said = f"{values.len():,} {what}, median confidence {charts.decimal(median)}" if values.len() else f"No {what}."  # type: ignore[arg-type]  # a number's median
    binned = {name: charts.bins(layer, BINS) for name, layer in layers.items()}
    drawn = charts.histogram(binned, marks, f"Histogram of confidence: {said}")
    return {"title": title, "said": said, "drawn": drawn, "layers": [*layers], "rows": values.len()}


def reasons(labelled: pl.DataFrame) -> list[tuple[str, bool, int]]:
    """Why reviews were kept or left: reason, whether kept, rows; kept ones first, the most frequent before."""
    found = labelled.group_by("reason", "kept").len().sort("kept", "len", "reason", descending=[True, True, False])
    return [(reason, kept, rows) for reason, kept, rows in found.iter_rows()]


def labellers(folder: Path) -> list[dict[str, Any]]:
    """How often each labeller spoke, and how often the label became what it said."""
    schema = {"id": pl.String, "label": pl.String}
    labels = pl.scan_parquet(folder / "labels.parquet").select(*schema)
    found = (
        pl.scan_parquet(folder / "votes.parquet")
        .select("id", "labeller", "said", spoke=pl.col("said").is_not_null())
        .join(labels, on="id", how="left")
        .group_by("labeller")
        .agg(
            rows=pl.len(),
            spoke=pl.col("spoke").sum(),
            agreed=(pl.col("spoke") & (pl.col("said") == pl.col("label"))).sum(),
        )
        .sort("labeller")
        .collect()
    )
    return list(found.iter_rows(named=True))


def agreements(folder: Path) -> list[dict[str, Any]]:
    """For every two labellers: on how many reviews both spoke, and on how many of them they said the same."""
    said = pl.scan_parquet(folder / "votes.parquet").select("id", "labeller", "said").drop_nulls("said")
    found = (
        said.join(said, on="id", suffix="_other")
        .filter(pl.col("labeller") < pl.col("labeller_other"))
        .group_by("labeller", "labeller_other")
        .agg(both=pl.len(), same=(pl.col("said") == pl.col("said_other")).sum())
        .sort("labeller", "labeller_other")
        .collect()
    )
    return list(found.iter_rows(named=True))


def learning(notes: Mapping[str, Any], *, metric: str | None) -> list[dict[str, Any]]:
    """The curves of score and loss on the validation rows over the steps of training; none where it has no steps.

    Args:
        notes: of the train stage.
        metric: what the model that was kept is the best by.
    """
    entries = [entry for entry in notes.get("evaluations") or [] if isinstance(entry, Mapping)]
    curves = []
    for key, (title, best_of) in CURVES.items():
        points = [(float(entry["step"]), float(entry[key])) for entry in entries if {"step", key} <= entry.keys()]
        if len(points) < 2:
            continue
        best = best_of(value for _, value in points)
        kept = best if key == (metric or "weighted_f1") else None
        said = f"{best:.3f} at best, {points[-1][1]:.3f} at the last step"
        drawn = charts.curve(points, kept, f"{title}: {said}")
        curves.append({"title": title, "said": said, "drawn": drawn, "kept": kept is not None})
    return curves


def suspects(given: Mapping[str, Path], *, limit: int) -> list[dict[str, Any]]:
    """The labels that are most likely wrong, with the words that they rest on.

    First those of held-back reviews that the model contradicts most firmly; then those that like reviews contradict,
    the surest before, as they were left out of training.
    """
    path = given["evaluate"] / KINDS["pseudo_label"]["table"]
    columns = ("id", "clean", "label", "predicted", "confidence")
    contradicted = (
        pl.read_parquet(path)
        .filter(pl.col("label") != pl.col("predicted"))
        .sort("confidence", "id", descending=[True, False], nulls_last=True)
        .head(limit)
        .select(columns)
        if path.is_file()
        else pl.DataFrame(schema=dict.fromkeys(columns, pl.String) | {"confidence": pl.Float32})
    )
    reviews = pl.scan_parquet(given["ingest"] / "reviews.parquet").select("id", "clean")
    doubtful = (
        pl.scan_parquet(given["label"] / "labels.parquet")
        .filter(pl.col("doubtful"), ~pl.col("id").is_in(contradicted["id"].to_list()))
        .sort("confidence", "id", descending=[True, False], nulls_last=True)
        .head(limit - contradicted.height)
        .join(reviews, on="id", maintain_order="left")
        .with_columns(predicted=pl.lit(None, dtype=pl.String))
        .select(columns)
        .collect()
    )
    found = pl.concat([contradicted, doubtful], how="vertical_relaxed")
    votes = (
        pl.scan_parquet(given["label"] / "votes.parquet")
        .filter(pl.col("id").is_in(found["id"].to_list()), pl.col("said").is_not_null())
        .select("id", "labeller", "evidence", "said")
        .collect()
    )
    shown = []
    for row in found.iter_rows(named=True):
        own = votes.filter((pl.col("id") == row["id"]) & (pl.col("said") == row["label"]))
        words = set(own["evidence"].explode().drop_nulls().to_list())
        shown.append(
            {
                "label": row["label"],
                "predicted": row["predicted"],
                "confidence": row["confidence"],
                "labellers": ", ".join(own["labeller"].to_list()),
                "text": charts.marked(row["clean"] or "", _forms(row["clean"] or "", words), EXAMPLE_CHARACTERS),
            }
        )
    return shown


def _forms(text: str, words: set[str]) -> set[str]:
    """The words of a text as they stand in it, whose dictionary form is one of ``words``."""
    return {word for word in re.findall(r"\w+", text) if words & {word.lower(), *lemmas(word)}}


def reliability(predictions: pl.DataFrame | None, what: str) -> dict[str, Any] | None:
    """Whether the model's confidence is the share of its answers that are right; None where there is nothing to see."""
    rows = None if predictions is None else predictions.drop_nulls("confidence")
    if rows is None or rows.is_empty():
        return None
    right = (rows["label"] == rows["predicted"]).to_numpy()
    found = calibration.reliability(
        rows["confidence"].clip(0, 1).to_numpy(), right, weights=None, bins=RELIABILITY_BINS, equal_mass=True
    )
    said = (
        f"Mean confidence {found.confidence:.3f}, right {found.accuracy:.3f} {what};"
        f" expected calibration error {found.error:.3f}"
    )
    bins = [(one.confidence, one.accuracy, *one.interval, one.share) for one in found.bins]
    return {"said": said, "drawn": charts.reliability(bins, f"Reliability: {said}")}


def drift_hint(records: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A sentence where the predictions' mix is far from the one that was estimated from the reviews."""
    found = _notes(records, "predict").get("drift")
    if not isinstance(found, Mapping) or found.get("distance", 0) <= compare.FAR:
        return []
    line = compare.Drift(**found).line()
    return [f"{line[:1].upper()}{line[1:]}."]


def _notes(records: Mapping[str, Mapping[str, Any]], stage: str) -> Mapping[str, Any]:
    return (records.get(stage) or {}).get("notes") or {}


def assess(kind: str, score: Mapping[str, Any], folder: Path, *, pairs: int, examples: int) -> dict[str, Any]:
    """All that the page says of one score.

    Args:
        kind: ``gold`` or ``pseudo_label``.
        score: an entry of ``scores.json``.
        folder: of the evaluate stage.
        pairs: how many confused pairs.
        examples: how many reviews a pair.
    """
    names, confusion = list(score.get("names") or []), score.get("confusion") or []
    low, high = score.get("interval") or (None, None)
    majority = score.get("majority") or {}
    f1, baseline = score.get("weighted_f1"), majority.get("weighted_f1")
    said = f"Weighted F1 {KINDS[kind]['against']}: {charts.decimal(f1)}"
    drawn, beaten = "", True
    if f1 is not None and low is not None and high is not None and baseline is not None:
        said += f", 95 % interval {charts.decimal(low)} to {charts.decimal(high)}, baseline {charts.decimal(baseline)}"
        drawn, beaten = charts.interval(f1, low, high, baseline, said), low > baseline
    table = folder / KINDS[kind]["table"]
    predictions = pl.read_parquet(table) if table.is_file() else None
    return {
        **KINDS[kind],
        "kind": kind,
        "rows": score.get("rows"),
        "f1": f1,
        "low": low,
        "high": high,
        "accuracy": score.get("accuracy"),
        "baseline": baseline,
        "majority": str(majority.get("category", "")),
        "drawn": drawn,
        "beaten": beaten,
        "categories": _with_intervals(score.get("categories") or [], confusion),
        "reliability": reliability(predictions, KINDS[kind]["against"]),
        "names": names,
        "matrix": matrix(names, confusion),
        "pairs": confused(names, confusion, predictions, pairs=pairs, examples=examples),
    }


def _with_intervals(
    categories: Sequence[Mapping[str, Any]], confusion: Sequence[Sequence[int]]
) -> list[dict[str, Any]]:
    """The categories' scores with the 95 % interval of each F1; None where there are few rows.

    A score of nothing is None: the recall of a category without rows, the precision of one that was never predicted.
    """
    if not categories or len(confusion) != len(categories) or not sum(map(sum, confusion)):
        return [{**category, "interval": None} for category in categories]
    cells = np.array(confusion)
    lacks = zip(cells.sum(axis=1) == 0, cells.sum(axis=0) == 0, strict=True)
    found = metrics.f1_intervals(cells, rounds=ROUNDS, seed=0)
    return [
        {
            **category,
            "recall": None if no_rows else category["recall"],
            "precision": None if no_predictions else category["precision"],
            "f1": None if no_rows and no_predictions else category["f1"],
            "interval": interval if category.get("support", 0) >= FEW else None,
        }
        for category, interval, (no_rows, no_predictions) in zip(categories, found, lacks, strict=True)
    ]


def matrix(names: Sequence[str], confusion: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
    """The confusion matrix's rows: each cell its count, how deep it is drawn (0 to 1), and whether it is a hit.

    The depth is the square root of the cell's share of its row: a tenth of a row is still seen.
    """
    return [
        {
            "name": name,
            "rows": sum(row),
            "cells": [
                {"count": count, "shade": round(math.sqrt(count / max(1, sum(row))), 2), "hit": place == column}
                for column, count in enumerate(row)
            ],
        }
        for place, (name, row) in enumerate(zip(names, confusion, strict=True))
    ]


def confused(
    names: Sequence[str],
    confusion: Sequence[Sequence[int]],
    predictions: pl.DataFrame | None,
    *,
    pairs: int,
    examples: int,
) -> list[dict[str, Any]]:
    """The pairs (answer, prediction) that differ and hold most rows, each with its most confident wrong predictions."""
    cells = [
        (count, place, column)
        for place, row in enumerate(confusion)
        for column, count in enumerate(row)
        if place != column and count
    ]
    worst = sorted(cells, key=lambda cell: (-cell[0], cell[1:]))[:pairs]
    return [
        {
            "label": names[place],
            "predicted": names[column],
            "rows": count,
            "of": sum(confusion[place]),
            "examples": [] if predictions is None else _examples(predictions, names[place], names[column], examples),
        }
        for count, place, column in worst
    ]


def _examples(predictions: pl.DataFrame, label: str, predicted: str, limit: int) -> list[dict[str, Any]]:
    found = (
        predictions.lazy()
        .filter(pl.col("label") == label, pl.col("predicted") == predicted)
        .select("clean", "confidence", "id")
        .sort("confidence", "id", descending=[True, False], nulls_last=True)
        .unique("clean", keep="first", maintain_order=True)
        .head(limit)
        .collect()
    )
    return [
        {"text": charts.shorten(text or "", EXAMPLE_CHARACTERS), "confidence": confidence}
        for text, confidence, _ in found.iter_rows()
    ]


def hints(
    names: Sequence[str], counts: Mapping[str, Mapping[str, int]], scores: Sequence[Mapping[str, Any]]
) -> list[str]:
    """What a reader should know before trusting the figures, in whole sentences; empty where all is well."""
    lines = []
    if not scores:
        lines.append("Nothing was scored: there was no review to score on.")
    elif all(score["kind"] != "gold" for score in scores):
        lines.append("No gold answers were given, so how often the labels themselves are wrong is not known.")
    lines += [
        f"The score {score['against']} is not clearly better than always answering «{charts.short(score['majority'])}»."
        for score in scores
        if not score["beaten"]
    ]
    for word, said in (("labelled", "No review was labelled as"), ("train", "There was nothing to train on for")):
        missing = [name for name in names if not counts[word].get(name)]
        # A category without labels has no training rows either: that is said once.
        missing = [name for name in missing if word == "labelled" or counts["labelled"].get(name)]
        if missing:
            lines.append(f"{said} {charts.listing(missing)}.")
    if "predicted" in counts:
        never = [name for name in names if not counts["predicted"].get(name) and counts["train"].get(name)]
        if never:
            lines.append(f"Learned but never predicted for the test file: {charts.listing(never)}.")
    return lines


def variants(folder: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    """What became of variants: of each method those made and refused, the reasons, some of either kind, and the
    categories that are still short of their target.

    Args:
        folder: of the augment stage.
        record: its record.
    """
    made = _table(folder / "variants.parquet", tables.VARIANTS)
    left = _table(folder / "refused.parquet", tables.REFUSED)
    notes = record.get("notes") or {}
    by_method = notes.get("refused_by_method") or {}
    counts = _counts(made["method"])
    methods = [(name, counts.get(name, 0), sum(by_method.get(name, {}).values())) for name in {**counts, **by_method}]
    refused = notes.get("refused") or {}
    because = notes.get("short_because") or {}
    shown = made.sort("similarity", "id", nulls_last=True)  # the boldest first: what a reader should look at
    shown = shown.filter(pl.int_range(pl.len()).over("method") < VARIANTS_SHOWN).sort("method", maintain_order=True)
    few = left.filter(pl.int_range(pl.len()).over("reason") < VARIANTS_SHOWN)
    return {
        "methods": methods,
        "refused": [(reason, rows) for reason, rows in refused.items()],
        "short": [(name, rows, because.get(name, "")) for name, rows in (notes.get("short") or {}).items()],
        "examples": [
            (*row[:2], *(charts.shorten(text or "", EXAMPLE_CHARACTERS) for text in row[2:]))
            for row in shown.select("method", "similarity", "source", "clean").iter_rows()
        ],
        "left": [
            (*row[:2], *(charts.shorten(text or "", EXAMPLE_CHARACTERS) for text in row[2:]))
            for row in few.select("method", "reason", "source", "clean").iter_rows()
        ],
    }


def rejected(path: Path) -> dict[str, Any]:
    """Rows that did not pass ingest, by file and reason, with their row numbers."""
    columns = _columns(path, tables.REJECTED, ("source", "reason", "row"))
    groups = columns.group_by("source", "reason").agg(pl.col("row").sort()).sort("source", "reason")
    listed = []
    for source, reason, rows in groups.head(REJECTED_GROUPS).iter_rows():
        numbers, left = charts.ranges(rows, ROW_RANGES)
        listed.append({"source": source, "reason": reason, "rows": len(rows), "numbers": numbers, "left": left})
    return {"rows": columns.height, "groups": listed, "more": max(0, groups.height - REJECTED_GROUPS)}


def costs(records: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
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


def details(records: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each stage's settings and the counts that it noted, as (key, value) pairs of text."""
    return [
        {"stage": stage, "settings": charts.flat(_settings(record)), "notes": charts.flat(record.get("notes") or {})}
        for stage, record in records.items()
        if record
    ]


def versions(records: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    """The packages' versions; where stages ran under different ones, each is named."""
    found: dict[str, dict[str, None]] = {}
    for record in records.values():
        for package, version in (record.get("versions") or {}).items():
            found.setdefault(str(package), {})[str(version)] = None
    return [(package, ", ".join(numbers)) for package, numbers in sorted(found.items())]


def _settings(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """A stage's settings: of the record itself or of the key that it was made under, with the key's seed."""
    key = record.get("key") or {}
    settings = dict(record.get("settings") or key.get("settings") or {})
    return {**settings, "seed": key["seed"]} if "seed" in key else settings


def _json(path: Path) -> dict[str, Any]:
    """What a JSON file holds; nothing where there is no such file."""
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found if isinstance(found, dict) else {}


def _columns(path: Path, schema: tables.Schema, names: Sequence[str]) -> pl.DataFrame:
    """Some columns of a table, without reading the others: a million texts would not fit a small machine."""
    return pl.scan_parquet(path).select(pl.col(name).cast(schema[name]) for name in names).collect()


def _table(path: Path, schema: tables.Schema) -> pl.DataFrame:
    """A table that runs of an older version do not have: empty then."""
    return tables.read(path, schema) if path.is_file() else pl.DataFrame(schema=dict(schema))


def _counts(values: pl.Series) -> dict[str, int]:
    return dict(values.drop_nulls().rename("name").value_counts(sort=True).iter_rows())


def _height(path: Path, *where: pl.Expr) -> int:
    """How many rows a table has, or how many of them are as ``where`` says."""
    return int(pl.scan_parquet(path).filter(*where).select(pl.len()).collect().item())
