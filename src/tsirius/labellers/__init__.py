"""Labellers: from texts and categories to a probability for each category, without answers.

A labeller is one module of this package and one line in ``LABELLERS``; see :class:`Module` for what the module has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, cast

from tsirius.progress import Advance

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from tsirius.categories import Categories
    from tsirius.section import Section

LABELLERS = {
    "lexicon": "tsirius.labellers.lexicon",
    "matcher": "tsirius.labellers.matcher",
    "nli": "tsirius.labellers.nli",
    "reranker": "tsirius.labellers.reranker",
    "geracl": "tsirius.labellers.geracl",
}
"""Each labeller's name and its module. Its settings are the section ``label.NAME``."""


@dataclass(frozen=True)
class Votes:
    """What a labeller says about some texts.

    Attributes:
        probabilities: [texts, categories], in the categories' order; each row sums to 1, or is NaN throughout where
            the labeller abstains.
        evidence: for each text the words or names that decided, the weightiest first; may be empty.
    """

    probabilities: NDArray[np.float32]
    evidence: list[list[str]]


class Labeller(Protocol):
    """Labels texts row by row: the votes on a text do not depend on the texts beside it."""

    @property
    def name(self) -> str: ...

    def label(self, texts: Sequence[str], *, advance: Advance | None = None) -> Votes:
        """The votes on ``texts``; ``advance`` gets the number of texts that are done, as they are."""
        ...


@dataclass(frozen=True, eq=False)
class Material:
    """What a labeller may need beside its own settings.

    Attributes:
        categories: what to tell apart.
        texts: the reviews, each different text once, for a labeller that learns from all of them; empty where one is
            opened again.
        folder: where a labeller keeps what it learned, and finds it when it is opened again.
        embed: texts → their embeddings by the shared encoder ``label.encoder``, [N, W], each of length 1.
        embed_categories: the same of the words of categories: some encoders want another prompt before those.
        max_length: tokens of a text that a model reads, a hypothesis counted.
    """

    categories: Categories
    texts: Sequence[str]
    folder: Path
    embed: Callable[[Sequence[str]], NDArray[np.float32]]
    embed_categories: Callable[[Sequence[str]], NDArray[np.float32]]
    max_length: int


class Module(Protocol):
    """What the module of a labeller has.

    Attributes:
        Config: its settings, the only home of their defaults.
        BLIND: whether it judges each text by itself and knows nothing of the mix of categories.
        KEEP: whether its votes take long enough to be kept shard by shard, so that a killed run resumes.
    """

    Config: type[Section]
    BLIND: bool
    KEEP: bool

    def models(self, config: Any, *, encoder: str) -> Mapping[str, str]:
        """The models that it uses, folders or hub names, by the name of the setting that names them.

        Args:
            config: its settings.
            encoder: the shared one.
        """
        ...

    def check(self, config: Any) -> None:
        """Make sure that its models, which are at hand, fit it.

        Raises:
            UserError: one does not.
        """
        ...

    def make(self, config: Any, material: Material) -> Labeller:
        """The labeller; one that learns writes what it learned into ``material.folder``.

        Raises:
            UserError: a model cannot be read.
        """
        ...

    def reopen(self, config: Any, material: Material) -> Labeller:
        """The labeller that :func:`make` gave for the same settings, from what it left in ``material.folder``."""
        ...


def module(name: str) -> Module:
    """The module of a labeller, imported on first use.

    Raises:
        KeyError: there is no such labeller.
    """
    return cast(Module, import_module(LABELLERS[name]))
