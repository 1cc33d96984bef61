"""What a run's labels would be by other categories, and what has to be asked again for it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from tsirius import labellers, pipeline, sampling, tables
from tsirius.categories import Categories
from tsirius.config import Config
from tsirius.errors import UserError, nearest
from tsirius.io import category_file
from tsirius.progress import say
from tsirius.reporting.figures import excerpt
from tsirius.stages import label
from tsirius.store import KEPT, Store

EXAMPLES = 2
"""Reviews that are shown of a change."""
MOST = 12
"""Changes from one category to another that are shown, the most frequent first."""


@dataclass(frozen=True)
class Flip:
    """Reviews that would go from one category to another; None: no label."""

    before: str | None
    after: str | None
    count: int
    texts: list[str]


@dataclass(frozen=True)
class Preview:
    """What other categories would change.

    Attributes:
        added, removed, reworded: names of categories.
        renamed: a former name → the one that takes its place.
        again: labeller → how many reviews it has to be asked about, and in how many hypotheses; None: all of them.
        counts: category → the reviews with this label before and after; of a renamed one, by its new name.
        changed: reviews with another label.
        rows: reviews.
        flips: the most frequent changes.
    """

    added: list[str]
    removed: list[str]
    reworded: list[str]
    renamed: Mapping[str, str]
    again: Mapping[str, tuple[int, int | None]]
    counts: Mapping[str, tuple[int, int]]
    changed: int
    rows: int
    flips: Sequence[Flip]

    def table(self) -> str:
        """The preview as lines of text."""
        lines = [f"{word}: {', '.join(names)}"
                 for word, names in (("added", self.added), ("removed", self.removed), ("reworded", self.reworded))
                 if names]  # fmt: skip
        lines += [f"renamed: {old} → {new}" for old, new in self.renamed.items()]
        for name, (rows, asked) in self.again.items():
            what = "no review is asked again" if not rows else f"{rows:,} reviews"
            lines.append(f"{name}: {what}" + (f", {asked} new hypotheses each" if rows and asked is not None else ""))
        width = max(len(name) for name in self.counts)
        lines.append(f"{'':<{width}}   before    after")
        lines += [f"{name:<{width}}  {before:7,}  {after:7,}" for name, (before, after) in self.counts.items()]
        lines.append(f"{self.changed:,} of {self.rows:,} reviews change their label")
        for flip in self.flips:
            lines.append(f"  {flip.count:,}: {flip.before or 'no label'} → {flip.after or 'no label'}")
            lines += [f"    {excerpt(text)}" for text in flip.texts]
        return "\n".join(lines)


def configuration(run: Path) -> Config:
    """The settings of a finished run, wherever its folder lies now.

    Raises:
        UserError: the folder holds none, or it is not finished.
    """
    store = Store(run)
    try:
        config = Config.model_validate_json(store.config())
    except ValueError:
        raise UserError("holds no run", where=run, remedy="Name a folder that 'tsirius run' made.") from None
    store.check_finished(["ingest", "label"])
    return config.model_copy(update={"runs": run.resolve().parent, "name": run.resolve().name})


def categories_of(run: Path) -> Categories:
    """The categories of a run."""
    return Categories.from_json((Store(run).read("ingest") / "categories.json").read_text(encoding="utf-8"))


def renames(given: Sequence[str], old: Categories, new: Categories) -> dict[str, str]:
    """Former names → new ones, from ``OLD=NEW`` words; two of one new name are a merger.

    Raises:
        UserError: a word is none of these, or names a category that is not there, or one that stays.
    """
    found = dict[str, str]()
    for word in given:
        before, sign, after = (part.strip() for part in word.partition("="))
        if not sign:
            raise UserError(f"--rename {word}: no '=' in it", remedy="Write --rename OLD=NEW.")
        for name, known, where in ((before, old, "the run"), (after, new, "the file")):
            if name not in known.names:
                raise UserError(f"--rename {word}: {where} has no category {name!r}{nearest(name, known.names)}",
                                remedy=f"Known: {', '.join(known.names)}.")  # fmt: skip
        if before in new.names:
            raise UserError(f"--rename {word}: the file still has {before!r}", remedy="Take it out of the file.")
        found[before] = after
    return found


def obstacle(run: Path, new: Categories, *, renamed: Mapping[str, str]) -> UserError | None:
    """Why the categories ``new`` cannot become a run's own yet: its file of answers that scores has a former name, or
    cannot be read; None where it is in nobody's way."""
    config, known = configuration(run), categories_of(run).names
    try:
        name = pipeline.former(config, names=new.names, known=known)
    except UserError as error:
        return error
    if name is None:
        return None
    remedy = "Give its rows another category, or none, before these categories are accepted."
    if name in renamed:
        remedy = f"Write {renamed[name]!r} there before these categories are accepted."
    return UserError(f"still has the category {name!r}", where=config.evaluate.gold, remedy=remedy)


def preview(run: Path, new: Categories, *, renamed: Mapping[str, str]) -> Preview:
    """What the categories ``new`` would change in a run, which stays as it is.

    What its models said is read from what the run keeps; what they are asked now is kept there too.

    Raises:
        UserError: the run is not finished, or another process is running it.
    """
    config, store, old = configuration(run), Store(run), categories_of(run)
    before = tables.scan(store.read("label") / "labels.parquet").select(["id", "label"]).collect()
    reviews = tables.scan(store.read("ingest") / "reviews.parquet").select(["id", "text", "clean"]).collect()
    with store.lock(), tempfile.TemporaryDirectory(dir=run, prefix=".categories-") as made:
        texts = reviews["clean"].unique(maintain_order=True)
        texts = texts.filter(pl.Series(sampling.drawn(sampling.numbers(texts), config.label.sample)))
        again = asked_again(config, texts, old, new)
        given, out = Path(made) / "ingest", Path(made) / "label"
        given.mkdir()
        out.mkdir()
        shutil.copyfile(store.folder("ingest") / "reviews.parquet", given / "reviews.parquet")
        (given / "categories.json").write_text(new.to_json(), encoding="utf-8")
        scratch = run / KEPT / "label"
        scratch.mkdir(parents=True, exist_ok=True)
        label.run(config.label, {"ingest": given}, out, seed=config.seed, scratch=scratch)
        after = tables.scan(out / "labels.parquet").select(["id", "label"]).collect()
    words = {one.name: one.plain_description for one in old}
    same = [one for one in new if one.name in words]
    return Preview(
        added=[one.name for one in new if one.name not in words and one.name not in renamed.values()],
        removed=[name for name in words if name not in new.names and name not in renamed],
        reworded=[one.name for one in same if one.plain_description != words[one.name]],
        renamed=renamed,
        again=again,
        **_compared(before, after, reviews, new.names, renamed),
    )


def _compared(
    before: pl.DataFrame, after: pl.DataFrame, reviews: pl.DataFrame, names: Sequence[str], renamed: Mapping[str, str]
) -> dict[str, Any]:
    both = before.with_columns(pl.col("label").replace(dict(renamed)).alias("before")).select("id", "before")
    both = both.join(after.select("id", after="label"), on="id", maintain_order="left")
    both = both.join(reviews.select("id", "text"), on="id", maintain_order="left")
    sides = [dict(both[side].drop_nulls().value_counts().iter_rows()) for side in ("before", "after")]
    order = [*names, *(name for name in sides[0] if name not in names)]
    changed = both.filter(pl.col("before").ne_missing(pl.col("after")))
    grouped = changed.group_by("before", "after", maintain_order=True)
    groups = grouped.agg(count=pl.len(), texts=pl.col("text").head(EXAMPLES))
    groups = groups.sort("count", descending=True, maintain_order=True).head(MOST)
    return {
        "counts": {name: (sides[0].get(name, 0), sides[1].get(name, 0)) for name in order},
        "changed": changed.height,
        "rows": both.height,
        "flips": [Flip(**row) for row in groups.iter_rows(named=True)],
    }


def asked_again(
    config: Config, texts: pl.Series, old: Categories, new: Categories
) -> dict[str, tuple[int, int | None]]:
    """Labeller → how many reviews its model is asked about again, and in how many hypotheses; None: all of them.

    A labeller without a model of its own is asked about none: it compares what is kept, or learns in seconds.
    """
    result = dict[str, tuple[int, int | None]]()
    for name in config.label.use:
        module, section = labellers.module(name), getattr(config.label, name)
        if not module.KEEP:
            result[name] = 0, None
        elif hasattr(module, "asked"):
            known = set(module.asked(section, old).all)
            more = [one for one in module.asked(section, new).all if one not in known]
            result[name] = (len(texts) if more else 0), len(more)
        else:
            result[name] = (0 if old == new else len(texts)), None
    return result


def of_file(run: Path, path: Path, given: Sequence[str]) -> tuple[Preview, Categories, dict[str, str]]:
    """The preview of a categories file, with its categories and the renames of :func:`renames`."""
    configuration(run)
    new = category_file.load(path)
    renamed = renames(given, categories_of(run), new)
    if (error := obstacle(run, new, renamed=renamed)) is not None:
        say(f"not yet: {error}")
    return preview(run, new, renamed=renamed), new, renamed


def change(run: Path, path: Path, renamed: Mapping[str, str]) -> Path:
    """Make the categories of a file the run's own, for answers on renamed ones too, and run on; returns its folder.

    Raises:
        UserError: the input, the settings or the machine does not allow it; what was published before stays.
    """
    from tsirius.answers.log import Log

    config, old, new = configuration(run), categories_of(run), category_file.load(path)
    config = config.model_copy(update={"ingest": config.ingest.model_copy(update={"categories": path.resolve()})})
    pipeline.check(config)
    log, settings = Log(run), Store(run).config()
    before = log.names()
    log.rename({name: renamed.get(name, name) for name in old.names if name in new.names or name in renamed})
    try:
        return pipeline.run(config)
    except BaseException:
        if Store(run).config() == settings:  # it has not begun
            log.take_back(before)
        raise
