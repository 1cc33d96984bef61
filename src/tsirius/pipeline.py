"""The whole road on one page: which stage reads what, and when it runs again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from tsirius import categories, files
from tsirius.config import Config
from tsirius.errors import UserError, nearest
from tsirius.progress import say
from tsirius.section import Section
from tsirius.stages import augment, balance, evaluate, ingest, label, predict, report, select, split, train
from tsirius.store import Decision, Key, Store, file_fingerprint, fingerprint, write_text

Given = Mapping[str, Path]


@dataclass(frozen=True)
class Step:
    """One stage as this run needs it.

    Attributes:
        name: the stage's name, and its folder's.
        work: called with the folders of ``reads``, the empty output folder and the scratch folder; returns counts.
        key: version, settings and seed: what the output depends on besides what is read.
        source: fingerprint of the stage's code.
        reads: stages whose output it reads.
        files: files, or whole folders, from outside that it reads.
        exports: files that are copied to the run's folder.
    """

    name: str
    work: Callable[[Given, Path, Path], Mapping[str, Any]]
    key: Mapping[str, Any]
    source: str
    reads: tuple[str, ...] = ()
    files: Mapping[str, Path] = field(default_factory=dict)
    exports: tuple[str, ...] = ()


def road(config: Config) -> list[Step]:
    """The stages of a run in their order."""
    c, seed = config, config.seed
    read_as = {"text_column": c.ingest.text_column, "id_column": c.ingest.id_column, "encoding": c.ingest.encoding}
    gold = {"evaluate.gold": c.evaluate.gold} if c.evaluate.gold else {}
    steps = [
        _step(ingest, c.ingest, seed, files=_ingest_files(c.ingest), leave_out=("train", "test", "categories")),
        _step(label, c.label, seed, reads=("ingest",)),
        _step(select, c.select, seed, reads=("ingest", "label")),
        _step(split, c.split, seed, reads=("select",)),
        _step(balance, c.balance, seed, reads=("split",)),
        _step(augment, c.augment, seed, reads=("ingest", "split", "balance")),
        _step(train, c.train, seed, reads=("ingest", "select", "split", "augment"), files=train.files(c.train)),
        _step(evaluate, c.evaluate, seed, reads=("split", "train"), files=gold, leave_out=("gold",)),
    ]
    if c.ingest.test:
        work = partial(_predict, c.predict, test=c.ingest.test, read_as=read_as)
        key = {"version": predict.VERSION, "settings": read_as}
        steps.append(Step("predict", work, key, _source(predict), ("train",), {"ingest.test": c.ingest.test},
                          ("submission.csv",)))  # fmt: skip
    steps.append(_step(report, c.report, seed, reads=tuple(step.name for step in steps), exports=("report.html",)))
    return steps


def check(config: Config) -> None:
    """Check all that a run needs before any work: files, columns, categories, models, a folder to write to.

    Of the test file no more than its header and first rows are looked at, to know its columns.

    Raises:
        UserError: the first thing that is wrong.
    """
    ingest.check(config.ingest)
    train.check(config.train)
    evaluate.check(config.evaluate, names=categories.load(config.ingest.categories).names)
    folder = next(path for path in (config.runs / config.name, *(config.runs / config.name).parents) if path.exists())
    if not folder.is_dir():
        raise UserError("is not a folder", where=folder, remedy="Move it away, or set runs to another folder.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(
            "cannot be written to", where=folder, remedy="Change its rights, or set runs to another folder."
        )


def plan(config: Config) -> Iterator[tuple[str, Decision]]:
    """Each stage's name with whether it would run and why; nothing is run."""
    store, runs = Store(config.runs / config.name), set[str]()
    for step in road(config):
        before = [name for name in step.reads if name in runs]
        if before:
            decision = Decision(True, f"reads {before[-1]}, which runs before it")
        else:
            decision = store.decide(step.name, _key(step, store))
        if decision.run:
            runs.add(step.name)
        yield step.name, decision


def run(config: Config, *, again: str | None = None) -> Path:
    """Run every stage that has to run; returns the run's folder.

    Args:
        config: what to run.
        again: run this stage even if nothing that it depends on has changed.

    Raises:
        UserError: the input, the configuration or the machine does not allow it; what was published before stays.
    """
    check(config)
    steps = road(config)
    names = [step.name for step in steps]
    if again is not None and again not in names:
        raise UserError(f"no stage {again!r}{nearest(again, names)}", remedy=f"Stages: {', '.join(names)}.")
    store = Store(config.runs / config.name)
    with store.lock():
        write_text(store.root / "config.json", config.model_dump_json(indent=1))
        for step in steps:
            key = _key(step, store)
            decision = store.decide(step.name, key)
            if step.name == again:
                decision = Decision(True, "asked for")
            if decision.run:
                say(f"{step.name}: runs, {decision.why}")
                record = store.make(step.name, key, partial(step.work, _given(step, store)), step.source)
                say(f"  {record['seconds']:.1f} s")
            else:
                say(f"{step.name}: skipped, {decision.why}")
                if (store.record(step.name) or {}).get("source") != step.source:
                    say(f"  its code changed since, under the same version: '--again {step.name}' runs it anew")
            for name in step.exports:
                store.export(step.name, name)
    return store.root


def rebuild_report(root: Path) -> Path:
    """Write the report of a finished run anew, from what its folder holds; returns the report's path.

    Raises:
        UserError: the folder holds no finished run.
    """
    try:
        config = Config.model_validate_json((root / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UserError("holds no run", where=root, remedy="Name a folder that 'tsirius run' made.") from None
    store, step = Store(root), road(config)[-1]
    missing = [name for name in step.reads if store.record(name) is None]
    if missing:
        raise UserError(f"the run is not finished: no {missing[0]}", where=root, remedy="Run it to its end first.")
    with store.lock():
        store.make(step.name, _key(step, store), partial(step.work, _given(step, store)), step.source)
        return store.export(step.name, "report.html")


def _given(step: Step, store: Store) -> Given:
    return {name: store.folder(name) for name in step.reads}


def _step(
    module: ModuleType,
    section: Section,
    seed: int,
    *,
    reads: tuple[str, ...] = (),
    files: Mapping[str, Path] | None = None,
    leave_out: tuple[str, ...] = (),
    exports: tuple[str, ...] = (),
) -> Step:
    """A stage that is its module's ``run``; ``leave_out`` names settings that are files, keyed by their bytes."""
    name = module.__name__.rpartition(".")[2]
    settings = section.model_dump(mode="json", exclude=set(section.speed_only) | set(leave_out))
    key = {"version": module.VERSION, "settings": settings, "seed": seed}

    def work(given: Given, out: Path, scratch: Path) -> Mapping[str, Any]:
        return module.run(section, given, out, seed=seed, scratch=scratch)  # type: ignore[no-any-return]  # a module's

    return Step(name, work, key, _source(module), reads, files or {}, exports)


def _predict(
    section: predict.Config, given: Given, out: Path, scratch: Path, *, test: Path, read_as: Mapping[str, str]
) -> Mapping[str, Any]:
    return predict.run(section, given, out, source=files.open_source(test, **read_as, text_required=True))


def _ingest_files(section: ingest.Config) -> dict[str, Path]:
    train = section.train if isinstance(section.train, list) else [section.train]
    return {f"ingest.train {number} {path.name}": path for number, path in enumerate(train, 1)} | {
        "ingest.categories": section.categories
    }


def _key(step: Step, store: Store) -> Key:
    records = {name: store.record(name) for name in step.reads}
    return {
        **step.key,
        "inputs": {name: record["output"] if record else None for name, record in records.items()},
        "files": {name: fingerprint(path) for name, path in step.files.items()},
    }


def _source(module: ModuleType) -> str:
    return file_fingerprint(Path(str(module.__file__)))
