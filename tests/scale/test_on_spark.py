"""The function for Spark gives what ``Classifier`` gives; with Spark itself where it is installed, among the slow."""

import csv
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from tsirius.models.classifier import Classifier
from tsirius.scale import on_spark


def rows(shop: Path) -> tuple[list[str | None], list[str]]:
    with (shop / "reviews.csv").open(encoding="utf-8", newline="") as handle:
        texts: list[str | None] = [row["text"] for row in csv.DictReader(handle)][:60]
    texts[7] = None
    return texts, Classifier.load(shop / "runs" / "shop").predict(texts)


def test_batches_come_back_with_two_columns_more(shop: Path) -> None:
    texts, expected = rows(shop)
    batch = pa.RecordBatch.from_pydict({"n": list(range(60)), "text": texts})
    found = pa.Table.from_batches(on_spark.predictor(shop / "runs" / "shop")([batch.slice(0, 25), batch.slice(25)]))
    assert found.column_names == ["n", "text", "category", "confidence"]
    assert found["category"].to_pylist() == expected and found["text"].to_pylist() == texts
    assert all(0 < value <= 1 for value in found["confidence"].to_pylist())


@pytest.mark.slow
def test_spark_gives_the_same_labels(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spark_ = pytest.importorskip("pyspark.sql")
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    texts, expected = rows(shop)
    spark = spark_.SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").getOrCreate()
    try:
        frame = spark.createDataFrame(list(enumerate(texts)), "n long, text string").repartition(3)
        found = frame.mapInArrow(on_spark.predictor(shop / "runs" / "shop"), on_spark.schema(frame.schema))
        assert [row["category"] for row in sorted(found.collect())] == expected
    finally:
        spark.stop()
