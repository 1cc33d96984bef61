"""``tsirius bench augment``: what is a method of augmentation worth on a user's own reviews?

Trains with and without each method, with several seeds, and says by how much the score changes, against answers by
people or, where there are none, against the labels of the validation reviews. It only measures: no setting is chosen.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from tsirius import metrics, pipeline, tables
from tsirius.augmenters import AUGMENTERS
from tsirius.config import Config
from tsirius.errors import UserError, nearest
from tsirius.io import category_file
from tsirius.io.ids import read_unique
from tsirius.io.source import open_other
from tsirius.language.clean import normalise
from tsirius.models.classifier import Classifier
from tsirius.progress import say
from tsirius.publish import write_text
from tsirius.stages import evaluate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ROUNDS = 2000
"""Bootstrap resamples for an interval."""
FIRST, LAST = "split", "train"
"""The stages that run for each seed; reviews are labelled and selected once."""


@dataclass(frozen=True)
class Comparison:
    """The score with variants by one method, beside that without variants.

    Attributes:
        method: its name.
        target: rows of each category.
        variants: number of variants among the training rows, the mean over the seeds.
        without: weighted F1 without variants, the mean over the seeds.
        with_: weighted F1 with them, the mean over the seeds.
        each: the difference for each seed.
        interval: of the mean difference, 95 %, see :func:`compare`.
        against: what was scored against.
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
    """The predictions of a model that was trained in one way, with one seed.

    Attributes:
        rows: the scored reviews, by their index among those of all seeds, which may differ between seeds.
        truth: the answer of each, as the index of its category.
        predicted: the prediction for each, likewise.
        variants: number of variants among the training rows.
    """

    rows: Sequence[int]
    truth: Sequence[int]
    predicted: Sequence[int]
    variants: int


def measure(config: Config, gold: Path | None, *, methods: Sequence[str], seeds: int, target: int | None) -> str:
    """Train with and without each method; the differences as a table of text, and as JSON in the run's folder.

    The run itself is finished first. Each seed draws other validation rows, variants and so on, the same ones with and
    without a method. An interrupted benchmark resumes.

    Args:
        config: the run.
        gold: answers by people: columns text and category, or id and category of the run's test file; None: the
            configuration's, or, where it names none, the labels of each seed's validation reviews.
        methods: of augmentation; each is tried alone.
        seeds: number of seeds, at least 2.
        target: rows of each category; None: the configuration's, or, where that is 0, those of its largest category.

    Raises:
        UserError: a method is unknown or its model is missing, the answers do not fit, or the run is refused.
    """
    for method in methods:
        if method not in AUGMENTERS:
            known = ", ".join(AUGMENTERS)
            raise UserError(f"no method {method!r}{nearest(method, AUGMENTERS)}", remedy=f"Methods: {known}.")
        # its models must be there too, which no run without it needs
        pipeline.check(_changed(config, method, 1, seed=config.seed))
    gold = gold or config.evaluate.gold
    if gold is None and not config.split.valid:
        raise UserError("there are no validation reviews to score on", where="split.valid",
                        remedy="Set it above 0, or give answers with --gold.")  # fmt: skip
    answers = None if gold is None else _with_texts(config, gold)
    base = pipeline.run(config)
    names = Classifier.load(base).names
    rows = config.augment.target_per_class if target is None else target
    if not rows:
        balanced = tables.read(base / "balance" / "train.parquet", tables.EXAMPLES)
        rows = int(balanced["label"].value_counts()["count"].max())  # type: ignore[arg-type]  # a count
    indices = dict[str, int]()
    against = evaluate.AGAINST["pseudo_label" if answers is None else "gold"]

    def arms(method: str | None, target: int) -> list[Arm]:
        several = range(config.seed, config.seed + seeds)
        return [_arm(config, base, method, target, answers, indices, seed=seed) for seed in several]

    without = arms(None, 0)
    lines = [
        compare(method, rows, without, arms(method, rows), categories=len(names), against=against) for method in methods
    ]
    report = [{**asdict(line), "difference": line.difference, "verdict": line.verdict()} for line in lines]
    write_text(base / "bench" / "augment.json", json.dumps(report, ensure_ascii=False, indent=1))
    return f"{_table(lines)}\n{against}, {len(indices):,} reviews; {seeds} seeds; {config.train.use} model"


def _arm(
    config: Config,
    base: Path,
    method: str | None,
    target: int,
    answers: pl.DataFrame | None,
    indices: dict[str, int],
    *,
    seed: int,
) -> Arm:
    """Train with variants by ``method``, or without any, and predict ``answers``, or the validation reviews.

    ``indices`` are those of the scored reviews by id; new ones are added.
    """
    changed = _changed(config, method, target, seed=seed)
    say(f"{method or 'no variants'}, seed {seed}")
    folder = base / "bench" / "augment" / (f"{method}-{target}-{seed}" if method else f"none-{seed}")
    store = pipeline.branch(changed, folder, of=base, first=FIRST, last=LAST)
    classifier = Classifier.load(folder)
    index = {name: number for number, name in enumerate(classifier.names)}
    scored = answers
    if scored is None:
        scored = tables.read(store.folder("split") / "valid.parquet", tables.EXAMPLES)
        if scored.is_empty():
            raise UserError("no validation review was drawn to score on", where="split.valid",
                            remedy="Raise it, or give answers with --gold.")  # fmt: skip
    # beside texts, ids of answers may repeat
    ids = scored["id"].to_list() if answers is None else map(str, range(scored.height))
    record = store.record("augment") or {}
    return Arm(
        rows=[indices.setdefault(id, len(indices)) for id in ids],
        truth=[index[label] for label in scored["label"]],
        predicted=[index[name] for name in classifier.predict(scored["clean"].to_list())],
        variants=int(record["notes"]["variants"]),
    )


def _changed(config: Config, method: str | None, target: int, *, seed: int) -> Config:
    settings = {"target_per_class": target, **({"methods": [method]} if method else {})}
    return config.model_copy(update={"seed": seed, "augment": config.augment.model_copy(update=settings)})


def compare(
    method: str, target: int, without: Sequence[Arm], with_: Sequence[Arm], *, categories: int, against: str
) -> Comparison:
    """How two ways to train differ in weighted F1, both with the same seeds, of which there are at least 2.

    What is hard for both ways, or lucky for both, cancels out: differences are taken seed by seed, and the bootstrap
    over the scored reviews gives a review that it draws twice to all seeds and both ways twice. The variance of the
    mean difference is that of this bootstrap and that between the seeds, over their number; the interval is Student's,
    with the degrees of freedom of Satterthwaite (1946). A bootstrap over a handful of seeds would be too narrow.

    Args:
        method: for the line.
        target: for the line.
        without: predictions of the one way, for each seed.
        with_: predictions of the other, likewise.
        categories: number of categories.
        against: for the line.
    """
    import numpy as np
    from scipy import stats

    rows = 1 + max(max(arm.rows) for arm in without)
    size = categories * categories
    cells = [[np.array(arm.truth) * categories + np.array(arm.predicted) for arm in arms] for arms in (without, with_)]

    def scores(times: NDArray[np.int64]) -> NDArray[np.float64]:
        """The weighted F1 of both ways, [2, seeds], where each review counts as often as ``times`` says, [rows]."""
        counts = [
            [np.bincount(cell, times[arm.rows], size) for cell, arm in zip(way, without, strict=True)] for way in cells
        ]
        return metrics.weighted_f1(np.array(counts).reshape(2, len(without), categories, categories))

    whole = scores(np.ones(rows, dtype=np.int64))
    each = whole[1] - whole[0]
    rng = np.random.default_rng(0)
    drawn = [np.subtract(*scores(rng.multinomial(rows, np.full(rows, 1 / rows)))).mean() for _ in range(ROUNDS)]
    of_rows, of_seeds = float(np.var(drawn)), float(np.var(each, ddof=1)) / len(each)
    freedom = (of_rows + of_seeds) ** 2 / of_seeds**2 * (len(each) - 1) if of_seeds else np.inf
    half = float(stats.t.ppf(0.975, freedom)) * (of_rows + of_seeds) ** 0.5
    return Comparison(
        method=method,
        target=target,
        variants=sum(arm.variants for arm in with_) / len(with_),
        without=float(whole[0].mean()),
        with_=float(whole[1].mean()),
        each=tuple(each.tolist()),
        interval=(float(each.mean()) - half, float(each.mean()) + half),
        against=against,
    )


def _table(lines: Sequence[Comparison]) -> str:
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
    names = category_file.load(config.ingest.categories).names
    columns = {name: getattr(config.ingest, name) for name in ("text_column", "id_column", "sheet")}
    source = open_other(gold, **columns, encoding="auto", text_required=False)
    answers = evaluate.read_gold(source, names=names)
    if not answers["clean"].null_count():
        return answers
    if config.ingest.test is None:
        raise UserError("has ids but no texts, and the run has no test file to look them up in", where=gold,
                        remedy="Add a column of texts, or set ingest.test.")  # fmt: skip
    test = open_other(config.ingest.test, **columns, encoding=config.ingest.encoding, text_required=True)
    texts = {id: text for batch in read_unique(test, rows=20_000) for id, text in batch.select("id", "text").rows()}
    unknown = [id for id in answers["id"] if id not in texts]
    if unknown:
        raise UserError(f"the test file has no id {unknown[0]!r} ({len(unknown):,} such ids)", where=gold,
                        remedy="Use the ids of the run's test file.")  # fmt: skip
    return answers.with_columns(clean=pl.Series([normalise(texts[id]) for id in answers["id"]], dtype=pl.String))
