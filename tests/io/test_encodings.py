"""The encoding of a file: told right, or refused; never another one."""

from __future__ import annotations

import random
from pathlib import Path

import polars as pl
import pytest

from tsirius.errors import UserError
from tsirius.io import ids
from tsirius.io.source import describe_source, open_source

AUTO = {"text_column": "auto", "id_column": "auto", "encoding": "auto", "text_required": True}
LENGTHS = (1, 5, 20, 200)

RUSSIAN = (
    ("Чайник", "Пальто", "Кружка", "Юбка", "Щётка", "Зарядка", "Этот плед", "Ёршик", "Фен", "Яркая лампа", "Обувь"),
    ("пришла разбитой", "греет быстро", "сидит хорошо", "маломерит", "сломалась через день", "ещё не пробовала"),
    ("Рекомендую!", "Вернула, деньги не отдали.", "Муж доволен :)", "ОЧЕНЬ ПЛОХО", "Спасибо продавцу", "Так себе…", ""),
)
KAZAKH = (
    ("Көйлек", "Шәйнек", "Аяқ киім", "Үтік", "Қоңырау"),
    ("өте жақсы", "ұнады", "сапасы төмен екен", "тез жеткізді", "кішкентай"),
    ("Рақмет!", "Қайтардым.", "Ұсынамын", ""),
)
ENGLISH = (
    ("The kettle", "This mug", "It’s a scarf that", "My café-style lamp"),
    ("is very good — I’m happy", "was not for me", "broke and I don’t want it", "has a naïve look, but it is fine"),
    ("Buy it!", "I have to return it…", ""),
)
ITALIAN = (
    ("Il bollitore", "La qualità della tazza", "Questo prodotto, però,", "Il vestito è bello ma"),
    (
        "è più piccolo di quanto pensassi",
        "non è adatto per la città",
        "è arrivato già rotto",
        "mi piace perché è caldo",
    ),
    ("Non lo consiglio", "È perfetto!", ""),
)
UKRAINIAN = (("Чайник", "Їжа", "Ґудзик"), ("дуже гарний", "мені не сподобався", "є подряпини"), ("Дякую", ""))
POLISH = (("Czajnik", "Żółty kubek", "Świetna lampa"), ("działa dobrze", "nie działa", "jest łatwy"), ("Polecam", ""))
CHINESE = (("水壶", "杯子"), ("质量很好", "不推荐购买"), ("非常满意", ""))

TOLD = [
    *((codec, RUSSIAN) for codec in ("cp1251", "koi8-r", "cp866", "iso8859-5", "mac-cyrillic", "ptcp154", "kz1048")),
    *((codec, RUSSIAN) for codec in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32-le")),
    *((codec, ENGLISH) for codec in ("cp1252", "mac-roman", "utf-8", "utf-16-le")),
    *((codec, ITALIAN) for codec in ("cp1252", "iso8859-1", "mac-roman", "cp850", "utf-16-be")),
]  # fmt: skip
UNTOLD = [
    ("ptcp154", KAZAKH), ("kz1048", KAZAKH), ("cp1251", UKRAINIAN), ("cp1250", POLISH), ("iso8859-2", POLISH),
    ("gb18030", CHINESE), ("big5", CHINESE),
]  # fmt: skip
"""Right or refused, but never taken for another."""


def table(words: tuple[tuple[str, ...], ...], codec: str, count: int, seed: int) -> pl.DataFrame:
    random.seed(seed)
    texts = [" ".join(map(random.choice, words)).strip() for _ in range(count)]
    texts = [text.encode(codec, "ignore").decode(codec) for text in texts]
    return pl.DataFrame({"id": [f"r{row}" for row in range(count)], "text": texts})


def read(folder: Path, data: bytes, **changed: str) -> pl.DataFrame | None:
    """The table that was read, None where it was refused with a remedy that names the setting, or a better file."""
    path = folder / "reviews.csv"
    path.write_bytes(data)
    try:
        source = open_source(path, **{**AUTO, **changed})  # type: ignore[arg-type]  # of one kind
    except UserError as error:
        assert "encoding = " in str(error) or "UTF-8" in str(error)
        return None
    if source.encoding not in ("utf-8", "utf-8-sig"):
        assert "encoding " in describe_source(source)
    return pl.concat(ids.read_unique(source, rows=1000)).select("id", "text")


@pytest.mark.parametrize("count", LENGTHS)
@pytest.mark.parametrize(
    ("codec", "words"), [*TOLD, *UNTOLD], ids=lambda value: value if isinstance(value, str) else ""
)
def test_an_encoding_is_told_right_or_refused(
    tmp_path: Path, codec: str, words: tuple[tuple[str, ...], ...], count: int
) -> None:
    for seed in range(8):
        wanted = table(words, codec, count, seed)
        found = read(tmp_path, wanted.write_csv().encode(codec))
        assert found is None or found.equals(wanted)
        if count == max(LENGTHS) and (codec, words) in TOLD:
            assert found is not None


@pytest.mark.parametrize("letters", [str.lower, str.upper, str.title])
@pytest.mark.parametrize("codec", [codec for codec, words in TOLD if words is RUSSIAN])
def test_capitals_are_never_another_code_pages_small_letters(tmp_path: Path, codec: str, letters: object) -> None:
    for seed in range(4):
        wanted = table(RUSSIAN, codec, 30, seed)
        wanted = wanted.with_columns(text=pl.Series([letters(text) for text in wanted["text"]]))  # type: ignore[operator]  # a function
        found = read(tmp_path, wanted.write_csv().encode(codec))
        assert found is None or found.equals(wanted)


@pytest.mark.parametrize("codec", ["cp1251", "koi8-r", "cp866", "iso8859-5", "mac-cyrillic", "kz1048", "ptcp154"])
@pytest.mark.parametrize("word", ["Супер", "супер", "СУПЕР", "Да", "Яркий", "Хорошо", "Не подошло", "Ёж", "…", "№ 1"])
def test_one_word_is_told_right_or_refused(tmp_path: Path, codec: str, word: str) -> None:
    data = f"text\n{word}\n".encode(codec, "replace")
    found = read(tmp_path, data)
    assert found is None or found["text"].to_list() == [data.decode(codec).split("\n")[1]]
    named = read(tmp_path, data, encoding=codec)
    assert named is not None and named["text"].to_list() == [data.decode(codec).split("\n")[1]]


@pytest.mark.parametrize("mark", [b"\xff\xfe", b"\xfe\xff", b"\xff\xfe\x00\x00"])
@pytest.mark.parametrize("codec", ["utf-8", "utf-16-le", "utf-16-be"])
def test_a_mark_before_another_encoding_is_refused(tmp_path: Path, mark: bytes, codec: str) -> None:
    data = mark + "id,text\n1,Чайник\n2,Кружка\n".encode(codec)
    path = tmp_path / "reviews.csv"
    path.write_bytes(data)
    if (mark, codec) in ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")):
        assert ids.check(open_source(path, **AUTO)) == 2  # type: ignore[arg-type]  # of one kind
        return
    with pytest.raises(UserError) as caught:
        ids.check(open_source(path, **AUTO))  # type: ignore[arg-type]  # of one kind
    assert "begins with the mark of UTF-" in str(caught.value) and "Remove the first" in str(caught.value)


def test_two_encodings_in_one_file_are_refused(tmp_path: Path) -> None:
    wanted = table(RUSSIAN, "cp1251", 50, 1)
    assert (
        read(
            tmp_path,
            wanted.write_csv().encode("cp1251") + "r50,Хорошая кружка\nr51,Быстрая доставка\n".encode("koi8-r"),
        )
        is None
    )
    assert read(tmp_path, wanted.write_csv().encode() + "r50,Хорошая кружка\n".encode("cp1251")) is None
