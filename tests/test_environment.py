"""The variables that libraries read: set for a program as for the command line, and never against its will."""

import json
import os
import subprocess
import sys

import pytest

from tsirius import environment

SHOW = f"import json, os; print(json.dumps([os.environ.get(name) for name in {list(environment.SETTINGS)}]))"
WANTED = [value for value, _ in environment.SETTINGS.values()]


def shown(code: str, **given: str) -> list[str | None]:
    """The variables after ``code`` ran in a process of its own that has no other of them than ``given``."""
    others = {name: value for name, value in os.environ.items() if name not in environment.SETTINGS}
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; {SHOW}"], env={**others, **given}, capture_output=True, text=True, check=True
    )
    found: list[str | None] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("module", ["tsirius", "tsirius.cli", "tsirius.models.scorer"])
def test_they_are_set_by_whatever_is_imported(module: str) -> None:
    assert shown(f"import {module}") == WANTED


@pytest.mark.parametrize("name", environment.SETTINGS)
def test_what_the_user_has_set_stays(name: str) -> None:
    found = dict(zip(environment.SETTINGS, shown("import tsirius", **{name: "user"}), strict=True))
    assert found.pop(name) == "user"
    assert list(found.values()) == [value for other, (value, _) in environment.SETTINGS.items() if other != name]


def test_nothing_is_set_once_its_library_is_loaded() -> None:
    code = "import sys, types; sys.modules['torch'] = types.ModuleType('torch'); import tsirius"
    assert shown(code) == [value if library != "torch" else None for value, library in environment.SETTINGS.values()]
