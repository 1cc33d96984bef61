"""Predict: any format in, any format out, in the file's order, and a killed run goes on to the same bytes."""

import csv
import errno
import gzip
import io
import json
import lzma
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from python_calamine import CalamineWorkbook
from typer.testing import CliRunner

from tsirius import cli, tables
from tsirius.commands import predict as predicting
from tsirius.errors import UserError
from tsirius.io import ids, writers
from tsirius.io.source import open_source
from tsirius.io.streams import zstd
from tsirius.models import linear
from tsirius.models.classifier import Classifier, Description
from tsirius.shards import Shards
from tsirius.stages import predict

NAMES = ["посуда", "обувь", "нет товара"]
TEXTS = ["кружка целая", "тапки мягкие", "спасибо продавцу", "", "тарелки", "ботинки жмут", "доставка"]
AUTO = {"text_column": "auto", "id_column": "auto", "encoding": "auto"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    linear.fit(["кружка тарелки", "тапки ботинки", "спасибо"], [0, 1, 2], weights=None, categories=3, c=10.0,
               rounds=50, embed=None).save(folder)  # fmt: skip
    Description("linear", NAMES, "нет товара", None, [0.0] * 3, None, None, None, []).save(folder)
    return folder


def reviews(path: Path, rows: int) -> Path:
    """A file of ``rows`` reviews in the format that its name says."""
    table = pl.DataFrame(
        {
            "номер": [f"r{row * 7 % rows}-{row}" for row in range(rows)],
            "text": [f"{TEXTS[row % 7]} {row % 11}" if TEXTS[row % 7] else "" for row in range(rows)],
        }
    ).rename({"номер": "id"})
    plain = path.name.removesuffix(".gz")
    if plain.endswith(".parquet"):
        table.write_parquet(path)
    elif plain.endswith(".jsonl"):
        path.write_text("".join(json.dumps(row) + "\n" for row in table.iter_rows(named=True)), encoding="utf-8")
    else:
        text = table.write_csv(separator="\t" if plain.endswith(".tsv") else ",")
        path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def read(path: Path) -> list[dict[str, Any]]:
    data = path.read_bytes()
    if path.suffix == ".zst":
        data = zstd().decompress(data)
    data = {".gz": gzip.decompress, ".xz": lzma.decompress}.get(path.suffix, bytes)(data)
    if ".parquet" in path.name:
        return list(pl.read_parquet(data).iter_rows(named=True))
    if ".jsonl" in path.name:
        return [json.loads(line) for line in data.decode().splitlines()]
    found = csv.DictReader(data.decode().splitlines(), delimiter="\t" if ".tsv" in path.name else ",")
    return [{**row, "confidence": float(row["confidence"])} for row in found]


@pytest.mark.parametrize("given", ["a.csv", "a.tsv", "a.jsonl", "a.parquet", "a.csv.gz"])
def test_every_format_in_gives_the_same_answers(model: Path, tmp_path: Path, given: str) -> None:
    path = reviews(tmp_path / given, 40)
    predicting.predict_file(model, path, tmp_path / "out.csv", **AUTO)
    rows = read(tmp_path / "out.csv")
    table = [f"r{row * 7 % 40}-{row}" for row in range(40)]
    assert [row["id"] for row in rows] == table
    assert [row["category"] for row in rows[:5]] == ["посуда", "обувь", "нет товара", "нет товара", "посуда"]


@pytest.mark.parametrize(
    "name", ["o.csv", "o.tsv", "o.jsonl", "o.parquet", "o.csv.gz", "o.jsonl.xz", "o.tsv.zst", "o.parquet.gz"]
)
def test_every_format_out_holds_the_same_rows_and_bytes(model: Path, tmp_path: Path, name: str) -> None:
    path = reviews(tmp_path / "a.csv", 300)
    predicting.predict_file(model, path, tmp_path / "plain.csv", **AUTO)
    predicting.predict_file(model, path, tmp_path / name, **AUTO)
    assert read(tmp_path / name) == read(tmp_path / "plain.csv")
    before = (tmp_path / name).read_bytes()
    predicting.predict_file(model, path, tmp_path / name, **AUTO)
    assert (tmp_path / name).read_bytes() == before
    assert not list(tmp_path.glob(".*"))


class Slow:
    """Scores a text by its length, and stops the process at the third window."""

    def __init__(self, limit: int) -> None:
        self.seen, self.limit = 0, limit

    def logits(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.seen += len(texts)
        if self.seen > self.limit:
            raise KeyboardInterrupt
        return np.array([[len(text) % 3 == k for k in range(3)] for text in texts], dtype=np.float32)


def classifier(limit: int) -> tuple[Classifier, Slow]:
    scorer = Slow(limit)
    return Classifier(Description("linear", NAMES, "нет товара", None, [0.0] * 3, None, None, None, []), scorer), scorer


def test_windows_go_on_after_what_is_done(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text\n" + "".join(f"кружка {'x' * (row % 13)}{row}\n" for row in range(95)), encoding="utf-8")
    source = open_source(path, **AUTO, text_required=True)
    whole = pl.concat(predict.windows(classifier(999)[0], source, rows=95, batch_rows=10, shards=None))
    parts = Shards(tmp_path / "parts")
    with pytest.raises(KeyboardInterrupt):
        list(predict.windows(classifier(35)[0], source, rows=95, batch_rows=10, shards=parts))
    assert parts.names() == ["000000", "000001", "000002"]
    assert predict.finished(parts, rows=95, batch_rows=10) == 30
    second, scorer = classifier(999)
    again = pl.concat(predict.windows(second, source, rows=95, batch_rows=10, shards=parts))
    assert again.equals(whole) and again["id"].to_list() == [str(row) for row in range(95)]
    assert scorer.seen == 65, "what was done is not done again"
    first = parts.read("000000")
    assert first is not None and first.schema == {**tables.PREDICTIONS, **tables.RUNNER_UP} and first.height == 10
    assert predict.finished(parts, rows=95, batch_rows=10) == 95
    assert predict.finished(Shards(tmp_path / "no"), rows=9, batch_rows=2) == 0


def test_a_damaged_window_is_predicted_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text\n" + "".join(f"кружка {row}\n" for row in range(30)), encoding="utf-8")
    source, shards = open_source(path, **AUTO, text_required=True), Shards(tmp_path / "windows")
    whole = pl.concat(predict.windows(classifier(999)[0], source, rows=30, batch_rows=10, shards=shards))
    damaged = bytearray((tmp_path / "windows" / "000001.shard").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "windows" / "000001.shard").write_bytes(damaged)
    second, scorer = classifier(999)
    again = pl.concat(predict.windows(second, source, rows=30, batch_rows=10, shards=shards))
    assert again.equals(whole) and scorer.seen == 10
    assert "000001.shard: damaged, computing it again" in capsys.readouterr().err


KILLED = """
import sys
from pathlib import Path
from tsirius.commands import predict as predicting
from tsirius.stages import predict
predict.Config.model_fields["batch_rows"].default = 50
predict.Config.model_rebuild(force=True)
predicting.predict_file(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]),
                     text_column="auto", id_column="auto", encoding="auto")
"""


def test_a_killed_prediction_goes_on_to_the_same_bytes(model: Path, tmp_path: Path) -> None:
    path, out = reviews(tmp_path / "a.csv", 6000), tmp_path / "out.jsonl.gz"
    command = [sys.executable, "-c", KILLED, str(model), str(path)]
    subprocess.run([*command, str(tmp_path / "whole.jsonl.gz")], check=True, capture_output=True)
    process = subprocess.Popen([*command, str(out)], stderr=subprocess.DEVNULL)
    windows = tmp_path / ".out.jsonl.gz.unfinished" / "windows"
    while process.poll() is None and not (windows / "000002.shard").is_file():
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert windows.is_dir() and not out.exists(), "killed in the middle"
    done = subprocess.run([*command, str(out)], check=True, capture_output=True, text=True)
    assert "resuming after row" in done.stderr
    assert out.read_bytes() == (tmp_path / "whole.jsonl.gz").read_bytes()
    assert not list(tmp_path.glob(".*"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_full_disk_is_named(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = reviews(tmp_path / "a.csv", 3)
    with pytest.raises(OSError, match="/dev/full"):
        predicting.predict_file(model, path, Path("/dev/full"), **AUTO)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writers, "to_stream", lambda *_: full)
    with pytest.raises(OSError, match=r"out\.csv"):
        predicting.predict_file(model, path, tmp_path / "out.csv", **AUTO)
    monkeypatch.undo()
    assert not (tmp_path / "out.csv").exists()
    predicting.predict_file(model, path, tmp_path / "out.csv", **AUTO)
    assert len(read(tmp_path / "out.csv")) == 3 and not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("ending", [[], ["-o", "-"]])
def test_the_command_writes_to_standard_output(model: Path, tmp_path: Path, ending: list[str]) -> None:
    path = reviews(tmp_path / "a.csv", 3)
    found = CliRunner().invoke(cli.app, ["predict", str(model), str(path), *ending])
    assert found.stdout.splitlines()[0] == "id,category,confidence" and len(found.stdout.splitlines()) == 4
    assert [item.name for item in tmp_path.iterdir()] == ["a.csv"]


def test_the_rate_is_of_the_rows_that_were_predicted_now(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, clock = reviews(tmp_path / "a.csv", 40), iter(range(0, 1000, 10))
    monkeypatch.setattr(predict.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(predict, "finished", lambda *_, **__: 30)
    monkeypatch.setattr(predict, "progress", lambda *_, **__: nullcontext(lambda rows=1: None))
    predicting.predict_file(model, path, tmp_path / "out.csv", **AUTO)
    assert "40 reviews predicted" in (said := capsys.readouterr().err) and "(1/s):" in said


def test_another_model_or_file_begins_anew(model: Path, tmp_path: Path) -> None:
    path, out = reviews(tmp_path / "a.csv", 30), tmp_path / "out.csv"
    windows = tmp_path / ".out.csv.unfinished" / "windows"
    windows.mkdir(parents=True)
    (windows / "000000.shard").write_bytes(b"of something else")
    predicting.predict_file(model, path, out, **AUTO)
    assert len(read(out)) == 30


def test_an_output_behind_a_link_is_written_and_the_link_stays(model: Path, tmp_path: Path) -> None:
    path = reviews(tmp_path / "a.csv", 30)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out.csv").symlink_to(tmp_path / "elsewhere" / "real.csv")
    for _ in range(2):
        predicting.predict_file(model, path, tmp_path / "out.csv", **AUTO)
        assert (tmp_path / "out.csv").is_symlink() and len(read(tmp_path / "elsewhere" / "real.csv")) == 30
    assert [item.name for item in (tmp_path / "elsewhere").iterdir()] == ["real.csv"]


def test_a_model_that_changes_while_it_is_loaded_is_refused(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = shutil.copytree(model, tmp_path / "model")
    load = Classifier.load

    def change(folder: Path) -> Classifier:
        classifier = load(folder)
        (own / "model.json").write_text((own / "model.json").read_text(encoding="utf-8") + "\n", encoding="utf-8")
        return classifier

    monkeypatch.setattr(Classifier, "load", change)
    with pytest.raises(UserError, match="changed while it was loaded"):
        predicting.predict_file(own, reviews(tmp_path / "a.csv", 3), tmp_path / "out.csv", **AUTO)
    assert not (tmp_path / "out.csv").exists()


def test_an_unknown_ending_and_a_missing_folder_are_refused(model: Path, tmp_path: Path) -> None:
    path = reviews(tmp_path / "a.csv", 3)
    with pytest.raises(UserError, match=r"unsupported file type '\.docx'"):
        predicting.predict_file(model, path, tmp_path / "out.docx", **AUTO)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        predicting.predict_file(model, path, tmp_path / "nowhere" / "out.csv", **AUTO)


def test_an_error_at_the_end_of_the_file_shows_before_any_work(model: Path, tmp_path: Path) -> None:
    path, out = reviews(tmp_path / "a.csv", 200), tmp_path / "out.csv"
    with path.open("a", encoding="utf-8") as handle:
        handle.write("r0-0,кружка\n")
    with pytest.raises(UserError, match="row 201: repeats the id 'r0-0' of row 1"):
        predicting.predict_file(model, path, out, **AUTO)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["a.csv"]


def test_ids_that_share_a_hash_are_no_duplicates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids.Hashes, "repeated", lambda self, given: given.to_list())
    source = open_source(reviews(tmp_path / "a.csv", 50), **AUTO, text_required=True)
    assert ids.check(source) == 50


def test_hashes_find_what_came_before() -> None:
    hashes = ids.Hashes()
    for start in range(0, 1000, 37):
        assert hashes.repeated(pl.Series([str(row) for row in range(start, start + 37)])) == []
    assert sorted(hashes.repeated(pl.Series(["5", "999", "new", "x", "x"]))) == ["5", "999", "x"]


def test_the_id_column_keeps_its_name_unless_it_is_taken(tmp_path: Path) -> None:
    for name, wanted in (("id", "id"), ("номер", "номер"), ("category", "id"), ("confidence", "id")):
        path = tmp_path / f"{name}.csv"
        path.write_text(f"{name},text\n1,кружка\n", encoding="utf-8")
        source = open_source(path, text_column="text", id_column=name, encoding="auto", text_required=True)
        assert writers.layout(None, source, confidence=True).columns == (wanted, "category", "confidence")


def with_more_columns(path: Path) -> Path:
    rows = [[f"r{n}", f"кружка {n}", n * 10, f"=1+{n}", "своя"] for n in range(7)]
    with path.open("w", encoding="utf-8", newline="") as handle:
        csv.writer(handle).writerows([["id", "text", "Цена", "Формула", "category"], *rows])
    return path


def test_what_a_person_opens_has_all_columns_and_what_programs_read_has_three(model: Path, tmp_path: Path) -> None:
    path, rows = with_more_columns(tmp_path / "a.csv"), 7
    predicting.predict_file(model, path, tmp_path / "plain.csv", **AUTO)
    assert list(read(tmp_path / "plain.csv")[0]) == ["id", "category", "confidence"]
    predicting.predict_file(model, path, tmp_path / "out.xlsx", **AUTO, table=predicting.Table(runner_up=True))
    sheet = CalamineWorkbook.from_path(tmp_path / "out.xlsx").get_sheet_by_index(0).to_python()
    assert sheet[0] == ["id", "text", "Цена", "Формула", "category (input)", "category", "confidence", "runner_up",
                        "runner_up_confidence"]  # fmt: skip
    assert [row[:5] for row in sheet[1:]] == [[f"r{n}", f"кружка {n}", n * 10, f"=1+{n}", "своя"] for n in range(rows)]
    assert all(row[5] == "посуда" != row[7] and row[6] > row[8] for row in sheet[1:])
    assert [row[5] for row in sheet[1:]] == [row["category"] for row in read(tmp_path / "plain.csv")]


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl", "out.parquet", "out.tsv"])
def test_columns_are_chosen_by_name(model: Path, tmp_path: Path, name: str) -> None:
    path = with_more_columns(tmp_path / "a.csv")
    table = predicting.Table(predicting.split('label, "Формула" ,id'))
    predicting.predict_file(model, path, tmp_path / name, **AUTO, table=table)
    data = (tmp_path / name).read_text(encoding="utf-8") if name != "out.parquet" else ""
    found = {
        "out.csv": lambda: list(csv.DictReader(data.splitlines())),
        "out.tsv": lambda: list(csv.DictReader(data.splitlines(), delimiter="\t")),
        "out.jsonl": lambda: [json.loads(line) for line in data.splitlines()],
        "out.parquet": lambda: pl.read_parquet(tmp_path / name).to_dicts(),
    }[name]()
    assert [list(row.items()) for row in found] == [
        [("category", "посуда"), ("Формула", f"=1+{n}"), ("id", f"r{n}")] for n in range(7)
    ]
    with pytest.raises(UserError, match="no column 'Формулы'; did you mean 'Формула'"):
        predicting.predict_file(model, path, tmp_path / name, **AUTO, table=predicting.Table(["Формулы", "category"]))
    with pytest.raises(UserError, match="the category is not among them"):
        predicting.predict_file(model, path, tmp_path / name, **AUTO, table=predicting.Table(["id"]))


@pytest.mark.parametrize(("locale", "delimiter"), [("ru_RU.UTF-8", ";"), ("en_US.UTF-8", ","), ("C.UTF-8", ";")])
def test_csv_for_excel(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locale: str, delimiter: str
) -> None:
    monkeypatch.setenv("LC_ALL", locale)
    path = with_more_columns(tmp_path / "a.csv")
    predicting.predict_file(model, path, tmp_path / "out.csv", **AUTO, table=predicting.Table(for_excel=True))
    data = (tmp_path / "out.csv").read_bytes()
    assert data.startswith(b"\xef\xbb\xbf") and not data[3:].startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader(data.decode("utf-8-sig").splitlines(), delimiter=delimiter))
    assert [(row["id"], row["Формула"], row["category"]) for row in rows] == [
        (f"r{n}", f"'=1+{n}", "посуда") for n in range(7)
    ]
    assert all(("," if delimiter == ";" else ".") in row["confidence"] for row in rows)


def test_standard_input_is_a_file(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.csv", "a.jsonl", "a.parquet", "a.csv.gz"):
        path = reviews(tmp_path / name, 20)
        with path.open("rb") as handle:
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(handle))
            predicting.predict_file(model, "-", tmp_path / "piped.csv", **AUTO)
        predicting.predict_file(model, path, tmp_path / "whole.csv", **AUTO)
        assert (tmp_path / "piped.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_more_rows_than_a_sheet_holds_are_refused_before_any_work(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predicting.workbook, "ROWS", 30)
    monkeypatch.setattr(predict, "windows", None)
    with pytest.raises(UserError, match="30 rows and a header are more"):
        predicting.predict_file(model, reviews(tmp_path / "a.csv", 30), tmp_path / "out.xlsx", **AUTO)


@pytest.mark.parametrize(
    "data",
    [
        b"id,text\n",
        b"\xff\xfe" + "id,text\n1,Чайник\n".encode(),
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        b"<html><body>404</body></html>",
    ],
)
def test_what_has_no_rows_replaces_no_output(model: Path, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.csv").write_bytes(data)
    out = tmp_path / "out.csv"
    out.write_text("what was there before")
    with pytest.raises(UserError):
        predicting.predict_file(model, tmp_path / "a.csv", out, **AUTO)
    assert out.read_text() == "what was there before"


def test_a_text_that_is_cut_is_said_and_predicted_as_by_the_classifier(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "кружка треснула " * 8_000
    (tmp_path / "a.csv").write_text(f"id,text\nx,{text}\n", encoding="utf-8")
    predicting.predict_file(model, tmp_path / "a.csv", tmp_path / "out.csv", **AUTO)
    assert "a.csv, row 1: of 128,000 characters the first 100,000 are read" in capsys.readouterr().err
    assert read(tmp_path / "out.csv")[0]["category"] == Classifier.load(model).predict([text])[0]
