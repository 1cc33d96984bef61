"""The sample: kept, extended, and refused where the run has changed."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from audited import call, figures, fill

from tsirius.errors import UserError


def test_reviews_that_were_not_drawn_are_refused(run: Path, rows: pl.DataFrame, tmp_path: Path) -> None:
    call(run, write=tmp_path / "a.csv")
    rows.select("id", category="truth").write_csv(tmp_path / "all.csv")
    with pytest.raises(UserError, match="not drawn"):
        call(run, answers=tmp_path / "all.csv")


def test_labels_may_change_but_not_the_reviews(run: Path, rows: pl.DataFrame, tmp_path: Path) -> None:
    call(run, write=tmp_path / "a.csv")
    table = pl.read_parquet(run / "label" / "labels.parquet")
    better = table.with_columns(label=rows["truth"], confidence=pl.lit(0.9, pl.Float32))
    better.write_parquet(run / "label" / "labels.parquet")
    call(run, answers=fill(tmp_path / "a.csv", tmp_path / "b.csv", rows))
    assert figures(run)["weighted_f1_with_gold"]["all"]["value"] == pytest.approx(1)
    with pytest.raises(UserError, match="labels have changed"):
        call(run, count=200)
    better.head(900).write_parquet(run / "label" / "labels.parquet")
    with pytest.raises(UserError, match="other reviews"):
        call(run)
