"""The figures of an audit, and their report: from answered rows with weights to a table of estimates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tsirius.calibration import Bin, Reliability, reliability
from tsirius.commands.audit import survey
from tsirius.commands.audit.survey import Floats

ROUNDS = 2000
BINS = 10
SCARCE = 5
"""A category with fewer answers than this has an interval that says little; the report marks it."""


def assess(
    answered: pl.DataFrame,
    everything: pl.DataFrame,
    votes: pl.DataFrame,
    *,
    names: Sequence[str],
    sample: pl.DataFrame,
    seed: int,
) -> dict[str, Any]:
    """All figures of an audit, as JSON takes them; every interval is a 95 % one.

    Args:
        answered: the answered rows: ``id``, ``stratum``, ``size``, ``answer``, ``label``, ``confidence``.
        everything: ``id``, ``label``, ``confidence`` of all rows.
        votes: ``id``, ``labeller``, ``vote`` (null: abstains) of all rows.
        names: the categories.
        sample: ``stratum`` and ``size`` of the rows that were drawn.
        seed: of the bootstrap.
    """
    truth, strata = answered["answer"].to_list(), answered["stratum"].to_list()
    weighted = survey.weights(strata, answered["size"].to_list())
    sizes = dict(sample.select("stratum", "size").iter_rows())
    most = survey.commonest(truth, weighted, names=names)
    labels = answered["label"].to_list()
    labelled = np.array([label is not None for label in labels])
    estimates = {"all": survey.expected_f1(truth, labels, strata, weighted, names=names, rounds=ROUNDS, seed=seed)}
    if 0 < labelled.sum() < len(truth):
        some = answered.filter(labelled)
        estimates["labelled"] = survey.expected_f1(
            some["answer"].to_list(), some["label"].to_list(), some["stratum"].to_list(), weighted[labelled],
            names=names, rounds=ROUNDS, seed=seed,
        )  # fmt: skip
    calibration = None
    if labelled.any():
        hits = (answered["answer"] == answered["label"]).fill_null(False).to_numpy()
        calibration = reliability(
            answered["confidence"].to_numpy()[labelled],
            hits[labelled],
            weights=weighted[labelled],
            bins=BINS,
            equal_mass=False,
        )
    return {
        "rows": everything.height,
        "asked": sample.height,
        "answered": answered.height,
        "represented": sum(sizes[stratum] for stratum in set(strata)) / sum(sizes.values()),
        "commonest": most,
        "weighted_f1_with_gold": {kind: asdict(estimate) for kind, estimate in estimates.items()},
        "labellers": _labellers(answered, votes, weighted, most, total=everything.height, seed=seed),
        "categories": _categories(answered, everything, weighted, names),
        "calibration": calibration.to_dict() if calibration is not None else None,
    }


def _labellers(
    answered: pl.DataFrame, votes: pl.DataFrame, weighted: Floats, most: str, *, total: int, seed: int
) -> list[dict[str, Any]]:
    truth, rows = answered["answer"], []
    for (name,), part in votes.group_by("labeller", maintain_order=True):
        vote = answered.select("id").join(part, on="id", how="left", maintain_order="left")["vote"]
        voted = vote.is_not_null().to_numpy()
        hit, always = (vote == truth).fill_null(False).to_numpy()[voted], (truth == most).to_numpy()[voted]
        strata = answered["stratum"].filter(pl.Series(voted)).to_list()
        ahead = survey.lead(hit, always, strata, weighted[voted], rounds=ROUNDS, seed=seed) if strata else None
        rows.append(
            {
                "labeller": name,
                "coverage": (part.height - part["vote"].null_count()) / total,
                "accuracy": asdict(survey.share(hit, weighted[voted])) if strata else None,
                "always_commonest": survey.share(always, weighted[voted]).value if strata else None,
                "lead": asdict(ahead) if ahead else None,
            }
        )
    return rows


def _categories(
    answered: pl.DataFrame, everything: pl.DataFrame, weighted: Floats, names: Sequence[str]
) -> list[dict[str, Any]]:
    label, truth, rows = answered["label"].fill_null(""), answered["answer"], []
    hit = (label == truth).to_numpy()
    for name in names:
        given, real = (label == name).to_numpy(), (truth == name).to_numpy()
        rows.append(
            {
                "category": name,
                "labelled": everything.filter(pl.col("label") == name).height,
                "share": asdict(survey.share(real, weighted)),
                "precision": asdict(survey.share(hit[given], weighted[given])) if given.any() else None,
                "recall": asdict(survey.share(hit[real], weighted[real])) if real.any() else None,
            }
        )
    return rows


def text(figures: Mapping[str, Any], *, run: Path) -> str:
    """The report as lines of text.

    Args:
        figures: what :func:`assess` returned, with ``of`` and ``drawn``.
        run: the run's folder.
    """
    of, rows = figures["of"], figures["rows"]
    what = "labels" if of == "labels" else "predictions for the test file"
    lines = [
        f"Audit of the {what} of {run}: {figures['answered']:,} answers by a person stand for {rows:,} reviews"
        + (f" ({figures['asked'] - figures['answered']:,} of those drawn have no answer)." if
           figures["asked"] > figures["answered"] else "."),
        "These answers were never used for training; figures «with gold» come from them. Intervals: 95 %.",
    ]  # fmt: skip
    if figures["drawn"] == "given":
        lines.append("The answered reviews were chosen by a file: the figures hold if they are a random sample.")
    if figures["represented"] < 1:
        lines.append(
            f"Strata with an answer hold {figures['represented']:.1%} of the reviews; the others are left out."
        )
    width = max(len(name) for name in ("weighted F1", *(one["category"] for one in figures["categories"]),
                                       *(one["labeller"] for one in figures["labellers"])))  # fmt: skip
    lines += ["", f"{'labeller':<{width}}  coverage   accuracy with gold     always «{figures['commonest']}»  answers"]
    for one in figures["labellers"]:
        always = f"{one['always_commonest']:.3f}" if one["lead"] else "-"
        answers = one["accuracy"]["rows"] if one["accuracy"] else 0
        lines.append(
            f"{one['labeller']:<{width}}  {one['coverage']:8.1%}   {_shown(one['accuracy']):<20}"
            f"  {always:>{len(figures['commonest']) + 9}}  {answers:7,}"
        )
    lines += [line for one in figures["labellers"] if (line := _warning(one, figures["commonest"]))]
    given = "labelled" if of == "labels" else "predicted"
    lines += ["", f"{'category':<{width}}  {given:>9}  share with gold      precision            recall"]
    for one in figures["categories"]:
        parts = [_shown(one[key]) for key in ("share", "precision", "recall")]
        lines.append(
            f"{one['category']:<{width}}  {one['labelled'] / rows:9.1%}  " + "  ".join(f"{p:<19}" for p in parts)
        )
    lines = [line.rstrip() for line in lines]
    if any((one[key] or {"rows": SCARCE})["rows"] < SCARCE for one in figures["categories"]
           for key in ("precision", "recall")):  # fmt: skip
        lines.append(f"* from fewer than {SCARCE} answers")
    if figures["calibration"]:
        table = Reliability(
            **(figures["calibration"] | {"bins": [Bin(**one) for one in figures["calibration"]["bins"]]})
        )
        lines += ["", f"Confidence of the {what}, with gold:", table.table()]
    lines += ["", *_conclusion(figures, run)]
    return "\n".join(lines)


def _conclusion(figures: Mapping[str, Any], run: Path) -> list[str]:
    of, scores = figures["of"], figures["weighted_f1_with_gold"]
    if of == "labels":
        lines = []
        if "labelled" in scores:
            lines.append(f"weighted F1 with gold, of the reviews that have a label: {_shown(scores['labelled'])}")
        lines += [
            f"weighted F1 with gold, of the labels of all reviews (no label counts as wrong): {_shown(scores['all'])}",
            "The trained model is not scored here, as it has learned from these reviews;"
            f" 'tsirius audit {run} --of predictions' scores it on a test file.",
        ]
        return lines
    lines = [f"weighted F1 with gold, to expect of the trained model on the test file: {_shown(scores['all'])}"]
    if figures.get("also_trained_on"):
        lines.append(f"{figures['also_trained_on']:,} of the answered reviews also are in the training files:"
                     " the score may be too high.")  # fmt: skip
    return lines


def _shown(estimate: Mapping[str, Any] | None) -> str:
    if estimate is None or not estimate["rows"]:
        return "-"
    mark = "*" if estimate["rows"] < SCARCE else ""
    return f"{estimate['value']:.3f} ({estimate['low']:.3f}-{estimate['high']:.3f}){mark}"


def _warning(labeller: Mapping[str, Any], most: str) -> str:
    """A line where a labeller does not do better than always answering the commonest category."""
    lead = labeller["lead"]
    if lead is None or lead["low"] > 0:
        return ""
    word = "no better" if lead["value"] <= 0 else "not clearly better"
    return (
        f"! {labeller['labeller']} is {word} than always answering «{most}»"
        f" (ahead by {lead['value']:+.3f}, {lead['low']:+.3f} to {lead['high']:+.3f})"
    )
