"""Label: what each labeller says of each review, and the label that follows.

``lexicon`` starts from the words of the categories file and learns from the reviews which words go with them;
``matcher`` compares the review with the category as embeddings; ``nli`` asks a model whether the review bears out a
statement about it. The models come with the package, so that nothing is downloaded. A labeller abstains where it has
nothing to go by; that is not the none-category. Their votes are reconciled by :mod:`tsirius.labellers.vote`. Then
students learn from the surest labels: they mark labels that are likely wrong and, where that is asked for, vote too,
round by round, as long as they and the others come to agree more.

A review is labelled once however often its text occurs. What models say is kept shard by shard: a labelling that was
stopped goes on with the shard that it had not finished, and one with other settings asks a model again only where the
model or what it is asked has changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field, field_validator

from tsirius import tables
from tsirius.categories import Categories
from tsirius.errors import UserError
from tsirius.labellers import Labeller, Votes, hypotheses, lexicon, matcher, student, vote
from tsirius.language.words import lemmas
from tsirius.models import encode, hub, load
from tsirius.progress import Advance, progress, say
from tsirius.section import Section
from tsirius.store import digest, replacing

VERSION = 4

SHARD = 256
"""Texts a model gets at a time, and the most that a killed run labels again."""

KEPT_SETTINGS = 8
"""Of so many models and settings the shards are kept."""
MIX = "mix.json"
"""The share of each category among the reviews, as it is estimated from the votes."""
MAX_LENGTH = 256
"""Tokens of a review that models read, a hypothesis counted."""

Name = Literal["lexicon", "matcher", "nli", "reranker"]
STUDENT = "student"
BLIND = frozenset({"matcher", "nli", "reranker"})
"""They judge each text by itself and know nothing of the mix of categories; the lexicon estimates it."""
INSTRUCTION = "Given a statement about a product review, judge whether the review bears it out"


class Config(Section):
    use: list[Name] = Field(default=["lexicon", "matcher", "nli"], min_length=1)
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
    encoder: str = Field(hub.EMBEDDED, min_length=1)
    """matcher, student: the encoder of the embeddings, a folder or a hub name."""
    matcher_parts: hypotheses.Parts = "both"
    """matcher: what of a category is embedded: its "name", its "description", "both" averaged, or "joined"."""
    matcher_scale: float = Field(20.0, gt=0)
    """matcher: what cosines are multiplied by, the inverse of the temperature that the encoder was trained with."""
    nli_model: str = Field(hub.EMBEDDED, min_length=1)
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
    """nli, reranker: "fp32"; "auto": 16-bit floats on a GPU and on a CPU that multiplies them, else "fp32"."""
    nli_batch_tokens: int = Field(1024, ge=1)
    """nli, reranker: tokens of a batch to begin with; fewer are taken where memory is short."""
    reranker_model: str = Field("Qwen/Qwen3-Reranker-0.6B", min_length=1)
    """reranker: an instruction reranker that answers yes or no, a folder or a hub name."""
    reranker_max_length: int = Field(512, ge=64)
    """reranker: tokens of a prompt."""

    student_rounds: int = Field(0, ge=0)
    """student: let it learn from the labels and vote too, in so many rounds at most. It pays where the labellers are
    few or weak, and costs rare categories, of which it sees too little."""
    doubt: bool = True
    """student: mark the labels that students, asked out of fold, take to be wrong."""
    student_sure: float = Field(0.7, ge=0, le=1)
    """student: it learns from labels from this confidence on."""
    student_folds: int = Field(5, ge=2)
    """student: so many students, each asked of the reviews that it did not learn from."""
    student_c: float = Field(10.0, gt=0)
    """student: inverse strength of its L2 penalty; lower is smoother."""
    student_most: int = Field(100_000, ge=1)
    """student: it learns from so many reviews at most."""
    student_hide: bool = True
    """student: let it learn from each review a second time, the words of the categories file hidden."""

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
    unique = reviews.group_by("clean", maintain_order=True).agg(pl.col("group").first()).with_row_index("place")
    texts = unique["clean"]
    places = reviews.select("clean").join(unique, on="clean", how="left", maintain_order="left")["place"].to_numpy()

    encoder = encode.embedder(config.encoder, max_length=MAX_LENGTH)
    embed = partial(_embed_all, encoder, scratch=scratch, model=config.encoder)
    votes = dict[str, Votes]()
    for name in config.use:
        if name == "lexicon":  # it learns from all texts at once, in the time that keeping shards would save
            learned = _lexicon(config, texts.to_list(), categories)
            learned.save(out / "lexicon.json")
            votes[name] = learned.label(texts.to_list())
        elif name == "matcher":
            made = matcher.make(categories, encoder, parts=config.matcher_parts, scale=config.matcher_scale)
            votes[name] = matcher.match(embed(texts), made.anchors, made.names, scale=made.scale)
        else:
            votes[name] = _label_all(name, config, categories, texts, scratch)
    said = {name: one.probabilities for name, one in votes.items()}
    reconcile = partial(vote.reconcile, blind=BLIND & said.keys(), taught={STUDENT}, sure=config.sure)
    together, agreed, doubtful = reconcile(said), list[float](), np.zeros(len(texts), dtype=bool)
    if config.student_rounds or config.doubt:
        learn = _student(config, categories, texts, unique["group"], embed, seed=seed)
        for _ in range(config.student_rounds):
            found = learn(together.probabilities)
            after = reconcile({**said, STUDENT: found})
            share = _agreement(found, after.probabilities)
            if share <= max(agreed, default=0.0):
                break
            together, votes[STUDENT] = after, Votes(found, [""] * len(texts))
            agreed.append(share)
        if config.doubt:
            labels = np.where(np.isnan(together.probabilities[:, 0]), -1, _best(together.probabilities))
            doubtful = student.likely_wrong(labels, learn(together.probabilities))
    mix = dict(zip(categories.names, together.prior.round(6).tolist(), strict=True))
    (out / MIX).write_text(json.dumps(mix, ensure_ascii=False, indent=1), encoding="utf-8")
    tables.write(_votes(votes, reviews["id"], places), tables.VOTES, out / "votes.parquet")
    labelled = _labels(votes, together.probabilities, doubtful, reviews["id"], places, categories.names)
    tables.write(labelled, tables.LABELS, out / "labels.parquet")
    _sweep(scratch)

    counted = Counter(labelled["label"].drop_nulls().to_list())
    abstained = labelled["label"].null_count()
    per_category = {name: counted[name] for name in categories.names}
    say(f"  {labelled.height - abstained:,} of {labelled.height:,} reviews labelled: "
        + ", ".join(f"{count:,} {name}" for name, count in per_category.items()))  # fmt: skip
    return {
        "rows": labelled.height,
        "texts": len(texts),
        "labelled": labelled.height - abstained,
        "abstained": abstained,
        "doubtful": int(labelled["doubtful"].sum()),
        "categories": per_category,
        "estimated_mix": mix,
        "temperatures": together.temperatures,
        "agreement": together.agreement,
        "student_agreement": agreed,
        "power": together.power,
    }


def _student(
    config: Config,
    categories: Categories,
    texts: pl.Series,
    groups: pl.Series,
    embed: Callable[[pl.Series], NDArray[np.float32]],
    *,
    seed: int,
) -> Callable[[NDArray[np.float64]], NDArray[np.float32]]:
    """From labels, [N, K], to what students that learned from others of them say of each text, [N, K]."""
    views = [embed(texts)]
    if config.student_hide:
        words = {word for category in categories for word in lemmas(f"{category.name} {category.description}")}
        hidden = student.hide(texts.to_list(), words, mask=load.tokenizer(config.encoder).mask_token or "")
        views.append(embed(pl.Series(hidden)))
    return partial(
        student.out_of_fold,
        views,
        groups=groups.to_list(),
        sure=config.student_sure,
        folds=config.student_folds,
        c=config.student_c,
        most=config.student_most,
        seed=seed,
    )


def _agreement(student: NDArray[np.float32], together: NDArray[np.float64]) -> float:
    """The share of texts on which the student, where it speaks, says what all say together; 0 where it never speaks."""
    spoke = ~np.isnan(student[:, 0])
    return round(float((_best(student) == _best(together))[spoke].mean()), 4) if spoke.any() else 0.0


def _best(probabilities: NDArray[Any]) -> NDArray[np.int64]:
    """The place of the likeliest category, [N]; 0 for a row of NaN."""
    found: NDArray[np.int64] = np.nan_to_num(probabilities).argmax(axis=1)
    return found


def check(config: Config) -> None:
    """Make sure that the models of the labellers are at hand or can be fetched, and that the templates can be filled.

    Raises:
        UserError: one is not, or a part of it is missing; a template has no {}.
    """
    for model in _models(config).values():
        hub.check(model)
    hypotheses.check_templates(config.nli_templates)
    if "nli" in config.use:
        from tsirius.labellers import nli

        nli.check(config.nli_model)


def files(config: Config) -> dict[str, Path]:
    """The folders of the models that are used and are not the hub's: other weights give other votes."""
    return {f"label.{name}": hub.fetch(model) for name, model in _models(config).items() if hub.is_folder(model)}


def _models(config: Config) -> dict[str, str]:
    """Setting → the model that it names, of those that are used."""
    found = {f"{name}_model": getattr(config, f"{name}_model") for name in ("nli", "reranker") if name in config.use}
    if "matcher" in config.use or config.student_rounds or config.doubt:
        found["encoder"] = config.encoder
    return found


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


def _teacher(name: str, config: Config, categories: Categories) -> Labeller:
    from tsirius.labellers import nli, reranker

    asked = hypotheses.questions(
        categories,
        templates=config.nli_templates,
        parts=config.nli_hypotheses,
        none_statements=hypotheses.NONE_STATEMENTS if config.nli_none == "statements" else (),
    )
    if name == "nli":
        scorer = nli.scorer(
            config.nli_model,
            precision=config.nli_precision,
            max_length=MAX_LENGTH,
            batch_tokens=config.nli_batch_tokens,
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


def _embed_all(
    encoder: Callable[[Sequence[str]], NDArray[np.float32]], texts: pl.Series, *, scratch: Path, model: str
) -> NDArray[np.float32]:
    """The embeddings of the texts, [N, W]."""

    def work(part: list[str], advance: Advance) -> pl.DataFrame:
        found = pl.DataFrame({"embedding": encoder(part)})
        advance(len(part))
        return found

    key = {"model": hub.fingerprint(model), "max_length": MAX_LENGTH}
    return _in_shards("embeddings", work, texts, scratch, key=key)["embedding"].to_numpy()


def _label_all(name: str, config: Config, categories: Categories, texts: pl.Series, scratch: Path) -> Votes:
    labeller = cache(partial(_teacher, name, config, categories))

    def work(part: list[str], advance: Advance) -> pl.DataFrame:
        votes = labeller().label(part, advance=advance)
        return pl.DataFrame({"probabilities": votes.probabilities, "evidence": votes.evidence})

    settings = config.model_dump(exclude=set(config.speed_only))
    key = {
        "model": hub.fingerprint(_models(config)[f"{name}_model"]),
        "settings": {key: value for key, value in settings.items() if key.startswith(("nli", name))},
        "categories": categories.to_json(),
    }
    table = _in_shards(name, work, texts, scratch, key=key)
    return Votes(table["probabilities"].to_numpy(), table["evidence"].to_list())


def _in_shards(
    what: str,
    work: Callable[[list[str], Advance], pl.DataFrame],
    texts: pl.Series,
    scratch: Path,
    *,
    key: Mapping[str, Any],
) -> pl.DataFrame:
    """What ``work`` makes of the texts, in their order; a shard is kept when it is done, and not made again.

    The longest texts come first: a lack of memory shows at once, and the texts of a shard are of like length.

    Args:
        what: the work's name, for the progress.
        work: texts → as many rows; models are read when it is first called, not where all shards are done.
        texts: cleaned texts.
        scratch: where the shards are kept.
        key: what the rows depend on beside the texts; other settings, another folder of shards.
    """
    said = hashlib.blake2b("\0".join(texts.to_list()).encode()).hexdigest()
    shards = scratch / f"{what}-{digest({**key, 'texts': said, 'rows': SHARD, 'version': VERSION})}"
    shards.mkdir(exist_ok=True)
    os.utime(shards)
    order = texts.str.len_chars().arg_sort(descending=True)
    done = list[pl.DataFrame]()
    with progress(f"label ({what})", total=len(texts)) as advance:
        for start in range(0, len(texts), SHARD):
            path = shards / f"{start}.parquet"
            if (kept := tables.kept(path)) is not None:
                done.append(kept)
                advance(kept.height)
                continue
            done.append(work(texts.gather(order[start : start + SHARD]).to_list(), advance))
            with replacing(path) as temporary:
                done[-1].write_parquet(temporary)
    return pl.concat(done).with_columns(place=order).sort("place")


def _sweep(scratch: Path) -> None:
    """Leave the shards of the last few settings: who tries one after another comes back to them."""
    for old in sorted(scratch.iterdir(), key=lambda folder: folder.stat().st_mtime)[:-KEPT_SETTINGS]:
        shutil.rmtree(old)


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
    doubtful: NDArray[np.bool_],
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
            "doubtful": pl.Series(doubtful[places]),
            "spoke": spoke.any(axis=0),
        }
    ).with_columns(pl.when("spoke").then(column).alias(column) for column in ("label", "confidence", "margin"))
