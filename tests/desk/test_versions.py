"""Training again from the page: what changed, what was before, and the way back."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from desking import NAMES, Person, draw_exam, make_model, make_run, sit

from tsirius import pipeline, tables
from tsirius.desk import changes, retrain, versions
from tsirius.desk.board import Board
from tsirius.errors import UserError
from tsirius.store import Store, seal

CONFIG = {"name": "run", "runs": "runs", "ingest": {"train": "reviews.csv", "categories": "categories.txt"}}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = make_run(tmp_path / "run")
    Store(folder).write_config(versions.Config.model_validate(CONFIG).model_dump_json())
    return folder


def train(run: Path) -> None:
    """What a training leaves: «чашка» is now no product, by labels and model; a stage more and another file."""
    texts = pl.read_parquet(run / "ingest" / "reviews.parquet")["text"].to_list()
    for stage in ("train", "answers"):
        shutil.copytree(run / stage, run / f"{stage}.new")
        shutil.rmtree(run / stage)
        (run / f"{stage}.new").rename(run / stage)
    shutil.rmtree(run / "train" / "model")
    make_model(run / "train" / "model", texts, [0 if row % 3 == 0 else 2 for row in range(len(texts))])
    labels = tables.read(run / "answers" / "labels.parquet", tables.TAUGHT)
    cup = pl.int_range(pl.len()) % 3 == 1
    other = labels.with_columns(label=pl.when(cup).then(pl.lit(NAMES[2])).otherwise("label"))
    tables.write(other, tables.TAUGHT, run / "answers" / "labels.parquet")
    (run / "report").mkdir(exist_ok=True)
    (run / "report" / "report.html").write_text("new", encoding="utf-8")
    (run / "report.html").write_text("new", encoding="utf-8")
    for stage in ("train", "answers", "report"):
        seal(run / stage, {"roles": {"lesson": 3}})


@pytest.fixture
def board(run: Path, monkeypatch: pytest.MonkeyPatch) -> Board:
    """A desk whose training is that of :func:`train`."""
    made = sit(run)[0]
    monkeypatch.setattr(made.training, "start", lambda _task: train(run))
    return made


def person(board: Board) -> Person:
    from tsirius.desk.app import application

    return Person(application(board, token="the-token", lang="en"), "Анна")


def test_a_training_shows_what_changed_and_the_way_back_leads_back(run: Path, board: Board) -> None:
    draw_exam(run, ["r0", "r1", "r2", "r4"])
    before, anna = versions.outputs(run), person(board)
    for row in (0, 1, 2, 4):
        anna.post("/answer", queue="exam", review=f"r{row}", category_is=NAMES[row % 3])
    anna.post("/answer", queue="unsure", review="r10", category_is=NAMES[2])
    seen = anna.get("/model")
    assert "has not learned from yet" in seen.words and "Nothing to compare with yet" in seen.words
    anna.raw("/retrain")
    board.wait()
    seen = anna.get("/model")
    words = " ".join(seen.words.split())
    assert "The model: 20 reviews changed" in words and "посуда → нет товара" in words
    assert "before 1.000" in words and "after 0.375" in words
    assert "Not comparable: the one before learned from 4" in words, "of the exam, which was drawn later"
    assert "чашка со сколом" in words, "with examples"
    assert len(seen.all("input", name="version")) == 1
    name = seen.all("input", name="version")[0]["value"]
    anna.raw("/back", version=name)
    board.wait()
    assert versions.outputs(run) == before and not (run / "report.html").exists()
    for stage in before:
        Store(run).read(stage)
    assert not board.trouble and board.score("model").value == 1.0  # type: ignore[union-attr]  # answered
    kept = versions.kept(run)
    assert len(kept) == 2 and kept[1].name == name, "what it was before going back is kept too"
    assert "in use" in anna.get("/model").words
    anna.raw("/back", version=kept[0].name)
    board.wait()
    assert (run / "report.html").read_text() == "new" and (run / "report" / "report.html").is_file()
    assert len(versions.kept(run)) == 2, "nothing new to keep"


def test_answers_given_meanwhile_are_kept(run: Path, board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    anna = person(board)

    def answered(_task: str) -> None:
        anna.post("/answer", queue="unsure", review="r10", category_is=NAMES[2])
        assert "Training goes on" in anna.get("/model").words and "Training goes on" in anna.get("/").words
        assert anna.raw("/retrain").status_code == 409 and anna.raw("/back", version="x").status_code == 409
        train(run)

    monkeypatch.setattr(board.training, "start", answered)
    board.retrain()
    board.wait()
    assert not board.trouble
    assert board.desk.index.people()["Анна"]["lesson"] == 1 and "r10" not in board.desk.queue("unsure", count=99)


def test_a_failed_training_is_told_of_and_changes_nothing(run: Path) -> None:
    board, _ = sit(run)
    before = versions.outputs(run)
    board.retrain()  # its files do not exist
    board.wait()
    assert board.trouble.startswith("categories.txt: no such file") and versions.outputs(run) == before
    words = person(board).get("/model").words
    assert board.trouble in words and "Traceback" not in words
    board.look()
    assert board.model_ready, "the desk goes on with what there was"


def test_what_another_process_changed_is_read_anew(run: Path, board: Board) -> None:
    train(run)
    anna = person(board)
    anna.get("/")
    board.wait()
    assert board.desk.labels["label"][1] == NAMES[2] and not board.at_work()


def test_a_damaged_or_unknown_version_is_refused(run: Path, board: Board) -> None:
    version = versions.keep(run, board.desk.said())
    assert versions.keep(run, board.desk.said()) == version, "once"
    with pytest.raises(UserError, match="has no version"):
        versions.put_back(run, "../../etc")
    (version.folder / "train" / "model" / "model.json").unlink()
    with pytest.raises(UserError, match="has no version"):
        versions.put_back(run, version.name)
    assert Store(run).read("train"), "the run's own is untouched"
    with Store(run).lock(), pytest.raises(UserError, match="in use by another run"):
        versions.keep(run, board.desk.said())


def test_the_oldest_version_makes_room(run: Path, board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "MOST", 2)
    names = []
    for number in range(3):
        (run / "answers" / f"{number}.json").write_text("{}", encoding="utf-8")
        seal(run / "answers", {})
        names.append(versions.keep(run, board.desk.said()).name)
    assert [version.name for version in versions.kept(run)] == names[:0:-1]


def test_flips_count_what_changed() -> None:
    before = pl.DataFrame({"id": ["a", "b", "c", "d", "e"], "label": ["x", "x", "y", None, "x"], "model": None})
    after = pl.DataFrame({"id": ["b", "a", "c", "d", "f"], "label": ["y", "y", None, None, "x"], "model": None})
    count, found = changes.flips(before, after, of="label")
    assert count == 3 and [(one.before, one.after, one.count, one.ids) for one in found] == [
        ("x", "y", 2, ["a", "b"]), ("y", None, 1, ["c"])
    ]  # fmt: skip
    assert changes.by_category(before, after, of="label") == [("x", 3, 1), ("y", 1, 2)]


def test_the_process_that_trains_runs_the_settings_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = list[Any]()
    monkeypatch.setattr(pipeline, "run", ran.append)
    folder = tmp_path / "elsewhere" / "shop"
    folder.mkdir(parents=True)
    Store(folder).write_config(versions.Config.model_validate({**CONFIG, "seed": 7}).model_dump_json())
    retrain.main(folder)
    assert (ran[0].seed, ran[0].runs / ran[0].name) == (7, folder.resolve()), "wherever the run lies now"
    (folder / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match="was altered or damaged"):
        retrain.main(folder)


def test_a_training_of_another_page_is_seen_at_work(run: Path) -> None:
    code = (
        "import sys, pathlib\nfrom tsirius.store import Store\n"
        "with Store(pathlib.Path(sys.argv[1])).lock():\n    print('held', flush=True)\n    sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(run)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None and other.stdout.readline().strip() == b"held"
        training = retrain.Training(run)
        assert training.at_work()
        with pytest.raises(UserError, match="is being trained"):
            training.start()
        other.communicate()
    assert not training.at_work() and training.lines() == []
