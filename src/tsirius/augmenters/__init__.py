"""Augmenters: from a training text to variants that say the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol


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
