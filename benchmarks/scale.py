"""Many reviews in parts: how fast, in how much memory, and what is left of a run whose workers are killed?

    python benchmarks/scale.py make REVIEWS.csv FOLDER [--rows 10000000] [--parts 40]
    python benchmarks/scale.py predict MODEL FOLDER OUT [--processes 2] [--engine here|ray] [--nodes 0] [--kills 0]
    python benchmarks/scale.py same OUT OTHER_OUT
    python benchmarks/scale.py overhead RUN_OR_MODEL FOLDER SCRATCH [--processes 2]
    python benchmarks/scale.py ingest CATEGORIES FOLDER SCRATCH

``make`` writes ROWS reviews as Parquet: those of REVIEWS.csv over and over, each with two letters put in somewhere;
parts that are there already are left, so that the same command resumes. ``predict`` has them predicted by so many
processes, each with its share (``--part i/n``), or by Ray with so many workers; KILLS times one of these, drawn
at random, is killed with SIGKILL and the command is given again. With NODES, Ray is a cluster of so many raylets of one
worker each (``ray.cluster_utils``), and a raylet may be killed too: its node is lost with its worker, and another one
joins. The last step checks all parts together. The same command resumes.
``same`` compares two folders of outputs byte by byte. ``overhead`` predicts the same parts by so many plain processes
and by Ray with so many workers, and prints how much of the plain rate is left and the peak of each. ``ingest`` has
the stage ingest read the reviews in one process, with one thread; its temporary files are in SCRATCH.
Prints reviews a second, with an interval over stretches of the time, and the peak resident memory of one process.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from itertools import cycle, islice, pairwise
from pathlib import Path

import polars as pl
import psutil
from long_file import noisy

from tsirius.scale.cost import interval

MIB = 2**20
LOOK_SECONDS = 0.5
STRETCHES = 8


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


class Nodes:
    """A cluster of this machine: a head without workers, and nodes of one core each."""

    def __init__(self, count: int) -> None:
        from ray.cluster_utils import Cluster

        self._cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        self._nodes = [self._cluster.add_node(num_cpus=1) for _ in range(count)]
        os.environ["RAY_ADDRESS"] = self._cluster.address

    def raylets(self) -> list[psutil.Process]:
        """Those of the nodes that run."""
        return [psutil.Process(node.all_processes["raylet"][0].process.pid) for node in self._nodes]

    def workers(self) -> list[psutil.Process]:
        """The processes that have a model, or load it."""
        children = [child for raylet in self.raylets() for child in raylet.children(recursive=True)]
        return [child for child in children if child.cmdline()[:1] and child.cmdline()[0].startswith("ray::Worker")]

    def lose(self, raylet: psutil.Process) -> None:
        """Kill a raylet; its node is replaced."""
        for number, node in enumerate(self._nodes):
            if node.all_processes["raylet"][0].process.pid == raylet.pid:
                raylet.kill()
                self._cluster.remove_node(node, allow_graceful=False)
                self._nodes[number] = self._cluster.add_node(num_cpus=1)

    def close(self) -> None:
        """Stop the nodes."""
        self._cluster.shutdown()


def commands(given: argparse.Namespace) -> list[list[str]]:
    """Those that are run side by side."""
    one = [sys.executable, "-m", "tsirius", "predict", str(given.model), str(given.folder), "-o", str(given.out)]
    if given.engine == "ray":
        return [[*one, "--engine", "ray", "--workers", str(given.processes)]]
    return [[*one, "--part", f"{number}/{given.processes}"] for number in range(1, given.processes + 1)]


def victims(process: psutil.Popen, nodes: Nodes | None) -> list[psutil.Process]:
    """The processes that may be killed: the driver, the workers, a raylet."""
    if nodes is not None:
        return [process, *nodes.raylets(), *nodes.workers()]
    return [process, *process.children(recursive=True)]


def strike(choose: random.Random, process: psutil.Popen, nodes: Nodes | None) -> bool:
    """Kill one of the victims; says whether it was still there."""
    killed = choose.choice(victims(process, nodes))
    with suppress(psutil.NoSuchProcess):
        name = killed.name()
        if nodes is not None and name == "raylet":
            nodes.lose(killed)
        else:
            killed.kill()
        print(f"kill {killed.pid} {name}", flush=True)
        return True
    return False


def run(given: argparse.Namespace) -> tuple[int, int]:
    """Run the commands, killing as asked, until all have ended well; returns the peak memory of a process, in bytes,
    and how many were killed."""
    choose, kills, peak = random.Random(given.seed), given.kills, 0
    nodes = Nodes(given.nodes) if given.nodes else None
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
            with suppress(psutil.NoSuchProcess):
                for one in victims(process, nodes):
                    if "raylet" not in one.name() and "gcs_server" not in one.name():
                        peak = max(peak, one.memory_info().rss)
        if running and kills and time.monotonic() - last > given.every:
            last = time.monotonic()
            with suppress(psutil.NoSuchProcess):
                kills -= strike(choose, choose.choice(running)[1], nodes)
    if nodes is not None:
        nodes.close()
    return peak, given.kills - kills


def predict(given: argparse.Namespace) -> None:
    """Predict, check, and print the figures."""
    before, start = {path: path.stat().st_mtime for path in given.out.rglob("*.parquet")}, time.time()
    peak, killed = run(given)
    seconds = time.time() - start
    last = [sys.executable, "-m", "tsirius", "predict", str(given.model), str(given.folder), "-o", str(given.out)]
    finished = time.monotonic()
    subprocess.run(last, check=True)
    manifest = json.loads((given.out / "_manifest.json").read_text(encoding="utf-8"))
    made = {given.out / entry["output"]: entry["rows"] for entry in manifest["parts"]}
    new = {path: rows for path, rows in made.items() if path not in before}
    ends = sorted((path.stat().st_mtime, rows) for path, rows in new.items())
    # Of eight stretches of the time: parts that end together say nothing of how long one takes.
    marks = [ends[round(number * (len(ends) - 1) / STRETCHES)][0] for number in range(STRETCHES + 1)] if ends else []
    each = [
        sum(rows for at, rows in ends if begin < at <= end) / (end - begin)
        for begin, end in pairwise(marks)
        if end > begin
    ]
    if len(each) > 1:
        rate = interval(each)
        print(f"over {len(each)} stretches {rate.mean:,.0f} reviews/s ({rate.low:,.0f} to {rate.high:,.0f})")
    rows = sum(new.values())
    print(
        f"{rows:,} new of {manifest['rows']:,} reviews in {seconds:,.0f} s: {rows / seconds:,.0f}/s"
        f" with {given.processes} of {given.engine}, the start of each process included"
    )
    print(f"last check {time.monotonic() - finished:,.0f} s; peak of one process {peak / MIB:,.0f} MiB")
    print(f"_SUCCESS: {(given.out / '_SUCCESS').exists()}; {killed} kills")


def same(one: Path, other: Path) -> None:
    """Compare the outputs in two folders."""
    names = [{path.relative_to(folder) for path in folder.rglob("*.parquet")} for folder in (one, other)]
    equal = sum((one / name).read_bytes() == (other / name).read_bytes() for name in names[0] & names[1])
    print(
        f"{len(names[0])} and {len(names[1])} parts, {equal} of {len(names[0] & names[1])} in both are the same bytes"
    )


def overhead(given: argparse.Namespace) -> None:
    """Predict the same parts without an engine and with Ray, and print both."""
    figures = {}
    for engine in ("here", "ray"):
        given.engine, given.out, start = engine, given.scratch / engine, time.time()
        given.out.mkdir(parents=True)
        peak, _ = run(given)
        ends = sorted(path.stat().st_mtime for path in given.out.rglob("*.parquet"))
        # From the first part on: the start of a process and of its model is the same work for both.
        figures[engine] = peak, (len(ends) - 1) / (ends[-1] - ends[0]), time.time() - start
        print(f"{engine}: peak of one process {peak / MIB:,.0f} MiB, {figures[engine][2]:,.0f} s", flush=True)
    rate, memory = figures["ray"][1] / figures["here"][1], figures["ray"][0] / figures["here"][0]
    print(f"ray: {rate:.3f} of the plain rate from the first part on, {figures['here'][2] / figures['ray'][2]:.3f} from"
          f" the start on; {memory:.3f} of the plain peak")  # fmt: skip


def ingest(given: argparse.Namespace) -> None:
    """Ingest the reviews, and print the rate and the peak."""
    from tsirius.stages import ingest as stage

    tempfile.tempdir = str(given.scratch)
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "scratch").mkdir()
        config = stage.Config(train=given.folder, categories=given.categories)
        start = time.perf_counter()
        counts = stage.run(config, {}, Path(name), seed=0, scratch=Path(name) / "scratch")
        seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # of Linux
    print({key: value for key, value in counts.items() if key != "columns"})
    print(
        f"{counts['rows']:,} reviews in {seconds:,.0f} s: {counts['rows'] / seconds:,.0f}/s, peak {peak / MIB:,.0f} MiB"
    )


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
    predicting.add_argument("--nodes", type=int, default=0, help="raylets of a cluster that is started for ray")
    predicting.add_argument("--kills", type=int, default=0)
    predicting.add_argument("--every", type=float, default=20.0, help="seconds between two kills")
    predicting.add_argument("--seed", type=int, default=0)
    comparing = verbs.add_parser("same")
    comparing.add_argument("out", type=Path)
    comparing.add_argument("other", type=Path)
    measuring = verbs.add_parser("overhead")
    measuring.add_argument("model", type=Path)
    measuring.add_argument("folder", type=Path)
    measuring.add_argument("scratch", type=Path)
    measuring.add_argument("--processes", type=int, default=2)
    ingesting = verbs.add_parser("ingest")
    ingesting.add_argument("categories", type=Path)
    ingesting.add_argument("folder", type=Path)
    ingesting.add_argument("scratch", type=Path)
    measuring.set_defaults(nodes=0, kills=0, every=0.0, seed=0)
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if given.verb == "make":
        make(given.reviews, given.folder, rows=given.rows, parts=given.parts)
    elif given.verb == "same":
        same(given.out, given.other)
    elif given.verb == "overhead":
        overhead(given)
    elif given.verb == "ingest":
        given.scratch.mkdir(parents=True, exist_ok=True)
        ingest(given)
    else:
        given.out.mkdir(parents=True, exist_ok=True)
        predict(given)


if __name__ == "__main__":
    main()
