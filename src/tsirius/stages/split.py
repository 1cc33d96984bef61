"""Split: which of the kept reviews are learned from, and which are held back to score the model.

Exact and near duplicates (one ``group``) stay on one side, so that no review is scored that was learned by heart. Each
category gives the same share, and both sides keep the natural mix. The split comes before balancing and augmentation:
copies and variants then come from training reviews only.

A category so small that its share rounds to no review, or with a single group, stays whole in training, which needs it
more; it is reported as one that validation cannot judge.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import Field

from tsirius import tables
from tsirius.errors import UserError
from tsirius.progress import say
from tsirius.section import Section

VERSION = 4


ANSWERED = ("answered", "copy of an answered one")
"""Reasons of select's: these reviews stay in training."""


class Config(Section):
    valid: float = Field(0.15, ge=0, lt=1)
    """Validation share: the part of each category's reviews that is held out to score the model."""


def run(config: Config, given: Mapping[str, Path], out: Path, *, seed: int, scratch: Path) -> dict[str, Any]:
    labelled = tables.read(given["select"] / "labelled.parquet", tables.LABELLED)
    kept = labelled.filter(pl.col("kept") & pl.col("label").is_not_null())
    if kept.is_empty():
        raise UserError(
            f"none of {labelled.height:,} labelled reviews was kept, so there is nothing to learn from",
            where="select",
            remedy="Lower select.sure and select.grey, or describe the categories in more of the reviews' own words.",
        )
    train, valid = parts(labelled, valid=config.valid, seed=seed)
    tables.write(train, tables.EXAMPLES, out / "train.parquet")
    tables.write(valid, tables.EXAMPLES, out / "valid.parquet")
    categories = {name: _counts(part) for name, part in (("train", train), ("valid", valid))}
    unjudged = [name for name in categories["train"] if name not in categories["valid"]]
    say(f"  {train.height:,} training reviews, {valid.height:,} validation reviews")
    if unjudged and config.valid:
        say("  too small for validation: " + ", ".join(f"{name} ({categories['train'][name]:,})" for name in unjudged))
    return {"train": train.height, "valid": valid.height, "categories": categories, "unjudged": unjudged}


def parts(labelled: pl.DataFrame, *, valid: float, seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The reviews that are learned from, and those that are held back: tables of :data:`tsirius.tables.EXAMPLES`.

    Args:
        labelled: a table of :data:`tsirius.tables.LABELLED`.
        valid: the share that is held back.
        seed: of the order in which groups are.
    """
    kept = labelled.filter(pl.col("kept") & pl.col("label").is_not_null())
    examples = kept.with_columns(origin="id", method=pl.lit("written"))
    answered = set(kept.filter(pl.col("reason").is_in(ANSWERED))["group"])
    held = pl.Series(
        hold_back(
            kept["id"].to_list(),
            kept["group"].to_list(),
            kept["label"].to_list(),
            stay=answered,
            share=valid,
            seed=seed,
        )
    )
    return examples.filter(~held), examples.filter(held)


def hold_back(
    ids: Sequence[str], groups: Sequence[int], labels: Sequence[str], *, stay: Collection[int], share: float, seed: int
) -> list[bool]:
    """For each row whether it is held back; the rows of a group always share the answer.

    A group belongs to the label that most of its rows have; of a tie, to the rarest. The labels are visited from the
    rarest on, and the groups of a label in random order: a group is held back where that brings the number of held
    rows with this label nearer to ``share``, and where it is not the last in training with one of its labels.
    (scikit-learn's StratifiedGroupKFold promises neither: on tiny categories it leaves sides without a class.) The
    random order depends on each group's first id alone: a row more or less moves few others to the other side.

    Args:
        ids: of the rows, all different.
        groups: of the rows, in the same order, as the labels are.
        stay: groups that are not held back: people answered for them, and training needs them more.
        share: at least 0 and below 1; of the rows that do not stay. Else many answers would leave too few of the other
            reviews to learn from.

    Raises:
        ValueError: lengths that differ.
    """
    rows = Counter(label for group, label in zip(groups, labels, strict=True) if group not in stay)
    first: dict[int, str] = {}
    members: dict[int, Counter[str]] = defaultdict(Counter)  # group → label → rows
    for id, group, label in zip(ids, groups, labels, strict=True):
        first.setdefault(group, id)
        members[group][label] += 1
    left = Counter(label for counts in members.values() for label in counts)  # label → groups still in training
    owned: dict[str, list[int]] = defaultdict(list)
    for group, counts in members.items():
        owned[max(counts, key=lambda label: (counts[label], -rows[label], label))].append(group)
    held, held_rows = set[int](), Counter[str]()
    for label in sorted(owned, key=lambda label: (rows[label], label)):
        wanted = int(share * rows[label] + 0.5)
        for _, group in sorted((random.Random(f"{seed}:{first[group]}").random(), group) for group in owned[label]):
            counts, short = members[group], wanted - held_rows[label]
            if group not in stay and abs(short - counts[label]) < short and all(left[name] > 1 for name in counts):
                held.add(group)
                held_rows += counts
                left.subtract(counts.keys())
    return [group in held for group in groups]


def _counts(part: pl.DataFrame) -> dict[str, int]:
    return dict(Counter(part["label"].to_list()).most_common())
