"""The report: what it says, what it never mixes, and that no review, name or empty table breaks it."""

from __future__ import annotations

import json
import random
import re
import time
from collections import Counter
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given as over
from hypothesis import settings
from hypothesis import strategies as st

from tsirius import tables
from tsirius.categories import Categories, Category
from tsirius.reporting import charts
from tsirius.stages import report
from tsirius.stages.evaluate import PREDICTED

NAMES = ["одежда", "обувь", "посуда", "текстиль", "товары для детей", "украшения и аксессуары", "электроника",
         "бытовая техника", "нет товара"]  # fmt: skip
TEXTS = [
    "Куртка тёплая, но рукава короткие, на рост 176 брала бы на размер больше.",
    "Пришло быстро, упаковка целая, продавцу спасибо!",
    "Кроссовки лёгкие, подошва не скользит 👟, хожу в них вторую неделю",
    "Набор тарелок приехал без единого скола. Краска по краю ровная, в посудомойке не слезла.",
    "Плед колется, зато греет. После стирки стал мягче; катышков пока нет, но ворс в машинке остался весь, "
    "пришлось чистить фильтр. Цвет темнее, чем на фото: заявлен песочный, пришёл почти коричневый. Оставлю на дачу.",
    "Заряжает за час, но греется сильно",
]
STAGES = ("ingest", "label", "select", "split", "balance", "augment", "train", "evaluate", "predict")


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
    """Write the folders that the stages of a finished run would leave, with made-up figures; returns them by stage."""
    random_ = random.Random(0)
    given = {stage: root / stage for stage in STAGES if predict or stage != "predict"}
    for folder in given.values():
        folder.mkdir(parents=True, exist_ok=True)
    categories = Categories([Category(name, none=place == len(names) - 1) for place, name in enumerate(names)])
    (given["ingest"] / "categories.json").write_text(categories.to_json(), encoding="utf-8")

    weights = [1 / (place + 1) for place in range(len(names))]
    ids = [str(row) for row in range(rows)]
    clean = [texts[row % len(texts)] for row in range(rows)]
    label = [random_.choices([*names, None], [*weights, 0.4])[0] for _ in ids]
    confidence = [round(random_.betavariate(4, 2.5), 4) if name else None for name in label]
    reviews = pl.DataFrame({"id": ids, "source": ["train.csv"] * rows, "row": range(1, rows + 1), "text": clean,
                            "clean": clean, "group": [row // 2 if row < 20 else row for row in range(rows)]},
                           schema=tables.REVIEWS)  # fmt: skip
    tables.write(reviews, tables.REVIEWS, given["ingest"] / "reviews.parquet")
    bad = [{"id": f"r{row}", "source": "train.csv", "row": rows + row + row // 4,
            "reason": ("empty", "too long")[row % 3 == 0]} for row in range(rejected)]  # fmt: skip
    tables.write(pl.DataFrame(bad, schema=tables.REJECTED), tables.REJECTED, given["ingest"] / "rejected.parquet")

    def vote(name: str | None) -> list[float] | None:
        return [0.9 if other == name else 0.1 / len(names) for other in names] if name else None

    votes = pl.DataFrame(
        [
            {"id": row, "labeller": who, "said": said, "probabilities": vote(said), "evidence": ["рукав"]}
            for row, name in zip(ids, label, strict=True)
            for who, said in (("lexicon", name), ("matcher", random_.choice([name, *names])))
        ],
        schema=tables.VOTES,
    )
    tables.write(votes, tables.VOTES, given["label"] / "votes.parquet")
    labels = pl.DataFrame({"id": ids, "label": label, "confidence": confidence, "margin": confidence,
                           "labellers": [["lexicon"]] * rows, "doubtful": [False] * rows},
                          schema=tables.LABELS)  # fmt: skip
    tables.write(labels, tables.LABELS, given["label"] / "labels.parquet")
    zones = [
        "no label" if not c else "sure" if c >= 0.6 else "grey, tops up" if c >= 0.55 else "unsure" for c in confidence
    ]
    labelled = reviews.select("id", "clean", "group").with_columns(
        label=pl.Series(label, dtype=pl.String),
        confidence=pl.Series(confidence, dtype=pl.Float32),
        kept=pl.Series([zone in ("sure", "grey, tops up") for zone in zones], dtype=pl.Boolean),
        reason=pl.Series(zones, dtype=pl.String),
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

    scores: dict[str, Any] = {"pseudo_label": None, "gold": None}
    for kind, table, size in (("pseudo_label", "valid", rows // 6), ("gold", "gold", rows // 2 if gold else 0)):
        if size:
            truth = random_.choices(names, weights, k=size)
            guess = [name if random_.random() < 0.7 else random_.choices(names, weights)[0] for name in truth]
            scores[kind] = score(truth, guess, names)
            pl.DataFrame({"id": [f"{kind}{row}" for row in range(size)],
                          "clean": [texts[row % len(texts)] for row in range(size)],
                          "label": truth, "predicted": guess, "confidence": [random_.random() for _ in truth]}
                         ).write_parquet(given["evaluate"] / f"{table}_predictions.parquet")  # fmt: skip
    (given["evaluate"] / "scores.json").write_text(json.dumps(scores, ensure_ascii=False), encoding="utf-8")
    if predict:
        predictions = pl.DataFrame(
            {"id": ids, "category": random_.choices(names[:-1], weights[:-1], k=rows),
             "confidence": [random_.betavariate(5, 2) for _ in ids]}, schema=tables.PREDICTIONS,
        )  # fmt: skip
        tables.write(predictions, tables.PREDICTIONS, given["predict"] / "predictions.parquet")
    if records:
        for place, (stage, folder) in enumerate(given.items()):
            settings_ = {"sure": 0.6, "grey": 0.4} if stage == "select" else {"use": "linear", "words": {"n": [1, 2]}}
            record = {"stage": stage, "seconds": 1.7**place, "peak_memory_mib": 180.0 + 120 * place,
                      "key": {"settings": settings_, "seed": 0},
                      "notes": {"rows": rows, "categories": dict.fromkeys(names, 7)},
                      "versions": {"tsirius": "0.1.0", "polars": "2.1.0", "scikit-learn": "1.9.1"}}  # fmt: skip
            if stage == "augment":
                record["notes"] = {"refused": {"too short": 11}, "refused_by_method": {"swap": {"too short": 11}},
                                   "short": {names[0]: 5}, "short_because": {names[0]: "few reviews, 3"}}  # fmt: skip
            (folder / "record.json").write_text(json.dumps(record, ensure_ascii=False), encoding="utf-8")
    return given


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


def page(given: dict[str, Path], out: Path, **config: int) -> str:
    out.mkdir(parents=True, exist_ok=True)
    report.run(report.Config(**config), given, out, seed=0, scratch=out)
    return (out / "report.html").read_text(encoding="utf-8")


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


def check_harmless(text: str) -> Page:
    """Nothing runs, nothing is loaded, every id is unique and every link leads somewhere."""
    seen = Page(text)
    assert not {"script", "link", "img", "iframe", "object", "form", "base"} & seen.tags.keys()
    assert not [name for _, name, _ in seen.attributes if name.startswith("on") or name in ("src", "srcset", "srcdoc")]
    assert not re.search(r"url\(|@import|https?:", text)
    ids = seen.values("id")
    assert len(ids) == len(set(ids))
    assert all(link.startswith("#") and link[1:] in ids for link in seen.values("href"))
    assert {*seen.values("aria-labelledby"), *seen.values("for")} <= set(ids)
    assert seen.tags["caption"] == seen.tags["table"] and seen.tags["h1"] == seen.tags["main"] == 1
    assert seen.values("lang") == ["en"]
    return seen


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_run(tmp_path_factory.mktemp("runs") / "winter-jackets")


def test_tells_the_run_from_its_rows_to_its_scores(finished: dict[str, Path], tmp_path: Path) -> None:
    text = page(finished, tmp_path)
    seen = check_harmless(text)
    scores = json.loads((finished["evaluate"] / "scores.json").read_text(encoding="utf-8"))
    assert "Report on run winter-jackets" in seen.visible
    for kind, against in (("gold", "against gold"), ("pseudo_label", "against pseudo-labels")):
        found = scores[kind]
        low, high = found["interval"]
        assert (
            f"Weighted F1 {against} {found['weighted_f1']:.3f} 0 0.5 1 95\xa0% interval {low:.3f}–{high:.3f}".replace(
                "\xa0", " "
            )
            in seen.visible.replace("\xa0", " ")
        )
        assert f"scores {found['majority']['weighted_f1']:.3f}" in seen.visible
    for name in NAMES:
        assert name in seen.visible
    assert "read 630 from the training files kept 600 30 rejected; 10 are copies" in seen.visible
    assert re.search(r"balanced 268 quotas left out 39 and repeated 4 augmented \d+ 127 variants", seen.visible)
    assert "grey 0.4" in seen.visible and "sure 0.6" in seen.visible
    assert "grey, tops up yes" in seen.visible and "no label no" in seen.visible
    assert "lexicon" in seen.visible and "matcher" in seen.visible
    assert "too long 10 600, 603, 607" in seen.visible
    assert "words.n [1, 2]" in seen.visible and "scikit-learn\xa01.9.1".replace("\xa0", " ") in seen.visible
    assert "1,140 MiB" in seen.visible or "1.1 GiB" in seen.visible.replace("\xa0", " ")


def test_tells_what_became_of_variants(finished: dict[str, Path], tmp_path: Path) -> None:
    seen = check_harmless(page(finished, tmp_path))
    assert "Variants of training reviews" in seen.visible
    assert re.search(r"swap 127 11 .*too short 11 100.%.*Accepted, the boldest first.*swap 0.700", seen.visible)
    assert re.search(r"did not bring to their target.* 5 few reviews, 3", seen.visible)
    for name in ("variants", "refused"):  # as an older version leaves it
        (finished["augment"] / f"{name}.parquet").rename(tmp_path / name)
    (finished["augment"] / "record.json").rename(tmp_path / "record")
    try:
        assert "Variants of training reviews" not in check_harmless(page(finished, tmp_path)).visible
    finally:
        for name in ("variants", "refused"):
            (tmp_path / name).rename(finished["augment"] / f"{name}.parquet")
        (tmp_path / "record").rename(finished["augment"] / "record.json")


def test_gold_and_pseudo_label_scores_are_never_mixed(finished: dict[str, Path], tmp_path: Path) -> None:
    text = page(finished, tmp_path)
    gold = text[text.index('<section aria-labelledby="gold">') : text.index('<section aria-labelledby="pseudo_label">')]
    pseudo = text[
        text.index('<section aria-labelledby="pseudo_label">') : text.index('<section aria-labelledby="rejected">')
    ]
    assert "pseudo-label" not in gold and "gold answer" in gold
    assert "gold" not in pseudo.lower() and "pseudo-label" in pseudo and "not truth" in pseudo


def test_pairs_are_the_most_confused_with_their_most_confident_examples(
    finished: dict[str, Path], tmp_path: Path
) -> None:
    names, confusion = ["a", "b", "c"], [[5, 3, 0], [1, 5, 4], [0, 0, 2]]
    predictions = pl.DataFrame(
        {"id": ["1", "2", "3", "4"], "clean": ["sure", "unsure", "sure", "other"], "label": ["b", "b", "b", "a"],
         "predicted": ["c", "c", "c", "b"], "confidence": [0.9, 0.5, 0.8, 0.7]}
    )  # fmt: skip
    pairs = report.confused(names, confusion, predictions, pairs=2, examples=5)
    assert [(pair["label"], pair["predicted"], pair["rows"], pair["of"]) for pair in pairs] == [
        ("b", "c", 4, 10),
        ("a", "b", 3, 8),
    ]
    assert [example["text"] for example in pairs[0]["examples"]] == ["sure", "unsure"]  # a repeated text is shown once
    assert report.confused(names, confusion, None, pairs=9, examples=5)[2]["examples"] == []

    assert page(finished, tmp_path, pairs=0, examples=0).count("None to show.") == 2
    some = Page(page(finished, tmp_path, pairs=4, examples=1, suspects=0))
    assert some.tags["blockquote"] == 8


def test_the_same_run_gives_the_same_bytes(finished: dict[str, Path], tmp_path: Path) -> None:
    assert page(finished, tmp_path / "a") == page(finished, tmp_path / "b")


def test_without_test_file_gold_records_or_predictions(tmp_path: Path) -> None:
    given = make_run(tmp_path / "run", gold=False, predict=False, records=False)
    (given["evaluate"] / "valid_predictions.parquet").unlink()
    seen = check_harmless(page(given, tmp_path / "out"))
    assert "predicted" not in re.findall(r"After .*? Categories before", seen.visible)[0]
    assert "No gold answers were given" in seen.visible
    assert "The stages left no records." in seen.visible
    assert not seen.tags["blockquote"]


def test_empty_tables(tmp_path: Path) -> None:
    given = make_run(tmp_path / "run", rows=0, rejected=0, gold=False)
    seen = check_harmless(page(given, tmp_path / "out"))
    assert "Nothing was scored" in seen.visible and "No review was labelled as «одежда»" in seen.visible
    assert "None: every row went on." in seen.visible


def test_a_score_that_does_not_beat_the_baseline_says_so(tmp_path: Path) -> None:
    given = make_run(tmp_path / "run", rows=60)
    path = given["evaluate"] / "scores.json"
    scores = json.loads(path.read_text(encoding="utf-8"))
    scores["gold"]["majority"]["weighted_f1"] = scores["gold"]["interval"][0]
    path.write_text(json.dumps(scores), encoding="utf-8")
    assert "The score against gold is not clearly better than always answering «" in page(given, tmp_path / "out")


HOSTILE = [
    "<script>alert(1)</script><img src=x onerror=alert(1)> & \"double\" 'single' {{ 7 * 7 }}",
    "</blockquote></li></ul></html><style>body{display:none}</style>",
    "а" * 10_000,
    "слово " * 2_000,
    "نص طويل من اليمين إلى اليسار",
    "\u202eперевёрнуто\x00\x07 \n\n строка",
    "👩‍👩‍👧‍👦🧥" * 60,
    "",
]


def test_hostile_texts_and_names_stay_text(tmp_path: Path) -> None:
    names = ["<b>жирное</b>", "о" * 3_000, '" onmouseover="alert(1)', "نظارات", "👟", "\u202eобувь", "&amp;", "x"]
    given = make_run(tmp_path / "<i>run", names=names, texts=HOSTILE)
    text = page(given, tmp_path / "out", pairs=60, examples=8)
    seen = check_harmless(text)
    assert "Report on run <i>run" in seen.visible and "<b>жирное</b>" in seen.visible and "&amp;" in seen.visible
    assert "<script>alert(1)</script>" in seen.visible and "{{ 7 * 7 }}" in seen.visible
    assert not re.search("[\x00-\x08\u202e]", text)
    assert "а" * 300 not in text and "о" * 100 not in text


@pytest.mark.parametrize("count", [2, 100])
def test_any_number_of_categories(count: int, tmp_path: Path) -> None:
    given = make_run(tmp_path / "run", names=[f"категория {place}" for place in range(count)], rows=2_000)
    start = time.perf_counter()
    text = page(given, tmp_path / "out")
    assert time.perf_counter() - start < 5  # about 0.2 s on one free core
    check_harmless(text)
    assert len(text.encode()) < 1_500_000


def test_bounded_however_much_was_rejected(tmp_path: Path) -> None:
    given = make_run(tmp_path / "run", rows=10, gold=False)
    bad = pl.DataFrame(
        {"id": ["x"] * 100_000, "source": ["a.csv", "b.csv"] * 50_000, "row": range(100_000), "reason": "empty"}
    )
    tables.write(
        bad.with_columns(pl.col("reason").cast(pl.String)), tables.REJECTED, given["ingest"] / "rejected.parquet"
    )
    text = page(given, tmp_path / "out")
    assert len(text.encode()) < 100_000 and "and 49,900 more" in text


def test_bins_hold_every_confidence_where_it_belongs() -> None:
    values = pl.Series([0.0, 0.05, 0.7, 0.6999, 1.0, None, float("nan")], dtype=pl.Float32)
    found = charts.bins(values, report.BINS)
    assert (found[0], found[1], found[13], found[14], found[19], sum(found)) == (1, 1, 1, 1, 1, 5)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (charts.percent(1, 3), "33 %"),
        (charts.percent(0, 3), "0 %"),
        (charts.percent(1, 100_000), "<0.1 %"),
        (charts.percent(4, 1_000), "0.4 %"),
        (charts.percent(99_999, 100_000), ">99.9 %"),
        (charts.percent(0, 0), "–"),
        (charts.duration(0.04), "0.0 s"),
        (charts.duration(59.97), "1 min 0 s"),
        (charts.duration(7_530), "2 h 5 min"),
        (charts.duration(None), "–"),
        (charts.memory(900.4), "900 MiB"),
        (charts.memory(2_048), "2.0 GiB"),
        (charts.decimal(float("nan")), "–"),
        (charts.number(1_234_567), "1,234,567"),
        (charts.width(3, 2), "100%"),
        (charts.width(1, 0), "0%"),
    ],
)
def test_figures_in_words(said: str, expected: str) -> None:
    assert said.replace("\xa0", " ") == expected


@over(st.lists(st.integers(1, 300)), st.integers(1, 20))
@settings(deadline=None)
def test_ranges_name_every_row_or_count_it(rows: list[int], limit: int) -> None:
    text, left = charts.ranges(rows, limit)
    parts = [part.split("\u2060–\u2060") for part in text.split(", ") if part]
    named = [row for part in parts for row in range(int(part[0]), int(part[-1]) + 1)]
    assert len(parts) <= limit
    assert named == sorted(set(rows))[: len(named)] and len(named) + left == len(set(rows))


@over(st.text(), st.integers(4, 50))
@settings(deadline=None)
def test_shortened_text_fits(text: str, limit: int) -> None:
    for short in (charts.shorten(text, limit), charts.shorten_middle(text, limit)):
        assert len(short) <= limit
        assert short == charts.printable(text) or "…" in short


@over(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), max_size=30), st.floats(0, 1), st.floats(0, 1))
@settings(deadline=None)
def test_drawings_stay_in_their_box(bins: list[tuple[int, int]], one: float, other: float) -> None:
    layers = {"kept": [a for a, _ in bins], "left": [b for _, b in bins]}
    marks = {"grey": min(one, other), "sure": max(one, other)}
    drawn = charts.histogram(layers, marks, "<&>") + charts.interval(one, min(one, other), max(one, other), other, '"')
    seen = Page(str(drawn))
    for name in ("x", "y", "x1", "x2", "cx", "width", "height"):
        assert all(-1 <= float(value.rstrip("%")) <= 100.01 for value in seen.values(name) if value.endswith("%"))


def test_suspicious_labels_are_shown_with_the_words_they_rest_on(tmp_path: Path) -> None:
    given = make_run(tmp_path / "run", rows=60)
    rows = pl.DataFrame({"id": ["0", "1", "2"], "clean": ["Рукава <b> короткие", "Тапки", "x"], "label": NAMES[0],
                         "predicted": [NAMES[1], NAMES[1], NAMES[0]], "confidence": [0.7, 0.9, 0.99]},
                        schema=PREDICTED)  # fmt: skip
    rows.write_parquet(given["evaluate"] / "valid_predictions.parquet")
    votes = pl.DataFrame({"id": ["0"], "labeller": ["lexicon"], "said": [NAMES[0]],
                          "probabilities": [[0.9, *[0.1] * (len(NAMES) - 1)]], "evidence": [["рукав"]]},
                         schema=tables.VOTES)  # fmt: skip
    tables.write(votes, tables.VOTES, given["label"] / "votes.parquet")
    found = report.suspects(given, limit=9)
    assert [row["confidence"] for row in found] == pytest.approx([0.9, 0.7])
    assert str(found[1]["text"]) == "<mark>Рукава</mark> &lt;b&gt; короткие"
    assert found[1]["labellers"] == "lexicon" and found[0]["labellers"] == ""
    assert len(report.suspects(given, limit=1)) == 1 and report.suspects(given, limit=0) == []


def test_suspicious_labels_are_filled_up_with_those_that_like_reviews_contradict(tmp_path: Path) -> None:
    given = make_run(tmp_path / "run", rows=60)
    labels = pl.read_parquet(given["label"] / "labels.parquet").with_columns(
        doubtful=pl.col("id").is_in(["3", "4", "5"]), label=pl.lit(NAMES[0]),
        confidence=pl.col("id").replace_strict({"4": 0.9, "5": 0.8}, default=0.7).cast(pl.Float32),
    )  # fmt: skip
    tables.write(labels, tables.LABELS, given["label"] / "labels.parquet")
    pl.DataFrame({"id": ["4"], "clean": ["x"], "label": [NAMES[0]], "predicted": [NAMES[1]], "confidence": [0.6]},
                 schema=PREDICTED).write_parquet(given["evaluate"] / "valid_predictions.parquet")  # fmt: skip
    found = report.suspects(given, limit=9)
    assert [(row["predicted"], round(row["confidence"], 2)) for row in found] == [
        (NAMES[1], 0.6),
        (None, 0.8),
        (None, 0.7),
    ]
    assert len(report.suspects(given, limit=2)) == 2
    assert "reviews like it say otherwise" in page(given, tmp_path)
    (given["evaluate"] / "valid_predictions.parquet").unlink()
    assert [row["predicted"] for row in report.suspects(given, limit=9)] == [None] * 3


def test_the_learning_curves_are_drawn_from_two_points_on() -> None:
    points = [{"step": 10, "weighted_f1": 0.5, "eval_loss": 1.0}, {"step": 20, "weighted_f1": 0.8, "eval_loss": 0.7},
              {"step": 30, "weighted_f1": 0.7, "eval_loss": 0.9}]  # fmt: skip
    for metric, kept in ((None, [True, False]), ("weighted_f1", [True, False]), ("eval_loss", [False, True])):
        score, loss = report.learning({"evaluations": points}, metric=metric)
        assert "0.800 at best, 0.700 at the last" in score["said"] and "0.700 at best, 0.900 at" in loss["said"]
        assert [curve["kept"] for curve in (score, loss)] == kept
        assert ['class="mark"' in curve["drawn"] for curve in (score, loss)] == kept
        assert score["drawn"].count("<circle") == loss["drawn"].count("<circle") == 3
    assert report.learning({"evaluations": points[:1]}, metric=None) == report.learning({}, metric=None) == []


def test_a_score_of_nothing_is_no_zero() -> None:
    confusion = [[5, 1, 0, 0], [0, 0, 0, 0], [2, 0, 0, 0], [0, 0, 0, 0]]
    names = ["a", "b", "c", "d"]
    given = [{"category": name, "f1": 0.0, "precision": 0.0, "recall": 0.0, "support": 0} for name in names]
    found = {row["category"]: (row["precision"], row["recall"], row["f1"])
             for row in report._with_intervals(given, confusion)}  # fmt: skip
    assert found["b"] == (0.0, None, 0.0), "predicted, and wrongly"
    assert found["c"] == (None, 0.0, 0.0), "there, and never predicted"
    assert found["d"] == (None, None, None), "neither"


def test_agreement_of_labellers_counts_where_both_spoke(tmp_path: Path) -> None:
    votes = pl.DataFrame(
        [("1", "a", "x", [0.9, 0.1], []), ("1", "b", "x", [0.8, 0.2], []), ("2", "a", "x", [0.9, 0.1], []),
         ("2", "b", "y", [0.2, 0.8], []), ("3", "a", "x", [0.9, 0.1], []), ("3", "b", None, None, [])],
        schema=dict(tables.VOTES), orient="row",
    )  # fmt: skip
    tables.write(votes, tables.VOTES, tmp_path / "votes.parquet")
    found = report.agreements(tmp_path)
    assert found == [{"labeller": "a", "labeller_other": "b", "both": 2, "same": 1}]


def test_a_far_mix_is_told(tmp_path: Path) -> None:
    drift = {"distance": 0.4, "category": "обувь", "predicted": 0.7, "estimated": 0.3}
    assert "40% away" in report.drift_hint({"predict": {"notes": {"drift": drift}}})[0]
    assert report.drift_hint({"predict": {"notes": {"drift": {**drift, "distance": 0.1}}}}) == []
    assert report.drift_hint({}) == []


def test_reliability_says_how_far_confidence_is_off() -> None:
    rows = pl.DataFrame({"label": ["a"] * 100, "predicted": ["a"] * 60 + ["b"] * 40, "confidence": [0.9] * 100})
    found = report.reliability(rows, "against gold")
    assert found is not None and "calibration error 0.300" in found["said"] and "right 0.600" in found["said"]
    assert report.reliability(rows.clear(), "") is None and report.reliability(None, "") is None
