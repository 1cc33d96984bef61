"""The report: what it says, what it never mixes, and that no review, name or empty table breaks it."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import polars as pl
import pytest
from finished import NAMES, Page, check_harmless, make_run

from tsirius import tables
from tsirius.stages import report


def page(given: dict[str, Path], out: Path, **config: int) -> str:
    out.mkdir(parents=True, exist_ok=True)
    report.run(report.Config(**config), given, out, seed=0, scratch=out)
    return (out / "report.html").read_text(encoding="utf-8")


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
        majority = found["majority"]
        assert f"always « {majority['category']} »: {majority['weighted_f1']:.3f} (the vertical" in seen.visible
    for name in NAMES:
        assert name in seen.visible
    assert "read 630 from the training files kept 600 30 rejected; 10 exact or near duplicates" in seen.visible
    assert re.search(r"balanced 268 quotas dropped 39 and repeated 4 augmented \d+ 127 variants", seen.visible)
    assert "grey 0.4" in seen.visible and "sure 0.6" in seen.visible
    assert "grey, tops up yes" in seen.visible and "no label no" in seen.visible
    assert "lexicon" in seen.visible and "matcher" in seen.visible
    assert "too long 10 600, 603, 607" in seen.visible
    assert "words.n [1, 2]" in seen.visible and "scikit-learn\xa01.9.1".replace("\xa0", " ") in seen.visible
    assert "1,140 MiB" in seen.visible or "1.1 GiB" in seen.visible.replace("\xa0", " ")


def test_tells_what_became_of_variants(finished: dict[str, Path], tmp_path: Path) -> None:
    seen = check_harmless(page(finished, tmp_path))
    assert "Variants of training reviews" in seen.visible
    assert re.search(r"swap 127 11 .*too short 11 100.%.*Accepted, the least similar first.*swap 0.700", seen.visible)
    assert re.search(r"still short of their target.* 5 few reviews, 3", seen.visible)
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


def test_as_many_pairs_and_examples_as_asked_for(finished: dict[str, Path], tmp_path: Path) -> None:
    assert page(finished, tmp_path, pairs=0, examples=0).count("None to show.") == 2
    some = Page(page(finished, tmp_path, pairs=4, examples=1, suspects=0))
    assert some.tags["blockquote"] == 8


def test_the_same_run_gives_the_same_bytes(finished: dict[str, Path], tmp_path: Path) -> None:
    assert page(finished, tmp_path / "a") == page(finished, tmp_path / "b")


def test_without_test_file_gold_records_or_predictions(tmp_path: Path) -> None:
    given = make_run(tmp_path / "run", gold=False, predict=False, records=False)
    (given["evaluate"] / "valid_predictions.parquet").unlink()
    seen = check_harmless(page(given, tmp_path / "out"))
    assert "predicted" not in re.findall(r"Step Rows .*? Class distribution", seen.visible)[0]
    assert "No gold answers were given" in seen.visible
    assert "The stages left no records." in seen.visible
    assert not seen.tags["blockquote"]


def test_empty_tables(tmp_path: Path) -> None:
    given = make_run(tmp_path / "run", rows=0, rejected=0, gold=False)
    seen = check_harmless(page(given, tmp_path / "out"))
    assert "Nothing was scored" in seen.visible and "No review was labelled as «одежда»" in seen.visible
    assert "None: every row was kept." in seen.visible


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


@pytest.mark.parametrize("count", [2, 30, 31, 300, 1_000])
def test_any_number_of_categories(count: int, tmp_path: Path) -> None:
    given = make_run(
        tmp_path / "run", names=[f"категория {number}" for number in range(count)], rows=300_000 // max(150, count)
    )
    start = time.perf_counter()
    text = page(given, tmp_path / "out")
    assert time.perf_counter() - start < 5  # about 0.5 s on one free core
    seen = check_harmless(text)
    assert len(text.encode()) < 3_000_000
    drawn = count <= 30
    assert ("Confusion matrix" in seen.visible) == drawn
    assert (f"The matrix of {count:,} categories would be too large" in seen.visible) != drawn
    assert "Most confused pairs" in seen.visible and seen.visible.count(f"категория {count - 1} ") >= 3


def test_reviews_that_similar_ones_contradict_are_shown(tmp_path: Path) -> None:
    given = make_run(tmp_path / "run", rows=60)
    rows = pl.read_parquet(given["label"] / "labels.parquet").with_columns(doubtful=pl.lit(True))
    tables.write(rows, tables.LABELS, given["label"] / "labels.parquet")
    assert "similar reviews say otherwise" in page(given, tmp_path / "out", suspects=50)


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
