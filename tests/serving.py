"""A server in a thread of this process, on a free port of loopback, with a small model."""

from __future__ import annotations

import asyncio
import json
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
from numpy.typing import NDArray

from tsirius.models import hub, linear, probes
from tsirius.models.classifier import Classifier, Description
from tsirius.serve import guard, server
from tsirius.serve.service import Service
from tsirius.serve.settings import Settings
from tsirius.store import fingerprint, write_checksums

NAMES = ["посуда", "обувь", "нет товара"]
TEXTS = [
    "Кастрюля с толстым дном",
    "чашка и тарелка",
    "Ботинки жмут",
    "тапки и кроссовки",
    "Спасибо",
    "Быстрая доставка",
]
LABELS = [0, 0, 1, 1, 2, 2]


def save(folder: Path, *, turned: bool = False, encoder: Embed | None = None, with_probes: bool = True) -> Path:
    """Write a linear model into a new folder.

    Args:
        folder: where to.
        turned: crockery is footwear, and the other way round.
        encoder: the embeddings that it sees, tsirius-goods' of 8 tokens; None: none.
        with_probes: write probes as well.
    """
    folder.mkdir(parents=True)
    labels = [1 - label if turned and label < 2 else label for label in LABELS]
    linear.fit(TEXTS, labels, weights=None, categories=3, c=10.0, rounds=50, embed=encoder).save(folder)
    base = {} if encoder is None else {"base_model": hub.GOODS, "base_fingerprint": hub.fingerprint(hub.GOODS)}
    fields: dict[str, Any] = {"base_model": None, "base_fingerprint": None, **base}
    length = None if encoder is None else 8
    Description("linear", NAMES, NAMES[-1], None, [0.0] * 3, max_length=length, parts=[], **fields).save(folder)
    if with_probes:
        probes.write(folder, Classifier.load(folder))
    write_checksums(folder)
    return folder


Embed = Callable[[Sequence[str]], NDArray[np.float32]]


@dataclass
class Running:
    """A server that answers at ``url``."""

    url: str
    port: int
    service: Service

    def post(self, path: str, content: Any, **options: Any) -> httpx2.Response:
        """Send JSON."""
        return httpx2.post(f"{self.url}{path}", json=content, timeout=60, **options)

    def get(self, path: str, **options: Any) -> httpx2.Response:
        """Ask for something."""
        return httpx2.get(f"{self.url}{path}", timeout=60, **options)

    def call(self, work: Callable[[], Any]) -> Any:
        """What ``work`` gives, in the server's thread."""

        async def run() -> Any:
            result = work()
            return await result if asyncio.iscoroutine(result) else result

        return asyncio.run_coroutine_threadsafe(run(), self.service.loop).result(60)

    def metric(self, name: str, **labels: str) -> float:
        """The value of a counter."""
        shown = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
        line = f"tsirius_{name}{{{shown}}} " if labels else f"tsirius_{name} "
        page = self.get("/metrics").text
        return next((float(found[len(line) :]) for found in page.splitlines() if found.startswith(line)), 0.0)


@contextmanager
def running(model: Path, *, keys: Sequence[str] = (), **settings: Any) -> Iterator[Running]:
    """A server of ``model``."""
    settings = {"watch_seconds": 0.0, **settings}
    listening = server._listen("127.0.0.1", 0)
    ready = queue.Queue[tuple[Service, Callable[[], None]] | BaseException]()

    def serve() -> None:
        try:
            digests = [guard._digest(key.encode()) for key in keys]
            asyncio.run(server._serve(model, Settings(**settings), listening, digests, lambda *given: ready.put(given)))
        except BaseException as error:
            ready.put(error)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        given = ready.get(timeout=120)
        if isinstance(given, BaseException):
            raise given
        service, stop = given
        port = listening.getsockname()[1]
        try:
            yield Running(f"http://127.0.0.1:{port}", port, service)
        finally:
            service.loop.call_soon_threadsafe(stop)
    finally:
        thread.join(120)
        listening.close()
    assert not thread.is_alive()


class Gate:
    """A classifier of the service that waits until it is let through; what it was given is kept.

    Args:
        within: the classifier that answers in the end.
    """

    def __init__(self, within: Any) -> None:
        self.within = within
        self.open = threading.Event()
        self.entered = threading.Event()
        self.seen = list[str]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.within, name)

    def predict_proba(self, texts: Sequence[str]) -> Any:
        """What the classifier says, once the gate is open."""
        self.entered.set()
        assert self.open.wait(60)
        self.seen += texts
        return self.within.predict_proba(texts)


def gate(running: Running) -> Gate:
    """Put a gate before the classifier of a server."""
    first = running.service.deployment.first
    put = Gate(first.classifier)
    object.__setattr__(first, "classifier", put)
    return put


def lines(text: str) -> list[dict[str, Any]]:
    """The objects of JSON Lines; other lines are left out."""
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def server_version(folder: Path) -> str:
    """The version that a server tells of a model."""
    return fingerprint(folder.resolve())[:12]
