"""The log, one JSON object a line on standard error, and the file of unsure answers; both written by one thread.

The event loop never waits for a disk: lines go through a bounded queue, and those that do not fit are counted as lost.
A disk that is full or away loses lines, not requests; once there is room the next lines are written. No line is left
torn: what was written of it is cut off again.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from tsirius.errors import UserError

WAITING = 10_000
"""Lines that wait to be written at most."""


class Sink(Protocol):
    """Where lines go; it may raise OSError, and ValueError where a stream is closed."""

    def write(self, line: bytes) -> bool:
        """Write a line; False where there is no room for it."""
        ...


class Stream:
    """Standard error, by its number: nothing of it is buffered."""

    def write(self, line: bytes) -> bool:
        """See :class:`Sink`."""
        if sys.stderr is None:
            return False
        os.write(sys.stderr.fileno(), line)
        return True


class Bounded:
    """A file that lines are added to, up to a size.

    Args:
        path: the file; it is made where there is none.
        most: its size in bytes at most.

    Raises:
        UserError: it cannot be opened.
    """

    def __init__(self, path: Path, most: int) -> None:
        self.path, self.most = path, most
        try:
            os.close(self._open())
        except OSError as error:
            raise UserError(f"cannot be written ({os.strerror(error.errno or 0).lower()})", where=path,
                            remedy="Name another file for log_unsure.") from None  # fmt: skip

    def _open(self) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, line: bytes) -> bool:
        """See :class:`Sink`; the file is opened for each line, so that it can be moved away."""
        handle = self._open()
        try:
            size = os.fstat(handle).st_size
            if size + len(line) > self.most:
                return False
            try:
                whole = os.write(handle, line) == len(line)
            except OSError:
                whole = False
            if not whole:
                with suppress(OSError):
                    os.ftruncate(handle, size)
            return whole
        finally:
            os.close(handle)


class Writer:
    """Writes lines in a thread of its own.

    Args:
        lost: is told, from that thread too, when a line could not be written to a sink.
    """

    def __init__(self, lost: Callable[[Sink], None]) -> None:
        self._lost = lost
        self._lines = queue.Queue[tuple[Sink, Mapping[str, Any]] | None](WAITING)
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def add(self, sink: Sink, line: Mapping[str, Any]) -> None:
        """Have ``line`` written to ``sink``."""
        try:
            self._lines.put_nowait((sink, line))
        except queue.Full:
            self._lost(sink)

    def close(self, seconds: float) -> None:
        """Write what waits, for at most ``seconds``: a pipe that nobody reads may block for ever."""
        with suppress(queue.Full):
            self._lines.put(None, timeout=seconds)
        self._thread.join(seconds)

    def _run(self) -> None:
        while (item := self._lines.get()) is not None:
            sink, line = item
            try:
                text = json.dumps(line, ensure_ascii=False, default=str) + "\n"
                if not sink.write(text.encode("utf-8", "backslashreplace")):
                    self._lost(sink)
            except (OSError, ValueError):
                self._lost(sink)


def now() -> str:
    """The time as the log has it: ISO 8601 in UTC, in milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
