"""Which rows a training step learns from, and how they are put through the model: like lengths together.

A step has a fixed number of rows, whatever the card. How many of them go through the model at a time is bounded by
their tokens, padding included: a step of short reviews is one pass, a step of long ones several whose gradients add up.
Padding goes only to the longest row of a pass. (Padded to 256 tokens, as is common, a batch of reviews of 40 tokens is
five sixths padding.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

POOL = 50
"""Steps whose rows are drawn together and then sorted by length: more leave less padding, fewer more chance."""


def steps(lengths: Sequence[int], *, rows: int, seed: int, epoch: int) -> list[list[int]]:
    """The rows of each step of an epoch: every row once, in an order that ``seed`` and ``epoch`` alone decide.

    A run that goes on in the middle of an epoch thus finds the same order again.

    Args:
        lengths: tokens of each row.
        rows: of a step; the epoch's last rows may be fewer.
        seed: of the order.
        epoch: its number.
    """
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(lengths)).tolist()
    found = []
    for start in range(0, len(order), rows * POOL):
        pool = sorted(order[start : start + rows * POOL], key=lambda row: lengths[row])
        found += [pool[at : at + rows] for at in range(0, len(pool), rows)]
    return [found[place] for place in random.permutation(len(found))]


def passes(rows: Sequence[int], lengths: Sequence[int], *, tokens: int) -> list[list[int]]:
    """``rows`` cut into passes of at most ``tokens`` tokens with their padding, or of one row."""
    found: list[list[int]] = []
    longest = 0
    for row in sorted(rows, key=lambda row: -lengths[row]):
        if found and longest * (len(found[-1]) + 1) <= tokens:
            found[-1].append(row)
        else:
            found.append([row])
            longest = lengths[row]
    return found


def padded(ids: Sequence[Sequence[int]], *, pad: int, multiple: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of tokens as one table with its attention mask, both [B, S].

    Args:
        ids: tokens of each row.
        pad: the token that fills up.
        multiple: S is one of it: a GPU's matrix units like 8.
    """
    import torch

    longest = max(map(len, ids))
    size = -(-longest // multiple) * multiple
    table = np.full((len(ids), size), pad, dtype=np.int64)
    mask = np.zeros((len(ids), size), dtype=np.int64)
    for place, row in enumerate(ids):
        table[place, : len(row)] = row
        mask[place, : len(row)] = 1
    return torch.from_numpy(table), torch.from_numpy(mask)
