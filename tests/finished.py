"""A finished run as its stages would leave it, with invented figures, and what a browser makes of its report."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import polars as pl

from tsirius import tables
from tsirius.categories import Categories, Category
from tsirius.reporting.records import STAGES

NAMES = ["одежда", "обувь", "посуда", "текстиль", "товары для детей", "украшения и аксессуары", "электроника",
         "бытовая техника", "нет товара"]  # fmt: skip  # fmt: skip
TEXTS = [
    "Куртка тёплая, но рукава короткие, на рост 176 брала бы на размер больше.",
    "Пришло быстро, упаковка целая, продавцу спасибо!",
    "Кроссовки лёгкие, подошва не скользит 👟, хожу в них вторую неделю",
    "Набор тарелок приехал без единого скола. Краска по краю ровная, в посудомойке не слезла.",
    "Плед колется, зато греет. После стирки стал мягче; катышков пока нет, но ворс в машинке остался весь, "
    "пришлось чистить фильтр. Цвет темнее, чем на фото: заявлен песочный, пришёл почти коричневый. Оставлю на дачу.",
    "Заряжает за час, но греется сильно",
]


def make_run(
    root: Path,
    *,
    names: Sequence[str] = NAMES,
    rows: int = 600,
    texts: Sequence[str] = TEXTS,
    rejected: int = 30,
    gold: bool = True,
    predict: bool = True,
    records: bool = True,
) -> dict[str, Path]:
    """Write the folders that the stages of a finished run would leave; returns them by stage."""
    random_ = random.Random(0)
    given = {stage: root / stage for stage in STAGES if predict or stage != "predict"}
    for folder in given.values():
        folder.mkdir(parents=True, exist_ok=True)
    categories = Categories([Category(name, none=index == len(names) - 1) for index, name in enumerate(names)])
    (given["ingest"] / "categories.json").write_text(categories.to_json(), encoding="utf-8")
    weights = [1 / (index + 1) for index in range(len(names))]
    reviews = write_reviews(given["ingest"], [texts[row % len(texts)] for row in range(rows)], rejected=rejected)
    labels = write_labels(given["label"], reviews["id"].to_list(), names, weights, random_)
    write_training(given, reviews, labels)
    write_scores(given["evaluate"], names, weights, texts, {"valid": rows // 6, "gold": rows // 2 * gold}, random_)
    if predict:
        predictions = pl.DataFrame(
            {"id": reviews["id"], "category": random_.choices(names[:-1], weights[:-1], k=rows),
             "confidence": [random_.betavariate(5, 2) for _ in range(rows)]}, schema=tables.PREDICTIONS,
        )  # fmt: skip
        tables.write(predictions, tables.PREDICTIONS, given["predict"] / "predictions.parquet")
    if records:
        write_records(given, names, rows=rows)
    return given


def write_reviews(folder: Path, texts: Sequence[str], *, rejected: int) -> pl.DataFrame:
    """The reviews that ingest kept, of which the first 20 are copies of each other in pairs, and those it rejected."""
    rows = len(texts)
    reviews = pl.DataFrame({"id": map(str, range(rows)), "source": ["train.csv"] * rows, "row": range(1, rows + 1),
                            "text": texts, "clean": texts,
                            "group": [row // 2 if row < 20 else row for row in range(rows)]},
                           schema=tables.REVIEWS)  # fmt: skip
    tables.write(reviews, tables.REVIEWS, folder / "reviews.parquet")
    bad = [{"id": f"r{row}", "source": "train.csv", "row": rows + row + row // 4,
            "reason": ("empty", "too long")[row % 3 == 0]} for row in range(rejected)]  # fmt: skip
    tables.write(pl.DataFrame(bad, schema=tables.REJECTED), tables.REJECTED, folder / "rejected.parquet")
    return reviews


def write_labels(
    folder: Path, ids: Sequence[str], names: Sequence[str], weights: Sequence[float], random_: random.Random
) -> pl.DataFrame:
    """A label, or none, for each review, and the votes of two labellers."""
    label = [random_.choices([*names, None], [*weights, 0.4])[0] for _ in ids]
    confidence = [round(random_.betavariate(4, 2.5), 4) if name else None for name in label]

    def vote(name: str | None) -> list[float] | None:
        return [0.9 if other == name else 0.1 / len(names) for other in names] if name else None

    votes = [
        {"id": row, "labeller": labeller, "said": choice, "probabilities": vote(choice), "evidence": ["рукав"]}
        for row, name in zip(ids, label, strict=True)
        for labeller, choice in (("lexicon", name), ("matcher", random_.choice([name, *names])))
    ]
    tables.write(pl.DataFrame(votes, schema=tables.VOTES), tables.VOTES, folder / "votes.parquet")
    labels = pl.DataFrame({"id": ids, "label": label, "confidence": confidence, "margin": confidence,
                           "labellers": [["lexicon"]] * len(ids), "doubtful": [False] * len(ids)},
                          schema=tables.LABELS)  # fmt: skip
    tables.write(labels, tables.LABELS, folder / "labels.parquet")
    return labels


def write_training(given: Mapping[str, Path], reviews: pl.DataFrame, labels: pl.DataFrame) -> None:
    """What select, split, balance and augment make of labelled reviews."""
    # rounded as they were written: in single precision 0.6 is a little more
    confidence = [None if value is None else round(value, 4) for value in labels["confidence"]]
    zones = [
        "no label" if not c else "sure" if c >= 0.6 else "grey, tops up" if c >= 0.55 else "unsure" for c in confidence
    ]
    labelled = reviews.select("id", "clean", "group").with_columns(
        label=labels["label"],
        confidence=labels["confidence"],
        kept=pl.Series([zone in ("sure", "grey, tops up") for zone in zones], dtype=pl.Boolean),
        reason=pl.Series(zones, dtype=pl.String),
        weight=pl.lit(1, dtype=pl.Float32),
    )
    tables.write(labelled, tables.LABELLED, given["select"] / "labelled.parquet")

    kept = labelled.filter("kept").with_columns(
        origin=pl.col("id"), method=pl.lit("written"), weight=pl.lit(1, dtype=pl.Float32)
    )
    train, valid = kept.slice(0, kept.height * 9 // 10), kept.slice(kept.height * 9 // 10)
    tables.write(train, tables.EXAMPLES, given["split"] / "train.parquet")
    tables.write(valid, tables.EXAMPLES, given["split"] / "valid.parquet")
    balanced = train.filter(pl.int_range(pl.len()).over("label") < 60)
    repeats = balanced.head(4).with_columns(id=pl.col("id") + "-repeat", method=pl.lit("repeat"))
    balanced = pl.concat([balanced, repeats])
    tables.write(balanced, tables.EXAMPLES, given["balance"] / "train.parquet")

    variants = (
        balanced.filter(pl.col("method") == "written")
        .filter(pl.int_range(pl.len()).over("label") < 15)
        .with_columns(id=pl.col("id") + "-swap", method=pl.lit("swap"))
    )
    tables.write(pl.concat([balanced, variants]), tables.EXAMPLES, given["augment"] / "train.parquet")
    accepted = variants.select("id", "origin", "method", "label", "clean", source="clean").with_columns(
        similarity=pl.lit(0.7, dtype=pl.Float32)
    )
    tables.write(accepted, tables.VARIANTS, given["augment"] / "variants.parquet")
    refused = variants.head(9).select("method", "label", "clean", source="clean", reason=pl.lit("too short"))
    tables.write(refused, tables.REFUSED, given["augment"] / "refused.parquet")


def write_scores(
    folder: Path,
    names: Sequence[str],
    weights: Sequence[float],
    texts: Sequence[str],
    sizes: Mapping[str, int],
    random_: random.Random,
) -> None:
    """Scored rows, of which seven in ten are right, and their scores; ``sizes`` are those of ``valid`` and ``gold``."""
    scores: dict[str, Any] = {"pseudo_label": None, "gold": None}
    for kind, table in (("pseudo_label", "valid"), ("gold", "gold")):
        if size := sizes[table]:
            truth = random_.choices(names, weights, k=size)
            guess = [name if random_.random() < 0.7 else random_.choices(names, weights)[0] for name in truth]
            scores[kind] = score(truth, guess, names)
            pl.DataFrame({"id": [f"{kind}{row}" for row in range(size)],
                          "clean": [texts[row % len(texts)] for row in range(size)],
                          "label": truth, "predicted": guess, "confidence": [random_.random() for _ in truth]}
                         ).write_parquet(folder / f"{table}_predictions.parquet")  # fmt: skip
    (folder / "scores.json").write_text(json.dumps(scores, ensure_ascii=False), encoding="utf-8")


def write_records(given: Mapping[str, Path], names: Sequence[str], *, rows: int) -> None:
    """The stages' records."""
    for number, (stage, folder) in enumerate(given.items()):
        settings = {"sure": 0.6, "grey": 0.4} if stage == "select" else {"use": "linear", "words": {"n": [1, 2]}}
        record = {"stage": stage, "seconds": 1.7**number, "peak_memory_mib": 180.0 + 120 * number,
                  "key": {"settings": settings, "seed": 0},
                  "notes": {"rows": rows, "categories": dict.fromkeys(names, 7)},
                  "versions": {"tsirius": "0.1.0", "polars": "2.1.0", "scikit-learn": "1.9.1"}}  # fmt: skip
        if stage == "augment":
            record["notes"] = {"refused": {"too short": 11}, "refused_by_method": {"swap": {"too short": 11}},
                               "short": {names[0]: 5}, "short_because": {names[0]: "few reviews, 3"}}  # fmt: skip
        (folder / "record.json").write_text(json.dumps(record, ensure_ascii=False), encoding="utf-8")


def score(truth: Sequence[str], guess: Sequence[str], names: Sequence[str]) -> dict[str, Any]:
    """A score in the form of ``scores.json``."""
    cells = Counter(zip(truth, guess, strict=True))
    confusion = [[cells[a, b] for b in names] for a in names]
    rows = []
    for place, name in enumerate(names):
        hits, said, support = confusion[place][place], sum(row[place] for row in confusion), sum(confusion[place])
        precision, recall = hits / max(1, said), hits / max(1, support)
        f1 = 2 * precision * recall / (precision + recall or 1)
        rows.append({"category": name, "precision": precision, "recall": recall, "f1": f1, "support": support})
    f1 = sum(row["f1"] * row["support"] for row in rows) / len(truth)
    top, most = Counter(truth).most_common(1)[0]
    share = most / len(truth)
    return {
        "rows": len(truth),
        "weighted_f1": f1,
        "interval": [f1 - 0.04, min(1.0, f1 + 0.04)],
        "accuracy": sum(a == b for a, b in zip(truth, guess, strict=True)) / len(truth),
        "majority": {"category": top, "weighted_f1": share * 2 * share / (1 + share)},
        "categories": rows,
        "confusion": confusion,
        "names": list(names),
    }


class Page(HTMLParser):
    """What a browser would make of a page: its tags, attributes and visible words; unbalanced tags are an error."""

    VOID = frozenset({"meta", "input", "br", "link", "img"})

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str | None]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open
        self.visible = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "title"} & set(self.open):
            self.words.append(data)

    def values(self, name: str) -> list[str]:
        return [value or "" for _, attribute, value in self.attributes if attribute == name]


def check_harmless(text: str, *, beside: Collection[str] = ()) -> Page:
    """Nothing runs, nothing is loaded, every id is unique and every link leads somewhere: ``beside`` are the files
    beside the page."""
    seen = Page(text)
    assert not {"script", "link", "img", "iframe", "object", "form", "base"} & seen.tags.keys()
    assert not [name for _, name, _ in seen.attributes if name.startswith("on") or name in ("src", "srcset", "srcdoc")]
    assert not re.search(r"url\(|@import|https?:", text)
    ids = seen.values("id")
    assert len(ids) == len(set(ids))
    assert all((link.startswith("#") and link[1:] in ids) or link in beside for link in seen.values("href"))
    assert {*seen.values("aria-labelledby"), *seen.values("for")} <= set(ids)
    assert seen.tags["caption"] == seen.tags["table"] and seen.tags["h1"] == seen.tags["main"] == 1
    assert seen.values("lang") == ["en"]
    return seen
