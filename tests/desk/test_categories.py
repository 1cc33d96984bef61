"""The page of the categories: what they hold, what others would change and how they come to count; answers as files."""

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from desking import Person

from tsirius.categories import Categories, Category
from tsirius.commands.categories import preview as previewing
from tsirius.commands.categories.preview import categories_of
from tsirius.desk import proposal, retrain, versions
from tsirius.desk.app import application
from tsirius.desk.board import Board
from tsirius.desk.proposal import Row
from tsirius.errors import UserError

OLD = Categories([Category("посуда", "чашки"), Category("обувь", "тапки"), Category("нет товара", none=True)])
SAME = proposal.rows_of(OLD)


@pytest.fixture
def run(shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(shop, tmp_path / "shop")
    monkeypatch.chdir(tmp_path / "shop")
    return tmp_path / "shop" / "runs" / "shop"


@pytest.fixture
def board(run: Path, monkeypatch: pytest.MonkeyPatch) -> Board:
    """A desk whose work beside it is done at once, by the same function as in the other process."""
    made = Board(run)
    monkeypatch.setattr(made.training, "start", lambda task: retrain.main(run, task))
    return made


@pytest.fixture
def anna(board: Board) -> Person:
    return Person(application(board, token="the-token", lang="en"), "Анна")


def fields(rows: list[Row]) -> dict[str, list[str]]:
    return {name: [getattr(row, name) for row in rows] for name in ("was", "name", "description")}


def test_the_page_lists_categories_and_groups_and_is_linked(board: Board, anna: Person) -> None:
    assert "Being looked for" in anna.get("/categories").words
    board.read_model()
    board.wait()
    seen = anna.get("/categories")
    assert "Missing categories?" in seen.words and seen.all("h3")
    names = [at["value"] for at in seen.all("input", name="name")]
    assert names == [*board.desk.categories.names, "", ""], "and lines for new ones"
    assert seen.words.count("no product") == 1, "the one without a product is marked"
    assert [at["href"] for at in anna.get("/").all("a") if at["href"] == "/categories"]


def test_a_run_without_embeddings_has_no_groups(
    board: Board, anna: Person, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tsirius.commands.categories.missing.embeddings.published", lambda _: None)
    board.read_model()
    board.wait()
    assert "No group of reviews stands out" in anna.get("/categories").words
    assert "has no embeddings" in capsys.readouterr().err


def test_a_difference_is_shown_dropped_and_changes_nothing(run: Path, board: Board, anna: Person) -> None:
    old, before = categories_of(run), versions.outputs(run)
    rows = [*proposal.rows_of(old), Row("", "<b>часы</b>", "наручные часы, ремешок"), Row("", " ", "")]
    seen = anna.post("/categories", **fields(rows))
    words = " ".join(seen.words.split())
    assert "added: <b>часы</b>" in words and "matcher: no review" in words and not seen.all("b")
    assert "reviews changed" in words and "<b>часы</b>0" in words
    assert [at["value"] for at in seen.all("input", name="name")] == [*old.names, "<b>часы</b>", "", ""]
    assert categories_of(run) == old and versions.outputs(run) == before
    again = Board(run)
    assert again.proposed() and len(again.rows_of_categories()) == len(old) + 1, "a page that is started anew knows it"
    seen = anna.post("/categories/drop")
    assert "What would change" not in seen.words and "<b>часы</b>" not in seen.words
    assert anna.raw("/categories/accept").status_code == 409
    assert categories_of(run) == old and versions.outputs(run) == before and board.proposed() is None


def test_accepted_ones_count_and_the_way_back_leads_back(run: Path, board: Board, anna: Person) -> None:
    old, before = categories_of(run), versions.outputs(run)
    reviews = [str(at["value"]) for at in anna.work("category", category="посуда").all("input", name="review")]
    anna.post("/answer", queue="category", review=reviews[0], category_is="посуда")
    said = board.desk.log.entries()
    gold = Path("gold.csv")
    gold.write_text(gold.read_text(encoding="utf-8").replace(",посуда", ",кухня"), encoding="utf-8")
    rows = [Row(row.was, "кухня" if row.was == "посуда" else row.name, row.description)
            for row in proposal.rows_of(old)]  # fmt: skip
    seen = anna.post("/categories", **fields(rows))
    assert "renamed: посуда → кухня" in " ".join(seen.words.split()) and "is now посуда" in seen.words
    anna.post("/categories/accept")
    board.wait()
    assert not board.failed() and board.proposed() is None
    assert categories_of(run).names == [row.name for row in rows]
    assert board.desk.categories.names == categories_of(run).names, "the page has them too"
    assert [one.category for one in board.desk.log.standing()] == ["кухня"]
    file = Path(json.loads((run / "config.json").read_text(encoding="utf-8"))["ingest"]["categories"])
    assert file.parent == run / "categories" and file.is_file()
    seen = anna.get("/model")
    gold.write_text(gold.read_text(encoding="utf-8").replace(",кухня", ",посуда"), encoding="utf-8")
    anna.post("/back", version=seen.all("input", name="version")[0]["value"])
    board.wait()
    assert not board.failed() and categories_of(run) == old and versions.outputs(run) == before
    assert [one.category for one in board.desk.log.standing()] == ["посуда"] and said == board.desk.log.entries()
    assert [one.category for one in board.desk.index.last("Анна", 9)] == ["посуда"], "on the page too"
    board.put_back(board.versions()[0].name)
    board.wait()
    assert categories_of(run).names == [row.name for row in rows], "and forward again"
    assert [one.category for one in board.desk.log.standing()] == ["кухня"] and board.knows_all()
    assert anna.get("/").words and anna.get("/model").words and anna.work("second").words


def test_an_exam_scores_across_a_change(run: Path, board: Board, anna: Person) -> None:
    anna.post("/exam")
    for _ in range(12):
        anna.answer(anna.work("exam"), "посуда")
    gone = next(one for one in reversed(categories_of(run)) if not one.none and one.name != "посуда")
    rows = [Row(row.was, "посуда" if row.was == gone.name else row.name, row.description)
            for row in proposal.rows_of(categories_of(run))]  # fmt: skip
    gold = Path("gold.csv")
    gold.write_text(gold.read_text(encoding="utf-8").replace(f",{gone.name}", ",посуда"), encoding="utf-8")
    anna.post("/categories", **fields(rows))
    anna.post("/categories/accept")
    board.wait()
    assert not board.failed() and gone.name not in board.desk.categories.names
    assert "Weighted F1 on the exam" in anna.get("/model").words


def test_a_former_name_in_the_file_that_scores_is_told_before_any_labelling(
    run: Path, board: Board, anna: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, started = categories_of(run), list[str]()
    rows = [Row(row.was, {"посуда": "кухня", "обувь": ""}.get(row.was, row.name), row.description)
            for row in proposal.rows_of(old)]  # fmt: skip
    work = board.training.start
    monkeypatch.setattr(board.training, "start", started.append)  # nothing is labelled yet
    told = "gold.csv: still has the category &#39;посуда&#39;. Write &#39;кухня&#39; there before these"
    anna.post("/categories", **fields(rows))
    assert started == ["preview"] and proposal.shown(run) is None
    gold = Path("gold.csv")
    lines = gold.read_text(encoding="utf-8")
    gold.write_text(lines.replace(",обувь", ","), encoding="utf-8")
    assert told in anna.client.get("/categories").text
    work("preview")
    seen = anna.client.get("/categories")
    assert told in seen.text and "Accept and run on" in seen.text
    refused = anna.raw("/categories/accept")
    assert refused.status_code == 409 and "still has the category" in refused.text
    assert started == ["preview"] and categories_of(run) == old and board.versions() == []
    gold.write_text(lines.replace(",посуда", ",кухня"), encoding="utf-8")
    assert "still has the category &#39;обувь&#39;. Give its rows another" in anna.client.get("/categories").text
    gold.write_text("text\n", encoding="utf-8")
    assert "has no column of categories" in anna.client.get("/categories").text, "whatever else is wrong with it"
    gold.write_text(lines.replace(",посуда", ",кухня").replace(",обувь", ","), encoding="utf-8")
    assert "still has" not in anna.client.get("/categories").text and proposal.obstacle(run) is None


@pytest.mark.parametrize(
    ("rows", "names", "renamed"),
    [
        pytest.param([*SAME, Row("", "часы", "")], ["посуда", "обувь", "нет товара", "часы"], {}, id="add"),
        pytest.param([SAME[0], Row("обувь", "", "тапки"), SAME[2]], ["посуда", "нет товара"], {}, id="remove"),
        pytest.param(
            [Row("посуда", "кухня", "чашки"), *SAME[1:]], ["кухня", "обувь", "нет товара"], {"посуда": "кухня"},
            id="rename",
        ),
        pytest.param(
            [SAME[0], Row("обувь", "посуда", "тапки"), SAME[2]], ["посуда", "нет товара"], {"обувь": "посуда"},
            id="merge into one that stays",
        ),
        pytest.param(
            [Row("посуда", "вещи", "чашки"), Row("обувь", "Вещи", "тапки"), SAME[2]], ["вещи", "нет товара"],
            {"посуда": "вещи", "обувь": "вещи"}, id="merge into a new one",
        ),
        pytest.param(
            [Row("посуда", "чашки", ""), Row("", "тарелки", ""), *SAME[1:]],
            ["чашки", "тарелки", "обувь", "нет товара"], {"посуда": "чашки"}, id="split",
        ),
        pytest.param(
            [*SAME[:2], Row("нет товара", "прочее", "")], ["посуда", "обувь", "прочее"], {"нет товара": "прочее"},
            id="rename the one without a product",
        ),
    ],
)  # fmt: skip
def test_lines_make_categories(rows: list[Row], names: list[str], renamed: dict[str, str]) -> None:
    new, found = proposal.read_rows(rows, OLD)
    assert new.names == names and found == renamed
    assert new.none == renamed.get("нет товара", "нет товара")
    if list(renamed.values()) == ["посуда"]:
        assert new[0].description == "чашки, тапки", "both are told of"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        pytest.param([*SAME[:2], Row("нет товара", "", "")], "no category marked", id="none of no product"),
        pytest.param([SAME[2]], "Name at least two", id="one"),
        pytest.param(
            [Row("посуда", "обувь", ""), Row("обувь", "посуда", ""), SAME[2]], "in two steps", id="names swapped"
        ),
    ],
)
def test_lines_that_make_none_are_refused(rows: list[Row], message: str) -> None:
    with pytest.raises(UserError, match=message):
        proposal.read_rows(rows, OLD)


def test_what_cannot_be_is_refused_on_the_page(board: Board, anna: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    own = proposal.rows_of(board.desk.categories)
    for bad, message in (
        (fields(own), "are the run&#39;s categories already"),
        (fields([own[0], own[0]]), "1 categories named"),
        ({"was": ["x"], "name": ["x", "y"]}, "a line lacks a field"),
        ({}, "0 categories named"),
    ):
        refused = anna.raw("/categories", **bad)
        assert refused.status_code == 409 and message in refused.text and "/tmp" not in refused.text
    monkeypatch.setattr(board, "at_work", lambda: True)
    more = fields([*own, Row("", "часы", "")])
    for path, given in (("/categories", more), ("/categories/drop", {}), ("/categories/accept", {})):
        assert anna.raw(path, **given).status_code == 409, path
    assert board.proposed() is None


def test_a_proposal_is_for_the_run_as_it_was_and_undamaged(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(previewing, "preview", lambda *_, **__: previewing.Preview([], [], [], {}, {}, {}, 0, 0, []))
    rows = [*proposal.rows_of(categories_of(run)), Row("", "часы", "")]
    proposal.propose(run, rows)
    assert proposal.typed(run) == rows and proposal.shown(run) is None
    proposal.work_out(run)
    found = proposal.shown(run)
    assert found and found["rows"] == 0

    def gone(altered: Any) -> bool:
        path = run / proposal.TYPED
        whole = path.read_text(encoding="utf-8")
        path.write_text(altered(whole), encoding="utf-8")
        result = proposal.typed(run) is None and proposal.shown(run) is None
        with pytest.raises(UserError, match="no categories are proposed"):
            proposal.work_out(run)
        path.write_text(whole, encoding="utf-8")
        return result

    assert gone(lambda text: text.replace("часы", "чары")) and gone(lambda text: text[:-5]) and proposal.shown(run)
    monkeypatch.setattr(proposal, "_state", lambda _: "another")
    assert proposal.typed(run) is None and proposal.shown(run) is None


def test_answers_are_downloaded_in_each_format(anna: Person) -> None:
    table = anna.client.get("/export?format=csv")
    assert table.headers["content-disposition"] == 'attachment; filename="answers-csv.csv"'
    assert next(csv.reader(io.StringIO(table.content.decode("utf-8-sig")), delimiter=";"))[0] == "id"
    for form in ("label-studio", "argilla"):
        assert json.loads(anna.client.get(f"/export?format={form}").content) == []
    assert anna.client.get("/export?format=exel").status_code == 409
