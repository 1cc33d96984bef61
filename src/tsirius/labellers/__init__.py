"""Labellers: from texts and categories to a probability for each category, without answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tsirius.progress import Advance

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Votes:
    """What a labeller says about some texts.

    Attributes:
        probabilities: [texts, categories], in the categories' order; each row sums to 1, or is NaN throughout where
            the labeller abstains.
        evidence: for each text what decided, in words; may be empty.
    """

    probabilities: NDArray[np.float32]
    evidence: list[str]


class Labeller(Protocol):
    """Labels texts row by row: the votes on a text do not depend on the texts beside it."""

    @property
    def name(self) -> str: ...

    def label(self, texts: Sequence[str], *, advance: Advance | None = None) -> Votes:
        """The votes on ``texts``; ``advance`` is told how many are done as the work goes on."""
        ...
