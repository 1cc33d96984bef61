"""``python -m recipes.goods.evaluate NAME=ENCODER [...] --bed FOLDER --data FOLDER [--out FILE]``

Each encoder, a checkpoint's folder or a ``.npz`` of the training, alone: every review costs one pass. The nearest
category by «name: description» on the test bed by kind of review, weighted F1 on the development sets, and a linear
head on the frozen embeddings in five folds. The bed is what to choose by; the development sets confirm.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tsirius import categories
from tsirius.language.clean import normalise

Embed = Callable[[Sequence[str]], Any]


def main() -> None:
    """Read the arguments, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoders", nargs="+", metavar="NAME=ENCODER")
    parser.add_argument("--bed", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="the folder with demo, wb9 and case")
    parser.add_argument("--tokenizer", type=Path, help="of .npz files of the large encoder")
    parser.add_argument("--mini", type=Path, default=Path("src/tsirius/assets/tsirius-mini"))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--heads", action="store_true", help="linear heads too")
    parser.add_argument("--scores", type=Path, help="a folder for the embeddings, to look at other ways of scoring")
    arguments = parser.parse_args()
    sets = load(arguments.bed, arguments.data)
    found = {}
    for one in arguments.encoders:
        name, _, where = one.partition("=")
        embed = encoder(Path(where), arguments.tokenizer, arguments.mini)
        found[name] = measure(embed, sets, heads=arguments.heads, keep=arguments.scores and arguments.scores / name)
        print(name, json.dumps(found[name], ensure_ascii=False), flush=True)
    if arguments.out:
        arguments.out.write_text(json.dumps(found, ensure_ascii=False, indent=1), encoding="utf-8")


def load(bed: Path, data: Path) -> dict[str, Any]:
    """Set → (texts, answers, kinds of review or None, categories)."""
    found: dict[str, Any] = {}
    for name, file, named in (("bed", "bed.csv", "categories.toml"), ("bed_en", "bed_en.csv", "categories_en.toml")):
        table = pl.read_csv(bed / file)
        found[name] = (
            table["text"].to_list(),
            table["category"].to_list(),
            table["kind"].to_list(),
            categories.load(bed / named),
        )
    table = pl.read_csv(data / "demo" / "reviews.csv")
    found["demo"] = (
        table["text"].to_list(),
        table["category"].to_list(),
        None,
        categories.load(data / "demo/categories.toml"),
    )
    for name in ("wb9", "case"):
        gold = pl.read_csv(data / name / "gold_dev.csv", schema_overrides={"id": pl.String})
        table = gold.join(pl.read_csv(data / name / "test.csv", schema_overrides={"id": pl.String}), on="id")
        found[name] = (
            table["text"].to_list(),
            table["category"].to_list(),
            None,
            categories.load(data / name / "categories.toml"),
        )
    return {name: ([normalise(text) for text in texts], *rest) for name, (texts, *rest) in found.items()}


def encoder(where: Path, tokenizer: Path | None, mini: Path) -> Embed:
    """Texts → embeddings, on the CPU."""
    import torch
    from tokenizers import Tokenizer

    from . import net
    from .learn import single

    if where.is_dir() and (where / "model.onnx").exists():
        from .export import session

        return session(where)
    if where.is_dir():
        from tsirius.models import encode

        return encode.embedder(str(where), max_length=256)
    weights = net.load(where)
    weights = {name: value for name, value in weights.items() if not name.startswith("classifier.")}
    large = weights["embeddings.word_embeddings.weight"].shape[1] == 384
    model = net.Net(weights, heads=12 if large else 4, first=0 if large else 2, eps=1e-12).eval()
    words = Tokenizer.from_file(str(tokenizer if large else mini / "tokenizer.json"))
    words.enable_truncation(200)

    def embed(texts: Sequence[str]) -> Any:
        ids = [row.ids for row in words.encode_batch(list(texts), add_special_tokens=False)]
        found = np.zeros((len(ids), weights["embeddings.word_embeddings.weight"].shape[1]), np.float32)
        order = sorted(range(len(ids)), key=lambda row: len(ids[row]))
        with torch.inference_mode():
            for start in range(0, len(order), 32):
                part = order[start : start + 32]
                wide = max(1, *(len(ids[row]) for row in part))
                tokens = torch.tensor([ids[row] + [1] * (wide - len(ids[row])) for row in part])
                found[part] = model(single(tokens)).numpy()
        return found

    return embed


def described(kinds: Any) -> list[str]:
    """Each category as «name: description»."""
    return [": ".join(part for part in (kind.name, kind.description) if part) for kind in kinds]


def weighted_f1(truth: Sequence[int], said: Any) -> float:
    """Weighted F1."""
    from sklearn.metrics import f1_score

    return float(f1_score(truth, said, average="weighted", zero_division=0))


def measure(embed: Embed, sets: dict[str, Any], *, heads: bool, keep: Path | None) -> dict[str, Any]:
    """The figures of one encoder."""
    found: dict[str, Any] = {}
    for name, (texts, answers, sorts, kinds) in sets.items():
        made, anchors = embed(texts), embed(described(kinds))
        if keep:
            keep.mkdir(parents=True, exist_ok=True)
            np.savez(keep / f"{name}.npz", texts=made, anchors=anchors)
        place = {one: number for number, one in enumerate(kinds.names)}
        truth = np.array([place[answer] for answer in answers])
        said = (made @ anchors.T).argmax(1)
        row: dict[str, Any] = {
            "f1": round(weighted_f1(truth, said), 3),
            "accuracy": round(float((said == truth).mean()), 3),
        }
        if sorts:
            for sort in sorted(set(sorts)):
                rows = np.array([one == sort for one in sorts])
                row[sort] = round(float((said == truth)[rows].mean()), 3)
        if heads:
            row["head"] = round(head(made, truth), 3)
        found[name] = row
    return found


def head(made: Any, truth: Any) -> float:
    """Weighted F1 of logistic regression on the embeddings, five folds."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    return weighted_f1(truth, cross_val_predict(LogisticRegression(C=10, max_iter=500), made, truth, cv=folds))


if __name__ == "__main__":
    main()
