"""The matcher: the nearest category, as sure as the encoder was trained to be."""

import numpy as np
import pytest

from tsirius.categories import Categories, Category
from tsirius.labellers import matcher
from tsirius.models import encode, load

CATEGORIES = Categories(
    [
        Category("обувь", "ботинки, сапоги, кроссовки"),
        Category("посуда", "тарелки, кружки, кастрюли"),
        Category("нет товара", "доставка, продавец, возврат денег", none=True),
    ]
)


def fake(texts: list[str]) -> np.ndarray:
    found = np.array([[text.count(letter) for letter in "абв"] for text in texts], dtype=np.float32)
    return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9)


def test_the_nearest_category_wins_and_is_the_evidence() -> None:
    made = Categories([Category("а", "б"), Category("в", "", none=True)])
    anchors = matcher.anchors(made, fake, parts="both")
    np.testing.assert_allclose(anchors, [[0.5, 0.5, 0], [0, 0, 1]])
    votes = matcher.match(fake(["ааб", "вв", ""]), anchors, made.names, scale=20.0)
    assert votes.evidence == ["а", "в", ""]
    assert np.isnan(votes.probabilities[2]).all()
    expected = 1 / (1 + np.exp(-20 * 1.5 / np.sqrt(5)))
    assert votes.probabilities[0, 0] == pytest.approx(expected, rel=1e-5)


def test_the_embedded_encoder_knows_what_a_text_speaks_of() -> None:
    model, tokenizer = load.encoder(load.EMBEDDED, precision="auto"), load.tokenizer(load.EMBEDDED)

    def embed(texts: list[str]) -> np.ndarray:
        return encode.embeddings(model, tokenizer, texts, max_length=256)

    texts = ["Сапоги промокают и жмут в носке", "Тарелка пришла с трещиной", "Посылка шла месяц, продавец молчит"]
    votes = matcher.match(embed(texts), matcher.anchors(CATEGORIES, embed, parts="joined"), CATEGORIES.names, scale=20)
    assert votes.evidence == ["обувь", "посуда", "нет товара"]
    alone = np.concatenate([embed([text]) for text in texts])
    np.testing.assert_allclose(embed(texts), alone, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(alone, axis=1), 1, rtol=1e-5)
