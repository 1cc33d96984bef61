"""The desk's page over HTTP: people answer, undo, select, search, and keep out of the exam."""

import csv
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from desking import NAMES, ROWS, Person, draw_exam, make_run, sit

from tsirius import tables
from tsirius.answers.log import Log
from tsirius.desk import pages, strings
from tsirius.desk.board import ORDER
from tsirius.store import seal


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run")


@pytest.fixture
def app(run: Path) -> Any:
    return sit(run)[1]


@pytest.fixture
def anna(app: Any) -> Person:
    return Person(app, "Анна")


def said(run: Path) -> list[tuple[str, str, str | None, str]]:
    return [(one.who, one.review, one.category, one.kind) for one in Log(run).standing()]


def test_a_name_is_asked_for_first(app: Any) -> None:
    person = Person(app)
    assert person.get("/work?queue=unsure").all("input", name="who")
    assert not person.raw("/answer", review="r1", category_is="обувь").url.path.startswith("/work")
    home = person.post("/settings", who="  Анна\n\x00 ")
    assert "Анна" in home.words and not home.all("input", name="who")


def test_every_queue_has_a_page_and_keys(anna: Person) -> None:
    home = anna.get("/")
    assert [at["href"] for at in home.all("a") if (at["href"] or "").startswith("/work")] == [
        f"/work?queue={name}" for name in ORDER
    ]
    for name in ORDER:
        for view in ("one", "list"):
            seen = anna.work(name, view=view, category="обувь")
            codes = [at["data-code"] for at in seen.all("button", name="category_is")]
            assert codes == ([] if seen.review() is None else ["Digit1", "Digit2", "Digit3"]), (name, view)
    for name in ("unsure", "disagree", "contradicts", "likely_wrong"):
        assert anna.work(name).review(), name


def test_an_answer_is_kept_and_the_next_review_comes(run: Path, anna: Person) -> None:
    first = anna.work("unsure")
    second = anna.answer(first, "посуда", note="<i>скол</i>")
    assert second.review() not in (None, first.review())
    third = anna.answer(second, verdict="several")
    fourth = anna.answer(third, verdict="skip")
    kept = Log(run).standing()
    assert [(one.verdict, one.category) for one in kept] == [("category", "посуда"), ("several", None), ("skip", None)]
    assert kept[0].note == "<i>скол</i>" and "<i>скол</i>" in fourth.words
    label = kept[0].shown.pop("label")
    assert label in NAMES and kept[0].shown.pop("confidence") < 1
    assert kept[0].shown == {"queue": "unsure", "view": "one", "hidden": True, "order": "fixed"}
    assert f"label was: {label}" in second.words, "it is told after the answer"


def test_undo_goes_back_without_limit_and_brings_the_review_back(run: Path, anna: Person) -> None:
    seen, reviews = anna.work("disagree"), list[str]()
    while (review := seen.review()) is not None:
        reviews.append(review)
        seen = anna.answer(seen, "обувь")
    assert len(reviews) == 4 and len(said(run)) == 4
    for review in reversed(reviews):
        seen = anna.post("/undo", queue="disagree", view="one")
        assert review in [at["value"] for at in anna.work("disagree", view="list").all("input", name="review")]
    assert said(run) == [] and [at.get("disabled", "on") for at in seen.all("button", **{"data-code": "KeyZ"})] == [
        None
    ]
    anna.post("/undo", queue="disagree", view="one")


def test_confidence_is_hidden_until_answered_unless_chosen(anna: Person) -> None:
    def shown(view: str) -> bool:
        return "automatic" in anna.work("unsure", view=view).words

    assert not shown("one") and not shown("list")
    anna.post("/settings", hide="0", back="queue=unsure")
    assert shown("one") and shown("list")
    assert anna.work("unsure").answer_fields()["blind"] == "0"


def test_buttons_are_in_a_fixed_order_or_by_score(anna: Person) -> None:
    def order() -> list[str | None]:
        return [at["value"] for at in anna.work("search", words="чашка", view="one").all("button", name="category_is")]

    assert order() == NAMES
    anna.post("/settings", order="score")
    assert order()[0] == "посуда" and sorted(map(str, order())) == sorted(NAMES)


def test_confirmed_and_automatic_look_different(anna: Person) -> None:
    def classes() -> list[str | None]:
        seen = anna.work("search", words="отзыв 7", view="list")
        return [at["class"] for at in seen.all("span") if (at.get("class") or "").startswith("tag")]

    assert set(classes()) == {"tag automatic"}
    anna.answer(anna.work("search", words="отзыв 7", view="list"), "посуда", review="r7")
    assert "tag confirmed" in classes()


def test_many_are_answered_at_once_or_none(run: Path, anna: Person) -> None:
    seen = anna.work("category", category="обувь")
    offered = [at["value"] for at in seen.all("input", name="review")]
    assert len(offered) > 10 and "r6" not in offered, "of copies one"
    assert "r3" in offered
    after = anna.answer(seen, "обувь", review=offered[:10])
    assert [(one.review, one.category) for one in Log(run).standing()] == [(name, "обувь") for name in offered[:10]]
    assert not set(offered[:10]) & {at["value"] for at in after.all("input", name="review")}
    assert anna.raw("/answer", queue="category", review=["r1", "r999"], category_is="обувь").status_code == 409
    assert len(said(run)) == 10
    more = [str(at["value"]) for at in after.all("input", name="review")][:3]
    anna.answer(after, "посуда", review=more)
    assert len(said(run)) == 13
    anna.post("/undo")
    assert len(said(run)) == 10, "what was answered at once is undone at once"
    anna.post("/undo")
    assert said(run) == []


def test_an_answer_is_for_all_copies(run: Path, anna: Person) -> None:
    seen = anna.work("search", words="отзыв 3", view="one")
    assert "+2 and its copies" in seen.words and "отзыв 9" in seen.words
    anna.answer(anna.work("search", words="отзыв 6", view="list"), "обувь", review="r6")
    left = anna.work("category", category="обувь")
    assert not {"r3", "r6", "r9"} & {at["value"] for at in left.all("input", name="review")}


def test_exam_reviews_and_their_copies_are_no_lessons(run: Path, anna: Person) -> None:
    draw_exam(run, ["r6", "r4"])
    for name in ORDER[:-1]:
        seen = anna.work(name, view="list", category="обувь")
        assert not {"r3", "r6", "r9", "r4"} & {at["value"] for at in seen.all("input", name="review")}, name
    for review in ("r4", "r9"):
        refused = anna.raw("/answer", queue="search", review=["r1", review], category_is="обувь")
        assert refused.status_code == 409 and "is in the exam" in refused.text
    assert anna.raw("/answer", queue="exam", review="r1", category_is="обувь").status_code == 409, "it was not drawn"
    assert said(run) == []
    anna.post("/settings", hide="0")
    first = anna.work("exam")
    assert first.review() == "r6" and "automatic" not in first.words and not first.all("mark"), "nothing is hinted at"
    second = anna.answer(first, "обувь")
    assert second.review() == "r4" and "label was" not in second.words
    anna.answer(second, "посуда")
    assert said(run) == [("Анна", "r6", "обувь", "exam"), ("Анна", "r4", "посуда", "exam")]
    home = anna.get("/")
    assert "1.000" in home.words and "from 2 exam answers" in home.words


def test_the_exam_is_drawn_on_the_page_and_told_of(run: Path, anna: Person) -> None:
    seen = anna.post("/exam")
    drawn = (run / "audit" / "sample.json").read_bytes()
    while seen.review() is not None:
        row = int(str(seen.review())[1:])
        seen = anna.answer(seen, NAMES[row % 3])
    assert {kind for *_, kind in said(run)} == {"exam"} and len(said(run)) == ROWS, "all of so few"
    home = anna.get("/")
    assert "0.9" in home.words and "Another 20 exam answers" in home.words
    assert "1.000" in home.words, "the model repeats no wrong label"
    anna.raw("/exam", more="1")
    assert (run / "audit" / "sample.json").read_bytes() == drawn


def test_two_people_work_at_once_and_their_disagreement_is_shown(run: Path, app: Any, anna: Person) -> None:
    boris = Person(app, "Борис")
    hers, his = anna.work("unsure"), boris.work("unsure")
    assert hers.review() != his.review(), "not the same at the same time"
    assert anna.work("unsure").review() == hers.review(), "it stays"
    anna.answer(hers, "посуда")
    blind = boris.work("second")
    assert blind.review() == hers.review() and "Анна" not in blind.words and "confirmed" not in blind.words
    boris.answer(blind, "обувь")
    assert anna.work("second").review() is None and boris.work("disputed").review() is None, "his word was the last"
    seen = anna.work("disputed")
    assert seen.review() == hers.review()
    assert all(word in seen.words for word in ("Анна", "Борис", "посуда", "обувь"))
    assert {(who, category) for who, _, category, _ in said(run)} == {("Анна", "посуда"), ("Борис", "обувь")}
    anna.answer(seen, "обувь")
    assert anna.work("disputed").review() is None and boris.work("disputed").review() is None
    boris.post("/undo")
    assert [who for who, *_ in said(run)] == ["Анна"], "each undoes their own"
    words = " ".join(anna.get("/").words.split())
    assert "Анна10" in words


@pytest.mark.parametrize(
    ("narrowed", "wanted"),
    [
        ({"words": "ЧАШКА отзыв"}, lambda row: row % 3 == 1),
        ({"words": "чашка", "category": "обувь"}, lambda row: row % 3 == 1 and row % 10 == 5),
        ({"column": "row", "having": "12"}, lambda row: "12" in str(row + 1)),
        ({"column": "labellers", "having": "MATCH"}, lambda row: True),
        ({"column": "source", "having": "other"}, lambda row: False),
        ({"at_most": "50"}, lambda row: 0.4 + 0.5 * row / ROWS <= 0.5),
        ({"state": "confirmed"}, lambda row: row == 1),
        ({"state": "several"}, lambda row: row == 2),
        ({"state": "open", "words": "отзыв"}, lambda row: row not in (0, 1, 2)),
    ],
    ids=lambda one: None if callable(one) else str(one),
)
def test_search_finds_by_words_and_columns(
    anna: Person, narrowed: dict[str, str], wanted: Callable[[int], bool]
) -> None:
    anna.post("/answer", queue="search", review="r1", category_is="посуда")
    anna.post("/answer", queue="search", review="r2", verdict="several")
    found, page = list[str](), 0
    while True:
        seen = anna.work("search", page=str(page), **narrowed)
        found += [str(at["value"]) for at in seen.all("input", name="review")]
        if not seen.all("a", **{"data-code": "KeyM"}):
            break
        page += 1
    assert found == [f"r{row}" for row in range(ROWS) if wanted(row)]


@pytest.mark.parametrize("files", [1, 2])
def test_search_looks_into_the_columns_of_the_files(tmp_path: Path, files: int) -> None:
    run = make_run(tmp_path / "run")
    reviews = pl.read_parquet(run / "ingest" / "reviews.parquet")
    if files == 2:  # the second one begins at r30, after a row that was set aside
        second = pl.int_range(pl.len()) >= 30
        reviews = reviews.with_columns(
            source=pl.when(second).then(pl.lit("b.csv")).otherwise("source"),
            row=pl.when(second).then(pl.col("row") - 29).otherwise("row"),
        )
        tables.write(reviews, tables.REVIEWS, run / "ingest" / "reviews.parquet")
        seal(run / "ingest", {})
    rows = [
        [*(["b.csv" if row >= 30 else "shop.csv"] if files == 2 else []), f"c{row % 4}", "обувь"] for row in range(60)
    ]
    if files == 2:
        rows.insert(30, ["b.csv", "none", ""])
    columns = [*(["source"] if files == 2 else []), "city; of a shop", "label"]
    (run / "table").mkdir()
    with (run / "table" / "labelled.csv").open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    seal(run / "table", {"columns": columns})
    anna = Person(sit(run)[1], "Анна")
    seen = anna.work("search", column="city; of a shop", having="C3", view="list")
    found = [str(at["value"]) for at in seen.all("input", name="review")]
    assert found == [f"r{row}" for row in range(60) if row % 4 == 3]


def test_the_search_stays_after_an_answer(anna: Person) -> None:
    seen = anna.work("search", words="чашка", at_most="60", view="list")
    fields = anna.answer(seen, "посуда", review="r7").answer_fields()
    assert (fields["words"], fields["at_most"], fields["queue"]) == ("чашка", "60", "search")


@pytest.mark.parametrize(
    "path",
    ["/work?queue=unshure", "/work?queue=category&category=обуфь", "/work?queue=search&column=password&having=x",
     "/work?queue=search&at_most=x"],
)  # fmt: skip
def test_what_does_not_exist_is_refused_in_words(anna: Person, path: str) -> None:
    refused = anna.client.get(path)
    assert refused.status_code == 409 and "That did not work" in refused.text


def test_other_paths_and_methods_are_refused(anna: Person) -> None:
    assert anna.client.get("/nothing").status_code == 404
    assert anna.raw("/", x="1").status_code == 405


def test_a_run_without_a_model_can_be_answered(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", model=False)
    person = Person(sit(run)[1], "Анна")
    assert "the run has no model yet" in person.get("/").words
    assert person.work("contradicts").review() is None
    person.answer(person.work("unsure"), "обувь")
    assert len(said(run)) == 1


def test_a_queue_that_brings_nothing_new_is_said_to(app: Any, anna: Person) -> None:
    seen = anna.work("category", category="нет товара")
    ids = [str(at["value"]) for at in seen.all("input", name="review")]
    after = anna.answer(seen, "нет товара", review=ids[:10])
    assert "confirmed the label" not in after.words
    anna.answer(seen, "нет товара", review=ids[10:])
    others = anna.work("category", category="обувь")
    after = anna.answer(others, "обувь", review=[at["value"] for at in others.all("input", name="review")])
    told = re.search(r"Of the last (\d+) answers here (\d+) confirmed the label", after.words)
    assert told and told[1] == told[2] == "40" and "Little is left to find in this queue" in after.words


def test_answers_of_another_process_count(run: Path, anna: Person) -> None:
    first = anna.work("disagree").review()
    Person(sit(run)[1], "Борис").post("/answer", queue="disagree", review=first, category_is="обувь")
    assert anna.work("disagree").review() != first


def test_strings_are_in_both_languages_and_every_one_is_used(app: Any) -> None:
    folder = Path(pages.__file__).parents[1] / "assets" / "desk"
    sources = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.j2"))
    for key, pair in strings.STRINGS.items():
        assert len(pair) == 2 and all(pair), key
        stem = key.rpartition(".")[0]
        assert f'"{key}"' in sources or f"'{key}'" in sources or f'"{stem}." ~' in sources or key in (
            "skip", "several"
        ), key  # fmt: skip
    russian = Person(app, "Анна", lang="ru")
    assert "Экзамен" in russian.get("/").words and "Exam" not in russian.get("/").words
    assert strings.key_label("KeyQ", "ru") == "Й" and strings.key_label("Digit3", "ru") == "3"


def test_the_language_is_that_of_the_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LC_ALL", "LC_MESSAGES", "TSIRIUS_LANG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANG", "ru_RU.UTF-8")
    assert strings.language(None) == "ru" and strings.language("en") == "en"
    monkeypatch.setenv("LANG", "C.UTF-8")
    assert strings.language(None) == "en"
