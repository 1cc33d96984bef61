"""What an encoder makes of texts, names and goods that no phase saw: the figures to look at before any answer."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

from recipes.mini.encoder import Texts
from recipes.mini.prepare import NAME_HELD_OUT, REVIEW_HELD_OUT

from . import forms as naming
from . import learn, net, prepare
from .data import Given, coded

NONE = "нет товара: о самом товаре ничего не сказано: доставка, продавец, возврат, общая похвала или ругань"


def cases(given: Given, seed: int) -> dict[str, tuple[Any, Any]]:
    """Part → (rows of texts, the department of each; the last number stands for none)."""
    arrays, wide = given.arrays, len(given.goods.departments)
    labels, source, split = arrays["labels"], arrays["source"], arrays["split"]
    heard = labels[:, :wide]
    sure = ((heard == 100).sum(1) == 1) & (heard != prepare.UNKNOWN).all(1)
    truth, rng = heard.argmax(1), np.random.default_rng(seed)
    away = np.isin(split, (REVIEW_HELD_OUT, NAME_HELD_OUT))
    found: dict[str, tuple[Any, Any]] = {}
    for title, kept in (
        ("reviews", away & sure & (source < 2)),
        ("new_goods", (split == NAME_HELD_OUT) & sure & (source == prepare.SOURCES.index("named"))),
    ):
        rows = rng.permutation(np.flatnonzero(kept))
        rows = np.concatenate([rows[truth[rows] == owner][:40] for owner in range(wide)])
        found[title] = rows, truth[rows]
    quiet = rng.permutation(np.flatnonzero(away & (source < 2) & (labels[:, given.none] == 100)))[:400]
    found["none"] = quiet, np.full(len(quiet), wide)
    return found


def anchors(given: Given, seed: int) -> list[str]:
    """A description of each department by a name kept out of training, and of none."""
    rng, away = random.Random(seed), naming.held_out_names(given.goods, seed)
    texts = []
    for place, table in enumerate(given.goods.departments):
        pool = [item for kind, parents in zip(given.goods.kinds, given.goods.parents, strict=True)
                if place in parents for item in kind["items"][:8]]  # fmt: skip
        name = next(name for name in table["names"] if name in away)
        texts.append(f"{name}: {', '.join(rng.sample(pool, min(5, len(pool))))}")
    return [*texts, NONE]


@torch.inference_mode()
def measure(given: Given, model: net.Net, tokenizer: Any, seed: int) -> dict[str, float]:
    """Accuracy of the nearest of all departments and none, by part."""
    where = given.where
    pieces, starts, _ = coded(tokenizer, anchors(given, seed), None)
    named = Texts(torch.from_numpy(pieces).to(where), torch.from_numpy(starts).to(where))
    goals = learn.embedded(model, named, torch.arange(len(starts) - 1, device=where)).float()
    figures = {}
    for title, (rows, truth) in cases(given, seed).items():
        if len(rows):
            made = learn.embedded(model, given.texts, torch.from_numpy(rows).to(where)).float()
            figures[title] = round(float(((made @ goals.T).argmax(1).cpu().numpy() == truth).mean()), 4)
    return figures
