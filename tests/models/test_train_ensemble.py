"""The members of an ensemble: folds that no group crosses, what they score, and what is learned from it."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsirius import config, metrics, pipeline, progress
from tsirius.models import train_ensemble, train_one
from tsirius.models.classifier import Classifier, describe

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "src" / "tsirius" / "assets" / "sample" / "reviews.csv"

ROWS = st.lists(st.tuples(st.integers(0, 25), st.sampled_from("абвгд")), min_size=1, max_size=120)
NAMES = ["посуда", "обувь", "одежда", "нет товара"]


def test_a_member_killed_as_it_scores_goes_on_and_shows_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Counting:
        def __init__(self, most: int) -> None:
            self.seen: list[str] = []
            self.most = most

        def logits(self, texts: list[str]) -> np.ndarray:
            if len(self.seen) + len(texts) > self.most:
                raise KeyboardInterrupt
            self.seen += texts
            return np.array([[len(text), 0.5] for text in texts], dtype=np.float32)

    monkeypatch.setattr(train_ensemble, "SHARD", 4)
    monkeypatch.setattr(progress, "PLAIN_SECONDS", 0.0)
    texts = ["я" * (1 + number * 7 % 11) + str(number) for number in range(10)]
    first, second = Counting(8), Counting(99)
    with pytest.raises(KeyboardInterrupt):
        train_ensemble._scored(first, texts, categories=2, kept=tmp_path)
    found = train_ensemble._scored(second, texts, categories=2, kept=tmp_path)
    assert found.tolist() == [[len(text), 0.5] for text in texts]
    assert sorted(first.seen + second.seen) == sorted(texts) and len(second.seen) == 2
    assert "8 of 10" in capsys.readouterr().err
    assert train_ensemble._scored(second, [], categories=2, kept=tmp_path / "none").shape == (0, 2)


def test_soft_labels_are_those_of_members_that_had_not_seen_the_row() -> None:
    rows = pl.DataFrame({"clean": ["кружка", "тапочки"], "group": [0, 1], "label": ["посуда", "посуда"]})
    how = train_one.Regression(c=1.0, rounds=1, embed=None, max_length=None, pooling=None)
    task = train_one.Task(how, NAMES, "нет товара", [], [0.0] * 4, rows, False, None, None, "truncate", False, {})
    mean = np.array([[2.0, 1.0, 0.0, 0.0], [0.0, 9.0, 0.0, 0.0]], dtype=np.float32)
    shares = train_ensemble._soft(
        task, rows, train_ensemble.Scores(rows.select("clean", "group"), mean, np.array([3, 0]))
    )
    assert shares[0] == pytest.approx(np.exp(mean[0]) / np.exp(mean[0]).sum(), rel=1e-5)
    assert shares[1].tolist() == [1, 0, 0, 0]


@settings(max_examples=200, deadline=None)
@given(ROWS, st.integers(2, 7), st.integers(0, 5))
def test_no_fold_leaves_a_label_out_of_training(rows: list[tuple[int, str]], folds: int, seed: int) -> None:
    groups, labels = zip(*rows, strict=True)
    place = train_ensemble.assign(groups, labels, folds=folds, seed=seed)
    assert place.keys() == set(groups), "a group has one fold: none crosses"
    assert set(place.values()) <= {*range(folds), train_ensemble.ALWAYS}
    for fold in range(folds):
        learned = {label for group, label in rows if place[group] != fold}
        assert learned == set(labels)
    assert place == train_ensemble.assign(groups, labels, folds=folds, seed=seed)


def test_folds_have_like_shares_of_each_label() -> None:
    labels = ["частая"] * 500 + ["редкая"] * 25 + ["две"] * 2 + ["одна"]
    place = train_ensemble.assign(range(len(labels)), labels, folds=5, seed=0)
    found = Counter((place[row], label) for row, label in enumerate(labels))
    assert all(found[fold, "частая"] == 100 and found[fold, "редкая"] == 5 for fold in range(5))
    assert found[train_ensemble.ALWAYS, "одна"] == 1
    assert sum(found[fold, "две"] for fold in range(5)) == 2
    assert place != train_ensemble.assign(range(len(labels)), labels, folds=5, seed=1)


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
