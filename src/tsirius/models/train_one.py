"""One model of any kind: trained, and written with its description and its card.

A linear model and a fine-tuned encoder are trained through the same functions: an ensemble
(:mod:`tsirius.models.train_ensemble`) does not know which kind its members are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from tsirius import metrics
from tsirius.models import hub, linear, load
from tsirius.store import write_checksums

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tsirius.models.classifier import Kind, LongTexts
    from tsirius.models.finetune import Recipe
    from tsirius.models.linear import Embed
    from tsirius.models.saved_encoder import Encoder
    from tsirius.models.scorer import Scorer
    from tsirius.models.trackers import Trackers

ROUNDS = 1000
"""Resamples for the intervals on the model's card."""
MEASURED = ("tokens_per_second", "peak_gpu_mib", "mfu", "cuda_graphs")
"""Notes that differ between equal trainings: the stage's record has them, the card, which is fingerprinted, has not."""
SMALL = 0.02
"""Learned from shares by a linear model, a category with less of a row's label is left out."""


@dataclass(frozen=True)
class Regression:
    """How a linear model is fitted.

    Attributes:
        c: inverse strength of the L2 penalty.
        rounds: of the optimiser at most.
        embed: what the encoder makes of texts; None where there is none.
        max_length: tokens of a text that the encoder reads; None where there is none.
        pooling: how the encoder makes an embedding, see :meth:`tsirius.models.pooling.Pooling.key`; None: no encoder.
    """

    c: float
    rounds: int
    embed: Embed | None
    max_length: int | None
    pooling: dict[str, Any] | None


@dataclass(frozen=True)
class Task:
    """What every model of a run has in common.

    Attributes:
        how: how it is trained, which says its kind too.
        names: the categories.
        none: the one without a product.
        prior: their natural shares.
        shift: added to the scores.
        valid: what to stop early on.
        by_confidence: a row counts as much as its label's confidence, instead of all the same.
        base_model: the encoder; None where there is none.
        fingerprint: of its weights.
        long_texts: what a fine-tuned encoder does with longer texts.
        merged: beside an adapter leave a whole checkpoint.
        settings: of the training, as the card shows them.
        trackers: who is told of each evaluation; None: nobody.
    """

    how: Regression | Recipe
    names: list[str]
    none: str
    prior: list[float]
    shift: list[float]
    valid: pl.DataFrame
    by_confidence: bool
    base_model: str | None
    fingerprint: str | None
    long_texts: LongTexts
    merged: bool
    settings: Mapping[str, Any]
    trackers: Trackers | None = None


def train(
    task: Task,
    rows: pl.DataFrame,
    *,
    seed: int,
    folder: Path,
    scratch: Path,
    whole: bool,
    targets: NDArray[np.float32] | None,
) -> tuple[Scorer, dict[str, Any]]:
    """Train one model and write it into ``folder``; returns it with notes.

    Args:
        task: what it has in common with others.
        rows: what it learns from.
        seed: of all chance in its training.
        folder: takes the model; empty.
        scratch: keeps the checkpoints.
        whole: write ``merged/`` as well, where that is asked for.
        targets: what the rows' labels are, [N, K]; None: ``rows["label"]``.
    """
    if isinstance(task.how, Regression):
        return _fit(task, task.how, rows, folder=folder, targets=targets), {}
    encoder, notes = _tune(task, task.how, rows, seed=seed, scratch=scratch, targets=targets)
    _write(task, task.how, rows, encoder, notes, seed=seed, folder=folder, merged=task.merged and whole)
    return encoder, notes


def _fit(
    task: Task, how: Regression, rows: pl.DataFrame, *, folder: Path, targets: NDArray[np.float32] | None
) -> Scorer:
    texts, labels = rows["clean"].to_list(), label_indices(rows, task.names)
    counted = weights(rows, by_confidence=task.by_confidence)
    if targets is not None:  # a row of several categories becomes several rows of less weight
        pairs = [(row, k) for row, shares in enumerate(targets) for k in np.flatnonzero(shares >= SMALL)]
        given = counted or [1.0] * len(texts)
        counted = [float(targets[row, k] * given[row]) for row, k in pairs]
        texts, labels = [texts[row] for row, _ in pairs], [int(k) for _, k in pairs]
    result = linear.fit(
        texts,
        labels,
        weights=counted,
        categories=len(task.names),
        c=how.c,
        rounds=how.rounds,
        embed=how.embed,
    )
    result.save(folder)
    document(folder, task, rows, kind="linear", max_length=how.max_length, parts=[], scores={}, notes={})
    return result


def _tune(
    task: Task, recipe: Recipe, rows: pl.DataFrame, *, seed: int, scratch: Path, targets: NDArray[np.float32] | None
) -> tuple[Encoder, dict[str, Any]]:
    """The encoder fine-tuned on the rows, and notes; arguments as of :func:`train`."""
    from tsirius.models import adapters, finetune, saved_encoder

    learned, held = [
        finetune.Rows(
            part["clean"].to_list(),
            label_indices(part, task.names),
            weights(part, by_confidence=task.by_confidence),
            shares,
        )
        for part, shares in ((rows, targets), (task.valid, None))
    ]
    base_model = str(task.base_model)
    job = finetune.Job(
        learned,
        held,
        model=base_model,
        names=task.names,
        shift=task.shift,
        recipe=recipe,
        seed=seed,
        scratch=scratch,
        trackers=task.trackers,
    )
    model, notes = finetune.fit(job)
    encoder = saved_encoder.Encoder(
        model,
        load.tokenizer(base_model),
        notes["max_length"],
        task.long_texts == "windows",
        half=adapters.half(),
        adapter=None,
    )
    return encoder, notes


def _write(
    task: Task,
    recipe: Recipe,
    rows: pl.DataFrame,
    encoder: Encoder,
    notes: Mapping[str, Any],
    *,
    seed: int,
    folder: Path,
    merged: bool,
) -> None:
    """Score a fine-tuned encoder on the validation rows, and write it with its description and its card."""
    from tsirius.models import saved_encoder

    scores = {}
    if not task.valid.is_empty():
        logits = encoder.logits(task.valid["clean"].to_list())
        scores["on validation reviews"] = score(task, logits, task.valid["label"].to_list(), seed=seed)
    written = saved_encoder.save(
        encoder.model,
        folder,
        method=recipe.method,
        base_model=str(task.base_model),
        names=task.names,
        merged=merged,
    )
    forms = [part.name for part in written]
    for target, parts in [*((part, []) for part in written), (folder, forms)]:
        document(
            target, task, rows, kind=recipe.method, max_length=notes["max_length"], parts=parts, scores=scores,
            notes=notes,
        )  # fmt: skip


def document(
    folder: Path,
    task: Task,
    rows: pl.DataFrame,
    *,
    kind: Kind,
    max_length: int | None,
    parts: list[str],
    scores: Mapping[str, metrics.Score],
    notes: Mapping[str, Any],
) -> None:
    """Write ``model.json``, the checksums and the card beside the weights.

    Args:
        folder: of the model, or of one of its forms.
        task: what it has in common with others.
        rows: what it learned from.
        kind: what it is.
        max_length: tokens of a text that are read at a time; None where there is no limit.
        parts: the folders beside ``model.json`` that hold the weights.
        scores: what was measured, by what against.
        notes: how the training went.
    """
    from tsirius.models.card import Card, render
    from tsirius.models.classifier import Description

    several = kind == "ensemble"
    description = Description(
        kind=kind,
        names=task.names,
        none=task.none,
        prior=task.prior,
        prior_shift=task.shift,
        base_model=None if several else task.base_model,
        base_fingerprint=None if several else task.fingerprint,
        max_length=max_length,
        parts=parts,
        long_texts=task.long_texts,
        pooling=None if several or not isinstance(task.how, Regression) else task.how.pooling,
    )
    description.save(folder)
    write_checksums(folder)
    card = Card(
        kind=kind,
        names=task.names,
        none=task.none,
        base_model=task.base_model,
        prior=task.prior,
        prior_shift=task.shift,
        rows=count(rows["label"], task.names),
        written=rows.filter(pl.col("method") == "written").height,
        scores=scores,
        settings=task.settings,
        notes={name: value for name, value in notes.items() if name not in MEASURED},
    )
    (folder / "README.md").write_text(render(card, adapter=folder.name == hub.ADAPTER), encoding="utf-8")


def score(task: Task, logits: NDArray[np.float32], labels: Sequence[str], *, seed: int) -> metrics.Score:
    """How right a model's scores are, [N, K], with the shift that they are used with."""
    predicted = (logits + np.array(task.shift)).argmax(axis=1)
    return metrics.score(labels, [task.names[index] for index in predicted], names=task.names, rounds=ROUNDS, seed=seed)


def count(labels: pl.Series, names: Sequence[str]) -> list[int]:
    """How often each of ``names`` occurs."""
    counts = Counter(labels.to_list())
    return [counts[name] for name in names]


def label_indices(rows: pl.DataFrame, names: Sequence[str]) -> list[int]:
    """The index of each row's label among ``names``."""
    index = {name: number for number, name in enumerate(names)}
    return [index[label] for label in rows["label"]]


def weights(rows: pl.DataFrame, *, by_confidence: bool) -> list[float] | None:
    """How much each row counts; None: all the same."""
    result = rows["weight"]
    if by_confidence:
        result = result * rows["confidence"].fill_null(1.0)
    return None if (result == 1).all() else result.to_list()
