"""The matcher: does this text speak of that thing? Embeddings of the reviews beside those of the categories.

Text and category go through the encoder apart, so that a review costs one pass however many categories there are (a
bi-encoder: Reimers and Gurevych 2019, arXiv 1908.10084). The encoder has to be trained for it, as tsirius-mini is; what
a plain masked language model makes of a text says little about its product.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field
from scipy.special import softmax

from tsirius.categories import Categories
from tsirius.labellers import Labeller, Material, Votes
from tsirius.labellers.hypotheses import Parts, descriptions
from tsirius.progress import Advance
from tsirius.section import Section

if TYPE_CHECKING:
    from numpy.typing import NDArray


BLIND = True
KEEP = False
"""The embeddings take the time, and those are kept."""


class Config(Section):
    """The matcher: the reviews' embeddings by label.encoder beside those of the categories."""

    parts: Parts = "both"
    """What of a category is embedded: its "name", its "description", "both" averaged, or "joined"."""
    scale: float = Field(20.0, gt=0)
    """What cosines are multiplied by, the inverse of the temperature that the encoder was trained with."""


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


@dataclass(frozen=True, eq=False)
class Matcher:
    """The matcher as a labeller of texts.

    Attributes:
        embed: texts → their embeddings, [N, W], each of length 1.
        anchors, names, scale: as of :func:`match`.
    """

    embed: Callable[[Sequence[str]], NDArray[np.float32]]
    anchors: NDArray[np.float32]
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
    parts: Parts,
    scale: float,
) -> Matcher:
    """A matcher of texts with ``categories``, which are embedded by ``parts`` of their words, see
    :func:`tsirius.labellers.hypotheses.descriptions`; of several texts about one, the mean."""
    anchors = [embed_categories(descriptions(category, parts)).mean(axis=0) for category in categories]
    return Matcher(embed, np.stack(anchors), categories.names, scale)


def match(embedded: NDArray[np.float32], anchors: NDArray[np.float32], names: Sequence[str], *, scale: float) -> Votes:
    """The votes on embedded texts; none is silent but one without a token, whose embedding is 0.

    Args:
        embedded: [N, W], each of length 1.
        anchors: what texts on each category are compared with: the embedding of its words, [K, W].
        names: of the categories; the nearest one is the evidence.
        scale: what cosines are multiplied by before the softmax: the inverse of the temperature that the encoder was
            trained with.
    """
    logits = scale * (embedded @ anchors.T)
    result = softmax(logits, axis=1).astype(np.float32)
    silent = ~embedded.any(axis=1)
    result[silent] = np.nan
    best = np.where(silent, -1, logits.argmax(axis=1))
    return Votes(result, [[names[row]] if row >= 0 else [] for row in best])
