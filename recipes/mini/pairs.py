"""Which hypothesis a text bears out, and which product name lies near it.

Each step takes texts of like length. The entailment form sets each text against a handful of hypotheses (one that it
bears out, ones drawn at random, one of nothing) and asks twice: is this one borne out, and which of them is it. The
contrastive form pulls the mean-pooled text to the hypothesis that it bears out and away from the others' of the batch.
Words that name the goods are hidden in a part of the texts, or the model would learn to match words alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from . import forms as naming
from . import goods as shop
from .encoder import (
    PAD,
    Heads,
    Texts,
    build,
    device,
    double,
    joined,
    load_arrays,
    mask_words,
    pooled,
    save,
    single,
    states,
    train,
)
from .prepare import ASPECTS, LEARNED, UNKNOWN

FORMS = 60_000
CHUNKS = 24  # texts are drawn for this many steps at once and sorted by length


class Choice:
    """Drawing one of a numbered list's members; -1 where the list is empty."""

    def __init__(self, lists: list[list[int]], where: torch.device) -> None:
        self.sizes = torch.tensor([len(members) for members in lists], device=where)
        self.offsets = self.sizes.cumsum(0) - self.sizes
        self.pool = torch.tensor([member for members in lists for member in members] + [-1], device=where)

    def __call__(self, numbers: torch.Tensor) -> torch.Tensor:
        """Numbers of lists → a member of each."""
        sizes = self.sizes[numbers]
        place = self.offsets[numbers] + (torch.rand(len(numbers), device=numbers.device) * sizes).long()
        return torch.where(sizes > 0, self.pool[place], -1)


class Judge:
    """The labels of texts against hypotheses, on the device.

    Attributes:
        columns: the label of a text for a concept, float in [0, 1], nan where unknown.
    """

    def __init__(self, arrays: dict[str, Any], found: list[naming.Form], where: torch.device) -> None:
        labels = arrays["labels"].astype(np.float32) / 100
        labels[arrays["labels"] == UNKNOWN] = np.nan
        self.columns = torch.from_numpy(labels.astype(np.float16)).to(where)
        concepts = np.array([[*form.concepts, *[form.concepts[0]] * (4 - len(form.concepts))] for form in found])
        self.concepts = torch.from_numpy(concepts).to(where)
        thing = [
            (-1, -1) if form.thing is None else (form.thing[1], -1) if form.thing[0] == "item" else (-1, form.thing[1])
            for form in found
        ]
        self.item, self.group = (torch.from_numpy(np.array(column)).to(where) for column in zip(*thing, strict=True))
        self.items = torch.from_numpy(arrays["items"].astype(np.int64)).to(where)
        listing = arrays["listing"].astype(np.int64)
        self.listed = torch.from_numpy(np.where(listing >= 0, arrays["group"].astype(np.int64)[listing], -2)).to(where)

    def __call__(self, texts: torch.Tensor, forms: torch.Tensor) -> torch.Tensor:
        """Rows of texts and of hypotheses (shapes that broadcast) → label in [0, 1], nan where unknown."""
        texts, forms = torch.broadcast_tensors(texts, forms)
        values = self.columns[texts.unsqueeze(-1), self.concepts[forms]].float()
        best = values.nan_to_num(-1).amax(-1)
        label = torch.where((best < 0.5) & values.isnan().any(-1), torch.nan, best)
        item, group = self.item[forms], self.group[forms]
        has = (self.items[texts] == item.unsqueeze(-1)).any(-1)
        same = self.listed[texts] == group
        narrow = torch.where(label < 0.05, label, torch.nan)  # of a neighbouring thing nothing is known
        label = torch.where(item >= 0, torch.where(has, label, narrow), label)
        return torch.where(group >= 0, torch.where(same, label, narrow), label)


def run(config: dict[str, Any], out: Path) -> dict[str, float]:
    """Train from ``pretrained.pt``; saves ``checkpoint/`` in the hub's layout."""
    from transformers import AutoTokenizer

    asked, where = config["pairs"], device()
    arrays = load_arrays(out)
    goods, names = shop.load(index=False), json.loads((out / "names.json").read_text(encoding="utf-8"))
    found = naming.draw(goods, names, arrays["group"], config["seed"], FORMS)
    tokenizer = AutoTokenizer.from_pretrained(out / "tokenizer")
    coded = tokenizer([form.text for form in found], add_special_tokens=False)["input_ids"]
    starts = np.cumsum([0] + [len(row) for row in coded])
    forms = Texts(
        torch.tensor([piece for row in coded for piece in row], device=where), torch.tensor(starts, device=where)
    )
    texts = Texts(
        *(torch.from_numpy(arrays["texts"][name].astype(np.int32)).to(where) for name in ("pieces", "starts"))
    )
    flags = np.unpackbits(arrays["texts"]["goods"], count=len(arrays["texts"]["pieces"]))
    shown = Texts(torch.from_numpy(flags).to(where), texts.starts)
    judge = Judge(arrays, found, where)

    model = build(config, arrays["pieces"])
    heads = Heads(config["encoder"]["width"], arrays["pieces"], arrays["words"]["vectors"].shape[1])
    trained = torch.load(out / "pretrained.pt", weights_only=True)
    model.load_state_dict({name: value.float() for name, value in trained["model"].items()})
    heads.load_state_dict({name: value.float() for name, value in trained["heads"].items()})
    model, heads = model.to(where), heads.to(where)
    begins = torch.from_numpy(arrays["begins"]).to(where)
    none = len(goods.departments) + len(goods.kinds)
    room = config["encoder"]["tokens"] - asked["tokens"] - 4  # pieces left for a hypothesis
    rng = np.random.default_rng(config["seed"])
    torch.manual_seed(config["seed"])

    odds = chances(arrays, len(goods.departments), none)
    by_concept = Choice(
        [
            [place for place, form in enumerate(found) if concept in form.concepts and form.thing is None]
            for concept in range(none + 1 + len(ASPECTS))
        ],
        where,
    )
    by_item, by_group = (
        Choice(
            [[place for place, form in enumerate(found) if form.thing == (kind, number)] for number in range(count)],
            where,
        )
        for kind, count in (("item", int(judge.items.max()) + 1), ("group", int(arrays["group"].max()) + 1))
    )
    mostly = torch.tensor([place for place, form in enumerate(found) if none in form.concepts], device=where)
    generic = torch.from_numpy(
        np.flatnonzero((arrays["split"] == LEARNED) & (arrays["source"] < 2) & (arrays["labels"][:, none] == 100))
    ).to(where)
    lengths = texts.lengths.cpu().numpy()
    queue: list[Any] = []

    def drawn() -> torch.Tensor:
        if not queue:
            rows = rng.choice(len(odds), asked["texts_a_step"] * CHUNKS, p=odds)
            parts = rows[np.argsort(lengths[rows] + rng.random(len(rows)), kind="stable")].reshape(CHUNKS, -1)
            queue.extend(parts[place] for place in rng.permutation(CHUNKS))
        return torch.from_numpy(queue.pop()).to(where)

    def matching(rows: torch.Tensor) -> torch.Tensor:
        """For each text a hypothesis that it bears out."""
        columns = judge.columns[rows].float().nan_to_num(0)
        columns = torch.where(columns >= 0.5, columns, 0) + 1e-6
        concept = torch.multinomial(columns, 1).squeeze(1)
        chosen = by_concept(concept)
        for numbers, narrow in ((judge.listed[rows], by_group), (judge.items[rows, 0], by_item)):
            drawn_one = narrow(numbers.clamp(min=0))
            fits = (numbers >= 0) & (drawn_one >= 0) & (judge(rows, drawn_one.clamp(min=0)) >= 0.5)
            chosen = torch.where(fits & (torch.rand(len(rows), device=where) < 0.2), drawn_one, chosen)
        return chosen

    def read(rows: torch.Tensor) -> torch.Tensor:
        tokens, _ = texts.batch(rows, asked["tokens"])
        goods_here, _ = shown.batch(rows, asked["tokens"])
        hide = (goods_here == 1) & (tokens != PAD) & (torch.rand(len(rows), 1, device=where) < asked["hidden"])
        tokens = torch.where(hide, arrays["mask"], tokens)
        if tokens.shape[1] > asked["tokens"] // 2:
            return tokens
        speaks = (judge.columns[rows, none] == 0) & (torch.rand(len(rows), device=where) < asked["joined"])
        other = texts.batch(generic[torch.randint(len(generic), (len(rows),), device=where)], 40)[0]
        return joined(tokens, torch.where(speaks.unsqueeze(1), other, PAD), torch.rand(len(rows), device=where) < 0.5)

    def loss(step: int) -> Iterator[tuple[torch.Tensor, dict[str, torch.Tensor]]]:
        rows = drawn()
        n, k = len(rows), asked["categories"]
        picked = torch.cat(
            [
                matching(rows).unsqueeze(1),
                mostly[torch.randint(len(mostly), (n, 1), device=where)],
                torch.randint(len(found), (n, k - 2), device=where),
            ],
            1,
        )
        target = judge(rows.unsqueeze(1), picked)
        known = ~target.isnan()
        tokens = read(rows)
        with torch.autocast(where.type, torch.bfloat16, enabled=where.type == "cuda"):
            both = double(tokens.repeat_interleave(k, 0), forms.batch(picked.flatten(), room)[0])
            logits = model.classifier(states(model, both)).float()
        score = (logits[:, 1] - logits[:, 0]).view(n, k)
        goal = target.nan_to_num(0)
        single_loss = (
            nn.functional.binary_cross_entropy_with_logits(score, goal, reduction="none") * known
        ).sum() / known.sum()
        mass = goal.sum(1, keepdim=True)
        spread = score.masked_fill(~known, -30).log_softmax(1)
        chosen = (mass.squeeze(1) > 0.5) & known[:, 0]
        list_loss = (-(goal / mass.clamp(min=0.5) * spread).sum(1) * chosen).sum() / chosen.sum().clamp(min=1)
        right = (
            (spread.argmax(1, keepdim=True) == goal.argmax(1, keepdim=True)).squeeze(1) & chosen
        ).sum() / chosen.sum().clamp(min=1)
        yield single_loss + list_loss, {}

        rows = drawn()
        near = matching(rows)
        tokens = read(rows)
        hidden, masked = mask_words(single(tokens), begins, 0.15, arrays["mask"], arrays["pieces"])
        with torch.autocast(where.type, torch.bfloat16, enabled=where.type == "cuda"):
            body = single(tokens)
            text = pooled(states(model, body), body)
            name_tokens = single(forms.batch(near, room)[0])
            name = pooled(states(model, name_tokens), name_tokens)
            scores = heads(states(model, hidden)[masked], model.roberta.embeddings.word_embeddings.weight)
        label = judge(rows.unsqueeze(1), near.unsqueeze(0))
        own = torch.eye(len(rows), dtype=torch.bool, device=where)
        table = (text @ name.T / asked["temperature"]).masked_fill(~(own | (label < 0.05)), -30)
        order = torch.arange(len(rows), device=where)
        sure = (label.diagonal() >= 0.5).float()
        both_ways = nn.functional.cross_entropy(table, order, reduction="none") + nn.functional.cross_entropy(
            table.T, order, reduction="none"
        )
        contrast = (both_ways * sure).sum() / sure.sum().clamp(min=1)
        words = nn.functional.cross_entropy(scores.float(), single(tokens)[masked])
        yield (
            asked["contrast_weight"] * contrast + asked["mask_weight"] * words,
            {
                "yes_no": single_loss.detach(),
                "which": list_loss.detach(),
                "right": right,
                "contrast": contrast.detach(),
                "words": words.detach(),
            },
        )

    figures = train(
        [model, heads],
        loss,
        title="pairs",
        **{name: asked[name] for name in ("steps", "rate", "warmup", "weight_decay", "minutes")},
    )
    save(model, out / "checkpoint", out / "tokenizer")
    torch.save({name: value.half().cpu() for name, value in heads.state_dict().items()}, out / "heads.pt")
    return figures


def chances(arrays: dict[str, Any], departments: int, none: int) -> Any:
    """How often each text is drawn: departments by the square root of size, a third generic, a little dialogue."""
    labels, source = arrays["labels"], arrays["source"]
    usable = np.where(labels == UNKNOWN, 0, labels)
    own = usable[:, :departments].argmax(1)
    odds = np.zeros(len(labels))
    speaks = (arrays["split"] == LEARNED) & (usable[:, :departments].max(1) >= 50)
    for department in range(departments):
        rows = speaks & (own == department)
        odds[rows] = max(rows.sum(), 1) ** -0.5
    odds /= odds.sum()
    generic = (arrays["split"] == LEARNED) & (labels[:, none] == 100)
    for rows, share in ((generic & (source < 3), 0.33), (generic & (source == 3), 0.05)):
        odds[rows] = share / max(rows.sum(), 1)
    return odds / odds.sum()
