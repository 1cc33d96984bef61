"""Texts through an encoder: scores of a classifier, embeddings, and how far a model reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tsirius.models import hub, onnx, pooling, tokens, windows
from tsirius.models.batching import (
    BATCH_TOKENS,
    EXACT,
    HALF,
    Later,
    budget_on,
    check_alone,
    fetched,
    filled,
    padded_with_mask,
    padding,
    there,
)
from tsirius.models.pooling import Pooling, pooled

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

SHARES = (0.6, 0.4)
"""Of tsirius-goods and tsirius-mini in the cosines of the pair: the likeliest on the test beds of recipes/bed."""
NEIGHBOURS = ("Суп.", "Кастрюля тяжёлая, дно толстое, суп варится быстро, ручки греются, крышка гремит!")
"""Texts that a model reads alone and beside one another, before it reads others."""


def logits(
    model: Any, tokenizer: Any, texts: Sequence[str], *, max_length: int, half: torch.dtype | None
) -> NDArray[np.float32]:
    """A classifier's scores of each text, [N, K].

    Args:
        model: gives ``logits``, [B, K].
        tokenizer: of the model.
        texts: cleaned texts.
        max_length: tokens of a text that are read.
        half: the 16-bit floats to compute in, for a model that is partly in them; None: as the weights are.
    """
    return _logits(model, tokenizer, token_ids(tokenizer, texts, max_length=max_length), half=half)


def windowed_logits(
    model: Any, tokenizer: Any, texts: Sequence[str], *, max_length: int, half: torch.dtype | None
) -> NDArray[np.float32]:
    """The same of all of each text: the mean over windows of ``max_length`` tokens. Arguments as of :func:`logits`."""
    result = tokenizer(list(texts), return_special_tokens_mask=True, return_attention_mask=False,
                      return_token_type_ids=False, verbose=False) if texts else {"input_ids": []}  # fmt: skip
    special = result.get("special_tokens_mask", [])
    cuts = [windows.cut(*pair, max_length=max_length) for pair in zip(result["input_ids"], special, strict=True)]
    scores = _logits(model, tokenizer, [window for cut in cuts for window in cut], half=half)
    return windows.mean(scores, [len(cut) for cut in cuts])


def _logits(model: Any, tokenizer: Any, rows: list[list[int]], *, half: torch.dtype | None) -> NDArray[np.float32]:
    import torch

    def scores(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        with torch.autocast(model.device.type, dtype=half, enabled=half is not None):
            given: torch.Tensor = model(input_ids=ids, attention_mask=mask).logits
        return given

    return _read(model, tokenizer, rows, scores, width=model.config.num_labels)


def check_logits(model: Any, tokenizer: Any, *, max_length: int, half: torch.dtype | None, where: str) -> None:
    """Make sure that a classifier's scores of a text do not depend on the texts beside it; else a UserError."""
    rows = token_ids(tokenizer, NEIGHBOURS, max_length=max_length)
    rounding = EXACT if half is None else HALF
    check_alone(lambda given: _logits(model, tokenizer, given, half=half), rows, rounding=rounding, where=where)


@dataclass(frozen=True)
class Embedder:
    """An encoder in memory that makes embeddings.

    Attributes:
        model, tokenizer: of transformers.
        pooling: how an embedding is made.
        layers: after the pooling, see :func:`tsirius.models.pooling.head`.
        width: W, numbers of an embedding.
        max_length: tokens of a text that are read, the prompt's included.
    """

    model: Any
    tokenizer: Any
    pooling: Pooling
    layers: Sequence[Callable[[torch.Tensor], torch.Tensor]]
    width: int
    max_length: int

    def __call__(self, texts: Sequence[str], *, category: bool = False) -> NDArray[np.float32]:
        """The embeddings of cleaned texts, or of the words of categories, [N, W], each of length 1.

        Reimers and Gurevych 2019, "Sentence-BERT" (arXiv 1908.10084).
        """
        how = self.pooling
        prompt = how.category_prompt if category else how.prompt
        given = [prompt + (text.lower() if how.lower else text) for text in texts]
        skipped = 0 if how.prompt_counts or not prompt else _own_tokens(self.tokenizer, prompt)
        return self.of_tokens(token_ids(self.tokenizer, given, max_length=self.max_length), skipped=skipped)

    def of_tokens(self, rows: list[list[int]], *, skipped: int) -> NDArray[np.float32]:
        """The same of rows of tokens, of which the first ``skipped`` are left out of the pooling."""
        import torch

        def forward(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            states = self.model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
            result = pooled(states, mask, self.pooling.modes, skipped=skipped)
            for layer in self.layers:
                result = layer(result)
            return torch.nn.functional.normalize(result)

        return _read(self.model, self.tokenizer, rows, forward, width=self.width)


def _own_tokens(tokenizer: Any, prompt: str) -> int:
    """The tokens of a prompt at the beginning of a text, the special ones before it included."""
    ids: list[int] = tokenizer(prompt)["input_ids"]
    return len(ids) - (ids[-1] in (tokenizer.sep_token_id, tokenizer.eos_token_id))


def embedder(
    model: str, how: Pooling | None = None, *, max_length: int, category: bool = False
) -> Callable[[Sequence[str]], NDArray[np.float32]]:
    """Texts → their embeddings by an encoder, [N, W], each of length 1; it is read when it is first asked.

    The members of an ensemble ask for the same texts one after the other: the last answer is kept.

    Args:
        model: a folder or hub name that :func:`tsirius.models.hub.check` accepts.
        how: an embedding is made, see :func:`tsirius.models.pooling.of`; None: as the encoder's folder says.
        max_length: tokens of a text that are read.
        category: the texts are words of categories, before which some encoders ask for another prompt.

    Raises:
        UserError: the encoder cannot be read.
    """
    if model == hub.PAIR:
        embed = _side_by_side([embedder(part, max_length=max_length) for part in hub.parts(model)])
    elif model in hub.OWN:
        embed = onnx.embedder(hub.fetch(model), max_length=max_length)
    else:

        def embed(texts: Sequence[str]) -> NDArray[np.float32]:
            return _embedder(model, how or pooling.of(model), max_length)(texts, category=category)

    @lru_cache(maxsize=1)
    def last(texts: tuple[str, ...]) -> NDArray[np.float32]:
        result = embed(texts)
        result.flags.writeable = False
        return result

    return lambda texts: last(tuple(texts))


def _side_by_side(
    each: Sequence[Callable[[Sequence[str]], NDArray[np.float32]]],
) -> Callable[[Sequence[str]], NDArray[np.float32]]:
    """Embeddings by several encoders as one of length 1, whose cosines are the weighted mean of theirs."""

    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        given = [part(texts) * share**0.5 for part, share in zip(each, SHARES, strict=True)]
        return np.concatenate(given, axis=1, dtype=np.float32)

    return embed


def apart(model: str, embedded: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Encoder → its own embeddings, of those that :func:`embedder` of ``model`` gave, [N, W]."""
    if model != hub.PAIR:
        return {model: embedded}
    first = int(hub.described(hub.GOODS)["hidden_size"])
    given = zip(hub.parts(model), np.split(embedded, [first], axis=1), SHARES, strict=True)
    return {part: columns / np.float32(share**0.5) for part, columns, share in given}


@lru_cache(maxsize=1)
def _embedder(model: str, how: Pooling, max_length: int) -> Embedder:
    from tsirius.models import load

    encoder, tokenizer = load.encoder(model, precision="auto"), load.tokenizer(model)
    load.settle(encoder, tokenizer, where=model)
    length = min(longest(encoder, tokenizer, max_length), how.max_length or max_length)
    layers, width = pooling.head(model, how, width=encoder.config.hidden_size, device=encoder.device)
    result = Embedder(encoder, tokenizer, how, layers, width, length)
    rows = token_ids(tokenizer, NEIGHBOURS, max_length=length)
    check_alone(partial(result.of_tokens, skipped=0), rows, rounding=HALF, where=model)
    return result


def mask_token(model: str) -> str:
    """What an encoder's tokenizer reads as a hidden word; empty where it has no such token."""
    if model in hub.OWN:
        return onnx.MASK
    from tsirius.models import load

    return load.tokenizer(model).mask_token or ""


def _read(
    model: Any,
    tokenizer: Any,
    given: list[list[int]],
    forward: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    *,
    width: int,
) -> NDArray[np.float32]:
    """What ``forward`` gives of each row of tokens and its mask, [N, width], on the device that the model is on."""
    model.eval()
    pad, budget = padding(tokenizer, model.config), budget_on(model.device, BATCH_TOKENS)

    def compute(rows: NDArray[np.int64]) -> NDArray[Any] | Later:
        table = padded_with_mask([given[row] for row in rows], pad, left=False, multiple=1)
        ids, mask = there(table, device=model.device)
        return fetched(forward(ids, mask).float())

    lengths = [len(ids) for ids in given]
    return filled(lengths, compute, width=width, budget=budget, where=model.config.name_or_path)


def longest(model: Any, tokenizer: Any, max_length: int) -> int:
    """The tokens of a text that the model can read, at most ``max_length``.

    Where the padding has a row of its own in the table of positions, those of a text begin after it: two of XLM-R's 514
    are no text's, and of BERT's 512 all are. A model without such a table says how far it can read, or has no end.
    """
    import torch

    tables = [
        part.num_embeddings - (0 if part.padding_idx is None else part.padding_idx + 1)
        for name, part in model.named_modules()
        if "position" in name.rpartition(".")[2] and isinstance(part, torch.nn.Embedding)
    ]
    limit = getattr(model.config, "max_position_embeddings", None) or max_length
    return min(max_length, int(tokenizer.model_max_length), *(tables or [int(limit)]))


def token_ids(tokenizer: Any, texts: Sequence[str], *, max_length: int) -> list[list[int]]:
    """The tokens of each text, special ones included, cut at ``max_length``."""
    return tokens.token_ids(tokenizer, texts, max_length=max_length, special=True)
