"""The report: what it says, what it never mixes, and that no review, name or empty table breaks it."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import polars as pl
import pytest
from finished import NAMES, TEXTS, check_harmless, make_run

from tsirius import tables
from tsirius.headline import NOT_KNOWN
from tsirius.stages import report


def page(given: dict[str, Path], out: Path, **config: int) -> str:
    out.mkdir(parents=True, exist_ok=True)
    report.run(report.Config(**config), given, out, seed=0, scratch=out, language="en")
    return (out / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_run(tmp_path_factory.mktemp("runs") / "winter-jackets")


def test_tells_the_run_from_its_rows_to_its_scores(finished: dict[str, Path], tmp_path: Path) -> None:
    text = page(finished, tmp_path)
    seen = check_harmless(text)
    scores = json.loads((finished["evaluate"] / "scores.json").read_text(encoding="utf-8"))
    assert "Report on run winter-jackets" in seen.visible
    found = scores["gold"]
    low, high = found["interval"]
    visible = seen.visible.replace("\xa0", " ")
    assert f"Weighted F1 against gold {found['weighted_f1']:.3f} 0 0.5 1 95 % interval {low:.3f}–{high:.3f}" in visible
    majority = found["majority"]
    assert f"always « {majority['category']} »: {majority['weighted_f1']:.3f} (the vertical" in visible
    (big,) = re.findall(r'<p class="big[^"]*">([^<]*)</p>', text)
    assert big == f"{found['weighted_f1']:.3f}", "agreement with pseudo-labels is never large"
    assert f"Agreement with pseudo-labels {scores['pseudo_label']['weighted_f1']:.3f} (" in visible
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
    assert "gold" not in pseudo.lower() and "pseudo-label" in pseudo and "no score" in pseudo
    assert "Right and wrong, by category" in gold and "Right and wrong" not in pseudo


def test_without_gold_the_page_says_that_nothing_is_known_yet(tmp_path: Path) -> None:
    text = page(make_run(tmp_path / "run", gold=False), tmp_path / "out")
    seen = check_harmless(text)
    assert re.findall(r'<p class="big[^"]*">([^<]*)</p>', text) == [NOT_KNOWN]
    assert f"Answer 100 reviews with tsirius audit {tmp_path / 'run'} --count 100 , about 15 minutes" in seen.visible
    assert "Agreement with pseudo-labels" in seen.visible and "Right and wrong" not in seen.visible
    assert 'class="interval"' not in text


def test_right_and_wrong_reviews_of_each_category_are_shown(finished: dict[str, Path], tmp_path: Path) -> None:
    text = page(finished, tmp_path, examples=2, pairs=0)
    gold = text[text.index("Right and wrong, by category") : text.index('<section aria-labelledby="pseudo_label">')]
    rows = pl.read_parquet(finished["evaluate"] / "gold_predictions.parquet")
    for name in NAMES:
        own = rows.filter(pl.col("label") == name)
        hits = own.filter(pl.col("predicted") == name).height
        assert f"<bdi>{name}</bdi> <span" in gold and f"{hits} of {own.height} right" in gold
    right = gold.split('<article class="pair right">')[1].split("</article>")[0]
    assert right.count("<blockquote") == 2 and "predicted" not in right
    wrong = gold.split('<article class="pair wrong">')[1].split("</article>")[0]
    assert wrong.count("<blockquote") == 2 and wrong.count("predicted <strong>") == 2


def test_the_least_sure_labels_and_reviews_without_a_known_word_are_shown(tmp_path: Path) -> None:
    texts = [*TEXTS, "фывапролдж 12345", "Тарелка qqq"]
    given = make_run(tmp_path / "run", rows=80, texts=texts)
    text = page(given, tmp_path / "out")
    assert "10 reviews have no word that is in the Russian word list" in text
    strange = text[text.index("No known word") : text.index('<section aria-labelledby="rejected">')]
    assert "фывапролдж" in strange and "Тарелка" not in strange
    sure = text[text.index("The least sure labels") : text.index("No known word")]
    found = [float(number) for number in re.findall(r"confidence (0\.\d+)", sure)]
    lowest = pl.read_parquet(given["select"] / "labelled.parquet")["confidence"].drop_nulls().sort()
    assert found == sorted(found) and found[0] == pytest.approx(lowest[0], abs=6e-4) and len(found) == len(texts)
    assert "No known word" not in page(make_run(tmp_path / "plain", rows=30), tmp_path / "out")
    none = page(given, tmp_path / "out", unsure=0)
    assert "The least sure labels" not in none


def test_it_links_to_the_tables_that_lie_beside_it(finished: dict[str, Path], tmp_path: Path) -> None:
    assert "Your reviews with their labels" not in page(finished, tmp_path)
    for stage, name in (("table", "labelled.csv"), ("predict", "submission.csv")):
        (tmp_path / stage).mkdir()
        (tmp_path / stage / name).touch()
    links = {**finished, "table": tmp_path / "table"}
    seen = check_harmless(page(links, tmp_path), beside={"labelled.csv"})
    assert "labelled.csv" in seen.values("href") and "labelled.xlsx" not in seen.values("href")


def test_one_labeller_is_not_compared_with_itself(tmp_path: Path) -> None:
    given = make_run(tmp_path / "run")
    assert "Agreed: its votes that are the final label" in page(given, tmp_path / "out")
    votes = pl.read_parquet(given["label"] / "votes.parquet").filter(pl.col("labeller") == "lexicon")
    tables.write(votes, tables.VOTES, given["label"] / "votes.parquet")
    seen = check_harmless(page(given, tmp_path / "out"))
    spoke = votes["said"].count()
    assert f"One labeller, lexicon , labelled {spoke} of 600 reviews" in seen.visible
    assert "Agreed: its votes" not in seen.visible


def test_as_many_pairs_and_examples_as_asked_for(finished: dict[str, Path], tmp_path: Path) -> None:
    assert page(finished, tmp_path, pairs=0, examples=0).count("None to show.") == 2
    text = page(finished, tmp_path, pairs=4, examples=1, suspects=0, unsure=0)
    by_category = text[text.index("Right and wrong, by") : text.index('<section aria-labelledby="pseudo_label">')]
    assert text.count("<blockquote") - by_category.count("<blockquote") == 8


def test_brackets_in_the_path_of_a_run_are_no_pattern(tmp_path: Path) -> None:
    assert "Score against gold" in page(make_run(tmp_path / "[shop] x=1"), tmp_path)


def test_the_same_run_gives_the_same_bytes(finished: dict[str, Path], tmp_path: Path) -> None:
    assert page(finished, tmp_path / "a") == page(finished, tmp_path / "b")


def test_without_test_file_gold_records_or_predictions(tmp_path: Path) -> None:
    given = make_run(tmp_path / "run", gold=False, predict=False, records=False)
    (given["evaluate"] / "valid_predictions.parquet").unlink()
    seen = check_harmless(page(given, tmp_path / "out", unsure=0))
    assert "predicted" not in re.findall(r"Step Rows .*? Class distribution", seen.visible)[0]
    assert NOT_KNOWN in seen.visible
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


@pytest.mark.parametrize("count", [2, 30, 31, pytest.param(300, marks=pytest.mark.slow), 1_000])
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
