"""The members of an ensemble: what they say of texts, and what is made of it."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tsirius import progress
from tsirius.models import train_ensemble, train_one

NAMES = ["посуда", "обувь", "одежда", "нет товара"]


def test_a_member_killed_as_it_scores_goes_on_and_shows_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Counter:
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
    first, second = Counter(8), Counter(99)
    with pytest.raises(KeyboardInterrupt):
        train_ensemble._scored(first, texts, categories=2, kept=tmp_path)
    found = train_ensemble._scored(second, texts, categories=2, kept=tmp_path)
    assert found.tolist() == [[len(text), 0.5] for text in texts]
    assert sorted(first.seen + second.seen) == sorted(texts) and len(second.seen) == 2
    assert "8 of 10" in capsys.readouterr().err
    assert train_ensemble._scored(second, [], categories=2, kept=tmp_path / "none").shape == (0, 2)


def test_soft_labels_are_those_of_members_that_had_not_seen_the_row() -> None:
    rows = pl.DataFrame({"clean": ["кружка", "тапочки"], "group": [0, 1], "label": ["посуда", "посуда"]})
    how = train_one.Regression(c=1.0, rounds=1, embed=None, max_length=None)
    task = train_one.Task(how, NAMES, "нет товара", [], [0.0] * 4, rows, False, None, None, "truncate", False, {})
    mean = np.array([[2.0, 1.0, 0.0, 0.0], [0.0, 9.0, 0.0, 0.0]], dtype=np.float32)
    shares = train_ensemble._soft(
        task, rows, train_ensemble.Said(rows.select("clean", "group"), mean, np.array([3, 0]))
    )
    assert shares[0] == pytest.approx(np.exp(mean[0]) / np.exp(mean[0]).sum(), rel=1e-5)
    assert shares[1].tolist() == [1, 0, 0, 0]
