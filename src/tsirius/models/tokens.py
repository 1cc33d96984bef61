"""Texts as token ids, by as many threads as there are processors: a GPU reads reviews faster than one makes tokens.

The tokenizer's own threads are left alone (see :mod:`tsirius.environment`): they do not survive a fork, ours are gone
when the tokens are there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tsirius.models.onnx import threads

PART = 64
"""Texts that a thread takes at a time."""


def token_ids(tokenizer: Any, texts: Sequence[str], *, max_length: int | None, special: bool) -> list[list[int]]:
    """The tokens of each text.

    Args:
        tokenizer: of transformers.
        texts: cleaned texts.
        max_length: a longer row is cut to so many tokens; None: none is cut.
        special: with the special tokens that stand around a text.
    """
    if not texts:
        return []
    fast = _fast(tokenizer, special=special) if len(texts) > 1 else None
    first = texts if fast is None else texts[:1]
    cut: dict[str, Any] = {} if max_length is None else {"truncation": True, "max_length": max_length}
    result: list[list[int]] = tokenizer(
        list(first), add_special_tokens=special, return_attention_mask=False, return_token_type_ids=False,
        verbose=False, **cut,
    )["input_ids"]  # fmt: skip
    if fast is None:
        return result
    # The call above has told the library where to cut: from here on its settings are only read.
    parts = [list(texts[start : start + PART]) for start in range(0, len(texts), PART)]
    several = min(threads(), len(parts))
    if several == 1:
        return [row for part in parts for row in fast(part)]
    with ThreadPoolExecutor(several, thread_name_prefix="tokens") as pool:
        return [row for rows in pool.map(fast, parts) for row in rows]


def _fast(tokenizer: Any, *, special: bool) -> Callable[[list[str]], list[list[int]]] | None:
    """The library beneath a tokenizer, which is done without the interpreter's lock and without the places of tokens in
    the text; None where transformers does more than to call it."""
    from transformers import PreTrainedTokenizerFast

    own = getattr(type(tokenizer), "_encode_plus", None)
    if not isinstance(tokenizer, PreTrainedTokenizerFast) or own is not PreTrainedTokenizerFast._encode_plus:
        return None
    encode = tokenizer.backend_tokenizer.encode_batch_fast
    return lambda texts: [given.ids for given in encode(texts, add_special_tokens=special)]
