"""What is audited: labels or predictions of a run, their votes and their texts."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import polars as pl
import pytest
from audited import NAMES, call

from tsirius.commands.audit import subject
from tsirius.errors import UserError


def test_labels_have_the_votes_of_every_labeller_and_the_label(run: Path, rows: pl.DataFrame) -> None:
    found = subject.open_subject(run, "labels")
    assert found.folder == run / "audit" and found.categories.names == NAMES
    assert found.rows.equals(rows.select("id", "label", "confidence"))
    votes = subject.all_votes(found)
    assert votes["labeller"].unique(maintain_order=True).to_list() == ["always", "lexicon", "the label"]
    assert votes.filter(pl.col("labeller") == "always")["vote"].unique().to_list() == ["одежда"]
    for labeller in ("lexicon", "the label"):
        own = votes.filter(pl.col("labeller") == labeller)
        assert own.select("id", label="vote").equals(rows.select("id", "label"))


def test_predictions_have_the_votes_of_the_model(run: Path, rows: pl.DataFrame) -> None:
    found = subject.open_subject(run, "predictions")
    assert found.folder == run / "audit" / "predictions"
    votes = subject.all_votes(found)
    assert votes["labeller"].unique().to_list() == ["model"] and votes["vote"].equals(rows["label"].fill_null("одежда"))


@pytest.mark.parametrize("of", ["labels", "predictions"])
def test_texts_come_in_the_order_of_the_ids(run: Path, of: subject.Of) -> None:
    prefix = "" if of == "labels" else "t"
    ids = pl.Series([f"{prefix}9", f"{prefix}3", f"{prefix}1100"])
    texts = subject.read_texts(subject.open_subject(run, of), ids)
    assert list(texts) == ids.to_list()
    assert [text.split()[2] for text in texts.values()] == ["9", "3", "1100"]


def test_texts_that_the_run_could_learn_from_are_counted(run: Path, rows: pl.DataFrame) -> None:
    found = subject.open_subject(run, "predictions")
    known = pl.read_parquet(run / "ingest" / "reviews.parquet")["text"].to_list()
    assert subject.also_trained_on(found, [*known[:3], "Совсем другой отзыв"]) == 3


def test_a_run_without_what_is_audited_is_refused(run: Path) -> None:
    shutil.rmtree(run / "predict")
    with pytest.raises(UserError, match="holds no predictions"):
        subject.open_subject(run, "predictions")
    assert subject.open_subject(run, "labels").rows.height == 1200


def test_a_test_file_that_has_changed_is_refused(run: Path, tmp_path: Path) -> None:
    found = subject.open_subject(run, "predictions")
    (tmp_path / "test.csv").write_text("id,text\nt0,другой\n", encoding="utf-8")
    with pytest.raises(UserError, match="'t5' is gone"):
        subject.read_texts(found, pl.Series(["t5"]))


@pytest.mark.parametrize("of", ["labels", "predictions"])
def test_a_flipped_bit_in_what_is_audited_is_refused(run: Path, of: subject.Of) -> None:
    draw = random.Random(0)
    read = {"labels": ["ingest", "label"], "predictions": ["ingest", "predict", "config.json"]}[of]
    for name in read:
        for path in filter(Path.is_file, [run / name, *(run / name).rglob("*")]):
            whole = path.read_bytes()
            damaged = bytearray(whole)
            damaged[draw.randrange(len(whole))] ^= 1 << draw.randrange(1, 7)
            path.write_bytes(damaged)
            with pytest.raises(UserError, match=r"damaged|older version"):
                call(run, of=of, write=run / "form.csv")
            path.write_bytes(whole)
    assert not (run / "form.csv").exists() and call(run, of=of, write=run / "form.csv") is None
