"""Reconciling labellers without answers: better than each alone, and no surer than they agree."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsirius.labellers import vote

MIX = np.array([0.85, 0.12, 0.03])


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


def opinions(truth: np.ndarray, *, strength: float, seed: int, prior: np.ndarray | None) -> np.ndarray:
    """Probabilities of a labeller with independent noise; ``prior`` for one that knows the mix."""
    noise = np.random.default_rng(seed).normal(size=(len(truth), 3))
    logits = strength**2 * np.eye(3)[truth] + strength * noise  # the log likelihoods of a normal model, exact
    return softmax(logits + (np.log(prior) if prior is not None else 0))


def sharpened(probabilities: np.ndarray, times: float) -> np.ndarray:
    return softmax(times * np.log(probabilities))


@pytest.fixture
def truth() -> np.ndarray:
    return np.random.default_rng(0).choice(3, size=4000, p=MIX)


def accuracy(probabilities: np.ndarray, truth: np.ndarray) -> float:
    return float((probabilities.argmax(axis=1) == truth).mean())


def test_the_mix_is_found_and_helps_a_blind_labeller(truth: np.ndarray) -> None:
    blind = opinions(truth, strength=1.5, seed=1, prior=None)
    found = vote.reconcile({"blind": blind}, blind={"blind"}, taught=(), sure=0.9)
    assert np.abs(found.prior - MIX).max() < 0.03
    assert accuracy(found.probabilities, truth) > accuracy(blind, truth) + 0.05


def test_two_labellers_know_more_than_each(truth: np.ndarray) -> None:
    votes = {
        "blind": sharpened(opinions(truth, strength=1.5, seed=1, prior=None), 2),
        "seeing": opinions(truth, strength=1.5, seed=2, prior=MIX),
    }
    found = vote.reconcile(votes, blind={"blind"}, taught=(), sure=0.9)
    alone = [vote.reconcile({name: votes[name]}, blind={"blind"}, taught=(), sure=0.9).probabilities for name in votes]
    assert accuracy(found.probabilities, truth) > max(accuracy(one, truth) for one in alone)


def test_confidence_is_the_accuracy_of_one_where_errors_are_independent() -> None:
    truth = np.random.default_rng(0).integers(0, 3, 4000)
    votes = {name: opinions(truth, strength=1.5, seed=seed, prior=None) for name, seed in (("a", 1), ("b", 2))}
    found = vote.reconcile(votes, blind=votes.keys(), taught=(), sure=0.9)
    assert found.agreement is not None and found.agreement < 0.8
    each = np.mean([accuracy(one, truth) for one in votes.values()])
    assert found.probabilities.max(axis=1).mean() == pytest.approx(each, abs=0.03)
    assert accuracy(found.probabilities, truth) > each + 0.05  # together they are better: the confidence is modest


def test_one_that_is_far_too_sure_is_softened(truth: np.ndarray) -> None:
    modest = opinions(truth, strength=1.2, seed=1, prior=None)
    loud = sharpened(modest, 4)
    other = opinions(truth, strength=3, seed=2, prior=MIX)
    found = vote.reconcile({"loud": loud, "other": other}, blind={"loud"}, taught=(), sure=0.9)
    assert found.temperatures["loud"] >= 2.8 and found.temperatures["other"] == 1


def test_where_nobody_speaks_nothing_is_said(truth: np.ndarray) -> None:
    one, other = (opinions(truth, strength=2, seed=seed, prior=MIX) for seed in (1, 2))
    one[:100], other[:50] = np.nan, np.nan
    found = vote.reconcile({"one": one, "other": other}, blind=(), taught=(), sure=0.9)
    assert np.isnan(found.probabilities[:50]).all() and not np.isnan(found.probabilities[50:]).any()
    assert (found.probabilities[50:100].argmax(axis=1) == other[50:100].argmax(axis=1)).all()


@settings(deadline=None)
@given(st.data())
def test_whatever_they_say_the_rows_are_probabilities(data: st.DataObject) -> None:
    rows, kinds = data.draw(st.integers(1, 80)), data.draw(st.integers(2, 5))
    votes = {}
    for name in ("a", "b"):
        seed = data.draw(st.integers(0, 99))
        found = softmax(np.random.default_rng(seed).normal(size=(rows, kinds)) * data.draw(st.sampled_from([0, 1, 99])))
        found[np.random.default_rng(seed).random(rows) < data.draw(st.sampled_from([0, 0.5, 1]))] = np.nan
        votes[name] = found
    together = vote.reconcile(votes, blind={"a"}, taught=(), sure=0.9)
    spoke = ~np.isnan(votes["a"][:, 0]) | ~np.isnan(votes["b"][:, 0])
    assert (np.isnan(together.probabilities[:, 0]) == ~spoke).all()
    np.testing.assert_allclose(together.probabilities[spoke].sum(axis=1), 1, rtol=1e-6)
    assert together.prior.sum() == pytest.approx(1) and (together.prior > 0).all()
