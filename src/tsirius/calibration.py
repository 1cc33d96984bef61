"""Whether confidence means something: of the rows that are called 0.9, nine of ten should be right.

Rows are put into bins by their confidence; each bin's mean confidence stands beside its share of right rows. The
expected calibration error is the mean distance of the two over the rows (Guo et al. 2017, "On Calibration of Modern
Neural Networks", arXiv 1706.04599). With few rows a bin it is above zero even for perfect confidence: compare it only
between tables of about as many rows and bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Z = 1.959963984540054
"""The normal distribution's 97.5 % point: every interval here is a 95 % one."""

COLDEST, HOTTEST, HALVINGS = 0.25, 4.0, 40
"""The bounds of a temperature, and the halvings of the span between them."""


def temperature(scores: NDArray[Any], wanted: float) -> float:
    """What scores are divided by so that their mean confidence is ``wanted``, from ``COLDEST`` to ``HOTTEST``.

    Temperature scaling (Guo et al. 2017) fits the temperature to answers; without them it is fitted to what the labels'
    mean confidence lets one expect. No label changes.

    Args:
        scores: before the softmax, [N, K].
        wanted: a mean probability of the likeliest category, 0 to 1.

    Raises:
        ValueError: no rows, or a score is NaN or infinite.
    """
    given = np.asarray(scores, dtype=np.float64)
    if not given.size or not np.isfinite(given).all():
        raise ValueError("no scores, or some are no numbers")
    below = given - given.max(axis=1, keepdims=True)
    low, high = float(np.log(COLDEST)), float(np.log(HOTTEST))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        surer = float((1 / np.exp(below / np.exp(middle)).sum(axis=1)).mean()) > wanted
        low, high = (middle, high) if surer else (low, middle)
    return float(np.exp((low + high) / 2))


@dataclass(frozen=True)
class Bin:
    """Rows of like confidence.

    Attributes:
        low, high: the bounds of the confidence; ``low`` itself belongs to the bin below, but for 0.
        rows: how many.
        share: their weight's share of all.
        confidence: their mean confidence.
        accuracy: the share of them that are right.
        interval: of ``accuracy``, 95 %, see :func:`wilson`.
    """

    low: float
    high: float
    rows: int
    share: float
    confidence: float
    accuracy: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Reliability:
    """A reliability table: the bins that hold rows, from low to high; ``error`` is the expected calibration error."""

    rows: int
    error: float
    confidence: float
    accuracy: float
    bins: tuple[Bin, ...]

    def to_dict(self) -> dict[str, Any]:
        """The table as JSON takes it."""
        return asdict(self)

    def table(self) -> str:
        """The bins as lines of text, ended by the expected calibration error."""
        lines = ["confidence    rows   share   mean confidence   right  95 % interval"]
        lines += [
            f"{one.low:.2f}-{one.high:.2f} {one.rows:8,}  {one.share:6.1%}  {one.confidence:16.3f}  {one.accuracy:6.3f}"
            f"  {one.interval[0]:.3f}-{one.interval[1]:.3f}"
            for one in self.bins
        ]
        lines.append(
            f"expected calibration error {self.error:.3f}; mean confidence {self.confidence:.3f},"
            f" right {self.accuracy:.3f}, {self.rows:,} rows"
        )
        return "\n".join(lines)


def reliability(
    confidence: Sequence[float] | NDArray[Any],
    right: Sequence[bool] | NDArray[Any],
    *,
    weights: Sequence[float] | NDArray[Any] | None,
    bins: int,
    equal_mass: bool,
) -> Reliability:
    """The reliability table of rows with a confidence.

    Args:
        confidence: of each row, [rows], 0 to 1.
        right: whether each row is right, [rows].
        weights: how many rows each stands for, [rows]; None counts each once.
        bins: how many.
        equal_mass: bins of about equal weight in place of equal width; rows of the same confidence stay together.

    Raises:
        ValueError: no rows, lengths that differ, or a confidence outside 0 to 1.
    """
    sure, hit = np.asarray(confidence, dtype=np.float64).round(6), np.asarray(right)
    mass = np.ones_like(sure) if weights is None else np.asarray(weights, dtype=np.float64)
    if not sure.size or not sure.shape == hit.shape == mass.shape:
        raise ValueError(f"{sure.size} confidences, {hit.size} rows that are right or not, {mass.size} weights")
    if not (np.isfinite(sure) & (sure >= 0) & (sure <= 1)).all():
        raise ValueError("a confidence is outside 0 to 1")
    if equal_mass:
        bin_of = _equal_mass(sure, mass, bins)
    else:  # rounding keeps 0.6, which is a little more in single precision, in the bin that ends there
        bin_of = np.maximum(np.ceil((sure * bins).round(5)).astype(np.int64) - 1, 0)
    total = mass.sum()
    filled = []
    for number in range(bins):
        here = bin_of == number
        if not here.any():
            continue
        low, high = (sure[here].min(), sure[here].max()) if equal_mass else (number / bins, (number + 1) / bins)
        accuracy = float(np.average(hit[here], weights=mass[here]))
        filled.append(
            Bin(
                low=float(low),
                high=float(high),
                rows=int(here.sum()),
                share=float(mass[here].sum() / total),
                confidence=float(np.average(sure[here], weights=mass[here])),
                accuracy=accuracy,
                interval=wilson(accuracy, effective_rows(mass[here])),
            )
        )
    return Reliability(
        rows=int(sure.size),
        error=float(sum(one.share * abs(one.accuracy - one.confidence) for one in filled)),
        confidence=float(np.average(sure, weights=mass)),
        accuracy=float(np.average(hit, weights=mass)),
        bins=tuple(filled),
    )


def _equal_mass(sure: NDArray[np.float64], mass: NDArray[np.float64], bins: int) -> NDArray[np.int64]:
    """Each row's bin: by where the middle of its confidence's weight lies among all weight."""
    _, value_of = np.unique(sure, return_inverse=True)
    held = np.bincount(value_of, weights=mass)
    middle = (held.cumsum() - held / 2) / held.sum()
    bin_of_value: NDArray[np.int64] = np.minimum((middle * bins).astype(np.int64), bins - 1)
    return bin_of_value[value_of]


def wilson(share: float, rows: float) -> tuple[float, float]:
    """The 95 % interval of a share that was seen among ``rows`` rows (Wilson 1927); 0 to 1 where there are none."""
    if rows <= 0:
        return 0.0, 1.0
    squeeze = 1 + Z**2 / rows
    middle = (share + Z**2 / (2 * rows)) / squeeze
    half = Z / squeeze * (share * (1 - share) / rows + Z**2 / (4 * rows**2)) ** 0.5
    return max(0.0, min(middle - half, share)), min(1.0, max(middle + half, share))


def score_interval(value: float, variance: float, rows: float) -> tuple[float, float]:
    """The 95 % interval of a score between 0 and 1, such as an F1, whose variance the bootstrap gives.

    Wilson's (1927) for as many rows as make a share as uncertain, p (1 - p) / variance, and no more than there are, as
    Korn and Graubard (1998, "Confidence intervals for proportions with small expected number of positive counts
    estimated from survey data") have it for shares of samples. Of a hundred rows that are nearly all right the
    percentiles of the bootstrap are too near each other, and none lies above the best that was seen (Brown, Cai and
    DasGupta 2001, "Interval estimation for a binomial proportion", for shares).

    Args:
        value: the score.
        variance: of its bootstrap samples.
        rows: that it is from.
    """
    spread = value * (1 - value)
    return wilson(value, min(rows, spread / variance) if variance > 0 and spread > 0 else rows)


def effective_rows(weights: NDArray[np.float64]) -> float:
    """How many rows of equal weight tell as much as these, (Σw)² / Σw² (Kish 1965)."""
    squares = float((weights**2).sum())
    return float(weights.sum()) ** 2 / squares if squares else 0.0
