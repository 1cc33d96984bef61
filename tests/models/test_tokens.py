"""Tokens made by several threads are those that transformers makes."""

from pathlib import Path
from typing import Any

import pytest
import tiny

from tsirius.models import load, tokens

TEXTS = [f"{sentence} {'кружка ' * (number % 7)}" for number, sentence in enumerate(tiny.SENTENCES * 12)]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(("max_length", "special"), [(12, True), (7, False), (None, True)])
def test_threads_make_the_tokens_of_transformers(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, threads: int, max_length: int | None, special: bool
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
    words = load.tokenizer(str(tiny_model))
    cut: dict[str, Any] = {} if max_length is None else {"truncation": True, "max_length": max_length}
    expected = words(TEXTS, add_special_tokens=special, **cut)["input_ids"]
    words(TEXTS[0], truncation=True, max_length=3)  # settings of another call are none of this one's
    assert tokens.token_ids(words, TEXTS, max_length=max_length, special=special) == expected


def test_what_transformers_does_itself_is_left_to_it(tiny_model: Path, tiny_marian: Path) -> None:
    """Marian's tokenizer is written in Python; and a class of its own may do more than the library."""

    class Shouted(type(load.tokenizer(str(tiny_model)))):  # type: ignore[misc]
        def _encode_plus(self, text: Any, *args: Any, **named: Any) -> Any:
            return super()._encode_plus([one.lower() for one in text], *args, **named)

    shouted = Shouted.from_pretrained(tiny_model)
    for words in (shouted, load.tokenizer(str(tiny_marian))):
        assert (
            tokens.token_ids(words, TEXTS, max_length=9, special=True)
            == words(TEXTS, truncation=True, max_length=9)["input_ids"]
        )
    assert tokens.token_ids(shouted, [], max_length=9, special=True) == []
