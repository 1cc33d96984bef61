"""What many reviews cost before any work: a measured rate with its interval, and a simulation of parts and workers."""

from __future__ import annotations

import heapq
import io
import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from tsirius.models.classifier import Classifier

BATCHES, BATCH_ROWS = 12, 500
"""Batches that are timed, after one that is not, and texts of each."""
WRITTEN_ROWS = 20_000
"""Predictions that are written to see how long they are, with random ids of 12 letters."""
CONFIDENCE = 0.95
REQUESTS_PER_PART = 12
"""Of a store: listing, footer, range reads, put, the footer when resuming, the last check."""


@dataclass(frozen=True)
class Interval:
    """A mean with its interval at :data:`CONFIDENCE`."""

    mean: float
    low: float
    high: float

    def times(self, factor: float) -> Interval:
        """The interval of a multiple."""
        return Interval(self.mean * factor, self.low * factor, self.high * factor)


@dataclass(frozen=True)
class Probe:
    """What was measured here.

    Attributes:
        core_seconds: of a review: processor time, which other work on the machine changes little.
        seconds: of a review on the clock.
        bytes_in: of a review's text in UTF-8.
        bytes_out: of a prediction in Parquet.
    """

    core_seconds: Interval
    seconds: Interval
    bytes_in: float
    bytes_out: float


def interval(values: Sequence[float]) -> Interval:
    """The mean of at least two values with its interval by Student's t.

    Example:
        >>> interval([1.0, 2.0, 3.0])
        Interval(mean=2.0, low=-0.484..., high=4.484...)
    """
    from scipy.stats import t

    mean, error = float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(len(values))
    width = float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * error
    return Interval(mean, mean - width, mean + width)


def probe(classifier: Classifier, texts: Sequence[str]) -> Probe:
    """Classify batches of different reviews, and measure the time of each.

    Args:
        classifier: what predicts.
        texts: reviews as they came, at least ``BATCHES + 1``.

    Raises:
        ValueError: they are fewer.
    """
    different = list(dict.fromkeys(texts))
    random.Random(0).shuffle(different)
    size = min(BATCH_ROWS, len(different) // (BATCHES + 1))
    if not size:
        raise ValueError(f"{len(different)} different texts, {BATCHES + 1} are needed")
    cores, clock = list[float](), list[float]()
    for number in range(BATCHES + 1):
        batch = different[number * size : (number + 1) * size]
        core, start = time.process_time(), time.perf_counter()
        probabilities = classifier.predict_proba(batch)
        if number:
            cores.append((time.process_time() - core) / size)
            clock.append((time.perf_counter() - start) / size)
    buffer, draw = io.BytesIO(), random.Random(0)
    names = pl.Series(classifier.names).gather(np.resize(probabilities.argmax(axis=1), WRITTEN_ROWS))
    confidence = np.resize(probabilities.max(axis=1), WRITTEN_ROWS).astype(np.float64).round(4)
    ids = [f"{draw.getrandbits(48):012x}" for _ in range(WRITTEN_ROWS)]
    pl.DataFrame({"id": ids, "category": names, "confidence": confidence}).write_parquet(buffer)
    bytes_in = sum(len(text.encode(errors="replace")) for text in different) / len(different)
    return Probe(interval(cores), interval(clock), bytes_in, buffer.tell() / WRITTEN_ROWS)


def lines(found: Probe, *, rows: int, workers: int, rows_per_part: int) -> list[str]:
    """What ``rows`` reviews take, as lines of text; a worker is one core, as this machine's."""
    hours = found.core_seconds.times(rows / 3600)
    parts = math.ceil(rows / rows_per_part)
    alone = simulate(parts, workers, found.core_seconds.mean * rows / parts)
    taken = simulate(parts, workers, found.core_seconds.mean * rows / parts, preemptions_per_hour=0.2, seed=1)
    return [
        f"measured         {1 / found.core_seconds.mean:,.0f} reviews a second of one core"
        f" ({1 / found.core_seconds.high:,.0f} to {1 / max(found.core_seconds.low, 1e-12):,.0f})",
        f"core-hours       {hours.mean:,.1f} ({hours.low:,.1f} to {hours.high:,.1f})",
        f"read             {rows * found.bytes_in / 1e9:,.1f} GB of text, before compression",
        f"written          {rows * found.bytes_out / 1e9:,.1f} GB",
        f"parts            {parts:,} of {rows_per_part:,} reviews, about {parts * REQUESTS_PER_PART:,} requests",
        f"time             {alone.makespan / 3600:,.1f} h with {workers:,} workers",
        f"with preemption  {taken.makespan / 3600:,.1f} h where each worker is lost once in 5 hours,"
        f" {taken.wasted / max(taken.busy, 1e-12):.1%} of the work done twice",
    ]


@dataclass(frozen=True)
class Simulated:
    """How a run went.

    Attributes:
        makespan: seconds until the last part ended.
        busy: seconds that all workers worked.
        wasted: those of them that were lost with a worker.
        losses: workers that were lost.
    """

    makespan: float
    busy: float
    wasted: float
    losses: int


def simulate(
    parts: int,
    workers: int,
    part_seconds: float,
    *,
    spread: float = 0.0,
    preemptions_per_hour: float = 0.0,
    restart_seconds: float = 60.0,
    seed: int = 0,
) -> Simulated:
    """Parts handed to whichever worker is free; a lost worker's part is done again by another.

    Args:
        parts: how many.
        workers: how many.
        part_seconds: the mean time of a part.
        spread: the standard deviation of the logarithm of that time.
        preemptions_per_hour: how often a worker is lost, at random and without memory.
        restart_seconds: until another takes its place.
        seed: of what is random.

    Example:
        >>> simulate(10, 4, 60.0).makespan
        180.0
    """
    draw, rate = random.Random(seed), preemptions_per_hour / 3600
    waiting = [part_seconds * math.exp(draw.gauss(0, spread) - spread**2 / 2) for _ in range(parts)]
    waiting.reverse()
    free, makespan, busy, wasted, losses = [0.0] * min(workers, parts), 0.0, 0.0, 0.0, 0
    while waiting:
        start, seconds = heapq.heappop(free), waiting.pop()
        lost = draw.expovariate(rate) if rate else math.inf
        busy += min(lost, seconds)
        if lost < seconds:
            wasted, losses = wasted + lost, losses + 1
            waiting.append(seconds)
            heapq.heappush(free, start + lost + restart_seconds)
        else:
            makespan = max(makespan, start + seconds)
            heapq.heappush(free, start + seconds)
    return Simulated(makespan, busy, wasted, losses)


def table(machines: Sequence[tuple[str, int, float]], sizes: Sequence[int]) -> list[str]:
    """Hours that reviews take on paper, as rows of a Markdown table.

    Parts are small enough that each worker has at least four, and at most 200,000 reviews. With preemption each worker
    is lost once in 5 hours.

    Args:
        machines: the name, the workers and the reviews a second of each worker.
        sizes: how many reviews.
    """
    rows = ["| machine | reviews/s of a worker | reviews | parts | hours | with preemption | done twice |",
            "|---|---|---|---|---|---|---|"]  # fmt: skip
    for name, workers, rate in machines:
        for size in sizes:
            parts = max(math.ceil(size / 200_000), 4 * workers)
            seconds = size / parts / rate
            plain = simulate(parts, workers, seconds)
            lossy = simulate(parts, workers, seconds, preemptions_per_hour=0.2, seed=1)
            rows.append(f"| {name} | {rate:,.0f} | {size:,} | {parts:,} | {plain.makespan / 3600:,.2f} |"
                        f" {lossy.makespan / 3600:,.2f} | {lossy.wasted / lossy.busy:.1%} |")  # fmt: skip
    return rows
