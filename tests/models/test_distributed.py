"""A run that torchrun starts as several processes."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from tsirius.models import distributed

SAMPLE = Path(distributed.__file__).parents[1] / "assets" / "sample"
CONFIG = """
[ingest]
train = "reviews.csv"
test = "reviews.csv"
categories = "categories.toml"
[label]
use = ["lexicon"]
encoder = "tsirius-mini"
[train]
use = "lora"
model = "encoder"
epochs = 1
lora_dropout = 0.0
classifier_dropout = 0.0
"""


def test_alone_it_is_the_first_and_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "RANK"):
        monkeypatch.delenv(name, raising=False)
    distributed.join()
    distributed.meet()
    assert (distributed.started(), distributed.processes(), distributed.process(), distributed.helper()) == (
        1,
        1,
        0,
        False,
    )
    assert distributed.from_first({"a": 1}) == {"a": 1}
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        assert distributed.helper() == (rank == "1")


@pytest.mark.slow
def test_a_run_of_two_processes_gives_what_one_gives(tiny_model: Path, tmp_path: Path) -> None:
    """The first one runs and prints; training takes the rows of each step in two shares. Nothing is dropped: each
    process would drop other things."""
    shutil.copytree(tiny_model, tmp_path / "encoder")
    config = json.loads((tmp_path / "encoder" / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (tmp_path / "encoder" / "config.json").write_text(json.dumps(config))
    shutil.copy(SAMPLE / "categories.toml", tmp_path)
    with (SAMPLE / "reviews.csv").open(encoding="utf-8", newline="") as handle:
        texts = [row["text"] for row in csv.DictReader(handle)][::5]
    pl.DataFrame({"text": texts}).write_csv(tmp_path / "reviews.csv")
    (tmp_path / "shop.toml").write_text(CONFIG, encoding="utf-8")
    run = ["-m", "tsirius", "run", "shop.toml"]
    two = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *run, "--again", "train"]
    found = []
    for command in (run, two):
        done = subprocess.run(
            [sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, timeout=300,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, filter(None, sys.path)))},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("weighted F1") == 1 and done.stderr.count("train: runs") == 1
        notes = json.loads((tmp_path / "runs/shop/train/record.json").read_text())["notes"]
        found.append((notes, pl.read_parquet(tmp_path / "runs/shop/predict/predictions.parquet")))
    (alone, expected), (shared, given) = found
    assert alone["steps"] == shared["steps"] > 1
    for one, other in zip(alone["evaluations"], shared["evaluations"], strict=True):
        assert one == pytest.approx(other, abs=2e-4)
    assert given["category"].to_list() == expected["category"].to_list()
    assert (given["confidence"] - expected["confidence"]).abs().max() < 1e-4  # type: ignore[operator]  # a number
