"""What became of the reviews: rows after each step, rejected rows, warnings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tsirius import tables
from tsirius.reporting import flow


def hints(records: dict[str, Any]) -> list[str]:
    names, counts = ["обувь"], {"labelled": {"обувь": 1}, "train": {"обувь": 1}}
    return flow.hints(names, counts, [{"kind": "gold", "beaten": True}], records=records)


def test_a_far_mix_is_told() -> None:
    drift = {"distance": 0.4, "category": "обувь", "predicted": 0.7, "estimated": 0.3}
    assert "40% away" in hints({"predict": {"notes": {"drift": drift}}})[0]
    assert hints({"predict": {"notes": {"drift": {**drift, "distance": 0.1}}}}) == []
    assert hints({}) == []


def test_a_category_without_rows_is_told_once_and_at_its_first_step() -> None:
    counts = {
        "labelled": {"a": 9, "b": 1, "c": 2},
        "train": {"a": 9, "c": 1},
        "predicted": {"a": 9},
    }
    lines = flow.hints(["a", "b", "c", "d"], counts, [{"kind": "gold", "beaten": True}], records={})
    assert lines == [
        "No review was labelled as «d».",
        "There are no training rows for «b».",
        "Trained on, but never predicted for the test file: «c».",
    ]


def test_the_class_distribution_has_a_cell_for_each_category_and_step() -> None:
    found = flow.mix(["a", "b"], {"labelled": {"a": 3, "b": 1}, "train": {"b": 1}})
    assert found["columns"] == ["labelled", "train"] and found["totals"] == [4, 1]
    assert found["rows"] == [("a", [(3, 4, 3), (0, 1, 1)]), ("b", [(1, 4, 3), (1, 1, 1)])]


def test_rejected_rows_are_grouped_by_file_and_reason(tmp_path: Path) -> None:
    bad = [("a.csv", "empty", row) for row in (4, 5, 6, 9)] + [("b.csv", "too long", 2)]
    rows = pl.DataFrame([("x", *one) for one in bad], schema=["id", "source", "reason", "row"], orient="row")
    tables.write(rows.select("id", "source", "row", "reason"), tables.REJECTED, tmp_path / "rejected.parquet")
    found = flow.rejected(tmp_path / "rejected.parquet")
    assert found["rows"] == 5 and found["more"] == 0
    assert [(group["source"], group["rows"], group["numbers"]) for group in found["groups"]] == [
        ("a.csv", 4, "4\u2060–\u20606, 9"),
        ("b.csv", 1, "2"),
    ]


@pytest.mark.parametrize("records", [{}, {"label": {}}])
def test_costs_of_nothing(records: dict[str, Any]) -> None:
    assert flow.costs(records) == {"rows": [], "seconds": 0, "longest": 0, "peak": None, "highest": 0}


def test_costs_add_up() -> None:
    records = {"ingest": {"seconds": 1.5, "peak_memory_mib": 90.0}, "label": {"seconds": 2.5}}
    assert flow.costs(records) == {
        "rows": [("ingest", 1.5, 90.0), ("label", 2.5, None)],
        "seconds": 4.0,
        "longest": 2.5,
        "peak": 90.0,
        "highest": 90.0,
    }
