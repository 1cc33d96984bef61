"""All texts with weak labels, and all pairs of names, without any answer file.

Real reviews are judged as for tsirius-mini (``recipes/mini/prepare.py``) by the longer list of goods; written texts
(:mod:`recipes.goods.written`) and titles know their department. A label is a byte, 0 to 100 per cent, 255 unknown;
columns are departments, kinds, «nothing of a product», and what such a text may speak of.
"""

from __future__ import annotations

import json
import lzma
import random
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from recipes.mini import goods as base
from recipes.mini import prepare as weak
from recipes.mini.corpora import lines, pairs

from . import shop, written

UNKNOWN, LEARNED = weak.UNKNOWN, weak.LEARNED
SOURCES = (
    "ru_reviews",
    "pairs",
    "en_reviews",
    "ru_dialogues",
    "en_pairs",
    "titles",
    "named",
    "implied",
    "passing",
    "none",
)
FILES = ("texts.txt.xz", "spots.npz", "labels.npz", "names.json", "goods.json", "pairs.npz", "strings.txt.xz")


def run(config: dict[str, Any], corpora: Path, folder: Path, out: Path) -> dict[str, Any]:
    """Write ``FILES`` into ``out``; returns how many texts there are of each source."""
    asked, rng = config["prepare"], random.Random(config["seed"])
    goods = shop.build(folder)
    shop.save(goods, out / "goods.json")
    *_, more = shop.tables()

    texts, names, source = real(corpora, asked["dialogues"], rng)
    words = [base.lemmas(text) for text in texts]
    listed = sorted(set(names) - {""})
    number = {name: place for place, name in enumerate(listed)}
    listing = np.array([number[name] if name else -1 for name in names], dtype=np.int16)
    about = [base.departments_of(goods, base.lemmas(name), listing=True) for name in listed]
    dropped = unreliable(goods, words, listing, about)
    goods = without(goods, dropped)
    about = [base.departments_of(goods, base.lemmas(name), listing=True) for name in listed]
    shown = [base.general(name) for name in listed]
    heads = [weak._head(name, short) for name, short in zip(listed, shown, strict=True)]
    groups = sorted(set(heads))
    away = set(rng.sample(groups, round(asked["held_out_names"] * len(groups))))
    group = np.array([groups.index(head) for head in heads], dtype=np.int16)
    split = weak.hold_out(
        [" ".join(found) for found in words],
        listing >= 0,
        np.array([row >= 0 and heads[row] in away for row in listing]),
        share=asked["held_out_reviews"],
        seed=config["seed"],
    )
    kinds_of = np.array(source, dtype=np.uint8)
    labels = weak._labels(goods, texts, words, kinds_of, listing, about, heads, split, asked["folds"], config["seed"])
    owners(goods, words, labels, listing)
    quiet = elsewhere(goods, words, labels, kinds_of)
    several(goods, words, labels, listing)
    english(goods, words, labels, kinds_of)
    shelves(goods, labels)

    items = [item for table in goods.kinds for item in [*table["items"], *table["english_items"]]]
    order = {item: place for place, item in enumerate(items)}
    kept_away = {item for item in items if weak.hash_of(item) % 1000 < 1000 * asked["held_out_items"]}
    made = invented(goods, more, folder, rng, kept_away, asked)
    texts += [row["text"] for row in made]
    words += [base.lemmas(row["text"]) for row in made]
    spots = [goods.places(found) for found in words]
    own = np.full((len(texts), 4), -1, dtype=np.int16)
    for place, spot in enumerate(spots):
        distinct = [order[item] for item in dict.fromkeys(item for _, _, item, _ in spot) if item in order][:4]
        own[place, : len(distinct)] = distinct
    real_rows = len(labels)
    own[real_rows:] = -1
    for place, row in enumerate(made):
        if row.get("item") in order:
            own[real_rows + place, 0] = order[row["item"]]
    labels = np.concatenate([labels, np.stack([row["label"] for row in made])])
    split = np.concatenate([split, np.array([row.get("split", LEARNED) for row in made], dtype=np.uint8)])
    kinds_of = np.concatenate([kinds_of, np.array([row["source"] for row in made], dtype=np.uint8)])
    listing = np.concatenate([listing, np.full(len(made), -1, dtype=np.int16)])

    np.savez_compressed(out / "labels.npz", items=own, labels=labels, source=kinds_of, listing=listing, split=split,
                        group=group, away=np.array([order[item] for item in sorted(kept_away)],
                                       dtype=np.int16))  # fmt: skip
    table = [
        {
            "name": name,
            "general": short,
            "departments": sorted(found[0]),
            "kinds": sorted(found[1]),
            "held_out": head in away,
        }
        for name, short, head, found in zip(listed, shown, heads, about, strict=True)
    ]
    (out / "names.json").write_text(json.dumps(table, ensure_ascii=False), encoding="utf-8")
    write_lines(out / "texts.txt.xz", texts)
    write_spots(out / "spots.npz", texts, spots)
    counted = name_pairs(folder, out, corpora, rng, listed, listing, split, made, real_rows, goods, kept_away)
    speaks, quiets = (labels != UNKNOWN).any(1), labels[:, none_of(goods)] == 100
    return {
        **{
            title: {name: int(((kinds_of == place) & rows).sum()) for place, name in enumerate(SOURCES)}
            for title, rows in (("texts", kinds_of >= 0), ("labelled", speaks), ("none", quiets))
        },
        "goods": len(items), "held_out_goods": len(kept_away), "dropped": len(dropped), "elsewhere": quiet, **counted,
    }  # fmt: skip


def none_of(goods: base.Goods) -> int:
    """The column of «nothing of a product»."""
    return len(goods.departments) + len(goods.kinds)


def real(corpora: Path, dialogues: int, rng: random.Random) -> tuple[list[str], list[str], list[int]]:
    """(text, name of the listing or "", source) of every line; a review that has a listing stands there alone."""
    found = pairs(corpora)
    known = {text for text, _ in found}
    spoken = lines(corpora, "ru_dialogues")
    rows = [(line, "", 0) for line in lines(corpora, "ru_reviews") if line not in known]
    rows += [(text, name, 1) for text, name in found]
    rows += [(line, "", 2) for line in lines(corpora, "en_reviews")]
    rows += [(line, "", 3) for line in rng.sample(spoken, min(dialogues, len(spoken)))]
    return [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows]


def unreliable(goods: base.Goods, words: list[list[str]], listing: Any, about: list[Any]) -> set[str]:
    """Goods of one word from trees alone that reviews with a listing of another department use as often as not."""
    rest = len(goods.kinds) - len(goods.departments)
    seen: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for found, row in zip(words, listing.tolist(), strict=True):
        if row >= 0 and about[row][0]:
            for _, length, item, kind in goods.places(found):
                if length == 1 and kind >= rest:
                    seen[item] += 1
                    right[item] += bool(set(goods.parents[kind]) & about[row][0])
    return {item for item, count in seen.items() if count >= 8 and right[item] < 0.3 * count}


def without(goods: base.Goods, dropped: set[str]) -> base.Goods:
    """The list whose index lacks some items; the tables stay."""
    index = {first: [entry for entry in entries if entry[1] not in dropped] for first, entries in goods.items.items()}
    return base.Goods(goods.departments, goods.kinds, goods.none, goods.parents, index)


def several(goods: base.Goods, words: list[list[str]], labels: Any, listing: Any) -> None:
    """Things that belong to several departments at once (a carpet: decor, home textiles) speak of each of them."""
    wide = len(goods.departments)
    for place in np.flatnonzero(listing[: len(words)] < 0):
        found = goods.found(words[place])
        if not found:
            continue
        shared = set.intersection(*(set(goods.parents[kind]) for kind in found))
        if len(shared) > 1 and (labels[place, :wide] == UNKNOWN).any():
            labels[place, :] = 0
            labels[place, list(shared)] = 100
            labels[place, [wide + kind for kind in found]] = 100


def owners(goods: base.Goods, words: list[list[str]], labels: Any, listing: Any) -> None:
    """A child or an animal in a review without a listing that names other goods may be no more than passing by."""
    number = goods.number
    for place in np.flatnonzero(listing[: len(words)] < 0):
        here = set(words[place])
        for whom, whose in ((base.PETS, number["pets"]), (base.KIDS, number["kids"])):
            if labels[place, whose] == 100 and here & whom:
                found = goods.found(words[place])
                if found and not any(whose in goods.parents[kind] for kind in found):
                    labels[place] = UNKNOWN


def elsewhere(goods: base.Goods, words: list[list[str]], labels: Any, source: Any) -> int:
    """Unjudged Russian texts on delivery, seller or refund, in two words of theirs at least, that name no goods."""
    none, found = none_of(goods), 0
    shows = {place: words_ for place, (_, words_) in enumerate(weak.ASPECTS.items())}
    about = set().union(*(shows[place] for place in range(3)))
    seen = np.where((source < 2)[:, None], labels[:, : len(goods.departments)].astype(np.int16), -1)
    own = np.where((seen == 100).any(1), seen.argmax(1), -1)
    telling = weak.telling_words(words, own, len(goods.departments))
    for place in np.flatnonzero((source < 2) & (labels == UNKNOWN).all(1)):
        here = set(words[place])
        if len(words[place]) <= 40 and len(here & about) >= 2 and not here & telling and not goods.found(words[place]):
            labels[place, :none], labels[place, none] = 0, 100
            for aspect, words_ in shows.items():
                labels[place, none + 1 + aspect] = 100 if words_ & here else 0
            found += 1
    return found


def english(goods: base.Goods, words: list[list[str]], labels: Any, source: Any) -> None:
    """Long English reviews name many things: the department of most of them, where it is far ahead."""
    wide, none = len(goods.departments), none_of(goods)
    for place in np.flatnonzero(source == SOURCES.index("en_reviews")):
        counts: Counter[int] = Counter()
        for _, _, _, kind in goods.places(words[place]):
            counts.update({owner: 1 / len(goods.parents[kind]) for owner in goods.parents[kind]})
        labels[place] = UNKNOWN
        ranked = counts.most_common(2) + [(-1, 0)] * 2
        if ranked[0][1] >= 2 and ranked[0][1] >= 2 * ranked[1][1]:
            labels[place, :wide] = 0
            for owner, count in counts.items():
                labels[place, owner] = UNKNOWN if count * 3 > ranked[0][1] else 0
            labels[place, ranked[0][0]] = 100
            labels[place, none:] = 0


def shelves(goods: base.Goods, labels: Any) -> None:
    """Of a thing from a tree's leaf it is not known on which shelf of its department it stands."""
    wide = len(goods.departments)
    rest = wide + len(goods.kinds) - wide
    for owner in range(wide):
        rows = (labels[:, rest + owner] != 0) & (labels[:, rest + owner] != UNKNOWN)
        for kind, parents in enumerate(goods.parents[: len(goods.kinds) - wide]):
            if owner in parents:
                column = labels[:, wide + kind]
                column[rows & (column == 0)] = UNKNOWN


def invented(
    goods: base.Goods, more: dict[str, Any], folder: Path, rng: random.Random, away: set[str], asked: dict[str, Any]
) -> list[dict[str, Any]]:
    """The written texts, titles and English reviews with a listing, each with its labels."""
    import polars as pl

    wide, none = len(goods.departments), none_of(goods)
    number = goods.number
    rest = len(goods.kinds) - wide
    level = {name.lower(): owner for owner, names in more["levels"].items() for name in names}
    rows: list[dict[str, Any]] = []

    def label(owners: list[int], kinds: list[int] | None, aspects: set[str] | None = None) -> Any:
        made = np.zeros(none + 1 + len(weak.ASPECTS), dtype=np.uint8)
        made[owners] = 100
        if kinds is None:  # unknown shelf
            for kind, parents in enumerate(goods.parents):
                if set(parents) & set(owners):
                    made[wide + kind] = UNKNOWN
        else:
            made[[wide + kind for kind in kinds]] = 100
            for kind in kinds:
                if kind >= rest:
                    for other, parents in enumerate(goods.parents[:rest]):
                        if set(parents) & set(goods.parents[kind]):
                            made[wide + other] = UNKNOWN
        if aspects is not None:
            made[none] = 100
            for place, aspect in enumerate(weak.ASPECTS):
                made[none + 1 + place] = 100 if aspect in aspects else 0
        return made

    def add(text: str, source: str, marks: Any, **other: Any) -> None:
        rows.append({"text": text, "source": SOURCES.index(source), "label": marks, **other})

    phrases: dict[tuple[str, str], list[str]] = defaultdict(list)
    for owner, thing, phrase in written.uses():
        phrases[owner, thing].append(phrase)
    of_shelf: dict[tuple[int, int, bool], list[str]] = defaultdict(list)
    for (owner, thing), said in phrases.items():
        for kind in goods.found(base.lemmas(thing)):
            if number[owner] in goods.parents[kind] and kind < rest and len(goods.kinds[kind]["items"]) < 60:
                of_shelf[number[owner], kind, said[0].isascii()] += said
    by_item = [
        (item, kind) for kind, table in enumerate(goods.kinds) for item in [*table["items"], *table["english_items"]]
    ]
    others = {latin: [phrase for _, _, phrase in written.uses() if phrase.isascii() == latin and len(phrase) < 45]
              for latin in (False, True)}  # fmt: skip
    for item, kind in by_item:
        times = 7 if kind < rest else 4 if len(item.split()) < 3 else 1
        same = of_shelf.get((goods.parents[kind][0], kind, item.isascii()))
        for _ in range(times if item not in away else 1):
            split = weak.NAME_HELD_OUT if item in away else LEARNED
            text = written.named(rng, item, same, others[item.isascii()])
            add(text, "named", label(goods.parents[kind], [kind]), item=item, split=split)
    for owner, thing, frames in written.companions():
        shelves_ = [kind for kind in goods.found(base.lemmas(thing)) if number[owner] in goods.parents[kind]]
        table = goods.kinds[shelves_[0]] if shelves_ and shelves_[0] < rest else None
        near = [] if table is None else table["english_items" if thing.isascii() else "items"]
        pool = [item for item in [thing] * 3 + near[:60] if item not in away]
        for _ in range(asked["companions"] if pool else 0):
            item = written.pick(rng, pool)
            marks = label([number[owner]] if table is None else goods.parents[shelves_[0]], shelves_[:1] or None)
            add(written.met(rng, item, frames), "named", marks, item=item)

    shelf: dict[tuple[str, str], list[int] | None] = {}
    for (owner, thing), said in phrases.items():
        latin = said[0].isascii()
        kinds = [kind for kind in goods.found(base.lemmas(thing)) if number[owner] in goods.parents[kind]]
        shelf[owner, thing] = kinds[:1] or None
        for _ in range(asked["implied"] * len(said) // 6):
            add(written.implied(rng, said, latin), "implied", label([number[owner]], shelf[owner, thing]))

    russian = [
        (item, kind) for item, kind in by_item if not item.isascii() and item not in away and len(item.split()) < 3
    ]
    latin = [(item, kind) for item, kind in by_item if item.isascii() and item not in away]
    using = list(phrases.items())
    for round_ in range(asked["passing"]):
        pool = latin if round_ % 8 == 0 else russian
        (thing, kind), (other, second) = written.pick(rng, pool), written.pick(rng, pool)
        phrase, owners = "", goods.parents[kind]
        if rng.random() < 0.5:
            (owner, thing), said = written.pick(rng, using)
            if said[0].isascii() != (pool is latin):
                continue
            phrase, owners, kind = written.pick(rng, said), [number[owner]], (shelf[owner, thing] or [-1])[0]
        if set(owners) & set(goods.parents[second]):
            continue
        text = written.passing(rng, thing, phrase, other, pool is latin)
        add(text, "passing", label(owners, None if kind < 0 else [kind]))
        if round_ % 4 == 0:
            frame = written.pick(rng, written.frames("mention", pool is latin))
            add(
                written.said(rng, [written.filled(frame, **written.cases(other, "o_"))]),
                "none",
                label([], [], {"delivery", "complaint"}),
            )
    for round_ in range(asked["none"]):
        text, aspects = written.generic(rng, round_ % 6 == 0)
        add(text, "none", label([], [], aspects))

    titles = pl.read_parquet(folder / "titles.parquet")
    for title, path in titles.select("title", "category_path").iter_rows():
        owner = shop.department((path or "").split(" > "), level)
        words = base.departments_of(goods, base.lemmas(title), listing=True)
        owners = [number[owner]] if owner else sorted(words[0]) if len(words[0]) == 1 else []
        if title and owners:
            add(title[:200], "titles", label(owners, None))
    english_pairs = pl.read_parquet(folder / "en_pairs.parquet")
    for text, path in english_pairs.select("text", "category_path").iter_rows():
        owner = shop.department((path or "").split(" > ")[:1], level) or shop.department(
            (path or "").split(" > "), level
        )
        if text and owner:
            marks = label([number[owner]], None)
            marks[none] = UNKNOWN
            if owner == "health" or owner == "beauty":  # Amazon parts them by shop, not by use
                marks[[number[one] for one in ("health", "beauty", "household")]] = UNKNOWN
                marks[number[owner]] = 100
            add(text[:600], "en_pairs", marks)
    return rows


def name_pairs(
    folder: Path, out: Path, corpora: Path, rng: random.Random, listed: list[str], listing: Any, split: Any,
    made: list[dict[str, Any]], real_rows: int, goods: base.Goods, away: set[str],
) -> dict[str, int]:  # fmt: skip
    """Pairs for the contrastive form: (a text's row or a string, a name, the names that are no negatives for it)."""
    import polars as pl

    strings: dict[str, int] = {}

    def put(text: str) -> int:
        return strings.setdefault(" ".join(text.split())[:160], len(strings))

    first: list[tuple[int, int]] = []  # (text row, -1) or (-1, string)
    second: list[int] = []
    near: list[list[int]] = []
    kind: list[int] = []

    def add(row: int, text: str, name: str, also: list[str], sort: int) -> None:
        first.append((row, -1 if row >= 0 else put(text)))
        second.append(put(name))
        near.append([put(one) for one in also][:8])
        kind.append(sort)

    for row in np.flatnonzero((listing >= 0) & (split == LEARNED)):
        add(int(row), "", listed[listing[row]], [], 0)
    skipped = set(away)
    paths = []
    for path, source in pl.read_parquet(folder / "trees.parquet").select("path", "source").iter_rows():
        if source not in ("okpd2", "mktu"):
            paths.append([step.strip() for step in path.split(" > ")])
    for ru, en in pl.read_parquet(folder / "google_taxonomy.parquet").select("ru", "en").iter_rows():
        russian, latin = [[step.strip() for step in (path or "").split(" > ") if step.strip()] for path in (ru, en)]
        paths += [steps for steps in (russian, latin) if steps]
        if russian and latin and shop.plain(russian[-1]) not in skipped and shop.plain(latin[-1]) not in skipped:
            for _ in range(2):
                add(-1, russian[-1], latin[-1], russian + latin, 2)
            if len(latin) > 1:
                add(-1, russian[-1], latin[-2], russian + latin, 2)
                add(-1, latin[-1], russian[-2] if len(russian) > 1 else russian[-1], russian + latin, 2)
    for steps in paths:
        if len(steps) > 1 and shop.plain(steps[-1]) not in skipped:
            for above in {steps[-2], steps[0], " > ".join(steps[:-1]), rng.choice(steps[:-1])}:
                add(-1, steps[-1], above, steps, 1)
    for title, path in pl.read_parquet(folder / "titles.parquet").select("title", "category_path").iter_rows():
        if title and path:
            steps = path.split(" > ")
            add(-1, title, rng.choice([steps[-1], steps[-1], path]), [*steps, path], 3)
    table = pl.read_parquet(folder / "en_pairs.parquet")
    for text, name, path in table.select("text", "product_name", "category_path").iter_rows():
        steps = (path or "").split(" > ")
        if text and name:
            add(-1, text[:160], name, [], 4)
            add(-1, text[:160], steps[-1], steps, 4)
    for owner, thing, phrase in written.uses():
        add(-1, phrase, thing, [owner], 5)
    widest = max(map(len, near))
    np.savez_compressed(
        out / "pairs.npz",
        first=np.array(first, dtype=np.int32),
        second=np.array(second, dtype=np.int32),
        near=np.array([row + [-1] * (widest - len(row)) for row in near], dtype=np.int32),
        kind=np.array(kind, dtype=np.uint8),
    )
    write_lines(out / "strings.txt.xz", list(strings))
    return {"pairs": len(second), "strings": len(strings)}


def write_lines(file: Path, texts: list[str]) -> None:
    """One text a line, compressed."""
    with lzma.open(file, "wt", encoding="utf-8", preset=2) as stream:
        stream.write("\n".join(text.replace("\n", " ").replace("\r", " ") for text in texts))


def read_lines(file: Path) -> list[str]:
    """What :func:`write_lines` wrote."""
    with lzma.open(file, "rt", encoding="utf-8", newline="\n") as stream:
        return stream.read().split("\n")


def write_spots(file: Path, texts: list[str], spots: list[Any]) -> None:
    """Where words of goods stand in the texts, in characters: (text, begin, end)."""
    rows = []
    for place, (text, spot) in enumerate(zip(texts, spots, strict=True)):
        if spot:
            ends = [match.span() for match in base.WORD.finditer(text)]
            rows += [(place, ends[at][0], ends[at + length - 1][1]) for at, length, _, _ in spot]
    np.savez_compressed(file, spots=np.array(rows, dtype=np.int32))
