"""Augment: variants of training reviews for the categories that have few.

A category with fewer than ``target_per_class`` rows gets variants of its own reviews, all of these used evenly, each
variant with the id of the review that it was made from. A variant that says nothing new, strays too far, or comes near
a validation review is refused; refusals are counted by reason. Validation rows never have variants.

Off by default: variants of this kind give neither a linear model nor a pretrained encoder a dependable gain (Longpre et
al. 2020, arXiv 2010.01764), and they shift the mix of the categories.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import polars as pl
from pydantic import Field

from tsirius import tables
from tsirius.augmenters import accept, eda
from tsirius.categories import Categories
from tsirius.progress import say
from tsirius.section import Section
from tsirius.text import lemmas

VERSION = 1

Make = Callable[[str, str], Iterator[str]]
"""Called with a text and a key that all chance hangs on: makes variants one after the other, until it has no more."""


class Config(Section):
    target_per_class: int = Field(0, ge=0)
    """A category with fewer training rows gets variants up to this many (0: none does)."""
    methods: list[Literal["eda"]] = Field(["eda"], min_length=1)
    """How variants are made, in turn. ``eda``: words swapped, left out, put in, or replaced by a synonym."""
    max_per_source: int = Field(8, ge=1)
    """Variants of one review by one method at most."""
    tries: int = Field(5, ge=1)
    """Variants made for each one wanted: bounds the work on reviews whose variants are refused."""
    swap: float = Field(0.1, ge=0, le=1)
    """eda: share of the words that change places (0: none does)."""
    delete: float = Field(0.1, ge=0, le=0.5)
    """eda: share of the words that are left out; never those of the categories' names and descriptions."""
    insert: float = Field(0.1, ge=0, le=1)
    """eda: share of the words that get a synonym put in somewhere."""
    synonym: float = Field(0.1, ge=0, le=1)
    """eda: share of the words that are replaced by a synonym in the same form."""
    kept: float = Field(0.5, ge=0, le=1)
    """A variant keeps at least this share of its source's words, and is at most as much longer as it may be shorter."""
    likeness: float = Field(0.8, gt=0, le=1)
    """A variant whose words are this like those of a validation review (Jaccard similarity) is refused."""


def run(config: Config, given: Mapping[str, Path], out: Path, *, seed: int, scratch: Path) -> dict[str, Any]:
    train = tables.read(given["balance"] / "train.parquet", tables.EXAMPLES)
    categories = Categories.from_json((given["ingest"] / "categories.json").read_text(encoding="utf-8"))
    before = Counter(dict.fromkeys(categories.names, 0))
    before.update(train["label"].to_list())
    made, refused = train.clear(), Counter[str]()
    wanted = {name: config.target_per_class - rows for name, rows in before.items() if rows < config.target_per_class}
    if wanted:
        valid = tables.read(given["split"] / "valid.parquet", tables.EXAMPLES)
        protected = frozenset(lemmas(" ".join(f"{item.name} {item.description}" for item in categories)))
        sources = train.filter((pl.col("method") == "written") & pl.col("label").is_in(list(wanted)))
        makers = {
            "eda": _eda(
                sources["clean"].to_list(),
                count=config.max_per_source * config.tries,
                swap=config.swap,
                delete=config.delete,
                insert=config.insert,
                synonym=config.synonym,
                protected=protected,
            )
        }
        judge = accept.judge(
            train["clean"].to_list(),
            valid["clean"].to_list(),
            protected=protected,
            shortest=config.kept,
            longest=2 - config.kept,
            kept=config.kept,
            likeness=config.likeness,
        )
        made, refused = grow(
            sources,
            wanted,
            {name: makers[name] for name in config.methods},
            judge,
            max_per_source=config.max_per_source,
            taken=set(train["id"].to_list()) | set(valid["id"].to_list()),
            seed=seed,
        )
    tables.write(pl.concat([train, made], rechunk=True), tables.EXAMPLES, out / "train.parquet")
    after = before.copy()
    after.update(made["label"].to_list())
    short = {name: config.target_per_class - after[name] for name in wanted if after[name] < config.target_per_class}
    empty = [name for name in before if not before[name]]
    if wanted:
        say(f"  {made.height:,} variants made, {refused.total():,} refused")
    for name, missing in short.items():
        say(f"  {name}: {missing:,} short of {config.target_per_class:,}")
    if empty:
        say(f"  nothing to learn from: {', '.join(empty)}")
    return {
        "rows": train.height + made.height,
        "variants": made.height,
        "categories": dict(after.most_common()),
        "refused": dict(refused.most_common()),
        "short": short,
        "empty": empty,
    }


def grow(
    sources: pl.DataFrame,
    wanted: Mapping[str, int],
    makers: Mapping[str, Make],
    judge: accept.Judge,
    *,
    max_per_source: int,
    taken: set[str],
    seed: int,
) -> tuple[pl.DataFrame, Counter[str]]:
    """Variants of ``sources`` as rows of :data:`tsirius.tables.EXAMPLES`, and the refusals by reason.

    In each category the sources take turns, in a random order, one accepted variant a turn, until the category has as
    many as wanted or no source has more. What a source yields hangs on the seed and its id alone.

    Args:
        sources: written training rows.
        wanted: category → variants.
        makers: method → what makes the variants.
        judge: what refuses them.
        max_per_source: variants by one method of one source.
        taken: ids that are in use; those of the variants are added.
        seed: of the order and of the makers.
    """
    turns: dict[str, list[tuple[dict[str, Any], str]]] = defaultdict(list)
    for method in makers:
        for row in sources.iter_rows(named=True):
            turns[row["label"]].append((row, method))
    rows, refused = list[dict[str, Any]](), Counter[str]()
    for label, missing in wanted.items():
        order = turns[label]
        random.Random(f"{seed}:{label}").shuffle(order)
        queue = deque(
            (row, method, makers[method](row["clean"], f"{seed}:{method}:{row['id']}"), 0) for row, method in order
        )
        while missing > 0 and queue:
            row, method, maker, number = queue.popleft()
            clean = _accepted(maker, row["clean"], judge, refused)
            if clean is None:
                continue
            number = next(
                n for n in range(number + 1, len(taken) + number + 2) if f"{row['id']}~{method}{n}" not in taken
            )
            id = f"{row['id']}~{method}{number}"
            taken.add(id)
            rows.append(row | {"id": id, "clean": clean, "origin": row["id"], "method": method})
            missing -= 1
            if number < max_per_source:
                queue.append((row, method, maker, number))
    return pl.DataFrame(rows, schema=sources.schema), refused


def _accepted(maker: Iterator[str], source: str, judge: accept.Judge, refused: Counter[str]) -> str | None:
    for variant in maker:
        reason = judge(variant, source)
        if reason is None:
            return variant
        refused[reason] += 1
    return None


def _eda(
    texts: Sequence[str],
    *,
    count: int,
    swap: float,
    delete: float,
    insert: float,
    synonym: float,
    protected: frozenset[str],
) -> Make:
    """The maker for ``texts``; synonyms are looked up for all of them at once."""
    synonyms: eda.Synonyms = {}
    if insert or synonym:
        synonyms = eda.find_synonyms((lemma for text in texts for lemma in lemmas(text)), protected=protected)

    def make(text: str, key: str) -> Iterator[str]:
        yield from eda.variants(  # a generator: the 2.5 KB of a random state come into being at a source's first turn
            text,
            count=count,
            swap=swap,
            delete=delete,
            insert=insert,
            synonym=synonym,
            synonyms=synonyms,
            protected=protected,
            rng=random.Random(key),
        )

    return make
