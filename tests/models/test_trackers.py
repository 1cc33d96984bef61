"""What is told of a training while it runs: every evaluation, offline, and nothing where nobody asked."""

from __future__ import annotations

import importlib.util
import os
import sys
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tsirius.errors import UserError
from tsirius.models import trackers
from tsirius.models.trackers import Trackers

VALUES = [(10, {"weighted_f1": 0.5, "eval_loss": 1.2}), (20, {"weighted_f1": 0.7, "eval_loss": 0.9})]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Stand-ins for the three packages; returns what they are told."""
    heard: list[Any] = []

    class SummaryWriter:
        def __init__(self, folder: str) -> None:
            heard.append(("tensorboard", Path(folder).name))

        def add_scalar(self, name: str, value: float, step: int) -> None:
            heard.append(("tensorboard", step, name, value))

        def close(self) -> None:
            heard.append(("tensorboard", "closed"))

    @contextmanager
    def start_run(run_name: str) -> Iterator[None]:
        heard.append(("mlflow", run_name))
        yield

    class Run:
        def __enter__(self) -> Run:
            return self

        def __exit__(self, *_: object) -> None:
            heard.append(("wandb", "closed"))

        def log(self, values: Mapping[str, float], step: int) -> None:
            heard.append(("wandb", step, values))

    def init(*, project: str, name: str, dir: str, mode: str) -> Run:
        heard.append(("wandb", name, mode))
        return Run()

    mlflow = types.SimpleNamespace(
        set_tracking_uri=lambda uri: heard.append(("mlflow", uri)),
        get_experiment_by_name=lambda name: None,
        create_experiment=lambda name, artifact_location: heard.append(("mlflow", artifact_location)),
        set_experiment=lambda name: None,
        start_run=start_run,
        log_metrics=lambda values, step: heard.append(("mlflow", step, values)),
    )
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", types.SimpleNamespace(SummaryWriter=SummaryWriter))
    for name in ("MLFLOW_DISABLE_TELEMETRY", "WANDB_ERROR_REPORTING"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
    return heard


def test_all_are_told_every_evaluation_and_send_nothing(told: list[Any], tmp_path: Path) -> None:
    with trackers.opened(Trackers(("tensorboard", "mlflow", "wandb"), tmp_path), "run") as track:
        for step, values in VALUES:
            track(step, values)
    assert ("tensorboard", 20, "weighted_f1", 0.7) in told and told.count(("tensorboard", "closed")) == 1
    assert ("mlflow", *VALUES[0]) in told and ("wandb", *VALUES[1]) in told
    assert ("wandb", "run", "offline") in told, "wandb never connects"
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true" and os.environ["WANDB_ERROR_REPORTING"] == "false"
    addresses = [one[1] for one in told if one[0] == "mlflow" and "://" in str(one[1])]
    assert addresses and all(str(tmp_path) in address and "http" not in address for address in addresses)


def test_nobody_is_told_by_default(told: list[Any], tmp_path: Path) -> None:
    for nobody in (None, Trackers((), tmp_path)):
        with trackers.opened(nobody, "run") as track:
            track(*VALUES[0])
    assert told == [] and list(tmp_path.iterdir()) == []


def test_a_package_that_is_missing_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "wandb" else True)
    trackers.check(["tensorboard", "mlflow"])
    with pytest.raises(UserError, match=r"wandb is not installed.*pip install wandb"):
        trackers.check(["tensorboard", "wandb"])
