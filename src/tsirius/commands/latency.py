"""Latency: how long a model takes for a review on this machine, alone and in a batch, and its memory."""

from __future__ import annotations

import json
import os
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import psutil

from tsirius import tables
from tsirius.errors import UserError
from tsirius.io.source import open_source, read_batches
from tsirius.models import onnx
from tsirius.models.classifier import Classifier, describe, find
from tsirius.progress import progress
from tsirius.publish import write_text
from tsirius.store import verify, versions

SAMPLE = Path(__file__).parents[1] / "assets" / "sample" / "reviews.csv"
WARM_UP = 10
"""Reviews before the measurement: the first ones load what later ones need."""
BATCHED = 2000
"""Reviews classified in one call at most."""


@dataclass(frozen=True)
class Latency:
    """What was measured.

    Attributes:
        model: the folder.
        kind: of the model.
        machine: name of the processor.
        threads: threads of the model.
        reviews: classified one by one.
        characters: of the longest one.
        p50, p95, p99, largest: latency of one review at a time, in milliseconds: percentiles and maximum.
        processor_p50, processor_p99: the same in CPU time, summed over the threads; where it is far below the latency,
            the machine was busy with something else.
        batched: reviews classified in one call.
        per_second: throughput of these, in reviews.
        peak_mib: peak resident memory of the process.
        load_seconds: time to load the model.
    """

    model: str
    kind: str
    machine: str
    threads: int
    reviews: int
    characters: int
    p50: float
    p95: float
    p99: float
    largest: float
    processor_p50: float
    processor_p99: float
    batched: int
    per_second: float
    peak_mib: float
    load_seconds: float

    def table(self) -> str:
        """The figures as lines of text."""
        rows = [
            ("model", f"{self.model} ({self.kind})"),
            ("machine", f"{self.machine}, {self.threads} threads"),
            ("one by one", f"{self.reviews:,} reviews, the longest of {self.characters:,} characters"),
            ("  p50", f"{self.p50:,.1f} ms"),
            ("  p95", f"{self.p95:,.1f} ms"),
            ("  p99", f"{self.p99:,.1f} ms"),
            ("  largest", f"{self.largest:,.1f} ms"),
            (
                "  processor",
                f"p50 {self.processor_p50:,.1f} ms, p99 {self.processor_p99:,.1f} ms, summed over threads",
            ),
            ("batched", f"{self.batched:,} reviews, {self.per_second:,.0f}/s"),
            ("loading", f"{self.load_seconds:.1f} s"),
            ("peak memory", f"{self.peak_mib:,.0f} MiB"),
        ]
        return "\n".join(f"{name:<11}  {value}" for name, value in rows)

    def save(self, path: Path, *, budget: float) -> None:
        """Write the figures as JSON, with the budget in seconds and whether it was kept."""
        figures = {**asdict(self), "budget_seconds": budget, "within_budget": self.p99 <= 1000 * budget}
        write_text(path, json.dumps({**figures, "versions": versions()}, ensure_ascii=False, indent=1))

    def check(self, budget: float) -> None:
        """Make sure that 99 of 100 reviews took at most ``budget`` seconds.

        Raises:
            UserError: they did not.
        """
        if self.p99 > 1000 * budget:
            raise UserError(f"99 of 100 reviews take up to {self.p99:,.1f} ms, the budget is {1000 * budget:,.1f} ms",
                            where=self.model, remedy="Export to onnx-int8, or use a smaller model.")  # fmt: skip


def measure(model: Path, *, reviews: Path | None, count: int) -> Latency:
    """Measure a run's or a folder's model on ``count`` reviews, drawn evenly over those at hand.

    Raises:
        UserError: the model or the reviews cannot be read.
    """
    texts = _texts(model, reviews)
    start = time.perf_counter()
    classifier = Classifier.load(model)
    loaded = time.perf_counter() - start
    alone = _evenly(texts, count)
    seconds, processor = [], []
    with progress("one by one", total=WARM_UP + len(alone)) as advance:
        for text in _evenly(texts, WARM_UP):
            classifier.predict_proba([text])
            advance()
        for text in alone:
            start, busy = time.perf_counter(), time.process_time()
            classifier.predict_proba([text])
            seconds.append(time.perf_counter() - start)
            processor.append(time.process_time() - busy)
            advance()
    batched = _evenly(texts, BATCHED)
    with progress("in batches", total=len(batched)) as advance:
        start = time.perf_counter()
        classifier.predict_proba(batched, advance=advance)
        elapsed = time.perf_counter() - start
    p50, p95, p99 = np.percentile(np.array(seconds) * 1000, [50, 95, 99], method="higher")
    busy50, busy99 = np.percentile(np.array(processor) * 1000, [50, 99], method="higher")
    return Latency(
        model=str(model),
        kind=describe(find(model)).kind,
        machine=_machine(),
        threads=_threads(),
        reviews=len(alone),
        characters=max(map(len, alone)),
        p50=round(float(p50), 3),
        p95=round(float(p95), 3),
        p99=round(float(p99), 3),
        largest=round(max(seconds) * 1000, 3),
        processor_p50=round(float(busy50), 3),
        processor_p99=round(float(busy99), 3),
        batched=len(batched),
        per_second=round(len(batched) / elapsed, 1),
        peak_mib=round(_peak(), 1),
        load_seconds=round(loaded, 3),
    )


def _texts(model: Path, reviews: Path | None) -> list[str]:
    """Reviews from a file, else those of the run, else the sample; empty ones are left out, as they take no time."""
    own = model / "ingest" / "reviews.parquet"
    if reviews is None and own.is_file():
        verify(own)
        texts = tables.scan(own).select("text").collect()["text"].to_list()
    else:
        source = open_source(
            SAMPLE if reviews is None else reviews,
            text_column="auto", id_column="none", encoding="auto", text_required=True,
        )  # fmt: skip
        texts = [text for batch in read_batches(source, rows=20_000) for text in batch["text"]]
    texts = [text for text in texts if text.strip()]
    if not texts:
        raise UserError("has no reviews to measure with", where=reviews or model, remedy="Name a file with --reviews.")
    return texts


def _evenly(texts: list[str], count: int) -> list[str]:
    return [texts[row] for row in np.linspace(0, len(texts) - 1, min(count, len(texts))).astype(int)]


def _machine() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return name or platform.processor() or platform.machine()


def _threads() -> int:
    """As torch and onnxruntime are told: by OMP_NUM_THREADS, else one for each processor at hand."""
    return onnx.threads()


def _peak() -> float:
    """MiB."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return float(psutil.Process(os.getpid()).memory_info().rss) / 2**20
