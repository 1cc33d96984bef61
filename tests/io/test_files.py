"""Files as people have them: what is read right, what is refused by what it is; nothing is silently wrong."""

from __future__ import annotations

import decimal
import gzip
import json
import math
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsirius.errors import UserError
from tsirius.io import ids, readers, spreadsheet
from tsirius.io.source import Source, describe_source, open_source, read_batches
from tsirius.language.clean import LONGEST

AUTO: dict[str, Any] = {"text_column": "auto", "id_column": "auto", "encoding": "auto", "text_required": True}
INVISIBLE = ["\ufeff", "\ufeff\ufeff", "\u200b", "\ufeff\u200b", "\u2060", "\u200d", "\u00ad", "\u200e"]


def written(folder: Path, data: bytes | str, name: str = "reviews.csv") -> Path:
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def opened(folder: Path, data: bytes | str, name: str = "reviews.csv", **changed: Any) -> Source:
    return open_source(written(folder, data, name), **{**AUTO, **changed})


def rows(folder: Path, data: bytes | str, name: str = "reviews.csv", **changed: Any) -> list[tuple[str, str]]:
    table = pl.concat(ids.read_unique(opened(folder, data, name, **changed), rows=1000))
    return list(table.select("id", "text").iter_rows())


def refusal(folder: Path, data: bytes | str, name: str = "reviews.csv", **changed: Any) -> str:
    with pytest.raises(UserError) as caught:
        ids.check(opened(folder, data, name, **changed))
    assert name in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 600
    return str(caught.value)


# --- headers ----------------------------------------------------------------------------------------------------------

TABLE = [("a1", "Чайник"), ("a2", "Кружка")]


@pytest.mark.parametrize("mark", INVISIBLE)
@pytest.mark.parametrize("place", ["before the line", "in the first name", "in the second name", "after the names"])
@pytest.mark.parametrize("quoted", [False, True])
def test_invisible_characters_in_a_header_change_nothing(tmp_path: Path, mark: str, place: str, quoted: bool) -> None:
    names = ["id", "text"]
    if place == "in the first name":
        names[0] = f"i{mark}d"
    elif place == "in the second name":
        names[1] = f"{mark}text"
    elif place == "after the names":
        names = [f"{name}{mark}" for name in names]
    header = ",".join(f'"{name}"' if quoted else name for name in names)
    data = (mark if place == "before the line" else "") + header + "\na1,Чайник\na2,Кружка\n"
    assert rows(tmp_path, data) == TABLE


@pytest.mark.parametrize("mark", INVISIBLE)
def test_invisible_characters_in_keys_and_in_parquet_columns_change_nothing(tmp_path: Path, mark: str) -> None:
    lines = "".join(json.dumps({f"{mark}id": name, "text": text}) + "\n" for name, text in TABLE)
    assert rows(tmp_path, mark + lines, "reviews.jsonl") == TABLE
    table = pl.DataFrame({f"{mark}id": [name for name, _ in TABLE], "te\u200bxt": [text for _, text in TABLE]})
    table.write_parquet(tmp_path / "reviews.parquet")
    found = pl.concat(read_batches(open_source(tmp_path / "reviews.parquet", **AUTO), rows=9))
    assert list(found.select("id", "text").iter_rows()) == TABLE


def test_a_header_in_decomposed_letters_is_found(tmp_path: Path) -> None:
    header = unicodedata.normalize("NFD", "Категория;Комментарий")
    source = opened(tmp_path, f"{header}\nобувь;Тапки\n")
    assert (source.text_columns, source.category_column) == (("Комментарий",), "Категория")


@pytest.mark.parametrize("header", ["id,text", "\ufeffid,text", "ID,Text", "text,id", '"id","text"', "\u200bid , text"])
def test_the_header_of_a_joined_file_is_refused_with_its_row(tmp_path: Path, header: str) -> None:
    assert "row 3 (line 4): repeats the header" in refusal(
        tmp_path, f"id,text\n1,Чайник\n2,Кружка\n{header}\n3,Тапки\n"
    )


def test_the_header_of_a_joined_list_is_refused_and_a_joined_mark_is_no_part_of_an_id(tmp_path: Path) -> None:
    assert "row 2 (line 3): repeats the header" in refusal(tmp_path, "text\nЧайник\ntext\nКружка\n")
    assert rows(tmp_path, "id,text\na1,Чайник\n\ufeffa2,Кружка\n") == TABLE
    assert rows(tmp_path, '{"id":"a1","text":"Чайник"}\n\ufeff{"id":"a2","text":"Кружка"}\n', "a.jsonl") == TABLE


# --- numbers ----------------------------------------------------------------------------------------------------------


def in_parquet(folder: Path, column: pa.Array, name: str = "id") -> list[str]:
    other = "text" if name == "id" else "note"
    pq.write_table(pa.table({name: column, other: ["а"] * len(column)}), folder / "n.parquet")
    return pl.concat(read_batches(open_source(folder / "n.parquet", **AUTO), rows=1000))[name].to_list()


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(-(2**53), 2**53), min_size=1))
def test_whole_numbers_are_integers_whatever_their_type(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[int]
) -> None:
    folder, expected = tmp_path_factory.mktemp("numbers"), [str(number) for number in numbers]
    assert in_parquet(folder, pa.array([float(number) for number in numbers], pa.float64())) == expected
    assert in_parquet(folder, pa.array(numbers, pa.int64())) == expected
    exact = [decimal.Decimal(number).quantize(decimal.Decimal("1.00")) for number in numbers]
    assert in_parquet(folder, pa.array(exact, pa.decimal128(38, 2))) == expected


@settings(deadline=None, max_examples=50)
@given(st.decimals(min_value=-(10**12), max_value=10**12, places=3, allow_nan=False))
def test_decimals_are_exact(tmp_path_factory: pytest.TempPathFactory, number: decimal.Decimal) -> None:
    found = in_parquet(tmp_path_factory.mktemp("numbers"), pa.array([number], pa.decimal128(38, 3)))[0]
    assert decimal.Decimal(found) == number and "E" not in found
    assert ("." not in found) == (number == int(number))


NUMBERS = st.from_regex(r"-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)


@settings(deadline=None)
@given(st.lists(NUMBERS, min_size=1, unique=True))
def test_numbers_in_json_are_as_they_are_written(tmp_path_factory: pytest.TempPathFactory, numbers: list[str]) -> None:
    lines = "".join(f'{{"id": {number}, "text": {number}}}\n' for number in numbers)
    assert rows(tmp_path_factory.mktemp("numbers"), lines, "n.jsonl") == [(number, number) for number in numbers]


@pytest.mark.parametrize(("kind", "limit"), [(pa.float64(), 2**53), (pa.float32(), 2**24), (pa.float16(), 2**11)])
def test_an_id_that_may_stand_for_several_numbers_is_refused(tmp_path: Path, kind: Any, limit: int) -> None:
    exact = pa.array(np.array([limit, 7], dtype=kind.to_pandas_dtype()), kind)
    assert in_parquet(tmp_path, exact) == [str(limit), "7"]
    beyond = pa.array(np.array([7, limit + limit // 16], dtype=kind.to_pandas_dtype()), kind)
    with pytest.raises(UserError, match=r"row 2: the id \d+ is a .* beyond"):
        in_parquet(tmp_path, beyond)
    assert len(in_parquet(tmp_path, beyond, name="text")) == 2


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from([math.nan, math.inf, -math.inf, None, 1.5, 3.0]), min_size=1))
def test_nan_and_infinity_are_missing_like_null(
    tmp_path_factory: pytest.TempPathFactory, values: list[float | None]
) -> None:
    folder = tmp_path_factory.mktemp("numbers")
    expected = ["" if value is None or not math.isfinite(value) else "1.5" if value == 1.5 else "3" for value in values]
    for name in ("id", "text"):
        assert in_parquet(folder, pa.array(values, pa.float64()), name=name) == expected
    words = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity", "None": "null"}
    spelled = [words.get(str(value), str(value)) for value in values]
    lines = "".join(f'{{"id": {word}, "text": {word}, "category": {word}}}\n' for word in spelled)
    table = pl.concat(read_batches(opened(folder, lines, "n.jsonl"), rows=1000))
    for name in ("id", "text", "category"):
        assert table[name].to_list() == [word if word in ("1.5", "3.0") else "" for word in spelled]


# --- what is no table -------------------------------------------------------------------------------------------------

LOG = "2026-11-25 12:00:01 INFO started\n2026-11-25 12:00:02 ERROR failed\n2026-11-25 12:00:03 INFO done\n"
NO_TABLES = [
    ("version https://git-lfs.github.com/spec/v1\noid sha256:0a1b\nsize 12345\n", "pointer of Git LFS"),
    ("<!DOCTYPE html>\n<html><body>Not found</body></html>\n", "HTML page"),
    ("\n <html>\n<head><title>404, not found</title></head>\n", "HTML page"),
    ("<table><tr><td>id</td><td>text</td></tr></table>", "HTML page"),
    ('<?xml version="1.0"?>\n<reviews><review id="1">Чайник</review></reviews>\n', "XML"),
    ("<reviews>\n<review>Чайник</review>\n</reviews>\n", "XML"),
    (LOG, "log"),
    (LOG.replace(" INFO", ",123 INFO"), "log"),
    ("[25/Nov/2026:12:00:01] GET /\n[25/Nov/2026:12:00:02] GET /a\n", "log"),
    ("127.0.0.1 - - GET / 200\n127.0.0.1 - - GET /a 404\n", "log"),
    ("INFO started\nWARNING slow\nERROR failed\n", "log"),
    ("Nov 25 12:00:01 host kernel: started\nNov 25 12:00:02 host kernel: done\n", "log"),
    ("name = shop\nseed = 1\nfolds = 5\n", "settings"),
    ("name: shop\nseed: 1\nfolds: 5\n", "settings"),
    ("Отзывы за март\nid,text\n1,Чайник\n2,Кружка\n", "row 2, after a title"),
    ("Отзывы за март\n\nid;text\n1;Чайник\n", "row 2, after a title"),
    ("Отзывы за март, магазин\nid,text\n1,Чайник\n", "row 2, after a title"),
    ("Отзывы за март;;\nИтого: 2;;\n№;Отзыв;Оценка\n1;Чайник;5\n", "row 3, after a title"),
    ("Отзывы за март\nотзыв\nЧайник\n", "row 2, after a title"),
    ('[{"id": 1, "text": "Чайник"}]\n', "JSON (an array)"),
    ('[\n  {"id": 1,\n "text": "Чайник"}\n]\n', "JSON (an array)"),
    ('["Чайник", "Кружка"]\n', "JSON (an array)"),
    ('{"id": 1, "text": "Чайник"}\n{"id": 2, "text": "Кружка"}\n', "is JSON"),
    ("| id | text |\n|----|------|\n| 1 | Чайник |\n", "Markdown"),
    (b"PK\x03\x04\x14\x00rest", "zip or Excel"),
    (b"%PDF-1.7\n%\xe2\xe3", "a PDF"),
    (b"PAR1\x15\x04", "Parquet"),
    (b"SQLite format 3\x00", "SQLite"),
    (b"\x1f\x8b\x08\x00", "gzip"),
    (b"\x89PNG\r\n\x1a\n", "picture"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "expected"), NO_TABLES)
def test_what_is_no_table_is_refused_by_what_it_is(tmp_path: Path, data: bytes | str, expected: str) -> None:
    assert expected in refusal(tmp_path, data)
    if isinstance(data, str) and "title" not in expected:
        assert expected in refusal(tmp_path, "\ufeff" + data)
        assert expected in refusal(tmp_path, gzip.compress(data.encode()), "reviews.csv.gz")


@pytest.mark.parametrize(
    "name", ["reviews.csv", "reviews.parquet", "reviews.csv.gz", "reviews.jsonl", "reviews.tsv.zst"]
)
@pytest.mark.parametrize(("data", "expected"), NO_TABLES[:2])
def test_a_pointer_or_an_error_page_is_known_under_every_name(
    tmp_path: Path, name: str, data: str, expected: str
) -> None:
    assert expected in refusal(tmp_path, data, name)


@pytest.mark.parametrize(
    ("line", "delimiter"),
    [("sep=;", ";"), ("sep=\t", "\t"), ("sep=\\t", "\t"), ('"sep=;"', ";"), ("SEP=|", "|"), ("\ufeffsep=,", ","),
     ("sep=^", "^")],
)  # fmt: skip
def test_the_separator_that_excel_names_is_taken(tmp_path: Path, line: str, delimiter: str) -> None:
    data = f"{line}\r\nid{delimiter}text\r\n1{delimiter}Чайник\r\n2{delimiter}Кружка\r\n"
    assert rows(tmp_path, data) == [("1", "Чайник"), ("2", "Кружка")]
    with pytest.raises(UserError, match=r"row 3 \(line 5\)"):
        rows(tmp_path, f"{data}3\r\n")


# --- lists ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["", "\n", "\n\n\n", "\r\n\r\n"])
def test_blank_lines_at_the_end_of_a_list_are_no_rows(tmp_path: Path, end: str) -> None:
    found = rows(tmp_path, f"text\nЧайник\n\nКружка{end}")
    assert [text for _, text in found] == ["Чайник", "", "Кружка"]


@pytest.mark.parametrize(
    "reviews",
    [
        ["Чайник", "Кружка"],
        ["Супер", "Плохо"],
        ["Отличный чайник!", "Кружка"],
        ["Хороший, но дорогой", "Плохо", "Так, себе, вещь"],
        ["Great", "Good, but not mine"],
        ["Купила, ношу; рада", "Плохо; вернула", "Да"],
    ],
)
def test_a_list_without_a_header_loses_no_review(tmp_path: Path, reviews: list[str]) -> None:
    data = "\n".join(reviews) + "\n"
    assert [text for _, text in rows(tmp_path, data)] == reviews
    assert "no header" in describe_source(opened(tmp_path, data))


def test_an_exact_name_is_preferred_and_alike_ones_are_refused(tmp_path: Path) -> None:
    assert opened(tmp_path, "Text,text,ID,id\nа,б,1,2\n").text_columns == ("text",)
    assert opened(tmp_path, "Text,text,ID,id\nа,б,1,2\n").id_column == "id"
    assert opened(tmp_path, "Text,id\nа,1\n").text_columns == ("Text",)
    assert "any of them may be meant" in refusal(tmp_path, "Text,TEXT,id\nа,б,1\n")
    assert opened(tmp_path, "Text,TEXT,id\nа,б,1\n", text_column="TEXT").text_columns == ("TEXT",)
    assert opened(tmp_path, "text,kind\nа,обувь\n", category_column="kind").category_column == "kind"
    assert "Set category_column to one of" in refusal(tmp_path, "text,kind\nа,обувь\n", category_column="king")


@pytest.mark.parametrize("data", ["id,text\n", "text\n\n\n", "\ufeffid,text\n\n"])
def test_no_rows_are_no_success(tmp_path: Path, data: str) -> None:
    assert "has no rows" in refusal(tmp_path, data)


# --- lengths ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["long.csv", "long.jsonl", "long.parquet", "long.csv.gz"])
def test_a_long_text_is_cut_and_it_is_said_with_its_row(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = ["а", "б" * (LONGEST + 5), "в" * LONGEST]
    table = pl.DataFrame({"id": ["x", "y", "z"], "text": texts})
    if name.endswith("parquet"):
        table.write_parquet(tmp_path / name)
    else:
        data = (table.write_ndjson() if "jsonl" in name else table.write_csv()).encode()
        written(tmp_path, gzip.compress(data) if name.endswith("gz") else data, name)
    found = pl.concat(ids.read_unique(open_source(tmp_path / name, **AUTO), rows=2))
    assert found["text"].to_list() == [texts[0], texts[1][:LONGEST], texts[2]]
    said = capsys.readouterr().err
    assert f"{name}, row 2: of 100,005 characters the first 100,000 are read" in said and said.count("\n") == 1


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".csv.gz"])
def test_a_row_has_a_limit(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "LONGEST_LINE", 2_000_000)
    row = '{"id": "b", "text": "' + "в" * 2_000_000 + '"}' if "jsonl" in suffix else "b," + "в" * 2_000_000
    good = ['{"id": "a", "text": "а"}'] if "jsonl" in suffix else ["id,text", "a,а"]
    data = "\n".join([*good, row, ""]).encode()
    line = refusal(tmp_path, gzip.compress(data) if suffix.endswith("gz") else data, f"long{suffix}")
    assert "row 2 (line" in line or "row 1 (line 2)" in line
    assert "a row has more than 2,000,000 characters" in line
    many = "id,text\n" + "\n".join(f'{row},"{"слово " * 5}\n{"слово " * 5}"' for row in range(40_000))
    assert len(rows(tmp_path, many)) == 40_000  # a row, not the file


@pytest.mark.parametrize("name", ["long.csv", "long.parquet"])
def test_an_id_has_a_limit(tmp_path: Path, name: str) -> None:
    table = pl.DataFrame({"id": ["x", "y" * 1001], "text": ["а", "б"]})
    data = table.write_csv().encode()
    if name.endswith("parquet"):
        table.write_parquet(tmp_path / name)
        data = (tmp_path / name).read_bytes()
    assert "row 2: 'id' has 1,001 characters" in refusal(tmp_path, data, name)


# --- spreadsheets -----------------------------------------------------------------------------------------------------

STARTS = ["", " ", "\t", "\r", "\n", "\u200b", "\ufeff", "\u00a0", "\x00", "\x1b", "'", "''", " '", "\u200b\t "]


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "＝", "＋", "－", "＠"])
def test_a_formula_is_written_as_text_whatever_is_before_it(start: str, sign: str) -> None:
    cell = f"{start}{sign}cmd|' /C calc'!A0"
    assert spreadsheet.escape(cell) == f"'{cell}"
    assert spreadsheet.unescape(spreadsheet.escape(cell)) == cell


@given(st.one_of(st.text(), st.text(st.sampled_from("'=+-@ \t\u200baа1"))))
def test_what_is_escaped_is_read_back(cell: str) -> None:
    assert spreadsheet.unescape(spreadsheet.escape(cell)) == cell


@given(st.text(st.sampled_from("'=+-@ \t\u200baа1")))
def test_no_cell_begins_with_a_formula(cell: str) -> None:
    bare = spreadsheet.escape(cell).lstrip(" \u200b")
    assert not bare or bare[0] not in "=+-@\t"


def test_every_cell_of_a_table_is_escaped(tmp_path: Path) -> None:
    spreadsheet.write(tmp_path / "a.csv", ["id", "text"], [("=1", "@x"), ("a", "б")], delimiter=";")
    assert (tmp_path / "a.csv").read_text(encoding="utf-8-sig") == "id;text\n'=1;'@x\na;б\n"


# --- letters ----------------------------------------------------------------------------------------------------------

SHORT = "id,text\n" + "".join(f"{row},отличный чайник номер {row}\n" for row in range(8))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (SHORT.encode("utf-7"), "is UTF-7"),
        (SHORT.encode("unicode_escape").replace(b"\\n", b"\n"), "has escaped letters"),
        ("".join(f"={byte:02X}" if byte > 127 else chr(byte) for byte in SHORT.encode()), "has escaped letters"),
        (SHORT.encode().decode("cp1251"), "was read as CP1251"),
        (SHORT.encode().decode("latin-1"), "was read as LATIN-1"),
    ],
    ids=["UTF-7", "JavaScript", "quoted-printable", "through CP1251", "through Latin-1"],
)
def test_letters_that_are_written_as_others_are_refused(tmp_path: Path, data: bytes | str, said: str) -> None:
    assert said in refusal(tmp_path, data)


def test_what_only_looks_so_is_read(tmp_path: Path) -> None:
    assert len(rows(tmp_path, SHORT.encode("utf-7"), encoding="utf-7")) == 8
    texts = ["2+2=4, C++ и +BASE64TEXT", "café, naïve, über, façade", "путь C:\\\\u0411 и =D0=91", "Рё - так и было"]
    data = "text\n" + "\n".join(f'"{text}"' for text in texts) + "\n"
    assert [text for _, text in rows(tmp_path, data)] == texts


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("- id: 1\n  text: Чайник\n- id: 2\n  text: Кружка\n", "a list of settings"),
        ("---\nname: a\nsize: 5\n", "a list of settings"),
        ("From: a@b\nSubject: чайник\n\nХороший\nчайник\n", "is mail"),
        ("UEsDBBQABgAIAAAAIQBi7p1oXgEAAA\n" * 9, "a list of settings"),
    ],
    ids=["YAML", "YAML with a start", "mail", "base64"],
)
def test_what_a_program_wrote_is_no_list_of_reviews(tmp_path: Path, data: str, said: str) -> None:
    assert said in refusal(tmp_path, data)


def test_a_key_twice_in_an_object_is_refused_as_a_column_twice_is(tmp_path: Path) -> None:
    line = refusal(tmp_path, '{"id": 1, "text": "а"}\n{"id": 2, "text": "б", "text": "в"}\n', "reviews.jsonl")
    assert "line 2: names 'text' twice" in line


def test_a_link_to_itself_is_not_proposed_for_itself(tmp_path: Path) -> None:
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    with pytest.raises(UserError, match=r"loop\.csv: no such file\. "):
        open_source(tmp_path / "loop.csv", **AUTO)
