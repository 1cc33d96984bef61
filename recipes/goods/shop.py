"""What shops sell: mini's list, more.toml, and the leaves of shop trees, found in texts by lemma as whole words.

Behind mini's kinds stands one more kind for each department: its goods that stand on no shelf of the list.
"""

from __future__ import annotations

import json
import tomllib
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from recipes.mini import goods as base

SAME = {"компьютеры": "компьютеры и ноутбуки", "аудио и тв": "наушники и колонки", "освещение": "светильники и лампы",
        "бытовая химия": "средства для стирки и уборки"}  # fmt: skip
"""Kinds of more.toml that add to one of mini's."""


def tables() -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, Any], dict[str, Any]]:
    """Departments, kinds and the none-category of both lists, and more.toml as it is."""
    content = tomllib.loads(Path(base.__file__).with_name("goods.toml").read_text(encoding="utf-8"))
    more = tomllib.loads(Path(__file__).with_name("more.toml").read_text(encoding="utf-8"))
    departments = [dict(table) for table in [*content["department"], *more["department"]]]
    kinds = [{"english_items": [], **table} for table in content["kind"]]
    for table in kinds:  # computers and television are shelves of their own here
        if table["names"][0] == "компьютеры и ноутбуки":
            table["names"], table["english"] = table["names"][:2], ["computers", "laptops"]
            table["items"] = [item for item in table["items"] if item not in ("телевизор", "приставка", "пульт")]
        elif table["names"][0] == "наушники и колонки":
            table["items"] = [*table["items"], "телевизор", "пульт"]
    rest = {
        table["id"]: {"department": [table["id"]], "names": [], "english": [], "items": [], "english_items": []}
        for table in departments
    }
    by_id = {table["id"]: table for table in departments}
    for table in more["kind"]:
        if table.pop("broad", False):
            for owner in table["department"]:
                for key in ("names", "english"):
                    by_id[owner][key] = list(dict.fromkeys([*by_id[owner][key], *table[key]]))
            target = rest[table["department"][0]]
        elif into := table.pop("into", None) or SAME.get(table["names"][0]):
            target = next(kind for kind in kinds if kind["names"][0] == into)
            for key in ("names", "english"):
                target[key] = list(dict.fromkeys([*target[key], *table[key]]))
        else:
            kinds.append(table)
            continue
        for key in ("items", "english_items"):
            target[key] = [*target[key], *table[key]]
    return departments, [*kinds, *rest.values()], content["none"], more


def leaves(folder: Path, more: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Leaves of the shop trees, in lower case → the department that most trees put them in, doubtful ones left out, and
    the shelf in it ("" where no level says so)."""
    import polars as pl

    level = {name.lower(): owner for owner, names in more["levels"].items() for name in names}
    shelf = {name.lower(): kind for kind, names in more["shelves"].items() for name in names}
    votes: dict[str, Counter[str]] = defaultdict(Counter)
    stands: dict[str, Counter[str]] = defaultdict(Counter)
    ambiguous = set(more["words"]["ambiguous"])
    trees = pl.read_parquet(folder / "trees.parquet").select("path", "source")
    paths = [(path, source) for path, source in trees.iter_rows() if source not in ("okpd2",)]
    google = pl.read_parquet(folder / "google_taxonomy.parquet")
    paths += [(path, "google") for column in ("ru", "en") for path in google[column] if path]
    paths += [(f"{path} > {title}", source) for title, path, source in receipts(folder)]
    for path, source in paths:
        steps = [step.strip() for step in path.split(">")]
        owner = department(steps, level)
        name = plain(steps[-1])
        if owner and name and len(steps) > 1:
            votes[name][owner] += 1 if source == "mktu" else 2
            own = next((shelf[step.lower()] for step in reversed(steps) if step.lower() in shelf), "")
            stands[name][f"{owner}|{own}"] += 1
    found = {}
    for name, counts in votes.items():
        (first, most), *others = [*counts.most_common(2), ("", 0)]
        lemmas = base.lemmas(name)
        if len(lemmas) == 1 and (lemmas[0] in ambiguous or len(lemmas[0]) < 3):
            continue
        if lemmas and most > 1.5 * others[0][1]:
            own = Counter({key.partition("|")[2]: n for key, n in stands[name].items() if key.startswith(f"{first}|")})
            found[name] = first, own.most_common(1)[0][0]
    return found


def receipts(folder: Path) -> list[tuple[str, str, str]]:
    """(head noun, department's path, source) of till receipts that have both."""
    import polars as pl

    table = pl.read_parquet(folder / "titles.parquet").filter(pl.col("source") == "receipts-alfa#tree")
    return list({(path.split(" > ")[-1], path.split(" > ")[0], "receipts") for path in table["category_path"]})


def plain(name: str) -> str:
    """A leaf's name without brackets and what follows a comma or dash; empty where it is no short name."""
    import re

    name = re.sub(r"\([^)]*\)|\[[^\]]*\]", " ", name.lower()).replace("ё", "е")
    name = re.split(r"[,;/]| - | – | — ", name)[0].strip(" .:-")
    words = name.split()
    return " ".join(words) if 1 <= len(words) <= 3 and all(len(word) > 1 for word in words) else ""


def department(steps: list[str], level: dict[str, str]) -> str:
    """The department of a path: that of its deepest known level, "" where that has none."""
    for step in reversed(steps):
        owner = level.get(step.lower())
        if owner is not None:
            return "" if owner == "-" else owner
    return ""


def build(folder: Path) -> base.Goods:
    """The whole list with its index; asks for the morphology."""
    departments, kinds, none, more = tables()
    number = {table["id"]: place for place, table in enumerate(departments)}
    rest = {table["department"][0]: table for table in kinds[-len(departments) :]}
    known = {tuple(base.lemmas(item)) for table in kinds for item in [*table["items"], *table["english_items"]]}
    first = {table["names"][0]: table for table in kinds if table["names"]}
    for name, (owner, own) in sorted(leaves(folder, more).items()):
        key = tuple(base.lemmas(name))
        if key and key not in known:
            known.add(key)
            table = first.get(SAME.get(own, own))
            target = table if table is not None and owner in table["department"] else rest[owner]
            target["english_items" if name.isascii() else "items"].append(name)
    return index(departments, kinds, none, number, frozenset(more["words"]["homographs"]))


def index(
    departments: list[dict[str, Any]],
    kinds: list[dict[str, Any]],
    none: dict[str, Any],
    number: dict[str, int],
    homographs: frozenset[str] = frozenset(),
) -> base.Goods:
    """Goods with their items by first lemma, the longest first; of ``homographs``, none is looked for in texts."""
    items: dict[str, list[tuple[tuple[str, ...], str, int]]] = {}
    for kind, table in enumerate(kinds):
        for item in [*table["items"], *table["english_items"]]:
            key = tuple(base.lemmas(item))
            if key and item not in homographs:
                items.setdefault(key[0], []).append((key, item, kind))
    for entries in items.values():
        entries.sort(key=lambda entry: -len(entry[0]))
    parents = [[number[name] for name in table["department"]] for table in kinds]
    return base.Goods(departments, kinds, none, parents, items)


def save(goods: base.Goods, file: Path) -> None:
    """The tables alone, without the index."""
    file.write_text(
        json.dumps([goods.departments, goods.kinds, goods.none, goods.parents], ensure_ascii=False), encoding="utf-8"
    )


def load(file: Path) -> base.Goods:
    """What :func:`save` wrote, without the index."""
    departments, kinds, none, parents = json.loads(file.read_text(encoding="utf-8"))
    return base.Goods(departments, kinds, none, parents, {})
