"""Hypotheses by the longer list: the ways in which a user may name a category, in Russian and in English."""

from __future__ import annotations

import random
from typing import Any

from recipes.mini.forms import ASPECT_NAMES, ENGLISH, LISTS, NONE_TEXTS, RUSSIAN, Form
from recipes.mini.goods import Goods

ENGLISH_ASPECTS = (
    ("delivery", "shipping", "shipping and packaging"),
    ("seller", "the seller and the shop", "customer service"),
    ("refund", "returns and refunds"),
    ("general praise", "praise"),
    ("general complaint", "complaints"),
)
ENGLISH_NONE = (
    "no product", "none of the above", "nothing is said about the product", "product not named", "not about a product",
    "no product mentioned", "other", "unknown product",
)  # fmt: skip
ENGLISH_CUES = (
    "delivery", "seller", "refund", "general praise", "general complaint", "shipping", "packaging", "customer service",
    "thanks", "price",
)  # fmt: skip


def held_out_names(goods: Goods, seed: int) -> set[str]:
    """One name of each department, kept away from training: what zero-shot is measured on."""
    rng = random.Random(seed)
    return {rng.choice(department["names"][1:]) for department in goods.departments}


def draw(goods: Goods, names: list[dict[str, Any]], groups: Any, away: set[int], seed: int, count: int) -> list[Form]:
    """``count`` hypotheses, the same for the same seed; of the goods numbered in ``away`` none."""
    rng, hidden = random.Random(seed), held_out_names(goods, seed)
    wide, deep = len(goods.departments), len(goods.kinds)
    shelves, none = deep - wide, wide + deep
    own = [[kind for kind in range(deep) if department in goods.parents[kind]] for department in range(wide)]
    every = [
        (item, kind) for kind, table in enumerate(goods.kinds) for item in [*table["items"], *table["english_items"]]
    ]
    items = [(place, item, kind) for place, (item, kind) in enumerate(every) if place not in away]
    kept = {item for _, item, _ in items}
    products = [
        (short, row["departments"], row["kinds"], int(group))
        for row, group in zip(names, groups, strict=True)
        if not row["held_out"] and row["departments"]
        for short in row["general"]
    ]

    def listed(member: int, most: int, key: str) -> list[str]:
        kinds = own[member] if member < wide else [member - wide]
        pool: list[str] = []
        for kind in kinds:
            found = [item for item in goods.kinds[kind][key] if item in kept and len(item.split()) < 3]
            pool += found[:20] if kind < shelves and rng.random() < 0.7 else rng.sample(found, min(len(found), 12))
        if len(kinds) > 1 and rng.random() < 0.4:
            pool += [name for kind in kinds for name in goods.kinds[kind]["names" if key == "items" else "english"]]
        return rng.sample(pool, min(len(pool), rng.randint(2, most)))

    def category() -> tuple[str, tuple[int, ...], bool]:
        size = rng.choices((1, 2, 3), (0.75, 0.2, 0.05))[0]
        members = rng.sample(range(wide), size) if rng.random() < 0.66 else [wide + rng.randrange(shelves)]
        tables = [goods.departments[member] if member < wide else goods.kinds[member - wide] for member in members]
        latin = rng.random() < 0.25
        if latin:
            short = [rng.choice(table["english"]) for table in tables]
            name = short[0] if len(short) == 1 else ", ".join(short[:-1]) + " and " + short[-1]
        else:
            short = [rng.choice([name for name in table["names"] if name not in hidden]) for table in tables]
            name = short[0] if len(short) == 1 else ", ".join(short[:-1]) + " и " + short[-1]
        if rng.random() < 0.55:
            key = "english_items" if latin else "items"
            parts = [part for member in members for part in listed(member, 6 if len(members) == 1 else 4, key)]
            if not parts:
                return name, tuple(members), latin
            rng.shuffle(parts)
            text = ", ".join(parts)
            cues = [] if latin else [
                cue for member, table in zip(members, tables, strict=True) if member < wide for cue in table["cues"]
            ]  # fmt: skip
            if cues and rng.random() < 0.4:
                text += rng.choice(("; ", ", ")) + ", ".join(rng.sample(cues, min(len(cues), rng.randint(2, 5))))
            name = text if rng.random() < 0.2 else rng.choice(LISTS).format(name, text)
        return name, tuple(members), latin

    def nothing() -> tuple[str, tuple[int, ...], bool]:
        latin = rng.random() < 0.25
        if rng.random() < 0.25:
            aspect = rng.randrange(len(ASPECT_NAMES))
            name = rng.choice(ENGLISH_ASPECTS[aspect] if latin else ASPECT_NAMES[aspect])
            return name, (none + 1 + aspect,), name.isascii()
        names_, cues_ = (
            (ENGLISH_NONE, ENGLISH_CUES) if latin else (goods.none["names"] + list(NONE_TEXTS), goods.none["cues"])
        )
        name = rng.choice(names_)
        if rng.random() < 0.6:
            cues = ", ".join(rng.sample(cues_, rng.randint(2, 6)))
            name = rng.choice(
                (f"{name}: {cues}", f"{name}: {cues}", f"{name} ({cues})", f"{rng.choice(names_)}: {cues}", cues)
            )
            if rng.random() < 0.3:
                name = f"{rng.choice(names_)}: {name}"
        return name, (none,), latin

    result: list[Form] = []
    while len(result) < count:
        kind, thing = rng.random(), None
        if kind < 0.5:
            name, concepts, latin = category()
        elif kind < 0.62:
            name, concepts, latin = nothing()
        elif kind < 0.86:
            place, name, own_kind = rng.choice(items)
            concepts, latin, thing = (wide + own_kind,), name.isascii(), ("item", place)
        else:
            name, departments, kinds, group = rng.choice(products)
            concepts = tuple(wide + number for number in kinds[:2]) or tuple(departments[:2])
            latin, thing = False, ("group", group)
        template = rng.choice(ENGLISH if latin or rng.random() < 0.08 else RUSSIAN)
        if rng.random() < 0.35:
            template = "{}"
        result.append(Form(template.format(name), concepts, thing))
    return result
