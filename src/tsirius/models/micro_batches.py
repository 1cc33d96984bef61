"""Which rows a training step learns from, and its micro-batches: rows of like length share one.

A step has a fixed number of rows, whatever the card. A micro-batch is bounded by its tokens, padding included: a step
of short reviews is one micro-batch, a step of long ones several whose gradients are accumulated. Padding goes only to
the longest row of a micro-batch. (Padded to 256 tokens, as is common, a batch of reviews of 40 tokens is five sixths
padding.)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tsirius.models.batching import Budget, batches

POOL = 50
"""Steps whose rows are drawn at once and then sorted by length: more leave less padding, fewer more chance."""


def steps(lengths: Sequence[int], *, rows: int, seed: int, epoch: int) -> list[list[int]]:
    """The rows of each step of an epoch: every row once, in an order that ``seed`` and ``epoch`` alone decide.

    A run that resumes in the middle of an epoch thus has the same order again.

    Args:
        lengths: tokens of each row.
        rows: of a step; the epoch's last rows may be fewer.
        seed: of the order.
        epoch: its number.
    """
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(lengths)).tolist()
    drawn = []
    for start in range(0, len(order), rows * POOL):
        pool = sorted(order[start : start + rows * POOL], key=lambda row: lengths[row])
        drawn += [pool[at : at + rows] for at in range(0, len(pool), rows)]
    return [drawn[number] for number in random.permutation(len(drawn))]


def split(rows: Sequence[int], lengths: Sequence[int], *, budget: Budget) -> list[list[int]]:
    """The rows of a step in micro-batches that keep within the budget, or have one row."""
    members = np.array(rows, dtype=np.int64)
    own = np.array([lengths[row] for row in rows], dtype=np.int64)
    return [members[batch].tolist() for batch in batches(own, budget=budget)]
