"""A server under load, from this machine: what it answers in a second, how long that takes, and whether it is right.

    python benchmarks/serve.py RUN reviews.csv --clients 1000 --seconds 60 --compare -o serve.json

A server is started as a process of its own on a free port of loopback. First one client, then ``--clients`` that each
send their next request when they have an answer (saturation), then requests at half of that rate by the clock, whatever
the answers take (an open loop: a slow answer delays no later request), then as many clients again at a server with a
small queue. Every answer is compared with ``Classifier.predict_proba``: the label, and the confidence to 1e-6. Clients
that are refused with 429 wait as long as they are told, and a 429 is wrong where fewer requests were under way than the
queue takes. ``--compare`` also loads what one writes by hand, FastAPI around a transformers pipeline.

What is asked of the server, and whether it holds, is printed at the end; the exit code is 1 where something does not.
Four minutes with 60 seconds.
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
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tsirius.io.source import open_source, read_batches
from tsirius.models import hub
from tsirius.models.classifier import Classifier, describe, find

CHARACTERS = 2000
"""Longer reviews are left out of the load: it is of single short texts."""
QUEUE = 64
"""Texts that wait at most at the server that is to be full."""
HALF_MS, ALONE_MS = 50.0, 15.0
"""The limits on p99: at half of the saturation load, and of a single review."""
TEI = {
    "over_bare_model": round(15 / 19, 2),
    "of": "bge-base-en-v1.5 on four cores (m5.xlarge), one request at a time",
    "source": "issue 144 of huggingface/text-embeddings-inference, as retold in "
    "https://blog.gitcode.com/960f14a9af967e41852eb4d272e05359.html: 15 s by transformers, 19 s through the server",
}
"""Its README has charts of a GPU alone; of a CPU this is what is published: the server over the model without it."""


@dataclass
class Seen:
    """What the clients saw."""

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    lost: int = 0
    wrong: int = 0
    refused_early: int = 0
    levels: list[int] = field(default_factory=lambda: [0])
    """How many requests were under way, after each that began or ended."""

    def move(self, by: int) -> int:
        """A request begins (1) or ends (-1); where that stands in ``levels``."""
        self.levels.append(self.levels[-1] + by)
        return len(self.levels) - 1

    def line(self, elapsed: float) -> dict[str, Any]:
        """The figures, in milliseconds."""
        p50, p95, p99 = np.percentile(np.array(self.seconds or [0.0]) * 1000, [50, 95, 99]).round(2).tolist()
        return {"answered": len(self.seconds), "per_second": round(len(self.seconds) / elapsed, 1), "p50_ms": p50,
                "p95_ms": p95, "p99_ms": p99, "lost": self.lost, "wrong": self.wrong,
                "refused_early": self.refused_early, "statuses": dict(self.statuses)}  # fmt: skip


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
    """What is asked, and what the right answers are; None: whatever comes."""

    path: str
    bodies: Sequence[bytes]
    right: Sequence[tuple[str, float]] | None
    queue: int = 0
    """Requests that the server's queue takes; it may refuse none where fewer are under way."""

    async def ask(self, client: Client, number: int, seen: Seen) -> float:
        """Ask about a text and check the answer; the seconds to wait before the next try."""
        begun, at = time.perf_counter(), seen.move(1)
        try:
            status, headers, content = await client.post(self.path, self.bodies[number])
        except (OSError, asyncio.IncompleteReadError):
            client.close()
            seen.lost += 1
            return 0.0
        finally:
            seen.move(-1)
        seen.statuses[status] += 1
        if status == 429:
            seen.refused_early += max(seen.levels[at:]) <= self.queue
            return float(headers["retry-after"])
        if status != 200:
            seen.lost += 1
            return 0.0
        seen.seconds.append(time.perf_counter() - begun)
        if self.right is not None:
            label, confidence = of_own(json.loads(content))
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
async def started(command: Sequence[str]) -> AsyncIterator[int]:
    """The port of a server that says in its first JSON line where it listens."""
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    drain = None
    try:
        said = next((line for line in process.stderr if line.startswith("{")), None)
        if said is None:
            raise SystemExit(f"no server: {' '.join(command)}")
        drain = asyncio.ensure_future(asyncio.to_thread(process.stderr.read))
        yield int(json.loads(said)["address"].rpartition(":")[2])
    finally:
        process.terminate()
        process.wait(120)
        if drain is not None:
            await drain


HAND_MADE = """
import json, os, socket, sys
import torch, uvicorn
from fastapi import FastAPI
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedTokenizerFast, pipeline
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
folder, categories = sys.argv[1], int(sys.argv[2])
config = AutoConfig.from_pretrained(folder, num_labels=categories)
model = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
tokenizer = PreTrainedTokenizerFast(tokenizer_file=folder + "/tokenizer.json", model_max_length=256)
classify = pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu")
app = FastAPI()
@app.post("/predict")
async def predict(request: dict):
    return classify(request["inputs"], truncation=True)
listening = socket.socket(); listening.bind(("127.0.0.1", 0)); listening.listen(2048)
print(json.dumps({"address": f"http://127.0.0.1:{listening.getsockname()[1]}"}), file=sys.stderr, flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="error")).run([listening])
"""
"""What one writes by hand: FastAPI and a pipeline in the event loop, a text at a time. It has the encoder of the run's
model with weights by chance and a head instead of the linear model: its answers mean nothing, its speed does."""


def bare(texts: Sequence[str], classifier: Classifier, *, seconds: float) -> float:
    """Reviews a second by the model alone in this process, one at a time."""
    begun, done = time.perf_counter(), 0
    while time.perf_counter() < begun + seconds:
        classifier.predict_proba([texts[done % len(texts)]])
        done += 1
    return round(done / (time.perf_counter() - begun), 1)


def own_server(run: Path, *settings: str) -> list[str]:
    """The command of the server."""
    return [sys.executable, "-m", "tsirius", "serve", str(run), "--port", "0", *settings]


async def under_load(load: Load, run: Path, *, clients: int, seconds: float) -> dict[str, dict[str, Any]]:
    """What the server does with one client, at saturation, at half of that, and where its queue is full."""
    found = {}
    async with started(own_server(run)) as port:
        found["alone"] = await told("alone", closed_loop(load, port, clients=1, seconds=seconds / 6))
        found["saturation"] = await told("saturation", closed_loop(load, port, clients=clients, seconds=seconds))
        half = max(1.0, found["saturation"]["per_second"] / 2)
        found["half"] = await told("half of it", open_loop(load, port, rate=half, seconds=seconds))
    small = Load(load.path, load.bodies, load.right, queue=QUEUE)
    async with started(own_server(run, f"queue_texts={QUEUE}", f"max_texts={QUEUE}")) as port:
        found["full"] = await told("full", closed_loop(small, port, clients=clients, seconds=seconds / 6))
    return found


async def by_hand(
    texts: Sequence[str], base: str, *, categories: int, clients: int, seconds: float
) -> dict[str, dict[str, Any]]:
    """What a server that one writes by hand does with one client, and at saturation."""
    load = Load("/predict", [json.dumps({"inputs": text}).encode() for text in texts], None)
    async with started([sys.executable, "-c", HAND_MADE, str(hub.fetch(base)), str(categories)]) as port:
        alone = await told("by hand, alone", closed_loop(load, port, clients=1, seconds=seconds / 6))
        many = await told("by hand, saturation", closed_loop(load, port, clients=clients, seconds=seconds / 3))
    return {"alone": alone, "saturation": many}


async def told(name: str, work: Any) -> dict[str, Any]:
    """Do ``work`` and print what it found."""
    found: dict[str, Any] = await work
    print(json.dumps({"load": name, **found}), flush=True)
    return found


def ratios(found: Mapping[str, Mapping[str, Any]], hand: Mapping[str, Any], alone: float) -> dict[str, Any]:
    """How many times as many reviews a second as others."""
    one, many = found["alone"]["per_second"], found["saturation"]["per_second"]
    result: dict[str, Any] = {
        "alone_over_bare_model": round(one / alone, 2),
        "saturation_over_bare_model": round(many / alone, 2),
        "tei_published": TEI,
    }
    if hand:
        result["alone_over_by_hand"] = round(one / hand["alone"]["per_second"], 2)
        result["saturation_over_by_hand"] = round(many / hand["saturation"]["per_second"], 2)
    return result


def holds(found: Mapping[str, Mapping[str, Any]]) -> dict[str, bool]:
    """What is asked of the server."""
    every = list(found.values())
    return {
        "none lost": not any(step["lost"] for step in every),
        "none wrong": not any(step["wrong"] for step in every),
        "429 only when full": not any(step["refused_early"] for step in every)
        and not any(step["statuses"].get(429) for name, step in found.items() if name != "full"),
        "429 when full": found["full"]["statuses"].get(429, 0) > 0,
        f"p99 at half of the load up to {HALF_MS:g} ms": found["half"]["p99_ms"] <= HALF_MS,
        f"p99 of a single review up to {ALONE_MS:g} ms": found["alone"]["p99_ms"] <= ALONE_MS,
    }


async def main() -> int:
    """Start the servers, load them, and say what holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("reviews", type=Path)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--count", type=int, default=2000, help="different reviews")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compare", action="store_true", help="also load a server made by hand (needs fastapi, torch)")
    parser.add_argument("-o", "--output", type=Path, help="a JSON file for all figures")
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(given.threads)
    busy = os.getloadavg()[0]
    source = open_source(given.reviews, text_column="auto", id_column="none", encoding="auto", text_required=True)
    texts = [text for batch in read_batches(source, rows=20_000) for text in batch["text"] if len(text) < CHARACTERS]
    texts = [texts[row] for row in np.linspace(0, len(texts) - 1, min(given.count, len(texts))).astype(int)]
    classifier = Classifier.load(given.run)
    right = [(classifier.names[row.argmax()], float(row.max())) for row in classifier.predict_proba(texts)]
    alone = bare(texts, classifier, seconds=given.seconds / 6)
    print(json.dumps({"load": "the model alone, in this process", "per_second": alone}), flush=True)
    load = Load("/v1/classify", [json.dumps({"texts": [text]}).encode() for text in texts], right)
    limits = {"clients": given.clients, "seconds": given.seconds}
    found = await under_load(load, given.run, **limits)
    hand = {}
    if given.compare:
        base = hub.parts(describe(find(given.run)).base_model or hub.EMBEDDED)[0]
        hand = await by_hand(texts, base, categories=len(classifier.names), **limits)
    result = {
        "load_average_before": busy,
        "threads": given.threads,
        **limits,
        "bare_per_second": alone,
        "tsirius": found,
        "by_hand": hand,
        "ratios": ratios(found, hand, alone),
        "holds": holds(found),
    }
    print(json.dumps({"ratios": result["ratios"]}, ensure_ascii=False))
    for name, right_so in holds(found).items():
        print(f"{'holds' if right_so else 'FAILS'}  {name}")
    if given.output is not None:
        given.output.write_text(json.dumps(result, ensure_ascii=False, indent=1), encoding="utf-8")
    return int(not all(holds(found).values()))


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
