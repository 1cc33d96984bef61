"""What every dialect asks: texts in, a row for each out, with all that is counted and logged on the way."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from tsirius.serve import logs
from tsirius.serve.deployment import Deployment
from tsirius.serve.engine import Engine, Full, Row, Stopped
from tsirius.serve.metrics import Metrics
from tsirius.serve.served import Served
from tsirius.serve.settings import Settings

TOP_LOGGED = 3
"""Categories that an unsure answer is kept with."""


class Refusal(Exception):
    """A request that is answered with an error.

    Args:
        status: of HTTP.
        message: what is wrong, for the client.
        item: the number of the text that it is about, from 0.
        headers: of the answer.
        reason: under which it is counted.
    """

    def __init__(
        self,
        status: HTTPStatus,
        message: str,
        *,
        item: int | None = None,
        headers: Mapping[str, str] | None = None,
        reason: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.item, self.headers = status, message, item, dict(headers or {})
        self.reason = reason or status.name.lower()


@dataclass
class Call:
    """A request on its way: who asks, how long there is, and what is noted of it for the log."""

    request_id: str
    seconds: float
    dialect: str = "other"
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """What a model says of the texts of a request."""

    model: Served
    rows: Sequence[Row]
    best: Sequence[int]
    unsure: Sequence[bool]

    def category(self, number: int) -> str:
        """The category of a text."""
        return self.model.names[self.best[number]]

    def confidence(self, number: int) -> float:
        """The probability of its category."""
        return float(self.rows[number].probabilities[self.best[number]])

    def ranked(self, number: int, count: int | None) -> list[tuple[str, float]]:
        """The ``count`` likeliest categories of a text (None: all) with their probabilities, the likeliest first."""
        row = self.rows[number].probabilities
        order = (-row).argsort(kind="stable")[:count]
        return [(self.model.names[k], float(row[k])) for k in order.tolist()]


class Service:
    """The parts of a server, and the way of a request through them."""

    def __init__(
        self, settings: Settings, deployment: Deployment, engine: Engine, metrics: Metrics, *, log: logs.Writer
    ) -> None:
        self.settings, self.deployment, self.engine, self.metrics = settings, deployment, engine, metrics
        self.log, self.stream = log, logs.Stream()
        self.unsure_file = (
            None if settings.log_unsure is None else logs.Bounded(settings.log_unsure, settings.log_unsure_bytes)
        )
        self.loop = asyncio.get_running_loop()
        self.stopping = False

    def tell(self, event: str, **notes: Any) -> None:
        """Write an event to the log."""
        self.log.add(self.stream, {"time": logs.now(), "event": event, **notes})

    @property
    def ready(self) -> bool:
        """Whether requests are taken: the models are loaded, the engine computes, and nobody said to stop."""
        return bool(self.deployment.models) and self.engine.alive and not self.stopping

    async def classify(self, call: Call, texts: Sequence[str]) -> Answer:
        """What the model says of ``texts``.

        Raises:
            Refusal: too many texts, no room in the queue, or no time left.
        """
        settings = self.settings
        if len(texts) > settings.max_texts:
            raise Refusal(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"{len(texts):,} texts are more than a request may have, {settings.max_texts:,}",
                reason="too_many_texts",
            )
        model = self.deployment.choose(call.request_id)
        call.notes |= {"texts": len(texts), "model": model.version}
        if settings.log_texts:
            call.notes["content"] = list(texts)
        try:
            async with asyncio.timeout(call.seconds):
                rows = await self.engine.classify(model, texts)
        except Full as full:
            raise Refusal(
                HTTPStatus.TOO_MANY_REQUESTS, "the queue is full", headers={"Retry-After": str(full.seconds)}
            ) from None
        except Stopped:
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "the server is stopping", reason="stopping") from None
        except TimeoutError:
            raise Refusal(
                HTTPStatus.GATEWAY_TIMEOUT, f"no answer within {call.seconds:g} seconds", reason="deadline"
            ) from None
        answer = self._answer(model, rows)
        self._count(call, texts, answer)
        self._shadow(model, texts, answer)
        return answer

    def _answer(self, model: Served, rows: Sequence[Row]) -> Answer:
        best = [0 if row.probabilities is None else int(row.probabilities.argmax()) for row in rows]
        limits = [self.settings.thresholds.get(name, self.settings.threshold) for name in model.names]
        unsure = [
            row.probabilities is not None and float(row.probabilities[k]) < limits[k]
            for row, k in zip(rows, best, strict=True)
        ]
        return Answer(model, rows, best, unsure)

    def _count(self, call: Call, texts: Sequence[str], answer: Answer) -> None:
        known = [k for k, row in zip(answer.best, answer.rows, strict=True) if row.probabilities is not None]
        counts = {answer.model.names[k]: count for k, count in Counter(known).items()}
        self.metrics.answers(answer.model, texts, answer.rows, counts)
        call.notes["truncated"] = sum(row.truncated for row in answer.rows)
        call.notes["tokens"] = sum(row.tokens or 0 for row in answer.rows)
        if failed := [row.error for row in answer.rows if row.error]:
            call.notes["failed"] = len(failed)
            self.tell("text failed", request_id=call.request_id, reason=failed[0])
        if any(answer.unsure):
            call.notes["unsure"] = sum(answer.unsure)
            self.metrics.unsure.labels(answer.model.version).inc(sum(answer.unsure))
            if self.unsure_file is not None:
                self._keep_unsure(call, texts, answer)

    def _keep_unsure(self, call: Call, texts: Sequence[str], answer: Answer) -> None:
        assert self.unsure_file is not None
        for number in [number for number, unsure in enumerate(answer.unsure) if unsure]:
            line = {
                "id": f"{call.request_id}-{number}",
                "text": texts[number],
                "category": answer.category(number),
                "confidence": answer.confidence(number),
                "likeliest": dict(answer.ranked(number, TOP_LOGGED)),
                "model": answer.model.version,
                "time": logs.now(),
            }
            self.log.add(self.unsure_file, line)

    def _shadow(self, model: Served, texts: Sequence[str], answer: Answer) -> None:
        """Have the second model read what the first one answered, and count how often they disagree."""
        second = self.deployment.second
        if not self.settings.shadow or second is None or model is second:
            return

        def compare(rows: Sequence[Row]) -> None:
            pairs = [
                (answer.category(number), second.names[int(row.probabilities.argmax())])
                for number, row in enumerate(rows)
                if row.probabilities is not None and answer.rows[number].probabilities is not None
            ]
            self.metrics.shadowed.inc(len(pairs))
            self.metrics.disagreed.inc(sum(one != other for one, other in pairs))

        self.engine.shadow(second, texts, compare)
