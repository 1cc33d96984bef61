"""The model, its first embeddings, its saved form, and the loop that both training phases share."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

PAD, BOS, EOS = 1, 0, 2
LABELS = {0: "not_entailment", 1: "entailment"}


def device() -> torch.device:
    """The accelerator where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def build(config: dict[str, Any], pieces: int) -> Any:
    """An XLM-RoBERTa for sequence classification with random weights; two labels: borne out or not."""
    from transformers import XLMRobertaConfig, XLMRobertaForSequenceClassification

    asked = config["encoder"]
    torch.manual_seed(config["seed"])
    return XLMRobertaForSequenceClassification(
        XLMRobertaConfig(
            vocab_size=pieces,
            hidden_size=asked["width"],
            num_hidden_layers=asked["layers"],
            num_attention_heads=asked["heads"],
            intermediate_size=asked["inner"],
            max_position_embeddings=asked["tokens"] + 2,
            type_vocab_size=1,
            bos_token_id=BOS,
            eos_token_id=EOS,
            pad_token_id=PAD,
            id2label=LABELS,
            label2id={name: number for number, name in LABELS.items()},
        )
    )


class Heads(nn.Module):
    """What pre-training needs beside the encoder: the masked word's scores, and a word's navec vector."""

    def __init__(self, width: int, pieces: int, vectors: int) -> None:
        super().__init__()
        self.dense, self.norm, self.word = nn.Linear(width, width), nn.LayerNorm(width), nn.Linear(width, vectors)
        self.bias = nn.Parameter(torch.zeros(pieces))

    def forward(self, states: torch.Tensor, embeddings: torch.Tensor) -> torch.Tensor:
        """States [n, width] → scores [n, pieces]; the pieces' embeddings are the output weights."""
        return nn.functional.linear(self.norm(nn.functional.gelu(self.dense(states))), embeddings, self.bias)


def seed_embeddings(model: Any, words: Any, scale: float = 0.04) -> None:
    """Give each piece the mean navec vector of the words that hold it, shorter words counting more."""
    table = model.roberta.embeddings.word_embeddings.weight.data
    vectors = words["vectors"].astype(np.float32)[:, : table.shape[1]]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-6
    lengths = np.diff(words["starts"])
    owner = np.repeat(np.arange(len(lengths)), lengths)
    weight = (np.log1p(words["counts"]) + 0.1)[owner] / lengths[owner].astype(np.float32) ** 3
    total, mass = np.zeros((len(table), vectors.shape[1]), np.float32), np.zeros(len(table), np.float32)
    np.add.at(total, words["pieces"], vectors[owner] * weight[:, None])
    np.add.at(mass, words["pieces"], weight)
    known = np.flatnonzero(mass)
    mean = total[known] / mass[known][:, None]
    mean *= scale * math.sqrt(mean.shape[1]) / (np.linalg.norm(mean, axis=1, keepdims=True) + 1e-6)
    table[torch.from_numpy(known), : mean.shape[1]] = torch.from_numpy(mean)


def pooled(states: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """The mean of a text's last states, padding left out, of length 1: [texts, width]."""
    kept = (tokens != PAD).unsqueeze(-1).to(states.dtype)
    return nn.functional.normalize((states * kept).sum(1).float() / kept.sum(1).float(), dim=-1)


class Texts:
    """Texts as pieces, flat on the device, put together to padded batches without a loop.

    Attributes:
        lengths: pieces of each text, without special tokens.
    """

    def __init__(self, pieces: torch.Tensor, starts: torch.Tensor) -> None:
        self.pieces, self.starts, self.lengths = pieces, starts, starts[1:] - starts[:-1]

    def batch(self, rows: torch.Tensor, longest: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows → (pieces [rows, width], PAD where a text has ended; lengths cut at ``longest``)."""
        lengths = self.lengths[rows].clamp(max=longest)
        place = torch.arange(int(lengths.max()), device=rows.device).unsqueeze(0)
        index = (self.starts[rows].unsqueeze(1) + place).clamp(max=len(self.pieces) - 1)
        return torch.where(place < lengths.unsqueeze(1), self.pieces[index].long(), PAD), lengths


def single(first: torch.Tensor) -> torch.Tensor:
    """<s> text </s> for padded pieces [n, width] → [n, width + 2]."""
    n = len(first)
    tokens = torch.cat([first.new_full((n, 1), BOS), first, first.new_full((n, 1), PAD)], 1)
    tokens[torch.arange(n, device=first.device), (first != PAD).sum(1) + 1] = EOS
    return tokens


def joined(first: torch.Tensor, second: torch.Tensor, swap: torch.Tensor) -> torch.Tensor:
    """Two padded texts as one, [n, a] and [n, b] → [n, at most a + b]; ``swap`` says where the second comes first."""
    wide = max(first.shape[1], second.shape[1])
    first, second = (nn.functional.pad(text, (0, wide - text.shape[1]), value=PAD) for text in (first, second))
    head, tail = torch.where(swap.unsqueeze(1), second, first), torch.where(swap.unsqueeze(1), first, second)
    one, two = (head != PAD).sum(1, keepdim=True), (tail != PAD).sum(1, keepdim=True)
    place = torch.arange(int((one + two).max()), device=first.device).expand(len(first), -1)
    left, right = (
        torch.gather(head, 1, place.clamp(0, wide - 1)),
        torch.gather(tail, 1, (place - one).clamp(0, wide - 1)),
    )
    return torch.where(place < one, left, torch.where(place < one + two, right, PAD))


def double(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """<s> text </s></s> hypothesis </s> for padded pieces, [n, a] and [n, b] → [n, at most a + b + 4]."""
    n, one, two = len(first), (first != PAD).sum(1, keepdim=True), (second != PAD).sum(1, keepdim=True)
    place = torch.arange(int((one + two).max()) + 4, device=first.device).expand(n, -1)
    left = torch.gather(first, 1, (place - 1).clamp(0, first.shape[1] - 1))
    right = torch.gather(second, 1, (place - one - 3).clamp(0, second.shape[1] - 1))
    tokens = torch.full_like(place, PAD)
    tokens = torch.where((place >= 1) & (place <= one), left, tokens)
    tokens = torch.where((place >= one + 3) & (place < one + two + 3), right, tokens)
    tokens = torch.where((place == one + 1) | (place == one + 2) | (place == one + two + 3), EOS, tokens)
    return torch.where(place == 0, BOS, tokens)


def states(model: Any, tokens: torch.Tensor, *, packed: bool = False) -> torch.Tensor:
    """The last states, [n, width, hidden]."""
    mask = None if packed else (tokens != PAD).long()
    return model.roberta(input_ids=tokens, attention_mask=mask).last_hidden_state


def mask_words(
    tokens: torch.Tensor, begins: torch.Tensor, share: float, mask: int, pieces: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Hide whole words: (tokens with 80 % of the chosen masked and 10 % replaced, where the chosen are)."""
    word = begins[tokens].cumsum(1)
    drawn = torch.rand(tokens.shape[0], int(word.max()) + 1, device=tokens.device) < share
    chosen = drawn.gather(1, word) & (tokens > 3)
    dice = torch.rand(tokens.shape, device=tokens.device)
    hidden = torch.where(chosen & (dice < 0.8), mask, tokens)
    return torch.where(
        chosen & (dice > 0.9), torch.randint(4, pieces - 1, tokens.shape, device=tokens.device), hidden
    ), chosen


def train(
    modules: list[nn.Module],
    loss: Callable[[int], Iterator[tuple[torch.Tensor, dict[str, torch.Tensor]]]],
    *,
    steps: int,
    rate: float,
    warmup: int,
    weight_decay: float,
    minutes: float,
    title: str,
) -> dict[str, float]:
    """AdamW with warm-up and a linear fall, by steps or by the clock, whichever is further on.

    ``loss`` yields one or more (loss, figures) for a step; their gradients are added.
    """
    parameters = [parameter for module in modules for parameter in module.parameters()]
    decayed = [parameter for parameter in parameters if parameter.dim() > 1]
    plain = [parameter for parameter in parameters if parameter.dim() <= 1]
    on_gpu = device().type == "cuda"
    optimiser = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=rate,
        betas=(0.9, 0.98),
        eps=1e-6,
        fused=on_gpu,
    )
    for module in modules:
        module.train()
    begun, figures, step = time.monotonic(), {}, 0
    while True:
        done = max(step / steps, (time.monotonic() - begun) / 60 / minutes)
        if done >= 1:
            break
        for group in optimiser.param_groups:
            group["lr"] = rate * min((step + 1) / warmup, 1 - done + 0.01)
        optimiser.zero_grad(set_to_none=True)
        shown: dict[str, torch.Tensor] = {}
        for value, part in loss(step):
            value.backward()
            shown |= part
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        step += 1
        if step % 200 == 0 or step == 20:
            figures = {name: round(float(number), 4) for name, number in shown.items()}
            print(title, step, f"{time.monotonic() - begun:.0f}s", figures, flush=True)
    for module in modules:
        module.eval()
    return {"steps": step, "seconds": round(time.monotonic() - begun, 1), **figures}


def save(model: Any, out: Path, tokenizer: Path) -> None:
    """The checkpoint in the hub's layout, half precision, with its tokenizer."""
    import copy
    import shutil

    out.mkdir(parents=True, exist_ok=True)
    copy.deepcopy(model).half().save_pretrained(out)
    for name in ("tokenizer.json", "sentencepiece.bpe.model", "tokenizer_config.json", "special_tokens_map.json"):
        if (tokenizer / name).exists():
            shutil.copy(tokenizer / name, out / name)


def load_arrays(out: Path) -> dict[str, Any]:
    """All arrays of the preparation, and the tokenizer's size and word beginnings."""
    vocabulary = json.loads((out / "tokenizer" / "tokenizer.json").read_text(encoding="utf-8"))
    names = [piece for piece, _ in vocabulary["model"]["vocab"]]
    pieces = max([len(names), *(entry["id"] + 1 for entry in vocabulary["added_tokens"])])
    begins = np.zeros(pieces, dtype=np.int64)
    begins[[place for place, piece in enumerate(names) if piece.startswith("▁")]] = 1
    begins[:4] = 1  # a special token parts words
    texts = np.load(out / "texts.npz")
    return {
        "pieces": pieces,
        "mask": next(entry["id"] for entry in vocabulary["added_tokens"] if entry["content"] == "<mask>"),
        "begins": begins,
        "texts": {name: texts[name] for name in texts.files},
        "words": dict(np.load(out / "words.npz")),
        **dict(np.load(out / "labels.npz")),
    }
