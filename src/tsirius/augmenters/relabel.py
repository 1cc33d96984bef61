"""Whether the labellers say of a variant what they say of its source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tsirius.labellers import Labeller

ABSTAINS = -1


@dataclass(frozen=True, eq=False)
class Relabeller:
    """Asks the labellers about variants and sources alike, so that nothing but the wording differs.

    Each labeller is held to its own word: how their votes were weighed against each other hangs on all reviews
    together, and a variant has no part in that.

    Attributes:
        labellers: none: every variant passes.
    """

    labellers: Sequence[Labeller]
    _answers: dict[str, tuple[int, ...]] = field(default_factory=dict, init=False)

    def same(self, variants: Sequence[str], sources: Sequence[str]) -> list[bool]:
        """For each variant whether every labeller gives it its source's category, or abstains on both."""
        if not self.labellers:
            return [True] * len(variants)
        new = [text for text in dict.fromkeys([*sources, *variants]) if text not in self._answers]
        if new:
            answers = [_best(labeller, new) for labeller in self.labellers]
            self._answers.update(zip(new, zip(*answers, strict=True), strict=True))
        result = [
            self._answers[variant] == self._answers[source] for variant, source in zip(variants, sources, strict=True)
        ]
        for variant in set(variants).difference(sources):
            del self._answers[variant]  # sources come again, variants hardly ever
        return result


def _best(labeller: Labeller, texts: Sequence[str]) -> list[int]:
    """The index of each text's likeliest category, ``ABSTAINS`` where there is none."""
    probabilities = labeller.label(texts).probabilities
    silent = np.isnan(probabilities[:, 0])
    result: list[int] = np.where(silent, ABSTAINS, np.nan_to_num(probabilities).argmax(axis=1)).tolist()
    return result
