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
    anchors = np.array([[0.5, 0.5, 0], [0, 0, 1]], dtype=np.float32)
    texts = np.array([[0.6, 0.8, 0], [0, 0, 1], [0, 0, 0]], dtype=np.float32)
    votes = matcher.match(texts, anchors, ["а", "в"], scale=20.0)
    assert votes.evidence == [["а"], ["в"], []]
    assert np.isnan(votes.probabilities[2]).all()
    assert votes.probabilities[0, 0] == pytest.approx(1 / (1 + np.exp(-20 * 0.7)), rel=1e-5)
    assert votes.probabilities[1].tolist() == pytest.approx([1 / (1 + np.exp(20)), 1], rel=1e-5)


def test_the_embedded_encoder_knows_what_a_text_speaks_of() -> None:
    embed = encode.embedder(hub.EMBEDDED, max_length=256)
    texts = ["Сапоги промокают и жмут в носке", "Тарелка пришла с трещиной", "Посылка шла месяц, продавец молчит"]
    votes = matcher.matcher(CATEGORIES, embed, embed, parts="joined", scale=20).label(texts)
    assert votes.evidence == [["обувь"], ["посуда"], ["нет товара"]]
    alone = np.concatenate([embed([text]) for text in texts])
    np.testing.assert_allclose(embed(texts), alone, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(alone, axis=1), 1, rtol=1e-5)
