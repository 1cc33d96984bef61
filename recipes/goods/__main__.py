"""``python -m recipes.goods CORPORA GOODS OUT``: every phase that OUT has no record of, one after the other."""

from __future__ import annotations

import argparse
import json
import time
import tomllib
from pathlib import Path
from typing import Any

PHASES = ("prepare", "parent", "large", "small", "export")


def main() -> None:
    """Read the arguments and run the phases."""
    parser = argparse.ArgumentParser(description="Train the encoders that know goods.")
    parser.add_argument("corpora", type=Path, help="the folder with ru_reviews.txt.xz and the other corpora")
    parser.add_argument("goods", type=Path, help="the folder with trees.parquet and the other lists of goods")
    parser.add_argument("out", type=Path, help="where each phase leaves its files and its record")
    parser.add_argument("--wheels", type=Path, default=Path("wheels"), help="the unpacked wheels of the parent")
    parser.add_argument(
        "--mini", type=Path, default=Path("src/tsirius/assets/tsirius-mini"), help="what the small one starts from"
    )
    parser.add_argument("--config", type=Path, default=Path(__file__).with_name("config.toml"))
    parser.add_argument(
        "--phases", nargs="+", default=PHASES, help=f"some of: {', '.join(PHASES)}; experiments: more, average, plain"
    )
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="SECTION.KEY=VALUE", help="settings of the config to change"
    )
    arguments = parser.parse_args()
    config = tomllib.loads(arguments.config.read_text(encoding="utf-8"))
    for one in arguments.set:
        name, _, value = one.partition("=")
        section, _, key = name.partition(".")
        config[section][key] = json.loads(value)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for phase in arguments.phases:
        record = arguments.out / f"{phase}.json"
        if record.exists():
            print(f"{phase}: done before", flush=True)
            continue
        begun = time.monotonic()
        figures = run(phase, config, arguments) or {}
        seconds = round(time.monotonic() - begun, 1)
        record.write_text(
            json.dumps({"seconds_in_all": seconds, **figures}, ensure_ascii=False, indent=1), encoding="utf-8"
        )
        print(f"{phase}: {seconds} s", flush=True)


def run(phase: str, config: dict[str, Any], given: argparse.Namespace) -> dict[str, Any] | None:
    """One phase; the modules are loaded when their turn comes, so that a GPU machine needs only what it uses."""
    if phase == "prepare":
        from . import prepare

        return prepare.run(config, given.corpora, given.goods, given.out)
    if phase == "parent":
        from . import parent

        return parent.run(config, given.corpora, given.wheels, given.out)
    if phase == "export":
        from . import export

        return export.run(config, given.out, given.mini)
    from . import phases

    return phases.run(phase, config, given.out, given.mini)


if __name__ == "__main__":
    main()
