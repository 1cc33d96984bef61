"""How fast, and in how much memory, does ingest take in a large file?

    python benchmarks/ingest.py [ROWS]

Writes ROWS (a million) reviews made from the sample: two of its texts joined, with words dropped and exchanged, one in
ten an exact and one in ten a near copy of an earlier row. Then ingests them in a process of its own, with one thread,
and prints seconds, rows a second and peak resident memory.
"""

from __future__ import annotations

import csv
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SAMPLE = Path(__file__).parent.parent / "src" / "tsirius" / "assets" / "sample"


def make(path: Path, rows: int) -> None:
    choose = random.Random(0)
    with (SAMPLE / "reviews.csv").open(encoding="utf-8", newline="") as sample:
        texts = [row["text"] for row in csv.DictReader(sample)]
    vocabulary = sorted({word for text in texts for word in text.split()})
    earlier: list[str] = []
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text"])
        for row in range(rows):
            kind = choose.random() if earlier else 1.0
            if kind < 0.1:
                text = choose.choice(earlier)
            elif kind < 0.2:
                text = choose.choice(earlier) + " " + choose.choice(vocabulary)
            else:
                words = f"{choose.choice(texts)} {choose.choice(texts)}".split()
                text = " ".join(noisy(words, vocabulary, choose))
                if len(earlier) < 100_000:
                    earlier.append(text)
            writer.writerow([row, text])


def noisy(words: list[str], vocabulary: list[str], choose: random.Random) -> list[str]:
    tokens: list[str] = []
    for word in words:
        change = choose.random()
        if change < 0.1:
            continue
        tokens.append(choose.choice(vocabulary) if change < 0.35 else word)
    return tokens


def ingest(path: Path, folder: Path) -> None:
    from tsirius.stages import ingest

    start = time.perf_counter()
    (folder / "scratch").mkdir()
    config = ingest.Config(train=path, categories=SAMPLE / "categories.toml")
    counts = ingest.run(config, {}, folder, seed=0, scratch=folder / "scratch")
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)
    print(json.dumps({key: value for key, value in counts.items() if key != "columns"}))
    print(f"{counts['rows']:,} rows: {seconds:.1f} s, {counts['rows'] / seconds:,.0f} rows/s, peak {peak:.2f} GiB")


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "reviews.csv"
        make(path, rows)
        print(f"{path.stat().st_size / (1 << 20):,.0f} MiB of CSV")
        one_thread = {"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
        command = [sys.executable, __file__, str(path), name]
        subprocess.run(command, check=True, env={**os.environ, **one_thread})


if __name__ == "__main__":
    if len(sys.argv) == 3:
        ingest(Path(sys.argv[1]), Path(sys.argv[2]))
    else:
        main()
