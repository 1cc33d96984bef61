"""Scores: weighted F1 with its interval, beside what always answering one category would reach."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Counts = NDArray[np.int64]

CHUNK = 4_000_000
"""Cells of resampled confusion matrices that are in memory at a time: 32 MB."""


@dataclass(frozen=True)
class CategoryScore:
    """One category: ``precision``, ``recall`` and ``f1`` are 0 where they are undefined; ``support`` is in rows."""

    category: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Majority:
    """What always answering the commonest category would score on the same rows."""

    category: str
    weighted_f1: float


@dataclass(frozen=True)
class Score:
    """How well predictions match answers.

    Attributes:
        rows: how many were compared.
        weighted_f1: the categories' F1, weighted by their rows.
        interval: of ``weighted_f1``, 95 %, see :func:`score`.
        accuracy: the share of rows that match.
        majority: the baseline to read ``weighted_f1`` beside.
        categories: one entry a category, in the order of ``names``.
        confusion: rows are the answers, columns the predictions, both in the order of ``names``.
        names: the categories.
    """

    rows: int
    weighted_f1: float
    interval: tuple[float, float]
    accuracy: float
    majority: Majority
    categories: tuple[CategoryScore, ...]
    confusion: tuple[tuple[int, ...], ...]
    names: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The score as JSON takes it."""
        return asdict(self)

    def table(self, total: str = "weighted F1") -> str:
        """The per-category report as lines of text, ended by the weighted F1 and the majority baseline.

        Args:
            total: what the weighted F1 is called: against pseudo-labels it is agreement, and no score.
        """
        width = max(len(name) for name in (total, *self.names))
        lines = [f"{'':<{width}}  precision  recall     F1   rows"]
        lines += [
            f"{item.category:<{width}}  {item.precision:9.3f}  {item.recall:6.3f}  {item.f1:5.3f}  {item.support:5,}"
            for item in self.categories
        ]
        low, high = self.interval
        lines.append(f"{total:<{width}}  {'':9}  {'':6}  {self.weighted_f1:5.3f}  {self.rows:5,}")
        lines.append(f"95 % interval {low:.3f}-{high:.3f}; accuracy {self.accuracy:.3f}; {self.baseline()}")
        return "\n".join(lines)

    def baseline(self) -> str:
        """The majority baseline in words."""
        return f"always «{self.majority.category}» scores {self.majority.weighted_f1:.3f}"


def score(truth: Sequence[str], predicted: Sequence[str], *, names: Sequence[str], rounds: int, seed: int) -> Score:
    """Compare predictions with answers.

    The interval is Wilson's at the number of rows that the variance of the bootstrap over rows (Efron 1979) is worth,
    see :func:`tsirius.calibration.score_interval`. Resampling rows is the same as drawing the confusion matrix from a
    multinomial with the observed shares, which takes the same time for any number of rows.

    Args:
        truth: the answer of each row.
        predicted: the prediction of each row.
        names: all categories; a category without rows weighs nothing.
        rounds: resamples; 0 gives an interval of no width.
        seed: of the resampling.

    Raises:
        ValueError: no rows, lengths that differ, or a name that is not in ``names``.
    """
    import numpy as np

    if not truth:
        raise ValueError("no rows to score")
    confusion = confusion_matrix(truth, predicted, names=names)
    support, answered, hits = confusion.sum(axis=1), confusion.sum(axis=0), confusion.diagonal()
    rows, weighted = len(truth), float(weighted_f1(confusion))
    always = np.zeros_like(confusion)
    commonest = int(support.argmax())
    always[:, commonest] = support
    low, high = _interval(confusion, rounds=rounds, seed=seed) if rounds else (weighted, weighted)
    return Score(
        rows=rows,
        weighted_f1=weighted,
        interval=(low, high),
        accuracy=float(hits.sum() / rows),
        majority=Majority(names[commonest], float(weighted_f1(always))),
        categories=tuple(
            CategoryScore(
                category=name,
                precision=float(hits[k] / max(answered[k], 1)),
                recall=float(hits[k] / max(support[k], 1)),
                f1=float(2 * hits[k] / max(answered[k] + support[k], 1)),
                support=int(support[k]),
            )
            for k, name in enumerate(names)
        ),
        confusion=tuple(tuple(int(count) for count in row) for row in confusion),
        names=tuple(names),
    )


def confusion_matrix(truth: Sequence[str], predicted: Sequence[str], *, names: Sequence[str]) -> Counts:
    """How often each answer met each prediction, [K, K] in the order of ``names``: rows are the answers.

    Raises:
        ValueError: lengths that differ, or a name that is not in ``names``.
    """
    import numpy as np

    index = {name: k for k, name in enumerate(names)}
    size = len(index)
    try:
        cells = [index[answer] * size + index[given] for answer, given in zip(truth, predicted, strict=True)]
    except KeyError as error:
        raise ValueError(f"{error.args[0]!r} is none of the {size} categories") from None
    return np.bincount(np.array(cells, dtype=np.int64), minlength=size * size).reshape(size, size)


def weighted_f1(confusion: Counts) -> NDArray[np.float64]:
    """The weighted F1 of confusion matrices, [..., K, K] → [...]; an F1 that is undefined counts as 0."""
    import numpy as np

    return _weighted_f1(np.diagonal(confusion, axis1=-2, axis2=-1), confusion.sum(axis=-1), confusion.sum(axis=-2))


def weighted_f1_of_cells(counts: Counts, answer: Counts, prediction: Counts, *, size: int) -> NDArray[np.float64]:
    """The weighted F1 of confusion matrices of which only the cells that are not zero are given, [rounds].

    Args:
        counts: the rows in each cell, [rounds, cells].
        answer: the category of each cell's answer, as an index, [cells].
        prediction: that of its prediction, [cells].
        size: the number of categories.
    """
    return _weighted_f1(*_by_category(counts, answer, prediction, size=size))


def f1_intervals(confusion: Counts, *, rounds: int, seed: int) -> list[tuple[float, float]]:
    """The 95 % interval of each category's F1, made as in :func:`score`; 0 to 1 where no row is of it.

    An F1 is a share of a category's answers and predictions together; where all are right, or none is, they say no more
    than the rows that they are of.
    """
    import numpy as np

    from tsirius.calibration import score_interval

    table = np.asarray(confusion)
    hits, both = table.diagonal(), table.sum(axis=0) + table.sum(axis=1)
    drawn = np.concatenate(
        [2 * hit / np.maximum(support + answered, 1)
         for hit, support, answered in _resamples(table, rounds=rounds, seed=seed)]
    )  # fmt: skip
    variances = drawn.var(axis=0)
    each = zip(2 * hits / np.maximum(both, 1), variances, np.where(variances > 0, both, both - hits), strict=True)
    return [score_interval(float(value), float(variance), float(size)) for value, variance, size in each]


def _interval(confusion: Counts, *, rounds: int, seed: int) -> tuple[float, float]:
    import numpy as np

    from tsirius.calibration import score_interval

    drawn = [_weighted_f1(*sums) for sums in _resamples(confusion, rounds=rounds, seed=seed)]
    value, variance = float(weighted_f1(confusion)), float(np.concatenate(drawn).var())
    return score_interval(value, variance, float(confusion.sum()))


def _resamples(confusion: Counts, *, rounds: int, seed: int) -> Iterator[tuple[Counts, Counts, Counts]]:
    """Hits, support and predictions of each category in resampled confusion matrices: chunks of [rounds, K].

    Only the cells that are not zero are drawn: at most one for each row of data, while the matrix has K². The last cell
    is always among them, since numpy gives it the remainder; so the draws are those of the whole matrix.
    """
    import numpy as np

    size, cells = len(confusion), confusion.ravel()
    used = np.union1d(np.flatnonzero(cells), cells.size - 1)
    answer, prediction = np.divmod(used, size)
    total, shares = int(cells.sum()), cells[used] / max(1, cells.sum())
    random, chunk = np.random.default_rng(seed), max(1, CHUNK // used.size)
    for start in range(0, rounds, chunk):
        drawn = random.multinomial(total, shares, size=min(chunk, rounds - start))
        yield _by_category(drawn, answer, prediction, size=size)


def _by_category(counts: Counts, answer: Counts, prediction: Counts, *, size: int) -> tuple[Counts, Counts, Counts]:
    """Hits, support and predictions of each category, each [rounds, K], from cells as in `weighted_f1_of_cells`."""
    import numpy as np
    from scipy import sparse

    def sums(index: Counts, some: Counts) -> Counts:
        ones = np.ones(len(index), dtype=np.int64)
        by_category = sparse.csr_array((ones, (np.arange(len(index)), index)), shape=(len(index), size))
        return np.ascontiguousarray(some @ by_category)

    hit = answer == prediction
    return sums(answer[hit], counts[:, hit]), sums(answer, counts), sums(prediction, counts)


def _weighted_f1(hits: Counts, support: Counts, answered: Counts) -> NDArray[np.float64]:
    import numpy as np

    f1 = 2 * hits / np.maximum(support + answered, 1)
    total: NDArray[np.float64] = (f1 * support).sum(axis=-1) / np.maximum(support.sum(axis=-1), 1)
    return total
