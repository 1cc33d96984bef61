"""The linear model: TF-IDF of lemmas and of characters within words, embeddings, and logistic regression.

Lemmas gather a word's forms («чашка», «чашки»), character n-grams what lemmas miss: misspellings, roots, new words.
Embeddings bring what an encoder knows of words that the training rows lack. It trains in seconds on a CPU and needs
nothing downloaded. Saved as JSON and safetensors; the encoder's weights are not saved with it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tsirius.errors import UserError
from tsirius.language.words import LONGEST_WORD, lemmas
from tsirius.models import hub

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    Embed = Callable[[Sequence[str]], NDArray[np.float32]]

VOCABULARY, WEIGHTS = hub.TERMS, "weights.safetensors"
ABSENT = -30.0
"""The logit of a category without training rows: finite, and out of reach of the others, which lie around 0."""
FEW = 200
"""With fewer rows than this every n-gram counts; with more, those of one row alone are left out."""
WORDS = 1 << 15
"""The columns of so many words are kept: most of a review's are met again."""


def _characters(text: str) -> str:
    return text.lower().replace("ё", "е")


VIEWS: Mapping[str, Mapping[str, Any]] = {
    "lemmas": {"analyzer": lemmas},
    "characters": {"analyzer": "char_wb", "ngram_range": (2, 5), "preprocessor": _characters},
}
"""How a text is seen: settings of scikit-learn's TfidfVectorizer."""


class Linear:
    """A fitted model of F features, of which the last W are embeddings.

    Args:
        terms: the terms of each view, sorted.
        idf: their inverse document frequencies, views one after the other, [F - W].
        coefficients: [F, K].
        intercepts: [K].
        embed: texts → their embeddings, [N, W], each of length 1; None: the model sees none.
    """

    def __init__(
        self,
        terms: Mapping[str, Sequence[str]],
        idf: NDArray[np.float32],
        coefficients: NDArray[np.float32],
        intercepts: NDArray[np.float32],
        embed: Embed | None,
    ) -> None:
        self.terms, self.idf, self.coefficients, self.intercepts = terms, idf, coefficients, intercepts
        self.embed = embed
        self._views = _views(terms)

    def logits(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Scores of cleaned texts before the softmax, [N, K]."""
        scores: NDArray[np.float32] = np.tile(self.intercepts, (len(texts), 1))
        for row, text in enumerate(texts):
            columns, values = self._weighted(text)
            scores[row] += values @ self.coefficients[columns]
        if self.embed is not None and texts:
            scores += self.embed(texts) @ self.coefficients[len(self.idf) :]
        return scores

    def _weighted(self, text: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The columns of the terms that a text has, and their TF-IDF: each view has length 1."""
        columns, values = [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
        for view in self._views:
            if counts := Counter(view(text)):
                where = np.fromiter(counts.keys(), np.int64, len(counts))
                order = where.argsort()
                often = np.fromiter(counts.values(), np.float32, len(counts))[order]
                columns.append(where[order])
                weighted = (1 + np.log(often)) * self.idf[columns[-1]]
                values.append(weighted / np.linalg.norm(weighted))
        return np.concatenate(columns), np.concatenate(values)

    def save(self, folder: Path) -> None:
        """Write the vocabulary and the weights into ``folder``."""
        from safetensors.numpy import save_file

        (folder / VOCABULARY).write_text(json.dumps(dict(self.terms), ensure_ascii=False), encoding="utf-8")
        arrays = {"idf": self.idf, "coefficients": self.coefficients, "intercepts": self.intercepts}
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / WEIGHTS)


def fit(
    texts: Sequence[str],
    labels: Sequence[int],
    *,
    weights: Sequence[float] | None,
    categories: int,
    c: float,
    rounds: int,
    embed: Embed | None,
) -> Linear:
    """Fit a model.

    Args:
        texts: cleaned texts.
        labels: the index of each one's category.
        weights: how much each row counts; None: all the same.
        categories: how many there are. One without rows gets the logit ``ABSENT``.
        c: inverse strength of the L2 penalty.
        rounds: at most this many rounds of L-BFGS.
        embed: see :class:`Linear`.

    Raises:
        ValueError: no rows.
    """
    if not texts:
        raise ValueError("no rows to fit")
    terms, idf, blocks = _seen(texts)
    features = _features(blocks, texts, embed)
    coefficients = np.zeros((features.shape[1], categories), np.float32)
    intercepts = np.full(categories, ABSENT, np.float32)
    present = sorted(set(labels))
    if len(present) == 1:
        intercepts[present[0]] = 0.0
    else:
        coefficients[:, present], intercepts[present] = regression(features, labels, weights, c=c, rounds=rounds)
    return Linear(terms, idf, coefficients, intercepts, embed)


def regression(
    features: csr_matrix, labels: Sequence[int], weights: Sequence[float] | None, *, c: float, rounds: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Coefficients [F, P] and intercepts [P] of the P categories among ``labels``, in their order."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        # Stopped early is good enough: the last rounds move no label.
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = LogisticRegression(C=c, max_iter=rounds, solver="lbfgs").fit(features, labels, sample_weight=weights)
    coefficients, intercepts = fitted.coef_.T, fitted.intercept_
    if coefficients.shape[1] == 1:  # two categories are one sigmoid: the same as a softmax of plus and minus its half
        coefficients, intercepts = coefficients / 2 * [-1, 1], intercepts / 2 * [-1, 1]
    return coefficients.astype(np.float32), intercepts.astype(np.float32)


def _features(blocks: Sequence[csr_matrix], texts: Sequence[str], embed: Embed | None) -> csr_matrix:
    """The TF-IDF of each view beside the embeddings, [N, F]."""
    from scipy.sparse import csr_matrix, hstack

    # The first block has no columns: it is all there is where the model has no terms.
    parts = [csr_matrix((len(texts), 0), dtype=np.float32), *blocks]
    if embed is not None:
        parts.append(csr_matrix(embed(texts)))
    return hstack(parts, format="csr")


def _seen(texts: Sequence[str]) -> tuple[dict[str, list[str]], NDArray[np.float32], list[csr_matrix]]:
    """The terms of each view of the texts, their inverse document frequencies, and the TF-IDF of each view that has
    terms. A text is analysed once."""
    from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer

    terms: dict[str, list[str]] = {}
    idf, blocks = [np.zeros(0, np.float32)], list[Any]()
    for view, settings in VIEWS.items():
        counter = CountVectorizer(min_df=2 if len(texts) >= FEW else 1, dtype=np.float64, **settings)
        try:
            counts = counter.fit_transform(texts)
        except ValueError:  # no term at all: texts of emoji have no lemmas
            terms[view] = []
            continue
        counts.sort_indices()  # as transform leaves them: floats are added in the same order
        terms[view] = counter.get_feature_names_out().tolist()
        idf.append(TfidfTransformer().fit(counts).idf_.astype(np.float32))
        weighted = TfidfTransformer(sublinear_tf=True)
        weighted.idf_ = idf[-1]
        blocks.append(weighted.transform(counts.astype(np.float32), copy=False))
    return terms, np.concatenate(idf), blocks


def _views(terms: Mapping[str, Sequence[str]]) -> list[Callable[[str], list[int]]]:
    """For each view a text → the columns of its terms, as often as they occur; as the settings of ``VIEWS`` have
    scikit-learn do it, which need not be imported to use a model.

    Raises:
        ValueError: a term occurs twice.
    """
    result, start = list[Any](), 0
    for view, words in terms.items():
        columns = {word: start + number for number, word in enumerate(words)}
        if len(columns) < len(words):
            raise ValueError("a term occurs twice")
        result.append(_OF_VIEW[view](columns))
        start += len(words)
    return result


def _of_lemmas(columns: Mapping[str, int]) -> Callable[[str], list[int]]:
    return lambda text: [columns[lemma] for lemma in lemmas(text) if lemma in columns]


def _of_characters(columns: Mapping[str, int]) -> Callable[[str], list[int]]:
    def of_word(word: str) -> list[int]:
        return [columns[part] for part in _parts(word) if part in columns]

    known = lru_cache(WORDS)(of_word)
    return lambda text: [
        column
        for word in _characters(text).split()
        for column in (known(word) if len(word) <= LONGEST_WORD else of_word(word))
    ]


def _parts(word: str) -> Iterator[str]:
    """The character n-grams of a word with a space around it, as scikit-learn's ``char_wb`` has them."""
    word = f" {word} "
    shortest, longest = VIEWS["characters"]["ngram_range"]
    for size in range(shortest, longest + 1):
        yield from (word[start : start + size] for start in range(max(1, len(word) - size + 1)))
        if size >= len(word):  # a short word counts once
            break


_OF_VIEW = {"lemmas": _of_lemmas, "characters": _of_characters}


def load(folder: Path, *, categories: int, embed: Embed | None) -> Linear:
    """Read what :meth:`Linear.save` wrote.

    Args:
        folder: where it is.
        categories: how many the model has to tell apart.
        embed: what it was fitted with.

    Raises:
        UserError: a file is missing or broken, or they do not belong together.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    remedy = "Train the model again."
    for name in (VOCABULARY, WEIGHTS):
        if not (folder / name).is_file():
            raise UserError(f"has no {name}", where=folder, remedy=remedy)
    try:
        terms = hub.read_json(folder / VOCABULARY)
        arrays = load_file(folder / WEIGHTS)
        terms = {view: terms[view] for view in VIEWS}
        if not all(isinstance(word, str) for words in terms.values() for word in words):
            raise ValueError("a term is no text")
        size = sum(len(words) for words in terms.values())
        width = embed(["."]).shape[1] if embed else 0
        idf, coefficients, intercepts = arrays["idf"], arrays["coefficients"], arrays["intercepts"]
        shapes = (size,), (size + width, categories), (categories,)
        if (idf.shape, coefficients.shape, intercepts.shape) != shapes:
            raise UserError("its files do not belong together", where=folder, remedy=remedy)
        if not all(np.isfinite(array).all() for array in (idf, coefficients, intercepts)):
            raise UserError("its weights are NaN or infinite", where=folder, remedy=remedy)
        return Linear(terms, idf, coefficients, intercepts, embed)
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise UserError(f"its files are broken ({error})", where=folder, remedy=remedy) from None
