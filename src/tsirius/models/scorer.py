"""Several models that predict as one: trained on different folds of the rows, or from different seeds.

Each fold is left out of the training of its members, which then score it: every row is scored by models that have not
seen it or a copy of it, and the score is honest, though of models that learned from fewer rows than the whole.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tsirius.models.classifier import Scorer

ALWAYS = -1
"""The fold of rows that every member learns from."""


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


def assign(groups: Sequence[int], labels: Sequence[str], *, folds: int, seed: int) -> dict[int, int]:
    """Give each group of rows a fold, so that every fold has about the same share of each label.

    The rarest labels come first, and of each the groups with most rows; a group goes to the fold that has least of its
    label so far. Where a fold would have all groups with some label, so that its members would never see that label,
    one such group stays in every member's training (``ALWAYS``). (scikit-learn's StratifiedGroupKFold leaves folds
    without a class, or empty, where labels are rare.)

    Args:
        groups: of the rows.
        labels: of the rows.
        folds: how many, 2 at least.
        seed: of the order in which groups of one size come.
    """
    rows = Counter(labels)
    members: dict[int, Counter[str]] = defaultdict(Counter)  # group → label → rows
    for group, label in zip(groups, labels, strict=True):
        members[group][label] += 1
    chance = random.Random(seed)
    order = [(group, chance.random()) for group in members]
    owner = {
        group: max(found, key=lambda label: (found[label], -rows[label], label)) for group, found in members.items()
    }
    order.sort(key=lambda one: (rows[owner[one[0]]], owner[one[0]], -members[one[0]].total(), one[1]))
    held: list[Counter[str]] = [Counter() for _ in range(folds)]
    place: dict[int, int] = {}
    for group, _ in order:
        label = owner[group]
        place[group] = min(
            range(folds), key=lambda fold: (held[fold][label], held[fold].total(), (fold + seed) % folds)
        )
        held[place[group]] += members[group]
    where: dict[str, set[int]] = defaultdict(set)  # label → the folds of its groups
    for group, found in members.items():
        for label in found:
            where[label].add(place[group])
    for label in sorted(where):
        if len(where[label]) == 1 and not any(place[group] == ALWAYS for group in members if label in members[group]):
            smallest = min(
                (group for group in members if label in members[group]),
                key=lambda group: (members[group].total(), group),
            )
            place[smallest] = ALWAYS
    return place
