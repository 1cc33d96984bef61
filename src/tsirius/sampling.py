"""A sample of texts by their hashes: each is as likely to be in it as any other, so that it keeps the natural mix.

It hangs on the texts alone, not on their order: where rows are added, those of a larger hash make room for new ones of
a smaller hash, and all others stay.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def numbers(texts: Iterable[str]) -> NDArray[np.uint64]:
    """A 64-bit hash of each text, [N]."""
    digests = (hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest() for text in texts)
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64, copy=False)


def drawn(hashes: NDArray[np.uint64], size: int) -> NDArray[np.bool_]:
    """Which texts are in a sample of ``size`` different ones, [N]: those of the smallest hashes; all where it is 0.

    Args:
        hashes: of the texts, as :func:`numbers` gives them; copies of one text share the answer.
        size: different texts in the sample.
    """
    different = np.unique(hashes) if size else hashes
    if not size or len(different) <= size:
        return np.ones(len(hashes), dtype=bool)
    result: NDArray[np.bool_] = hashes <= different[size - 1]
    return result
