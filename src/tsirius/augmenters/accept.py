"""Which variants of a review may join the training rows. Every refusal has a reason, which is counted."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from math import ceil

from tsirius.text import lemma, words

Judge = Callable[[str, str], str | None]
"""Called with a variant and the review that it was made from: the reason why it is refused, or None. A variant that
is accepted counts as there from then on."""


def judge(
    train: Iterable[str],
    valid: Sequence[str],
    *,
    protected: frozenset[str],
    shortest: float,
    longest: float,
    kept: float,
    likeness: float,
) -> Judge:
    """What judges variants. The reasons: ``empty``, ``same as its source``, ``already there``, ``too short``,
    ``too long``, ``too far from its source``, ``lost its product``, ``like a validation review``.

    Args:
        train: texts that are in the training rows already.
        valid: texts of the validation rows: no variant may be a near copy of one.
        protected: lemmas that name products: a variant keeps at least one of those that its source has.
        shortest: least number of words, as a share of the source's.
        longest: largest number of words, as a share of the source's.
        kept: least share of the source's words that are in the variant.
        likeness: Jaccard similarity of two sets of words from which they count as near copies.
    """
    there = {_key(words(text)) for text in train}
    like_valid = _near_copies([frozenset(words(text)) for text in valid], likeness=likeness)

    def reason(variant: str, source: str) -> str | None:
        made, given = words(variant), words(source)
        if not made:
            return "empty"
        if made == given:
            return "same as its source"
        if _key(made) in there:
            return "already there"
        if len(made) < shortest * len(given):
            return "too short"
        if len(made) > longest * len(given):
            return "too long"
        if (Counter(made) & Counter(given)).total() < kept * len(given):
            return "too far from its source"
        products = {lemma(word) for word in given} & protected
        if products and products.isdisjoint(map(lemma, made)):
            return "lost its product"
        if like_valid(frozenset(made)):
            return "like a validation review"
        there.add(_key(made))
        return None

    return reason


def _key(found: list[str]) -> str:
    return " ".join(found)


def _near_copies(texts: Sequence[frozenset[str]], *, likeness: float) -> Callable[[frozenset[str]], bool]:
    """Whether a set of words has a Jaccard similarity of at least ``likeness`` with one of ``texts``.

    Exact, and quick by prefix filtering (Chaudhuri, Ganti and Kaushik 2006): two sets so alike share one of their few
    rarest words, so that only texts with one of these in common are compared.
    """
    often = Counter(word for text in texts for word in text)

    def rarest(text: frozenset[str]) -> list[str]:
        few = len(text) - ceil(likeness * len(text) - 1e-9) + 1
        return sorted(text, key=lambda word: (often[word], word))[:few]

    having: dict[str, list[int]] = defaultdict(list)
    for number, text in enumerate(texts):
        for word in rarest(text):
            having[word].append(number)

    def near(text: frozenset[str]) -> bool:
        others = {number for word in rarest(text) for number in having.get(word, ())}
        return any(len(text & texts[number]) >= likeness * len(text | texts[number]) - 1e-9 for number in others)

    return near
