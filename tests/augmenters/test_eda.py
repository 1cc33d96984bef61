"""Easy data augmentation: what changes, what never does, and synonyms that are not opposites. And typos."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsirius.augmenters import eda
from tsirius.language.words import analyser, lemma, words

PROTECTED = frozenset({"чайник", "платье"})
OFF = {"swap": 0.0, "delete": 0.0, "insert": 0.0, "synonym": 0.0, "typo": 0.0}


def generated(text: str, count: int = 30, seed: int = 0, **shares: float) -> list[str]:
    config = eda.Config(**(OFF | shares))
    return list(eda.variants(text, config, count=count, protected=PROTECTED, rng=random.Random(seed)))


def test_words_change_places_with_their_neighbours_and_the_punctuation_stays() -> None:
    text = "Отличный чайник, греет быстро! Цена радует."
    expected = {
        "Чайник отличный, греет быстро! Цена радует.", "Отличный чайник, быстро греет! Цена радует.",
        "Отличный чайник, греет быстро! Радует цена.",
    }  # fmt: skip
    assert set(generated(text, swap=0.1)) == expected


@pytest.mark.parametrize(
    "text", ["деньги не вернули", "запах на картинке", "без торчащих ниток", "и цвет", "Спасибо, продавец!"]
)
def test_what_hangs_together_is_not_torn_apart(text: str) -> None:
    assert not generated(text, swap=1.0)
    for variant in generated(text, delete=0.5):
        assert all(pair in variant for pair in ("не вернули", "на картинке", "без торчащих") if pair in text)


def test_a_deleted_word_leaves_its_full_stop() -> None:
    assert set(generated("Не белый цвет. Мягкая", delete=0.1)) == {"Не белый. Мягкая", "Не белый цвет."}


def test_delete_spares_product_words_and_negations() -> None:
    for variant in generated("Чайник не греет воду совсем никак", delete=0.5):
        assert {"чайник", "не"} <= set(words(variant))
        assert len(variant.split()) == 3


@pytest.mark.parametrize(
    ("text", "variants"),
    [
        ("Купила по хорошей цене", {"Приобрела по хорошей цене", "Купила по неплохой цене",
                                    "Купила по хорошей стоимости"}),
        ("«Купим», сказала", {"«Приобретём», сказала"}),
        ("КЛАССНО!", {"КРУТО!"}),
        ("Тонкая, красивы", {"Тоненькая, красивы", "Тонкая, симпатичны"}),
        ("цены", {"стоимости"}),
        ("много недостатков", {"много изъянов"}),
    ],
)  # fmt: skip
def test_a_synonym_has_the_form_of_its_word(text: str, variants: set[str]) -> None:
    assert set(generated(text, synonym=0.1)) == variants


@pytest.mark.parametrize("text", ["пришли", "лучший", "лучше", "не рекомендую", "не купила", "не очень", "хуже"])
def test_what_is_ambiguous_compared_or_denied_keeps_its_wording(text: str) -> None:
    assert not generated(text, synonym=1.0, insert=1.0)


def test_a_synonym_is_put_in_beside_its_word() -> None:
    assert set(generated("Приобрела, цена ок", insert=0.1)) == {
        "Приобрела купила, цена ок",
        "Приобрела, цена стоимость ок",
    }


def test_product_words_are_not_replaced() -> None:
    assert not generated("чайник чайника чайнику", synonym=1.0, insert=1.0, delete=0.5)
    config = eda.Config(**(OFF | {"synonym": 1.0, "insert": 1.0}))
    spared = frozenset({"стоимость"})
    assert not list(eda.variants("цена", config, count=9, protected=spared, rng=random.Random(0)))


@pytest.mark.parametrize("text", ["", "!!! 😀", "да", "чайник"])
def test_too_little_text_gives_nothing(text: str) -> None:
    assert not generated(text, swap=0.1, delete=0.1, insert=0.1, synonym=0.1, typo=0.1)


@given(st.text(alphabet="абвгде чайник, не!😀-ё\t", max_size=80), st.integers(0, 5))
def test_any_text(text: str, seed: int) -> None:
    shares = {"swap": 0.3, "delete": 0.3, "insert": 0.3, "synonym": 0.3, "typo": 0.3}
    variants = generated(text, 6, seed, **shares)
    assert variants == generated(text, 6, seed, **shares)
    kept = Counter(lemma(word) for word in words(text) if lemma(word) in PROTECTED)
    for variant in variants:
        assert words(variant)
        assert Counter(lemma(word) for word in words(variant) if lemma(word) in PROTECTED) == kept


def test_the_words_of_a_set_agree_with_the_same_words_around_them() -> None:
    """Nothing else of a list made by hand can be checked by a program."""
    lines = [{word, *others} for word, others in eda._sets().items()]
    assert len(lines) > 150
    for line in lines:
        assert len(line) > 1 and all(eda._sets()[word] and line == {word, *eda._sets()[word]} for word in line)
        shared = [
            {
                (tag.POS, tag.gender if tag.POS == "NOUN" else None, tag.animacy if tag.POS == "NOUN" else None,
                 tag.aspect, tag.transitivity)
                for parse in analyser().parse(word)
                if parse.is_known and eda._fold(parse.normal_form) == word
                for tag in [parse.tag]
            }
            for word in line
        ]  # fmt: skip
        assert set.intersection(*shared), line


def test_typos_spare_product_words_negations_and_short_words() -> None:
    variants = generated("Чайник не греет: три раза «включала»!", count=60, typo=0.5)
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
    assert typo == word or not analyser().word_is_known(typo.lower())
    before, after = Counter(word), Counter(typo)
    assert sum((before - after).values()) <= 1 and sum((after - before).values()) <= 1


def test_every_kind_of_typo_occurs() -> None:
    made = {eda.mistype("понравилось", rng=random.Random(seed)) for seed in range(400)}
    assert {"понрвилось", "понравиллось", "понарвилось", "понравилрсь", "панравилось", "понравелось"} <= made


def test_keys_that_touch() -> None:
    keys = eda._keys_beside()
    assert set(keys["а"]) == set("впкесм") and set(keys["g"]) == set("fhtyvb") and set(keys["й"]) == set("цф")
    assert all(key in keys[other] for key, beside in keys.items() for other in beside)
