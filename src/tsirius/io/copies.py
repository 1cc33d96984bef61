"""Files at URLs as local copies, which are removed when this process ends.

A copy is made once, and again where its store says that the file changed. What is told of it names its address.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from tsirius import extras
from tsirius.errors import UserError
from tsirius.io import addresses
from tsirius.io.addresses import File, told_as
from tsirius.io.source import expand
from tsirius.progress import progress

_COPIES = dict[Path, str]()
"""Copy → its address, as a message names it."""


def files(given: Sequence[Path | str]) -> list[Path]:
    """The local files that paths, folders, patterns and URLs stand for; those at URLs are copied first.

    Raises:
        UserError: one stands for none, its store denies it or fails, or a file is named twice.
    """
    found = list[Path]()
    for one in given:
        if isinstance(one, str) and addresses.is_url(one):
            extras.need_folders("reading from a store", where=addresses.shown(one))
            found += _fetched(one)
        else:
            found.append(Path(one))
    return expand(found)


def _fetched(address: str) -> list[Path]:
    listed = addresses.listed(address)
    with progress("copy", total=len(listed)) as advance:
        result = []
        for file in listed:
            result.append(_fetch(address, file))
            advance(1)
    return result


@cache
def _fetch(address: str, file: File) -> Path:
    folder = Path(_folder(address)) / Path(file.name).parent
    folder.mkdir(parents=True, exist_ok=True)
    copy = addresses.fetch(file.address, folder)
    _COPIES[copy] = addresses.shown(file.address)
    return copy


@cache
def _folder(address: str) -> str:
    """The folder of the copies of what is at an address."""
    folder = tempfile.TemporaryDirectory(prefix="tsirius-copies-", ignore_cleanup_errors=True)
    _FOLDERS.append(folder)
    return folder.name


_FOLDERS = list[tempfile.TemporaryDirectory[str]]()
"""Removed with this process."""


def shown(path: Path) -> str:
    """What to call a file: of a copy its address."""
    return _COPIES.get(path, str(path))


@contextmanager
def named() -> Iterator[None]:
    """Have failures that are about a copy name its address."""
    try:
        yield
    except UserError as error:
        for copy, address in _COPIES.items():
            if str(error.where or "").startswith(str(copy)):
                with told_as(copy, address):
                    raise
        raise
