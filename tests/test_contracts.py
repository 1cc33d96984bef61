"""What holds for every stage, labeller, augmenter and configuration, and for the imports between the rooms."""

import ast
import importlib
import pkgutil
import re
import resource
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import tsirius
from tsirius import augmenters, config, labellers, stages
from tsirius.section import Section

ROOT = Path(tsirius.__file__).parent
PROJECT = Path(__file__).parents[1]

STAGES = sorted(module.name for module in pkgutil.iter_modules(stages.__path__))
CONFIGS = sorted((PROJECT / "configs").glob("*.toml"))

ROOMS = [
    {"errors", "i18n", "section", "progress", "environment", "extras", "interrupts"},
    {"categories", "tables", "metrics", "publish", "store", "shards", "calibration", "headline", "sampling"},
    {"language"},
    {"io"},
    {"reporting"},
    {"models"},
    {"labellers"},
    {"augmenters"},
    {"answers"},
    {"stages"},
    {"config"},
    {"pipeline"},
    {"serve"},
    {"scale"},
    {"commands"},
    {"desk"},
    {"verbs"},
    {"cli"},
    {"__init__", "__main__"},
]
"""Each room imports from its own and from those before it; there is one step for each family."""

FAMILIES = [
    ("label", name, labellers.module(name), ("models", "check", "make", "reopen")) for name in labellers.LABELLERS
] + [("augment", name, augmenters.module(name), ("models", "make")) for name in augmenters.AUGMENTERS]


def test_the_road_has_its_twelve_stages() -> None:
    road = ["ingest", "label", "answers", "select", "table", "split", "balance"]
    road += ["augment", "train", "evaluate", "predict", "report"]
    assert sorted(road) == STAGES
    assert [name for name in config.Config.model_fields if name in STAGES] == road


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_has_a_docstring_a_version_a_config_and_run(name: str) -> None:
    module = importlib.import_module(f"tsirius.stages.{name}")
    assert module.__doc__ and module.__doc__.lower().startswith(name)
    assert isinstance(module.VERSION, int)
    assert issubclass(module.Config, Section)
    assert callable(module.run)
    assert module.Config.speed_only <= module.Config.model_fields.keys()


@pytest.mark.parametrize("package", [labellers, augmenters], ids=lambda package: package.__name__)
def test_parts_are_documented(package: object) -> None:
    names = [module.name for module in pkgutil.iter_modules(package.__path__)]  # type: ignore[attr-defined]  # a package
    assert names
    for name in names:
        assert importlib.import_module(f"{package.__name__}.{name}").__doc__  # type: ignore[attr-defined]  # a package


def test_labellers_and_augmenters_are_swept() -> None:
    assert list(labellers.LABELLERS) == ["lexicon", "matcher", "nli", "reranker", "geracl"]
    assert list(augmenters.AUGMENTERS) == ["eda", "paraphrase", "backtranslate"]


@pytest.mark.parametrize(
    ("stage", "name", "module", "functions"), FAMILIES, ids=[f"{stage}.{name}" for stage, name, *_ in FAMILIES]
)
def test_a_labeller_or_an_augmenter_is_a_module_with_a_section(
    stage: str, name: str, module: Any, functions: tuple[str, ...]
) -> None:
    assert module.__name__ == f"tsirius.{stage}{'l' if stage == 'label' else ''}ers.{name}"
    assert issubclass(module.Config, Section) and module.Config.__doc__
    assert module.Config.speed_only <= module.Config.model_fields.keys()
    for function in functions:
        assert getattr(module, function).__doc__, f"{name}.{function}"
    if stage == "label":
        assert isinstance(module.BLIND, bool) and isinstance(module.KEEP, bool)
    section = config.Config.model_fields[stage].annotation
    assert section is not None and section.model_fields[name].annotation is module.Config
    assert f"{stage}.{name}" in dict(config.reference())
    assert set(module.models(module.Config(), **({"encoder": "x"} if stage == "label" else {}))) <= {
        f"{section}.{key}" for section, fields in config.reference() for key, _, _ in fields
    }


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_shipped_configuration_loads(path: Path) -> None:
    assert config.load(path).name == path.stem


def test_configurations_are_swept() -> None:
    assert CONFIGS


def imports(path: Path) -> set[str]:
    found = set[str]()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{name.name}" for name in node.names}
    return {name.split(".")[1] for name in found if name.startswith("tsirius.") and _is_module(name)}


def _is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split(".")[1:2])
    return path.is_dir() or path.with_suffix(".py").is_file()


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_point_one_way(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0].removesuffix(".py")
    level = next((number for number, rooms in enumerate(ROOMS) if room in rooms), None)
    assert level is not None, f"{room} has no place in ROOMS"
    allowed = set.union(*ROOMS[: level + 1])
    assert imports(path) <= allowed
    if room == "stages" and path.name != "__init__.py":
        tree = ast.parse(path.read_text(encoding="utf-8"))
        modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not any(name and name.startswith("tsirius.stages") for name in modules), "stages do not import stages"


IMPORT_NAMES = {"backports.zstd": "backports", "scikit-learn": "sklearn"}
"""Dependencies that are imported under another name than their own."""
OPTIONAL = {"bitsandbytes", "onnx", "peft", "prometheus_client", "pyarrow", "ray", "starlette", "torch", "transformers",
            "uvicorn"}  # fmt: skip
"""Packages of an extra, imported only where they are used."""
TOLD = {"mlflow", "wandb"}
"""The user's own: told of a training where they are installed, see models/trackers.py."""
WITH_TORCH = {"triton"}
"""What torch brings along where it is of use: for GPUs under Linux."""

LATER = {"compression"}
"""Of the standard library of later versions of Python."""


def declared(requirements: list[str]) -> set[str]:
    """The names under which the packages of requirements are imported."""
    names = {re.match(r"[\w.-]+", line)[0] for line in requirements}  # type: ignore[index]  # each begins with one
    return {IMPORT_NAMES.get(name, name.replace("-", "_")) for name in names}


def test_every_library_that_is_imported_is_declared() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    several = [name for extra in ("export", "folders", "gpu", "scale", "serve", "train") for name in extras[extra]]
    assert declared(several) >= OPTIONAL
    found = set[str]()
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {name.name.partition(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    assert (
        found
        - sys.stdlib_module_names
        - {"tsirius"}
        - OPTIONAL
        - TOLD
        - LATER
        - WITH_TORCH
        - declared([*project["dependencies"], *extras["train"]])
        == set()
    )


def test_every_dependency_is_pinned_to_a_version_that_it_allows() -> None:
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (PROJECT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    pinned = {canonicalize_name(name): version for name, version in pinned.items()}
    every = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    for requirement in map(Requirement, every):
        if requirement.name != "tsirius":
            assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), str(requirement)


def test_the_command_line_starts_without_heavy_libraries() -> None:
    heavy = ("torch", "transformers", "sklearn", "polars")
    code = f"import sys, tsirius.cli; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_answers_at_once() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "tsirius", "--help"], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # processor time: that on the clock hangs on what else the machine does
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5


def test_the_configuration_loads_without_torch() -> None:
    code = "import sys, tsirius.pipeline; print([n for n in ('torch', 'transformers', 'sklearn') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
