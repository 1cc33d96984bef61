"""The loss against its formula, written out in double precision."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tsirius.models import loss


def textbook(
    logits: np.ndarray, targets: np.ndarray, weights: np.ndarray, smoothing: float, adjustment: np.ndarray
) -> float:
    total = 0.0
    for scores, shares, weight in zip(logits + adjustment, targets, weights, strict=True):
        normaliser = np.log(np.sum(np.exp(scores - scores.max()))) + scores.max()
        for score, share in zip(scores, shares, strict=True):
            total -= weight * ((1 - smoothing) * share + smoothing / len(scores)) * (score - normaliser)
    return total


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(2, 9), st.floats(0, 0.9), st.booleans(), st.booleans(), st.integers(0, 10**6))
def test_it_is_the_textbooks(
    rows: int, categories: int, smoothing: float, soft: bool, adjusted: bool, seed: int
) -> None:
    random = np.random.default_rng(seed)
    logits = random.normal(size=(rows, categories)).astype(np.float32) * 4
    labels = random.integers(categories, size=rows)
    targets = loss.targets(labels.tolist(), categories=categories)
    if soft:
        targets = random.dirichlet(np.ones(categories), size=rows).astype(np.float32)
    weights = random.random(rows).astype(np.float32)
    adjustment = random.normal(size=categories).astype(np.float32) if adjusted else None
    found = loss.total(
        torch.from_numpy(logits), torch.from_numpy(targets), torch.from_numpy(weights), smoothing=smoothing,
        adjustment=None if adjustment is None else torch.from_numpy(adjustment),
    )  # fmt: skip
    expected = textbook(
        logits.astype(np.float64), targets, weights, smoothing, np.zeros(1) if adjustment is None else adjustment
    )
    assert float(found) / rows == pytest.approx(expected / rows, rel=1e-6, abs=1e-6)


def test_sixteen_bit_logits_are_computed_in_thirty_two() -> None:
    logits = torch.tensor([[9.0, -9.0]], dtype=torch.bfloat16)
    found = loss.total(logits, torch.tensor([[0.0, 1.0]]), torch.ones(1), smoothing=0.0, adjustment=None)
    assert found.dtype == torch.float32 and float(found) == pytest.approx(18.0, abs=1e-6)


@given(st.lists(st.integers(0, 500), min_size=1, max_size=9).filter(any))
def test_weighted_categories_count_the_same(counts: list[int]) -> None:
    mass = np.array(counts, dtype=np.float64)
    weights = loss.category_weights(mass)
    weighed = (mass * weights)[mass > 0]
    assert np.allclose(weighed, weighed[0])
    assert weighed.sum() == pytest.approx(mass.sum())


def test_masses_and_the_adjustment() -> None:
    assert loss.masses([0, 2, 2], None, categories=4).tolist() == [1, 0, 2, 0]
    assert loss.masses([0, 2, 2], [0.5, 1.0, 0.25], categories=3).tolist() == [0.5, 0, 1.25]
    adjustment = loss.logit_adjustment(np.array([97.0, 0.0, 0.0]))
    assert np.exp(adjustment) == pytest.approx([0.98, 0.01, 0.01])


def test_adjusted_logits_learn_to_favour_no_category() -> None:
    """Nine rows of one category to one of the other, that nothing tells apart: the best logits are equal."""
    targets = torch.from_numpy(loss.targets([0] * 9 + [1], categories=2))
    adjustment = torch.log(torch.tensor([0.9, 0.1]))
    scores = torch.zeros(2, requires_grad=True)
    loss.total(scores.expand(10, 2), targets, torch.ones(10), smoothing=0.0, adjustment=adjustment).backward()
    assert scores.grad is not None and torch.allclose(scores.grad, torch.zeros(2), atol=1e-6)
