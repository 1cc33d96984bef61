"""Ctrl-C ends the command with one line and exit code 130, at whatever moment it comes.

Python raises KeyboardInterrupt wherever it happens to be. Where a library is being imported, the library may swallow it
or turn it into an error of its own; in a ``__del__``, or another function that the interpreter calls, it is printed and
forgotten. So while a library is imported the process ends at once, which loses nothing: all that is published is
published whole. An interruption that was forgotten is sent again. Anywhere else in the work, KeyboardInterrupt cleans
up as usual.
"""

from __future__ import annotations

# What the module signal wraps, which takes 5 ms more before Ctrl-C is handled; type checkers have no stub of it.
import _signal as signal  # type: ignore[import-not-found]
import os
import sys

TYPE_CHECKING = False  # typing would be one more import before Ctrl-C is handled
if TYPE_CHECKING:
    from types import FrameType
    from typing import NoReturn

LINE = "interrupted; run the same command again to resume"
CODE = 130
AGAIN_SECONDS = 0.05
"""After this long an interruption that the interpreter forgot is sent again."""
IMPORTS = ("importlib._bootstrap", "importlib._bootstrap_external")


class _State:
    process = 0
    came = False
    cleans = False
    told = False


def install() -> None:
    """Handle Ctrl-C from now on; for the process of a command, from its main thread."""
    _State.process = os.getpid()
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:  # as of a command that the shell put in the background
        signal.signal(signal.SIGINT, _interrupt)
    sys.unraisablehook = _forgotten


def came() -> bool:
    """Whether Ctrl-C was pressed: whatever error came of it then counts as the interruption."""
    return _State.came


class cleaned:  # contextlib would be one more import before Ctrl-C is handled
    """Within the block Ctrl-C raises KeyboardInterrupt, so that what was begun is cleaned up; outside it just ends."""

    def __enter__(self) -> None:
        _State.cleans = True

    def __exit__(self, *error: object) -> None:
        _State.cleans = False


def tell() -> None:
    """Write the line to standard error, once; other processes of the command are silent."""
    if _State.told or os.getpid() != (_State.process or os.getpid()):
        return
    _State.told = True
    # imported by now or not at all: nothing may be imported here
    line = getattr(sys.modules.get("tsirius.i18n"), "translate", str)(LINE)
    try:
        cursor = "\x1b[?25h" if os.isatty(2) else ""  # a progress bar hides it
        os.write(2, f"{cursor}{line}\n".encode())
    except OSError:  # a closed standard error
        pass


def _leave() -> NoReturn:
    """End the process at once."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tell()
    os._exit(CODE)


def _interrupt(_number: int, frame: FrameType | None) -> None:
    _State.came = True
    if not _State.cleans or os.getpid() != _State.process or _imports(frame):
        _leave()
    raise KeyboardInterrupt


def _imports(frame: FrameType | None) -> bool:
    """Whether a module is being imported in ``frame`` or in one that called it."""
    while frame is not None:
        if frame.f_globals.get("__name__") in IMPORTS:
            return True
        frame = frame.f_back
    return False


def _forgotten(unraisable: sys.UnraisableHookArgs) -> None:
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
        import threading

        again = threading.Timer(AGAIN_SECONDS, os.kill, (os.getpid(), signal.SIGINT))
        again.daemon = True
        again.start()
    else:
        sys.__unraisablehook__(unraisable)
