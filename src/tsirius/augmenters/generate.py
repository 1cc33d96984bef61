"""Texts rewritten by a sequence-to-sequence model: quickly, in little memory, and each as if it were alone.

How long an output may be follows from its source's length, rounded up to a multiple of ``STEP``; a batch holds sources
of one such length, so that each is written exactly as it would be by itself (but for the rounding of floats), and
little of a batch is padding. Batches keep within a budget of tokens, see :mod:`tsirius.models.batching`.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from tsirius.models.batching import Budget, batch_size, in_batches, longest_first, padded_with_mask, padding
from tsirius.models.load import Precision, seq2seq, settle, tokenizer
from tsirius.models.tokens import token_ids
from tsirius.section import Section

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

STEP = 8
LONGER, MORE = 1.5, 10
"""An output has at most LONGER times the source's tokens, and MORE: as in the paraphraser's model card."""

Rewritten = list[list[str] | None]
"""For each source its variants, the best first; None where it is too long."""


class Config(Section):
    """How a sequence-to-sequence model writes variants."""

    beams: int = Field(5, ge=1)
    """Beams of the search."""
    candidates: int = Field(4, ge=1)
    """Variants of a review that the model writes; at most as many as beams."""
    sample: bool = False
    """Sample variants from the model's distribution instead of searching for the likeliest."""
    temperature: float = Field(1.0, gt=0)
    """Sampling temperature; above 1 is bolder."""
    top_p: float = Field(0.95, gt=0, le=1)
    """Sample among the likeliest tokens that together have this probability (nucleus sampling)."""
    no_repeat: int = Field(3, ge=0)
    """No n-gram of this many tokens comes twice in a variant (0: it may)."""
    max_tokens: int = Field(256, ge=8)
    """Longer reviews are not rewritten."""
    precision: Precision = "auto"
    """"fp32"; or "auto": 16-bit floats on a GPU, but for a T5 on one without bfloat16; else "fp32"."""
    batch_tokens: int = Field(8192, ge=1)
    """Initial tokens of a batch, those to be written and all beams counted; fewer where memory is short."""

    speed_only = frozenset({"batch_tokens"})

    @model_validator(mode="after")
    def _enough_beams(self) -> Config:
        if not self.sample and self.candidates > self.beams:
            raise ValueError(
                f"candidates ({self.candidates}) is above beams ({self.beams}); lower one or raise the other"
            )
        return self


@dataclass(frozen=True)
class Search:
    """How outputs are looked for.

    Attributes:
        beams: of the beam search.
        candidates: outputs for each source, at most as many as beams, unless they are drawn.
        sample: draw outputs instead. What is drawn hangs on the source's key alone.
        temperature: when drawing: above 1 flattens the choice, below 1 sharpens it.
        top_p: with sampling: probability of the nucleus (nucleus sampling).
        no_repeat: no n-gram of this many tokens occurs twice in an output (0: it may).
        no_copy: no n-gram of this many tokens is copied from the source (0: it may).
        max_tokens: sources with more are not rewritten: a part of a review makes a poor variant.
    """

    beams: int
    candidates: int
    sample: bool
    temperature: float
    top_p: float
    no_repeat: int
    no_copy: int
    max_tokens: int


def search(config: Config, *, no_copy: int) -> Search:
    """The search that the settings describe; ``no_copy`` as of :class:`Search`."""
    return Search(
        beams=config.beams,
        candidates=config.candidates,
        sample=config.sample,
        temperature=config.temperature,
        top_p=config.top_p,
        no_repeat=config.no_repeat,
        no_copy=no_copy,
        max_tokens=config.max_tokens,
    )


@dataclass(frozen=True, eq=False)
class Writer:
    """A model that rewrites texts.

    Attributes:
        tokens: texts → their token ids, with the special ones.
        write: token ids of some sources, the most tokens of an output, and the sources' keys → outputs, those of a
            source one after the other.
        text: token ids → texts.
        search: settings of beam search or sampling.
        batch_tokens: initial tokens of a batch: sources, outputs and beams.
    """

    tokens: Callable[[Sequence[str]], list[list[int]]]
    write: Callable[[list[list[int]], int, Sequence[str]], list[list[int]]]
    text: Callable[[list[list[int]]], list[str]]
    search: Search
    batch_tokens: int

    def rewrite(self, texts: Sequence[str], keys: Sequence[str]) -> Rewritten:
        """Variants of each text.

        Args:
            texts: cleaned texts.
            keys: for each the seed of its draws.
        """
        result: Rewritten = [None] * len(texts)
        tokens = self.tokens(texts) if texts else []
        order = [row for row in longest_first([len(row) for row in tokens]).tolist()
                 if len(tokens[row]) <= self.search.max_tokens]  # fmt: skip
        ways = self.search.candidates if self.search.sample else self.search.beams
        budget = Budget(self.batch_tokens)

        def write(members: list[int], most: int, batch: NDArray[np.int64]) -> list[list[int]]:
            rows = [members[number] for number in batch]
            return self.write([tokens[row] for row in rows], most, [keys[row] for row in rows])

        for size, rows in groupby(order, key=lambda row: _rounded(len(tokens[row]))):
            members = list(rows)
            each = ways * (size + limit(size))
            work = partial(write, members, limit(size))
            for batch, outputs in in_batches([each] * len(members), work, budget=budget):
                if outputs is None:  # this one does not fit; others may
                    continue
                written = self.text(outputs)
                for position, number in enumerate(batch):
                    own = written[position * self.search.candidates : (position + 1) * self.search.candidates]
                    result[members[number]] = list(dict.fromkeys(own))
        return result


def limit(tokens: int) -> int:
    """Tokens of an output at most, for a source of ``tokens``."""
    return int(LONGER * _rounded(tokens)) + MORE


def _rounded(tokens: int) -> int:
    return -(-tokens // STEP) * STEP


def load(model: str, *, prefix: str, search: Search, precision: Precision, batch_tokens: int) -> Writer:
    """A writer.

    Args:
        model: a folder or hub name that :func:`tsirius.models.hub.check` accepts.
        prefix: put before each text, where the model was trained so.
        search: settings of beam search or sampling.
        precision: see :func:`tsirius.models.load.judge`.
        batch_tokens: initial tokens of a batch on a CPU; a GPU takes more.

    Raises:
        UserError: the model cannot be read.
    """
    network, words = seq2seq(model, precision=precision), tokenizer(model)
    settle(network, words, where=model)
    network.generation_config.max_length = None  # the writer passes limits of its own
    # None for T5, whose positions are relative.
    positions = getattr(network.config, "max_position_embeddings", None) or 1 << 20
    longest = min(search.max_tokens, int((positions - MORE) / LONGER) - STEP)

    def tokens(texts: Sequence[str]) -> list[list[int]]:
        return token_ids(words, [prefix + text for text in texts], max_length=None, special=True)

    return Writer(
        tokens=tokens,
        write=partial(_write, network, search, padding(words, network.config)),
        text=partial(words.batch_decode, skip_special_tokens=True),
        search=Search(**(vars(search) | {"max_tokens": longest})),
        batch_tokens=batch_size(batch_tokens, device=network.device),
    )


def _write(
    network: Any, search: Search, pad: int, ids: list[list[int]], most: int, keys: Sequence[str]
) -> list[list[int]]:
    """The token ids of the outputs, without padding."""
    import torch

    ways = search.candidates if search.sample else 1
    ids = [row for row in ids for _ in range(ways)]
    config = settings(network, search, most)
    drawn = [Drawn([f"{key}:{n}" for key in keys for n in range(ways)], search)] if search.sample else []
    table = padded_with_mask(ids, pad, left=False, multiple=1)
    given, mask = (torch.from_numpy(part).to(network.device) for part in table)
    outputs = network.generate(
        input_ids=given,
        attention_mask=mask,
        generation_config=config,
        logits_processor=drawn,
    )
    return [[token for token in row if token != config.pad_token_id] for row in outputs.tolist()]


def settings(network: Any, search: Search, most: int) -> Any:
    """The model's own settings of generation (its end token, tokens that are banned), with the search's."""
    config = copy.deepcopy(network.generation_config)
    config.update(
        max_new_tokens=most,
        min_length=0,
        do_sample=False,
        num_beams=1 if search.sample else search.beams,
        num_return_sequences=1 if search.sample else search.candidates,
        early_stopping=False,
        length_penalty=1.0,
        repetition_penalty=1.0,
        no_repeat_ngram_size=search.no_repeat,
        encoder_no_repeat_ngram_size=search.no_copy,
    )
    return config


class Drawn:
    """Turns greedy search into drawing from the model's distribution: the largest of the logits, each with noise of the
    Gumbel distribution added, is a draw (Maddison et al. 2014). Each row has noise of its own, so that what is drawn
    for it does not depend on the rows beside it.

    Args:
        keys: of the rows.
        search: temperature and top_p.
    """

    def __init__(self, keys: Sequence[str], search: Search) -> None:
        import torch

        digests = [hashlib.blake2b(key.encode(), digest_size=8).digest() for key in keys]
        self._noise = [torch.Generator().manual_seed(int.from_bytes(digest) >> 1) for digest in digests]
        self._temperature, self._top_p = search.temperature, search.top_p

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        import torch
        from transformers import TopPLogitsWarper

        logits = scores.float() / self._temperature
        if self._top_p < 1:
            logits = TopPLogitsWarper(self._top_p)(input_ids, logits)
        uniform = torch.stack([torch.rand(scores.shape[1], generator=one) for one in self._noise])
        gumbel = -torch.log(-torch.log(uniform.clamp(1e-20, 1 - 1e-7)))
        return logits + gumbel.to(logits.device)
