"""The simulated person's cells are what the stages come to."""

import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tsirius import pipeline, tables
from tsirius.answers.log import Log
from tsirius.models.classifier import Classifier

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks import answers


def test_a_cell_is_what_the_stages_come_to(shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shop)  # its settings name files in it
    run = shop / "runs" / "shop"
    world = answers.World(run, shop / "gold.csv")
    pool, held = answers.parts(world, seed=0)
    rows = pool[:150].tolist()
    taught = world.labels(world.answers(rows))

    Log(tmp_path / "work").add(list(world.answers(rows).answers))
    config = world.config.model_copy(update={"runs": tmp_path, "name": "work"})
    store = pipeline.branch(config, tmp_path / "work", of=run, first="answers", last="train")
    labels = tables.read(store.folder("answers") / "labels.parquet", tables.TAUGHT)
    assert labels.equals(taught.labels.select(labels.columns)) and "lesson" in labels["role"]
    model = Classifier.load(store.folder("train") / "model", embedded=run / "label")
    texts = world.reviews["clean"].gather(held).to_list()
    scores = world.scores(taught)[held]
    assert np.allclose(model.scores(texts), scores, atol=1e-3)
    predicted = model.predict(world.reviews["text"].gather(held).to_list())
    assert predicted == [world.names[best] for best in scores.argmax(axis=1)]


def test_what_scores_is_no_copy_of_what_is_answered(shop: Path) -> None:
    world = answers.World(shop / "runs" / "shop", shop / "gold.csv")
    groups = world.reviews["group"].to_numpy().copy()
    pool, held = answers.parts(world, seed=3)
    assert len(pool) == 300 and not set(pool.tolist()) & set(held.tolist())
    groups[held[0]] = groups[pool[0]]
    world.reviews = world.reviews.with_columns(group=pl.Series(groups))
    assert held[0] not in answers.parts(world, seed=3)[1]
