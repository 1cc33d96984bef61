"""Running the pipeline again beside the page: a process of its own, whose lines go into a file.

Run as ``python -m tsirius.desk.retrain RUN``, it runs every stage that the answers since then concern; with a task of
:data:`TASKS` behind it, it works on the categories that were proposed. A page that is started again finds it at work,
by the lock that it holds, or its last lines.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

from tsirius.errors import UserError
from tsirius.progress import say

LOG = ".desk/training.log"
"""In the run's folder."""
LINES = 14
"""Of the log, the last ones that are shown."""
TRAIN, PREVIEW, ACCEPT = TASKS = ("train", "preview", "accept")
"""What the process may be asked for."""


class Training:
    """The training of a run, of which there is one at a time."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.task = TRAIN
        """What the last process of this page was asked for."""
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def start(self, task: str = TRAIN) -> None:
        """Start it on one of :data:`TASKS`.

        Raises:
            UserError: one is at work.
        """
        with self._lock:
            if self.at_work():
                raise UserError("is being trained", where=self.run, remedy="Wait for it to end.")
            self.task = task
            (self.run / LOG).parent.mkdir(exist_ok=True)
            with (self.run / LOG).open("wb") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "tsirius.desk.retrain", str(self.run), task],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=log,
                )

    def at_work(self) -> bool:
        """Whether this page's process is, or another that runs the run."""
        return (self._process is not None and self._process.poll() is None) or held(self.run)

    def failed(self) -> bool:
        """Whether the last one that this page started ended badly."""
        return self._process is not None and self._process.poll() not in (None, 0)

    def wait(self) -> None:
        """Wait for this page's process to end."""
        if self._process is not None:
            self._process.wait()

    def lines(self) -> list[str]:
        """The last lines of the log."""
        try:
            text = (self.run / LOG).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return []
        return text.splitlines()[-LINES:]


def held(run: Path) -> bool:
    """Whether a process is running the run."""
    from filelock import FileLock, Timeout

    if not (run / ".lock").exists():
        return False
    lock = FileLock(run / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def main(run: Path, task: str = TRAIN) -> None:
    """Run the pipeline of a run again, or work on the categories that are proposed.

    Raises:
        UserError: the input, the settings or the machine does not allow it.
    """
    from tsirius import pipeline
    from tsirius.desk import proposal
    from tsirius.desk.versions import configuration

    if task == PREVIEW:
        proposal.work_out(run)
    elif task == ACCEPT:
        proposal.accept(run)
    else:
        pipeline.run(configuration(run))


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), *sys.argv[2:])
    except UserError as error:
        say(f"tsirius: {error}")
        sys.exit(2)
    except OSError as error:
        say(f"tsirius: {error.filename}: {(error.strerror or str(error)).lower()}")
        sys.exit(2)
