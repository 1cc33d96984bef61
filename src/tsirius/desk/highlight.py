"""Which words of a review speak for its category: those that weigh most in the run's linear model."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tsirius.language.words import lemmas
from tsirius.models.classifier import Classifier
from tsirius.models.linear import Linear
from tsirius.store import Store

MOST = 5
"""Words that are highlighted in a review."""


class Deciding:
    """The words that decided, by the model of a run; none where it is no linear one, which weighs no single words.

    Args:
        run: a finished run's folder.

    Raises:
        UserError: its model is damaged.
    """

    def __init__(self, run: Path) -> None:
        scorer = Classifier.load(Store(run).read("train") / "model", embedded=run / "label").scorer
        self._weights: dict[str, np.ndarray] = {}
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
        ranked = sorted(known, key=lambda lemma: -known[lemma][best])[:MOST]
        return {lemma for lemma in ranked if known[lemma][best] > 0}
