"""Tables: exactly the columns that were agreed on, however they are written."""

import re
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsirius import tables

SCHEMA: tables.Schema = {"id": pl.String, "row": pl.Int64, "probabilities": tables.PROBABILITIES}


@pytest.fixture(scope="module")
def table() -> pl.DataFrame:
    return pl.DataFrame(
        {"id": ["а", "б", "в"], "row": [1, 2, 3], "probabilities": [[0.5], None, [0.25, 0.75]]}, schema=dict(SCHEMA)
    )


@pytest.mark.parametrize(
    "name", [name for name, kind in vars(tables).items() if isinstance(kind, dict) and name.isupper()]
)
def test_every_kind_of_table_comes_back_as_it_was_written(tmp_path: Path, name: str) -> None:
    schema = getattr(tables, name)
    empty = pl.DataFrame(schema=dict(schema))
    full = empty.clear(2)
    for number, rows in enumerate((empty, full)):
        path = tmp_path / f"{number}.parquet"
        tables.write(rows, schema, path)
        assert tables.read(path, schema).equals(rows) and tables.read(path, schema).schema == rows.schema


def test_only_the_columns_of_the_schema_are_written_in_its_order(tmp_path: Path, table: pl.DataFrame) -> None:
    path = tmp_path / "rows.parquet"
    tables.write(table.select("probabilities", pl.lit(1).alias("more"), "row", "id"), SCHEMA, path)
    assert pl.read_parquet(path).equals(table) and tables.read(path, SCHEMA).equals(table)


@given(parts=st.lists(st.integers(0, 3), max_size=5), rows=st.integers(1, 4))
def test_a_table_written_in_parts_is_the_table(
    tmp_path_factory: pytest.TempPathFactory, table: pl.DataFrame, parts: list[int], rows: int
) -> None:
    path = tmp_path_factory.mktemp("parts") / "rows.parquet"
    with tables.writer(SCHEMA, path) as add:
        for count in parts:
            add(table.head(count).select("row", "id", "probabilities", pl.lit(1).alias("more")))
    whole = pl.concat([table.clear(), *(table.head(count) for count in parts)])
    assert tables.read(path, SCHEMA).equals(whole)
    batches = list(tables.batches(path, rows=rows))
    assert pl.concat([table.clear(), *batches]).equals(whole)
    assert all(0 < batch.height <= rows for batch in batches)


def test_a_table_is_read_by_its_very_name(tmp_path: Path, table: pl.DataFrame) -> None:
    """Brackets and ``a=b`` in the names of folders are no pattern and no column."""
    for folder in ("row=7", "[ab]"):
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / "rows.parquet"
        tables.write(table, SCHEMA, path)
        assert pl.concat(list(tables.batches(path, rows=2))).equals(table)
        assert tables.read(path, SCHEMA).equals(table)
        assert next(tables.batches(path, rows=9, columns=("id",))).equals(table.select("id"))


def test_what_waits_on_the_disk_comes_in_its_order_with_the_same_bytes(
    tmp_path: Path, table: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "ROW_GROUP", 4)
    paths = [tmp_path / "held.parquet", tmp_path / "waited.parquet"]
    for path, held in zip(paths, (1 << 20, 100), strict=True):
        monkeypatch.setattr(tables, "HELD_BYTES", held)
        with tables.writer(SCHEMA, path) as add:
            for number in range(10):
                add(table.with_columns(row=pl.col("row") + number))
    assert tables.read(paths[1], SCHEMA)["row"].to_list() == [row + number for number in range(10) for row in (1, 2, 3)]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert sorted(tmp_path.iterdir()) == paths


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda table: table.drop("row"), "column 'row' is missing"),
        (lambda table: table.with_columns(pl.col("row").cast(pl.Int32)), "column 'row' is Int32, not Int64"),
        (lambda table: table.with_columns(probabilities=0.5), "column 'probabilities' is Float64, not List(Float32)"),
    ],
    ids=["missing", "other type", "other kind"],
)
def test_other_columns_are_refused(
    tmp_path: Path, table: pl.DataFrame, harm: Callable[[pl.DataFrame], pl.DataFrame], message: str
) -> None:
    path, other = tmp_path / "rows.parquet", harm(table)
    refused = pytest.raises(ValueError, match=f"^{re.escape(f'{path}: {message}')}")
    with refused:
        tables.write(other, SCHEMA, path)
    assert not path.exists()
    with refused, tables.writer(SCHEMA, path) as add:
        add(other)
    other.write_parquet(path)
    with refused:
        tables.read(path, SCHEMA)
