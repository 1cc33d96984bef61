"""Variants that take long to generate: kept on the disk by their source's id, so that a killed run resumes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from tsirius.augmenters import Augmenter, Refused, Source
from tsirius.errors import UserError
from tsirius.models.batching import longest_first
from tsirius.progress import progress, say
from tsirius.shards import Shards

SHARD = 128
"""Sources a model is given at a time, and the most that a killed run rewrites again."""
FAILURES = 3
"""This many shards that fail one after the other are no accident."""

Rewrite = Callable[[Sequence[Source]], list[list[str] | None]]
"""Gives for each source its variants, the best first; None where it is too long to be rewritten."""


def kept(name: str, load: Callable[[], Rewrite], folder: Path) -> Augmenter:
    """An augmenter that resumes where a killed run was.

    Sources are taken by length, the longest first: a lack of memory shows at once, and those of a shard are alike.

    Args:
        name: the method's.
        load: gives what rewrites, when it is needed: models are not read where all is done.
        folder: of the shards; those in it must be of the same settings.
    """
    done: dict[str, list[str] | None] = {}
    rewrite: Rewrite | None = None
    shards = Shards(folder)
    for _, shard in shards:
        done.update(shard.select("id", "variants").iter_rows())

    def augment(sources: Sequence[Source]) -> list[Iterator[str]]:
        nonlocal rewrite
        new = sorted((source for source in sources if source.id not in done), key=lambda source: source.id)
        new = [new[row] for row in longest_first([len(source.text) for source in new])]
        failed: dict[str, Exception] = {}
        failures = 0
        with progress(f"augment ({name})", total=len(sources)) as advance:
            advance(len(sources) - len(new))
            for start in range(0, len(new), SHARD):
                shard = new[start : start + SHARD]
                rewrite = rewrite or load()
                try:
                    variants = dict(zip([source.id for source in shard], rewrite(shard), strict=True))
                except (UserError, OSError, MemoryError):
                    raise
                except Exception as error:  # a model may fail in ways of its own: the others' variants are good
                    failures += 1
                    failed |= dict.fromkeys([source.id for source in shard], error)
                    reason = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
                    if failures >= FAILURES:
                        raise UserError(
                            f"the model fails again and again ({reason})",
                            where=name,
                            remedy="Take it out of augment.methods, or name another model.",
                        ) from None
                    say(f"  {name}: {len(shard):,} reviews get no variants, the model failed ({reason})")
                else:
                    failures = 0
                    shards.append(_table(variants))
                    done.update(variants)
                advance(len(shard))
        return [_variants(source, done, failed) for source in sources]

    return augment


def _table(variants: dict[str, list[str] | None]) -> pl.DataFrame:
    schema: dict[str, Any] = {"id": pl.String, "variants": pl.List(pl.String)}
    return pl.DataFrame({"id": [*variants], "variants": [*variants.values()]}, schema=schema)


def _variants(source: Source, done: dict[str, list[str] | None], failed: dict[str, Exception]) -> Iterator[str]:
    if source.id in failed:
        raise Refused("failed")
    variants = done[source.id]
    if variants is None:
        raise Refused("too long to rewrite")
    yield from variants
