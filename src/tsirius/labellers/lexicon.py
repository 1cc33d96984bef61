"""The embedded labeller: a lexicon that the categories file starts and the reviews themselves fill in.

The words of the categories' names and descriptions are matched as whole lemmas, widened by word vectors, and widened
again by the reviews, in a mixture model that is fitted by expectation maximisation (a seeded relative of Nigam et al.,
"Text classification from labeled and unlabeled documents using EM", 2000, and of topic models with a background):

- Every review is of one category. Each of its words comes from that category's own words, with probability
  ``own``, or from talk that any review may hold. Reviews of a product may also mention the words of the none-category
  (delivery, seller), with probability ``small_talk``.
- *A review speaks of a product only if at least one of its words does.* Where all of its words are as likely from
  common talk, the probability goes to the none-category, however frequent a product is: what reviews are usually about
  is no evidence for what this one says. This is what tells «очень довольна» from «очень довольна платьем».

Nothing about particular categories is written here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field
from scipy.special import softmax

from tsirius.categories import Categories
from tsirius.labellers import Labeller, Material, Votes
from tsirius.language import terms
from tsirius.language.rarity import is_noun, kind, rarity, unusual_similarity
from tsirius.language.terms import Terms
from tsirius.language.words import lemmas
from tsirius.progress import Advance
from tsirius.section import Section

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    Floats = NDArray[np.float64]

BLIND = False
KEEP = False
"""Votes are made in the time that keeping them would save."""
FILE = "lexicon.json"

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
ABSENT = 0.02
"""A category that no review matches is still taken to be this share of the reviews, spread over all categories."""
OPEN = 0.1
"""How much of a category's words is any word in its usual share: without it the reviews could teach no new word."""
PULL = 0.5
"""How strongly ``own`` and ``small_talk`` stay at their settings, as a share of all words of the reviews."""
FAINT = 0.05
"""Ratios below this are left out of the lexicon: they change a probability by a few percent at most."""
SPEAKS = 1.3
"""A word is evidence for a category that makes it at least this many times likelier than common talk does."""
SHOWN = 5
"""Words of evidence a review, at most."""


class Config(Section):
    """The lexicon: words of the categories file, and those that the reviews use with them."""

    widen: bool = True
    """Add words that are near those of the categories file among the word vectors."""
    near: float = Field(5.0, gt=0)
    """How near, in standard deviations of similarity; higher adds fewer words."""
    rounds: int = Field(8, ge=0)
    """Rounds of expectation maximisation over the reviews."""
    trust: float = Field(1.0, gt=0)
    """How much the categories file weighs against the reviews; higher keeps closer to the file."""
    own: float = Field(0.35, ge=0.02, le=0.8)
    """Initial share of a review's words that are about its product."""
    small_talk: float = Field(0.1, ge=0, le=0.19)
    """Initial share of a product review's words that are about delivery and the like."""
    min_count: int = Field(2, ge=1)
    """A word in fewer reviews than this is unknown."""
    none_despite_unknown: float = Field(0.9, ge=0, le=1)
    """A review with an unknown noun, maybe a product, counts as "no product" only from this probability on."""


def models(config: Config, *, encoder: str) -> dict[str, str]:
    """It uses none."""
    return {}


def check(config: Config) -> None:
    """It has nothing to check."""


def make(config: Config, material: Material) -> Labeller:
    """The lexicon of ``material.texts``; it is left in ``lexicon.json``.

    Raises:
        UserError: the word vectors are not installed.
    """
    read = lru_cache(maxsize=1)(terms.of)  # the texts that it learns from are those that it labels first
    learned = learn(
        read(tuple(material.texts)),
        material.categories,
        widen=config.widen,
        near=config.near,
        rounds=config.rounds,
        trust=config.trust,
        own=config.own,
        small_talk=config.small_talk,
        min_count=config.min_count,
        none_despite_unknown=config.none_despite_unknown,
    )
    learned.save(material.folder / FILE)
    return replace(learned, read=read)


def reopen(config: Config, material: Material) -> Labeller:
    """The lexicon that :func:`make` left."""
    return Lexicon.load(material.folder / FILE)


@dataclass(frozen=True, eq=False)
class Lexicon:
    """Which lemma speaks for which category, and how strongly.

    Attributes:
        categories: names, in the order of the probabilities.
        none: the index of the none-category.
        share: the share of the reviews of each category, [K].
        own: the share of a review's words that are its category's own, [K].
        small_talk: the share of a product review's words that are the none-category's.
        vocabulary: lemma → row of ``ratio``, sorted.
        ratio: how many times likelier a lemma is among a category's own words than in common talk, [V, K].
        none_despite_unknown: a review with a noun that is not in the vocabulary is called the none-category only from
            this probability on, else it gets no label: the noun may name a product.
        read: texts → their lemmas.
    """

    categories: tuple[str, ...]
    none: int
    share: Floats
    own: Floats
    small_talk: float
    vocabulary: dict[str, int]
    ratio: Floats
    none_despite_unknown: float
    read: Callable[[tuple[str, ...]], Terms] = terms.of
    name: str = field(default="lexicon", init=False)

    def label(self, texts: Sequence[str], *, advance: Advance | None = None) -> Votes:
        """Label each text by itself; abstain where it holds no known word, or an unknown noun and nothing else of
        weight."""
        documents = self.read(tuple(texts))
        counts = _matrix(documents, self.vocabulary)
        shares, silent = self._posterior(counts)
        shares = _to_none(shares, silent, none=self.none)
        nouns = {word: 0 for word in documents.vocabulary if word not in self.vocabulary and is_noun(word)}
        unknown = _matrix(documents, nouns).getnnz(axis=1) > 0
        best = shares.argmax(axis=1)
        doubtful = unknown & (best == self.none) & (shares[:, self.none] < self.none_despite_unknown)
        shares[(counts.getnnz(axis=1) == 0) | doubtful] = np.nan
        if advance:
            advance(len(texts))
        return Votes(shares.astype(np.float32), self._evidence(counts, best, np.isnan(shares[:, 0])))

    def _posterior(self, counts: csr_matrix) -> tuple[Floats, Floats]:
        """Of each text (rows of ``counts``): the probability of each category before the rule that one word at least
        must speak of it, and the probability that none does if the text is of that category, both [texts, K]."""
        common, all_words = self._likelihoods()
        log_all = counts @ np.log(all_words)
        silent = np.exp(np.minimum(counts @ np.log(common) - log_all, 0))
        log_shares = log_all + np.log(self.share)
        return softmax(log_shares, axis=1), silent

    def _likelihoods(self) -> tuple[Floats, Floats]:
        """Of each lemma and category, how likely the lemma is without and with the category's own words, relative to
        common talk, both [V, K]."""
        small_talk = np.where(np.arange(len(self.own)) == self.none, 0, self.small_talk)
        common = small_talk * self.ratio[:, [self.none]] + (1 - self.own - small_talk)
        return common, common + self.own * self.ratio

    def _evidence(self, counts: csr_matrix, best: NDArray[np.int64], abstains: NDArray[np.bool_]) -> list[list[str]]:
        common, all_words = self._likelihoods()
        strength = all_words / common
        known = list(self.vocabulary)
        evidence = []
        for row, category in enumerate(best):
            words = counts.indices[counts.indptr[row] : counts.indptr[row + 1]]
            speaking = [] if abstains[row] else [word for word in words if strength[word, category] >= SPEAKS]
            speaking.sort(key=lambda word: (-strength[word, category], word))
            evidence.append([known[word] for word in speaking[:SHOWN]])
        return evidence

    def save(self, path: Path) -> None:
        """Write the lexicon as JSON that a person may read: one lemma a line, its categories by strength."""
        head: dict[str, Any] = {
            "categories": self.categories,
            "none": self.categories[self.none],
            "share_of_reviews": dict(zip(self.categories, self.share.tolist(), strict=True)),
            "own_words": dict(zip(self.categories, self.own.tolist(), strict=True)),
            "small_talk": self.small_talk,
            "none_despite_unknown": self.none_despite_unknown,
            "about": "times_likelier: how many times likelier a lemma is in a category's own words than in common talk",
        }
        lines = []
        for lemma, row in self.vocabulary.items():
            order = [k for k in np.argsort(-self.ratio[row], kind="stable") if self.ratio[row, k] > 0]
            weights = {self.categories[k]: float(self.ratio[row, k]) for k in order}
            lines.append(f"{json.dumps(lemma, ensure_ascii=False)}: {json.dumps(weights, ensure_ascii=False)}")
        text = json.dumps(head, ensure_ascii=False, indent=1)[:-2]
        path.write_text(f'{text},\n "times_likelier": {{\n' + ",\n".join(lines) + "\n}}\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Lexicon:
        """Read what :meth:`save` wrote; it labels every text the same."""
        data = json.loads(path.read_text(encoding="utf-8"))
        names = tuple(data["categories"])
        ratio = np.zeros((len(data["times_likelier"]), len(names)))
        for row, weights in enumerate(data["times_likelier"].values()):
            for name, weight in weights.items():
                ratio[row, names.index(name)] = weight
        return cls(
            categories=names,
            none=names.index(data["none"]),
            share=np.array([data["share_of_reviews"][name] for name in names]),
            own=np.array([data["own_words"][name] for name in names]),
            small_talk=data["small_talk"],
            vocabulary={lemma: row for row, lemma in enumerate(data["times_likelier"])},
            ratio=ratio,
            none_despite_unknown=data["none_despite_unknown"],
        )


def learn(
    read: Terms,
    categories: Categories,
    *,
    widen: bool,
    near: float,
    rounds: int,
    trust: float,
    own: float,
    small_talk: float,
    min_count: int,
    none_despite_unknown: float,
) -> Lexicon:
    """Learn a lexicon from the lemmas of unlabelled texts. The same texts in the same order give the same lexicon:
    nothing is drawn.

    Args:
        read: the lemmas of different texts; a repeated one would count twice.
        categories: what each category is called and said to be: the only source of knowledge about them.
        widen: use the word vectors; without, the seeds alone start the fit.
        near: how near a category (in standard deviations) a word must be to count as one of its words.
        rounds: of expectation maximisation; 0 keeps the seeds and their neighbours as they are.
        trust: how much the seeds and the vectors weigh against the reviews: a seed counts as if this many times its
            own occurrences were known to be its category's.
        own: the share of a review's words that are its category's own, to begin with.
        small_talk: the share of a product review's words that are the none-category's, to begin with.
        min_count: lemmas in fewer texts than this are unknown, unless they are seeds.
        none_despite_unknown: see :class:`Lexicon`.

    Raises:
        UserError: the word vectors are not installed.
    """
    seeded = seeds(categories)
    counted = zip(read.vocabulary, read.counts().tolist(), strict=True)
    words = [word for word, count in counted if (count >= min_count or word in seeded) and kind(word)]
    vocabulary = {word: row for row, word in enumerate(words)}
    counts = _matrix(read, vocabulary)
    belongs = _membership(words, seeded, kinds=len(categories), near=near, widen=widen)
    kept_out = [seeded[word] == 0 if word in seeded else [False] * len(categories) for word in words]
    foreign = np.array(kept_out, dtype=bool)  # without words it would be one of floats
    occurrences = np.asarray(counts.sum(axis=0), dtype=np.float64).ravel()
    return _fit(
        counts, belongs, foreign.reshape(belongs.shape), occurrences, vocabulary, categories, rounds=rounds,
        trust=trust, own=own, small_talk=small_talk, none_despite_unknown=none_despite_unknown,
    )  # fmt: skip


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


def _membership(words: Sequence[str], seeded: Mapping[str, Floats], *, kinds: int, near: float, widen: bool) -> Floats:
    """How far each word is known to be a category's own before any review is read, [V, K]; rows sum to at most 1."""
    belongs = np.zeros((len(words), kinds))
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


def _fit(
    counts: csr_matrix,
    belongs: Floats,
    foreign: NDArray[np.bool_],
    occurrences: Floats,
    vocabulary: dict[str, int],
    categories: Categories,
    *,
    rounds: int,
    trust: float,
    own: float,
    small_talk: float,
    none_despite_unknown: float,
) -> Lexicon:
    """Expectation maximisation from ``belongs`` [V, K]; ``counts`` [texts, V] says which text holds which word.

    ``foreign`` [V, K] says which words are no category's own: a seed stays with the categories whose file entry has it.
    """
    texts, kinds, none = counts.shape[0], len(categories), categories.none_index
    products = np.arange(kinds) != none
    total = max(float(occurrences.sum()), 1.0)
    usual = occurrences[:, None] / total
    known = trust * occurrences[:, None] * belongs
    # To begin with: a category's words are the seeds and their neighbours, common talk is the rest.
    words = _distribution(known + OPEN * usual)
    talk = _distribution(occurrences[:, None] * np.maximum(1 - belongs.sum(axis=1, keepdims=True), ABSENT))
    matched = counts @ belongs
    strength = matched.sum(axis=1, keepdims=True)
    guess = matched / np.maximum(strength, 1e-12) * (1 - np.exp(-strength))
    share = _share(guess.sum(axis=0), texts)
    owns, mentions = np.full(kinds, own), small_talk

    def lexicon() -> Lexicon:
        return Lexicon(
            categories=tuple(categories.names), none=none, share=share.round(6), own=owns.round(6),
            small_talk=round(float(mentions), 6), vocabulary=vocabulary, ratio=words / talk,
            none_despite_unknown=none_despite_unknown,
        )  # fmt: skip

    for _ in range(rounds):
        model = lexicon()
        before, silent = model._posterior(counts)
        after = _to_none(before, silent, none=none)
        share = _share(after.sum(axis=0), texts)
        common, all_words = model._likelihoods()
        seen = np.asarray(counts.T @ before)
        its_own = np.where(foreign, 0, seen * (1 - common / all_words))
        mentioned = seen * (model.small_talk * model.ratio[:, [none]]) / all_words
        mentioned[:, none] = 0
        mentioned[foreign[:, none]] = 0
        spoken = np.asarray(counts.T @ after).sum(axis=0)
        pull = PULL * total
        owns = np.clip((its_own.sum(axis=0) + own * pull / kinds) / (spoken + pull / kinds), 0.02, 0.8)
        mentions = (mentioned.sum() + small_talk * pull) / (spoken[products].sum() + pull)
        mentions = min(float(mentions), 0.19)  # with the largest ``own`` something is left for common talk
        its_own[:, none] += mentioned.sum(axis=1)
        words = _distribution(its_own + known + OPEN * usual)
        rest = occurrences * (1 + trust * np.maximum(1 - belongs.sum(axis=1), 0)) - its_own.sum(axis=1)
        talk = _distribution(np.maximum(rest, 1e-3)[:, None])
    final = lexicon()
    return replace(final, ratio=_rounded(final.ratio))


def _to_none(shares: Floats, silent: Floats, *, none: int) -> Floats:
    """Move to the none-category what belongs to products of which no word of the text speaks."""
    moved = shares * silent
    moved[:, none] = 0
    result = shares - moved
    result[:, none] += moved.sum(axis=1)
    return result


def _distribution(weights: Floats) -> Floats:
    """Columns that sum to 1; all equal where a column is empty."""
    sums = weights.sum(axis=0)
    filled: Floats = np.where(sums > 0, weights, 1.0)
    normal: Floats = filled / np.maximum(filled.sum(axis=0), 1e-300)
    return normal


def _share(mass: Floats, texts: int) -> Floats:
    padded = mass + ABSENT * max(texts, 1) / len(mass)
    share: Floats = padded / padded.sum()
    return share


def _rounded(ratio: Floats) -> Floats:
    """As the JSON file has it, so that a lexicon that was saved and loaded labels as before."""
    kept: Floats = np.where(ratio < FAINT, 0.0, ratio.round(3))
    return kept


def _matrix(read: Terms, vocabulary: Mapping[str, int]) -> csr_matrix:
    """1 where a text holds a word: [texts, words]; several words may share a column."""
    from scipy.sparse import csr_matrix

    column = np.array([vocabulary.get(word, -1) for word in read.vocabulary], dtype=np.int64)[read.ids]
    known = column >= 0
    ends = np.concatenate([[0], np.cumsum(known)])[read.starts]
    width = max(vocabulary.values(), default=-1) + 1
    return csr_matrix((np.ones(int(known.sum())), column[known], ends), shape=(len(read.starts) - 1, width))
