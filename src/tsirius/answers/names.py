"""The names that categories had: an answer is read under those that count now.

The names are a tree. Its root 0 are the first ones, each change of them is a branch, and going back to an earlier model
goes back to its names. From the names that it was given under an answer is led up the tree and down to those of now.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

AND = " / "
"""Between the names of which one is meant: an answer for a merged category is led back to both, and counts for none."""


@dataclass(frozen=True)
class Change:
    """An entry of the log: other names, or a return to former ones.

    Attributes:
        number: of the entry, and of the names that it makes.
        after: the last answer before it.
        renamed: each category that goes on → its name from now on, the same for most; None of a return.
        back: the names that count again; None of other names.
    """

    number: int
    after: int
    renamed: Mapping[str, str] | None
    back: int | None


class Names:
    """The names in the order of the log.

    Example:
        >>> names = Names([Change(1, 7, {"посуда": "кухня", "обувь": "обувь"}, None)])
        >>> names.now, names.read("посуда", 3, under=1), names.read("кухня", 8, under=0)
        (1, 'кухня', 'посуда')
    """

    def __init__(self, changes: Sequence[Change]) -> None:
        self._after, self._numbers = [one.after for one in changes], [0]
        self._parents, self._renamed = dict[int, int](), dict[int, Mapping[str, str]]()
        for one in changes:
            if one.back is None:
                self._parents[one.number], self._renamed[one.number] = self.now, one.renamed or {}
            self._numbers.append(one.number if one.back is None else one.back)

    def __contains__(self, number: int) -> bool:
        return not number or number in self._parents

    @property
    def now(self) -> int:
        """The names that count."""
        return self._numbers[-1]

    def read(self, category: str, entry: int, *, under: int) -> str:
        """What the category of an answer is called.

        Args:
            category: as the entry has it.
            entry: its number.
            under: the names to lead it to.
        """
        at, down = self._numbers[bisect_left(self._after, entry)], self._way(under)
        while at and category in self._renamed[at] and category not in self._renamed[at].values():
            at = self._parents[at]  # a page that still showed the former names
        meant = [category]
        while at not in down:
            former = dict[str, list[str]]()
            for old, new in self._renamed[at].items():
                former.setdefault(new, []).append(old)
            meant, at = [old for name in meant for old in former.get(name, [name])], self._parents[at]
        for number in reversed(down[: down.index(at)]):
            meant = [self._renamed[number].get(name, name) for name in meant]
        return AND.join(dict.fromkeys(meant))

    def _way(self, number: int) -> list[int]:
        """The names up to the root."""
        way = [number]
        while way[-1]:
            way.append(self._parents[way[-1]])
        return way
