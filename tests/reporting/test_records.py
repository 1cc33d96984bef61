"""Records and tables of a run, also where it has none."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from finished import make_run

from tsirius import tables
from tsirius.reporting import records


def test_records_are_read_in_the_order_of_the_stages(tmp_path: Path) -> None:
    found = records.read_records(make_run(tmp_path, rows=20))
    assert tuple(found) == records.STAGES
    assert records.settings(found, "select") == {"sure": 0.6, "grey": 0.4, "seed": 0}
    assert records.notes(found, "split")["rows"] == 20
    assert records.settings(found, "serve") == records.notes(found, "serve") == {}


@pytest.mark.parametrize("text", [None, "[]", "{}"])
def test_no_record_is_an_empty_one(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "record.json").write_text(text, encoding="utf-8")
    assert records.read_json(tmp_path / "record.json") == {}


def test_settings_and_notes_are_shown_as_dotted_names() -> None:
    record = {"key": {"settings": {"nli": {"model": "mini"}}, "seed": 3}, "notes": {"rows": 2}}
    assert records.details({"label": record, "train": {}}) == [
        {"stage": "label", "settings": [("nli.model", "mini"), ("seed", "3")], "notes": [("rows", "2")]}
    ]


def test_versions_that_differ_between_stages_are_all_named() -> None:
    both = {"ingest": {"versions": {"polars": "1", "a": "5"}}, "label": {"versions": {"polars": "2"}}, "train": {}}
    assert records.versions(both) == [("a", "5"), ("polars", "1, 2")]


def test_a_table_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert records.read_table(tmp_path / "refused.parquet", tables.REFUSED).schema == pl.Schema(tables.REFUSED)


def test_rows_are_counted_by_value_and_by_condition(tmp_path: Path) -> None:
    rows = pl.DataFrame({"label": ["a", None, "b", "b"]})
    rows.write_parquet(tmp_path / "t.parquet")
    assert json.dumps(records.count_values(rows["label"])) == '{"b": 2, "a": 1}'
    assert records.height(tmp_path / "t.parquet") == 4
    assert records.height(tmp_path / "t.parquet", pl.col("label") == "b") == 2


def test_votes_are_what_each_labeller_said(tmp_path: Path) -> None:
    rows = [("1", "a", "y", [0.2, 0.8], []), ("1", "b", None, None, []), ("2", "a", "x", [0.9, 0.1], ["рукав"])]
    votes = pl.DataFrame(rows, schema=dict(tables.VOTES), orient="row")
    tables.write(votes, tables.VOTES, tmp_path / "votes.parquet")
    found = records.read_votes(tmp_path / "votes.parquet")
    assert found.columns == ["id", "labeller", "vote"]
    assert found.rows() == [("1", "a", "y"), ("1", "b", None), ("2", "a", "x")]
    tables.write(votes.clear(), tables.VOTES, tmp_path / "votes.parquet")
    assert records.read_votes(tmp_path / "votes.parquet").schema == found.schema
