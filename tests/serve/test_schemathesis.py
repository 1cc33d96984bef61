"""Requests drawn from the server's own description, right and wrong ones: each is answered as it says."""

from collections.abc import Iterator
from typing import Any

import pytest
import serving
from serving import running

schemathesis = pytest.importorskip("schemathesis")
from hypothesis import HealthCheck, Phase, settings  # noqa: E402 (after what may be missing)
from schemathesis.specs.openapi.checks import positive_data_acceptance  # noqa: E402

from tsirius.serve.app import openapi  # noqa: E402

schema = schemathesis.openapi.from_dict(openapi())


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(serving.save(tmp_path_factory.mktemp("models") / "model")) as server:
        yield server.url


@schema.parametrize()
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_as_the_description_says(case: Any, url: str) -> None:
    # What a schema cannot say may be refused: as many ids as texts, a shape that fits the data, a model's name.
    answer = case.call(base_url=url)
    said = answer.json().get("error", "") if answer.status_code == 422 else ""
    beyond = " ids for " in said or "the shape has room" in said or "an element is not a string" in said
    case.validate_response(answer, excluded_checks=[positive_data_acceptance] if beyond else [])
