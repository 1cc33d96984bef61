"""Logits of many texts against a few hypotheses, by a model that scores pairs.

Each text and each hypothesis is tokenised once and the pairs are joined by their token ids. They go through the model
longest first within a budget of tokens, see :mod:`tsirius.models.batching`.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tsirius.errors import UserError
from tsirius.models.batching import (
    HALF,
    Budget,
    Later,
    budget_on,
    check_alone,
    does_not_fit,
    fetched,
    in_batches,
    padded,
    padded_with_mask,
    padding,
    there,
)
from tsirius.models.tokens import token_ids
from tsirius.progress import Advance

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

PROBE = "Отзыв. A review, 5 звёзд! "
"""A text whose pair encodings are compared with the tokenizer's own."""


@dataclass(frozen=True)
class Frame:
    """A hypothesis as the tokens around a text.

    Attributes:
        before: token ids before the text.
        after: token ids after it.
        kinds: the token types of ``after``, where the model knows types; those of ``before`` are 0.
        kind: the token type of the text.
    """

    before: list[int]
    after: list[int]
    kinds: list[int]
    kind: int = 0


@dataclass(frozen=True)
class Batch:
    """Pairs of like length: token ids and token types, row by row."""

    ids: list[list[int]]
    kinds: list[list[int]]


@dataclass(frozen=True, eq=False)
class Scorer:
    """A model that says of a text and a hypothesis how far one bears the other out.

    Attributes:
        model: its name, for messages.
        tokens: texts → their token ids without special ones, each cut to ``max_length``.
        frame: a hypothesis → the tokens around a text.
        forward: a batch of B pairs → their logits against and for the hypothesis, [B, 2].
        max_length: tokens of a pair; the text is cut at its end, never the hypothesis.
        budget: tokens of a batch, padding included.
    """

    model: str
    tokens: Callable[[Sequence[str]], list[list[int]]]
    frame: Callable[[str], Frame]
    forward: Callable[[Batch], NDArray[np.float32] | Later]
    max_length: int
    budget: Budget

    def logits(
        self, texts: Sequence[str], hypotheses: Sequence[str], *, advance: Advance | None
    ) -> NDArray[np.float32]:
        """The logits against and for each hypothesis, [N, H, 2]; NaN for a text without a token.

        A text's logits do not depend on the texts beside it beyond the rounding of floats: sums over batches of other
        shapes are taken in another order (some 1e-6 in 32-bit floats, 1e-2 in half precision).

        Args:
            texts: cleaned texts; one that occurs again is not scored again.
            hypotheses: whole sentences.
            advance: gets the number of texts that are done.

        Raises:
            UserError: a hypothesis leaves no room for a text, or a single pair does not fit into memory.
        """
        frames = [self.frame(hypothesis) for hypothesis in hypotheses]
        for hypothesis, frame in zip(hypotheses, frames, strict=True):
            if len(frame.before) + len(frame.after) >= self.max_length:
                raise UserError(f"{hypothesis!r} leaves no room for a text in {self.max_length} tokens",
                                where=self.model, remedy="Shorten it, or let the model read more tokens.")  # fmt: skip
        counted = Counter(texts)
        index = {text: row for row, text in enumerate(counted)}
        result = np.full((len(index), len(frames), 2), np.nan, dtype=np.float32)
        if counted and frames:
            tokens = self.tokens(list(counted))
            empty = [row for row, ids in enumerate(tokens) if not ids]
            repeats = np.array(list(counted.values()))
            if advance and empty:
                advance(int(repeats[empty].sum()))
            self._fill(result, tokens, frames, repeats, advance)
        return result[[index[text] for text in texts]]

    def _fill(
        self,
        result: NDArray[np.float32],
        tokens: Sequence[list[int]],
        frames: Sequence[Frame],
        repeats: NDArray[np.int64],
        advance: Advance | None,
    ) -> None:
        """Score all pairs, the longest first, so that a lack of memory shows at once."""
        sizes = np.array([len(row) for row in tokens])
        around = np.array([len(frame.before) + len(frame.after) for frame in frames])
        lengths = np.minimum(sizes[:, None] + around, self.max_length)
        pairs = np.flatnonzero(np.repeat(sizes > 0, len(frames)))
        left = np.full(len(tokens), len(frames))

        def forward(batch: NDArray[np.int64]) -> NDArray[np.float32] | Later:
            rows, columns = np.divmod(pairs[batch], len(frames))
            return self.forward(self._batch([tokens[row] for row in rows], [frames[column] for column in columns]))

        for batch, logits in in_batches(lengths.flat[pairs], forward, budget=self.budget):
            rows, columns = np.divmod(pairs[batch], len(frames))
            if logits is None:
                raise does_not_fit(int(lengths[rows[0], columns[0]]), where=self.model)
            result[rows, columns] = logits
            np.subtract.at(left, rows, 1)
            done = np.unique(rows)
            if advance and (ended := int(repeats[done[left[done] == 0]].sum())):
                advance(ended)

    def _batch(self, tokens: Sequence[list[int]], frames: Sequence[Frame]) -> Batch:
        ids, kinds = [], []
        for row, frame in zip(tokens, frames, strict=True):
            text = row[: self.max_length - len(frame.before) - len(frame.after)]
            ids.append(frame.before + text + frame.after)
            kinds.append([0] * len(frame.before) + [frame.kind] * len(text) + frame.kinds)
        return Batch(ids, kinds)


def inputs(batch: Batch, *, pad: int, kinds: bool, left: bool, device: Any) -> dict[str, Any]:
    """What a transformers model is called with.

    Args:
        batch: the pairs.
        pad: the padding's token id.
        kinds: whether the model is given token types.
        left: pad on the left.
        device: where the model is.
    """
    ids, mask = padded_with_mask(batch.ids, pad, left=left, multiple=1)
    given = {"input_ids": ids, "attention_mask": mask}
    if kinds:
        given["token_type_ids"] = padded(batch.kinds, 0, left=left, multiple=1)
    return dict(zip(given, there(list(given.values()), device=device), strict=True))


def cross_encoder(
    network: Any,
    pick: Callable[[torch.Tensor], torch.Tensor],
    *,
    model: str,
    text_first: bool,
    max_length: int,
    batch_tokens: int,
) -> Scorer:
    """A sequence classifier that reads a text and a hypothesis at once, as a scorer of pairs.

    Args:
        network: of transformers, on its device; where that is a GPU, all GPUs take part, each with a copy.
        pick: its logits of B pairs, [B, labels] → those against and for the hypothesis, [B, 2].
        model: its folder or hub name.
        text_first: the text comes before the hypothesis, as a premise does; else after it, as a document after a query.
        max_length: tokens of a text with a hypothesis; at most what the model can read.
        batch_tokens: initial tokens of a batch on a CPU; a GPU takes more.

    Raises:
        UserError: its tokenizer is another model's, or joins pairs in an unknown way; or its scores of a pair depend on
            the pairs beside it.
    """
    from tsirius.models import cards, encode
    from tsirius.models.load import settle, tokenizer

    words = tokenizer(model)
    settle(network, words, where=model)
    length = encode.longest(network, words, max_length)
    kinds = "token_type_ids" in words.model_input_names
    pad = padding(words, network.config)

    networks = cards.everywhere(network)
    turns = itertools.cycle(networks)

    def forward(batch: Batch) -> NDArray[np.float32] | Later:
        own = next(turns)
        logits = own(**inputs(batch, pad=pad, kinds=kinds, left=False, device=own.device)).logits
        return fetched(pick(logits).float())

    def tokens(texts: Sequence[str]) -> list[list[int]]:
        return token_ids(words, texts, max_length=length, special=False)

    def frame(hypothesis: str) -> Frame:
        return around(words, hypothesis, tokens, text_first=text_first, where=model, max_length=length)

    one = frame("Отзыв.")
    pairs = [one.before + text[: length // 2] + one.after for text in tokens(encode.NEIGHBOURS)]
    for _ in networks:  # each is then ready: what a GPU does once says nothing of the best batch
        check_alone(lambda rows: forward(Batch(rows, [[0] * len(row) for row in rows])), pairs, rounding=HALF,
                    where=model)  # fmt: skip
    budget = budget_on(network.device, batch_tokens, cards=len(networks))
    return Scorer(model, tokens, frame, forward, length, budget)


def around(
    words: Any,
    hypothesis: str,
    tokens: Callable[[Sequence[str]], list[list[int]]],
    *,
    text_first: bool,
    where: str,
    max_length: int,
) -> Frame:
    """What the tokenizer puts around the text of a pair, the hypothesis and its special tokens included.

    Raises:
        UserError: the tokenizer joins pairs in another way than one after the other, or has nothing between them.
    """

    def joined(text: str, **settings: Any) -> Any:
        return words(*((text, hypothesis) if text_first else (hypothesis, text)), **settings)

    whole = joined(PROBE, return_token_type_ids=True)
    ids, kinds, text = whole["input_ids"], whole["token_type_ids"], tokens([PROBE])[0]
    starts = [at for at in range(len(ids)) if ids[at : at + len(text)] == text] or [0]
    start = starts[0] if text_first else starts[-1]
    end = start + len(text)
    result = Frame(ids[:start], ids[end:], kinds[end:], kinds[start])
    room = max_length - len(result.before) - len(result.after)
    if room > 0:
        long = PROBE * max_length
        only = "only_first" if text_first else "only_second"
        cut = joined(long, truncation=only, max_length=max_length)["input_ids"]
        same = cut == result.before + tokens([long])[0][:room] + result.after
        if ids[start:end] != text or not same or any(kinds[:start]) or set(kinds[start:end]) != {result.kind}:
            raise UserError("its tokenizer joins a text and a hypothesis in an unknown way", where=where,
                            remedy="Name another model.")  # fmt: skip
    return result
