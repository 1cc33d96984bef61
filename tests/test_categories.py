"""Categories files: what is read, and what is refused with which words."""

import tomllib
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsirius.categories import HEADINGS, Categories, Category, as_categories, key, load, plain, spellings
from tsirius.errors import UserError
from tsirius.labellers.hypotheses import descriptions
from tsirius.labellers.lexicon import seeds

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
        ("categories.txt", "1. обувь\n2. нет товара\n", r"hold more than names \('1\. обувь'\)"),
        ("categories.txt", "Список:\n- обувь\n- нет товара\n", r"hold more than names \('- обувь'\)"),
        ("categories.txt", "обувь,\nнет товара;\n", r"hold more than names \('обувь,'\)"),
        ("categories.txt", '"обувь"\n"нет товара"\n', "hold more than names"),
        ("categories.txt", "обувь\tботинки\nнет товара\tничего\n", "hold more than names"),
        ("categories.txt", "<ul>\n<li>обувь</li>\n</ul>\nнет товара\n", r"is no list of names \('<ul>'\)"),
        ("categories.txt", "version https://git-lfs.github.com/spec/v1\nнет товара\n", "is no list of names"),
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


SPELLINGS = [
    "бытовая техника", "бытовая  техника", "бытовая\u00a0техника", "быто\u200bвая техника", "\ufeffбытовая техника",
    "Бытовая техника ", "бытовая\u2009техника", "бытовая\u2060 техника", "быто\u00adвая техника", "бытовая\tтехника",
]  # fmt: skip


@pytest.mark.parametrize(
    "name", [*SPELLINGS, *(unicodedata.normalize("NFD", name) for name in ("чай", "ёлочные игрушки"))]
)
def test_a_name_is_the_same_however_it_is_spelled(name: str) -> None:
    assert key(name) == key(unicodedata.normalize("NFC", plain(name)))
    assert spellings(["бытовая техника", "чай", "ёлочные игрушки"])[key(name)] in (
        "бытовая техника",
        "чай",
        "ёлочные игрушки",
    )


@given(st.text(LETTERS))
def test_the_plain_form_is_stable(name: str) -> None:
    assert plain(plain(name)) == plain(name) and key(key(name)) == key(name) == key(plain(name))


@pytest.mark.parametrize("suffix", ["toml", "txt"])
def test_a_decomposed_file_keeps_its_spelling_and_its_words_are_whole(tmp_path: Path, suffix: str) -> None:
    name = unicodedata.normalize("NFD", "чайный  сервиз")
    text = GOOD.replace("обувь", name) if suffix == "toml" else f"{name}\nнет товара\n"
    categories = load(written(tmp_path, text, f"categories.{suffix}"))
    assert categories.names[0] == name
    assert categories[0].plain == "чайный сервиз"
    assert seeds(categories).keys() >= {"чайный", "сервиз"}
    assert descriptions(categories[0], "name") == ["чайный сервиз"]


@pytest.mark.parametrize(
    "heading",
    [*HEADINGS, "Категории:", "Наши категории:", "Category", "КАТЕГОРИЯ", "# category", "\ufeff\ufeffКатегории:"],
)
def test_a_heading_is_no_category(tmp_path: Path, heading: str) -> None:
    text = f"{heading}\n\nобувь\nнет товара\n"
    assert load(written(tmp_path, text, "categories.txt")).names == ["обувь", "нет товара"]


def test_names_lose_invisible_characters_at_their_edges(tmp_path: Path) -> None:
    categories = load(written(tmp_path, "\ufeff\ufeffобувь\u200b\n\u00a0нет товара\n", "categories.txt"))
    assert categories.names == ["обувь", "нет товара"]
    assert load(written(tmp_path, "\ufeff\ufeff" + GOOD)).names == ["обувь", "нет товара"]


def test_a_name_may_begin_with_a_number_or_a_quote(tmp_path: Path) -> None:
    text = "3D печать\n«Лего»\n- прочее\nнет товара\n"
    assert load(written(tmp_path, text, "categories.txt")).names == ["3D печать", "«Лего»", "- прочее", "нет товара"]
