"""Which reviews to ask a person about next: each queue gives row numbers in order, over arrays of a whole run.

``open_rows`` are the rows that may be asked, [N] of booleans: not answered, no exam's, one of each group of copies.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[np.int64]
    Mask = NDArray[np.bool_]
    Floats = NDArray[np.float32]

CANDIDATES = 1000
"""The least sure rows, of which a batch of different ones is chosen."""
FLOOR = 0.05
"""Added to how unsure a row is: a sure row that is unlike all chosen ones may be worth asking too."""


def disagree(votes: Sequence[Rows], margin: Floats, open_rows: Mask) -> Rows:
    """Rows on which labellers that speak say different things, the smallest margin first.

    Args:
        votes: of each labeller, the index of the category that it says of each row, [N]; -1 where it abstains.
        margin: the lead of each row's label, [N].
        open_rows: which may be asked, [N].
    """
    highest = np.max(votes, axis=0)
    lowest = np.min([np.where(one < 0, np.iinfo(np.int64).max, one) for one in votes], axis=0)
    return _ordered(open_rows & (highest > lowest), margin)


def contradicts(labels: Rows, model: Floats, open_rows: Mask) -> Rows:
    """Rows whose label the model contradicts, the one that it is surest of first.

    Args:
        labels: the index of each row's label, [N]; -1: none.
        model: its probabilities, [N, K].
        open_rows: which may be asked, [N].
    """
    return _ordered(open_rows & (labels >= 0) & (model.argmax(axis=1) != labels), -model.max(axis=1))


def unsure(margin: Floats, embeddings: Floats, open_rows: Mask, *, count: int) -> Rows:
    """Rows that are unsure and unlike each other, ``count`` of them: each is the unsurest of what the rows before it
    are far from (greedy k-center: Sener and Savarese 2018, arXiv 1708.00489, weighted by the margin).

    Args:
        margin: the lead of each row's label, [N].
        embeddings: [N, W], each of length 1.
        open_rows: which may be asked, [N].
        count: at most this many.
    """
    rows = np.flatnonzero(open_rows)
    if len(rows) > max(CANDIDATES, count):
        most = max(CANDIDATES, count)
        rows = np.sort(rows[np.argpartition(margin[rows], most)[:most]])
    need, vectors = 1 - np.nan_to_num(margin[rows]) + FLOOR, embeddings[rows]
    nearest = np.zeros(len(rows), dtype=np.float32)
    chosen = list[int]()
    left = np.ones(len(rows), dtype=bool)
    for _ in range(min(count, len(rows))):
        gain = np.where(left, need * (1 - nearest), -np.inf)
        best = int(gain.argmax())
        chosen.append(best)
        left[best] = False
        nearest = np.maximum(nearest, vectors @ vectors[best])
    return rows[chosen]


def likely_wrong(doubtful: Mask, confidence: Floats, open_rows: Mask) -> Rows:
    """Rows whose label is likely wrong, the most confident first."""
    return _ordered(open_rows & doubtful, -confidence)


def of_category(labels: Rows, category: int, confidence: Floats, open_rows: Mask) -> Rows:
    """Rows with one label, the least confident first."""
    return _ordered(open_rows & (labels == category), confidence)


def search(texts: pl.Series, words: str, where: Mask) -> Rows:
    """Rows whose text holds each of the words, case and ё aside, in their order; answered ones too.

    Args:
        texts: as :func:`plain` gives them.
        words: separated by spaces; none: all rows.
        where: rows to look at, [N]: a filter by other columns.
    """
    found = pl.Series(where)
    for word in plain(pl.Series([words]))[0].split():
        found &= texts.str.contains(word, literal=True)
    return np.flatnonzero(found.to_numpy())


def plain(texts: pl.Series) -> pl.Series:
    """Texts as :func:`search` compares them."""
    return texts.str.to_lowercase().str.replace_all("ё", "е", literal=True)


def _ordered(mask: Mask, by: NDArray[np.floating]) -> Rows:
    """The rows of the mask, the smallest ``by`` first; rows of like ones in their order."""
    rows = np.flatnonzero(mask)
    return rows[np.argsort(np.nan_to_num(by[rows]), kind="stable")]
