"""Train the models of an ensemble, one a fold and seed, and average them, or distil them into one.

A member scores what it has not seen: its own fold of the rows. These scores, averaged over the seeds, are the
out-of-fold score, and what a distilled model learns. A finished member stays in the scratch folder: a run that was
killed resumes with the next one.
"""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from scipy.special import softmax

from tsirius import metrics
from tsirius.headline import AGREEMENT
from tsirius.models import loss, train_one
from tsirius.models.batching import longest_first
from tsirius.models.scorer import Scorer
from tsirius.models.train_one import Task
from tsirius.progress import progress, say
from tsirius.publish import publishing
from tsirius.shards import Shards
from tsirius.store import seal, sealed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tsirius.models.linear import Embed

ALWAYS = -1
"""The fold of rows that every member learns from."""
SCORES = "scores"
SHARD = 512
"""Texts of a shard of scores: the most that a killed run scores again."""


@dataclass(frozen=True)
class Member:
    """One model of an ensemble: trained with ``seed`` without the rows of ``fold``; None: with all of them."""

    seed: int
    fold: int | None

    @property
    def name(self) -> str:
        return f"seed{self.seed}" if self.fold is None else f"seed{self.seed}-fold{self.fold}"


@dataclass(frozen=True)
class Scores:
    """The members' scores of texts.

    Attributes:
        texts: each once in its group, columns ``clean`` and ``group``.
        mean: the mean of their scores before the softmax, [N, K]; zeros where none scored.
        times: how many scored, [N].
    """

    texts: pl.DataFrame
    mean: NDArray[np.float32]
    times: NDArray[np.int64]

    def indices(self, rows: pl.DataFrame) -> NDArray[np.int64]:
        """The index of each row's text among these."""
        numbered = self.texts.with_row_index("index")
        result = rows.select("clean", "group").join(numbered, on=["clean", "group"], how="left", maintain_order="left")
        return result["index"].to_numpy().astype(np.int64)


def train(
    task: Task,
    rows: pl.DataFrame,
    written: pl.DataFrame,
    *,
    folds: int,
    seeds: Sequence[int],
    distil: bool,
    folder: Path,
    scratch: Path,
) -> tuple[dict[str, Any], pl.DataFrame | None]:
    """Train the members, those that an earlier try has finished aside, and write the ensemble.

    Args:
        task: what they have in common.
        rows: what they learn from.
        written: the training reviews that people wrote, those that a quota left out of ``rows`` too.
        folds: how many parts of the rows are left out in turn; 1: none is.
        seeds: each gives a member for every fold.
        distil: train one model on what they say; they are left beside it.
        folder: takes the ensemble, or the distilled model with the ensemble in ``ensemble/``.
        scratch: keeps finished members, scores and checkpoints.

    Returns:
        Notes, and what the members say of each of ``written`` that they had not seen; None without folds.
    """
    members = [Member(seed, fold) for seed in seeds for fold in (range(folds) if folds > 1 else [None])]
    texts = pl.concat([rows.select("clean", "group"), written.select("clean", "group")]).unique(maintain_order=True)
    if isinstance(task.how, train_one.Regression):
        task = replace(task, how=replace(task.how, embed=_known(task.how.embed, texts["clean"])))
    fold_of = {seed: _folds(rows, written, folds=folds, seed=seed) for seed in seeds}
    scored, notes = _train_each(task, rows, texts, members=members, fold_of=fold_of, ask_all=distil, scratch=scratch)
    scores, details, table = dict[str, metrics.Score](), dict[str, Any](), None
    if folds > 1:
        score, table = _out_of_fold(task, written, scored, seed=seeds[0])
        if score is not None:
            scores["out of fold"] = score
            details["out_of_fold"] = {
                "rows": score.rows, "weighted_f1": score.weighted_f1, "interval": list(score.interval),
            }  # fmt: skip
            say(f"  out of fold: {AGREEMENT} {score.weighted_f1:.3f} (weighted F1)"
                f" (95 % interval {score.interval[0]:.3f}-{score.interval[1]:.3f}, {score.rows:,} rows)")  # fmt: skip
    ensemble = folder / "ensemble" if distil else folder
    for member in members:
        _copy(scratch / "members" / member.name / "model", ensemble / "members" / member.name)
    parts = [f"members/{member.name}" for member in members]
    train_one.document(
        ensemble, task, rows, kind="ensemble", max_length=None, parts=parts, scores=scores, notes=details
    )
    details["members"] = notes
    if distil:
        say("  distils them into one")
        _, details["distilled"] = train_one.train(
            task, rows, seed=seeds[0], folder=folder, scratch=scratch / "distilled", whole=True,
            targets=_soft(task, rows, scored),
        )  # fmt: skip
    return details, table


def _train_each(
    task: Task,
    rows: pl.DataFrame,
    texts: pl.DataFrame,
    *,
    members: Sequence[Member],
    fold_of: Mapping[int, Mapping[int, int]],
    ask_all: bool,
    scratch: Path,
) -> tuple[Scores, dict[str, dict[str, Any]]]:
    """Train the members and have each score what it has not seen; returns the scores, and the notes of each.

    Args:
        task: what they have in common.
        rows: what they learn from.
        texts: what is scored, columns ``clean`` and ``group``.
        members: in the order in which they are trained.
        fold_of: the fold of each group, for each seed.
        ask_all: a member that learns from all rows scores all texts, instead of none.
        scratch: keeps finished members, scores and checkpoints.
    """
    total = np.zeros((texts.height, len(task.names)))
    times = np.zeros(texts.height, dtype=np.int64)
    notes = {}
    for number, member in enumerate(members, 1):
        say(f"  member {number} of {len(members)}: {member.name}")
        if member.fold is None:
            own, unseen_rows = rows, np.arange(texts.height if ask_all else 0)
        else:
            own = rows.filter(pl.Series(_fold(rows["group"], fold_of[member.seed]) != member.fold))
            unseen_rows = np.flatnonzero(_fold(texts["group"], fold_of[member.seed]) == member.fold)
        own_folder = scratch / "members" / member.name
        unseen = texts["clean"].gather(unseen_rows).to_list()
        notes[member.name], scores = _member(task, own, unseen, member=member, folder=own_folder, scratch=scratch)
        total[unseen_rows] += scores
        times[unseen_rows] += 1
    mean = (total / np.maximum(times, 1)[:, None]).astype(np.float32)
    return Scores(texts, mean, times), notes


def _known(embed: Embed | None, given: pl.Series) -> Embed | None:
    """``embed`` of some texts alone, each embedded once for all members, whichever of them are still to be trained."""
    if embed is None:
        return None
    texts = given.unique(maintain_order=True).to_list()
    embedded, rows = embed(texts), {text: row for row, text in enumerate(texts)}
    return lambda wanted: embedded[[rows[text] for text in wanted]]


def _folds(rows: pl.DataFrame, written: pl.DataFrame, *, folds: int, seed: int) -> dict[int, int]:
    """The fold of each group of rows. Groups that no quota has left in training are spread evenly."""
    if folds == 1:
        return {}
    result = assign(rows["group"].to_list(), rows["label"].to_list(), folds=folds, seed=seed)
    left = sorted(set(written["group"]) - result.keys())
    return result | {group: number % folds for number, group in enumerate(left)}


def assign(groups: Sequence[int], labels: Sequence[str], *, folds: int, seed: int) -> dict[int, int]:
    """Give each group of rows a fold, so that every fold has about the same share of each label.

    The rarest labels come first, and of each the groups with most rows; a group goes to the fold that has least of its
    label so far. Where a fold would have all groups with some label, so that its members would never see that label,
    one such group stays in every member's training (``ALWAYS``). (scikit-learn's StratifiedGroupKFold leaves folds
    without a class, or empty, where labels are rare.)

    Args:
        groups: of the rows.
        labels: of the rows.
        folds: how many, 2 at least.
        seed: of the order in which groups of one size come.
    """
    rows = Counter(labels)
    members: dict[int, Counter[str]] = defaultdict(Counter)  # group → label → rows
    for group, label in zip(groups, labels, strict=True):
        members[group][label] += 1
    chance = random.Random(seed)
    order = [(group, chance.random()) for group in members]
    owner = {
        group: max(result, key=lambda label: (result[label], -rows[label], label)) for group, result in members.items()
    }
    order.sort(key=lambda one: (rows[owner[one[0]]], owner[one[0]], -members[one[0]].total(), one[1]))
    held: list[Counter[str]] = [Counter() for _ in range(folds)]
    fold_of: dict[int, int] = {}
    for group, _ in order:
        label = owner[group]
        fold_of[group] = min(
            range(folds), key=lambda fold: (held[fold][label], held[fold].total(), (fold + seed) % folds)
        )
        held[fold_of[group]] += members[group]
    where: dict[str, set[int]] = defaultdict(set)  # label → the folds of its groups
    for group, result in members.items():
        for label in result:
            where[label].add(fold_of[group])
    for label in sorted(where):
        if len(where[label]) == 1 and not any(fold_of[group] == ALWAYS for group in members if label in members[group]):
            smallest = min(
                (group for group in members if label in members[group]),
                key=lambda group: (members[group].total(), group),
            )
            fold_of[smallest] = ALWAYS
    return fold_of


def _fold(groups: pl.Series, fold_of: Mapping[int, int]) -> NDArray[np.int64]:
    return np.array([fold_of.get(group, -1) for group in groups], dtype=np.int64)


def _member(
    task: Task, rows: pl.DataFrame, texts: Sequence[str], *, member: Member, folder: Path, scratch: Path
) -> tuple[dict[str, Any], NDArray[Any]]:
    """Train a member into ``folder`` and have it score ``texts``, unless an earlier try has: notes and scores."""
    done = sealed(folder)
    if done is not None and (kept := Shards(folder).read_array(SCORES)) is not None:
        return done, kept
    steps = scratch / "steps" / member.name
    steps.mkdir(parents=True, exist_ok=True)
    with publishing(folder) as new:
        (new / "model").mkdir()
        model, notes = train_one.train(
            task, rows, seed=member.seed, folder=new / "model", scratch=steps, whole=False, targets=None
        )
        scores = _scored(model, texts, categories=len(task.names), kept=steps / "scores")
        Shards(new).write(SCORES, scores)
        seal(new, notes)
    shutil.rmtree(steps)
    return notes, scores


def _scored(model: Scorer, texts: Sequence[str], *, categories: int, kept: Path) -> NDArray[np.float32]:
    """The model's scores of cleaned texts, [N, K], the longest first; shards of a killed run in ``kept`` count."""
    order = longest_first([len(text) for text in texts])
    shards = Shards(kept)
    done = min(SHARD * len(shards.names()), len(texts))
    result = np.zeros((len(texts), categories), dtype=np.float32)
    with progress("score unseen texts", total=len(texts), before=done) as advance:
        for start in range(0, len(texts), SHARD):
            rows, name = order[start : start + SHARD], f"{start:09}"
            scores = shards.read_array(name)
            if scores is None:
                scores = model.logits([texts[row] for row in rows])
                shards.write(name, scores)
                advance(len(rows))
            result[rows] = scores
    return result


def _copy(source: Path, target: Path) -> None:
    """The files of a folder in another, as links where the disk knows them."""

    def link(one: str, other: str) -> None:
        try:
            os.link(one, other)
        except OSError:
            shutil.copyfile(one, other)

    shutil.copytree(source, target, copy_function=link)


def _out_of_fold(
    task: Task, written: pl.DataFrame, scored: Scores, *, seed: int
) -> tuple[metrics.Score | None, pl.DataFrame]:
    """How the members do on the reviews that they had not seen, at the natural mix, and what they say of each."""
    at = scored.indices(written)
    seen = scored.times[at] > 0
    rows, mean = written.filter(pl.Series(seen)), scored.mean[at[seen]]
    chance = softmax(mean.astype(np.float64) + np.array(task.shift), axis=1)
    table = rows.select("id", "clean", "label").with_columns(
        predicted=pl.Series([task.names[index] for index in chance.argmax(axis=1)], dtype=pl.String),
        confidence=pl.Series(chance.max(axis=1) if rows.height else [], dtype=pl.Float32),
    )
    if not rows.height:
        return None, table
    return train_one.score(task, mean, rows["label"].to_list(), seed=seed), table


def _soft(task: Task, rows: pl.DataFrame, scored: Scores) -> NDArray[np.float32]:
    """What members that had not seen them say of the training rows, [N, K]; of a row that all have seen, its label."""
    at = scored.indices(rows)
    labels = loss.targets(train_one.label_indices(rows, task.names), categories=len(task.names))
    shares = softmax(scored.mean[at].astype(np.float64), axis=1).astype(np.float32)
    return np.where((scored.times[at] > 0)[:, None], shares, labels)
