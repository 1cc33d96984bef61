"""Seeds: the words of the categories file, and their neighbours among the word vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import softmax

from tsirius.categories import Categories
from tsirius.language.rarity import kind, rarity, unusual_similarity
from tsirius.language.words import lemmas

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

NAME_WEIGHT = 3.0
"""A word that stands in one category's name and in another's description belongs to the name's three parts in four."""
TOO_COMMON, TELLING = 3.0, 4.5
"""Rarity (:func:`tsirius.language.rarity.rarity`) from which a seed lends its neighbours something, and all."""
KIND_WEIGHT: Mapping[str, float] = {"NOUN": 1.0, "X": 1.0, "ADJF": 0.5}
"""Nouns name products; adjectives less so, verbs and the rest least (``OTHER_KIND``)."""
OTHER_KIND = 0.25
NEAREST_SEEDS = 2
"""A word is near a category where it is near this many of its seeds on average."""
LEAD, SHARPNESS = 2.0, 0.5
"""In standard deviations: how far a category must lead the mean of all for a word to be more its than nobody's, and
how gradual the change is. Words that are near everything are then near nothing."""


def seeds(categories: Categories) -> dict[str, Floats]:
    """The lemmas of the categories' names and descriptions, sorted, each with how it is shared among them, [K].

    A share sums to 1; a word of one category alone has 1 there.
    """
    weights: dict[str, Floats] = {}
    for index, category in enumerate(categories):
        for part, weight in ((category.plain, NAME_WEIGHT), (category.plain_description, 1.0)):
            for word in dict.fromkeys(lemmas(part)):
                if kind(word):
                    weights.setdefault(word, np.zeros(len(categories)))[index] += weight
    return {word: weights[word] / weights[word].sum() for word in sorted(weights)}


def membership(
    words: Sequence[str], seeded: Mapping[str, Floats], *, categories: int, near: float, widen: bool
) -> Floats:
    """How far each word is known to be a category's own before any review is read, [V, K]; rows sum to at most 1.

    Args:
        words: different lemmas.
        seeded: of :func:`seeds`.
        categories: how many there are.
        near: how near a category (in standard deviations) a word must be to count as one of its words.
        widen: use the word vectors; without, the seeds alone are known.

    Raises:
        UserError: the word vectors are not installed.
    """
    belongs = np.zeros((len(words), categories))
    if widen and words and seeded:
        belongs = _widened(words, seeded, near=near)
    index = {word: row for row, word in enumerate(words)}
    for word, share in seeded.items():
        if word in index:  # squared: a word of two categories says less about each than its half
            belongs[index[word]] = share**2 * KIND_WEIGHT.get(kind(word), OTHER_KIND)
    return belongs


def _widened(words: Sequence[str], seeded: Mapping[str, Floats], *, near: float) -> Floats:
    shares = np.stack(list(seeded.values()))
    # A common word («дом», «сказать») is near half of the language: it lends less to its neighbours than a rare one.
    lends = np.array(
        [
            np.clip((rarity(word) - TOO_COMMON) / (TELLING - TOO_COMMON), 0, 1)
            * KIND_WEIGHT.get(kind(word), OTHER_KIND)
            for word in seeded
        ]
    )
    similar = unusual_similarity(words, list(seeded))
    affinity = np.zeros((len(words), shares.shape[1]))
    for category in range(shares.shape[1]):
        weight = np.sqrt(shares[:, category] * lends)
        lent = similar[:, weight > 0] * weight[weight > 0]
        if lent.size:
            affinity[:, category] = np.sort(lent, axis=1)[:, -NEAREST_SEEDS:].mean(axis=1)
    nobody = np.maximum(near, affinity.mean(axis=1, keepdims=True) + LEAD)
    scores = np.concatenate([affinity, nobody], axis=1) / SHARPNESS
    belongs: Floats = softmax(scores, axis=1)[:, :-1]
    return belongs
