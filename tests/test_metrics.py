"""Metrics: the figures agree with scikit-learn's, and the interval with a bootstrap row by row."""

import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, precision_recall_fscore_support

from tsirius.metrics import _resamples, f1_intervals, score

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
    draws = [random.integers(0, 120, 120) for _ in range(800)]
    slow = [f1_score(truth[rows], predicted[rows], average="weighted", zero_division=0) for rows in draws]
    assert found.interval == pytest.approx(np.quantile(slow, [0.025, 0.975]), abs=0.02)
    assert found.interval[0] < found.weighted_f1 < found.interval[1]
    again = score(truth.tolist(), predicted.tolist(), names=NAMES, rounds=4000, seed=0)
    assert again == found
    assert json.loads(json.dumps(found.to_dict()))["majority"]["category"] == found.majority.category


def test_the_table_names_every_category_and_the_baseline() -> None:
    text = score(["обувь", "обувь", "посуда"], ["обувь", "посуда", "посуда"], names=NAMES, rounds=10, seed=0).table()
    assert all(name in text for name in NAMES)
    assert "always «обувь» scores 0.533" in text


@pytest.mark.parametrize(
    ("truth", "predicted", "message"),
    [([], [], "no rows"), (["обувь"], ["мебель"], "мебель"), (["обувь"], [], "zip")],
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
