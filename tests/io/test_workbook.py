"""Excel workbooks: what one library writes another reads, and what a person's workbook holds is read as text."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from datetime import date, datetime
from pathlib import Path
from typing import Any

import openpyxl
import polars as pl
import pytest
import xlsxwriter
from hypothesis import example, given
from hypothesis import strategies as st
from python_calamine import CalamineWorkbook

from tsirius.errors import UserError
from tsirius.io import workbook
from tsirius.io.readers import open_workbook
from tsirius.io.source import KEPT, describe_source, open_source, read_batches
from tsirius.io.workbook import new_sheet, typed

AUTO = {"text_column": "auto", "id_column": "auto", "encoding": "auto", "text_required": True}
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def save(path: Path, rows: list[list[Any]], *, sheet: str = "Отзывы") -> Path:
    book = openpyxl.Workbook()
    assert book.active is not None
    book.active.title = sheet
    for row in rows:
        book.active.append(row)
    book.save(path)
    return path


def read(path: Path, keep: tuple[str, ...] = (), **settings: Any) -> pl.DataFrame:
    return pl.concat(read_batches(open_source(path, **{**AUTO, **settings}), rows=1000, keep=keep))


def cells(path: Path) -> list[list[str]]:
    with open_workbook(path, "", sheet="auto") as sheet:
        return list(sheet.rows)


@given(st.lists(st.lists(TEXTS, min_size=2, max_size=2), min_size=1, max_size=5))
@example([["<r>b</r>", "<r><t>x</t></r>"], ["_x0041_", "a\r\nb\t\x01"], ["=1", "http://a.ru"], ["\ufffe", " \u00a0x "]])
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]) -> None:
    path = tmp_path_factory.mktemp("book") / "a.xlsx"
    with new_sheet(path, ["a", "b"], texts=["b"]) as add:
        add(rows)
    expected = [[cell if cell not in workbook.ERRORS else "" for cell in row] for row in rows]
    found = [row + [""] * (2 - len(row)) for row in cells(path)[1:]]
    assert found + [["", ""]] * (len(rows) - len(found)) == expected


@given(st.lists(st.text(st.characters(categories=["L", "N", "P", "Zs"]), min_size=1), min_size=1, max_size=5))
def test_a_second_library_reads_the_same(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    path = tmp_path_factory.mktemp("book") / "a.xlsx"
    with new_sheet(path, ["text"], texts=["text"]) as add:
        add([text] for text in texts)
    assert CalamineWorkbook.from_path(path).get_sheet_by_index(0).to_python()[1:] == [[text] for text in texts]


@given(
    st.one_of(
        st.integers(-(10**17), 10**17).map(str),
        st.decimals(-(10**9), 10**9, places=6).map(str),
        st.floats(allow_nan=False).map(repr),
        st.dates().map(str),
        st.datetimes(max_value=datetime(2100, 1, 1)).map(lambda moment: moment.isoformat(" ", "seconds")),
        st.from_regex(r"-?0?[0-9]{1,4}[.,-][0-9]{1,3}", fullmatch=True),
    )
)
@example("2024-02-30")
@example("0.1")
@example("2024-01-31 00:00:00")
def test_a_number_or_a_date_is_one_and_is_read_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, cell: str
) -> None:
    path = tmp_path_factory.mktemp("book") / "a.xlsx"
    with new_sheet(path, ["price"], texts=[]) as add:
        add([[typed(cell)]])
    assert cells(path)[1:] == [[cell]]


def test_numbers_and_dates_are_written_as_such(tmp_path: Path) -> None:
    with new_sheet(tmp_path / "a.xlsx", ["a", "b", "c", "d"], texts=[]) as add:
        add([[typed(cell) for cell in ("5", "4.25", "2024-03-01", "007")]])
    row = CalamineWorkbook.from_path(tmp_path / "a.xlsx").get_sheet_by_index(0).to_python()[1]
    assert row == [5, 4.25, date(2024, 3, 1), "007"]


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        with new_sheet(tmp_path / f"{name}.xlsx", ["text"], texts=["text"]) as add:
            add([["кружка"], [0.5]])
    assert (tmp_path / "a.xlsx").read_bytes() == (tmp_path / "b.xlsx").read_bytes()


def test_a_cell_holds_so_many_characters(tmp_path: Path) -> None:
    with new_sheet(tmp_path / "a.xlsx", ["text"], texts=["text"]) as add:
        add([["я" * 40_000], ["👍" * 20_000]])
    assert [len(row[0].encode("utf-16-le")) // 2 for row in cells(tmp_path / "a.xlsx")[1:]] == [32_767, 32_766]


def test_more_rows_than_a_sheet_holds_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbook, "ROWS", 3)
    with pytest.raises(UserError, match="3 rows and a header"), new_sheet(tmp_path / "a.xlsx", ["a"], texts=[]) as add:
        add([["1"], ["2"], ["3"]])


def test_a_persons_workbook(tmp_path: Path) -> None:
    rows = [
        [None, None, None],
        ["id", "Отзыв", "Дата", "Цена", "Доля"],
        [1001.0, "Кружка", datetime(2024, 3, 1), 10, 0.25],
        [1002, "  Тапки\nжмут ", datetime(2024, 3, 1, 12, 30), 7.0, True],
        [None, None, None],
        ["1003", "#N/A", "", None],
    ]
    path = save(tmp_path / "отзывы.xlsx", rows)
    found = read(path, keep=("Дата", "Цена", "Доля"))
    assert found["id"].to_list() == ["1001", "1002", "1003"]
    assert found["row"].to_list() == [1, 2, 3]
    assert found["text"].to_list() == ["Кружка", "  Тапки\nжмут ", ""]
    assert found[f"{KEPT}Дата"].to_list() == ["2024-03-01", "2024-03-01 12:30:00", ""]
    assert found[f"{KEPT}Цена"].to_list() == ["10", "7", ""]
    assert found[f"{KEPT}Доля"].to_list() == ["0.25", "TRUE", ""]


def test_a_formula_is_read_by_its_last_result(tmp_path: Path) -> None:
    book = xlsxwriter.Workbook(str(tmp_path / "a.xlsx"))
    sheet = book.add_worksheet()
    sheet.write_row(0, 0, ["id", "text"])
    sheet.write_formula(1, 0, "=1+1", None, 2)
    sheet.write_formula(1, 1, '="Круж"&"ка"', None, "Кружка")
    sheet.merge_range(2, 0, 2, 1, "слитая")
    book.close()
    assert read(tmp_path / "a.xlsx").select("id", "text").rows() == [("2", "Кружка"), ("слитая", "")]


@pytest.mark.parametrize(
    ("sheet", "text"),
    [("auto", "видимый"), ("Отзывы", "видимый"), (1, "скрытый"), ("3", "третий"), (" 2024", "третий")],
)
def test_a_sheet_is_named_or_numbered(tmp_path: Path, sheet: str | int, text: str) -> None:
    book = openpyxl.Workbook()
    for name, content in (("скрыт", "скрытый"), ("Отзывы", "видимый"), ("2024", "третий")):
        added = book.create_sheet(name)
        added.append(["text"])
        added.append([content])
        added.sheet_state = "hidden" if name == "скрыт" else "visible"
    del book["Sheet"]
    book.save(tmp_path / "a.xlsx")
    source = open_source(tmp_path / "a.xlsx", **AUTO, sheet=sheet)
    assert read(tmp_path / "a.xlsx", sheet=sheet)["text"].to_list() == [text]
    assert f"sheet {source.sheet!r} of 3" in describe_source(source)
    with pytest.raises(UserError, match="no sheet 'Отзвы'; did you mean 'Отзывы'"):
        open_source(tmp_path / "a.xlsx", **AUTO, sheet="Отзвы")


def test_a_title_above_the_header_is_refused_as_in_csv(tmp_path: Path) -> None:
    path = save(tmp_path / "a.xlsx", [["Отчёт за март"], [], ["№", "Отзыв"], [1, "Кружка"]])
    with pytest.raises(UserError, match="has its column names in row 3, after a title"):
        read(path)


def test_a_sheet_without_a_header_loses_no_review(tmp_path: Path) -> None:
    path = save(tmp_path / "a.xlsx", [["Кружка разбилась"], ["Тапки жмут"]])
    assert read(path)["text"].to_list() == ["Кружка разбилась", "Тапки жмут"]


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".zst"])
def test_a_compressed_workbook(tmp_path: Path, suffix: str) -> None:
    from tsirius.io.writers import open_compressed

    data = save(tmp_path / "a.xlsx", [["text"], ["Кружка"]]).read_bytes()
    with open_compressed(tmp_path / f"a.xlsx{suffix}", suffix[1:]) as out:
        out.write(data)
    assert read(tmp_path / f"a.xlsx{suffix}")["text"].to_list() == ["Кружка"]


@given(st.data())
def test_a_damaged_workbook_is_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("book")
    with new_sheet(folder / "good.xlsx", ["id", "text"], texts=[]) as add:
        add([[1, "Кружка"], [2, "Тапки"]])
    good = bytearray((folder / "good.xlsx").read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        good[data.draw(st.integers(4, len(good) - 1))] = data.draw(st.integers(0, 255))
    (folder / "a.xlsx").write_bytes(good[: data.draw(st.integers(30, len(good)))])
    try:
        read(folder / "a.xlsx")
    except UserError as error:
        assert "\n" not in str(error) and "a.xlsx" in str(error)


def test_a_workbook_without_a_part_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "good.xlsx", [["text"], ["Кружка"]])
    with zipfile.ZipFile(path) as good:
        names = good.namelist()
        for left_out in names:
            with zipfile.ZipFile(tmp_path / "a.xlsx", "w") as bad:
                for name in names:
                    if name != left_out:
                        bad.writestr(name, good.read(name))
            try:
                assert read(tmp_path / "a.xlsx")["text"].to_list() == ["Кружка"]
            except UserError as error:
                assert "a.xlsx" in str(error)


MEMORY = """
import resource, sys
from pathlib import Path
from tsirius.io import ids
from tsirius.io.source import open_source
from tsirius.io.workbook import new_sheet
path, rows = Path(sys.argv[1]), int(sys.argv[2])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
if sys.argv[3] == "write":
    with new_sheet(path, ["id", "Плюсы", "Комментарий"], texts=["Комментарий"]) as add:
        add([f"r{row}", f"Кружка {row} " * 4, f"Отличная кружка номер {row} " * 8] for row in range(rows))
else:
    auto = {"text_column": "auto", "id_column": "auto", "encoding": "auto"}
    assert ids.check(open_source(path, **auto, text_required=True)) == rows
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def shared_strings(path: Path) -> None:
    """Give a workbook's texts as Excel does: apart from its sheets."""
    data = CalamineWorkbook.from_path(path).get_sheet_by_index(0).to_python()
    book = xlsxwriter.Workbook(str(path))
    sheet = book.add_worksheet()
    for number, row in enumerate(data):
        sheet.write_row(number, 0, row)
    book.close()


@pytest.mark.slow
def test_the_memory_does_not_grow_with_the_workbook(tmp_path: Path) -> None:
    """Ids are hashed, eight bytes each; all else of a row is forgotten."""

    def peak(rows: int, what: str) -> int:
        command = [sys.executable, "-c", MEMORY, str(tmp_path / f"{rows}.xlsx"), str(rows), what]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    small, large = 5_000, 60_000
    written = [peak(rows, "write") for rows in (small, large)]
    inline = [peak(rows, "read") for rows in (small, large)]
    for rows in (small, large):
        shared_strings(tmp_path / f"{rows}.xlsx")
    shared = [peak(rows, "read") for rows in (small, large)]
    for before, after in (written, inline, shared):
        assert after - before < 60, (written, inline, shared)


def test_a_person_reads_a_new_sheet_without_arranging_it(tmp_path: Path) -> None:
    path = tmp_path / "labelled.xlsx"
    title = "Достоинства и недостатки товара"
    with workbook.new_sheet(path, ["id", title, "text"], texts=["text"]) as add:
        add([["1", "нет", "Чайник гудит. " * 40]])
    sheet = openpyxl.load_workbook(path).active
    assert sheet.freeze_panes == "A2" and sheet.auto_filter.ref == "A1:C2"
    assert sheet["C2"].alignment.wrap_text and not sheet["B2"].alignment.wrap_text
    assert sheet["B2"].alignment.vertical == sheet["C2"].alignment.vertical == "top"
    assert sheet.column_dimensions["B"].width > len(title)
    assert sheet.page_setup.orientation == "landscape" and sheet.page_setup.fitToHeight == 0
    assert sheet.print_title_rows == "$1:$1"


def test_a_row_is_as_high_as_its_longest_text_needs(tmp_path: Path) -> None:
    rows = [["слово " * 40, 1], ["слово", 2], ["а\nб\nв", 3], ["слово " * 4000, 4]]
    with workbook.new_sheet(tmp_path / "a.xlsx", ["text", "number"], texts=["text"]) as add:
        add(rows)
    sheet = openpyxl.load_workbook(tmp_path / "a.xlsx").active
    assert sheet is not None
    assert [sheet.row_dimensions[row].height for row in range(2, 6)] == [75, None, 45, 405]
