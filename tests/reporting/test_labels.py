"""Labels in the report: the likely wrong ones, how labellers agree, the bins of a histogram."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from finished import NAMES, make_run

from tsirius import tables
from tsirius.reporting import labels, records
from tsirius.stages.evaluate import PREDICTED


def test_bins_hold_every_confidence_where_it_belongs() -> None:
    values = pl.Series([0.0, 0.05, 0.7, 0.6999, 1.0, None, float("nan")], dtype=pl.Float32)
    found = labels.bins(values, labels.BINS)
    assert (found[0], found[1], found[13], found[14], found[19], sum(found)) == (1, 1, 1, 1, 1, 5)


def suspects(given: dict[str, Path], *, limit: int) -> list[dict[str, Any]]:
    votes = records.read_votes(given["label"] / "votes.parquet")
    return labels.suspects(given, votes, limit=limit)


def test_suspicious_labels_are_shown_with_the_words_they_rest_on(tmp_path: Path) -> None:
    given = make_run(tmp_path / "run", rows=60)
    rows = pl.DataFrame({"id": ["0", "1", "2"], "clean": ["Рукава <b> короткие", "Тапки", "x"], "label": NAMES[0],
                         "predicted": [NAMES[1], NAMES[1], NAMES[0]], "confidence": [0.7, 0.9, 0.99]},
                        schema=PREDICTED)  # fmt: skip
    rows.write_parquet(given["evaluate"] / "valid_predictions.parquet")
    votes = pl.DataFrame({"id": ["0"], "labeller": ["lexicon"], "said": [NAMES[0]],
                          "probabilities": [[0.9, *[0.1] * (len(NAMES) - 1)]], "evidence": [["рукав"]]},
                         schema=tables.VOTES)  # fmt: skip
    tables.write(votes, tables.VOTES, given["label"] / "votes.parquet")
    found = suspects(given, limit=9)
    assert [row["confidence"] for row in found] == pytest.approx([0.9, 0.7])
    assert str(found[1]["text"]) == "<mark>Рукава</mark> &lt;b&gt; короткие"
    assert found[1]["labellers"] == "lexicon" and found[0]["labellers"] == ""
    assert len(suspects(given, limit=1)) == 1 and suspects(given, limit=0) == []


def test_suspicious_labels_are_filled_up_with_those_that_like_reviews_contradict(tmp_path: Path) -> None:
    given = make_run(tmp_path / "run", rows=60)
    rows = pl.read_parquet(given["label"] / "labels.parquet").with_columns(
        doubtful=pl.col("id").is_in(["3", "4", "5"]), label=pl.lit(NAMES[0]),
        confidence=pl.col("id").replace_strict({"4": 0.9, "5": 0.8}, default=0.7).cast(pl.Float32),
    )  # fmt: skip
    tables.write(rows, tables.LABELS, given["label"] / "labels.parquet")
    pl.DataFrame({"id": ["4"], "clean": ["x"], "label": [NAMES[0]], "predicted": [NAMES[1]], "confidence": [0.6]},
                 schema=PREDICTED).write_parquet(given["evaluate"] / "valid_predictions.parquet")  # fmt: skip
    found = suspects(given, limit=9)
    assert [(row["predicted"], round(row["confidence"], 2)) for row in found] == [
        (NAMES[1], 0.6),
        (None, 0.8),
        (None, 0.7),
    ]
    assert len(suspects(given, limit=2)) == 2
    (given["evaluate"] / "valid_predictions.parquet").unlink()
    assert [row["predicted"] for row in suspects(given, limit=9)] == [None] * 3


def test_agreement_of_labellers_counts_where_both_spoke(tmp_path: Path) -> None:
    votes = pl.DataFrame(
        [("1", "a", "x", [0.9, 0.1], []), ("1", "b", "x", [0.8, 0.2], []), ("2", "a", "x", [0.9, 0.1], []),
         ("2", "b", "y", [0.2, 0.8], []), ("3", "a", "x", [0.9, 0.1], []), ("3", "b", None, None, [])],
        schema=dict(tables.VOTES), orient="row",
    )  # fmt: skip
    tables.write(votes, tables.VOTES, tmp_path / "votes.parquet")
    found = labels.agreements(records.read_votes(tmp_path / "votes.parquet"))
    assert found == [{"labeller": "a", "labeller_other": "b", "both": 2, "same": 1}]


def test_a_labeller_covers_what_it_voted_on_and_agrees_where_its_vote_is_the_label() -> None:
    votes = pl.DataFrame(
        [("1", "a", "x"), ("2", "a", "y"), ("3", "a", None), ("1", "b", "y"), ("2", "b", None), ("3", "b", None)],
        schema=["id", "labeller", "vote"], orient="row",
    )  # fmt: skip
    final = pl.DataFrame({"id": ["1", "2", "3"], "label": ["x", None, None]})
    assert labels.labellers(votes, final) == [
        {"labeller": "a", "rows": 3, "voted": 2, "agreed": 1},
        {"labeller": "b", "rows": 3, "voted": 1, "agreed": 0},
    ]
