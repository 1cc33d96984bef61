"""A server that is treated badly while others ask it: whether they get right answers, and whether anything hangs.

    python benchmarks/server_faults.py RUN reviews.csv [CASE ...] [--times 1]

In every case clients ask all the while, one text a request, and each answer is compared with ``Classifier`` of the
model that it names. Cases, with what is right beside that nobody else notices:

- ``slow``: heads and bodies that come byte by byte or never end, answers that nobody takes: they are cut off.
- ``half-closed``: connections of which the client closes its half, or all, before the answer: they end.
- ``huge``: bodies of 1 GB, announced or in chunks: refused with 413 or cut off, and none of it is kept in memory.
- ``noise``: bodies, headers and paths that are no UTF-8 or no HTTP: answered with an error, never 500.
- ``killed``: SIGKILL, and a new start at the same port: answers may be lost, none is wrong.
- ``full disk``: neither the log nor the file of unsure answers can be written: counted, and all are answered.
- ``full queue``: more than the queue takes: whole requests are refused with 429, the others are answered.
- ``reload``: another model is put in place: no request that begins after the first answer of the new one gets the old.
- ``damaged``: a damaged folder is put in place: refused, and the old model answers.

A case that is not over in time is a fault, as is a server that does not end with code 0 when told to. A line each; the
exit code is 1 where there is a fault.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import resource
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from serve import Client

from tsirius.io.source import open_source, read_batches
from tsirius.models import probes
from tsirius.models.classifier import Classifier, find, set_temperature
from tsirius.store import fingerprint, write_checksums

CLIENTS, ANSWERS = 8, 25
"""So many ask all the while; so many answers are waited for before and after what is done."""
SECONDS = 240
"""A case that takes longer hangs, also on a machine that is shared with others."""
PATH = "/v1/classify"
HEAD = f"POST {PATH} HTTP/1.1\r\nHost: l\r\nContent-Type: application/json\r\n"
GROWTH = 200 * 2**20
"""Bytes by which the server's memory may grow over a case."""
LOG_BYTES = 20_000
"""What a file may hold where the disk is full."""


@dataclass
class Known:
    """A model's folder and what it says of the texts."""

    folder: Path
    version: str
    right: list[tuple[str, float]]


@dataclass
class Asked:
    """What the clients that ask all the while saw."""

    texts: Sequence[str]
    models: dict[str, Known]
    answers: list[tuple[float, float, str]] = field(default_factory=list)
    """When a request began and ended, and the version that answered."""
    faults: list[str] = field(default_factory=list)
    refused: int = 0
    lost: int = 0
    may_lose: bool = False
    over: bool = False

    async def ask(self, client: Client, number: int) -> None:
        """Ask for a text and compare the answer."""
        begun = time.perf_counter()
        try:
            status, headers, content = await client.post(PATH, json.dumps({"texts": [self.texts[number]]}).encode())
        except (OSError, asyncio.IncompleteReadError) as error:
            client.close()
            self.lost += 1
            if not self.may_lose:
                self.faults.append(f"lost: {error!r}")
            await asyncio.sleep(0.02)
            return
        if status == 429:
            self.refused += 1
            await asyncio.sleep(float(headers["retry-after"]))
            return
        if status != 200:
            self.faults.append(f"{status}: {content[:200]!r}")
            return
        said = json.loads(content)
        if said["model"] not in self.models:
            self.faults.append(f"answered by {said['model']}")
            return
        result, model = said["results"][0], self.models[said["model"]]
        label, share = model.right[number]
        if result["category"] != label or abs(result["confidence"] - share) > 1e-6:
            self.faults.append(f"wrong: {result} for {label}, {share}")
        self.answers.append((begun, time.perf_counter(), said["model"]))

    async def keep_asking(self, port: int, start: int) -> None:
        """One client, until it is over."""
        client, number = Client(port), start
        while not self.over:
            await self.ask(client, number % len(self.texts))
            number += CLIENTS
        client.close()

    async def more(self, count: int = ANSWERS) -> None:
        """Wait for so many more answers."""
        wanted = len(self.answers) + count
        while len(self.answers) < wanted:
            if self.faults:
                raise Fault(self.faults[0])
            await asyncio.sleep(0.02)


@dataclass
class Server:
    """A process that answers at ``port``."""

    process: asyncio.subprocess.Process
    port: int

    async def get(self, path: str) -> str:
        """What a path says."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: l\r\nConnection: close\r\n\r\n".encode())
        found = await reader.read()
        writer.close()
        return found.decode()

    async def metric(self, name: str) -> float:
        """The sum of a counter."""
        lines = [line for line in (await self.get("/metrics")).splitlines() if line.startswith(f"tsirius_{name}")]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    def memory(self) -> int:
        """Bytes that it holds."""
        return int(psutil.Process(self.process.pid).memory_info().rss)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


async def start(model: Path, port: int, *settings: str, log: Any, **options: Any) -> Server:
    """A server that takes requests."""
    command = [sys.executable, "-m", "tsirius", "serve", str(model), "--port", str(port), *settings]
    process = await asyncio.create_subprocess_exec(*command, stderr=log, **options)
    server = Server(process, port)
    while process.returncode is None:
        with suppress(OSError):
            if " 200 " in (await server.get("/ready")).partition("\r\n")[0]:
                return server
        await asyncio.sleep(0.05)
    raise RuntimeError(f"it ended with {process.returncode}")


@dataclass
class Bench:
    """What a case finds: models, texts, a folder of its own and chance."""

    first: Known
    second: Known
    texts: Sequence[str]
    work: Path
    draw: random.Random

    @asynccontextmanager
    async def serving(self, *settings: str, log: Any = None, **options: Any) -> AsyncIterator[tuple[Server, Asked]]:
        """A server of a link to the first model, and clients that ask; what they saw is judged at the end."""
        asked = Asked(self.texts, {one.version: one for one in (self.first, self.second)})
        link, path = self.work / "current", self.work / "log"
        link.symlink_to(self.first.folder)
        with path.open("wb") as file:
            server = await start(link, free_port(), *settings, log=log or file, **options)
        asking = [asyncio.ensure_future(asked.keep_asking(server.port, number)) for number in range(CLIENTS)]
        try:
            await asked.more()
            yield server, asked
            await asked.more()
            asked.over = True
            await asyncio.gather(*asking)
            server.process.terminate()
            if code := await server.process.wait():
                asked.faults.append(f"ended with {code}")
        finally:
            for task in asking:
                task.cancel()
            if server.process.returncode is None:
                server.process.kill()
        if asked.faults:
            raise Fault(f"{len(asked.faults)} faults, the first: {asked.faults[0]}")

    def put(self, folder: Path) -> None:
        """Let the link name another folder, at one moment."""
        (self.work / "next").symlink_to(folder)
        (self.work / "next").replace(self.work / "current")


class Fault(Exception):
    """Something is not as it should be."""


async def connected(port: int, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection on which something was sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    return reader, writer


async def ended(reader: asyncio.StreamReader) -> bytes:
    """What comes until the server ends the connection."""
    try:
        return await reader.read()
    except OSError:
        return b""


def request(body: bytes) -> bytes:
    """A whole request."""
    return f"{HEAD}Content-Length: {len(body)}\r\n\r\n".encode() + body


# --- cases ------------------------------------------------------------------------------------------------------------


async def slow(bench: Bench) -> str:
    many = json.dumps({"texts": ["чашка"] * 500, "top_k": 9}).encode()

    async def unfinished(port: int, data: bytes) -> None:
        reader, writer = await connected(port, data)
        await ended(reader)
        writer.close()

    async def by_bytes(port: int) -> None:
        reader, writer = await connected(port, b"")
        ending = asyncio.ensure_future(ended(reader))
        for number in range(10_000):
            if ending.done():
                break
            with suppress(OSError):
                writer.write(
                    many[number % len(many) :][:1] if number else f"{HEAD}Content-Length: 9000\r\n\r\n".encode()
                )
                await writer.drain()
            await asyncio.sleep(0.05)
        await ending
        writer.close()

    async def takes_nothing(port: int) -> None:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
        with suppress(OSError):
            for _ in range(40):  # more than the buffers of the system hold
                await asyncio.wait_for(asyncio.get_running_loop().sock_sendall(connection, request(many)), 5)
        await asyncio.sleep(4)
        connection.close()

    async with bench.serving("body_seconds=1") as (server, _):
        heads = [HEAD[: bench.draw.randrange(1, len(HEAD))].encode() for _ in range(40)]
        bodies = [request(many)[: -bench.draw.randrange(1, len(many))] for _ in range(40)]
        await asyncio.gather(*(unfinished(server.port, data) for data in [b"", *heads, *bodies]),
                             *(by_bytes(server.port) for _ in range(20)),
                             *(takes_nothing(server.port) for _ in range(5)))  # fmt: skip
        while await server.metric("body_bytes") > 10_000:
            await asyncio.sleep(0.1)
    return "106 clients"


async def half_closed(bench: Bench) -> str:
    async def leave(port: int, number: int) -> None:
        body = json.dumps({"texts": bench.draw.sample(list(bench.texts), 40)}).encode()
        data = request(body)
        reader, writer = await connected(port, data if number % 3 else data[: bench.draw.randrange(1, len(data))])
        await writer.drain()
        await asyncio.sleep(bench.draw.random() * 0.05)
        if number % 2:
            writer.write_eof()
            await ended(reader)
        writer.close()

    async with bench.serving() as (server, _):
        for start in range(0, 60, 20):
            await asyncio.gather(*(leave(server.port, number) for number in range(start, start + 20)))
        while await server.metric("queue_texts") > CLIENTS:
            await asyncio.sleep(0.1)
    return "60 clients"


async def huge(bench: Bench) -> str:
    part = b" " * 2**20

    async def send(port: int, *, chunked: bool) -> tuple[bytes, int]:
        head = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {2**30}"
        reader, writer = await connected(port, f"{HEAD}{head}\r\n\r\n".encode())
        ending, sent = asyncio.ensure_future(ended(reader)), 0
        with suppress(OSError):
            while sent < 2**30 and not ending.done():
                writer.write(f"{len(part):x}\r\n".encode() + part + b"\r\n" if chunked else part)
                sent += len(part)
                await writer.drain()
        answer = await ending
        writer.close()
        return answer, sent

    async with bench.serving() as (server, asked):
        before = server.memory()
        found = await asyncio.gather(*(send(server.port, chunked=bool(number % 2)) for number in range(6)))
        await asked.more()
        if (grown := server.memory() - before) > GROWTH:
            raise Fault(f"memory grew by {grown:,} bytes")
        for answer, _ in found:
            if answer and b" 413 " not in answer[:20] and b" 429 " not in answer[:20]:
                raise Fault(repr(answer[:200]))
    return f"refused after {max(sent for _, sent in found) / 2**20:.0f} MiB at most"


async def noise(bench: Bench) -> str:
    draw, statuses = bench.draw, set[int]()

    def any_request(number: int) -> bytes:
        good = json.dumps({"texts": bench.texts[:3]}, ensure_ascii=False).encode()
        at = draw.randrange(len(good))
        bodies = [
            draw.randbytes(300),
            good[:at] + b"\xff\xfe" + good[at:],
            b'{"texts": ["\\ud800"]}',
            b"[" * 100_000,
            b'{"texts": ["' + draw.randbytes(60) + b'"]}',
            b"\xef\xbb\xbf" + good,
            good.decode().encode("utf-16"),
        ]
        whole = request(draw.choice(bodies))
        some = draw.randbytes(30).replace(b" ", b"").replace(b"\n", b"")
        if number % 4 == 0:
            return whole.replace(b"Host: l", b"X-Request-Id: " + some + b"\r\nHost: l", 1)
        if number % 4 == 1:
            return whole.replace(PATH.encode(), b"/" + some, 1)
        return draw.randbytes(500) + b"\r\n\r\n" if number % 4 == 2 else whole

    async def send(port: int, data: bytes) -> None:
        reader, writer = await connected(port, data)
        with suppress(OSError):
            line = await reader.readline()
            if line:
                statuses.add(int(line.split()[1]))
        writer.close()

    async with bench.serving("body_seconds=1") as (server, _):
        for start in range(0, 400, 20):
            await asyncio.gather(*(send(server.port, any_request(number)) for number in range(start, start + 20)))
    if any(status >= 500 for status in statuses):
        raise Fault(f"answered {sorted(statuses)}")
    return f"400 requests, answered {sorted(statuses)}"


async def killed(bench: Bench) -> str:
    unsure = bench.work / "unsure.jsonl"
    settings = ("threshold=1.0", f"log_unsure={unsure}")
    async with bench.serving(*settings) as (server, asked):
        asked.may_lose = True
        for _ in range(3):
            await asyncio.sleep(bench.draw.random())
            server.process.send_signal(signal.SIGKILL)
            await server.process.wait()
            with (bench.work / "log").open("ab") as log:
                again = await start(bench.work / "current", server.port, *settings, log=log)
            server.process = again.process
            await asked.more()
    lines = unsure.read_bytes().splitlines()
    for line in lines:
        json.loads(line)
    return f"3 times, {asked.lost} requests lost by it, {len(lines)} unsure answers kept whole"


async def full_disk(bench: Bench) -> str:
    unsure = bench.work / "unsure.jsonl"

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (LOG_BYTES, LOG_BYTES))

    async with bench.serving("threshold=1.0", f"log_unsure={unsure}", preexec_fn=limit) as (server, asked):
        while not (await server.metric("unsure_lost_total") and await server.metric("log_lines_lost")):
            await asyncio.sleep(0.05)
        await asked.more()
    for line in unsure.read_bytes().splitlines():
        json.loads(line)
    (bench.work / "current").unlink()
    with Path("/dev/full").open("wb") as log:
        async with bench.serving("threshold=1.0", "log_unsure=/dev/full", log=log) as (server, asked):
            await asked.more()
            if not (await server.metric("unsure_lost_total") and await server.metric("log_lines_lost")):
                raise Fault("no line was lost at a full disk")
    return "files cut off at a size, and /dev/full"


async def full_queue(bench: Bench) -> str:
    async with bench.serving("queue_texts=4", "max_texts=4") as (_, asked):
        await asked.more(100)
    if not asked.refused:
        raise Fault("nobody was refused")
    return f"{asked.refused} refused with 429, {len(asked.answers)} answered"


async def replaced(bench: Bench) -> str:
    async with bench.serving("watch_seconds=0.2") as (_, asked):
        for one in (bench.second, bench.first):
            bench.put(one.folder)
            while asked.answers[-1][2] != one.version:
                await asyncio.sleep(0.02)
            ends = [end for _, end, version in asked.answers if version == one.version]
            await asked.more(50)
            late = [version for begun, _, version in asked.answers if begun > ends[0]]
            if one is bench.second and set(late) != {one.version}:
                raise Fault("a request that began after the first answer of the new model got the old one")
    return f"twice, {len(asked.answers)} answers"


async def damaged(bench: Bench) -> str:
    harms: dict[str, Callable[[Path], Any]] = {
        "cut": lambda path: path.write_bytes(path.read_bytes()[:-9]),
        "changed": lambda path: path.write_bytes(bytes(len(path.read_bytes()))),
        "none": lambda path: path.unlink(),
    }
    files = sorted(file.name for file in bench.second.folder.iterdir() if file.is_file() and file.suffix != ".md")
    count = 0
    async with bench.serving("watch_seconds=0.1") as (server, asked):
        for name in files:
            for harm, do in harms.items():
                folder = bench.work / f"{name}-{harm}"
                shutil.copytree(bench.second.folder, folder)
                do(folder / name)
                refusals = await server.metric("reloads_total{")
                bench.put(folder)
                if name == "model.json" and harm == "none":
                    await asyncio.sleep(1)  # a folder without a model: none was put there yet
                else:
                    while await server.metric("reloads_total{") == refusals:
                        await asyncio.sleep(0.05)
                if await server.metric('reloads_total{outcome="loaded"'):
                    raise Fault(f"taken: {name}, {harm}")
                count += 1
        await asked.more()
        if any(version != bench.first.version for _, _, version in asked.answers):
            raise Fault("a damaged model answers")
    return f"{count} kinds of damage"


CASES: dict[str, Callable[[Bench], Awaitable[str]]] = {
    "slow": slow, "half-closed": half_closed, "huge": huge, "noise": noise, "killed": killed, "full disk": full_disk,
    "full queue": full_queue, "reload": replaced, "damaged": damaged,
}  # fmt: skip


def known(run: Path, folder: Path, texts: Sequence[str], *, colder: bool) -> Known:
    """A copy of the run's model; ``colder``: another one, of the same labels with another confidence."""
    shutil.copytree(find(run).resolve(), folder)
    if colder:
        set_temperature(folder, 0.5)
        probes.write(folder, Classifier.load(folder))
        write_checksums(folder)
    classifier = Classifier.load(folder)
    right = [(classifier.names[row.argmax()], float(row.max())) for row in classifier.predict_proba(texts)]
    return Known(folder, fingerprint(folder)[:12], right)


async def main() -> int:
    """Do what is asked for, case by case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("reviews", type=Path)
    parser.add_argument("cases", nargs="*", metavar="CASE", default=list(CASES))
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    source = open_source(given.reviews, text_column="auto", id_column="none", encoding="auto", text_required=True)
    texts = [text for batch in read_batches(source, rows=20_000) for text in batch["text"] if len(text) < 1000]
    texts = [texts[row] for row in np.linspace(0, len(texts) - 1, min(400, len(texts))).astype(int)]
    faults = 0
    with tempfile.TemporaryDirectory() as place:
        load = partial(known, given.run, texts=texts)
        first, second = load(Path(place) / "first", colder=False), load(Path(place) / "second", colder=True)
        for number in range(given.times):
            for name in given.cases:
                work = Path(tempfile.mkdtemp(dir=place))
                bench = Bench(first, second, texts, work, random.Random(f"{given.seed} {name} {number}"))
                begun = time.monotonic()
                try:
                    said, fault = await asyncio.wait_for(CASES[name](bench), SECONDS), ""
                except Exception as error:
                    said, fault = "", str(error) if isinstance(error, Fault) else traceback.format_exc()[-1500:]
                faults += bool(fault)
                line = {"case": name, "fault": fault, "done": said, "seconds": round(time.monotonic() - begun, 1)}
                print(json.dumps(line, ensure_ascii=False), flush=True)
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
