"""New: the files are looked at, the columns are written down, the categories are asked for."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from pathlib import Path

import openpyxl
import pytest

from tsirius import config, pipeline
from tsirius.commands import demo, new
from tsirius.errors import UserError
from tsirius.io import category_file

CATEGORIES = '[[category]]\nname = "посуда"\n[[category]]\nname = "нет товара"\nnone = true\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    book = openpyxl.Workbook()
    assert book.active is not None
    book.active.title = "Отзывы"
    book.active.append(["№", "ID отзыва", "Достоинства", "Недостатки", "Комментарий"])
    book.active.append([1, "a1", "Греет", "", "Чайник"])
    book.save("отзывы.xlsx")
    return tmp_path


def write(name: str = "магазин", *, train: tuple[str, ...] = ("отзывы.xlsx",), force: bool = False) -> list[Path]:
    return new.new(
        name, train=[Path(path) for path in train], test=None, categories=Path("categories.toml"), force=force
    )


def test_what_was_found_is_said_and_written_down(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("categories.toml").write_text(CATEGORIES, encoding="utf-8")
    assert write() == [Path("магазин.toml")]
    said = capsys.readouterr().err
    assert "text from 'Достоинства' + 'Недостатки' + 'Комментарий', ids from 'ID отзыва'" in said
    assert "2 categories, посуда, нет товара" in said and "next: tsirius check магазин.toml" in said
    loaded = config.load("магазин.toml").ingest
    assert loaded.text_column == ["Достоинства", "Недостатки", "Комментарий"]
    assert (loaded.id_column, loaded.sheet, loaded.train) == ("ID отзыва", "Отзывы", Path("отзывы.xlsx"))
    with pytest.raises(UserError, match="is there already"):
        write()
    assert write(force=True)


def test_without_a_terminal_an_example_is_written_that_is_no_answer(folder: Path) -> None:
    assert write() == [Path("магазин.toml"), Path("categories.toml")]
    with pytest.raises(UserError, match="not a categories file"):
        category_file.load(Path("categories.toml"))
    Path("магазин.toml").unlink()  # as a kill between the two files leaves them
    assert write() == [Path("магазин.toml"), Path("categories.toml")]
    uncommented = [line.removeprefix("# ") for line in new.EXAMPLE.splitlines() if not line.endswith((":", ".", "#"))]
    Path("categories.toml").write_text("\n".join(uncommented), encoding="utf-8")
    assert category_file.load(Path("categories.toml")).none == "нет товара"


def test_a_file_that_cannot_be_read_leaves_nothing(folder: Path) -> None:
    Path("old.xls").write_bytes(b"\xd0\xcf\x11\xe0")
    with pytest.raises(UserError, match=r"save it as \.xlsx"):
        write(train=("old.xls",))
    assert sorted(path.name for path in folder.iterdir()) == ["old.xls", "отзывы.xlsx"]


def test_in_a_terminal_the_categories_are_asked_for(folder: Path) -> None:
    keyboard, terminal = pty.openpty()
    command = [sys.executable, "-m", "tsirius", "new", "магазин", "--train", "отзывы.xlsx"]
    with subprocess.Popen(command, stdin=terminal, stdout=subprocess.PIPE, stderr=terminal) as process:
        os.write(keyboard, "посуда: кружки, кастрюли\nобувь\n\n".encode())
        assert process.stdout is not None
        printed = process.stdout.read().decode()
    os.close(keyboard)
    assert process.returncode == 0 and printed == "магазин.toml\ncategories.toml\n"
    found = category_file.load(Path("categories.toml"))
    assert found.names == ["посуда", "обувь", "нет товара"] and found[0].description == "кружки, кастрюли"


@pytest.mark.parametrize("name", ["categories.csv", "categories.xlsx"])
def test_categories_of_a_table(folder: Path, name: str) -> None:
    rows = [["Категория", "Описание"], ["посуда", "кружки"], ["", ""], ["нет товара", ""]]
    if name.endswith("csv"):
        Path(name).write_text("".join(f"{one};{two}\n" for one, two in rows), encoding="cp1251")
    else:
        book = openpyxl.Workbook()
        assert book.active is not None
        for row in rows:
            book.active.append(row)
        book.save(name)
    found = category_file.load(Path(name))
    assert found.names == ["посуда", "нет товара"] and found.none == "нет товара"
    assert found[0].description == "кружки"


def test_the_demo_is_configs_demo_wherever_it_is_installed() -> None:
    loaded = demo.configuration(["seed=7"])
    assert loaded.seed == 7 and loaded.name == "demo"
    files = [loaded.ingest.train, loaded.ingest.test, loaded.ingest.categories, loaded.evaluate.gold]
    assert all(isinstance(file, Path) and file.is_absolute() and file.is_file() for file in files)
    written = config.load(Path(__file__).parents[2] / "configs" / "demo.toml")
    assert written.model_dump(exclude={"ingest", "evaluate", "seed"}) == loaded.model_dump(
        exclude={"ingest", "evaluate", "seed"}
    )


def test_check_shows_three_rows_and_sees_an_id_of_the_test_file_that_repeats(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("categories.toml").write_text(CATEGORIES, encoding="utf-8")
    Path("reviews.csv").write_text("".join(["id,text\n", *(f"r{n},Кружка {n}\n" for n in range(5))]), encoding="utf-8")
    Path("test.csv").write_text("id,text\n1,ТАЙНА\n2,ТАЙНА\n", encoding="utf-8")
    given = {"train": "reviews.csv", "test": "test.csv", "categories": "categories.toml"}
    loaded = config.parse({"name": "a", "ingest": given, "label": {"use": ["lexicon"]}}, where="test")
    pipeline.check(loaded)
    pipeline.show(loaded)
    said = capsys.readouterr().err
    assert "  3  r2: Кружка 2\n" in said and "Кружка 3" not in said, "three rows"
    assert "test.csv: text from 'text'" in said and "ТАЙНА" not in said, "no text of the test file"
    Path("test.csv").write_text("id,text\n1,ТАЙНА\n1,ТАЙНА\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"test\.csv, row 2: repeats the id '1' of row 1"):
        pipeline.check(loaded)
