"""The whole road on one page: which stage reads what, and when it runs again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any

from tsirius import config as configuration
from tsirius import headline, i18n
from tsirius.answers import standing
from tsirius.config import Config
from tsirius.errors import UserError, nearest
from tsirius.io import category_file, copies
from tsirius.io.source import open_other, open_sources
from tsirius.models import distributed
from tsirius.progress import say
from tsirius.section import Section
from tsirius.stages import (
    answers,
    augment,
    balance,
    evaluate,
    ingest,
    label,
    predict,
    report,
    select,
    split,
    table,
    train,
)
from tsirius.store import Decision, Key, Store, fingerprint, versions

Given = Mapping[str, Path]


@dataclass(frozen=True)
class Step:
    """One stage as this run needs it.

    Attributes:
        name: the stage's name, and its folder's.
        work: called with the folders of ``reads``, the empty output folder and the scratch folder; returns counts.
        key: version, settings and seed: what the output depends on besides what is read.
        reads: stages whose output it reads.
        files: says the files, or whole folders, from outside that it reads: asked when they are to be read, as those in
            a store are copied then.
        exports: files that are copied to the run's folder.
        keeps: its scratch folder stays, for its next run with other settings.
        shows_settings: it shows the settings of the stages that it reads, so that it depends on them too.
    """

    name: str
    work: Callable[[Given, Path, Path], Mapping[str, Any]]
    key: Mapping[str, Any]
    reads: tuple[str, ...] = ()
    files: Callable[[], Mapping[str, Path]] = dict
    exports: tuple[str, ...] = ()
    keeps: bool = False
    shows_settings: bool = False


PREDICT_EXPORTS = ("submission.csv",)
CATEGORIES = 9
"""How many categories a plan takes where there is no file of them: one more or less changes next to nothing."""


def road(config: Config) -> list[Step]:
    """The stages of a run in their order."""
    c, seed = config, config.seed
    read_as = ingest.read_as(c.ingest)
    gold = {"evaluate.gold": c.evaluate.gold} if c.evaluate.gold else {}
    columns = {"columns": _columns(c.ingest)}
    steps = [
        _step(
            ingest, c.ingest, seed, files=partial(_ingest_files, c.ingest), leave_out=("train", "test", "categories")
        ),
        replace(_step(label, c.label, seed, reads=("ingest",), files=label.files(c.label)), keeps=True),
        _answers(c, seed),
        _step(select, c.select, seed, reads=("ingest", "answers")),
        _table_step(c.table, c.ingest),
        _step(split, c.split, seed, reads=("select",)),
        _step(balance, c.balance, seed, reads=("split",)),
        _step(augment, c.augment, seed, reads=("ingest", "label", "split", "balance"), files=augment.files(c.augment)),
        _step(
            train, c.train, seed, reads=("ingest", "label", "answers", "split", "augment"), files=train.files(c.train)
        ),
        _step(
            evaluate, c.evaluate, seed, reads=("label", "split", "train"), files=gold, leave_out=("gold",), more=columns
        ),
    ]
    if c.ingest.test:
        work = partial(_predict, c.predict, test=c.ingest.test, read_as=read_as)
        key, tested = {"version": predict.VERSION, "settings": read_as}, {"ingest.test": c.ingest.test}
        steps.append(Step("predict", work, key, ("answers", "train"), lambda: tested, PREDICT_EXPORTS))
    told = _step(
        report, c.report, seed, reads=tuple(step.name for step in steps), files=_audits(c), exports=("report.html",),
        more={"language": i18n.language()},
    )  # fmt: skip
    return [*steps, replace(told, shows_settings=True)]


def check(config: Config) -> None:
    """Check all that a run needs before any work: files, columns, categories, models, a folder to write to.

    Of the test file its beginning is looked at, to know its columns and its encoding (where it begins in plain ASCII,
    up to the first other letter), and all its ids, without a text.

    Raises:
        UserError: the first thing that is wrong.
    """
    ingest.check(config.ingest)
    label.check(config.label)
    augment.check(config.augment)
    train.check(config.train)
    names = category_file.load(config.ingest.categories).names
    evaluate.check(config.evaluate, names=names, columns=_columns(config.ingest))
    folder = next(path for path in (config.runs / config.name, *(config.runs / config.name).parents) if path.exists())
    if not folder.is_dir():
        raise UserError("is not a folder", where=folder, remedy="Move it away, or set runs to another folder.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(
            "cannot be written to", where=folder, remedy="Change its rights, or set runs to another folder."
        )


def former(config: Config, *, names: Sequence[str], known: Sequence[str]) -> str | None:
    """What :func:`tsirius.stages.evaluate.former` finds in the run's gold file."""
    return evaluate.former(config.evaluate, names=names, known=known, columns=_columns(config.ingest))


def show(config: Config) -> None:
    """Say how the files are read, with the first rows of those to learn from."""
    ingest.show(config.ingest)


def plan(config: Config) -> Iterator[tuple[str, Decision]]:
    """Each stage's name with whether it would run and why; nothing is run."""
    store, runs, steps = Store(config.runs / config.name), set[str](), road(config)
    stores = {step.name: store for step in steps}
    for step in steps:
        before = [name for name in step.reads if name in runs]
        if before:
            decision = Decision(True, f"reads {before[-1]}, which runs first")
        else:
            decision = store.decide(step.name, _key(step, stores))
        if decision.run:
            runs.add(step.name)
        yield step.name, decision


def plan_training(config: Config, device: str) -> list[str]:
    """What training takes on a card, in memory and time, as lines of text; neither card nor model has to be at hand.

    Raises:
        UserError: the card is not known, or nothing is known of the model's shape.
    """
    try:
        names = category_file.load(config.ingest.categories).names
    except (UserError, OSError):  # a recipe may be planned before there are data
        names = [""] * CATEGORIES
    return train.plan(
        config.train, device=device, categories=len(names), rows=Store(config.runs / config.name).folder("augment")
    )


def run(config: Config | str | Path, *, again: str | None = None) -> Path:
    """Run every stage that has to run; returns the run's folder.

    Of several processes that torchrun started, the first one runs; the others help it to train.

    Args:
        config: what to run, or the configuration file that says it.
        again: run this stage from its start even if nothing has changed.

    Raises:
        UserError: the input, the configuration or the machine does not allow it; what was published before stays.
    """
    if not isinstance(config, Config):
        config = configuration.load(config)
    if distributed.helper():
        from tsirius.models import finetune  # loads torch

        finetune.help_first()
        return config.runs / config.name
    check(config)
    steps = road(config)
    names = [step.name for step in steps]
    if again is not None and again not in names:
        raise UserError(f"no stage {again!r}{nearest(again, names)}", remedy=f"Stages: {', '.join(names)}.")
    store = Store(config.runs / config.name)
    stores = dict.fromkeys(names, store)
    with store.lock():
        store.write_config(config.model_dump_json(indent=1))
        skipped = []
        for step in steps:
            key = _key(step, stores)
            decision = store.decide(step.name, key)
            if step.name == again:
                decision = Decision(True, "--again")
            if decision.run:
                say(f"{step.name}: running ({decision.why})")
                work = partial(step.work, _given(step, stores))
                record = store.make(step.name, key, work, _source(), keeps=step.keeps, from_start=step.name == again)
                say(f"  {record['seconds']:.1f} s")
            else:
                say(f"{step.name}: skipped ({decision.why})")
                skipped.append(step.name)
                store.tidy(step.name, key)
            for name in step.exports:
                if (store.folder(step.name) / name).is_file():
                    store.export(step.name, name)
                else:  # an earlier run's: this one has none
                    (store.root / name).unlink(missing_ok=True)
        if "predict" not in names:  # an earlier run's predictions are not this one's
            store.withdraw("predict", PREDICT_EXPORTS)
        _tell_changes(store, skipped)
    if distributed.started() > 1:
        from tsirius.models import finetune

        finetune.dismiss()
    return store.root


def _tell_changes(store: Store, skipped: list[str]) -> None:
    """Say once which code or packages changed since the skipped stages ran: they are skipped all the same."""
    now, changes = versions(), dict[str, None]()
    for stage in skipped:
        record = store.record(stage) or {}
        if record.get("source") != _source():
            changes["the code"] = None
        for package, version in (record.get("versions") or {}).items():
            if now.get(package, version) != version:
                changes[f"{package} ({version} → {now[package]})"] = None
    if changes:
        say(f"changed since some stages ran: {', '.join(changes)}; '--again STAGE' runs one again")


def branch(config: Config, root: Path, *, of: Path, first: str, last: str) -> Store:
    """Run the stages from ``first`` to ``last`` in the folder ``root``, where they have not run yet.

    Args:
        config: what to run; its settings of the stages before ``first`` are not looked at.
        root: the folder, created if it does not exist.
        of: the folder of a finished run, where the stages before ``first`` are read.
    """
    steps = road(config)
    names = [step.name for step in steps]
    start, stop = names.index(first), names.index(last) + 1
    own, other = Store(root), Store(of)
    stores = {name: own if number >= start else other for number, name in enumerate(names)}
    with own.lock():
        for step in steps[start:stop]:
            key = _key(step, stores)
            if own.decide(step.name, key).run:
                own.make(step.name, key, partial(step.work, _given(step, stores)), _source(), keeps=step.keeps)
    return own


def rebuild_report(root: Path) -> Path:
    """Write the report of a finished run again, from its folder; returns the report's path.

    Raises:
        UserError: the folder holds no finished run.
    """
    store = Store(root)
    try:
        config = Config.model_validate_json(store.config())
    except ValueError:
        raise UserError("holds no run", where=root, remedy="Name a folder that 'tsirius run' made.") from None
    step = road(config)[-1]
    stores = dict.fromkeys(step.reads, store)
    with store.lock():
        store.check_finished(step.reads)
        store.make(step.name, _key(step, stores), partial(step.work, _given(step, stores)), _source())
        return store.export(step.name, "report.html")


def _given(step: Step, stores: Mapping[str, Store]) -> Given:
    return {name: stores[name].folder(name) for name in step.reads}


def _step(
    module: ModuleType,
    section: Section,
    seed: int,
    *,
    reads: tuple[str, ...] = (),
    files: Mapping[str, Path] | Callable[[], Mapping[str, Path]] = dict,
    leave_out: tuple[str, ...] = (),
    exports: tuple[str, ...] = (),
    more: Mapping[str, Any] | None = None,
) -> Step:
    """A stage that is its module's ``run``; ``leave_out`` names settings that are files, keyed by their bytes, and
    ``more`` is what it takes from other sections."""
    name = module.__name__.rpartition(".")[2]
    settings = section.key(leave_out=leave_out)
    key = {"version": module.VERSION, "settings": settings, "seed": seed, **(more or {})}

    def work(given: Given, out: Path, scratch: Path) -> Mapping[str, Any]:
        return module.run(section, given, out, seed=seed, scratch=scratch, **(more or {}))  # type: ignore[no-any-return]  # a module's

    return Step(name, work, key, reads, files if callable(files) else lambda: files, exports)


def _answers(config: Config, seed: int) -> Step:
    """The stage of the answers that the run has now."""
    given = standing.read(config.runs / config.name)
    step = _step(answers, config.answers, seed, reads=("ingest", "label"))

    def work(stages: Given, out: Path, scratch: Path) -> Mapping[str, Any]:
        return answers.run(config.answers, stages, out, seed=seed, scratch=scratch, answers=given)

    return replace(step, work=work, key={**step.key, "answers": given.key()})


def _audits(config: Config) -> dict[str, Path]:
    """The figures of the run's audits, which the report's headline may come from."""
    root = config.runs / config.name
    found = {f"audit of {kind}": root / path for kind, (path, _, _) in headline.AUDITS.items()}
    return {name: path for name, path in found.items() if path.is_file()}


def _predict(
    section: predict.Config, given: Given, out: Path, scratch: Path, *, test: Path, read_as: Mapping[str, Any]
) -> Mapping[str, Any]:
    source = open_other(test, **read_as, text_required=True)
    return predict.run(section, given, out, source=source, scratch=scratch)


def _table_step(section: table.Config, given: ingest.Config) -> Step:
    read_as = ingest.read_as(given)
    work = partial(_table, section, train=given, read_as=read_as)
    key = {"version": table.VERSION, "settings": {**section.key(), **read_as}}

    def files() -> dict[str, Path]:
        return {name: path for name, path in _ingest_files(given).items() if name != "ingest.categories"}

    return Step("table", work, key, ("ingest", "label", "select"), files, table.EXPORTS)


@copies.named()
def _table(
    section: table.Config, given: Given, out: Path, scratch: Path, *, train: ingest.Config, read_as: Mapping[str, Any]
) -> Mapping[str, Any]:
    return table.run(section, given, out, sources=open_sources(ingest.files(train), **read_as))


def _columns(section: ingest.Config) -> dict[str, Any]:
    return {name: getattr(section, name) for name in ("text_column", "id_column", "sheet")}


def _ingest_files(section: ingest.Config) -> dict[str, Path]:
    train = ingest.files(section)
    return {f"ingest.train {number} {path.name}": path for number, path in enumerate(train, 1)} | {
        "ingest.categories": section.categories
    }


def _key(step: Step, stores: Mapping[str, Store]) -> Key:
    records = {name: stores[name].record(name) or {} for name in step.reads}
    shown = {name: record.get("key", {}).get("settings") for name, record in records.items()}
    return {
        **step.key,
        "inputs": {name: record.get("output") for name, record in records.items()},
        "files": {name: fingerprint(path) for name, path in step.files().items()},
        **({"shown": shown} if step.shows_settings else {}),
    }


@cache
def _source() -> str:
    """Fingerprint of the program: its code and what it carries."""
    return fingerprint(Path(__file__).parent)
