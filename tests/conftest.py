"""What the tests share."""

import os
from pathlib import Path

import pytest

# Nothing may be fetched while testing, and the tiny models gain nothing from threads.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny random XLM-R in the hub's layout."""
    import tiny

    return tiny.build(tmp_path_factory.mktemp("models") / "tiny-xlm-roberta")


@pytest.fixture(scope="session")
def tiny_t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny random T5 of version 1.1 in the hub's layout."""
    import tiny

    return tiny.build_t5(tmp_path_factory.mktemp("models") / "tiny-t5")


@pytest.fixture(scope="session")
def tiny_marian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny random Marian in the hub's layout."""
    import tiny

    return tiny.build_marian(tmp_path_factory.mktemp("models") / "tiny-marian")


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of the sample, shared by all tests: copy it before you change it."""
    import shop

    return shop.finished(tmp_path_factory.getbasetemp())
