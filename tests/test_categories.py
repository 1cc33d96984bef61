"""Categories files: what is read, and what is refused with which words."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsirius.categories import Categories, Category, as_categories, key, load
from tsirius.errors import UserError

GOOD = '[[category]]\nname = "обувь"\ndescription = "ботинки"\n[[category]]\nname = "нет товара"\nnone = true\n'


def written(tmp_path: Path, text: str, name: str = "categories.toml") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_toml(tmp_path: Path) -> None:
    categories = load(written(tmp_path, GOOD))
    assert categories.names == ["обувь", "нет товара"]
    assert categories.none == "нет товара" and categories.none_index == 1
    assert categories[0].description == "ботинки"


def test_plain_text_with_bom_comment_and_blank_lines(tmp_path: Path) -> None:
    categories = load(written(tmp_path, "\ufeff# наши\nобувь\n\n  Нет товара \n", "categories.txt"))
    assert categories.names == ["обувь", "Нет товара"]
    assert categories.none == "Нет товара"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GOOD.replace("обувь", "Нет Товара"), "repeats the name"),
        (GOOD.replace("none = true\n", ""), "no category marked as the one without a product"),
        (GOOD.replace('name = "обувь"', 'name = "обувь"\nnone = true'), "2 categories"),
        (GOOD.replace("обувь", " "), "empty name"),
        (GOOD.replace("обувь", "обу\\nвь"), "line break or control character"),
        (GOOD.replace("обувь", " нет товара "), "repeats the name"),
        (GOOD.replace("обувь", "нет  товара"), "repeats the name"),
        (GOOD.replace("обувь", "нет\u00a0това\u200bра"), "repeats the name"),
        (GOOD.replace("обувь", "\u200b"), "empty name"),
        (GOOD.replace("description", "descripton"), "did you mean 'description'"),
        (GOOD.replace('"ботинки"', "7"), "description is not of type str"),
        (GOOD.replace('name = "обувь"\n', ""), "has no name"),
        ('[[category]]\nname = "нет товара"\nnone = true\n', "1 categories named"),
        ("", "not a categories file"),
        ("category = 7", "not a categories file"),
        ("category = [7]", "not a table"),
        ("[[category", "not valid TOML"),
    ],
)
def test_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        load(written(tmp_path, text))
    assert "categories.toml" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("categories.csv", "name\nобувь\nнет товара\n", "says no categories file"),
        ("categories.json", '["обувь", "нет товара"]', "says no categories file"),
        ("categories.txt", "обувь\nпосуда\n", "Call that one «нет товара»"),
        ("categories.txt", "чай\nчаи\u0306\nнет товара\n", "category 2 repeats the name"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, name: str, text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        load(written(tmp_path, text, name))


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a folder"):
        load(tmp_path)


def test_the_none_category_is_found_however_it_is_spaced(tmp_path: Path) -> None:
    assert load(written(tmp_path, "обувь\nНет\u00a0 товара\n", "categories.txt")).none_index == 1


def test_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "categories.txt"
    path.write_bytes("обувь\nнет товара\n".encode("cp1251"))
    with pytest.raises(UserError, match="not UTF-8"):
        load(path)


LETTERS = st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"])


@given(st.lists(st.text(LETTERS, min_size=1).filter(key), min_size=2, max_size=20, unique_by=key))
def test_json_round_trip(names: list[str]) -> None:
    categories = Categories([Category(name, description=name * 2, none=index == 0) for index, name in enumerate(names)])
    assert Categories.from_json(categories.to_json()) == categories


@given(st.lists(st.tuples(st.text(), st.text()), min_size=1, max_size=5), st.data())
def test_the_text_of_a_categories_file_is_read_back(items: list[tuple[str, str]], data: st.DataObject) -> None:
    none = data.draw(st.integers(0, len(items)))
    made = [Category(f"{number} {name.strip()}".strip(), words) for number, (name, words) in enumerate(items)]
    made.insert(none, Category("нет товара", none=True))
    try:
        categories = Categories(made)
    except UserError:
        return
    assert Categories([Category(**table) for table in tomllib.loads(categories.to_toml())["category"]]) == categories


def test_categories_as_a_caller_has_them() -> None:
    wanted = Categories([Category("обувь"), Category("нет товара", none=True)])
    assert as_categories(["обувь", "нет товара"]) == as_categories(wanted) == wanted
    assert as_categories({"обувь": "", "нет товара": ""}) == wanted
    assert as_categories(["обувь", "нет товара"], none="обувь").none == "обувь"
    assert as_categories(wanted, none="обувь").none == "обувь"
    with pytest.raises(UserError, match="did you mean 'обувь'"):
        as_categories(wanted, none="обуфь")
    with pytest.raises(UserError, match="no category is the one of reviews without a product"):
        as_categories(["обувь", "одежда"])
