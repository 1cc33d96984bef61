"""Texts through an encoder in batches of like length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

BATCH_TOKENS = 8192
"""Tokens of a batch, its padding counted: some 100 MB of activations in a base-sized model."""


def logits(
    model: Any, tokenizer: Any, texts: Sequence[str], *, max_length: int, half: torch.dtype | None
) -> NDArray[np.float32]:
    """The model's scores of each text, [N, K], on the device that the model is on.

    Texts are sorted by their tokens, so that little of a batch is padding; the rows keep the order of ``texts``.

    Args:
        model: gives ``logits``, [B, K].
        tokenizer: of the model.
        texts: cleaned texts.
        max_length: tokens of a text that are read.
        half: the 16-bit floats to compute in, for a model that is partly in them; None: as the weights are.
    """
    import torch

    model.eval()
    rows = [torch.tensor(ids) for ids in token_ids(tokenizer, texts, max_length=max_length)]
    order = sorted(range(len(rows)), key=lambda row: -len(rows[row]))
    scores = np.zeros((len(rows), model.config.num_labels), dtype=np.float32)
    start = 0
    with torch.inference_mode():
        while start < len(order):
            batch = order[start : start + max(1, BATCH_TOKENS // max(1, len(rows[order[start]])))]
            padded = torch.nn.utils.rnn.pad_sequence(
                [rows[row] for row in batch], batch_first=True, padding_value=tokenizer.pad_token_id
            )
            lengths = torch.tensor([[len(rows[row])] for row in batch])
            mask = (torch.arange(padded.shape[1]) < lengths).long()
            with torch.autocast(model.device.type, dtype=half, enabled=half is not None):
                given = model(input_ids=padded.to(model.device), attention_mask=mask.to(model.device))
            scores[batch] = given.logits.float().cpu().numpy()
            start += len(batch)
    return scores


def longest(model: Any, tokenizer: Any, max_length: int) -> int:
    """The tokens of a text that the model can read, at most ``max_length``.

    XLM-R's positions begin after the padding's number, so that two of its 514 are no text's.
    """
    positions = getattr(model.config, "max_position_embeddings", None) or max_length
    offset = (model.config.pad_token_id or 0) + 1
    return min(max_length, int(tokenizer.model_max_length), int(positions) - offset)


def token_ids(tokenizer: Any, texts: Sequence[str], *, max_length: int) -> list[list[int]]:
    """The tokens of each text, special ones included, cut at ``max_length``."""
    if not texts:
        return []
    found: list[list[int]] = tokenizer(
        list(texts), truncation=True, max_length=max_length, return_attention_mask=False, return_token_type_ids=False
    )["input_ids"]
    return found
