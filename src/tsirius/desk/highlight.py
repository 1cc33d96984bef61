"""Which words of a review speak for its category: those that weigh most in the run's linear model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tsirius.language.rarity import kind
from tsirius.language.words import lemmas
from tsirius.models.classifier import Classifier
from tsirius.models.linear import Linear
from tsirius.store import Store

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST = 4
"""Words that are highlighted in a review."""
LEAST = 0.4
"""Of the weight of the one that weighs most."""


class Deciding:
    """The words that decided, by the model of a run; none where it is no linear one, which weighs no single words.

    Args:
        run: a finished run's folder.

    Raises:
        UserError: its model is damaged.
    """

    def __init__(self, run: Path) -> None:
        scorer = Classifier.load(Store(run).read("train") / "model", embedded=run / "label").scorer
        self._weights: dict[str, NDArray[np.float32]] = {}
        if isinstance(scorer, Linear):
            words = scorer.terms["lemmas"]
            own = scorer.coefficients[: len(words)] * scorer.idf[: len(words), None]
            self._weights = dict(zip(words, own - own.mean(axis=1, keepdims=True), strict=True))

    def words(self, text: str) -> set[str]:
        """The lemmas of a text that speak most for the category that all of them together speak for."""
        known = {lemma: self._weights[lemma] for lemma in lemmas(text) if lemma in self._weights}
        if not known:
            return set()
        best = int(np.sum(list(known.values()), axis=0).argmax())
        weights = {lemma: float(weight[best]) for lemma, weight in known.items() if kind(lemma)}
        ranked = sorted(weights, key=lambda lemma: -weights[lemma])[:MOST]
        return {lemma for lemma in ranked if weights[lemma] > max(0.0, LEAST * weights[ranked[0]])}
