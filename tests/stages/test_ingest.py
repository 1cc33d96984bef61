import hashlib
import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from pydantic import ValidationError

from tsirius import tables
from tsirius.categories import Categories
from tsirius.errors import UserError
from tsirius.stages import ingest

LONG = "Заказывала эту кофту для дочки в подарок, ткань мягкая, швы ровные, рукав немного длинноват"


@pytest.fixture
def names(tmp_path):
    path = tmp_path / "categories.txt"
    path.write_text("одежда\nнет товара\n", encoding="utf-8")
    return path


@pytest.fixture
def run(tmp_path, names):
    def run(*train, **settings):
        out = tmp_path / "out"
        for folder in (out, tmp_path / "scratch"):
            folder.mkdir(exist_ok=True)
        train = train[0] if len(train) == 1 else list(train)
        config = ingest.Config(train=train, categories=names, **settings)
        counts = ingest.run(config, {}, out, seed=0, scratch=tmp_path / "scratch")
        assert json.loads(json.dumps(counts)) == counts
        reviews = tables.read(out / "reviews.parquet", tables.REVIEWS)
        rejected = tables.read(out / "rejected.parquet", tables.REJECTED)
        assert counts["rows"] == reviews.height + rejected.height
        assert reviews["id"].n_unique() == reviews.height
        return counts, reviews, rejected

    return run


def write(path, texts, **columns):
    pl.DataFrame({"text": texts, **columns}).write_csv(path)
    return path


def test_every_row_is_kept_or_set_aside_with_its_reason(tmp_path, run, capsys):
    texts = [
        LONG,
        "  ",
        LONG + "!",
        "https://shop.example/1",
        None,
        LONG.replace("ровные", "ровны"),
        "д" * 201,
        LONG,
        "😀",
    ]
    counts, reviews, rejected = run(write(tmp_path / "reviews.csv", texts), max_characters=200)
    assert counts.pop("columns") == {str(tmp_path / "reviews.csv"): {"text": "text", "id": None}}
    assert counts == {
        "rows": 9, "kept": 5, "groups": 2, "exact_duplicates": 1, "near_duplicates": 2,
        "rejected": {"empty": 2, "nothing left": 1, "too long": 1},
    }  # fmt: skip
    assert reviews["row"].to_list() == [1, 3, 6, 8, 9]
    assert reviews["id"].to_list() == ["0", "2", "5", "7", "8"]
    assert reviews["group"].to_list() == [0, 0, 0, 0, 4]
    assert rejected.rows() == [
        ("1", "reviews.csv", 2, "empty"),
        ("3", "reviews.csv", 4, "nothing left"),
        ("4", "reviews.csv", 5, "empty"),
        ("6", "reviews.csv", 7, "too long"),
    ]
    said = capsys.readouterr().err
    assert "2 empty, set aside: row 2, row 5" in said and "1 exact and 2 near duplicates" in said


def test_the_text_as_it_came_stays_beside_the_cleaned_one(tmp_path, run):
    text = "Кофта&nbsp;тёплая_x000D_\n<br>пишите a@b.example "
    _, reviews, _ = run(write(tmp_path / "reviews.csv", [text], id=["первый"]))
    assert reviews["text"].item() == text
    assert reviews["clean"].item() == "Кофта тёплая пишите"
    assert reviews["id"].item() == "первый"


def test_categories_are_passed_on(tmp_path, run):
    run(write(tmp_path / "reviews.csv", [LONG]))
    found = Categories.from_json((tmp_path / "out" / "categories.json").read_text(encoding="utf-8"))
    assert found.names == ["одежда", "нет товара"] and found.none == "нет товара"


def test_several_files_share_groups_but_no_ids(tmp_path, run):
    one = write(tmp_path / "one.csv", [LONG, "б"])
    two = write(tmp_path / "two.csv", ["", LONG + "."])
    _, reviews, rejected = run(one, two)
    assert reviews.select("id", "source", "row", "group").rows() == [
        ("1:0", "one.csv", 1, 0), ("1:1", "one.csv", 2, 1), ("2:1", "two.csv", 2, 0),
    ]  # fmt: skip
    assert rejected["id"].to_list() == ["2:0"]
    with_ids = write(tmp_path / "three.csv", ["а"], id=["x"])
    with pytest.raises(UserError, match="no id column"):
        run(one, with_ids)
    with pytest.raises(UserError, match="repeats the id 'x'"):
        run(with_ids, write(tmp_path / "four.csv", ["б"], id=["x"]))
    assert run(one, with_ids, id_column="none")[0]["kept"] == 3


def test_batches_do_not_show(tmp_path, run, monkeypatch):
    texts = [f"{LONG} {row % 7}" if row % 3 else f"коротко {row % 5}" for row in range(100)]
    path = write(tmp_path / "reviews.csv", texts)
    _, whole, _ = run(path)
    first = hashlib.sha256((tmp_path / "out" / "reviews.parquet").read_bytes()).hexdigest()
    run(path)
    assert hashlib.sha256((tmp_path / "out" / "reviews.parquet").read_bytes()).hexdigest() == first
    monkeypatch.setattr(ingest, "BATCH_ROWS", 7)
    _, parts, _ = run(path)
    assert parts.equals(whole)


def test_the_test_file_is_not_opened(tmp_path, run):
    assert run(write(tmp_path / "reviews.csv", [LONG]), test=tmp_path / "absent.csv")[0]["kept"] == 1


def test_no_usable_review_is_refused(tmp_path, run):
    with pytest.raises(UserError, match=r"no usable review .2 empty"):
        run(write(tmp_path / "reviews.csv", ["", " "]))
    with pytest.raises(UserError, match=r"no usable review .no rows"):
        run(write(tmp_path / "reviews.csv", []))


@pytest.mark.parametrize(
    "settings",
    [{"train": []}, {"train": ["a.csv", "a.csv"]}, {"near_duplicate": 0}, {"max_characters": 0}, {"trian": "a.csv"}],
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValidationError):
        ingest.Config(**{"train": "a.csv", "categories": "c.toml", **settings})


def test_its_benchmark_runs():
    benchmark = Path(__file__).parents[2] / "benchmarks" / "ingest.py"
    done = subprocess.run([sys.executable, benchmark, "300"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "300 rows: " in done.stdout and "peak" in done.stdout
