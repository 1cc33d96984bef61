"""Latency: what is measured, its JSON, and the budget."""

import json
from pathlib import Path

import polars as pl
import pytest

from tsirius.commands import latency
from tsirius.errors import UserError
from tsirius.models import linear
from tsirius.models.classifier import Description


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    linear.fit(["кружка", "тапки"], [0, 1], weights=None, categories=2, c=10.0, rounds=9, embed=None).save(folder)
    Description("linear", ["посуда", "нет товара"], "нет товара", None, [0.0, 0.0], None, None, None, []).save(folder)
    return folder


def test_what_is_measured_is_told_and_written(model: Path, tmp_path: Path) -> None:
    found = latency.measure(model, reviews=None, count=20)
    assert found.reviews == 20 and found.kind == "linear" and found.batched > 500
    assert 0 < found.p50 <= found.p95 <= found.p99 <= found.largest
    assert 0 < found.processor_p50 <= found.processor_p99
    assert found.per_second > 0 and found.peak_mib > 10 and found.threads >= 1
    assert "p99" in found.table() and "/s" in found.table()
    found.save(tmp_path / "out.json", budget=5.0)
    written = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert written["p99"] == found.p99 and written["within_budget"] is True and written["versions"]["tsirius"]
    found.check(5.0)
    with pytest.raises(UserError, match=r"the budget is 0\.0 ms"):
        found.check(0.0)


def test_the_reviews_are_a_files_or_the_runs_own(model: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text\nкружка\n \nтапки большие\n", encoding="utf-8")
    found = latency.measure(model, reviews=tmp_path / "a.csv", count=9)
    assert found.reviews == found.batched == 2 and found.characters == len("тапки большие")
    (tmp_path / "run" / "ingest").mkdir(parents=True)
    (tmp_path / "run" / "train").mkdir()
    (tmp_path / "run" / "train" / "model").symlink_to(model)
    pl.DataFrame({"text": ["кружка"] * 3}).write_parquet(tmp_path / "run" / "ingest" / "reviews.parquet")
    assert latency.measure(tmp_path / "run", reviews=None, count=9).reviews == 3


def test_a_file_without_reviews_is_refused(model: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('text\n""\n', encoding="utf-8")
    with pytest.raises(UserError, match="no reviews to measure with"):
        latency.measure(model, reviews=tmp_path / "a.csv", count=9)
