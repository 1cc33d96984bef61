"""A store that fails as object stores do: denies, throttles, cuts off; and reviews in parts."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import polars as pl
from fsspec.implementations.memory import MemoryFileSystem


class Faulty(MemoryFileSystem):  # type: ignore[misc]
    """In memory; the first requests fail as :attr:`faults` say, one each.

    Attributes:
        faults: "denied", "busy" or "cut", for the requests to come that read or write.
        asked: requests so far.
        read: bytes that were asked for so far.
    """

    protocol = "faulty"
    root_marker = ""
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    faults: ClassVar[list[str]] = []
    asked: ClassVar[int] = 0

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        path = path.removeprefix("faulty://").removeprefix("faulty:/")
        return f"/{path.strip('/')}" if path.strip("/") else ""

    def _request(self) -> str:
        Faulty.asked += 1
        fault = Faulty.faults.pop(0) if Faulty.faults else ""
        if fault == "denied":
            raise PermissionError("AccessDenied: key AKIAPLANTED with PLANTEDSECRET")
        if fault == "busy":
            raise OSError(errno.EBUSY, "SlowDown: PLANTEDSECRET")
        return fault

    def get_file(self, rpath: str, lpath: str, **options: Any) -> None:
        fault = self._request()
        Path(lpath).write_bytes(super().cat_file(self._strip_protocol(rpath)))
        if fault == "cut":
            with Path(lpath).open("r+b") as file:
                file.truncate(Path(lpath).stat().st_size // 2)

    def put_file(self, lpath: str, rpath: str, **options: Any) -> None:
        fault = self._request()
        super().put_file(lpath, rpath, **options)
        if fault == "cut":
            self.pipe_file(rpath, super().cat_file(rpath)[:-10])

    def cat_file(self, path: str, **options: Any) -> Any:
        self._request()
        return super().cat_file(path, **options)

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        if mode == "rb":
            self._request()
        return super()._open(path, mode, **options)


def register() -> None:
    """Have fsspec know ``faulty://``, empty."""
    fsspec.register_implementation("faulty", Faulty, clobber=True)
    Faulty.store.clear()
    Faulty.pseudo_dirs[:] = [""]
    Faulty.faults.clear()
    Faulty.asked = 0


def write_parts(folder: Path, texts: list[str]) -> None:
    """Reviews in a Parquet file of seven row groups, a CSV and a JSON Lines file, in two partitions."""
    (folder / "day=1").mkdir(parents=True)
    (folder / "day=2").mkdir()
    table = pl.DataFrame({"id": [f"a{row}" for row in range(70)], "stars": list(range(70)), "text": texts[:70]})
    table.write_parquet(folder / "day=1" / "p.parquet", row_group_size=10)
    rest = pl.DataFrame({"id": [f"b{row}" for row in range(30)], "stars": [1] * 30, "text": texts[70:100]})
    rest.write_csv(folder / "day=2" / "p.csv")
    rest.with_columns(id=pl.format("c{}", "id")).write_ndjson(folder / "day=2" / "q.jsonl")
    (folder / "day=2" / "_notes.csv").write_text("not reviews", encoding="utf-8")
