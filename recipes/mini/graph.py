"""The encoder as an ONNX graph that takes its weights from ``model.safetensors`` beside it: they are stored once.

    python -m recipes.mini.graph FOLDER

writes ``FOLDER/model.onnx`` for the XLM-R with a head in FOLDER: input_ids, attention_mask → embeddings (the mean of
the last states, of length 1) and logits. The graph is written out with onnxruntime's fused operators; onnxruntime turns
the 16-bit weights into 32-bit ones when it loads them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

WEIGHTS, MODEL, CONFIG = "model.safetensors", "model.onnx", "config.json"
OPSET, FUSED = 18, "com.microsoft"
HEADER = 8
"""Bytes of the length of a safetensors header."""


class Graph:
    """Nodes and weights as they are added; each operator's output is named by a number."""

    def __init__(self, weights: Path) -> None:
        import onnx

        self.onnx = onnx
        with weights.open("rb") as file:
            size = int.from_bytes(file.read(HEADER), "little")
            self.tensors = json.loads(file.read(size))
        self.start = HEADER + size
        self.nodes: list[Any] = []
        self.stored: dict[str, Any] = {}

    def __call__(self, kind: str, *inputs: str, domain: str = "", **settings: Any) -> str:
        """Add an operator; the name of its output."""
        name = f"v{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, [name], domain=domain, **settings))
        return name

    def constant(self, values: Any, kind: str) -> str:
        """A small tensor of its own."""
        import numpy as np

        name = f"c{len(self.stored)}"
        self.stored[name] = self.onnx.numpy_helper.from_array(np.array(values, dtype=kind), name)
        return name

    def weight(self, name: str, *, turned: bool = False) -> str:
        """A tensor of the safetensors file in 32-bit floats; ``turned``: as the second factor of a product."""
        if name not in self.stored:
            about = self.tensors[name]
            if about["dtype"] != "F16":
                raise ValueError(f"{name} is {about['dtype']}, not F16")
            tensor = self.onnx.TensorProto(name=name, data_type=self.onnx.TensorProto.FLOAT16, dims=about["shape"],
                                           data_location=self.onnx.TensorProto.EXTERNAL)  # fmt: skip
            begin, end = about["data_offsets"]
            for key, value in (("location", WEIGHTS), ("offset", self.start + begin), ("length", end - begin)):
                tensor.external_data.add(key=key, value=str(value))
            self.stored[name] = tensor
        wide = self("Cast", name, to=self.onnx.TensorProto.FLOAT)
        return self("Transpose", wide, perm=[1, 0]) if turned else wide

    def linear(self, x: str, name: str) -> str:
        """A linear layer."""
        return self("Add", self("MatMul", x, self.weight(f"{name}.weight", turned=True)), self.weight(f"{name}.bias"))


def write(folder: Path) -> Path:
    """Write ``model.onnx`` beside the weights and the config.json of ``folder``; its path."""
    graph, config = Graph(folder / WEIGHTS), json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    states = _encoder(graph, config)
    kept = graph("Unsqueeze", graph("Cast", "attention_mask", to=1), graph.constant([2], "i8"))
    total = graph("ReduceSum", graph("Mul", states, kept), graph.constant([1], "i8"), keepdims=0)
    length = graph("Clip", graph("ReduceL2", total, graph.constant([1], "i8")), graph.constant(1e-12, "f4"))
    graph.nodes.append(graph.onnx.helper.make_node("Div", [total, length], ["embeddings"]))
    first = graph("Gather", states, graph.constant(0, "i8"), axis=1)
    hidden = graph("Tanh", graph.linear(first, "classifier.dense"))
    last = graph.linear(hidden, "classifier.out_proj")
    graph.nodes.append(graph.onnx.helper.make_node("Identity", [last], ["logits"]))
    helper, kinds = graph.onnx.helper, graph.onnx.TensorProto
    inputs = [helper.make_tensor_value_info(name, kinds.INT64, ["batch", "length"])
              for name in ("input_ids", "attention_mask")]  # fmt: skip
    outputs = [helper.make_tensor_value_info("embeddings", kinds.FLOAT, ["batch", config["hidden_size"]]),
               helper.make_tensor_value_info("logits", kinds.FLOAT, ["batch", len(config["id2label"])])]  # fmt: skip
    made = helper.make_model(
        helper.make_graph(graph.nodes, folder.name, inputs, outputs, list(graph.stored.values())),
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(FUSED, 1)], producer_name="tsirius",
        ir_version=8,
    )  # fmt: skip
    path = folder / MODEL
    path.write_bytes(made.SerializeToString(deterministic=True))
    return path


def _encoder(graph: Graph, config: dict[str, Any]) -> str:
    """The last states, [B, L, W]."""
    epsilon, heads, pad = config["layer_norm_eps"], config["num_attention_heads"], config["pad_token_id"]
    own = "roberta.embeddings"
    token = graph("Cast", graph("Not", graph("Equal", "input_ids", graph.constant(pad, "i8"))), to=7)
    position = graph("Add", graph("Mul", graph("CumSum", token, graph.constant(1, "i8")), token),
                     graph.constant(pad, "i8"))  # fmt: skip
    words = graph("Gather", graph.weight(f"{own}.word_embeddings.weight"), "input_ids")
    places = graph("Gather", graph.weight(f"{own}.position_embeddings.weight"), position)
    kind = graph("Gather", graph.weight(f"{own}.token_type_embeddings.weight"), graph.constant(0, "i8"))
    total = graph("Add", graph("Add", words, kind), places)
    scale, shift = graph.weight(f"{own}.LayerNorm.weight"), graph.weight(f"{own}.LayerNorm.bias")
    x = graph("LayerNormalization", total, scale, shift, epsilon=epsilon)
    mask = graph("Cast", "attention_mask", to=6)
    for layer in range(config["num_hidden_layers"]):
        at = f"roberta.encoder.layer.{layer}"
        parts = [f"{at}.attention.self.{part}" for part in ("query", "key", "value")]
        weights = graph("Concat", *(graph.weight(f"{part}.weight", turned=True) for part in parts), axis=1)
        biases = graph("Concat", *(graph.weight(f"{part}.bias") for part in parts), axis=0)
        seen = graph("Attention", x, weights, biases, mask, domain=FUSED, num_heads=heads)
        x = _normal(graph, graph("MatMul", seen, graph.weight(f"{at}.attention.output.dense.weight", turned=True)), x,
                    f"{at}.attention.output", epsilon)  # fmt: skip
        wide = graph("MatMul", x, graph.weight(f"{at}.intermediate.dense.weight", turned=True))
        wide = graph("BiasGelu", wide, graph.weight(f"{at}.intermediate.dense.bias"), domain=FUSED)
        x = _normal(graph, graph("MatMul", wide, graph.weight(f"{at}.output.dense.weight", turned=True)), x,
                    f"{at}.output", epsilon)  # fmt: skip
    return x


def _normal(graph: Graph, x: str, skip: str, name: str, epsilon: float) -> str:
    """The layer norm of a product, its bias and what passes by."""
    return graph(
        "SkipLayerNormalization", x, skip, graph.weight(f"{name}.LayerNorm.weight"),
        graph.weight(f"{name}.LayerNorm.bias"), graph.weight(f"{name}.dense.bias"), domain=FUSED, epsilon=epsilon,
    )  # fmt: skip


if __name__ == "__main__":
    print(write(Path(sys.argv[1])))
