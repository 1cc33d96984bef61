"""The phases that want a GPU: the large encoder from its parent, and the small one from tsirius-mini, taught by it.

A section of the config is one encoder: ``from`` is "parent" or "mini", ``teacher`` another section or "".
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from . import holdout, learn, net, parent
from .data import Given

_SHARED: dict[str, Any] = {}


def run(phase: str, config: dict[str, Any], out: Path, mini: Path) -> dict[str, Any]:
    """Train the encoder of section ``phase``; saves ``<phase>.npz``."""
    if phase == "average":
        return average(config[phase]["of"], out)
    asked = config["train"] | config[phase]
    where = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    begun = time.monotonic()
    tokenizer = out / "tokenizer.json" if asked["from"] == "parent" else mini / "tokenizer.json"
    given = _SHARED.get("given")
    if given is None:
        given = Given(out, tokenizer, seed=config["seed"], count=asked["hypotheses"], where=where)
        _SHARED.update(given=given, tokenizer=tokenizer)
    taught = teacher_embeddings(config, asked["teacher"], given, out, mini, where) if asked["teacher"] else None
    if _SHARED["tokenizer"] != tokenizer:
        given.recode(tokenizer)
        _SHARED["tokenizer"] = tokenizer
    model, head = start(asked, out, mini, where)
    print(phase, "begins after", f"{time.monotonic() - begun:.0f}s", len(given.texts.lengths), "texts", flush=True)
    if where.type == "cuda":
        model.bfloat16()
    figures: dict[str, Any] = {"before": holdout.measure(given, model, tokenizer, config["seed"])}
    model.float()
    print(phase, figures, flush=True)
    figures |= learn.run(
        given, model, asked, seed=config["seed"] + asked["shift"], title=phase, head=head, teacher=taught
    )
    model = model.float()
    weights = model.weights()
    if head is not None:
        weights |= {f"classifier.{name}": value.detach() for name, value in head.state_dict().items()}
    net.save(weights, out / f"{phase}.npz")
    if where.type == "cuda":
        model.bfloat16()
    figures["after"] = holdout.measure(given, model, tokenizer, config["seed"])
    model.float()
    print(phase, json.dumps(figures), flush=True)
    return figures


def average(names: list[str], out: Path) -> dict[str, Any]:
    """``average.npz``: the mean of the weights of encoders that come from one start."""
    parts = [net.load(out / f"{name}.npz") for name in names]
    net.save(
        {name: torch.from_numpy(np.mean([part[name] for part in parts], axis=0)) for name in parts[0]},
        out / "average.npz",
    )
    return {"of": names}


def start(asked: dict[str, Any], out: Path, mini: Path, where: torch.device) -> tuple[net.Net, learn.Head | None]:
    """The encoder before training, and its entailment head where it is to have one."""
    if asked["from"] == "parent":
        weights = (
            {
                name: value
                for name, value in net.load(out / asked["weights"]).items()
                if not name.startswith("classifier.")
            }
            if asked.get("weights")
            else parent.bert(np.load(out / "parent.npz"))
        )
        if asked.get("layers"):
            weights = layers(weights, asked["layers"])
        return net.Net(weights, heads=12, first=0, eps=1e-12).to(where), None
    tensors = (
        {name: torch.as_tensor(value) for name, value in net.load(out / asked["weights"]).items()}
        if asked.get("weights")
        else opened(mini)
    )
    weights = {name: value for name, value in tensors.items() if name.startswith(("embeddings.", "encoder."))}
    head = learn.Head(
        {name.removeprefix("classifier."): value for name, value in tensors.items() if name.startswith("classifier.")}
    )
    return net.Net(weights, heads=4, first=2, eps=1e-12).to(where), head.to(where) if asked["entailment"] else None


def opened(mini: Path) -> dict[str, torch.Tensor]:
    """tsirius-mini's tensors, ``roberta.`` left out of their names."""
    from safetensors.torch import load_file

    return {
        name.removeprefix("roberta."): value.float() for name, value in load_file(mini / "model.safetensors").items()
    }


def layers(weights: dict[str, Any], kept: list[int]) -> dict[str, Any]:
    """Some of the layers, numbered anew."""
    made = {name: value for name, value in weights.items() if not name.startswith("encoder.layer.")}
    for new, old in enumerate(kept):
        near = f"encoder.layer.{old}."
        made |= {
            name.replace(near, f"encoder.layer.{new}."): value
            for name, value in weights.items()
            if name.startswith(near)
        }
    return made


def teacher_embeddings(
    config: dict[str, Any], name: str, given: Given, out: Path, mini: Path, where: torch.device
) -> dict[str, torch.Tensor]:
    """What the teacher makes of all texts and hypotheses."""
    tokenizer = out / "tokenizer.json"
    if _SHARED["tokenizer"] != tokenizer:
        given.recode(tokenizer)
        _SHARED["tokenizer"] = tokenizer
    model, _ = start(config["train"] | config[name] | {"weights": f"{name}.npz", "layers": []}, out, mini, where)
    if where.type == "cuda":
        model.bfloat16()
    every = torch.arange(len(given.texts.lengths), device=where)
    made = {
        "texts": learn.embedded(model, given.texts, every),
        "forms": learn.embedded(model, given.forms, torch.arange(len(given.found), device=where)),
    }
    print("taught by", name, tuple(made["texts"].shape), flush=True)
    return made
