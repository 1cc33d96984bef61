"""Back-translation: a review translated into another language and from there back, by two models.

Defaults are the Marian models Helsinki-NLP/opus-mt-ru-en and opus-mt-en-ru. They tend to go round in circles on short
noisy text (EasyNMT #38): no run of tokens may come twice in an output, its length is bounded by the source's, and a
translation that repeats itself all the same is not translated back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from pydantic import Field

from tsirius.augmenters import Augmenter, Material, Source, generate
from tsirius.augmenters.accept import repeats
from tsirius.augmenters.generate import Config as Generation
from tsirius.augmenters.generate import Rewritten, Search, load
from tsirius.augmenters.kept import Rewrite, kept
from tsirius.language.words import words
from tsirius.models.load import Precision
from tsirius.section import Section


class Config(Section):
    """Variants by translation into another language and back."""

    there: str = Field("Helsinki-NLP/opus-mt-ru-en", min_length=1)
    """The model into the other language, a folder or a hub name."""
    back: str = Field("Helsinki-NLP/opus-mt-en-ru", min_length=1)
    """The model from it."""
    generate: Generation = Generation()
    """How both models write."""


def models(config: Config) -> dict[str, str]:
    """Both translators."""
    return {"augment.backtranslate.there": config.there, "augment.backtranslate.back": config.back}


def make(config: Config, material: Material) -> Augmenter:
    """Back-translations, kept shard by shard; errors as of :func:`backtranslator`."""
    load = partial(
        backtranslator,
        config.there,
        config.back,
        search=generate.search(config.generate, no_copy=0),
        precision=config.generate.precision,
        batch_tokens=config.generate.batch_tokens,
        seed=material.seed,
    )
    return kept("backtranslate", load, material.scratch)


def backtranslator(
    there: str, back: str, *, search: Search, precision: Precision, batch_tokens: int, seed: int
) -> Rewrite:
    """What translates reviews there, the best translation alone, and back.

    Args:
        there: the model into the other language, a folder or hub name.
        back: the model from it.
        search: settings of beam search or sampling; there is one candidate on the way there.
        precision: of both; see :func:`tsirius.augmenters.generate.load`, likewise the others.
        batch_tokens: of a batch.
        seed: of the draws.

    Raises:
        UserError: a model cannot be read.
    """
    first = load(there, prefix="", search=replace(search, candidates=1), precision=precision, batch_tokens=batch_tokens)
    second = load(back, prefix="", search=search, precision=precision, batch_tokens=batch_tokens)

    def rewrite(sources: Sequence[Source]) -> Rewritten:
        texts = [source.text for source in sources]
        keys = [f"{seed}:backtranslate:{source.id}" for source in sources]
        between = [_best(candidates, text) for candidates, text in zip(first.rewrite(texts, keys), texts, strict=True)]
        good = [row for row, text in enumerate(between) if text]
        returned = second.rewrite([between[row] or "" for row in good], [keys[row] for row in good])
        result: Rewritten = [None if text is None else [] for text in between]
        for row, variants in zip(good, returned, strict=True):
            result[row] = variants
        return result

    return rewrite


def _best(translations: list[str] | None, source: str) -> str | None:
    """The best translation; empty where it is of no use, None where the source is too long."""
    if translations is None:
        return None
    best = next(iter(translations), "").strip()
    return "" if repeats(words(best)) > repeats(words(source)) else best
