"""The whole road on the sample: scores, outputs, skipping, resuming after a kill, and the commands on its results."""

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from shop import lay_out, reviews, tsirius

from tsirius.commands.answers.desk import Desk
from tsirius.commands.compare import check_submission
from tsirius.commands.evaluate import evaluate_file
from tsirius.commands.latency import measure
from tsirius.commands.predict import predict_file
from tsirius.commands.run import summary
from tsirius.errors import UserError
from tsirius.pipeline import rebuild_report

Here = Callable[..., subprocess.CompletedProcess[str]]

ROWS = len(reviews())


@pytest.fixture
def here(finished: Path, call: Here) -> Here:
    """As :func:`tsirius`, beside the finished run and in this process."""

    def run(*arguments: str, cwd: Path = finished, expect: int = 0) -> subprocess.CompletedProcess[str]:
        done = call(*arguments, cwd=cwd)
        assert done.returncode == expect, done.stderr
        return done

    return run


@pytest.fixture(scope="module")
def finished(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(shutil.copytree(shop, tmp_path_factory.mktemp("finished") / "shop"))
    pl.read_csv(folder / "test.csv").head(40).write_csv(folder / "few.csv")
    return folder


def test_scores_beat_the_majority_by_far(finished: Path) -> None:
    gold = json.loads((finished / "runs/shop/evaluate/scores.json").read_text(encoding="utf-8"))["gold"]
    assert gold["rows"] == ROWS
    assert gold["weighted_f1"] > gold["majority"]["weighted_f1"] + 0.3


def test_the_submission_has_every_row_in_the_files_order(finished: Path) -> None:
    with (finished / "runs/shop/submission.csv").open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    with (finished / "test.csv").open(encoding="utf-8", newline="") as handle:
        ids = [row["id"] for row in csv.DictReader(handle)]
    assert list(rows[0]) == ["id", "category"]
    assert [row["id"] for row in rows] == ids
    names = {category["name"] for category in json.loads((finished / "runs/shop/ingest/categories.json").read_text())}
    assert {row["category"] for row in rows} <= names


def test_no_labeller_ever_saw_an_answer(finished: Path) -> None:
    for path in (finished / "runs/shop").glob("*/record.json"):
        files = json.loads(path.read_text(encoding="utf-8"))["key"].get("files", {})
        assert ("evaluate.gold" in files) == (path.parent.name == "evaluate")
        assert ("ingest.test" in files) == (path.parent.name == "predict")


def test_a_second_run_skips_everything(finished: Path, here: Here) -> None:
    before = {path: path.stat().st_mtime_ns for path in (finished / "runs/shop").rglob("*") if path.is_file()}
    done = here("run", "shop.toml")
    assert done.stderr.count("skipped") == len(list((finished / "runs/shop").glob("*/record.json")))
    after = {path: path.stat().st_mtime_ns for path in before}
    assert {path.name for path in before if before[path] != after[path]} <= {"config.json", ".lock"}


def test_a_changed_setting_runs_only_what_comes_after(finished: Path, here: Here) -> None:
    done = here("plan", "shop.toml", "select.sure=0.7")
    decisions = dict(line.split()[:2] for line in done.stdout.splitlines())
    assert {decisions.pop(stage) for stage in ("ingest", "label", "answers")} == {"skip"}
    assert set(decisions.values()) == {"run"}
    assert "sure changed from" in done.stdout


def test_the_test_file_is_read_by_predict_alone(finished: Path, here: Here, tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    shutil.copytree(finished, folder)
    with (folder / "test.csv").open("a", encoding="utf-8") as handle:
        handle.write("new,Кастрюля с толстым дном\n")
    done = here("run", "shop.toml", cwd=folder)
    ran = [line.partition(":")[0] for line in done.stderr.splitlines() if ": running (" in line]
    assert ran == ["predict", "report"]


def test_predict_evaluate_and_report_on_the_finished_run(finished: Path, here: Here, tmp_path: Path) -> None:
    reviews = tmp_path / "new.csv"
    reviews.write_text("номер;отзыв\n7;Чайник гудит, но греет быстро, а ручка у него удобная\n9;\n", encoding="cp1251")
    out = tmp_path / "out.csv"
    here("predict", "runs/shop", str(reviews), "-o", str(out), "--id-column", "номер")
    with out.open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [row["номер"] for row in rows] == ["7", "9"]
    assert all(0 <= float(row["confidence"]) <= 1 for row in rows)
    assert here("predict", "runs/shop", str(reviews), "--id-column", "номер").stdout == out.read_text()
    by_text = here("evaluate", "runs/shop", "gold.csv").stdout
    assert "against gold" in by_text and f"{ROWS} rows" in by_text
    here("report", "runs/shop")


def test_answers_by_id_score_the_submission(finished: Path, here: Here, tmp_path: Path) -> None:
    answers = [row["category"] for row in reviews()]
    gold = tmp_path / "gold.csv"
    gold.write_text("id,category\n" + "".join(f"r{n},{answers[n]}\n" for n in range(0, ROWS, 5)), encoding="utf-8")
    done = here("evaluate", "runs/shop", str(gold))
    assert f"{ROWS // 5} rows" in done.stdout
    gold.write_text("id,category\nr1000,обувь\n", encoding="utf-8")
    assert "r1000" in here("evaluate", "runs/shop", str(gold), expect=2).stderr


def test_nothing_of_an_earlier_run_is_taken_for_this_one(finished: Path, here: Here, tmp_path: Path) -> None:
    folder, gold = tmp_path / "shop", tmp_path / "gold.csv"
    shutil.copytree(finished, folder)
    gold.write_text("id,category\nr0,обувь\n", encoding="utf-8")
    # a setting that changes no row is still shown as it is
    done = here("run", "shop.toml", "augment.eda.swap=0.31", cwd=folder)
    assert "report: running (shown augment eda swap changed" in done.stderr
    assert "0.31" in (folder / "runs/shop/report.html").read_text(encoding="utf-8")
    predictions = folder / "runs/shop/predict/predictions.parquet"
    predictions.write_bytes(predictions.read_bytes()[:50])
    for command in (["evaluate", "runs/shop", str(gold)], ["report", "runs/shop"]):
        assert "altered or damaged" in here(*command, cwd=folder, expect=2).stderr
    done = here("run", "shop.toml", "ingest.test=", cwd=folder)
    assert "submission.csv" not in done.stdout and not (folder / "runs/shop/submission.csv").exists()
    assert "no predictions" in here("evaluate", "runs/shop", str(gold), cwd=folder, expect=2).stderr


def test_a_flipped_bit_in_any_file_that_a_command_reads_is_refused(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    run, by_id = tmp_path / "runs/shop", tmp_path / "by_id.csv"
    by_id.write_text("id,category\nr0,обувь\n", encoding="utf-8")
    auto = {"text_column": "auto", "id_column": "auto", "encoding": "auto"}
    commands: dict[str, Callable[[], object]] = {
        "predict": lambda: predict_file(run, tmp_path / "reviews.csv", tmp_path / "out.csv", **auto),
        "evaluate": lambda: evaluate_file(run, by_id, **auto),
        "compare": lambda: check_submission(run, None),
        "latency": lambda: measure(run, reviews=None, count=1),
        "summary": lambda: summary(run),
        "report": lambda: rebuild_report(run),
    }
    read = {
        "train": ["predict", "evaluate", "compare", "latency"],
        "label/record.json": ["compare"],
        "predict": ["evaluate"],
        "ingest/reviews.parquet": ["latency"],
        "evaluate": ["summary"],
        "config.json": ["compare", "report"],
    }
    draw, tried = random.Random(0), 0
    for name, readers in read.items():
        for path in filter(Path.is_file, [run / name, *(run / name).rglob("*")]):
            whole = path.read_bytes()
            damaged = bytearray(whole)
            damaged[draw.randrange(len(whole))] ^= 1 << draw.randrange(1, 7)
            path.write_bytes(damaged)
            for reader in readers:
                with pytest.raises(UserError, match=r"damaged|older version"):
                    commands[reader]()
                tried += 1
            path.write_bytes(whole)
    assert tried > 20 and not (tmp_path / "out.csv").exists()
    assert f"{ROWS} rows" in str(commands["compare"]())


def test_compare_passes_the_runs_own_submission_and_no_other(finished: Path, here: Here, tmp_path: Path) -> None:
    said = here("compare", "runs/shop").stdout
    assert f"answers test.csv, {ROWS} rows" in said and "the predicted mix is" in said
    assert here("guard", "runs/shop").stdout == said, "its former name"
    lines = (finished / "runs/shop/submission.csv").read_text(encoding="utf-8").splitlines()
    lines[3], lines[4] = lines[4], lines[3]
    (tmp_path / "sorted.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    done = here("compare", "runs/shop", str(tmp_path / "sorted.csv"), expect=2)
    assert "row 3: has the id" in done.stderr and done.stdout == ""


@pytest.mark.slow
def test_latency_is_told_and_held_against_the_budget(finished: Path, here: Here, tmp_path: Path) -> None:
    out = tmp_path / "latency.json"
    bench = ("bench", "latency", "runs/shop", "--count", "20", "-o", str(out))
    assert "p99" in here(*bench).stdout
    assert json.loads(out.read_text())["within_budget"]
    assert "the budget is 0.0 ms" in here(*bench, "--budget", "0", expect=2).stderr
    assert "its folder is all there is to export" in here("export", "runs/shop", "--to", "onnx", expect=2).stderr


def test_odd_ids_come_back_whole(finished: Path, here: Here, tmp_path: Path) -> None:
    ids = ["a,b", 'q"x', "n\nl", "c\rr", " s ", "r\r\nn"]
    with (tmp_path / "odd.csv").open("w", encoding="utf-8", newline="") as handle:
        csv.writer(handle, quoting=csv.QUOTE_ALL).writerows([["category", "text"], *([name, "чайник"] for name in ids)])
    here("predict", "runs/shop", str(tmp_path / "odd.csv"), "-o", str(tmp_path / "out.csv"), "--id-column",
            "category")  # fmt: skip
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as handle:
        rows = list(csv.reader(handle))
    assert rows[0] == ["id", "category", "confidence"]
    assert [row[0] for row in rows[1:]] == ids


@pytest.mark.parametrize("encoding", ["ascii", pytest.param("cp1252", marks=pytest.mark.slow)])
def test_what_is_printed_is_utf8_whatever_the_locale(finished: Path, encoding: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tsirius", "predict", "runs/shop", "few.csv"], cwd=finished, capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "нет товара" in done.stdout.decode()


@pytest.mark.parametrize(
    ("ending", "code", "words"), [(">&-", 2, "closed"), ("> /dev/full", 2, "no space"), ("2>&-", 0, "id,category")]
)
def test_streams_that_are_closed_or_full(finished: Path, ending: str, code: int, words: str) -> None:
    command = f"{sys.executable} -m tsirius predict runs/shop few.csv {ending}"
    done = subprocess.run(["sh", "-c", command], cwd=finished, capture_output=True, text=True)
    assert done.returncode == code
    assert words in (done.stderr or done.stdout) and "Traceback" not in done.stderr


def test_an_interrupted_run_says_how_to_go_on(tmp_path: Path) -> None:
    lay_out(tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-m", "tsirius", "run", "shop.toml"], cwd=tmp_path, stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stderr is not None and "ingest: running (first time)" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    said = process.stderr.read()
    assert process.wait() == 130
    assert said.splitlines()[-1] == "interrupted; run the same command again to resume" and "Traceback" not in said


def kill_and_go_on(finished: Path, folder: Path, moments: list[float]) -> None:
    """Kill the run at each moment (seconds), let the next one finish, and compare with the unbroken one."""
    wanted = (finished / "runs/shop/submission.csv").read_bytes()
    for moment in moments:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        lay_out(folder)
        process = subprocess.Popen(
            [sys.executable, "-m", "tsirius", "run", "shop.toml"], cwd=folder, stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        time.sleep(moment)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        submission = folder / "runs/shop/submission.csv"
        assert not submission.exists() or submission.read_bytes() == wanted, "never half-written"
        tsirius("run", "shop.toml", cwd=folder)
        assert submission.read_bytes() == wanted, f"killed after {moment:.1f} s"
        assert not list((folder / "runs/shop/.work").iterdir())


@pytest.mark.slow
@pytest.mark.ci
def test_a_run_killed_in_one_stage_after_another_goes_on_to_the_same_bytes(finished: Path, tmp_path: Path) -> None:
    lay_out(tmp_path)
    for stage, seconds in [("ingest", 0.0), ("label", 3.0), ("label", 0.5), ("train", 0.5), ("predict", 0.0)]:
        process = subprocess.Popen(
            [sys.executable, "-m", "tsirius", "run", "shop.toml"], cwd=tmp_path, stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL, start_new_session=True, text=True,
        )  # fmt: skip
        assert process.stderr is not None
        assert any(line.startswith(f"{stage}: running") for line in process.stderr), f"never came to {stage}"
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    done = tsirius("run", "shop.toml", cwd=tmp_path)
    ran = [line.partition(":")[0] for line in done.stderr.splitlines() if ": running (" in line]
    assert ran == ["predict", "report"], "what was done is not done again"
    for name in ("submission.csv", "predict/predictions.parquet", "evaluate/scores.json", "label/labels.parquet"):
        assert (tmp_path / "runs/shop" / name).read_bytes() == (finished / "runs/shop" / name).read_bytes()
    assert not list((tmp_path / "runs/shop/.work").iterdir())


@pytest.mark.slow
def test_a_run_killed_at_ten_moments_goes_on_to_the_same_bytes(finished: Path, tmp_path: Path) -> None:
    records = [json.loads(path.read_text()) for path in (finished / "runs/shop").glob("*/record.json")]
    whole = sum(record["seconds"] for record in records) + 3
    rng = random.Random(0)
    kill_and_go_on(finished, tmp_path / "shop", [rng.uniform(0.5, whole) for _ in range(10)])


def test_a_run_that_labels_a_sample_tells_of_all_reviews(finished: Path, here: Here, tmp_path: Path) -> None:
    lay_out(tmp_path)
    here("run", "shop.toml", "label.sample=300", "train.sample=200", cwd=tmp_path)
    run = tmp_path / "runs" / "shop"
    record = {stage: json.loads((run / stage / "record.json").read_text())["notes"] for stage in ("label", "train")}
    rows = list(csv.DictReader((run / "labelled.csv").read_text(encoding="utf-8-sig").splitlines()))
    left = [row for row in rows if row["reason"] == "not sampled"]
    assert len(rows) == record["label"]["rows"] > record["label"]["sampled"] == len(rows) - len(left)
    assert all(not row["label"] and not row["confidence"] for row in left)
    whole = json.loads((finished / "runs" / "shop" / "label" / "record.json").read_text())["notes"]["estimated_mix"]
    mix = record["label"]["estimated_mix"]
    assert sum(abs(mix[name] - whole[name]) for name in whole) / 2 < 0.15
    assert record["train"]["rows"] <= 200 < record["train"]["sampled_from"]
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "not in the sample" in page and "not sampled" in page

    here("audit", "runs/shop", "--count", "40", "--write", "asked.csv", cwd=tmp_path)
    lines = (tmp_path / "asked.csv").read_text(encoding="utf-8-sig").splitlines()
    asked = list(csv.DictReader(lines, delimiter=";"))
    assert len(asked) == 40 and not {row["text"] for row in asked} & {row["text"] for row in left}
    desk = Desk(run)
    assert len(desk.reviews) == record["label"]["sampled"] == len(desk.consensus)
    assert set(desk.queue("unsure", count=20)) <= set(desk.reviews["id"])
    assert [len(one) for one in desk._votes] == [len(desk.reviews)] * len(desk._votes)
