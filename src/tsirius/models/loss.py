"""The one loss of fine-tuning: cross-entropy with smoothed labels, weighted rows and, where asked for, adjusted logits.

Of a row with the target shares q over K categories, the logits z, the weight w and the smoothing ε it is

    w · Σ_k −((1 − ε) q_k + ε / K) · log softmax(z + a)_k

(Szegedy et al. 2016, arXiv 1512.00567; the adjustment a is Menon et al. 2021, arXiv 2007.07314). The weight is that of
the row, such as its label's confidence, times that of its category.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

Imbalance = Literal["none", "weights", "logits"]
"""What is done about categories that are rarer than others in training: nothing, heavier rows, or adjusted logits."""


def total(
    logits: torch.Tensor,
    targets: torch.Tensor,
    weights: torch.Tensor,
    *,
    smoothing: float,
    adjustment: torch.Tensor | None,
) -> torch.Tensor:
    """The sum of the rows' losses, a scalar: divided by the sum of the weights it is their mean.

    Sums, not means, so that the passes that a step is computed in add up to the loss of the whole step.

    Args:
        logits: [B, K], in any precision; computed in 32-bit floats.
        targets: the share of each category in each row's label, [B, K]; every row sums to 1.
        weights: [B].
        smoothing: the share of each label that is spread over all categories.
        adjustment: added to the logits, [K]; None: nothing.
    """
    from torch.nn import functional

    scores = logits.float() if adjustment is None else logits.float() + adjustment
    losses = functional.cross_entropy(scores, targets, reduction="none", label_smoothing=smoothing)
    return losses @ weights


def targets(labels: Sequence[int], *, categories: int) -> NDArray[np.float32]:
    """Each label as shares of the categories, [N, K]: 1 for the one, 0 for the others."""
    shares = np.zeros((len(labels), categories), dtype=np.float32)
    shares[np.arange(len(labels)), list(labels)] = 1.0
    return shares


def masses(labels: Sequence[int], weights: Sequence[float] | None, *, categories: int) -> NDArray[np.float64]:
    """The summed weight of each category's rows, [K]; without weights, how many they are."""
    return np.bincount(np.array(labels, dtype=np.int64), weights=weights, minlength=categories).astype(np.float64)


def category_weights(mass: NDArray[np.float64]) -> NDArray[np.float64]:
    """What a row of each category weighs so that all categories count the same, [K]; the mean row weighs 1.

    Args:
        mass: of each category, [K]; one without rows weighs 1 and has nothing to weigh.
    """
    present = mass > 0
    share = mass.sum() / max(int(present.sum()), 1)
    return np.where(present, share / np.where(present, mass, 1.0), 1.0)


def logit_adjustment(mass: NDArray[np.float64]) -> NDArray[np.float64]:
    """log prior of each category, [K], to add to the logits in training: without it they then favour none.

    One row is added to every category, so that one without rows has a prior too.
    """
    adjustment: NDArray[np.float64] = np.log((mass + 1) / (mass.sum() + len(mass)))
    return adjustment
