"""Shards: the finished pieces of long work, kept on the disk so that a killed run does not compute them again.

A shard is one file: a checksum, then a table as Parquet or an array as NumPy writes it. It is written whole or not at
all. One that is missing, truncated or altered reads as None: the caller computes it again.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tsirius.progress import say
from tsirius.publish import replacing

SUFFIX = ".shard"
CHECKSUM_BYTES = 16


class Shards:
    """A folder of shards, created if it does not exist. Opening it marks it as used, see :func:`sweep`.

    A name may hold what a file's name may. Whoever uses a folder gives it a name that stands for all that its shards
    depend on (:func:`tsirius.store.digest` of the settings and inputs): a shard does not say what it was computed from.

    Args:
        folder: of these shards alone.

    Example:
        >>> import tempfile
        >>> shards = Shards(Path(tempfile.mkdtemp()))
        >>> shards.write("0", pl.DataFrame({"id": ["r1"]}))
        >>> shards.read("0").height, shards.read("1")
        (1, None)
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)
        self.folder = folder

    def read(self, name: str) -> pl.DataFrame | None:
        """The table of this name, or None where there is none that is as it was written."""
        payload = self._payload(name)
        if payload is None:
            return None
        try:
            return pl.read_parquet(io.BytesIO(payload))
        except (pl.exceptions.PolarsError, OSError):
            self._refuse(name)
            return None

    def read_array(self, name: str) -> NDArray[Any] | None:
        """The array of this name, or None where there is none that is as it was written."""
        payload = self._payload(name)
        if payload is None:
            return None
        try:
            array: NDArray[Any] = np.load(io.BytesIO(payload), allow_pickle=False)
        except (ValueError, OSError, EOFError):
            self._refuse(name)
            return None
        return array

    def write(self, name: str, piece: pl.DataFrame | NDArray[Any]) -> None:
        """Keep a table or an array under ``name``; an older one of this name is replaced.

        Raises:
            OSError: the disk is full, or the folder cannot be written to.
        """
        buffer = io.BytesIO()
        if isinstance(piece, pl.DataFrame):
            piece.write_parquet(buffer)
        else:
            np.save(buffer, piece, allow_pickle=False)
        payload = buffer.getbuffer()
        with replacing(self._path(name)) as temporary, temporary.open("wb") as file:
            file.write(_checksum(name, payload))
            file.write(payload)

    def append(self, piece: pl.DataFrame | NDArray[Any]) -> str:
        """Keep a table or an array under the number after the highest one in use; returns it, as a name."""
        name = f"{max((int(one) for one in self.names() if one.isdigit()), default=-1) + 1:06}"
        self.write(name, piece)
        return name

    def names(self) -> list[str]:
        """The names of the shards that are there, sorted; they are not read, so that one may yet prove damaged."""
        return sorted(path.name.removesuffix(SUFFIX) for path in self.folder.glob(f"[!.]*{SUFFIX}"))

    def __iter__(self) -> Iterator[tuple[str, pl.DataFrame]]:
        """Each name with its table, in the order of the names; damaged ones are left out."""
        for name in self.names():
            if (table := self.read(name)) is not None:
                yield name, table

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}{SUFFIX}"

    def _payload(self, name: str) -> memoryview | None:
        try:
            content = memoryview(self._path(name).read_bytes())
        except FileNotFoundError:
            return None
        except OSError:
            content = memoryview(b"")
        payload = content[CHECKSUM_BYTES:]
        if content[:CHECKSUM_BYTES] == _checksum(name, payload):
            return payload
        self._refuse(name)
        return None

    def _refuse(self, name: str) -> None:
        """Remove a shard that cannot be used, and say so; nobody hears of it a second time."""
        say(f"  {self._path(name)}: damaged, computing it again")
        with suppress(OSError):
            self._path(name).unlink()


def sweep(folder: Path, *, keep: int) -> None:
    """Remove all but the ``keep`` (at least 1) folders in ``folder`` that were used last.

    Who tries one setting after another comes back to the last few.
    """
    folders = [path for path in folder.iterdir() if path.is_dir()]
    for old in sorted(folders, key=lambda path: path.stat().st_mtime)[:-keep]:
        shutil.rmtree(old)


def _checksum(name: str, payload: memoryview) -> bytes:
    """BLAKE2b of the payload under its name: a shard that was renamed to another does not pass for it."""
    total = hashlib.blake2b(name.encode(errors="surrogateescape") + b"\0", digest_size=CHECKSUM_BYTES)
    total.update(payload)
    return total.digest()
