"""An exported model scores texts in their order, longest first inside, and survives a lack of memory."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tsirius.errors import UserError
from tsirius.models.onnx import Onnx

PAD = 1


class Session:
    """Scores a row by the sum of its tokens without padding, where the table is small enough."""

    def __init__(self, tokens: int) -> None:
        self.tokens, self.sizes = tokens, list[int]()

    def run(self, outputs: Sequence[str], given: Mapping[str, Any]) -> list[Any]:
        ids, mask = given["input_ids"], given["attention_mask"]
        assert outputs == ["logits"] and (ids[mask == 0] == PAD).all()
        self.sizes.append(ids.size)
        if ids.size > self.tokens:
            raise Exception("[ONNXRuntimeError] : 1 : FAIL : Failed to allocate memory for requested buffer of size 9")
        return [np.stack([(ids * mask).sum(axis=1), mask.sum(axis=1)], axis=1).astype(np.float32)]


class Tokenizer:
    def encode_batch(self, texts: list[str]) -> list[Any]:
        return [SimpleNamespace(ids=[int(word) for word in text.split()]) for text in texts]


def model(session: Session) -> Onnx:
    return Onnx(session, Tokenizer(), PAD, categories=2, max_length=64, windows=False)


def test_scores_are_in_the_order_of_the_texts_whatever_the_memory() -> None:
    rows = [[5 + number] * (1 + number % 30) for number in range(200)]
    texts = [" ".join(map(str, row)) for row in rows]
    expected = [[sum(row), len(row)] for row in rows]
    wide, tight = Session(10_000), Session(100)
    for session in (wide, tight):
        assert model(session).logits(texts).tolist() == expected
    assert max(wide.sizes) <= 1024 and min(tight.sizes) <= 100 < max(tight.sizes)
    assert model(wide).logits([]).shape == (0, 2)


def test_a_text_that_does_not_fit_is_one_line() -> None:
    with pytest.raises(UserError, match=r"one text of 3 tokens does not fit into memory"):
        model(Session(2)).logits(["5 6 7"])
