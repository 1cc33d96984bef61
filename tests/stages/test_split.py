"""Split: shares, groups, tiny categories, and a place that hardly changes when rows are added."""

from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsirius import tables
from tsirius.errors import UserError
from tsirius.stages.split import Config, hold_back, run

ROWS = st.lists(
    st.tuples(st.integers(0, 12), st.sampled_from(["обувь", "посуда", "нет товара"])), min_size=1, max_size=60
)


def held(groups: list[int], labels: list[str], share: float = 0.15, seed: int = 0) -> list[bool]:
    return hold_back([f"r{row}" for row in range(len(groups))], groups, labels, stay=(), share=share, seed=seed)


@given(ROWS, st.floats(0, 0.99), st.integers(0, 3))
def test_groups_are_whole_and_every_category_stays_in_training(
    rows: list[tuple[int, str]], share: float, seed: int
) -> None:
    groups, labels = [group for group, _ in rows], [label for _, label in rows]
    away = held(groups, labels, share, seed)
    assert len({(group, side) for group, side in zip(groups, away, strict=True)}) == len(set(groups))
    assert {label for label, side in zip(labels, away, strict=True) if not side} == set(labels)


@given(st.lists(st.sampled_from(["обувь", "посуда", "нет товара"]), min_size=1, max_size=200), st.floats(0, 0.9))
def test_without_duplicates_the_share_is_exact(labels: list[str], share: float) -> None:
    away = held(list(range(len(labels))), labels, share)
    for label, rows in Counter(labels).items():
        count = sum(side for side, name in zip(away, labels, strict=True) if name == label)
        assert count == min(int(share * rows + 0.5), rows - 1)


def test_a_large_group_is_not_taken_for_a_small_share() -> None:
    groups = [0] * 50 + list(range(1, 51))
    for seed in range(10):
        away = held(groups, ["обувь"] * 100, 0.2, seed)
        assert sum(away) == 20 and not away[0]


def test_one_row_or_one_group_stays_in_training() -> None:
    labels = ["обувь"] * 20 + ["посуда"] + ["текстиль"] * 5
    groups = [*range(21), 21, 21, 21, 21, 21]
    away = held(groups, labels, 0.5)
    assert sum(away) == 10 and not any(away[20:])


def test_a_mixed_group_never_takes_the_last_of_a_label_along() -> None:
    groups, labels = [0, 0, 0, 1, 2], ["обувь", "обувь", "посуда", "обувь", "обувь"]
    for seed in range(20):
        assert not any(held(groups, labels, 0.6, seed)[:3])


def test_a_group_belongs_to_most_of_its_rows() -> None:
    # As one of «а» the group has 4 rows where 2 of 10 are wanted: too many. As one of «б» its row would be welcome.
    groups, labels = [0] * 5 + list(range(1, 11)), ["а"] * 4 + ["б"] + ["а"] * 6 + ["б"] * 4
    assert not any(held(groups, labels, 0.2, seed)[0] for seed in range(20))


def test_a_group_half_of_each_belongs_to_the_rarer_label() -> None:
    # Its 2 rows are too many of 5 with «б», of which 1 is wanted, but not of 20 with «а».
    groups, labels = [0] * 4 + list(range(1, 22)), ["а", "а", "б", "б"] + ["а"] * 18 + ["б"] * 3
    assert not any(held(groups, labels, 0.2, seed)[0] for seed in range(20))


def test_common_labels_count_what_rare_ones_brought_along() -> None:
    groups, labels = [0] * 3 + list(range(1, 28)), ["я", "я", "а"] + ["я"] * 8 + ["а"] * 19
    seen = set()
    for seed in range(20):
        away = held(groups, labels, 0.2, seed)
        assert Counter(label for label, side in zip(labels, away, strict=True) if side) == {"а": 4, "я": 2}
        seen.add(away[0])
    assert seen == {True, False}


def test_a_group_that_brings_the_share_no_nearer_stays() -> None:
    assert not any(held([row // 2 for row in range(10)], ["обувь"] * 10, 0.1))


@pytest.mark.parametrize("lengths", [(2, 3, 3), (3, 2, 3), (3, 3, 2)])
def test_lengths_that_differ_are_refused(lengths: tuple[int, int, int]) -> None:
    ids, groups, labels = (list(values[:n]) for values, n in zip(("abc", (0, 1, 2), "xyz"), lengths, strict=True))
    with pytest.raises(ValueError, match="zip"):
        hold_back(ids, groups, labels, stay=(), share=0.5, seed=0)


def test_rows_added_at_the_end_move_few_others() -> None:
    labels = ["обувь", "посуда", "обувь", "нет товара"] * 250
    before = held(list(range(1000)), labels)
    after = held(list(range(1010)), labels + labels[:10])
    assert sum(one != other for one, other in zip(before, after[:1000], strict=True)) <= 10


def test_another_seed_gives_another_split() -> None:
    labels = ["обувь"] * 100
    assert held(list(range(100)), labels, seed=0) != held(list(range(100)), labels, seed=1)


def labelled(rows: list[tuple[str | None, bool]]) -> pl.DataFrame:
    return pl.DataFrame(
        [(f"r{n}", f"отзыв {n}", n, label, 0.9, kept, "sure", 1.0) for n, (label, kept) in enumerate(rows)],
        schema=dict(tables.LABELLED),
        orient="row",
    )


def split(folder: Path, rows: list[tuple[str | None, bool]], seed: int = 0, **settings: float) -> dict[str, object]:
    tables.write(labelled(rows), tables.LABELLED, folder / "labelled.parquet")
    return run(Config(**settings), {"select": folder}, folder, seed=seed, scratch=folder)


def test_only_kept_rows_go_on_and_small_categories_are_reported(tmp_path: Path) -> None:
    counts = split(tmp_path, [("обувь", True)] * 20 + [("обувь", False), (None, False), ("посуда", True)])
    assert counts == {
        "train": 18,
        "valid": 3,
        "categories": {"train": {"обувь": 17, "посуда": 1}, "valid": {"обувь": 3}},
        "unjudged": ["посуда"],
    }
    train = tables.read(tmp_path / "train.parquet", tables.EXAMPLES)
    assert train["origin"].equals(train["id"]) and set(train["method"]) == {"written"}
    assert train["weight"].to_list() == [1.0] * 18


def test_the_stage_tells_what_validation_cannot_judge(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [("обувь", True)] * 1200 + [("посуда", True)] + [("текстиль", True)] * 2
    split(tmp_path, [(label, kept) for label, kept in rows])
    assert capsys.readouterr().err == (
        "  1,023 training reviews, 180 validation reviews\n"
        "  too small for validation: текстиль (2), посуда (1)\n"
    )  # fmt: skip
    split(tmp_path, [("обувь", True)] * 3, valid=0)
    assert capsys.readouterr().err == "  3 training reviews, 0 validation reviews\n"


def test_the_stage_draws_by_its_seed(tmp_path: Path) -> None:
    rows = [("обувь", True)] * 40
    one, same, other = (
        [split(tmp_path, rows, seed=seed), tables.read(tmp_path / "valid.parquet", tables.EXAMPLES)["id"].to_list()][1]
        for seed in (0, 0, 1)
    )
    assert one == same != other


@pytest.mark.parametrize(("rows", "share"), [([("обувь", True)], 0.15), ([("обувь", True)] * 9, 0.0)])
def test_validation_may_be_empty(tmp_path: Path, rows: list[tuple[str | None, bool]], share: float) -> None:
    assert split(tmp_path, rows, valid=share)["valid"] == 0
    assert tables.read(tmp_path / "valid.parquet", tables.EXAMPLES).is_empty()


@pytest.mark.parametrize("rows", [[], [(None, False)], [("обувь", False)] * 3])
def test_nothing_kept_is_refused_with_a_remedy(tmp_path: Path, rows: list[tuple[str | None, bool]]) -> None:
    with pytest.raises(
        UserError, match=r"^select: none of \d labelled reviews was kept.*\. Lower select\.sure.*words\.$"
    ):
        split(tmp_path, rows)


def test_what_people_answered_stays_in_training_with_its_duplicates(tmp_path: Path) -> None:
    reasons = ["answered", "copy of an answered one", "sure", "sure"] * 10
    groups = [n // 4 * 2 if n % 4 in (0, 2) else n for n in range(40)]  # the third of each four copies the first
    table = labelled([("обувь", True)] * 40).with_columns(
        reason=pl.Series(reasons), group=pl.Series(groups, dtype=tables.LABELLED["group"])
    )
    tables.write(table, tables.LABELLED, tmp_path / "labelled.parquet")
    run(Config(valid=0.9), {"select": tmp_path}, tmp_path, seed=0, scratch=tmp_path)
    held_back = tables.read(tmp_path / "valid.parquet", tables.EXAMPLES)["id"].to_list()
    assert len(held_back) == 9 and set(held_back) < {f"r{n}" for n in range(3, 40, 4)}  # nine tenths of the others
