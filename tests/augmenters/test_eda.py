"""Easy data augmentation: what changes, what never does, and synonyms that are not opposites. And typos."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsirius.augmenters import eda
from tsirius.text import lemma, words

PROTECTED = frozenset({"чайник", "платье"})
SYNONYMS = {"цена": ("стоимость",), "купить": ("приобрести",), "чайник": ("утюг",)}
OFF = {"swap": 0.0, "delete": 0.0, "insert": 0.0, "synonym": 0.0, "typo": 0.0}


def made(text: str, count: int = 30, seed: int = 0, **shares: float) -> list[str]:
    return list(
        eda.variants(
            text, count=count, **(OFF | shares), synonyms=SYNONYMS, protected=PROTECTED, rng=random.Random(seed)
        )
    )  # fmt: skip


@pytest.fixture(scope="module")
def found() -> dict[str, tuple[str, ...]]:
    text = "купить цена чайник мальчик продавец плюс прийти плохой хороший быстро ребенок ждать покупка доставка"
    return eda.find_synonyms(text.split(), protected=PROTECTED)


def test_swap_keeps_every_word_and_the_punctuation() -> None:
    text = "Отличный чайник, греет быстро! Цена радует."
    for variant in made(text, swap=0.1):
        assert Counter(words(variant)) == Counter(words(text))
        assert [token[-1] for token in variant.split() if not token[-1].isalnum()] == [",", "!", "."]


def test_delete_spares_product_words_and_negations() -> None:
    for variant in made("Чайник не греет воду совсем никак", delete=0.5):
        assert {"чайник", "не"} <= set(words(variant))
        assert len(variant.split()) == 3


def test_a_synonym_has_the_form_of_its_word() -> None:
    assert set(made("Купила по хорошей цене", synonym=0.1)) == {
        "Приобрела по хорошей цене", "Купила по хорошей стоимости",
    }  # fmt: skip
    assert set(made("«Купим», сказала", synonym=0.1)) == {"«Приобретём», сказала"}


def test_an_ambiguous_form_is_left_alone() -> None:
    shares, synonyms = OFF | {"synonym": 1.0}, {"прийти": ("приехать",)}
    variants = eda.variants(
        "пришли вчера", count=5, **shares, synonyms=synonyms, protected=PROTECTED, rng=random.Random(0)
    )  # fmt: skip
    assert not list(variants)


def test_insert_adds_a_synonym() -> None:
    for variant in made("Купила по хорошей цене", insert=0.1):
        added = Counter(variant.split()) - Counter(["Купила", "по", "хорошей", "цене"])
        assert list(added) in (["приобрела"], ["стоимости"])


def test_product_words_are_not_replaced() -> None:
    assert not made("чайник чайника чайнику", synonym=1.0, insert=1.0, delete=0.5)


@pytest.mark.parametrize("text", ["", "!!! 😀", "да", "чайник"])
def test_too_little_text_gives_nothing(text: str) -> None:
    assert not made(text, swap=0.1, delete=0.1, insert=0.1, synonym=0.1, typo=0.1)


@given(st.text(alphabet="абвгде чайник, не!😀-ё\t", max_size=80), st.integers(0, 5))
def test_any_text(text: str, seed: int) -> None:
    shares = {"swap": 0.3, "delete": 0.3, "insert": 0.3, "synonym": 0.3, "typo": 0.3}
    variants = made(text, 6, seed, **shares)
    assert variants == made(text, 6, seed, **shares)
    kept = Counter(lemma(word) for word in words(text) if lemma(word) in PROTECTED)
    for variant in variants:
        assert words(variant)
        assert Counter(lemma(word) for word in words(variant) if lemma(word) in PROTECTED) == kept


def test_synonyms_are_nouns_and_verbs_that_do_not_oppose(found: dict[str, tuple[str, ...]]) -> None:
    assert found["купить"][0] == "приобрести"
    assert "стоимость" in found["цена"]
    assert not {"чайник", "плохой", "хороший", "быстро"} & found.keys()
    assert "покупатель" not in found.get("продавец", ())
    assert "минус" not in found.get("плюс", ())
    assert all(len(others) <= eda.AT_MOST for others in found.values())
    assert not PROTECTED & {other for others in found.values() for other in others}


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("прийти", "уйти", True), ("открыть", "закрыть", True), ("удача", "неудача", True), ("плюс", "минус", True),
        ("рост", "снижение", True), ("купить", "приобрести", False), ("цена", "стоимость", False),
    ],
)  # fmt: skip
def test_opposites(one: str, other: str, expected: bool) -> None:
    assert eda.opposed(one, other) is eda.opposed(other, one) is expected


def test_typos_spare_product_words_negations_and_short_words() -> None:
    variants = made("Чайник не греет: три раза «включала»!", count=60, typo=0.5)
    assert len(set(variants)) > 10
    for variant in variants:
        tokens = variant.split()
        assert len(tokens) == 6 and tokens[:2] == ["Чайник", "не"] and tokens[3] == "три"
        assert tokens[2].endswith(":") and tokens[5].startswith("«в") and tokens[5].endswith("»!")


@given(
    st.sampled_from(["быстро", "довольна", "понравилось", "стирается", "quality", "Платье", "ооооо"]),
    st.integers(0, 10_000),
)
def test_a_typo_is_one_slip_and_no_other_word(word: str, seed: int) -> None:
    typo = eda.mistype(word, rng=random.Random(seed))
    assert typo[0] == word[0] and abs(len(typo) - len(word)) <= 1
    assert typo == word or not eda._analyser().word_is_known(typo.lower())
    before, after = Counter(word), Counter(typo)
    assert sum((before - after).values()) <= 1 and sum((after - before).values()) <= 1


def test_every_kind_of_typo_occurs() -> None:
    made = {eda.mistype("понравилось", rng=random.Random(seed)) for seed in range(400)}
    assert {"понрвилось", "понравиллось", "понарвилось", "понравилрсь", "панравилось", "понравелось"} <= made


def test_keys_that_touch() -> None:
    keys = eda._keys_beside()
    assert set(keys["а"]) == set("впкесм") and set(keys["g"]) == set("fhtyvb") and set(keys["й"]) == set("цф")
    assert all(key in keys[other] for key, beside in keys.items() for other in beside)
