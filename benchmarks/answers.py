"""What a person's answers are worth: a simulated person answers, and the model's score on other reviews is taken.

    python benchmarks/answers.py --set RUN GOLD.csv [--set ...] [--seeds 10] [--cells FOLDER] [--out TABLE.md]

RUN is a finished run whose reviews to learn from include those of GOLD (id, category), unlabelled. For each seed a part
of GOLD is held back to score, the same for every arm; the person answers from the rest, in the order of the queue
``unsure`` (each batch drawn after the one before has taught), or at random. Cells are weighted F1, kept in
FOLDER/cells.json and not made again while the stages are the same; the table gives the mean over the seeds, and the
95 % interval of the mean of the gain over no answers.

A cell is what the stages from answers to train would come to, and a test holds it against them. They are not run:
embeddings, votes and the words of every review are read once a set, and a cell is the answers' teaching, the choice of
rows and the linear model alone (no augmentation, no ensemble; the calibration of confidence, which moves no label, is
left out). Stopped, it goes on where it was; processes of other sets may share FOLDER, and the same command with all
sets then prints the table.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from filelock import FileLock

from tsirius import metrics, tables
from tsirius.answers import standing
from tsirius.answers.log import Answer, text_hash
from tsirius.answers.standing import Given
from tsirius.categories import Categories
from tsirius.commands.answers import queues
from tsirius.config import Config
from tsirius.io.ids import read_unique
from tsirius.io.source import open_source
from tsirius.models import embeddings, linear, pooling, train_one
from tsirius.stages import answers, balance, select, split, train
from tsirius.store import write_text

COUNTS = (0, 50, 150, 300)
BATCH = 25
HELD = 0.5
"""Of the gold rows, at most this share is answered for where that leaves enough; at least what 300 answers leave."""
ARMS = ("queue", "random")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", nargs=2, action="append", required=True, metavar=("RUN", "GOLD"), type=Path)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--cells", type=Path, default=Path("runs/answers"))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    kept = options.cells / "cells.json"
    cells: dict[str, float] = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    options.cells.mkdir(parents=True, exist_ok=True)
    for run, gold in options.set:
        world = None
        for seed in range(options.seeds):
            for arm in ARMS:
                if all(name(run, arm, count, seed) in cells for count in COUNTS):
                    continue
                world = world or World(run, gold)
                for count, score in simulate(world, arm, seed=seed):
                    cells[name(run, arm, count, seed)] = score
                    print(name(run, arm, count, seed), f"{score:.4f}", file=sys.stderr, flush=True)
                keep(kept, cells)
    table = "\n".join(lines([run for run, _ in options.set], cells, options.seeds))
    print(table)
    if options.out:
        options.out.write_text(table + "\n", encoding="utf-8")


def keep(path: Path, cells: dict[str, float]) -> None:
    """Keep the cells with those that another process has kept since: each may have a set of its own."""
    with FileLock(path.with_suffix(".lock")):
        if path.is_file():
            cells.update({**json.loads(path.read_text(encoding="utf-8")), **cells})
        write_text(path, json.dumps(cells, ensure_ascii=False, indent=1))


def name(run: Path, arm: str, count: int, seed: int) -> str:
    """What a cell is kept under: without answers both arms are one; other labels, or other stages, other cells."""
    record = json.loads((run / "label" / "record.json").read_text(encoding="utf-8"))
    stages = ".".join(str(stage.VERSION) for stage in (answers, select, split, balance, train))
    return f"{run.name} {record['output'][:8]} {stages} {arm if count else 'none'} {count} {seed}"


class World:
    """A run and the answers to its reviews, read once.

    Args:
        run: a finished run's folder.
        gold: the answers, id and category.
    """

    def __init__(self, run: Path, gold: Path) -> None:
        self.config = Config.model_validate_json((run / "config.json").read_text(encoding="utf-8"))
        assert self.config.train.use == "linear" and not self.config.augment.target_per_class
        self.reviews = tables.read(run / "ingest" / "reviews.parquet", tables.REVIEWS)
        hashes = [text_hash(text) for text in self.reviews["text"]]
        self.reviews = self.reviews.with_columns(hash=pl.Series(hashes, dtype=pl.String))
        text = (run / "ingest" / "categories.json").read_text(encoding="utf-8")
        self.names = list(Categories.from_json(text).names)
        labelled = answers.read(run / "label", self.names)
        assert labelled.embed is not None
        vectors = labelled.embed(self.reviews["clean"].to_list())
        self.labelled = answers.Labelled(**{**vars(labelled), "embed": lambda _: vectors})
        self.vectors = vectors
        self.truth = dict(pl.concat(read_unique(open_gold(gold), rows=20_000)).select("id", "category").iter_rows())
        self.ids = self.reviews["id"].to_list()
        self.rows = {one: row for row, one in enumerate(self.ids)}
        self.heads = Heads(self.reviews["clean"].to_list(), self.config.train, run / "label")
        self.before = dict[str, Any]()
        """The model without answers, which is the same for every seed."""

    def answers(self, rows: Sequence[int]) -> Given:
        """What the simulated person says of some reviews."""
        ids, hashes = self.ids, self.reviews["hash"]
        given = tuple(Answer(ids[row], hashes[row], self.truth[ids[row]], who="simulated") for row in rows)
        return Given(given, frozenset())

    def labels(self, given: Given) -> answers.Taught:
        """The labels after the answers: the stage answers."""
        answered, _ = standing.stand(self.reviews, given, names=self.names)
        return answers.after(self.config.answers, self.labelled, self.reviews, answered, seed=self.config.seed)

    def scores(self, taught: answers.Taught) -> Any:
        """What the model that is trained on these labels says of every review, [N, K]: the stages select to train."""
        config, seed = self.config, self.config.seed
        labelled = select.choose(
            self.reviews.join(taught.labels, on="id", how="left", maintain_order="left"),
            sure=config.select.sure, grey=config.select.grey, min_per_class=config.select.min_per_class,
            doubtful=config.select.doubtful,
        )  # fmt: skip
        examples, _ = split.parts(labelled, valid=config.split.valid, seed=seed)
        examples = balance.balance(
            examples, min_per_class=config.balance.min_per_class, max_per_class=config.balance.max_per_class, seed=seed
        )
        rows = [self.rows[one] for one in examples["origin"]]
        prior = [float(taught.mix[one]) for one in self.names]
        by_confidence = config.train.linear_weights
        shift = train.shift(config.train, examples, prior, names=self.names, by_confidence=by_confidence)
        weights = train_one.weights(examples, by_confidence=by_confidence)
        return self.heads.fit(rows, train_one.label_indices(examples, self.names), weights, len(self.names)) + shift

    def score(self, taught: answers.Taught, held: Sequence[int]) -> float:
        """The weighted F1 of that model on the reviews ``held``."""
        if not taught.lessons:
            self.before.setdefault("scores", self.scores(taught))
        scores = self.scores(taught) if taught.lessons else self.before["scores"]
        predicted = [self.names[best] for best in scores[held].argmax(axis=1)]
        wanted = [self.truth[self.ids[row]] for row in held]
        return float(metrics.score(wanted, predicted, names=self.names, rounds=0, seed=0).weighted_f1)


class Heads:
    """:func:`tsirius.models.linear.fit` on ever other rows of the same texts: their terms are counted once.

    Args:
        texts: all of them, cleaned.
        config: of the training.
        labelled: the folder of the label stage, with the embeddings of the texts.
    """

    def __init__(self, texts: Sequence[str], config: train.Config, labelled: Path) -> None:
        from scipy.sparse import csr_matrix
        from sklearn.feature_extraction.text import CountVectorizer

        self.config, self.views = config, list[Any]()
        for settings in linear.VIEWS.values():
            counts = CountVectorizer(min_df=1, dtype=np.float64, **settings).fit_transform(texts)
            counts.sort_indices()
            self.views.append(counts)
        self.embedded = None
        if config.linear_encoder:
            how = pooling.of(config.linear_encoder)
            embed = embeddings.known(missing, labelled, how, model=config.linear_encoder, max_length=config.max_length)
            self.embedded = csr_matrix(embed(texts))

    def fit(self, rows: Sequence[int], labels: Sequence[int], weights: Sequence[float] | None, categories: int) -> Any:
        """The logits of all texts, [N, K], of a model of the texts at ``rows``."""
        from scipy.sparse import hstack

        blocks = [self.tfidf(counts, rows) for counts in self.views]
        if self.embedded is not None:
            blocks.append(self.embedded)
        features = hstack(blocks, format="csr")
        present = sorted(set(labels))
        coefficients, intercepts = linear.regression(
            features[rows], labels, weights, c=self.config.linear_c, rounds=self.config.linear_rounds
        )
        result = np.full((features.shape[0], categories), linear.ABSENT)
        result[:, present] = features @ coefficients + intercepts
        return result

    def tfidf(self, counts: Any, rows: Sequence[int]) -> Any:
        """The TF-IDF of all texts by the terms of those at ``rows``, [N, F]."""
        from sklearn.feature_extraction.text import TfidfTransformer

        own = counts[rows]
        often = np.asarray((own > 0).sum(axis=0)).ravel() >= (2 if len(rows) >= linear.FEW else 1)
        idf = TfidfTransformer().fit(own[:, often]).idf_.astype(np.float32)
        weighted = TfidfTransformer(sublinear_tf=True)
        weighted.idf_ = idf
        return weighted.transform(counts[:, often].astype(np.float32), copy=False)


def missing(texts: Sequence[str]) -> Any:
    raise ValueError(f"{len(texts)} texts have no embedding: run with the encoder of label for train.linear_encoder")


def parts(world: World, *, seed: int) -> tuple[Any, Any]:
    """The rows that may be answered, in random order, and those that score."""
    rows = np.array([row for row, one in enumerate(world.ids) if one in world.truth])
    order = np.random.default_rng(seed).permutation(rows)
    size = max(max(COUNTS), int(len(rows) * HELD))
    pool, held = order[:size], order[size:]
    groups = world.reviews["group"].to_numpy()
    return pool, held[~np.isin(groups[held], groups[pool])]  # a copy of an answered review would be scored by heart


def simulate(world: World, arm: str, *, seed: int) -> Iterator[tuple[int, float]]:
    """The score after each of ``COUNTS`` answers."""
    pool, held = parts(world, seed=seed)
    free = np.zeros(world.reviews.height, dtype=bool)
    free[pool] = True
    given = list[int]()
    for count in COUNTS:
        while len(given) < count:
            some = min(BATCH, count - len(given))
            if arm == "queue":
                margin = world.labels(world.answers(given)).labels["margin"].fill_null(0).to_numpy()
                chosen = queues.unsure(margin, world.vectors, free, count=some)
            else:
                chosen = pool[len(given) : len(given) + some]
            free[chosen] = False
            given += [int(row) for row in chosen]
        yield count, world.score(world.labels(world.answers(given)), held)


def open_gold(path: Path) -> Any:
    return open_source(path, text_column="auto", id_column="auto", encoding="auto", text_required=False)


def lines(runs: Sequence[Path], cells: Mapping[str, float], seeds: int) -> list[str]:
    found = ["| | no answers | " + " | ".join(f"{arm}, {n}" for n in COUNTS[1:] for arm in ARMS) + " |"]
    found.append("|---" * (2 + len(ARMS) * len(COUNTS[1:])) + "|")
    for run in runs:
        none = [cells[name(run, "queue", 0, seed)] for seed in range(seeds)]
        row = [run.name, f"{np.mean(none):.3f}"]
        for count in COUNTS[1:]:
            for arm in ARMS:
                scores = [cells[name(run, arm, count, seed)] for seed in range(seeds)]
                gains = np.array(scores) - np.array(none)
                half = 1.96 * gains.std(ddof=1) / len(gains) ** 0.5 if len(gains) > 1 else float("nan")
                row.append(f"{np.mean(scores):.3f} ({gains.mean():+.3f} ± {half:.3f}, worst {gains.min():+.3f})")
        found.append(f"| {' | '.join(row)} |")
    return found


if __name__ == "__main__":
    main()
