"""Easy data augmentation for Russian: swap, delete, insert, synonyms in the form of the word they replace, and typos.

After Wei and Zou, "EDA" (2019, arXiv 1901.11196), but so that a person could have written the result. Where the paper
takes WordNet, this takes a list of words that reviews use alike (``assets/synonyms.txt``): neighbours among word
vectors are as often opposites, or another thing of the same kind (юбка and блузка, мама and девочка). Words change
places with their neighbour alone, a synonym is put in beside its word, and a word that hangs on a preposition or a
negation stays with it: «деньги не вернули» turned about would say something else.

Typos are those of a hand on a keyboard (a letter left out, doubled, exchanged with the next one, or hit beside the key)
and those of an ear (о and а, е and и, -тся and -ться, one н for two).
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

from pydantic import Field

from tsirius.augmenters import Augmenter, Material, Source
from tsirius.language.words import analyser, lemma, words
from tsirius.section import Section

TURNING = frozenset({"не", "ни", "нет", "без", "бы", "только", "кроме"})
"""Words that turn the meaning of the next one."""
SMALL = frozenset({"PREP", "CONJ", "PRCL"})
"""Parts of speech whose words are where they are for the sake of others."""
KEYBOARDS = (("йцукенгшщзхъ", "фывапролджэ", "ячсмитьбю"), ("qwertyuiop", "asdfghjkl", "zxcvbnm"))
"""The rows of keys, each beginning half a key to the right of the one above."""
HEARD = (("о", "а"), ("а", "о"), ("е", "и"), ("и", "е"), ("тся", "ться"), ("ться", "тся"), ("нн", "н"), ("сс", "с"))
"""What is written for what, by those who write as they speak."""
LONG_ENOUGH = 4
"""Letters of a word that gets a typo: in a shorter one it leaves too little."""
LIKELY = 0.3
"""A reading of a form with at least this share of the likeliest one's chance is reckoned with."""


class Config(Section):
    """Easy data augmentation: words swapped, deleted, inserted, replaced by a synonym, or misspelt."""

    tries: int = Field(5, ge=1)
    """Variants generated per variant wanted: bounds the work on reviews whose variants are refused."""
    swap: float = Field(0.1, ge=0, le=1)
    """Share of the words that change places with the next one (0: none does)."""
    delete: float = Field(0.1, ge=0, le=0.5)
    """Share of the words that are deleted; never those of the categories' names and descriptions, nor those by which
    the lexicon knew the category."""
    insert: float = Field(0.1, ge=0, le=1)
    """Share of the words after which a synonym is inserted."""
    synonym: float = Field(0.1, ge=0, le=1)
    """Share of the words that are replaced by a synonym in the same form."""
    typo: float = Field(0.1, ge=0, le=1)
    """Share of the words that get a typo; never those that ``delete`` spares."""


def models(config: Config) -> dict[str, str]:
    """It uses none."""
    return {}


def make(config: Config, material: Material) -> Augmenter:
    """An augmenter that spares what the categories are named by, and the evidence of each source."""

    def of(source: Source) -> Iterator[str]:
        # a generator: the 2.5 KB of a random state come into being at a source's first turn
        yield from variants(
            source.text,
            config,
            count=material.wanted * config.tries,
            protected=material.protected | material.evidence.get(source.id, frozenset()),
            rng=random.Random(f"{material.seed}:eda:{source.id}"),
        )

    return lambda sources: [of(source) for source in sources]


def variants(text: str, config: Config, *, count: int, protected: frozenset[str], rng: random.Random) -> Iterator[str]:
    """Up to ``count`` variants of ``text``, each by one of the operations, drawn evenly; some may be equal.

    Words are what white space separates. Those with a lemma in ``protected`` are never deleted, replaced nor misspelt,
    and no synonym is one of them; prepositions, conjunctions and particles, and the word after a preposition or a
    negation, keep their position, and what is denied its wording. A text without enough words gives no variants.

    Args:
        text: a cleaned review.
        config: the share of the words that each operation changes: at least one word, or none where the share is 0.
        count: at most how many.
        protected: lemmas (ё as е) that say what the review is about.
        rng: where the choices come from.
    """
    review = _parsed(text, config, protected)
    operations = [
        (operation, max(1, round(share * review.words)))
        for operation, share, possible in (
            (_swapped, config.swap, review.pairs),
            (_deleted, config.delete, review.deletable and review.words > 1),
            (_inserted, config.insert, review.synonyms),
            (_exchanged, config.synonym, review.synonyms),
            (_mistyped, config.typo, review.misspellable),
        )
        if share > 0 and possible
    ]
    for _ in range(count if operations else 0):
        operation, number = rng.choice(operations)
        yield " ".join(operation(review, number, rng))


@dataclass(frozen=True)
class Parsed:
    """A review, and what each operation may change in it.

    Attributes:
        tokens: what white space separates.
        words: how many tokens hold a word.
        pairs: the tokens that may be swapped with the next one.
        deletable: the tokens that may be deleted.
        synonyms: token → the forms that may replace it, or follow it.
        misspellable: the tokens that may get a typo.
    """

    tokens: list[str]
    words: int
    pairs: list[int]
    deletable: list[int]
    synonyms: dict[int, list[str]]
    misspellable: list[int]


def _parsed(text: str, config: Config, protected: frozenset[str]) -> Parsed:
    """What the operations of ``config`` may change in ``text``; arguments as of :func:`variants`."""
    tokens = text.split()
    inside = [words(token) for token in tokens]
    spoken = [index for index, spelled in enumerate(inside) if spelled]
    own = [index for index in spoken if protected.isdisjoint(map(lemma, inside[index]))]
    plain = [index for index in spoken if not any(word in TURNING or _part(word) in SMALL for word in inside[index])]
    before = {
        index: inside[index - 1][-1:] if index and _joined(tokens[index - 1], tokens[index]) else [] for index in plain
    }
    replaceable = [index for index in plain if TURNING.isdisjoint(before[index])]
    movable = [index for index in replaceable if "PREP" not in map(_part, before[index])]
    single = {index for index in movable if len(inside[index]) == 1}
    pairs = [index for index in movable if {index, index + 1} <= single and _joined(tokens[index], tokens[index + 1])]
    synonyms, misspellable = dict[int, list[str]](), list[int]()
    if config.insert or config.synonym:
        listed = {index: _synonyms(tokens[index], protected) for index in replaceable if index in own}
        synonyms = {index: forms for index, forms in listed.items() if forms}
    if config.typo:
        misspellable = [index for index in own if TURNING.isdisjoint(inside[index]) and _can_be_misspelt(tokens[index])]
    return Parsed(tokens, len(spoken), pairs, [index for index in movable if index in own], synonyms, misspellable)


def _swapped(review: Parsed, number: int, rng: random.Random) -> list[str]:
    changed, left = list(review.tokens), list(review.pairs)
    for _ in range(number):
        if not left:
            break
        index = rng.choice(left)
        left = [other for other in left if abs(other - index) > 1]
        (before, one, _), (_, other, after) = _parts(changed[index]), _parts(changed[index + 1])
        changed[index : index + 2] = [before + _cased(other, like=one), one.lower() if one.istitle() else one]
        changed[index + 1] += after
    return changed


def _deleted(review: Parsed, number: int, rng: random.Random) -> list[str]:
    gone = set(rng.sample(review.deletable, min(number, len(review.deletable), review.words - 1)))
    changed = list[str]()
    for index, token in enumerate(review.tokens):
        if index not in gone:
            changed.append(token)
        elif changed and changed[-1][-1].isalnum():  # the sentence ends all the same
            changed[-1] += _parts(token)[2]
    return changed


def _inserted(review: Parsed, number: int, rng: random.Random) -> list[str]:
    def add(core: str, form: str) -> str:
        return f"{core} {form.upper() if _loud(core) else form}"

    return _with_synonyms(review, number, rng, add)


def _exchanged(review: Parsed, number: int, rng: random.Random) -> list[str]:
    return _with_synonyms(review, number, rng, lambda core, form: _cased(form, like=core))


def _with_synonyms(review: Parsed, number: int, rng: random.Random, change: Callable[[str, str], str]) -> list[str]:
    """The tokens, some with ``change`` of their word and of one of its synonyms in the word's position."""
    changed = list(review.tokens)
    for index in rng.sample(sorted(review.synonyms), min(number, len(review.synonyms))):
        before, core, after = _parts(changed[index])
        changed[index] = before + change(core, rng.choice(review.synonyms[index])) + after
    return changed


def _mistyped(review: Parsed, number: int, rng: random.Random) -> list[str]:
    changed = list(review.tokens)
    for index in rng.sample(review.misspellable, min(number, len(review.misspellable))):
        before, core, after = _parts(changed[index])
        changed[index] = before + mistype(core, rng=rng) + after
    return changed


def mistype(word: str, *, rng: random.Random) -> str:
    """The word with one typo after its first letter; itself where every typo drawn makes a word of the dictionary.

    Example:
        >>> mistype("быстро", rng=random.Random(0))
        'быстпо'
    """
    for _ in range(5):
        changed = rng.choice((_left_out, _doubled, _turned, _beside, _heard))(word, rng)
        if changed != word and not analyser().word_is_known(changed.lower()):
            return changed
    return word


def _can_be_misspelt(token: str) -> bool:
    core = _parts(token)[1]
    return core.isalpha() and len(core) >= LONG_ENOUGH


def _left_out(word: str, rng: random.Random) -> str:
    index = rng.randrange(1, len(word))
    return word[:index] + word[index + 1 :]


def _doubled(word: str, rng: random.Random) -> str:
    index = rng.randrange(1, len(word))
    return word[:index] + word[index] + word[index:]


def _turned(word: str, rng: random.Random) -> str:
    index = rng.randrange(1, len(word) - 1)
    return word[:index] + word[index + 1] + word[index] + word[index + 2 :]


def _beside(word: str, rng: random.Random) -> str:
    index = rng.randrange(1, len(word))
    keys = _keys_beside().get(word[index], "")
    return word[:index] + rng.choice(keys) + word[index + 1 :] if keys else word


def _heard(word: str, rng: random.Random) -> str:
    spelled = [(match.start(), *pair) for pair in HEARD for match in re.finditer(pair[0], word) if match.start()]
    if not spelled:
        return word
    index, right, wrong = rng.choice(spelled)
    return word[:index] + wrong + word[index + len(right) :]


@cache
def _keys_beside() -> dict[str, str]:
    """Key → the keys that touch it."""
    beside: dict[str, str] = {}
    for rows in KEYBOARDS:
        for number, row in enumerate(rows):
            for index, key in enumerate(row):
                # the row above begins half a key to the left, the one below half a key to the right
                around = [(number, index - 1), (number, index + 1), (number - 1, index), (number - 1, index + 1),
                          (number + 1, index - 1), (number + 1, index)]  # fmt: skip
                beside[key] = "".join(
                    rows[line][at] for line, at in around if 0 <= line < len(rows) and 0 <= at < len(rows[line])
                )
    return beside


def _synonyms(token: str, protected: frozenset[str]) -> list[str]:
    """What may replace a token's word, in its grammatical form."""
    core = _parts(token)[1]
    if not core.isalpha():
        return []
    return [form for form in _alike(core.lower()) if lemma(_fold(form)) not in protected]


@lru_cache(maxsize=1 << 16)
def _alike(word: str) -> tuple[str, ...]:
    """The forms of other words that may replace ``word`` whatever it is read as.

    A form often has several readings (пришли: прийти or прислать; цены: of the price, or prices): what is in the list
    for one of them alone is left out.
    """
    parses = analyser().parse(word)
    likely = [parse for parse in parses if parse.score >= LIKELY * parses[0].score]
    spelled = [[_inflected(other, parse.tag) for other in _listed(_fold(parse.normal_form))] for parse in likely]
    first = dict.fromkeys(form for form in spelled[0] if form and _fold(form) != _fold(word))
    return tuple(form for form in first if all(form in other for other in spelled[1:]))


@cache
def _sets() -> dict[str, tuple[str, ...]]:
    """Lemma → the others of its set."""
    text = files("tsirius").joinpath("assets/synonyms.txt").read_text(encoding="utf-8")
    lines = [line.partition("#")[0].split() for line in text.splitlines()]
    return {word: tuple(other for other in line if other != word) for line in lines for word in line}


def _listed(word: str) -> tuple[str, ...]:
    return _sets().get(word, ())


@lru_cache(maxsize=1 << 16)
def _inflected(word: str, tag: Any) -> str | None:
    """The form of ``word`` (a dictionary form) that ``tag`` asks for; None where it has none, or is better left alone
    (participles, comparatives: лучше is of хороший, but no неплохой would do)."""
    if tag.POS in ("ADVB", "PRED"):
        return word
    base = next((parse for parse in analyser().parse(word) if _fold(parse.normal_form) == word), None)
    if base is None or "Supr" in tag:
        return None
    wanted = {
        "NOUN": (tag.number, {"gen1": "gent", "gen2": "gent", "loc1": "loct", "loc2": "loct"}.get(tag.case, tag.case)),
        "ADJF": ("ADJF", tag.number, tag.gender, tag.case, tag.animacy),
        "ADJS": ("ADJS", tag.number, tag.gender),
        "VERB": ("VERB", tag.number, tag.gender, tag.person, tag.tense, tag.mood),
        "INFN": ("INFN",),
    }.get(tag.POS)
    form = base.inflect({name for name in wanted if name}) if wanted else None
    return form.word if form else None


@lru_cache(maxsize=1 << 16)
def _part(word: str) -> str | None:
    """The likeliest part of speech."""
    part: str | None = analyser().parse(word)[0].tag.POS
    return part


def _joined(one: str, other: str) -> bool:
    """Whether no punctuation stands between two tokens."""
    return one[-1].isalnum() and other[0].isalnum()


def _loud(word: str) -> bool:
    return len(word) > 1 and word.isupper()


def _cased(word: str, *, like: str) -> str:
    """``word`` with the capitals of ``like``."""
    if _loud(like):
        return word.upper()
    return word[0].upper() + word[1:] if like[0].isupper() else word


def _parts(token: str) -> tuple[str, str, str]:
    """What stands before the first letter or digit, the word, and what stands after the last one.

    Example:
        >>> _parts("«Чайник»,")
        ('«', 'Чайник', '»,')
    """
    inside = [index for index, letter in enumerate(token) if letter.isalnum()]
    if not inside:
        return "", token, ""
    return token[: inside[0]], token[inside[0] : inside[-1] + 1], token[inside[-1] + 1 :]


def _fold(word: str) -> str:
    return word.replace("ё", "е")
