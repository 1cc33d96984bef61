"""Published embeddings: known texts are looked up, and only by the encoder and length that they were made with."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tsirius.models import embeddings, hub

TEXTS = ["кружка", "ботинки", "доставка", "чайник"]
VECTORS = np.arange(8, dtype=np.float32).reshape(4, 2)


def spy(asked: list[str]) -> Callable[[Sequence[str]], Any]:
    def embed(texts: Sequence[str]) -> Any:
        asked.extend(texts)
        return np.full((len(texts), 2), -1, dtype=np.float32)

    return embed


def test_known_texts_are_looked_up_and_the_others_embedded(tmp_path: Path) -> None:
    embeddings.publish(tmp_path, TEXTS, VECTORS, model=hub.EMBEDDED, max_length=64)
    asked = list[str]()
    embed = embeddings.known(spy(asked), tmp_path, model=hub.EMBEDDED, max_length=64)
    found = embed(["чайник", "платье", "кружка", "чайник"])
    assert asked == ["платье"]
    assert found.tolist() == [[6, 7], [-1, -1], [0, 1], [6, 7]]
    assert embed([]).shape == (0, 2)


@pytest.mark.parametrize(("texts", "max_length"), [(TEXTS, 63), ([], 64)])
def test_others_are_not_used(tmp_path: Path, texts: list[str], max_length: int) -> None:
    embeddings.publish(tmp_path, texts, VECTORS[: len(texts)], model=hub.EMBEDDED, max_length=64)
    asked = list[str]()
    embeddings.known(spy(asked), tmp_path, model=hub.EMBEDDED, max_length=max_length)(TEXTS)
    assert asked == TEXTS


def test_those_of_another_encoder_are_not_used(tmp_path: Path, tiny_model: Path) -> None:
    embeddings.publish(tmp_path, TEXTS, VECTORS, model=hub.EMBEDDED, max_length=64)
    embed = spy([])
    assert embeddings.known(embed, tmp_path, model=str(tiny_model), max_length=64) is embed
    assert embeddings.known(embed, tmp_path / "none", model=hub.EMBEDDED, max_length=64) is embed


def test_published_ones_of_several_encoders_stand_side_by_side(tmp_path: Path, tiny_model: Path) -> None:
    assert embeddings.published(tmp_path) is None
    first, second = np.eye(4, dtype=np.float32), np.eye(4, dtype=np.float32)[[0, 0, 2, 3]]
    embeddings.publish(tmp_path, TEXTS, first, model=hub.EMBEDDED, max_length=64)
    embeddings.publish(tmp_path, TEXTS, second, model=str(tiny_model), max_length=64)
    embed = embeddings.published(tmp_path)
    assert embed is not None
    found = embed(["ботинки", "кружка", "чайник"])
    assert found @ found.T == pytest.approx(np.array([[1, 0.5, 0], [0.5, 1, 0], [0, 0, 1]])), "the mean of the cosines"
    with pytest.raises(ValueError, match="1 texts have no embedding"):
        embed(["кружка", "платье"])
