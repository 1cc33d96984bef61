"""The comparison refuses what does not answer the test file."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsirius.errors import UserError
from tsirius.io import compare, ids
from tsirius.io.source import open_source

NAMES = ["посуда", "обувь", "нет товара"]
AUTO = {"text_column": "auto", "id_column": "auto", "encoding": "auto", "text_required": False}
ROWS = [(f"r{row}", NAMES[row % 3]) for row in range(9)]

Rows = list[tuple[str, str]]


def compared(folder: Path, rows: Rows) -> dict[str, int]:
    (folder / "test.csv").write_text("id,text\n" + "".join(f"{name},кружка\n" for name, _ in ROWS), encoding="utf-8")
    (folder / "made.csv").write_text("id,category\n" + "".join(f"{a},{b}\n" for a, b in rows), encoding="utf-8")
    asked, written = (open_source(folder / name, **AUTO) for name in ("test.csv", "made.csv"))  # type: ignore[arg-type]  # of one kind
    return compare.check(written, asked, names=NAMES)


def test_a_whole_submission_passes(tmp_path: Path) -> None:
    assert compared(tmp_path, ROWS) == {"посуда": 3, "обувь": 3, "нет товара": 3}


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda rows: rows[:4] + rows[5:], "has 8 rows where the test file has 9; .*row 5: 'r5' for 'r4'"),
        (lambda rows: rows[:-1], "has 8 rows where the test file has 9"),
        (lambda rows: [*rows, ("r9", "обувь")], "has 10 rows where the test file has 9"),
        (lambda rows: [*rows[:2], rows[3], rows[2], *rows[4:]], "row 3: has the id 'r3' where the test file has 'r2'"),
        (lambda rows: rows[::-1], "row 1: has the id 'r8'"),
        (lambda rows: [*rows[:3], ("r3", "обувъ"), *rows[4:]], "row 4: unknown category 'обувъ'; did you mean 'обувь'"),
        (lambda rows: [*rows[:3], ("r3", ""), *rows[4:]], "row 4: unknown category ''"),
        (lambda rows: [*rows[:3], ("r1", "обувь"), *rows[4:]], "row 4: repeats the id 'r1' of row 2"),
    ],
)
def test_a_broken_one_is_refused(tmp_path: Path, harm: Callable[[Rows], Rows], message: str) -> None:
    with pytest.raises(UserError, match=message):
        compared(tmp_path, harm(list(ROWS)))


@pytest.mark.parametrize("rows", [2, 9])
def test_a_file_that_ends_early_is_refused_however_long_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(ids, "ROWS", 3)
    with pytest.raises(UserError, match=f"has {rows} rows where the test file has 9" if rows < 9 else "has 12 rows"):
        compared(tmp_path, ROWS[:2] if rows < 9 else [*ROWS, *((f"x{row}", "обувь") for row in range(3))])


def test_categories_that_are_as_common_keep_their_order(tmp_path: Path) -> None:
    assert list(compared(tmp_path, ROWS)) == NAMES


def test_one_without_ids_is_refused_where_the_file_has_ids(tmp_path: Path) -> None:
    compared(tmp_path, ROWS)
    (tmp_path / "bare.csv").write_text("category\nобувь\n", encoding="utf-8")
    asked, written = (open_source(tmp_path / name, **AUTO) for name in ("test.csv", "bare.csv"))  # type: ignore[arg-type]  # of one kind
    with pytest.raises(UserError, match="has no ids"):
        compare.check(written, asked, names=NAMES)


def test_drift_is_the_share_that_would_have_to_change() -> None:
    found = compare.drift({"обувь": 75, "посуда": 25}, {"обувь": 0.5, "посуда": 0.3, "нет товара": 0.2})
    assert found is not None and found.distance == pytest.approx(0.25)
    assert found.category == "обувь" and "75.0% predicted, 50.0% estimated" in found.line()
    assert compare.drift({}, {"обувь": 1.0}) is None and compare.drift({"обувь": 1}, {}) is None


@given(st.lists(st.integers(0, 50), min_size=3, max_size=3).filter(any))
def test_the_same_mix_has_not_drifted(counts: list[int]) -> None:
    named = dict(zip(NAMES, counts, strict=True))
    found = compare.drift(named, {name: count / sum(counts) for name, count in named.items()})
    assert found is not None and found.distance == 0
