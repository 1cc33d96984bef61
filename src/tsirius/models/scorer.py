"""What every kind of model can do, the mean of several models, and the shift from one mix of categories to another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Scorer(Protocol):
    """What every kind of model can do."""

    def logits(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Scores of cleaned texts before the softmax, [N, K]."""
        ...


@dataclass(frozen=True)
class Mean:
    """The mean of the members' scores before the softmax: one that is sure outweighs one that is not."""

    members: Sequence[Scorer]

    def logits(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Scores of cleaned texts before the softmax, [N, K]."""
        total = np.zeros((), dtype=np.float64)
        for member in self.members:
            total = total + member.logits(texts)
        return (total / len(self.members)).astype(np.float32)


def prior_shift(natural: Sequence[float], training: Sequence[float]) -> list[float]:
    """What to add to the scores of a model trained at one mix of categories to use it at another.

    Quotas and augmentation change how often each category occurs; the model learns that mix along with the rest.
    Adding log(natural prior / training prior) undoes it (logit adjustment, Menon et al. 2021, arXiv 2007.07314). One
    row is added to every category on both sides, so that a rare category is held back, not ruled out.

    Args:
        natural: how many of as many rows would be of each category where nothing was done to them.
        training: rows of each category that the model learns from.
    """
    priors = [(np.array(counts) + 1) / (sum(counts) + len(counts)) for counts in (natural, training)]
    return [float(shift) for shift in np.log(priors[0] / priors[1])]
