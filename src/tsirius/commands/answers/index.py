"""Which reviews are answered, by whom and how, kept up to date entry by entry.

:func:`tsirius.answers.standing.stand` says the same of a whole log at once, which takes too long after each answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from tsirius.answers.log import Answer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]

Key = tuple[str, str, str]
"""Who, kind, text: of the answers with one key the latest counts."""


class Index:
    """The answers that stand on N reviews.

    Args:
        hashes: of the reviews' texts, see :func:`tsirius.answers.log.text_hash`, [N].
        groups: of the reviews, [N].
        names: the categories: answers of others come to nothing.
    """

    def __init__(self, hashes: pl.Series, groups: pl.Series, *, names: Collection[str]) -> None:
        self._names = frozenset(names)
        _, first, group = np.unique(groups.to_numpy(), return_index=True, return_inverse=True)
        self._group: NDArray[np.int64] = group
        self._first = np.zeros(len(hashes), dtype=bool)
        self._first[first] = True
        self.row_of_text = {text: row for row, text in reversed(list(enumerate(hashes)))}
        self._drawn = np.zeros(len(first), dtype=np.int64)
        self._closing = np.zeros(len(first), dtype=np.int64)
        self._examined = np.zeros(len(first), dtype=np.int64)
        self._by_key: dict[Key, dict[int, Answer]] = {}
        self._keys_of: dict[str, set[Key]] = {}
        self._key_of: dict[int, Key] = {}
        self._numbers: dict[str, list[int]] = {}
        self._disputed = set[str]()
        self.exam_version = 0
        """Changes with each answer of the exam."""
        self._masks: tuple[Mask, Mask] | None = None

    # --- what changes it ----------------------------------------------------------------------------------------------

    def draw(self, rows: Sequence[int]) -> None:
        """Say which reviews the exam drew."""
        self._drawn[:] = 0
        self._drawn[self._group[list(rows)]] = 1
        self.exam_version += 1
        self._masks = None

    def add(self, entries: Iterable[tuple[Answer, int | None]]) -> None:
        """Take in entries of the log, see :meth:`tsirius.answers.log.Log.since`."""
        for answer, undoes in entries:
            if undoes is None:
                self._add(answer)
            else:
                self._undo(undoes)

    def _add(self, answer: Answer) -> None:
        key = (answer.who, answer.kind, answer.text)
        with_change = self._counts(answer.text)
        self._by_key.setdefault(key, {})[answer.number] = answer
        self._keys_of.setdefault(answer.text, set()).add(key)
        self._key_of[answer.number] = key
        self._numbers.setdefault(answer.who, []).append(answer.number)
        self._changed(answer.text, with_change)

    def _undo(self, number: int) -> None:
        key = self._key_of.pop(number, None)
        if key is None:
            return
        before = self._counts(key[2])
        answers = self._by_key[key]
        del answers[number]
        if not answers:
            del self._by_key[key]
            self._keys_of[key[2]].discard(key)
        self._numbers[key[0]].remove(number)
        self._changed(key[2], before)

    def _counts(self, text: str) -> tuple[bool, bool]:
        """Whether the text is answered, so that nobody is asked again, and whether it is an exam's."""
        answers = self.of(text)
        closing = any(one.verdict != "category" or one.category in self._names for one in answers)
        return closing, any(one.kind == "exam" for one in answers)

    def _changed(self, text: str, before: tuple[bool, bool]) -> None:
        after = self._counts(text)
        self.exam_version += before[1] or after[1]
        if (row := self.row_of_text.get(text)) is None:
            return
        group = self._group[row]
        self._closing[group] += int(after[0]) - int(before[0])
        self._examined[group] += int(after[1]) - int(before[1])
        said = {(one.verdict, one.category) for one in self.of(text) if one.kind == "lesson" and one.verdict != "skip"}
        (self._disputed.add if len(said) > 1 else self._disputed.discard)(text)
        if before != after:
            self._masks = None

    # --- what it says -------------------------------------------------------------------------------------------------

    @property
    def open(self) -> Mask:
        """Which reviews may be asked, [N]: no copy of an answered one, of the exam's, or of an earlier review."""
        return self._both()[0]

    @property
    def protected(self) -> Mask:
        """Which reviews are the exam's, or a copy of one that is, [N]."""
        return self._both()[1]

    def _both(self) -> tuple[Mask, Mask]:
        if self._masks is None:
            protected = (self._drawn + self._examined) > 0
            closed = protected | (self._closing > 0)
            self._masks = self._first & ~closed[self._group], protected[self._group]
        return self._masks

    def of(self, text: str) -> list[Answer]:
        """The answers on a text, one of each person and kind, in their order."""
        latest = [answers[max(answers)] for key in self._keys_of.get(text, ()) if (answers := self._by_key[key])]
        return sorted(latest, key=lambda one: one.number)

    def last(self, who: str, count: int) -> list[Answer]:
        """A person's last answers, the latest first."""
        return [self._by_key[self._key_of[number]][number] for number in reversed(self._numbers.get(who, [])[-count:])]

    def exam(self) -> dict[str, str]:
        """The exam's answers: text → category, of several people's the latest."""
        answers = sorted((max(of.items()) for key, of in self._by_key.items() if key[1] == "exam"))
        return {one.text: one.category for _, one in answers if one.category is not None}

    def people(self) -> dict[str, Counter[str]]:
        """For each person how many reviews they gave a lesson or an exam answer on."""
        counts: dict[str, Counter[str]] = {}
        for who, kind, _ in self._by_key:
            counts.setdefault(who, Counter())[kind] += 1
        return counts

    def answered(self) -> list[str]:
        """The texts with an answer that teaches, in the order of their first one."""
        texts = {key[2]: min(answers) for key, answers in reversed(self._by_key.items()) if key[1] == "lesson"}
        return sorted(texts, key=lambda text: texts[text])

    def disputed(self) -> list[str]:
        """The texts on which people's lessons differ."""
        return sorted(self._disputed)
