"""Near duplicates: groups of texts that are the same but for a few letters."""

from __future__ import annotations

import hashlib
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tsirius.language.words import words

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHINGLE = 5
"""Near duplicates are compared by their sets of this many consecutive characters."""
SHORTEST = 40
"""Texts with fewer characters than this (about six words) are alike only where their words are the same: one shared
phrase is most of a short text."""
PERMUTATIONS = 64
"""Numbers in a MinHash signature: 256 bytes a text. Candidates are verified, so that a short signature is enough."""
LARGE = 100
"""Beyond this many different texts, a group takes others in only where they are like its first text, so that a chain
of small steps does not run through a whole file."""
BATCH = 4096
PIECE = 1 << 16
"""Signatures of which a band is read at a time."""


def near_duplicate_groups(texts: Sequence[str], *, similarity: float) -> NDArray[np.int64]:
    """For each text the row (0-based) of the first text of its group, [N].

    Texts with the same words in the same order (case, punctuation and ё aside) share a group; texts without words
    only where they are equal. Longer ones also do where the Jaccard similarity of their character 5-grams reaches
    ``similarity``, or where others connect them. Candidates come from MinHash with banded LSH (Broder 1997; Leskovec
    et al., Mining of Massive Datasets, chapter 3) and are verified exactly: at 0.8, about 5 pairs in 100 that are just
    that similar are missed, 1 in 100 at 0.85. Buckets are sorted arrays: tables of Python sets take 3.7 KB a text.

    Args:
        texts: cleaned texts; about 90 bytes of memory each beside the texts themselves, and 256 bytes in the temporary
            folder.
        similarity: above 0, at most 1.

    Raises:
        ValueError: ``similarity`` is out of range.
    """
    if not 0 < similarity <= 1:
        raise ValueError(f"similarity is {similarity}, not above 0 and at most 1")
    first, long = _equal(texts)
    different = np.flatnonzero(long & (first == np.arange(len(first))))
    parent = array("q", first.tobytes())
    del first, long
    if similarity < 1 and len(different) > 1:
        with tempfile.TemporaryDirectory(prefix="tsirius-") as folder:
            signatures = Signatures(Path(folder) / "signatures", texts, different)
            _unite(texts, different, parent, signatures, similarity=similarity)
    # a row's parent always comes before it, so that one pass resolves them all
    for row, above in enumerate(parent):
        parent[row] = parent[above]
    return np.frombuffer(parent, dtype=np.int64)


def _equal(texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """For each text the first one with the same words, and whether it is long enough to have near duplicates, [N]."""
    digests, long = bytearray(), bytearray()
    for text in texts:
        key = _key(text)
        written = (key or f"\n{text}").encode("utf-8", "surrogatepass")
        # 16 bytes of a digest instead of the text: two texts will not share them by chance
        digests += hashlib.blake2b(written, digest_size=16).digest()
        long.append(len(key) >= SHORTEST)
    halves = np.frombuffer(digests, dtype=np.uint64).reshape(-1, 2)
    order = np.lexsort((halves[:, 1], halves[:, 0]))  # stable: the first of equal ones stays before the others
    new = np.ones(len(order), dtype=bool)
    new[1:] = False
    for half in halves.T:
        sorted_half = half[order]
        new[1:] |= sorted_half[1:] != sorted_half[:-1]
    first = np.empty(len(order), dtype=np.int64)
    first[order] = order[np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))] if len(order) else order
    return first, np.frombuffer(long, dtype=bool)


def _key(text: str) -> str:
    return " ".join(words(text))


def _unite(
    texts: Sequence[str], different: NDArray[np.int64], parent: array[int], signatures: Signatures, *, similarity: float
) -> None:
    """Let the parents of similar rows meet; a parent is never a later row."""
    bands, rows_a_band = best_bands(similarity)
    size = array("i", [1]) * len(parent)

    def find(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    @lru_cache(maxsize=1024)
    def shingles(row: int) -> set[str]:
        key = _key(texts[row])
        return {key[at : at + SHINGLE] for at in range(len(key) - SHINGLE + 1)}

    def alike(one: int, other: int) -> bool:
        left, right = shingles(one), shingles(other)
        shared = len(left & right)
        return shared >= similarity * (len(left) + len(right) - shared)

    for start in range(0, bands * rows_a_band, rows_a_band):
        for pairs in _candidates(signatures, start, start + rows_a_band, similarity=similarity):
            for leader, member in different[pairs].tolist():
                one, other = find(leader), find(member)
                if one == other or not alike(leader, member):
                    continue
                if size[one] + size[other] > LARGE and not alike(one, other):
                    continue
                one, other = min(one, other), max(one, other)
                parent[other] = one
                size[one] += size[other]


def best_bands(similarity: float) -> tuple[int, int]:
    """Bands of a signature and rows a band, where missing a similar pair weighs 19 times as much as a false candidate.

    A pair of similarity s is a candidate with probability 1 - (1 - s^rows)^bands; both errors are integrated over s.
    """
    s = (np.arange(2000) + 0.5) / 2000
    similar = s >= similarity

    def error(bands: int, rows: int) -> float:
        missed = (1 - s**rows) ** bands
        return float(np.where(similar, 0.95 * missed, 0.05 * (1 - missed)).mean())

    choices = [(bands, rows) for bands in range(1, PERMUTATIONS + 1) for rows in range(1, PERMUTATIONS // bands + 1)]
    return min(choices, key=lambda choice: error(*choice))


class Signatures:
    """MinHash signatures of texts in a file, of which a piece is in memory at a time.

    A permutation of 32-bit hashes is h → factor · h + shift modulo 2³²; an odd factor makes it a bijection.

    Args:
        path: of the file, which is written.
        texts: cleaned texts.
        rows: the texts to sign, [N].
    """

    def __init__(self, path: Path, texts: Sequence[str], rows: Sequence[int] | NDArray[np.int64]) -> None:
        self._path, self._count = path, len(rows)
        draw = np.random.RandomState(1)
        factors = draw.randint(0, 1 << 31, PERMUTATIONS, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
        shifts = draw.randint(0, 1 << 32, PERMUTATIONS, dtype=np.uint32)
        with path.open("wb") as file:
            for at in range(0, len(rows), BATCH):
                hashes, starts = shingle_hashes([_key(texts[row]) for row in rows[at : at + BATCH]])
                mixed = _mix(hashes)
                signatures = np.empty((len(starts), PERMUTATIONS), dtype=np.uint32)
                for column in range(PERMUTATIONS):
                    signatures[:, column] = np.minimum.reduceat(mixed * factors[column] + shifts[column], starts)
                file.write(signatures.tobytes())

    def __len__(self) -> int:
        return self._count

    def columns(self, start: int, stop: int) -> Iterator[tuple[slice, NDArray[np.uint32]]]:
        """Some numbers of all signatures, piece by piece: which ones, and their numbers, [n, stop - start]."""
        with self._path.open("rb") as file:
            for at in range(0, self._count, PIECE):
                piece = np.fromfile(file, dtype=np.uint32, count=PIECE * PERMUTATIONS).reshape(-1, PERMUTATIONS)
                yield slice(at, at + len(piece)), piece[:, start:stop]

    def rows(self, index: NDArray[np.int64]) -> NDArray[np.uint32]:
        """Some signatures, [len(index), PERMUTATIONS]."""
        # Read, not mapped: pages that are mapped count as the process's memory.
        found = np.empty((len(index), PERMUTATIONS), dtype=np.uint32)
        with self._path.open("rb", buffering=0) as file:
            for at, row in enumerate(index.tolist()):
                file.seek(row * found.strides[0])
                file.readinto(found[at])
        return found


def shingle_hashes(keys: Sequence[str]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """A 32-bit hash of every run of ``SHINGLE`` characters in each key (none may be shorter), keys one after the
    other, and where each key's hashes start."""
    lengths = np.array([len(key) for key in keys], dtype=np.int64)
    letters = np.frombuffer("".join(keys).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    windows = len(letters) - SHINGLE + 1
    hashes = np.zeros(windows, dtype=np.uint32)
    for offset in range(SHINGLE):
        hashes *= np.uint32(0x01000193)
        hashes += letters[offset : offset + windows]
    inside = np.ones(len(letters), dtype=bool)
    ends = np.cumsum(lengths)
    for back in range(1, SHINGLE):
        inside[ends - back] = False  # a run that starts here would reach into the next key
    counts = lengths - (SHINGLE - 1)
    return hashes[inside[:windows]], np.cumsum(counts) - counts


def _mix(hashes: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """MurmurHash3's finaliser: spreads hashes that differ in few bits before the permutations."""
    mixed = hashes.copy()
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        mixed ^= mixed >> np.uint32(shift)
        mixed *= np.uint32(factor)
    mixed ^= mixed >> np.uint32(16)
    return mixed


def _candidates(signatures: Signatures, start: int, stop: int, *, similarity: float) -> Iterator[NDArray[np.int64]]:
    """Pairs of signatures that share a band and look alike, in a fixed order, some at a time, [n, 2].

    In each bucket all are compared with the first; those unlike it with the first of themselves, up to four times.
    """
    bucket = np.zeros(len(signatures), dtype=np.uint64)
    for piece, numbers in signatures.columns(start, stop):
        mixed = bucket[piece]
        for column in numbers.T:
            mixed[:] = (mixed ^ column) * np.uint64(0x9E3779B97F4A7C15)
            mixed ^= mixed >> np.uint64(29)
    order = np.argsort(bucket, kind="stable")
    bucket = bucket[order]
    for _ in range(4):
        new = np.ones(len(bucket), dtype=bool)
        new[1:] = bucket[1:] != bucket[:-1]
        leaders = order[np.maximum.accumulate(np.where(new, np.arange(len(bucket)), 0))]
        members, leaders, bucket = order[~new], leaders[~new], bucket[~new]
        if not len(members):
            return
        close = np.empty(len(members), dtype=bool)
        for at in range(0, len(members), BATCH):
            part = slice(at, at + BATCH)
            agree = (signatures.rows(members[part]) == signatures.rows(leaders[part])).mean(axis=1)
            close[part] = agree >= similarity - 0.15  # three standard errors of the estimate
        some = np.flatnonzero(close)
        for at in range(0, len(some), BATCH):
            pairs = some[at : at + BATCH]
            yield np.stack([leaders[pairs], members[pairs]], axis=1)
        order, bucket = members[~close], bucket[~close]
