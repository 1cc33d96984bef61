"""The stage: answers replace labels, teach where that proves right, and leave the exam alone."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tsirius import tables
from tsirius.answers.log import Answer, text_hash
from tsirius.answers.standing import Given
from tsirius.categories import Categories, Category
from tsirius.models import embeddings, hub
from tsirius.stages.answers import Config, run

NAMES = ["обувь", "посуда", "нет товара"]
ROWS = 120


def lay_out(folder: Path, *, wrong: bool) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Reviews in two clouds of embeddings; all are labelled «обувь», with ``wrong`` the second cloud is «посуда»."""
    random = np.random.default_rng(0)
    truth = np.arange(ROWS) % 2 if wrong else np.zeros(ROWS, dtype=np.int64)
    clouds = np.eye(8)[np.arange(ROWS) % 2] + random.normal(0, 0.1, (ROWS, 8))
    vectors = (clouds / np.linalg.norm(clouds, axis=1, keepdims=True)).astype(np.float32)
    texts = [f"отзыв номер {number}" for number in range(ROWS)]
    reviews = pl.DataFrame(
        {"id": [f"r{n}" for n in range(ROWS)], "source": "x.csv", "row": range(1, ROWS + 1), "text": texts,
         "clean": texts, "group": range(ROWS)}, schema=dict(tables.REVIEWS))  # fmt: skip
    tables.write(reviews, tables.REVIEWS, folder / "reviews.parquet")
    categories = Categories([Category(name, none=name == "нет товара") for name in NAMES])
    (folder / "categories.json").write_text(categories.to_json(), encoding="utf-8")
    consensus = np.tile(np.array([0.6, 0.3, 0.1], dtype=np.float32), (ROWS, 1))
    consensus[-1] = np.nan
    np.save(folder / "consensus.npy", consensus)
    spoke = [*[True] * (ROWS - 1), False]
    labels = reviews.select("id").with_columns(
        label=pl.Series([NAMES[0] if s else None for s in spoke]),
        confidence=pl.Series([0.6 if s else None for s in spoke], dtype=pl.Float32),
        margin=pl.Series([0.3 if s else None for s in spoke], dtype=pl.Float32),
        labellers=pl.lit(["matcher"]),
        doubtful=pl.lit(True),
    )
    tables.write(labels, tables.LABELS, folder / "labels.parquet")
    votes = reviews.select("id").with_columns(
        labeller=pl.lit("matcher"),
        said=pl.lit(NAMES[0]),
        probabilities=pl.lit([0.6, 0.3, 0.1], dtype=tables.PROBABILITIES),
        evidence=pl.lit([], dtype=pl.List(pl.String)),
    )
    tables.write(votes, tables.VOTES, folder / "votes.parquet")
    (folder / "mix.json").write_text(json.dumps(dict(zip(NAMES, (0.6, 0.3, 0.1), strict=True))), encoding="utf-8")
    embeddings.publish(folder, texts, vectors, model=hub.EMBEDDED, max_length=256)
    return truth


def taught(
    folder: Path, answered: range, *, wrong: bool = True, exam: tuple[str, ...] = (), **settings: Any
) -> tuple[pl.DataFrame, dict[str, Any], Any]:
    folder.mkdir(parents=True, exist_ok=True)
    out = folder / "out"
    out.mkdir()
    truth = lay_out(folder, wrong=wrong)
    answers = tuple(Answer(f"r{n}", text_hash(f"отзыв номер {n}"), NAMES[truth[n]], who="Анна") for n in answered)
    stages = {"ingest": folder, "label": folder}
    notes = run(Config(**settings), stages, out, seed=0, scratch=folder, answers=Given(answers, frozenset(exam)))
    return tables.read(out / "labels.parquet", tables.TAUGHT), notes, truth


def test_without_answers_labels_pass_as_they_are(tmp_path: Path) -> None:
    table, notes, _ = taught(tmp_path, range(0))
    before = tables.read(tmp_path / "labels.parquet", tables.LABELS)
    assert table.select(before.columns).equals(before)
    assert table["role"].null_count() == ROWS and set(table["weight"]) == {1.0}
    assert (tmp_path / "out" / "mix.json").read_text() != "" and notes["roles"] == {}
    mixes = [json.loads((folder / "mix.json").read_text()) for folder in (tmp_path, tmp_path / "out")]
    assert mixes[0] == mixes[1]


def test_few_answers_change_their_own_reviews_alone(tmp_path: Path) -> None:
    table, notes, truth = taught(tmp_path, range(4), weight=5)
    assert notes["compared"] is None and notes["roles"] == {"lesson": 4}
    own = table.head(4)
    assert own["label"].to_list() == [NAMES[k] for k in truth[:4]] and own["confidence"].to_list() == [1.0] * 4
    assert own["weight"].to_list() == [5.0] * 4 and own["labellers"].to_list() == [["person"]] * 4
    assert not own["doubtful"].any()
    assert set(table["label"].slice(4, ROWS - 5)) == {"обувь"} and set(table["weight"].slice(4)) == {1.0}


def test_answers_correct_the_labels_of_like_reviews(tmp_path: Path) -> None:
    table, notes, truth = taught(tmp_path, range(40))
    assert notes["compared"]["used"] and notes["compared"]["right_with"] > notes["compared"]["right_without"]
    rest = table.slice(40, ROWS - 41)
    assert (rest["label"] == pl.Series([NAMES[k] for k in truth[40:-1]])).mean() > 0.95
    changed = rest.filter(pl.col("label") != "обувь")
    assert changed["labellers"].to_list() == [[]] * changed.height and not changed["doubtful"].any()
    assert rest.filter(pl.col("label") == "обувь")["labellers"].to_list()[0] == ["matcher"]
    assert table["label"][-1] is None, "no labeller spoke"
    mix = json.loads((tmp_path / "out" / "mix.json").read_text())
    assert mix["посуда"] == pytest.approx(0.5, abs=0.1) and sum(mix.values()) == pytest.approx(1, abs=1e-5)


def test_answers_that_teach_nothing_better_change_nothing_else(tmp_path: Path) -> None:
    """Answers that contradict each other at random: out of fold they are worse than the labels."""
    folder = tmp_path
    (folder / "out").mkdir()
    lay_out(folder, wrong=False)
    said = np.random.default_rng(1).choice(NAMES, 40, p=[0.6, 0.3, 0.1])
    answers = tuple(Answer(f"r{n}", text_hash(f"отзыв номер {n}"), str(said[n])) for n in range(40))
    stages = {"ingest": folder, "label": folder}
    notes = run(Config(), stages, folder / "out", seed=0, scratch=folder, answers=Given(answers, frozenset()))
    table = tables.read(folder / "out" / "labels.parquet", tables.TAUGHT)
    assert not notes["compared"]["used"]
    assert set(table["label"].slice(40, ROWS - 41)) == {"обувь"}
    assert table["label"].head(40).to_list() == said.tolist()


def test_teaching_can_be_switched_off(tmp_path: Path) -> None:
    table, notes, _ = taught(tmp_path, range(40), teach=False)
    assert "compared" not in notes and set(table["label"].slice(40, ROWS - 41)) == {"обувь"}


def test_the_exam_neither_teaches_nor_is_learned_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, notes, _ = taught(tmp_path, range(40), exam=("r1", "r100"))
    assert notes["lost"]["protected"] == 1 and notes["roles"] == {"exam": 2, "lesson": 39}
    assert "1 answers on exam reviews or their copies, not learned from" in capsys.readouterr().err
    assert table["role"][1] == table["role"][100] == "exam"


def test_reviews_out_of_the_sample_have_no_label_but_their_answers(tmp_path: Path) -> None:
    """One that was answered teaches all the same; the mix is estimated from the sample alone."""
    folder = tmp_path / "run"
    folder.mkdir()
    truth = lay_out(folder, wrong=True)
    unasked = pl.col("id").is_in([f"r{n}" for n in range(0, ROWS, 4)])
    labels = tables.read(folder / "labels.parquet", tables.LABELS)
    hidden = [
        pl.when(~unasked).then(pl.col(name)).alias(name) for name in ("label", "confidence", "margin", "labellers")
    ]
    tables.write(labels.with_columns(hidden), tables.LABELS, folder / "labels.parquet")
    consensus = np.load(folder / "consensus.npy")
    consensus[::4] = np.nan
    np.save(folder / "consensus.npy", consensus)
    given = Given(
        tuple(Answer(f"r{n}", text_hash(f"отзыв номер {n}"), NAMES[truth[n]], who="Анна") for n in range(40)),
        frozenset(),
    )
    (tmp_path / "out").mkdir()
    notes = run(Config(), {"ingest": folder, "label": folder}, tmp_path / "out", seed=0, scratch=folder, answers=given)
    after = tables.read(tmp_path / "out" / "labels.parquet", tables.TAUGHT)
    assert notes["compared"]["used"]
    rest = after.with_row_index("row").filter(pl.col("row") >= 40)
    assert rest.filter(unasked)["label"].null_count() == rest.filter(unasked).height
    assert rest.filter(unasked)["labellers"].null_count() == rest.filter(unasked).height
    assert after["label"].to_list()[:40] == [NAMES[truth[n]] for n in range(40)]
    mix = json.loads((tmp_path / "out" / "mix.json").read_text(encoding="utf-8"))
    assert sum(mix.values()) == pytest.approx(1, abs=1e-3)
