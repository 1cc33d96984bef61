"""What the tests share."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from hypothesis import Phase, settings

# Nothing may be fetched while testing, and the tiny models gain nothing from threads.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# What the tests expect is English, whatever the machine speaks.
os.environ["TSIRIUS_LANG"] = "en"

# A busy machine is no failure. For `make mutants`: the same examples each time give the same verdicts, any failing one
# kills, and the smallest need not be searched for.
settings.register_profile("tests", deadline=None)
settings.register_profile(
    "mutants",
    parent=settings.get_profile("tests"),
    max_examples=30,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
)
settings.load_profile("tests")


LONGEST = ["test_notebook.py", "test_docs.py", "test_wheel.py", "test_export.py", "test_end_to_end.py"]
"""The files that take longest: they come first, or at the end one process would work while the others wait."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The longest files first; for `make mutants` the quickest tests, since the first failure ends the run."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))
    durations = Path("mutmut-stats.json")
    if config.getoption("--hypothesis-profile") == "mutants" and durations.exists():
        seconds = json.loads(durations.read_text(encoding="utf-8"))["duration_by_test"]
        items.sort(key=lambda item: seconds.get(item.nodeid, 0.0))


@pytest.fixture(scope="session", autouse=True)
def encoders_are_read_once() -> Iterator[None]:
    """Those that come with the package, in a process, however many tests ask for them."""
    from tsirius.models import onnx

    read = cache(lambda folder, max_length, threads, build=onnx.built_in: build(folder, max_length=max_length))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx, "built_in", lambda folder, *, max_length: read(folder, max_length, onnx.threads()))
        yield


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


@pytest.fixture
def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command line in a folder and in this process, which need not load the libraries again."""
    from tsirius import cli

    def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", ["tsirius", *arguments])
        monkeypatch.setenv("TSIRIUS_LANG", "en")  # --lang of a call before is not for this one
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, int(end.value.code or 0), said.out, said.err)

    return run
