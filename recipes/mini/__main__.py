"""``python -m recipes.mini CORPORA OUT``: every phase that OUT has no record of, one after the other."""

from __future__ import annotations

import argparse
import json
import time
import tomllib
from pathlib import Path
from typing import Any

PHASES = ("tokenizer", "prepare", "pretrain", "pairs", "measure", "card")


def main() -> None:
    """Read the arguments and run the phases."""
    parser = argparse.ArgumentParser(description="Train tsirius-mini from the corpora's folder.")
    parser.add_argument("corpora", type=Path, help="the folder with ru_reviews.txt.xz and the other corpora")
    parser.add_argument("out", type=Path, help="where each phase leaves its files and its record")
    parser.add_argument("--config", type=Path, default=Path(__file__).with_name("config.toml"))
    parser.add_argument("--phases", nargs="+", choices=PHASES, default=PHASES)
    arguments = parser.parse_args()
    config = tomllib.loads(arguments.config.read_text(encoding="utf-8"))
    arguments.out.mkdir(parents=True, exist_ok=True)
    for phase in arguments.phases:
        record = arguments.out / f"{phase}.json"
        if record.exists():
            print(f"{phase}: done before", flush=True)
            continue
        begun = time.monotonic()
        figures = run(phase, config, arguments.corpora, arguments.out) or {}
        seconds = round(time.monotonic() - begun, 1)
        record.write_text(
            json.dumps({"seconds_in_all": seconds, **figures}, ensure_ascii=False, indent=1), encoding="utf-8"
        )
        print(f"{phase}: {seconds} s", flush=True)


def run(phase: str, config: dict[str, Any], corpora: Path, out: Path) -> dict[str, Any] | None:
    """One phase; the modules are loaded when their turn comes, so that a GPU machine needs only what it uses."""
    if phase == "tokenizer":
        from . import tokenizer

        tokenizer.run(config, corpora, out / "tokenizer")
        return None
    if phase == "prepare":
        from . import prepare

        prepare.run(config, corpora, out)
        return None
    if phase == "pretrain":
        from . import pretrain

        return pretrain.run(config, out)
    if phase == "pairs":
        from . import pairs

        return pairs.run(config, out)
    if phase == "measure":
        from . import measure

        return measure.run(config, out)
    from . import card

    return card.run(config, out)


if __name__ == "__main__":
    main()
