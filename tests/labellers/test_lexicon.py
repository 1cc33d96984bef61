"""The lexicon: whole lemmas, words learned from the reviews, and silence where nothing is known."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsirius.categories import Categories, Category
from tsirius.labellers import lexicon
from tsirius.labellers.lexicon import Lexicon
from tsirius.language import terms

CATEGORIES = Categories(
    [
        Category("электроника", description="тв, телефон, наушники"),
        Category("посуда", description="кружки, тарелки, кастрюли"),
        Category("нет товара", description="доставка, продавец, возврат", none=True),
    ]
)
NAMES = list(CATEGORIES.names)
SAID = {
    "электроника": (["телефон", "наушники", "смартфон"], ["слабый аккумулятор", "громкий звук", "тусклый экран"]),
    "посуда": (["кружка", "тарелка", "кастрюля"], ["трещина в глазури", "глазурь с пузырями", "тонкая эмаль"]),
    "": (["доставка", "продавец", ""], ["довольна, спасибо", "всё хорошо", "качество хорошее", "быстро"]),
}
REVIEWS = [
    f"{opening} {thing} {aspect}".strip()
    for things, aspects in SAID.values()
    for thing in [*things, ""]
    for aspect in aspects
    for opening in ("", "пришло:", "заказываю второй раз,")
]


def learned(reviews: list[str] = REVIEWS, categories: Categories = CATEGORIES, **changed: Any) -> Lexicon:
    config = lexicon.Config(**({"widen": False} | changed))
    return lexicon.learn(terms.of(reviews), categories, config)


@pytest.fixture(scope="module")
def plain() -> Lexicon:
    return learned()


def label(model: Lexicon, text: str) -> str | None:
    row = model.label([text]).probabilities[0]
    return None if np.isnan(row).all() else NAMES[row.argmax()]


def probability(model: Lexicon, text: str, category: str) -> float:
    return float(np.nan_to_num(model.label([text]).probabilities[0, NAMES.index(category)]))


def test_a_category_is_known_by_its_words_in_every_form(plain: Lexicon) -> None:
    assert label(plain, "телефоном довольна") == "электроника"
    assert label(plain, "КРУЖКУ разбили") == "посуда"
    assert label(plain, "доставкой довольна") == "нет товара"


def test_a_word_inside_another_says_nothing(plain: Lexicon) -> None:
    assert label(plain, "качество хорошее") != "электроника"
    assert "тв" not in plain.label(["качество хорошее"]).evidence[0]


def test_the_reviews_teach_words_that_the_file_does_not_have() -> None:
    before, after = learned(rounds=0), learned(rounds=40)
    assert probability(before, "глазурь облезла", "посуда") < 0.01
    assert probability(after, "глазурь облезла", "посуда") > 0.3
    assert "глазурь" in after.label(["тарелка, глазурь облезла"]).evidence[0]
    assert probability(after, "аккумулятор сел", "электроника") > 0.3


def test_word_vectors_start_words_that_the_file_does_not_have() -> None:
    with_vectors, without = learned(widen=True, near=3.0), learned(widen=False)
    for text, category in (("смартфон", "электроника"), ("кастрюлька", "посуда")):
        assert probability(with_vectors, text, category) >= probability(without, text, category)
    assert with_vectors.ratio[with_vectors.vocabulary["смартфон"], 0] > without.ratio[without.vocabulary["смартфон"], 0]


def test_it_abstains_where_it_knows_nothing_and_that_is_not_the_none_category(plain: Lexicon) -> None:
    votes = plain.label(["трындец", "", "!!!", "42", "зонт"])
    assert np.isnan(votes.probabilities).all()
    assert votes.evidence == [[]] * 5


def test_reviews_without_words_teach_nothing() -> None:
    model = learned(["👍👍", "!!!"], widen=True, min_count=1)
    assert np.isnan(model.label(["👍👍", "!!!"]).probabilities).all()


def test_common_talk_names_no_product(plain: Lexicon) -> None:
    assert label(plain, "спасибо, очень довольна") == "нет товара"


def test_an_unknown_noun_may_be_a_product(plain: Lexicon) -> None:
    assert label(plain, "довольна зонтом") == "нет товара"
    assert label(learned(none_despite_unknown=1.0), "громкий зонт") is None


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from([*REVIEWS, "зонт", "", "телефон и кружка"]), max_size=6), st.randoms())
def test_a_text_is_labelled_by_itself(plain: Lexicon, texts: list[str], random) -> None:  # type: ignore[no-untyped-def]
    order = list(range(len(texts)))
    random.shuffle(order)
    one, other = plain.label(texts), plain.label([texts[place] for place in order])
    np.testing.assert_array_equal(one.probabilities[order], other.probabilities)
    sums = one.probabilities.sum(axis=1)
    assert np.all(np.isnan(sums) | (np.abs(sums - 1) < 1e-5))


def test_what_is_saved_labels_as_before(plain: Lexicon, tmp_path: Path) -> None:
    plain.save(tmp_path / "lexicon.json")
    again = Lexicon.load(tmp_path / "lexicon.json")
    texts = [*REVIEWS, "телефон и кружка", "зонт"]
    np.testing.assert_array_equal(plain.label(texts).probabilities, again.label(texts).probabilities)
    assert plain.label(texts).evidence == again.label(texts).evidence
    again.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "lexicon.json").read_bytes()


def test_names_alone_are_enough_to_start() -> None:
    bare = Categories([Category("кружка"), Category("телефон"), Category("другое", none=True)])
    model = learned(categories=bare)
    row = model.label(["кружка с рисунком"]).probabilities[0]
    assert bare.names[row.argmax()] == "кружка"
