"""The contrastive training: which hypothesis a text bears out, and which names belong together, one pass a text.

Each step sets texts against the hypotheses of all others (those of which nothing is known are left out), with words of
goods hidden in a part of the texts and generic texts beside another part, and names against names. A smaller encoder
also answers in the form of pairs (entailment), and can be taught by the scores of a larger one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from recipes.mini.encoder import BOS, EOS, PAD, double, joined

from . import net
from .data import Given

CHUNKS = 16
ROOM = 48


def single(first: torch.Tensor) -> torch.Tensor:
    """<s> text </s> for padded pieces, the width a multiple of eight."""
    n, width = first.shape
    made = first.new_full((n, (width + 2 + 7) // 8 * 8), PAD)
    made[:, 0] = BOS
    made[:, 1 : width + 1] = first
    made[torch.arange(n, device=first.device), (first != PAD).sum(1) + 1] = EOS
    return made


def together(model: net.Net, parts: list[torch.Tensor], groups: int) -> list[torch.Tensor]:
    """The embeddings of several padded batches in ``groups`` passes, of like length each: passes cost time by their
    number as much as by their tokens."""
    wide = max(part.shape[1] for part in parts)
    whole = torch.cat([F.pad(part, (0, wide - part.shape[1]), value=PAD) for part in parts])
    lengths = (whole != PAD).sum(1)
    order = torch.argsort(lengths)
    shares = {1: (), 2: (0.72,), 3: (0.55, 0.88)}[groups]
    cuts = [0, *(int(len(order) * share) for share in shares), len(order)]
    made = []
    for first, last in itertools.pairwise(cuts):
        rows = order[first:last]
        made.append(model(single(whole[rows, : int(lengths[rows[-1]])])))
    return list(torch.cat(made)[torch.argsort(order)].split([len(part) for part in parts]))


class Drawn:
    """The texts and pairs of a step."""

    def __init__(self, given: Given, asked: dict[str, Any], seed: int) -> None:
        self.given, self.asked = given, asked
        self.rng = np.random.default_rng(seed)
        self.lengths = given.texts.lengths.cpu().numpy()
        self.cumulated = np.cumsum(given.odds)
        self.queue: list[Any] = []
        kinds = given.pairs["kind"].cpu().numpy()
        shares = np.array([0.36, 0.22, 0.16, 0.16, 0.06, 0.04])
        counts = np.bincount(kinds, minlength=len(shares))
        odds = (shares / np.maximum(counts, 1))[kinds]
        self.pair_odds = np.cumsum(odds / odds.sum())
        self.texts_first = given.pairs["first"][:, 0] >= 0

    def rows(self) -> torch.Tensor:
        """Texts of like length."""
        if not self.queue:
            count = self.asked["texts_a_step"] * CHUNKS
            rows = np.searchsorted(self.cumulated, self.rng.random(count)).clip(max=len(self.lengths) - 1)
            order = np.argsort(np.minimum(self.lengths[rows], self.asked["tokens"]) // 12 + self.rng.random(count))
            parts = rows[order].reshape(CHUNKS, -1)
            self.queue = [parts[place] for place in self.rng.permutation(CHUNKS)]
        return torch.from_numpy(self.queue.pop()).to(self.given.where)

    def matching(self, rows: torch.Tensor) -> torch.Tensor:
        """For each text a hypothesis that it bears out."""
        given, judge = self.given, self.given.judge
        columns = judge.columns[rows].float().nan_to_num(0)
        columns = torch.where(columns >= 0.5, columns, 0) + 1e-6
        wide = len(given.goods.departments)
        columns[:, given.none - wide : given.none] *= 0.02  # the shelf without a name has few hypotheses of its own
        columns[:, :wide] *= 1.5
        chosen = given.by_concept(torch.multinomial(columns, 1).squeeze(1))
        for numbers, narrow, share in (
            (judge.listed[rows], given.by_group, 0.15),
            (judge.items[rows, 0], given.by_item, 0.3),
        ):
            one = narrow(numbers.clamp(min=0))
            fits = (numbers >= 0) & (one >= 0) & (judge(rows, one.clamp(min=0)) >= 0.5)
            chosen = torch.where(fits & (torch.rand(len(rows), device=rows.device) < share), one, chosen)
        return torch.where(chosen < 0, given.mostly[0], chosen)

    def read(self, rows: torch.Tensor) -> torch.Tensor:
        """The texts' pieces, with words of goods hidden here and there, and generic texts beside some."""
        given, asked, where = self.given, self.asked, rows.device
        tokens, _ = given.texts.batch(rows, asked["tokens"])
        goods_here, _ = given.shown.batch(rows, asked["tokens"])
        short = given.texts.lengths[rows] < 8
        share = torch.where(given.texts.lengths[rows] < 14, 0.05, asked["hidden"]).unsqueeze(1)
        share = torch.where(given.spelled[rows].unsqueeze(1), 0, share)
        hide = (goods_here == 1) & (tokens != PAD) & (torch.rand(len(rows), 1, device=where) < share)
        tokens = torch.where(hide, given.mask, tokens)
        if tokens.shape[1] > asked["tokens"] // 2:
            return tokens
        speaks = given.judge.columns[rows, given.none] == 0
        beside = speaks & (torch.rand(len(rows), device=where) < torch.where(short, 0.5, asked["joined"]))
        other = given.texts.batch(given.generic[torch.randint(len(given.generic), (len(rows),), device=where)], 24)[0]
        return joined(tokens, torch.where(beside.unsqueeze(1), other, PAD), torch.rand(len(rows), device=where) < 0.5)

    def pairs(self, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """(strings, texts, names, which names are negatives for which of the strings and texts)."""
        given = self.given
        rows = np.searchsorted(self.pair_odds, self.rng.random(count)).clip(max=len(self.pair_odds) - 1)
        chosen = torch.from_numpy(rows).to(given.where)
        chosen = chosen[torch.argsort(self.texts_first[chosen].int(), stable=True)]
        first, second, near = (given.pairs[name][chosen] for name in ("first", "second", "near"))
        cut = int((first[:, 0] < 0).sum())
        same = (second.unsqueeze(1) == second.unsqueeze(0)) | (near.unsqueeze(1) == second[None, :, None]).any(-1)
        own = torch.eye(count, dtype=torch.bool, device=given.where)
        return first[:cut, 1], first[cut:, 0], second, ~same | own


def symmetric(first: torch.Tensor, second: torch.Tensor, kept: torch.Tensor, temperature: float) -> torch.Tensor:
    """Cross-entropy both ways of each text; pairs that are not ``kept`` are left out. [texts]"""
    n = len(first)
    table = (first @ second.T / temperature).masked_fill(~kept, -30)
    order = torch.arange(n, device=first.device)
    return F.cross_entropy(table, order, reduction="none") + F.cross_entropy(table[:, :n].T, order, reduction="none")


def run(
    given: Given, model: net.Net, asked: dict[str, Any], *, seed: int, title: str,
    head: nn.Module | None = None, teacher: dict[str, torch.Tensor] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Train ``model``; with a ``head`` also on entailment; with a ``teacher``'s embeddings also on its scores."""
    drawn, where, judge = Drawn(given, asked, seed), given.where, given.judge
    torch.manual_seed(seed)
    temperature = asked["temperature"]

    def loss(step: int) -> Iterator[tuple[torch.Tensor, dict[str, torch.Tensor]]]:
        rows = drawn.rows()
        n = len(rows)
        near = torch.cat([drawn.matching(rows), torch.randint(len(given.found), (asked["others"],), device=where)])
        strings, texts, names, kept = drawn.pairs(asked["pairs_a_step"])
        parts = [drawn.read(rows), given.texts.batch(texts, 64)[0], given.forms.batch(near, ROOM)[0],
                 given.strings.batch(strings, 40)[0], given.strings.batch(names, ROOM)[0]]  # fmt: skip
        text, said, name, strung, named = together(model, parts, 3)
        label = judge(rows.unsqueeze(1), near.unsqueeze(0))
        own = torch.eye(n, len(near), dtype=torch.bool, device=where)
        sure = torch.where(label.diagonal() >= 0.6, label.diagonal(), 0)
        contrast = symmetric(text, name, own | (label < 0.05), temperature)
        right = (
            (text @ name.T).masked_fill(~(own | (label < 0.05)), -9).argmax(1) == torch.arange(n, device=where)
        ).float()
        contrast = (contrast * sure).sum() / sure.sum().clamp(min=1)
        total = asked["contrast_weight"] * contrast
        figures = {"contrast": contrast.detach(), "right": (right * sure).sum() / sure.sum().clamp(min=1)}
        if teacher is not None:
            wanted = (teacher["texts"][rows].float() @ teacher["forms"][near].float().T) / temperature
            scores = text @ name.T / temperature
            taught = F.kl_div(scores.log_softmax(1), wanted.softmax(1), reduction="batchmean")
            taught = taught + F.kl_div(scores.T.log_softmax(1), wanted.T.softmax(1), reduction="batchmean")
            total = total + asked["teacher_weight"] * taught
            figures["taught"] = taught.detach()
        pairs = symmetric(torch.cat([strung, said]), named, kept, temperature).mean()
        figures["pairs"] = pairs.detach()
        yield total + asked["pairs_weight"] * pairs, figures

        if head is not None:
            rows = drawn.rows()[: asked["entailed_texts"]]
            k = asked["categories"]
            picked = torch.cat(
                [
                    drawn.matching(rows).unsqueeze(1),
                    given.mostly[torch.randint(len(given.mostly), (len(rows), 1), device=where)],
                    torch.randint(len(given.found), (len(rows), k - 2), device=where),
                ],
                1,
            )
            goal = judge(rows.unsqueeze(1), picked)
            known, goal = ~goal.isnan(), goal.nan_to_num(0)
            both = double(
                drawn.read(rows)[:, : asked["tokens"]].repeat_interleave(k, 0),
                given.forms.batch(picked.flatten(), ROOM)[0],
            )
            logits = head(model.states(both)[:, 0]).float()
            score = (logits[:, 1] - logits[:, 0]).view(-1, k)
            single_loss = (
                F.binary_cross_entropy_with_logits(score, goal, reduction="none") * known
            ).sum() / known.sum()
            mass = goal.sum(1, keepdim=True)
            spread = score.masked_fill(~known, -30).log_softmax(1)
            chosen = (mass.squeeze(1) > 0.5) & known[:, 0]
            which = (-(goal / mass.clamp(min=0.5) * spread).sum(1) * chosen).sum() / chosen.sum().clamp(min=1)
            yield single_loss + which, {"yes_no": single_loss.detach(), "which": which.detach()}

    return net.train(
        [model] if head is None else [model, head], loss, title=title,
        **{name: asked[name] for name in ("steps", "rate", "warmup", "weight_decay", "minutes")},
    )  # fmt: skip


@torch.inference_mode()
def embedded(model: net.Net, texts: Any, rows: torch.Tensor, *, longest: int = 128, batch: int = 1024) -> torch.Tensor:
    """The embeddings of rows of texts, 16 bits."""
    order = torch.argsort(texts.lengths[rows])
    found: torch.Tensor | None = None
    for part in order.split(batch):
        made = model(single(texts.batch(rows[part], longest)[0])).half()
        if found is None:
            found = torch.zeros(len(rows), made.shape[1], dtype=torch.half, device=made.device)
        found[part] = made
    assert found is not None
    return found


class Head(nn.Module):
    """XLM-RoBERTa's classification head on the first state."""

    def __init__(self, weights: dict[str, Any]) -> None:
        super().__init__()
        width = weights["dense.weight"].shape[0]
        self.dense, self.out_proj = nn.Linear(width, width), nn.Linear(width, 2)
        self.load_state_dict({name: torch.as_tensor(np.asarray(value)).float() for name, value in weights.items()})

    def forward(self, first: torch.Tensor) -> torch.Tensor:
        """[n, width] → [n, 2]."""
        return self.out_proj(torch.tanh(self.dense(first)))
