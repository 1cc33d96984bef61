"""Benchmarks on a user's own reviews: what is a method worth there?

``augment`` trains with and without each method of making variants, several times, and says by how much the score
changes, against answers by people or, where there are none, against the labels of the reviews held back. They measure;
nothing is chosen by them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from tsirius import categories, metrics, pipeline, tables
from tsirius.augmenters import AUGMENTERS
from tsirius.config import Config
from tsirius.errors import UserError, nearest
from tsirius.io.source import open_other, read_batches
from tsirius.language.clean import normalise
from tsirius.models.classifier import Classifier
from tsirius.progress import say
from tsirius.stages import evaluate
from tsirius.store import write_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

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
        interval: of the mean difference, 95 %, see :func:`compare`.
        against: what was measured against.
    """

    method: str
    target: int
    variants: float
    without: float
    with_: float
    each: tuple[float, ...]
    interval: tuple[float, float]
    against: str

    @property
    def difference(self) -> float:
        """The mean over the seeds."""
        return self.with_ - self.without

    def verdict(self) -> str:
        """What the interval allows to say."""
        low, high = self.interval
        return "helps" if low > 0 else "harms" if high < 0 else "no difference shown"


@dataclass(frozen=True)
class Arm:
    """What became of one way to train, at one seed.

    Attributes:
        rows: which of all the scored reviews these are, by number; those of other seeds may be others.
        truth: the answer to each, as a place.
        found: the prediction for each, likewise.
        variants: how many the training rows had.
    """

    rows: Sequence[int]
    truth: Sequence[int]
    found: Sequence[int]
    variants: int


def augment(config: Config, gold: Path | None, *, methods: Sequence[str], seeds: int, target: int | None) -> str:
    """Train with and without each method; a table of the differences as text, which is also kept in the run's folder.

    The run itself is finished first, or made. Each seed draws other validation rows, variants and so on; with and
    without a method it draws the same. A benchmark that was stopped goes on where it was.

    Args:
        config: the run.
        gold: answers by people: columns text and category, or id and category of the run's test file; None: the
            configuration's, or, where it names none, the labels of the reviews that each seed holds back.
        methods: of making variants; each is tried by itself.
        seeds: how many; at least 2.
        target: rows of each category; None: the configuration's, or, where that is 0, those of its largest category.

    Raises:
        UserError: the run, the answers or a method are not as they should be.
    """
    for method in methods:
        if method not in AUGMENTERS:
            raise UserError(
                f"no method {method!r}{nearest(method, AUGMENTERS)}", remedy=f"Methods: {', '.join(AUGMENTERS)}."
            )
        # also that its models are at hand, which no run without it needs
        pipeline.check(_with(config, method, 1, seed=config.seed))
    gold = gold or config.evaluate.gold
    if gold is None and not config.split.valid:
        raise UserError("no reviews are held back to score", where="split.valid",
                        remedy="Set it above 0, or give answers with --gold.")  # fmt: skip
    answers = None if gold is None else _with_texts(config, gold)
    base = pipeline.run(config)
    names = Classifier.load(base).names
    rows = config.augment.target_per_class if target is None else target
    if not rows:
        balanced = tables.read(base / "balance" / "train.parquet", tables.EXAMPLES)
        rows = int(balanced["label"].value_counts()["count"].max())  # type: ignore[arg-type]  # a count
    numbers, known = range(config.seed, config.seed + seeds), dict[str, int]()
    against = evaluate.AGAINST["pseudo_label" if answers is None else "gold"]
    without = [_arm(config, base, None, 0, answers, known, seed=seed) for seed in numbers]
    lines = []
    for method in methods:
        arms = [_arm(config, base, method, rows, answers, known, seed=seed) for seed in numbers]
        lines.append(compare(method, rows, without, arms, kinds=len(names), against=against))
    report = [{**asdict(line), "difference": line.difference, "verdict": line.verdict()} for line in lines]
    write_text(base / "bench" / "augment.json", json.dumps(report, ensure_ascii=False, indent=1))
    return f"{_table(lines)}\n{against}, {len(known):,} reviews; {seeds} seeds; {config.train.use} model"


def _arm(
    config: Config,
    base: Path,
    method: str | None,
    target: int,
    answers: pl.DataFrame | None,
    known: dict[str, int],
    *,
    seed: int,
) -> Arm:
    """Train with variants by ``method``, or without any, and predict ``answers``, or the reviews that are held back.

    ``known`` numbers the reviews that were scored; it grows.
    """
    changed = _with(config, method, target, seed=seed)
    say(f"{method or 'no variants'}, seed {seed}")
    folder = base / "bench" / "augment" / (f"{method}-{target}-{seed}" if method else f"none-{seed}")
    store = pipeline.branch(changed, folder, of=base, first=FIRST, last=LAST)
    classifier = Classifier.load(folder)
    place = {name: number for number, name in enumerate(classifier.names)}
    asked = answers
    if asked is None:
        asked = tables.read(store.folder("split") / "valid.parquet", tables.EXAMPLES)
        if asked.is_empty():
            raise UserError("no review was held back to score", where="split.valid",
                            remedy="Raise it, or give answers with --gold.")  # fmt: skip
    # beside texts, ids of answers may repeat
    ids = asked["id"].to_list() if answers is None else map(str, range(asked.height))
    record = store.record("augment") or {}
    return Arm(
        rows=[known.setdefault(id, len(known)) for id in ids],
        truth=[place[label] for label in asked["label"]],
        found=[place[name] for name in classifier.predict(asked["clean"].to_list())],
        variants=int(record["notes"]["variants"]),
    )


def _with(config: Config, method: str | None, target: int, *, seed: int) -> Config:
    settings = {"target_per_class": target, **({"methods": [method]} if method else {})}
    return config.model_copy(update={"seed": seed, "augment": config.augment.model_copy(update=settings)})


def compare(
    method: str, target: int, without: Sequence[Arm], with_: Sequence[Arm], *, kinds: int, against: str
) -> Line:
    """How two ways to train differ in weighted F1, both at the same seeds, of which there are at least 2.

    What is hard for both ways, or lucky for both, cancels out: differences are taken seed by seed, and the bootstrap
    over the scored reviews gives a review that it draws twice to all seeds and both ways twice. The variance of the
    mean difference is that of this bootstrap and that between the seeds, over their number; the interval is Student's,
    with the degrees of freedom of Satterthwaite (1946). A bootstrap over a handful of seeds would be too narrow.

    Args:
        method: for the line.
        target: for the line.
        without: what became of the one way at each seed.
        with_: of the other.
        kinds: how many categories there are.
        against: for the line.
    """
    import numpy as np
    from scipy import stats

    rows = 1 + max(max(arm.rows) for arm in without)
    cells = [[np.array(arm.truth) * kinds + np.array(arm.found) for arm in arms] for arms in (without, with_)]

    def scores(times: NDArray[np.int64]) -> NDArray[np.float64]:
        """Where each review counts so many times, [2, seeds]."""
        counts = [
            [np.bincount(cell, times[arm.rows], kinds * kinds) for cell, arm in zip(found, without, strict=True)]
            for found in cells
        ]
        return metrics.weighted_f1(np.array(counts).reshape(2, len(without), kinds, kinds))

    whole = scores(np.ones(rows, dtype=np.int64))
    each = whole[1] - whole[0]
    rng = np.random.default_rng(0)
    drawn = [np.subtract(*scores(rng.multinomial(rows, np.full(rows, 1 / rows)))).mean() for _ in range(ROUNDS)]
    of_rows, of_seeds = float(np.var(drawn)), float(np.var(each, ddof=1)) / len(each)
    freedom = (of_rows + of_seeds) ** 2 / of_seeds**2 * (len(each) - 1) if of_seeds else np.inf
    half = float(stats.t.ppf(0.975, freedom)) * (of_rows + of_seeds) ** 0.5
    return Line(
        method=method,
        target=target,
        variants=sum(arm.variants for arm in with_) / len(with_),
        without=float(whole[0].mean()),
        with_=float(whole[1].mean()),
        each=tuple(each.tolist()),
        interval=(float(each.mean()) - half, float(each.mean()) + half),
        against=against,
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
    source = open_other(gold, **columns, encoding="auto", text_required=False)
    answers = evaluate.read_gold(source, names=names)
    if not answers["clean"].null_count():
        return answers
    if config.ingest.test is None:
        raise UserError("has ids but no texts, and the run has no test file to look them up in", where=gold,
                        remedy="Add a column of texts, or set ingest.test.")  # fmt: skip
    test = open_other(config.ingest.test, **columns, encoding=config.ingest.encoding, text_required=True)
    texts = {id: text for batch in read_batches(test, rows=20_000) for id, text in batch.select("id", "text").rows()}
    unknown = [id for id in answers["id"] if id not in texts]
    if unknown:
        raise UserError(f"the test file has no id {unknown[0]!r} ({len(unknown):,} such ids)", where=gold,
                        remedy="Use the ids of the run's test file.")  # fmt: skip
    return answers.with_columns(clean=pl.Series([normalise(texts[id]) for id in answers["id"]], dtype=pl.String))
