"""How far is the estimated mix of categories from the true one, over drawn piles of answered reviews?

    python benchmarks/prior.py --set NAME ANSWERED.csv CATEGORIES.toml [--set ...] [--rows 100 300 2000] [--piles 40]

ANSWERED.csv has text and category. Of each size, piles are drawn with replacement: one in three even, one at random
(Dirichlet 1), one lopsided (Dirichlet 0.2), each of 9 categories of the set, the none-category among them. The default
labeller votes on each, the votes are reconciled, and the mean absolute error of the shares is taken, beside that of
equal shares. A category that is 3 % of a pile or more is "lost" where it is estimated below a third of that.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tsirius import categories
from tsirius.categories import Categories
from tsirius.labellers import matcher, vote
from tsirius.language.clean import normalise
from tsirius.models import encode
from tsirius.stages import label

PRESENT, LOST = 0.03, 1 / 3
MIXES = {"even": None, "random": 1.0, "lopsided": 0.2}
KINDS = 9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", nargs=3, action="append", required=True, metavar=("NAME", "ANSWERED", "CATEGORIES"))
    parser.add_argument("--rows", nargs="+", type=int, default=[100, 300, 2000])
    parser.add_argument("--piles", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print("| set | reviews | mean absolute error | of equal shares | lost |")
    print("|---|---|---|---|---|")
    default = label.Config()
    embed, embed_categories = (
        encode.embedder(default.encoder, max_length=default.max_length, category=category) for category in (False, True)
    )
    for name, answered, kinds in given.set:
        pool = Pool(Path(answered), categories.load(Path(kinds)), embed, embed_categories)
        for rows in given.rows:
            draws = [pool.draw(rows, sort, np.random.default_rng([given.seed, rows, pile]))
                     for pile, sort in zip(range(given.piles), list(MIXES) * given.piles, strict=False)]  # fmt: skip
            error, equal, lost, present = np.array(draws).T
            print(f"| {name} | {rows:,} | {error.mean():.3f} | {equal.mean():.3f} | "
                  f"{int(lost.sum())} of {int(present.sum())} |", flush=True)  # fmt: skip


class Pool:
    """Answered reviews, embedded once."""

    def __init__(self, answered: Path, kinds: Categories, embed: Any, embed_categories: Any) -> None:
        table = pl.read_csv(answered)
        self.kinds = list(kinds)
        self.embedded = embed([normalise(text) for text in table["text"]])
        self.truth = np.array([kinds.names.index(one) for one in table["category"]])
        config = matcher.Config()
        made = matcher.matcher(kinds, embed, embed_categories, parts=config.parts, scale=config.scale)
        self.anchors, self.scale = made.anchors, made.scale

    def draw(self, rows: int, sort: str, rng: np.random.Generator) -> tuple[float, float, int, int]:
        """The errors of the estimate and of equal shares on a pile, and how many present categories it loses."""
        none = next(place for place, kind in enumerate(self.kinds) if kind.none)
        others = rng.permutation([place for place in np.unique(self.truth) if place != none])[: KINDS - 1]
        chosen = np.array([*others, none])
        concentration = MIXES[sort]
        wanted = np.ones(KINDS) / KINDS if concentration is None else rng.dirichlet(np.full(KINDS, concentration))
        counts = rng.multinomial(rows, wanted)
        pile = np.concatenate(
            [rng.choice(np.flatnonzero(self.truth == kind), count) for kind, count in zip(chosen, counts, strict=True)]
        )
        anchors, names = [self.anchors[kind] for kind in chosen], [self.kinds[kind].name for kind in chosen]
        votes = matcher.match(self.embedded[pile], anchors, names, scale=self.scale)
        found = vote.reconcile({"matcher": votes.probabilities}, blind={"matcher"}, taught=set(), sure=0.9).prior
        true = counts / rows
        present = true >= PRESENT
        return (float(np.abs(found - true).mean()), float(np.abs(1 / KINDS - true).mean()),
                int((found < LOST * true)[present].sum()), int(present.sum()))  # fmt: skip


if __name__ == "__main__":
    main()
