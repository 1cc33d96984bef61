# ruff: noqa: SIM905 - lists of words read better as text
"""What shops sell: the word list in goods.toml, found in names and reviews by lemma.

A concept is a department or a kind of it, numbered departments first. A text or a product name is matched against the
kinds' items as whole lemmas, the longest item first («игрушка для кошек» is no «игрушка»). Who a thing is for outranks
what it is: a shirt for a dog is a thing for pets, a coat for a baby one for children.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

WORD = re.compile(r"[а-яёa-z]+", re.IGNORECASE)
PETS = frozenset(
    (
        "животное кот кошка котик котенок собака собачка пес песик щенок питомец питомица грызун хорек птица "
        "попугай хомяк кошачий собачий зоотовар петушок лошадь йорк мопс шпиц"
    ).split()
)
KIDS = frozenset(
    (
        "ребенок дитя сын сынок сынишка дочь дочка доченька доча внук внучка внучок малыш малышка детский "
        "младенец новорожденный детка племянник племянница кроха крошка ребеночек дочурка школьник"
    ).split()
)
AUTO = frozenset(["автомобиль", "автомобильный", "авто", "автомобилист", "автопарфюм"])


@dataclass(frozen=True)
class Goods:
    """The word list and its index.

    Attributes:
        departments, kinds: the tables of goods.toml.
        none: its table of what no product is.
        parents: kind → numbers of its departments.
        items: first lemma → (lemmas, item, kind), the longest first.
    """

    departments: list[dict[str, Any]]
    kinds: list[dict[str, Any]]
    none: dict[str, Any]
    parents: list[list[int]]
    items: dict[str, list[tuple[tuple[str, ...], str, int]]]

    @property
    def number(self) -> dict[str, int]:
        """Department's id → its number."""
        return {department["id"]: place for place, department in enumerate(self.departments)}

    def places(self, lemmas: Sequence[str]) -> list[tuple[int, int, str, int]]:
        """The items in a text: (first word, words, item, kind), the longest at a place; an item may be of two kinds."""
        result: list[tuple[int, int, str, int]] = []
        place = 0
        while place < len(lemmas):
            step = 1
            for key, item, kind in self.items.get(lemmas[place], ()):
                if len(key) >= step and tuple(lemmas[place : place + len(key)]) == key:
                    step = len(key)
                    result.append((place, step, item, kind))
            place += step
        return result

    def found(self, lemmas: Sequence[str]) -> dict[int, set[str]]:
        """The items in a text: kind → items, in the order of the text."""
        result: dict[int, set[str]] = {}
        for _, _, item, kind in self.places(lemmas):
            result.setdefault(kind, set()).add(item)
        return result


def load(file: Path | None = None, *, index: bool = True) -> Goods:
    """Read goods.toml (by default the one beside this file); the index of items asks for the morphology."""
    content = tomllib.loads((file or Path(__file__).with_name("goods.toml")).read_text(encoding="utf-8"))
    number = {department["id"]: place for place, department in enumerate(content["department"])}
    items: dict[str, list[tuple[tuple[str, ...], str, int]]] = {}
    for kind, table in enumerate(content["kind"]):
        for item in [*table["items"], *table["english"]] if index else ():
            key = tuple(lemmas(item))
            items.setdefault(key[0], []).append((key, item, kind))
    for entries in items.values():
        entries.sort(key=lambda entry: -len(entry[0]))
    parents = [[number[name] for name in table["department"]] for table in content["kind"]]
    return Goods(content["department"], content["kind"], content["none"], parents, items)


@cache
def _morphology() -> Any:
    import pymorphy3

    return pymorphy3.MorphAnalyzer()


@cache
def lemma(word: str) -> str:
    """A word in lower case → its dictionary form, «е» for «ё»; an English plural loses its s."""
    if word.isascii():
        return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word
    form: str = _morphology().parse(word)[0].normal_form
    return form.replace("ё", "е")


@cache
def noun(word: str) -> bool:
    """Whether a dictionary form is a noun's."""
    return not word.isascii() and _morphology().parse(word)[0].tag.POS == "NOUN"


def lemmas(text: str) -> list[str]:
    """The dictionary forms of a text's words."""
    return [lemma(word.lower()) for word in WORD.findall(text)]


def general(name: str) -> list[str]:
    """A product name → the names under it that name no brand, size or model, at most six words each.

    Example:
        >>> general('Чайник заварочный стеклянный "Бочонок" с фильтром, 900 мл / Заварник TWK 3A')
        ['чайник заварочный стеклянный с фильтром', 'заварник']
    """
    result = []
    for part in re.sub(r"[\"«“„][^\"»”“]*[\"»”]|\([^)]*\)?", " ", name).split("/"):
        words = re.split(r"[,.:;+]", part.strip())[0].split()
        kept = [word.lower() for word in words if re.fullmatch(r"[а-яё]+(-[а-яё]+)?", word.lower())][:6]
        while kept and len(kept[-1]) < 3:
            kept.pop()
        if kept and len(" ".join(kept)) > 2 and " ".join(kept) not in result:
            result.append(" ".join(kept))
    return result


def departments_of(goods: Goods, text_lemmas: Sequence[str], *, listing: bool) -> tuple[set[int], dict[int, set[str]]]:
    """What a name (``listing``) or a review is about, by its words alone: departments, and the items by kind."""
    number, words = goods.number, set(text_lemmas)
    found = goods.found(text_lemmas)
    named = {department for kind in found for department in goods.parents[kind]}
    if words & PETS:
        return {number["pets"]}, {kind: items for kind, items in found.items() if number["pets"] in goods.parents[kind]}
    if listing:  # the first thing named is the one for sale
        found = dict(list(found.items())[:1])
        named = {department for kind in found for department in goods.parents[kind]}
    if listing and words & AUTO and not named & {number["kids"], number["health"]}:
        return {number["auto"]}, {kind: items for kind, items in found.items() if number["auto"] in goods.parents[kind]}
    if words & KIDS and (
        listing or not named or named & {number[name] for name in ("clothes", "shoes", "kids", "textile", "hobby")}
    ):
        return {number["kids"]}, {kind: items for kind, items in found.items() if number["kids"] in goods.parents[kind]}
    return named, found
