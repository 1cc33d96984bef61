"""The wheel: built, installed where nothing of the source is, and used there."""

import csv
import os
import re
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tsirius import extras

PROJECT = Path(__file__).parents[1]
EVERY = 10
"""Every how-many-th review of the sample: enough for the whole road."""

BY_HAND = """
import sys
from pathlib import Path

class Absent:  # as where no extra is installed
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "transformers", "peft", "accelerate", "sentencepiece", "onnx", "pyarrow"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
import tsirius
assert Path(tsirius.__file__).is_relative_to(sys.prefix), tsirius.__file__
print(tsirius.__version__)
print(tsirius.Classifier.load(tsirius.run(tsirius.load("shop.toml"))).predict(["Чайник гудит"]))
"""


def call(*command: str | Path, cwd: Path) -> str:
    """Run a command without anything that leads to the source; returns what it prints."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    options = ("--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation", "-w", folder)
    call(sys.executable, "-m", "pip", "wheel", *options, PROJECT, cwd=folder)
    (built,) = folder.glob("tsirius-*.whl")
    return built


def test_the_wheel_holds_what_the_package_needs(wheel: Path) -> None:
    source = PROJECT / "src"
    wanted = {
        path.relative_to(source).as_posix()
        for path in (source / "tsirius").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == wanted
    assert {"tsirius/py.typed", "tsirius/assets/synonyms.txt"} <= held


def test_the_core_needs_none_of_the_packages_of_extras(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        lines = archive.read(name).decode().splitlines()
    needs = [line.removeprefix("Requires-Dist: ") for line in lines if line.startswith("Requires-Dist: ")]
    core = {re.split(r"[<>=; \[]", need)[0] for need in needs if "extra ==" not in need}
    train = {re.split(r"[<>=; \[]", need)[0] for need in needs if "extra == 'train'" in need}
    folders = {re.split(r"[<>=; \[]", need)[0] for need in needs if "extra == 'folders'" in need}
    assert set(extras.TRAINING) <= train and set(extras.FOLDERS) == folders
    assert not core & {*train, *folders, "onnx", "bitsandbytes"}


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an environment with the wheel, and with the libraries of this one but not its tsirius."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, symlinks=True, with_pip=False)
    here = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    options = ("--quiet", "--disable-pip-version-check", "--no-deps")
    call(sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", *options, wheel, cwd=folder)
    # A folder in a .pth file is searched last, and its own .pth files, an editable installation's, are not read.
    libraries = [path for path in sys.path if path.endswith("-packages")]
    (here / "libraries.pth").write_text("\n".join(libraries), encoding="utf-8")
    return folder


def test_the_sample_runs_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    (sample,) = installed.rglob("assets/sample/reviews.csv")
    with sample.open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))[::EVERY]
    with (tmp_path / "reviews.csv").open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, ["text"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    python, program = installed / "bin" / "python", installed / "bin" / "tsirius"
    call(
        program,
        "new",
        "shop",
        "--test",
        "reviews.csv",
        "--categories",
        sample.with_name("categories.toml"),
        cwd=tmp_path,
    )
    call(program, "check", "shop.toml", cwd=tmp_path)
    version, answer = call(python, "-I", "-c", BY_HAND, cwd=tmp_path).splitlines()
    assert call(program, "--version", cwd=tmp_path).split() == ["tsirius", version]
    assert answer.startswith("['")
    assert (tmp_path / "runs/shop/submission.csv").read_text(encoding="utf-8").count("\n") == len(rows) + 1
    assert (tmp_path / "runs/shop/report.html").is_file()
