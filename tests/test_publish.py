"""Files and folders are published whole or not at all, whoever is killed or writes at the same time."""

import errno
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tsirius import publish
from tsirius.publish import publishing, replacing, write_text


def test_a_failed_write_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "submission.csv"
    write_text(path, "before")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "before"
    assert [item.name for item in tmp_path.iterdir()] == ["submission.csv"]


def test_a_link_and_the_rights_stay(tmp_path: Path) -> None:
    path, link = tmp_path / "real.csv", tmp_path / "link.csv"
    path.write_text("before")
    path.chmod(0o640)
    link.symlink_to(path)
    write_text(link, "after")
    assert link.is_symlink() and path.read_text() == "after"
    assert path.stat().st_mode & 0o777 == 0o640


def left(folder: Path, process: int, machine: str, start: str) -> Path:
    """A file that such a process did not finish."""
    path = folder / f".out.csv.{process}-{machine}-{start}-aa.partial"
    path.write_text("half")
    return path


def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    here, parent = publish._machine(), os.getppid()
    assert publish._start(dead.pid) == "" != publish._start(parent)
    gone = [left(tmp_path, dead.pid, here, "1"), left(tmp_path, parent, here, "1")]  # the second's number went on
    works = left(tmp_path, parent, here, publish._start(parent))
    elsewhere = [left(tmp_path, dead.pid, "elsewhere", "1"), left(tmp_path, parent, "elsewhere", "1")]
    older = tmp_path / f".out.csv.{dead.pid}-elsewhere-aa.partial"  # as an earlier version named it
    odd = tmp_path / ".out.csv.odd.partial"
    for path in (older, odd):
        path.write_text("half")

    def there() -> set[Path]:
        write_text(tmp_path / "out.csv", "whole")
        return set(tmp_path.iterdir()) - {tmp_path / "out.csv"}

    assert there() == {works, *elsewhere, older, odd}, "those of elsewhere may be at work"
    assert not any(path.exists() for path in gone)
    for path in there():
        os.utime(path, (0, 0))
    assert there() == {works, odd}


def test_a_process_at_work_is_known_by_number_and_start_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = left(tmp_path, os.getppid(), publish._machine(), "7")
    for start in ("7", ""):  # two that started at once; one that may not be asked for its start
        monkeypatch.setattr(publish, "_start", lambda _, start=start: start)
        write_text(tmp_path / "out.csv", "whole")
        assert work.exists()


def test_what_another_process_sweeps_first_is_in_nobodys_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def swept(path: Path) -> float:
        path.unlink()
        return path.lstat().st_mtime

    work = left(tmp_path, 1, "elsewhere", "1")
    monkeypatch.setattr(publish, "_last_change", swept)
    write_text(tmp_path / "out.csv", "whole")
    assert not work.exists() and (tmp_path / "out.csv").read_text() == "whole"


def test_a_folder_of_another_machine_stays_while_something_in_it_changes(tmp_path: Path) -> None:
    folder = tmp_path / ".model.1-elsewhere-1-aa.partial"
    (folder / "part").mkdir(parents=True)
    (folder / "part" / "rows.txt").write_text("half")
    for path in (folder / "part", folder):
        os.utime(path, (0, 0))
    fill_with(tmp_path / "model", "one")
    assert folder.exists()
    os.utime(folder / "part" / "rows.txt", (0, 0))
    fill_with(tmp_path / "model", "two")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_process_of_the_same_number_as_a_killed_one_sweeps_what_that_left(tmp_path: Path) -> None:
    for start in ("1", publish._start(os.getpid())):  # in a container each process may get the number of the one before
        left(tmp_path, os.getpid(), publish._machine(), start)
    with replacing(tmp_path / "out.csv") as mine:
        mine.write_text("mine")
        write_text(tmp_path / "out.csv", "other")
        assert {path.name for path in tmp_path.iterdir()} == {"out.csv", mine.name}


def fill_with(folder: Path, text: str) -> None:
    with publishing(folder) as new:
        (new / "part").mkdir()
        (new / "part" / "rows.txt").write_text(text)


def test_a_folder_is_published_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "new" / "model"
    fill_with(target, "one")
    fill_with(target, "two")
    with pytest.raises(RuntimeError), publishing(target) as new:
        (new / "half.txt").write_text("half")
        raise RuntimeError
    assert (target / "part" / "rows.txt").read_text() == "two"
    assert [path.name for path in target.parent.iterdir()] == ["model"]
    assert [path.name for path in target.iterdir()] == ["part"]


def test_a_folder_behind_a_link_is_replaced_and_the_link_stays(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("real")
    for text in ("one", "two"):
        fill_with(tmp_path / "link", text)
        assert (tmp_path / "real" / "part" / "rows.txt").read_text() == text
    assert (tmp_path / "link").is_symlink() and len(list(tmp_path.iterdir())) == 2


def test_a_folder_that_a_killed_process_was_replacing_is_put_back(tmp_path: Path) -> None:
    fill_with(tmp_path / "model", "one")
    (tmp_path / "model").rename(tmp_path / ".model.ab12.replaced")
    with pytest.raises(RuntimeError), publishing(tmp_path / "model"):
        raise RuntimeError
    assert (tmp_path / "model" / "part" / "rows.txt").read_text() == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_many_publish_the_same_folder_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: fill_with(tmp_path / "model", str(number)), range(64)))
    assert (tmp_path / "model" / "part" / "rows.txt").read_text() in map(str, range(64))
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_of_two_that_put_a_folder_back_the_slower_one_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, rename = tmp_path / ".model.ab12.replaced", Path.rename
    fill_with(old, "one")

    def slow(path: Path, target: Path) -> Path:
        shutil.copytree(path, target)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", slow)
    publish.recover(tmp_path / "model")
    assert (tmp_path / "model" / "part" / "rows.txt").read_text() == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_folder_that_goes_while_it_is_replaced_is_in_nobodys_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_with(tmp_path / "model", "one")
    rename = Path.rename

    def slow(path: Path, target: Path) -> Path:
        if path == tmp_path / "model":
            shutil.rmtree(path)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", slow)
    fill_with(tmp_path / "model", "two")
    assert (tmp_path / "model" / "part" / "rows.txt").read_text() == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_failure_names_the_file_that_was_asked_for(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        write_text(tmp_path / "nowhere" / "out.csv", "text")
    assert caught.value.filename == str(tmp_path / "nowhere" / "out.csv")


def test_a_disk_that_is_only_to_be_read_is_named_by_what_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "read-only", str(path))

    # as such a disk does it, even for a file that is not there
    monkeypatch.setattr(Path, "write_text", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(OSError, match="read-only") as caught:
        write_text(tmp_path / "out.csv", "text")
    assert caught.value.filename == str(tmp_path / "out.csv")


def test_a_device_is_written_to_not_replaced() -> None:
    with replacing(Path("/dev/null")) as target:
        assert target == Path("/dev/null")


def test_what_is_published_is_on_the_disk_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = set[int]()
    monkeypatch.setattr(os, "fsync", lambda file: synced.add(os.fstat(file).st_ino))
    fill_with(tmp_path / "model", "one")
    write_text(tmp_path / "out.csv", "text")
    paths = list(tmp_path.rglob("*"))
    assert len(paths) == 4 and synced == {path.stat().st_ino for path in paths}


def test_of_several_folders_that_were_replaced_the_last_is_put_back(tmp_path: Path) -> None:
    for age, name in enumerate(("ab", "aa", "ac")):
        folder = tmp_path / f".model.{name}.replaced"
        fill_with(folder, name)
        os.utime(folder, (1000 - age, 1000 - age))
    (tmp_path / ".model.txt.aa.replaced.txt").touch()
    (tmp_path / ".models.aa.replaced").touch()
    publish.recover(tmp_path / "model")
    assert (tmp_path / "model" / "part" / "rows.txt").read_text() == "ab"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".model.txt.aa.replaced.txt", ".models.aa.replaced", "model",
    ]  # fmt: skip


def test_a_link_to_nothing_under_such_a_name_is_in_nobodys_way(tmp_path: Path) -> None:
    for ending in ("partial", "replaced"):
        (tmp_path / f".model.1-aa-bb.{ending}").symlink_to("nowhere")
    fill_with(tmp_path / "model", "one")
    assert (tmp_path / "model" / "part" / "rows.txt").read_text() == "one"


def test_an_old_folder_that_cannot_be_removed_is_in_nobodys_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "denied", str(path))

    fill_with(tmp_path / "model", "one")
    with monkeypatch.context() as patched:
        patched.setattr("shutil.rmtree", refuse)
        fill_with(tmp_path / "model", "two")
    assert (tmp_path / "model" / "part" / "rows.txt").read_text() == "two"
    assert len(list(tmp_path.iterdir())) == 2
    fill_with(tmp_path / "model", "three")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_what_cannot_be_published_is_told_and_the_old_stays(tmp_path: Path) -> None:
    fill_with(tmp_path / "model", "one")
    with pytest.raises(FileNotFoundError):
        publish.publish(tmp_path / "nothing", tmp_path / "model")
    (tmp_path / "file").write_text("a file")
    with pytest.raises(NotADirectoryError):
        publish.publish(tmp_path / "model", tmp_path / "file")
    assert (tmp_path / "file").read_text() == "a file"
    assert (tmp_path / "model" / "part" / "rows.txt").read_text() == "one"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="starts are read from /proc")
def test_a_process_is_known_by_its_start_whatever_its_name(tmp_path: Path) -> None:
    program = tmp_path / "a) b"
    program.symlink_to(shutil.which("sleep") or "/bin/sleep")
    ours = int(publish._start(os.getpid()))
    with subprocess.Popen([program, "60"]) as sleeping:
        try:
            while "a) b" not in Path(f"/proc/{sleeping.pid}/comm").read_text():
                os.sched_yield()  # until it is that program
            assert int(publish._start(sleeping.pid)) >= ours
            fields = Path(f"/proc/{sleeping.pid}/stat").read_text().rsplit(") ", 1)[1].split()
            assert publish._start(sleeping.pid) == fields[19]
        finally:
            sleeping.kill()


def test_where_the_system_tells_less_of_a_process_its_start_is_asked_for_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *_: "1 (sh) S 0")
    assert publish._start(os.getpid()) == str(int(psutil.Process().create_time()))
