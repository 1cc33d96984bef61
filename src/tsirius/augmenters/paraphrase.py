"""Paraphrases by a T5 model that was trained to write them.

The default is cointegrated/rut5-base-paraphraser. Its card asks for ``encoder_no_repeat_ngram_size``, without which it
copies, five beams, and an output of at most one and a half times the source's tokens and ten more.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from pydantic import Field

from tsirius.augmenters import Augmenter, Material, Source, generate
from tsirius.augmenters.generate import Config as Generation
from tsirius.augmenters.generate import Rewritten, Search, load
from tsirius.augmenters.kept import Rewrite, kept
from tsirius.models.load import Precision
from tsirius.section import Section


class Config(Section):
    """Variants by a model that was trained to paraphrase."""

    model: str = Field("cointegrated/rut5-base-paraphraser", min_length=1)
    """A T5 or another sequence-to-sequence model, a folder or a hub name."""
    prefix: str = ""
    """Text before each review, where the model was trained so ("paraphrase: ", say)."""
    no_copy: int = Field(4, ge=0)
    """No n-gram of this many tokens is copied from the review (0: it may be)."""
    generate: Generation = Generation()
    """How the model writes."""


def models(config: Config) -> dict[str, str]:
    """The paraphraser."""
    return {"augment.paraphrase.model": config.model}


def make(config: Config, material: Material) -> Augmenter:
    """Paraphrases, kept shard by shard; errors as of :func:`paraphraser`."""
    load = partial(
        paraphraser,
        config.model,
        prefix=config.prefix,
        search=generate.search(config.generate, no_copy=config.no_copy),
        precision=config.generate.precision,
        batch_tokens=config.generate.batch_tokens,
        seed=material.seed,
    )
    return kept("paraphrase", load, material.scratch)


def paraphraser(
    model: str, *, prefix: str, search: Search, precision: Precision, batch_tokens: int, seed: int
) -> Rewrite:
    """What paraphrases reviews; arguments and errors as of :func:`tsirius.augmenters.generate.load`."""
    writer = load(model, prefix=prefix, search=search, precision=precision, batch_tokens=batch_tokens)

    def rewrite(sources: Sequence[Source]) -> Rewritten:
        keys = [f"{seed}:paraphrase:{source.id}" for source in sources]
        return writer.rewrite([source.text for source in sources], keys)

    return rewrite
