"""The engine: texts of all requests wait in one bounded queue and are computed in batches, off the event loop.

One worker thread computes a step at a time, about ``batch_tokens`` tokens of texts from several requests; numpy,
onnxruntime and torch release the interpreter's lock meanwhile. Of a step the oldest request gets up to half, then each
other one a small turn in the order of their arrival, so that a short request does not wait for a long one, nor the
other way round. A request's texts go by length, and the model sorts those of a step again: like lengths share a batch.

A request is taken whole or refused whole. What is no longer wanted, since its caller left or its time is over, is not
computed. A request is answered by one model from its first text to its last, also when the model is replaced meanwhile.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

TURN = 8
"""A younger request gets a batch's TURN-th of a step, one text at least."""
SHADOW_STEPS = 8
"""So many steps' worth of texts wait for a model in the shadow at most; more are left out, and counted."""
MEMORY = 0.1
"""How much of the throughput the newest step decides."""


@dataclass(frozen=True)
class Row:
    """What is known of a text.

    Attributes:
        probabilities: of each category; None where it failed.
        tokens: that the model reads of it; None where it does not count them.
        truncated: whether the model reads only a part.
        error: why it failed.
    """

    probabilities: Any
    tokens: int | None
    truncated: bool
    error: str | None = None


class Model(Protocol):
    """What computes: in the worker thread, one call at a time."""

    def rows(self, texts: Sequence[str]) -> list[Row]:
        """A row for each text."""
        ...


class Full(Exception):
    """The queue has no room for the request.

    Args:
        seconds: after which there may be.
    """

    def __init__(self, seconds: int) -> None:
        super().__init__("the queue is full")
        self.seconds = seconds


class Stopped(Exception):
    """The engine takes nothing any more."""


@dataclass(eq=False)
class Job:
    """A request's texts: ``pending`` are the numbers of those to do, shortest first to be popped longest first."""

    model: Model
    texts: Sequence[str]
    done: asyncio.Future[list[Row]]
    pending: list[int]
    rows: list[Any] = field(default_factory=list)
    missing: int = 0
    shadow: bool = False


@dataclass(frozen=True)
class Step:
    """What is observed of a step: the seconds it took, its texts, and those of their tokens that are counted."""

    seconds: float
    texts: int
    tokens: int
    jobs: int


class Engine:
    """See the module. To be used from one event loop.

    Args:
        queue_texts: texts that wait at most.
        batch_tokens: tokens of a step.
        observe: is told of every step.
    """

    def __init__(self, *, queue_texts: int, batch_tokens: int, observe: Callable[[Step], None]) -> None:
        self.queue_texts, self.batch_tokens = queue_texts, batch_tokens
        self.waiting = 0
        self.left_out = 0
        self._observe = observe
        self._jobs = deque[Job]()
        self._shadows = deque[Job]()
        self._shadowed = 0
        self._wake = asyncio.Event()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._per_second = 0.0
        self._stopped = False
        self._pump: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to compute."""
        self._pump = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Take nothing more, finish what was taken, and end."""
        self._stopped = True
        self._wake.set()
        if self._pump is not None:
            await self._pump
        self._worker.shutdown()

    @property
    def alive(self) -> bool:
        """Whether it computes."""
        return self._pump is not None and not self._pump.done()

    async def classify(self, model: Model, texts: Sequence[str]) -> list[Row]:
        """A row for each text; where the caller is cancelled, what was not begun is not computed.

        Raises:
            Full: there is no room in the queue.
            Stopped: the engine is stopping.
        """
        if self._stopped:
            raise Stopped
        if self.waiting + len(texts) > self.queue_texts:
            raise Full(self._retry_seconds())
        if not texts:
            return []
        job = _job(model, texts)
        self._jobs.append(job)
        self.waiting += len(texts)
        self._wake.set()
        try:
            return await job.done
        finally:  # a finished job has nothing pending
            self.waiting -= len(job.pending)
            job.pending.clear()

    def shadow(self, model: Model, texts: Sequence[str], then: Callable[[list[Row]], None]) -> None:
        """Compute texts when nothing else is to do, and give the rows to ``then``; left out where too many wait."""
        if self._shadowed + len(texts) > SHADOW_STEPS * max(64, self.batch_tokens // 16) or self._stopped:
            self.left_out += len(texts)
            return
        job = _job(model, texts, shadow=True)
        job.done.add_done_callback(lambda done: None if done.cancelled() else then(done.result()))
        self._shadows.append(job)
        self._shadowed += len(texts)
        self._wake.set()

    def _retry_seconds(self) -> int:
        return min(60, max(1, math.ceil(self.waiting / self._per_second))) if self._per_second else 1

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            step = self._pick(self._jobs)
            if not step and not self._stopped:
                step = self._pick(self._shadows)
            if not step:
                if self._stopped:
                    break
                self._wake.clear()
                await self._wake.wait()
                continue
            begun = time.monotonic()
            texts = [job.texts[number] for job, number in step]
            rows = await loop.run_in_executor(self._worker, _compute, step[0][0].model, texts)
            self._hand_out(step, rows, time.monotonic() - begun)
        for job in self._shadows:
            job.done.cancel()

    def _pick(self, jobs: deque[Job]) -> list[tuple[Job, int]]:
        """The next step's texts: of the oldest request up to half, of each other one of its model a turn."""
        live = [job for job in jobs if job.pending]
        jobs.clear()
        jobs.extend(live)
        if not jobs:
            return []
        oldest, step = jobs[0], list[tuple[Job, int]]()
        left = float(self.batch_tokens)
        left -= self._take(oldest, left / 2 if len(jobs) > 1 else left, left, step)
        for job in jobs:
            if left <= 0:
                break
            if job is not oldest and job.model is oldest.model:
                left -= self._take(job, self.batch_tokens / TURN, left, step)
        self._take(oldest, left, left, step)
        return step

    def _take(self, job: Job, tokens: float, room: float, step: list[tuple[Job, int]]) -> float:
        """Move texts of ``job`` into ``step``; the tokens that they have.

        Args:
            job: a request.
            tokens: that it may have; its first text may have more.
            room: that the step has left; the very first text of a step may have more.
            step: what is chosen.
        """
        taken = 0.0
        while job.pending:
            size = estimated_tokens(job.texts[job.pending[-1]], self.batch_tokens)
            if (step and taken + size > room) or (taken and taken + size > tokens):
                break
            step.append((job, job.pending.pop()))
            taken += size
        return taken

    def _hand_out(self, step: list[tuple[Job, int]], rows: list[Row], seconds: float) -> None:
        for (job, number), row in zip(step, rows, strict=True):
            job.rows[number] = row
            job.missing -= 1
            if job.shadow:
                self._shadowed -= 1
            else:
                self.waiting -= 1
            if not job.missing and not job.done.done():
                job.done.set_result(job.rows)
        newest = len(step) / max(seconds, 1e-6)
        self._per_second = newest if not self._per_second else (1 - MEMORY) * self._per_second + MEMORY * newest
        tokens = sum(row.tokens or 0 for row in rows)
        self._observe(Step(seconds, len(step), tokens, len({id(job) for job, _ in step})))


def _job(model: Model, texts: Sequence[str], *, shadow: bool = False) -> Job:
    done = asyncio.get_running_loop().create_future()
    order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
    return Job(model, texts, done, order, [None] * len(texts), len(texts), shadow=shadow)


def estimated_tokens(text: str, most: int) -> float:
    """About how many tokens a text has, ``most`` at most: special ones, and one for every four letters."""
    return min(len(text) / 4 + 2, most)


def _compute(model: Model, texts: list[str]) -> list[Row]:
    """The rows of a step; where it fails as a whole its texts are tried one by one, so that each fails alone."""
    try:
        return model.rows(texts)
    except Exception as error:  # whatever it is, the server has to go on
        if len(texts) == 1:
            return [Row(None, None, False, " ".join(f"{type(error).__name__}: {error}".split())[:300])]
    return [row for text in texts for row in _compute(model, [text])]
