"""Files of answers: written, filled in, read back; and those that do not fit."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import openpyxl
import polars as pl
import pytest
from audited import WORDS, call, figures, fill, lay_out, true_f1

from tsirius.commands.audit import answers as files
from tsirius.commands.audit.answers import Columns
from tsirius.errors import UserError
from tsirius.store import seal


@pytest.mark.parametrize("encoding", ["utf-8-sig", "cp1251"])
def test_write_fill_in_and_read_back(run: Path, rows: pl.DataFrame, tmp_path: Path, encoding: str) -> None:
    written = tmp_path / "answers.csv"
    assert call(run, write=written) is None
    assert written.read_bytes().startswith(b"\xef\xbb\xbfid;text;category")
    report = call(run, answers=fill(written, tmp_path / "filled.csv", rows, encoding=encoding))
    assert report and "never used for training" in report and "«with gold»" in report
    found = figures(run)
    assert found["answered"] == found["asked"] == 150 and found["rows"] == 1200
    f1 = found["weighted_f1_with_gold"]["all"]
    assert f1["low"] <= true_f1(rows) <= f1["high"]
    with (run / "audit" / "answers.csv").open(encoding="utf-8-sig", newline="") as handle:
        kept = list(csv.DictReader(handle))
    assert len(kept) == 150 and kept[0]["text"].startswith(WORDS[kept[0]["category"]])


def test_a_workbook_is_written_filled_in_and_read_back(tmp_path: Path, rows: pl.DataFrame) -> None:
    run = lay_out(tmp_path, rows)
    spelled = {name: f"{'=' if int(name) % 2 else ''}{name}" for name in rows["id"]}
    for path in (run / "ingest" / "reviews.parquet", run / "label" / "labels.parquet", run / "label" / "votes.parquet"):
        table = pl.read_parquet(path)
        table.with_columns(pl.col("id").replace(spelled)).write_parquet(path)
    for stage in ("ingest", "label"):
        seal(run / stage, {})
    assert call(run, write=tmp_path / "a.xlsx", count=30) is None
    book = openpyxl.load_workbook(tmp_path / "a.xlsx")
    sheet = book.active
    assert sheet is not None and [cell.value for cell in sheet[1]] == ["id", "text", "category"]
    assert {cell.value for cell in sheet["A"][1:]} <= set(spelled.values()), "as they are: text is no formula here"
    for row in sheet.iter_rows(min_row=2):
        row[2].value = next(name for name, word in WORDS.items() if str(row[1].value).startswith(word))
        for cell in row:
            cell.data_type = "s"
    book.save(tmp_path / "b.xlsx")
    assert call(run, answers=tmp_path / "b.xlsx")
    assert figures(run)["answered"] == 30


def test_answers_may_come_in_parts(run: Path, rows: pl.DataFrame, tmp_path: Path) -> None:
    written = tmp_path / "answers.csv"
    call(run, write=written)
    report = call(run, answers=fill(written, tmp_path / "half.csv", rows, every=2))
    assert report and "75 of those drawn have no answer" in report
    assert figures(run)["answered"] == 75
    call(run, answers=fill(written, tmp_path / "all.csv", rows))
    assert figures(run)["answered"] == 150
    call(run, write=written, count=200)
    with written.open(encoding="utf-8-sig", newline="") as handle:
        again = list(csv.DictReader(handle, delimiter=";"))
    assert len(again) == 200 and sum(line["category"] != "" for line in again) == 150


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("5;Куртка;одежка", "row 1: unknown category 'одежка'; did you mean 'одежда'"),
        ("5000;Куртка;одежда", "unknown id '5000'"),
        ("5;Куртка;", "no row has a category"),
        ("5;Совсем другой отзыв;одежда", "0 of 1 texts are those"),
        ("5;Куртка;одежда\n5;Куртка;обувь", "repeats the id '5'"),
    ],
)
def test_answers_that_do_not_fit_are_refused_and_nothing_is_kept(
    run: Path, tmp_path: Path, line: str, words: str
) -> None:
    (tmp_path / "bad.csv").write_text(f"id;text;category\n{line}\n", encoding="utf-8")
    with pytest.raises(UserError) as failure:
        call(run, answers=tmp_path / "bad.csv")
    assert words in str(failure.value)
    assert not (run / "audit" / "sample.json").exists()


def test_a_text_that_a_spreadsheet_would_run_is_written_as_text(tmp_path: Path, rows: pl.DataFrame) -> None:
    run = lay_out(tmp_path, rows)
    path = run / "ingest" / "reviews.parquet"
    reviews = pl.read_parquet(path).with_columns(text=pl.lit('=HYPERLINK("a")\nКуртка; "хорошая"'))
    reviews.write_parquet(path)
    seal(run / "ingest", {})
    call(run, write=tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(encoding="utf-8-sig", newline="") as handle:
        texts = {line["text"] for line in csv.DictReader(handle, delimiter=";")}
    assert texts == {"""'=HYPERLINK("a") Куртка; "хорошая\""""}
    assert call(run, answers=fill(tmp_path / "a.csv", tmp_path / "b.csv", rows))


def answered(run: Path, rows: pl.DataFrame, folder: Path) -> Path:
    call(run, write=folder / "a.csv")
    call(run, answers=fill(folder / "a.csv", folder / "b.csv", rows))
    return run / "audit" / "answers.csv"


def test_a_flip_of_any_bit_of_the_kept_answers_is_refused_and_nothing_is_lost(
    run: Path, rows: pl.DataFrame, tmp_path: Path
) -> None:
    kept = answered(run, rows, tmp_path)
    whole, draw = kept.read_bytes(), random.Random(0)
    for _ in range(20):
        damaged = bytearray(whole)
        damaged[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        kept.write_bytes(damaged)
        with pytest.raises(UserError, match=r"answers\.csv: was altered or damaged\. Check it"):
            call(run, answers=tmp_path / "b.csv")
        assert kept.read_bytes() == damaged
    kept.write_bytes(whole[:-40])
    with pytest.raises(UserError, match="was altered or damaged"):
        call(run)
    kept.write_bytes(whole)
    sums = kept.with_name(".answers.sums")
    sums.write_bytes(b"\xff")
    with pytest.raises(UserError, match="was altered or damaged"):
        call(run, answers=tmp_path / "b.csv")
    report = call(run, answers=kept)
    assert report and call(run, answers=tmp_path / "b.csv") == report and kept.read_bytes() == whole


def test_answers_that_a_person_corrects_in_place_are_taken_when_they_are_named(
    run: Path, rows: pl.DataFrame, tmp_path: Path
) -> None:
    kept = answered(run, rows, tmp_path)
    lines = kept.read_text(encoding="utf-8-sig").splitlines()
    lines[1] = lines[1].rpartition(",")[0] + ",посуда"
    lines[2] = lines[2].rpartition(",")[0] + ","
    kept.write_text("\n".join(lines) + "\n", encoding="utf-8-sig")
    with pytest.raises(UserError, match="was altered or damaged"):
        call(run, answers=tmp_path / "b.csv")
    call(run, answers=kept)
    assert figures(run)["answered"] == 149
    assert kept.read_text(encoding="utf-8-sig").splitlines()[1:3] == lines[1:3]


rename = Path.replace


def replace_nothing(path: Path, target: Path) -> Path:
    if target.name == files.ANSWERS:
        raise ZeroDivisionError
    return rename(path, target)


def test_a_process_killed_between_the_sums_and_the_answers_leaves_them_usable(
    run: Path, rows: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = answered(run, rows, tmp_path)
    before = kept.read_bytes()
    fill(tmp_path / "a.csv", tmp_path / "b.csv", rows.with_columns(truth=pl.lit("обувь")))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace_nothing)
        with pytest.raises(ZeroDivisionError):
            call(run, answers=tmp_path / "b.csv")
    assert kept.read_bytes() == before
    call(run, answers=tmp_path / "b.csv")
    assert kept.read_bytes() != before


def test_ids_that_a_spreadsheet_would_run_are_written_as_text_and_read_back(tmp_path: Path, rows: pl.DataFrame) -> None:
    run = lay_out(tmp_path, rows)
    starts = ["=", "+", "-", "@", "'=", " =", "\u200b="]
    spelled = {name: f"{starts[number % len(starts)]}{name}" for number, name in enumerate(rows["id"])}
    for path in (run / "ingest" / "reviews.parquet", run / "label" / "labels.parquet", run / "label" / "votes.parquet"):
        table = pl.read_parquet(path)
        table.with_columns(pl.col("id").replace(spelled)).write_parquet(path)
    for stage in ("ingest", "label"):
        seal(run / stage, {})
    call(run, write=tmp_path / "a.csv", count=20)
    with (tmp_path / "a.csv").open(encoding="utf-8-sig", newline="") as handle:
        lines = list(csv.DictReader(handle, delimiter=";"))
    assert all(line["id"].lstrip()[0] == "'" for line in lines)
    with (tmp_path / "b.csv").open("w", encoding="cp1251", errors="replace", newline="") as handle:
        for line in lines:
            line["category"] = "обувь"
        writer = csv.DictWriter(handle, ["id", "text", "category"], delimiter=";")
        writer.writeheader()
        writer.writerows(line for line in lines if "\u200b" not in line["id"])
    assert call(run, answers=tmp_path / "b.csv")
    assert 0 < figures(run)["answered"] <= 20
    assert call(run, answers=tmp_path / "b.csv")


def test_the_columns_and_the_encoding_of_answers_may_be_named(run: Path, rows: pl.DataFrame, tmp_path: Path) -> None:
    call(run, write=tmp_path / "a.csv")
    filled = fill(tmp_path / "a.csv", tmp_path / "b.csv", rows, encoding="utf-16-be")
    text = filled.read_text(encoding="utf-16-be").replace("id;text;category", "nr;words;answer", 1)
    filled.write_text(text, encoding="utf-16-be")
    with pytest.raises(UserError, match="has no column category"):
        call(run, answers=filled)
    named = Columns(text_column="words", id_column="nr", category_column="answer", encoding="utf-16-be")
    assert call(run, answers=filled, columns=named)
    assert figures(run)["answered"] == 150
