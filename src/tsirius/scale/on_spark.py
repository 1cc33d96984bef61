"""Spark: a function for ``DataFrame.mapInArrow`` that adds a category and a confidence to each row.

    frame.mapInArrow(on_spark.predictor("/models/shop"), on_spark.schema(frame.schema))

The model's folder, or name, has to be at hand on every executor; each Python worker loads it once. Spark is imported
nowhere here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsirius import extras
from tsirius.models.classifier import Classifier, load_known

if TYPE_CHECKING:
    import pyarrow as pa

ADDED = "category string, confidence double"
"""The columns that are added, as Spark's schemas are written."""


def predictor(
    model: str | Path, *, text_column: str = "text"
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The function from Arrow batches of rows to the same with the columns of :data:`ADDED` after theirs.

    Args:
        model: a run's or a model's folder.
        text_column: of strings; null is a missing review.

    Raises:
        UserError: when it is used, and there is no such model, or the extra ``folders`` is not installed.
    """
    where = str(Path(model).absolute()) if Path(model).exists() else str(model)

    def predict(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        extras.need_folders("Spark", where=model)
        import pyarrow as pa

        classifier = _loaded(where)
        for batch in batches:
            probabilities = classifier.predict_proba(batch.column(text_column).to_pylist())
            best = probabilities.argmax(axis=1)
            confidence = probabilities.max(axis=1).astype("float64").round(4)
            columns = [*batch.columns, pa.array([classifier.names[k] for k in best], pa.string()), pa.array(confidence)]
            yield pa.RecordBatch.from_arrays(columns, names=[*batch.schema.names, "category", "confidence"])

    return predict


@cache
def _loaded(model: str) -> Classifier:
    return load_known(Path(model))[0]


def schema(before: Any) -> str:
    """The schema of the result for a ``StructType`` of the rows that go in."""
    fields = [f"`{field.name}` {field.dataType.simpleString()}" for field in before.fields]
    return ", ".join([*fields, ADDED])
