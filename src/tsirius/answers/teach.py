"""What a few answers teach about all other reviews: their labels are corrected near what people said.

A multinomial Gaussian process (kernel logistic regression, Rasmussen and Williams 2006, chapter 3) whose mean is what
the labellers say: the logits of a review are the labellers' plus a sum over the answered ones of a kernel of both
embeddings times how far the labellers were off there. Without answers nothing changes; far from every answer little
does. Half of the kernel is the cosine itself, as of a linear model of the embeddings, which corrects what labellers get
wrong about a whole kind of reviews; half of it is peaked, and corrects the neighbours of a corrected review.

Whether that is better than the labellers alone is judged out of fold on the answers: where it is not, by more than a
standard error, nothing but the answered reviews changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LEAST = 1e-4
"""A probability below this counts as this, as in :mod:`tsirius.labellers.vote`."""
ROUNDS = 50
"""Of the optimiser at most: the last ones move no label."""
FOLDS = 5
FEWEST = 10
"""With fewer answers, of this many groups, only the answered reviews change: nothing could be judged."""
BATCH = 4096


@dataclass(frozen=True)
class Comparison:
    """The answered reviews, judged out of fold, without what the other answers teach and with it.

    Attributes:
        answers: how many.
        used: whether it teaches: no fewer are right with it, and the loss is lower by more than its standard error.
        right_without, right_with: the share whose label is the answer.
        loss_without, loss_with: the mean negative logarithm of the answer's probability.
    """

    answers: int
    used: bool
    right_without: float
    right_with: float
    loss_without: float
    loss_with: float

    def to_dict(self) -> dict[str, Any]:
        """The comparison as JSON takes it."""
        return {key: round(value, 4) if isinstance(value, float) else value for key, value in asdict(self).items()}


def teach(
    probabilities: Floats,
    embeddings: NDArray[np.float32],
    rows: NDArray[np.int64],
    answers: NDArray[np.int64],
    groups: NDArray[np.int64],
    *,
    strength: float,
    width: float,
    seed: int,
) -> tuple[Floats, Comparison | None]:
    """The probabilities of all texts after the answers on some, [N, K].

    Args:
        probabilities: what the labellers make of each text, [N, K]; rows of NaN where none speaks.
        embeddings: [N, W], each of length 1.
        rows: which texts were answered, [A], each once.
        answers: the index of each one's category, [A].
        groups: of the answered texts, [A]: one group is in one fold.
        strength: the standard deviation of the logits' correction before any answer.
        width: of the kernel's peaked half, exp((cosine - 1) / width).
        seed: of the folds.

    Returns:
        The probabilities, of the answered rows too as if they had not been answered where nothing is learned; and the
        comparison that decided it, None with too few answers.
    """
    plain = _logarithms(probabilities)
    if len(set(groups.tolist())) < FEWEST or not strength:
        return np.exp(plain), None
    offsets, known = plain[rows], embeddings[rows].astype(np.float64)
    kernel = _kernel(known, known, strength=strength, width=width)
    compared = _compare(kernel, offsets, answers, _folds(groups, seed=seed))
    if not compared.used:
        return np.exp(plain), compared
    coefficients = _fit(kernel, offsets, answers)
    result = np.empty_like(plain)
    for start in range(0, len(plain), BATCH):
        part = slice(start, start + BATCH)
        near = _kernel(embeddings[part].astype(np.float64), known, strength=strength, width=width)
        result[part] = np.exp(_normal(plain[part] + near @ coefficients))
    return result, compared


def _compare(kernel: Floats, offsets: Floats, answers: NDArray[np.int64], fold: NDArray[np.int64]) -> Comparison:
    taught = offsets.copy()
    for number in set(fold.tolist()):
        held, others = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
        coefficients = _fit(kernel[np.ix_(others, others)], offsets[others], answers[others])
        taught[held] = _normal(offsets[held] + kernel[np.ix_(held, others)] @ coefficients)
    each = np.arange(len(answers))
    right = [float((logs.argmax(axis=1) == answers).mean()) for logs in (offsets, taught)]
    losses = [-np.maximum(logs[each, answers], np.log(LEAST)) for logs in (offsets, taught)]
    gains = losses[0] - losses[1]
    error = float(gains.std(ddof=1)) / len(gains) ** 0.5
    used = float(gains.mean()) > error and right[1] >= right[0]
    return Comparison(len(answers), used, *right, *(float(loss.mean()) for loss in losses))


def _fit(kernel: Floats, offsets: Floats, answers: NDArray[np.int64]) -> Floats:
    """The coefficients of the answered texts, [A, K], most probable a posteriori."""
    from scipy.optimize import minimize

    count, kinds = offsets.shape
    target = np.eye(kinds)[answers]

    def objective(flat: Floats) -> tuple[float, Floats]:
        coefficients = flat.reshape(count, kinds)
        correction = kernel @ coefficients
        logs = _normal(offsets + correction)
        value = -float(logs[np.arange(count), answers].sum()) + float((coefficients * correction).sum()) / 2
        return value, (kernel @ (np.exp(logs) - target + coefficients)).ravel()

    found = minimize(objective, np.zeros(count * kinds), jac=True, method="L-BFGS-B", options={"maxiter": ROUNDS})
    result: Floats = found.x.reshape(count, kinds)
    return result


def _kernel(one: Floats, other: Floats, *, strength: float, width: float) -> Floats:
    cosine = one @ other.T
    result: Floats = strength**2 * (cosine + np.exp((cosine - 1) / width)) / 2
    return result


def _folds(groups: NDArray[np.int64], *, seed: int) -> NDArray[np.int64]:
    _, index = np.unique(groups, return_inverse=True)
    result: NDArray[np.int64] = (np.random.default_rng(seed).permutation(int(index.max()) + 1) % FOLDS)[index]
    return result


def _logarithms(probabilities: Floats) -> Floats:
    """Normal logarithms, [N, K]; where no labeller speaks, all categories are alike."""
    kinds = probabilities.shape[1]
    filled = np.where(np.isnan(probabilities[:, :1]), 1 / kinds, probabilities)
    return _normal(np.log(np.maximum(filled, LEAST)))


def _normal(logs: Floats) -> Floats:
    result: Floats = logs - np.logaddexp.reduce(logs, axis=1, keepdims=True)
    return result


def indices(labels: Sequence[str], names: Sequence[str]) -> NDArray[np.int64]:
    """The index of each label's category, [N]."""
    index = {name: number for number, name in enumerate(names)}
    return np.array([index[label] for label in labels], dtype=np.int64)
