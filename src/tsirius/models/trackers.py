"""What is told of a training while it runs: TensorBoard, MLflow, Weights & Biases. Off by default, and always offline.

All of them write into one folder: ``tensorboard`` event files, ``mlflow`` a SQLite store with its artifacts beside it,
``wandb`` a run that can be uploaded later by hand (``wandb sync``). Nothing is sent.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tsirius.errors import UserError

Name = Literal["tensorboard", "mlflow", "wandb"]
Track = Callable[[int, Mapping[str, float]], None]
"""Write down the values after a step, by name."""


@dataclass(frozen=True)
class Trackers:
    """What is told, and where to.

    Attributes:
        names: whom to tell.
        folder: where they write.
    """

    names: tuple[Name, ...]
    folder: Path


def check(names: Sequence[Name]) -> None:
    """Make sure that their packages are installed.

    Raises:
        UserError: one is not.
    """
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise UserError(f"the package {name} is not installed", where="train.report_to",
                            remedy=f"Run: pip install {name}; or take it out of there.")  # fmt: skip


@contextmanager
def opened(trackers: Trackers | None, run: str) -> Iterator[Track]:
    """What writes down the values of one training, called ``run``; where nobody is told, it does nothing."""
    with ExitStack() as stack:
        told = []
        if trackers is not None:
            told = [stack.enter_context(OPENERS[name](trackers.folder / name, run)) for name in trackers.names]

        def track(step: int, values: Mapping[str, float]) -> None:
            for one in told:
                one(step, values)

        yield track


@contextmanager
def _tensorboard(folder: Path, run: str) -> Iterator[Track]:
    from torch.utils.tensorboard import SummaryWriter

    writer: Any = SummaryWriter(str(folder / run))

    def track(step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, step)

    try:
        yield track
    finally:
        writer.close()


@contextmanager
def _mlflow(folder: Path, run: str) -> Iterator[Track]:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow

    folder.mkdir(parents=True, exist_ok=True)
    mlflow.set_tracking_uri(f"sqlite:///{folder.resolve() / 'mlflow.db'}")
    if mlflow.get_experiment_by_name("tsirius") is None:
        mlflow.create_experiment("tsirius", artifact_location=(folder.resolve() / "artifacts").as_uri())
    mlflow.set_experiment("tsirius")
    with mlflow.start_run(run_name=run):
        yield lambda step, values: mlflow.log_metrics(dict(values), step=step)


@contextmanager
def _wandb(folder: Path, run: str) -> Iterator[Track]:
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    folder.mkdir(parents=True, exist_ok=True)
    with wandb.init(project="tsirius", name=run, dir=str(folder), mode="offline") as started:
        yield lambda step, values: started.log(dict(values), step=step)


OPENERS: Mapping[Name, Callable[[Path, str], Any]] = {"tensorboard": _tensorboard, "mlflow": _mlflow, "wandb": _wandb}
