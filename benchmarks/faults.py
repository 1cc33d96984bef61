"""Damage on purpose: processes that are killed, malformed files, damaged runs and models. Each try is right or a fault.

    python benchmarks/faults.py [FAMILY ...] [--tries FAMILY=NUMBER ...] [--seed 0] [--folder DIR]

Families, with what is right:

- ``kills``: a command is killed (SIGKILL) at a random moment or file operation; what was published then is the old or
  the new, whole; the same command, given again, ends with the bytes of an unbroken one and leaves nothing behind.
- ``files``: a malformed file of reviews, of answers, of categories or of settings is read as what it is, or refused
  with one line, and the output is as it was.
- ``folders``: one file of a run's or a model's folder is damaged, or of what an unfinished command left: every command
  that reads it gives the answer of the undamaged one or refuses with one line.
- ``models``: the models of ``tests/damage_models.py``.
- ``interrupts``: Ctrl-C while the libraries load or a moment later: one line, and exit code 130.

Every try is drawn from the seed and its number, and is a line in DIR/journal.jsonl: what is in it is not tried again.
The figures of all families are printed at the end; the exit code is 1 where there is a fault.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import io
import json
import lzma
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import polars as pl

from tsirius import categories, config, pipeline
from tsirius.commands import audit, compare, evaluate, latency, predict
from tsirius.commands import run as summary
from tsirius.errors import UserError
from tsirius.interrupts import LINE
from tsirius.models.classifier import Classifier
from tsirius.stages import predict as predicting
from tsirius.store import file_fingerprint

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

TRIES = {"kills": 200, "files": 300, "folders": 300, "models": 150, "interrupts": 50}
SAMPLE = Path(summary.__file__).parents[1] / "assets" / "sample"
REVIEWS, TEST = 240, 90
"""Rows of the small shop."""
SETTINGS = """
[ingest]
train = "reviews.csv"
test = "test.csv"
categories = "categories.toml"
[label]
use = ["lexicon"]
doubt = false
[augment]
target_per_class = 20
[train]
linear_encoder = ""
[evaluate]
gold = "gold.csv"
"""
AUTO = {"text_column": "auto", "id_column": "auto", "encoding": "auto"}
SECONDS = 600
"""A try that takes longer is a fault: on a machine that is shared with others, a minute says little."""

Outcome = tuple[str, Any]
"""``read`` with the result, ``refused`` with the line, or ``crash`` with the traceback."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*", metavar="FAMILY", default=list(TRIES))
    parser.add_argument("--tries", nargs="*", default=[], metavar="FAMILY=NUMBER")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "tsirius-faults")
    asked = parser.parse_args()
    tries = {**TRIES, **{name: int(number) for name, _, number in (one.partition("=") for one in asked.tries)}}
    asked.folder.mkdir(parents=True, exist_ok=True)
    journal = asked.folder / "journal.jsonl"
    lines = read_journal(journal)
    for family in asked.families:
        done = {line["number"] for line in lines if line["family"] == family and line["seed"] == asked.seed}
        left = [number for number in range(tries[family]) if number not in done]
        if not left:
            continue
        try:
            attempt = FAMILIES[family](asked.folder)
        except ImportError as error:
            print(f"{family}: left out, {error}", file=sys.stderr)
            continue
        for number in left:
            draw = random.Random(f"{asked.seed} {family} {number}")
            start = time.monotonic()
            try:
                with time_limit(SECONDS):
                    case, fault = attempt(draw)
            except Exception:
                case, fault = "the try itself", traceback.format_exc()
            line = {"family": family, "seed": asked.seed, "number": number, "case": case, "fault": fault,
                    "seconds": round(time.monotonic() - start, 2)}  # fmt: skip
            with journal.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
            lines.append(line)
            if fault:
                print(f"{family} {number}: {case}\n  {fault}", file=sys.stderr, flush=True)
    return tell([line for line in lines if line["seed"] == asked.seed])


def read_journal(path: Path) -> list[dict[str, Any]]:
    """The tries so far; a line that was being written when the process was killed is left out."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        with suppress(ValueError):
            lines.append(json.loads(line))
    return lines


def tell(lines: Sequence[Mapping[str, Any]]) -> int:
    print(f"{'family':<10} {'tried':>6} {'right':>6} {'faults':>6} {'minutes':>8}")
    for family in FAMILIES:
        own = [line for line in lines if line["family"] == family]
        faults = sum(bool(line["fault"]) for line in own)
        minutes = sum(line["seconds"] for line in own) / 60
        print(f"{family:<10} {len(own):6,} {len(own) - faults:6,} {faults:6,} {minutes:8.1f}")
    return int(any(line["fault"] for line in lines))


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Raise TimeoutError in the block after ``seconds``."""

    def end(number: int, frame: Any) -> None:
        raise TimeoutError(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def outcome(call: Callable[[], Any]) -> Outcome:
    """What a command does in this process."""
    with redirect_stderr(io.StringIO()):
        try:
            return "read", call()
        except UserError as error:
            line = str(error)
            return ("refused", line) if "\n" not in line else ("crash", f"more than one line: {line}")
        except TimeoutError:
            raise
        except OSError as error:  # one line of the command line's
            return ("refused", str(error)) if error.errno is not None else ("crash", traceback.format_exc())
        except BaseException:
            return "crash", traceback.format_exc()


# --- the shop ---------------------------------------------------------------------------------------------------------


def rows() -> list[dict[str, str]]:
    with (SAMPLE / "reviews.csv").open(encoding="utf-8", newline="") as handle:
        found = list(csv.DictReader(handle))
    return [found[number * 7 % len(found)] for number in range(REVIEWS)]


def lay_out(folder: Path) -> None:
    """The files of a small shop: reviews, a test file with ids, answers, categories and settings."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(SAMPLE / "categories.toml", folder)
    (folder / "shop.toml").write_text(SETTINGS, encoding="utf-8")
    files = {
        "reviews.csv": [{"text": row["text"]} for row in rows()],
        "test.csv": [{"id": f"r{number}", "text": row["text"]} for number, row in enumerate(rows()[:TEST])],
        "gold.csv": rows(),
        "by_id.csv": [{"id": f"r{number}", "category": row["category"]} for number, row in enumerate(rows()[:TEST])],
    }
    for name, lines in files.items():
        with (folder / name).open("w", encoding="utf-8", newline="") as handle:
            writer = csv.DictWriter(handle, lines[0].keys())
            writer.writeheader()
            writer.writerows(lines)


def finished(folder: Path) -> Path:
    """A finished run of the shop, with an audit of its labels; made once."""
    shop, mark = folder / "shop", folder / "shop.finished"
    if not mark.exists():
        shutil.rmtree(shop, ignore_errors=True)
        lay_out(shop)
        run_command(shop, ["run", "shop.toml"])
        run_command(shop, ["audit", "runs/shop", "--write", "form.csv", "--count", "40"])
        fill_in(shop / "form.csv", shop / "filled.csv")
        run_command(shop, ["audit", "runs/shop", "--answers", "filled.csv"])
        run_command(shop, ["run", "shop.toml"])  # what was answered teaches
        mark.touch()
    return shop


def fill_in(form: Path, filled: Path) -> None:
    """Answer a form of the audit, with the categories in turn."""
    names = categories.load(SAMPLE / "categories.toml").names
    with form.open(encoding="utf-8-sig", newline="") as handle:
        lines = list(csv.DictReader(handle, delimiter=";"))
    with filled.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, lines[0].keys(), delimiter=";")
        writer.writeheader()
        writer.writerows({**line, "category": names[number % len(names)]} for number, line in enumerate(lines))


def run_command(folder: Path, command: Sequence[str]) -> None:
    done = subprocess.run([sys.executable, "-m", "tsirius", *command], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.returncode}\n{done.stderr}")


# --- kills ------------------------------------------------------------------------------------------------------------

OPERATIONS = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.utime", "os.link", "os.chmod")
LORA = ["train.use=lora", "train.model=tiny", "train.epochs=1", "train.max_length=32", "name=lora"]
COMMANDS: dict[str, tuple[list[str], str]] = {
    "run": (["run", "shop.toml"], "empty"),
    "run, another seed": (["run", "shop.toml", "seed=1"], "finished"),
    "run, a stage again": (["run", "shop.toml", "--again", "label"], "finished"),
    "run, lora": (["run", "shop.toml", *LORA], "finished"),
    "predict": (["predict", "runs/shop", "reviews.csv", "-o", "out.csv"], "finished"),
    "predict, parquet": (["predict", "runs/shop", "test.csv", "-o", "out.parquet"], "finished"),
    "predict, over an older file": (["predict", "runs/shop", "test.csv", "-o", "by_id.csv"], "finished"),
    "audit --write": (["audit", "runs/shop", "--write", "form2.csv", "--count", "60"], "finished"),
    "audit --answers": (["audit", "runs/shop", "--answers", "filled2.csv"], "finished"),
    "audit of predictions": (["audit", "runs/shop", "--of", "predictions", "--write", "form2.csv"], "finished"),
    "report": (["report", "runs/shop"], "finished"),
    "evaluate": (["evaluate", "runs/shop", "gold.csv"], "finished"),
    "compare": (["compare", "runs/shop"], "finished"),
    "new": (["new", "other", "--categories", "other_categories.toml"], "finished"),
    "bench latency": (["bench", "latency", "runs/shop", "--count", "5", "-o", "latency.json"], "finished"),
    "export, adapter": (["export", "runs/lora", "--to", "adapter", "-o", "exported"], "lora"),
    "export, over an older one": (["export", "runs/lora", "--to", "adapter"], "exported"),
}
OFTEN = {"run": 8, "run, another seed": 6, "run, a stage again": 3, "predict": 4, "audit --answers": 3}
PUBLISHED = ("out.", "by_id", "form2", "runs/shop/submission.csv", "runs/shop/audit/a", "exported/")
"""Files that are, at any moment, the old or the new ones."""
PRELOADED = ("tsirius.cli", "tsirius.pipeline", "tsirius.commands.audit", "tsirius.commands.export", "sklearn",
             "tsirius.commands.predict", "tsirius.commands.latency", "tsirius.models.finetune", "peft", "jinja2",
             "tsirius.models.linear", "tsirius.reporting.page", "sklearn.feature_extraction.text", "scipy.optimize",
             "sklearn.linear_model", "sklearn.model_selection", "polars")  # fmt: skip
TIMED = ("latency.json", "report.html")
"""Files with measured times: they are there and can be read, no more is compared."""


def work(folder: str, count: str, command: list[str]) -> None:
    """Run a command; die at the file operation of this number, or write their number to the path that is given."""
    number, seen = int(count) if count.isdigit() else None, 0

    def hook(event: str, given: tuple[Any, ...]) -> None:
        nonlocal seen
        writes = event == "open" and isinstance(given[2], int) and given[2] & (os.O_WRONLY | os.O_RDWR)
        if writes or event in OPERATIONS:
            seen += 1
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)

    from tsirius import cli

    os.chdir(folder)
    said = os.open(f"{folder}.said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(said, 1)
    os.dup2(said, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
    sys.argv = ["tsirius", *command]
    sys.addaudithook(hook)
    try:
        cli.main()
    except SystemExit as end:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        if number is None and count:
            Path(count).write_text(str(seen))
        os._exit(int(end.code or 0))
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


@cache
def processes() -> Any:
    """Processes that find the libraries loaded: most of a small command's time is spent in loading them."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*PRELOADED])
    return context


def start(folder: Path, count: str, command: Sequence[str], *, seconds: float | None) -> tuple[int | None, str]:
    """Run a command in a process of its own, for so many seconds: its exit code and what it said."""
    process = processes().Process(target=work, args=(str(folder), count, list(command)))
    process.start()
    process.join(seconds)
    process.kill()
    process.join()
    said = folder.with_name(f"{folder.name}.said")
    text = said.read_text(encoding="utf-8", errors="replace") if said.exists() else ""
    said.unlink(missing_ok=True)
    return process.exitcode, text


def kills(folder: Path) -> Callable[[random.Random], tuple[str, str]]:
    bases = {"empty": folder / "empty", "finished": finished(folder)}
    model = f"train.model={bases['finished'] / 'tiny'}"  # its path is on the model's card
    if not bases["empty"].exists():
        lay_out(bases["empty"])
    shop = bases["finished"]
    if not (shop / "filled2.csv").exists():
        fill_in(shop / "form.csv", shop / "filled2.csv")
    if not (shop / "tiny" / "config.json").exists():
        import tiny

        shutil.copytree(tiny.build(folder / "tiny"), shop / "tiny", dirs_exist_ok=True)

    def called(name: str) -> tuple[list[str], str]:
        return [model if one == "train.model=tiny" else one for one in COMMANDS[name][0]], COMMANDS[name][1]

    def base(name: str) -> Path:
        if name in bases:
            return bases[name]
        made = folder / name
        if not (folder / f"{name}.finished").exists():
            shutil.rmtree(made, ignore_errors=True)
            shutil.copytree(base({"lora": "finished", "exported": "lora"}[name]), made)
            run_command(made, called("run, lora" if name == "lora" else "export, over an older one")[0])
            (folder / f"{name}.finished").touch()
        bases[name] = made
        return made

    @cache
    def unbroken(name: str) -> tuple[float, int, dict[str, str]]:
        """Seconds, file operations and files of a command that nobody kills."""
        command, begin = called(name)
        with scratch(folder, base(begin)) as copy:
            count = copy.with_name(f"{copy.name}.count")
            began = time.monotonic()
            code, said = start(copy, str(count), command, seconds=None)
            spent = time.monotonic() - began
            if code:
                raise RuntimeError(f"{name}: {code} {said}")
            operations = int(count.read_text())
            count.unlink()
            return spent, operations, snapshot(copy)

    def attempt(draw: random.Random) -> tuple[str, str]:
        name = draw.choices(list(COMMANDS), [OFTEN.get(name, 1) for name in COMMANDS])[0]
        command, begin = called(name)
        seconds, operations, wanted = unbroken(name)
        before = snapshot(base(begin))
        with scratch(folder, base(begin)) as copy:
            if draw.random() < 0.5:
                number = draw.randint(1, max(1, operations))
                case = f"{name}: at file operation {number} of {operations}"
                start(copy, str(number), command, seconds=None)
            else:
                moment = draw.uniform(0, seconds)
                case = f"{name}: after {moment:.2f} s of {seconds:.2f}"
                start(copy, "", command, seconds=moment)
            for path, now in snapshot(copy).items():
                if path.startswith(PUBLISHED) and now not in (before.get(path), wanted.get(path)):
                    return case, f"{path} is neither the old nor the new"
            code, said = start(copy, "", command, seconds=None)
            if name == "new" and code == 2 and "is there already" in said and snapshot(copy) == wanted:
                return case, ""  # it was done, and what a person may have written in is not written over
            if code:
                return case, f"the same command then ends with {code}: {said[-2000:]}"
            found = snapshot(copy)
            differ = sorted(path for path in wanted.keys() | found.keys() if wanted.get(path) != found.get(path))
            left = [path.name for path in copy.rglob(".*") if path.suffix in (".partial", ".replaced", ".unfinished")]
            left += [path.name for path in copy.glob("runs/*/.work/*")]
            return case, "; ".join([*(f"{path} differs" for path in differ[:5]), *(f"{path} is left" for path in left)])

    return attempt


@contextmanager
def scratch(folder: Path, base: Path) -> Iterator[Path]:
    """A copy of ``base`` that is removed after the block."""
    copy = Path(tempfile.mkdtemp(prefix="try-", dir=folder))
    shutil.copytree(base, copy, dirs_exist_ok=True, symlinks=True)
    try:
        yield copy
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def snapshot(folder: Path) -> dict[str, str]:
    """A fingerprint of each file below ``folder``, without what differs between two unbroken runs."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_file() or path.name == ".lock" or "/.kept/" in name or "/.work/" in name:
            continue
        if path.suffix == ".partial" or path.name.endswith((".count", ".unfinished")) or ".unfinished/" in name:
            continue
        if path.name in TIMED or path.suffix == ".sums":
            found[name] = "there"
        elif path.name == "record.json":
            record = json.loads(path.read_text(encoding="utf-8"))
            same = {part: record.get(part) for part in ("key", "output") if path.parent.name != "report"}
            found[name] = json.dumps(same, sort_keys=True)
        else:
            found[name] = file_fingerprint(path)
    return found


# --- damaged folders --------------------------------------------------------------------------------------------------


def damage(path: Path, draw: random.Random) -> str:
    """Damage one file; in words, how."""
    whole = path.read_bytes()
    kind = draw.choice(["flip", "flip", "flip", "truncate", "remove", "empty", "swap", "append", "zeros"])
    others = [other for other in path.parent.iterdir() if other.is_file() and other != path and other.name != ".lock"]
    if kind == "swap" and others:
        other = draw.choice(others)
        path.write_bytes(other.read_bytes())
        other.write_bytes(whole)
        return f"swapped with {other.name}"
    if kind == "remove":
        path.unlink()
        return "removed"
    if not whole or kind == "append":
        path.write_bytes(whole + draw.randbytes(draw.randint(1, 40)))
        return "bytes appended"
    changed = bytearray(whole)
    at = draw.randrange(len(whole))
    if kind == "truncate":
        changed = changed[:at]
    elif kind == "empty":
        changed = bytearray()
    elif kind == "zeros":
        changed[at : at + 512] = bytes(len(changed[at : at + 512]))
    else:
        changed[at] ^= 1 << draw.randrange(8)
        kind = f"bit flipped at byte {at} of {len(whole)}"
    path.write_bytes(changed)
    return kind


def readers(folder: Path) -> dict[str, Callable[[], Any]]:
    """The commands that read a finished run in ``folder``; each returns what it answers."""
    run = folder / "runs" / "shop"

    def predicted(model: Path) -> bytes:
        predict.predict_file(model, folder / "test.csv", folder / "out.csv")
        return (folder / "out.csv").read_bytes()

    def form(of: str) -> bytes:
        call = {"of": of, "count": None, "seed": 0, "answers": None, "show": False}
        audit.audit(run, write=folder / "form3.csv", **call)  # type: ignore[arg-type]  # a mapping of several types
        return (folder / "form3.csv").read_bytes()

    def answered() -> str:
        call = {"of": "labels", "count": None, "seed": 0, "write": None, "show": False}
        audit.audit(run, answers=folder / "filled.csv", **call)  # type: ignore[arg-type]
        return (run / "audit" / "audit.json").read_text(encoding="utf-8")

    def measured() -> tuple[int, int]:
        found = latency.measure(run, reviews=None, count=2)
        return found.reviews, found.characters

    def reported() -> str:
        pipeline.rebuild_report(run)
        return "a report"

    return {
        "predict": lambda: predicted(run),
        "predict with the model's folder": lambda: predicted(folder / "model"),
        "evaluate": lambda: evaluate.evaluate_file(run, folder / "by_id.csv", **AUTO),
        "evaluate on texts": lambda: evaluate.evaluate_file(run, folder / "gold.csv", **AUTO),
        "compare": lambda: compare.check_submission(run, None).partition(": ")[2],
        "bench latency": measured,
        "summary": lambda: summary.summary(run).replace(str(folder), ""),
        "audit labels": lambda: form("labels"),
        "audit answers": answered,
        "audit predictions": lambda: form("predictions"),
        "report": reported,
    }


STAGES = ("ingest", "label", "select", "split", "balance", "augment", "train", "evaluate", "predict")


def folders(folder: Path) -> Callable[[random.Random], tuple[str, str]]:
    shop = finished(folder)
    base = folder / "read"
    if not (folder / "read.finished").exists():
        shutil.rmtree(base, ignore_errors=True)
        shutil.copytree(shop, base, ignore=shutil.ignore_patterns("tiny"))
        shutil.copytree(base / "runs" / "shop" / "train" / "model", base / "model")
        with inside(base):
            for command in readers(base).values():
                command()
        (folder / "read.finished").touch()
    with scratch(folder, base) as copy, inside(copy):
        right = {name: outcome(command) for name, command in readers(copy).items()}
    wanted = snapshot(shop)
    if crashed := {name: result for name, (kind, result) in right.items() if kind != "read"}:
        raise RuntimeError(f"the undamaged run is not read: {crashed}")
    files = [path.relative_to(base).as_posix() for path in sorted(base.rglob("*")) if path.is_file()]
    files = [name for name in files if name.startswith(("runs/", "model/")) and not name.endswith(".lock")]

    def attempt(draw: random.Random) -> tuple[str, str]:
        with scratch(folder, base) as copy, inside(copy):
            kind = draw.random()
            if kind < 0.08:
                return unfinished(copy, draw, right["predict"])
            if kind < 0.2:
                return kept(folder, draw)
            name = draw.choice(files)
            case = f"{name}: {damage(copy / name, draw)}"
            faults, gone = [], not (copy / name).exists()  # the first audit makes a new one
            for command, call in readers(copy).items():
                found = outcome(call)
                stage = name.split("/")[2] if name.startswith("runs/") else ""
                if command.startswith("audit") and "/audit/" in name and gone:
                    continue  # without a sample, or answers, an audit begins
                if command == "summary" and gone and name.count("/") == 2:
                    continue  # a file that was copied out of its stage, and is not there to be named
                if found[0] == "crash" or (found[0] == "read" and found != right[command]):
                    faults.append(f"{command}: {str(found[1])[-700:]}")
                if command == "report" and found[0] == "read" and stage in STAGES:
                    faults.append("a report of damaged stages")
            if draw.random() < 0.25:
                faults += run_again(copy, wanted, "/audit/" in name)
            return case, "\n".join(faults)

    return attempt


def unfinished(copy: Path, draw: random.Random, right: Outcome) -> tuple[str, str]:
    """Damage what a predict that was interrupted just before its end left, then give the command again."""
    check = predicting.compare.check

    def interrupt(*_given: Any, **_named: Any) -> None:
        raise KeyboardInterrupt

    predicting.compare.check = interrupt
    try:
        outcome(readers(copy)["predict"])
    finally:
        predicting.compare.check = check
    left = [path for path in (copy / ".out.csv.unfinished").rglob("*") if path.is_file() and path.name != ".lock"]
    path = draw.choice(sorted(left))
    case = f"{path.relative_to(copy)}: {damage(path, draw)}"
    found = outcome(readers(copy)["predict"])
    return case, "" if found == right else f"predict: {str(found[1])[-1500:]}"


KEPT_REVIEWS = 30
KEPT = ['label.use=["lexicon", "nli"]', "name=kept"]


def label(shop: Path) -> str:
    """The fingerprint of the labels of a shop whose labeller keeps shards of its answers."""
    loaded = config.load(shop / "shop.toml", KEPT)
    root = shop / "runs" / "kept"
    with inside(shop):
        return str(pipeline.branch(loaded, root, of=root, first="ingest", last="label").record("label")["output"])  # type: ignore[index]  # it was made


def kept(folder: Path, draw: random.Random) -> tuple[str, str]:
    """Damage a shard of a labeller's answers, then label again."""
    base = folder / "kept"
    if not (folder / "kept.finished").exists():
        shutil.rmtree(base, ignore_errors=True)
        lay_out(base)
        few = (base / "reviews.csv").read_text(encoding="utf-8").splitlines(keepends=True)[: KEPT_REVIEWS + 1]
        (base / "reviews.csv").write_text("".join(few), encoding="utf-8")
        (folder / "kept.finished").write_text(label(base))
    with scratch(folder, base) as copy:
        stage = copy / "runs" / "kept"
        shards = [path for path in (stage / ".kept").rglob("*") if path.is_file()]
        path = draw.choice(sorted(shards))
        case = f"{path.relative_to(copy)}: {damage(path, draw)}"
        shutil.rmtree(stage / "label")
        found = outcome(lambda: label(copy))
        right = found == ("read", (folder / "kept.finished").read_text())
        return case, "" if right else f"label: {str(found[1])[-1500:]}"


def run_again(copy: Path, wanted: Mapping[str, str], answers: bool) -> list[str]:
    """The run ends with the same bytes, whatever was damaged; what people answered (``answers``) no run makes again."""
    kind, result = outcome(lambda: pipeline.run(config.load(copy / "shop.toml", [])))
    if answers and kind != "crash":
        return []
    if kind != "read":
        return [f"run: {str(result)[-1500:]}"]
    found = snapshot(copy)
    return [
        f"run: {name} differs"
        for name, state in wanted.items()
        if name.startswith("runs/") and "/audit/" not in name and found.get(name) != state
    ]


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


# --- malformed files --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Made:
    """A file to read.

    Attributes:
        name: of the file.
        content: its bytes.
        expected: ``read``: it must be read, as ``rows``; ``refuse``; ``either``: as ``rows`` or refused; ``any``.
        rows: (id, text) of each review.
    """

    name: str
    content: bytes
    expected: str
    rows: Sequence[tuple[str, str]]


def table(rows: Sequence[tuple[str, str]], *, delimiter: str = ",", header: Sequence[str] = ("id", "text")) -> str:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter=delimiter)
    writer.writerows([header, *rows])
    return buffer.getvalue()


def lines(rows: Sequence[tuple[str, str]]) -> str:
    return "".join(json.dumps({"id": name, "text": text}, ensure_ascii=False) + "\n" for name, text in rows)


def parquet(rows: Sequence[tuple[str, str]]) -> bytes:
    buffer = io.BytesIO()
    pl.DataFrame(list(rows), schema={"id": pl.String, "text": pl.String}, orient="row").write_parquet(buffer)
    return buffer.getvalue()


def plain(draw: random.Random, rows: Sequence[tuple[str, str]]) -> Made:
    delimiter, ending = draw.choice(",;\t|"), draw.choice(["\r\n", "\n"])
    encoding = draw.choice(["utf-8", "utf-8-sig", "utf-16", "cp1251"])
    text = table(rows, delimiter=delimiter).replace("\r\n", ending)
    return Made("a.csv", text.encode(encoding, "replace"), "read" if encoding != "cp1251" else "either", rows)


def quoted(draw: random.Random, rows: Sequence[tuple[str, str]]) -> Made:
    rows = [(name, draw.choice([f'{text}, «"а"»', f"{text}\nвторая строка", f'"{text}"', text])) for name, text in rows]
    return Made("a.csv", table(rows).encode(), "read", rows)


def open_quote(draw: random.Random, rows: Sequence[tuple[str, str]]) -> Made:
    text = table(rows).splitlines(keepends=True)
    at = draw.randrange(1, len(text))
    name, _, rest = text[at].partition(",")
    text[at] = f'{name},"{rest.lstrip(chr(34))}'
    return Made("a.csv", "".join(text).encode(), "either", [])


def cut_in_a_quote(draw: random.Random, rows: Sequence[tuple[str, str]]) -> Made:
    rows = [*rows, ("z", "начало, " * 9)]
    text = table(rows)
    return Made("a.csv", text[: len(text) - draw.randint(5, 30)].encode(), "refuse", [])


def ragged(draw: random.Random, rows: Sequence[tuple[str, str]]) -> Made:
    text = table(rows).splitlines(keepends=True)
    at = draw.randrange(1, len(text))
    ending = text[at].rstrip("\r\n")
    text[at] = (ending + ",лишнее\r\n") if draw.random() < 0.5 else ending.partition(",")[0] + "\r\n"
    return Made("a.csv", "".join(text).encode(), "refuse", [])


def repeated_id(draw: random.Random, rows: Sequence[tuple[str, str]]) -> Made:
    rows = [*rows, (draw.choice(rows)[0], "ещё один отзыв")]
    return Made(*draw.choice([("a.csv", table(rows).encode()), ("a.jsonl", lines(rows).encode()),
                              ("a.parquet", parquet(rows))]), "refuse", [])  # fmt: skip


def nul(draw: random.Random, rows: Sequence[tuple[str, str]]) -> Made:
    data = bytearray(table(rows).encode())
    at = draw.randrange(12, len(data))
    data[at:at] = b"\0" * draw.randint(1, 3)
    return Made("a.csv", bytes(data), "refuse", [])


def broken_letters(draw: random.Random, rows: Sequence[tuple[str, str]]) -> Made:
    data = bytearray(table([*rows, *((f"x{n}", "Хорошая обувь") for n in range(9))]).encode())
    for _ in range(draw.randint(1, 3)):
        at = draw.randrange(12, len(data))
        data[at:at] = draw.choice([b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\xf8\x88"])
    return Made("a.csv", bytes(data), "refuse", [])


def header_only(draw: random.Random, rows: Sequence[tuple[str, str]]) -> Made:
    return Made(*draw.choice([("a.csv", b"id,text\r\n"), ("a.csv", b""), ("a.csv", b"\xef\xbb\xbf"), ("a.jsonl", b""),
                              ("a.csv", b"\n\n\n"), ("a.parquet", b""), ("a.csv.gz", gzip.compress(b"")),
                              ("a.parquet", parquet([])), ("a.jsonl", b"\n \n"), ("a.csv", b"   \n"),
                              ("a.csv", b"\xff\xfe")]), "refuse", [])  # fmt: skip


def no_table(draw: random.Random, rows: Sequence[tuple[str, str]]) -> Made:
    words = [text for _, text in rows]
    contents = {
        "lfs": "version https://git-lfs.github.com/spec/v1\noid sha256:" + "a" * 64 + "\nsize 12345\n",
        "html": "<!DOCTYPE html>\n<html><body>" + "".join(f"<p>{word}</p>\n" for word in words) + "</body></html>\n",
        "xml": '<?xml version="1.0"?>\n<reviews>' + "".join(f"<r>{word}</r>\n" for word in words) + "</reviews>\n",
        "json": json.dumps([{"text": word} for word in words], ensure_ascii=False, indent=1),
        "pdf": "%PDF-1.7\n" + "\n".join(words),
    }
    name = draw.choice(list(contents))
    return Made(draw.choice(["a.csv", "a.csv", "a.tsv"]), contents[name].encode(), "refuse", [])


def noise(draw: random.Random, rows: Sequence[tuple[str, str]]) -> Made:
    data = draw.randbytes(draw.randint(1, 3000))
    return Made(draw.choice(["a.csv", "a.tsv", "a.jsonl", "a.parquet", "a.csv.gz", "a.csv.xz", "a.csv.zst"]), data,
                "refuse" if len(data) > 40 else "any", [])  # fmt: skip


def json_lines(draw: random.Random, rows: Sequence[tuple[str, str]]) -> Made:
    text = lines(rows).splitlines(keepends=True)
    at = draw.randrange(len(text))
    harm = draw.choice(["cut", "list", "nested", "number", "deep", "two", "comma", "single", "nan"])
    text[at] = {
        "cut": text[at][: len(text[at]) // 2] + "\n",
        "list": '["a", "b"]\n',
        "nested": '{"id": "q", "text": {"a": 1}}\n',
        "number": "17\n",
        "deep": '{"text": ' + "[" * 9000 + "]" * 9000 + "}\n",
        "two": text[at].rstrip() + text[at],
        "comma": text[at].rstrip() + ",\n",
        "single": text[at].replace('"', "'"),
        "nan": '{"id": "q", "text": NaN}\n',
    }[harm]
    return Made("a.jsonl", "".join(text).encode(), "any" if harm == "nan" else "refuse", [])


def json_fine(draw: random.Random, rows: Sequence[tuple[str, str]]) -> Made:
    text = "".join(json.dumps({"text": text, "id": name, "extra": [1]}, ensure_ascii=draw.random() < 0.5) + "\n"
                   for name, text in rows)  # fmt: skip
    return Made("a.jsonl", text.encode(draw.choice(["utf-8", "utf-8-sig"])), "read", rows)


def parquet_damaged(draw: random.Random, rows: Sequence[tuple[str, str]]) -> Made:
    data = bytearray(parquet(rows))
    if draw.random() < 0.4:
        return Made("a.parquet", bytes(data[: draw.randrange(len(data))]), "refuse", [])
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    return Made("a.parquet", bytes(data), "any", [])


def parquet_types(draw: random.Random, rows: Sequence[tuple[str, str]]) -> Made:
    frame = pl.DataFrame({"id": list(range(len(rows))), "text": [text for _, text in rows]})
    ids = [str(number) for number in range(len(rows))]
    kind = draw.choice([pl.Int8, pl.Int64, pl.UInt32, pl.String, pl.Categorical])
    typed = frame.with_columns(pl.col("id").cast(pl.String).cast(kind))
    buffer = io.BytesIO()
    typed.write_parquet(buffer)
    return Made("a.parquet", buffer.getvalue(), "read", list(zip(ids, [text for _, text in rows], strict=True)))


def packed(draw: random.Random, rows: Sequence[tuple[str, str]]) -> Made:
    kind = draw.choice(["gz", "xz"])
    content = table(rows).encode()
    data = gzip.compress(content) if kind == "gz" else lzma.compress(content)
    harm = draw.choice(["none", "cut", "flip", "twice", "plain", "tail"])
    if harm == "cut":
        data = data[: draw.randrange(1, len(data))]
    elif harm == "flip":
        changed = bytearray(data)
        changed[draw.randrange(20, len(data))] ^= 1 << draw.randrange(8)
        data = bytes(changed)
    elif harm == "twice":
        data = gzip.compress(data)
    elif harm == "plain":
        data = content
    elif harm == "tail":
        data += b"tail of something else"
    return Made(f"a.csv.{kind}", data, {"none": "read", "cut": "refuse", "flip": "refuse"}.get(harm, "either"),
                rows)  # fmt: skip


def archive(draw: random.Random, rows: Sequence[tuple[str, str]]) -> Made:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("a.csv", table(rows))
    return Made(draw.choice(["a.zip", "a.xlsx", "a.csv"]), buffer.getvalue(), "refuse", [])


def columns(draw: random.Random, rows: Sequence[tuple[str, str]]) -> Made:
    header = draw.choice([("id", "отзывы_и_пр"), ("id", "id"), ("text", "text"), ("", ""), ("id", "text\u200b")])
    return Made("a.csv", table(rows, header=header).encode(), "either", rows)


FILES = (plain, quoted, open_quote, cut_in_a_quote, ragged, repeated_id, nul, broken_letters, header_only, no_table,
         noise, json_lines, json_fine, parquet_damaged, parquet_types, packed, archive, columns)  # fmt: skip


def settings_file(draw: random.Random, shop: Path, work: Path) -> tuple[str, Callable[[], Any]]:
    """A configuration or categories file with one harm, and what reads it."""
    name = draw.choice(["shop.toml", "categories.toml"])
    text = (shop / name).read_bytes()
    harm = draw.choice(["cut", "flip", "line", "insert", "noise"])
    at = draw.randrange(len(text))
    if harm == "cut":
        text = text[:at]
    elif harm == "flip":
        text = text[:at] + bytes([text[at] ^ 1 << draw.randrange(8)]) + text[at + 1 :]
    elif harm == "line":
        kept = text.splitlines(keepends=True)
        kept.insert(draw.randrange(len(kept)), kept[draw.randrange(len(kept))])
        text = b"".join(kept)
    elif harm == "insert":
        text = text[:at] + draw.choice([b"\0", b"\xff", b'"', b"[[", b"=", b"\n"]) + text[at:]
    else:
        text = draw.randbytes(200)
    for other in ("reviews.csv", "test.csv", "gold.csv", "categories.toml", "shop.toml"):
        shutil.copy(shop / other, work)
    (work / name).write_bytes(text)
    return f"{name}: {harm}", lambda: pipeline.check(config.load(work / "shop.toml", []))


def files(folder: Path) -> Callable[[random.Random], tuple[str, str]]:
    shop = finished(folder)
    model = shop / "runs" / "shop"
    classifier = Classifier.load(model)
    texts = [row["text"] for row in rows()]
    names = classifier.names

    def attempt(draw: random.Random) -> tuple[str, str]:
        work = Path(tempfile.mkdtemp(prefix="try-", dir=folder))
        try:
            if draw.random() < 0.12:
                case, call = settings_file(draw, shop, work)
                kind, result = outcome(call)
                return case, result[-1500:] if kind == "crash" else ""
            some = [(f"n{n}", text) for n, text in enumerate(draw.sample(texts, draw.randint(3, 30)))]
            family = draw.choice(FILES)
            made = family(draw, some)
            (work / made.name).write_bytes(made.content)
            if draw.random() < 0.25:
                case = f"{family.__name__}, as answers ({made.name})"
                kind, result = outcome(partial(evaluate.evaluate_file, model, work / made.name, **AUTO))
                return case, str(result)[-1500:] if kind == "crash" else ""
            (work / "out.csv").write_bytes(b"what was there before")
            kind, result = outcome(partial(predict.predict_file, model, work / made.name, work / "out.csv"))
            written = (work / "out.csv").read_bytes()
            digest = hashlib.blake2b(made.content, digest_size=4).hexdigest()
            case = f"{family.__name__} ({made.name}, {digest}): {kind}"
            left = sorted(path.name for path in work.iterdir() if path.name not in (made.name, "out.csv"))
            if kind == "crash":
                return case, str(result)[-1500:]
            if left != [] and left != [".out.csv.unfinished"]:
                return case, f"left: {left}"
            if kind == "refused":
                if written != b"what was there before":
                    return case, "the output was touched"
                return case, f"refused: {result}" if made.expected == "read" else ""
            if made.expected == "refuse":
                return case, f"read: {written[:200]!r} from {made.content[:200]!r}"
            return case, "" if made.expected == "any" else differs(written, made.rows, classifier, names)
        finally:
            shutil.rmtree(work, ignore_errors=True)

    return attempt


def differs(written: bytes, rows: Sequence[tuple[str, str]], classifier: Classifier, names: Sequence[str]) -> str:
    """Whether predictions are not those of ``rows``, in words; empty where they are."""
    found = list(csv.DictReader(io.StringIO(written.decode(), newline="")))
    if not rows:
        return "" if found and all(row["category"] in names for row in found) else "no rows"
    predicted = classifier.predict([text for _, text in rows])
    if [row["category"] for row in found] != predicted:
        return f"other categories: {len(found)} rows for {len(rows)}"
    if "id" in found[0] and [row["id"] for row in found] != [name for name, _ in rows]:
        return "other ids"
    return ""


# --- models -----------------------------------------------------------------------------------------------------------


def models(folder: Path) -> Callable[[random.Random], tuple[str, str]]:
    import damage_models

    def attempt(draw: random.Random) -> tuple[str, str]:
        number = draw.randrange(10 * len(damage_models.CASES))
        work = Path(tempfile.mkdtemp(prefix="try-", dir=folder))
        try:
            case, wanted = damage_models.damaged(work / "model", number)
            with redirect_stderr(io.StringIO()):
                found = damage_models.outcome(work / "model", number)
            return f"{case} ({number})", "" if found == wanted else f"{found}, not {wanted}"
        except Exception:
            return f"model {number}", traceback.format_exc()[-1500:]
        finally:
            shutil.rmtree(work, ignore_errors=True)

    return attempt


# --- interrupts -------------------------------------------------------------------------------------------------------

IMPORTS = 1500
"""The modules that a command imports, about."""


def interrupts(folder: Path) -> Callable[[random.Random], tuple[str, str]]:
    shop = finished(folder)

    def attempt(draw: random.Random) -> tuple[str, str]:
        name = draw.choice(["run, another seed", "predict", "evaluate", "report", "compare", "bench latency"])
        left, pause = draw.randrange(IMPORTS), draw.choice([0.0, draw.random() * 0.1])
        with scratch(folder, shop) as copy:
            process = subprocess.Popen(
                [sys.executable, "-X", "importtime", "-m", "tsirius", *COMMANDS[name][0]], cwd=copy, text=True,
                stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
            )  # fmt: skip
            assert process.stderr is not None
            for line in process.stderr:  # from here on the command line handles it
                if line.rpartition(" ")[2].strip() == "tsirius.interrupts":
                    break
            for _ in range(left):
                process.stderr.readline()
            time.sleep(pause)
            process.send_signal(signal.SIGINT)
            said = [line for line in process.stderr.read().splitlines() if not line.startswith("import time:")]
            code = process.wait()
        case = f"{name}: {left} imports and {pause:.3f} s after the first"
        if code == 0:  # it was over
            return case, ""
        right = code == 130 and said[-1] == LINE and not any("Traceback" in one or "ignored" in one for one in said)
        return case, "" if right else f"{code}: {said[-9:]}"

    return attempt


FAMILIES: dict[str, Callable[[Path], Callable[[random.Random], tuple[str, str]]]] = {
    "kills": kills,
    "files": files,
    "folders": folders,
    "models": models,
    "interrupts": interrupts,
}

if __name__ == "__main__":
    sys.exit(main())
