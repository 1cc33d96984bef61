"""Benchmarks on a user's own reviews: what is a method worth there?

``augment`` trains with and without each method of making variants, several times, and says by how much the score
against answers changes. The answers measure; nothing is chosen by them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from tsirius import categories, files, metrics, pipeline, tables
from tsirius.config import Config
from tsirius.errors import UserError, nearest
from tsirius.models.classifier import Classifier
from tsirius.progress import say
from tsirius.stages import evaluate
from tsirius.stages.augment import Name
from tsirius.store import write_text
from tsirius.text import normalise

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

METHODS: tuple[Name, ...] = ("eda", "paraphrase", "backtranslate")
ROUNDS = 2000
"""Resamples for an interval."""
FIRST, LAST = "split", "train"
"""What is run anew for each seed; reviews are labelled and selected once."""


@dataclass(frozen=True)
class Line:
    """One method beside none.

    Attributes:
        method: its name.
        target: rows that a category was to have.
        variants: how many joined the training rows, the mean over the seeds.
        without: weighted F1 against the answers without variants, the mean over the seeds.
        with_: the same with them.
        each: the difference at each seed.
        interval: of the mean difference, 95 %, by the bootstrap over seeds and rows.
    """

    method: str
    target: int
    variants: float
    without: float
    with_: float
    each: tuple[float, ...]
    interval: tuple[float, float]

    @property
    def difference(self) -> float:
        """The mean over the seeds."""
        return self.with_ - self.without

    def verdict(self) -> str:
        """What the interval allows to say."""
        low, high = self.interval
        return "helps" if low > 0 else "harms" if high < 0 else "no difference shown"


def augment(config: Config, gold: Path, *, methods: Sequence[str], seeds: int, target: int | None) -> str:
    """Train with and without each method; a table of the differences as text, which is also kept in the run's folder.

    The run itself is finished first, or made. Each seed draws other validation rows, variants and so on; with and
    without a method it draws the same. A benchmark that was stopped goes on where it was.

    Args:
        config: the run.
        gold: answers by people: columns text and category, or id and category of the run's test file.
        methods: of making variants; each is tried by itself.
        seeds: how many.
        target: rows of each category; None: the configuration's, or, where that is 0, those of its largest category.

    Raises:
        UserError: the run, the answers or a method are not as they should be.
    """
    for method in methods:
        if method not in METHODS:
            raise UserError(f"no method {method!r}{nearest(method, METHODS)}", remedy=f"Methods: {', '.join(METHODS)}.")
        # also that its models are at hand, which no run without it needs
        pipeline.check(_with(config, method, 1, seed=config.seed))
    answers = _with_texts(config, gold)
    base = pipeline.run(config)
    names = Classifier.load(base).names
    rows = config.augment.target_per_class if target is None else target
    if not rows:
        balanced = tables.read(base / "balance" / "train.parquet", tables.EXAMPLES)
        rows = int(balanced["label"].value_counts()["count"].max())  # type: ignore[arg-type]  # a count
    place = {name: k for k, name in enumerate(names)}
    truth = [place[label] for label in answers["label"]]
    numbers = range(config.seed, config.seed + seeds)
    without = [_arm(config, base, None, 0, answers["clean"], seed=seed)[0] for seed in numbers]
    lines = []
    for method in methods:
        arms = [_arm(config, base, method, rows, answers["clean"], seed=seed) for seed in numbers]
        line = compare(method, rows, truth, without, [found for found, _ in arms], kinds=len(names))
        lines.append(replace(line, variants=sum(made for _, made in arms) / seeds))
    report = [{**asdict(line), "difference": line.difference, "verdict": line.verdict()} for line in lines]
    write_text(base / "bench" / "augment.json", json.dumps(report, ensure_ascii=False, indent=1))
    return f"{_table(lines)}\n{len(truth):,} answers, {seeds} seeds; intervals over both; {config.train.use} model"


def _arm(
    config: Config, base: Path, method: str | None, target: int, texts: pl.Series, *, seed: int
) -> tuple[list[int], int]:
    """What a model trained with variants by ``method`` says of ``texts``, as places; and how many variants it had."""
    changed = _with(config, method, target, seed=seed)
    say(f"{method or 'no variants'}, seed {seed}")
    folder = base / "bench" / "augment" / (f"{method}-{target}-{seed}" if method else f"none-{seed}")
    store = pipeline.branch(changed, folder, of=base, first=FIRST, last=LAST)
    classifier = Classifier.load(folder)
    found = [classifier.names.index(name) for name in classifier.predict(texts.to_list())]
    record = store.record("augment") or {}
    return found, int(record["notes"]["variants"])


def _with(config: Config, method: str | None, target: int, *, seed: int) -> Config:
    settings = {"target_per_class": target, **({"methods": [method]} if method else {})}
    return config.model_copy(update={"seed": seed, "augment": config.augment.model_copy(update=settings)})


def compare(
    method: str,
    target: int,
    truth: Sequence[int],
    without: Sequence[Sequence[int]],
    with_: Sequence[Sequence[int]],
    *,
    kinds: int,
) -> Line:
    """How the predictions of two ways to train differ in weighted F1, both at the same seeds.

    The interval is the percentile bootstrap of the mean difference. Seeds and answers are drawn anew, each with
    replacement, and a draw holds for both ways: what is hard for both, or lucky for both, cancels out.

    Args:
        method: for the line.
        target: for the line.
        truth: the answer of each row, as a place.
        without: for each seed the prediction of each row.
        with_: the same.
        kinds: how many categories there are.
    """
    import numpy as np

    cells = np.array([[np.array(truth) * kinds + np.array(found) for found in ways] for ways in (without, with_)])

    def scores(rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Of the drawn rows, [2, seeds]."""
        drawn = cells[:, :, rows]
        counts = np.array([[np.bincount(one, minlength=kinds * kinds) for one in ways] for ways in drawn])
        return metrics.weighted_f1(counts.reshape(*counts.shape[:2], kinds, kinds))

    whole = scores(np.arange(len(truth)))
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(ROUNDS):
        each = scores(rng.integers(len(truth), size=len(truth)))
        draws.append((each[1] - each[0])[rng.integers(len(without), size=len(without))].mean())
    low, high = np.quantile(draws, [0.025, 0.975])
    return Line(
        method=method,
        target=target,
        variants=0.0,
        without=float(whole[0].mean()),
        with_=float(whole[1].mean()),
        each=tuple((whole[1] - whole[0]).tolist()),
        interval=(float(low), float(high)),
    )


def _table(lines: Sequence[Line]) -> str:
    shown = [f"{'method':<14} {'target':>7} {'variants':>9} {'without':>8} {'with':>6} {'change':>7}  95 % interval"]
    shown += [
        f"{line.method:<14} {line.target:7,} {line.variants:9,.0f} {line.without:8.3f} {line.with_:6.3f}"
        f" {line.difference:+7.3f}  {line.interval[0]:+.3f} to {line.interval[1]:+.3f}: {line.verdict()}"
        for line in lines
    ]
    return "\n".join(shown)


def _with_texts(config: Config, gold: Path) -> pl.DataFrame:
    """The answers with their texts: ``id``, ``clean``, ``label``. Where there are ids alone, the texts are those of the
    test file.

    Raises:
        UserError: the file cannot be read, or has ids that the test file does not have.
    """
    names = categories.load(config.ingest.categories).names
    columns = {"text_column": config.ingest.text_column, "id_column": config.ingest.id_column}
    source = files.open_other(gold, **columns, encoding="auto", text_required=False)
    answers = evaluate.read_gold(source, names=names)
    if not answers["clean"].null_count():
        return answers
    if config.ingest.test is None:
        raise UserError("has ids but no texts, and the run has no test file to look them up in", where=gold,
                        remedy="Add a column of texts, or set ingest.test.")  # fmt: skip
    test = files.open_other(config.ingest.test, **columns, encoding=config.ingest.encoding, text_required=True)
    texts = {id: text for batch in files.batches(test, rows=20_000) for id, text in batch.select("id", "text").rows()}
    unknown = [id for id in answers["id"] if id not in texts]
    if unknown:
        raise UserError(f"the test file has no id {unknown[0]!r} ({len(unknown):,} such ids)", where=gold,
                        remedy="Use the ids of the run's test file.")  # fmt: skip
    return answers.with_columns(clean=pl.Series([normalise(texts[id]) for id in answers["id"]], dtype=pl.String))
