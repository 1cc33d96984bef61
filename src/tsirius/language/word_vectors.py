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


class WordVectors:
    """Words and their vectors, kept quantised (50 MB; unpacked they would be 300 MB).

    Attributes:
        words: every word, in the order of the rows.
        rows: word → row.
        counts: how often the text that they were learned from holds each word.
        total: words of that text.
    """

    def __init__(self, navec: Any) -> None:
        self.words: list[str] = navec.vocab.words
        self.rows: dict[str, int] = {word: row for row, word in enumerate(self.words) if not word.startswith("<")}
        self.counts = {word: int(count) for word, count in zip(self.words, navec.vocab.counts, strict=True)}
        self.total = sum(self.counts.values())
        self._pq = navec.pq

    def __contains__(self, word: str) -> bool:
        return word in self.rows

    def vectors(self, words: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of length 1, [len(words), 300].

        Raises:
            KeyError: a word has none.
        """
        return self._unpack(np.array([self.rows[word] for word in words], dtype=np.int64))

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
