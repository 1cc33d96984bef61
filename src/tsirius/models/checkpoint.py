"""Checkpoints of a training: its trainable weights, the optimiser's state, and how far it is.

A checkpoint is a folder that is published whole or not at all, with a checksum: a damaged one is not resumed from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from tsirius.models import distributed
from tsirius.publish import publishing, recover
from tsirius.store import seal, sealed

LAST, BEST = "last", "best"
WEIGHTS, OPTIMISER, STATE = "weights.safetensors", "optimiser.safetensors", "state.json"


@dataclass
class State:
    """How far a training is: what a checkpoint's ``state.json`` says.

    Attributes:
        step: steps that are done.
        best: the best evaluation's value of the metric, higher is better; None before the first.
        best_step: its step.
        waited: evaluations since it.
        finished: nothing is left to do.
        scale: of the loss, and steps since it last grew, where 16-bit floats need one; see torch's GradScaler.
        evaluations: step, weighted F1 and loss of each.
        seconds: that the steps took.
        tokens: that the steps learned from, padding not counted.
    """

    step: int = 0
    best: float | None = None
    best_step: int = 0
    waited: int = 0
    finished: bool = False
    scale: dict[str, Any] = field(default_factory=dict)
    evaluations: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    tokens: int = 0


def save(
    folder: Path, trained: Mapping[str, torch.Tensor], *, optimiser: torch.optim.Optimizer, state: State | None
) -> None:
    """Write a checkpoint that is there whole or not at all, by the first process alone.

    Args:
        folder: takes it, in place of an earlier one.
        trained: the trainable parameters by their names.
        optimiser: of these.
        state: how far the training is; None: the weights alone are written.
    """
    if distributed.process():
        return
    with publishing(folder) as new:
        save_file({name: part.detach().cpu().contiguous() for name, part in trained.items()}, new / WEIGHTS)
        if state is not None:
            tensors, numbers = _flat(optimiser)
            save_file(tensors, new / OPTIMISER)
            written = {**asdict(state), "optimiser": numbers}
            (new / STATE).write_text(json.dumps(written), encoding="utf-8")
        seal(new, {})


def resume(
    scratch: Path, model: Any, *, optimiser: torch.optim.Optimizer, scaler: torch.amp.GradScaler, device: torch.device
) -> State:
    """Load the last checkpoint into the model, the optimiser and the scaler; without one that can be read, start new.

    Args:
        scratch: the folder of the checkpoints.
        model: its trainable parameters are overwritten.
        optimiser: its state is overwritten.
        scaler: of the loss; likewise.
        device: where the model is.
    """
    if not distributed.process():
        for folder in (scratch / LAST, scratch / BEST):
            recover(folder)
    distributed.meet()
    folder = scratch / LAST
    if sealed(folder) is None:
        return State()
    try:
        written = json.loads((folder / STATE).read_text(encoding="utf-8"))
        numbers = written.pop("optimiser")
        state = State(**written)
        tensors = load_file(folder / OPTIMISER)
        if state.best is not None and sealed(scratch / BEST) is None:
            return State()
        restore(model, folder / WEIGHTS)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        return State()
    scaler.load_state_dict(state.scale)
    parameters = _parameters(optimiser)
    fused = optimiser.defaults.get("fused")
    for name, value in {**numbers, **tensors}.items():
        number, _, key = name.partition(".")
        # AdamW counts its steps on the CPU unless it is fused.
        moves = isinstance(value, torch.Tensor) and (key != "step" or fused)
        optimiser.state[parameters[int(number)]][key] = value.to(device) if moves else value
    return state


def restore(model: Any, path: Path) -> None:
    """Load saved weights into the model's trainable parameters.

    Raises:
        KeyError: they are not the same ones.
    """
    saved = load_file(path)
    trained = {name: part for name, part in model.named_parameters() if part.requires_grad}
    if saved.keys() != trained.keys():
        raise KeyError("other weights")
    with torch.no_grad():
        for name, part in trained.items():
            part.copy_(saved[name])


def _flat(optimiser: torch.optim.Optimizer) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    """An optimiser's state as tensors and numbers, each named by its parameter's number and its own name."""
    tensors, numbers = {}, {}
    order = {id(part): number for number, part in enumerate(_parameters(optimiser))}
    for part, held in optimiser.state.items():
        for key, value in held.items():
            name = f"{order[id(part)]}.{key}"
            if isinstance(value, torch.Tensor):
                tensors[name] = value.detach().cpu().clone()
            else:
                numbers[name] = value
    return tensors, numbers


def _parameters(optimiser: torch.optim.Optimizer) -> list[torch.Tensor]:
    return [part for group in optimiser.param_groups for part in group["params"]]
