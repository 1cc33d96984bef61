"""The student: learns from the surest labels what their texts have in common, and says it of all the others.

The labellers look for words and things; the student sees embeddings, and so undoes mistakes that hang on a surface word
(self-training for zero-shot classifiers: Gera et al. 2022, arXiv 2210.17541, who hide the category's words likewise). A
text's label never comes from a student that learned from that text or from a near duplicate of it.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from tsirius.language.words import lemmas
from tsirius.section import Section

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]


class Config(Section):
    """The student: a classifier of embeddings that learns from the other labellers' surest labels."""

    rounds: int = Field(0, ge=0)
    """Rounds, at most, in which it learns from the labels and votes too. It pays where the labellers are few or weak,
    and costs rare categories, of which it sees too little."""
    sure: float = Field(0.7, ge=0, le=1)
    """It learns from labels from this confidence on."""
    folds: int = Field(5, ge=2)
    """Cross-validation folds: one student per fold, which labels the reviews that it did not learn from."""
    c: float = Field(10.0, gt=0)
    """Inverse strength of its L2 penalty; lower is smoother."""
    most: int = Field(100_000, ge=1)
    """Reviews that it learns from, at most."""
    hide: bool = False
    """Learn from each review a second time, the words of the categories file masked; embeddings take twice as long. It
    pays where the student votes."""


_WORD = re.compile(r"[^\W_]+")


def hide(texts: Sequence[str], words: Collection[str], *, mask: str) -> list[str]:
    """The texts with every form of ``words`` (lemmas) replaced by ``mask``."""
    hidden: dict[str, str] = {}

    def replacement(match: re.Match[str]) -> str:
        word = match[0]
        if word not in hidden:
            forms = lemmas(word)
            hidden[word] = mask if forms and set(forms) <= set(words) else word
        return hidden[word]

    return [_WORD.sub(replacement, text) for text in texts]


def out_of_fold(
    views: Sequence[Floats],
    probabilities: NDArray[np.float64],
    groups: Sequence[int],
    *,
    sure: float,
    folds: int,
    c: float,
    most: int,
    seed: int,
) -> Floats:
    """What students say of each text, [N, K], each of which learned from the other folds; NaN where none could.

    Args:
        views: embeddings of the texts, each [N, W]: students learn from all of them, and predict on the first.
        probabilities: the labels so far, [N, K]; NaN rows are not learned from.
        groups: texts of one group are in one fold.
        sure: learn from labels from this probability on.
        folds: how many.
        c: inverse strength of the L2 penalty.
        most: learn from this many texts at most, drawn at random.
        seed: of the folds and of that draw.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(seed)
    _, index = np.unique(np.asarray(groups), return_inverse=True)
    fold = (rng.permutation(int(index.max()) + 1) % folds)[index]
    known = np.nan_to_num(probabilities)
    labels, learnable = known.argmax(axis=1), ~np.isnan(probabilities[:, 0]) & (known.max(axis=1) >= sure)
    result = np.full(probabilities.shape, np.nan, dtype=np.float32)
    for held in range(folds):
        rows = np.flatnonzero(learnable & (fold != held))
        if len(rows) > most:
            rows = np.sort(rng.choice(rows, most, replace=False))
        if len(set(labels[rows])) < 2 or not (fold == held).any():
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # stopped early is good enough
            fitted = LogisticRegression(C=c, max_iter=100).fit(
                np.concatenate([view[rows] for view in views]), np.tile(labels[rows], len(views))
            )
        scores = np.zeros((int((fold == held).sum()), probabilities.shape[1]), dtype=np.float32)
        scores[:, fitted.classes_] = fitted.predict_proba(views[0][fold == held])
        result[fold == held] = scores
    return result


def likely_wrong(labels: NDArray[np.int64], probabilities: Floats) -> NDArray[np.bool_]:
    """Which labels are likely wrong, [N].

    Confident learning (Northcutt et al. 2021, arXiv 1911.00068): the students take a text to be of a category if that
    one's probability is at least what it is on average where it is the label. A label is likely wrong where a text is
    taken to be of another category and the likeliest is not its own. The same labels as of cleanlab's
    ``find_label_issues(filter_by="confident_learning")``, but that nothing is held against a category that the students
    never learned: its probability is 0 whatever the text.

    Args:
        labels: the index of each text's category, [N]; -1 where it has none.
        probabilities: out of fold, [N, K]; NaN rows are never called wrong.
    """
    rows = np.flatnonzero((labels >= 0) & ~np.isnan(probabilities[:, 0]))
    scores, own_label = probabilities[rows].astype(np.float64), labels[rows]
    own = scores[np.arange(len(rows)), own_label]
    learned = own > 0
    thresholds = np.full(scores.shape[1], np.inf)
    for kind in set(own_label[learned].tolist()):
        thresholds[kind] = own[learned & (own_label == kind)].mean()
    others = scores >= thresholds - 1e-6
    others[np.arange(len(rows)), own_label] = False
    wrong = np.zeros(len(labels), dtype=bool)
    wrong[rows] = learned & others.any(axis=1) & (scores.argmax(axis=1) != own_label)
    return wrong
