"""Shards: what was kept comes back as it was, and anything else does not come back."""

import os
import random
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tsirius import shards
from tsirius.shards import Shards

TABLE = pl.DataFrame({"id": ["r1", "r2"], "variants": [["а", "б"], None]}, schema_overrides={"id": pl.String})
ARRAY = np.arange(12, dtype=np.float32).reshape(4, 3)


def test_a_table_and_an_array_come_back(tmp_path: Path) -> None:
    kept = Shards(tmp_path / "new" / "folder")
    kept.write("scores-0", ARRAY)
    kept.write("0", TABLE)
    again = Shards(tmp_path / "new" / "folder")
    found = again.read_array("scores-0")
    assert found is not None and found.dtype == ARRAY.dtype and np.array_equal(found, ARRAY)
    table = again.read("0")
    assert table is not None and table.equals(TABLE)
    assert again.names() == ["0", "scores-0"]


def test_an_empty_table_and_an_empty_array_come_back(tmp_path: Path) -> None:
    kept = Shards(tmp_path)
    kept.write("table", TABLE.clear())
    kept.write("array", ARRAY[:0])
    table, array = kept.read("table"), kept.read_array("array")
    assert table is not None and table.equals(TABLE.clear())
    assert array is not None and array.shape == (0, 3)


def test_what_is_not_there_is_none_in_silence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = Shards(tmp_path)
    assert kept.read("0") is None and kept.read_array("0") is None and kept.names() == []
    assert capsys.readouterr().err == ""


def test_a_shard_is_replaced(tmp_path: Path) -> None:
    kept = Shards(tmp_path)
    kept.write("0", TABLE)
    kept.write("0", TABLE.head(1))
    table = kept.read("0")
    assert table is not None and table.equals(TABLE.head(1)) and kept.names() == ["0"]


def test_appended_shards_are_numbered_and_none_is_overwritten(tmp_path: Path) -> None:
    kept = Shards(tmp_path)
    assert [kept.append(TABLE.head(n)) for n in range(3)] == ["000000", "000001", "000002"]
    (tmp_path / "000001.shard").write_bytes(b"")
    assert kept.read("000001") is None
    assert kept.append(TABLE) == "000003"
    assert [(name, table.height) for name, table in kept] == [("000000", 0), ("000002", 2), ("000003", 2)]


@pytest.mark.parametrize("piece", [TABLE, ARRAY], ids=["table", "array"])
def test_a_flip_of_any_bit_is_seen(tmp_path: Path, piece: object, capsys: pytest.CaptureFixture[str]) -> None:
    kept = Shards(tmp_path)
    path = tmp_path / "0.shard"
    kept.write("0", piece)  # type: ignore[arg-type]  # either
    whole = path.read_bytes()
    for bit in random.Random(0).sample(range(len(whole) * 8), 500):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        assert (kept.read if piece is TABLE else kept.read_array)("0") is None, bit
        assert capsys.readouterr().err == f"  {path}: damaged, computing it again\n"
        assert (kept.read if piece is TABLE else kept.read_array)("0") is None
        assert capsys.readouterr().err == "", "it is said once"


@pytest.mark.parametrize("piece", [TABLE, ARRAY], ids=["table", "array"])
def test_any_other_length_is_seen(tmp_path: Path, piece: object) -> None:
    kept = Shards(tmp_path)
    path = tmp_path / "0.shard"
    kept.write("0", piece)  # type: ignore[arg-type]  # either
    whole = path.read_bytes()
    for content in [*(whole[:length] for length in range(len(whole))), whole + b"\0", whole * 2]:
        path.write_bytes(content)
        assert kept.read("0") is None and kept.read_array("0") is None, len(content)


def test_a_shard_of_another_name_or_kind_is_not_taken(tmp_path: Path) -> None:
    kept = Shards(tmp_path)
    kept.write("0", TABLE)
    (tmp_path / "0.shard").rename(tmp_path / "1.shard")
    assert kept.read("1") is None
    kept.write("2", TABLE)
    assert kept.read_array("2") is None
    kept.write("3", ARRAY)
    assert kept.read("3") is None


def test_what_cannot_be_read_is_none(tmp_path: Path) -> None:
    (tmp_path / "0.shard").mkdir()
    assert Shards(tmp_path).read("0") is None


def test_what_a_killed_process_left_half_written_is_no_shard(tmp_path: Path) -> None:
    (tmp_path / ".0.shard.1.partial").write_bytes(b"PAR1")
    kept = Shards(tmp_path)
    assert kept.names() == [] and list(kept) == []


def test_the_folders_that_were_used_last_are_left(tmp_path: Path) -> None:
    for number in range(5):
        Shards(tmp_path / str(number))
        os.utime(tmp_path / str(number), (number, number))
    Shards(tmp_path / "0")
    (tmp_path / "file").touch()
    shards.sweep(tmp_path, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "4", "file"]
    shards.sweep(tmp_path, keep=9)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "4", "file"]
