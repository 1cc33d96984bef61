"""Queues: what they hold, in which order, and that they leave out what may not be asked."""

import numpy as np
import polars as pl
import pytest

from tsirius.commands.answers import queues

OPEN = np.array([True, True, True, True, False])


def test_labellers_that_disagree_the_closest_first() -> None:
    votes = [np.array([0, 0, 1, -1, 0]), np.array([1, 0, 0, 2, 1])]
    margin = np.array([0.5, 0.1, 0.2, 0.0, 0.0], dtype=np.float32)
    assert queues.disagree(votes, margin, OPEN).tolist() == [2, 0], "an abstention contradicts nobody"


def test_the_model_contradicts_the_surest_first() -> None:
    model = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.1, 0.9], [0.1, 0.9]], dtype=np.float32)
    assert queues.contradicts(np.array([0, 0, 0, -1, 0]), model, OPEN).tolist() == [1, 2]


def test_likely_wrong_and_a_categorys_rows() -> None:
    confidence = np.array([0.5, 0.9, 0.7, np.nan, 0.9], dtype=np.float32)
    doubtful = np.array([True, True, False, False, True])
    assert queues.likely_wrong(doubtful, confidence, OPEN).tolist() == [1, 0]
    assert queues.of_category(np.array([1, 1, 1, 0, 1]), 1, confidence, OPEN).tolist() == [0, 2, 1]


def test_unsure_rows_of_a_batch_differ() -> None:
    vectors = np.eye(3, dtype=np.float32)[[0, 0, 1, 2, 2]]
    margin = np.array([0.0, 0.01, 0.3, 0.6, 0.0], dtype=np.float32)
    chosen = queues.unsure(margin, vectors, OPEN, count=3).tolist()
    assert chosen == [0, 2, 3], "row 1 is the second least sure, but like row 0"
    assert sorted(queues.unsure(margin, vectors, OPEN, count=9).tolist()) == [0, 1, 2, 3]
    assert queues.unsure(margin, vectors, np.zeros(5, dtype=bool), count=3).tolist() == []


def test_of_many_rows_the_least_sure_are_looked_at() -> None:
    random = np.random.default_rng(0)
    count = 3 * queues.CANDIDATES
    margin = random.permutation(count).astype(np.float32) / count
    vectors = random.normal(size=(count, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    chosen = queues.unsure(margin, vectors, np.ones(count, dtype=bool), count=50)
    assert len(set(chosen.tolist())) == 50 and margin[chosen].max() < queues.CANDIDATES / count


@pytest.mark.parametrize(
    ("words", "found"), [("", [0, 1, 2]), ("ЕЛКА", [0]), ("ёлка кружка", []), (".*", []), ("кружк", [1, 2])]
)
def test_search(words: str, found: list[int]) -> None:
    texts = queues.plain(pl.Series(["Ёлка осыпалась", "Кружка", "две кружки", "Ёлка"]))
    assert queues.search(texts, words, np.array([True, True, True, False])).tolist() == found
