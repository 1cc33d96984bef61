"""Labels for texts that a program holds: no files to write, no configuration, no run to keep."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from tsirius import pipeline, tables
from tsirius.categories import Category, as_categories
from tsirius.config import Config, parse
from tsirius.io.texts import as_texts
from tsirius.language.clean import normalise
from tsirius.stages import label as stage

NAME = "label"
TEXTS, CATEGORIES = "texts.parquet", "categories.toml"


def label(
    texts: Iterable[Any],
    categories: str | Path | Iterable[str | Category] | Mapping[str, str],
    *,
    none: str | None = None,
    seed: int = 0,
    **settings: Any,
) -> pl.DataFrame:
    """Label texts with the labellers of a run: the stages ingest and label, in a temporary folder.

    The lexicon learns from the texts themselves: it needs some hundred of them; leave it out of ``use`` for a handful.

    Args:
        texts: reviews: a list, a tuple, an array, a Series of pandas or polars. None and NaN are empty reviews.
        categories: a categories file; or :class:`tsirius.Categories`; or names; or a mapping from name to description,
            which the labellers read.
        none: the name of the category without a product, where names are given; may be left out if one of them is
            a usual name of it, such as «нет товара».
        seed: of every random choice.
        settings: settings of the section ``[label]``: ``use=["lexicon"]``, for example.

    Returns:
        One row a text, in their order: ``text``; ``label`` and ``confidence``, null where no labeller had an opinion;
        then for each labeller its own category and confidence, ``lexicon`` and ``lexicon_confidence`` for example,
        null where it abstained. A text of which nothing is left after cleaning names no product.

    Raises:
        UserError: the texts, the categories or a setting cannot be used.

    Example:
        >>> import tsirius
        >>> reviews = ["Кастрюля с толстым дном", "Тапочки жмут", "Кружка со сколом", "Доставили быстро"]
        >>> table = tsirius.label(reviews, ["посуда", "обувь", "нет товара"], use=["matcher", "nli"], doubt=False)
        >>> table["label"].to_list()
        ['посуда', 'обувь', 'посуда', 'нет товара']
        >>> table.columns
        ['text', 'label', 'confidence', 'matcher', 'matcher_confidence', 'nli', 'nli_confidence']
    """
    given = as_texts(texts)
    named = as_categories(categories, none=none)
    table = pl.DataFrame({"text": given}, schema={"text": pl.String}).with_row_index("id").cast({"id": pl.String})
    empty = pl.Series([not normalise(text) for text in given], dtype=pl.Boolean)
    with tempfile.TemporaryDirectory(prefix="tsirius-") as folder:
        root = Path(folder)
        config = _config(root, settings, seed=seed, longest=max([1, *map(len, given)]))
        stage.check(config.label)
        if empty.all():
            rows = pl.DataFrame(
                schema={"id": pl.String, "label": pl.String, "confidence": pl.Float32, **_columns(config.label.use)}
            )
        else:
            table.filter(~empty).write_parquet(root / TEXTS)
            (root / CATEGORIES).write_text(named.to_toml(), encoding="utf-8")
            store = pipeline.branch(config, root / NAME, of=root / NAME, first="ingest", last="label")
            rows = _opinions(store.folder("label"), named.names)
    table = table.join(rows, on="id", how="left", maintain_order="left").drop("id")
    return table.with_columns(
        label=pl.when(empty).then(pl.lit(named.none)).otherwise("label"),
        confidence=pl.when(empty).then(pl.lit(1.0, dtype=pl.Float32)).otherwise("confidence"),
    )


def _config(root: Path, settings: Mapping[str, Any], *, seed: int, longest: int) -> Config:
    ingest = {
        "train": root / TEXTS,
        "categories": root / CATEGORIES,
        "text_column": "text",
        "id_column": "id",
        "max_characters": longest,
    }
    data = {"name": NAME, "runs": root, "seed": seed, "ingest": ingest, "label": dict(settings)}
    return parse(data, where="tsirius.label")


def _opinions(folder: Path, names: Sequence[str]) -> pl.DataFrame:
    """The label of each review and each labeller's vote, from the folder of the stage."""
    rows = tables.read(folder / "labels.parquet", tables.LABELS).select("id", "label", "confidence")
    votes = tables.read(folder / "votes.parquet", tables.VOTES)
    for labeller in votes["labeller"].unique(maintain_order=True):
        own = votes.filter(pl.col("labeller") == labeller)
        best = pl.Series(names, dtype=pl.String).gather(own["probabilities"].list.arg_max())
        columns = [own["id"], best.alias(labeller), own["probabilities"].list.max().alias(f"{labeller}_confidence")]
        rows = rows.join(pl.DataFrame(columns), on="id", how="left", maintain_order="left")
    return rows


def _columns(labellers: Iterable[str]) -> dict[str, Any]:
    """The columns of labellers that had no text to judge."""
    pairs = [((name, pl.String), (f"{name}_confidence", pl.Float32)) for name in labellers]
    return dict(column for pair in pairs for column in pair)
