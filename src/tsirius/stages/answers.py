"""Answers: the labels after what people said of some reviews.

An answered review, and every copy of it, has its answer for a label; what people are divided on, or say speaks of
several products, is left out. The answers also teach: labels near corrected ones are corrected, as far as that proves
right out of fold on the answers themselves. A run without answers passes its labels on as they are. Exam reviews, which
``tsirius audit`` draws to score, and their copies are kept from all that is learned.

The models of the label stage are not asked again: their votes and embeddings are read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from tsirius import tables
from tsirius.answers import standing, teach
from tsirius.answers.standing import Given
from tsirius.answers.teach import Comparison
from tsirius.categories import Categories
from tsirius.models import embeddings
from tsirius.progress import say
from tsirius.section import Section

VERSION = 2

PERSON = "person"
"""Who gave the label of an answered review, among its labellers."""
MIX = "mix.json"
CONSENSUS = "consensus.npy"
"""Of the label stage: the reconciled probabilities of each review, [N, K]."""


class Config(Section):
    weight: float = Field(3.0, gt=0, le=100)
    """Rows that an answered review counts as in training."""
    teach: bool = True
    """Correct other labels by the answers too, where that proves right out of fold on the answers."""
    strength: float = Field(2.0, ge=0)
    """How far answers may move the logits of a like review, as a standard deviation."""
    width: float = Field(0.3, gt=0)
    """How unlike a review may be that an answer still moves as its neighbour: half of the kernel is exp((cosine - 1) /
    width), half the cosine."""


def run(
    config: Config, given: Mapping[str, Path], out: Path, *, seed: int, scratch: Path, answers: Given
) -> dict[str, Any]:
    categories = Categories.from_json((given["ingest"] / "categories.json").read_text(encoding="utf-8"))
    columns = ("id", "group", "clean", "text") if answers.answers or answers.exam else ("id", "group")
    reviews = tables.read(given["ingest"] / "reviews.parquet", tables.REVIEWS, columns)
    labelled = read(given["label"], categories.names)
    answered, lost = standing.stand(reviews, answers, names=categories.names)
    notes: dict[str, Any] = {"rows": labelled.labels.height, "roles": _count(answered["role"]), "lost": lost}
    _tell(notes)
    taught = after(config, labelled, reviews, answered, seed=seed)
    if config.teach and taught.lessons:
        notes["compared"] = taught.compared.to_dict() if taught.compared else None
        if labelled.embed is None:
            say("  label left no embeddings (label.doubt is off): answers change their own reviews alone")
        _tell_comparison(taught.compared, taught.lessons)
    tables.write(taught.labels, tables.TAUGHT, out / "labels.parquet")
    (out / MIX).write_text(json.dumps(taught.mix, ensure_ascii=False, indent=1), encoding="utf-8")
    return notes


@dataclass(frozen=True, eq=False)
class Labelled:
    """What the label stage left.

    Attributes:
        names: the categories.
        labels: a table of :data:`tsirius.tables.LABELS`.
        votes: ``id``, ``labeller``, ``label``: what each labeller said of each review.
        consensus: the reconciled probabilities of each review, [N, K].
        mix: the share of each category.
        embed: texts → their embeddings; None where there are none.
    """

    names: Sequence[str]
    labels: pl.DataFrame
    votes: pl.LazyFrame
    consensus: NDArray[np.float64]
    mix: Mapping[str, float]
    embed: Callable[[Sequence[str]], NDArray[np.float32]] | None


@dataclass(frozen=True, eq=False)
class Taught:
    """What answers make of the labels.

    Attributes:
        labels: a table of :data:`tsirius.tables.TAUGHT`.
        mix: the share of each category.
        lessons: texts that were answered to teach.
        compared: whether they do; None where they are too few to tell, or none.
    """

    labels: pl.DataFrame
    mix: Mapping[str, float]
    lessons: int
    compared: Comparison | None


def read(folder: Path, names: Sequence[str]) -> Labelled:
    """What the label stage left in ``folder``, for categories of these ``names``."""
    return Labelled(
        names=names,
        labels=tables.read(folder / "labels.parquet", tables.LABELS),
        votes=tables.scan(folder / "votes.parquet").select("id", "labeller", label="said"),
        consensus=np.load(folder / CONSENSUS, allow_pickle=False).astype(np.float64),
        mix=json.loads((folder / MIX).read_text(encoding="utf-8")),
        embed=embeddings.published(folder),
    )


def after(config: Config, labelled: Labelled, reviews: pl.DataFrame, answered: pl.DataFrame, *, seed: int) -> Taught:
    """The labels after the answers.

    Args:
        config: the settings.
        labelled: the labels before them.
        reviews: ``id``, ``group`` and, where some were answered, ``clean``, [N].
        answered: a table of :data:`tsirius.answers.standing.ANSWERED`.
        seed: of the folds that judge what the answers teach.
    """
    labels, mix, compared = labelled.labels, labelled.mix, None
    asked = reviews.select("id", "group", pl.col("^clean$")).join(answered, on="id", how="left", maintain_order="left")
    lessons = asked.with_row_index("row").filter(pl.col("role") == "lesson")
    if lessons.height:
        lessons = lessons.unique("clean", maintain_order=True)
    if config.teach and lessons.height and labelled.embed is not None:
        probabilities, compared = _teach(config, labelled, asked["clean"], lessons, seed=seed)
        if compared and compared.used:
            labels = _relabelled(labelled, probabilities)
            sampled = labelled.labels["labellers"].is_not_null().to_numpy()
            mix = _shares(probabilities[sampled], asked.filter(sampled), labelled.names)
    return Taught(_answered(labels, asked, weight=config.weight), mix, lessons.height, compared)


def _tell(notes: Mapping[str, Any]) -> None:
    if notes["roles"]:
        say("  answers: " + ", ".join(f"{count:,} {role}" for role, count in notes["roles"].items()))
    reasons = {
        "gone": "of reviews that the run no longer has",
        "renamed": "of categories that it does not have",
        "protected": "on exam reviews or their copies, not learned from",
    }
    for why, text in reasons.items():
        if notes["lost"][why]:
            say(f"  {notes['lost'][why]:,} answers {text}")


def _tell_comparison(compared: Comparison | None, lessons: int) -> None:
    if compared is None:
        say(f"  {lessons:,} answers are too few to judge what they teach: they change their own reviews alone")
        return
    say(
        f"  of {compared.answers:,} answered reviews {compared.right_without:.1%} were labelled rightly before,"
        f" {compared.right_with:.1%} by what the other answers teach: "
        + ("other labels are corrected too" if compared.used else "other labels stay as they are")
    )


def _count(roles: pl.Series) -> dict[str, int]:
    return dict(roles.value_counts().sort("role").iter_rows())


def _teach(
    config: Config, labelled: Labelled, clean: pl.Series, lessons: pl.DataFrame, *, seed: int
) -> tuple[NDArray[np.float64], Comparison | None]:
    """The probabilities of all reviews after the lessons, of those not in label's sample as they were; and the
    comparison that says whether to use them."""
    assert labelled.embed is not None
    known = labelled.labels["labellers"].is_not_null().to_numpy().copy()
    known[lessons["row"].to_numpy()] = True
    probabilities = labelled.consensus.copy()
    probabilities[known], compared = teach.teach(
        labelled.consensus[known],
        labelled.embed(clean.filter(known).to_list()),
        (np.cumsum(known) - 1)[lessons["row"].to_numpy()],
        teach.indices(lessons["category"].to_list(), labelled.names),
        lessons["group"].to_numpy(),
        strength=config.strength,
        width=config.width,
        seed=seed,
    )
    return probabilities, compared


def _relabelled(labelled: Labelled, taught: NDArray[np.float64]) -> pl.DataFrame:
    """The labels, but for reviews without one, by the probabilities after the lessons, [N, K]."""
    top = np.sort(taught, axis=1)[:, ::-1]
    new = labelled.labels.select(
        "id",
        pl.Series("label", labelled.names, dtype=pl.String).gather(taught.argmax(axis=1)),
        pl.Series("confidence", top[:, 0], dtype=pl.Float32),
        pl.Series("margin", top[:, 0] - top[:, 1], dtype=pl.Float32),
        before="label",
        labellers_before="labellers",
        doubtful_before="doubtful",
    )
    same = pl.col("label") == pl.col("before")
    changed = new.filter(~same).lazy().select("id", "label")
    changed = changed.join(labelled.votes, on=["id", "label"], maintain_order="left")
    saying = changed.group_by("id", maintain_order=True).agg(labellers="labeller").collect()
    silent = pl.col("before").is_null()
    return (
        new.join(saying, on="id", how="left", maintain_order="left")
        .with_columns(
            *(
                pl.when(silent).then(None).otherwise(pl.col(name)).alias(name)
                for name in ("label", "confidence", "margin")
            ),
            labellers=pl.when(same | silent).then("labellers_before").otherwise(pl.col("labellers").fill_null([])),
            doubtful=pl.col("doubtful_before") & same.fill_null(True),
        )
        .select(tables.LABELS.keys())
    )


def _shares(taught: NDArray[np.float64], asked: pl.DataFrame, names: Sequence[str]) -> dict[str, float]:
    """The share of each category among all reviews: of the answered ones by the answers."""
    known = asked.with_row_index("row").filter(pl.col("category").is_not_null())
    sums = np.nan_to_num(taught).copy()
    sums[known["row"].to_numpy()] = np.eye(len(names))[teach.indices(known["category"].to_list(), names)]
    shares = (sums.sum(axis=0) + 0.5) / (sums.sum() + 0.5 * len(names))
    return dict(zip(names, shares.round(6).tolist(), strict=True))


def _answered(labels: pl.DataFrame, asked: pl.DataFrame, *, weight: float) -> pl.DataFrame:
    """The table of :data:`tsirius.tables.TAUGHT`: answers in place of the labels of their reviews and the copies."""
    said = pl.col("category").is_not_null()
    one = pl.lit(1, dtype=pl.Float32)
    return labels.join(asked.select("id", "role", "category"), on="id", how="left", maintain_order="left").with_columns(
        label=pl.when(said).then("category").otherwise("label"),
        confidence=pl.when(said).then(one).otherwise("confidence"),
        margin=pl.when(said).then(one).otherwise("margin"),
        labellers=pl.when(said).then(pl.lit([PERSON])).otherwise("labellers"),
        doubtful=pl.col("doubtful") & ~said,
        weight=pl.when(pl.col("role") == "lesson").then(pl.lit(weight, dtype=pl.Float32)).otherwise(one),
    )
