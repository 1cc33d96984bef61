"""Augment with tiny models: all methods together, and a run that is killed on the way."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from test_augment import REVIEWS, lay_out, run

from tsirius import config, pipeline, tables
from tsirius.augmenters import Source, backtranslate, generate, kept
from tsirius.errors import UserError
from tsirius.shards import Shards
from tsirius.stages import augment
from tsirius.stages.augment import Config

LENIENT = {"shortest": 0, "longest": 99, "least_similar": 0, "agree": "none", "max_per_source": 3}
"""Random models write nothing that a strict judge lets pass."""


GENERATE = {"beams": 2, "candidates": 2, "no_repeat": 1}


@pytest.fixture
def models(tiny_t5: Path, tiny_marian: Path) -> dict[str, Any]:
    return {
        "paraphrase": {"model": str(tiny_t5), "generate": GENERATE},
        "backtranslate": {"there": str(tiny_marian), "back": str(tiny_t5), "generate": GENERATE},
    }


def test_all_three_methods_reach_the_target_or_say_why(
    models: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = lay_out(tmp_path)
    methods: Any = ["eda", "paraphrase", "backtranslate"]
    counts = run(Config(target_per_class=16, methods=methods, **(LENIENT | models)), given, tmp_path)
    train = tables.read(tmp_path / "train.parquet", tables.EXAMPLES)
    assert set(counts["methods"]) == set(methods), "each has some"
    assert counts["categories"]["обувь"] == 16 and train.height == counts["rows"]
    said = capsys.readouterr().err
    for name in (*REVIEWS, "текстиль"):
        rows = train.filter(pl.col("label") == name).height
        assert rows == 16 or f"{name}: {16 - rows} short of 16 (" in said
    assert set(counts["refused_by_method"]) == set(methods)


def test_what_random_models_write_is_refused_by_a_strict_judge(models: dict[str, Any], tmp_path: Path) -> None:
    given = lay_out(tmp_path)
    counts = run(Config(target_per_class=14, methods=["paraphrase"], **models), given, tmp_path)
    assert counts["variants"] == 0 and sum(counts["refused"].values()) > 3
    assert counts["short"]["обувь"] == 2


KILLED = """
from pathlib import Path
from test_augment import run
from tsirius.augmenters import kept
from tsirius.stages.augment import Config
kept.SHARD = 2
folder = Path({folder!r})
given = {{name: folder / name for name in ("ingest", "label", "split", "balance")}}
run(Config(**{settings!r}), given, folder)
"""


@pytest.mark.slow
def test_a_killed_back_translation_goes_on_and_repeats_no_finished_source(
    models: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"target_per_class": 24, "methods": ["backtranslate"], **LENIENT, **models}
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        folder.mkdir()
        lay_out(folder)
    script = KILLED.format(folder=str(broken), settings=settings)
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen([sys.executable, "-c", script], stderr=said, start_new_session=True, env=paths)
    first = broken / "backtranslate" / "000001.shard"
    for _ in range(6000):
        if first.exists() or process.poll() is not None:
            break
        time.sleep(0.02)
    assert process.poll() is None, (tmp_path / "said").read_text()
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (broken / "train.parquet").exists()
    finished = {id for _, shard in Shards(first.parent) for id in shard["id"]}
    assert finished

    asked, made = list[str](), backtranslate.backtranslator

    def spied(*models: Any, **settings: Any) -> kept.Rewrite:
        rewrite = made(*models, **settings)

        def spy(sources: Sequence[Source]) -> list[list[str] | None]:
            asked.extend(source.id for source in sources)
            return rewrite(sources)

        return spy

    monkeypatch.setattr(backtranslate, "backtranslator", spied)
    given = {name: broken / name for name in ("ingest", "label", "split", "balance")}
    run(Config(**settings), given, broken)  # type: ignore[arg-type]  # plain values
    assert asked and not finished & set(asked) and len(set(asked)) == len(asked)
    run(Config(**settings), {name: whole / name for name in given}, whole)  # type: ignore[arg-type]  # as above
    assert (broken / "train.parquet").read_bytes() == (whole / "train.parquet").read_bytes()


def test_models_are_checked_before_any_work_where_they_are_used(models: dict[str, Any], tmp_path: Path) -> None:
    missing = models | {"backtranslate": models["backtranslate"] | {"back": str(tmp_path / "none")}}
    augment.check(Config(methods=["backtranslate"], **missing))
    augment.check(Config(methods=["eda"], target_per_class=9, **missing))
    with pytest.raises(UserError, match="no such model"):
        augment.check(Config(methods=["backtranslate"], target_per_class=9, **missing))


def test_other_weights_are_another_key(models: dict[str, Any]) -> None:
    sections: dict[str, Any] = {"ingest": {"train": "a.csv", "categories": "b.toml"}}
    settings = {**models, "target_per_class": 9, "methods": ["backtranslate"]}
    loaded = config.parse({"name": "x", **sections, "augment": settings}, where="here")
    step = next(step for step in pipeline.road(loaded) if step.name == "augment")
    assert step.files() == {
        "augment.backtranslate.there": Path(models["backtranslate"]["there"]),
        "augment.backtranslate.back": Path(models["backtranslate"]["back"]),
    }
    assert "batch_tokens" not in step.key["settings"]["backtranslate"]["generate"]


def test_more_candidates_than_beams_are_refused() -> None:
    with pytest.raises(ValueError, match="above beams"):
        generate.Config(beams=2, candidates=3)
    assert generate.Config(beams=2, candidates=3, sample=True).candidates == 3
