"""The sample as a user has it: files in a folder, and the run made of them."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

from filelock import FileLock

import tsirius as package

SAMPLE = Path(package.__file__).parent / "assets" / "sample"

EVERY = 2
"""Every how-many-th review of the sample: enough for the whole road, and more than a labeller gets at a time."""

CONFIG = """
[ingest]
train = "reviews.csv"
test = "test.csv"
categories = "categories.toml"
[evaluate]
gold = "gold.csv"
"""


def tsirius(*arguments: str, cwd: Path, expect: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    done = subprocess.run([sys.executable, "-m", "tsirius", *arguments], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == expect, done.stderr
    return done


def reviews() -> list[dict[str, str]]:
    """The reviews of the run, each with what its author had in mind."""
    with (SAMPLE / "reviews.csv").open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))[::EVERY]


def lay_out(folder: Path) -> None:
    """Write reviews without answers, a test file with ids, answers apart, and the configuration."""
    rows = reviews()
    places = [number * 7 % len(rows) for number in range(len(rows))]
    shutil.copy(SAMPLE / "categories.toml", folder)
    (folder / "shop.toml").write_text(CONFIG, encoding="utf-8")
    files = {
        "reviews.csv": [{"text": row["text"]} for row in rows],
        "test.csv": [{"id": f"r{place}", "text": rows[place]["text"]} for place in places],
        "gold.csv": rows,
    }
    for name, lines in files.items():
        with (folder / name).open("w", encoding="utf-8", newline="") as handle:
            writer = csv.DictWriter(handle, lines[0].keys())
            writer.writeheader()
            writer.writerows(lines)


def finished(base: Path) -> Path:
    """The folder of a finished run, made once for all the processes that test; copy it before you change it.

    Args:
        base: the folder of the process' temporary files; with several processes, a folder in the one that they share.
    """
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, mark = root / "shop", root / "shop.finished"
    with FileLock(root / "shop.lock"):
        if not mark.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            lay_out(folder)
            done = tsirius("run", "shop.toml", cwd=folder)
            assert "against gold" in done.stdout and "runs/shop/submission.csv" in done.stdout
            mark.touch()
    return folder
