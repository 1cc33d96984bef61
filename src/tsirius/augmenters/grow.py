"""Grow categories: their training reviews take turns at having variants, until there are as many as wanted."""

from __future__ import annotations

import random
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from tsirius import tables
from tsirius.augmenters import Augmenter, Refused, Source, accept
from tsirius.augmenters.relabel import Relabeller
from tsirius.errors import UserError
from tsirius.language.clean import normalise
from tsirius.progress import say

EXAMPLES_PER_REASON = 5
CHARACTERS = 500
"""What is kept of a refused variant, which may be of any length."""


@dataclass(frozen=True, eq=False)
class Grown:
    """What came of growing.

    Attributes:
        accepted: the variants, as of :data:`tsirius.tables.VARIANTS`.
        examples: some of the refused ones, as of :data:`tsirius.tables.REFUSED`.
        refused: reason → variants.
        by_method: method → reason → variants.
        by_label: category → reason → variants.
    """

    accepted: pl.DataFrame
    examples: pl.DataFrame
    refused: Counter[str]
    by_method: Mapping[str, Counter[str]]
    by_label: Mapping[str, Counter[str]]

    @classmethod
    def empty(cls) -> Grown:
        """Nothing."""
        return cls(
            pl.DataFrame(schema=tables.VARIANTS),
            pl.DataFrame(schema=tables.REFUSED),
            Counter(),
            {},
            defaultdict(Counter),
        )


@dataclass(eq=False)
class Seat:
    """A source and a method that take turns with the others of their category.

    Attributes:
        row: the source, a row of :data:`tsirius.tables.EXAMPLES`.
        method: the augmenter of its variants.
        variants: those to come; None where none are generated yet.
        number: of the last accepted one.
        accepted: how many were.
    """

    row: Mapping[str, Any]
    method: str
    variants: Iterator[str] | None = None
    number: int = 0
    accepted: int = 0


@dataclass(eq=False)
class Ledger:
    """Counts refusals, with a few examples of each reason."""

    by_method: dict[str, Counter[str]]
    by_label: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    examples: list[tuple[str, str, str, str, str]] = field(default_factory=list)
    reported: set[str] = field(default_factory=set)

    def refuse(self, reason: str, seat: Seat, variant: str) -> None:
        label, counts = seat.row["label"], self.by_method[seat.method]
        if counts[reason] < EXAMPLES_PER_REASON:
            self.examples.append((reason, seat.method, label, variant[:CHARACTERS], seat.row["clean"][:CHARACTERS]))
        counts[reason] += 1
        self.by_label[label][reason] += 1

    def tell(self, method: str, error: Exception) -> None:
        """Say once that a method failed in this way."""
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
        if reason not in self.reported:
            self.reported.add(reason)
            say(f"  {method}: no variants of some reviews, it failed ({reason})")


@dataclass(frozen=True, eq=False)
class Gate:
    """What a variant has to pass.

    Attributes:
        judge: refuses by form and meaning.
        relabeller: refuses what reads as another category.
        evidence: source's id → lemmas by which it got its label.
    """

    judge: accept.Judge
    relabeller: Relabeller
    evidence: Mapping[str, frozenset[str]]


def grow(
    sources: pl.DataFrame,
    wanted: Mapping[str, int],
    augmenters: Mapping[str, Augmenter],
    gate: Gate,
    *,
    max_per_source: int,
    taken: set[str],
    seed: int,
) -> Grown:
    """Variants of ``sources``.

    In each category the sources take turns, in a random order and by one method after the other, one accepted variant
    a turn, until the category has as many as wanted or no source has more. In a round as many sources of each category
    have their turn as variants are missing, so that models see many at a time and no review is rewritten in vain.

    Args:
        sources: written training rows.
        wanted: category → variants.
        augmenters: method → what makes the variants. One that fails on some sources has none of them.
        gate: what refuses them.
        max_per_source: variants by one method of one source.
        taken: ids that are in use; those of the variants are added.
        seed: of the order.
    """
    queues = _queues(sources, list(wanted), list(augmenters), seed=seed)
    missing, accepted = dict(wanted), list[tuple[Any, ...]]()
    ledger = Ledger({name: Counter() for name in augmenters})
    while True:
        turn = [queue.popleft() for label, queue in queues.items() for _ in range(min(missing[label], len(queue)))]
        if not turn:
            break
        _ask(turn, augmenters, ledger)
        again = list[Seat]()
        for seat, variant, similarity, fits in _offers(turn, gate, ledger):
            label = seat.row["label"]
            if fits and gate.judge.take(variant, seat.row["group"]):
                seat.number = _next_number(seat, taken)
                seat.accepted += 1
                id = _id(seat, seat.number)
                taken.add(id)
                accepted.append((id, seat.row["id"], seat.method, label, variant, seat.row["clean"], similarity))
                missing[label] -= 1
                if seat.accepted < max_per_source:
                    queues[label].append(seat)
            else:
                ledger.refuse("another category" if not fits else "already there", seat, variant)
                again.append(seat)
        for seat in reversed(again):  # the turn is still theirs
            queues[seat.row["label"]].appendleft(seat)
    return Grown(
        pl.DataFrame(accepted, schema=dict(tables.VARIANTS), orient="row"),
        pl.DataFrame(ledger.examples, schema=dict(tables.REFUSED), orient="row"),
        sum(ledger.by_method.values(), Counter()),
        ledger.by_method,
        ledger.by_label,
    )


def _queues(
    sources: pl.DataFrame, labels: Sequence[str], methods: Sequence[str], *, seed: int
) -> dict[str, deque[Seat]]:
    """For each category its sources in a random order, once by each method, but none twice before each was there
    once."""
    queues = dict[str, deque[Seat]]()
    for label in labels:
        own = [row for row in sources.iter_rows(named=True) if row["label"] == label]
        random.Random(f"{seed}:{label}").shuffle(own)
        queues[label] = deque(
            Seat(row, methods[(number + turn) % len(methods)])
            for turn in range(len(methods))
            for number, row in enumerate(own)
        )
    return queues


def _offers(turn: Sequence[Seat], gate: Gate, ledger: Ledger) -> Iterator[tuple[Seat, str, float | None, bool]]:
    """Of each seat that has one, the next variant that the judge accepts, its similarity to its source, and whether it
    reads as its source's category."""
    offers = []
    for seat in turn:
        offer = _offer(seat, gate.judge, gate.evidence.get(seat.row["id"], frozenset()), ledger)
        if offer is not None:
            offers.append((seat, *offer))
    agreed = gate.relabeller.same([variant for _, variant, _ in offers], [seat.row["clean"] for seat, *_ in offers])
    return ((*offer, fits) for offer, fits in zip(offers, agreed, strict=True))


def _ask(turn: Sequence[Seat], augmenters: Mapping[str, Augmenter], ledger: Ledger) -> None:
    """Generate variants for the seats that have none yet."""
    for method, augmenter in augmenters.items():
        new = [seat for seat in turn if seat.method == method and seat.variants is None]
        if not new:
            continue
        try:
            results = augmenter([Source(seat.row["id"], seat.row["clean"]) for seat in new])
            for seat, variants in zip(new, results, strict=True):
                seat.variants = iter(variants)
        except MENDABLE:
            raise
        except Exception as error:  # a model may fail in ways of its own: the training rows are good without it
            ledger.tell(method, error)
            for seat in new:
                seat.variants = iter(())
                ledger.refuse("failed", seat, "")


MENDABLE = (UserError, OSError, MemoryError)
"""Errors that stop the stage: the user can mend them."""


def _offer(
    seat: Seat, judge: accept.Judge, evidence: frozenset[str], ledger: Ledger
) -> tuple[str, float | None] | None:
    """The seat's next variant that the judge has nothing against, and its similarity; None where there is none."""
    assert seat.variants is not None
    source = accept.Row(seat.row["clean"], seat.row["group"])
    while True:
        try:
            variant = normalise(next(seat.variants))
        except StopIteration:
            return None
        except Refused as error:
            ledger.refuse(str(error), seat, "")
            return None
        except MENDABLE:
            raise
        except Exception as error:  # as above
            ledger.tell(seat.method, error)
            ledger.refuse("failed", seat, "")
            return None
        verdict = judge.judge(variant, source, evidence)
        if verdict.reason is None:
            return variant, verdict.similarity
        ledger.refuse(verdict.reason, seat, variant)


def _id(seat: Seat, number: int) -> str:
    return f"{seat.row['id']}~{seat.method}{number}"


def _next_number(seat: Seat, taken: set[str]) -> int:
    return next(n for n in range(seat.number + 1, len(taken) + seat.number + 2) if _id(seat, n) not in taken)
