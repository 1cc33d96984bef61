"""Paraphrases by a T5 model that was trained to write them.

The default is cointegrated/rut5-base-paraphraser. Its card asks for ``encoder_no_repeat_ngram_size``, without which it
copies, five beams, and an output of at most one and a half times the source's tokens and ten more.
"""

from __future__ import annotations

from collections.abc import Sequence

from tsirius.augmenters import Source
from tsirius.augmenters.generate import Rewritten, Search, load
from tsirius.augmenters.shards import Rewrite
from tsirius.models.load import Precision


def paraphraser(
    model: str, *, prefix: str, search: Search, precision: Precision, batch_tokens: int, seed: int
) -> Rewrite:
    """What paraphrases reviews; arguments and errors as of :func:`tsirius.augmenters.generate.load`."""
    writer = load(model, prefix=prefix, search=search, precision=precision, batch_tokens=batch_tokens)

    def rewrite(sources: Sequence[Source]) -> Rewritten:
        keys = [f"{seed}:paraphrase:{source.id}" for source in sources]
        return writer.rewrite([source.text for source in sources], keys)

    return rewrite
