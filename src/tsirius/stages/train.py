"""Train: the classifier, from the training rows.

``use = "linear"`` is logistic regression on TF-IDF and on embeddings by a small encoder that comes with the package:
seconds on a CPU, nothing to download. ``use = "lora"`` adapts an encoder such as XLM-R, from a folder or the hub. Where
validation rows are at hand, LoRA stops early on them and keeps its best checkpoint.

Selection, quotas and variants change how often each category occurs. With ``prior_correction`` the model's scores are
shifted back to the natural mix, which labelling estimates.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import polars as pl
from pydantic import Field

from tsirius import tables
from tsirius.categories import Categories
from tsirius.errors import UserError
from tsirius.models import load
from tsirius.progress import say
from tsirius.section import Section

if TYPE_CHECKING:
    from tsirius.models.lora import Recipe

VERSION = 3


class Config(Section):
    use: Literal["linear", "lora"] = "linear"
    """What is trained: a linear model on TF-IDF and embeddings, or LoRA adapters on the encoder ``model``."""
    prior_correction: bool = True
    """Shift the scores from the training rows' mix of categories back to the natural one."""
    model: str = Field("xlm-roberta-base", min_length=1)
    """lora: the encoder, a folder or a hub name."""
    linear_encoder: str = load.EMBEDDED
    """linear: the encoder of the embeddings, a folder or a hub name; empty: TF-IDF alone."""
    linear_c: float = Field(10.0, gt=0)
    """linear: inverse strength of the L2 penalty; lower is smoother."""
    linear_rounds: int = Field(100, ge=1)
    """linear: rounds of the optimiser at most."""
    linear_weights: bool = False
    """linear: let a row count as much as its label's confidence, instead of all the same."""
    lora_r: int = Field(16, ge=1)
    """lora: rank of the adapters."""
    lora_alpha: int = Field(32, ge=1)
    """lora: the adapters' output is scaled by this divided by the rank."""
    lora_dropout: float = Field(0.05, ge=0, lt=1)
    """lora: dropout before each adapter."""
    classifier_dropout: float = Field(0.1, ge=0, lt=1)
    """lora: dropout in the classifier's head."""
    epochs: int = Field(6, ge=1)
    """lora: passes over the training rows at most."""
    learning_rate: float = Field(3e-4, gt=0, lt=1)
    """lora: of AdamW at its height; it falls to 0 linearly."""
    batch_size: int = Field(16, ge=1)
    """lora: rows of a forward pass."""
    gradient_accumulation: int = Field(1, ge=1)
    """lora: forward passes of a step: a step learns from ``batch_size`` times as many rows."""
    max_length: int = Field(256, ge=8)
    """Tokens of a review that the encoder reads."""
    label_smoothing: float = Field(0.05, ge=0, lt=1)
    """lora: share of each label that is spread over all categories, since some labels are wrong."""
    weight_decay: float = Field(0.05, ge=0)
    """lora: of AdamW."""
    warmup: float = Field(0.1, ge=0, lt=1)
    """lora: share of the steps over which the learning rate rises."""
    evaluations_per_epoch: int = Field(2, ge=1)
    """lora: how often an epoch scores the validation rows and leaves a checkpoint."""
    early_stopping_patience: int = Field(3, ge=1)
    """lora: stop after this many evaluations without a better weighted F1."""


class Model(Protocol):
    """What every kind of training gives."""

    def save(self, folder: Path) -> None: ...


def check(config: Config) -> None:
    """Make sure that the encoder, where one is used, is at hand or can be fetched.

    Raises:
        UserError: it is not, or a part of it is missing.
    """
    if encoder := _encoder(config):
        load.check(encoder)


def files(config: Config) -> dict[str, Path]:
    """The folder of the encoder, where one is used that is not the hub's: other weights in it give another model."""
    encoder = _encoder(config)
    return {"train.encoder": load.fetch(encoder)} if encoder and load.is_folder(encoder) else {}


def _encoder(config: Config) -> str:
    """The encoder that is used; empty if none is."""
    return config.linear_encoder if config.use == "linear" else config.model


def run(config: Config, given: Mapping[str, Path], out: Path, *, seed: int, scratch: Path) -> dict[str, Any]:
    from tsirius.models.classifier import Description, prior_shift

    categories = Categories.from_json((given["ingest"] / "categories.json").read_text(encoding="utf-8"))
    train = tables.read(given["augment"] / "train.parquet", tables.EXAMPLES)
    valid = tables.read(given["split"] / "valid.parquet", tables.EXAMPLES)
    mix = json.loads((given["label"] / "mix.json").read_text(encoding="utf-8"))
    if train.is_empty():
        raise UserError("no rows to learn from", where="train", remedy="Lower select.sure or select.grey.")
    names = categories.names
    learned = count(train["label"], names)
    absent = [name for name, rows in zip(names, learned, strict=True) if not rows]
    if absent:
        say(f"  no rows to learn from, never predicted: {', '.join(absent)}")
    natural = [mix[name] * sum(learned) for name in names] if config.prior_correction else learned
    shift = prior_shift(natural, learned)

    base_model = base_fingerprint = None
    if encoder := _encoder(config):
        base_model = _lasting(encoder)
        base_fingerprint = load.weights_fingerprint(base_model)
    model: Model
    notes: dict[str, Any] = {}
    if config.use == "linear":
        model = _linear(config, train, names, base_model=base_model)
        notes = {"max_length": config.max_length} if base_model else {}
    else:
        model, notes = _lora(config, train, valid, names, shift, base_model=str(base_model), seed=seed, scratch=scratch)
    folder = out / "model"
    folder.mkdir()
    model.save(folder)
    Description(
        kind=config.use,
        names=names,
        none=categories.none,
        prior_shift=shift,
        base_model=base_model,
        base_fingerprint=base_fingerprint,
        max_length=notes.get("max_length"),
    ).save(folder)
    return {
        "rows": train.height,
        "categories": dict(zip(names, learned, strict=True)),
        "prior_shift": {name: round(value, 3) for name, value in zip(names, shift, strict=True)},
        **notes,
    }


def count(labels: pl.Series, names: Sequence[str]) -> list[int]:
    """How often each of ``names`` occurs."""
    counts = Counter(labels.to_list())
    return [counts[name] for name in names]


def _lasting(model: str) -> str:
    """The model's name as it is written down: a folder's whole path; the hub's and the package's own as they are."""
    is_name = model == load.EMBEDDED or not load.is_folder(model)
    return model if is_name else str(Path(model).expanduser().resolve())


def _linear(config: Config, train: pl.DataFrame, names: Sequence[str], *, base_model: str | None) -> Model:
    from tsirius.models import encode, linear

    return linear.fit(
        train["clean"].to_list(),
        [names.index(label) for label in train["label"]],
        weights=train["confidence"].fill_null(1.0).to_list() if config.linear_weights else None,
        categories=len(names),
        c=config.linear_c,
        rounds=config.linear_rounds,
        embed=encode.embedder(base_model, max_length=config.max_length) if base_model else None,
    )


def _lora(
    config: Config,
    train: pl.DataFrame,
    valid: pl.DataFrame,
    names: Sequence[str],
    shift: Sequence[float],
    *,
    base_model: str,
    seed: int,
    scratch: Path,
) -> tuple[Model, dict[str, Any]]:
    from tsirius.models import lora

    if valid.is_empty():
        say("  no validation rows: trained to the last epoch, without early stopping")
    rows = [
        lora.Rows(part["clean"].to_list(), [names.index(label) for label in part["label"]]) for part in (train, valid)
    ]
    return lora.fit(
        *rows, model=base_model, names=names, shift=shift, recipe=recipe(config), seed=seed, scratch=scratch
    )


def recipe(config: Config) -> Recipe:
    """The settings of LoRA as plain values."""
    from tsirius.models.lora import Recipe

    return Recipe(
        r=config.lora_r,
        alpha=config.lora_alpha,
        dropout=config.lora_dropout,
        classifier_dropout=config.classifier_dropout,
        epochs=config.epochs,
        learning_rate=config.learning_rate,
        batch_size=config.batch_size,
        gradient_accumulation=config.gradient_accumulation,
        max_length=config.max_length,
        label_smoothing=config.label_smoothing,
        weight_decay=config.weight_decay,
        warmup=config.warmup,
        evaluations_per_epoch=config.evaluations_per_epoch,
        early_stopping_patience=config.early_stopping_patience,
    )
