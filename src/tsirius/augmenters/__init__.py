"""Augmenters: from a training text to variants that say the same.

An augmenter is one module of this package and one line in ``AUGMENTERS``; see :class:`Module` for what the module has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

if TYPE_CHECKING:
    from pathlib import Path

    from tsirius.section import Section

AUGMENTERS = {
    "eda": "tsirius.augmenters.eda",
    "paraphrase": "tsirius.augmenters.paraphrase",
    "backtranslate": "tsirius.augmenters.backtranslate",
}
"""Each augmenter's name and its module. Its settings are the section ``augment.NAME``."""


class Source(NamedTuple):
    """A review to make variants of."""

    id: str
    text: str


class Refused(Exception):
    """Raised in place of a variant: the source cannot have any, for the reason given."""


class Augmenter(Protocol):
    """Makes variants row by row: those of a source do not depend on the sources beside it."""

    def __call__(self, sources: Sequence[Source]) -> Sequence[Iterator[str]]:
        """For each source its variants, the best first; they may be of any quality.

        An iterator may raise :class:`Refused`.
        """
        ...


@dataclass(frozen=True, eq=False)
class Material:
    """What an augmenter may need beside its own settings.

    Attributes:
        protected: lemmas that name the categories.
        evidence: source's id → lemmas by which it got its label.
        wanted: accepted variants of one source at most.
        seed: of its draws.
        scratch: the folder in which an augmenter keeps what takes long to make; it may not be there yet.
    """

    protected: frozenset[str]
    evidence: Mapping[str, frozenset[str]]
    wanted: int
    seed: int
    scratch: Path


class Module(Protocol):
    """What the module of an augmenter has.

    Attributes:
        Config: its settings, the only home of their defaults.
    """

    Config: type[Section]

    def models(self, config: Any) -> Mapping[str, str]:
        """The models that it uses, folders or hub names, by the name of the setting that names them."""
        ...

    def make(self, config: Any, material: Material) -> Augmenter:
        """The augmenter; its models are read when it is first called.

        Raises:
            UserError: a model cannot be read.
        """
        ...


def module(name: str) -> Module:
    """The module of an augmenter, imported on first use.

    Raises:
        KeyError: there is no such augmenter.
    """
    return cast(Module, import_module(AUGMENTERS[name]))
