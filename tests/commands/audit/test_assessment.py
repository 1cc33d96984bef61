"""The figures of an audit: against a baseline, and of a sample that a file chose."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from audited import NAMES, call, figures, fill, true_f1

from tsirius import metrics
from tsirius.errors import UserError


def test_a_labeller_that_is_no_better_than_the_commonest_category_is_named(
    run: Path, rows: pl.DataFrame, tmp_path: Path
) -> None:
    call(run, write=tmp_path / "a.csv")
    report = call(run, answers=fill(tmp_path / "a.csv", tmp_path / "b.csv", rows)) or ""
    warned = [line for line in report.splitlines() if line.startswith("!")]
    assert len(warned) == 1 and warned[0].startswith("! always is no better than always answering «одежда»")
    by_name = {one["labeller"]: one for one in figures(run)["labellers"]}
    assert by_name["always"]["coverage"] == 1
    assert by_name["lexicon"]["coverage"] == pytest.approx(rows["label"].count() / rows.height)
    spoken = rows.filter(pl.col("label").is_not_null())
    right = spoken.filter(pl.col("label") == pl.col("truth")).height / spoken.height
    assert by_name["lexicon"]["accuracy"]["low"] <= right <= by_name["lexicon"]["accuracy"]["high"]


def test_a_file_of_other_reviews_counts_as_a_random_sample(run: Path, rows: pl.DataFrame, tmp_path: Path) -> None:
    gold = rows.sample(300, seed=3).select(id="t" + pl.col("id"), category="truth")
    gold.write_csv(tmp_path / "gold.csv")
    report = call(run, of="predictions", answers=tmp_path / "gold.csv") or ""
    assert "if they are a random sample" in report
    found = json.loads((run / "audit" / "predictions" / "audit.json").read_text(encoding="utf-8"))
    said = rows.with_columns(pl.col("label").fill_null("одежда"))
    alone = gold.join(said.select(id="t" + pl.col("id"), label="label"), on="id", how="left", maintain_order="left")
    score = metrics.score(alone["category"].to_list(), alone["label"].to_list(), names=NAMES, rounds=0, seed=0)
    f1 = found["weighted_f1_with_gold"]["all"]
    assert f1["value"] == pytest.approx(score.weighted_f1, abs=1e-4)
    assert f1["low"] <= true_f1(said) <= f1["high"]
    assert found["also_trained_on"] == 0
    with pytest.raises(UserError, match="is gone"):
        (tmp_path / "test.csv").write_text("id,text\nt0,другой\n", encoding="utf-8")
        call(run, of="predictions")
