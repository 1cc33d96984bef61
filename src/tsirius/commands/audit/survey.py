"""Ask about a few rows, speak of all: draw rows by stratum, and estimate from their answers with known weights.

A row of stratum h stands for N_h / n_h rows: the stratum's rows by those of them that were answered (Horvitz and
Thompson 1952; Cochran 1977, "Sampling Techniques", chapter 5). Sums over rows weighted so are unbiased for all rows,
whatever the strata are; the strata only make them less noisy. The weighted F1 is a ratio of such sums.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tsirius import metrics
from tsirius.calibration import effective_rows, score_interval, wilson

Floats = NDArray[np.float64]

BANDS = (0.6, 0.9)
"""Where confidence is cut into bands, each a stratum of its own within its label."""
AT_LEAST = 2
"""Rows drawn of every stratum: one alone would not tell how much its rows differ."""
AT_LEAST_LABEL = 5
"""Rows drawn of every label."""
FEW = 5
"""Strata with fewer answered rows are resampled as one."""


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval, and how many answered rows it is from."""

    value: float
    low: float
    high: float
    rows: int


def draw(ids: pl.Series, labels: pl.Series, confidence: pl.Series, *, count: int, seed: int) -> pl.DataFrame:
    """Draw rows by label and confidence band; rows without a label are a stratum of their own.

    A larger ``count`` of the same rows and seed adds to what a smaller one draws, as long as both use bands.

    Args:
        ids: of all rows, unique.
        labels: the label of each, null for none.
        confidence: of each label.
        count: how many to draw at most; raised to the number of strata, so that each has a row.
        seed: of the drawing.

    Returns:
        A table of ``id``, ``stratum`` (its name, "" for no label) and ``size`` (how many of all rows are in it), in the
        order to ask in: whoever stops early has answered about as much of every stratum.
    """
    band = pl.lit("")
    for start, end in zip((0.0, *BANDS), (*BANDS, 1.0), strict=True):
        band = pl.when(pl.col("confidence") >= start).then(pl.lit(f", {start:g} to {end:g}")).otherwise(band)
    rows = pl.DataFrame({"id": ids, "label": labels, "confidence": confidence.cast(pl.Float64).round(6)}).with_columns(
        row=pl.int_range(pl.len()), banded=pl.col("label") + band
    )
    # Many categories by bands would leave nothing to draw in proportion; then the label alone is the stratum.
    by = "banded" if AT_LEAST * rows["banded"].n_unique() <= 0.6 * count else "label"
    strata = (
        rows.with_columns(stratum=pl.col(by).fill_null(""), label=pl.col("label").fill_null(""))
        .group_by("stratum", "label")
        .agg(pl.col("row").sort())
        .sort("label", "stratum")
    )
    sizes = strata["row"].list.len().to_list()
    counts = allocate(sizes, strata["label"].to_list(), count=count)
    picked: list[tuple[float, int, str, int]] = []
    for number, (stratum, members, size, some) in enumerate(
        zip(strata["stratum"], strata["row"], sizes, counts, strict=True)
    ):
        random = np.random.default_rng([seed, number])
        order = random.permutation(size)[:some]
        jitter = random.random(size)[:some]
        picked += [
            ((turn + float(jitter[turn])) / some, members[int(order[turn])], stratum, size) for turn in range(some)
        ]
    picked.sort()
    return pl.DataFrame(
        {
            "id": ids.gather([row for _, row, _, _ in picked]),
            "stratum": [stratum for _, _, stratum, _ in picked],
            "size": [size for _, _, _, size in picked],
        }
    )


def allocate(sizes: Sequence[int], labels: Sequence[str], *, count: int) -> list[int]:
    """How many rows to draw of each stratum: first a few of each, then of each label, the rest in proportion.

    Args:
        sizes: rows of each stratum, at least 1.
        labels: the label of each stratum.
        count: rows in all, raised to the number of strata and cut to the number of rows.
    """
    drawn = [0] * len(sizes)
    for _ in range(min(max(count, len(sizes)), sum(sizes))):
        of_label: dict[str, int] = {}
        for label, some in zip(labels, drawn, strict=True):
            of_label[label] = of_label.get(label, 0) + some
        need = [
            (min(drawn[k], AT_LEAST), of_label[labels[k]] >= AT_LEAST_LABEL, -sizes[k] / (2 * drawn[k] + 1), k)
            for k in range(len(sizes))
            if drawn[k] < sizes[k]
        ]
        drawn[min(need)[-1]] += 1
    return drawn


def weights(strata: Sequence[str], sizes: Sequence[int]) -> Floats:
    """How many of all rows each answered row stands for, [rows]."""
    answered: dict[str, int] = {}
    for stratum in strata:
        answered[stratum] = answered.get(stratum, 0) + 1
    return np.array([size / answered[stratum] for stratum, size in zip(strata, sizes, strict=True)], dtype=np.float64)


def replicates(strata: Sequence[str], weighted: Floats, *, rounds: int, seed: int) -> Floats:
    """Weights of bootstrap samples, [rounds, rows]: the rescaling bootstrap by stratum (Rao and Wu 1988).

    Of a stratum's n rows n - 1 are drawn with replacement, and what is drawn counts n / (n - 1) times. Strata with
    fewer answered rows than :data:`FEW` would hardly vary, not at all if their rows are alike: they are resampled as
    one, with the smallest other if it is one row.
    """
    members: dict[str, list[int]] = {}
    for row, stratum in enumerate(strata):
        members.setdefault(stratum, []).append(row)
    groups = sorted(members.values(), key=lambda group: (len(group), group))
    few = [row for group in groups if len(group) < FEW for row in group]
    groups = [group for group in groups if len(group) >= FEW]
    if len(few) == 1 and groups:
        few += groups.pop(0)
    random = np.random.default_rng(seed)
    drawn_weights = np.tile(weighted, (rounds, 1))
    for group in [*groups, few]:
        size = len(group)
        if size > 1:
            drawn = random.multinomial(size - 1, np.full(size, 1 / size), size=rounds)
            drawn_weights[:, group] *= drawn * (size / (size - 1))
    return drawn_weights


def share(hit: NDArray[np.bool_], weighted: Floats) -> Estimate:
    """The share of rows that are ``hit``, weighted: Wilson's interval for as many rows as the weights are worth.

    (Korn and Graubard 1998 put the effective number of rows into an interval for a share in the same way.)
    """
    if not hit.size:
        return Estimate(float("nan"), 0.0, 1.0, 0)
    value = float(np.average(hit, weights=weighted))
    return Estimate(value, *wilson(value, effective_rows(weighted)), int(hit.size))


def expected_f1(
    truth: Sequence[str],
    given: Sequence[str | None],
    strata: Sequence[str],
    weighted: Floats,
    *,
    names: Sequence[str],
    rounds: int,
    seed: int,
) -> Estimate:
    """The weighted F1 that all rows would score, from answered ones; a row without a label counts as wrong.

    The interval is Wilson's at as many rows as the variance of the bootstrap by :func:`replicates` is worth, see
    :func:`tsirius.calibration.score_interval`; the percentiles of that bootstrap cover too seldom near 1.

    Args:
        truth: the answer of each answered row.
        given: the label of each, None for none.
        strata: the stratum of each.
        weighted: how many rows each stands for.
        names: the categories.
        rounds: bootstrap samples.
        seed: of the bootstrap.
    """
    index = {name: number for number, name in enumerate(names)}
    none = len(names)  # rows without a label are predicted as one more category, whose own F1 weighs nothing
    answers = np.array([index[answer] for answer in truth])
    labels = np.array([index.get(label or "", none) for label in given])
    value = _weighted_f1(answers, labels, weighted[None], size=none + 1)
    spread = replicates(strata, weighted, rounds=rounds, seed=seed)
    variance = float(_weighted_f1(answers, labels, spread, size=none + 1).var())
    low, high = score_interval(float(value[0]), variance, len(truth) if variance else effective_rows(weighted))
    return Estimate(float(value[0]), low, high, len(truth))


def _weighted_f1(answers: NDArray[np.int64], labels: NDArray[np.int64], weighted: Floats, *, size: int) -> Floats:
    """The weighted F1 of weighted rows, [rounds, rows] → [rounds]; a cell's weight is rounded to a thousandth of a row.

    Of the confusion matrices only the cells that hold rows are summed: with hundreds of categories the others would be
    gigabytes.
    """
    cells = answers * size + labels
    used = np.unique(cells)
    sums = np.stack([weighted[:, cells == cell].sum(axis=1) for cell in used], axis=1)
    counts = np.rint(sums * 1000).astype(np.int64)
    return metrics.weighted_f1_of_cells(counts, used // size, used % size, size=size)


def lead(
    hit: NDArray[np.bool_],
    other: NDArray[np.bool_],
    strata: Sequence[str],
    weighted: Floats,
    *,
    rounds: int,
    seed: int,
) -> Estimate:
    """By how much the share of ``hit`` rows is above that of ``other`` rows, on the same rows."""
    ahead = hit.astype(np.float64) - other
    spread = replicates(strata, weighted, rounds=rounds, seed=seed)
    means = (spread * ahead).sum(axis=1) / np.maximum(spread.sum(axis=1), 1e-12)
    low, high = np.quantile(means, [0.025, 0.975])
    return Estimate(float(np.average(ahead, weights=weighted)), float(low), float(high), len(strata))


def fingerprint(ids: pl.Series) -> str:
    """BLAKE2b of all ids in their order: whether the rows that were drawn from are still the same."""
    total = hashlib.blake2b(digest_size=16)
    for name in ids:
        total.update(f"{name}\n".encode())
    return total.hexdigest()


def commonest(truth: Sequence[str], weighted: Floats, *, names: Sequence[str]) -> str:
    """The category that most rows have, by the weights; the first of ``names`` of equal ones."""
    answers = np.array(truth)
    return max(names, key=lambda name: float(weighted[answers == name].sum()))
