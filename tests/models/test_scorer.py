"""Scores are averaged over models, and shifted from one mix of categories to another."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsirius.models import scorer
from tsirius.models.scorer import prior_shift

COUNTS = st.lists(st.integers(0, 500), min_size=2, max_size=9)


class Constant:
    def __init__(self, *scores: float) -> None:
        self.scores = scores

    def logits(self, texts: list[str]) -> np.ndarray:
        return np.array([self.scores] * len(texts), dtype=np.float32).reshape(len(texts), len(self.scores))


def test_scores_are_averaged() -> None:
    mean = scorer.Mean([Constant(1, 0, 0), Constant(0, 6, -3)])
    assert mean.logits(["а", "б"]).tolist() == [[0.5, 3, -1.5]] * 2
    assert mean.logits([]).shape == (0, 3)


@given(COUNTS)
def test_an_unchanged_mix_is_not_shifted(counts: list[int]) -> None:
    assert prior_shift(counts, counts) == pytest.approx([0.0] * len(counts))


@given(COUNTS, st.data())
def test_the_shift_undoes_the_change_of_the_mix(natural: list[int], data: st.DataObject) -> None:
    training = data.draw(st.lists(st.integers(0, 500), min_size=len(natural), max_size=len(natural)))
    prior = np.array(training) + 1
    moved = prior / prior.sum() * np.exp(prior_shift(natural, training))
    assert np.allclose(moved, (np.array(natural) + 1) / (sum(natural) + len(natural)))
