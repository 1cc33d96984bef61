"""The log of answers: what is confirmed stays, whoever writes and however a process ends."""

import multiprocessing
import os
import signal
import sqlite3
from pathlib import Path

import pytest

from tsirius.answers.log import FILE, Answer, Log, text_hash
from tsirius.errors import UserError


def answer(review: str, category: str | None = "обувь", **more: object) -> Answer:
    return Answer(review, text_hash(f"отзыв {review}"), category, **more)  # type: ignore[arg-type]  # as given


def test_what_was_added_is_read_back(tmp_path: Path) -> None:
    log = Log(tmp_path)
    assert log.standing() == [] and log.entries() == [] and log.last() == 0 and not log.path.exists()
    one = answer("1", who="Анна", note="по размеру", shown={"label": "посуда", "hidden": True})
    other = answer("2", None, verdict="several", kind="exam", who="Анна")
    assert log.add([one, other]) == [1, 2] and log.last() == 2
    first, second = Log(tmp_path).standing()
    assert (first.category, first.note, first.shown, first.kind) == ("обувь", "по размеру", one.shown, "lesson")
    assert (second.category, second.verdict, second.kind) == (None, "several", "exam")
    assert first.at.endswith("+00:00")


def test_a_later_answer_of_the_same_person_stands_and_undoing_brings_the_earlier_back(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.add([answer("1", "обувь", who="Анна"), answer("1", "посуда", who="Борис"), answer("1", "одежда", who="Анна")])
    assert [(one.who, one.category) for one in log.standing()] == [("Борис", "посуда"), ("Анна", "одежда")]
    undone = log.undo("Анна")
    assert undone is not None and undone.category == "одежда"
    assert [(one.who, one.category) for one in log.standing()] == [("Анна", "обувь"), ("Борис", "посуда")]
    assert log.undo("Анна", 2) is None, "another person's"
    undone = log.undo("Анна")
    assert undone is not None and undone.category == "обувь"
    assert log.undo("Анна") is None
    assert [entry["kind"] for entry in log.entries()] == ["lesson"] * 3 + ["undo"] * 2
    assert [entry["undoes"] for entry in log.entries()] == [None, None, None, 3, 1]


@pytest.mark.parametrize(
    "statement",
    ["UPDATE log SET category = 'x'", "DELETE FROM log", "UPDATE names SET renamed = '{}'", "DELETE FROM names"],
)
def test_the_file_refuses_to_forget(tmp_path: Path, statement: str) -> None:
    Log(tmp_path).add([answer("1")])
    Log(tmp_path).rename({"обувь": "тапки"})
    connection = sqlite3.connect(tmp_path / FILE)
    with pytest.raises(sqlite3.IntegrityError, match="entries are never"):
        connection.execute(statement)
    connection.close()


@pytest.mark.parametrize(("verdict", "category"), [("category", None), ("category", ""), ("skip", "обувь")])
def test_a_verdict_and_its_category_belong_together(tmp_path: Path, verdict: str, category: str | None) -> None:
    with pytest.raises(ValueError, match="verdict"):
        Log(tmp_path).add([answer("0"), answer("1", category, verdict=verdict)])
    assert Log(tmp_path).standing() == []


def test_other_files_are_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no database at all, but long enough to be taken for one" * 40)
    with pytest.raises(UserError, match="was altered or damaged"):
        Log(tmp_path).standing()
    (tmp_path / FILE).unlink()
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("CREATE TABLE other (x)")
    connection.close()
    with pytest.raises(UserError, match="is no log of answers"):
        Log(tmp_path).add([answer("1")])
    with sqlite3.connect(tmp_path / FILE) as connection:
        assert connection.execute("SELECT COUNT(*) FROM other").fetchone() == (0,)
    connection.close()


def test_an_empty_file_of_a_process_killed_at_its_first_entry(tmp_path: Path) -> None:
    (tmp_path / FILE).touch()
    assert Log(tmp_path).standing() == [] and Log(tmp_path).last() == 0
    assert Log(tmp_path).add([answer("1")]) == [1]


def write(run: Path, who: str, count: int) -> None:
    log = Log(run)
    for number in range(count):
        log.add([answer(str(number), who=who)])


def test_two_processes_write_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write, args=(tmp_path, who, 40)) for who in ("Анна", "Борис")]
    for process in writers:
        process.start()
    for process in writers:
        process.join()
    assert [process.exitcode for process in writers] == [0, 0]
    entries = Log(tmp_path).entries()
    assert [entry["number"] for entry in entries] == list(range(1, 81))
    for who in ("Анна", "Борис"):
        assert [entry["review"] for entry in entries if entry["who"] == who] == [str(n) for n in range(40)]


def write_until_killed(run: Path, confirmed: Path) -> None:
    log = Log(run)
    with confirmed.open("w") as handle:
        for number in range(1000):
            log.add([answer(str(number), who="Анна")])
            handle.write(f"{number}\n")
            handle.flush()
            if number == 25:
                os.kill(os.getpid(), signal.SIGKILL)


def test_what_was_confirmed_survives_a_kill(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(
        target=write_until_killed, args=(tmp_path, tmp_path / "confirmed")
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    confirmed = (tmp_path / "confirmed").read_text().split()
    assert [one.review for one in Log(tmp_path).standing()] == confirmed and len(confirmed) == 26
    assert Log(tmp_path).add([answer("x")]) == [27]


def test_a_held_log_loses_nothing_and_is_tidied_up_at_the_end(tmp_path: Path) -> None:
    log = Log(tmp_path, hold=True)
    log.close()
    assert not log.path.exists(), "opening it creates nothing"
    for number in range(3):
        log.add([Answer(f"r{number}", "x", "обувь", who=f"p{number}")])
    beside = [path for path in tmp_path.iterdir() if path != log.path]
    assert beside, "SQLite has not tidied up"
    assert [one.review for one in Log(tmp_path).standing()] == ["r0", "r1", "r2"], "another reader sees all"
    assert [(one.review, undoes) for one, undoes in log.since(1)] == [("r1", None), ("r2", None)]
    log.undo("p1")
    assert log.since(3)[0][1] == 2 and log.since(4) == []
    log.close()
    assert list(tmp_path.iterdir()) == [log.path]
