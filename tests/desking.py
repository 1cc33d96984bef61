"""A small finished run for the desk, and a browser's side of its page."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode

import numpy as np
import polars as pl
from starlette.testclient import TestClient

from tsirius import tables
from tsirius.categories import Categories, Category
from tsirius.desk.app import application
from tsirius.desk.board import Board
from tsirius.models import embeddings, hub, linear
from tsirius.models.classifier import Description
from tsirius.store import seal, write_checksums

NAMES = ["обувь", "посуда", "нет товара"]
SCRIPT = '<script>alert("&amp;")</script> и <b>тапки</b>'
WORDS = ["ботинки жмут пятку", "чашка со сколом", "спасибо за доставку"]
ROWS = 60
TOKEN = "the-token"
HOST = "127.0.0.1:8090"
ORIGIN = f"http://{HOST}"


def make_run(root: Path, *, rows: int = ROWS, model: bool = True) -> Path:
    """Reviews of three kinds in turn, each labelled rightly but for every tenth, which is «обувь».

    Review ``r0`` holds a script; ``r3``, ``r6`` and ``r9`` are near copies of each other; of all, each has the words of
    its kind and its number.
    """
    truth = np.arange(rows) % 3
    labels = np.where(np.arange(rows) % 10 == 5, 0, truth)
    texts = [SCRIPT if row == 0 else f"{WORDS[row % 3]}, отзыв {row}" for row in range(rows)]
    groups = [3 if row in (3, 6, 9) else row for row in range(rows)]
    reviews = pl.DataFrame(
        {"id": [f"r{row}" for row in range(rows)], "source": "shop.csv", "row": range(1, rows + 1), "text": texts,
         "clean": texts, "group": groups}, schema=dict(tables.REVIEWS),
    )  # fmt: skip
    categories = Categories([Category(name, none=name == NAMES[-1]) for name in NAMES])
    for stage in ("ingest", "label", "answers"):
        (root / stage).mkdir(parents=True)
    tables.write(reviews, tables.REVIEWS, root / "ingest" / "reviews.parquet")
    (root / "ingest" / "categories.json").write_text(categories.to_json(), encoding="utf-8")
    confidence = 0.4 + 0.5 * (np.arange(rows) / rows)
    consensus = np.full((rows, 3), 0.0, dtype=np.float32)
    consensus[np.arange(rows), labels] = confidence
    np.save(root / "label" / "consensus.npy", consensus)
    said = reviews.select("id").with_columns(
        label=pl.Series([NAMES[label] for label in labels]),
        confidence=pl.Series(confidence, dtype=pl.Float32),
        margin=pl.Series(confidence / 2, dtype=pl.Float32),
        labellers=pl.lit(["matcher"]),
        doubtful=pl.Series(labels != truth),
    )
    tables.write(said, tables.LABELS, root / "label" / "labels.parquet")
    taught = said.with_columns(role=pl.lit(None, pl.String), weight=pl.lit(1, pl.Float32))
    tables.write(taught, tables.TAUGHT, root / "answers" / "labels.parquet")
    votes = pl.concat([_votes(reviews, "matcher", labels), _votes(reviews, "nli", truth)])
    tables.write(votes, tables.VOTES, root / "label" / "votes.parquet")
    vectors = np.eye(8, dtype=np.float32)[np.arange(rows) % 8]
    embeddings.publish(root / "label", texts, vectors, model=hub.EMBEDDED, max_length=256)
    for stage in ("ingest", "label", "answers"):
        seal(root / stage, {})
    if model:
        make_model(root / "train" / "model", texts, truth.tolist())
        seal(root / "train", {})
    return root


def make_model(folder: Path, texts: list[str], labels: list[int]) -> None:
    """A linear model of the words of some texts."""
    folder.mkdir(parents=True)
    linear.fit(texts, labels, weights=None, categories=len(NAMES), c=10.0, rounds=50, embed=None).save(folder)
    description = Description(
        "linear", NAMES, NAMES[-1], None, [0.0] * 3, base_model=None, base_fingerprint=None, max_length=None, parts=[]
    )
    description.save(folder)
    write_checksums(folder)


def _votes(reviews: pl.DataFrame, labeller: str, labels: Any) -> pl.DataFrame:
    return reviews.select("id").with_columns(
        labeller=pl.lit(labeller),
        said=pl.Series([NAMES[label] for label in labels]),
        probabilities=pl.lit([0.6, 0.3, 0.1], dtype=tables.PROBABILITIES),
        evidence=pl.lit([], dtype=pl.List(pl.String)),
    )


class Seen(HTMLParser):
    """A page as a browser has it: its forms' fields, its links, and the text of each kind of element."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags = list[tuple[str, dict[str, str | None]]]()
        self._open, self._texts = list[tuple[str, int]](), list[tuple[str, str]]()
        self.words = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data

    def all(self, tag: str, **wanted: str) -> list[dict[str, str | None]]:
        return [at for name, at in self.tags if name == tag and all(at.get(key) == value for key, value in
                                                                   wanted.items())]  # fmt: skip

    def review(self) -> str | None:
        """The id of the review that is asked; None where there is none."""
        found = self.all("input", name="review")
        return found[0]["value"] if found else None

    def answer_fields(self) -> dict[str, str]:
        """The hidden fields of the form that answers."""
        fields, inside = {}, False
        for tag, at in self.tags:
            if tag == "form":
                inside = at.get("action") == "/answer"
            if inside and tag == "input" and at.get("type") == "hidden":
                fields[at["name"] or ""] = at["value"] or ""
        return fields


class Person:
    """A person at the page, who follows where it leads."""

    def __init__(self, app: Any, name: str = "", *, lang: str = "en") -> None:
        self.client = TestClient(app, base_url=ORIGIN, follow_redirects=True)
        self.client.get(f"/?token={TOKEN}")
        if name:
            self.post("/settings", who=name, lang=lang)

    def get(self, path: str) -> Seen:
        answer = self.client.get(path)
        assert answer.status_code == 200, (path, answer.status_code, answer.text[:500])
        return Seen(answer.text)

    def work(self, queue: str, **narrowed: str) -> Seen:
        return self.get("/work?" + urlencode({"queue": queue, **narrowed}))

    def raw(self, path: str, **fields: Any) -> Any:
        body = urlencode(fields, doseq=True)
        headers = {"origin": ORIGIN, "content-type": "application/x-www-form-urlencoded"}
        return self.client.post(path, content=body, headers=headers)

    def post(self, path: str, **fields: Any) -> Seen:
        answer = self.raw(path, **fields)
        assert answer.status_code == 200, (path, answer.status_code, answer.text[:500])
        return Seen(answer.text)

    def answer(self, seen: Seen, category: str | None = None, **fields: Any) -> Seen:
        """Press a button of the form of a page."""
        chosen = {"category_is": category} if category else {}
        return self.post("/answer", **{**seen.answer_fields(), **chosen, **fields})


def sit(run: Path) -> tuple[Board, Any]:
    """The desk of a run, and its application, with the model already read."""
    board = Board(run)
    board.read_model()
    board.wait()
    return board, application(board, token=TOKEN, lang="en")


def draw_exam(run: Path, ids: list[str]) -> None:
    """Have the exam draw exactly these."""
    from tsirius.answers.standing import SAMPLE
    from tsirius.store import with_checksum

    (run / SAMPLE).parent.mkdir(exist_ok=True)
    sample = {"rows": [[name, "all", ROWS] for name in ids]}
    (run / SAMPLE).write_text(json.dumps(with_checksum(sample)), encoding="utf-8")


def number(text: str) -> int:
    """The first number in a text."""
    found = re.search(r"\d+", text)
    assert found
    return int(found[0])


def query_of(address: str) -> dict[str, str]:
    """The fields of an address."""
    return {name: values[0] for name, values in parse_qs(address.partition("?")[2]).items()}
