"""What is accepted as a variant, and the reason where it is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsirius.augmenters.accept import REASONS, Judge, Row, corrected, judge, meaning, repeats
from tsirius.language.words import lemmas, words

PROTECTED = frozenset({"чайник", "платье"})
NONE = frozenset[str]()
SOURCE = "Хороший чайник, греет воду быстро и почти бесшумно"
SETTINGS = {"shortest": 0.5, "longest": 1.5, "least": 0.6, "most": 0.98, "likeness": 0.8}


def made(train: list[str], valid: list[str], protected: frozenset[str] = PROTECTED, **settings: float) -> Judge:
    rows = [[Row(text, number) for number, text in enumerate(texts)] for texts in (train, valid)]
    return judge(*rows, protected=protected, **(SETTINGS | settings))


@pytest.mark.parametrize(
    ("variant", "reason"),
    [
        ("Хороший чайник, греет воду быстро и почти", None),
        ("Неплохой чайник: вода греется скоро, почти без шума", None),
        ("!!!", "empty"),
        ("хороший ЧАЙНИК греет воду быстро и почти бесшумно!", "same as its source"),
        ("Красивое платье на лето, ткань приятная", "already there"),
        ("Хороший чайник", "too short"),
        (SOURCE + " и ещё раз и ещё раз", "too long"),
        ("чайник " + "а" * 10_000, "too long"),
        ("A good kettle, heats water fast and almost silently", "another script"),
        ("Хороший чайник чайник чайник чайник чайник", "repeats itself"),
        ("Хороший чайник, греет хахахахахаха быстро и бесшумно", "repeats itself"),
        ("Чайник к платью, ткань мягкая, швы ровные, размер подошёл", "too far from its source"),
        ("Хороший утюг, греет воду быстро и почти бесшумно", "lost its product"),
        ("быстро греет воду хороший чайник и почти", "like another review"),
        ("бесшумно греет воду хороший чайник почти быстро", "like a validation review"),
    ],
)
def test_what_is_refused_and_why(variant: str, reason: str | None) -> None:
    train = [SOURCE, "красивое платье на лето ткань приятная", "Чайник хороший и греет воду почти быстро"]
    valid = ["Чайник хороший: почти бесшумно греет воду, быстро"] if reason == "like a validation review" else ["да"]
    if reason is None or reason == "like a validation review":
        train.pop()
    decide = made(train, valid)
    verdict = decide.judge(variant, Row(SOURCE, 0), NONE)
    assert verdict.reason == reason and (reason is None or reason in REASONS)
    if reason is None:
        assert 0.6 <= (verdict.similarity or 0) <= 1.001
        assert decide.take(variant, 0) and not decide.take(variant, 0)
        assert decide.judge(variant, Row(SOURCE, 0), NONE).reason == "already there"


def test_a_copy_but_for_one_word_of_many_is_a_copy() -> None:
    source = " ".join(f"слово{number}" for number in range(80))
    assert made([source], []).judge(source + " ещё", Row(source, 0), NONE).reason == "too like its source"


def test_without_a_product_the_evidence_is_kept() -> None:
    source = "Доставка быстрая, пришло всё за неделю, спасибо"
    judge_of = made([source], [])
    variants = "Быстрая доставка, всё пришло за неделю", "Пришло всё быстро, за неделю, спасибо"
    verdicts = [judge_of.judge(variant, Row(source, 0), frozenset({"доставка"})) for variant in variants]
    assert [verdict.reason for verdict in verdicts] == [None, "lost its product"]


class Even:
    def __getitem__(self, word: str) -> float:
        return 1.0


TEXT = st.lists(st.sampled_from(["чайник", "греть", "вода", "не", "ыкпыр", "iphone", "42"]), max_size=9)


@given(TEXT, TEXT)
def test_meaning_is_a_similarity(one: list[str], other: list[str]) -> None:
    there, back = (meaning(*pair, Even()) for pair in ((one, other), (other, one)))  # type: ignore[arg-type]  # as good
    assert abs(there - back) < 1e-5 and there < 1 + 1e-5
    if one:
        assert abs(meaning(one, one[::-1], Even()) - 1) < 1e-5  # type: ignore[arg-type]  # as above


def test_meaning_knows_words_that_mean_the_same() -> None:
    source, near, far = map(lemmas, ("Купила чайник по хорошей цене", "Приобрела чайник, стоимость хорошая",
                                     "Пришло платье, размер маленький"))  # fmt: skip
    assert meaning(source, near, Even()) > 0.8 > 0.6 > meaning(source, far, Even())  # type: ignore[arg-type]  # as above


def test_a_misspelt_word_is_read_as_what_it_was_meant_to_be() -> None:
    assert corrected(words("Хорршее каечство, утюг"), words("Хорошее качество")) == ["хорошее", "качество", "утюг"]
    source = "Хорошее качество"
    assert made([source], []).judge("Хорошее каечство", Row(source, 0), NONE).reason is None
    assert made([source], []).judge("Хорошее ыкпыркпы", Row(source, 0), NONE).reason == "too far from its source"


@pytest.mark.parametrize(
    ("text", "loops"),
    [
        ("очень очень хорошо", False), ("очень очень очень хорошо", True), ("", False),
        ("не знаю что сказать " * 2, False), ("не знаю что сказать " * 3, True),
    ],
)  # fmt: skip
def test_loops(text: str, loops: bool) -> None:
    assert (repeats(words(text)) > 0) is loops


WORDS = st.lists(st.sampled_from("абвгдежз"), max_size=8).map(" ".join)


@given(st.lists(WORDS, max_size=8), WORDS, st.sampled_from([0.3, 0.5, 0.8, 1.0]))
def test_no_near_copy_of_a_validation_review_passes(valid: list[str], variant: str, likeness: float) -> None:
    decide = made([], valid, NONE, likeness=likeness).valid
    found = set(variant.split())
    alike = any(
        len(found & set(text.split())) >= likeness * len(found | set(text.split())) - 1e-9 for text in valid if text
    )
    assert decide.near(variant.split(), but=None) == (alike and bool(found))


@given(WORDS.filter(bool), st.integers(0, 3))
def test_a_group_is_not_compared_with_itself(text: str, group: int) -> None:
    decide = made([], []).train
    decide.add(text.split(), group)
    assert not decide.near(text.split(), but=group)
    assert decide.near(text.split(), but=group + 1) and decide.near(text.split(), but=None)
