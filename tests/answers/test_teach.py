"""What answers teach: nothing without them, their neighbours with them, and nothing where they prove wrong."""

import numpy as np
import pytest

from tsirius.answers import teach

ROWS = 80
SETTINGS = {"strength": 2.0, "width": 0.3, "seed": 0}


def clouds(kinds: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors around ``kinds`` axes in turn, [N, 6], and which axis, [N]."""
    kind = np.arange(ROWS) % kinds
    vectors = np.eye(6)[kind] + np.random.default_rng(0).normal(0, 0.15, (ROWS, 6))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), kind


def even(*shares: float) -> np.ndarray:
    return np.tile(np.array(shares), (ROWS, 1))


def groups(rows: np.ndarray) -> np.ndarray:
    return np.arange(len(rows))


@pytest.mark.parametrize("count", [pytest.param(0, id="none"), pytest.param(9, id="nine")])
def test_too_few_answers_leave_the_labellers_as_they_are(count: int) -> None:
    vectors, kind = clouds(2)
    rows = np.arange(count)
    taught, compared = teach.teach(even(0.7, 0.3), vectors, rows, kind[rows], groups(rows), **SETTINGS)
    assert compared is None and taught == pytest.approx(even(0.7, 0.3))


def test_ten_answers_on_one_group_are_too_few() -> None:
    vectors, kind = clouds(2)
    rows = np.arange(20)
    _, compared = teach.teach(even(0.7, 0.3), vectors, rows, kind[rows], np.zeros(20, dtype=int), **SETTINGS)
    assert compared is None


def test_what_answers_say_of_a_cloud_holds_for_all_of_it() -> None:
    vectors, kind = clouds(2)
    rows = np.arange(30)
    taught, compared = teach.teach(even(0.7, 0.3), vectors, rows, kind[rows], groups(rows), **SETTINGS)
    assert compared is not None and compared.used and compared.answers == 30
    assert compared.right_without == 0.5 and compared.right_with == 1.0
    assert compared.loss_with < compared.loss_without
    assert (taught[30:].argmax(axis=1) == kind[30:]).all() and taught.sum(axis=1) == pytest.approx(1)


def test_far_from_every_answer_little_changes() -> None:
    vectors, kind = clouds(3)
    rows = np.flatnonzero(kind < 2)[:30]
    said = np.where(kind[rows] == 0, 0, 1)
    taught, compared = teach.teach(even(0.6, 0.25, 0.15), vectors, rows, said, groups(rows), **SETTINGS)
    assert compared is not None and compared.used
    near, far = (np.abs(taught - even(0.6, 0.25, 0.15)).max(axis=1)[kind == one].mean() for one in (1, 2))
    assert near > 0.4 and far < 0.15


def test_a_texts_peak_reaches_its_neighbours_and_the_cosine_the_whole_kind() -> None:
    one = np.array([[1.0, 0.0]])
    cosines = np.array([1.0, 0.9, 0.5, 0.0])
    others = np.stack([cosines, np.sqrt(1 - cosines**2)], axis=1)
    kernel = teach._kernel(one, others, strength=2.0, width=0.1)[0]
    assert kernel == pytest.approx(2 * (cosines + np.exp((cosines - 1) / 0.1)))
    assert kernel[0] == pytest.approx(4.0), "the variance of the correction where an answer is"


def test_the_kernel_is_that_of_a_gaussian_process() -> None:
    vectors = clouds(3)[0].astype(np.float64)
    kernel = teach._kernel(vectors, vectors, strength=2.0, width=0.3)
    assert np.allclose(kernel, kernel.T) and np.linalg.eigvalsh(kernel).min() > -1e-8


def test_the_fit_is_the_most_probable_one() -> None:
    """At the maximum a posteriori the coefficients are the residuals (Rasmussen and Williams 2006, eq. 3.17)."""
    vectors, kind = clouds(2)
    vectors, answers = vectors[:20].astype(np.float64), kind[:20]
    kernel = teach._kernel(vectors, vectors, strength=1.0, width=0.3)
    offsets = np.log(even(0.7, 0.3)[:20])
    coefficients = teach._fit(kernel, offsets, answers)
    logs = offsets + kernel @ coefficients
    expected = np.exp(logs - np.logaddexp.reduce(logs, axis=1, keepdims=True))
    assert coefficients == pytest.approx(np.eye(2)[answers] - expected, abs=1e-2)


def test_answers_at_random_teach_nothing() -> None:
    vectors, _ = clouds(2)
    rows = np.arange(60)
    said = (np.random.default_rng(1).random(60) < 0.3).astype(int)
    taught, compared = teach.teach(even(0.7, 0.3), vectors, rows, said, groups(rows), **SETTINGS)
    assert compared is not None and not compared.used and taught == pytest.approx(even(0.7, 0.3))


def test_a_group_is_judged_by_others_alone() -> None:
    """Pairs of copies whose answers no other pair can know: seen apart from the own group, nothing is learned."""
    random = np.random.default_rng(2)
    vectors = np.repeat(np.linalg.qr(random.normal(size=(40, 40)))[0], 2, axis=0).astype(np.float32)
    said = np.repeat(random.permutation(40) % 2, 2)
    rows, pairs = np.arange(80), np.repeat(np.arange(40), 2)
    _, apart = teach.teach(even(0.5, 0.5), vectors, rows, said, pairs, **SETTINGS)
    _, leaking = teach.teach(even(0.5, 0.5), vectors, rows, said, groups(rows), **SETTINGS)
    assert apart is not None and leaking is not None
    assert leaking.used and leaking.right_with > 0.7, "a copy in another fold would give the answer away"
    assert not apart.used


def test_reviews_on_which_no_labeller_speaks_begin_even() -> None:
    vectors, kind = clouds(2)
    silent = even(0.7, 0.3)
    silent[50] = np.nan
    taught, _ = teach.teach(silent, vectors, np.arange(3), kind[:3], np.arange(3), **SETTINGS)
    assert taught[50] == pytest.approx([0.5, 0.5])


def test_without_strength_nothing_is_taught() -> None:
    vectors, kind = clouds(2)
    rows = np.arange(30)
    settings = {**SETTINGS, "strength": 0.0}
    taught, compared = teach.teach(even(0.7, 0.3), vectors, rows, kind[rows], groups(rows), **settings)
    assert compared is None and taught == pytest.approx(even(0.7, 0.3))


def test_long_files_are_taught_in_parts_as_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, kind = clouds(2)
    rows = np.arange(30)
    whole, _ = teach.teach(even(0.7, 0.3), vectors, rows, kind[rows], groups(rows), **SETTINGS)
    monkeypatch.setattr(teach, "BATCH", 7)
    parts, _ = teach.teach(even(0.7, 0.3), vectors, rows, kind[rows], groups(rows), **SETTINGS)
    assert parts == pytest.approx(whole)


def test_indices_are_of_names() -> None:
    assert teach.indices(["b", "a", "b"], ["a", "b"]).tolist() == [1, 0, 1]
