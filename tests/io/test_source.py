import csv
import gzip
import io
import json
import lzma
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsirius.errors import UserError
from tsirius.io.ids import Unique, read_unique
from tsirius.io.names import is_usual
from tsirius.io.readers import LONGEST_CELL
from tsirius.io.source import SAMPLE_BYTES, describe_source, open_alike, open_other, open_source, read_batches
from tsirius.io.streams import zstd
from tsirius.language.clean import LONGEST

TEXTS = ["Тёплый свитер", 'Сказали "пух", а там; синтепон', "две\nстроки", "👍\tтаб, запятая", "", "  пробелы  ", "'"]


def packed(suffix: str, data: bytes) -> bytes:
    """One compressed stream of that kind; the bytes themselves for another ending."""
    if suffix == ".zst":
        return zstd().compress(data)
    return {".gz": gzip.compress, ".xz": lzma.compress}.get(suffix, bytes)(data)


def write(path, data):
    """Write bytes, compressed as the path's ending says."""
    path.write_bytes(packed(path.suffix, data))
    return path


def as_csv(texts, delimiter=",", encoding="utf-8", ids=True):
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter)
    writer.writerows([["id", "text"], *([f"r{row}", text] for row, text in enumerate(texts))])
    return out.getvalue().encode(encoding)


def as_jsonl(texts):
    return "".join(json.dumps({"id": f"r{row}", "text": text}) + "\n" for row, text in enumerate(texts)).encode()


def as_parquet(texts):
    out = io.BytesIO()
    pl.DataFrame({"id": [f"r{row}" for row in range(len(texts))], "text": texts}).write_parquet(out)
    return out.getvalue()


def source_of(path, **settings):
    return open_source(
        path, **{"text_column": "auto", "id_column": "auto", "encoding": "auto", "text_required": True, **settings}
    )


def read(path, rows=1000, **settings):
    return pl.concat(read_unique(source_of(path, **settings), rows=rows))


def refused(path, **settings):
    with pytest.raises(UserError) as caught:
        read(path, **settings)
    assert "\n" not in str(caught.value) and str(path.name) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("compression", ["", ".gz", ".xz", ".zst"])
@pytest.mark.parametrize(
    ("suffix", "data"),
    [
        (".csv", as_csv(TEXTS)),
        (".CSV", as_csv(TEXTS, ";")),
        (".csv", as_csv(TEXTS, "\t")),
        (".tsv", as_csv(TEXTS, "\t")),
        (".csv", as_csv(TEXTS, encoding="utf-8-sig")),
        (".csv", as_csv(TEXTS, encoding="utf-16")),
        (".jsonl", as_jsonl(TEXTS)),
        (".ndjson", as_jsonl(TEXTS)),
        (".parquet", as_parquet(TEXTS)),
    ],
)
def test_every_format_and_compression_gives_the_same_rows(tmp_path, suffix, data, compression):
    table = read(write(tmp_path / f"reviews{suffix}{compression}", data), rows=3)
    assert table["row"].to_list() == list(range(1, len(TEXTS) + 1))
    assert table["id"].to_list() == [f"r{row}" for row in range(len(TEXTS))]
    assert table["text"].to_list() == TEXTS


ODD_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)
ODD = st.lists(ODD_TEXT, min_size=1)


@settings(deadline=None)
@given(ODD, st.sampled_from(",;\t"), st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]), st.integers(1, 5))
def test_csv_round_trip(tmp_path_factory, texts, delimiter, encoding, rows):
    path = write(tmp_path_factory.mktemp("csv") / "reviews.csv", as_csv(texts, delimiter, encoding))
    assert read(path, rows=rows)["text"].to_list() == texts


@settings(deadline=None)
@given(st.lists(ODD_TEXT.filter(lambda text: not is_usual(text)), min_size=1))  # names of columns are refused there
def test_one_column_round_trip(tmp_path_factory, texts):
    out = io.StringIO(newline="")
    csv.writer(out).writerows([["anything"], *([text] for text in texts)])
    table = read(write(tmp_path_factory.mktemp("csv") / "reviews.csv", out.getvalue().encode()))
    assert table["text"].to_list() == texts
    assert table["id"].to_list() == [str(row) for row in range(len(texts))]


@settings(deadline=None)
@given(st.lists(st.text(max_size=30), min_size=1))
def test_json_lines_round_trip(tmp_path_factory, texts):
    table = read(write(tmp_path_factory.mktemp("jsonl") / "reviews.jsonl", as_jsonl(texts)))
    whole = [text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in texts]
    assert table["text"].to_list() == whole


def test_cp1251_is_found_and_said(tmp_path):
    texts = ["Пальто тёплое, сидит хорошо", "БРАК, ВЕРНУЛА", "«Норм» № 5 — ok"]
    path = write(tmp_path / "export.csv", as_csv(texts, ";", "cp1251"))
    assert read(path)["text"].to_list() == texts
    assert "CP1251" in describe_source(source_of(path))


def test_cp1251_is_found_behind_a_megabyte_of_ascii(tmp_path):
    texts = ["plain words only"] * 100_000 + ["Пальто тёплое, сидит хорошо"]
    path = write(tmp_path / "export.csv", as_csv(texts, encoding="cp1251"))
    assert path.stat().st_size > 2 * SAMPLE_BYTES
    assert read(path, rows=50_000)["text"].to_list() == texts


def test_a_file_that_stops_being_utf8_late_is_refused_with_its_line(tmp_path):
    good = as_csv(["Хорошее пальто"] * 60_000)
    path = write(tmp_path / "mixed.csv", good + "r60000,Плохо\r\n".encode("cp1251"))
    assert len(good) > SAMPLE_BYTES
    assert "line 60002" in refused(path) and "UTF-8" in refused(path)
    assert "line 60002" in refused(write(tmp_path / "mixed.csv.gz", path.read_bytes()))


def test_other_encodings(tmp_path):
    texts = ["Пальто тёплое, сидит хорошо", "очень доволен покупкой"]
    koi = write(tmp_path / "koi.csv", as_csv(texts, encoding="koi8-r"))
    assert read(koi)["text"].to_list() == read(koi, encoding="koi8-r")["text"].to_list() == texts
    assert "encoding KOI8-R" in describe_source(source_of(koi))
    bare = write(tmp_path / "bare.csv", as_csv(texts, encoding="utf-16-le"))
    assert read(bare)["text"].to_list() == read(bare, encoding="utf-16-le")["text"].to_list() == texts
    assert "encoding UTF-16-LE" in describe_source(source_of(bare))
    broken = write(tmp_path / "broken.csv", as_csv(texts).replace("доволен".encode(), b"\xd0\xd0"))
    assert "neither UTF-8" in refused(broken)
    assert "line 3" in refused(broken, encoding="utf-8")
    assert "did you mean 'cp1251'" in refused(broken, encoding="cp1521")
    for encoding in ("base64", "idna", "punycode", "unicode_escape"):
        assert "unknown encoding" in refused(broken, encoding=encoding)


@pytest.mark.parametrize(
    ("header", "text", "identity", "category"),
    [
        ("id,text", "text", "id", None),
        ("category,Review_Text,ID", "Review_Text", "ID", "category"),
        ("номер,Отзыв,Категория", "Отзыв", None, "Категория"),
        ("rating;Текст отзыва", "Текст отзыва", None, None),
        ("something", "something", None, None),
        ("comment,text", "text", None, None),
    ],
)
def test_usual_names_are_guessed_and_said(tmp_path, header, text, identity, category):
    source = source_of(write(tmp_path / "reviews.csv", f"{header}\n".encode()))
    assert (source.text_columns, source.id_column, source.category_column) == ((text,), identity, category)
    assert repr(text) in describe_source(source)


def test_columns_by_name(tmp_path):
    path = write(tmp_path / "reviews.csv", "id,text,слова,category\nа,б,в,г\n".encode())
    table = read(path, text_column="слова", id_column="text")
    assert table.rows() == [(1, "б", "в", "г")]
    assert table.columns == ["row", "id", "text", "category"]
    assert read(path, id_column="none")["id"].to_list() == ["0"]
    assert "did you mean 'text'" in refused(path, text_column="txt")
    assert "'слова'" in refused(path, id_column="absent")
    two = write(tmp_path / "two.csv", "а,б\n1,2\n".encode())
    assert "text_column" in refused(two)


def test_blank_lines_and_missing_values(tmp_path):
    one = write(tmp_path / "one.csv", "text\nа\n\nб\n".encode())
    assert read(one)["text"].to_list() == ["а", "", "б"]
    two = write(tmp_path / "two.csv", "\nid,text\n\n1,а\n\n2,\n".encode())
    assert read(two).rows() == [(1, "1", "а"), (2, "2", "")]
    lines = '{"text": null}\n\n{"text": 5}\n{"note": 1, "text": "а"}\n{"note": 1}\n'
    assert read(write(tmp_path / "lines.jsonl", lines.encode()))["text"].to_list() == ["", "5", "а", ""]
    table = tmp_path / "numbers.parquet"
    pl.DataFrame({"id": [7, 8], "text": ["а", None]}).write_parquet(table)
    assert read(table).rows() == [(1, "7", "а"), (2, "8", "")]
    assert list(read_batches(source_of(write(tmp_path / "none.csv", b"id,text\n")), rows=2)) == []


def test_long_cells_are_read(tmp_path):
    text = ("длинно " * 100_000)[:LONGEST]
    assert read(write(tmp_path / "long.csv", as_csv([text, "а"])))["text"].to_list() == [text, "а"]
    assert read(write(tmp_path / "long.jsonl", as_jsonl([text, "а"])))["text"].to_list() == [text, "а"]
    assert read(write(tmp_path / "long.parquet", as_parquet([text, "а"])))["text"].to_list() == [text, "а"]
    settings = "text_column='auto', id_column='auto', encoding='auto', text_required=True"
    head = "import sys; from pathlib import Path; from tsirius.io.source import open_source, read_batches"
    done = f"{head}; open_source(Path(sys.argv[1]), {settings})"
    # in a process of its own, where nothing has raised csv's limit before
    subprocess.run([sys.executable, "-c", done, tmp_path / "long.csv"], check=True)


def test_other_separators_and_nameless_columns(tmp_path):
    assert read(write(tmp_path / "bars.csv", "id|text\n1|а, б\n".encode())).rows() == [(1, "1", "а, б")]
    assert read(write(tmp_path / "trail.csv", "id;text;;\n1;а;;\n".encode())).rows() == [(1, "1", "а")]


def test_a_list_without_a_header_keeps_its_first_review_and_it_is_said(tmp_path):
    path = write(tmp_path / "a.csv", "Чайник\nКружка\n".encode())
    assert "no header: the first line 'Чайник' is a review too" in describe_source(source_of(path))
    assert read(path).rows() == [(1, "0", "Чайник"), (2, "1", "Кружка")]
    assert read(path, text_column="Чайник").rows() == [(1, "0", "Кружка")]
    long = describe_source(source_of(write(tmp_path / "long.csv", "Чайник греет. ".encode() * 9000 + b"\n")))
    assert "Чайник греет" in long and len(long) < 200
    assert "header" not in describe_source(source_of(write(tmp_path / "b.csv", "Отзыв\nКружка\n".encode())))


def test_another_file_need_not_have_the_named_columns(tmp_path):
    named = {"text_column": "слова", "id_column": "номер", "encoding": "auto", "text_required": True}
    other = open_other(write(tmp_path / "other.csv", b"id,text\n1,a\n"), **named)
    assert (other.text_columns, other.id_column) == (("text",), "id")
    same = open_other(write(tmp_path / "same.csv", "id,text,слова,номер\n".encode()), **named)
    assert (same.text_columns, same.id_column) == (("слова",), "номер")


def test_a_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    assert "not an ordinary file" in refused(tmp_path / "pipe.csv")


FAULTS = [
    ("nothing.csv", b"", {}, "is empty"),
    ("blank.csv", b"\n \n", {}, "is empty"),
    ("nothing.jsonl.gz", b"", {}, "is empty"),
    ("keyless.jsonl", b"{}\n", {}, "has no columns"),
    ("reviews.docx", b"abc", {}, "'.docx'"),
    ("reviews", b"abc", {}, ".parquet"),
    ("excel.csv", b"PK\x03\x04 and more", {}, "Excel"),
    ("quote.csv", 'id,text\n1,а\n2,"б\n3,в\n'.encode(), {}, "row 2 (line 3): a quote opens"),
    ("inner.csv", 'id,text\n1,"а" б\n'.encode(), {}, "row 1 (line 2): quotes do not match"),
    ("many.csv", 'id,text\n1,"а\nа"\n2,б,в\n'.encode(), {}, "row 2 (line 4): 3 cells"),
    ("few.csv", "id,text\n1,а\n2\n".encode(), {}, "row 2 (line 3): 1 cells"),
    ("nul.csv", "id,text\n1,а\0\n".encode(), {}, "row 1 (line 2): holds a NUL"),
    ("twice.csv", "text,text\nа,б\n".encode(), {}, "two columns named 'text'"),
    ("json.jsonl", b'{"text": "a"}\n{"text": "b"\n', {}, "line 2: not valid JSON"),
    ("array.jsonl", b'[{"text": "a"}]\n', {}, "line 1: not a JSON object"),
    ("nested.jsonl", b'{"text": "a"}\n{"text": ["b"]}\n', {}, "row 2 (line 2): 'text' is a list"),
    ("huge.csv", b"text\n" + b"word " * (LONGEST_CELL // 5 + 1), {}, "row 1 (line 2): a cell has more than"),
    ("ids.csv", "id,text\nx,а\ny,б\nx,в\n".encode(), {}, "row 3: repeats the id 'x' of row 1"),
    ("noid.csv", "id,text\nx,а\n,б\n".encode(), {}, "row 2: has no id"),
    ("broken.parquet", b"PAR1 not really", {}, "damaged"),
    ("broken.csv.gz", None, {}, "damaged"),
]


@pytest.mark.parametrize(("name", "data", "settings", "expected"), FAULTS)
def test_faults_name_the_place(tmp_path, name, data, settings, expected):
    path = tmp_path / name
    if data is None:
        path.write_bytes(b"not compressed at all")
    else:
        write(path, data)
    assert expected in refused(path, **settings)


@pytest.mark.parametrize("compression", [".gz", ".xz", ".zst"])
@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_cut_off_files_are_refused(tmp_path, suffix, compression):
    texts = [f"отзыв номер {row * 7919 % 100_003}" for row in range(50_000)]
    data = as_csv(texts) if suffix == ".csv" else as_jsonl(texts)
    path = write(tmp_path / f"reviews{suffix}{compression}", data)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    line = refused(path)
    assert "cut off" in line and ("row" in line or "line" in line)
    path.write_bytes(whole[:-2])
    assert "cut off" in refused(path)


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".zst"])
def test_a_file_of_two_compressed_streams_is_read_whole_or_refused(tmp_path, suffix):
    texts = [f"чайник {row * 7919 % 101}" for row in range(40)]
    data = as_csv(texts)
    first, second = packed(suffix, data[:300]), packed(suffix, data[300:])
    path = tmp_path / f"reviews.csv{suffix}"
    path.write_bytes(first + second)
    assert read(path)["text"].to_list() == texts
    for cut in range(len(first) + 1, len(first + second)):  # between the two nothing is missing that could be seen
        path.write_bytes((first + second)[:cut])
        assert "damaged or cut off" in refused(path), cut
    marks = {".gz": b"\x1f\x8b", ".xz": b"\xfd7zXZ\0", ".zst": b"\x28\xb5\x2f\xfd"}
    for place in range(len(first), len(first) + len(marks[suffix])):
        damaged = bytearray(first + second)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        assert "damaged or cut off" in refused(path), place
    for rest in (b"x", b"a line\n" * 99, "ещё строка\n".encode(), *marks.values()):
        path.write_bytes(first + second + rest)
        assert "damaged or cut off" in refused(path), rest


@pytest.mark.parametrize(("zeros", "right"), [(4, True), (4 << 16, True), (3, False), ((4 << 16) + 1, False)])
@pytest.mark.parametrize("after", [b"", lzma.compress("3,сито\n".encode())])
def test_xz_may_be_padded_by_fours(tmp_path, zeros, right, after):
    path = tmp_path / "reviews.csv.xz"
    path.write_bytes(lzma.compress("id,text\n1,чайник\n2,кружка\n".encode()) + bytes(zeros) + after)
    if right:
        assert read(path)["text"].to_list() == ["чайник", "кружка", "сито"][: 3 if after else 2]
    else:
        assert "zeros where xz has none" in refused(path)


def test_batches_are_full_whatever_the_row_groups(tmp_path):
    path = tmp_path / "reviews.parquet"
    texts = pl.Series("text", ["кружка", "тапки"] * 70, dtype=pl.Categorical)
    pl.DataFrame([texts]).write_parquet(path, row_group_size=33)
    found = list(read_batches(source_of(path), rows=50))
    assert [batch.height for batch in found] == [50, 50, 40]
    assert pl.concat(found)["text"].to_list() == texts.to_list()


def test_parquet_with_a_damaged_letter_is_refused(tmp_path):
    buffer = io.BytesIO()
    pl.DataFrame({"id": ["a", "b"], "text": ["Кружка", "Тапки"]}).write_parquet(buffer, compression="uncompressed")
    data = buffer.getvalue()
    assert data.count("Тапки".encode()) >= 1
    harmed = data.replace("Тапки".encode(), b"\xd0\xff" + "Тапки".encode()[2:])
    assert "after row 0: damaged: a text is not UTF-8" in refused(write(tmp_path / "reviews.parquet", harmed))


def test_cut_off_parquet_is_refused(tmp_path):
    data = as_parquet(TEXTS)
    assert "damaged" in refused(write(tmp_path / "reviews.parquet", data[:-10]))
    assert "damaged" in refused(write(tmp_path / "reviews.parquet.gz", data[:-10]))
    nested = tmp_path / "nested.parquet"
    pl.DataFrame({"text": [["a"]]}).write_parquet(nested)
    assert "not text" in refused(nested)
    for kind in (pa.binary(), pa.binary(16), pa.uuid()):
        pq.write_table(pa.table({"id": pa.array([b"\xff" * 16], kind), "text": ["a"]}), tmp_path / "bytes.parquet")
        assert "column 'id' holds" in refused(tmp_path / "bytes.parquet")
    columns = [pa.array(["a"]), pa.array(["b"])]
    pq.write_table(pa.table(columns, names=["text", "text"]), tmp_path / "twice.parquet")
    assert "two columns named 'text'" in refused(tmp_path / "twice.parquet")


def test_missing_file_and_folder(tmp_path):
    write(tmp_path / "reviews.csv", b"text\n")
    assert "did you mean 'reviews.csv'" in refused(tmp_path / "review.csv")
    assert "folder" in refused(tmp_path)


def test_ids_are_checked_across_files(tmp_path):
    one = source_of(write(tmp_path / "one.csv", "id,text\nx,а\n".encode()))
    two = source_of(write(tmp_path / "two.csv", "id,text\ny,а\nx,б\n".encode()))
    unique = Unique()
    list(read_unique(one, rows=10, unique=unique))
    with pytest.raises(UserError, match=r"two\.csv, row 2: repeats the id 'x' of row 1 of .*one\.csv"):
        list(read_unique(two, rows=10, unique=unique))


@pytest.mark.parametrize(
    ("header", "texts", "id"),
    [
        ("ключ,id,плюсы,минусы,text", ["плюсы", "минусы"], "ключ"),
        ("ключ,text", ["text"], "ключ"),
        ("id,минусы,плюсы", ["плюсы", "минусы"], "id"),
        ("id,text", ["text"], "id"),
    ],
)
def test_a_later_file_is_read_by_the_columns_of_an_earlier_one(
    tmp_path: Path, header: str, texts: list[str], id: str
) -> None:
    path = tmp_path / "new.csv"
    path.write_text(f"{header}\n" + ",".join("абвгд"[: header.count(",") + 1]) + "\n", encoding="utf-8")
    before = {"text_column": ["плюсы", "минусы"], "id_column": "ключ"}
    auto: dict[str, Any] = {"text_column": "auto", "id_column": "auto", "encoding": "auto", "text_required": True}
    source = open_alike(path, before, **auto)
    assert (list(source.text_columns), source.id_column) == (texts, id)
    named = open_alike(path, before, **{**auto, "id_column": "none"})
    assert (list(named.text_columns), named.id_column) == (texts, None)
    with pytest.raises(UserError, match="нет"):
        open_alike(path, before, **{**auto, "text_column": "нет"})
