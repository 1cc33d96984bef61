"""The sample: kept, extended, and refused where the run has changed."""

from __future__ import annotations

import random
from pathlib import Path

import polars as pl
import pytest
from audited import call, figures, fill

from tsirius.errors import UserError
from tsirius.store import seal


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
    seal(run / "label", {})
    call(run, answers=fill(tmp_path / "a.csv", tmp_path / "b.csv", rows))
    assert figures(run)["weighted_f1_with_gold"]["all"]["value"] == pytest.approx(1)
    with pytest.raises(UserError, match="labels have changed"):
        call(run, count=200)
    better.head(900).write_parquet(run / "label" / "labels.parquet")
    seal(run / "label", {})
    with pytest.raises(UserError, match="other reviews"):
        call(run)


def test_a_damaged_sample_is_refused_and_without_it_no_answer_is_lost(
    run: Path, rows: pl.DataFrame, tmp_path: Path
) -> None:
    call(run, write=tmp_path / "a.csv", seed=7)
    answers = fill(tmp_path / "a.csv", tmp_path / "b.csv", rows)
    call(run, answers=answers)
    path, kept = run / "audit" / "sample.json", run / "audit" / "answers.csv"
    whole, before, draw = path.read_bytes(), kept.read_bytes(), random.Random(0)
    for _ in range(20):
        damaged = bytearray(whole)
        damaged[draw.randrange(len(whole))] ^= 1 << draw.randrange(7)
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"sample\.json: was altered or damaged\. Move it away"):
            call(run)
    path.write_bytes(whole[:100])
    with pytest.raises(UserError, match="Move it away"):
        call(run, answers=answers)
    path.unlink()
    call(run, write=tmp_path / "c.csv", seed=8)
    new = fill(tmp_path / "c.csv", tmp_path / "d.csv", rows)
    call(run, answers=new)
    assert set(before.decode("utf-8-sig").splitlines()) < set(kept.read_text(encoding="utf-8-sig").splitlines())
