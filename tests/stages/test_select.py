"""Select: sure rows, and the grey zone for categories that are short of them."""

from collections import Counter

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tsirius.stages.select import Config, choose

ROWS = st.lists(st.tuples(st.sampled_from(["обувь", "посуда", None]), st.sampled_from([0.1, 0.4, 0.5, 0.6, 0.9, 1.0])))


def table(rows: list[tuple[str | None, float]], doubtful: list[bool] | None = None) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "id": [str(number) for number in range(len(rows))],
            "label": pl.Series([label for label, _ in rows], dtype=pl.String),
            "confidence": pl.Series([None if label is None else p for label, p in rows], dtype=pl.Float32),
            "doubtful": pl.Series(doubtful or [False] * len(rows), dtype=pl.Boolean),
        }
    )


def test_reasons() -> None:
    rows = [("обувь", 0.9), ("обувь", 0.5), ("обувь", 0.45), ("обувь", 0.2), (None, 0.0), ("посуда", 0.7)]
    chosen = choose(table(rows), sure=0.6, grey=0.4, min_per_class=2, doubtful="drop")
    assert chosen["reason"].to_list() == ["sure", "grey, tops up", "grey, not needed", "unsure", "no label", "sure"]
    assert chosen["kept"].to_list() == [True, True, False, False, False, True]


def test_labels_that_are_likely_wrong() -> None:
    rows = table([("обувь", 0.9), ("обувь", 0.8), ("обувь", 0.5)], [True, False, True])
    dropped = choose(rows, sure=0.6, grey=0.4, min_per_class=2, doubtful="drop")
    assert dropped["reason"].to_list() == ["likely wrong", "sure", "likely wrong"]
    assert dropped["kept"].to_list() == [False, True, False]
    halved = choose(rows, sure=0.6, grey=0.4, min_per_class=2, doubtful="halve")
    assert halved["kept"].to_list() == [True, True, False]
    assert halved["confidence"].to_list() == pytest.approx([0.45, 0.8, 0.25])
    kept = choose(rows, sure=0.6, grey=0.4, min_per_class=3, doubtful="keep")
    assert kept["kept"].all() and kept["confidence"].to_list() == pytest.approx([0.9, 0.8, 0.5])


@given(ROWS, st.integers(0, 5))
def test_the_grey_zone_tops_up_and_no_more(rows: list[tuple[str | None, float]], min_per_class: int) -> None:
    chosen = choose(table(rows), sure=0.6, grey=0.4, min_per_class=min_per_class, doubtful="drop")
    assert chosen["id"].to_list() == [str(number) for number in range(len(rows))]
    sure, grey = Counter[str](), Counter[str]()
    for label, p in rows:
        # The column is 32-bit: 0.6 and 0.4 in it are a little above the thresholds, as a user means it.
        if label is not None and p >= 0.6:
            sure[label] += 1
        elif label is not None and p >= 0.4:
            grey[label] += 1
    kept = Counter(chosen.filter("kept")["label"].to_list())
    for label in ("обувь", "посуда"):
        missing = max(0, min_per_class - sure[label])
        assert kept[label] == sure[label] + min(missing, grey[label])
    topped = chosen.filter(pl.col("reason") == "grey, tops up")
    left = chosen.filter(pl.col("reason") == "grey, not needed")
    for label in ("обувь", "посуда"):
        low = topped.filter(pl.col("label") == label)["confidence"].min()
        high = left.filter(pl.col("label") == label)["confidence"].max()
        assert low is None or high is None or low >= high  # type: ignore[operator]  # polars types every minimum


def test_grey_above_sure_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"grey \(0.8\) is above sure \(0.6\)"):
        Config(sure=0.6, grey=0.8)
