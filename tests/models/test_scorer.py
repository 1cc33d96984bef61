"""Ensembles: folds that no group crosses, and scores that are averaged."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsirius import config, metrics, pipeline
from tsirius.models import scorer, train_ensemble
from tsirius.models.classifier import Classifier, describe

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "src" / "tsirius" / "assets" / "sample" / "reviews.csv"

ROWS = st.lists(st.tuples(st.integers(0, 25), st.sampled_from("абвгд")), min_size=1, max_size=120)


@settings(max_examples=200, deadline=None)
@given(ROWS, st.integers(2, 7), st.integers(0, 5))
def test_no_fold_leaves_a_label_out_of_training(rows: list[tuple[int, str]], folds: int, seed: int) -> None:
    groups, labels = zip(*rows, strict=True)
    place = scorer.assign(groups, labels, folds=folds, seed=seed)
    assert place.keys() == set(groups), "a group has one fold: none crosses"
    assert set(place.values()) <= {*range(folds), scorer.ALWAYS}
    for fold in range(folds):
        learned = {label for group, label in rows if place[group] != fold}
        assert learned == set(labels)
    assert place == scorer.assign(groups, labels, folds=folds, seed=seed)


def test_folds_have_like_shares_of_each_label() -> None:
    labels = ["частая"] * 500 + ["редкая"] * 25 + ["две"] * 2 + ["одна"]
    place = scorer.assign(range(len(labels)), labels, folds=5, seed=0)
    found = Counter((place[row], label) for row, label in enumerate(labels))
    assert all(found[fold, "частая"] == 100 and found[fold, "редкая"] == 5 for fold in range(5))
    assert found[scorer.ALWAYS, "одна"] == 1
    assert sum(found[fold, "две"] for fold in range(5)) == 2
    assert place != scorer.assign(range(len(labels)), labels, folds=5, seed=1)


class Constant:
    def __init__(self, *scores: float) -> None:
        self.scores = scores

    def logits(self, texts: list[str]) -> np.ndarray:
        return np.array([self.scores] * len(texts), dtype=np.float32).reshape(len(texts), len(self.scores))


def test_scores_are_averaged() -> None:
    mean = scorer.Mean([Constant(1, 0, 0), Constant(0, 6, -3)])
    assert mean.logits(["а", "б"]).tolist() == [[0.5, 3, -1.5]] * 2
    assert mean.logits([]).shape == (0, 3)


@pytest.mark.slow
def test_five_folds_and_two_seeds_on_the_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No group crosses, every category is learned by each member, and together they are as good as one, or better."""
    real, seen = train_ensemble._member, []

    def member(task: Any, rows: pl.DataFrame, texts: Any, **more: Any) -> Any:
        seen.append((more["member"], rows, list(texts)))
        return real(task, rows, texts, **more)

    monkeypatch.setattr(train_ensemble, "_member", member)
    changes = [f"runs={tmp_path}", 'label.use=["lexicon"]', "train.folds=5", "train.seeds=[0,1]"]
    monkeypatch.chdir(ROOT)
    loaded = config.load(ROOT / "configs" / "demo.toml", changes)
    pipeline.branch(loaded, tmp_path / "run", of=tmp_path / "nothing before it", first="ingest", last="train")
    written = pl.read_parquet(tmp_path / "run" / "split" / "train.parquet")
    group = dict(written.select("clean", "group").iter_rows())
    assert len(seen) == 10
    for seed in (0, 1):
        asked = [text for one, _, texts in seen if one.seed == seed for text in texts]
        assert len(asked) == len(set(asked)) and set(asked) <= group.keys()
        assert len(asked) > 0.9 * len(group)
    for _, rows, texts in seen:
        assert not set(rows["group"]) & {group[text] for text in texts}
        assert set(rows["label"]) == set(written["label"])
    model = tmp_path / "run" / "train" / "model"
    gold = pl.read_csv(SAMPLE)

    def score(path: Path) -> float:
        one = Classifier.load(path)
        predicted = one.predict(gold["text"].to_list())
        return metrics.score(gold["category"].to_list(), predicted, names=one.names, rounds=1, seed=0).weighted_f1

    assert score(model) >= np.mean([score(model / part) for part in describe(model).parts]) > 0.5
