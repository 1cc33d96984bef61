"""Parquet files that say what they were made from, each page of them with a checksum: the extra ``folders``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from tsirius import tables


@contextmanager
def writer(schema: tables.Schema, path: Path, notes: Mapping[str, str]) -> Iterator[Callable[[pl.DataFrame], None]]:
    """:func:`tsirius.tables.writer`, with ``notes`` as the file's key-value metadata.

    Raises:
        ValueError: as of that.
    """
    import pyarrow.parquet as pq

    fields = pl.DataFrame(schema=schema).to_arrow(compat_level=pl.CompatLevel.oldest()).schema
    with pq.ParquetWriter(path, fields, compression="zstd", write_page_checksum=True) as file:

        def add(table: pl.DataFrame) -> None:
            tables.check(table.schema, schema, path)
            if table.height:
                file.write_table(table.select(schema.keys()).to_arrow(compat_level=pl.CompatLevel.oldest()))

        yield add
        file.add_key_value_metadata(notes)
