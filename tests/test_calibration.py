"""Reliability tables, the calibration error and their picture."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsirius import calibration
from tsirius.calibration import COLDEST, HOTTEST, effective_rows, reliability, temperature, wilson


def rows(count: int, *, gap: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Confidences, and whether each row is right: as often as the confidence less ``gap`` says."""
    random = np.random.default_rng(seed)
    sure = random.uniform(0.3, 1, count)
    return sure, random.random(count) < sure - gap


def test_the_error_is_the_distance_of_confidence_and_accuracy() -> None:
    table = reliability([0.9] * 10 + [0.6] * 10, [True] * 9 + [False] + [True] * 3 + [False] * 7,
                        weights=None, bins=10, equal_mass=False)  # fmt: skip
    assert [one.rows for one in table.bins] == [10, 10]
    assert [(one.low, one.high) for one in table.bins] == [(0.5, 0.6), (0.8, 0.9)]
    assert table.error == pytest.approx(0.5 * 0.3 + 0.5 * 0.0)
    assert (table.rows, table.confidence, table.accuracy) == (20, pytest.approx(0.75), pytest.approx(0.6))


def test_the_table_in_text_and_as_json() -> None:
    table = reliability([0.95] * 1500 + [0.25] * 500, [True] * 1200 + [False] * 800, weights=None, bins=2,
                        equal_mass=False)  # fmt: skip
    assert table.table() == (
        "confidence    rows   share   mean confidence   right  95 % interval\n"
        "0.00-0.50      500   25.0%             0.250   0.000  0.000-0.008\n"
        "0.50-1.00    1,500   75.0%             0.950   0.800  0.779-0.819\n"
        "expected calibration error 0.175; mean confidence 0.775, right 0.600, 2,000 rows"
    )
    first, second = table.to_dict().pop("bins")
    assert first == {
        "low": 0.0, "high": 0.5, "rows": 500, "share": 0.25, "confidence": pytest.approx(0.25), "accuracy": 0.0,
        "interval": wilson(0, 500),
    }  # fmt: skip
    assert second["interval"] == wilson(0.8, 1500)
    assert table.to_dict().keys() == {"rows", "error", "confidence", "accuracy", "bins"}


def test_a_bound_belongs_to_the_bin_below_and_nothing_to_the_first() -> None:
    sure = np.array([0.0, 0.1, 0.2, 0.2000001, 0.6, 0.61, 1.0], dtype=np.float32)
    table = reliability(sure, [True] * 7, weights=None, bins=5, equal_mass=False)
    assert [(one.low, one.high, one.rows) for one in table.bins] == [
        (0.0, 0.2, 4), (0.4, 0.6, 1), (0.6, 0.8, 1), (0.8, 1.0, 1),
    ]  # fmt: skip


def test_bins_of_equal_mass_have_the_bounds_of_their_rows_and_weigh() -> None:
    table = reliability([0.1, 0.2, 0.3, 0.9], [False, False, True, True], weights=[1, 1, 2, 4], bins=2,
                        equal_mass=True)  # fmt: skip
    assert [(one.low, one.high, one.rows, one.share) for one in table.bins] == [(0.1, 0.3, 3, 0.5), (0.9, 0.9, 1, 0.5)]
    low, high = table.bins
    assert (low.confidence, low.accuracy) == (pytest.approx(0.225), 0.5)
    assert low.interval == wilson(0.5, 16 / 6) and high.interval == wilson(1, 1)
    assert table.accuracy == pytest.approx(6 / 8) and table.confidence == pytest.approx(4.5 / 8)


def test_weights_count_as_repeated_rows() -> None:
    sure, right = [0.95, 0.55, 0.55, 0.2], [True, False, True, False]
    weighted = reliability(sure, right, weights=[3, 1, 2, 1], bins=10, equal_mass=False)
    repeated = reliability(
        np.repeat(sure, [3, 1, 2, 1]), np.repeat(right, [3, 1, 2, 1]), weights=None, bins=10, equal_mass=False
    )
    assert weighted.error == pytest.approx(repeated.error)
    assert [one.share for one in weighted.bins] == pytest.approx([one.share for one in repeated.bins])


@pytest.mark.parametrize("equal_mass", [False, True])
def test_good_confidence_has_a_small_error_and_bold_confidence_its_gap(equal_mass: bool) -> None:
    good = reliability(*rows(20_000, gap=0, seed=0), weights=None, bins=10, equal_mass=equal_mass)
    bold = reliability(*rows(20_000, gap=0.25, seed=0), weights=None, bins=10, equal_mass=equal_mass)
    assert good.error < 0.02
    assert bold.error == pytest.approx(0.25, abs=0.02)


def test_bins_of_equal_mass_hold_about_as_many_rows_and_ties_stay_together() -> None:
    table = reliability(*rows(1000, gap=0, seed=1), weights=None, bins=10, equal_mass=True)
    assert [one.rows for one in table.bins] == [100] * 10
    tied = reliability([0.7] * 100 + [0.9] * 20, [True] * 120, weights=None, bins=10, equal_mass=True)
    assert [one.rows for one in tied.bins] == [100, 20]


@given(st.lists(st.integers(1, 7), min_size=1, max_size=30), st.sampled_from([1, 2, 4, 8]))
def test_the_middle_of_a_value_decides_its_bin_of_equal_mass(weights: list[int], bins: int) -> None:
    weights.append(256 - sum(weights))  # a power of two: every quotient below is exact
    sure = [(k + 1) / 64 for k in range(len(weights))]
    table = reliability(sure, [True] * len(sure), weights=weights, bins=bins, equal_mass=True)
    members: dict[int, list[int]] = {}
    for k, weight in enumerate(weights):
        members.setdefault(int((sum(weights[:k]) + weight / 2) / 256 * bins), []).append(k)
    expected = [(sure[some[0]], sure[some[-1]], len(some)) for some in members.values()]
    assert [(one.low, one.high, one.rows) for one in table.bins] == [
        (pytest.approx(low, abs=1e-6), pytest.approx(high, abs=1e-6), count) for low, high, count in expected
    ]
    assert [one.share for one in table.bins] == [sum(weights[k] for k in some) / 256 for some in members.values()]


def test_a_row_without_weight_is_counted_in_the_last_bin_of_equal_mass() -> None:
    table = reliability([0.1, 0.9], [True, True], weights=[1, 0], bins=2, equal_mass=True)
    assert [(one.low, one.high, one.rows, one.share) for one in table.bins] == [(0.1, 0.9, 2, 1.0)]


@given(
    st.lists(st.tuples(st.floats(0, 1, width=32), st.booleans()), min_size=1, max_size=60),
    st.integers(1, 20),
    st.booleans(),
)
def test_every_row_is_in_one_bin(found: list[tuple[float, bool]], bins: int, equal_mass: bool) -> None:
    sure, right = zip(*found, strict=True)
    table = reliability(sure, right, weights=None, bins=bins, equal_mass=equal_mass)
    assert sum(one.rows for one in table.bins) == len(found)
    assert sum(one.share for one in table.bins) == pytest.approx(1)
    assert 0 <= table.error <= 1
    for one in table.bins:
        assert one.low - 1e-5 <= one.confidence <= one.high + 1e-5
        assert one.interval[0] <= one.accuracy <= one.interval[1]


def test_what_is_no_confidence_is_refused() -> None:
    outside = "^a confidence is outside 0 to 1$"
    for sure, right, weights, message in (
        ([], [], None, "^0 confidences, 0 rows that are right or not, 0 weights$"),
        ([0.5], [True, False], None, "^1 confidences, 2 rows that are right or not, 1 weights$"),
        ([0.5], [True], [1, 1], "^1 confidences, 1 rows that are right or not, 2 weights$"),
        ([0.5, 1.2], [True] * 2, None, outside),
        ([-0.1, 0.5], [True] * 2, None, outside),
        ([float("nan")], [True], None, outside),
    ):
        with pytest.raises(ValueError, match=message):
            reliability(sure, right, weights=weights, bins=10, equal_mass=False)


def test_wilson_is_the_textbook_interval() -> None:
    assert wilson(0.5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert wilson(1.0, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)
    assert wilson(0.0, 0) == (0.0, 1.0)


@given(st.floats(0, 1), st.floats(0.01, 1000))
def test_wilson_solves_the_normal_test(share: float, rows: float) -> None:
    """At each bound the share is 1.96 standard deviations away, unless the bound is the end of the scale."""
    for bound in wilson(share, rows):
        assert 0 <= bound <= 1
        if 1e-6 < bound < 1 - 1e-6:
            assert abs(share - bound) == pytest.approx(1.959964 * (bound * (1 - bound) / rows) ** 0.5, rel=1e-4)


def test_unequal_weights_are_worth_fewer_rows() -> None:
    assert effective_rows(np.ones(8)) == pytest.approx(8)
    assert effective_rows(np.array([10.0, 1.0])) == pytest.approx(121 / 101)
    assert effective_rows(np.zeros(3)) == 0


@pytest.mark.parametrize("equal_mass", [False, True])
def test_a_confidence_in_single_precision_is_the_one_in_double(equal_mass: bool) -> None:
    for sure in (0.1, 0.3, 0.6, 0.7, 0.9):
        single, double = (
            reliability(np.array([sure, 1], dtype=kind), [True, False], weights=None, bins=10, equal_mass=equal_mass)
            for kind in (np.float32, np.float64)
        )
        assert single == double


def test_confidences_that_differ_by_less_than_a_millionth_are_one() -> None:
    table = reliability([0.3, 0.3000002], [True, False], weights=None, bins=2, equal_mass=True)
    assert [(one.low, one.high, one.rows) for one in table.bins] == [(0.3, 0.3, 2)]
    near = reliability([0.500001, 0.51], [True, False], weights=None, bins=2, equal_mass=False)
    assert [(one.low, one.high, one.rows) for one in near.bins] == [(0.0, 0.5, 1), (0.5, 1.0, 1)]


def test_weights_may_be_large_whole_numbers() -> None:
    [one] = reliability([0.9] * 4, [True] * 3 + [False], weights=[10**10] * 4, bins=1, equal_mass=False).bins
    assert one.interval == pytest.approx(wilson(0.75, 4)) and one.share == 1


def test_wilson_knows_little_from_one_row_and_stays_between_0_and_1() -> None:
    z = 1.959963984540054
    assert wilson(1.0, 1) == pytest.approx((1 / (1 + z**2), 1.0))
    assert wilson(0.0, 0.5) == pytest.approx((0.0, 2 * z**2 / (1 + 2 * z**2)))
    for rows in range(1, 200):
        assert wilson(0.0, rows)[0] == 0.0 and wilson(1.0, rows)[1] == 1.0


@pytest.mark.parametrize(("weights", "rows"), [([4, 6, 6], [2, 1]), ([6, 6, 4], [1, 2]), ([4, 7, 5], [2, 1])])
def test_a_value_across_the_half_is_where_its_middle_is(weights: list[int], rows: list[int]) -> None:
    table = reliability([0.1, 0.2, 0.3], [True] * 3, weights=weights, bins=2, equal_mass=True)
    assert [one.rows for one in table.bins] == rows


@given(st.floats(0.3, 4.0))
def test_the_temperature_that_scores_were_divided_by_is_found(wanted: float) -> None:
    scores = np.random.default_rng(0).normal(0, 3, (200, 5))
    chance = np.exp(scores / wanted) / np.exp(scores / wanted).sum(axis=1, keepdims=True)
    assert temperature(scores, float(chance.max(axis=1).mean())) == pytest.approx(wanted, rel=1e-6)


def test_a_confidence_out_of_reach_gives_the_nearest_temperature() -> None:
    scores = np.array([[1.0, 0.0], [0.0, 2.0]])
    assert temperature(scores, 1.0) == pytest.approx(COLDEST)
    assert temperature(scores, 0.5) == pytest.approx(HOTTEST)
    assert temperature(scores * 1000, 0.9) == pytest.approx(HOTTEST)
    with pytest.raises(ValueError, match="no scores"):
        temperature(np.zeros((0, 2)), 0.9)
    with pytest.raises(ValueError, match="no numbers"):
        temperature(np.array([[np.nan, 1.0]]), 0.9)


def test_scores_of_few_digits_are_computed_with_all_of_them() -> None:
    scores = np.random.default_rng(0).normal(0, 3, (200, 5)).astype(np.float16)
    assert temperature(scores, 0.7) == temperature(scores.astype(np.float64), 0.7)


@pytest.mark.parametrize("scores", [np.zeros((0, 2)), np.array([[np.inf, 1.0]])], ids=["none", "infinite"])
def test_scores_without_a_temperature_are_refused_in_words(scores: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"^no scores, or some are no numbers$"):
        temperature(scores, 0.9)


@pytest.mark.parametrize(
    ("value", "variance", "rows"),
    [
        pytest.param(0.8, 0.0016, 100, id="a share's own variance"),
        pytest.param(0.8, 0.00001, 100, id="less than a share's: no more rows than there are"),
        pytest.param(1.0, 0.0, 100, id="all right"),
        pytest.param(0.0, 0.0, 100, id="all wrong"),
    ],
)
def test_a_scores_interval_is_wilsons(value: float, variance: float, rows: int) -> None:
    assert calibration.score_interval(value, variance, rows) == pytest.approx(calibration.wilson(value, 100))


def test_a_noisier_score_counts_as_fewer_rows() -> None:
    assert calibration.score_interval(0.8, 0.0032, 100) == pytest.approx(calibration.wilson(0.8, 50))
