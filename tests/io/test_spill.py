"""Texts in a file: a sequence like a list of them, odd letters too."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsirius.io.spill import Spilled

TEXTS = st.lists(st.lists(st.text(st.characters(codec=None))))


@given(TEXTS)
def test_it_is_what_was_added(batches: list[list[str]]) -> None:
    texts, all_of_them = Spilled(), [text for batch in batches for text in batch]
    for batch in batches:
        texts.extend(batch)
        assert texts[len(texts) - len(batch) :] == batch, "reading between two writes does no harm"
    assert list(texts) == all_of_them and len(texts) == len(all_of_them)
    assert [texts[row] for row in reversed(range(len(texts)))] == all_of_them[::-1]
    with pytest.raises(IndexError):
        texts[len(texts)]
