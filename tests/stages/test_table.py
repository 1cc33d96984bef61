"""Table: every row and every column of the input with its label, for a person to open."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import openpyxl
import polars as pl
import pytest
from python_calamine import CalamineWorkbook

from tsirius import config, pipeline, tables
from tsirius.io import workbook
from tsirius.io.source import Source, open_sources
from tsirius.stages import table

AUTO: dict[str, Any] = {"text_column": "auto", "id_column": "auto", "encoding": "auto", "sheet": "auto"}
HEADER = ["№", "Достоинства", "Недостатки", "Комментарий", "Цена", "label"]
ROWS = [
    [1, "Греет быстро", "Шумит", "=Чайник хороший", 990, "своё"],
    [2, "", "", "", 5.5, ""],
    [3, "Мягкие", "Жмут", "-5 за размер", 1200, "x"],
]
CATEGORIES = '[[category]]\nname = "посуда"\n[[category]]\nname = "нет товара"\nnone = true\n'


def decided(folder: Path, ids: list[str], aside: list[str]) -> dict[str, Path]:
    """The folders of the stages before, as if ``ids`` had been labelled and ``aside`` set aside."""
    given = {name: folder / name for name in ("ingest", "label", "select")}
    for path in given.values():
        path.mkdir()
    labels = ["посуда" if number % 2 == 0 else None for number in range(len(ids))]
    full = {name: pl.Series(dtype=kind).extend_constant(None, len(ids)) for name, kind in tables.LABELLED.items()}
    rows = pl.DataFrame(full).with_columns(
        id=pl.Series(ids, dtype=pl.String),
        label=pl.Series(labels, dtype=pl.String),
        confidence=pl.Series([0.87654] * len(ids), dtype=pl.Float32),
        reason=pl.lit("sure"),
    )
    tables.write(rows, tables.LABELLED, given["select"] / "labelled.parquet")
    votes = pl.DataFrame(
        {"id": ids * 2, "labeller": ["lexicon"] * len(ids) + ["matcher"] * len(ids), "said": labels * 2}
    )
    votes.write_parquet(given["label"] / "votes.parquet")
    set_aside = pl.DataFrame({"id": aside, "source": "a", "row": 1, "reason": "empty"}, schema=dict(tables.REJECTED))
    tables.write(set_aside, tables.REJECTED, given["ingest"] / "rejected.parquet")
    return given


def save(path: Path, rows: list[list[Any]], header: list[str] = HEADER) -> Path:
    if path.suffix == ".csv":
        with path.open("w", encoding="cp1251", newline="") as handle:
            csv.writer(handle, delimiter=";").writerows([header, *rows])
        return path
    book = openpyxl.Workbook()
    assert book.active is not None
    book.active.title = "Отзывы за март"
    for row in [header, *rows]:
        book.active.append(row)
        for cell in book.active[book.active.max_row]:
            cell.data_type = "s" if isinstance(cell.value, str) else cell.data_type  # no formula
    book.save(path)
    return path


def run(folder: Path, sources: list[Source], ids: list[str], aside: list[str], **settings: Any) -> dict[str, Any]:
    given = decided(folder, ids, aside)
    (folder / "out").mkdir()
    return table.run(table.Config(**settings), given, folder / "out", sources=sources)


@pytest.mark.parametrize("name", ["отзывы.xlsx", "отзывы.csv"])
def test_every_row_and_every_column_is_there(tmp_path: Path, name: str) -> None:
    sources = open_sources([save(tmp_path / name, ROWS)], **AUTO)
    assert sources[0].id_column is None and sources[0].text_columns == ("Достоинства", "Недостатки", "Комментарий")
    run(tmp_path, sources, ["0", "2"], ["1"])
    columns = [*HEADER[:-1], "label (input)", "label", "confidence", "reason", "lexicon", "matcher"]
    ours = [["посуда", 0.8765, "sure", "посуда", "посуда"], ["", "", "set aside: empty", "", ""],
            ["", 0.8765, "sure", "", ""]]  # fmt: skip
    expected = [columns, *([*row, *more] for row, more in zip(ROWS, ours, strict=True))]
    sheet = CalamineWorkbook.from_path(tmp_path / "out" / "labelled.xlsx").get_sheet_by_index(0)
    assert sheet.to_python() == expected
    read = openpyxl.load_workbook(tmp_path / "out" / "labelled.xlsx").active
    assert read is not None
    assert [["" if cell is None else cell for cell in row] for row in read.values] == expected
    with (tmp_path / "out" / "labelled.csv").open(encoding="utf-8-sig", newline="") as handle:
        rows = list(csv.reader(handle))
    assert rows[1] == ["1", "Греет быстро", "Шумит", "'=Чайник хороший", "990", "своё", "посуда", "0.8765", "sure",
                       "посуда", "посуда"]  # fmt: skip
    assert [row[:1] for row in rows[1:]] == [["1"], ["2"], ["3"]] and rows[3][3] == "'-5 за размер"


def test_several_files_are_one_table_with_their_names(tmp_path: Path) -> None:
    one = save(tmp_path / "one.csv", [["Кружка", "5"]], header=["Отзыв", "Оценка"])
    two = save(tmp_path / "two.csv", [["Тапки", "юг"]], header=["Отзыв", "Склад"])
    run(tmp_path, open_sources([one, two], **AUTO), ["1:0", "2:0"], [], delimiter=";")
    with (tmp_path / "out" / "labelled.csv").open(encoding="utf-8-sig", newline="") as handle:
        rows = list(csv.DictReader(handle, delimiter=";"))
    ours = {"confidence": "0,8765", "reason": "sure"}
    assert rows == [
        {"source": "one.csv", "Отзыв": "Кружка", "Оценка": "5", "Склад": "", "label": "посуда", "lexicon": "посуда",
         "matcher": "посуда", **ours},
        {"source": "two.csv", "Отзыв": "Тапки", "Оценка": "", "Склад": "юг", "label": "", "lexicon": "", "matcher": "",
         **ours},
    ]  # fmt: skip


def test_more_rows_than_a_sheet_holds_go_into_csv_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(workbook, "ROWS", 3)
    sources = open_sources([save(tmp_path / "a.csv", ROWS)], **AUTO)
    assert run(tmp_path, sources, ["0", "1", "2"], [])["xlsx"] is False
    assert "no labelled.xlsx: 3 rows" in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["labelled.csv"]


def test_a_run_leaves_both_tables_and_takes_one_away_that_it_no_longer_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three text columns, a Cyrillic sheet name, an Excel workbook in and out."""
    monkeypatch.chdir(tmp_path)
    rows = [[number, "Греет", "", f"Кружка и чайник {number}", number * 10, ""] for number in range(40)]
    save(tmp_path / "отзывы.xlsx", [*rows, ROWS[1]])
    (tmp_path / "categories.toml").write_text(CATEGORIES, encoding="utf-8")
    given = {"ingest": {"train": "отзывы.xlsx", "sheet": "Отзывы за март", "categories": "categories.toml"},
             "label": {"use": ["lexicon"], "doubt": False}, "name": "магазин"}  # fmt: skip
    loaded = config.parse(given, where="test")
    steps = [step.name for step in pipeline.road(loaded)]
    assert steps.index("table") < steps.index("train"), "the table is there before a model is trained"
    pipeline.branch(loaded, tmp_path / "runs" / "магазин", of=tmp_path, first="ingest", last="table")
    sheet = CalamineWorkbook.from_path(tmp_path / "runs" / "магазин" / "table" / "labelled.xlsx").get_sheet_by_index(0)
    found = sheet.to_python()
    assert [row[:5] for row in found] == [HEADER[:5], *(row[:5] for row in rows), ROWS[1][:5]]
    assert {row[8] for row in found[1:]} >= {"set aside: empty"}
