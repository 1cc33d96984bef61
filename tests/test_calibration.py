"""Reliability tables, the calibration error and their picture."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsirius.calibration import effective_rows, reliability, wilson


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
    assert "0.150" in table.table()


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
    for sure, right in (([], []), ([1.2], [True]), ([float("nan")], [True]), ([0.5], [True, False])):
        with pytest.raises(ValueError, match="confidence"):
            reliability(sure, right, weights=None, bins=10, equal_mass=False)


def test_wilson_is_the_textbook_interval() -> None:
    assert wilson(0.5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert wilson(1.0, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)
    assert wilson(0.0, 0) == (0.0, 1.0)


def test_unequal_weights_are_worth_fewer_rows() -> None:
    assert effective_rows(np.ones(8)) == pytest.approx(8)
    assert effective_rows(np.array([10.0, 1.0])) == pytest.approx(121 / 101)
