"""A trained encoder in the hub's layout, and as ONNX in 8-bit integers for a CPU without torch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recipes.mini import graph

from . import net

BATCH_TOKENS = 1024
OPSET = 18
BLOCK = 32
PIECES = 1000
"""Rows from which a table of embeddings is worth rounding."""
TOKENS = {
    "bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "sep_token": "</s>", "unk_token": "<unk>",
    "pad_token": "<pad>", "mask_token": "<mask>",
}  # fmt: skip


def large(weights: Path, tokenizer: Path, folder: Path, *, tokens: int, half: bool = True) -> Any:
    """A BertModel of the training's weights in the hub's layout; returns it in 32-bit floats."""
    import torch
    from transformers import BertConfig, BertModel

    tensors = {name: torch.from_numpy(value) for name, value in net.load(weights).items()}
    layers = 1 + max(int(name.split(".")[2]) for name in tensors if name.startswith("encoder.layer."))
    pieces, width = tensors["embeddings.word_embeddings.weight"].shape
    config = BertConfig(
        vocab_size=pieces, hidden_size=width, num_hidden_layers=layers, num_attention_heads=12,
        intermediate_size=4 * width,
        max_position_embeddings=tokens, type_vocab_size=2, pad_token_id=1, layer_norm_eps=1e-12,
    )  # fmt: skip
    model = BertModel(config, add_pooling_layer=False)
    lacking = model.load_state_dict(tensors, strict=False)
    if lacking.unexpected_keys or set(lacking.missing_keys) - {"embeddings.position_ids"}:
        raise ValueError(f"weights do not fit: {lacking}")
    folder.mkdir(parents=True, exist_ok=True)
    import copy

    (copy.deepcopy(model).half() if half else model).save_pretrained(folder)
    words(tokenizer, folder, tokens=tokens)
    return model.eval()


def words(tokenizer: Path, folder: Path, *, tokens: int) -> None:
    """The tokenizer's files."""
    shutil.copy(tokenizer, folder / "tokenizer.json")
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": tokens,
        "clean_up_tokenization_spaces": False,
        **TOKENS,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2), encoding="utf-8")
    (folder / "special_tokens_map.json").write_text(json.dumps(TOKENS, indent=1) + "\n", encoding="utf-8")


def small(weights: Path, mini: Path, folder: Path) -> Any:
    """The small encoder with its entailment head in tsirius-mini's layout; returns it in 32-bit floats."""
    import torch
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(mini, dtype=torch.float32)
    tensors = {
        name if name.startswith("classifier.") else f"roberta.{name}": torch.from_numpy(value)
        for name, value in net.load(weights).items()
    }
    lacking = model.load_state_dict(tensors, strict=False)
    if lacking.unexpected_keys or [name for name in lacking.missing_keys if "position_ids" not in name]:
        raise ValueError(f"weights do not fit: {lacking}")
    folder.mkdir(parents=True, exist_ok=True)
    import copy

    copy.deepcopy(model).half().save_pretrained(folder)
    for name in ("tokenizer.json", "sentencepiece.bpe.model", "tokenizer_config.json", "special_tokens_map.json"):
        if (mini / name).exists():
            shutil.copy(mini / name, folder / name)
    return model.eval()


def onnx(encoder: Any, folder: Path, *, int8: bool = True) -> None:
    """``model.onnx``: input_ids, attention_mask → embeddings, mean-pooled, of length 1."""
    import logging
    import warnings

    import torch

    class Embedding(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
            states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            kept = attention_mask[:, :, None].to(states.dtype)
            return torch.nn.functional.normalize((states * kept).sum(dim=1), dim=-1)

    ids = torch.tensor([[0, 6, 7, 8, 9, 2], [0, 6, 7, 2, 1, 1]])
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length")
    axes = {0: batch, 1: length}
    exact = folder / ("exact.onnx" if int8 else "model.onnx")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Embedding().eval(), (ids, (ids != 1).long()), str(exact), input_names=["input_ids", "attention_mask"],
            output_names=["embeddings"],
            dynamic_shapes={"input_ids": axes, "attention_mask": axes}, opset_version=OPSET, external_data=False,
            dynamo=True, verbose=False,
        )  # fmt: skip
    if int8:
        logging.disable(logging.INFO)
        quantise(exact, folder / "model.onnx")
        logging.disable(logging.NOTSET)
        exact.unlink()


def quantise(exact: Path, file: Path) -> None:
    """Weights in 8-bit integers: those of products with a scale for each ``BLOCK`` of a row, piece embeddings a row.

    onnxruntime turns the products' weights into 32-bit floats once, when it loads them (it folds what hangs on
    constants alone), so that activations are never rounded. One scale for all of a batch's activations, as dynamic
    quantisation has it, ruins this family of encoders: a few of their inner dimensions are hundreds of times larger
    than the others. Rounding them by blocks (``MatMulNBits``) is right to .999, and slower: see the README.
    """
    import onnx as proto

    model = proto.load(str(exact))
    tables = {table.name: table for table in model.graph.initializer}
    nodes, stored = list[Any](), dict[str, Any]()

    def integers(name: str, values: Any) -> None:
        """Store the last axis of ``values`` as integers and a scale."""
        scales = (np.abs(values).max(axis=-1, keepdims=True) / 127 + 1e-12).astype(np.float32)
        for part, tensor in (("int8", np.round(values / scales).astype(np.int8)), ("scale", scales)):
            stored[f"{name}_{part}"] = proto.numpy_helper.from_array(tensor, f"{name}_{part}")

    def add(kind: str, inputs: list[str], out: str, **settings: Any) -> None:
        nodes.append(proto.helper.make_node(kind, inputs, [out], **settings))

    for node in model.graph.node:
        table = next((tables[name] for name in node.input if name in tables and len(tables[name].dims) == 2), None)
        if table is None or not (node.op_type == "MatMul" or (node.op_type == "Gather" and table.dims[0] >= PIECES)):
            nodes.append(node)
            continue
        name, out = table.name, node.output[0]
        values = proto.numpy_helper.to_array(table).astype(np.float32)
        if node.op_type == "Gather":
            integers(name, values)
            add("Gather", [f"{name}_int8", node.input[1]], f"{out}_int8")
            add("Cast", [f"{out}_int8"], f"{out}_cast", to=proto.TensorProto.FLOAT)
            add("Gather", [f"{name}_scale", node.input[1]], f"{out}_scale")
            add("Mul", [f"{out}_cast", f"{out}_scale"], out)
        else:
            rows, columns = values.shape
            integers(name, values.T.reshape(columns, rows // BLOCK, BLOCK))
            stored[f"{name}_shape"] = proto.numpy_helper.from_array(np.array([columns, rows]), f"{name}_shape")
            add("Cast", [f"{name}_int8"], f"{name}_cast", to=proto.TensorProto.FLOAT)
            add("Mul", [f"{name}_cast", f"{name}_scale"], f"{name}_blocks")
            add("Reshape", [f"{name}_blocks", f"{name}_shape"], f"{name}_rows")
            add("Transpose", [f"{name}_rows"], f"{name}_float", perm=[1, 0])
            add("MatMul", [node.input[0], f"{name}_float"], out)
        del tables[name]
    del model.graph.node[:], model.graph.initializer[:], model.graph.value_info[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend([*tables.values(), *stored.values()])
    proto.save(model, str(file))
    proto.checker.check_model(str(file))


def session(folder: Path, *, threads: int = 2) -> Callable[[Sequence[str]], Any]:
    """Texts → embeddings by the folder's ``model.onnx``."""
    import onnxruntime
    from tokenizers import Tokenizer

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    made = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(200)

    def embed(texts: Sequence[str]) -> Any:
        ids = [row.ids for row in tokenizer.encode_batch(list(texts))]
        order = sorted(range(len(ids)), key=lambda row: -len(ids[row]))
        found, start = None, 0
        while start < len(order):
            wide = len(ids[order[start]])
            part = order[start : start + max(1, BATCH_TOKENS // wide)]
            tokens = np.full((len(part), wide), 1, dtype=np.int64)
            for place, row in enumerate(part):
                tokens[place, : len(ids[row])] = ids[row]
            value = made.run(["embeddings"], {"input_ids": tokens, "attention_mask": (tokens != 1).astype(np.int64)})[0]
            if found is None:
                found = np.zeros((len(ids), value.shape[1]), np.float32)
            found[part] = value
            start += len(part)
        return found

    return embed


def run(config: dict[str, Any], out: Path, mini: Path) -> dict[str, Any]:
    """``OUT/tsirius-goods`` and ``OUT/tsirius-mini``."""
    figures: dict[str, Any] = {}
    if (out / "large.npz").exists():
        folder = out / "tsirius-goods"
        onnx(large(out / "large.npz", out / "tokenizer.json", folder, tokens=config["parent"]["tokens"]), folder)
        figures["tsirius-goods"] = {file.name: file.stat().st_size for file in folder.iterdir()}
    if (out / "small.npz").exists():
        folder = out / "tsirius-mini"
        small(out / "small.npz", mini, folder)
        graph.write(folder)
        figures["tsirius-mini"] = {file.name: file.stat().st_size for file in folder.iterdir()}
    return figures
