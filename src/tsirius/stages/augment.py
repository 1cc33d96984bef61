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

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import polars as pl
from pydantic import Field, field_validator, model_validator

from tsirius import tables
from tsirius.augmenters import Augmenter, Source, accept, eda, shards
from tsirius.augmenters.grow import Grown, grow
from tsirius.augmenters.relabel import Relabeller
from tsirius.categories import Categories
from tsirius.language.words import lemmas
from tsirius.models import hub, load
from tsirius.progress import say
from tsirius.section import Section

if TYPE_CHECKING:
    from tsirius.labellers import Labeller

VERSION = 3

MAX_LENGTH = 256
"""Tokens of a text that the matcher's encoder reads."""
RELABEL_TOKENS = 1024
"""Tokens of a batch when variants are labelled, to begin with."""

Name = Literal["eda", "paraphrase", "backtranslate"]


class Config(Section):
    target_per_class: int = Field(0, ge=0)
    """A category with fewer training rows gets variants up to this many (0: none does)."""
    methods: list[Name] = Field(["eda"], min_length=1)
    """How variants are made, in turn. ``eda``: words swapped, left out, put in, replaced by a synonym, or misspelt;
    ``paraphrase``: by a model that was trained for it; ``backtranslate``: into another language and back."""
    max_per_source: int = Field(8, ge=1)
    """Variants of one review by one method at most."""
    weight: float = Field(0.5, gt=0, le=1)
    """A variant counts so many times as much in training as a review that a person wrote."""
    agree: Literal["all", "lexicon", "none"] = "all"
    """The labellers that must say of a variant what they say of its source; "all": lexicon, matcher and
    nli, where used."""
    tries: int = Field(5, ge=1)
    """eda: variants made for each one wanted: bounds the work on reviews whose variants are refused."""
    swap: float = Field(0.1, ge=0, le=1)
    """eda: share of the words that change places with the next one (0: none does)."""
    delete: float = Field(0.1, ge=0, le=0.5)
    """eda: share of the words that are left out; never those of the categories' names and descriptions, nor those by
    which the lexicon knew the category."""
    insert: float = Field(0.1, ge=0, le=1)
    """eda: share of the words that get a synonym put in after them."""
    synonym: float = Field(0.1, ge=0, le=1)
    """eda: share of the words that are replaced by a synonym in the same form."""
    typo: float = Field(0.1, ge=0, le=1)
    """eda: share of the words that get a typo; never those that ``delete`` spares."""
    paraphrase_model: str = Field("cointegrated/rut5-base-paraphraser", min_length=1)
    """paraphrase: a T5 or another sequence-to-sequence model, a folder or a hub name."""
    paraphrase_prefix: str = ""
    """paraphrase: put before each review, where the model was trained so ("paraphrase: ", say)."""
    paraphrase_no_copy: int = Field(4, ge=0)
    """paraphrase: no run of so many tokens is taken over from the review (0: it may be)."""
    backtranslate_there: str = Field("Helsinki-NLP/opus-mt-ru-en", min_length=1)
    """backtranslate: the model into the other language, a folder or a hub name."""
    backtranslate_back: str = Field("Helsinki-NLP/opus-mt-en-ru", min_length=1)
    """backtranslate: the model from it."""
    beams: int = Field(5, ge=1)
    """paraphrase, backtranslate: beams of the search."""
    candidates: int = Field(4, ge=1)
    """paraphrase, backtranslate: variants of a review that the model writes; at most as many as beams."""
    sample: bool = False
    """paraphrase, backtranslate: draw variants from the model's distribution instead of searching for the likeliest."""
    temperature: float = Field(1.0, gt=0)
    """paraphrase, backtranslate: of the drawing; above 1 is bolder."""
    top_p: float = Field(0.95, gt=0, le=1)
    """paraphrase, backtranslate: draw among the likeliest tokens that together have this probability."""
    no_repeat: int = Field(3, ge=0)
    """paraphrase, backtranslate: no run of so many tokens comes twice in a variant (0: it may)."""
    max_tokens: int = Field(256, ge=8)
    """paraphrase, backtranslate: longer reviews are not rewritten."""
    precision: load.Precision = "auto"
    """paraphrase, backtranslate: "fp32"; "auto": "fp32" on a CPU and for a T5 on a GPU without bfloat16, else 16-bit
    floats."""
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
    batch_tokens: int = Field(8192, ge=1)
    """Tokens of a batch to begin with, those to be written and all beams counted; fewer where memory is short."""

    speed_only = frozenset({"batch_tokens"})

    @model_validator(mode="after")
    def _enough_beams(self) -> Config:
        if not self.sample and self.candidates > self.beams:
            raise ValueError(
                f"candidates ({self.candidates}) is above beams ({self.beams}); lower one or raise the other"
            )
        return self

    @field_validator("methods")
    @classmethod
    def _once(cls, methods: list[str]) -> list[str]:
        if len(set(methods)) < len(methods):
            raise ValueError("names a method twice; name it once")
        return methods


def models(config: Config) -> dict[str, str]:
    """The models that are used: setting → folder or hub name."""
    used = {
        "paraphrase": {"paraphrase_model": config.paraphrase_model},
        "backtranslate": {
            "backtranslate_there": config.backtranslate_there,
            "backtranslate_back": config.backtranslate_back,
        },
    }
    methods = config.methods if config.target_per_class else []
    return {setting: model for method in methods for setting, model in used.get(method, {}).items()}


def check(config: Config) -> None:
    """Make sure that the models of the methods are at hand or can be fetched.

    Raises:
        UserError: one is not, or a part of it is missing.
    """
    for model in models(config).values():
        hub.check(model)


def files(config: Config) -> dict[str, Path]:
    """The folders of the models that are not the hub's: other weights write other variants."""
    return {
        f"augment.{setting}": hub.folder(model) for setting, model in models(config).items() if hub.is_folder(model)
    }


def run(
    config: Config,
    given: Mapping[str, Path],
    out: Path,
    *,
    seed: int,
    scratch: Path,
    asked: Mapping[str, Any],
) -> dict[str, Any]:
    """Args beside those of every stage: ``asked``, the settings of the labellers, see :func:`_labellers`."""
    train = tables.read(given["balance"] / "train.parquet", tables.EXAMPLES)
    categories = Categories.from_json((given["ingest"] / "categories.json").read_text(encoding="utf-8"))
    before = Counter(dict.fromkeys(categories.names, 0))
    before.update(train["label"].to_list())
    wanted = {name: config.target_per_class - rows for name, rows in before.items() if rows < config.target_per_class}
    sources = train.filter((pl.col("method") == "written") & pl.col("label").is_in(list(wanted)))
    grown = Grown.empty()
    if sources.height:
        valid = tables.read(given["split"] / "valid.parquet", tables.EXAMPLES)
        protected = frozenset(lemmas(" ".join(f"{item.name} {item.description}" for item in categories)))
        evidence = _evidence(given["label"], sources["id"])
        make = partial(_augmenter, config=config, protected=protected, evidence=evidence, seed=seed, scratch=scratch)
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
        grown = grow(
            sources,
            wanted,
            {name: make(name) for name in config.methods},
            judge,
            Relabeller(
                _labellers(given["label"], categories, agree=config.agree, asked=asked, batch_tokens=RELABEL_TOKENS)
            ),
            evidence=evidence,
            max_per_source=config.max_per_source,
            taken=set(train["id"].to_list()) | set(valid["id"].to_list()),
            seed=seed,
        )
    made = _rows(grown.accepted, sources, weight=config.weight)
    tables.write(pl.concat([train, made], rechunk=True), tables.EXAMPLES, out / "train.parquet")
    tables.write(grown.accepted, tables.VARIANTS, out / "variants.parquet")
    tables.write(grown.examples, tables.REFUSED, out / "refused.parquet")
    after = before.copy()
    after.update(made["label"].to_list())
    short = {name: config.target_per_class - after[name] for name in wanted if after[name] < config.target_per_class}
    empty = [name for name in before if not before[name]]
    written = Counter(sources["label"].to_list())
    if wanted:
        say(f"  {made.height:,} variants made, {grown.refused.total():,} refused")
    why = dict[str, str]()
    for name, missing in short.items():
        most = written[name] * len(config.methods) * config.max_per_source
        why[name] = _why(written[name], grown.by_label[name], capped=most < wanted[name])
        say(f"  {name}: {missing:,} short of {config.target_per_class:,} ({why[name]})")
    if empty:
        say(f"  nothing to learn from: {', '.join(empty)}")
    return {
        "rows": train.height + made.height,
        "variants": made.height,
        "categories": dict(after.most_common()),
        "methods": dict(Counter(made["method"].to_list()).most_common()),
        "refused": dict(grown.refused.most_common()),
        "refused_by_method": {name: dict(counts.most_common()) for name, counts in grown.by_method.items()},
        "short": short,
        "short_because": why,
        "empty": empty,
    }


def _why(reviews: int, refused: Counter[str], *, capped: bool) -> str:
    """Why a category is short of its target."""
    if not reviews:
        return "no review to make variants of"
    if capped:
        return f"too few reviews, {reviews:,}, for max_per_source"
    often = f"most often refused: {refused.most_common(1)[0][0]}" if refused else "no more were made"
    return f"from {reviews:,} reviews; {often}"


def _rows(accepted: pl.DataFrame, sources: pl.DataFrame, *, weight: float) -> pl.DataFrame:
    """The variants as rows of :data:`tsirius.tables.EXAMPLES`."""
    return (
        accepted.select("id", "clean", "label", "origin", "method")
        .join(sources.select("group", "confidence", origin="id"), on="origin", how="left", maintain_order="left")
        .with_columns(weight=pl.lit(weight, dtype=pl.Float32))
        .select(sources.columns)
    )


def _augmenter(
    name: Name,
    *,
    config: Config,
    protected: frozenset[str],
    evidence: Mapping[str, frozenset[str]],
    seed: int,
    scratch: Path,
) -> Augmenter:
    if name == "eda":
        return _eda(
            count=config.max_per_source * config.tries,
            swap=config.swap,
            delete=config.delete,
            insert=config.insert,
            synonym=config.synonym,
            typo=config.typo,
            protected=protected,
            evidence=evidence,
            seed=seed,
        )
    return shards.kept(name, partial(_rewrite, name, config, seed=seed), scratch / name)


def _rewrite(name: Name, config: Config, *, seed: int) -> shards.Rewrite:
    """What the models of a method make; they are read now."""
    from tsirius.augmenters import backtranslate, generate, paraphrase

    search = generate.Search(
        beams=config.beams,
        candidates=config.candidates,
        sample=config.sample,
        temperature=config.temperature,
        top_p=config.top_p,
        no_repeat=config.no_repeat,
        no_copy=config.paraphrase_no_copy if name == "paraphrase" else 0,
        max_tokens=config.max_tokens,
    )
    if name == "paraphrase":
        return paraphrase.paraphraser(
            config.paraphrase_model,
            prefix=config.paraphrase_prefix,
            search=search,
            precision=config.precision,
            batch_tokens=config.batch_tokens,
            seed=seed,
        )
    return backtranslate.backtranslator(
        config.backtranslate_there,
        config.backtranslate_back,
        search=search,
        precision=config.precision,
        batch_tokens=config.batch_tokens,
        seed=seed,
    )


def _eda(*, protected: frozenset[str], evidence: Mapping[str, frozenset[str]], seed: int, **settings: Any) -> Augmenter:
    """Easy data augmentation that spares what the categories are named by, and the evidence of each source."""

    def make(source: Source) -> Iterator[str]:
        # a generator: the 2.5 KB of a random state come into being at a source's first turn
        yield from eda.variants(
            source.text,
            protected=protected | evidence.get(source.id, frozenset()),
            rng=random.Random(f"{seed}:eda:{source.id}"),
            **settings,
        )

    return lambda sources: [make(source) for source in sources]


def _evidence(folder: Path, ids: pl.Series) -> dict[str, frozenset[str]]:
    """Review's id → the lemmas by which the lexicon labelled it."""
    found = (
        pl.scan_parquet(folder / "votes.parquet")
        .filter((pl.col("labeller") == "lexicon") & pl.col("id").is_in(ids.implode()) & (pl.col("evidence") != ""))
        .select("id", "evidence")
        .collect()
    )
    return {id: frozenset(evidence.split(", ")) for id, evidence in found.iter_rows()}


def _labellers(
    folder: Path,
    categories: Categories,
    *,
    agree: Literal["all", "lexicon", "none"],
    asked: Mapping[str, Any],
    batch_tokens: int,
) -> list[Labeller]:
    """The labellers that the reviews had, made anew.

    Args:
        folder: of the label stage.
        categories: as of the run.
        agree: which of them.
        asked: ``use``, their names; for "nli" what :func:`tsirius.labellers.nli.load` takes, for "matcher" the name of
            its ``encoder`` and what :func:`tsirius.labellers.matcher.make` takes.
        batch_tokens: for "nli".
    """
    from tsirius.labellers import lexicon, matcher, nli
    from tsirius.models import encode

    def match(*, encoder: str, **more: Any) -> Labeller:
        return matcher.make(categories, encode.embedder(encoder, max_length=MAX_LENGTH), **more)

    made: dict[str, Callable[[], Labeller]] = {
        "lexicon": partial(lexicon.Lexicon.load, folder / "lexicon.json"),
        "matcher": lambda: match(**asked["matcher"]),
        "nli": partial(nli.load, categories=categories, batch_tokens=batch_tokens, **asked.get("nli", {})),
    }
    return [made[name]() for name in asked["use"] if name in made and agree in ("all", name)]
