"""Masked words over packed rows of the corpora, and single words whose navec vector the encoder has to give back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from .encoder import (
    BOS,
    EOS,
    Heads,
    Texts,
    build,
    device,
    load_arrays,
    mask_words,
    pooled,
    seed_embeddings,
    single,
    states,
    train,
)
from .prepare import LEARNED


def run(config: dict[str, Any], out: Path) -> dict[str, float]:
    """Train the encoder from the navec embeddings up; saves ``pretrained.pt`` (half precision, heads included)."""
    asked, where = config["pretrain"], device()
    arrays = load_arrays(out)
    model = build(config, arrays["pieces"])
    seed_embeddings(model, arrays["words"])
    model, heads = (
        model.to(where),
        Heads(config["encoder"]["width"], arrays["pieces"], arrays["words"]["vectors"].shape[1]).to(where),
    )
    stream = torch.from_numpy(packed(arrays["texts"], arrays["split"] == LEARNED, config["seed"])).to(where)
    begins = torch.from_numpy(arrays["begins"]).to(where)
    words = Texts(
        *(torch.from_numpy(arrays["words"][name].astype(np.int32)).to(where) for name in ("pieces", "starts"))
    )
    vectors = nn.functional.normalize(torch.from_numpy(arrays["words"]["vectors"]).to(where).float(), dim=-1)
    odds = torch.from_numpy(arrays["words"]["counts"] + 3.0).to(where) ** 0.4
    torch.manual_seed(config["seed"])

    def loss(step: int) -> Iterator[tuple[torch.Tensor, dict[str, torch.Tensor]]]:
        length = config["encoder"]["tokens"] if step % 5 == 4 else asked["block"]
        rows = asked["tokens_a_step"] // length
        starts = torch.randint(0, len(stream) - length, (rows, 1), device=where)
        tokens = stream[starts + torch.arange(length, device=where)].long()
        tokens[:, 0], tokens[:, -1] = BOS, EOS
        hidden, chosen = mask_words(tokens, begins, asked["masked"], arrays["mask"], arrays["pieces"])
        drawn = torch.multinomial(odds, asked["words_a_step"], replacement=False)
        with torch.autocast(where.type, torch.bfloat16, enabled=where.type == "cuda"):
            scores = heads(states(model, hidden, packed=True)[chosen], model.roberta.embeddings.word_embeddings.weight)
            word_tokens = single(words.batch(drawn, 12)[0])
            guess = heads.word(pooled(states(model, word_tokens), word_tokens) * 16)
        truth = tokens[chosen]
        masked = nn.functional.cross_entropy(scores.float(), truth)
        guess = nn.functional.normalize(guess.float(), dim=-1)
        likeness = nn.functional.cross_entropy(guess @ vectors[drawn].T / 0.05, torch.arange(len(drawn), device=where))
        yield (
            masked + asked["word_weight"] * likeness,
            {
                "loss": masked.detach(),
                "words": likeness.detach(),
                "right": (scores.argmax(-1) == truth).float().mean(),
            },
        )

    figures = train(
        [model, heads],
        loss,
        title="pretrain",
        **{name: asked[name] for name in ("steps", "rate", "warmup", "weight_decay", "minutes")},
    )
    torch.save({"model": half(model), "heads": half(heads)}, out / "pretrained.pt")
    return {**figures, "pieces_in_corpora": len(stream)}


def half(module: nn.Module) -> dict[str, torch.Tensor]:
    """A module's weights in half precision, on the CPU."""
    return {name: value.half().cpu() for name, value in module.state_dict().items()}


def packed(texts: dict[str, Any], kept: Any, seed: int) -> Any:
    """The kept texts one after the other, shuffled, </s> between them: uint16 [pieces] as int32."""
    starts, rows = texts["starts"], np.random.default_rng(seed).permutation(np.flatnonzero(kept))
    lengths = starts[rows + 1] - starts[rows] + 1
    ends = np.cumsum(lengths)
    flat = np.full(ends[-1], EOS, dtype=np.int32)
    shift = np.repeat(starts[rows] - (ends - lengths), lengths - 1)
    place = np.ones(len(flat), dtype=bool)
    place[ends - 1] = False
    where = np.flatnonzero(place)
    flat[where] = texts["pieces"][where + shift]
    return flat
