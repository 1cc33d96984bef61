"""Select: sure rows, and the grey zone for categories that are short of them."""

from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tsirius import tables
from tsirius.stages import select
from tsirius.stages.select import Config, choose, run

ROWS = st.lists(st.tuples(st.sampled_from(["обувь", "посуда", None]), st.sampled_from([0.1, 0.4, 0.5, 0.6, 0.9, 1.0])))


def table(rows: list[tuple[str | None, float]], doubtful: list[bool] | None = None) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "id": [str(number) for number in range(len(rows))],
            "label": pl.Series([label for label, _ in rows], dtype=pl.String),
            "confidence": pl.Series([None if label is None else p for label, p in rows], dtype=pl.Float32),
            "role": pl.Series([None] * len(rows), dtype=pl.String),
            "labellers": pl.Series([["lexicon"]] * len(rows), dtype=pl.List(pl.String)),
            "doubtful": pl.Series(doubtful or [False] * len(rows), dtype=pl.Boolean),
        }
    )


def test_reasons() -> None:
    rows = [("обувь", 0.9), ("обувь", 0.5), ("обувь", 0.45), ("обувь", 0.2), (None, 0.0), ("посуда", 0.7)]
    chosen = choose(table(rows), sure=0.6, grey=0.4, min_per_class=2, doubtful="drop")
    assert chosen["reason"].to_list() == ["sure", "grey, tops up", "grey, not needed", "unsure", "no label", "sure"]
    assert chosen["kept"].to_list() == [True, True, False, False, False, True]


def test_labels_that_are_likely_wrong() -> None:
    rows = table([("обувь", 0.9), ("обувь", 0.8), ("обувь", 0.5)], [True, False, True])
    dropped = choose(rows, sure=0.6, grey=0.4, min_per_class=2, doubtful="drop")
    assert dropped["reason"].to_list() == ["likely wrong", "sure", "likely wrong"]
    assert dropped["kept"].to_list() == [False, True, False]
    halved = choose(rows, sure=0.6, grey=0.4, min_per_class=2, doubtful="halve")
    assert halved["kept"].to_list() == [True, True, False]
    assert halved["confidence"].to_list() == pytest.approx([0.45, 0.8, 0.25])
    kept = choose(rows, sure=0.6, grey=0.4, min_per_class=3, doubtful="keep")
    assert kept["kept"].all() and kept["confidence"].to_list() == pytest.approx([0.9, 0.8, 0.5])


def test_what_no_labeller_was_asked_about_says_so() -> None:
    asked = table([("обувь", 0.9), (None, 0.0), (None, 0.0)]).with_columns(
        labellers=pl.Series([["lexicon"], [], None], dtype=pl.List(pl.String))
    )
    chosen = choose(asked, sure=0.6, grey=0.4, min_per_class=2, doubtful="drop")
    assert chosen["reason"].to_list() == ["sure", "no label", "not sampled"]
    assert chosen["kept"].to_list() == [True, False, False]


@given(ROWS, st.integers(0, 5))
def test_the_grey_zone_tops_up_and_no_more(rows: list[tuple[str | None, float]], min_per_class: int) -> None:
    chosen = choose(table(rows), sure=0.6, grey=0.4, min_per_class=min_per_class, doubtful="drop")
    assert chosen["id"].to_list() == [str(number) for number in range(len(rows))]
    sure, grey = Counter[str](), Counter[str]()
    for label, p in rows:
        # The column is 32-bit: 0.6 and 0.4 in it are a little above the thresholds, as a user means it.
        if label is not None and p >= 0.6:
            sure[label] += 1
        elif label is not None and p >= 0.4:
            grey[label] += 1
    kept = Counter(chosen.filter("kept")["label"].to_list())
    for label in ("обувь", "посуда"):
        missing = max(0, min_per_class - sure[label])
        assert kept[label] == sure[label] + min(missing, grey[label])
    topped = chosen.filter(pl.col("reason") == "grey, tops up")
    left = chosen.filter(pl.col("reason") == "grey, not needed")
    for label in ("обувь", "посуда"):
        low = topped.filter(pl.col("label") == label)["confidence"].min()
        high = left.filter(pl.col("label") == label)["confidence"].max()
        assert low is None or high is None or low >= high  # type: ignore[operator]  # polars types every minimum


def test_grey_above_sure_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"grey \(0.8\) is above sure \(0.6\)"):
        Config(sure=0.6, grey=0.8)
    assert Config(sure=0.6, grey=0.6)


def test_as_sure_as_the_thresholds_is_enough() -> None:
    rows = table([("обувь", 0.75), ("обувь", 0.5), ("обувь", 0.25), ("обувь", 0.125)])
    chosen = choose(rows, sure=0.75, grey=0.25, min_per_class=9, doubtful="drop")
    assert chosen["kept"].to_list() == [True, True, True, False]
    assert chosen.columns == ["id", "label", "confidence", "role", "labellers", "doubtful", "kept", "reason"]


def test_the_surest_of_each_category_top_up() -> None:
    rows = [("обувь", 0.45), ("обувь", 0.55), ("посуда", 0.59), ("обувь", 0.5), ("посуда", 0.58), ("посуда", 0.5)]
    chosen = choose(table(rows), sure=0.6, grey=0.4, min_per_class=2, doubtful="drop")
    assert chosen["kept"].to_list() == [False, True, True, True, True, False]


def test_the_first_of_equally_sure_rows_top_up() -> None:
    chosen = choose(table([("обувь", 0.5)] * 20), sure=0.6, grey=0.4, min_per_class=3, doubtful="drop")
    assert chosen["kept"].to_list() == [True] * 3 + [False] * 17


def test_a_label_without_confidence_is_unsure() -> None:
    rows = table([("обувь", 0.9)]).with_columns(confidence=pl.lit(None, dtype=pl.Float32))
    assert choose(rows, sure=0.6, grey=0.4, min_per_class=9, doubtful="drop")["reason"].to_list() == ["unsure"]
    assert choose(rows, sure=0.6, grey=0.0, min_per_class=9, doubtful="drop")["reason"].to_list() == ["grey, tops up"]


def labels(rows: list[tuple[str, str | None, float | None, bool]]) -> pl.DataFrame:
    """What the stage before publishes of (id, label, confidence, doubtful)."""
    schema = {name: tables.TAUGHT[name] for name in ("id", "label", "confidence", "doubtful")}
    others = [pl.lit(None, dtype=kind).alias(name) for name, kind in tables.TAUGHT.items() if name not in schema]
    table = pl.DataFrame(rows, schema=schema, orient="row").with_columns(others)
    return table.with_columns(labellers=pl.lit([], dtype=pl.List(pl.String)))


def test_the_stage_keeps_the_order_of_the_reviews_and_counts_reasons(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reviews = pl.DataFrame(
        [(f"r{n}", "shop.csv", n + 1, f"Отзыв {n}", f"отзыв {n}", n) for n in range(1004)],
        schema=dict(tables.REVIEWS), orient="row",
    )  # fmt: skip
    answers = [(f"r{n}", "обувь", 0.9, False) for n in range(4, 1004)]
    answers += [
        ("r0", None, None, False),
        ("r3", "посуда", 0.5, False),
        ("r2", "посуда", 0.8, True),
        ("r1", "посуда", 0.5, False),
    ]
    tables.write(reviews, tables.REVIEWS, tmp_path / "reviews.parquet")
    tables.write(labels(answers), tables.TAUGHT, tmp_path / "labels.parquet")
    given = {"ingest": tmp_path, "answers": tmp_path}

    counts = run(Config(sure=0.6, grey=0.4, min_per_class=1), given, tmp_path, seed=0, scratch=tmp_path)
    reasons = {"sure": 1000, "no label": 1, "grey, tops up": 1, "likely wrong": 1, "grey, not needed": 1}
    assert counts == {"rows": 1004, "kept": 1001, "reasons": reasons}
    assert next(iter(counts["reasons"])) == "sure", "the commonest first"
    out = capsys.readouterr().err
    assert out.startswith("  1,001 of 1,004 reviews kept: 1,000 sure, 1 ") and out.count(", 1 ") == 4
    labelled = tables.read(tmp_path / "labelled.parquet", tables.LABELLED)
    assert labelled["id"].equals(reviews["id"]) and labelled["clean"].equals(reviews["clean"])
    assert labelled["reason"].head(4).to_list() == ["no label", "grey, tops up", "likely wrong", "grey, not needed"]

    monkeypatch.setattr(select, "BATCH_ROWS", 100)  # batches are the whole
    run(Config(sure=0.6, grey=0.4, min_per_class=1), given, tmp_path, seed=0, scratch=tmp_path)
    assert tables.read(tmp_path / "labelled.parquet", tables.LABELLED).equals(labelled)

    config = Config(sure=0.95, grey=0.85, min_per_class=7, doubtful="halve")
    assert run(config, given, tmp_path, seed=0, scratch=tmp_path)["kept"] == 7
    labelled = tables.read(tmp_path / "labelled.parquet", tables.LABELLED)
    assert labelled["confidence"].to_list()[:4] == pytest.approx([None, 0.5, 0.4, 0.5])


def test_what_people_answered_decides_whatever_the_label(tmp_path: Path) -> None:
    roles = ["lesson", "copy", "several", "disputed", "exam", None, "unknown"]
    rows = table([("обувь", 0.1)] * 2 + [("обувь", 0.9)] * 3 + [("обувь", 0.5), ("обувь", 0.45)])
    chosen = choose(rows.with_columns(role=pl.Series(roles)), sure=0.6, grey=0.4, min_per_class=3, doubtful="drop")
    assert chosen["reason"].to_list() == [
        "answered", "copy of an answered one", "several products", "people are divided", "exam", "grey, tops up",
        "grey, not needed",
    ]  # fmt: skip
    assert chosen["kept"].to_list() == [True, True, False, False, False, True, False]


def test_reasons_are_told_from_the_commonest_on(tmp_path: Path) -> None:
    roles = ["exam"] * 3 + ["lesson"] * 6 + ["several"] * 2 + ["disputed"] * 4 + ["copy"] * 5
    ids = [f"r{n}" for n in range(len(roles))]
    reviews = pl.DataFrame(
        [(name, "shop.csv", n, name, name, n) for n, name in enumerate(ids)], schema=dict(tables.REVIEWS), orient="row"
    )
    taught = labels([(name, "обувь", 0.9, False) for name in ids]).with_columns(role=pl.Series(roles))
    tables.write(reviews, tables.REVIEWS, tmp_path / "reviews.parquet")
    tables.write(taught, tables.TAUGHT, tmp_path / "labels.parquet")
    counts = run(Config(), {"ingest": tmp_path, "answers": tmp_path}, tmp_path, seed=0, scratch=tmp_path)
    assert list(counts["reasons"].items()) == [
        ("answered", 6), ("copy of an answered one", 5), ("people are divided", 4), ("exam", 3),
        ("several products", 2),
    ]  # fmt: skip
