import re
import time
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tsirius.language.clean import LONGEST, LONGEST_COMMENT, MARKS_IN_A_ROW, compose, normalise

CLEANED = [
    ("Чайник отличный", "Чайник отличный"),
    ("раз_x000D_\nдва_x000A_три", "раз два три"),
    ("имя_x005F_файла", "имя_файла"),
    ("&quot;Супер&quot; &amp;amp; 5&#37; &laquo;да&raquo;", '"Супер" & 5% «да»'),
    ("первое<br/>второе<p class='a'>третье</p>", "первое второе третье"),
    ("&lt;br&gt;скрытая&nbsp;разметка", "скрытая разметка"),
    ("размер <XL>, люблю <3, 2 < 3 и 5 > 4", "размер <XL>, люблю <3, 2 < 3 и 5 > 4"),
    ("два\u00a0слова\u202fи\u2009ещё\u2028строка", "два слова и ещё строка"),
    ("не\u00adви\u200bди\ufeffмо", "невидимо"),
    ("фото https://shop.example/item?id=1&x=2, смотрите", "фото , смотрите"),
    ("(www.example.ru)", "( )"),
    ("искала на example.com/каталог/1 и пример.рф", "искала на и"),
    ("I bought it.Me too, sold.By mistake, see vk.me/shop", "I bought it.Me too, sold.By mistake, see"),
    ("всё пришло.мне подошло.ура", "всё пришло.мне подошло.ура"),
    ("пишите на anna.k+1@mail.example.ru или @anna", "пишите на или @anna"),
    ("звонить +7 (900) 123-45-67, 8 900 123 45 67 или 89001234567", "звонить , или"),
    ("тел. (495) 123-45-67", "тел."),
    ("параметры 116-96-116, 90-60-90, рост 170", "параметры 116-96-116, 90-60-90, рост 170"),
    ("заказ 31.05, получила 4.07.2024 в 12:30", "заказ 31.05, получила 4.07.2024 в 12:30"),
    ("№ 5, ½ чашки, ™, 30²…", "№ 5, ½ чашки, ™, 30²…"),
    ("ＳＵＰＥＲ 𝐛𝐨𝐥𝐝 oﬃce", "SUPER bold office"),
    ("й".replace("й", "и\u0306") + "од", "йод"),
    ("👍🏽 ❤️ 👨‍👩‍👧 🇷🇺", "👍🏽 ❤️ 👨‍👩‍👧 🇷🇺"),
    ("сло\u200dво", "слово"),
    ("a\x00b\x07c\ufffd", "a b c"),
    ("половина \ud83d пары", "половина пары"),
    ("СОВСЕМ!!! не-подошло :(", "СОВСЕМ!!! не-подошло :("),
    (" \u200b\n", ""),
    ("https://shop.example/only-a-link", ""),
]


@pytest.mark.parametrize(("text", "clean"), CLEANED)
def test_normalise(text, clean):
    assert normalise(text) == clean


PIECES = st.sampled_from(
    ["&amp;", "&lt;", "gt;", "#60;", "br>", "<", ">", "_x00", "0D_", "_x003C_", "www.", "a.ru", "/", "@", "+7", "8",
     " ", "900", "123-45-67", "\u200d", "\u200b", "❤️", "слово", "\ufb03", "\ud83d", "\u0306", "и", "<!--", "-->",
     "https://"]
)  # fmt: skip


@given(st.one_of(st.text(), st.lists(PIECES, max_size=20).map("".join)))
@example("&am_x0070_;lt;br&gt;")
def test_normalise_changes_nothing_twice_and_fits_in_a_file(text):
    clean = normalise(text)
    assert normalise(clean) == clean
    assert clean == clean.strip() and "\n" not in clean
    clean.encode()
    assert unicodedata.is_normalized("NFC", clean)


@pytest.mark.parametrize("piece", ["a", "a.", "8 ", "<a ", "&", "a@", "www.", "_x", "(1", "https://", "-", "<!--"])
def test_normalise_takes_no_time_over_repetition(piece):
    normalise(piece * 5_000)


@pytest.mark.parametrize(
    "text", ["&" + "amp;" * 60_000, "&" + "#38;" * 60_000, "_" + "x005F_" * 60_000, "<b " * 60_000 + ">" * 60_000]
)
def test_normalise_takes_no_time_over_nesting(text):
    start = time.monotonic()
    normalise(text)
    assert time.monotonic() - start < 10


ADVERSE = [
    "<!--", "-->", "<!-- -->", "<!--x", "а\u0301\u0323", "\u0301\u0323", "и\u0306", "\u0323" * 40 + "\u0301", "&",
    "&lt;", "&amp;", "&#60;", "_x003C_", "<a ", "<b>", "http://)", "https://", "www.", "a.", "a@b.", "8 900", "+7 (",
    "(495) ", "🤷\u200d", "𝐛", "ﬁ", "\u200d", "\ud83d", " ", "а" * 99 + " ",
]  # fmt: skip


@pytest.mark.parametrize("piece", ADVERSE)
def test_no_text_takes_longer_than_its_length(piece):
    start = time.process_time()
    normalise(piece * (1 + LONGEST // len(piece)))
    assert time.process_time() - start < 1.5


@given(st.lists(st.sampled_from(ADVERSE), min_size=1, max_size=4))
@settings(max_examples=15, deadline=None)
def test_nor_does_a_mixture(pieces):
    start = time.process_time()
    normalise("".join(pieces) * (1 + LONGEST // sum(map(len, pieces))))
    assert time.process_time() - start < 3


def test_a_text_is_cut_before_it_is_cleaned():
    assert normalise("а" * (LONGEST + 1)) == "а" * LONGEST
    assert normalise("б " * LONGEST) == ("б " * LONGEST)[:LONGEST].strip()


def test_comments_are_removed_as_far_as_they_are_short():
    assert normalise("до <!-- <b>тут</b> --> после") == "до после"
    assert normalise("a<!--" + "x" * LONGEST_COMMENT + "-->b") == "a b"
    assert "xxx" in normalise("a<!--" + "x" * (LONGEST_COMMENT + 1) + "-->b")
    assert normalise("a<!--" + "x" * 3000 + "<!-- y -->b") == "a<!--" + "x" * 3000 + " b"
    assert normalise("a <!-- b") == "a <!-- b"


@given(st.text(st.sampled_from("аеиo\u0301\u0323\u0306\u0308🙂 "), max_size=200))
def test_few_marks_are_composed_as_unicode_does(text):
    runs = max((len(run) for run in re.findall("[\u0301\u0323\u0306\u0308]+", text)), default=0)
    if runs <= MARKS_IN_A_ROW:
        assert compose(text) == unicodedata.normalize("NFC", text)
    assert compose(compose(text)) == compose(text)
