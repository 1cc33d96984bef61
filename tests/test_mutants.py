"""Which modules ``mutants.py`` puts mistakes into, and when it trusts an earlier result."""

import importlib
import json
from pathlib import Path

import pytest

mutants = importlib.import_module("mutants")  # beside a folder of that name, which is none of Python's
SOURCES = ["src/tsirius/publish.py", "src/tsirius/io/compare.py"]


def test_modules_are_chosen_by_name() -> None:
    assert mutants.chosen(SOURCES, None) == SOURCES
    assert mutants.chosen(SOURCES, ["io.compare"]) == SOURCES[1:]
    assert mutants.chosen(SOURCES, ["io.compare", "publish"]) == SOURCES
    with pytest.raises(ValueError, match=r"no module 'store' here: choose from publish, io\.compare"):
        mutants.chosen(SOURCES, ["publish", "store"])


def test_results_of_the_chosen_modules_are_dropped_where_their_tests_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = importlib.import_module("mutmut.mutation.data").SourceFileMutationData
    monkeypatch.chdir(tmp_path)
    for source in SOURCES:
        test = mutants.test_file(source)
        test.parent.mkdir(parents=True, exist_ok=True)
        test.write_text("def test_one(): pass\n")

    def after(chosen: list[str]) -> list[list[int | None]]:
        for source in SOURCES:
            data = results(path=source)
            data.meta_path.parent.mkdir(parents=True, exist_ok=True)
            data.exit_code_by_key = {"killed": 1, "survived": 0}
            data.save()
        mutants.drop_results_of_changed_tests(chosen)
        found = [json.loads(results(path=source).meta_path.read_text()) for source in SOURCES]
        return [list(one["exit_code_by_key"].values()) for one in found]

    assert after(SOURCES[:1]) == [[None, None], [1, 0]], "of tests that nobody knows"
    assert after(SOURCES[1:]) == [[1, 0], [None, None]]
    assert after(SOURCES) == [[1, 0], [1, 0]]
    with mutants.test_file(SOURCES[0]).open("a") as file:
        file.write("def test_two(): pass\n")
    assert after(SOURCES) == [[1, None], [1, 0]]
    mutants.test_file(SOURCES[0]).write_text("def test_two(): pass\n")
    assert after(SOURCES) == [[None, None], [1, 0]]
