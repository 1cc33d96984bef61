"""The desk's page over many reviews: how long its pages take, what memory it holds, whether an answer is lost.

A run of ``--reviews`` texts, put together from sentences of the sample, is written as its stages would leave it, with
random embeddings and a linear model. ``tsirius desk`` is started on it as a process of its own on a free port of
loopback. First one person opens each page in turn; then ``--clients`` people answer until together they have given
``--answers``, each from the page before; then the process is killed (SIGKILL) while they go on, and every answer that
was acknowledged must be in the log. It ends by itself.

    python benchmarks/desk.py --reviews 100000
"""

from __future__ import annotations

import argparse
import csv
import http.client
import json
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import numpy as np
import polars as pl
import psutil

from tsirius import tables
from tsirius.answers.log import Log
from tsirius.categories import Categories, Category
from tsirius.commands.new import SAMPLE
from tsirius.models import embeddings, hub, linear
from tsirius.models.classifier import Description
from tsirius.store import seal, write_checksums

WIDTH = 384
"""Of the embeddings, as those of the embedded models."""
TAUGHT = 2000
"""Reviews that the model is fitted to."""
PAGES = {
    "overview": "/",
    "unsure": "/work?queue=unsure",
    "disagree": "/work?queue=disagree",
    "contradicts": "/work?queue=contradicts",
    "likely wrong": "/work?queue=likely_wrong",
    "category, list": "/work?queue=category&category={category}",
    "search of a word, list": "/work?queue=search&words={word}",
    "search of a column, list": "/work?queue=search&column=row&having=77&state=open",
    "second opinion": "/work?queue=second",
    "people disagree": "/work?queue=disputed",
    "exam": "/work?queue=exam",
    "train again": "/model",
    "categories": "/categories",
}


def make_run(root: Path, rows: int, *, seed: int) -> list[str]:
    """Write a finished run with labels of random confidence, each tenth of them wrong; returns the categories."""
    chance, numbers = random.Random(seed), np.random.default_rng(seed)
    with (SAMPLE / "reviews.csv").open(encoding="utf-8-sig", newline="") as file:
        sample = [(row["text"], row["category"]) for row in csv.DictReader(file)]
    names = sorted({name for _, name in sample})
    by_name = {name: [text for text, own in sample if own == name] for name in names}
    truth = [chance.randrange(len(names)) for _ in range(rows)]
    texts = [f"{' '.join(chance.sample(by_name[names[k]], 3))} {number}" for number, k in enumerate(truth)]
    groups = [row - row % 2 if row % 20 < 2 else row for row in range(rows)]
    reviews = pl.DataFrame(
        {"id": [str(row) for row in range(rows)], "source": "reviews.csv", "row": range(1, rows + 1), "text": texts,
         "clean": texts, "group": groups}, schema=dict(tables.REVIEWS),
    )  # fmt: skip
    for stage in ("ingest", "label", "answers", "train"):
        (root / stage).mkdir(parents=True)
    tables.write(reviews, tables.REVIEWS, root / "ingest" / "reviews.parquet")
    categories = Categories([Category(name, none=name == names[-1]) for name in names])
    (root / "ingest" / "categories.json").write_text(categories.to_json(), encoding="utf-8")
    _write_labels(root, reviews, np.array(truth), names, numbers)
    vectors = numbers.normal(size=(rows, WIDTH)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    embeddings.publish(root / "label", texts, vectors, model=hub.EMBEDDED, max_length=256)
    _write_model(root / "train" / "model", texts[:TAUGHT], truth[:TAUGHT], names)
    for stage in ("ingest", "label", "answers", "train"):
        seal(root / stage, {})
    return names


def _write_labels(root: Path, reviews: pl.DataFrame, truth: Any, names: list[str], numbers: Any) -> None:
    rows = reviews.height
    labels = np.where(numbers.random(rows) < 0.1, numbers.integers(0, len(names), rows), truth)
    confidence = numbers.uniform(0.3, 1.0, rows).astype(np.float32)
    consensus = np.full((rows, len(names)), 0.01, dtype=np.float32)
    consensus[np.arange(rows), labels] = confidence
    np.save(root / "label" / "consensus.npy", consensus)
    table = reviews.select("id").with_columns(
        label=pl.Series(names).gather(labels),
        confidence=pl.Series(confidence),
        margin=pl.Series(confidence / 2),
        labellers=pl.lit(["matcher"]),
        doubtful=pl.Series(labels != truth),
    )
    tables.write(table, tables.LABELS, root / "label" / "labels.parquet")
    taught = table.with_columns(role=pl.lit(None, pl.String), weight=pl.lit(1, pl.Float32))
    tables.write(taught, tables.TAUGHT, root / "answers" / "labels.parquet")
    votes = [
        reviews.select("id").with_columns(
            labeller=pl.lit(labeller),
            said=pl.Series(names).gather(said),
            probabilities=pl.lit([1 / len(names)] * len(names), dtype=tables.PROBABILITIES),
            evidence=pl.lit([], dtype=pl.List(pl.String)),
        )
        for labeller, said in (("matcher", labels), ("nli", truth))
    ]
    tables.write(pl.concat(votes), tables.VOTES, root / "label" / "votes.parquet")


def _write_model(folder: Path, texts: list[str], truth: list[int], names: list[str]) -> None:
    folder.mkdir(parents=True)
    linear.fit(texts, truth, weights=None, categories=len(names), c=10.0, rounds=50, embed=None).save(folder)
    Description(
        "linear", names, names[-1], None, [0.0] * len(names), base_model=None, base_fingerprint=None, max_length=None,
        parts=[],
    ).save(folder)  # fmt: skip
    write_checksums(folder)


class Person:
    """A person's browser: a connection that is kept, the token's cookie, and where a form leads."""

    def __init__(self, address: str, name: str) -> None:
        found = re.fullmatch(r"http://([\d.]+):(\d+)/\?token=(.+)", address)
        assert found
        self._host, self._port, token = found[1], int(found[2]), found[3]
        self._cookie = f"desk_{self._port}={token}; desk_who={quote(name)}"
        self._connection = http.client.HTTPConnection(self._host, self._port, timeout=60)

    def ask(self, method: str, path: str, body: str | None = None) -> tuple[int, str, str]:
        """The status, where it leads, and the page."""
        headers = {"Cookie": self._cookie, "Origin": f"http://{self._host}:{self._port}",
                   "Content-Type": "application/x-www-form-urlencoded"}  # fmt: skip
        self._connection.request(method, path, body, headers)
        answer = self._connection.getresponse()
        return answer.status, answer.headers.get("Location", ""), answer.read().decode()

    def open(self, path: str) -> str:
        status, _, page = self.ask("GET", path)
        if status != 200:
            raise RuntimeError(f"{path}: {status}")
        return page

    def answer(self, page: str, category: str) -> tuple[str, str]:
        """Answer the review of a page; returns its id and the next page."""
        found = re.search(r'name="review" value="([^"]+)"', page)
        assert found
        fields = {"queue": "unsure", "view": "one", "blind": "1", "review": found[1], "category_is": category}
        status, leads, _ = self.ask("POST", "/answer", urlencode(fields))
        if status != 303:
            raise RuntimeError(f"answer: {status}")
        return found[1], self.open(leads)


def start(run: Path) -> tuple[subprocess.Popen[str], str, float]:
    """The process, its address, and how long it took to be there, in seconds."""
    begun = time.monotonic()
    command = [sys.executable, "-m", "tsirius", "desk", str(run), "--port", "0", "--no-browser", "--lang", "ru"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip(), time.monotonic() - begun


def time_pages(person: Person, process: int, names: list[str], rounds: int) -> dict[str, dict[str, float]]:
    """The median and the slowest of each page, and the process' own time for one, in milliseconds; the last hangs less
    on what else the machine does."""
    server = psutil.Process(process)
    figures = {}
    for title, path in PAGES.items():
        seconds, spent = [], sum(server.cpu_times()[:2])
        for turn in range(rounds):
            page = path.format(category=quote(names[turn % len(names)]), word=quote("размер"))
            begun = time.monotonic()
            person.open(page)
            seconds.append(time.monotonic() - begun)
        figures[title] = {
            "median_ms": round(float(np.median(seconds)) * 1000, 1),
            "max_ms": round(max(seconds) * 1000, 1),
            "cpu_ms": round((sum(server.cpu_times()[:2]) - spent) / rounds * 1000, 1),
        }
    return figures


def answer_at_once(address: str, names: list[str], clients: int, answers: int) -> tuple[list[tuple[str, str]], float]:
    """The answers that were acknowledged, as person and review, and the seconds that all took; each of the clients
    stops after its share, or where the server is gone."""
    kept, lock = list[tuple[str, str]](), threading.Lock()

    def work(number: int) -> None:
        name = f"person {number}"
        person, chance = Person(address, name), random.Random(number)
        try:
            page = person.open("/work?queue=unsure")
            for _ in range(answers // clients):
                review, page = person.answer(page, chance.choice(names))
                with lock:
                    kept.append((name, review))
        except (OSError, http.client.HTTPException):
            return

    begun = time.monotonic()
    threads = [threading.Thread(target=work, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return kept, time.monotonic() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reviews", type=int, default=100_000)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--answers", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        names = make_run(run, options.reviews, seed=0)
        process, address, seconds = start(run)
        try:
            person = Person(address, "person")
            begun = time.monotonic()
            while "модель читает" in person.open("/"):
                time.sleep(0.5)
            read = time.monotonic() - begun
            person.ask("POST", "/exam", "")
            for _ in range(30):
                page = person.open("/work?queue=exam")
                review = re.search(r'name="review" value="([^"]+)"', page)
                assert review
                person.ask(
                    "POST", "/answer", urlencode({"queue": "exam", "review": review[1], "category_is": names[0]})
                )
            pages = time_pages(person, process.pid, names, options.rounds)
            given, took = answer_at_once(address, names, options.clients, options.answers)
            pages_after = time_pages(Person(address, "person"), process.pid, names, options.rounds)
            memory = psutil.Process(process.pid).memory_info().rss / 2**20
            killer = threading.Timer(3.0, process.kill)
            killer.start()
            more, _ = answer_at_once(address, names, options.clients, 10**6)
            killer.join()
        finally:
            process.kill()
            process.wait()
        logged = {(one.who, one.review) for one in Log(run).standing()}
        lost = [one for one in [*given, *more] if one not in logged]
        reviews = [review for _, review in given]
        print(
            json.dumps(
                {
                    "reviews": options.reviews,
                    "start_seconds": round(seconds, 1),
                    "model_read_seconds": round(read, 1),
                    "pages": pages,
                    "pages_after_answers": pages_after,
                    "resident_mib": round(memory),
                    "answers": len(given),
                    "answers_a_minute": round(60 * len(given) / took),
                    "asked_twice": len(reviews) - len(set(reviews)),
                    "acknowledged_before_the_kill": len(more),
                    "lost": len(lost),
                },
                indent=1,
            )
        )
    sys.exit(1 if lost else 0)


if __name__ == "__main__":
    main()
