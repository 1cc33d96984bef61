"""Label: what each labeller says of each review, and the label that follows.

``lexicon`` starts from the words of the categories file and learns from the reviews which words go with them; ``nli``
asks a model that judges whether a text bears a statement out, by default a small one that comes with the package, so
that neither needs a download. A labeller abstains where it has nothing to go by; that is not the none-category. Their
votes are reconciled by :mod:`tsirius.labellers.vote`. A review is labelled once however often its text occurs, and a
labelling that was stopped goes on with the shard that it had not finished.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field, field_validator

from tsirius import tables
from tsirius.categories import Categories
from tsirius.errors import UserError
from tsirius.labellers import Labeller, Votes, hypotheses, lexicon, vote
from tsirius.models import load
from tsirius.progress import progress, say
from tsirius.section import Section
from tsirius.store import replacing

VERSION = 2

SHARD = 256
"""Texts a model gets at a time, and the most that a killed run labels again."""

Name = Literal["lexicon", "nli", "reranker"]
BLIND = frozenset({"nli", "reranker"})
"""They judge each text by itself and know nothing of the mix of categories; the lexicon estimates it."""
INSTRUCTION = "Given a statement about a product review, judge whether the review bears it out"


class Config(Section):
    use: list[Name] = Field(default=["lexicon", "nli"], min_length=1)
    """The labellers. Where several speak, their votes are reconciled."""
    sure: float = Field(0.9, ge=0, le=1)
    """From this probability on a labeller's label counts when another one's confidence is put to scale."""
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
    nli_model: str = Field(load.EMBEDDED, min_length=1)
    """nli: a classifier with an entailment label, a folder or a hub name (joeddav/xlm-roberta-large-xnli, say)."""
    nli_templates: list[str] = Field(default=["Этот отзыв о товаре: {}."], min_length=1)
    """nli: the hypotheses, with {} where a category goes; the answers to several are averaged."""
    nli_hypotheses: hypotheses.Parts = "joined"
    """nli: what is put there: a category's "name", its "description", "both" in turn, or "joined" by a colon."""
    nli_none: Literal["description", "statements"] = "description"
    """nli: how the none-category is asked for: as the others, by its "description", or by "statements" on delivery,
    seller, refund and bare praise, which suits models that were not trained on such descriptions."""
    nli_correct_bias: bool = False
    """nli: take off what the model says of texts without content."""
    nli_precision: load.Precision = "auto"
    """nli, reranker: "fp32"; "int8" on a CPU, faster for models of the base size and more; "auto": "fp32" on a CPU,
    16-bit floats on a GPU."""
    nli_batch_tokens: int = Field(1024, ge=1)
    """nli, reranker: tokens of a batch to begin with; fewer are taken where memory is short."""
    reranker_model: str = Field("Qwen/Qwen3-Reranker-0.6B", min_length=1)
    """reranker: an instruction reranker that answers yes or no, a folder or a hub name."""
    reranker_max_length: int = Field(512, ge=64)
    """reranker: tokens of a prompt."""

    speed_only = frozenset({"nli_batch_tokens"})

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

    votes: dict[str, Votes] = {}
    for name in config.use:
        if name == "lexicon":  # it learns from all texts at once, in the time that keeping shards would save
            learned = _lexicon(config, texts.to_list(), categories)
            learned.save(out / "lexicon.json")
            votes[name] = learned.label(texts.to_list())
        else:
            votes[name] = _label_all(name, partial(_teacher, name, config, categories), texts, scratch / name)
    together = vote.reconcile(
        {name: votes[name].probabilities for name in config.use}, blind=BLIND & set(config.use), sure=config.sure
    )
    tables.write(_votes(votes, reviews["id"], places), tables.VOTES, out / "votes.parquet")
    labels = _labels(votes, together.probabilities, reviews["id"], places, categories.names)
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
        "estimated_mix": dict(zip(categories.names, together.prior.round(4).tolist(), strict=True)),
        "temperatures": together.temperatures,
        "agreement": together.agreement,
        "power": together.power,
    }


def check(config: Config) -> None:
    """Make sure that the models of the labellers are at hand or can be fetched.

    Raises:
        UserError: one is not, or a part of it is missing.
    """
    for name, model in _models(config).items():
        if name in config.use:
            load.check(model)


def files(config: Config) -> dict[str, Path]:
    """The folders of the models that are used and are not the hub's: other weights give other votes."""
    return {
        f"label.{name}_model": load.fetch(model)
        for name, model in _models(config).items()
        if name in config.use and load.is_folder(model)
    }


def _models(config: Config) -> dict[str, str]:
    return {"nli": config.nli_model, "reranker": config.reranker_model}


def _lexicon(config: Config, texts: Sequence[str], categories: Categories) -> lexicon.Lexicon:
    return lexicon.learn(
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


def _teacher(name: Name, config: Config, categories: Categories) -> Labeller:
    from tsirius.labellers import nli, reranker

    asked = hypotheses.questions(
        categories,
        templates=config.nli_templates,
        parts=config.nli_hypotheses,
        none_statements=hypotheses.NONE_STATEMENTS if config.nli_none == "statements" else (),
    )
    if name == "nli":
        scorer = nli.scorer(
            config.nli_model, precision=config.nli_precision, max_length=256, batch_tokens=config.nli_batch_tokens
        )
    else:
        scorer = reranker.scorer(
            config.reranker_model,
            instruction=INSTRUCTION,
            precision=config.nli_precision,
            max_length=config.reranker_max_length,
            batch_tokens=config.nli_batch_tokens,
        )
    content_free = hypotheses.CONTENT_FREE if config.nli_correct_bias else ()
    return hypotheses.teacher(name, scorer, asked, against="contradiction", content_free=content_free)


def _label_all(name: str, made: Callable[[], Labeller], texts: pl.Series, shards: Path) -> Votes:
    """The votes on all texts; each shard is kept under ``shards`` when it is done, and not made again.

    The longest texts come first: a lack of memory shows at once, and the texts of a shard are of like length.

    Args:
        name: the labeller's.
        made: makes it, when it is needed: models are not read where all shards are done.
        texts: each once.
        shards: the folder of the shards.
    """
    shards.mkdir(parents=True, exist_ok=True)
    order = texts.str.len_chars().arg_sort(descending=True)
    done, labeller = list[pl.DataFrame](), None
    with progress(f"label ({name})", total=len(texts)) as advance:
        for start in range(0, len(texts), SHARD):
            path = shards / f"{start}.parquet"
            if path.is_file():
                done.append(pl.read_parquet(path))
                advance(done[-1].height)
                continue
            labeller = labeller or made()
            votes = labeller.label(texts.gather(order[start : start + SHARD]).to_list(), advance=advance)
            done.append(pl.DataFrame({"probabilities": votes.probabilities, "evidence": votes.evidence}))
            with replacing(path) as temporary:
                done[-1].write_parquet(temporary)
    table = pl.concat(done).with_columns(place=order).sort("place")
    return Votes(table["probabilities"].to_numpy(), table["evidence"].to_list())


def _votes(votes: Mapping[str, Votes], ids: pl.Series, places: NDArray[np.uint32]) -> pl.DataFrame:
    """One row a labeller and review, a labeller's rows together."""
    parts = []
    for name, said in votes.items():
        probabilities = said.probabilities[places]
        parts.append(
            pl.DataFrame(
                {
                    "id": ids,
                    "labeller": pl.repeat(name, len(ids), eager=True),
                    "probabilities": pl.Series(probabilities).arr.to_list(),
                    "evidence": pl.Series(said.evidence, dtype=pl.String).gather(places),
                    "spoke": ~np.isnan(probabilities[:, 0]),
                }
            ).with_columns(probabilities=pl.when("spoke").then("probabilities"))
        )
    return pl.concat(parts)


def _labels(
    votes: Mapping[str, Votes],
    together: NDArray[np.float64],
    ids: pl.Series,
    places: NDArray[np.uint32],
    names: Sequence[str],
) -> pl.DataFrame:
    """The label of each review: the likeliest category of the consensus, [texts, K]."""
    each = np.stack([said.probabilities for said in votes.values()])[:, places]
    spoke = ~np.isnan(each[:, :, 0])
    mean = np.nan_to_num(together)[places]
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
