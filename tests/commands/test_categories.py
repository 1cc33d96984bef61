"""Other categories: what they would change is shown before it counts, and answers follow a new name."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from tsirius.answers.log import Answer, Log, text_hash
from tsirius.categories import Categories, Category
from tsirius.commands.categories import missing, preview
from tsirius.errors import UserError
from tsirius.language.words import lemmas
from tsirius.store import Store


@pytest.fixture
def run(shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run of its own, in its folder."""
    shutil.copytree(shop, tmp_path / "shop")
    monkeypatch.chdir(tmp_path / "shop")
    return tmp_path / "shop" / "runs" / "shop"


def written(path: Path, items: list[Category]) -> Path:
    path.write_text(Categories(items).to_toml(), encoding="utf-8")
    return path


def state(run: Path) -> dict[str, str]:
    return {stage: (Store(run).record(stage) or {})["output"] for stage in ("ingest", "label", "train")}


def test_an_added_category_is_shown_and_changes_nothing(run: Path, tmp_path: Path) -> None:
    old, before = preview.categories_of(run), state(run)
    file = written(tmp_path / "more.toml", [*old, Category("часы", "наручные часы, будильники, ремешок")])
    found, _, _ = preview.of_file(run, file, [])
    assert found.added == ["часы"] and not found.removed and not found.reworded and not found.renamed
    assert found.again == {"matcher": (0, None)}
    assert list(found.counts) == [*old.names, "часы"] and found.counts["часы"][0] == 0 < found.counts["часы"][1]
    assert sum(flip.count for flip in found.flips) <= found.changed < found.rows / 4
    assert any(flip.after == "часы" and flip.texts for flip in found.flips)
    assert "added: часы" in found.table() and f"{found.changed:,} of {found.rows:,} reviews" in found.table()
    assert state(run) == before and not list(run.glob(".categories-*"))


def test_a_new_name_is_no_change_of_label_and_answers_follow_it(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = preview.categories_of(run)
    said = Answer("1", text_hash("x"), "посуда", who="Анна")
    Log(run).add([said, Answer("2", text_hash("y"), "обувь", who="Анна")])
    items = [Category("кухня", one.description) if one.name == "посуда" else one for one in old]
    file = written(tmp_path / "renamed.toml", items)
    found, _, renamed = preview.of_file(run, file, ["посуда=кухня"])
    assert "not yet: " in (told := capsys.readouterr().err) and "gold.csv: still has the category 'посуда'" in told
    assert renamed == {"посуда": "кухня"} == found.renamed and not found.added and not found.removed
    assert found.counts["кухня"][0] > 0 and "посуда" not in found.counts
    with pytest.raises(UserError, match="unknown category 'посуда'"):
        preview.change(run, file, renamed)  # the file of answers that scores still has the former name
    assert {one.category for one in Log(run).standing()} == {"посуда", "обувь"}
    gold = Path("gold.csv")
    gold.write_text(gold.read_text(encoding="utf-8").replace(",посуда", ",кухня"), encoding="utf-8")
    with Store(run).lock(), pytest.raises(UserError, match="another run"):
        preview.change(run, file, renamed)
    assert {one.category for one in Log(run).standing()} == {"посуда", "обувь"}, "it has not begun"
    preview.change(run, file, renamed)
    assert preview.categories_of(run).names == [one.name for one in items]
    assert json.loads((run / "config.json").read_text())["ingest"]["categories"] == str(file)
    assert {one.category for one in Log(run).standing()} == {"кухня", "обувь"}
    assert "кухня" in (run / "submission.csv").read_text(encoding="utf-8")


def test_a_removed_and_a_reworded_one_are_named(run: Path, tmp_path: Path) -> None:
    old = list(preview.categories_of(run))
    old[0] = Category(old[0].name, "другие слова", old[0].none)
    gone = next(one for one in reversed(old) if not one.none)
    found, _, _ = preview.of_file(run, written(tmp_path / "fewer.toml", [x for x in old if x is not gone]), [])
    assert found.removed == [gone.name] and found.reworded == [old[0].name]
    assert found.counts[gone.name][1] == 0 < found.counts[gone.name][0]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        pytest.param("посуда", "no '=' in it", id="no sign"),
        pytest.param("посда=обувь", "did you mean 'посуда'", id="no such former one"),
        pytest.param("посуда=обвь", "did you mean 'обувь'", id="no such new one"),
        pytest.param("посуда=обувь", "still has 'посуда'", id="it is still there"),
    ],
)
def test_a_rename_that_cannot_be_is_refused(word: str, message: str) -> None:
    known = Categories([Category("посуда"), Category("обувь"), Category("нет товара", none=True)])
    with pytest.raises(UserError, match=message):
        preview.renames([word], known, known)


def test_two_of_one_name_are_a_merger() -> None:
    old = Categories([Category("посуда"), Category("обувь"), Category("нет товара", none=True)])
    new = Categories([Category("вещи"), Category("нет товара", none=True)])
    assert preview.renames(["посуда=вещи", "обувь = вещи"], old, new) == {"посуда": "вещи", "обувь": "вещи"}


def test_missing_ones_are_groups_with_their_words(run: Path) -> None:
    found = missing.clusters(run)
    assert found and [one.count for one in found] == sorted((one.count for one in found), reverse=True)
    assert all(one.words and one.texts and one.none <= one.count for one in found)
    assert missing.table(found).startswith(f"{found[0].count} reviews")
    assert missing.clusters(run) == found, "the same each time"
    assert missing.table([]) == "no group of reviews stands out"


@pytest.mark.parametrize(
    ("texts", "elsewhere", "name"),
    [
        pytest.param(
            ["Это очень интересная книга, не скучная", "Не очень книга, страницы рвутся", "Это книга, и страницы белые",
             "Читали книгу весь вечер, очень интересная"],
            ["Чашка с трещиной", "Тапки малы", "Товар хороший", "Вечер"],
            ["книга", "страница", "интересный"], id="Russian",
        ),
        pytest.param(
            ["This is the book that I read", "the pages of this book are torn", "it is a book, the pages are white"],
            ["A cup with a crack", "Slippers too small", "Goods are white"],
            ["book", "pages"], id="English",
        ),
    ],
)  # fmt: skip
def test_content_words_name_a_group_nouns_first(texts: list[str], elsewhere: list[str], name: list[str]) -> None:
    words = [set(lemmas(text)) for text in texts]
    everywhere = Counter(word for text in [*texts, *elsewhere * 5] for word in set(lemmas(text)))
    assert missing.telling(words, everywhere, len(texts) + 5 * len(elsewhere)) == name


def test_what_names_a_group_is_rare_elsewhere() -> None:
    texts = [{"товар", "книга"}, {"товар", "книга", "страница"}, {"товар", "книга"}]
    assert missing.telling(texts, Counter({"товар": 100, "книга": 3, "страница": 1}), 100) == ["книга"]
