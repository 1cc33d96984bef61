"""Reconciling labellers without answers: better than each alone, and no surer than they agree."""

import warnings

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
    assert np.abs(found.prior - MIX).max() < np.abs(blind.mean(axis=0) - MIX).max() / 3
    assert accuracy(found.probabilities, truth) > accuracy(blind, truth) + 0.05


def test_an_even_pile_does_not_grow_what_a_labeller_likes_too_well() -> None:
    truth = np.random.default_rng(5).integers(0, 6, size=300)
    noise = np.random.default_rng(6).normal(size=(300, 6))
    partial = softmax(1.5 * np.eye(6)[truth] + noise + np.log([2, 1, 1, 1, 1, 1]))
    found = vote.reconcile({"partial": partial}, blind={"partial"}, taught=(), sure=0.9)
    runaway = vote._mix({"partial": vote._log(partial)}, {"partial"}, pull=0.0)
    assert accuracy(found.probabilities, truth) > accuracy(partial * runaway, truth)
    assert 1 / 6 < found.prior[0] < runaway[0] - 0.1


@given(st.lists(st.floats(0.01, 1), min_size=2, max_size=9), st.floats(0, 5))
def test_equal_shares_pull_by_their_weight(likes: list[float], pull: float) -> None:
    one = np.array([likes]) / sum(likes)
    mix = vote._mix({"one": vote._log(np.repeat(one, 500, axis=0))}, {"one"}, pull=pull)
    pooled = normal(np.maximum(one, vote.LEAST) * mix)[0] * 500
    expected = ((pooled + 0.5) / (500 + 0.5 * len(likes)) + pull / len(likes)) / (1 + pull)
    if pull > 1:  # below, thirty rounds may not be enough for the last digits
        np.testing.assert_allclose(mix, expected, rtol=1e-3)
    assert mix.sum() == pytest.approx(1) and (mix > 0).all()


def test_unevenness_is_what_lacks_to_the_greatest_entropy() -> None:
    assert vote._unevenness(np.full(7, 1 / 7)) == pytest.approx(0)
    assert vote._unevenness(np.array([0.5, 0.5, 1e-12, 1e-12])) == pytest.approx(0.5)
    assert vote._unevenness(np.array([1, 1e-15])) == pytest.approx(1)


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


def drawn(rows: int, kinds: int, seed: int) -> np.ndarray:
    """Any probabilities."""
    return softmax(2 * np.random.default_rng(seed).normal(size=(rows, kinds)))


def normal(values: np.ndarray) -> np.ndarray:
    return values / values.sum(axis=1, keepdims=True)


def test_one_that_knows_the_mix_is_taken_at_its_word() -> None:
    only = drawn(70, 4, 0)
    found = vote.reconcile({"only": only}, blind={"absent"}, taught=(), sure=0.9)
    np.testing.assert_allclose(found.probabilities, only, rtol=1e-5)
    np.testing.assert_allclose(found.prior, (only.sum(axis=0) + 0.5) / 72, rtol=1e-5)
    assert (found.temperatures, found.agreement, found.power) == ({"only": 1.0}, None, 1.0)


def test_those_that_speak_are_pooled_by_the_geometric_mean() -> None:
    a, b, c = (drawn(6, 3, seed) for seed in range(3))
    a[0], b[[0, 1]], c[[0, 1, 2]] = np.nan, np.nan, np.nan
    found = vote.reconcile({"a": a, "b": b, "c": c}, blind=(), taught=(), sure=0.9).probabilities
    assert np.isnan(found[0]).all()
    np.testing.assert_allclose(found[1], a[1], rtol=1e-5)
    np.testing.assert_allclose(found[2:3], normal((a * b)[2:3] ** 0.5), rtol=1e-5)
    np.testing.assert_allclose(found[3:], normal((a * b * c)[3:] ** (1 / 3)), rtol=1e-5)


def test_no_single_labeller_rules_a_category_out() -> None:
    sure, other = np.array([[1, 0, 0]], dtype=np.float32), np.array([[0.2, 0.6, 0.2]], dtype=np.float32)
    found = vote.reconcile({"sure": sure, "other": other}, blind=(), taught=(), sure=0.9).probabilities
    floor = normal(np.array([[1, 1e-4, 1e-4]]))
    np.testing.assert_allclose(found, normal((floor * other) ** 0.5), rtol=1e-5)


def test_the_mix_is_the_share_that_it_gives_with_half_a_row_for_each_category() -> None:
    blind, other = drawn(40, 3, 4), drawn(40, 3, 5)
    blind[:7] = np.nan
    found = vote.reconcile({"blind": blind, "other": other}, blind={"blind"}, taught=(), sure=0.9)
    logs = {name: vote._log(votes) for name, votes in (("blind", blind), ("other", other))}
    pull = vote.EVEN * (1 - vote._unevenness(vote._mix(logs, {"blind"}, pull=0.0))) ** vote.BEND
    weights = vote._mix(logs, {"blind"}, pull=pull)
    pooled = np.where(np.isnan(blind), other, normal((normal(blind * weights) * other) ** 0.5))
    np.testing.assert_allclose(found.probabilities, pooled, rtol=1e-4)
    np.testing.assert_allclose(found.prior, (pooled.sum(axis=0) + 0.5) / 41.5, rtol=1e-3)


@pytest.mark.parametrize("times", [0.7, 1.0, 1.4, 2.0, 2.8])
def test_the_temperature_undoes_what_made_a_labeller_too_sure(truth: np.ndarray, times: float) -> None:
    votes = {
        "loud": sharpened(opinions(truth, strength=0.9, seed=1, prior=None), times),  # it hardly sees past the mix
        "other": np.eye(3, dtype=np.float32)[truth],
    }
    votes["loud"][:200], votes["other"][100:300] = np.nan, np.nan
    found = vote.reconcile(votes, blind={"loud", "absent"}, taught=(), sure=0.9)
    assert found.temperatures == {"loud": times, "other": 1.0}


def test_the_temperature_follows_sure_labels_of_untaught_others_and_enough_of_them(truth: np.ndarray) -> None:
    loud = sharpened(opinions(truth, strength=1.2, seed=1, prior=None), 2.8)
    right, wrong = (np.eye(3)[labels] for labels in (truth, (truth + 1) % 3))

    def temperature(other: np.ndarray, rows: int = 4000, **more: np.ndarray) -> float:
        votes = {"loud": loud[:rows], "other": other[:rows].astype(np.float32), **more}
        return vote.reconcile(votes, blind={"loud"}, taught=more.keys(), sure=0.75).temperatures["loud"]

    at_sure, below = (0.75001 * right + 0.124995 * (1 - right), 0.74 * right + 0.13 * (1 - right))
    assert temperature(at_sure) == 2.8 and temperature(below) == 1
    half = np.arange(4000)[:, None] % 2 == 0
    assert temperature(np.where(half, right, 0.74 * wrong + 0.13 * (1 - wrong))) == 2.8, "unsure rows do not count"
    assert temperature(right, taught=wrong.astype(np.float32)) == 2.8
    assert temperature(right, rows=49) == 1 and temperature(right, rows=50) > 1


def test_agreement_is_the_share_of_rows_on_which_several_give_one_label() -> None:
    labels = np.array([[0, 0, 0], [1, 1, 2], [2, -1, 2], [1, 0, -1], [0, -1, -1], [-1, -1, -1]] * 13)[:74]

    def agreement(rows: int, taught: tuple[str, ...] = ()) -> float | None:
        shares = {name: normal(np.eye(3)[column] + 0.1) for name, column in zip("abc", labels[:rows].T, strict=True)}
        votes = {name: np.where(labels[:rows, [k]] < 0, np.nan, vote_).astype(np.float32)
                 for k, (name, vote_) in enumerate(shares.items())}  # fmt: skip
        return vote.reconcile(votes, blind=(), taught=taught, sure=0.9).agreement

    several = 50  # of 74 rows, two in six have one label or none
    assert agreement(74) == pytest.approx(25 / several)
    assert agreement(73) is None
    assert agreement(74, taught=("c",)) is None


def test_what_was_taught_changes_nothing_but_the_pool(truth: np.ndarray) -> None:
    votes = {
        "blind": sharpened(opinions(truth, strength=1.5, seed=1, prior=None), 2),
        "seeing": opinions(truth, strength=1.5, seed=2, prior=MIX),
    }
    student = {"student": opinions((truth + 1) % 3, strength=3, seed=3, prior=None)}
    alone = vote.reconcile(votes, blind={"blind"}, taught=(), sure=0.9)
    found = vote.reconcile({**votes, **student}, blind={"blind", "student"}, taught={"student"}, sure=0.9)
    assert (found.prior == alone.prior).all() and found.agreement == alone.agreement
    assert found.temperatures["blind"] == alone.temperatures["blind"]
    assert accuracy(found.probabilities, truth) < accuracy(alone.probabilities, truth)
    only = vote.reconcile(student, blind={"student"}, taught={"student"}, sure=0.9)
    assert only.prior.sum() == pytest.approx(1) and only.temperatures == {"student": 1.0}


@pytest.mark.parametrize("second", [0, 1, 2], ids=["the same", "another", "a third"])
def test_the_confidence_comes_nearest_the_root_of_the_agreement(second: int) -> None:
    truth = np.random.default_rng(0).integers(0, 3, 300)
    votes = {
        name: opinions(truth, strength=strength, seed=seed, prior=None)
        for name, seed, strength in (("a", 0, 1.2), ("b", second, 1.2))
    }
    votes["a"][:5], votes["b"][:5] = np.nan, np.nan
    found = vote.reconcile(votes, blind=(), taught=(), sure=0.9)
    assert found.agreement is not None and found.power in vote.POWERS
    spoke = found.probabilities[5:]
    distance = {
        power: abs(normal(spoke ** (power / found.power)).max(axis=1).mean() - found.agreement**0.5)
        for power in vote.POWERS
    }
    assert distance[found.power] == pytest.approx(min(distance.values()), abs=1e-6)
    assert (found.power == 4.0) == (second == 0)


def test_where_all_abstain_there_is_no_confidence_to_fit() -> None:
    votes = {name: np.full((60, 3), np.nan, dtype=np.float32) for name in ("a", "b")}
    found = vote.reconcile(votes, blind={"a"}, taught=(), sure=0.9)
    assert found.power == 1 and found.agreement is None and found.prior == pytest.approx([1 / 3] * 3)


@pytest.mark.parametrize("strength", [0.6, 0.9])
@pytest.mark.parametrize("times", [1.4, 2.0, 2.8])
def test_the_mix_of_a_weak_labeller_is_estimated_before_it_is_softened(times: float, strength: float) -> None:
    """By the mean of its probabilities, which a weak one draws to the middle, it would be softened too little."""
    truth = np.random.default_rng(0).choice(3, size=1500, p=MIX)
    votes = {
        "weak": sharpened(opinions(truth, strength=strength, seed=1, prior=None), times),
        "other": opinions(truth, strength=3, seed=2, prior=MIX),
    }
    assert vote.reconcile(votes, blind={"weak"}, taught=(), sure=0.9).temperatures["weak"] == times


def test_rows_on_which_nobody_speaks_raise_no_warning() -> None:
    votes = {name: drawn(120, 3, seed) for seed, name in enumerate(("a", "b"))}
    for some in votes.values():
        some[:9] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = vote.reconcile(votes, blind={"a"}, taught=(), sure=0.9)
    assert np.isnan(found.probabilities[:9]).all() and not np.isnan(found.probabilities[9:]).any()
