"""Evaluate: two scores that never mix, the gold file, the confusion matrix."""

import json
import tracemalloc
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tsirius import metrics, tables
from tsirius.errors import UserError
from tsirius.io.source import open_source
from tsirius.metrics import score
from tsirius.models import linear
from tsirius.models.classifier import Description
from tsirius.stages.evaluate import CONFUSION, PREDICTED, Config, check, confusion, read_gold, run

NAMES = ["посуда", "обувь", "нет товара"]
AUTO = {"text_column": "auto", "id_column": "auto"}
VALID = [("кружки целые", "посуда"), ("тапки мягкие", "обувь"), ("кружка", "обувь")]
GOLD = "id,text,category\nx1,две кружки,посуда\nx2,тапки,обувь\nx3,не знаю,\n"


@pytest.fixture
def given(tmp_path: Path) -> dict[str, Path]:
    model = tmp_path / "train" / "model"
    model.mkdir(parents=True)
    linear.fit(
        ["кружка", "тапки", "спасибо"], [0, 1, 2], weights=None, categories=3, c=10.0, rounds=50, embed=None
    ).save(model)
    Description("linear", NAMES, "нет товара", None, [0.0] * 3, None, None, None, []).save(model)
    write_valid(tmp_path / "split", VALID)
    return {name: tmp_path / name for name in ("label", "train", "split")}


def write_valid(folder: Path, rows: list[tuple[str, str]]) -> None:
    folder.mkdir(exist_ok=True)
    found = [(f"r{n}", text, n, label, 0.9, f"r{n}", "written", 1.0) for n, (text, label) in enumerate(rows)]
    valid = pl.DataFrame(found, schema=dict(tables.EXAMPLES), orient="row")
    tables.write(valid, tables.EXAMPLES, folder / "valid.parquet")


def evaluate(folder: Path, given: dict[str, Path], **settings: Any) -> dict[str, Any]:
    out = folder / "out"
    out.mkdir()
    json.dumps(run(Config(**settings), given, out, seed=0, scratch=folder, columns=AUTO))
    found: dict[str, Any] = json.loads((out / "scores.json").read_text(encoding="utf-8"))
    return found


def test_both_scores(tmp_path: Path, given: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "gold.csv").write_text(GOLD, encoding="utf-8")
    scores = evaluate(tmp_path, given, gold=tmp_path / "gold.csv")
    assert scores["pseudo_label"]["accuracy"] == pytest.approx(2 / 3)
    assert scores["gold"]["weighted_f1"] == 1.0 and scores["gold"]["rows"] == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "1 rows have no category" in said.err
    agreed, right = said.err.split("against gold")
    assert "agreement with pseudo-labels:" in agreed and "weighted F1" not in agreed, "agreement is no score"
    assert "weighted F1" in right
    table = tables.read(tmp_path / "out" / "gold_predictions.parquet", PREDICTED)
    assert table.select("id", "label", "predicted").rows() == [("x1", "посуда", "посуда"), ("x2", "обувь", "обувь")]
    assert tables.read(tmp_path / "out" / "valid_predictions.parquet", PREDICTED).height == 3
    cells = pl.read_csv(tmp_path / "out" / "confusion.csv")
    assert cells.schema == pl.Schema(CONFUSION)
    assert cells.rows() == [
        ("pseudo_label", "посуда", "посуда", 1),
        ("pseudo_label", "обувь", "посуда", 1),
        ("pseudo_label", "обувь", "обувь", 1),
        ("gold", "посуда", "посуда", 1),
        ("gold", "обувь", "обувь", 1),
    ]


def test_beside_texts_ids_may_repeat(tmp_path: Path, given: dict[str, Path]) -> None:
    (tmp_path / "gold.csv").write_text(GOLD.replace("x2", "x1").replace("text", "слова"), encoding="utf-8")
    columns = {"text_column": "слова", "id_column": "auto"}
    run(Config(gold=tmp_path / "gold.csv"), given, tmp_path, seed=0, scratch=tmp_path, columns=columns)
    assert tables.read(tmp_path / "gold_predictions.parquet", PREDICTED)["id"].to_list() == ["x1", "x1"]


def test_without_gold(tmp_path: Path, given: dict[str, Path]) -> None:
    scores = evaluate(tmp_path, given)
    assert scores["gold"] is None and scores["pseudo_label"]["rows"] == 3
    assert not (tmp_path / "out" / "gold_predictions.parquet").exists()


def test_without_anything_to_score(tmp_path: Path, given: dict[str, Path]) -> None:
    write_valid(tmp_path / "split", [])
    assert evaluate(tmp_path, given) == {"pseudo_label": None, "gold": None}
    assert (tmp_path / "out" / "confusion.csv").read_text(encoding="utf-8") == "score,label,predicted,rows\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "text,category\nкружка,посуда\nтапки,обувъ\n",
            r"gold\.csv, row 2: unknown category 'обувъ'; did you mean 'обувь'",
        ),
        ("text,category\nкружка,\n", "no row has a category"),
        ("text,stars\nкружка,5\n", "no column of categories"),
    ],
)
def test_gold_of_no_use_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "gold.csv").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        check(Config(gold=tmp_path / "gold.csv"), names=NAMES, columns=AUTO)


def test_gold_is_checked_before_any_work(tmp_path: Path) -> None:
    check(Config(), names=NAMES, columns=AUTO)
    with pytest.raises(UserError, match="no such file"):
        check(Config(gold=tmp_path / "gold.csv"), names=NAMES, columns=AUTO)
    (tmp_path / "gold.csv").write_text("id,text\n1,кружка\n", encoding="utf-8")
    with pytest.raises(UserError, match="no column of categories"):
        check(Config(gold=tmp_path / "gold.csv"), names=NAMES, columns=AUTO)


def test_the_cells_of_many_categories_add_up_to_the_rows() -> None:
    names = [f'категория, "{number}"' for number in range(300)]
    truth = np.random.default_rng(0).choice(names, 20_000).tolist()
    tracemalloc.start()
    try:
        found = score(truth, truth[::-1], names=names, rounds=1000, seed=0)
        cells = confusion({"pseudo_label": None, "gold": found})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 300 * 2**20
    assert set(cells["score"]) == {"gold"} and cells["rows"].sum() == 20_000
    counts = metrics.confusion_matrix(truth, truth[::-1], names=names)
    assert cells.height == np.count_nonzero(counts) and cells["rows"].to_list() == counts[counts > 0].tolist()
    assert pl.read_csv(cells.write_csv().encode()).equals(cells)


@pytest.mark.parametrize(
    "written",
    ["нет  товара", "нет\u00a0товара", "нет\u200b товара", "\ufeffнет товара ", "Нет товара", "не\u00adт товара"],
)
def test_gold_takes_the_categories_own_spelling(tmp_path: Path, written: str) -> None:
    own = [unicodedata.normalize("NFD", "чайный сервиз"), "нет товара"]
    text = f"text,category\nкружка,{written}\nчашка,чайный сервиз\nблюдце,чайный  сервиз\nтапки,\u200b\n"
    (tmp_path / "gold.csv").write_text(text, encoding="utf-8")
    source = open_source(tmp_path / "gold.csv", **AUTO, encoding="auto", text_required=False)
    assert read_gold(source, names=own)["label"].to_list() == [own[1], own[0], own[0]]


def test_a_name_that_a_spreadsheet_would_run_is_text_in_the_confusion(tmp_path: Path) -> None:
    found = score(["=1+1", "обувь"], ["обувь", "обувь"], names=["=1+1", "обувь"], rounds=0, seed=0)
    cells = confusion({"pseudo_label": found, "gold": None})
    assert cells["label"].to_list() == ["=1+1", "обувь"]
