"""Hypotheses: the ways in which a user may name a category, drawn from the word list and from product names.

A hypothesis stands for up to four concepts (columns of the labels; the first column after the last stands for none).
It may also stand for one narrow thing, an item of the word list or a group of product names, of which a text that
speaks of a neighbouring thing says nothing.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from .goods import Goods

RUSSIAN = (
    "{}",
    "{}",
    "{}.",
    "Этот отзыв о товаре: {}.",
    "Этот отзыв о товаре: {}.",
    "Отзыв о категории: {}.",
    "В отзыве говорится про {}.",
    "Речь идёт о товаре из раздела «{}».",
    "Категория товара: {}.",
    "Тема отзыва: {}.",
    "Покупатель пишет про: {}",
    "Куплено: {}.",
    "В этом отзыве речь идёт про: {}.",
)
ENGLISH = (
    "{}",
    "This review is about {}.",
    "This review is about {}.",
    "This example is {}.",
    "The product category is {}.",
    "This text is about {}.",
)
ASPECT_NAMES = (
    ("доставка", "сроки доставки", "посылка и доставка", "delivery", "как пришёл заказ"),
    ("продавец", "магазин и продавец", "работа продавца", "seller"),
    ("возврат денег", "возврат", "спор и возврат", "refund", "обман покупателя"),
    ("общая похвала", "похвала", "благодарность", "всё понравилось", "praise"),
    ("общая ругань", "жалоба", "недовольство", "всё плохо", "complaint"),
)
LISTS = ("{}: {}", "{}: {}", "{}: {}", "{} ({})", "{} — {}")
NONE_TEXTS = (
    "о самом товаре ничего не сказано",
    "о товаре ничего не сказано",
    "товар не назван",
    "непонятно, о каком товаре речь",
    "нет сведений о товаре",
    "отзыв не о товаре",
    "покупка не названа",
)


@dataclass(frozen=True)
class Form:
    """One hypothesis: its text, its concepts, and the narrow thing («item» or «group», number) if any."""

    text: str
    concepts: tuple[int, ...]
    thing: tuple[str, int] | None = None


def held_out_names(goods: Goods, seed: int) -> set[str]:
    """One name of each department that has several, kept away from training: what zero-shot is measured on."""
    rng = random.Random(seed)
    return {rng.choice(department["names"][1:]) for department in goods.departments}


def draw(goods: Goods, names: list[dict[str, Any]], groups: Any, seed: int, count: int) -> list[Form]:
    """``count`` hypotheses, the same for the same seed."""
    rng, away = random.Random(seed), held_out_names(goods, seed)
    wide, deep = len(goods.departments), len(goods.kinds)
    none = wide + deep
    own: list[list[int]] = [
        [kind for kind in range(deep) if department in goods.parents[kind]] for department in range(wide)
    ]
    products = [
        (short, row["departments"], row["kinds"], int(group))
        for row, group in zip(names, groups, strict=True)
        if not row["held_out"] and row["departments"]
        for short in row["general"]
    ]
    items = [(item, kind) for kind, table in enumerate(goods.kinds) for item in table["items"]]

    def listed(department_or_kind: int, most: int) -> list[str]:
        kinds = own[department_or_kind] if department_or_kind < wide else [department_or_kind - wide]
        pool = [item for kind in kinds for item in goods.kinds[kind]["items"]]
        if len(kinds) > 1 and rng.random() < 0.4:
            pool += [name for kind in kinds for name in goods.kinds[kind]["names"]]
        return rng.sample(pool, min(len(pool), rng.randint(2, most)))

    def category() -> tuple[str, tuple[int, ...], bool]:
        size = rng.choices((1, 2, 3), (0.72, 0.23, 0.05))[0]
        members = rng.sample(range(wide), size) if rng.random() < 0.62 else [wide + rng.randrange(deep)]
        tables = [goods.departments[member] if member < wide else goods.kinds[member - wide] for member in members]
        if rng.random() < 0.1:
            return " and ".join(rng.choice(table["english"]) for table in tables), tuple(members), True
        short = [rng.choice([name for name in table["names"] if name not in away]) for table in tables]
        name = short[0] if len(short) == 1 else ", ".join(short[:-1]) + " и " + short[-1]
        if rng.random() < 0.5:
            parts = [part for member in members for part in listed(member, 6 if len(members) == 1 else 4)]
            rng.shuffle(parts)
            text = ", ".join(parts)
            cues = [
                cue for member, table in zip(members, tables, strict=True) if member < wide for cue in table["cues"]
            ]
            if cues and rng.random() < 0.4:
                text += rng.choice(("; ", ", ")) + ", ".join(rng.sample(cues, min(len(cues), rng.randint(2, 5))))
            name = text if rng.random() < 0.25 else rng.choice(LISTS).format(name, text)
        return name, tuple(members), False

    def nothing() -> tuple[str, tuple[int, ...], bool]:
        if rng.random() < 0.3:
            aspect = rng.randrange(len(ASPECT_NAMES))
            name = rng.choice(ASPECT_NAMES[aspect])
            return name, (none + 1 + aspect,), name.isascii()
        if rng.random() < 0.1:
            return rng.choice(goods.none["english"]), (none,), True
        name = rng.choice(goods.none["names"] + list(NONE_TEXTS))
        if rng.random() < 0.5:
            cues = ", ".join(rng.sample(goods.none["cues"], rng.randint(2, 6)))
            name = rng.choice(
                (f"{name}: {cues}", f"{name}: {cues}", f"{name} ({cues})", f"{rng.choice(NONE_TEXTS)}: {cues}", cues)
            )
        return name, (none,), False

    result: list[Form] = []
    while len(result) < count:
        kind, thing = rng.random(), None
        if kind < 0.55:
            name, concepts, english = category()
        elif kind < 0.7:
            name, concepts, english = nothing()
        elif kind < 0.85:
            place = rng.randrange(len(items))
            name, concepts, english, thing = items[place][0], (wide + items[place][1],), False, ("item", place)
        else:
            name, departments, kinds, group = rng.choice(products)
            concepts = tuple(wide + number for number in kinds[:2]) or tuple(departments[:2])
            english, thing = False, ("group", group)
        template = rng.choice(ENGLISH if english or rng.random() < 0.08 else RUSSIAN)
        name = name.replace("ё", "е") if rng.random() < 0.3 else name
        result.append(Form(template.format(name), concepts, thing))
    return result
