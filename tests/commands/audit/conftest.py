"""The run that the tests of the audit share."""

from pathlib import Path

import polars as pl
import pytest
from audited import lay_out, world


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    return world(1200, seed=5)


@pytest.fixture
def run(tmp_path: Path, rows: pl.DataFrame) -> Path:
    return lay_out(tmp_path, rows)
