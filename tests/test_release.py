"""What is released: one version in every place, and images that are made of what is there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import tsirius

PROJECT = Path(__file__).parents[1]


def test_every_place_names_the_same_version() -> None:
    citation = (PROJECT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (.+)$", citation, re.MULTILINE) == [tsirius.__version__]
    chart = (PROJECT / "deploy" / "helm" / "Chart.yaml").read_text(encoding="utf-8")
    assert re.findall(r"^appVersion: \"?([\d.]+)\"?$", chart, re.MULTILINE) in ([], [tsirius.__version__])


def test_the_changelog_is_kept_and_its_newest_release_is_this_version() -> None:
    text = (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8")
    sections = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert all(re.fullmatch(r"(\[?Unreleased\]?|\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d)", section) for section in sections)
    released = [match[1] for section in sections if (match := re.match(r"\[(\d\S+)\]", section))]
    assert released[:1] in ([], [tsirius.__version__])
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.+)$", text, re.MULTILINE)) <= kinds


def test_the_image_is_made_of_files_that_are_there_and_let_in() -> None:
    lines = (PROJECT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    ignore = (PROJECT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    copied = [name for line in lines if line.startswith("COPY ") for name in shlex.split(line)[1:-1]]
    assert copied and "*" in ignore
    for name in [*copied, "constraints.txt"]:
        assert (PROJECT / name).exists() and f"!{name}" in ignore, name


def test_the_default_image_is_the_servers_without_torch() -> None:
    text = (PROJECT / "Dockerfile").read_text(encoding="utf-8")
    stages = dict(re.findall(r"^FROM \S+ AS (\w+)\n(.*?)(?=^FROM|\Z)", text, re.MULTILINE | re.DOTALL))
    assert list(stages)[-1] == "cpu", "what docker builds where no target is named"
    assert "[folders,serve]" in stages["cpu"] and "gpu" in stages["gpu"]
    compose = (PROJECT / "deploy" / "compose.yaml").read_text(encoding="utf-8")
    (user,) = re.findall(r'^    user: "(\S+)"$', compose, re.MULTILINE)
    assert all(f"USER {user}" in stages[name] for name in ("cpu", "gpu"))
