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
    """Weights in 8-bit integers: products in blocks of ``BLOCK`` with a scale each, piece embeddings with one a row.

    Activations are rounded by blocks as well. One scale for all of a batch's activations, as dynamic quantisation has
    it, ruins this family of encoders: a few of their inner dimensions are hundreds of times larger than the others.
    """
    import onnx as proto
    from onnxruntime.quantization import matmul_nbits_quantizer as by_block

    config = by_block.DefaultWeightOnlyQuantConfig(block_size=BLOCK, is_symmetric=True, accuracy_level=4, bits=8)
    made = by_block.MatMulNBitsQuantizer(proto.load(str(exact)), algo_config=config)
    made.process()
    model = made.model.model
    graph = model.graph
    tables = {table.name: table for table in graph.initializer}
    for place, node in enumerate(list(graph.node)):
        table = tables.get(node.input[0]) if node.op_type == "Gather" and node.input else None
        if table is None or len(table.dims) != 2 or table.dims[0] < 1000:
            continue
        values = proto.numpy_helper.to_array(table).astype(np.float32)
        scales = (np.abs(values).max(axis=1, keepdims=True) / 127 + 1e-12).astype(np.float32)
        small = np.round(values / scales).astype(np.int8)
        name, ids, out = table.name, node.input[1], node.output[0]
        graph.initializer.remove(table)
        graph.initializer.extend(
            [
                proto.numpy_helper.from_array(small, f"{name}_int8"),
                proto.numpy_helper.from_array(scales, f"{name}_scale"),
            ]
        )
        new = [
            proto.helper.make_node("Gather", [f"{name}_int8", ids], [f"{out}_int8"]),
            proto.helper.make_node("Cast", [f"{out}_int8"], [f"{out}_cast"], to=proto.TensorProto.FLOAT),
            proto.helper.make_node("Gather", [f"{name}_scale", ids], [f"{out}_scale"]),
            proto.helper.make_node("Mul", [f"{out}_cast", f"{out}_scale"], [out]),
        ]
        graph.node.remove(node)
        for offset, one in enumerate(new):
            graph.node.insert(place + offset, one)
    del graph.value_info[:]
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
