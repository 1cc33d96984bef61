"""The same reviews by ``tsirius predict``, in Python, and by every dialect of the server: whether the labels are
those in Python, and how far apart the confidences are. The file of ``tsirius predict`` has them in four decimals: it is
compared with those of Python, rounded so. The exit code is 1 where a label differs or a confidence by more than 1e-6.

    python benchmarks/parity.py RUN reviews.csv
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from serve import Client, started

from tsirius.commands.predict import predict_file
from tsirius.io.source import open_source, read_batches
from tsirius.models.classifier import Classifier

TEXTS = 512
"""Texts of a request."""
APART = 1e-6
"""Confidences are at most so far apart."""

Said = list[tuple[str, float]]


def tensors(answer: Any) -> Said:
    """What KServe's form says."""
    found = {output["name"]: output["data"] for output in answer["outputs"]}
    return list(zip(found["category"], found["confidence"], strict=True))


def tensor(texts: Sequence[str]) -> dict[str, Any]:
    """A request in KServe's form."""
    return {"inputs": [{"name": "text", "shape": [len(texts)], "datatype": "BYTES", "data": list(texts)}]}


DIALECTS: dict[str, tuple[str, Callable[[Sequence[str]], Any], Callable[[Any], Said]]] = {
    "own": ("/v1/classify", lambda texts: {"texts": texts},
            lambda answer: [(one["category"], one["confidence"]) for one in answer["results"]]),
    "tei": ("/predict", lambda texts: {"inputs": texts},
            lambda answer: [(one[0]["label"], one[0]["score"]) for one in answer]),
    "vllm": ("/v1/classify", lambda texts: {"model": "tsirius", "input": texts},
             lambda answer: [(one["label"], max(one["probs"])) for one in answer["data"]]),
    "huggingface": ("/", lambda texts: {"inputs": texts},
                    lambda answer: [(one[0]["label"], one[0]["score"]) for one in answer]),
    "kserve": ("/v2/models/tsirius/infer", tensor, tensors),
}  # fmt: skip
"""Path, request and answer of each."""


async def main() -> int:
    """Predict the file in every way, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("reviews", type=Path)
    given = parser.parse_args()
    source = open_source(given.reviews, text_column="auto", id_column="none", encoding="auto", text_required=True)
    texts = [text for batch in read_batches(source, rows=20_000) for text in batch["text"]]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.parquet"
        predict_file(given.run, given.reviews, out)
        table = pl.read_parquet(out)
    classifier = Classifier.load(given.run)
    said = classifier.predict_proba(texts)
    wanted = [(classifier.names[row.argmax()], float(row.max())) for row in said]
    ways = {"predict": list(zip(table["category"].to_list(), table["confidence"].to_list(), strict=True))}
    async with started([sys.executable, "-m", "tsirius", "serve", str(given.run), "--port", "0"]) as port:
        client = Client(port)
        for name, (path, ask, read) in DIALECTS.items():
            ways[name] = []
            for start in range(0, len(texts), TEXTS):
                body = json.dumps(ask(texts[start : start + TEXTS])).encode()
                status, _, content = await client.post(path, body)
                assert status == 200, content
                ways[name] += read(json.loads(content))
        client.close()
    agree = True
    for name, found in ways.items():
        right = [(label, round(share, 4) if name == "predict" else share) for label, share in wanted]
        labels = sum(one[0] != other[0] for one, other in zip(found, right, strict=True))
        apart = max(abs(one[1] - other[1]) for one, other in zip(found, right, strict=True))
        agree &= not labels and apart <= APART
        print(json.dumps({"by": name, "rows": len(found), "other_labels": labels, "most_apart": apart}), flush=True)
    return int(not agree)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
