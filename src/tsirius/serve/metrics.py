"""What is counted, for Prometheus: /metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from tsirius.serve.engine import Row, Step

if TYPE_CHECKING:
    from tsirius.serve.served import Served

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)
TENTHS = tuple(number / 10 for number in range(1, 11))
CHARACTERS = (10, 25, 50, 100, 200, 400, 800, 1600, 3200)
TYPE = CONTENT_TYPE_LATEST
"""The content type of :meth:`Metrics.page`."""


class Metrics:
    """The counters of one server, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = self._counter("requests", "Requests, by dialect and status.", "dialect", "status")
        self.seconds = self._histogram("request_seconds", "Time from a request's first byte to its answer.", SECONDS,
                                       "dialect")  # fmt: skip
        self.texts = self._counter("texts", "Texts that were answered, by model.", "model")
        self.failed = self._counter("failed_texts", "Texts that could not be classified.")
        self.tokens = self._counter("tokens", "Tokens that were computed.")
        self.truncated = self._counter("truncated_texts", "Texts of which the model read only a part.")
        self.rejected = self._counter("rejected", "Requests that were refused, by reason.", "reason")
        self.left = self._counter("left", "Requests whose caller left before the answer.")
        self.queue = self._gauge("queue_texts", "Texts that wait or are computed.")
        self.bodies = self._gauge("body_bytes", "Bytes of the requests that are read or answered.")
        self.batch_texts = self._histogram("batch_texts", "Texts of a batch.", SIZES)
        self.batch_seconds = self._histogram("batch_seconds", "Time that a batch is computed.", SECONDS)
        self.categories = self._counter("categories", "Answers, by category.", "model", "category")
        self.confidence = self._histogram("confidence", "Confidence of the answers.", TENTHS, "model")
        self.characters = self._histogram("text_characters", "Length of the texts.", CHARACTERS)
        self.unsure = self._counter("unsure", "Answers below the threshold.", "model")
        self.unsure_lost = self._counter("unsure_lost", "Unsure answers that could not be added to the file.")
        self.log_lost = self._gauge("log_lines_lost", "Lines of the log that could not be written.")
        self.shadowed = self._counter("shadow_texts", "Texts that the second model read as well.")
        self.disagreed = self._counter("shadow_disagreements", "Of these, those that it answers otherwise.")
        self.shadow_lost = self._gauge("shadow_texts_left_out", "Texts that it did not read, for lack of time.")
        self.reloads = self._counter("reloads", "Models that were put in the place of one, by outcome.", "outcome")
        self.model = self._gauge("model_info", "The models that answer.", "slot", "version", "trained", "kind")

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"tsirius_{name}", meaning, labels, registry=self._registry)

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(f"tsirius_{name}", meaning, labels, registry=self._registry)

    def _histogram(self, name: str, meaning: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(f"tsirius_{name}", meaning, labels, buckets=buckets, registry=self._registry)

    def step(self, step: Step) -> None:
        """Count a batch."""
        self.batch_texts.observe(step.texts)
        self.batch_seconds.observe(step.seconds)
        self.tokens.inc(step.tokens)

    def answers(self, model: Served, texts: Sequence[str], rows: Sequence[Row], counts: Mapping[str, int]) -> None:
        """Count what a model answered; ``counts`` are the answers of each category."""
        self.texts.labels(model.version).inc(len(rows))
        for name, count in counts.items():
            self.categories.labels(model.version, name).inc(count)
        confidence = self.confidence.labels(model.version)
        for text, row in zip(texts, rows, strict=True):
            self.characters.observe(len(text))
            if row.probabilities is not None:
                confidence.observe(float(row.probabilities.max()))
        self.truncated.inc(sum(row.truncated for row in rows))
        self.failed.inc(sum(row.probabilities is None for row in rows))

    def models(self, models: Sequence[Served]) -> None:
        """Say which models answer."""
        self.model.clear()
        for slot, model in zip(("first", "second"), models, strict=False):
            self.model.labels(slot, model.version, model.trained, model.description.kind).set(1)

    def page(self) -> bytes:
        """All of it, in Prometheus' text format."""
        return generate_latest(self._registry)
