"""A row or a line of any length is read, or refused, in bounded memory."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

MEGABYTES = 1_000
"""Far less than the files; a process that has imported polars has some 200."""
TEXT = "Отличный чайник, греет быстро. " * 2_000_000
CODE = """
import resource, sys
from pathlib import Path
from tsirius.errors import UserError
from tsirius.io import ids
from tsirius.io.source import open_source
try:
    auto = {"text_column": "auto", "id_column": "auto", "encoding": "auto"}
    ids.check(open_source(Path(sys.argv[1]), **auto, text_required=True))
except UserError as error:
    print(error, file=sys.stderr)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def csv(path: Path) -> None:
    path.write_text(f"id,text\n1,Кружка\n2,{TEXT}\n", encoding="utf-8")


def json_lines(path: Path) -> None:
    rows = ({"id": "1", "text": "Кружка"}, {"id": "2", "text": TEXT})
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def parquet(path: Path) -> None:
    pl.DataFrame({"id": ["1", "2"], "text": ["Кружка", TEXT]}).write_parquet(path)


def packed(start: bytes, end: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with gzip.open(path, "wb", compresslevel=1) as file:
            file.write(start)
            for _ in range(2000):
                file.write(b"a very good kettle. " * 50_000)
            file.write(end)

    return write


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "write", "said"),
    [
        ("row.csv", csv, "row 2 (line 3): a row has more than"),
        ("row.jsonl", json_lines, "row 2 (line 2): a row has more than"),
        ("row.parquet", parquet, "row 2: of 62,000,000 characters the first 100,000 are read"),
        ("line.csv.gz", packed(b"id,text\n1,", b"\n"), "row 1 (line 2): a row has more than"),
        ("line.jsonl.gz", packed(b'{"id":1,"text":"', b'"}\n'), "row 1 (line 1): a row has more than"),
    ],
)
def test_a_row_of_100_megabytes_and_a_line_of_two_gigabytes(
    tmp_path: Path, name: str, write: Callable[[Path], None], said: str
) -> None:
    write(tmp_path / name)
    done = subprocess.run([sys.executable, "-c", CODE, tmp_path / name], capture_output=True, text=True, check=True)
    (tmp_path / name).unlink()
    assert said in done.stderr
    assert int(done.stdout) < MEGABYTES
