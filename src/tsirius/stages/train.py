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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl
from pydantic import Field, field_validator

from tsirius import extras, sampling, tables
from tsirius.categories import Categories
from tsirius.errors import UserError
from tsirius.models import hub, load, trackers
from tsirius.progress import say
from tsirius.section import Section
from tsirius.store import write_checksums

if TYPE_CHECKING:
    from tsirius.models.finetune import Recipe
    from tsirius.models.train_one import Regression

VERSION = 6

CALIBRATED = 2_000
"""Reviews, drawn at random, by which the confidence is set."""
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
    sample: int = Field(0, ge=0)
    """Learn from a sample of so many different reviews, drawn by their hashes at the mix of the training rows; answered
    reviews stay, and variants follow theirs (0: learn from all)."""
    prior_correction: bool = True
    """Shift the scores from the class prior of the training rows back to the natural one."""
    calibrate: bool = True
    """Divide the scores by the temperature at which the mean confidence over all reviews equals that of their labels.
    No label changes."""
    folds: int = Field(1, ge=1, le=50)
    """Cross-validation folds: one model per fold, and an ensemble of them (1: none)."""
    seeds: list[int] = Field(default=[])
    """Train one model per seed, and average them as an ensemble; []: the run's seed alone."""
    distil: bool = False
    """Distil the ensemble into one model: as fast as one, nearly as good as all."""
    model: str = Field("xlm-roberta-base", min_length=1)
    """lora, qlora, full: the encoder, a folder or a hub name."""
    merged: bool = True
    """lora, qlora: beside the adapter also leave a whole checkpoint (as large as the encoder) that needs no encoder;
    not of the members of an ensemble."""
    linear_encoder: str = hub.EMBEDDED
    """linear: the encoder of the embeddings, a folder or a hub name; empty: TF-IDF alone."""
    linear_c: float = Field(10.0, gt=0)
    """linear: inverse strength of the L2 penalty; lower is smoother."""
    linear_rounds: int = Field(100, ge=1)
    """linear: rounds of the optimiser at most."""
    linear_weights: bool = False
    """linear: weight each row by its label's confidence."""
    lora_r: int = Field(16, ge=1)
    """lora, qlora: rank of the adapters."""
    lora_alpha: int = Field(32, ge=1)
    """lora, qlora: scaling of the adapters: their output times this divided by the rank."""
    lora_dropout: float = Field(0.05, ge=0, lt=1)
    """lora, qlora: dropout before each adapter."""
    classifier_dropout: float = Field(0.1, ge=0, lt=1)
    """lora, qlora, full, as are all below: dropout in the classifier's head."""
    epochs: int = Field(6, ge=1)
    """Epochs at most."""
    learning_rate: float = Field(3e-4, gt=0, lt=1)
    """Peak learning rate of AdamW; it decays to 0 linearly. full needs about a tenth of it."""
    layer_decay: float = Field(1.0, gt=0, le=1)
    """full: layer-wise decay: each layer's learning rate is that of the layer above it times this."""
    batch_size: int = Field(16, ge=1)
    """Rows of an optimiser step."""
    batch_tokens: int = Field(4096, ge=1)
    """Tokens of a micro-batch, padding included: bounds the memory. A step accumulates the gradients of as many as it
    needs. See 'tsirius plan --device'."""
    max_length: int = Field(256, ge=8)
    """Tokens of a review at most; the rest is cut off."""
    long_texts: Literal["truncate", "windows"] = "truncate"
    """lora, qlora, full: how a longer review is classified. truncate: by its beginning; windows: by overlapping windows
    of max_length tokens, whose scores are averaged."""
    label_smoothing: float = Field(0.05, ge=0, lt=1)
    """Share of each label that is spread over all categories, since some labels are wrong."""
    row_weights: bool = False
    """Weight each row by its label's confidence."""
    imbalance: Literal["none", "weights", "logits"] = "none"
    """Rare categories in training: "weights" gives all categories the same weight, "logits" adds the log class prior to
    the logits (logit adjustment)."""
    weight_decay: float = Field(0.05, ge=0)
    """Of AdamW; not of biases and normalisation layers."""
    warmup: float = Field(0.1, ge=0, lt=1)
    """Share of the steps with a rising learning rate (warm-up)."""
    max_grad_norm: float = Field(1.0, ge=0)
    """Gradients are clipped to this norm (0: no clipping)."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass instead of keeping them: less memory, a third more time. qlora always
    does."""
    evaluations_per_epoch: int = Field(2, ge=1)
    """Evaluations on the validation rows per epoch, each with a checkpoint."""
    evaluation_steps: int = Field(0, ge=0)
    """Steps between evaluations (0: by epoch)."""
    early_stopping_metric: Literal["weighted_f1", "eval_loss"] = "weighted_f1"
    """Metric of the best checkpoint, which is the one that is kept."""
    early_stopping_patience: int = Field(3, ge=1)
    """Evaluations without improvement before training stops."""
    report_to: list[trackers.Name] = Field(default=[])
    """Who is told of the loss and the score after each evaluation: "tensorboard", "mlflow", "wandb"; each writes
    into the run's folder tracking, and nothing is sent."""

    speed_only = frozenset({"batch_tokens", "report_to"})

    @field_validator("seeds")
    @classmethod
    def _different(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) < len(seeds) or any(not 0 <= seed < 2**32 for seed in seeds):
            raise ValueError("must be different numbers from 0 to 4294967295")
        return seeds


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
    if config.use != "linear":
        extras.need_training(f'train.use = "{config.use}"', where="train.use")
        trackers.check(config.report_to)
    if encoder := _encoder(config):
        hub.check(encoder)
        if config.use != "linear":
            load.check(encoder, head=load.CLASSIFIER, new_head=True)
        elif encoder not in hub.OWN:
            load.check(encoder, head=load.ENCODER, new_head=False)


def _needs_bitsandbytes() -> None:
    import importlib.util  # adapters, which checks this too, loads torch

    if importlib.util.find_spec("bitsandbytes") is None:
        raise UserError("qlora needs bitsandbytes, which is not installed", where="train.use",
                        remedy=f"{extras.install('gpu')}.")  # fmt: skip


def files(config: Config) -> dict[str, Path]:
    """The folder of the encoder, where one is used that is not the hub's: other weights in it give another model."""
    encoder = _encoder(config)
    if not encoder or not hub.is_folder(encoder):
        return {}
    parts = hub.parts(encoder)
    return {"train.encoder" if len(parts) == 1 else f"train.encoder ({part})": hub.fetch(part) for part in parts}


def _encoder(config: Config) -> str:
    """The encoder that is used; empty if none is."""
    return config.linear_encoder if config.use == "linear" else config.model


def plan(config: Config, *, device: str, categories: int, rows: Path) -> list[str]:
    """What the training takes on a card, as lines of text.

    Args:
        config: the settings.
        device: the card's name.
        categories: how many there are.
        rows: the folder of the training rows of an earlier run.

    Raises:
        UserError: the card is not known, or nothing is known of the model's shape.
    """
    from tsirius.models import estimate

    estimate.device(device)
    if config.use == "linear":
        return ["method   linear: no card is needed; seconds on a CPU"]
    texts = None
    if (rows / "train.parquet").is_file():
        train_rows = tables.read(rows / "train.parquet", tables.EXAMPLES)
        if train_rows.height:
            # Special tokens, and about one more for every four letters.
            tokens = (train_rows["clean"].str.len_chars() / 4 + 2).clip(upper_bound=config.max_length).mean()
            texts = {"rows": train_rows.height, "tokens": tokens}
    use = estimate.Use(
        method=config.use,
        r=config.lora_r,
        rows=config.batch_size,
        length=config.max_length,
        checkpointing=config.gradient_checkpointing,
        categories=categories,
        several=False,
    )
    return estimate.plan(
        config.model,
        use,
        device_name=device,
        batch_tokens=config.batch_tokens,
        epochs=config.epochs,
        models=config.folds * max(1, len(config.seeds)) + config.distil,
        texts=texts,
    )


def run(config: Config, given: Mapping[str, Path], out: Path, *, seed: int, scratch: Path) -> dict[str, Any]:
    from tsirius.models import train_ensemble, train_one

    categories = Categories.from_json((given["ingest"] / "categories.json").read_text(encoding="utf-8"))
    train = tables.read(given["augment"] / "train.parquet", tables.EXAMPLES)
    written = tables.read(given["split"] / "train.parquet", tables.EXAMPLES)
    valid = tables.read(given["split"] / "valid.parquet", tables.EXAMPLES)
    mix = json.loads((given["answers"] / "mix.json").read_text(encoding="utf-8"))
    if train.is_empty():
        raise UserError("no rows to learn from", where="train", remedy="Lower select.sure or select.grey.")
    rows = train.height
    if config.sample:
        train, written = draw(train, written, given["answers"] / "labels.parquet", sample=config.sample)
    names = list(categories.names)
    learned = train_one.count(train["label"], names)
    absent = [name for name, rows in zip(names, learned, strict=True) if not rows]
    if absent:
        say(f"  no rows to learn from, never predicted: {', '.join(absent)}")
    if config.use != "linear" and valid.is_empty():
        say("  no validation rows: trained to the last epoch, without early stopping")
    by_confidence = config.linear_weights if config.use == "linear" else config.row_weights
    prior = [float(mix[name]) for name in names]
    shifted = shift(config, train, prior, names=names, by_confidence=by_confidence)
    base_model, base_fingerprint = _base(config)
    task = train_one.Task(
        how=_regression(config, base_model, given["label"]) if config.use == "linear" else recipe(config),
        names=names,
        none=categories.none,
        prior=prior,
        shift=shifted,
        valid=valid,
        by_confidence=by_confidence,
        base_model=base_model,
        fingerprint=base_fingerprint,
        long_texts=config.long_texts,
        merged=config.merged,
        settings=config.model_dump(mode="json", exclude={"report_to"}),
        trackers=trackers.Trackers(tuple(config.report_to), given["split"].parent / "tracking"),
    )
    folder = out / "model"
    folder.mkdir()
    seeds = config.seeds or [seed]
    counts = {
        "rows": train.height,
        **({"sampled_from": rows} if train.height < rows else {}),
        "categories": dict(zip(names, learned, strict=True)),
        "prior_shift": {name: round(value, 3) for name, value in zip(names, shifted, strict=True)},
    }
    if config.folds == 1 and len(seeds) == 1:
        _, notes = train_one.train(task, train, seed=seeds[0], folder=folder, scratch=scratch, whole=True, targets=None)
        notes |= _calibrate(config, folder, given, seed=seed)
        _probe(config, folder)
        return {**counts, **notes}
    notes, out_of_fold = train_ensemble.train(
        task,
        train,
        written,
        folds=config.folds,
        seeds=seeds,
        distil=config.distil,
        folder=folder,
        scratch=scratch,
    )
    if out_of_fold is not None:
        tables.write(out_of_fold, OUT_OF_FOLD, out / "out_of_fold.parquet")
    notes |= _calibrate(config, folder, given, seed=seed)
    _probe(config, folder)
    return {**counts, **notes}


def draw(
    train: pl.DataFrame, written: pl.DataFrame, answered: Path, *, sample: int
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The training rows of a sample of different reviews, and those of them that people wrote.

    Args:
        train: the training rows, tables of :data:`tsirius.tables.EXAMPLES`.
        written: the reviews that they derive from.
        answered: the table of labels after the answers: what people answered, and copies of it, stay.
        sample: different reviews, of those that have training rows.
    """
    stay = tables.scan(answered).filter(pl.col("role").is_in(["lesson", "copy"])).select("id").collect()["id"]
    used = written.filter(pl.col("id").is_in(train["origin"].implode()))
    others = used.filter(~pl.col("id").is_in(stay.implode()))
    drawn = others["id"].filter(pl.Series(sampling.drawn(sampling.numbers(others["clean"]), sample)))
    ids = pl.concat([stay, drawn]).implode()
    chosen = train.filter(pl.col("origin").is_in(ids))
    if chosen.height < train.height:
        say(f"  a sample: {chosen.height:,} of {train.height:,} rows, at their mix")
    return chosen, written.filter(pl.col("id").is_in(ids))


def _calibrate(config: Config, folder: Path, given: Mapping[str, Path], *, seed: int) -> dict[str, float]:
    """Give the model in ``folder`` the temperature at which it is as sure, over all reviews, as their labels are."""
    from tsirius.calibration import temperature
    from tsirius.models import classifier

    if not config.calibrate:
        return {}
    labels = tables.read(given["answers"] / "labels.parquet", tables.TAUGHT).select("id", "confidence")
    known = labels.filter(pl.col("confidence").is_not_null())
    if known.is_empty():
        return {}
    known = known.sample(min(known.height, CALIBRATED), seed=seed)
    reviews = tables.scan(given["ingest"] / "reviews.parquet").select("id", "clean")
    texts = reviews.filter(pl.col("id").is_in(known["id"].implode())).collect()
    known = known.join(texts, on="id", how="left", maintain_order="left")
    model = classifier.Classifier.load(folder, embedded=given["label"])
    wanted = float(known["confidence"].to_numpy().mean(dtype=np.float64))
    found = round(temperature(model.scores(known["clean"].to_list()), wanted), 4)
    classifier.set_temperature(folder, found)
    say(f"  confidence: scores divided by {found:.2f}, so that all reviews are as sure as their labels")
    return {"temperature": found}


def _probe(config: Config, folder: Path) -> None:
    """Write the probes of a linear model, as its files answer them; a fine-tuned one gets them when it is exported."""
    from tsirius.models import probes
    from tsirius.models.classifier import Classifier

    if config.use == "linear":
        probes.write(folder, Classifier.load(folder))
        write_checksums(folder)


def shift(
    config: Config, train: pl.DataFrame, prior: Sequence[float], *, names: Sequence[str], by_confidence: bool
) -> list[float]:
    """What is added to the logits of each category: the shift back to the class prior, if ``prior_correction``."""
    from tsirius.models import linear, loss, train_one
    from tsirius.models.scorer import prior_shift

    weights = train_one.weights(train, by_confidence=by_confidence)
    mass = loss.masses(train_one.label_indices(train, names), weights, categories=len(names))
    learned = train_one.count(train["label"], names)
    if config.use != "linear" and config.imbalance != "none":  # as if all that have rows had the same
        mass = np.where(mass > 0, mass.sum() / max(1, (mass > 0).sum()), 0.0)
    result = [0.0] * len(names)
    if config.prior_correction:
        result = prior_shift([share * float(mass.sum()) for share in prior], mass.tolist())
    if config.use != "linear":  # what its head says of a category without rows hangs on how it was drawn
        result = [value if rows else linear.ABSENT for value, rows in zip(result, learned, strict=True)]
    return result


def _base(config: Config) -> tuple[str | None, str | None]:
    """The encoder's name, which stays right wherever the command is run from, and its fingerprint."""
    encoder = _encoder(config)
    if not encoder:
        return None, None
    own = hub.is_folder(encoder) and encoder not in hub.OWN
    base_model = str(hub.folder(encoder).resolve()) if own else encoder
    return base_model, hub.fingerprint(base_model)


def _regression(config: Config, base_model: str | None, labelled: Path) -> Regression:
    """The settings of the linear model as plain values, with what the encoder makes of texts.

    Args:
        config: the settings.
        base_model: the encoder; None: there is none.
        labelled: the folder of the label stage, which may hold the embeddings of the rows.
    """
    from tsirius.models import embeddings, encode, pooling
    from tsirius.models.train_one import Regression

    embed = how = None
    if base_model:
        how = pooling.of(base_model)
        embed = encode.embedder(base_model, how, max_length=config.max_length)
        embed = embeddings.known(embed, labelled, how, model=base_model, max_length=config.max_length)
    return Regression(
        c=config.linear_c,
        rounds=config.linear_rounds,
        embed=embed,
        max_length=config.max_length if base_model else None,
        pooling=how.key() if how else None,
    )


def recipe(config: Config) -> Recipe:
    """The settings of fine-tuning as plain values."""
    from tsirius.models.finetune import Recipe

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
