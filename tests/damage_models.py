"""Model folders that are damaged, each by its seed: what has to be refused in one line, or read as if nothing was.

:func:`damaged` writes such a folder, :func:`outcome` reads it as the product does and says who refused it. Anything
but a :class:`UserError` with a place and a remedy is a fault, and comes out of :func:`outcome` as it is.
"""

from __future__ import annotations

import atexit
import json
import random
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import tiny

from tsirius.errors import UserError

CHECK, LOAD, READ = "refused by check", "refused when it is read", "read"
"""What is expected: that ``tsirius check`` refuses it, that reading it does, or that it is read."""

ENCODER, PICKLED, SHARDED, NLI, RERANKER, WRITER = "encoder", "pickled", "sharded", "nli", "reranker", "writer"
LINEAR, ADAPTER, MERGED, ENSEMBLE, ONNX = "linear", "adapter", "merged", "ensemble", "onnx"
TRANSFORMERS, TRAINED = (ENCODER, PICKLED, SHARDED, NLI, RERANKER, WRITER), (LINEAR, ADAPTER, MERGED, ENSEMBLE, ONNX)
NAMES = ["посуда", "обувь", "нет товара"]
TEXTS = ["Кружка пришла со сколом", "Туфли натирают", "Спасибо!"]
MARK = "executed.txt"
"""A file beside a damaged folder that code in it would write."""

Harm = Callable[[Path, random.Random], None]


# ---------------------------------------------------------------------------------------------- whole models


@cache
def whole(kind: str) -> Path:
    """The folder of a whole model, made once in a process."""
    root = _root()
    path = root / kind
    made = {ENCODER: tiny.build, RERANKER: tiny.build_reranker, WRITER: tiny.build_t5}
    if kind in made:
        return made[kind](path)
    if kind == NLI:
        return tiny.build_nli(path, encoder=whole(ENCODER), labels=["contradiction", "neutral", "entailment"])
    if kind in (PICKLED, SHARDED):
        return _other_weights(path, kind)
    path.mkdir()
    if kind == LINEAR:
        _linear(path)
    elif kind == ENSEMBLE:
        for name in ("first", "second"):
            shutil.copytree(whole(LINEAR), path / "members" / name)
        _describe(path, "ensemble", parts=["members/first", "members/second"])
    elif kind == ONNX:
        from tsirius.models import load, onnx

        onnx.write(load.read(load.CLASSIFIER, str(whole(MERGED))), load.tokenizer(str(whole(MERGED))), path, int8=False)
        _describe(path, "onnx", max_length=32)
    else:
        _fine_tuned(path, kind)
    return path


@cache
def _root() -> Path:
    root = Path(tempfile.mkdtemp(prefix="models"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    return root


def _other_weights(path: Path, kind: str) -> Path:
    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(whole(ENCODER), path)
    weights = load_file(path / "model.safetensors")
    (path / "model.safetensors").unlink()
    if kind == PICKLED:
        torch.save(weights, path / "pytorch_model.bin")
        return path
    names = sorted(weights)
    parts = {f"model-0000{n + 1}-of-00002.safetensors": names[n::2] for n in range(2)}
    for file, own in parts.items():
        save_file({name: weights[name].contiguous() for name in own}, path / file, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": {name: file for file, own in parts.items() for name in own}}
    _write(path / "model.safetensors.index.json", index)
    return path


def _linear(path: Path) -> None:
    from tsirius.models import linear

    linear.fit(["чашка", "тапки"], [0, 1], weights=None, categories=3, c=1.0, rounds=50, embed=None).save(path)
    _describe(path, "linear")


def _fine_tuned(path: Path, kind: str) -> None:
    import torch

    from tsirius.models import adapters, hub, saved_encoder

    torch.manual_seed(0)
    base = str(whole(ENCODER))
    made = adapters.build(base, names=NAMES, method="lora", r=4, alpha=8, dropout=0.0, classifier_dropout=0.0,
                          gradient_checkpointing=False)  # fmt: skip
    folder = _root() / f"{kind} in the making"
    saved_encoder.save(made, folder, method="lora", base_model=base, names=NAMES, merged=True)
    shutil.copytree(folder / kind, path, dirs_exist_ok=True)
    _describe(path, "lora", base_model=base, base_fingerprint=hub.fingerprint(base), max_length=32)


def _describe(path: Path, kind: Any, **more: Any) -> None:
    from tsirius.models.classifier import Description

    empty: dict[str, Any] = {"base_model": None, "base_fingerprint": None, "max_length": None, "parts": []}
    Description(kind=kind, names=NAMES, none=NAMES[-1], prior=None, prior_shift=[0.0] * 3, **{**empty, **more}).save(
        path
    )


# ---------------------------------------------------------------------------------------------- damage to files


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def _cut(path: Path, rng: random.Random) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: rng.randrange(1, max(2, len(data) * 9 // 10))])


def _cut_a_byte(path: Path, rng: random.Random) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _noise(path: Path, rng: random.Random) -> None:
    path.write_bytes(b"\xff" + rng.randbytes(rng.randrange(20, 3000)))


def _gone(path: Path, rng: random.Random) -> None:
    path.unlink()


def _a_folder(path: Path, rng: random.Random) -> None:
    path.unlink()
    path.mkdir()


def _text(text: str) -> Harm:
    return lambda path, rng: path.write_text(text, encoding="utf-8") and None


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
FILES: dict[str, Harm] = {
    "empty": _text(""),
    "a pointer of Git LFS": _text(POINTER),
    "a web page": _text("<!DOCTYPE html><html><body>404</body></html>"),
    "noise": _noise,
    "gone": _gone,
    "a folder": _a_folder,
    "cut off": _cut,
}
"""What befalls any file."""
JSONS: dict[str, Harm] = {
    "a list": _text("[]"),
    "a number": _text("7"),
    "null": _text("null"),
    "an empty table": _text("{}"),
    "nested without end": _text("[" * 200_000),
    "nested deeply": _text('{"a":' * 300 + "1" + "}" * 300),
    "a huge number": _text('{"model_type": ' + "9" * 6000 + "}"),
    "in UTF-16": lambda path, rng: path.write_bytes(path.read_text(encoding="utf-8").encode("utf-16")) and None,
    "with a byte order mark": lambda path, rng: path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes()) and None,
    "two in one": lambda path, rng: path.write_bytes(path.read_bytes() * 2) and None,
    "too large": lambda path, rng: path.write_text(path.read_text(encoding="utf-8") + " " * (9 << 20)) and None,
}
"""What befalls a file of JSON besides."""
WEIGHTS: dict[str, Harm] = {
    "cut by a byte": _cut_a_byte,
    "with a huge header": lambda path, rng: path.write_bytes(b"\xff" * 7 + b"\x00" + path.read_bytes()[8:]) and None,
    "with a header of noise": lambda path, rng: path.write_bytes(
        path.read_bytes()[:8] + rng.randbytes(40) + path.read_bytes()[48:]) and None,
}  # fmt: skip
"""What befalls safetensors besides."""


def _file(name: str, harm: Harm) -> Harm:
    return lambda folder, rng: harm(folder / name, rng)


# ---------------------------------------------------------------------------------------------- damage to settings


def _set(name: str, **values: Any) -> Harm:
    """Settings of a JSON file; ``...`` takes one away."""

    def harm(folder: Path, rng: random.Random) -> None:
        said = json.loads((folder / name).read_text(encoding="utf-8"))
        said = {key: value for key, value in {**said, **values}.items() if value is not ...}
        _write(folder / name, said)

    return harm


def _tensors(
    change: Callable[[dict[str, Any], random.Random], dict[str, Any]], file: str = "model.safetensors"
) -> Harm:
    def harm(folder: Path, rng: random.Random) -> None:
        from safetensors.numpy import load_file, save_file

        held = change(load_file(folder / file), rng)
        held = {name: np.ascontiguousarray(array) for name, array in held.items()}
        save_file(held, folder / file, metadata={"format": "pt"})

    return harm


def _poisoned(value: float) -> Callable[[dict[str, Any], random.Random], dict[str, Any]]:
    def change(held: dict[str, Any], rng: random.Random) -> dict[str, Any]:
        wanted = sorted(name for name in held if re.search(r"layer|block|lora_B|coefficients", name))
        array = held[rng.choice(wanted)]
        array.flat[rng.randrange(array.size)] = value
        return held

    return change


def _without(held: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    name = rng.choice(sorted(name for name in held if re.search(r"layers?\.\d|block|lora_A|idf", name)))
    return {key: array for key, array in held.items() if key != name}


def _renamed(held: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    return {f"module.inner.{name}": array for name, array in held.items()}


def _other_shape(held: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    name = rng.choice(sorted(n for n in held if held[n].ndim == 2 and held[n].shape[0] != held[n].shape[1]))
    return held | {name: held[name].T}


def _nothing(held: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    return {}


def _one_more_layer(held: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    return held | {
        name.replace(".1.", ".2."): array for name, array in held.items() if re.search(r"layers?\.1\.", name)
    }


CODE = "from pathlib import Path\nPath({mark!r}).write_text('executed')\nclass Config: ...\nclass Model: ...\n"


def _code(name: str, **values: Any) -> Harm:
    """Settings that name code of the folder's own."""

    def harm(folder: Path, rng: random.Random) -> None:
        mark = str(folder.parent / f"{folder.name} {MARK}")
        (folder / "hostile.py").write_text(CODE.format(mark=mark), encoding="utf-8")
        _set(name, **values)(folder, rng)

    return harm


AUTO_MAP = {
    "AutoConfig": "hostile.Config", "AutoModel": "hostile.Model", "AutoTokenizer": ["hostile.Model", "hostile.Model"],
    "AutoModelForSequenceClassification": "hostile.Model", "AutoModelForCausalLM": "hostile.Model",
}  # fmt: skip


def _pickled_code(folder: Path, rng: random.Random) -> None:
    import torch

    torch.save({"weights": _Evil(str(folder.parent / f"{folder.name} {MARK}"))}, folder / "pytorch_model.bin")


class _Evil:
    def __init__(self, mark: str) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (Path.write_text, (Path(self.mark), "executed"))


def _no_tokenizer(folder: Path, rng: random.Random) -> None:
    for name in ("tokenizer.json", "sentencepiece.bpe.model", "spiece.model"):
        (folder / name).unlink(missing_ok=True)


def _more_tokens(folder: Path, rng: random.Random) -> None:
    from transformers import AutoTokenizer

    words = AutoTokenizer.from_pretrained(folder)
    words.add_tokens([f"слово{n}" for n in range(rng.randrange(5, 50))])
    words.save_pretrained(folder)


def _other_tokenizer(folder: Path, rng: random.Random) -> None:
    for path in whole(RERANKER).glob("tokenizer*"):
        shutil.copy(path, folder)


def _with_an_adapter(folder: Path, rng: random.Random) -> None:
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copy(whole(ADAPTER) / name, folder)


def _mapped(*files: str) -> Harm:
    def harm(folder: Path, rng: random.Random) -> None:
        path = folder / "model.safetensors.index.json"
        names = list(json.loads(path.read_text())["weight_map"])
        _write(path, {"weight_map": {name: files[place % len(files)] for place, name in enumerate(names)}})

    return harm


def _a_link_to_itself(folder: Path, rng: random.Random) -> None:
    shutil.rmtree(folder / "members" / "second")
    (folder / "members" / "second").symlink_to(folder, target_is_directory=True)


def _an_ensemble_inside(folder: Path, rng: random.Random) -> None:
    shutil.copytree(whole(ENSEMBLE), folder / "members" / "second", dirs_exist_ok=True)


# ---------------------------------------------------------------------------------------------- all cases

CONFIG, WORDS, DESCRIPTION, INDEX = "config.json", "tokenizer_config.json", "model.json", "model.safetensors.index.json"
SETTINGS: dict[str, tuple[tuple[str, ...], Harm, str]] = {
    "no model_type": ((ENCODER, NLI), _set(CONFIG, model_type=...), CHECK),
    "a model_type that is a number": ((ENCODER,), _set(CONFIG, model_type=7), CHECK),
    "an unknown model_type": ((ENCODER, NLI, RERANKER), _set(CONFIG, model_type="magic"), CHECK),
    "another model_type": ((ENCODER, NLI, PICKLED), _set(CONFIG, model_type="electra"), CHECK),
    "no layers": ((ENCODER, NLI, RERANKER), _set(CONFIG, num_hidden_layers=0), CHECK),
    "a layer more": ((ENCODER, NLI, RERANKER, SHARDED), _set(CONFIG, num_hidden_layers=3), CHECK),
    "a layer less": ((ENCODER, NLI, RERANKER, SHARDED), _set(CONFIG, num_hidden_layers=1), CHECK),
    "a layer more in the weights": ((ENCODER, NLI, RERANKER), _tensors(_one_more_layer), CHECK),
    "a billion layers": ((ENCODER, RERANKER), _set(CONFIG, num_hidden_layers=10**9), CHECK),
    "layers in words": ((ENCODER, RERANKER), _set(CONFIG, num_hidden_layers="two"), CHECK),
    "layers yes": ((ENCODER,), _set(CONFIG, num_hidden_layers=True), CHECK),
    "twice as wide": ((ENCODER, NLI, RERANKER), _set(CONFIG, hidden_size=128), CHECK),
    "a negative width": ((ENCODER,), _set(CONFIG, hidden_size=-64), CHECK),
    "a fraction of a width": ((ENCODER,), _set(CONFIG, hidden_size=6.4), CHECK),
    "heads that do not divide the width": ((ENCODER,), _set(CONFIG, num_attention_heads=5), CHECK),
    "no heads": ((ENCODER, RERANKER), _set(CONFIG, num_attention_heads=0), CHECK),
    "a smaller vocabulary": ((ENCODER, NLI, RERANKER), _set(CONFIG, vocab_size=50), CHECK),
    "a larger vocabulary": ((ENCODER, NLI), _set(CONFIG, vocab_size=5000), CHECK),
    "a vocabulary that fills the memory": ((ENCODER,), _set(CONFIG, vocab_size=10**14), CHECK),
    "another activation": ((ENCODER,), _set(CONFIG, hidden_act="magic"), CHECK),
    "more positions": ((ENCODER, NLI), _set(CONFIG, max_position_embeddings=999), CHECK),
    "labels that contradict": (
        (NLI,), _set(CONFIG, label2id={"entailment": 0, "neutral": 1, "contradiction": 2}), CHECK),
    "labels from 1": ((NLI,), _set(CONFIG, id2label={"1": "contradiction", "2": "neutral", "3": "entailment"}), CHECK),
    "labels in a list": ((NLI,), _set(CONFIG, id2label=["contradiction", "neutral", "entailment"]), CHECK),
    "a number that is no label's": ((NLI,), _set(CONFIG, id2label={"a": "contradiction", "b": "entailment"}), CHECK),
    "fewer labels than the head": (
        (NLI,), _set(CONFIG, id2label={"0": "contradiction", "1": "entailment"}, label2id=...), CHECK),
    "other labels": ((NLI,), _set(CONFIG, id2label={"0": "a", "1": "b", "2": "c"}, label2id=...), CHECK),
    "no labels": ((NLI,), _set(CONFIG, id2label=..., label2id=...), CHECK),
    "num_labels of another head": ((NLI,), _set(CONFIG, num_labels=9), CHECK),
    "code of its own": (
        (ENCODER, NLI, RERANKER, PICKLED), _code(CONFIG, model_type="hostile", auto_map=AUTO_MAP), CHECK),
    "code of another's": (
        (ENCODER,),
        _code(CONFIG, model_type="hostile", auto_map={"AutoConfig": "nobody/nothing--hostile.Config"}), CHECK),
    "code of its own for a known kind": ((ENCODER, NLI, RERANKER), _code(CONFIG, auto_map=AUTO_MAP), READ),
    "a tokenizer's own code": (
        (ENCODER, NLI),
        _code(WORDS, tokenizer_class="Hostile", auto_map={"AutoTokenizer": ["hostile.Model", None]}), READ),
    "an adapter beside it": ((ENCODER, NLI, RERANKER), _with_an_adapter, CHECK),
    "no tokenizer": ((ENCODER, NLI, RERANKER, WRITER), _no_tokenizer, CHECK),
    "more tokens than rows": ((ENCODER, NLI, RERANKER), _more_tokens, CHECK),
    "another's tokenizer": ((ENCODER, NLI), _other_tokenizer, CHECK),
    "a length of nothing": ((ENCODER, NLI, RERANKER), _set(WORDS, model_max_length=0), CHECK),
    "a negative length": ((ENCODER, NLI), _set(WORDS, model_max_length=-5), CHECK),
    "a length in words": ((ENCODER, NLI), _set(WORDS, model_max_length="long"), CHECK),
    "weights that are none": (
        (ENCODER, NLI, RERANKER, WRITER), _tensors(_nothing), CHECK),
    "weights of other names": ((ENCODER, NLI, RERANKER, WRITER), _tensors(_renamed), CHECK),
    "a weight less": ((ENCODER, NLI, RERANKER, WRITER), _tensors(_without), CHECK),
    "a weight of another shape": ((ENCODER, NLI, RERANKER, WRITER), _tensors(_other_shape), CHECK),
    "NaN": ((ENCODER, NLI, RERANKER, WRITER), _tensors(_poisoned(float("nan"))), LOAD),
    "infinity": ((ENCODER, NLI, RERANKER), _tensors(_poisoned(float("-inf"))), LOAD),
    "code in the weights": ((PICKLED,), _pickled_code, CHECK),
    "an empty weight_map": ((SHARDED,), _set(INDEX, weight_map={}), CHECK),
    "a weight_map in a list": ((SHARDED,), _set(INDEX, weight_map=[]), CHECK),
    "no weight_map": ((SHARDED,), _set(INDEX, weight_map=...), CHECK),
    "a weight_map of numbers": ((SHARDED,), _set(INDEX, weight_map={"a": 7}), CHECK),
    "a weight_map out of the folder": ((SHARDED,), _mapped("../../etc/passwd"), CHECK),
    "a weight_map to the root": ((SHARDED,), _mapped("/etc/passwd"), CHECK),
    "a weight_map of a web address": ((SHARDED,), _mapped("https://example.org/model.safetensors"), CHECK),
    "a weight_map of the config": ((SHARDED,), _mapped(CONFIG), CHECK),
    "a weight_map of a lost shard": ((SHARDED,), _mapped("model-1-of-9.safetensors"), CHECK),
    "a weight_map of one shard for all": ((SHARDED,), _mapped("model-00001-of-00002.safetensors"), CHECK),
    "itself as a part": ((ENSEMBLE, LINEAR), _set(DESCRIPTION, kind="ensemble", parts=["."]), LOAD),
    "itself by a link": ((ENSEMBLE,), _a_link_to_itself, LOAD),
    "an ensemble inside": ((ENSEMBLE,), _an_ensemble_inside, LOAD),
    "a part outside": ((ENSEMBLE,), _set(DESCRIPTION, parts=["../../etc", "members/first"]), LOAD),
    "a part at the root": ((ENSEMBLE,), _set(DESCRIPTION, parts=["/etc", "members/first"]), LOAD),
    "a part by a detour": ((ENSEMBLE,), _set(DESCRIPTION, parts=["members/../../x"]), LOAD),
    "a part twice": ((ENSEMBLE,), _set(DESCRIPTION, parts=["members/first"] * 2), LOAD),
    "a part that is lost": ((ENSEMBLE,), _set(DESCRIPTION, parts=["members/third"]), LOAD),
    "a part without a name": ((ENSEMBLE,), _set(DESCRIPTION, parts=[""]), LOAD),
    "a part of another kind": ((ENSEMBLE,), _set(DESCRIPTION, parts=[7]), LOAD),
    "no parts": ((ENSEMBLE,), _set(DESCRIPTION, parts=[]), LOAD),
    "a name of a NUL": ((ENSEMBLE,), _set(DESCRIPTION, parts=["a\0b"]), LOAD),
    "a category twice": (TRAINED, _set(DESCRIPTION, names=["посуда", "посуда", "нет товара"]), LOAD),
    "a category more": (TRAINED, _set(DESCRIPTION, names=[*NAMES, "ещё"], prior_shift=[0.0] * 4), LOAD),
    "no categories": (TRAINED, _set(DESCRIPTION, names=[], prior_shift=[]), LOAD),
    "a shift of NaN": (TRAINED, _set(DESCRIPTION, prior_shift=[float("nan"), 0, 0]), LOAD),
    "a shift of infinity": ((LINEAR, MERGED), _set(DESCRIPTION, prior_shift=[float("inf"), 0, 0]), LOAD),
    "another format": (TRAINED, _set(DESCRIPTION, format=99), LOAD),
    "another kind": ((LINEAR, MERGED, ONNX), _set(DESCRIPTION, kind="forest"), LOAD),
    "the kind of another": ((LINEAR,), _set(DESCRIPTION, kind="onnx", max_length=32), LOAD),
    "a key too many": ((LINEAR,), _set(DESCRIPTION, magic=1), LOAD),
    "no length": ((MERGED, ADAPTER, ONNX), _set(DESCRIPTION, max_length=0), LOAD),
    "a length below nothing": ((MERGED, ADAPTER, ONNX), _set(DESCRIPTION, max_length=-3), LOAD),
    "a base model that is lost": ((ADAPTER,), _set(DESCRIPTION, base_model="/nowhere/at/all"), LOAD),
    "another base model": ((ADAPTER,), _set(DESCRIPTION, base_fingerprint="0" * 32), LOAD),
    "no base model": ((ADAPTER,), _set(DESCRIPTION, base_model=None), LOAD),
    "another method of peft": ((ADAPTER,), _set("adapter_config.json", peft_type="PROMPT_TUNING"), LOAD),
    "an unknown method of peft": ((ADAPTER,), _set("adapter_config.json", peft_type="MAGIC"), LOAD),
    "a module to import": (
        (ADAPTER,), _set("adapter_config.json", megatron_config={"a": 1}, megatron_core="antigravity"), LOAD),
    "another rank": ((ADAPTER,), _set("adapter_config.json", r=7), LOAD),
    "targets that are not there": ((ADAPTER,), _set("adapter_config.json", target_modules=["magic"]), LOAD),
    "an adapter of NaN": ((ADAPTER,), _tensors(_poisoned(float("nan")), "adapter_model.safetensors"), LOAD),
    "an adapter of other names": ((ADAPTER,), _tensors(_renamed, "adapter_model.safetensors"), LOAD),
    "an adapter with a weight less": ((ADAPTER,), _tensors(_without, "adapter_model.safetensors"), LOAD),
    "coefficients of NaN": ((LINEAR,), _tensors(_poisoned(float("nan")), "weights.safetensors"), LOAD),
    "coefficients turned": ((LINEAR,), _tensors(_other_shape, "weights.safetensors"), LOAD),
    "a term that is a number": ((LINEAR,), _set("vocabulary.json", lemmas=[1, 2]), LOAD),
    "merged weights of NaN": ((MERGED,), _tensors(_poisoned(float("nan"))), LOAD),
    "merged labels of another": ((MERGED,), _set(CONFIG, id2label={"0": "a", "1": "b", "2": "c"}), LOAD),
    "merged labels that contradict": (
        (MERGED,), _set(CONFIG, label2id={"обувь": 0, "посуда": 1, "нет товара": 2}), LOAD),
    "merged code of its own": ((MERGED,), _code(CONFIG, model_type="hostile", auto_map=AUTO_MAP), LOAD),
    "merged with its adapter": ((MERGED,), _with_an_adapter, READ),
    "merged with more tokens": ((MERGED,), _more_tokens, LOAD),
    "merged with a layer less": ((MERGED,), _set(CONFIG, num_hidden_layers=1), LOAD),
}  # fmt: skip


def _cases() -> Iterator[tuple[str, str, Harm, str]]:
    """Kind, description, harm and what is expected, of each case."""
    deciding = {
        ENCODER: ["config.json", "model.safetensors"], PICKLED: ["pytorch_model.bin", "config.json"],
        SHARDED: ["model.safetensors.index.json", "model-00002-of-00002.safetensors"],
        NLI: ["config.json", "model.safetensors", "tokenizer.json"], RERANKER: ["tokenizer.json", "model.safetensors"],
        WRITER: ["spiece.model", "model.safetensors", "config.json"],
        LINEAR: ["model.json", "vocabulary.json", "weights.safetensors"],
        ADAPTER: ["model.json", "adapter_config.json", "adapter_model.safetensors"],
        MERGED: ["config.json", "model.safetensors", "model.json"], ENSEMBLE: ["members/second/model.json"],
        ONNX: ["model.onnx", "tokenizer.json"],
    }  # fmt: skip
    for kind, files in deciding.items():
        expected = CHECK if kind in TRANSFORMERS else LOAD
        for file in files:
            harms = FILES | (JSONS if file.endswith(".json") else WEIGHTS if file.endswith(".safetensors") else {})
            for name, harm in harms.items():
                vocabulary = file in ("tokenizer.json", "vocabulary.json", "model.safetensors.index.json")
                if vocabulary and name == "too large":  # these may be large
                    continue
                if kind in (NLI,) and file == "tokenizer.json" and name == "gone":  # its sentencepiece file is there
                    continue
                yield kind, f"{file}: {name}", _file(file, harm), expected
    for name, (kinds, harm, wanted) in SETTINGS.items():
        for kind in kinds:
            yield kind, name, harm, wanted


CASES = list(_cases())


def damaged(folder: Path, seed: int) -> tuple[str, str]:
    """Write a damaged model into ``folder``, which is not there yet.

    Args:
        folder: where to.
        seed: from 0 to ``len(CASES)`` each gives another case; beyond, the same cases are damaged at other places.

    Returns:
        A description, and what is expected: one of CHECK, LOAD and READ.
    """
    kind, name, harm, expected = CASES[seed % len(CASES)]
    shutil.copytree(whole(kind), folder)
    harm(folder, random.Random(seed))
    return f"{kind}: {name}", expected


def outcome(folder: Path, seed: int) -> str:
    """Read the folder of :func:`damaged` as the product does: CHECK, LOAD or READ.

    Raises:
        AssertionError: it was refused without a place or a remedy, in more than one line, or gave no numbers; or code
            in the folder was executed.
        Exception: whatever else came of it.
    """
    kind = CASES[seed % len(CASES)][0]
    result = READ
    for stage, work in ((CHECK, _check), (LOAD, _read)):
        try:
            work(folder, kind)
        except UserError as error:
            line = str(error)
            assert error.where is not None and error.remedy and "\n" not in line, line
            assert not re.search(r"trust_remote_code=|weights_only=|Traceback", line), line
            result = stage
            break
    assert not (folder.parent / f"{folder.name} {MARK}").exists(), "code in the folder was executed"
    return result


def _check(folder: Path, kind: str) -> None:
    from tsirius.labellers import nli, reranker
    from tsirius.models import hub, load

    if kind in TRAINED:
        return
    hub.check(str(folder))
    if kind == NLI:
        nli.check(nli.Config(model=str(folder)))
    elif kind == RERANKER:
        reranker.check(reranker.Config(model=str(folder)))
    else:
        load.check(str(folder), head="AutoModelForSeq2SeqLM" if kind == WRITER else "AutoModel", new_head=False)


def _read(folder: Path, kind: str) -> None:
    from tsirius.labellers import nli, reranker
    from tsirius.models import encode, load
    from tsirius.models.classifier import Classifier

    common: dict[str, Any] = {"precision": "fp32", "batch_tokens": 4096}
    if kind in TRAINED:
        numbers = Classifier.load(folder).predict_proba(TEXTS)
    elif kind == NLI:
        numbers = nli.scorer(str(folder), max_length=64, **common).logits(TEXTS, ["О посуде"], advance=None)
    elif kind == RERANKER:
        judge = reranker.scorer(str(folder), instruction="Judge.", max_length=900, **common)
        numbers = judge.logits(TEXTS, ["О посуде"], advance=None)
    elif kind == WRITER:
        load.tokenizer(str(folder))
        load.seq2seq(str(folder), precision="fp32")
        return
    else:
        numbers = encode.embedder(str(folder), max_length=64)(TEXTS)
    assert np.isfinite(numbers).all()
