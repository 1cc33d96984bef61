"""What was learned, on reviews and names that no training phase saw, beside the untrained model and word vectors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .encoder import Heads, Texts, build, device, double, load_arrays, mask_words, pooled, single, states
from .prepare import NAME_HELD_OUT, REVIEW_HELD_OUT, UNKNOWN

TEMPLATE = "Этот отзыв о товаре: {}."
CANDIDATES, ROWS = 20, 600


def run(config: dict[str, Any], out: Path) -> dict[str, Any]:
    """Masked-word accuracy, and which of twenty names a review belongs to; for ``measure.json``."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    where, arrays = device(), load_arrays(out)
    names = json.loads((out / "names.json").read_text(encoding="utf-8"))
    tokenizer = AutoTokenizer.from_pretrained(out / "checkpoint")
    trained = (
        AutoModelForSequenceClassification.from_pretrained(out / "checkpoint", dtype=torch.float32).eval().to(where)
    )
    fresh = build(config, arrays["pieces"]).eval().to(where)
    heads = Heads(config["encoder"]["width"], arrays["pieces"], arrays["words"]["vectors"].shape[1])
    untaught = Heads(config["encoder"]["width"], arrays["pieces"], arrays["words"]["vectors"].shape[1]).eval().to(where)
    heads.load_state_dict(
        {name: value.float() for name, value in torch.load(out / "heads.pt", weights_only=True).items()}
    )
    heads = heads.eval().to(where)
    texts = Texts(
        *(torch.from_numpy(arrays["texts"][name].astype(np.int32)).to(where) for name in ("pieces", "starts"))
    )
    rng = np.random.default_rng(config["seed"])

    figures: dict[str, Any] = {"masked_words": {}, "one_of_twenty": {}}
    rows = rng.permutation(np.flatnonzero((arrays["split"] == REVIEW_HELD_OUT) & (arrays["source"] < 2)))[:2000]
    for title, model, head in (("trained", trained, heads), ("untrained", fresh, untaught)):
        figures["masked_words"][title] = _masked(
            model, head, texts, torch.from_numpy(rows).to(where), arrays, config["seed"]
        )
    figures["masked_words"]["pieces_asked"] = figures["masked_words"]["trained"].pop("pieces")
    figures["masked_words"]["untrained"].pop("pieces")

    heard = np.where(arrays["labels"] == UNKNOWN, 0, arrays["labels"])
    listing = arrays["listing"].astype(int)
    own = np.array([[*row["departments"], 0][0] for row in names])
    speaks = (listing >= 0) & (heard[np.arange(len(listing)), own[listing]] >= 50)
    for title, split in (("held_out_reviews", REVIEW_HELD_OUT), ("held_out_names", NAME_HELD_OUT)):
        for part, kept in (("all", listing >= 0), ("that_speak_of_the_product", speaks)):
            rows = rng.permutation(np.flatnonzero((arrays["split"] == split) & kept))[:ROWS]
            figures["one_of_twenty"][f"{title}_{part}"] = _matching(
                rows, listing, names, trained, fresh, texts, tokenizer, arrays, out, rng
            )
    figures["category_names"] = _categories(config, trained, fresh, texts, tokenizer, arrays, rng)
    return figures


@torch.inference_mode()
def _masked(
    model: Any, head: Any, texts: Texts, rows: torch.Tensor, arrays: dict[str, Any], seed: int
) -> dict[str, float]:
    torch.manual_seed(seed)
    begins, right, asked, loss = torch.from_numpy(arrays["begins"]).to(rows.device), 0, 0, 0.0
    for part in rows[torch.argsort(texts.lengths[rows])].split(100):
        tokens = single(texts.batch(part, 200)[0])
        hidden, chosen = mask_words(tokens, begins, 0.15, arrays["mask"], arrays["pieces"])
        hidden = torch.where(chosen, arrays["mask"], tokens)
        scores, truth = (
            head(states(model, hidden)[chosen], model.roberta.embeddings.word_embeddings.weight),
            tokens[chosen],
        )
        right += int((scores.argmax(-1) == truth).sum())
        loss += float(torch.nn.functional.cross_entropy(scores, truth, reduction="sum"))
        asked += len(truth)
    return {"accuracy": round(right / asked, 4), "loss": round(loss / asked, 3), "pieces": asked}


@torch.inference_mode()
def _matching(
    rows: Any,
    listing: Any,
    names: list[dict[str, Any]],
    trained: Any,
    fresh: Any,
    texts: Texts,
    tokenizer: Any,
    arrays: dict[str, Any],
    out: Path,
    rng: Any,
) -> dict[str, Any]:
    """Each review with its own name first and nineteen names of other head words."""
    from sklearn.metrics import roc_auc_score

    where = texts.pieces.device
    shown = [place for place, row in enumerate(names) if row["general"]]
    heads = np.array([row["head"] for row in names])
    table = np.array(
        [
            [
                listing[row],
                *rng.choice([n for n in shown if heads[n] != heads[listing[row]]], CANDIDATES - 1, replace=False),
            ]
            for row in rows
            if names[listing[row]]["general"]
        ]
    )
    rows = np.array([row for row in rows if names[listing[row]]["general"]])
    coded = tokenizer([(row["general"] or [""])[0] for row in names], add_special_tokens=False)["input_ids"]
    asked = tokenizer([TEMPLATE.format((row["general"] or [""])[0]) for row in names], add_special_tokens=False)[
        "input_ids"
    ]
    bare, full = (
        Texts(
            torch.tensor([p for row in lists for p in row], device=where),
            torch.tensor(np.cumsum([0] + [len(r) for r in lists]), device=where),
        )
        for lists in (coded, asked)
    )
    device_rows, device_table = torch.from_numpy(rows).to(where), torch.from_numpy(table).to(where)

    def cosines(model: Any) -> Any:
        first = torch.cat(
            [
                pooled(states(model, t), t)
                for part in device_rows.split(100)
                for t in [single(texts.batch(part, 200)[0])]
            ]
        )
        every = torch.arange(len(names), device=where)
        second = torch.cat(
            [pooled(states(model, t), t) for part in every.split(100) for t in [single(bare.batch(part, 60)[0])]]
        )
        return (first.unsqueeze(1) * second[device_table]).sum(-1).cpu().numpy()

    def entailed(model: Any) -> Any:
        result = []
        for part, candidates in zip(device_rows.split(20), device_table.split(20), strict=True):
            first = texts.batch(part, 200)[0].repeat_interleave(CANDIDATES, 0)
            logits = model.classifier(states(model, double(first, full.batch(candidates.flatten(), 60)[0])))
            result.append((logits[:, 1] - logits[:, 0]).view(-1, CANDIDATES))
        return torch.cat(result).cpu().numpy()

    scores = {
        "entailment": entailed(trained),
        "embedding": cosines(trained),
        "word_vectors": _static(rows, table, names, texts, tokenizer, arrays, out),
        "untrained_entailment": entailed(fresh),
        "untrained_embedding": cosines(fresh),
    }
    truth = np.zeros(table.shape)
    truth[:, 0] = 1
    ties = np.random.default_rng(0)
    return {
        "reviews": len(rows),
        **{
            name: {
                "accuracy": round(float(((value + ties.random(value.shape) * 1e-6).argmax(1) == 0).mean()), 4),
                "auc": round(float(roc_auc_score(truth.ravel(), value.ravel())), 4),
            }
            for name, value in scores.items()
        },
    }


def _static(
    rows: Any, table: Any, names: list[dict[str, Any]], texts: Texts, tokenizer: Any, arrays: dict[str, Any], out: Path
) -> Any:
    """Cosine of mean navec vectors."""
    from . import goods as shop

    order = {word: place for place, word in enumerate((out / "words.txt").read_text(encoding="utf-8").split("\n"))}
    vectors = arrays["words"]["vectors"].astype(np.float32)

    def mean(text: str) -> Any:
        places = [order[word] for word in shop.WORD.findall(text.lower()) if word in order]
        total = vectors[places].sum(0) if places else np.zeros(vectors.shape[1], np.float32)
        return total / (np.linalg.norm(total) + 1e-6)

    flat, starts = texts.pieces.cpu().numpy(), texts.starts.cpu().numpy()
    read = np.array([mean(tokenizer.decode(flat[starts[row] : starts[row + 1]].tolist())) for row in rows])
    named = np.array([mean((row["general"] or [""])[0]) for row in names])
    return (read[:, None] * named[table]).sum(-1)


@torch.inference_mode()
def _categories(
    config: dict[str, Any], trained: Any, fresh: Any, texts: Texts, tokenizer: Any, arrays: dict[str, Any], rng: Any
) -> dict[str, Any]:
    """Which department a held-out review speaks of, each named by the name that was kept out of training."""
    from . import goods as shop
    from .forms import held_out_names

    goods, where = shop.load(index=False), texts.pieces.device
    away = held_out_names(goods, config["seed"])
    names = [next(name for name in table["names"] if name in away) for table in goods.departments]
    heard = arrays["labels"][:, : len(names)]
    kept = np.isin(arrays["split"], (REVIEW_HELD_OUT, NAME_HELD_OUT)) & (arrays["source"] < 2)
    sure = ((heard == 100).sum(1) == 1) & (heard != UNKNOWN).all(1) & kept
    rows, truth = rng.permutation(np.flatnonzero(sure)), heard.argmax(1)
    asked = [row for department in range(len(names)) for row in rows[truth[rows] == department][:20]]
    coded = tokenizer([TEMPLATE.format(name) for name in names], add_special_tokens=False)["input_ids"]
    starts = torch.tensor(np.cumsum([0] + [len(row) for row in coded]), device=where)
    forms = Texts(torch.tensor([piece for row in coded for piece in row], device=where), starts)
    result: dict[str, Any] = {"reviews": len(asked), "departments": len(names)}
    for title, model in (("entailment", trained), ("untrained_entailment", fresh)):
        right = 0
        for part in torch.tensor(asked, device=where).split(10):
            first = texts.batch(part, 200)[0].repeat_interleave(len(names), 0)
            second = forms.batch(torch.arange(len(names), device=where).repeat(len(part)), 50)[0]
            logits = model.classifier(states(model, double(first, second)))
            guess = (logits[:, 1] - logits[:, 0]).view(-1, len(names)).argmax(1).cpu().numpy()
            right += int((guess == truth[part.cpu().numpy()]).sum())
        result[title] = round(right / len(asked), 4)
    return result
