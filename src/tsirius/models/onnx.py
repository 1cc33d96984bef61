"""An encoder as ONNX, scored by onnxruntime: neither torch nor transformers is needed to use it.

A folder holds ``model.onnx`` and ``tokenizer.json``; the number of the padding is kept in the model's metadata.

In 8-bit integers, weights of the encoder's linear layers are rounded once, each output channel with a scale of its
own; activations are rounded as they come. The weights are unsigned: with signed ones, processors without VNNI (AVX2,
AVX-512) add up pairs of products in 16 bits, where large ones are cut off, and multilingual encoders lose their labels
(onnxruntime's guide to quantisation, on U8U8). Embeddings and the head stay in floats.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tsirius.errors import UserError
from tsirius.models import windows as cutting
from tsirius.models.batching import BATCH_TOKENS, Budget, filled, padded_with_mask, padding

if TYPE_CHECKING:
    from numpy.typing import NDArray

MODEL, TOKENIZER = "model.onnx", "tokenizer.json"
MASK = "<mask>"
NOTHING = ("<s>", "<pad>", "</s>", "<unk>", "▁")
"""Pieces that say nothing of a text."""
"""How the tokenizer of the package's own model reads a hidden word."""
PAD = "tsirius_pad_id"
ONE_FILE = 1_800_000_000
"""Bytes of weights up to which they fit into the model's own file: protobuf ends at 2 GiB."""
OPSET = 18
INSTALL = "Install what it needs with: pip install 'tsirius[export]'."


@dataclass(frozen=True)
class Onnx:
    """A session that scores, with its tokenizer; ``windows`` as of :class:`tsirius.models.saved_encoder.Encoder`."""

    session: Any
    tokenizer: Any
    pad: int
    categories: int
    max_length: int
    windows: bool

    def logits(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Scores of cleaned texts before the softmax, [N, K]."""
        result = self.tokenizer.encode_batch(list(texts))
        if not self.windows:
            return self._score([given.ids for given in result])
        cuts = [cutting.cut(given.ids, given.special_tokens_mask, max_length=self.max_length) for given in result]
        return cutting.mean(self._score([window for cut in cuts for window in cut]), [len(cut) for cut in cuts])

    def _score(self, rows: list[list[int]]) -> NDArray[np.float32]:
        def compute(batch: NDArray[np.int64]) -> NDArray[np.float32]:
            ids, mask = padded_with_mask([rows[row] for row in batch], self.pad, left=False, multiple=1)
            result: NDArray[np.float32] = self.session.run(["logits"], {"input_ids": ids, "attention_mask": mask})[0]
            return result

        lengths = [len(row) for row in rows]
        return filled(lengths, compute, width=self.categories, budget=Budget(BATCH_TOKENS), where=MODEL)


def load(folder: Path, *, categories: int, max_length: int, windows: bool) -> Onnx:
    """Read what :func:`write` wrote.

    Args:
        folder: where it is.
        categories: how many the model has to tell apart.
        max_length: tokens of a text that are read at a time.
        windows: read longer texts whole, in windows; else they are cut.

    Raises:
        UserError: onnxruntime is not installed, a file is missing or broken, or they do not belong together.
    """
    try:
        import onnxruntime
    except ImportError:
        raise UserError("is an ONNX model, and onnxruntime is not installed", where=folder, remedy=INSTALL) from None
    from tokenizers import Tokenizer

    remedy = "Export the model again."
    for name in (MODEL, TOKENIZER):
        if not (folder / name).is_file():
            raise UserError(f"has no {name}", where=folder, remedy=remedy)
    try:
        session = onnxruntime.InferenceSession(str(folder / MODEL), _options(), providers=["CPUExecutionProvider"])
        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        pad = int(session.get_modelmeta().custom_metadata_map[PAD])
        width = session.get_outputs()[0].shape[-1]
    except Exception as error:  # onnxruntime and tokenizers raise errors of their own for what they cannot read
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"its files are broken ({reason})", where=folder, remedy=remedy) from None
    if width != categories:
        raise UserError("its files do not belong together", where=folder, remedy=remedy)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if not windows:
        tokenizer.enable_truncation(max_length)
    return Onnx(session, tokenizer, pad, categories, max_length, windows)


def embedder(folder: Path, *, max_length: int) -> Callable[[Sequence[str]], NDArray[np.float32]]:
    """Texts → their embeddings, [N, W], each of length 1, but 0 for a text of which the tokenizer knows no piece; the
    model is read when it is first asked.

    Args:
        folder: ``model.onnx`` (token ids and attention mask → ``embeddings``), ``tokenizer.json`` and ``config.json``.
        max_length: tokens of a text that are read, at most as many as the model has positions.
    """

    parts = cache(partial(built_in, folder, max_length=max_length))

    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        session, tokenizer, pad, _ = parts()
        rows = [given.ids for given in tokenizer.encode_batch(list(texts))]
        unknown = {tokenizer.token_to_id(piece) for piece in NOTHING}
        silent = np.array([unknown.issuperset(row) for row in rows], dtype=bool)

        def compute(batch: NDArray[np.int64]) -> NDArray[np.float32]:
            ids, mask = padded_with_mask([rows[row] for row in batch], pad, left=False, multiple=1)
            result: NDArray[np.float32] = session.run(["embeddings"], {"input_ids": ids, "attention_mask": mask})[0]
            return result

        width = session.get_outputs()[0].shape[-1]
        result = filled([len(row) for row in rows], compute, width=width, budget=Budget(BATCH_TOKENS), where=MODEL)
        result[silent] = 0
        return result

    return embed


def built_in(folder: Path, *, max_length: int) -> tuple[Any, Any, int, int]:
    """A model that comes with the package: its session, its tokenizer, the token that fills up, and the tokens of a
    text that it reads, at most ``max_length``. Arguments as of :func:`embedder`."""
    import onnxruntime
    from tokenizers import Tokenizer

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    session = onnxruntime.InferenceSession(str(folder / MODEL), _options(), providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    before = config["pad_token_id"] + 1 if config["model_type"] == "xlm-roberta" else 0  # rows that are no text's
    length = min(max_length, config["max_position_embeddings"] - before)
    tokenizer.no_padding()
    tokenizer.enable_truncation(length)
    return session, tokenizer, config["pad_token_id"], length


def _options() -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads()
    # Threads that wait for the next review sleep: by spinning they double the CPU time of a single one, and take the
    # core from whatever else runs, the server's event loop included.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options


def threads() -> int:
    """The threads that OMP_NUM_THREADS asks for, else one for each processor that this process may use."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdigit() and int(wanted) > 0:
        return int(wanted)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check() -> None:
    """Make sure that what writing needs is installed.

    Raises:
        UserError: it is not.
    """
    for package in ("onnx", "onnxruntime", "onnxscript"):
        try:
            __import__(package)
        except ImportError:
            raise UserError(f"{package} is not installed", remedy=INSTALL) from None


def write(model: Any, tokenizer: Any, folder: Path, *, int8: bool) -> None:
    """Write a classifier and its tokenizer into ``folder``, which is there.

    Args:
        model: a transformers classifier in 32-bit floats on the CPU.
        tokenizer: of the model, one of the fast kind.
        folder: where to.
        int8: compute the encoder's linear layers by 8-bit integers.

    Raises:
        UserError: the tokenizer cannot be used without transformers.
    """
    import onnx

    fast = getattr(tokenizer, "backend_tokenizer", None)
    if fast is None:
        raise UserError("the tokenizer is of the slow kind, which only transformers can use", where=folder,
                        remedy="Export to merged.")  # fmt: skip
    fast.save(str(folder / TOKENIZER))
    exact = folder / ("exact.onnx" if int8 else MODEL)
    pad = padding(tokenizer, model.config)
    _trace(model, exact, pad=pad)
    if not int8:
        return
    import logging

    from onnxruntime.quantization import QuantType, quantize_dynamic

    size = sum(part.numel() * part.element_size() for part in model.parameters())
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # advice about a step that is of no use here
    try:
        quantize_dynamic(
            str(exact), str(folder / MODEL),
            op_types_to_quantize=["MatMul"], per_channel=True, weight_type=QuantType.QUInt8,
            use_external_data_format=size > ONE_FILE,
            extra_options={"MatMulConstBOnly": True},
        )  # fmt: skip
    finally:
        logging.disable(before)
    _mark(folder / MODEL, pad=pad, load_external=False)
    for path in (exact, exact.with_name(f"{exact.name}.data")):
        path.unlink(missing_ok=True)
    onnx.checker.check_model(str(folder / MODEL))


def _trace(model: Any, path: Path, *, pad: int) -> None:
    import logging
    import warnings

    import torch

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask).logits
            return result

    size = sum(part.numel() * part.element_size() for part in model.parameters())
    ids = torch.tensor([[5, 6, 7, 8, 9, 10], [5, 6, 7, 8, pad, pad]])
    mask = (ids != pad).long()
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length")
    axes = {0: batch, 1: length}
    level = logging.getLogger("torch.onnx").level
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter about itself
            torch.onnx.export(
                Logits().eval(), (ids, mask), str(path),
                input_names=["input_ids", "attention_mask"], output_names=["logits"],
                dynamic_shapes={"input_ids": axes, "attention_mask": axes},
                opset_version=OPSET, external_data=size > ONE_FILE, dynamo=True, verbose=False,
            )  # fmt: skip
    finally:
        logging.getLogger("torch.onnx").setLevel(level)
    _mark(path, pad=pad, load_external=False)


def _mark(path: Path, *, pad: int, load_external: bool) -> None:
    """Note the padding's number in a model's metadata."""
    import onnx

    result = onnx.load(str(path), load_external_data=load_external)
    if PAD not in {entry.key for entry in result.metadata_props}:
        entry = result.metadata_props.add()
        entry.key, entry.value = PAD, str(pad)
        onnx.save(result, str(path))
