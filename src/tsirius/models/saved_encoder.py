"""What fine-tuning leaves behind, and reading it: an adapter, and a plain checkpoint that needs nothing else.

- ``adapter/``: as peft lays it out, with the tokenizer; the encoder itself stays where it is. (lora, qlora)
- ``merged/``: a transformers checkpoint with the adapter added to the weights, in 32-bit floats (16-bit ones would
  change labels), with the tokenizer; for ``full`` the weights themselves. After qlora the adapter is added to the
  encoder as it was rounded in training, so that this is the model that was trained.

Each of the two has the label names, a ``model.json`` and a card, and can be copied, or put on the hub, by itself.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import safe_open

from tsirius.errors import UserError
from tsirius.models import adapters, encode, hub, load
from tsirius.models.adapters import Method

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

ADAPTER, MERGED = hub.ADAPTER, hub.MERGED
ADAPTER_CONFIG, ADAPTER_WEIGHTS = hub.ADAPTER_CONFIG, "adapter_model.safetensors"
FOREIGN = ("megatron_config", "eva_config", "corda_config", "layer_replication", "arrow_config")
"""Settings of peft's that no adapter of ours has."""
REMEDY = "Train the model again."


@dataclass(frozen=True)
class Encoder:
    """An encoder with its head, ready to score.

    Attributes:
        model: a transformers or peft model.
        tokenizer: of the model.
        max_length: tokens of a text that are read at a time.
        windows: read longer texts whole, in windows; else they are cut.
        half: the 16-bit floats that a model which is partly in them computes in; None: as the weights are.
        adapter: the one to score with, of a peft model that has several; None: the only one.
    """

    model: Any
    tokenizer: Any
    max_length: int
    windows: bool
    half: torch.dtype | None
    adapter: str | None

    def logits(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Scores of cleaned texts before the softmax, [N, K]."""
        if self.adapter is not None:
            self.model.set_adapter(self.adapter)
        read = encode.windowed_logits if self.windows else encode.logits
        return read(self.model, self.tokenizer, texts, max_length=self.max_length, half=self.half)


def save(
    trained: Any, folder: Path, *, method: Method, base_model: str, names: Sequence[str], merged: bool
) -> list[Path]:
    """Write what :func:`tsirius.models.finetune.fit` made into ``folder``; returns the folders written.

    Args:
        trained: the model.
        folder: where to.
        method: how it was trained.
        base_model: the encoder's folder or hub name.
        names: the categories.
        merged: for lora and qlora: write ``merged/`` as well. It is made from the files of ``adapter/``, not from what
            is in memory: it shows that they are whole.

    Raises:
        UserError: the adapter as written does not fit the encoder.
    """
    tokenizer = load.tokenizer(base_model)
    if method == "full":
        _save_plain(trained, tokenizer, folder / MERGED)
        return [folder / MERGED]
    # Where the encoder was loaded from may be the hub's cache; others know it by its name.
    trained.peft_config["default"].base_model_name_or_path = base_model
    # The embeddings are frozen; to find that out, peft would ask the hub.
    trained.save_pretrained(folder / ADAPTER, save_embedding_layers=False)
    _sort_lists(folder / ADAPTER / ADAPTER_CONFIG)
    tokenizer.save_pretrained(folder / ADAPTER)
    if not merged:
        return [folder / ADAPTER]
    whole = adapted(folder / ADAPTER, method=method, base_model=base_model, names=names)
    _save_plain(whole.merge_and_unload(), tokenizer, folder / MERGED)
    return [folder / ADAPTER, folder / MERGED]


def _save_plain(model: Any, tokenizer: Any, folder: Path) -> None:
    with load.quiet():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def _sort_lists(path: Path) -> None:
    """peft writes sets in the order of their hashes, which differs from process to process."""
    config = hub.read_json(path)
    for name in ("target_modules", "modules_to_save"):
        config[name] = sorted(set(config[name]))
    path.write_text(json.dumps(config, ensure_ascii=False, indent=1, sort_keys=True), encoding="utf-8")


def adapted(folder: Path, *, method: Method, base_model: str, names: Sequence[str]) -> Any:
    """The encoder with the adapter of ``folder``, in 32-bit floats on the CPU; after qlora, rounded as in training.

    Raises:
        UserError: a part is missing or broken, or does not fit the encoder, or would come back random.
    """
    for part in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
        if not (folder / part).is_file():
            raise UserError(f"has no {part}", where=folder, remedy=REMEDY)
    _check_config(folder / ADAPTER_CONFIG)
    base, new = load.base_classifier(base_model, names=names, dropout=None)
    if method == "qlora":
        adapters.rounded_to_nf4(base, adapters.parts(base, new, base_model)[0])
    try:
        with load.quiet(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Found missing adapter keys")  # refused below
            from peft import PeftModel

            model = PeftModel.from_pretrained(base, str(folder))
        _check_whole(model, folder / ADAPTER_WEIGHTS, new, adapter="default")
    except Exception as error:  # peft, safetensors and torch each have their own for a file that does not fit
        reason = hub.reason(error)
        raise UserError(f"the adapter does not fit {base_model} ({reason})", where=folder, remedy=REMEDY) from None
    return model.eval()


def _check_config(path: Path) -> None:
    """Make sure that an adapter is one of those that :func:`save` writes; others of peft's import code by its name.

    Raises:
        UserError: it is not.
    """
    config = hub.read_json(path)
    if config.get("peft_type") != "LORA":
        raise UserError("does not describe a LoRA adapter", where=path, remedy=REMEDY)
    for name in FOREIGN:
        if config.get(name):
            raise UserError(f"sets {name}, which is not supported", where=path, remedy=REMEDY)


def _check_whole(model: Any, path: Path, new: Sequence[str], *, adapter: str) -> None:
    """Make sure that nothing is left as it was drawn: peft says nothing of a head that the file lacks.

    Raises:
        ValueError: the file has not all that the adapter needs, or not what the encoder's own weights lack.
    """
    from peft import get_peft_model_state_dict

    with safe_open(path, framework="pt") as file:
        held = set(file.keys())
        for name in sorted(held):
            if not file.get_tensor(name).isfinite().all():
                raise ValueError(f"its weights are NaN or infinite: {name}")
    needed = get_peft_model_state_dict(model, adapter_name=adapter, save_embedding_layers=False)
    lost = sorted(needed.keys() - held)
    lost += [name for name in new if not any(key.endswith(f".{name}") for key in held)]
    if lost:
        raise ValueError(f"its file has no {lost[0]}")


def read_adapter(
    folder: Path, *, method: Method, base_model: str, names: Sequence[str], max_length: int, windows: bool
) -> Encoder:
    """Read an ``adapter/`` that :func:`save` wrote.

    Raises:
        UserError: as :func:`adapted`; or the tokenizer is missing.
    """
    model = adapted(folder, method=method, base_model=base_model, names=names)
    return replace(_ready(model, folder, max_length, windows=windows), adapter="default")


def beside(other: Encoder, folder: Path, *, base_model: str) -> Encoder:
    """Read an ``adapter/`` onto the encoder that ``other``, the adapter of the same method, has in memory already.

    Raises:
        UserError: as :func:`adapted`.
    """
    name = f"beside{len(other.model.peft_config)}"
    for part in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
        if not (folder / part).is_file():
            raise UserError(f"has no {part}", where=folder, remedy=REMEDY)
    _check_config(folder / ADAPTER_CONFIG)
    try:
        with load.quiet(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Found missing adapter keys")
            other.model.load_adapter(str(folder), adapter_name=name)
        _check_whole(other.model, folder / ADAPTER_WEIGHTS, [], adapter=name)
    except Exception as error:
        reason = hub.reason(error)
        raise UserError(f"the adapter does not fit {base_model} ({reason})", where=folder, remedy=REMEDY) from None
    return replace(other, adapter=name)


def read_plain(folder: Path, *, names: Sequence[str], max_length: int, windows: bool) -> Encoder:
    """Read a ``merged/`` that :func:`save` wrote.

    Raises:
        UserError: a part is missing or broken, its labels are others than ``names``, or it would come back random.
    """
    lack = hub.missing({path.name for path in folder.iterdir()} if folder.is_dir() else ())
    if lack:
        raise UserError(f"has no {lack}", where=folder, remedy=REMEDY)
    hub.check(str(folder.absolute()))
    if hub.read_json(folder / hub.CONFIG).get("id2label") != {str(index): name for index, name in enumerate(names)}:
        raise UserError("its labels are not those of model.json", where=folder / hub.CONFIG, remedy=REMEDY)
    model, new = load.base_classifier(str(folder), names=names, dropout=None)
    if new:
        raise UserError(f"has no trained weights for {new[0]}", where=folder, remedy=REMEDY)
    return _ready(model, folder, max_length, windows=windows)


def _ready(model: Any, folder: Path, max_length: int, *, windows: bool) -> Encoder:
    if not any((folder / name).is_file() for name in hub.TOKENIZERS):
        raise UserError(f"has no tokenizer files ({hub.TOKENIZERS[0]})", where=folder, remedy=REMEDY)
    try:
        tokenizer = load.read("AutoTokenizer", str(folder))
    except UserError as error:
        raise UserError(f"its tokenizer {error.what}", where=folder, remedy=REMEDY) from None
    load.settle(model, tokenizer, where=str(folder))
    length = encode.longest(model, tokenizer, max_length)
    model = model.to(load.device()).eval()
    encode.check_logits(model, tokenizer, max_length=length, half=None, where=str(folder))
    return Encoder(model, tokenizer, length, windows, half=None, adapter=None)
