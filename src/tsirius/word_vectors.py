"""Word vectors that an installed dependency carries: nothing is downloaded.

The wheel of natasha (MIT) holds the navec vectors learned from Russian news: 250,002 words in lower case, 300 numbers
each (A. Kukushkin, https://github.com/natasha/navec). natasha itself is not imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tsirius.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROWS, QUERIES = 8192, 512
"""Words compared at a time: 20 MB of vectors, 34 MB of similarities."""


class WordVectors:
    """Words and their vectors, kept quantised (50 MB; unpacked they would be 300 MB).

    Attributes:
        words: every word, in the order of the rows.
        rows: word → row.
    """

    def __init__(self, navec: Any) -> None:
        self.words: list[str] = navec.vocab.words
        self.rows: dict[str, int] = {word: row for row, word in enumerate(self.words) if not word.startswith("<")}
        self._pq = navec.pq

    def __contains__(self, word: str) -> bool:
        return word in self.rows

    def vectors(self, words: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of length 1, [len(words), 300].

        Raises:
            KeyError: a word has none.
        """
        return self._unpack(np.array([self.rows[word] for word in words], dtype=np.int64))

    def neighbours(self, words: Sequence[str], *, least: float) -> list[list[tuple[str, float]]]:
        """For each word all others with a cosine of at least ``least`` to it, the nearest first; none for an unknown
        word. About 10 ms a word where many are asked at once.
        """
        found: list[list[tuple[str, float]]] = [[] for _ in words]
        known = [place for place, word in enumerate(words) if word in self]
        for start in range(0, len(known), QUERIES):
            places = known[start : start + QUERIES]
            # In double precision: how single precision rounds a sum hangs on the number of threads.
            queries = self.vectors([words[place] for place in places]).astype(np.float64)
            for row in range(0, len(self.words), ROWS):
                block = self._unpack(np.arange(row, min(row + ROWS, len(self.words)))).astype(np.float64)
                cosines = (queries @ block.T).round(4)  # rounded: no order hangs on the last bit of a sum
                for query, other in zip(*np.nonzero(cosines >= least), strict=True):
                    neighbour = self.words[row + other]
                    if neighbour != words[places[query]] and neighbour in self.rows:
                        found[places[query]].append((neighbour, round(float(cosines[query, other]), 4)))
        return [sorted(near, key=lambda item: (-item[1], item[0])) for near in found]

    def _unpack(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        pq = self._pq
        vectors: NDArray[np.float32] = pq.codes[pq.qdims, pq.indexes[rows]].reshape(len(rows), pq.dim)
        lengths = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
        unit: NDArray[np.float32] = (vectors / lengths).astype(np.float32)
        return unit


@cache
def load() -> WordVectors:
    """The vectors, read once (about 0.5 s).

    Raises:
        UserError: the package that carries them is not installed, or carries them no longer.
    """
    from navec import Navec

    spec = find_spec("natasha")
    folders = [Path(folder) / "data" / "emb" for folder in (spec.submodule_search_locations or [])] if spec else []
    files = sorted(file for folder in folders for file in folder.glob("*.tar"))
    if not files:
        raise UserError("the word vectors are not installed", remedy="Run: pip install 'natasha>=1.6'.")
    return WordVectors(Navec.load(files[0]))
