"""The matcher: the nearest category, as sure as the encoder was trained to be."""

import numpy as np
import pytest

from tsirius.categories import Categories, Category
from tsirius.labellers import matcher
from tsirius.models import encode, hub

CATEGORIES = Categories(
    [
        Category("обувь", "ботинки, сапоги, кроссовки"),
        Category("посуда", "тарелки, кружки, кастрюли"),
        Category("нет товара", "доставка, продавец, возврат денег", none=True),
    ]
)


def test_the_nearest_category_wins_and_is_the_evidence() -> None:
    none = np.zeros((0, 3), dtype=np.float32)
    whole = np.array([[[1, 0, 0], [0, 1, 0]], [[0, 0, 1], [0, 0, 1]]], dtype=np.float32)
    anchors = [matcher.Anchors(one, none) for one in whole]
    texts = np.array([[0.6, 0.8, 0], [0, 0, 1], [0, 0, 0]], dtype=np.float32)
    votes = matcher.match(texts, anchors, ["а", "в"], scale=20.0)
    assert votes.evidence == [["а"], ["в"], []]
    assert np.isnan(votes.probabilities[2]).all()
    assert votes.probabilities[0, 0] == pytest.approx(1 / (1 + np.exp(-20 * 0.7)), rel=1e-5)
    assert votes.probabilities[1].tolist() == pytest.approx([1 / (1 + np.exp(20)), 1], rel=1e-5)


def test_the_nearest_part_counts_beside_name_and_description() -> None:
    axes = np.eye(4, dtype=np.float32)
    texts = np.array([[0.6, 0, 0.8, 0], [0.6, 0, 0, 0.8]], dtype=np.float32)
    found = matcher.Anchors(axes[:2], axes[2:3]).cosines(texts)
    np.testing.assert_allclose(found, [(0.6 + 0.8) / 3, 0.6 / 3], rtol=1e-6)
    further = matcher.Anchors(axes[:2], axes[2:]).cosines(texts)
    np.testing.assert_allclose(further, [(0.6 + 0.8) / 3] * 2, rtol=1e-6)


@pytest.mark.parametrize(
    ("description", "parts"),
    [
        ("всё на ноги: ботинки, туфли; подошва", ["всё на ноги", "ботинки", "туфли", "подошва"]),
        ("Ботинки. Кеды 4.5 см.\nТуфли", ["Ботинки", "Кеды 4.5 см", "Туфли"]),
        ("ботинки, туфли, кроме тапочек, но не носки, и прочее", ["ботинки", "туфли"]),
        ("boots, shoes, not socks, etc.", ["boots", "shoes"]),
        ("ботинки", []),
        ("ботинки, кроме детских", []),
        ("", []),
    ],
)
def test_the_parts_of_a_description_that_name_something(description: str, parts: list[str]) -> None:
    assert matcher.pieces(Category("обувь", description)) == parts


def test_a_description_without_parts_is_compared_as_a_whole() -> None:
    axes = {"обувь": [1.0, 0.0], "ботинки": [0.0, 1.0], "нет товара": [-1.0, 0.0]}
    categories = Categories([Category("обувь", "ботинки"), Category("нет товара", none=True)])

    def embed(texts: list[str]) -> np.ndarray:
        return np.array([axes[text] for text in texts], dtype=np.float32)

    boots, none = matcher.matcher(categories, embed, embed, parts="nearest", scale=1).anchors
    assert boots.whole.tolist() == [[1, 0], [0, 1]]
    assert none.whole.tolist() == [[-1, 0]]
    assert len(boots.parts) == len(none.parts) == 0


def test_the_embedded_encoder_knows_what_a_text_speaks_of() -> None:
    embed = encode.embedder(hub.EMBEDDED, max_length=256)
    texts = ["Сапоги промокают и жмут в носке", "Тарелка пришла с трещиной", "Посылка шла месяц, продавец молчит"]
    votes = matcher.matcher(CATEGORIES, embed, embed, parts="joined", scale=20).label(texts)
    assert votes.evidence == [["обувь"], ["посуда"], ["нет товара"]]
    alone = np.concatenate([embed([text]) for text in texts])
    np.testing.assert_allclose(embed(texts), alone, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(alone, axis=1), 1, rtol=1e-5)
