"""What one more category costs a finished run: the run from nothing, the difference, and the change.

    python benchmarks/categories.py CONFIG.toml [section.key=value ...] [--use matcher --use matcher,nli ...]

For each set of labellers the run of CONFIG is made without its last category; then that category is added, as a person
would: `tsirius categories RUN FILE` shows the difference, and the same with --change makes it count. Each is a process
of its own, with all that it loads. The runs lie in a temporary folder, CONFIG's are not touched; CONFIG must name no
file of answers that has the category. Seconds hang on what else the machine does; "label" is the stage alone.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tsirius import config as settings_of
from tsirius.categories import Categories, load


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("settings", nargs="*", metavar="section.key=value")
    parser.add_argument("--use", action="append", help="labellers, with commas between; several times for several rows")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    whole = load(settings_of.load(options.config).ingest.categories)
    added = next(one for one in reversed(list(whole)) if not one.none)
    rows = ["| labellers | reviews | run from nothing, s | label | the difference, s | the change, s | label |"
            " asked again | other label |", "|" + "---|" * 9]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        files = {"less": Path(folder) / "less.toml", "more": Path(folder) / "more.toml"}
        files["less"].write_text(Categories([one for one in whole if one is not added]).to_toml(), encoding="utf-8")
        files["more"].write_text(whole.to_toml(), encoding="utf-8")
        for number, use in enumerate(options.use or ["matcher"]):
            run = Path(folder) / f"run{number}"
            more = [f"label.use={json.dumps(use.split(','))}", *options.settings]
            rows.append(line(options.config, run, files["less"], files["more"], more))
            print(rows[-1], file=sys.stderr, flush=True)
    table = "\n".join(rows)
    print(table)
    if options.out:
        options.out.write_text(table + "\n", encoding="utf-8")


def line(config: Path, run: Path, less: Path, more: Path, settings: Sequence[str]) -> str:
    """The row of one set of labellers."""
    places = [f"runs={run.parent}", f"name={run.name}", f"ingest.categories={less}"]
    made, _ = timed("run", str(config), *places, *settings)
    labelled = seconds_of(run)
    shown, told = timed("categories", str(run), str(more))
    changed, _ = timed("categories", str(run), str(more), "--change")
    lines = told.splitlines()
    asked = "; ".join(one for one in lines if one.endswith(("again", "each", "reviews")) and ":" in one)
    flips = next(one for one in lines if one.endswith("change their label"))
    use = json.loads(settings[0].partition("=")[2])
    return (f"| {', '.join(use)} | {flips.split()[2]} | {made:.1f} | {labelled:.1f} | {shown:.1f} | {changed:.1f} |"
            f" {seconds_of(run):.1f} | {asked} | {flips.split()[0]} |")  # fmt: skip


def timed(*arguments: str) -> tuple[float, str]:
    """The seconds of a command of the command line, and what it printed; its progress is shown."""
    begun = time.monotonic()
    command = [sys.executable, "-m", "tsirius", "--lang", "en", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return time.monotonic() - begun, done.stdout


def seconds_of(run: Path) -> float:
    """How long the stage label took, the last time that it ran."""
    record = json.loads((run / "label" / "record.json").read_text(encoding="utf-8"))
    return float(record["seconds"])


if __name__ == "__main__":
    main()
