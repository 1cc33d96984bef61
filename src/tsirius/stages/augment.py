"""Augment: variants of training reviews for the categories that have few.

A category with fewer than ``target_per_class`` rows gets variants of its own reviews, all of these used evenly, each
variant with the id of the review that it was made from. A variant that says nothing new, strays too far, gets another
category from a labeller, or comes near a validation review is refused; refusals are counted by reason. Validation rows
never have variants.

Off by default: variants of this kind give neither a linear model nor a pretrained encoder a dependable gain (Longpre et
al. 2020, arXiv 2010.01764; benchmarks/RESULTS.md), and they shift the mix of the categories. ``tsirius bench augment``
measures what a method does for yours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import Field, field_validator

from tsirius import augmenters, tables
from tsirius.augmenters import AUGMENTERS, Material, accept
from tsirius.augmenters.grow import Gate, Grown, grow
from tsirius.augmenters.relabel import Relabeller
from tsirius.categories import Categories
from tsirius.errors import nearest
from tsirius.labellers import LABELLERS, Labeller, published
from tsirius.language.words import lemmas
from tsirius.models import hub, load
from tsirius.progress import say
from tsirius.section import Section, nest

VERSION = 4


@nest({name: augmenters.module(name).Config for name in AUGMENTERS})
class Config(Section):
    target_per_class: int = Field(0, ge=0)
    """A category with fewer training rows gets variants up to this many (0: none does)."""
    methods: list[str] = Field(["eda"], min_length=1)
    """The augmenters, each with a section of its own; they take turns."""
    max_per_source: int = Field(8, ge=1)
    """Variants of one review by one method at most."""
    weight: float = Field(0.5, gt=0, le=1)
    """Weight of a variant in training; a review that a person wrote has 1."""
    agree: str = "all"
    """The labellers that must say of a variant what they say of its source: "all" that labelled the reviews, the name
    of one of them, or "none"."""
    shortest: float = Field(0.5, ge=0, le=1)
    """A variant has at least this share of its source's number of words."""
    longest: float = Field(1.5, ge=1)
    """A variant has at most this many times its source's words (one more word is always allowed)."""
    least_similar: float = Field(0.6, ge=0, le=1)
    """A variant's meaning is at least this like its source's (cosine of summed word vectors)."""
    most_similar: float = Field(0.98, gt=0, le=1)
    """A variant that has more than this share of its words in its source's order is a copy, and refused."""
    likeness: float = Field(0.8, gt=0, le=1)
    """A variant whose words are this like those of another review (Jaccard similarity) is refused."""

    @field_validator("methods")
    @classmethod
    def _known(cls, methods: list[str]) -> list[str]:
        for name in methods:
            if name not in AUGMENTERS:
                raise ValueError(f"no method {name!r}{nearest(name, AUGMENTERS)} (known: {', '.join(AUGMENTERS)})")
        if len(set(methods)) < len(methods):
            raise ValueError("names a method twice; name it once")
        return methods

    @field_validator("agree")
    @classmethod
    def _labeller(cls, agree: str) -> str:
        known = ["all", "none", *LABELLERS]
        if agree not in known:
            raise ValueError(f"no labeller {agree!r}{nearest(agree, known)} (known: {', '.join(known)})")
        return agree


def _section(config: Config, name: str) -> Section:
    """The section of an augmenter, which ``nest`` gave the configuration."""
    section = getattr(config, name)
    assert isinstance(section, Section)
    return section


def models(config: Config) -> dict[str, str]:
    """The models that are used: setting → folder or hub name."""
    result = dict[str, str]()
    for name in config.methods if config.target_per_class else []:
        result |= augmenters.module(name).models(_section(config, name))
    return result


def check(config: Config) -> None:
    """Make sure that the models of the methods are at hand or can be fetched.

    Raises:
        UserError: one is not, or a part of it is missing.
    """
    for model in models(config).values():
        hub.check(model)
        load.check(model, head="AutoModelForSeq2SeqLM", new_head=False)


def files(config: Config) -> dict[str, Path]:
    """The folders of the models that are not the hub's: other weights write other variants."""
    return {setting: hub.folder(model) for setting, model in models(config).items() if hub.is_folder(model)}


def run(config: Config, given: Mapping[str, Path], out: Path, *, seed: int, scratch: Path) -> dict[str, Any]:
    train = tables.read(given["balance"] / "train.parquet", tables.EXAMPLES)
    categories = Categories.from_json((given["ingest"] / "categories.json").read_text(encoding="utf-8"))
    before = Counter(dict.fromkeys(categories.names, 0))
    before.update(train["label"].to_list())
    wanted = {name: config.target_per_class - rows for name, rows in before.items() if rows < config.target_per_class}
    sources = train.filter((pl.col("method") == "written") & pl.col("label").is_in(list(wanted)))
    grown = Grown.empty()
    if sources.height:
        grown = _grow(config, given, train, sources, wanted, categories, seed=seed, scratch=scratch)
    new_rows = _rows(grown.accepted, sources, weight=config.weight)
    tables.write(pl.concat([train, new_rows], rechunk=True), tables.EXAMPLES, out / "train.parquet")
    tables.write(grown.accepted, tables.VARIANTS, out / "variants.parquet")
    tables.write(grown.examples, tables.REFUSED, out / "refused.parquet")
    if wanted:
        say(f"  {new_rows.height:,} variants accepted, {grown.refused.total():,} refused")
    after = before.copy()
    after.update(new_rows["label"].to_list())
    short = {name: config.target_per_class - after[name] for name in wanted if after[name] < config.target_per_class}
    why = _short_because(config, short, wanted, Counter(sources["label"].to_list()), grown)
    empty = [name for name in before if not before[name]]
    if empty:
        say(f"  nothing to learn from: {', '.join(empty)}")
    return {
        "rows": train.height + new_rows.height,
        "variants": new_rows.height,
        "categories": dict(after.most_common()),
        "methods": dict(Counter(new_rows["method"].to_list()).most_common()),
        "refused": dict(grown.refused.most_common()),
        "refused_by_method": {name: dict(counts.most_common()) for name, counts in grown.by_method.items()},
        "short": short,
        "short_because": why,
        "empty": empty,
    }


def _grow(
    config: Config,
    given: Mapping[str, Path],
    train: pl.DataFrame,
    sources: pl.DataFrame,
    wanted: Mapping[str, int],
    categories: Categories,
    *,
    seed: int,
    scratch: Path,
) -> Grown:
    """Variants of ``sources``, category → as many as are ``wanted``."""
    valid = tables.read(given["split"] / "valid.parquet", tables.EXAMPLES)
    protected = frozenset(lemmas(" ".join(f"{item.plain} {item.plain_description}" for item in categories)))
    evidence = _evidence(given["label"], sources["id"])
    methods = {
        name: augmenters.module(name).make(
            _section(config, name),
            Material(protected, evidence, wanted=config.max_per_source, seed=seed, scratch=scratch / name),
        )
        for name in config.methods
    }
    labellers = list[Labeller]()
    if config.agree != "none":
        only = None if config.agree == "all" else config.agree
        labellers = published.reopen(given["label"], categories, only=only)
    judge = accept.judge(
        [accept.Row(*row) for row in train.select("clean", "group").iter_rows()],
        [accept.Row(*row) for row in valid.select("clean", "group").iter_rows()],
        protected=protected,
        shortest=config.shortest,
        longest=config.longest,
        least=config.least_similar,
        most=config.most_similar,
        likeness=config.likeness,
    )
    return grow(
        sources,
        wanted,
        methods,
        Gate(judge, Relabeller(labellers), evidence),
        max_per_source=config.max_per_source,
        taken=set(train["id"].to_list()) | set(valid["id"].to_list()),
        seed=seed,
    )


def _short_because(
    config: Config, short: Mapping[str, int], wanted: Mapping[str, int], reviews: Counter[str], grown: Grown
) -> dict[str, str]:
    """Why categories are short of the target; also printed."""
    result = dict[str, str]()
    for name, missing in short.items():
        most = reviews[name] * len(config.methods) * config.max_per_source
        result[name] = _why(reviews[name], grown.by_label[name], capped=most < wanted[name])
        say(f"  {name}: {missing:,} short of {config.target_per_class:,} ({result[name]})")
    return result


def _why(reviews: int, refused: Counter[str], *, capped: bool) -> str:
    """Why a category is short of its target."""
    if not reviews:
        return "no review to make variants of"
    if capped:
        return f"too few reviews, {reviews:,}, for max_per_source"
    often = f"most often refused: {refused.most_common(1)[0][0]}" if refused else "no more variants"
    return f"from {reviews:,} reviews; {often}"


def _rows(accepted: pl.DataFrame, sources: pl.DataFrame, *, weight: float) -> pl.DataFrame:
    """The variants as rows of :data:`tsirius.tables.EXAMPLES`."""
    return (
        accepted.select("id", "clean", "label", "origin", "method")
        .join(sources.select("group", "confidence", origin="id"), on="origin", how="left", maintain_order="left")
        .with_columns(weight=pl.lit(weight, dtype=pl.Float32))
        .select(sources.columns)
    )


def _evidence(folder: Path, ids: pl.Series) -> dict[str, frozenset[str]]:
    """Review's id → the lemmas by which the lexicon labelled it."""
    result = (
        tables.scan(folder / "votes.parquet")
        .filter(
            (pl.col("labeller") == "lexicon") & pl.col("id").is_in(ids.implode()) & (pl.col("evidence").list.len() > 0)
        )
        .select("id", "evidence")
        .collect()
    )
    return {id: frozenset(evidence) for id, evidence in result.iter_rows()}
