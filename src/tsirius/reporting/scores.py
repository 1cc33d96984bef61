"""How good the model is: a score with its interval, per category, confused pairs, reliability, training curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tsirius import calibration, metrics, tables
from tsirius.headline import NOT_KNOWN, Headline
from tsirius.reporting import charts, figures

KINDS = {
    "gold": {
        "against": "against gold",
        "title": "Score against gold",
        "means": "Gold: answers by people, which no stage before this score has seen.",
        "answer": "gold answer",
        "answers": "gold answers",
        "table": "gold_predictions.parquet",
    },
    "pseudo_label": {
        "against": "against pseudo-labels",
        "title": "Agreement with pseudo-labels",
        "means": "How well the model repeats the labellers on validation reviews: no score, as the labellers err too.",
        "answer": "pseudo-label",
        "answers": "pseudo-labels",
        "table": "valid_predictions.parquet",
    },
}
"""Both kinds of score, what each is called, and where its predictions lie; gold first, as it says more."""

RELIABILITY_BINS, ROUNDS, FEW = 10, 400, 10
"""Dots of a reliability diagram; resamples for the interval of a category's F1, and reviews below which it has none."""

SQUARE = 30
"""Categories up to which the confusion matrix is drawn: a larger one is unreadable, and K² cells swell the page."""

CURVES = {
    "weighted_f1": ("Agreement with pseudo-labels (weighted F1)", max),
    "eval_loss": ("Validation loss", min),
}
"""What train measures along the way: what it is called, and which value is the best."""


def assess(kind: str, score: Mapping[str, Any], folder: Path, *, pairs: int, examples: int) -> dict[str, Any]:
    """All that the page says of one score.

    Args:
        kind: ``gold`` or ``pseudo_label``.
        score: an entry of ``scores.json``.
        folder: of the evaluate stage.
        pairs: the number of confused pairs at most.
        examples: the number of reviews a pair at most.
    """
    names, confusion = list(score.get("names") or []), score.get("confusion") or []
    low, high = score.get("interval") or (None, None)
    majority = score.get("majority") or {}
    f1, baseline = score.get("weighted_f1"), majority.get("weighted_f1")
    beaten = low is None or baseline is None or low > baseline
    table = folder / KINDS[kind]["table"]
    predictions = tables.scan(table).collect() if table.is_file() else None
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
        "beaten": beaten,
        "categories": with_intervals(score.get("categories") or [], confusion),
        "reliability": reliability(predictions, KINDS[kind]["against"]),
        "size": len(names),
        "matrix": matrix(names, confusion) if len(names) <= SQUARE else [],
        "pairs": confused(names, confusion, predictions, pairs=pairs, examples=examples),
        "by_category": by_category(names, predictions, examples=examples) if kind == "gold" else [],
    }


def first(found: Headline, scores: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the page says first: the score by answers of people with its drawing, or how to come by one.

    Args:
        found: the run's headline.
        scores: what :func:`assess` gave, of which that against gold has the baseline.
    """
    gold = next((score for score in scores if score["kind"] == "gold"), None)
    chart, baseline = "", gold["baseline"] if gold else None
    if found.f1 is not None and found.low is not None and found.high is not None:
        caption = (
            f"Weighted F1 {found.of}: {figures.decimal(found.f1)}, 95 % interval {figures.decimal(found.low)}"
            f" to {figures.decimal(found.high)}" + (f", baseline {figures.decimal(baseline)}" if baseline else "")
        )
        chart = charts.interval(found.f1, found.low, found.high, baseline, caption)
    return {"found": found, "chart": chart, "gold": gold, "not_known": NOT_KNOWN}


def with_intervals(categories: Sequence[Mapping[str, Any]], confusion: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
    """The categories' scores with the 95 % interval of each F1; None where there are few rows.

    A score of nothing is None: the recall of a category without rows, the precision of one that was never predicted.

    Args:
        categories: ``precision``, ``recall``, ``f1`` and ``support`` of each.
        confusion: rows are the answers, columns the predictions, in the order of ``categories``.
    """
    if not categories or len(confusion) != len(categories) or not sum(map(sum, confusion)):
        return [{**category, "interval": None} for category in categories]
    cells = np.array(confusion)
    empty = zip(cells.sum(axis=1) == 0, cells.sum(axis=0) == 0, strict=True)
    intervals = metrics.f1_intervals(cells, rounds=ROUNDS, seed=0)
    return [
        {
            **category,
            "recall": None if no_rows else category["recall"],
            "precision": None if no_predictions else category["precision"],
            "f1": None if no_rows and no_predictions else category["f1"],
            "interval": interval if category.get("support", 0) >= FEW else None,
        }
        for category, interval, (no_rows, no_predictions) in zip(categories, intervals, empty, strict=True)
    ]


def matrix(names: Sequence[str], confusion: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
    """The confusion matrix's rows: each cell its count, its shade (0 to 1), and whether it is on the diagonal.

    The shade is the square root of the cell's share of its row: a tenth of a row is still visible.
    """
    return [
        {
            "name": name,
            "rows": sum(row),
            "cells": [
                {"count": count, "shade": round(math.sqrt(count / max(1, sum(row))), 2), "hit": index == column}
                for column, count in enumerate(row)
            ],
        }
        for index, (name, row) in enumerate(zip(names, confusion, strict=True))
    ]


def confused(
    names: Sequence[str],
    confusion: Sequence[Sequence[int]],
    predictions: pl.DataFrame | None,
    *,
    pairs: int,
    examples: int,
) -> list[dict[str, Any]]:
    """The pairs (answer, prediction) that differ and hold most rows, each with its most confident wrong predictions.

    Args:
        names: the categories.
        confusion: rows are the answers, columns the predictions, in the order of ``names``.
        predictions: ``id``, ``clean``, ``label``, ``predicted``, ``confidence`` of the scored rows; None: no examples.
        pairs: the number of pairs at most.
        examples: the number of reviews a pair at most.
    """
    cells = [
        (count, answer, predicted)
        for answer, row in enumerate(confusion)
        for predicted, count in enumerate(row)
        if answer != predicted and count
    ]
    worst = sorted(cells, key=lambda cell: (-cell[0], cell[1:]))[:pairs]
    return [
        {
            "label": names[answer],
            "predicted": names[predicted],
            "rows": count,
            "of": sum(confusion[answer]),
            "examples": []
            if predictions is None
            else _examples(predictions, names[answer], names[predicted], examples),
        }
        for count, answer, predicted in worst
    ]


def by_category(names: Sequence[str], predictions: pl.DataFrame | None, *, examples: int) -> list[dict[str, Any]]:
    """Reviews of each category that the model got right and wrong, the most confident of both.

    Of the :data:`SQUARE` commonest categories, in the order of ``names``: a page of a thousand is read by nobody.

    Args:
        names: the categories.
        predictions: ``id``, ``clean``, ``label``, ``predicted``, ``confidence`` of the scored rows; None: no examples.
        examples: the number of right, and of wrong, reviews of a category at most.
    """
    if predictions is None or not examples:
        return []
    counts = dict(predictions["label"].value_counts().iter_rows())
    shown = set(sorted(counts, key=lambda name: (-counts[name], name))[:SQUARE])
    of_each = {name: rows for (name,), rows in predictions.partition_by("label", as_dict=True).items() if name in shown}
    found = []
    for name in filter(of_each.__contains__, names):
        rows, hit = of_each[name], pl.col("label") == pl.col("predicted")
        right, wrong = rows.filter(hit), rows.filter(~hit)
        found.append(
            {
                "name": name,
                "rows": rows.height,
                "hits": right.height,
                "right": _most_confident(right, examples),
                "wrong": _most_confident(wrong, examples),
            }
        )
    return found


def _examples(predictions: pl.DataFrame, label: str, predicted: str, limit: int) -> list[dict[str, Any]]:
    return _most_confident(predictions.filter(pl.col("label") == label, pl.col("predicted") == predicted), limit)


def _most_confident(predictions: pl.DataFrame, limit: int) -> list[dict[str, Any]]:
    """Each text once: ``text``, ``confidence``, ``predicted``."""
    rows = (
        predictions.lazy()
        .select("clean", "confidence", "predicted", "id")
        .sort("confidence", "id", descending=[True, False], nulls_last=True)
        .unique("clean", keep="first", maintain_order=True)
        .head(limit)
        .collect()
    )
    return [
        {"text": figures.excerpt(text), "confidence": confidence, "predicted": predicted}
        for text, confidence, predicted, _ in rows.iter_rows()
    ]


def reliability(predictions: pl.DataFrame | None, against: str) -> dict[str, Any] | None:
    """Whether the model's confidence is its accuracy; None where there is nothing to compare.

    Args:
        predictions: ``label``, ``predicted``, ``confidence`` of the scored rows.
        against: what they were scored against.
    """
    rows = None if predictions is None else predictions.drop_nulls("confidence")
    if rows is None or rows.is_empty():
        return None
    right = (rows["label"] == rows["predicted"]).to_numpy()
    table = calibration.reliability(
        rows["confidence"].clip(0, 1).to_numpy(), right, weights=None, bins=RELIABILITY_BINS, equal_mass=True
    )
    caption = (
        f"Mean confidence {table.confidence:.3f}, accuracy {table.accuracy:.3f} {against};"
        f" expected calibration error {table.error:.3f}"
    )
    return {"caption": caption, "chart": charts.reliability(diagram(table), f"Reliability: {caption}")}


def diagram(table: calibration.Reliability) -> list[tuple[float, float, float, float, float]]:
    """The dots of a reliability diagram, as :func:`tsirius.reporting.charts.reliability` takes them."""
    return [(one.confidence, one.accuracy, *one.interval, one.share) for one in table.bins]


def learning(notes: Mapping[str, Any], *, metric: str | None) -> list[dict[str, Any]]:
    """The curves of score and loss on the validation rows over the training steps; none where it has no steps.

    Args:
        notes: of the train stage.
        metric: the one that the kept model is the best by; None: the weighted F1.
    """
    entries = [entry for entry in notes.get("evaluations") or [] if isinstance(entry, Mapping)]
    curves = []
    for key, (title, best_of) in CURVES.items():
        points = [(float(entry["step"]), float(entry[key])) for entry in entries if {"step", key} <= entry.keys()]
        if len(points) < 2:
            continue
        best = best_of(value for _, value in points)
        selects = key == (metric or "weighted_f1")
        caption = f"{best:.3f} at best, {points[-1][1]:.3f} at the last step"
        chart = charts.curve(points, best if selects else None, f"{title}: {caption}")
        curves.append({"title": title, "caption": caption, "chart": chart, "selects": selects})
    return curves
