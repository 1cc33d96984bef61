"""A server under load, from this machine: what it answers in a second, how long that takes, and whether it is right.

A server is started as a process of its own on a free port of loopback. First single requests one after the other, then
``--clients`` that each send their next request when they have an answer (saturation), then requests at half of that
rate by the clock, whatever the answers take (an open loop: a slow answer delays no later request). Every answer is
compared with ``Classifier.predict_proba``: the label, and the confidence to 1e-6. Clients that are refused with 429
wait as long
as they are told. It ends by itself after ``--seconds`` each.

    python benchmarks/serve.py RUN reviews.csv --clients 1000 --seconds 60 --compare
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tsirius.io.source import open_source, read_batches
from tsirius.models.classifier import Classifier

CHARACTERS = 2000
"""Longer reviews are left out of the load: it is of single short texts."""


@dataclass
class Seen:
    """What the clients saw."""

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    lost: int = 0
    wrong: int = 0

    def line(self, elapsed: float) -> dict[str, Any]:
        """The figures, in milliseconds."""
        p50, p95, p99 = np.percentile(np.array(self.seconds or [0.0]) * 1000, [50, 95, 99]).round(2).tolist()
        return {"answered": len(self.seconds), "per_second": round(len(self.seconds) / elapsed, 1), "p50_ms": p50,
                "p95_ms": p95, "p99_ms": p99, "lost": self.lost, "wrong": self.wrong,
                "statuses": dict(self.statuses)}  # fmt: skip


class Client:
    """A connection that is kept, HTTP/1.1 as little as it takes: the load's own work is small beside the server's."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def post(self, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """The status, the headers and the body of an answer."""
        if self.writer is None or self.writer.is_closing():
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        assert self.reader is not None
        head = (
            f"POST {path} HTTP/1.1\r\nHost: l\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self.writer.write(head.encode() + body)
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:] if line)}
        content = await self.reader.readexactly(int(headers.get("content-length", "0")))
        if headers.get("connection") == "close":
            self.close()
        return int(lines[0].split()[1]), headers, content

    def close(self) -> None:
        """End the connection."""
        if self.writer is not None:
            self.writer.close()
        self.writer = None


@dataclass(frozen=True)
class Load:
    """What is asked, and what the right answers are."""

    path: str
    bodies: Sequence[bytes]
    right: Sequence[tuple[str, float]]
    read: Callable[[Any], tuple[str, float]]

    async def ask(self, client: Client, number: int, seen: Seen) -> float:
        """Ask about a text and check the answer; the seconds to wait before the next try."""
        begun = time.perf_counter()
        try:
            status, headers, content = await client.post(self.path, self.bodies[number])
        except (OSError, asyncio.IncompleteReadError):
            client.close()
            seen.lost += 1
            return 0.0
        seen.statuses[status] += 1
        if status == 429:
            return float(headers["retry-after"])
        if status != 200:
            seen.lost += 1
            return 0.0
        seen.seconds.append(time.perf_counter() - begun)
        label, confidence = self.read(json.loads(content))
        wanted = self.right[number]
        seen.wrong += label != wanted[0] or abs(confidence - wanted[1]) > 1e-6
        return 0.0


def of_own(answer: Any) -> tuple[str, float]:
    """The label and the confidence of an answer in the server's own dialect."""
    result = answer["results"][0]
    return result["category"], result["confidence"]


async def closed_loop(load: Load, port: int, *, clients: int, seconds: float) -> dict[str, Any]:
    """Each client asks again when it has its answer."""
    seen, end = Seen(), time.perf_counter() + seconds

    async def one(start: int) -> None:
        client, number = Client(port), start
        while time.perf_counter() < end:
            wait = await load.ask(client, number % len(load.bodies), seen)
            number += clients
            if wait:
                await asyncio.sleep(min(wait, max(0.0, end - time.perf_counter())))
        client.close()

    begun = time.perf_counter()
    await asyncio.gather(*(one(number) for number in range(clients)))
    return seen.line(time.perf_counter() - begun)


async def open_loop(load: Load, port: int, *, rate: float, seconds: float) -> dict[str, Any]:
    """Requests by the clock: an answer's time counts from when it was due."""
    seen, idle, tasks = Seen(), list[Client](), set[asyncio.Task[None]]()
    begun = time.perf_counter()

    async def one(number: int, due: float) -> None:
        client = idle.pop() if idle else Client(port)
        before = len(seen.seconds)
        await load.ask(client, number % len(load.bodies), seen)
        if len(seen.seconds) > before:
            seen.seconds[-1] = time.perf_counter() - due
        idle.append(client)

    number = 0
    while (due := begun + number / rate) < begun + seconds:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        task = asyncio.ensure_future(one(number, due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        number += 1
    await asyncio.gather(*tasks)
    for client in idle:
        client.close()
    return seen.line(time.perf_counter() - begun)


@asynccontextmanager
async def started(command: Sequence[str]) -> Any:
    """The port of a server that says in its first JSON line where it listens."""
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        said = next((line for line in process.stderr if line.startswith("{")), None)
        if said is None:
            raise SystemExit(f"no server: {' '.join(command)}")
        drain = asyncio.ensure_future(asyncio.to_thread(process.stderr.read))
        yield int(json.loads(said)["address"].rpartition(":")[2])
    finally:
        process.terminate()
        process.wait(120)
        await drain


HAND_MADE = """
import json, sys
from fastapi import FastAPI
from tsirius import Classifier
app, classifier = FastAPI(), Classifier.load(sys.argv[1])
@app.post("/v1/classify")
async def classify(request: dict):
    best = classifier.predict_proba(request["texts"])
    return {"results": [{"category": classifier.names[row.argmax()], "confidence": float(row.max())} for row in best]}
import socket, uvicorn
listening = socket.socket(); listening.bind(("127.0.0.1", 0))
print(json.dumps({"address": f"http://127.0.0.1:{listening.getsockname()[1]}"}), file=sys.stderr, flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="error")).run([listening])
"""
"""What one writes by hand: FastAPI, the model in the event loop, a text at a time."""


async def main() -> None:
    """Start the servers and load them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("reviews", type=Path)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--count", type=int, default=2000, help="different reviews")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compare", action="store_true", help="also load a hand-made FastAPI server (needs fastapi)")
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(given.threads)
    source = open_source(given.reviews, text_column="auto", id_column="none", encoding="auto", text_required=True)
    texts = [text for batch in read_batches(source, rows=20_000) for text in batch["text"] if len(text) < CHARACTERS]
    texts = [texts[row] for row in np.linspace(0, len(texts) - 1, min(given.count, len(texts))).astype(int)]
    classifier = Classifier.load(given.run)
    probabilities = classifier.predict_proba(texts)
    right = [(classifier.names[row.argmax()], float(row.max())) for row in probabilities]
    bodies = [json.dumps({"texts": [text]}).encode() for text in texts]
    load = Load("/v1/classify", bodies, right, of_own)
    servers = {"tsirius serve": [sys.executable, "-m", "tsirius", "serve", str(given.run), "--port", "0"]}
    if given.compare:
        servers["hand-made FastAPI"] = [sys.executable, "-c", HAND_MADE, str(given.run)]
    for name, command in servers.items():
        async with started(command) as port:
            steps: dict[str, Callable[[], Awaitable[dict[str, Any]]]] = {
                "one client": lambda port=port: closed_loop(load, port, clients=1, seconds=given.seconds / 3),
                "saturation": lambda port=port: closed_loop(load, port, clients=given.clients, seconds=given.seconds),
            }
            rate = 0.0
            for step, work in steps.items():
                found = await work()
                rate = found["per_second"]
                print(json.dumps({"server": name, "load": step, **found}), flush=True)
            found = await open_loop(load, port, rate=max(1.0, rate / 2), seconds=given.seconds)
            print(json.dumps({"server": name, "load": "half of it, by the clock", **found}), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
