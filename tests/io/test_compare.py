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
    (folder / "written.csv").write_text("id,category\n" + "".join(f"{a},{b}\n" for a, b in rows), encoding="utf-8")
    asked, written = (open_source(folder / name, **AUTO) for name in ("test.csv", "written.csv"))  # type: ignore[arg-type]  # of one kind
    return compare.check(written, asked, names=NAMES, escaped=False)


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


def test_a_refusal_says_where_and_what_to_do(tmp_path: Path) -> None:
    def refusal(rows: Rows) -> str:
        with pytest.raises(UserError) as caught:
            compared(tmp_path, rows)
        return str(caught.value).removeprefix(str(tmp_path / "written.csv"))

    assert refusal([ROWS[1], ROWS[0], *ROWS[2:]]) == (
        ", row 1: has the id 'r1' where the test file has 'r0': rows are missing or out of order."
        " Predict the file again."
    )
    assert refusal(ROWS[1:]) == (
        ": has 8 rows where the test file has 9; the first that differs is row 1: 'r1' for 'r0'."
        " Predict the file again."
    )
    assert refusal(ROWS[:-1]) == ": has 8 rows where the test file has 9. Predict the file again."
    assert refusal([("r0", "мебель"), *ROWS[1:]]) == ", row 1: unknown category 'мебель'. Predict the file again."


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda rows: [*rows[:4], rows[5], rows[4], *rows[6:]], "row 5: has the id 'r5' where the test file has 'r4'"),
        (lambda rows: [rows[1], rows[0], *rows[2:7], rows[8], rows[7]], "row 1: has the id 'r1'"),
        (lambda rows: [*rows[:7], ("r7", "мебель"), rows[8]], "row 8: unknown category"),
        (lambda rows: [*rows[:8], ("r2", "обувь")], "row 9: repeats the id 'r2' of row 3"),
        (lambda rows: [*rows[:4], *rows[5:]], "has 8 rows where the test file has 9; .* row 5: 'r5' for 'r4'"),
    ],
)
def test_a_fault_is_found_wherever_it_is_in_a_long_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: Callable[[Rows], Rows], message: str
) -> None:
    monkeypatch.setattr(ids, "ROWS", 3)
    with pytest.raises(UserError, match=message):
        compared(tmp_path, harm(list(ROWS)))
    assert compared(tmp_path, ROWS) == dict.fromkeys(NAMES, 3)


@pytest.mark.parametrize("rows", [2, 9])
def test_a_file_that_ends_early_is_refused_however_long_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(ids, "ROWS", 3)
    with pytest.raises(UserError, match=f"has {rows} rows where the test file has 9" if rows < 9 else "has 12 rows"):
        compared(tmp_path, ROWS[:2] if rows < 9 else [*ROWS, *((f"x{row}", "обувь") for row in range(3))])


def test_categories_that_are_as_common_keep_their_order(tmp_path: Path) -> None:
    assert list(compared(tmp_path, ROWS)) == NAMES


def test_the_commonest_category_comes_first(tmp_path: Path) -> None:
    few = [(f"r{row}", NAMES[2 if row < 4 else 1 if row < 7 else 0]) for row in range(9)]
    assert list(compared(tmp_path, few).items()) == [("нет товара", 4), ("обувь", 3), ("посуда", 2)]


def test_a_file_without_ids_is_compared_by_its_rows(tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("text\nкружка\nботинки\n", encoding="utf-8")
    for lines, expected in (("кружка,обувь\nботинки,обувь\n", {"обувь": 2}), ("кружка,обувь\n", None)):
        (tmp_path / "written.csv").write_text("text,category\n" + lines, encoding="utf-8")
        asked, written = (open_source(tmp_path / name, **AUTO) for name in ("test.csv", "written.csv"))  # type: ignore[arg-type]  # of one kind
        if expected:
            assert compare.check(written, asked, names=NAMES, escaped=False) == expected
        else:
            with pytest.raises(UserError, match="has 1 rows where the test file has 2"):
                compare.check(written, asked, names=NAMES, escaped=False)


def test_one_without_ids_is_refused_where_the_file_has_ids(tmp_path: Path) -> None:
    compared(tmp_path, ROWS)
    (tmp_path / "bare.csv").write_text("category\nобувь\n", encoding="utf-8")
    asked, written = (open_source(tmp_path / name, **AUTO) for name in ("test.csv", "bare.csv"))  # type: ignore[arg-type]  # of one kind
    with pytest.raises(UserError, match=r"bare\.csv: has no ids, the test file has\. Predict the file again\.$"):
        compare.check(written, asked, names=NAMES, escaped=False)


def test_drift_is_the_share_that_would_have_to_change() -> None:
    found = compare.drift({"обувь": 75, "посуда": 25}, {"обувь": 0.5, "посуда": 0.3, "нет товара": 0.2})
    assert found is not None and found.distance == pytest.approx(0.25)
    assert found.category == "обувь" and "75.0% predicted, 50.0% estimated" in found.line()
    assert found.to_dict() == {"distance": 0.25, "category": "обувь", "predicted": 0.75, "estimated": 0.5}
    assert compare.drift({}, {"обувь": 1.0}) is None and compare.drift({"обувь": 1}, {}) is None


@given(st.lists(st.integers(0, 50), min_size=3, max_size=3).filter(any))
def test_the_same_mix_has_not_drifted(counts: list[int]) -> None:
    named = dict(zip(NAMES, counts, strict=True))
    found = compare.drift(named, {name: count / sum(counts) for name, count in named.items()})
    assert found is not None and found.distance == 0


def test_estimated_shares_need_not_add_up_to_one_nor_name_every_category() -> None:
    found = compare.drift({"а": 1, "б": 2}, {"в": 3.0, "а": 3.0})
    assert found == compare.Drift(distance=0.6667, category="б", predicted=0.6667, estimated=0.0)
    assert compare.drift({"а": 1}, {"в": 3.0, "а": 3.0}) == compare.Drift(0.5, "а", 1.0, 0.5)
    assert compare.drift({"а": 0}, {"а": 1.0}) is None and compare.drift({"а": 1}, {"а": 0.0}) is None


@given(st.lists(st.tuples(st.integers(1, 999), st.floats(0.01, 9)), min_size=1, max_size=9))
def test_drift_is_told_to_four_digits(mixes: list[tuple[int, float]]) -> None:
    found = compare.drift(
        {str(k): rows for k, (rows, _) in enumerate(mixes)}, {str(k): share for k, (_, share) in enumerate(mixes)}
    )
    assert found is not None
    rows, share = mixes[int(found.category)]
    predicted, estimated = rows / sum(rows for rows, _ in mixes), share / sum(share for _, share in mixes)
    assert (found.predicted, found.estimated) == (round(predicted, 4), round(estimated, 4))
    assert abs(predicted - estimated) <= 2 * found.distance + 1e-4


@pytest.mark.parametrize("spelled", ["нет\u00a0товара", "нет  товара", "\u200bнет товара", "Нет товара"])
def test_categories_count_under_their_own_spelling(tmp_path: Path, spelled: str) -> None:
    rows = [(name, spelled if category == "нет товара" else category) for name, category in ROWS]
    assert compared(tmp_path, rows) == {"посуда": 3, "обувь": 3, "нет товара": 3}


def test_cells_that_a_spreadsheet_would_run_are_compared_as_they_were_before(tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("id,text\n=1,кружка\n'2,ботинки\n", encoding="utf-8")
    (tmp_path / "written.csv").write_text("id,category\n'=1,'+обувь\n'2,посуда\n", encoding="utf-8")
    asked, written = (open_source(tmp_path / name, **AUTO) for name in ("test.csv", "written.csv"))  # type: ignore[arg-type]  # of one kind
    assert compare.check(written, asked, names=["посуда", "+обувь"], escaped=True) == {"посуда": 1, "+обувь": 1}
    with pytest.raises(UserError, match=r"row 1: unknown category \"'\+обувь\""):
        compare.check(written, asked, names=["посуда", "+обувь"], escaped=False)
    with pytest.raises(UserError, match=r"row 1: has the id \"'=1\" where the test file has '=1'"):
        compare.check(written, asked, names=["посуда", "'+обувь"], escaped=False)
