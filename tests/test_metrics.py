"""Metrics: the figures agree with scikit-learn's, and the interval with a bootstrap row by row."""

import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, precision_recall_fscore_support

from tsirius import metrics
from tsirius.calibration import score_interval, wilson
from tsirius.metrics import _resamples, f1_intervals, score, weighted_f1, weighted_f1_of_cells
from tsirius.metrics import confusion_matrix as counts

NAMES = ["обувь", "посуда", "нет товара", "текстиль"]
PAIRS = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)), min_size=1, max_size=40)


@given(PAIRS)
def test_figures_are_scikit_learns(pairs: list[tuple[str, str]]) -> None:
    truth, predicted = [list(side) for side in zip(*pairs, strict=True)]
    found = score(truth, predicted, names=NAMES, rounds=0, seed=0)
    assert found.weighted_f1 == pytest.approx(
        f1_score(truth, predicted, average="weighted", labels=NAMES, zero_division=0)
    )
    assert found.accuracy == pytest.approx(accuracy_score(truth, predicted))
    assert np.array_equal(found.confusion, confusion_matrix(truth, predicted, labels=NAMES))
    each = precision_recall_fscore_support(truth, predicted, labels=NAMES, zero_division=0)
    assert np.allclose([[c.precision, c.recall, c.f1, c.support] for c in found.categories], np.transpose(each))
    always = [found.majority.category] * len(truth)
    assert found.majority.weighted_f1 == pytest.approx(f1_score(truth, always, average="weighted", zero_division=0))
    assert truth.count(found.majority.category) == max(truth.count(name) for name in NAMES)


def test_the_interval_is_the_row_bootstrap() -> None:
    random = np.random.default_rng(3)
    truth = random.choice(NAMES, 120)
    predicted = np.where(random.random(120) < 0.7, truth, random.choice(NAMES, 120))
    found = score(truth.tolist(), predicted.tolist(), names=NAMES, rounds=4000, seed=0)
    draws = random.integers(0, 120, (4000, 120))
    slow = np.zeros(4000)
    for name in NAMES:
        answers, predictions = (truth == name)[draws], (predicted == name)[draws]
        slow += (
            2 * (answers & predictions).sum(1) / np.maximum(answers.sum(1) + predictions.sum(1), 1) * answers.mean(1)
        )
    assert found.interval == pytest.approx(np.quantile(slow, [0.025, 0.975]), abs=0.02)
    assert found.interval[0] < found.weighted_f1 < found.interval[1]
    again = score(truth.tolist(), predicted.tolist(), names=NAMES, rounds=4000, seed=0)
    assert again == found
    assert json.loads(json.dumps(found.to_dict()))["majority"]["category"] == found.majority.category


def test_the_table_names_every_category_and_the_baseline() -> None:
    truth, predicted = ["обувь"] * 1500 + ["посуда"] * 500, ["обувь"] * 1000 + ["посуда"] * 1000
    assert score(truth, predicted, names=NAMES, rounds=0, seed=0).table() == (
        "             precision  recall     F1   rows\n"
        "обувь            1.000   0.667  0.800  1,500\n"
        "посуда           0.500   1.000  0.667    500\n"
        "нет товара       0.000   0.000  0.000      0\n"
        "текстиль         0.000   0.000  0.000      0\n"
        "weighted F1                     0.767  2,000\n"
        "95 % interval 0.767-0.767; accuracy 0.750; always «обувь» scores 0.643"
    )
    wide = score(["бытовая техника"], ["бытовая техника"], names=["бытовая техника"], rounds=10, seed=0).table()
    assert wide.splitlines()[1:3] == [
        "бытовая техника      1.000   1.000  1.000      1", "weighted F1                         1.000      1",
    ]  # fmt: skip


def test_a_score_is_plain_json() -> None:
    found = score(["а", "б", "б"], ["а", "а", "б"], names=["а", "б"], rounds=0, seed=0)
    assert found.to_dict() == {
        "rows": 3,
        "weighted_f1": pytest.approx(2 / 3),
        "interval": (found.weighted_f1, found.weighted_f1),
        "accuracy": pytest.approx(2 / 3),
        "majority": {"category": "б", "weighted_f1": pytest.approx(2 / 3 * 0.8)},
        "categories": (
            {"category": "а", "precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "support": 1},
            {"category": "б", "precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "support": 2},
        ),
        "confusion": ((1, 0), (1, 1)),
        "names": ("а", "б"),
    }


def test_the_memory_for_resampling_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    truth, predicted = ["обувь"] * 8 + ["посуда"] * 4, ["обувь"] * 6 + ["посуда"] * 6
    found = []
    for chunk in (metrics.CHUNK, 100, 1):
        monkeypatch.setattr(metrics, "CHUNK", chunk)
        found.append(score(truth, predicted, names=NAMES, rounds=50, seed=5).interval)
    assert found[0] == found[1] == found[2]
    assert found[0] != score(truth, predicted, names=NAMES, rounds=50, seed=6).interval


def test_weighted_f1_takes_matrices_in_any_stack() -> None:
    stack = np.random.default_rng(0).integers(0, 9, (2, 3, 4, 4))
    each = [[float(weighted_f1(matrix)) for matrix in row] for row in stack]
    assert np.allclose(weighted_f1(stack), each)
    assert weighted_f1(np.zeros((2, 3, 3), dtype=np.int64)).tolist() == [0, 0]


@given(
    st.integers(1, 5).flatmap(lambda size: st.lists(st.lists(st.integers(0, 9), min_size=size * size,
                                                             max_size=size * size), min_size=1, max_size=4))
)  # fmt: skip
def test_weighted_f1_of_some_cells_is_that_of_the_matrix(rows: list[list[int]]) -> None:
    counts = np.array(rows)
    size = round(counts.shape[1] ** 0.5)
    used = np.flatnonzero(counts.any(axis=0))[::-1]  # in any order
    found = weighted_f1_of_cells(counts[:, used], used // size, used % size, size=size)
    assert np.allclose(found, weighted_f1(counts.reshape(-1, size, size)))


def test_no_rows_have_an_empty_confusion_matrix() -> None:
    assert counts([], [], names=NAMES).tolist() == [[0] * 4] * 4


@pytest.mark.parametrize(
    ("truth", "predicted", "message"),
    [
        ([], [], "^no rows to score$"),
        (["обувь"], ["мебель"], "^'мебель' is none of the 4 categories$"),
        (["мебель"], ["обувь"], "^'мебель' is none of the 4 categories$"),
        (["обувь"], [], "zip"),
    ],
)
def test_what_cannot_be_scored(truth: list[str], predicted: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        score(truth, predicted, names=NAMES, rounds=0, seed=0)


def test_the_intervals_of_f1_hold_it_and_narrow_with_rows() -> None:
    few, many = np.array([[8, 2], [3, 7]]), np.array([[800, 200], [300, 700]])
    f1 = [2 * few[k, k] / (few[k].sum() + few[:, k].sum()) for k in range(2)]
    wide, narrow = (f1_intervals(counts, rounds=500, seed=0) for counts in (few, many))
    for value, (low, high), (lower, higher) in zip(f1, wide, narrow, strict=True):
        assert low < lower < value < higher < high
    assert f1_intervals(few, rounds=500, seed=0) == wide
    assert f1_intervals(few, rounds=500, seed=1) != wide


def test_the_intervals_of_a_thousand_categories_fit_into_little_memory() -> None:
    random = np.random.default_rng(0)
    confusion = np.zeros((1000, 1000), dtype=np.int64)
    np.add.at(confusion, (random.integers(0, 1000, 5000), random.integers(0, 1000, 5000)), 1)
    tracemalloc.start()
    try:
        found = f1_intervals(confusion, rounds=400, seed=0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found) == 1000 and all(0 <= low <= high <= 1 for low, high in found)
    assert peak < 120 * 2**20, "the matrices alone would be 3 GB"


@pytest.mark.parametrize("last", [0, 7])
def test_leaving_out_empty_cells_changes_no_draw(last: int) -> None:
    confusion = np.array([[30, 4, 0, 0], [2, 20, 0, 0], [0, 0, 0, 0], [5, 0, 0, last]])
    shares = confusion.ravel() / confusion.sum()
    drawn = np.random.default_rng(3).multinomial(confusion.sum(), shares, size=50).reshape(-1, 4, 4)
    [(hits, support, answered)] = _resamples(confusion, rounds=50, seed=3)
    assert (hits == np.diagonal(drawn, axis1=1, axis2=2)).all()
    assert (support == drawn.sum(axis=2)).all() and (answered == drawn.sum(axis=1)).all()


def test_intervals_of_f1_are_as_wide_as_the_row_bootstrap_makes_them() -> None:
    confusion = np.array([[30, 6, 0], [4, 9, 1], [0, 0, 0]])
    cells = np.repeat(np.arange(9), confusion.ravel())
    drawn = np.random.default_rng(1).choice(cells, (4000, len(cells)))
    for k, found in enumerate(f1_intervals(confusion, rounds=4000, seed=0)):
        answers, predictions = drawn // 3 == k, drawn % 3 == k
        f1 = 2 * (answers & predictions).sum(1) / np.maximum(answers.sum(1) + predictions.sum(1), 1)
        both = confusion[k].sum() + confusion[:, k].sum()
        value = 2 * confusion[k, k] / max(both, 1)
        assert found == pytest.approx(
            score_interval(value, f1.var(), both if f1.var() else both - confusion[k, k]), abs=0.01
        )


def test_intervals_of_one_row_and_of_none() -> None:
    assert f1_intervals(np.array([[1, 0], [0, 0]]), rounds=20, seed=0) == [wilson(1.0, 1), (0.0, 1.0)]
    assert f1_intervals(np.zeros((2, 2), dtype=np.int64), rounds=20, seed=0) == [(0.0, 1.0), (0.0, 1.0)]


def test_all_right_of_a_few_rows_is_not_certain() -> None:
    low, high = score(["обувь", "посуда"] * 20, ["обувь", "посуда"] * 20, names=NAMES, rounds=200, seed=0).interval
    assert (low, high) == wilson(1.0, 40) and low < 0.93


def test_each_round_is_drawn_once_however_little_memory_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    confusion = np.array([[5, 1], [0, 3]])
    whole = [np.concatenate(side) for side in zip(*_resamples(confusion, rounds=20, seed=0), strict=True)]
    for cells in (3, 6, 21, 30, 60):
        monkeypatch.setattr(metrics, "CHUNK", cells)
        chunks = list(_resamples(confusion, rounds=20, seed=0))
        assert all(len(hits) <= cells // 3 for hits, _, _ in chunks)
        for side, expected in zip(zip(*chunks, strict=True), whole, strict=True):
            assert np.array_equal(np.concatenate(side), expected) and expected.shape == (20, 2)
            assert {one.dtype.kind for one in side} == {"i"}, "counts"
