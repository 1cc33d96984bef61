"""What is known of single words before any review is read: their kind, how common they are, and which are near them.

The kind comes from pymorphy3, the rest from the word vectors that an installed dependency carries
(:mod:`tsirius.language.word_vectors`). Words here are lemmas as :func:`tsirius.language.words.lemma` gives them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING

import numpy as np

from tsirius.language import word_vectors
from tsirius.language.words import analyser

if TYPE_CHECKING:
    from numpy.typing import NDArray

FUNCTION_WORDS = frozenset({"PREP", "CONJ", "PRCL", "NPRO", "INTJ"})
"""pymorphy3's parts of speech that name nothing: prepositions, conjunctions, particles, pronouns, interjections."""
EVERY = 12
"""Every 12th word of the vectors' alphabetical list stands for the language at large: some 20,000 words."""


@lru_cache(maxsize=1 << 17)
def kind(word: str) -> str:
    """The part of speech as pymorphy3 names it, ``""`` for a function word or number, ``"X"`` for a foreign word."""
    if not any(letter.isalpha() for letter in word):
        return ""
    if word.isascii():
        return "" if word in _english_stop_words() else "X"
    tag = analyser().parse(word)[0].tag
    return "" if str(tag.POS) in FUNCTION_WORDS or "Apro" in tag else str(tag.POS or "X")


def is_noun(word: str) -> bool:
    """Whether the word may name a thing: a noun, or a word that the dictionary does not know."""
    return kind(word) in ("NOUN", "X")


def rarity(word: str) -> float:
    """-log10 of the word's share of a large text in all its forms: 2.8 for «сказать», 4.2 for «одежда», 6 for «утюг».

    About 9, the largest, for a word that is not in the vectors' list.
    """
    known = word_vectors.load()
    return float(-np.log10((sum(known.counts.get(form, 0) for form in _forms(word)) + 1) / known.total))


def unusual_similarity(words: Sequence[str], seeds: Sequence[str]) -> NDArray[np.float64]:
    """How much nearer each word is to each seed than words at large are to that seed, [len(words), len(seeds)].

    In standard deviations of the seed's cosines to the language at large, so that a seed which is near everything
    gains nothing by it; 0 where either word has no vector. Rounded, so that no later choice hangs on the last bit.
    """
    known = word_vectors.load()
    # In double precision: how single precision rounds a product hangs on the number of threads, and three digits on it.
    large = known.vectors(known.words[::EVERY][: len(known.rows) // EVERY]).astype(np.float64)
    centre = large.mean(axis=0)
    large = _unit(large - centre)
    left, right = _vectors(words, centre), _vectors(seeds, centre)
    usual = large @ right.T
    similar = (left @ right.T - usual.mean(axis=0)) / np.maximum(usual.std(axis=0), 1e-6)
    similar[~left.any(axis=1)] = 0
    similar[:, ~right.any(axis=1)] = 0
    rounded: NDArray[np.float64] = similar.round(3)
    return rounded


def _vectors(words: Sequence[str], centre: NDArray[np.float64]) -> NDArray[np.float64]:
    """Vectors of length 1 about ``centre``; the first form that has one speaks for a lemma, zeros where none has."""
    known = word_vectors.load()
    known_forms = [next((form for form in (word, *_forms(word)) if form in known), None) for word in words]
    rows = [row for row, form in enumerate(known_forms) if form is not None]
    vectors = np.zeros((len(words), len(centre)))
    if rows:
        vectors[rows] = _unit(known.vectors([form for form in known_forms if form is not None]) - centre)
    return vectors


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    unit: NDArray[np.float64] = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    return unit


@lru_cache(maxsize=1 << 17)
def _forms(word: str) -> tuple[str, ...]:
    """The word in all its forms, each once, in the dictionary's order."""
    if word.isascii():
        return (word,)
    return tuple(dict.fromkeys(form.word for form in analyser().parse(word)[0].lexeme))


@cache
def _english_stop_words() -> frozenset[str]:
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    return frozenset(ENGLISH_STOP_WORDS)
