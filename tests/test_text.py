import random
import time
import unicodedata

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tsirius.text import (
    PERMUTATIONS,
    _signatures,
    lemma,
    lemmas,
    near_duplicate_groups,
    normalise,
    shingle_hashes,
    words,
)

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


def test_words():
    assert words("Ещё одно Wi-Fi реле, 220В! snake_case за\u0301мок") == [
        "еще", "одно", "wi", "fi", "реле", "220в", "snake", "case", "замок",
    ]  # fmt: skip
    assert words("👍 !!! ...") == []


def test_lemmas():
    assert lemmas("Купила красивые ЧАШКИ и тёплый плед Xiaomi") == [
        "купить", "красивый", "чашка", "и", "теплый", "плед", "xiaomi",
    ]  # fmt: skip
    assert lemmas("качество") == ["качество"], "«тв» sits in it, but is not a word of it"
    assert lemma("щ" * 1000) == "щ" * 1000


LONG = "Заказывала эту кофту для дочки в подарок, ткань мягкая, швы ровные, рукав немного длинноват, пришла за неделю"


def test_same_words_share_a_group():
    texts = ["Супер!", "супер", "👍", "👍👍", "Всё отлично", "все ОТЛИЧНО!!!", "👍", ""]
    assert near_duplicate_groups(texts, similarity=0.8) == [0, 0, 2, 3, 4, 4, 2, 7]


def test_near_duplicates_share_a_group_and_others_do_not():
    other = "Пылесос шумный, но пыль собирает хорошо, контейнер легко моется, шнура хватает на всю комнату"
    texts = [other, LONG, LONG.replace("неделю", "недели"), LONG[:60] + other[60:], LONG + " быстро"]
    assert near_duplicate_groups(texts, similarity=0.8) == [0, 1, 1, 3, 1]
    assert near_duplicate_groups(texts, similarity=1.0) == [0, 1, 2, 3, 4]
    assert near_duplicate_groups([], similarity=0.8) == []
    with pytest.raises(ValueError, match="similarity"):
        near_duplicate_groups(texts, similarity=0)


def test_short_texts_do_not_chain():
    short = [f"{start} {end}" for start in ("всё хорошо", "хорошо всё", "очень хорошо") for end in ("да", "нет", "ок")]
    assert near_duplicate_groups(short, similarity=0.5) == list(range(len(short)))


def test_small_steps_do_not_chain_through_a_whole_file():
    numbers = np.random.default_rng(0).integers(0, 10**6, size=3000)
    steps = [" ".join(f"слово{number}" for number in numbers[at : at + 30]) for at in range(2900)]
    sizes = np.bincount(near_duplicate_groups(steps, similarity=0.8))
    assert 1 < sizes.max() <= 200


def test_nearly_all_pairs_above_the_threshold_are_found():
    random.seed(0)
    letters = "абвгдежзиклмнопрстуф "
    texts = []
    for _ in range(300):
        text = [random.choice(letters) for _ in range(200)]
        copy = list(text)
        for place in random.sample(range(200), 3):  # similarity about 0.87
            copy[place] = random.choice(letters)
        texts += ["".join(text), "".join(copy)]
    groups = near_duplicate_groups(texts, similarity=0.8)
    found = sum(groups[at] == groups[at + 1] for at in range(0, 600, 2))
    assert found >= 295
    assert len(set(groups)) >= 300


@settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(st.text(max_size=60), st.sampled_from([LONG, LONG.upper(), LONG + "!", LONG + " ок"]))))
def test_groups_are_named_by_their_first_row(texts):
    groups = near_duplicate_groups(texts, similarity=0.8)
    assert len(groups) == len(texts)
    for row, group in enumerate(groups):
        assert group <= row and groups[group] == group
    first = {text: groups[row] for row, text in reversed(list(enumerate(texts)))}
    assert all(groups[row] == first[text] for row, text in enumerate(texts))


def test_signatures_are_those_of_the_library():
    from datasketch import MinHash

    keys = ["один достаточно длинный текст", "и ещё один, подлиннее первого", "шесть6"]
    hashes, starts = shingle_hashes([" ".join(words(key)) for key in keys])
    signatures = _signatures(keys, [0, 1, 2])
    for row, own in enumerate(np.split(hashes, starts[1:])):
        expected = MinHash(num_perm=PERMUTATIONS, seed=1, scheme="affine32", hashfunc=int)
        expected.update_batch(own.tolist())
        assert (signatures[row] == expected.hashvalues).all()
