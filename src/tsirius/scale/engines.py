"""The engines: who runs the parts. Each is given the same job and parts, and reports each part as it ends.

``here`` is this process; ``ray`` a cluster. A part that fails by its own fault (a torn row, a repeated id) is counted
against the error budget; what stops a worker is not the part's fault, and the part is done by another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from tsirius.errors import UserError
from tsirius.progress import say
from tsirius.scale import part as parts_
from tsirius.scale.part import Done
from tsirius.scale.plan import Job, Part

ENGINES = ("here", "ray")


@dataclass(frozen=True)
class Failed:
    """A part that could not be done, and why in one line."""

    part: Part
    why: str


@dataclass(frozen=True)
class Resources:
    """What an engine may use.

    Attributes:
        workers: how many at a time; 0: as many as the cluster has room for.
        gpus: of each worker, a fraction where several share one.
    """

    workers: int = 0
    gpus: float = 0.0


@dataclass
class Tally:
    """The parts that ended so far, and the error budget: more failed parts than this end the work."""

    total: int
    allowed: int
    done: list[Done] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)

    def add(self, outcome: Done | Failed) -> None:
        """Count a part, and say so.

        Raises:
            UserError: more parts have failed than are allowed.
        """
        ended = len(self.done) + len(self.failed) + 1
        if isinstance(outcome, Done):
            self.done.append(outcome)
            say(f"  part {ended:,} of {self.total:,}: {outcome.output}, {outcome.rows:,} reviews")
            return
        self.failed.append(outcome)
        say(f"  part {ended:,} of {self.total:,} failed: {outcome.why}")
        if len(self.failed) > self.allowed:
            raise UserError(outcome.why)


def engine(name: str) -> Callable[[Job, Sequence[Part], Resources], Iterator[Done | Failed]]:
    """The engine of this name.

    Raises:
        UserError: there is none, or its package is not installed.
    """
    if name == "here":
        return here
    if name == "ray":
        from tsirius.scale import on_ray

        return on_ray.run
    raise UserError(f"no engine {name!r}", where="--engine", remedy=f"Name one of: {', '.join(ENGINES)}.")


def here(job: Job, parts: Sequence[Part], resources: Resources) -> Iterator[Done | Failed]:
    """One part after the other in this process; each as it ends."""
    del resources
    work = parts_.worker(job)
    for part in parts:
        yield attempt(work, part)


def attempt(work: Callable[[Part], Done], part: Part) -> Done | Failed:
    """What ``work`` makes of a part, or the line that says why it cannot."""
    try:
        return work(part)
    except UserError as error:
        return Failed(part, str(error))


def run(name: str, job: Job, parts: Sequence[Part], resources: Resources, *, allowed: int) -> Tally:
    """Run the parts with an engine, until all have ended or too many have failed.

    Raises:
        UserError: more than ``allowed`` parts failed, or the engine cannot be used.
    """
    tally = Tally(len(parts), allowed)
    outcomes: Iterable[Done | Failed] = engine(name)(job, parts, resources) if parts else ()
    for outcome in outcomes:
        tally.add(outcome)
    return tally
