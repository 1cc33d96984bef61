"""How often the exam's interval holds what all answers would score.

    python benchmarks/exam.py --set RUN GOLD.csv [--set ...] [--draws 40] [--count 150]

RUN is a finished run whose reviews include those of GOLD (id, category). These count as all there are: their labels
score what they score. ``--draws`` exams of ``--count`` of them are drawn as ``tsirius desk`` and ``tsirius audit`` do,
by label and confidence, each by another seed, and estimated with their weights as there; an interval of 95 % should
hold the truth in 38 of 40. For comparison the percentiles of the same bootstrap. Without correction for the share of
all reviews that an exam asks: it makes the intervals a little too wide here.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tsirius import metrics
from tsirius.categories import Categories
from tsirius.commands.answers.desk import ROUNDS
from tsirius.commands.audit import survey
from tsirius.io.ids import read_unique
from tsirius.io.source import open_source
from tsirius.publish import write_text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", nargs=2, action="append", required=True, metavar=("RUN", "GOLD"), type=Path)
    parser.add_argument("--draws", type=int, default=40)
    parser.add_argument("--count", type=int, default=150)
    parser.add_argument("--cells", type=Path, default=Path("runs/exam"), help="draws that are done are kept there")
    options = parser.parse_args()
    print("| | reviews | weighted F1 | held by the interval | mean width | held by percentiles | mean width |")
    print("|---|---|---|---|---|---|---|")
    for run, gold in options.set:
        print(line(run, gold, draws=options.draws, count=options.count, cells=options.cells), flush=True)


def line(run: Path, gold: Path, *, draws: int, count: int, cells: Path) -> str:
    """The row of one set; each draw is kept in ``cells``, and not made again while the labels are the same."""
    source = open_source(gold, text_column="auto", id_column="auto", encoding="auto", text_required=False)
    truth = pl.concat(read_unique(source, rows=20_000)).select("id", "category")
    labels = pl.read_parquet(run / "label" / "labels.parquet", columns=["id", "label", "confidence"])
    known = labels.join(truth, on="id", maintain_order="left")
    names = list(Categories.from_json((run / "ingest" / "categories.json").read_text(encoding="utf-8")).names)
    given = known["label"].fill_null("")
    wanted = metrics.confusion_matrix(known["category"].to_list(), given.to_list(), names=[*names, ""])
    real = float(metrics.weighted_f1(wanted))
    held, widths = np.zeros(2, dtype=int), list[list[float]]()
    for seed in range(draws):
        each = drawn(cells, run, count, seed, partial(intervals, known, names, count=count, seed=seed))
        held += [low <= real <= high for low, high in each]
        widths.append([high - low for low, high in each])
    mean = np.mean(widths, axis=0)
    row = [run.name, f"{known.height:,}", f"{real:.3f}"]
    for number in range(2):
        row += [f"{held[number]} of {draws}", f"{mean[number]:.3f}"]
    return f"| {' | '.join(row)} |"


def drawn(cells: Path, run: Path, count: int, seed: int, make: Callable[[], Any]) -> list[list[float]]:
    """The intervals of one exam: kept ones, else made and kept."""
    record = json.loads((run / "label" / "record.json").read_text(encoding="utf-8"))
    path = cells / f"{run.name}-{record['output'][:8]}-{count}-{seed}.json"
    if not path.is_file():
        made = [[float(end) for end in one] for one in make()]
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(made))
        print(f"{run.name}: draw {seed + 1}", file=sys.stderr, flush=True)
    found: list[list[float]] = json.loads(path.read_text(encoding="utf-8"))
    return found


def intervals(known: pl.DataFrame, names: list[str], *, count: int, seed: int) -> list[tuple[float, float]]:
    """The interval of one exam, and the percentiles of its bootstrap."""
    drawn = survey.draw(known["id"], known["label"], known["confidence"], count=count, seed=seed)
    rows = drawn.join(known, on="id", maintain_order="left")
    truth, strata = rows["category"].to_list(), rows["stratum"].to_list()
    weighted = survey.weights(strata, rows["size"].to_list())
    found = survey.expected_f1(truth, rows["label"].to_list(), strata, weighted, names=names, rounds=ROUNDS, seed=0)
    return [(found.low, found.high), percentiles(rows, names, strata, weighted)]


def percentiles(rows: pl.DataFrame, names: list[str], strata: list[str], weighted: Any) -> tuple[float, float]:
    index = {name: number for number, name in enumerate([*names, ""])}
    answers = np.array([index[name] for name in rows["category"]])
    labels = np.array([index[name] for name in rows["label"].fill_null("")])
    cells = answers * len(index) + labels
    used = np.unique(cells)
    spread = survey.replicates(strata, weighted, rounds=ROUNDS, seed=0)
    counts = np.rint(np.stack([spread[:, cells == cell].sum(axis=1) for cell in used], axis=1) * 1000).astype(np.int64)
    drawn = metrics.weighted_f1_of_cells(counts, used // len(index), used % len(index), size=len(index))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


if __name__ == "__main__":
    main()
