"""The student: it generalises, never learns from the text that it is asked of, and finds labels that are wrong."""

import numpy as np
from cleanlab.filter import find_label_issues
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tsirius.labellers import student

ASKED = {"sure": 0.7, "folds": 5, "c": 10.0, "most": 10_000, "seed": 0}


def blobs(rows: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of length 1 in three clouds, and whose cloud each is of."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, rows)
    points = 2 * np.eye(8)[truth] + rng.normal(size=(rows, 8))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32), truth


def test_it_says_of_unsure_texts_what_sure_ones_have_in_common() -> None:
    points, truth = blobs(600, seed=0)
    labels = np.where(np.random.default_rng(1).random(600) < 0.5, 0.9, 0.4)[:, None] * np.eye(3)[truth]
    found = student.out_of_fold([points], labels, list(range(600)), **ASKED)
    assert (found.argmax(axis=1) == truth).mean() > 0.85
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)


def test_a_group_is_never_learned_from_where_it_is_asked() -> None:
    # Each text is a direction of its own, shared by its group alone: known only to who has seen the group.
    groups = np.repeat(np.arange(40), 3)
    points = np.eye(40, dtype=np.float32)[groups]
    labels = np.eye(2)[groups % 2]
    found = student.out_of_fold([points], labels, groups.tolist(), **ASKED)
    assert found[np.arange(120), groups % 2].max() < 0.7
    leaking = student.out_of_fold([points], labels, list(range(120)), **ASKED)
    assert leaking[np.arange(120), groups % 2].mean() > 0.8


def test_where_nothing_can_be_learned_nothing_is_said() -> None:
    points, truth = blobs(30, seed=0)
    one = np.eye(3)[np.zeros_like(truth)]
    assert np.isnan(student.out_of_fold([points], one, list(range(30)), **ASKED)).all()
    assert np.isnan(student.out_of_fold([points], np.full((30, 3), np.nan), list(range(30)), **ASKED)).all()
    assert np.isnan(student.out_of_fold([points[:1]], np.eye(3)[:1], [7], **ASKED)).all()


def test_texts_without_a_label_are_not_learned_from_however_unsure_a_label_may_be() -> None:
    points, truth = blobs(300, seed=0)
    labels = np.eye(3)[truth]
    labels[truth == 0] = np.nan
    found = student.out_of_fold([points], labels, list(range(300)), **{**ASKED, "sure": 0.0})
    assert (found[:, 0] == 0).all() and (found[truth > 0].argmax(axis=1) == truth[truth > 0]).mean() > 0.85


def test_words_are_hidden_in_every_form() -> None:
    assert student.hide(["Куртки, КУРТКА и куртка-пальто!"], {"куртка"}, mask="<mask>") == [
        "<mask>, <mask> и <mask>-пальто!"
    ]
    assert student.hide(["ничего такого", ""], {"куртка"}, mask="<mask>") == ["ничего такого", ""]


def noisy(rows: int, kinds: int, seed: int, *, favour: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Labels, of which some are wrong, and opinions; with ``favour`` some categories are likelier whatever the text."""
    rng = np.random.default_rng(seed)
    truth = np.concatenate([np.repeat(np.arange(kinds), 6), rng.integers(0, kinds, rows)])
    logits = 2 * np.eye(kinds)[truth] + rng.normal(size=(len(truth), kinds)) + favour * rng.normal(size=kinds)
    powers = np.exp(logits)
    labels = np.where(rng.random(len(truth)) < 0.2, rng.integers(0, kinds, len(truth)), truth)
    labels[: 6 * kinds] = truth[: 6 * kinds]
    return labels, (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


@settings(deadline=None, max_examples=60)
@given(st.integers(20, 200), st.integers(2, 8), st.integers(0, 1000), st.sampled_from([0.0, 1.0, 2.0]))
@example(rows=184, kinds=6, seed=4, favour=2.0)
def test_the_same_labels_are_likely_wrong_as_by_cleanlab(rows: int, kinds: int, seed: int, favour: float) -> None:
    labels, probabilities = noisy(rows, kinds, seed, favour=favour)
    theirs = find_label_issues(
        labels, probabilities, filter_by="confident_learning", min_examples_per_class=0, n_jobs=1
    )
    np.testing.assert_array_equal(student.likely_wrong(labels, probabilities), theirs)


def test_a_category_that_was_never_learned_makes_no_label_wrong() -> None:
    labels, probabilities = noisy(200, 3, 0)
    plain = student.likely_wrong(labels, probabilities)
    more = np.concatenate([probabilities, np.zeros((len(labels), 1), dtype=np.float32)], axis=1)
    np.testing.assert_array_equal(student.likely_wrong(labels, more), plain)
    rare = np.flatnonzero(plain)[:3]
    labels[rare] = 3  # its few texts are none that a student learned from
    wrong = student.likely_wrong(labels, more)
    assert not wrong[rare].any()
    labels[rare] = -1
    np.testing.assert_array_equal(student.likely_wrong(labels, more), wrong)


def test_a_label_that_only_some_students_learned_is_judged_by_those() -> None:
    labels, probabilities = noisy(200, 3, 0)
    deaf = np.flatnonzero(labels == 2)[::2]  # asked of students without a text of the category
    some = probabilities.copy()
    some[deaf, 2] = 0
    some /= some.sum(axis=1, keepdims=True)
    wrong = student.likely_wrong(labels, some)
    assert not wrong[deaf].any()
    threshold = some[(labels == 2) & (some[:, 2] > 0), 2].mean()
    taken = (labels != 2) & (some[:, 2] >= threshold) & (some.argmax(axis=1) == 2)
    assert taken.any() and wrong[taken].all()


def test_texts_without_a_label_or_an_opinion_are_never_wrong() -> None:
    labels, probabilities = noisy(200, 3, 0)
    labels[::2], probabilities[::3] = -1, np.nan
    wrong = student.likely_wrong(labels, probabilities)
    assert wrong.any() and not wrong[::2].any() and not wrong[::3].any()
    assert not student.likely_wrong(np.full(5, -1), probabilities[:5]).any()
