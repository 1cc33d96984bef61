"""Figures and words: short, and never more than they say."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsirius.reporting import figures


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (figures.percent(1, 3), "33 %"),
        (figures.percent(0, 3), "0 %"),
        (figures.percent(1, 100_000), "<0.1 %"),
        (figures.percent(4, 1_000), "0.4 %"),
        (figures.percent(99_999, 100_000), ">99.9 %"),
        (figures.percent(0, 0), "–"),
        (figures.duration(0.04), "0.0 s"),
        (figures.duration(59.97), "1 min 0 s"),
        (figures.duration(7_530), "2 h 5 min"),
        (figures.duration(None), "–"),
        (figures.memory(900.4), "900 MiB"),
        (figures.memory(2_048), "2.0 GiB"),
        (figures.decimal(float("nan")), "–"),
        (figures.number(1_234_567), "1,234,567"),
        (figures.width(3, 2), "100%"),
        (figures.width(1, 0), "0%"),
    ],
)
def test_figures_in_words(text: str, expected: str) -> None:
    assert text.replace("\xa0", " ") == expected


@given(st.lists(st.integers(1, 300)), st.integers(1, 20))
@settings(deadline=None)
def test_ranges_name_every_row_or_count_it(rows: list[int], limit: int) -> None:
    text, left = figures.ranges(rows, limit)
    parts = [part.split("\u2060–\u2060") for part in text.split(", ") if part]
    named = [row for part in parts for row in range(int(part[0]), int(part[-1]) + 1)]
    assert len(parts) <= limit
    assert named == sorted(set(rows))[: len(named)] and len(named) + left == len(set(rows))


@given(st.text(), st.integers(4, 50))
@settings(deadline=None)
def test_shortened_text_fits(text: str, limit: int) -> None:
    for short in (figures.shorten(text, limit), figures.shorten_middle(text, limit)):
        assert len(short) <= limit
        assert short == figures.printable(text) or "…" in short
