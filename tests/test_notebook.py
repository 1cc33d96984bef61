"""The notebook runs from top to bottom without a network, and a second time finds everything done."""

import json
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import polars as pl
import pytest

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "TSiriusNLP.ipynb"


def cells() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return found


def test_it_is_kept_without_outputs_and_in_short_cells() -> None:
    for cell in cells():
        source = "".join(cell["source"])
        if cell["cell_type"] == "code":
            assert not cell["outputs"] and cell["execution_count"] is None
            assert len(source.splitlines()) <= 24, source
        assert "http" not in source


def install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the first cell would install on Colab, with ``folder`` as the folder on the Drive."""
    done: list[str] = []
    colab = types.ModuleType("google.colab")
    colab.drive = types.SimpleNamespace(mount=lambda _: None)  # type: ignore[attr-defined]  # not ours
    monkeypatch.setitem(sys.modules, "google", types.ModuleType("google"))
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    monkeypatch.setenv("TSIRIUS_FOLDER", str(folder))
    monkeypatch.setattr(subprocess, "check_call", lambda command: done.append(command[-1]))
    monkeypatch.chdir(folder.parent)
    exec("".join(next(cell for cell in cells() if cell["cell_type"] == "code")["source"]), {})
    return done


def test_on_colab_it_installs_what_lies_on_the_drive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "drive"
    (folder / "other").mkdir(parents=True)
    (folder / "other" / "pyproject.toml").write_text('name = "other"', encoding="utf-8")
    with pytest.raises(SystemExit, match=r"Нет пакета.*whl"):
        install(folder, monkeypatch)
    (folder / "repo").mkdir()
    shutil.copy(NOTEBOOK.parents[1] / "pyproject.toml", folder / "repo")
    assert install(folder, monkeypatch) == [f"{folder / 'repo'}[export]"]
    (folder / "tsirius-0.1.0-py3-none-any.whl").touch()
    assert install(folder, monkeypatch) == [f"{folder / 'tsirius-0.1.0-py3-none-any.whl'}[export]"]


def executed(folder: Path) -> str:
    """All that the notebook printed."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    os.environ["TSIRIUS_FOLDER"] = str(folder)
    try:
        nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    finally:
        del os.environ["TSIRIUS_FOLDER"]
    said = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            said.append(output.get("text") or "".join(output.get("data", {}).get("text/plain", "")))
    return "\n".join(said)


@pytest.mark.slow
def test_it_runs_and_goes_on_where_it_was(tmp_path: Path) -> None:
    said = executed(tmp_path)
    assert "weighted F1" in said and "against pseudo-labels" in said
    assert "answers test.csv, 740 rows" in said
    assert "— Чайник гудит" in said
    assert "adapter: 100.00% of" in said and "merged: 100.00% of" in said
    submission = tmp_path / "runs" / "shop" / "submission.csv"
    rows = pl.read_csv(submission)
    assert rows["id"].to_list() == list(range(740)) and rows.columns == ["id", "category"]
    assert (tmp_path / "models" / "adapter" / "adapter_model.safetensors").is_file()
    assert (tmp_path / "models" / "merged" / "model.safetensors").is_file()
    before = submission.read_bytes()
    again = executed(tmp_path)
    assert again.count("skipped (unchanged)") == 10, "all of it was done already"
    assert submission.read_bytes() == before
