"""Easy data augmentation for Russian: swap, delete, insert, synonyms in the form of the word they replace, and typos.

After Wei and Zou, "EDA" (2019, arXiv 1901.11196). Where it takes WordNet, this takes neighbours among word vectors.
These are also opposites (плохой and хороший) and counterparts (чайник and утюг), so that few are taken: nouns and
verbs only, because evaluation is mostly in adjectives and adverbs; of the same gender or aspect, so that the words
around still agree; not made of the same stem with another prefix (прийти, уйти), nor in the list of opposites.

Typos are those of a hand on a keyboard (a letter left out, doubled, exchanged with the next one, or hit beside the key)
and those of an ear (о and а, е and и, -тся and -ться, one н for two).
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

from tsirius import word_vectors
from tsirius.text import lemma, words

NEAREST = 0.6
"""Cosine of the word vectors from which a neighbour may be a synonym: купить and приобрести have 0.80, цена and
стоимость 0.76; below it, most share no more than a topic (заказать and скачать, 0.44)."""
AT_MOST = 2
"""Synonyms of a word, the nearest ones."""
FIXED = frozenset({"не", "ни", "нет", "без", "бы", "только", "кроме"})
"""Words that turn the meaning of their neighbours: never moved or deleted."""
PREFIXES = (
    *(
        "",
        "без",
        "бес",
        "в",
        "во",
        "воз",
        "вос",
        "вы",
        "до",
        "за",
        "из",
        "ис",
        "на",
        "над",
        "не",
        "недо",
        "о",
        "об",
        "от",
    ),
    *("ото", "пере", "по", "под", "подо", "при", "про", "раз", "рас", "с", "со", "у"),
)
KEYBOARDS = (("йцукенгшщзхъ", "фывапролджэ", "ячсмитьбю"), ("qwertyuiop", "asdfghjkl", "zxcvbnm"))
"""The rows of keys, each beginning half a key to the right of the one above."""
HEARD = (("о", "а"), ("а", "о"), ("е", "и"), ("и", "е"), ("тся", "ться"), ("ться", "тся"), ("нн", "н"), ("сс", "с"))
"""What is written for what, by those who write as they speak."""
LONG_ENOUGH = 4
"""Letters of a word that gets a typo: in a shorter one it leaves too little."""
NAMES = frozenset({"Name", "Surn", "Patr", "Geox", "Orgn", "Trad", "Abbr", "Init"})

Synonyms = Mapping[str, tuple[str, ...]]
"""Lemma → lemmas of the same part of speech that may replace it."""


def variants(
    text: str,
    *,
    count: int,
    swap: float,
    delete: float,
    insert: float,
    synonym: float,
    typo: float,
    synonyms: Synonyms,
    protected: frozenset[str],
    rng: random.Random,
) -> Iterator[str]:
    """Make up to ``count`` variants of ``text``, each by one of the operations, drawn evenly; some may be equal.

    Words are what white space separates. Those with a lemma in ``protected`` are never deleted, replaced nor misspelt,
    and no synonym is one of them; negations also keep their place. A text without enough words gives no variants.

    Args:
        text: a cleaned review.
        count: at most how many.
        swap: share of the words that change places with another (at least one pair; 0: no swaps), likewise
        delete: that are left out,
        insert: that get a synonym put in at a random place,
        synonym: that are replaced by a synonym,
        typo: that get a typo; never one that makes another word of the dictionary.
        synonyms: what :func:`find_synonyms` found for the lemmas of all reviews.
        protected: lemmas (ё as е), the product words of the categories' names and descriptions.
        rng: where the choices come from.
    """
    tokens = text.split()
    found = [words(token) for token in tokens]
    spoken = [place for place, inside in enumerate(found) if inside]
    movable = [place for place in spoken if FIXED.isdisjoint(found[place])]
    free = [place for place in movable if protected.isdisjoint(map(lemma, found[place]))]
    replaced = (
        {place: forms for place in free if (forms := _forms(tokens[place], synonyms))} if insert or synonym else {}
    )

    def swapped(number: int) -> list[str]:
        made = list(tokens)
        for _ in range(number):
            one, other = rng.sample(movable, 2)
            (before, left, after), (start, right, end) = _parts(made[one]), _parts(made[other])
            made[one], made[other] = before + right + after, start + left + end
        return made

    def deleted(number: int) -> list[str]:
        gone = set(rng.sample(free, min(number, len(free), len(spoken) - 1)))
        return [token for place, token in enumerate(tokens) if place not in gone]

    def inserted(number: int) -> list[str]:
        made = list(tokens)
        for place in rng.sample(sorted(replaced), min(number, len(replaced))):
            made.insert(rng.randrange(len(made) + 1), rng.choice(replaced[place]))
        return made

    def exchanged(number: int) -> list[str]:
        made = list(tokens)
        for place in rng.sample(sorted(replaced), min(number, len(replaced))):
            before, core, after = _parts(made[place])
            form = rng.choice(replaced[place])
            made[place] = before + (form.capitalize() if core[0].isupper() else form) + after
        return made

    misspelt = [place for place in free if _can_be_misspelt(tokens[place])] if typo else []

    def mistyped(number: int) -> list[str]:
        made = list(tokens)
        for place in rng.sample(misspelt, min(number, len(misspelt))):
            before, core, after = _parts(made[place])
            made[place] = before + mistype(core, rng=rng) + after
        return made

    operations = [
        (operation, max(1, round(share * len(spoken))))
        for operation, share, possible in (
            (swapped, swap, len(movable) > 1),
            (deleted, delete, free and len(spoken) > 1),
            (inserted, insert, replaced),
            (exchanged, synonym, replaced),
            (mistyped, typo, misspelt),
        )
        if share > 0 and possible
    ]
    for _ in range(count if operations else 0):
        operation, number = rng.choice(operations)
        yield " ".join(operation(number))


def mistype(word: str, *, rng: random.Random) -> str:
    """The word with one typo after its first letter; itself where every typo drawn makes a word of the dictionary.

    Example:
        >>> mistype("быстро", rng=random.Random(0))
        'быстпо'
    """
    for _ in range(5):
        made = rng.choice((_left_out, _doubled, _turned, _beside, _heard))(word, rng)
        if made != word and not _analyser().word_is_known(made.lower()):
            return made
    return word


def _can_be_misspelt(token: str) -> bool:
    core = _parts(token)[1]
    return core.isalpha() and len(core) >= LONG_ENOUGH


def _left_out(word: str, rng: random.Random) -> str:
    place = rng.randrange(1, len(word))
    return word[:place] + word[place + 1 :]


def _doubled(word: str, rng: random.Random) -> str:
    place = rng.randrange(1, len(word))
    return word[:place] + word[place] + word[place:]


def _turned(word: str, rng: random.Random) -> str:
    place = rng.randrange(1, len(word) - 1)
    return word[:place] + word[place + 1] + word[place] + word[place + 2 :]


def _beside(word: str, rng: random.Random) -> str:
    place = rng.randrange(1, len(word))
    keys = _keys_beside().get(word[place], "")
    return word[:place] + rng.choice(keys) + word[place + 1 :] if keys else word


def _heard(word: str, rng: random.Random) -> str:
    found = [(match.start(), *pair) for pair in HEARD for match in re.finditer(pair[0], word) if match.start()]
    if not found:
        return word
    place, right, wrong = rng.choice(found)
    return word[:place] + wrong + word[place + len(right) :]


@cache
def _keys_beside() -> dict[str, str]:
    """Key → the keys that touch it."""
    beside: dict[str, str] = {}
    for rows in KEYBOARDS:
        for number, row in enumerate(rows):
            for place, key in enumerate(row):
                # the row above begins half a key to the left, the one below half a key to the right
                around = [(number, place - 1), (number, place + 1), (number - 1, place), (number - 1, place + 1),
                          (number + 1, place - 1), (number + 1, place)]  # fmt: skip
                beside[key] = "".join(
                    rows[line][at] for line, at in around if 0 <= line < len(rows) and 0 <= at < len(rows[line])
                )
    return beside


def find_synonyms(lemmas: Iterable[str], *, protected: frozenset[str]) -> dict[str, tuple[str, ...]]:
    """Synonyms of each of ``lemmas`` (as :func:`tsirius.text.lemma` gives them) that has any, the nearest first.

    Neither a protected lemma nor a word that opposes (see the module) gets or is one.
    """
    vectors = word_vectors.load()
    asked = {}  # lemma → as it stands in the vectors, which write ё
    for word in sorted(set(lemmas) - protected):
        if len(word) > 2 and (parse := _base(word)):
            asked[word] = word if word in vectors else parse.normal_form
    found = {}
    for word, near in zip(asked, vectors.neighbours(list(asked.values()), least=NEAREST), strict=True):
        fit = [other for other, _ in near if _fits(word, other) and _fold(other) not in protected]
        if fit:
            found[word] = tuple(dict.fromkeys(fit[:AT_MOST]))
    return found


def _fits(word: str, other: str) -> bool:
    """Whether ``other`` is a dictionary form that could stand where ``word`` stands, and does not oppose it."""
    if len(other) < 3 or not other.isalpha():
        return False
    parse, sense = _base(other), _base(word)
    if parse is None or sense is None or _fold(word) == _fold(other):
        return False
    same = ("POS", "gender", "animacy", "aspect", "transitivity")
    if any(getattr(parse.tag, name) != getattr(sense.tag, name) for name in same):
        return False
    kinds = [{"Pltm" in tag, "Sgtm" in tag} for tag in (parse.tag, sense.tag)]
    reflexive = [name.endswith(("ся", "сь")) for name in (word, other)]
    return kinds[0] == kinds[1] and reflexive[0] == reflexive[1] and not opposed(_fold(word), _fold(other))


def opposed(one: str, other: str) -> bool:
    """Whether two lemmas are known opposites, or differ in their prefix alone.

    Example:
        >>> opposed("прийти", "уйти"), opposed("удача", "неудача"), opposed("купить", "приобрести")
        (True, True, False)
    """
    if not _opposites().get(one, frozenset()).isdisjoint(_opposites().get(other, frozenset())):
        return True
    stems = {one[len(prefix) :] for prefix in PREFIXES if one.startswith(prefix)}
    return any(
        other.startswith(prefix) and len(rest := other[len(prefix) :]) > 2 and rest in stems for prefix in PREFIXES
    )


@cache
def _opposites() -> dict[str, frozenset[int]]:
    """Word → the lines of the list that it is in."""
    lines: dict[str, set[int]] = {}
    text = files("tsirius").joinpath("assets/antonyms.txt").read_text(encoding="utf-8")
    for number, line in enumerate(text.splitlines()):
        for word in line.partition("#")[0].split():
            lines.setdefault(_fold(word), set()).add(number)
    return {word: frozenset(numbers) for word, numbers in lines.items()}


def _forms(token: str, synonyms: Synonyms) -> list[str]:
    """The synonyms of a token's word in its grammatical form."""
    _, core, _ = _parts(token)
    return list(_inflected(core.lower(), synonyms.get(lemma(_fold(core.lower())), ()))) if core.isalpha() else []


@lru_cache(maxsize=1 << 16)
def _inflected(word: str, others: tuple[str, ...]) -> tuple[str, ...]:
    """Each of ``others`` that takes ``word``'s form without doubt.

    A form often has several readings (пришли: прийти or прислать; цены: of the price, or prices). A word that may well
    belong to another lemma is left alone; of the readings left, all must lead to the same form.
    """
    if not others:
        return ()
    parses = _analyser().parse(word)
    likely = [parse for parse in parses if parse.score >= 0.3 * parses[0].score]
    if {_fold(parse.normal_form) for parse in likely} != {_fold(parses[0].normal_form)}:
        return ()
    forms = []
    for other in others:
        base, made = _base(other), set()
        for parse in likely:
            names = _grammemes(parse.tag)
            form = base.inflect(names) if base is not None and names is not None else None
            made.add(form.word if form else "")
        if len(made) == 1 and (form := made.pop()):
            forms.append(form)
    return tuple(forms)


def _grammemes(tag: Any) -> frozenset[str] | None:
    """What fixes a form among those of its lemma; None for participles and other forms that are left alone."""
    if tag.POS == "NOUN":
        found = {tag.number, {"gen1": "gent", "gen2": "gent", "loc1": "loct", "loc2": "loct"}.get(tag.case, tag.case)}
    elif tag.POS == "VERB":
        found = {"VERB", tag.number, tag.gender, tag.person, tag.tense, tag.mood}
    elif tag.POS == "INFN":
        found = {"INFN"}
    else:
        return None
    return frozenset(name for name in found if name)


@lru_cache(maxsize=1 << 16)
def _base(word: str) -> Any:
    """The parse of a noun or verb in its dictionary form that is no name, else None."""
    parse = _analyser().parse(word)[0]
    fit = parse.is_known and parse.tag.POS in ("NOUN", "INFN") and _fold(parse.normal_form) == _fold(word)
    return parse if fit and not any(name in parse.tag for name in NAMES) else None


@cache
def _analyser() -> Any:
    import pymorphy3

    return pymorphy3.MorphAnalyzer()


def _parts(token: str) -> tuple[str, str, str]:
    """What stands before the first letter or digit, the word, and what stands after the last one.

    Example:
        >>> _parts("«Чайник»,")
        ('«', 'Чайник', '»,')
    """
    inside = [place for place, letter in enumerate(token) if letter.isalnum()]
    if not inside:
        return "", token, ""
    return token[: inside[0]], token[inside[0] : inside[-1] + 1], token[inside[-1] + 1 :]


def _fold(word: str) -> str:
    return word.replace("ё", "е")
