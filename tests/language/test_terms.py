"""The table of lemmas: each text's different lemmas, and in how many texts each occurs."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tsirius.language import terms
from tsirius.language.words import lemmas

WORDS = st.sampled_from(["кружка", "кружки", "Ботинки", "жмут", "и", "220в", "!", ""])


@settings(deadline=None)
@given(st.lists(st.lists(WORDS, max_size=6).map(" ".join), max_size=8))
def test_it_holds_what_the_texts_hold(texts: list[str]) -> None:
    found = terms.of(texts)
    assert found.vocabulary == sorted({one for text in texts for one in lemmas(text)})
    for row, text in enumerate(texts):
        own = found.ids[found.starts[row] : found.starts[row + 1]]
        assert [found.vocabulary[one] for one in own] == sorted(set(lemmas(text)))
    counts = dict(zip(found.vocabulary, found.counts().tolist(), strict=True))
    assert counts == {one: sum(one in lemmas(text) for text in texts) for one in found.vocabulary}
