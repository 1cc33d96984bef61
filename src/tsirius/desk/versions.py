"""The run as it was before each training: kept with its date, and put back where a person prefers it.

A version is a folder in ``RUN/versions``: the stages' folders, linked where the disk can, so that they take no room
while they are the run's own; and ``said.parquet``, what labels and model said of each review.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from tsirius import pipeline, tables
from tsirius.answers.log import Log
from tsirius.config import Config
from tsirius.errors import UserError
from tsirius.publish import publishing
from tsirius.store import CONFIG, CONFIG_SUMS, RECORD, Store, seal, sealed

FOLDER = "versions"
SAID: Mapping[str, Any] = {"id": pl.String, "label": pl.String, "model": pl.String}
"""What labels and model said of each review; ``model`` is null where there was none."""
MOST = 10
"""Versions that are kept; the oldest is removed for another."""


@dataclass(frozen=True)
class Version:
    """A version of a run.

    Attributes:
        name: of its folder: when it was kept, in UTC, ``2026-01-31T12-00-00.000Z``.
        folder: where it is.
        outputs: stage → the fingerprint of its output.
        lessons: reviews that it learned from answers of.
        names: of its categories, see :meth:`tsirius.answers.log.Log.names`.
    """

    name: str
    folder: Path
    outputs: Mapping[str, str]
    lessons: int
    names: int

    @property
    def date(self) -> str:
        """When it was kept, for a person, in UTC."""
        return self.name[:10] + " " + self.name[11:16].replace("-", ":")

    def learned_from(self, ids: Collection[str]) -> int:
        """How many of the reviews were not kept from it as an exam's: it learned from their labels."""
        labels = tables.scan(self.folder / "answers" / "labels.parquet").select("id", "role")
        learned = labels.filter(pl.col("id").is_in(list(ids)) & pl.col("role").ne_missing("exam"))
        return learned.collect().height

    def said(self) -> pl.DataFrame:
        """A table of :data:`SAID`."""
        return tables.scan(self.folder / "said.parquet").collect()


def outputs(run: Path) -> dict[str, str]:
    """The fingerprint of each stage's output, of those that have one."""
    store, found = Store(run), dict[str, str]()
    for path in sorted(run.glob(f"*/{RECORD}")):
        if (record := store.record(path.parent.name)) is not None:
            found[path.parent.name] = record["output"]
    return found


def configuration(run: Path) -> Config:
    """The settings of a run, wherever its folder lies now.

    Raises:
        UserError: the folder holds none, or they were altered or damaged.
    """
    try:
        config = Config.model_validate_json(Store(run).config())
    except ValueError:
        raise UserError("holds no run", where=run, remedy="Name a folder that 'tsirius run' made.") from None
    return config.model_copy(update={"runs": run.resolve().parent, "name": run.resolve().name})


def keep(run: Path, said: pl.DataFrame) -> Version:
    """Keep the run as it is; the same one that is kept already, where nothing has changed since.

    Args:
        run: a finished run's folder.
        said: a table of :data:`SAID`.

    Raises:
        UserError: another process is running it.
    """
    with Store(run).lock():
        now = outputs(run)
        for version in kept(run):
            if version.outputs == now:
                return version
        taken = [version.name for version in kept(run)]
        name = _stamp(taken)
        with publishing(run / FOLDER / name) as folder:
            for stage in now:
                shutil.copytree(run / stage, folder / stage, copy_function=_link)
            for file in (CONFIG, CONFIG_SUMS):
                if (run / file).is_file():
                    shutil.copyfile(run / file, folder / file)
            said.select(SAID.keys()).write_parquet(folder / "said.parquet")
            seal(folder, {"outputs": now, "lessons": _lessons(run), "names": Log(run).names()})
        for version in kept(run)[MOST:]:
            shutil.rmtree(version.folder)
        return next(version for version in kept(run) if version.name == name)


def kept(run: Path) -> list[Version]:
    """The versions of a run, the latest first; damaged ones are left out."""
    found = []
    for folder in sorted((run / FOLDER).glob("*Z"), reverse=True):
        if (notes := sealed(folder)) is not None:
            found.append(Version(folder.name, folder, notes["outputs"], notes["lessons"], notes.get("names", 0)))
    return found


def put_back(run: Path, name: str) -> None:
    """Make the run what it was: its stages, settings and exported files, and the names that answers are read under.

    Raises:
        UserError: there is no such version, or it was damaged, or another process is running the run.
    """
    version = next((version for version in kept(run) if version.name == name), None)
    if version is None:
        raise UserError(f"has no version {name!r}, or it was damaged", where=run, remedy="Train again.")
    store = Store(run)
    with store.lock():
        if (version.folder / CONFIG).is_file():
            store.write_config((version.folder / CONFIG).read_text(encoding="utf-8"))
        steps = {step.name: step.exports for step in pipeline.road(configuration(run))}
        for stage in outputs(run).keys() - version.outputs.keys():
            store.withdraw(stage, steps.get(stage, ()))
        now = outputs(run)
        changed = [stage for stage in version.outputs if now.get(stage) != version.outputs[stage]]
        with ExitStack() as stack:  # all are copied before the first is put in place
            for stage in changed:
                folder = stack.enter_context(publishing(run / stage))
                shutil.copytree(version.folder / stage, folder, copy_function=_link, dirs_exist_ok=True)
        _export(store, steps)
        Log(run).take_back(version.names)


def _export(store: Store, steps: Mapping[str, Iterable[str]]) -> None:
    for stage, names in steps.items():
        for name in names:
            if (store.folder(stage) / name).is_file():
                store.export(stage, name)
            else:
                (store.root / name).unlink(missing_ok=True)


def _lessons(run: Path) -> int:
    roles = (Store(run).record("answers") or {}).get("notes", {}).get("roles", {})
    return int(roles.get("lesson", 0))


def _stamp(taken: list[str]) -> str:
    """A name by the time, later than those that are there."""
    now = datetime.now(UTC)
    while True:
        name = f"{now:%Y-%m-%dT%H-%M-%S}.{now.microsecond // 1000:03}Z"
        if not taken or name > taken[0]:
            return name
        now += timedelta(milliseconds=1)


def _link(source: str, target: str) -> None:
    """The same file under another name; a copy where the disk has no links. What is published is never changed in its
    place."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
