"""Train: the classifier, from the training rows.

``use = "linear"`` is logistic regression on TF-IDF and on embeddings by a small encoder that comes with the package:
seconds on a CPU, nothing to download. ``"lora"`` adapts an encoder such as XLM-R, from a folder or the hub; ``"qlora"``
does so with the encoder rounded to 4 bits; ``"full"`` trains all of its weights. Where validation rows are at hand,
these stop early on them and keep the best checkpoint.

With ``folds`` or several ``seeds`` the model is an ensemble: one member a fold and seed, whose scores are averaged. A
fold is left out of its members' training and scored by them: the out-of-fold score is over all reviews that people
wrote. ``distil`` trains one model on what the ensemble says of the rows.

Selection, quotas and variants change how often each category occurs. With ``prior_correction`` the model's scores are
shifted back to the natural mix, which labelling estimates.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import polars as pl
from pydantic import Field, field_validator

from tsirius import metrics, tables
from tsirius.categories import Categories
from tsirius.errors import UserError
from tsirius.models import load
from tsirius.progress import progress, say
from tsirius.section import Section
from tsirius.store import replacing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tsirius.models.card import Card
    from tsirius.models.classifier import Description, Kind
    from tsirius.models.linear import Embed
    from tsirius.models.methods import Recipe

VERSION = 5

SHARD = 512
"""Texts that a member scores between two signs of progress, and the most that a killed run scores again."""
ROUNDS = 1000
"""Resamples for the intervals on the model's card."""
SMALL = 0.02
"""Distilled into a linear model, a category with less of a row's probability is left out."""

OUT_OF_FOLD: tables.Schema = {
    "id": pl.String,
    "clean": pl.String,
    "label": pl.String,
    "predicted": pl.String,
    "confidence": pl.Float32,
}
"""The training reviews that people wrote, with what members that had not seen them say."""


class Config(Section):
    use: Literal["linear", "lora", "qlora", "full"] = "linear"
    """What is trained: a linear model on TF-IDF and embeddings; or, of the encoder ``model``, LoRA adapters, the same
    with the encoder in 4 bits, or all weights."""
    prior_correction: bool = True
    """Shift the scores from the training rows' mix of categories back to the natural one."""
    folds: int = Field(1, ge=1, le=50)
    """Leave out each of so many parts of the training rows in turn: one model for each, and an ensemble of them."""
    seeds: list[int] = Field(default=[])
    """Train with each of these seeds, and make an ensemble of the models; []: with the run's seed alone."""
    distil: bool = False
    """Train one model on what the ensemble says of the training rows: as fast as one, nearly as good as all."""
    model: str = Field("xlm-roberta-base", min_length=1)
    """lora, qlora, full: the encoder, a folder or a hub name."""
    merged: bool = True
    """lora, qlora: beside the adapter also leave a whole checkpoint (as large as the encoder) that needs no encoder;
    not of the members of an ensemble."""
    linear_encoder: str = load.EMBEDDED
    """linear: the encoder of the embeddings, a folder or a hub name; empty: TF-IDF alone."""
    linear_c: float = Field(10.0, gt=0)
    """linear: inverse strength of the L2 penalty; lower is smoother."""
    linear_rounds: int = Field(100, ge=1)
    """linear: rounds of the optimiser at most."""
    linear_weights: bool = False
    """linear: let a row count as much as its label's confidence, instead of all the same."""
    lora_r: int = Field(16, ge=1)
    """lora, qlora: rank of the adapters."""
    lora_alpha: int = Field(32, ge=1)
    """lora, qlora: the adapters' output is scaled by this divided by the rank."""
    lora_dropout: float = Field(0.05, ge=0, lt=1)
    """lora, qlora: dropout before each adapter."""
    classifier_dropout: float = Field(0.1, ge=0, lt=1)
    """lora, qlora, full, as are all below: dropout in the classifier's head."""
    epochs: int = Field(6, ge=1)
    """Passes over the training rows at most."""
    learning_rate: float = Field(3e-4, gt=0, lt=1)
    """Of AdamW at its height; it falls to 0 linearly. All weights (full) want about a tenth of it."""
    layer_decay: float = Field(1.0, gt=0, le=1)
    """full: each layer's learning rate is that of the layer above it times this."""
    batch_size: int = Field(16, ge=1)
    """Rows that a step learns from."""
    batch_tokens: int = Field(4096, ge=1)
    """Tokens, padding included, that are put through the model at a time: bounds the memory. A step takes as many such
    passes as it needs. See 'tsirius plan --device'."""
    max_length: int = Field(256, ge=8)
    """Tokens of a review that are read."""
    long_texts: Literal["truncate", "windows"] = "truncate"
    """lora, qlora, full: what becomes of a longer review when it is classified. truncate: its beginning is read;
    windows: all of it, in windows of max_length tokens that overlap, whose scores are averaged."""
    label_smoothing: float = Field(0.05, ge=0, lt=1)
    """Share of each label that is spread over all categories, since some labels are wrong."""
    row_weights: bool = False
    """Let a row count as much as its label's confidence, instead of all the same."""
    imbalance: Literal["none", "weights", "logits"] = "none"
    """What to do in training about rare categories: "weights" lets all categories count the same, "logits" adjusts the
    scores by the training mix (logit adjustment)."""
    weight_decay: float = Field(0.05, ge=0)
    """Of AdamW; not of biases and normalisation layers."""
    warmup: float = Field(0.1, ge=0, lt=1)
    """Share of the steps over which the learning rate rises."""
    max_grad_norm: float = Field(1.0, ge=0)
    """A longer gradient is shortened to this (0: none is)."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass in place of keeping them: less memory, a third more time. qlora
    always does."""
    evaluations_per_epoch: int = Field(2, ge=1)
    """How often an epoch scores the validation rows and leaves a checkpoint."""
    evaluation_steps: int = Field(0, ge=0)
    """Do so every so many steps instead (0: by epoch)."""
    early_stopping_metric: Literal["weighted_f1", "eval_loss"] = "weighted_f1"
    """What says which checkpoint is the best: it is the one that is kept."""
    early_stopping_patience: int = Field(3, ge=1)
    """Stop after this many evaluations without a better one."""

    speed_only = frozenset({"batch_tokens"})

    @field_validator("seeds")
    @classmethod
    def _different(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) < len(seeds) or any(not 0 <= seed < 2**32 for seed in seeds):
            raise ValueError("must be different numbers from 0 to 4294967295")
        return seeds


class Model(Protocol):
    """What every kind of training gives."""

    def logits(self, texts: Sequence[str]) -> NDArray[np.float32]: ...


@dataclass(frozen=True)
class Task:
    """What every model of a run has in common.

    Attributes:
        config: the settings.
        names: the categories.
        none: the one without a product.
        prior: their natural shares.
        shift: added to the scores.
        valid: what to stop early on.
        base_model: the encoder; None where there is none.
        fingerprint: of its weights.
        embed: linear: what the encoder makes of texts; None where there is none.
    """

    config: Config
    names: list[str]
    none: str
    prior: list[float]
    shift: list[float]
    valid: pl.DataFrame
    base_model: str | None
    fingerprint: str | None
    embed: Embed | None


@dataclass(frozen=True)
class Member:
    """One model of an ensemble: trained with ``seed`` without the rows of ``fold``; None: with all of them."""

    seed: int
    fold: int | None

    @property
    def name(self) -> str:
        return f"seed{self.seed}" if self.fold is None else f"seed{self.seed}-fold{self.fold}"


def check(config: Config) -> None:
    """Make sure that the encoder, where one is used, is at hand or can be fetched, and what its training needs.

    Raises:
        UserError: it is not, or a part of it is missing.
    """
    if config.distil and config.folds == 1 and len(config.seeds) < 2:
        raise UserError("there is no ensemble to distil", where="train.distil",
                        remedy="Set train.folds or train.seeds.")  # fmt: skip
    if config.use == "qlora":
        _needs_bitsandbytes()
    if encoder := _encoder(config):
        load.check(encoder)


def _needs_bitsandbytes() -> None:
    import importlib.util  # methods, which knows this too, loads torch

    if importlib.util.find_spec("bitsandbytes") is None:
        raise UserError("qlora needs bitsandbytes, which is not installed", where="train.use",
                        remedy="Install it with: pip install 'tsirius[gpu]'.")  # fmt: skip


def files(config: Config) -> dict[str, Path]:
    """The folder of the encoder, where one is used that is not the hub's: other weights in it give another model."""
    encoder = _encoder(config)
    return {"train.encoder": load.fetch(encoder)} if encoder and load.is_folder(encoder) else {}


def _encoder(config: Config) -> str:
    """The encoder that is used; empty if none is."""
    return config.linear_encoder if config.use == "linear" else config.model


def plan(config: Config, *, device: str, categories: int, rows: Path) -> list[str]:
    """What the training takes on a card, as lines of text.

    Args:
        config: the settings.
        device: the card's name.
        categories: how many there are.
        rows: the folder of the training rows, where an earlier run has made them.

    Raises:
        UserError: the card is not known, or nothing is known of the model's shape.
    """
    from tsirius.models import memory

    memory.device(device)
    if config.use == "linear":
        return ["method   linear: no card is needed; seconds on a CPU"]
    texts = None
    if (rows / "train.parquet").is_file():
        found = tables.read(rows / "train.parquet", tables.EXAMPLES)
        if found.height:
            # Special tokens, and about one more for every four letters.
            tokens = (found["clean"].str.len_chars() / 4 + 2).clip(upper_bound=config.max_length).mean()
            texts = {"rows": found.height, "tokens": tokens}
    return memory.plan(
        config.model,
        device_name=device,
        method=config.use,
        r=config.lora_r,
        batch_size=config.batch_size,
        batch_tokens=config.batch_tokens,
        max_length=config.max_length,
        checkpointing=config.gradient_checkpointing,
        categories=categories,
        epochs=config.epochs,
        models=config.folds * max(1, len(config.seeds)) + config.distil,
        texts=texts,
    )


def run(config: Config, given: Mapping[str, Path], out: Path, *, seed: int, scratch: Path) -> dict[str, Any]:
    from tsirius.models import encode, linear, loss
    from tsirius.models.classifier import prior_shift

    categories = Categories.from_json((given["ingest"] / "categories.json").read_text(encoding="utf-8"))
    train = tables.read(given["augment"] / "train.parquet", tables.EXAMPLES)
    written = tables.read(given["split"] / "train.parquet", tables.EXAMPLES)
    valid = tables.read(given["split"] / "valid.parquet", tables.EXAMPLES)
    mix = json.loads((given["label"] / "mix.json").read_text(encoding="utf-8"))
    if train.is_empty():
        raise UserError("no rows to learn from", where="train", remedy="Lower select.sure or select.grey.")
    names = list(categories.names)
    learned = count(train["label"], names)
    absent = [name for name, rows in zip(names, learned, strict=True) if not rows]
    if absent:
        say(f"  no rows to learn from, never predicted: {', '.join(absent)}")
    if config.use != "linear" and valid.is_empty():
        say("  no validation rows: trained to the last epoch, without early stopping")
    mass = loss.masses(_places(train, names), _weights(config, train), categories=len(names))
    if config.use != "linear" and config.imbalance != "none":  # as if all that have rows had the same
        mass = np.where(mass > 0, mass.sum() / max(1, (mass > 0).sum()), 0.0)
    prior = [float(mix[name]) for name in names]
    shift = [0.0] * len(names)
    if config.prior_correction:
        shift = prior_shift([share * float(mass.sum()) for share in prior], mass.tolist())
    if config.use != "linear":  # what its head says of a category without rows hangs on how it was drawn
        shift = [value if rows else linear.ABSENT for value, rows in zip(shift, learned, strict=True)]
    base_model, base_fingerprint = _base(config)
    task = Task(
        config=config,
        names=names,
        none=categories.none,
        prior=prior,
        shift=shift,
        valid=valid,
        base_model=base_model,
        fingerprint=base_fingerprint,
        embed=encode.embedder(base_model, max_length=config.max_length)
        if config.use == "linear" and base_model
        else None,
    )
    folder = out / "model"
    folder.mkdir()
    seeds = config.seeds or [seed]
    counts = {
        "rows": train.height,
        "categories": dict(zip(names, learned, strict=True)),
        "prior_shift": {name: round(value, 3) for name, value in zip(names, shift, strict=True)},
    }
    if config.folds == 1 and len(seeds) == 1:
        _, notes = _train(task, train, seed=seeds[0], folder=folder, scratch=scratch, whole=True, scores={})
        return {**counts, **notes}
    return {**counts, **_ensemble(task, train, written, seeds=seeds, out=out, folder=folder, scratch=scratch)}


def count(labels: pl.Series, names: Sequence[str]) -> list[int]:
    """How often each of ``names`` occurs."""
    counts = Counter(labels.to_list())
    return [counts[name] for name in names]


def _places(rows: pl.DataFrame, names: Sequence[str]) -> list[int]:
    place = {name: number for number, name in enumerate(names)}
    return [place[label] for label in rows["label"]]


def _weights(config: Config, rows: pl.DataFrame) -> list[float] | None:
    """How much each row counts; None: all the same."""
    weights = rows["weight"]
    if config.linear_weights if config.use == "linear" else config.row_weights:
        weights = weights * rows["confidence"].fill_null(1.0)
    return None if (weights == 1).all() else weights.to_list()


def _base(config: Config) -> tuple[str | None, str | None]:
    """The encoder's name, which stays right wherever the command is run from, and its fingerprint."""
    encoder = _encoder(config)
    if not encoder:
        return None, None
    own = load.is_folder(encoder) and encoder != load.EMBEDDED
    base_model = str(load.folder(encoder).resolve()) if own else encoder
    return base_model, load.fingerprint(base_model)


def _train(
    task: Task,
    rows: pl.DataFrame,
    *,
    seed: int,
    folder: Path,
    scratch: Path,
    whole: bool,
    scores: Mapping[str, metrics.Score],
    targets: NDArray[np.float32] | None = None,
) -> tuple[Model, dict[str, Any]]:
    """Train one model and write it into ``folder``; returns it with notes.

    Args:
        task: what it has in common with others.
        rows: what it learns from.
        seed: of all chance in its training.
        folder: takes the model; empty.
        scratch: keeps the checkpoints.
        whole: write ``merged/`` as well, where that is asked for.
        scores: known of it already, for its card.
        targets: what the rows' labels are, [N, K], in place of ``rows["label"]``.
    """
    config = task.config
    found: Model
    card = _card(task, rows, kind=config.use, scores=scores)
    if config.use == "linear":
        found = _linear(task, rows, targets, folder)
        length = config.max_length if task.base_model else None
        _describe(folder, _description(task, config.use, max_length=length, parts=[]), card)
        return found, {}
    from tsirius.models import artefacts, finetune, methods

    valid = task.valid
    learned, held = [
        finetune.Rows(part["clean"].to_list(), _places(part, task.names), _weights(config, part), shares)
        for part, shares in ((rows, targets), (valid, None))
    ]
    made, notes = finetune.fit(
        learned,
        held,
        model=str(task.base_model),
        names=task.names,
        shift=task.shift,
        recipe=recipe(config),
        seed=seed,
        scratch=scratch,
    )
    encoder = artefacts.Encoder(
        made,
        load.tokenizer(str(task.base_model)),
        notes["max_length"],
        config.long_texts == "windows",
        half=methods.half(),
        adapter=None,
    )
    if not valid.is_empty():
        measured = _score(encoder.logits(valid["clean"].to_list()), valid["label"].to_list(), task, seed=seed)
        card = replace(card, scores={"against pseudo-labels held back": measured, **scores})
    card = replace(card, notes=notes)
    written = artefacts.save(
        made,
        folder,
        method=config.use,
        base_model=str(task.base_model),
        names=task.names,
        merged=config.merged and whole,
    )
    for part in written:
        _describe(part, _description(task, config.use, max_length=notes["max_length"], parts=[]), card)
    forms = [part.name for part in written]
    _describe(folder, _description(task, config.use, max_length=notes["max_length"], parts=forms), card)
    return encoder, notes


def _linear(task: Task, rows: pl.DataFrame, targets: NDArray[np.float32] | None, folder: Path) -> Model:
    from tsirius.models import linear

    config = task.config
    texts, labels, weights = rows["clean"].to_list(), _places(rows, task.names), _weights(config, rows)
    if targets is not None:  # a row of several categories becomes several rows of less weight
        pairs = [(row, k) for row, shares in enumerate(targets) for k in np.flatnonzero(shares >= SMALL)]
        given = weights or [1.0] * len(texts)
        weights = [float(targets[row, k] * given[row]) for row, k in pairs]
        texts, labels = [texts[row] for row, _ in pairs], [int(k) for _, k in pairs]
    found = linear.fit(
        texts,
        labels,
        weights=weights,
        categories=len(task.names),
        c=config.linear_c,
        rounds=config.linear_rounds,
        embed=task.embed,
    )
    found.save(folder)
    return found


def _ensemble(
    task: Task,
    train: pl.DataFrame,
    written: pl.DataFrame,
    *,
    seeds: Sequence[int],
    out: Path,
    folder: Path,
    scratch: Path,
) -> dict[str, Any]:
    """Train the members, those that an earlier try has finished aside, and put them together; returns notes."""
    config = task.config
    places = {seed: _folds(train, written, folds=config.folds, seed=seed) for seed in seeds}
    members = list(_members(config, seeds))
    every = pl.concat([train.select("clean", "group"), written.select("clean", "group")]).unique(maintain_order=True)
    task = replace(task, embed=_known(task.embed, every["clean"].unique(maintain_order=True).to_list()))
    total = np.zeros((every.height, len(task.names)))
    times = np.zeros(every.height, dtype=np.int64)
    notes = []
    for number, member in enumerate(members, 1):
        fold = _fold(every["group"], places[member.seed])
        asked = np.flatnonzero(fold == member.fold) if member.fold is not None else np.arange(every.height)
        if member.fold is None and not config.distil:
            asked = asked[:0]
        say(f"  member {number} of {len(members)}: {member.name}")
        rows = train
        if member.fold is not None:
            rows = train.filter(pl.Series(_fold(train["group"], places[member.seed]) != member.fold))
        place = scratch / "members" / member.name
        found = _member(task, rows, every["clean"].gather(asked).to_list(), member=member, place=place, scratch=scratch)
        notes.append(found)
        total[asked] += np.load(place / SCORES, allow_pickle=False)
        times[asked] += 1
    mean = (total / np.maximum(times, 1)[:, None]).astype(np.float32)
    scores, told = {}, {}
    if config.folds > 1:
        score, table = _out_of_fold(task, written, every, mean, times, seed=seeds[0])
        tables.write(table, OUT_OF_FOLD, out / "out_of_fold.parquet")
        if score is not None:
            scores["against pseudo-labels, out of fold"] = score
            told["out_of_fold"] = {
                "rows": score.rows, "weighted_f1": score.weighted_f1, "interval": list(score.interval),
            }  # fmt: skip
            say(f"  out of fold: weighted F1 {score.weighted_f1:.3f} against pseudo-labels"
                f" (95 % interval {score.interval[0]:.3f}-{score.interval[1]:.3f}, {score.rows:,} rows)")  # fmt: skip
    together = folder / "ensemble" if config.distil else folder
    for member in members:
        _copy(scratch / "members" / member.name / "model", together / "members" / member.name)
    parts = [f"members/{member.name}" for member in members]
    description = _description(task, "ensemble", max_length=None, parts=parts)
    _describe(together, description, replace(_card(task, train, kind="ensemble", scores=scores), notes=told))
    told["members"] = {member.name: found for member, found in zip(members, notes, strict=True)}
    if config.distil:
        say("  distils them into one")
        targets = _soft(task, train, every, mean, times)
        _, notes_of_one = _train(
            task, train, seed=seeds[0], folder=folder, scratch=scratch / "distilled", whole=True, scores={},
            targets=targets,
        )  # fmt: skip
        told["distilled"] = notes_of_one
    return told


def _known(embed: Embed | None, texts: Sequence[str]) -> Embed | None:
    """``embed`` of ``texts`` alone, each embedded once for all members, whichever of them are still to be trained."""
    if embed is None:
        return None
    found, place = embed(texts), {text: row for row, text in enumerate(texts)}
    return lambda asked: found[[place[text] for text in asked]]


SCORES, NOTES = "scores.npy", "notes.json"


def _members(config: Config, seeds: Sequence[int]) -> Iterator[Member]:
    for seed in seeds:
        for fold in range(config.folds) if config.folds > 1 else [None]:
            yield Member(seed, fold)


def _folds(train: pl.DataFrame, written: pl.DataFrame, *, folds: int, seed: int) -> dict[int, int]:
    """The fold of each group of rows. Groups that no quota has left in training are spread evenly."""
    from tsirius.models import ensemble

    if folds == 1:
        return {}
    found = ensemble.assign(train["group"].to_list(), train["label"].to_list(), folds=folds, seed=seed)
    left = sorted(set(written["group"]) - found.keys())
    return found | {group: place % folds for place, group in enumerate(left)}


def _fold(groups: pl.Series, places: Mapping[int, int]) -> NDArray[np.int64]:
    return np.array([places.get(group, -1) for group in groups], dtype=np.int64)


def _member(
    task: Task, rows: pl.DataFrame, texts: Sequence[str], *, member: Member, place: Path, scratch: Path
) -> dict[str, Any]:
    """Train a member into ``place`` and have it score ``texts``, unless that was done before; returns its notes."""
    if (place / NOTES).is_file():
        found: dict[str, Any] = json.loads((place / NOTES).read_text(encoding="utf-8"))
        return found
    temporary = place.with_name(f"{place.name}.partial")
    if temporary.exists():
        shutil.rmtree(temporary)
    (temporary / "model").mkdir(parents=True)
    steps = scratch / "steps" / member.name
    steps.mkdir(parents=True, exist_ok=True)
    model, notes = _train(
        task, rows, seed=member.seed, folder=temporary / "model", scratch=steps, whole=False, scores={}
    )
    np.save(temporary / SCORES, _scored(model, texts, categories=len(task.names), kept=steps), allow_pickle=False)
    (temporary / NOTES).write_text(json.dumps(notes), encoding="utf-8")
    temporary.rename(place)
    shutil.rmtree(steps)
    return notes


def _scored(model: Model, texts: Sequence[str], *, categories: int, kept: Path) -> NDArray[np.float32]:
    """What the model says of cleaned texts, [N, K], the longest first; what a killed run left in ``kept`` counts."""
    order = np.argsort([-len(text) for text in texts], kind="stable")
    paths = {start: kept / f"scores-{start}.npy" for start in range(0, len(texts), SHARD)}
    done = sum(len(order[start : start + SHARD]) for start, path in paths.items() if path.is_file())
    found = np.zeros((len(texts), categories), dtype=np.float32)
    with progress("score what it has not seen", total=len(texts), before=done) as advance:
        for start, path in paths.items():
            rows = order[start : start + SHARD]
            if not path.is_file():
                with replacing(path) as temporary, temporary.open("wb") as file:
                    np.save(file, model.logits([texts[row] for row in rows]), allow_pickle=False)
                advance(len(rows))
            found[rows] = np.load(path, allow_pickle=False)
    return found


def _copy(source: Path, target: Path) -> None:
    """The files of a folder in another, as links where the disk knows them."""

    def link(one: str, other: str) -> None:
        try:
            os.link(one, other)
        except OSError:
            shutil.copyfile(one, other)

    shutil.copytree(source, target, copy_function=link)


def _out_of_fold(
    task: Task,
    written: pl.DataFrame,
    every: pl.DataFrame,
    mean: NDArray[np.float32],
    times: NDArray[np.int64],
    *,
    seed: int,
) -> tuple[metrics.Score | None, pl.DataFrame]:
    """How the members do on the reviews that they had not seen, at the natural mix, and what they say of each."""
    from tsirius.models.classifier import softmax

    at = _rows_of(written, every)
    seen = times[at] > 0
    rows = written.filter(pl.Series(seen))
    chance = softmax(mean[at[seen]].astype(np.float64) + np.array(task.shift))
    table = rows.select("id", "clean", "label").with_columns(
        predicted=pl.Series([task.names[place] for place in chance.argmax(axis=1)], dtype=pl.String),
        confidence=pl.Series(chance.max(axis=1) if rows.height else [], dtype=pl.Float32),
    )
    if not rows.height:
        return None, table
    return _score(mean[at[seen]], rows["label"].to_list(), task, seed=seed), table


def _soft(
    task: Task, train: pl.DataFrame, every: pl.DataFrame, mean: NDArray[np.float32], times: NDArray[np.int64]
) -> NDArray[np.float32]:
    """What members that had not seen them say of the training rows, [N, K]; of a row that all have seen, its label."""
    from tsirius.models import loss
    from tsirius.models.classifier import softmax

    at = _rows_of(train, every)
    labels = loss.targets(_places(train, task.names), categories=len(task.names))
    shares = softmax(mean[at].astype(np.float64)).astype(np.float32)
    return np.where((times[at] > 0)[:, None], shares, labels)


def _rows_of(rows: pl.DataFrame, every: pl.DataFrame) -> NDArray[np.int64]:
    """Where the texts of ``rows`` are among ``every``."""
    numbered = every.with_row_index("place")
    found = rows.select("clean", "group").join(numbered, on=["clean", "group"], how="left", maintain_order="left")
    return found["place"].to_numpy().astype(np.int64)


def _score(logits: NDArray[np.float32], labels: Sequence[str], task: Task, *, seed: int) -> metrics.Score:
    predicted = (logits + np.array(task.shift)).argmax(axis=1)
    return metrics.score(labels, [task.names[place] for place in predicted], names=task.names, rounds=ROUNDS, seed=seed)


def _card(task: Task, rows: pl.DataFrame, *, kind: str, scores: Mapping[str, metrics.Score]) -> Card:
    from tsirius.models.card import Card

    return Card(
        kind=kind,
        names=task.names,
        none=task.none,
        base_model=task.base_model,
        prior=task.prior,
        prior_shift=task.shift,
        rows=count(rows["label"], task.names),
        written=rows.filter(pl.col("method") == "written").height,
        scores=scores,
        settings=task.config.model_dump(mode="json"),
        notes={},
    )


def _description(task: Task, kind: Kind, *, max_length: int | None, parts: list[str]) -> Description:
    from tsirius.models.classifier import Description

    several = kind == "ensemble"
    return Description(
        kind=kind,
        names=task.names,
        none=task.none,
        prior=task.prior,
        prior_shift=task.shift,
        base_model=None if several else task.base_model,
        base_fingerprint=None if several else task.fingerprint,
        max_length=max_length,
        parts=parts,
        long_texts=task.config.long_texts,
    )


def _describe(folder: Path, description: Description, card: Card) -> None:
    """Write ``model.json`` and the card beside the weights."""
    from tsirius.models.artefacts import ADAPTER
    from tsirius.models.card import render

    description.save(folder)
    (folder / "README.md").write_text(render(card, adapter=folder.name == ADAPTER), encoding="utf-8")


def recipe(config: Config) -> Recipe:
    """The settings of fine-tuning as plain values."""
    from tsirius.models.methods import Recipe

    assert config.use != "linear"
    return Recipe(
        method=config.use,
        r=config.lora_r,
        alpha=config.lora_alpha,
        dropout=config.lora_dropout,
        classifier_dropout=config.classifier_dropout,
        epochs=config.epochs,
        learning_rate=config.learning_rate,
        layer_decay=config.layer_decay,
        batch_size=config.batch_size,
        batch_tokens=config.batch_tokens,
        max_length=config.max_length,
        label_smoothing=config.label_smoothing,
        imbalance=config.imbalance,
        weight_decay=config.weight_decay,
        warmup=config.warmup,
        max_grad_norm=config.max_grad_norm,
        gradient_checkpointing=config.gradient_checkpointing,
        evaluations_per_epoch=config.evaluations_per_epoch,
        evaluation_steps=config.evaluation_steps,
        early_stopping_metric=config.early_stopping_metric,
        early_stopping_patience=config.early_stopping_patience,
    )
