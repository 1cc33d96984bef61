"""The audit: what is drawn, how a person answers, and whether the estimates hold for all reviews."""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
import pty
import select
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsirius import metrics, tables
from tsirius.categories import Categories, Category
from tsirius.commands import audit
from tsirius.commands.audit import asking, survey
from tsirius.config import Config
from tsirius.errors import UserError

NAMES = ["обувь", "посуда", "одежда", "нет товара"]
WORDS = {"обувь": "Ботинки", "посуда": "Кружка", "одежда": "Куртка", "нет товара": "Доставка"}


def world(rows: int, *, seed: int, right: float = 0.8, silent: float = 0.1) -> pl.DataFrame:
    """Reviews with a true category, a label that is right as often as its confidence says, and some without."""
    random = np.random.default_rng(seed)
    truth = random.choice(4, rows, p=[0.15, 0.05, 0.5, 0.3])
    confidence = random.beta(6 * right + 1, 6 * (1 - right) + 1, rows)
    label = np.where(random.random(rows) < confidence, truth, random.integers(0, 4, rows))
    return pl.DataFrame(
        {
            "id": [str(number) for number in range(rows)],
            "truth": [NAMES[k] for k in truth],
            "label": [NAMES[k] for k in label],
            "confidence": pl.Series(confidence, dtype=pl.Float32),
            "spoke": random.random(rows) >= silent,
        }
    ).with_columns(pl.when("spoke").then(column).alias(column) for column in ("label", "confidence"))


def lay_out(folder: Path, rows: pl.DataFrame) -> Path:
    """A run's folder with what the audit reads, and a test file with ids of its own."""
    run = folder / "runs" / "shop"
    for stage in ("ingest", "label", "predict"):
        (run / stage).mkdir(parents=True)
    categories = Categories([Category(name, f"что такое {name}", name == "нет товара") for name in NAMES])
    (run / "ingest" / "categories.json").write_text(categories.to_json(), encoding="utf-8")
    text = pl.Series([f"{WORDS[name]} № {number}" for number, name in enumerate(rows["truth"])])
    reviews = rows.select("id").with_columns(
        source=pl.lit("reviews.csv"),
        row=pl.int_range(1, pl.len() + 1),
        text=text,
        clean=text,
        group=pl.int_range(pl.len()),
    )
    tables.write(reviews, tables.REVIEWS, run / "ingest" / "reviews.parquet")
    labels = rows.select("id", "label", "confidence").with_columns(
        margin="confidence", labellers=pl.lit(["lexicon"]), doubtful=pl.lit(False)
    )
    tables.write(labels, tables.LABELS, run / "label" / "labels.parquet")
    chances = [None if label is None else [0.7 if name == label else 0.1 for name in NAMES] for label in rows["label"]]
    votes = rows.select("id").with_columns(
        labeller=pl.lit("lexicon"),
        said=rows["label"],
        evidence=pl.lit([], dtype=pl.List(pl.String)),
        probabilities=pl.Series(chances, dtype=tables.PROBABILITIES),
    )
    constant = votes.with_columns(
        labeller=pl.lit("always"),
        said=pl.lit(NAMES[2]),
        probabilities=pl.Series([[0.1, 0.1, 0.7, 0.1]] * rows.height, dtype=tables.PROBABILITIES),
    )
    tables.write(pl.concat([votes, constant]), tables.VOTES, run / "label" / "votes.parquet")
    test = pl.DataFrame({"id": "t" + rows["id"], "text": text + " теста"})
    test.write_csv(folder / "test.csv")
    predictions = test.select("id").with_columns(
        category=rows["label"].fill_null("одежда"), confidence=pl.lit(0.5, pl.Float32)
    )
    tables.write(predictions, tables.PREDICTIONS, run / "predict" / "predictions.parquet")
    ingest = {"train": folder / "reviews.csv", "test": folder / "test.csv", "categories": folder / "categories.toml"}
    config = Config.model_validate({"name": "shop", "ingest": ingest})
    (run / "config.json").write_text(config.model_dump_json(), encoding="utf-8")
    return run


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    return world(1200, seed=5)


@pytest.fixture
def run(tmp_path: Path, rows: pl.DataFrame) -> Path:
    return lay_out(tmp_path, rows)


def call(run: Path, **changed: Any) -> str | None:
    plain: dict[str, Any] = {"of": "labels", "count": None, "seed": 0, "write": None, "answers": None, "show": False}
    return audit.audit(run, **{**plain, **changed})


def fill(source: Path, target: Path, rows: pl.DataFrame, *, encoding: str = "utf-8-sig", every: int = 1) -> Path:
    """Fill in a written file as a person with a spreadsheet would; with ``every`` 2, each second row."""
    truth = dict(rows.select("id", "truth").iter_rows())
    with source.open(encoding="utf-8-sig", newline="") as handle:
        lines = list(csv.DictReader(handle, delimiter=";"))
    for place, line in enumerate(lines):
        line["category"] = truth[line["id"].removeprefix("t")] if place % every == 0 else ""
    with target.open("w", encoding=encoding, newline="", errors="replace") as handle:
        writer = csv.DictWriter(handle, lines[0].keys(), delimiter=";")
        writer.writeheader()
        writer.writerows(lines)
    return target


def figures(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "audit" / "audit.json").read_text(encoding="utf-8"))
    return found


# --- what is drawn ----------------------------------------------------------------------------------------------------


def test_the_sample_has_every_label_and_those_without_and_its_weights_add_up(rows: pl.DataFrame) -> None:
    drawn = survey.draw(rows["id"], rows["label"], rows["confidence"], count=150, seed=0)
    assert drawn.height == drawn["id"].n_unique() == 150
    labels = drawn.join(rows, on="id")["label"].value_counts()
    assert dict(labels.iter_rows()).keys() == {*NAMES, None} and labels["count"].min() >= survey.AT_LEAST_LABEL
    for weighted in (drawn, drawn.head(70)):  # whoever stops early has answered of every stratum
        assert survey.weights(weighted["stratum"], weighted["size"]).sum() == pytest.approx(rows.height)


def test_the_same_seed_draws_the_same_and_a_larger_count_adds(rows: pl.DataFrame) -> None:
    def drawn(count: int, seed: int) -> pl.DataFrame:
        return survey.draw(rows["id"], rows["label"], rows["confidence"], count=count, seed=seed)

    assert drawn(150, 0).equals(drawn(150, 0))
    assert set(drawn(150, 0)["id"]) != set(drawn(150, 1)["id"])
    assert set(drawn(100, 0)["id"]) < set(drawn(150, 0)["id"]) < set(drawn(200, 0)["id"])


@given(st.lists(st.tuples(st.integers(1, 500), st.sampled_from("абв")), min_size=1, max_size=12), st.integers(1, 300))
def test_an_allocation_fits_its_strata(strata: list[tuple[int, str]], count: int) -> None:
    sizes, labels = zip(*strata, strict=True)
    found = survey.allocate(sizes, labels, count=count)
    assert sum(found) == min(max(count, len(sizes)), sum(sizes))
    assert all(1 <= some <= size for some, size in zip(found, sizes, strict=True))


# --- whether the estimates hold ---------------------------------------------------------------------------------------


def estimate(rows: pl.DataFrame, *, count: int, seed: int) -> tuple[survey.Estimate, survey.Estimate]:
    """The weighted F1 and the accuracy, estimated from ``count`` true answers."""
    drawn = survey.draw(rows["id"], rows["label"], rows["confidence"], count=count, seed=seed)
    found = drawn.join(rows, on="id", how="left", maintain_order="left")
    strata = found["stratum"].to_list()
    weighted = survey.weights(strata, found["size"].to_list())
    f1 = survey.expected_f1(
        found["truth"].to_list(), found["label"].to_list(), strata, weighted, names=NAMES, rounds=400, seed=0
    )
    return f1, survey.share((found["truth"] == found["label"]).fill_null(False).to_numpy(), weighted)


def true_f1(rows: pl.DataFrame) -> float:
    names = [*NAMES, "none"]
    confusion = metrics.confusion_matrix(
        rows["truth"].to_list(), rows["label"].fill_null("none").to_list(), names=names
    )
    return float(metrics.weighted_f1(confusion))


def test_the_intervals_cover_the_truth_in_most_seeds() -> None:
    covered, missed = [], []
    for seed in range(100):
        rows = world(1500, seed=seed, right=(0.6, 0.8, 0.93)[seed % 3])
        f1, right = estimate(rows, count=150, seed=seed)
        truth = (true_f1(rows), rows.filter(pl.col("label") == pl.col("truth")).height / rows.height)
        covered.append((f1.low <= truth[0] <= f1.high, right.low <= truth[1] <= right.high))
        missed.append((f1.value - truth[0], right.value - truth[1]))
    assert (np.mean(covered, axis=0) >= 0.9).all()
    assert (np.abs(np.mean(missed, axis=0)) < 0.01).all(), "no bias: the rare labels were drawn more often"


def test_answering_for_all_gives_the_true_score() -> None:
    rows = world(300, seed=1)
    assert estimate(rows, count=300, seed=0)[0].value == pytest.approx(true_f1(rows), abs=1e-4)


# --- a file of answers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8-sig", "cp1251"])
def test_write_fill_in_and_read_back(run: Path, rows: pl.DataFrame, tmp_path: Path, encoding: str) -> None:
    written = tmp_path / "answers.csv"
    assert call(run, write=written) is None
    assert written.read_bytes().startswith(b"\xef\xbb\xbfid;text;category")
    report = call(run, answers=fill(written, tmp_path / "filled.csv", rows, encoding=encoding))
    assert report and "never used for training" in report and "«with gold»" in report
    found = figures(run)
    assert found["answered"] == found["asked"] == 150 and found["rows"] == 1200
    f1 = found["weighted_f1_with_gold"]["all"]
    assert f1["low"] <= true_f1(rows) <= f1["high"]
    with (run / "audit" / "answers.csv").open(encoding="utf-8-sig", newline="") as handle:
        kept = list(csv.DictReader(handle))
    assert len(kept) == 150 and kept[0]["text"].startswith(WORDS[kept[0]["category"]])


def test_answers_may_come_in_parts(run: Path, rows: pl.DataFrame, tmp_path: Path) -> None:
    written = tmp_path / "answers.csv"
    call(run, write=written)
    report = call(run, answers=fill(written, tmp_path / "half.csv", rows, every=2))
    assert report and "75 of those drawn have no answer" in report
    assert figures(run)["answered"] == 75
    call(run, answers=fill(written, tmp_path / "all.csv", rows))
    assert figures(run)["answered"] == 150
    call(run, write=written, count=200)
    with written.open(encoding="utf-8-sig", newline="") as handle:
        again = list(csv.DictReader(handle, delimiter=";"))
    assert len(again) == 200 and sum(line["category"] != "" for line in again) == 150


def test_a_labeller_that_is_no_better_than_the_commonest_category_is_named(
    run: Path, rows: pl.DataFrame, tmp_path: Path
) -> None:
    call(run, write=tmp_path / "a.csv")
    report = call(run, answers=fill(tmp_path / "a.csv", tmp_path / "b.csv", rows)) or ""
    warned = [line for line in report.splitlines() if line.startswith("!")]
    assert len(warned) == 1 and warned[0].startswith("! always is no better than always answering «одежда»")
    by_name = {one["labeller"]: one for one in figures(run)["labellers"]}
    assert by_name["always"]["coverage"] == 1
    assert by_name["lexicon"]["coverage"] == pytest.approx(rows["label"].count() / rows.height)
    spoken = rows.filter(pl.col("label").is_not_null())
    right = spoken.filter(pl.col("label") == pl.col("truth")).height / spoken.height
    assert by_name["lexicon"]["accuracy"]["low"] <= right <= by_name["lexicon"]["accuracy"]["high"]


def test_a_file_of_other_reviews_counts_as_a_random_sample(run: Path, rows: pl.DataFrame, tmp_path: Path) -> None:
    gold = rows.sample(300, seed=3).select(id="t" + pl.col("id"), category="truth")
    gold.write_csv(tmp_path / "gold.csv")
    report = call(run, of="predictions", answers=tmp_path / "gold.csv") or ""
    assert "if they are a random sample" in report
    found = json.loads((run / "audit" / "predictions" / "audit.json").read_text(encoding="utf-8"))
    said = rows.with_columns(pl.col("label").fill_null("одежда"))
    alone = gold.join(said.select(id="t" + pl.col("id"), label="label"), on="id", how="left", maintain_order="left")
    score = metrics.score(alone["category"].to_list(), alone["label"].to_list(), names=NAMES, rounds=0, seed=0)
    f1 = found["weighted_f1_with_gold"]["all"]
    assert f1["value"] == pytest.approx(score.weighted_f1, abs=1e-4)
    assert f1["low"] <= true_f1(said) <= f1["high"]
    assert found["also_trained_on"] == 0
    with pytest.raises(UserError, match="has no text any more"):
        (tmp_path / "test.csv").write_text("id,text\nt0,другой\n", encoding="utf-8")
        call(run, of="predictions")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("5;Куртка;одежка", "row 1: unknown category 'одежка'; did you mean 'одежда'"),
        ("5000;Куртка;одежда", "unknown id '5000'"),
        ("5;Куртка;", "no row has a category"),
        ("5;Совсем другой отзыв;одежда", "0 of 1 texts are those"),
        ("5;Куртка;одежда\n5;Куртка;обувь", "repeats the id '5'"),
    ],
)
def test_answers_that_do_not_fit_are_refused_and_nothing_is_kept(
    run: Path, tmp_path: Path, line: str, words: str
) -> None:
    (tmp_path / "bad.csv").write_text(f"id;text;category\n{line}\n", encoding="utf-8")
    with pytest.raises(UserError) as failure:
        call(run, answers=tmp_path / "bad.csv")
    assert words in str(failure.value)
    assert not (run / "audit" / "sample.json").exists()


def test_reviews_that_were_not_drawn_are_refused(run: Path, rows: pl.DataFrame, tmp_path: Path) -> None:
    call(run, write=tmp_path / "a.csv")
    rows.select("id", category="truth").write_csv(tmp_path / "all.csv")
    with pytest.raises(UserError, match="not drawn"):
        call(run, answers=tmp_path / "all.csv")


def test_labels_may_change_but_not_the_reviews(run: Path, rows: pl.DataFrame, tmp_path: Path) -> None:
    call(run, write=tmp_path / "a.csv")
    table = pl.read_parquet(run / "label" / "labels.parquet")
    better = table.with_columns(label=rows["truth"], confidence=pl.lit(0.9, pl.Float32))
    better.write_parquet(run / "label" / "labels.parquet")
    call(run, answers=fill(tmp_path / "a.csv", tmp_path / "b.csv", rows))
    assert figures(run)["weighted_f1_with_gold"]["all"]["value"] == pytest.approx(1)
    with pytest.raises(UserError, match="labels have changed"):
        call(run, count=200)
    better.head(900).write_parquet(run / "label" / "labels.parquet")
    with pytest.raises(UserError, match="other reviews"):
        call(run)


def test_a_text_that_a_spreadsheet_would_run_is_written_as_text(tmp_path: Path, rows: pl.DataFrame) -> None:
    run = lay_out(tmp_path, rows)
    path = run / "ingest" / "reviews.parquet"
    reviews = pl.read_parquet(path).with_columns(text=pl.lit('=HYPERLINK("a")\nКуртка; "хорошая"'))
    reviews.write_parquet(path)
    call(run, write=tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(encoding="utf-8-sig", newline="") as handle:
        texts = {line["text"] for line in csv.DictReader(handle, delimiter=";")}
    assert texts == {"""'=HYPERLINK("a") Куртка; "хорошая\""""}
    assert call(run, answers=fill(tmp_path / "a.csv", tmp_path / "b.csv", rows))


# --- in a terminal ----------------------------------------------------------------------------------------------------


def typed(keys: str, answers: dict[str, str], texts: dict[str, str]) -> tuple[str, list[dict[str, str]]]:
    """What the screen shows, and what was saved after each answer."""
    screen, saved = io.StringIO(), list[dict[str, str]]()
    asking.ask(
        texts,
        answers,
        names=NAMES,
        descriptions=[""] * 4,
        hints={},
        save=lambda: saved.append(dict(answers)),
        keyboard=io.StringIO(keys),
        screen=screen,
    )
    return screen.getvalue(), saved


TEXTS = {"a": "Ботинки", "b": "Кружка\x1b[2J", "c": "Куртка"}


def test_lines_answer_skip_go_back_and_stop() -> None:
    answers: dict[str, str] = {}
    screen, saved = typed("1\ns\nb\n2\n7\nq\n", answers, TEXTS)
    assert answers == {"a": "обувь", "b": "посуда"}
    assert saved == [{"a": "обувь"}, {"a": "обувь", "b": ""}, {"a": "обувь", "b": "посуда"}]
    assert "2 of 3" in screen and "Your answer: skipped" in screen and "Press 1 to 4" in screen
    assert "\x1b" not in screen, "a review commands the terminal"
    screen, saved = typed("3\n", answers, TEXTS)
    assert "1 of 3" not in screen and answers["c"] == "одежда"


def test_the_end_of_the_input_stops() -> None:
    answers: dict[str, str] = {}
    typed("4\n", answers, TEXTS)
    assert answers == {"a": "нет товара"}


@settings(max_examples=50)
@given(st.text("1234sbqйыи79\n x", max_size=40))
def test_any_keys_leave_valid_answers(keys: str) -> None:
    answers: dict[str, str] = {}
    typed("\n".join(keys), answers, TEXTS)
    assert set(answers.values()) <= {*NAMES, ""} and answers.keys() <= TEXTS.keys()


class Terminal:
    """`tsirius audit` in a terminal of its own, where Ctrl-C is a signal."""

    def __init__(self, run: Path, *more: str) -> None:
        self.handle, inner = pty.openpty()
        self.seen = ""

        def own() -> None:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            [sys.executable, "-m", "tsirius", "audit", str(run), *more],
            stdin=inner, stdout=subprocess.PIPE, stderr=inner, start_new_session=True, preexec_fn=own,
        )  # fmt: skip
        os.close(inner)

    def until(self, words: str) -> str:
        """What is shown up to ``words``; what comes after them is kept for the next call."""
        end = time.monotonic() + 60
        while words not in self.seen:
            assert time.monotonic() < end, self.seen
            if select.select([self.handle], [], [], 0.2)[0]:
                self.seen += os.read(self.handle, 4096).decode("utf-8", "replace")
        before, _, self.seen = self.seen.partition(words)
        return before

    def press(self, keys: str) -> None:
        os.write(self.handle, keys.encode())

    def end(self) -> tuple[int, str]:
        out, _ = self.process.communicate(timeout=60)
        os.close(self.handle)
        return self.process.returncode, out.decode()


def answered(run: Path) -> list[str]:
    with (run / "audit" / "answers.csv").open(encoding="utf-8-sig", newline="") as handle:
        return [line["category"] for line in csv.DictReader(handle)]


def test_single_keys_in_a_terminal_with_an_interruption_and_a_kill(run: Path) -> None:
    terminal = Terminal(run, "--count", "20")
    assert "labelled" not in terminal.until("1 of 20"), "the audit is blind"
    terminal.until("> ")
    terminal.press("3")
    terminal.until("2 of 20")
    terminal.press("\x1b[3~ы")  # a Delete key is no answer 3; ы is s on a Russian keyboard
    terminal.until("3 of 20")
    terminal.press("\x03")
    assert terminal.end() == (130, "")
    assert answered(run) == ["одежда", ""]

    terminal = Terminal(run)
    terminal.until("3 of 20")
    terminal.until("> ")
    terminal.press("1")
    terminal.until("4 of 20")
    terminal.process.kill()
    terminal.end()
    assert answered(run) == ["одежда", "", "обувь"]

    terminal = Terminal(run)
    terminal.until("4 of 20")
    terminal.until("> ")
    terminal.press("44q")
    code, out = terminal.end()
    assert code == 0 and "4 answers by a person" in out
    assert answered(run) == ["одежда", "", "обувь", "нет товара", "нет товара"]
