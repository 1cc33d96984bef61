"""Many reviews in parts: how fast, in how much memory, and what is left of a run whose workers are killed?

    python benchmarks/scale.py make REVIEWS.csv FOLDER [--rows 10000000] [--parts 40]
    python benchmarks/scale.py predict RUN_OR_MODEL FOLDER OUT [--processes 2] [--engine here|ray] [--kills 0]

``make`` writes ROWS reviews as Parquet: those of REVIEWS.csv over and over, each with two letters put in somewhere;
parts that are there already are left, so that the same command resumes. ``predict`` has them predicted by so many
processes, each with its share (``--part i/n``), or by Ray with so many workers; KILLS times one of these, drawn
at random, is killed with SIGKILL and the command is given again. The last step checks all parts together. The same
command resumes.
Prints reviews a second, with an interval over parts, and the peak of the resident memory of one process.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import subprocess
import sys
import time
from itertools import cycle, islice
from pathlib import Path

import polars as pl
import psutil
from long_file import noisy

from tsirius.scale.cost import interval

MIB = 2**20
LOOK_SECONDS = 0.5


def make(reviews: Path, folder: Path, *, rows: int, parts: int) -> None:
    """Write the parts, in two partitions."""
    with reviews.open(encoding="utf-8", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    for number in range(parts):
        path = folder / f"half={number % 2}" / f"part-{number:05}.parquet"
        first, end = rows * number // parts, rows * (number + 1) // parts
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        choose = random.Random(number)
        some = [
            noisy(text, choose) for text in islice(cycle(texts), first % len(texts), first % len(texts) + end - first)
        ]
        table = pl.DataFrame({"id": [f"r{row}" for row in range(first, end)], "text": some})
        table.write_parquet(path.with_suffix(".new"), row_group_size=50_000)
        path.with_suffix(".new").rename(path)
        print(f"{path}: {end - first:,} reviews", flush=True)


def commands(given: argparse.Namespace) -> list[list[str]]:
    """Those that are run side by side."""
    one = [sys.executable, "-m", "tsirius", "predict", str(given.model), str(given.folder), "-o", str(given.out)]
    if given.engine == "ray":
        return [[*one, "--engine", "ray", "--workers", str(given.processes)]]
    return [[*one, "--part", f"{number}/{given.processes}"] for number in range(1, given.processes + 1)]


def victims(process: psutil.Popen) -> list[psutil.Process]:
    """The processes that may be killed: the driver, and what it started: workers, a raylet."""
    return [process, *process.children(recursive=True)]


def run(given: argparse.Namespace) -> int:
    """Run the commands, killing as asked, until all have ended well; returns the peak memory of a process, in bytes."""
    choose, kills, peak = random.Random(given.seed), given.kills, 0
    last = time.monotonic()
    running = [(line, psutil.Popen(line)) for line in commands(given)]
    while running:
        time.sleep(LOOK_SECONDS)
        for line, process in list(running):
            code = process.poll()
            if code is not None:
                running.remove((line, process))
                if code == -9 or (given.engine == "ray" and code and given.kills):
                    running.append((line, psutil.Popen(line)))  # as the user would, or Slurm
                elif code:
                    sys.exit(f"ended with {code}: {' '.join(line)}")
                continue
            for one in victims(process):
                try:
                    if "raylet" not in one.name() and "gcs_server" not in one.name():
                        peak = max(peak, one.memory_info().rss)
                except psutil.NoSuchProcess:
                    continue
        if running and kills and time.monotonic() - last > given.every:
            last, kills = time.monotonic(), kills - 1
            killed = choose.choice(victims(choose.choice(running)[1]))
            try:
                print(f"kill {killed.pid} {killed.name()}", flush=True)
                killed.kill()
            except psutil.NoSuchProcess:
                continue
    return peak


def predict(given: argparse.Namespace) -> None:
    """Predict, check, and print the figures."""
    before, start = {path: path.stat().st_mtime for path in given.out.rglob("*.parquet")}, time.time()
    peak = run(given)
    seconds = time.time() - start
    last = [sys.executable, "-m", "tsirius", "predict", str(given.model), str(given.folder), "-o", str(given.out)]
    finished = time.monotonic()
    subprocess.run(last, check=True)
    manifest = json.loads((given.out / "_manifest.json").read_text(encoding="utf-8"))
    made = {given.out / entry["output"]: entry["rows"] for entry in manifest["parts"]}
    new = {path: rows for path, rows in made.items() if path not in before}
    ends = sorted(path.stat().st_mtime for path in new)
    each = [
        rows / (end - begin)
        for rows, begin, end in zip(list(new.values())[1:], ends, ends[1:], strict=False)
        if end > begin
    ]
    if len(each) > 1:
        rate = interval(each)
        print(f"between two parts {rate.mean:,.0f} reviews/s ({rate.low:,.0f} to {rate.high:,.0f})")
    rows = sum(new.values())
    print(
        f"{rows:,} new of {manifest['rows']:,} reviews in {seconds:,.0f} s: {rows / seconds:,.0f}/s"
        f" with {given.processes} of {given.engine}, the start of each process included"
    )
    print(f"last check {time.monotonic() - finished:,.0f} s; peak of one process {peak / MIB:,.0f} MiB")
    print(f"_SUCCESS: {(given.out / '_SUCCESS').exists()}; {given.kills} kills")


def main() -> None:
    parser = argparse.ArgumentParser()
    verbs = parser.add_subparsers(dest="verb", required=True)
    making = verbs.add_parser("make")
    making.add_argument("reviews", type=Path)
    making.add_argument("folder", type=Path)
    making.add_argument("--rows", type=int, default=10_000_000)
    making.add_argument("--parts", type=int, default=40)
    predicting = verbs.add_parser("predict")
    predicting.add_argument("model", type=Path)
    predicting.add_argument("folder", type=Path)
    predicting.add_argument("out", type=Path)
    predicting.add_argument("--processes", type=int, default=2)
    predicting.add_argument("--engine", choices=["here", "ray"], default="here")
    predicting.add_argument("--kills", type=int, default=0)
    predicting.add_argument("--every", type=float, default=20.0, help="seconds between two kills")
    predicting.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if given.verb == "make":
        make(given.reviews, given.folder, rows=given.rows, parts=given.parts)
    else:
        given.out.mkdir(parents=True, exist_ok=True)
        predict(given)


if __name__ == "__main__":
    main()
