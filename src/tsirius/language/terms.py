"""The lemmas of many texts as one compact table: 4 bytes a lemma and text, so that each text is read only once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from tsirius.language.words import lemmas

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Terms:
    """The different lemmas of each text.

    Attributes:
        vocabulary: every lemma, sorted.
        ids: the lemmas of the texts, one text after the other, each text's sorted, as indices into ``vocabulary``.
        starts: where each text's lemmas start in ``ids``, and after the last one where they end, [N + 1].
    """

    vocabulary: list[str]
    ids: NDArray[np.int32]
    starts: NDArray[np.int64]

    def counts(self) -> NDArray[np.int64]:
        """In how many texts each lemma occurs, [V]."""
        return np.bincount(self.ids, minlength=len(self.vocabulary))


def of(texts: Sequence[str]) -> Terms:
    """The lemmas of ``texts``.

    Example:
        >>> found = of(["Чашки и чашка", "Чашка"])
        >>> found.vocabulary, found.ids.tolist(), found.starts.tolist()
        (['и', 'чашка'], [0, 1, 1], [0, 2, 3])
    """
    numbers: dict[str, int] = {}
    rows = []
    for text in texts:
        rows.append(np.array([numbers.setdefault(one, len(numbers)) for one in set(lemmas(text))], dtype=np.int32))
    starts = np.cumsum([0, *(len(row) for row in rows)], dtype=np.int64)
    vocabulary = sorted(numbers)
    rank = np.empty(len(vocabulary), dtype=np.int32)
    rank[[numbers[word] for word in vocabulary]] = np.arange(len(vocabulary), dtype=np.int32)
    sorted_rows = (np.sort(rank[row]) for row in rows)
    ids = np.fromiter(chain.from_iterable(sorted_rows), dtype=np.int32, count=int(starts[-1]))
    return Terms(vocabulary, ids, starts)
