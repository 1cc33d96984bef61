"""A toy labeller: what a module has to have, and no more. It speaks where a review holds the category's own name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from tsirius.labellers import Labeller, Material, Votes
from tsirius.progress import Advance
from tsirius.section import Section

BLIND = True
KEEP = True


class Config(Section):
    """The toy: the category's own name in the review."""

    trust: float = Field(0.8, gt=0.5, lt=1)
    """How sure the toy is."""
    batch: int = 1
    """Changes nothing."""

    speed_only = frozenset({"batch"})


@dataclass(frozen=True)
class Toy:
    names: Sequence[str]
    trust: float
    name: str = "toy"

    def label(self, texts: Sequence[str], *, advance: Advance | None = None) -> Votes:
        found = np.full((len(texts), len(self.names)), np.nan, dtype=np.float32)
        evidence = list[list[str]]()
        for row, text in enumerate(texts):
            there = [name for name in self.names if name in text]
            evidence.append(there)
            if there:
                found[row] = (1 - self.trust) / (len(self.names) - 1)
                found[row, self.names.index(there[0])] = self.trust
        if advance:
            advance(len(texts))
        return Votes(found, evidence)


def models(config: Config, *, encoder: str) -> dict[str, str]:
    return {}


def check(config: Config) -> None:
    pass


def make(config: Config, material: Material) -> Labeller:
    (material.folder / "toy.txt").write_text(f"{config.trust}", encoding="utf-8")
    return Toy(material.categories.names, config.trust)


def reopen(config: Config, material: Material) -> Labeller:
    return Toy(material.categories.names, float((material.folder / "toy.txt").read_text(encoding="utf-8")))
