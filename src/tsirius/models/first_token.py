"""A classifier that reads only what its encoder says of the first token needs no more of the last layer.

Of that layer the keys and values of all tokens are still computed; queries, the sum of the attention and the
feed-forward part, five sixths of its multiplications, for the first token alone. The outcome is the same.
"""

from __future__ import annotations

from typing import Any

import torch

MODELS = ("bert", "camembert", "roberta", "xlm-roberta")
"""Whose layers are built alike, and whose classifiers read the first token."""


def only(model: Any) -> Any:
    """Compute the last layer for the first token alone, in place, in a model that is known to need no other.

    Args:
        model: any transformers model with its head. Afterwards it can score, not be trained; the last hidden states
            have one token, [B, 1, W].

    Returns:
        ``model``.
    """
    config = model.config
    if (
        config.model_type in MODELS
        and type(model).__name__.endswith("ForSequenceClassification")
        and not (config.is_decoder or config.add_cross_attention)
        and config._attn_implementation == "sdpa"  # the others are given masks of another form
    ):
        layers = model.base_model.encoder.layer
        layers[-1] = FirstTokenLayer(layers[-1])
    return model


class FirstTokenLayer(torch.nn.Module):
    """What ``layer``, of an encoder such as BERT's, computes of the first token."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, states: torch.Tensor, mask: torch.Tensor | None = None, *_: Any, **__: Any) -> torch.Tensor:
        """[B, S, W] → [B, 1, W]; ``mask`` as scaled_dot_product_attention takes it, [B, 1, 1 or S, S]."""
        attention = self.layer.attention
        heads = (len(states), -1, attention.self.num_attention_heads, attention.self.attention_head_size)
        first = states[:, :1]
        attended = torch.nn.functional.scaled_dot_product_attention(
            attention.self.query(first).view(heads).transpose(1, 2),
            attention.self.key(states).view(heads).transpose(1, 2),
            attention.self.value(states).view(heads).transpose(1, 2),
            attn_mask=None if mask is None else mask[:, :, :1],
        )
        attended = attention.output(attended.transpose(1, 2).flatten(2), first)
        answer: torch.Tensor = self.layer.feed_forward_chunk(attended)
        return answer
