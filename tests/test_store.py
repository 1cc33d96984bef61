"""Stage folders: published whole or not at all, run or skipped for the right reason."""

import errno
import hashlib
import importlib.metadata
import itertools
import json
import locale
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tsirius import store as stores
from tsirius.errors import UserError
from tsirius.store import Store, file_fingerprint, fingerprint

KEY = {"version": 1, "settings": {"sure": 0.6}, "seed": 0, "inputs": {"label": "abc"}, "files": {"ingest.test": "d"}}


def fill(out: Path, scratch: Path) -> dict[str, int]:
    (out / "rows.txt").write_text("один\n", encoding="utf-8")
    return {"rows": 1}


def made(tmp_path: Path) -> Store:
    store = Store(tmp_path / "runs" / "shop")
    store.make("select", KEY, fill, "source")
    return store


def test_a_made_stage_is_skipped_and_its_record_tells_what_it_was_made_from(tmp_path: Path) -> None:
    store = made(tmp_path)
    record = json.loads((store.folder("select") / "record.json").read_text(encoding="utf-8"))
    assert not store.decide("select", KEY).run
    assert record["key"] == KEY
    assert record["notes"] == {"rows": 1}
    assert record["output"] == fingerprint(store.folder("select"))
    assert record["seconds"] >= 0 and record["versions"]["tsirius"]
    assert not list((store.root / ".work").iterdir())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 2}, "version changed from 1 to 2"),
        ({"settings": {"sure": 0.7}}, "sure changed from 0.6 to 0.7"),
        ({"settings": {"sure": 0.6, "new": 1}}, "new changed from None to 1"),
        ({"seed": 1}, "seed changed from 0 to 1"),
        ({"inputs": {"label": "other"}}, "the output of label changed"),
        ({"files": {"ingest.test": "other"}}, "the file of ingest.test changed"),
    ],
)
def test_a_changed_key_is_told_in_words(tmp_path: Path, change: dict[str, object], words: str) -> None:
    decision = made(tmp_path).decide("select", {**KEY, **change})
    assert decision.run
    assert decision.why == words


@pytest.mark.parametrize("harm", ["changed", "added", "removed"])
def test_altered_output_runs_again(tmp_path: Path, harm: str) -> None:
    store = made(tmp_path)
    rows = store.folder("select") / "rows.txt"
    if harm == "changed":
        rows.write_text("два\n", encoding="utf-8")
    elif harm == "added":
        rows.with_name("more.txt").write_text("")
    else:
        rows.unlink()
    assert store.decide("select", KEY).why == "its files were altered or damaged"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"key": {}}', '{"key": 5, "output": ""}'])
def test_a_broken_record_runs_again(tmp_path: Path, text: str) -> None:
    store = made(tmp_path)
    (store.folder("select") / "record.json").write_text(text)
    assert store.decide("select", KEY).run


def test_a_failing_stage_leaves_the_published_one_and_its_scratch(tmp_path: Path) -> None:
    store = made(tmp_path)
    before = fingerprint(store.folder("select"))

    def fail(out: Path, scratch: Path) -> dict[str, int]:
        (out / "half.txt").write_text("half")
        (scratch / "shard-0").write_text("done")
        raise OSError("disk")

    other = {**KEY, "seed": 1}
    with pytest.raises(OSError, match="disk"):
        store.make("select", other, fail, "source")
    assert fingerprint(store.folder("select")) == before

    def go_on(out: Path, scratch: Path) -> dict[str, int]:
        assert not list(out.iterdir()), "what a failed try wrote is gone"
        assert (scratch / "shard-0").read_text() == "done", "what it left to go on from is there"
        return {}

    store.make("select", other, go_on, "source")


def test_scratch_of_another_key_is_not_found(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def fail(out: Path, scratch: Path) -> dict[str, int]:
        (scratch / "shard-0").write_text("done")
        raise OSError("disk")

    def start_anew(out: Path, scratch: Path) -> dict[str, int]:
        assert not list(scratch.iterdir())
        return {}

    with pytest.raises(OSError, match="disk"):
        store.make("select", KEY, fail, "source")
    store.make("select", {**KEY, "seed": 1}, start_anew, "source")


def test_from_the_start_goes_on_from_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def fail(out: Path, scratch: Path) -> dict[str, int]:
        assert not list(scratch.iterdir())
        (scratch / "shard-0").write_text("done")
        raise OSError("disk")

    for _ in range(2):
        with pytest.raises(OSError, match="disk"):
            store.make("select", KEY, fail, "source", from_start=True)


def test_a_stage_older_than_what_it_reads_is_not_finished(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(UserError, match="not finished: no label"):
        store.check_finished(["label"])
    label = store.make("label", {**KEY, "inputs": {}}, fill, "source")
    store.make("select", {**KEY, "inputs": {"label": label["output"]}}, fill, "source")
    store.check_finished(["label", "select"])

    def other(out: Path, scratch: Path) -> dict[str, int]:
        (out / "rows.txt").write_text("два\n", encoding="utf-8")
        return {}

    store.make("label", {**KEY, "inputs": {}, "seed": 1}, other, "source")
    with pytest.raises(UserError, match="not finished: select is older than label"):
        store.check_finished(["label", "select"])
    (store.folder("label") / "rows.txt").write_text("")
    with pytest.raises(UserError, match="altered or damaged"):
        store.check_finished(["label"])


OPERATIONS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "shutil.copyfile"}


def go(root: Path, key: dict[str, object], text: str) -> None:
    """What a run does for one stage."""

    def write(out: Path, scratch: Path) -> dict[str, int]:
        (scratch / "shard-0").write_text("done")
        (out / "rows.txt").write_text(text)
        return {}

    store = Store(root)
    with store.lock():
        if store.decide("select", key).run:
            store.make("select", key, write, "source")
        else:
            store.tidy("select", key)
        store.export("select", "rows.txt")


def killed(at: int, root: Path, key: dict[str, object], text: str) -> bool:
    """Do :func:`go` in a process that is killed before its file operation number ``at``; False where it has fewer."""
    process = os.fork()
    if process:
        return os.WIFSIGNALED(os.waitpid(process, 0)[1])
    left = at

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event in OPERATIONS and str(root) in str(arguments[:2]):
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    with suppress(BaseException):  # or pytest goes on in the child as well
        go(root, key, text)
        os._exit(0)
    os._exit(1)


@pytest.mark.parametrize("before", [False, True], ids=["the first output", "output in place of another"])
def test_a_kill_between_any_two_file_operations_leaves_nothing_half_done(tmp_path: Path, before: bool) -> None:
    other = {**KEY, "seed": 1}
    for at in itertools.count(1):
        root = tmp_path / str(at)
        if before:
            go(root, other, "before")
        died = killed(at, root, KEY, "after")
        stage, exported = root / "select", root / "rows.txt"
        if stage.exists():
            assert {path.name for path in stage.iterdir()} == {"rows.txt", "record.json"}
            assert "altered" not in Store(root).decide("select", KEY).why
        if exported.exists():
            assert exported.read_text() in ("before", "after")
        go(root, KEY, "after")
        assert exported.read_text() == (stage / "rows.txt").read_text() == "after"
        assert not list((root / ".work").iterdir()), f"killed at operation {at}"
        assert {path.name for path in root.iterdir()} == {".lock", ".work", "select", "rows.txt"}
        if not died:
            break
    assert at > 20


def test_one_run_at_a_time(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from tsirius.store import Store\n"
        "with Store(pathlib.Path(sys.argv[1])).lock(): print(flush=True); input()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout is not None and holder.stdout.readline()
        with pytest.raises(UserError, match="in use by another run"), Store(tmp_path).lock():
            pass
    finally:
        holder.kill()
        holder.wait()
    with Store(tmp_path).lock():  # the dead holder's lock is free again
        pass


def test_what_is_read_was_published(tmp_path: Path) -> None:
    store = made(tmp_path)
    folder = store.read("select")
    assert folder == store.folder("select")
    assert stores.verify(folder / "rows.txt")
    assert not stores.verify(tmp_path), "a run's folder is vouched for stage by stage"
    with pytest.raises(UserError, match="not finished: no label"):
        store.read("label")


def test_a_flip_of_any_bit_of_a_stages_files_is_seen(tmp_path: Path) -> None:
    store = made(tmp_path)
    for name in ("rows.txt", "record.json"):
        path = store.folder("select") / name
        whole = path.read_bytes()
        for bit in random.Random(0).sample(range(len(whole) * 8), min(200, len(whole) * 8)):
            damaged = bytearray(whole)
            damaged[bit // 8] ^= 1 << bit % 8
            path.write_bytes(damaged)
            if name == "record.json" and json_or_none(damaged) == json.loads(whole):
                continue  # white space
            for reads in (lambda: store.read("select"), lambda: stores.verify(store.folder("select") / "rows.txt")):
                with pytest.raises(UserError, match=r"damaged|older version"):
                    reads()
            assert store.decide("select", KEY).run
        path.write_bytes(whole)
        store.read("select")


def json_or_none(content: bytearray) -> object:
    try:
        return json.loads(content)
    except ValueError:
        return None


def test_a_record_without_a_checksum_is_of_an_older_version(tmp_path: Path) -> None:
    store = made(tmp_path)
    path = store.folder("select") / "record.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    del record["checksum"]
    path.write_text(json.dumps(record), encoding="utf-8")
    assert store.decide("select", KEY).why == "published by an older version"
    with pytest.raises(UserError, match="published by an older version"):
        store.read("select")


def test_files_are_hashed_once_until_they_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, hashed = made(tmp_path), list[Path]()
    monkeypatch.setattr(stores, "file_fingerprint", lambda path: hashed.append(path) or file_fingerprint(path))
    for _ in range(3):
        store.read("select")
    assert [path.name for path in hashed] == ["rows.txt"]
    (store.folder("select") / "more.txt").touch()
    with pytest.raises(UserError, match="altered or damaged"):
        store.read("select")


def nothing(out: Path, scratch: Path) -> dict[str, int]:
    return {}


def test_a_record_tells_what_how_long_and_with_what(tmp_path: Path) -> None:
    def work(out: Path, scratch: Path) -> dict[str, object]:
        time.sleep(0.02)
        return {"обувь": 1, "folder": tmp_path}

    store = Store(tmp_path / "run")
    record = store.make("select", {**KEY, "files": {"test": tmp_path / "отзывы.csv"}}, work, "abc")
    text = (store.folder("select") / "record.json").read_text(encoding="utf-8")
    assert store.record("select") == json.loads(text) and record.items() <= json.loads(text).items()
    assert "отзывы.csv" in text and '\n "key": {\n' in text, "a person can read it"
    assert (record["stage"], record["source"]) == ("select", "abc")
    assert record["notes"] == {"обувь": 1, "folder": str(tmp_path)}
    assert 0.02 <= record["seconds"] < 60 and record["seconds"] == round(record["seconds"], 3)
    assert set(record["versions"]) == set(stores.PACKAGES)
    assert record["versions"]["polars"] == importlib.metadata.version("polars")
    assert not store.decide("select", {**KEY, "files": {"test": tmp_path / "отзывы.csv"}}).run


def test_a_package_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "PACKAGES", ("polars", "no-such-package"))
    assert stores.versions() == {"polars": importlib.metadata.version("polars"), "no-such-package": "not installed"}


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells the peak")
def test_the_peak_of_memory_is_this_stages_own(tmp_path: Path) -> None:
    def work(mib: int) -> Callable[[Path, Path], dict[str, int]]:
        def allocate(out: Path, scratch: Path) -> dict[str, int]:
            bytearray(mib << 20)
            return {}

        return allocate

    store = Store(tmp_path)
    before = psutil.Process().memory_info().rss / 2**20
    large = store.make("large", KEY, work(300), "source")["peak_memory_mib"]
    small = store.make("small", KEY, work(1), "source")["peak_memory_mib"]
    assert before + 250 < large < before + 400
    assert small < large - 200 and large == round(large, 1)


def hashed(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def test_fingerprints_are_those_of_earlier_versions(tmp_path: Path) -> None:
    """Or each finished run would be computed again."""
    folder = tmp_path / "model"
    (folder / "part").mkdir(parents=True)
    contents = {"a.txt": b"one", "part/b.bin": b"two", "part/record.json": b"{}", "б.txt": b""}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    for name in ("record.json", "code.pyc", "part/code.pyc"):
        (folder / name).write_bytes(b"not counted")
    lines = [f"{name}\0{hashed(content)}\n" for name, content in contents.items()]
    assert fingerprint(folder) == hashed("".join(lines).encode())
    assert fingerprint(folder / "a.txt") == hashed(b"one")
    text = json.dumps({"a": 1, "б": str(tmp_path)}, ensure_ascii=False)
    assert stores.digest({"б": tmp_path, "a": 1}) == hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def test_the_first_change_is_told_whichever_it_is(tmp_path: Path) -> None:
    store = made(tmp_path)
    nested = {**KEY, "settings": {"sure": 0.6, "nli": {"model": "a", "batch": 2}}}
    store.make("label", nested, fill, "source")
    assert store.decide("label", {**nested, "settings": {"sure": 0.6, "nli": {"model": "b", "batch": 3}}}).why == (
        "nli batch changed from 2 to 3"
    )
    assert store.decide("select", {**KEY, "inputs": {}}).why == "the output of label changed"
    assert store.decide("select", {**KEY, "files": {}}).why == "the file of ingest.test changed"
    assert store.decide("select", {**KEY, "seed": None}).why == "seed changed from 0 to None"


def test_what_a_stage_keeps_outlives_its_keys_but_not_a_start_from_nothing(tmp_path: Path) -> None:
    store, seen = Store(tmp_path), list[list[str]]()

    def work(out: Path, scratch: Path) -> dict[str, int]:
        seen.append([path.name for path in scratch.iterdir()])
        (scratch / "kept.txt").touch()
        return {}

    for seed in range(2):
        store.make("label", {**KEY, "seed": seed}, work, "source", keeps=True)
    store.make("label", {**KEY, "seed": 2}, work, "source", keeps=True, from_start=True)
    store.make("select", KEY, work, "source", keeps=True)
    store.make("label", KEY, work, "source")
    assert seen == [[], ["kept.txt"], [], [], []]


def fails(out: Path, scratch: Path) -> dict[str, int]:
    (scratch / "shard-0").write_text("done")
    raise OSError("disk")


def test_a_failed_try_leaves_its_work_and_takes_only_its_own_stages(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for stage, seed in (("label", 0), ("select", 0), ("select", 1)):
        with pytest.raises(OSError, match=r"^disk$"):
            store.make(stage, {**KEY, "seed": seed}, fails, "source")
    work = tmp_path / ".work"
    assert sorted(path.name.split("-")[0] for path in work.iterdir()) == ["label", "select"]
    store.tidy("select", KEY)
    assert len(list(work.iterdir())) == 2, "of another key"
    store.tidy("select", {**KEY, "seed": 1})
    store.tidy("label", {**KEY, "seed": 0})
    assert not list(work.iterdir())


def test_a_stage_that_the_run_no_longer_has_goes_with_what_was_exported(tmp_path: Path) -> None:
    store = made(tmp_path)
    exported, other = store.export("select", "rows.txt"), store.root / "other.txt"
    other.touch()
    assert exported == store.root / "rows.txt" and exported.read_bytes() == "один\n".encode()
    store.withdraw("label", ["rows.txt"])
    assert exported.exists()
    store.withdraw("select", ["rows.txt", "was never there.txt"])
    assert not exported.exists() and not store.folder("select").exists() and other.exists()
    assert store.decide("select", KEY).run and store.record("select") is None


def test_an_export_over_a_folder_is_refused_and_one_of_other_bytes_is_replaced(tmp_path: Path) -> None:
    store = made(tmp_path)
    (store.root / "rows.txt").write_text("two", encoding="utf-8")
    assert store.export("select", "rows.txt").read_text(encoding="utf-8") == "один\n"
    assert not [path for path in store.root.iterdir() if path.name.endswith(".partial")]


@pytest.mark.parametrize(
    ("error", "number", "named"),
    [
        (RuntimeError("polars: No space left on device (os error 28)"), errno.ENOSPC, True),
        (OSError(errno.ENOSPC, "full"), errno.ENOSPC, True),
        (OSError(errno.EACCES, "denied", "elsewhere"), errno.EACCES, False),
    ],
    ids=["in words", "without a name", "with a name"],
)
def test_a_failure_of_the_system_says_where(tmp_path: Path, error: Exception, number: int, named: bool) -> None:
    def work(out: Path, scratch: Path) -> dict[str, int]:
        raise error

    with pytest.raises(OSError) as caught:  # the number says which
        Store(tmp_path).make("select", KEY, work, "source")
    assert caught.value.errno == number
    assert (tmp_path / ".work" in Path(caught.value.filename).parents) == named
    assert caught.value.strerror == (os.strerror(number) if named else "denied")


def test_a_failure_of_another_kind_stays_what_it_is(tmp_path: Path) -> None:
    def work(out: Path, scratch: Path) -> dict[str, int]:
        raise ValueError("os error")

    with pytest.raises(ValueError, match=r"^os error$"):
        Store(tmp_path).make("select", KEY, work, "source")


def test_refusals_say_where_and_what_to_do(tmp_path: Path) -> None:
    store = made(tmp_path)
    finish = r" Finish the run with 'tsirius run'\.$"
    with pytest.raises(UserError, match=rf"shop: the run is not finished: no label\.{finish}"):
        store.check_finished(["label"])
    with pytest.raises(UserError, match=rf"shop: the run is not finished: select is older than label\.{finish}"):
        store.check_finished(["select"])
    with (
        store.lock(),
        pytest.raises(UserError, match=r"another run.*\. Wait for it to end, or .*") as caught,
        store.lock(),
    ):
        pass
    assert caught.value.where == store.root


def test_export_copies_once(tmp_path: Path) -> None:
    store = made(tmp_path)
    target = store.export("select", "rows.txt")
    stamp = target.stat().st_mtime_ns
    assert store.export("select", "rows.txt").stat().st_mtime_ns == stamp
    target.write_text("edited")
    assert store.export("select", "rows.txt").read_text(encoding="utf-8") == "один\n"


def test_the_configuration_of_a_run_is_read_as_it_was_written(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(UserError) as caught:
        store.config()
    assert str(caught.value) == f"{tmp_path}: holds no run. Name a folder that 'tsirius run' made."
    text = '{"имя": "магазин"}\n'
    store.write_config(text)
    assert store.config() == (tmp_path / "config.json").read_text(encoding="utf-8") == text
    assert (tmp_path / ".config.sums").read_text() == f"{hashed(text.encode())}\n", "as earlier versions wrote it"
    before = (tmp_path / ".config.sums").stat()
    store.write_config(text)
    assert (tmp_path / ".config.sums").stat() == before, "nothing is written that is there"
    (tmp_path / ".config.sums").unlink()
    assert store.config() == text, "of a version that kept no checksum"


@pytest.mark.parametrize(
    "content", ['{"имя": "магазин"} '.encode(), b"", b"\xff\xfe"], ids=["space", "empty", "not text"]
)
def test_an_altered_configuration_is_refused(tmp_path: Path, content: bytes) -> None:
    store = Store(tmp_path)
    store.write_config('{"имя": "магазин"}')
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(UserError) as caught:
        store.config()
    assert caught.value.where == tmp_path / "config.json"
    assert str(caught.value).endswith("config.json: was altered or damaged. 'tsirius run' writes it again.")
    store.write_config("new")
    assert store.config() == "new"
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(UserError, match="was altered or damaged"):
        store.config()


def test_a_configuration_that_is_not_text_is_refused_without_a_checksum_too(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="was altered or damaged"):
        Store(tmp_path).config()


def test_damaged_checksums_of_a_configuration_are_written_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write_config("{}")
    sums = tmp_path / ".config.sums"
    whole = sums.read_bytes()
    for damaged in (b"\xb3" + whole[1:], b"", b"\0" * 33):
        sums.write_bytes(damaged)
        store.write_config("{}")
        assert (sums.read_bytes(), store.config()) == (whole, "{}")


def test_a_kill_between_configuration_and_checksum_leaves_the_old_one_known(tmp_path: Path) -> None:
    store, path = Store(tmp_path), tmp_path / "config.json"
    store.write_config("one")
    store.write_config("two")
    path.write_text("one")  # as a kill before the second write leaves it
    assert store.config() == "one"
    store.write_config("three")
    assert store.config() == "three"
    path.write_text("one")
    assert store.config() == "one"
    path.write_text("two")
    with pytest.raises(UserError, match="was altered or damaged"):
        store.config()
    path.write_text("three")
    store.write_config("three")
    path.write_text("one")
    with pytest.raises(UserError, match="was altered or damaged"):
        store.config()


def test_a_sealed_folder_gives_back_its_notes_while_it_is_as_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "модель"
    (folder / "part").mkdir(parents=True)
    (folder / "part" / "rows.txt").write_text("one")
    assert stores.sealed(folder) is None
    stores.seal(folder, {"доля": 0.5, "path": folder})
    assert stores.sealed(folder) == {"доля": 0.5, "path": str(folder)}
    record = folder / "record.json"
    text = record.read_text(encoding="utf-8")
    assert "доля" in text and '\n "output": ' in text, "a person can read it"
    assert json.loads(text)["output"] == fingerprint(folder)
    record.write_text(text.replace("0.5", "0.6"), encoding="utf-8")
    assert stores.sealed(folder) is None
    record.write_text(text, encoding="utf-8")
    (folder / "part" / "rows.txt").write_text("two")
    assert stores.sealed(folder) is None
    stores.seal(folder, {})
    assert stores.sealed(folder) == {}


def test_a_stage_that_reads_none_is_finished_alone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.make("ingest", {"version": 1}, fill, "source")
    store.check_finished(["ingest"])


def test_a_records_checksum_is_that_of_earlier_versions(tmp_path: Path) -> None:
    """Or each finished run would be computed again."""
    store = Store(tmp_path / "магазин")
    store.make("select", {**KEY, "files": {"отзывы": tmp_path}}, fill, "source")
    record = json.loads((store.folder("select") / "record.json").read_text(encoding="utf-8"))
    checksum = record.pop("checksum")
    assert checksum == hashed(json.dumps(record, ensure_ascii=False, sort_keys=True).encode())


def test_half_a_character_in_a_record_is_damage(tmp_path: Path) -> None:
    store = made(tmp_path)
    path = store.folder("select") / "record.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"rows"', r'"\udcff"'), encoding="utf-8")
    assert store.decide("select", KEY).why == "its record is damaged"


def test_a_stages_folder_may_be_a_link_which_its_next_output_replaces(tmp_path: Path) -> None:
    store = made(tmp_path)
    store.folder("select").rename(tmp_path / "elsewhere")
    store.folder("select").symlink_to(tmp_path / "elsewhere")
    assert not store.decide("select", KEY).run
    store.make("select", {**KEY, "seed": 1}, nothing, "source")
    assert not store.folder("select").is_symlink() and (tmp_path / "elsewhere" / "rows.txt").exists()


@pytest.mark.parametrize(("depth", "seen"), [(0, True), (1, True), (stores.DEPTH, True), (stores.DEPTH + 1, False)])
def test_a_path_in_a_stages_folder_is_verified_down_to_a_depth(tmp_path: Path, depth: int, seen: bool) -> None:
    store = made(tmp_path)
    path = store.folder("select").joinpath(*"abcdefgh"[:depth])
    path.mkdir(parents=True, exist_ok=True)
    (store.folder("select") / "rows.txt").write_text("damaged")
    if not seen:
        stores.verify(path)
        return
    with pytest.raises(UserError) as caught:
        stores.verify(path)
    assert str(caught.value) == (
        f"{store.folder('select')}: its files were altered or damaged since they were published."
        " 'tsirius run' computes them again."
    )


def test_reading_what_is_not_there_or_damaged_says_where_and_what_to_do(tmp_path: Path) -> None:
    store = made(tmp_path)
    with pytest.raises(UserError) as caught:
        store.read("label")
    assert str(caught.value) == f"{store.root}: the run is not finished: no label. Finish the run with 'tsirius run'."
    path = store.folder("select") / "record.json"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(UserError) as caught:
        store.read("select")
    assert str(caught.value) == f"{path}: its record is damaged. 'tsirius run' runs the stage again."
    assert store.record("select") is None
    path.unlink()
    path.mkdir()
    assert store.decide("select", KEY).why == "its record is damaged"
    path.rmdir()
    assert store.decide("select", KEY).why == "its record is missing"
    assert store.decide("label", KEY).why == "first time"
    assert made(tmp_path).decide("select", KEY) == stores.Decision(False, "unchanged")


def test_files_of_a_run_are_read_under_any_locale(tmp_path: Path) -> None:
    before, text = locale.setlocale(locale.LC_CTYPE), '{"имя": "магазин"}'
    try:
        locale.setlocale(locale.LC_CTYPE, "C")
        store = Store(tmp_path)
        store.write_config(text)
        key = {**KEY, "settings": {"имя": "магазин"}}
        store.make("select", key, fill, "source")
        found = store.config(), store.decide("select", key).run
    finally:
        locale.setlocale(locale.LC_CTYPE, before)
    assert found == (text, False)


def test_a_file_is_hashed_again_once_it_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "rows.txt"
    for text in ("one", "three"):
        path.write_text(text)
        assert stores.fingerprint_once(path) == hashed(text.encode())


@pytest.mark.parametrize("text", ['{"key": {}}', '{"key": 5, "output": ""}', "[]", "{"])
def test_a_record_that_lacks_something_is_damaged(tmp_path: Path, text: str) -> None:
    store = made(tmp_path)
    (store.folder("select") / "record.json").write_text(text)
    assert store.decide("select", KEY).why == "its record is damaged"


def test_a_change_of_a_whole_section_and_of_a_name_with_spaces_is_told(tmp_path: Path) -> None:
    store = Store(tmp_path)
    key = {"settings": {"nli": {"model": "a"}}, "files": {"my test file": "a"}}
    store.make("label", key, fill, "source")
    assert store.decide("label", {**key, "settings": {"nli": None}}).why == "nli changed from {'model': 'a'} to None"
    assert store.decide("label", {**key, "files": {"my test file": "b"}}).why == "the file of my test file changed"


def test_a_records_time_is_no_longer_than_the_call_and_its_memory_a_fraction(tmp_path: Path) -> None:
    start = time.monotonic()
    record = Store(tmp_path).make("select", KEY, nothing, "source")
    assert 0 <= record["seconds"] <= time.monotonic() - start + 0.001
    assert record["peak_memory_mib"] is None or isinstance(record["peak_memory_mib"], float)


def test_the_settings_of_a_run_are_read_by_section(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.settings("вид") == {}, "there is no run"
    store.write_config('{"вид": {"имя": 1}, "seed": 3}')
    assert store.settings("вид") == {"имя": 1}
    assert store.settings("seed") == store.settings("absent") == {}
    for text in ("{", "[]"):
        store.write_config(text)
        assert store.settings("вид") == {}
    (tmp_path / "config.json").write_text("altered")
    with pytest.raises(UserError, match=r"config\.json: was altered or damaged"):
        store.settings("вид")


def with_sums(folder: Path) -> Path:
    """A folder that people copy, with another in it."""
    for part in (folder, folder / "часть"):
        part.mkdir(parents=True)
        (part / "веса.bin").write_bytes(b"one")
        (part / "b.txt").write_bytes(b"two")
        (part / "README.md").write_text("before")
        stores.write_checksums(part)
    return folder


def test_the_checksums_of_a_folder_name_its_own_files(tmp_path: Path) -> None:
    path = with_sums(tmp_path / "model") / "checksums.json"
    stores.write_checksums(path.parent)  # the sums are not among them
    text = path.read_text(encoding="utf-8")
    assert list(json.loads(text).items()) == [("b.txt", hashed(b"two")), ("веса.bin", hashed(b"one"))]
    assert text.startswith('{\n "b.txt": ') and "веса.bin" in text, "a person can read it"


@pytest.mark.parametrize("part", ["", "часть"], ids=["folder", "inner"])
def test_a_copied_folder_is_verified_by_its_checksums(tmp_path: Path, part: str) -> None:
    model = with_sums(tmp_path / "model")
    folder = model / part
    again = "Copy the folder again, or train the model again."

    def refusal() -> str:
        with pytest.raises(UserError) as caught:
            stores.verify(model)
        return str(caught.value)

    (folder / "README.md").write_text("after")
    (folder / "more.txt").write_text("more")
    assert stores.verify(model)
    (folder / "веса.bin").write_bytes(b"other")
    assert refusal() == f"{folder / 'веса.bin'}: was altered or damaged since it was written. {again}"
    (folder / "веса.bin").unlink()
    assert refusal() == f"{folder}: has no веса.bin. {again}"
    for damaged in (b"", b"[1]", b"\xff", b"5", b"[" * 100_000):
        (folder / "checksums.json").write_bytes(damaged)
        assert refusal() == f"{folder / 'checksums.json'}: was altered or damaged. {again}"
    (folder / "checksums.json").unlink()
    assert stores.verify(model), "the other part has its own"


def test_a_file_alone_is_verified_by_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert not stores.verify(tmp_path / "file")
    assert not stores.verify(tmp_path / "absent")


def test_checksums_are_read_under_any_locale(tmp_path: Path) -> None:
    before = locale.setlocale(locale.LC_CTYPE)
    try:
        locale.setlocale(locale.LC_CTYPE, "C")
        stores.verify(with_sums(tmp_path / "model"))
    finally:
        locale.setlocale(locale.LC_CTYPE, before)
