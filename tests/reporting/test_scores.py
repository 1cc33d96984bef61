"""Scores in the report: confused pairs, intervals, reliability, training curves."""

from __future__ import annotations

import polars as pl

from tsirius.reporting import scores


def test_pairs_are_the_most_confused_with_their_most_confident_examples() -> None:
    names, confusion = ["a", "b", "c"], [[5, 3, 0], [1, 5, 4], [0, 0, 2]]
    predictions = pl.DataFrame(
        {"id": ["1", "2", "3", "4"], "clean": ["sure", "unsure", "sure", "other"], "label": ["b", "b", "b", "a"],
         "predicted": ["c", "c", "c", "b"], "confidence": [0.9, 0.5, 0.8, 0.7]}
    )  # fmt: skip
    pairs = scores.confused(names, confusion, predictions, pairs=2, examples=5)
    assert [(pair["label"], pair["predicted"], pair["rows"], pair["of"]) for pair in pairs] == [
        ("b", "c", 4, 10),
        ("a", "b", 3, 8),
    ]
    assert [example["text"] for example in pairs[0]["examples"]] == ["sure", "unsure"]  # a repeated text is shown once
    assert scores.confused(names, confusion, None, pairs=9, examples=5)[2]["examples"] == []


def test_a_score_of_nothing_is_no_zero() -> None:
    confusion = [[5, 1, 0, 0], [0, 0, 0, 0], [2, 0, 0, 0], [0, 0, 0, 0]]
    names = ["a", "b", "c", "d"]
    given = [{"category": name, "f1": 0.0, "precision": 0.0, "recall": 0.0, "support": 0} for name in names]
    found = {row["category"]: (row["precision"], row["recall"], row["f1"])
             for row in scores.with_intervals(given, confusion)}  # fmt: skip
    assert found["b"] == (0.0, None, 0.0), "predicted, and wrongly"
    assert found["c"] == (None, 0.0, 0.0), "there, and never predicted"
    assert found["d"] == (None, None, None), "neither"


def test_reliability_says_how_far_confidence_is_off() -> None:
    rows = pl.DataFrame({"label": ["a"] * 100, "predicted": ["a"] * 60 + ["b"] * 40, "confidence": [0.9] * 100})
    found = scores.reliability(rows, "against gold")
    assert found is not None and "calibration error 0.300" in found["caption"] and "accuracy 0.600" in found["caption"]
    assert scores.reliability(rows.clear(), "") is None and scores.reliability(None, "") is None


def test_the_learning_curves_are_drawn_from_two_points_on() -> None:
    points = [{"step": 10, "weighted_f1": 0.5, "eval_loss": 1.0}, {"step": 20, "weighted_f1": 0.8, "eval_loss": 0.7},
              {"step": 30, "weighted_f1": 0.7, "eval_loss": 0.9}]  # fmt: skip
    for metric, kept in ((None, [True, False]), ("weighted_f1", [True, False]), ("eval_loss", [False, True])):
        score, loss = scores.learning({"evaluations": points}, metric=metric)
        assert "0.800 at best, 0.700 at the last" in score["caption"] and "0.700 at best, 0.900 at" in loss["caption"]
        assert [curve["selects"] for curve in (score, loss)] == kept
        assert ['class="mark"' in curve["chart"] for curve in (score, loss)] == kept
        assert score["chart"].count("<circle") == loss["chart"].count("<circle") == 3
    assert scores.learning({"evaluations": points[:1]}, metric=None) == scores.learning({}, metric=None) == []
