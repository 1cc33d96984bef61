"""How fast, and in how much memory, does a long file go through a model? And is it the same after a kill?

    python benchmarks/long_file.py RUN_OR_MODEL REVIEWS.csv [--rows 1000000] [--kill-after 600] [--threads 2]

Writes ROWS reviews: those of REVIEWS.csv over and over, each with two letters put in somewhere, so that few are equal.
Has ``tsirius predict`` classify them, kills it with SIGKILL after so many seconds, and gives the same command again.
Prints the resident memory as it goes, rows a second and the peaks. Then the rows of the first windows are classified
alone, with nothing killed, and the bytes compared.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import signal
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

import psutil

LETTERS = "абвгдежзиклмнопрстуфхцчшэюя"
CHECKED = 100_000
"""Rows that are classified a second time, without a kill."""
SHOWN_SECONDS = 60
MIB = 2**20


def noisy(text: str, choose: random.Random) -> str:
    """The text with two letters put in."""
    for _ in range(2):
        position = choose.randrange(len(text) + 1)
        text = text[:position] + choose.choice(LETTERS) + text[position:]
    return text


def write(path: Path, texts: list[str], rows: int) -> None:
    """A file of so many reviews."""
    choose = random.Random(0)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text"])
        writer.writerows([row, noisy(text, choose)] for row, text in enumerate(islice(cycle(texts), rows)))


def predict(model: Path, reviews: Path, output: Path, *, kill_after: float | None = None) -> tuple[float, int]:
    """Seconds that ``tsirius predict`` took, or was let live, and its peak resident memory in bytes."""
    started, shown, peak = time.monotonic(), 0.0, 0
    process = psutil.Popen([sys.executable, "-m", "tsirius", "predict", str(model), str(reviews), "-o", str(output)])
    while process.poll() is None:
        seconds = time.monotonic() - started
        now = process.memory_info().rss
        peak = max(peak, now)
        if seconds - shown >= SHOWN_SECONDS:
            print(f"{seconds:5.0f} s: {now / MIB:,.0f} MiB resident", flush=True)
            shown = seconds
        if kill_after is not None and seconds > kill_after:
            process.kill()
        time.sleep(0.2)
    if process.wait() not in (0, -signal.SIGKILL if kill_after is not None else 0):
        sys.exit("predict failed")
    return time.monotonic() - started, peak


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("reviews", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--kill-after", type=float, default=600.0, help="seconds")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(given.threads)
    with given.reviews.open(encoding="utf-8", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "all.csv", texts, given.rows)
        write(folder / "first.csv", texts, min(CHECKED, given.rows))
        print(f"{given.rows:,} reviews, {(folder / 'all.csv').stat().st_size / MIB:,.0f} MiB, {given.threads} threads")
        runs = [predict(given.model, folder / "all.csv", folder / "all.out.csv", kill_after=given.kill_after)]
        print(f"over after {runs[0][0]:,.0f} s, by SIGKILL or done; the same command again", flush=True)
        runs.append(predict(given.model, folder / "all.csv", folder / "all.out.csv"))
        seconds = sum(one for one, _ in runs)
        print(f"{given.rows:,} reviews in {seconds:,.0f} s, the kill and all: {given.rows / seconds:,.0f} reviews/s, "
              f"peak {max(peak for _, peak in runs) / MIB:,.0f} MiB")  # fmt: skip
        predict(given.model, folder / "first.csv", folder / "first.out.csv")
        first = (folder / "first.out.csv").read_bytes()
        with (folder / "all.out.csv").open("rb") as file:
            same = file.read(len(first)) == first
            lines = sum(1 for _ in file) + first.count(b"\n")
        print(f"{lines - 1:,} rows written; the first {min(CHECKED, given.rows):,} {'are' if same else 'ARE NOT'} "
              "the same bytes as without a kill")  # fmt: skip


if __name__ == "__main__":
    main()
