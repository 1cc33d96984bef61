"""Does ``tsirius drift`` tell a change from chance?

Weeks are drawn from one file of reviews: half of its reviews are known, the week is drawn from the other half. Without
a change there should be an alarm in at most ``alpha`` of the draws; with a share of reviews of something new, in nearly
all.

    python benchmarks/drift.py RUN reviews.csv other.csv --rows 2000 --share 0.1
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from tsirius import tables
from tsirius.calibration import wilson
from tsirius.commands import drift
from tsirius.io.source import open_source, read_batches
from tsirius.language.clean import normalise
from tsirius.models.classifier import Classifier
from tsirius.store import Store


def read(path: Path) -> list[str]:
    """The cleaned texts of a file."""
    source = open_source(path, text_column="auto", id_column="none", encoding="auto", text_required=True)
    return [normalise(text) for batch in read_batches(source, rows=20_000) for text in batch["text"]]


def main() -> None:
    """Draw, compare, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("reviews", type=Path, help="reviews in which nothing changes; not the run's training file")
    parser.add_argument("other", type=Path, help="reviews of something that the run does not know")
    parser.add_argument("--rows", type=int, default=2000, help="reviews of a week")
    parser.add_argument("--share", type=float, default=0.1, help="of them from the other file")
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--alpha", type=float, default=0.01)
    given = parser.parse_args()
    classifier = Classifier.load(given.run)
    known = tables.read(Store(given.run).read("ingest") / "reviews.parquet", tables.REVIEWS)["clean"].to_list()
    texts, others = read(given.reviews), read(given.other)
    said, said_others = classifier.predict_proba(texts), classifier.predict_proba(others)
    random = np.random.default_rng(0)
    for share in (0.0, given.share):
        alarms, by = 0, dict[str, int]()
        for _ in range(given.draws):
            order = random.permutation(len(texts))
            half = len(order) // 2
            new = order[half : half + given.rows - round(share * given.rows)]
            changed = random.choice(len(others), round(share * given.rows), replace=False)
            before, after = said[order[:half]], np.concatenate([said[new], said_others[changed]])
            found = drift.compare(
                known, [texts[row] for row in new] + [others[row] for row in changed],
                (before.argmax(axis=1), before.max(axis=1)), (after.argmax(axis=1), after.max(axis=1)),
                names=classifier.names, file="drawn", alpha=given.alpha,
            )  # fmt: skip
            alarms += found.drifted
            for one in found.measures:
                by[one.name] = by.get(one.name, 0) + one.drifted
        low, high = wilson(alarms / given.draws, given.draws)
        found_in = {"alarms": alarms, "interval": [round(low, 4), round(high, 4)], "by": by}
        week = {"share": share, "rows": len(new) + len(changed), "draws": given.draws}
        print(json.dumps(week | found_in, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
