"""Texts written by rule: a thing named, implied by its use, mentioned beside another; and what names nothing."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from recipes.mini import goods as base

CASES = {"n": "nomn", "a": "accs", "g": "gent", "d": "datv", "i": "ablt"}
"""Slot of a frame → the case of the name that fills it."""
SO = re.compile(r"\b([Сс]) (?=[сзшжщ][бвгджзклмнпрстфхцчшщ])")
"""«с» before «с», «з», «ш», «ж» or «щ» and another consonant."""
ALTERNATIVES = re.compile(r"\[([^\]]*)\]")
STORIES = 0.4
"""Share of the phrases on delivery, the seller and the like that come from stories.txt."""
PREPOSITIONS = frozenset("для с со от из в на под к по о об и без при".split())  # noqa: SIM905


@cache
def inflected(name: str, case: str) -> str:
    """A name's head and its adjectives in a case; what cannot be inflected stays."""
    made, done = [], False
    for word in name.split():
        found = word
        if not done and word not in PREPOSITIONS and not word.isascii():
            parses = [p for p in base._morphology().parse(word) if "nomn" in p.tag] or [
                base._morphology().parse(word)[0]
            ]
            part = parses[0]
            form = part.inflect({case}) if "nomn" in part.tag else None
            found = form.word if form else word
            done = part.tag.POS == "NOUN"
        else:
            done = True
        made.append(found)
    return " ".join(made)


@cache
def table(name: str) -> dict[tuple[str, str], tuple[str, ...]]:
    """(kind, language) → phrases of none.txt, stories.txt or frames.txt."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for kind, language, phrases in lines(Path(__file__).with_name(name)):
        found[kind, language] += phrases
    return {key: tuple(phrases) for key, phrases in found.items()}


def frames(kind: str, english: bool = False) -> tuple[str, ...]:
    """The frames of a kind in a language."""
    return table("frames.txt")[kind, "en" if english else "ru"]


def nothing(english: bool) -> dict[str, tuple[str, ...]]:
    """What is spoken of → phrases that name no product, in a language."""
    wanted = "en" if english else "ru"
    return {kind: phrases for (kind, language), phrases in table("none.txt").items() if language == wanted}


def stories(english: bool) -> dict[str, tuple[str, ...]]:
    """What is spoken of → phrases with alternatives that name no product, in a language."""
    wanted = "en" if english else "ru"
    return {kind: phrases for (kind, language), phrases in table("stories.txt").items() if language == wanted}


def chosen(rng: random.Random, phrase: str) -> str:
    """A phrase with one of the alternatives at each of its brackets."""
    made = ALTERNATIVES.sub(lambda found: rng.choice(found[1].split("/")), phrase)
    return made.replace(" ,", ",").strip(" ,")


def filled(frame: str, **names: str) -> str:
    """A frame with its slots filled; «с» becomes «со» where a name asks for it."""
    return SO.sub(r"\1о ", frame.format(**names))


def lines(file: Path) -> list[tuple[str, str, list[str]]]:
    """Lines of «first | second | phrases, parted by semicolons», without comments."""
    rows = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            first, second, phrases = (part.strip() for part in line.split("|"))
            rows.append((first, second, [phrase.strip() for phrase in phrases.split(";")]))
    return rows


def uses(file: Path | None = None) -> list[tuple[str, str, str]]:
    """(department, thing, phrase) of uses.txt; the phrases of a thing with an English name are English."""
    rows = lines(file or Path(__file__).with_name("uses.txt"))
    return [(owner, thing, phrase) for owner, thing, phrases in rows for phrase in phrases]


def companions(file: Path | None = None) -> list[tuple[str, str, list[str]]]:
    """(department, thing, frames) of companions.txt: what a thing meets in use, and is not."""
    rows = lines(file or Path(__file__).with_name("companions.txt"))
    return [(owner, thing.strip(), phrases) for owner, things, phrases in rows for thing in things.split(",")]


def said(rng: random.Random, parts: list[str]) -> str:
    """Parts put together as people do: with stops, commas or nothing, capitals now and then."""
    text = rng.choice((". ", ", ", "! ", ". ", " ", ") ")).join(parts)
    dice = rng.random()
    if dice < 0.6:
        text = text[:1].upper() + text[1:]
    elif dice < 0.65:
        text = text.upper()
    return text + rng.choice(("", ".", "!", "", ".", " )", "!!!"))


ENDINGS = tuple(
    (re.compile(rf"{end}$"), fond)
    for end, fond in (
        (r"(?<=[жшчщ])ка", "ечка"),
        (r"(?<=[жшчщ])ки", "ечки"),
        (r"(?<=[бвгдзлмнпрстфх])ка", "очка"),
        (r"(?<=[бвгдзлмнпрстфх])ки", "очки"),
        (r"(?<=[аеиоуыэюя])ца", "чка"),
        (r"(?<=[бвгдзклмнпрстфх])а", "очка"),
        (r"(?<=[аеиоуыэюя])к", "чок"),
        (r"(?<=[нрлс])", "чик"),
        (r"(?<=[тжшм])", "ик"),
        (r"(?<=[бвдзмнпрст])ы", "ики"),
    )
)
"""How a noun ends, and how people end it when they are fond of the thing: «куртка», «курточка»."""


def fondly(item: str) -> str:
    """A Russian name of one word with a fond ending, where :data:`ENDINGS` has one."""
    for end, fond in ENDINGS:
        if len(item) > 4 and item.isalpha() and end.search(item):
            return end.sub(fond, item)
    return item


def mistyped(rng: random.Random, text: str) -> str:
    """A text with one letter lost, doubled or swapped with the next, as a thumb does it."""
    place = rng.randrange(max(1, len(text) - 1))
    here, after = text[place : place + 1], text[place + 1 : place + 2]
    return text[:place] + rng.choice((after, here * 2 + after, after + here)) + text[place + 2 :]


def met(rng: random.Random, item: str, frames_: Sequence[str]) -> str:
    """A short review that names a thing and what it meets in use."""
    parts = [filled(chosen(rng, rng.choice(frames_)), **cases(item, ""))]
    if rng.random() < 0.35:
        parts.append(rng.choice(frames("context", item.isascii())))
    if rng.random() < 0.15:
        parts.append(beside(rng, item.isascii()))
    rng.shuffle(parts)
    return said(rng, parts)


def named(rng: random.Random, item: str, phrases: list[str] | None = None, astray: Sequence[str] | None = None) -> str:
    """A short review that names a thing, with what is told beside the point, and ``phrases`` that fit it, or one of
    those that are said of other things (``astray``): the name decides."""
    latin, dice = item.isascii(), rng.random()
    if dice < 0.1:
        item = fondly(item)
    elif dice < 0.16:
        item = mistyped(rng, item)
    text = filled(rng.choice(frames("named", latin)), **cases(item, ""))
    parts, dice = [text], rng.random()
    if dice < 0.55:
        parts += rng.sample(frames("context", latin), 1 if dice < 0.35 else 2)
    if rng.random() < 0.2:
        parts.append(beside(rng, latin))
    if phrases and rng.random() < 0.5:
        parts += rng.sample(phrases, min(len(phrases), rng.choice((1, 1, 2))))
    elif astray and rng.random() < 0.5:
        parts.append(pick(rng, astray))
    rng.shuffle(parts)
    return said(rng, parts)


def beside(rng: random.Random, latin: bool) -> str:
    """A phrase on delivery, the seller and the like."""
    kinds = nothing(latin)
    return told(rng, rng.choice(list(kinds)), latin)


def told(rng: random.Random, aspect: str, english: bool) -> str:
    """A phrase on an aspect, from none.txt or stories.txt."""
    if rng.random() < STORIES:
        return chosen(rng, rng.choice(stories(english)[aspect]))
    return rng.choice(nothing(english)[aspect])


def cases(item: str, prefix: str) -> dict[str, str]:
    """A name in the cases that the frames ask for."""
    return {f"{prefix}{short}": item if short == "n" else inflected(item, case) for short, case in CASES.items()}


def passing(rng: random.Random, subject: str, phrase: str, other: str, english: bool) -> str:
    """A text on ``subject`` (named, or implied by ``phrase``) that mentions ``other``."""
    names = {**cases(subject, ""), **cases(other, "o_")}
    named_frames = [frame for frame in frames("named", english) if frame != "{n}"]
    opening = phrase if phrase and rng.random() < 0.6 else filled(rng.choice(named_frames), **names)
    usable = [frame for frame in frames("passing", english) if opening != phrase or "{s}" in frame]
    return said(rng, [filled(rng.choice(usable), s=opening, **names)])


def generic(rng: random.Random, english: bool) -> tuple[str, set[str]]:
    """A text that names nothing, and what it speaks of."""
    kinds = nothing(english)
    aspects = [rng.choice(list(kinds)) for _ in range(rng.choice((1, 1, 2, 2, 3)))]
    parts = [told(rng, aspect, english) for aspect in aspects]
    if not english and set(aspects) & {"delivery", "seller", "refund"} and rng.random() < 0.35:
        parts.append(rng.choice(frames("none_context")))
        rng.shuffle(parts)
    return said(rng, parts), set(aspects)


def implied(rng: random.Random, phrases: list[str], english: bool) -> str:
    """One to three phrases on a thing that is not named."""
    parts = rng.sample(phrases, min(len(phrases), rng.choice((1, 1, 2, 2, 3))))
    if not english and rng.random() < 0.3:
        parts.append(rng.choice(frames("tail")))
    if rng.random() < 0.3:
        parts.append(rng.choice(frames("context", english)))
    if rng.random() < 0.15:
        parts.append(beside(rng, english))
    rng.shuffle(parts)
    return said(rng, parts)


def pick(rng: random.Random, items: Sequence[Any]) -> Any:
    """One of a list."""
    return items[int(rng.random() * len(items))]
