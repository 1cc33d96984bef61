"""Run the notebook from top to bottom in an empty folder, as on a machine without a GPU, and keep what its cells print.

Run it with ``python notebooks/execute.py`` after changing a cell. The report is left out: it is a page of its own.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import nbclient
import nbformat

NOTEBOOK = Path(__file__).with_name("TSiriusNLP.ipynb")
SECONDS = 1200
"""A cell may take."""


def execute(folder: Path) -> Any:
    """The notebook with the outputs of its cells, run with ``folder`` as the folder of its files."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    os.environ["TSIRIUS_FOLDER"] = str(folder)
    try:
        nbclient.NotebookClient(notebook, timeout=SECONDS, kernel_name="python3").execute()
    finally:
        del os.environ["TSIRIUS_FOLDER"]
    return notebook


def tidy(notebook: Any) -> Any:
    """The notebook without what is of this machine alone, bars and warnings of libraries, and without the report."""
    for cell in notebook.cells:
        cell.metadata = {}
        kept: list[Any] = []
        for output in cell.get("outputs", []):
            if output.output_type == "stream":
                said = output.text
                output.text = "" if "Warning: " in said else "".join(map(_last, said.splitlines(keepends=True)))
                if output.text and kept and kept[-1].get("name") == output.name:
                    kept[-1].text += output.text
                elif output.text:
                    kept.append(output)
            elif "<iframe" not in output.get("data", {}).get("text/html", ""):
                kept.append(output)
        if cell.cell_type == "code":
            cell.outputs = kept
    return notebook


def _last(line: str) -> str:
    """What is left of a line after a bar rewrote it; nothing of the bar itself."""
    left = line.rpartition("\r")[2]
    return "" if ("\r" in line and not left.strip()) or "it/s]" in left else left


def main() -> None:
    """Run it and write it."""
    with tempfile.TemporaryDirectory() as folder:
        notebook = tidy(execute(Path(folder) / "tsirius"))
    text = nbformat.writes(notebook)
    NOTEBOOK.write_text(text.replace(folder, "…") + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
