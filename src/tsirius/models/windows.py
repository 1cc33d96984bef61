"""Texts longer than what a model reads at a time: cut into windows that overlap, whose scores are averaged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

OVERLAP = 4
"""Neighbours overlap by at least 1/OVERLAP of their tokens: what one cuts apart is whole in the other."""


def cut(ids: Sequence[int], special: Sequence[int], *, max_length: int) -> list[list[int]]:
    """A text's tokens as windows, spread evenly: all but that of a short text are full.

    Args:
        ids: its tokens, special ones included, in full length.
        special: for each whether it is a special one, 1 or 0; those at the ends go around every window.
        max_length: tokens of a window.
    """
    if len(ids) <= max_length:
        return [list(ids)]
    inner = [offset for offset, mark in enumerate(special) if not mark]
    start, end = inner[0], inner[-1] + 1
    before, body, after = list(ids[:start]), ids[start:end], list(ids[end:])
    room = max_length - len(before) - len(after)
    left = len(body) - room
    steps = math.ceil(left / (room - room // OVERLAP))
    offsets = [round(step * left / steps) for step in range(steps + 1)]
    return [[*before, *body[offset : offset + room], *after] for offset in offsets]


def mean(scores: NDArray[Any], counts: Sequence[int]) -> NDArray[np.float32]:
    """The mean of the scores, [W, K], of each text's windows, [N, K]; ``counts`` says how many windows it has."""
    owner = np.repeat(np.arange(len(counts)), counts)
    sums = np.zeros((len(counts), scores.shape[1]))
    np.add.at(sums, owner, scores)
    means: NDArray[np.float32] = (sums / np.array(counts)[:, None]).astype(np.float32)
    return means
