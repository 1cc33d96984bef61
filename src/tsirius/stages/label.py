"""Label: what each labeller says of each review, and the label that follows.

The one labeller so far, ``lexicon``, needs no download: it starts from the words of the categories file and learns
from the reviews which words go with them. A labeller abstains where it has nothing to go by; that is not the
none-category. A review is labelled once however often its text occurs. ``lexicon.json`` says which lemma speaks for
which category, and how strongly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field, field_validator

from tsirius import tables
from tsirius.categories import Categories
from tsirius.errors import UserError
from tsirius.labellers import Labeller, Votes, lexicon
from tsirius.progress import progress, say
from tsirius.section import Section

VERSION = 1

SHARD = 5_000
"""Texts a labeller gets at a time."""


class Config(Section):
    use: list[Literal["lexicon"]] = Field(default=["lexicon"], min_length=1)
    """The labellers. Where several speak, their probabilities are averaged."""
    lexicon_widen: bool = True
    """lexicon: add words that are near those of the categories file among the word vectors."""
    lexicon_near: float = Field(5.0, gt=0)
    """lexicon: how near, in standard deviations of similarity; higher adds fewer words."""
    lexicon_rounds: int = Field(8, ge=0)
    """lexicon: how many times the words are learned from the reviews and the reviews labelled anew."""
    lexicon_trust: float = Field(1.0, gt=0)
    """lexicon: how much the categories file weighs against the reviews; higher keeps closer to the file."""
    lexicon_own: float = Field(0.35, ge=0.02, le=0.8)
    """lexicon: the share of a review's words that are about its product, to begin with."""
    lexicon_small_talk: float = Field(0.1, ge=0, le=0.19)
    """lexicon: the share of a product review's words that are about delivery and the like, to begin with."""
    lexicon_min_count: int = Field(2, ge=1)
    """lexicon: a word that fewer reviews hold is unknown."""
    lexicon_none_despite_unknown: float = Field(0.9, ge=0, le=1)
    """lexicon: a review with an unknown noun, maybe a product, counts as "no product" only from this probability on."""

    @field_validator("use")
    @classmethod
    def _once(cls, use: list[str]) -> list[str]:
        if len(set(use)) < len(use):
            raise ValueError("names a labeller twice; name it once")
        return use


def run(config: Config, given: Mapping[str, Path], out: Path, *, seed: int, scratch: Path) -> dict[str, Any]:
    categories = Categories.from_json((given["ingest"] / "categories.json").read_text(encoding="utf-8"))
    reviews = tables.read(given["ingest"] / "reviews.parquet", tables.REVIEWS)
    if not reviews.height:
        raise UserError("no reviews to label", where="label", remedy="Look at what ingest set aside, and why.")
    texts = reviews["clean"].unique(maintain_order=True)
    order = pl.DataFrame({"clean": texts}).with_row_index("place")
    places = reviews.select("clean").join(order, on="clean", how="left", maintain_order="left")["place"].to_numpy()

    votes: dict[str, Votes] = {
        name: _shards(_labeller(name, config, categories, texts.to_list(), out), texts) for name in config.use
    }
    tables.write(_votes(votes, reviews["id"], places), tables.VOTES, out / "votes.parquet")
    labels = _labels(votes, reviews["id"], places, categories.names)
    tables.write(labels, tables.LABELS, out / "labels.parquet")

    counted = Counter(labels["label"].drop_nulls().to_list())
    abstained = labels["label"].null_count()
    per_category = {name: counted[name] for name in categories.names}
    say(f"  {labels.height - abstained:,} of {labels.height:,} reviews labelled: "
        + ", ".join(f"{count:,} {name}" for name, count in per_category.items()))  # fmt: skip
    return {
        "rows": labels.height,
        "texts": len(texts),
        "labelled": labels.height - abstained,
        "abstained": abstained,
        "categories": per_category,
    }


def _labeller(name: str, config: Config, categories: Categories, texts: Sequence[str], out: Path) -> Labeller:
    if name != "lexicon":
        raise ValueError(f"no labeller {name!r}")
    learned = lexicon.learn(
        texts,
        categories,
        widen=config.lexicon_widen,
        near=config.lexicon_near,
        rounds=config.lexicon_rounds,
        trust=config.lexicon_trust,
        own=config.lexicon_own,
        small_talk=config.lexicon_small_talk,
        min_count=config.lexicon_min_count,
        none_despite_unknown=config.lexicon_none_despite_unknown,
    )
    learned.save(out / "lexicon.json")
    return learned


def _shards(labeller: Labeller, texts: pl.Series) -> Votes:
    """The votes on all texts, shard by shard."""
    shards = []
    with progress(f"label ({labeller.name})", total=len(texts)) as advance:
        for start in range(0, len(texts), SHARD):
            shards.append(labeller.label(texts[start : start + SHARD].to_list()))
            advance(len(shards[-1].evidence))
    return Votes(
        np.concatenate([shard.probabilities for shard in shards]),
        [evidence for shard in shards for evidence in shard.evidence],
    )


def _votes(votes: Mapping[str, Votes], ids: pl.Series, places: NDArray[np.uint32]) -> pl.DataFrame:
    """One row a labeller and review, a labeller's rows together."""
    parts = []
    for name, vote in votes.items():
        probabilities = vote.probabilities[places]
        parts.append(
            pl.DataFrame(
                {
                    "id": ids,
                    "labeller": pl.repeat(name, len(ids), eager=True),
                    "probabilities": pl.Series(probabilities).arr.to_list(),
                    "evidence": pl.Series(vote.evidence, dtype=pl.String).gather(places),
                    "spoke": ~np.isnan(probabilities[:, 0]),
                }
            ).with_columns(probabilities=pl.when("spoke").then("probabilities"))
        )
    return pl.concat(parts)


def _labels(
    votes: Mapping[str, Votes], ids: pl.Series, places: NDArray[np.uint32], names: Sequence[str]
) -> pl.DataFrame:
    """The label of each review: the likeliest category by the mean of the labellers that speak."""
    each = np.stack([vote.probabilities for vote in votes.values()])[:, places]
    spoke = ~np.isnan(each[:, :, 0])
    mean = np.nan_to_num(each).sum(axis=0) / np.maximum(spoke.sum(axis=0), 1)[:, None]
    best = mean.argmax(axis=1)
    top = np.sort(mean, axis=1)[:, ::-1]
    agree = spoke & (np.nan_to_num(each).argmax(axis=2) == best)
    labellers = [", ".join(name for name, said in zip(votes, row, strict=True) if said) for row in agree.T]
    return pl.DataFrame(
        {
            "id": ids,
            "label": pl.Series(names, dtype=pl.String).gather(best),
            "confidence": pl.Series(top[:, 0], dtype=pl.Float32),
            "margin": pl.Series(top[:, 0] - top[:, 1], dtype=pl.Float32),
            "labellers": pl.Series(labellers, dtype=pl.String),
            "spoke": spoke.any(axis=0),
        }
    ).with_columns(pl.when("spoke").then(column).alias(column) for column in ("label", "confidence", "margin"))
