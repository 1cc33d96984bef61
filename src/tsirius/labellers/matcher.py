"""The matcher: does this text speak of that thing? Embeddings of the reviews beside those of the categories.

Text and category go through the encoder apart, so that a review costs one pass however many categories there are (a
bi-encoder: Reimers and Gurevych 2019, arXiv 1908.10084). The encoder has to be trained for it, as tsirius-mini is; what
a plain masked language model makes of a text says little about its product.

A description lists goods and signs of them («подошва, каблук»), and a review speaks of one: beside the name and the
whole description, what counts is the nearest of the description's parts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field
from scipy.special import softmax

from tsirius.categories import Categories, Category
from tsirius.labellers import Labeller, Material, Votes
from tsirius.labellers.hypotheses import Parts, descriptions
from tsirius.progress import Advance
from tsirius.section import Section

if TYPE_CHECKING:
    from numpy.typing import NDArray


BLIND = True
SPLIT = re.compile(r"[,;:\n]+|\.(?=\s|$)")
OTHER = re.compile(
    r"(и )?(проч|друг|т\. ?[дп]|кроме|(но )?не |без |etc|others?$|and (others?|so on)|(but )?not |no |except|without)",
    re.I,
)
"""The beginning of a part that names nothing, or what the category is not."""

KEEP = False
"""The embeddings take the time, and those are kept."""


class Config(Section):
    """The matcher: the reviews' embeddings by label.encoder beside those of the categories."""

    parts: Parts | Literal["nearest"] = "nearest"
    """What of a category a review is compared with: its "name", its "description", "both" or "nearest": both and the
    nearest of the description's parts between commas, whose cosines are averaged; or "joined": both as one text."""
    scale: float = Field(14.0, gt=0)
    """What cosines are multiplied by: the lower, the less sure the labels are."""


def models(config: Config, *, encoder: str) -> dict[str, str]:
    """The shared encoder."""
    return {"label.encoder": encoder}


def check(config: Config) -> None:
    """It has nothing to check beside its encoder."""


def make(config: Config, material: Material) -> Labeller:
    """The matcher of texts with the categories."""
    return matcher(
        material.categories, material.embed, material.embed_categories, parts=config.parts, scale=config.scale
    )


def reopen(config: Config, material: Material) -> Labeller:
    """As :func:`make`: it learns nothing."""
    return make(config, material)


@dataclass(frozen=True)
class Anchors:
    """What texts on a category are compared with, as embeddings: ``whole`` [F, W] and, if any, ``parts`` [P, W]."""

    whole: NDArray[np.float32]
    parts: NDArray[np.float32]

    def cosines(self, embedded: NDArray[np.float32]) -> NDArray[np.float32]:
        """Of texts, [N, W], the mean of the cosines to each of ``whole`` and to the nearest of ``parts``, [N]."""
        terms = embedded @ self.whole.T
        if len(self.parts):
            nearest = (embedded @ self.parts.T).max(axis=1, keepdims=True)
            terms = np.concatenate([terms, nearest], axis=1)
        result: NDArray[np.float32] = terms.mean(axis=1)
        return result


@dataclass(frozen=True, eq=False)
class Matcher:
    """The matcher as a labeller of texts.

    Attributes:
        embed: texts → their embeddings, [N, W], each of length 1.
        anchors, names, scale: as of :func:`match`.
    """

    embed: Callable[[Sequence[str]], NDArray[np.float32]]
    anchors: Sequence[Anchors]
    names: Sequence[str]
    scale: float

    @property
    def name(self) -> str:
        return "matcher"

    def label(self, texts: Sequence[str], *, advance: Advance | None = None) -> Votes:
        result = match(self.embed(texts), self.anchors, self.names, scale=self.scale)
        if advance:
            advance(len(texts))
        return result


def matcher(
    categories: Categories,
    embed: Callable[[Sequence[str]], NDArray[np.float32]],
    embed_categories: Callable[[Sequence[str]], NDArray[np.float32]],
    *,
    parts: Parts | Literal["nearest"],
    scale: float,
) -> Matcher:
    """A matcher of texts with ``categories``, which are embedded by ``parts`` of their words, see :class:`Config`."""
    anchors = []
    for category in categories:
        whole = embed_categories(descriptions(category, "both" if parts == "nearest" else parts))
        several = pieces(category) if parts == "nearest" else []
        anchors.append(Anchors(whole, embed_categories(several) if several else whole[:0]))
    return Matcher(embed, anchors, categories.names, scale)


def pieces(category: Category) -> list[str]:
    """The parts of a description that name something; none where it is a single one."""
    parts = [part.strip() for part in SPLIT.split(category.plain_description)]
    several = [part for part in parts if part and not OTHER.match(part)]
    return several if len(several) > 1 else []


def match(embedded: NDArray[np.float32], anchors: Sequence[Anchors], names: Sequence[str], *, scale: float) -> Votes:
    """The votes on embedded texts; none is silent but one of which the encoder knows no piece, whose embedding is 0.

    Args:
        embedded: [N, W], each of length 1.
        anchors: what texts on each category are compared with.
        names: of the categories; the nearest one is the evidence.
        scale: what cosines are multiplied by before the softmax.
    """
    logits = scale * np.stack([one.cosines(embedded) for one in anchors], axis=1)
    result = softmax(logits, axis=1).astype(np.float32)
    silent = ~embedded.any(axis=1)
    result[silent] = np.nan
    best = np.where(silent, -1, logits.argmax(axis=1))
    return Votes(result, [[names[row]] if row >= 0 else [] for row in best])
