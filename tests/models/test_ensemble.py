"""Ensembles: folds that no group crosses, and scores that are averaged."""

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tsirius.models import ensemble

ROWS = st.lists(st.tuples(st.integers(0, 25), st.sampled_from("абвгд")), min_size=1, max_size=120)


@settings(max_examples=200, deadline=None)
@given(ROWS, st.integers(2, 7), st.integers(0, 5))
def test_no_fold_leaves_a_label_out_of_training(rows: list[tuple[int, str]], folds: int, seed: int) -> None:
    groups, labels = zip(*rows, strict=True)
    place = ensemble.assign(groups, labels, folds=folds, seed=seed)
    assert place.keys() == set(groups), "a group has one fold: none crosses"
    assert set(place.values()) <= {*range(folds), ensemble.ALWAYS}
    for fold in range(folds):
        learned = {label for group, label in rows if place[group] != fold}
        assert learned == set(labels)
    assert place == ensemble.assign(groups, labels, folds=folds, seed=seed)


def test_folds_have_like_shares_of_each_label() -> None:
    labels = ["частая"] * 500 + ["редкая"] * 25 + ["две"] * 2 + ["одна"]
    place = ensemble.assign(range(len(labels)), labels, folds=5, seed=0)
    found = Counter((place[row], label) for row, label in enumerate(labels))
    assert all(found[fold, "частая"] == 100 and found[fold, "редкая"] == 5 for fold in range(5))
    assert found[ensemble.ALWAYS, "одна"] == 1
    assert sum(found[fold, "две"] for fold in range(5)) == 2
    assert place != ensemble.assign(range(len(labels)), labels, folds=5, seed=1)


class Constant:
    def __init__(self, *scores: float) -> None:
        self.scores = scores

    def logits(self, texts: list[str]) -> np.ndarray:
        return np.array([self.scores] * len(texts), dtype=np.float32).reshape(len(texts), len(self.scores))


def test_scores_are_averaged() -> None:
    mean = ensemble.Mean([Constant(1, 0, 0), Constant(0, 6, -3)])
    assert mean.logits(["а", "б"]).tolist() == [[0.5, 3, -1.5]] * 2
    assert mean.logits([]).shape == (0, 3)
