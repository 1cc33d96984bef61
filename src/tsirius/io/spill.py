"""Texts in a file of the temporary folder, for more of them than fit in memory: 8 bytes a text are kept."""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import overload


class Spilled(Sequence[str]):
    """A sequence of texts to which others are added; the file goes with it.

    Example:
        >>> texts = Spilled()
        >>> texts.extend(["чайник", "куртка"])
        >>> texts[1], len(texts), list(texts)
        ('куртка', 2, ['чайник', 'куртка'])
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="tsirius-")  # noqa: SIM115 (closed with the sequence)
        self._ends = array("q", [0])

    def extend(self, texts: Iterable[str]) -> None:
        """Add texts."""
        parts = [text.encode("utf-8", "surrogatepass") for text in texts]
        self._file.seek(self._ends[-1])
        self._file.write(b"".join(parts))
        for part in parts:
            self._ends.append(self._ends[-1] + len(part))

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            return [self[number] for number in range(*row.indices(len(self)))]
        if not -len(self) <= row < len(self):
            raise IndexError(row)
        start, end = self._ends[row % len(self)], self._ends[row % len(self) + 1]
        self._file.seek(start)
        return self._file.read(end - start).decode("utf-8", "surrogatepass")

    def __iter__(self) -> Iterator[str]:
        for row in range(len(self)):
            yield self[row]
