"""Ray as the engine: actors hold the model, parts go to whichever is free.

A part is an independent, deterministic piece of work whose output is published whole, so Ray starts workers and hands
out parts; the order of rows, what is done and what is not are no business of its. Deaths are counted here and not by
``max_task_retries``: that waits for the same actor to come back, which it cannot while its node is gone, whereas any
other worker can do the part. Ray Data is not used: it does not keep the order of rows by itself, and keeps all finished
ids in memory for its checkpoints.
"""

from __future__ import annotations

import io
import logging
import os
import tarfile
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from tsirius import extras
from tsirius.errors import UserError
from tsirius.models.classifier import find
from tsirius.progress import say
from tsirius.scale import part as parts_
from tsirius.scale.engines import Failed, Resources, attempt
from tsirius.scale.part import Done
from tsirius.scale.plan import Job, Part
from tsirius.store import fingerprint_once

DEATHS = 5
"""Workers that may die over one part before it counts as failed."""
STARTS = 20
"""Workers in a row that may fail to start."""
SECONDS = 1.0
"""Between two looks at the cluster while nothing ends."""


class Worker:
    """An actor: a process that has loaded the model.

    Args:
        job: what is done.
        packed: the model's folder, for a node that does not see it.
    """

    def __init__(self, job: Job, packed: bytes) -> None:
        self._work: Callable[[Part], Done] = parts_.worker(_at_hand(job, packed))

    def ready(self) -> int:
        """Answers when the model is loaded."""
        return os.getpid()

    def run(self, part: Part) -> Done | Failed:
        """Do a part; a failure of its own is returned, not raised."""
        return attempt(self._work, part)


def _at_hand(job: Job, packed: bytes) -> Job:
    """The job with a model that is on this machine."""
    from dataclasses import replace

    try:
        if fingerprint_once(find(Path(job.model))) == job.fingerprint:
            return job
    except UserError:
        pass
    folder = tempfile.mkdtemp(prefix="tsirius-model-")
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
    return replace(job, model=folder)


def _packed(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(folder, ".")
    return buffer.getvalue()


def run(job: Job, parts: Sequence[Part], resources: Resources) -> Iterator[Done | Failed]:
    """The parts on the cluster of ``RAY_ADDRESS``, else on one of this machine; each as it ends.

    Raises:
        UserError: Ray is not installed or not to be reached, or no worker starts.
    """
    ray = _ray()
    mine = not ray.is_initialized()
    if mine:
        try:
            ray.init(log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise UserError(f"no cluster answers ({type(error).__name__})", where="--engine ray",
                            remedy="Check RAY_ADDRESS, or unset it.") from None  # fmt: skip
    try:
        # Ray writes of each process that dies to the standard output, which is for data, and pages of a raylet's state.
        with Path(os.devnull).open("w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
            crew = _Crew(ray, job, resources, at_most=len(parts))
            yield from crew.run(parts)
    finally:
        if mine:
            ray.shutdown()


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise UserError("needs ray, which is not installed", where="--engine ray",
                        remedy=f"{extras.install('scale')}.") from None  # fmt: skip
    return ray


class _Crew:
    """The workers, and the parts that they are at."""

    def __init__(self, ray: Any, job: Job, resources: Resources, *, at_most: int) -> None:
        self._ray, self._job = ray, job
        self._model = ray.put(_packed(find(Path(job.model))))
        options = {"num_cpus": 1, "max_restarts": 0, "max_task_retries": 0}
        self._actor = ray.remote(Worker).options(**options, num_gpus=resources.gpus)
        unit, kind = (resources.gpus, "GPU") if resources.gpus else (1.0, "CPU")
        room = int(ray.cluster_resources().get(kind, 0) / unit)
        if not room:
            raise UserError(f"the cluster has no {kind} for a worker", where="--engine ray", remedy="Ask for less.")
        self._count = min(resources.workers or room, at_most)
        self._starting, self._busy = dict[Any, Any](), dict[Any, tuple[Any, Part]]()
        self._deaths, self._failed_starts = dict[str, int](), 0
        say(f"  ray: {self._count} workers of {len(ray.nodes())} nodes")

    def run(self, parts: Sequence[Part]) -> Iterator[Done | Failed]:
        """Hand out the parts, and those of dead workers again, until all have ended."""
        waiting, free = deque(parts), list[Any]()
        while waiting or self._busy:
            while free and waiting:
                actor, part = free.pop(), waiting.popleft()
                self._busy[actor.run.remote(part)] = actor, part
            self._hire(len(waiting) - len(free))
            asked = [*self._busy, *self._starting]
            ended, _ = self._ray.wait(asked, num_returns=1, timeout=SECONDS)
            for answer in ended:
                if answer in self._starting:
                    free += self._started(answer)
                    continue
                actor, part = self._busy.pop(answer)
                outcome = self._ended(answer, part)
                if outcome is None:
                    waiting.appendleft(part)
                    continue
                if not isinstance(outcome, _Dead):
                    free.append(actor)
                yield outcome.failed if isinstance(outcome, _Dead) else outcome

    def _hire(self, needed: int) -> None:
        """Start workers in place of those that died, as long as there are parts for them."""
        for _ in range(min(needed, self._count - len(self._busy)) - len(self._starting)):
            actor = self._actor.remote(self._job, self._model)
            self._starting[actor.ready.remote()] = actor

    def _started(self, answer: Any) -> list[Any]:
        actor = self._starting.pop(answer)
        try:
            self._ray.get(answer)
        except self._ray.exceptions.RayError as error:
            self._failed_starts += 1
            cause = getattr(error, "cause", None)
            if isinstance(cause, UserError):
                raise cause from None
            if self._failed_starts >= STARTS:
                raise UserError(f"{STARTS} workers in a row did not start ({type(error).__name__})",
                                where="--engine ray", remedy="See the logs of the cluster.") from None  # fmt: skip
            return []
        self._failed_starts = 0
        return [actor]

    def _ended(self, answer: Any, part: Part) -> Done | Failed | _Dead | None:
        """What became of a part; None where its worker died and another is to do it."""
        try:
            outcome: Done | Failed = self._ray.get(answer)
            return outcome
        except self._ray.exceptions.RayError as error:
            deaths = self._deaths[part.output] = self._deaths.get(part.output, 0) + 1
            say(f"  a worker died over {part.output} ({type(error).__name__}): another does it")
            if deaths <= DEATHS:
                return None
            return _Dead(Failed(part, f"{part.shown}: {deaths} workers died over it ({type(error).__name__})."))


class _Dead:
    """A part that failed with its worker."""

    def __init__(self, failed: Failed) -> None:
        self.failed = failed
