"""Label: what each labeller says of each review, and the label that follows.

``matcher``, the default, compares the embeddings of review and category; ``nli`` asks a model whether the review
entails a statement about it; ``lexicon`` starts from the words of the categories file and learns from the reviews which
words go with them. Their models come with the package: nothing is downloaded. A labeller abstains where it has nothing
to go by; that is not the none-category. The votes are reconciled by :mod:`tsirius.labellers.vote`. Then students learn
from the surest labels: they mark labels that are likely wrong and, with ``student.rounds``, vote too, as long as they
and the consensus come to agree more.

A review is labelled once however often its text occurs. The answers of models are kept shard by shard: a killed
labelling resumes with its first unfinished shard, and other settings ask a model again only where it has changed, or
what is new among its hypotheses. The labellers (``labellers.json``) and the embeddings are published for the stages
that follow.

With ``sample`` so many texts are labelled, drawn by their hashes at their natural mix: time and memory are theirs. The
shares that are estimated from them stand for all reviews. The others have no label.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field, field_validator

from tsirius import labellers, sampling, shards, tables
from tsirius.categories import Categories
from tsirius.errors import UserError, nearest
from tsirius.labellers import LABELLERS, Labeller, Material, Votes, hypotheses, published, student, vote
from tsirius.labellers.vote import Consensus
from tsirius.language.words import lemmas
from tsirius.models import embeddings, encode, hub, load, pooling
from tsirius.models.pooling import Mode, Pooling
from tsirius.progress import Advance, progress, say
from tsirius.section import Section, nest
from tsirius.shards import Shards
from tsirius.store import digest

VERSION = 6

SHARD = 256
"""Texts that a model gets at a time, and the most that a killed run labels again."""

KEPT_SETTINGS = 8
"""The shards of this many models and settings are kept."""
MIX = "mix.json"
"""The share of each category among the reviews, as it is estimated from the votes."""
CONSENSUS = "consensus.npy"
"""The reconciled probabilities of each review, [N, K], in the reviews' order; rows of NaN where no labeller spoke, or
was asked."""
BATCH_ROWS = 20_000
"""Reviews in memory at a time while a sample is drawn."""
STUDENT = "student"

S = TypeVar("S", bound=Section)


@nest({**{name: labellers.module(name).Config for name in LABELLERS}, STUDENT: student.Config})
class Config(Section):
    use: list[str] = Field(default=["matcher"], min_length=1)
    """The labellers, each with a section of its own. Where several speak, their votes are reconciled."""
    sample: int = Field(0, ge=0)
    """Label a sample of so many different texts, drawn by their hashes at their natural mix; the other reviews are left
    without a label (0: label all)."""
    sure: float = Field(0.9, ge=0, le=1)
    """From this probability on a labeller's label counts when another one's confidence is put to scale."""
    encoder: str = Field(hub.PAIR, min_length=1)
    """The encoder of the embeddings of matcher and student, a folder or a hub name; "tsirius-goods+tsirius-mini":
    the two that come along, whose cosines are averaged."""
    pooling: Mode | None = None
    """What of the encoder's states is its embedding; unset: as its folder or its model card says."""
    encoder_prefix: str | None = None
    """Put before every text for the encoder; unset: the prompts of its folder or its model card."""
    max_length: int = Field(256, ge=8)
    """Tokens of a review that encoder and NLI teacher read, a hypothesis counted."""
    doubt: bool = True
    """Mark labels that are likely wrong: those that cross-validated students contradict (confident learning)."""

    @field_validator("use")
    @classmethod
    def _known(cls, use: list[str]) -> list[str]:
        for name in use:
            if name not in LABELLERS:
                raise ValueError(f"no labeller {name!r}{nearest(name, LABELLERS)} (known: {', '.join(LABELLERS)})")
        if len(set(use)) < len(use):
            raise ValueError("names a labeller twice; name it once")
        return use


def run(config: Config, given: Mapping[str, Path], out: Path, *, seed: int, scratch: Path) -> dict[str, Any]:
    categories = Categories.from_json((given["ingest"] / "categories.json").read_text(encoding="utf-8"))
    ids, asked, reviews = _draw(given["ingest"] / "reviews.parquet", config.sample)
    if not reviews.height:
        raise UserError("no reviews to label", where="label", remedy="Look at what ingest set aside, and why.")
    unique = reviews.group_by("clean", maintain_order=True).agg(pl.col("group").first()).with_row_index("row")
    texts = unique["clean"]
    rows = reviews.select("clean").join(unique, on="clean", how="left", maintain_order="left")["row"].to_numpy()

    how = pooling.of(config.encoder, mode=config.pooling, prefix=config.encoder_prefix)
    if config.encoder not in hub.OWN:
        say(f"  {config.encoder}: {how}")
    embedder = partial(encode.embedder, config.encoder, how, max_length=config.max_length)
    encoder = embedder()
    embed = partial(_embed_all, encoder, scratch=scratch, model=config.encoder, max_length=config.max_length, how=how)
    own = cache(lambda: embed(texts))
    listed = texts.to_list()
    material = Material(
        categories=categories,
        texts=listed,
        folder=out,
        embed=lambda wanted: own() if wanted is listed else encoder(wanted),  # those of all reviews are kept
        embed_categories=embedder(category=True),
        max_length=config.max_length,
    )
    configs = {name: _section(config, name, Section) for name in config.use}
    votes = {name: _label_all(name, one, material, texts, scratch, config.encoder) for name, one in configs.items()}
    published.write(configs, out, how, encoder=config.encoder, max_length=config.max_length)
    blind = {name for name in votes if labellers.module(name).BLIND}
    reconcile = partial(vote.reconcile, blind=blind, taught={STUDENT}, sure=config.sure)
    consensus = reconcile({name: one.probabilities for name, one in votes.items()})
    taught = _section(config, STUDENT, student.Config)
    agreed, doubtful = list[float](), np.zeros(len(texts), dtype=bool)
    if taught.rounds or config.doubt:
        views = [own()]
        if taught.hide:
            views.append(_masked(own(), texts, categories, embed, encoder=config.encoder))
        learn = partial(_learn, taught, views, unique["group"].to_list(), seed=seed)
        consensus, agreed = _rounds(votes, consensus, reconcile, learn, rounds=taught.rounds)
        if config.doubt:
            labels = np.where(np.isnan(consensus.probabilities[:, 0]), -1, _best(consensus.probabilities))
            doubtful = student.likely_wrong(labels, learn(consensus.probabilities))
    mix = dict(zip(categories.names, consensus.prior.round(6).tolist(), strict=True))
    (out / MIX).write_text(json.dumps(mix, ensure_ascii=False, indent=1), encoding="utf-8")
    if own.cache_info().currsize:
        for part, vectors in encode.apart(config.encoder, own()).items():
            embeddings.publish(out, listed, vectors, how, model=part, max_length=config.max_length)
    tables.write(_votes(votes, reviews["id"], rows, categories.names), tables.VOTES, out / "votes.parquet")
    labelled = _labels(votes, consensus.probabilities, doubtful, reviews["id"], rows, categories.names)
    tables.write(_spread(labelled, ids), tables.LABELS, out / "labels.parquet")
    probabilities = np.full((len(ids), len(categories.names)), np.nan, dtype=np.float32)
    probabilities[asked] = consensus.probabilities[rows]
    np.save(out / CONSENSUS, probabilities, allow_pickle=False)
    shards.sweep(scratch, keep=KEPT_SETTINGS)
    return {
        **_counts(labelled, categories.names, of=len(ids)),
        "texts": len(texts),
        "estimated_mix": mix,
        "pooling": str(how),
        "temperatures": consensus.temperatures,
        "agreement": consensus.agreement,
        "student_agreement": agreed,
        "power": consensus.power,
    }


def _draw(path: Path, sample: int) -> tuple[pl.Series, NDArray[np.bool_], pl.DataFrame]:
    """Which reviews are labelled: all, or those whose text is in the sample.

    Args:
        path: of the table of reviews; of those that are not labelled, no text is kept in memory.
        sample: different texts; 0: all.

    Returns:
        The ids of all reviews, [N]; which are labelled, [N]; and ``id``, ``clean`` and ``group`` of these.
    """
    ids, hashes = [pl.Series("id", [], dtype=pl.String)], [np.zeros(0, dtype=np.uint64)]
    for batch in tables.batches(path, rows=BATCH_ROWS, columns=("id", "clean")):
        ids.append(batch["id"])
        hashes.append(sampling.numbers(batch["clean"] if sample else ()))
    every = pl.concat(ids)
    asked = sampling.drawn(np.concatenate(hashes), sample) if sample else np.ones(len(every), dtype=bool)
    columns = ("id", "clean", "group")
    parts = [pl.DataFrame(schema={name: tables.REVIEWS[name] for name in columns})]
    for number, batch in enumerate(tables.batches(path, rows=BATCH_ROWS, columns=columns)):
        parts.append(batch.filter(pl.Series(asked[number * BATCH_ROWS :][: batch.height])))
    chosen = pl.concat(parts)
    if chosen.height < len(every):
        say(f"  a sample: {chosen.height:,} of {len(every):,} reviews, at their natural mix; the others get no label")
    return every, asked, chosen


def _spread(labelled: pl.DataFrame, ids: pl.Series) -> pl.DataFrame:
    """The labels of all reviews; of one that was not asked about, ``labellers`` is null."""
    rows = ids.to_frame().join(labelled, on="id", how="left", maintain_order="left")
    return rows.with_columns(pl.col("doubtful").fill_null(False))


def _counts(labelled: pl.DataFrame, names: Sequence[str], *, of: int) -> dict[str, Any]:
    """How many of the reviews that were asked about got which label, and of how many these are a sample; also
    printed."""
    counted = Counter(labelled["label"].drop_nulls().to_list())
    abstained = labelled["label"].null_count()
    per_category = {name: counted[name] for name in names}
    say(f"  {labelled.height - abstained:,} of {labelled.height:,} reviews labelled: "
        + ", ".join(f"{count:,} {name}" for name, count in per_category.items()))  # fmt: skip
    return {
        "rows": of,
        **({} if of == labelled.height else {"sampled": labelled.height, "weight": round(of / labelled.height, 4)}),
        "labelled": labelled.height - abstained,
        "abstained": abstained,
        "doubtful": int(labelled["doubtful"].sum()),
        "categories": per_category,
    }


def _section(config: Config, name: str, kind: type[S]) -> S:
    """The section of a labeller, which ``nest`` gave the configuration."""
    section = getattr(config, name)
    assert isinstance(section, kind)
    return section


def _rounds(
    votes: dict[str, Votes],
    consensus: Consensus,
    reconcile: Callable[[Mapping[str, NDArray[np.float32]]], Consensus],
    learn: Callable[[NDArray[np.float64]], NDArray[np.float32]],
    *,
    rounds: int,
) -> tuple[Consensus, list[float]]:
    """Let the student vote, round by round, as long as it and the consensus come to agree more.

    Args:
        votes: of the labellers; the student's are added.
        consensus: of these votes.
        reconcile: votes → their consensus.
        learn: the probabilities of a consensus, [N, K] → what students that learned from them say, [N, K].
        rounds: at most.

    Returns:
        The consensus with the student's votes, and its agreement with them in each round that is kept.
    """
    each, agreed = {name: one.probabilities for name, one in votes.items()}, list[float]()
    for _ in range(rounds):
        answers = learn(consensus.probabilities)
        after = reconcile({**each, STUDENT: answers})
        share = _agreement(answers, after.probabilities)
        if share <= max(agreed, default=0.0):
            break
        consensus, votes[STUDENT] = after, Votes(answers, [[] for _ in answers])
        agreed.append(share)
    return consensus, agreed


def _learn(
    config: student.Config,
    views: Sequence[NDArray[np.float32]],
    groups: Sequence[int],
    probabilities: NDArray[np.float64],
    *,
    seed: int,
) -> NDArray[np.float32]:
    """What students that learned from the other folds' labels say of each text, [N, K]."""
    return student.out_of_fold(
        views,
        probabilities,
        groups,
        sure=config.sure,
        folds=config.folds,
        c=config.c,
        most=config.most,
        seed=seed,
    )


def _masked(
    embedded: NDArray[np.float32],
    texts: pl.Series,
    categories: Categories,
    embed: Callable[[pl.Series], NDArray[np.float32]],
    *,
    encoder: str,
) -> NDArray[np.float32]:
    """The embeddings of the texts with the words of the categories file masked, [N, W]; ``embedded`` where none is."""
    words = {word for category in categories for word in lemmas(f"{category.plain} {category.plain_description}")}
    masked = pl.Series(student.hide(texts.to_list(), words, mask=encode.mask_token(encoder)))
    changed = masked != texts
    result = embedded.copy()
    if changed.any():
        result[changed.to_numpy()] = embed(masked.filter(changed))
    return result


def _agreement(answers: NDArray[np.float32], consensus: NDArray[np.float64]) -> float:
    """The share of texts on which the student, where it speaks, agrees with the consensus; 0 where it never speaks."""
    spoke = ~np.isnan(answers[:, 0])
    return round(float((_best(answers) == _best(consensus))[spoke].mean()), 4) if spoke.any() else 0.0


def _best(probabilities: NDArray[Any]) -> NDArray[np.int64]:
    """The index of the likeliest category, [N]; 0 for a row of NaN."""
    best: NDArray[np.int64] = np.nan_to_num(probabilities).argmax(axis=1)
    return best


def check(config: Config) -> None:
    """Make sure that the models of the labellers are at hand or can be fetched, and fit them.

    Raises:
        UserError: one is not, or a part of it is missing.
    """
    for setting, model in _models(config).items():
        hub.check(model)
        if setting == "label.encoder" and model not in hub.OWN:
            if hub.at_hand(model) is not None:
                pooling.of(model, mode=config.pooling, prefix=config.encoder_prefix)
            load.check(model, head=load.ENCODER, new_head=False)
    for name in config.use:
        labellers.module(name).check(_section(config, name, Section))


def files(config: Config) -> dict[str, Path]:
    """The folders of the models that are used and are not the hub's: other weights give other votes."""
    named = [(setting, hub.parts(model)) for setting, model in _models(config).items() if hub.is_folder(model)]
    return {
        setting if len(parts) == 1 else f"{setting} ({part})": hub.fetch(part)
        for setting, parts in named
        for part in parts
    }


def _models(config: Config) -> dict[str, str]:
    """Setting → the model that it names, of those that are used."""
    result = dict[str, str]()
    for name in config.use:
        result |= labellers.module(name).models(_section(config, name, Section), encoder=config.encoder)
    if config.doubt or _section(config, STUDENT, student.Config).rounds:
        result["label.encoder"] = config.encoder
    return result


def _embed_all(
    encoder: Callable[[Sequence[str]], NDArray[np.float32]],
    texts: pl.Series,
    *,
    scratch: Path,
    model: str,
    max_length: int,
    how: Pooling,
) -> NDArray[np.float32]:
    """The embeddings of the texts, [N, W]."""

    def work(part: list[str], advance: Advance) -> pl.DataFrame:
        result = pl.DataFrame({"embedding": encoder(part)})
        advance(len(part))
        return result

    key = {"model": hub.fingerprint(model), "max_length": max_length, "pooling": how.key()}
    return _in_shards("embeddings", work, texts, scratch, key=key)["embedding"].to_numpy()


def _label_all(name: str, config: Section, material: Material, texts: pl.Series, scratch: Path, encoder: str) -> Votes:
    module = labellers.module(name)
    labeller: Callable[[], Labeller] = cache(partial(module.make, config, material))
    if not module.KEEP:
        return labeller().label(material.texts)
    if hasattr(module, "asked"):
        return _answer_all(name, config, material, texts, scratch, encoder)

    def work(part: list[str], advance: Advance) -> pl.DataFrame:
        votes = labeller().label(part, advance=advance)
        evidence = pl.Series(votes.evidence, dtype=pl.List(pl.String))
        return pl.DataFrame({"probabilities": votes.probabilities, "evidence": evidence})

    key = {
        "models": {
            setting: hub.fingerprint(model) for setting, model in module.models(config, encoder=encoder).items()
        },
        "settings": config.key(),
        "max_length": material.max_length,
        "categories": material.categories.to_json(),
    }
    table = _in_shards(name, work, texts, scratch, key=key)
    return Votes(table["probabilities"].to_numpy(), table["evidence"].to_list())


def _answer_all(name: str, config: Section, material: Material, texts: pl.Series, scratch: Path, encoder: str) -> Votes:
    """The votes of a labeller of hypotheses. What its model says to each is kept by itself: where categories change,
    only hypotheses that are new are asked."""
    module = labellers.module(name)
    made: Callable[[], Any] = cache(partial(module.make, config, material))
    questions = module.asked(config, material.categories)  # type: ignore[attr-defined]  # see _label_all
    kept = Shards(scratch / answers_folder(name, config, texts, encoder=encoder, max_length=material.max_length))
    logits = np.empty((len(texts), len(questions.all), 2), dtype=np.float32)
    order = texts.str.len_chars().arg_sort(descending=True).to_numpy()
    with progress(f"label ({name})", total=len(texts)) as advance:
        for start in range(0, len(texts), SHARD):
            rows = order[start : start + SHARD]
            found = {one: kept.read_array(shard_name(one, start)) for one in questions.all}
            new = [one for one, answers in found.items() if answers is None]
            if new:
                answers = made().scorer.logits(texts.gather(rows).to_list(), new, advance=advance)
                for column, one in enumerate(new):
                    found[one] = answers[:, column]
                    kept.write(shard_name(one, start), answers[:, column])
            else:
                advance(len(rows))
            logits[rows] = np.stack([answers for answers in found.values() if answers is not None], axis=1)
    bias = made().bias if getattr(config, "correct_bias", False) else np.zeros(len(questions.products))
    return hypotheses.votes(questions, logits, bias)


def answers_folder(name: str, config: Section, texts: pl.Series, *, encoder: str, max_length: int) -> str:
    """The folder of what a labeller's model says to hypotheses on some texts, whatever they are."""
    models = labellers.module(name).models(config, encoder=encoder)
    settings = {key: value for key, value in config.key().items() if key not in hypotheses.WORDING}
    key = {
        "models": {setting: hub.fingerprint(model) for setting, model in models.items()},
        "settings": settings,
        "max_length": max_length,
        "texts": hashlib.blake2b("\0".join(texts.to_list()).encode()).hexdigest(),
        "rows": SHARD,
        "version": VERSION,
    }
    return f"{name}-{digest(key)}"


def shard_name(hypothesis: str, start: int) -> str:
    """The shard of the answers to a hypothesis on the texts from number ``start`` on."""
    return f"{digest({'hypothesis': hypothesis})}-{start}"


def _in_shards(
    what: str,
    work: Callable[[list[str], Advance], pl.DataFrame],
    texts: pl.Series,
    scratch: Path,
    *,
    key: Mapping[str, Any],
) -> pl.DataFrame:
    """What ``work`` gives for the texts, in their order; a finished shard is kept.

    The longest texts come first: a lack of memory shows at once, and the texts of a shard are of like length.

    Args:
        what: the work's name, for the progress.
        work: texts → as many rows; models are read when it is first called, not where all shards are done.
        texts: cleaned texts.
        scratch: where the shards are kept.
        key: what the rows depend on beside the texts; other settings, another folder of shards.
    """
    hashed = hashlib.blake2b("\0".join(texts.to_list()).encode()).hexdigest()
    kept = Shards(scratch / f"{what}-{digest({**key, 'texts': hashed, 'rows': SHARD, 'version': VERSION})}")
    order = texts.str.len_chars().arg_sort(descending=True)
    done = list[pl.DataFrame]()
    with progress(f"label ({what})", total=len(texts)) as advance:
        for start in range(0, len(texts), SHARD):
            if (shard := kept.read(str(start))) is not None:
                done.append(shard)
                advance(shard.height)
                continue
            done.append(work(texts.gather(order[start : start + SHARD]).to_list(), advance))
            kept.write(str(start), done[-1])
    return pl.concat(done).with_columns(row=order).sort("row")


def _votes(votes: Mapping[str, Votes], ids: pl.Series, rows: NDArray[np.uint32], names: Sequence[str]) -> pl.DataFrame:
    """One row a labeller and review, the rows of a labeller one after the other."""
    parts = []
    for name, one in votes.items():
        probabilities = one.probabilities[rows]
        parts.append(
            pl.DataFrame(
                {
                    "id": ids,
                    "labeller": pl.repeat(name, len(ids), eager=True),
                    "said": pl.Series(names, dtype=pl.String).gather(_best(probabilities)),
                    "probabilities": pl.Series(probabilities).arr.to_list(),
                    "evidence": pl.Series(one.evidence, dtype=pl.List(pl.String)).gather(rows),
                    "spoke": ~np.isnan(probabilities[:, 0]),
                }
            ).with_columns(pl.when("spoke").then(column).alias(column) for column in ("said", "probabilities"))
        )
    return pl.concat(parts)


def _labels(
    votes: Mapping[str, Votes],
    consensus: NDArray[np.float64],
    doubtful: NDArray[np.bool_],
    ids: pl.Series,
    rows: NDArray[np.uint32],
    names: Sequence[str],
) -> pl.DataFrame:
    """The label of each review: the likeliest category of the consensus, [texts, K]."""
    each = np.stack([one.probabilities for one in votes.values()])[:, rows]
    spoke = ~np.isnan(each[:, :, 0])
    mean = np.nan_to_num(consensus)[rows]
    best = mean.argmax(axis=1)
    top = np.sort(mean, axis=1)[:, ::-1]
    agree = spoke & (np.nan_to_num(each).argmax(axis=2) == best)
    agreeing = [[name for name, agrees in zip(votes, row, strict=True) if agrees] for row in agree.T.tolist()]
    return pl.DataFrame(
        {
            "id": ids,
            "label": pl.Series(names, dtype=pl.String).gather(best),
            "confidence": pl.Series(top[:, 0], dtype=pl.Float32),
            "margin": pl.Series(top[:, 0] - top[:, 1], dtype=pl.Float32),
            "labellers": pl.Series(agreeing, dtype=pl.List(pl.String)),
            "doubtful": pl.Series(doubtful[rows]),
            "spoke": spoke.any(axis=0),
        }
    ).with_columns(pl.when("spoke").then(column).alias(column) for column in ("label", "confidence", "margin"))
