"""The desk and the files of answers, on a run as its stages leave it."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from tests.stages.test_answers import NAMES, ROWS, taught
from tsirius.answers.log import Log
from tsirius.answers.standing import SAMPLE
from tsirius.commands.answers import exchange, files
from tsirius.commands.answers.desk import Desk
from tsirius.errors import UserError
from tsirius.store import seal, with_checksum


@pytest.fixture
def run(tmp_path: Path) -> Path:
    made, folder = tmp_path / "made", tmp_path / "run"
    taught(made, range(0))
    folder.mkdir()
    made.joinpath("out").rename(folder / "answers")
    for stage in ("ingest", "label"):
        (folder / stage).symlink_to(made)
    seal(folder / "answers", {})
    seal(made, {})
    return folder


def draw_exam(run: Path, ids: list[str]) -> None:
    (run / SAMPLE).parent.mkdir()
    sample = {"rows": [[name, "all", ROWS] for name in ids]}
    (run / SAMPLE).write_text(json.dumps(with_checksum(sample)), encoding="utf-8")


def test_what_is_answered_is_not_asked_again_until_it_is_undone(run: Path) -> None:
    desk = Desk(run)
    first = desk.queue("unsure", count=5)
    assert len(first) == 5
    assert desk.answer("Анна", first[0], "посуда", shown={"label": "обувь"}) == 1
    assert desk.answer("Анна", first[1], None, verdict="skip") == 2
    assert not set(first[:2]) & set(desk.queue("unsure", count=ROWS))
    assert not set(first[:2]) & set(Desk(run).queue("category", category="обувь", count=ROWS)), "another process"
    undone = desk.undo("Анна")
    assert undone is not None and undone.review == first[1]
    assert first[1] in desk.queue("unsure", count=ROWS) and desk.undo("Борис") is None


def test_exam_reviews_are_in_no_queue_and_cannot_teach(run: Path) -> None:
    exam = ["r3", "r4", "r5"]
    draw_exam(run, exam)
    desk = Desk(run)
    for name in ("disagree", "unsure", "likely_wrong", "search"):
        assert not set(exam) & set(desk.queue(name, count=ROWS)), name
    assert desk.queue("exam") == exam
    with pytest.raises(UserError, match="is in the exam"):
        desk.answer("Анна", "r4", "обувь")
    assert Log(run).standing() == [] and desk.score(model=False) is None
    for name in exam:
        desk.answer("Анна", name, NAMES[int(name[1:]) % 2], kind="exam")
    assert desk.queue("exam") == []
    score = desk.score(model=False)  # «обувь» for all, right for one of three
    assert score is not None and score.rows == 3 and score.value == pytest.approx(1 / 6)
    assert score.low <= score.value <= score.high


def test_what_cannot_be_asked_or_answered_is_refused(run: Path) -> None:
    desk = Desk(run)
    for call in (
        lambda: desk.queue("unshure"),
        lambda: desk.queue("category", category="обуфь"),
        lambda: desk.answer("Анна", "r1", "обуфь"),
        lambda: desk.answer("Анна", "r999", "обувь"),
    ):
        with pytest.raises(UserError):
            call()
    assert not Log(run).path.exists()


@pytest.mark.parametrize("form", exchange.FORMATS)
def test_answers_come_back_from_files(run: Path, tmp_path: Path, form: str) -> None:
    desk, path = Desk(run), tmp_path / "answers.out"
    desk.answer("anna@example.org", "r1", "посуда")
    desk.answer("boris@example.org", "r1", "обувь")
    desk.answer("anna@example.org", "r2", None, verdict="several")
    desk.answer("anna@example.org", "r7", "обувь", kind="exam")
    before = {(one.who, one.review, one.category, one.verdict, one.kind) for one in Log(run).standing()}
    assert files.export(run, path, form=form) == 4
    Log(run).path.unlink()
    assert files.take(run, path, form=form, who="?") == 4
    assert {(one.who, one.review, one.category, one.verdict, one.kind) for one in Log(run).standing()} == before
    assert files.take(run, path, form=form, who="?") == 0, "known already"
    assert "2 reviews" not in files.summary(run) and "1 reviews: disputed" in files.summary(run)


def test_a_planted_exam_review_is_refused_and_nothing_is_imported(run: Path, tmp_path: Path) -> None:
    draw_exam(run, ["r4"])
    path = tmp_path / "filled.csv"
    with path.open("w", encoding="utf-8", newline="") as handle:
        csv.writer(handle).writerows(
            [["text", "category"], ["отзыв номер 1", "Обувь"], ["отзыв номер 2", ""], ["отзыв  номер 4", "обувь"]]
        )
    with pytest.raises(UserError, match="review 'r4' is in the exam, or a copy of one that is: it cannot teach"):
        files.take(run, path, form="csv", who="Анна")
    assert Log(run).standing() == []


@pytest.mark.parametrize(
    ("form", "text", "message"),
    [
        ("csv", "id;category\n1;обувь\n", "has no column text"),
        ("csv", "text;category\nотзыв номер 1;обуфь\n", "unknown category 'обуфь'"),
        ("csv", "text;category\nдругой;обувь\n", "of no review of the run"),
        ("label-studio", "{}}", "is no export of label-studio"),
        ("label-studio", '[{"data": {}}]', "is no export of label-studio"),
        ("argilla", "[1]", "is no export of argilla"),
        ("xml", "", "unknown format"),
    ],
)
def test_bad_files_are_refused_in_one_line(run: Path, tmp_path: Path, form: str, text: str, message: str) -> None:
    path = tmp_path / "bad"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message) as refused:
        files.take(run, path, form=form, who="")
    assert "\n" not in str(refused.value) and not Log(run).path.exists()


def test_search_also_shows_what_is_answered(run: Path) -> None:
    desk = Desk(run)
    desk.answer("Анна", "r11", "обувь")
    assert "r11" in desk.queue("search", words="НОМЕР 11", count=ROWS)
    assert set(desk.queue("search", words="номер", category="посуда")) == set()
    assert len(desk.queue("category", category="обувь", count=ROWS)) == ROWS - 2, "one has no label"
    assert np.isclose(np.linalg.norm(desk.vectors, axis=1), 1).all()
