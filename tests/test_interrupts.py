"""Ctrl-C at any moment: one line and 130."""

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from shop import lay_out

from tsirius import interrupts


def end(process: subprocess.Popen[str]) -> tuple[int, list[str]]:
    """The exit code, and what was written to standard error but the times of imports."""
    assert process.stderr is not None
    said = process.stderr.read().splitlines()
    return process.wait(), [line for line in said if not line.startswith("import time:")]


@pytest.mark.parametrize("seed", range(6))
def test_while_the_libraries_load(tmp_path: Path, seed: int) -> None:
    lay_out(tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "tsirius", "run", "shop.toml"], cwd=tmp_path, text=True,
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    left = random.Random(seed).randrange(700)
    assert process.stderr is not None
    for line in process.stderr:
        if left and line.rpartition(" ")[2].strip() == "tsirius.interrupts":
            break
    for _ in range(left):
        process.stderr.readline()
    process.send_signal(signal.SIGINT)
    assert end(process) == (130, [interrupts.LINE])


WORK = """
import os, signal, sys, time
from tsirius import cli, interrupts

def press():
    os.kill(os.getpid(), signal.SIGINT)

class Forgetful:
    def __del__(self):
        press()

def swallowing_library():
    with open("greedy.py", "w") as file:
        file.write("import os, signal\\ntry:\\n    os.kill(os.getpid(), signal.SIGINT)\\nexcept BaseException: pass\\n")
    sys.path.insert(0, ".")
    import greedy

def forgotten():
    Forgetful()
    time.sleep(20)

def turned_into_another_error():
    try:
        press()
        time.sleep(20)
    except BaseException:
        raise RuntimeError("something else")

def cleans():
    try:
        press()
        time.sleep(20)
    finally:
        print("cleaned", file=sys.stderr)

def after_the_work():
    pass

@cli.app.command()
def probe(what: str) -> None:
    globals()[what]()

interrupts.install()
sys.argv = ["tsirius", "probe", sys.argv[1]]
try:
    cli.main()
finally:
    press()
    time.sleep(20)
"""


@pytest.mark.parametrize(
    ("moment", "lines"),
    [
        ("swallowing_library", []),
        ("forgotten", []),
        ("turned_into_another_error", []),
        ("cleans", ["cleaned"]),
        ("after_the_work", []),
    ],
)
def test_it_is_neither_swallowed_nor_shown_as_an_error(tmp_path: Path, moment: str, lines: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WORK, moment], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr.splitlines()) == (130, [*lines, interrupts.LINE])


def test_a_program_that_imports_the_package_keeps_its_own_handler() -> None:
    code = "import signal, tsirius, tsirius.cli; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "True\n"


def test_nothing_but_the_handler_is_imported_before_it() -> None:
    code = (
        "import sys; before = set(sys.modules); import tsirius.__main__\n"
        "print(*sorted(name for name in set(sys.modules) - before if not name.startswith('__editable__')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ours = ["tsirius", "tsirius.__main__", "tsirius.environment", "tsirius.interrupts"]
    assert done.stdout.split() == ["__future__", *ours]
