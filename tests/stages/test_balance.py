"""Balance: quotas, even repeats, and a sample that is neither only the surest nor full of copies."""

from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tsirius import tables
from tsirius.stages.balance import Config, balance, fresh_ids, run

ROW = st.tuples(st.sampled_from(["обувь", "посуда"]), st.sampled_from([0.4, 0.7, 1.0]), st.integers(0, 9))


def examples(rows: list[tuple[str, float, int]]) -> pl.DataFrame:
    """Written rows of (label, confidence, group)."""
    return pl.DataFrame(
        [(f"r{n}", f"отзыв {n}", group, label, p, f"r{n}", "written", 1.0) for n, (label, p, group) in enumerate(rows)],
        schema=dict(tables.EXAMPLES),
        orient="row",
    )


@given(st.lists(ROW, max_size=40), st.integers(0, 12), st.integers(0, 12))
def test_quotas(rows: list[tuple[str, float, int]], few: int, many: int) -> None:
    if many:
        few = min(few, many)
    balanced = balance(examples(rows), min_per_class=few, max_per_class=many, seed=0)
    before, after = Counter(label for label, _, _ in rows), Counter(balanced["label"].to_list())
    for label, count in before.items():
        assert after[label] == max(few, min(count, many or count))
    assert after.keys() == before.keys()
    assert balanced["id"].is_unique().all()
    times = Counter(balanced["origin"].to_list())
    for label in after:
        of_label = [
            times[id] for id, name in balanced.select("id", "label").iter_rows() if name == label and id in times
        ]
        assert max(of_label) - min(of_label) <= 1, "repeated evenly"


def test_without_quotas_nothing_changes() -> None:
    train = examples([("обувь", 0.9, n) for n in range(5)])
    assert balance(train, min_per_class=0, max_per_class=0, seed=0).equals(train)


def test_repeats_know_their_source_and_the_surest_come_first() -> None:
    balanced = balance(examples([("обувь", 0.5, 0), ("обувь", 0.9, 1)]), min_per_class=5, max_per_class=0, seed=0)
    assert balanced.select("id", "origin", "method").rows() == [
        ("r0", "r0", "written"), ("r1", "r1", "written"),
        ("r1~r1", "r1", "repeat"), ("r0~r1", "r0", "repeat"), ("r1~r2", "r1", "repeat"),
    ]  # fmt: skip


def test_an_id_that_looks_like_a_repeat_is_not_taken_twice() -> None:
    assert list(fresh_ids(["a", "a"], taken={"a", "a~r1"})) == ["a~r2", "a~r3"]


def test_the_sample_prefers_sure_rows_but_not_only_them() -> None:
    rows = [("обувь", 1.0 if n % 2 else 0.5, n) for n in range(2000)]
    balanced = balance(examples(rows), min_per_class=0, max_per_class=400, seed=0)
    sure = (balanced["confidence"] == 1.0).sum()
    assert 225 < sure < 300
    assert balanced["id"].to_list() == sorted(balanced["id"].to_list(), key=lambda id: int(id[1:])), "the order stays"
    assert not balanced.equals(balance(examples(rows), min_per_class=0, max_per_class=400, seed=1))


def test_a_row_comes_into_the_sample_as_often_as_its_confidence_says() -> None:
    rows = [("обувь", 0.8, 0), ("обувь", 0.2, 1), ("посуда", 0.0, 2), ("посуда", 0.1, 3)]
    drawn = Counter[str]()
    for seed in range(2000):
        drawn.update(balance(examples(rows), min_per_class=0, max_per_class=1, seed=seed)["id"].to_list())
    assert drawn["r0"] == pytest.approx(1600, abs=70)  # of 2000, at 0.8 to 0.2
    assert 0 < drawn["r2"] < 60  # even confidence 0 has a chance, of 1 % beside 0.1


def test_a_null_confidence_is_the_lowest() -> None:
    rows = examples([("обувь", 0.5, n) for n in range(200)]).with_columns(
        confidence=pl.when(pl.col("group") < 100).then(pl.col("confidence"))
    )
    balanced = balance(rows, min_per_class=0, max_per_class=100, seed=0)
    assert balanced["confidence"].null_count() <= 5
    repeated = balance(rows, min_per_class=300, max_per_class=0, seed=0).filter(pl.col("method") == "repeat")
    assert repeated["origin"].to_list() == [f"r{n}" for n in range(100)]


def test_the_sample_takes_copies_last() -> None:
    rows = [("обувь", 0.9, 0)] * 90 + [("обувь", 0.5, n) for n in range(1, 20)]
    balanced = balance(examples(rows), min_per_class=0, max_per_class=20, seed=0)
    assert sorted(balanced["group"].to_list()) == list(range(20))


def test_the_sample_takes_second_copies_before_third_ones() -> None:
    rows = [("обувь", 0.9, 0)] * 9 + [("обувь", 0.5, 1)] * 3
    balanced = balance(examples(rows), min_per_class=0, max_per_class=6, seed=0)
    assert Counter(balanced["group"].to_list()) == {0: 3, 1: 3}


def test_as_many_rows_as_the_maximum_stay_as_they_are() -> None:
    train = examples([("обувь", 0.9, n % 2) for n in range(5)])
    assert balance(train, min_per_class=0, max_per_class=5, seed=0).equals(train)


def test_minimum_above_maximum_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"min_per_class \(9\) is above max_per_class \(5\)"):
        Config(min_per_class=9, max_per_class=5)
    assert Config(min_per_class=9, max_per_class=0) and Config(min_per_class=9, max_per_class=9)
    with pytest.raises(ValidationError, match="above"):
        Config(min_per_class=2, max_per_class=1)


def test_the_stage_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [("посуда", 0.9, 99)] + [("обувь", 0.9, n) for n in range(30)]
    tables.write(examples(rows), tables.EXAMPLES, tmp_path / "train.parquet")
    out = tmp_path / "out"
    out.mkdir()
    counts = run(Config(min_per_class=4, max_per_class=10), {"split": tmp_path}, out, seed=0, scratch=tmp_path)
    assert counts == {
        "rows": 14,
        "categories": {"обувь": 10, "посуда": 4},
        "repeated": {"посуда": 3},
        "cut": {"обувь": 20},
    }
    assert list(counts["categories"]) == ["обувь", "посуда"], "the commonest first"
    assert capsys.readouterr().err == "  посуда: oversampled from 1 to 4 reviews\n  обувь: 10 of 30 reviews sampled\n"
    written = tables.read(out / "train.parquet", tables.EXAMPLES)
    config = {"min_per_class": 4, "max_per_class": 10}
    assert written.equals(balance(examples(rows), **config, seed=0))
    run(Config(**config), {"split": tmp_path}, out, seed=1, scratch=tmp_path)
    assert not tables.read(out / "train.parquet", tables.EXAMPLES).equals(written)


def test_a_stage_that_changes_nothing_is_silent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tables.write(examples([("обувь", 0.9, n) for n in range(10)]), tables.EXAMPLES, tmp_path / "train.parquet")
    (tmp_path / "out").mkdir()
    config = Config(min_per_class=10, max_per_class=10)
    counts = run(config, {"split": tmp_path}, tmp_path / "out", seed=0, scratch=tmp_path)
    assert (counts["repeated"], counts["cut"], capsys.readouterr().err) == ({}, {}, "")
