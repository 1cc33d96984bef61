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
    made = balance(examples(rows), min_per_class=few, max_per_class=many, seed=0)
    before, after = Counter(label for label, _, _ in rows), Counter(made["label"].to_list())
    for label, count in before.items():
        assert after[label] == max(few, min(count, many or count))
    assert after.keys() == before.keys()
    assert made["id"].is_unique().all()
    times = Counter(made["origin"].to_list())
    for label in after:
        of_label = [times[id] for id, name in made.select("id", "label").iter_rows() if name == label and id in times]
        assert max(of_label) - min(of_label) <= 1, "repeated evenly"


def test_without_quotas_nothing_changes() -> None:
    train = examples([("обувь", 0.9, n) for n in range(5)])
    assert balance(train, min_per_class=0, max_per_class=0, seed=0).equals(train)


def test_repeats_know_their_source_and_the_surest_come_first() -> None:
    made = balance(examples([("обувь", 0.5, 0), ("обувь", 0.9, 1)]), min_per_class=5, max_per_class=0, seed=0)
    assert made.select("id", "origin", "method").rows() == [
        ("r0", "r0", "written"), ("r1", "r1", "written"),
        ("r1~r1", "r1", "repeat"), ("r0~r1", "r0", "repeat"), ("r1~r2", "r1", "repeat"),
    ]  # fmt: skip


def test_an_id_that_looks_like_a_repeat_is_not_taken_twice() -> None:
    assert list(fresh_ids(["a", "a"], taken={"a", "a~r1"})) == ["a~r2", "a~r3"]


def test_the_sample_prefers_sure_rows_but_not_only_them() -> None:
    rows = [("обувь", 1.0 if n % 2 else 0.5, n) for n in range(2000)]
    made = balance(examples(rows), min_per_class=0, max_per_class=400, seed=0)
    sure = (made["confidence"] == 1.0).sum()
    assert 225 < sure < 300
    assert made["id"].to_list() == sorted(made["id"].to_list(), key=lambda id: int(id[1:])), "the order stays"
    assert not made.equals(balance(examples(rows), min_per_class=0, max_per_class=400, seed=1))


def test_the_sample_takes_copies_last() -> None:
    rows = [("обувь", 0.9, 0)] * 90 + [("обувь", 0.5, n) for n in range(1, 20)]
    made = balance(examples(rows), min_per_class=0, max_per_class=20, seed=0)
    assert sorted(made["group"].to_list()) == list(range(20))


def test_minimum_above_maximum_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"min_per_class \(9\) is above max_per_class \(5\)"):
        Config(min_per_class=9, max_per_class=5)
    assert Config(min_per_class=9, max_per_class=0)


def test_the_stage_counts(tmp_path: Path) -> None:
    rows = [("обувь", 0.9, n) for n in range(30)] + [("посуда", 0.9, 99)]
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
