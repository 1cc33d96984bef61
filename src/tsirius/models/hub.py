"""Models in a folder or on the hub: is one there, and whole, what does it say of itself, and fetching it.

Nothing here loads torch or transformers: a run checks its models before any work. :mod:`tsirius.models.load` reads them
into memory.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tsirius.errors import UserError

CONFIG = "config.json"
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
TOKENIZERS = ("tokenizer.json", "sentencepiece.bpe.model", "spiece.model", "spm.model", "tokenizer.model", "vocab.txt",
              "vocab.json")  # fmt: skip
"""Files that are a tokenizer: one of them is enough."""
MARIAN = ("source.spm", "target.spm", "vocab.json")
"""Marian's tokenizer: all of them are needed."""
DECIDING = (CONFIG, *TOKENIZERS, *MARIAN[:2], "merges.txt", "tokenizer_config.json", "special_tokens_map.json",
            "added_tokens.json", "adapter_config.json")  # fmt: skip
"""Files beside the weights that transformers reads for an encoder or a classifier: what it says hangs on them."""
PATTERNS = ("*.json", "*.txt", *TOKENIZERS[1:5], *MARIAN[:2])
"""What is downloaded beside the weights."""

HUB_NAME = re.compile(r"[\w][\w.-]*(/[\w][\w.-]*)?")
HUB_SECONDS = 10.0
EMBEDDED = "tsirius-mini"
"""The small encoder that comes with the package: its name stands for its folder."""
EMBEDDED_FOLDER = Path(__file__).parents[1] / "assets" / EMBEDDED
EMBEDDED_SHA256 = "e70da91acf970e45af183a635c3e4a0fdec5d17fb39f39289fd2a0bd0e732580"
"""Of its weights."""
BLOCK, BLOCKS = 1 << 20, 64
"""Of a file of weights so many bytes are looked at, in so many places."""
REMEDY = "Name a folder with a model, or a hub model that is in the cache or can be downloaded."


def check(model: str) -> None:
    """Make sure that an encoder is at hand, or can be fetched, and is whole; nothing large is read or downloaded.

    Args:
        model: a folder in the hub's layout (config.json, weights, tokenizer files), or a hub name.

    Raises:
        UserError: it is neither, or a part of it is missing or broken.
    """
    if is_folder(model):
        _check_folder(folder(model))
        if model == EMBEDDED:
            _check_embedded()
    elif cached(model) is None:
        _check_hub(model)


def is_folder(model: str) -> bool:
    """Whether ``model`` is meant as a path: it exists, or does not look like a hub name; or the embedded one."""
    return model == EMBEDDED or Path(model).expanduser().exists() or not HUB_NAME.fullmatch(model)


def folder(model: str) -> Path:
    """The folder that ``model`` names, where :func:`is_folder` says that it names one."""
    return EMBEDDED_FOLDER if model == EMBEDDED else Path(model).expanduser()


def _check_embedded() -> None:
    with (EMBEDDED_FOLDER / WEIGHTS[0]).open("rb") as handle:
        result = hashlib.file_digest(handle, "sha256").hexdigest()
    if result != EMBEDDED_SHA256:
        raise UserError("its weights are not those that the package came with", where=EMBEDDED_FOLDER,
                        remedy="Install tsirius again.")  # fmt: skip


def cached(model: str) -> Path | None:
    """The folder of a hub model that lies in the cache as a whole, else None."""
    from huggingface_hub import try_to_load_from_cache

    result = try_to_load_from_cache(model, CONFIG)
    if not isinstance(result, str) or missing({path.name for path in Path(result).parent.iterdir()}):
        return None
    return Path(result).parent


def fetch(model: str) -> Path:
    """The folder of an encoder that :func:`check` accepts; a hub model that is not in the cache is downloaded.

    Transformers and peft are given this folder, never the name: for a name they ask the hub even where all is cached.

    Raises:
        UserError: the download failed, or the embedded encoder is not as the package came with it.
    """
    if is_folder(model):
        if model == EMBEDDED:
            _check_embedded()
        return folder(model)
    result = cached(model)
    if result is None:
        with loading(model):
            from huggingface_hub import snapshot_download

            result = Path(snapshot_download(model, allow_patterns=[*PATTERNS, "model*.safetensors"]))
            if missing({path.name for path in result.iterdir()}):
                snapshot_download(model, allow_patterns=["pytorch_model*.bin"])
    return result


def described(model: str) -> dict[str, Any]:
    """What config.json of a model that :func:`check` accepts says; {} for one that has yet to be downloaded."""
    result = folder(model) if is_folder(model) else cached(model)
    return read_json(result / CONFIG) if result is not None else {}


def fetch_classifier(model: str, file: str) -> Path:
    """The folder of a trained classifier on the hub, from the cache where it lies there.

    Args:
        model: its name.
        file: that the repository must have.

    Raises:
        UserError: there is none of this name, or it cannot be had.
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError

    remedy = "Name a run's folder, a model's folder, or a hub model that tsirius made."
    try:
        result = Path(snapshot_download(model, local_files_only=constants.HF_HUB_OFFLINE,
                                       allow_patterns=[*PATTERNS, "*.safetensors", "README.md"]))  # fmt: skip
    except RepositoryNotFoundError:
        raise UserError("no such folder, and no such model on the hub", where=model, remedy=remedy) from None
    except Exception as error:  # as in _check_hub
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"no such folder, not in the cache of hub models, and it cannot be fetched ({reason})",
                        where=model, remedy=remedy) from None  # fmt: skip
    if not (result / file).is_file():
        raise UserError(f"the hub model has no {file}", where=model, remedy=remedy)
    return result


def missing(names: Collection[str]) -> str:
    """What a model's folder with files of these names lacks, in words; empty if nothing."""
    if CONFIG not in names:
        return CONFIG
    if not any(name in names for name in WEIGHTS):
        return f"weights ({WEIGHTS[0]})"
    if not any(name in names for name in TOKENIZERS):
        return f"tokenizer files ({TOKENIZERS[0]})"
    lost = [name for name in MARIAN if name not in names]
    if "source.spm" in names and lost:
        return f"tokenizer files ({lost[0]})"
    return ""


def _check_folder(folder: Path) -> None:
    if not folder.exists():
        raise UserError("no such model: neither a folder nor a hub name", where=folder, remedy=REMEDY)
    if not folder.is_dir():
        raise UserError("is a file, not a model's folder", where=folder, remedy=REMEDY)
    names = {path.name for path in folder.iterdir() if path.is_file()}
    lack = missing(names)
    if lack:
        raise UserError(f"the model has no {lack}", where=folder, remedy="Give the whole folder of the model.")
    config = read_json(folder / CONFIG)
    if "model_type" not in config:
        raise UserError("names no model_type", where=folder / CONFIG, remedy="Give the folder of a transformers model.")
    if config["model_type"] == "marian" and MARIAN[0] not in names:
        raise UserError(f"the model has no tokenizer files ({MARIAN[0]})", where=folder,
                        remedy="Give the whole folder of the model.")  # fmt: skip
    for index in WEIGHTS[1::2]:
        if index in names:
            shards = set(read_json(folder / index).get("weight_map", {}).values())
            lost = sorted(shards - names)
            if lost:
                raise UserError(f"the model has no weights {lost[0]}", where=folder, remedy="Give the whole folder.")
    for path in sorted(folder.glob("*.safetensors")):
        _check_weights(path)


def _check_weights(path: Path) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy"):  # reads the header alone, and that the file is as long as it says
            return
    except SafetensorError as error:
        raise UserError(
            f"the weights are broken ({error})", where=path, remedy="Copy or download them again."
        ) from None


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object of a file; {} where it holds something else.

    Raises:
        UserError: it is not valid JSON.
    """
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"not valid JSON ({error})", where=path, remedy="Copy or download it again.") from None
    return result if isinstance(result, dict) else {}


def _check_hub(model: str) -> None:
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import RepositoryNotFoundError

    if constants.HF_HUB_OFFLINE:
        raise UserError("no such folder, not in the cache of hub models, and the hub is switched off", where=model,
                        remedy=REMEDY)  # fmt: skip
    try:
        result = HfApi().model_info(model, timeout=HUB_SECONDS)
    except RepositoryNotFoundError:
        raise UserError("no such folder, and no such model on the hub", where=model, remedy=REMEDY) from None
    except Exception as error:  # the hub's client does not say which of its network library's errors it lets through
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"no such folder, not in the cache of hub models, and the hub cannot be reached ({reason})",
                        where=model, remedy=REMEDY) from None  # fmt: skip
    lack = missing({file.rfilename for file in result.siblings or []})
    if lack:
        raise UserError(f"the hub model has no {lack}", where=model, remedy=REMEDY)


def fingerprint(model: str) -> str:
    """A short name for all that decides what a model says: its weights, its config.json and its tokenizer.

    Of a file of weights its size and blocks spread evenly over it, 64 MiB at most, so that it takes no longer to look
    at a large encoder; training an encoder changes all of them.
    """
    total = hashlib.blake2b(digest_size=16)
    result = fetch(model)
    for path in (result / name for name in DECIDING):
        if path.is_file():
            total.update(f"{path.name} {path.stat().st_size}\n".encode() + path.read_bytes())
    for path in sorted(result.glob("*.safetensors")) or sorted(result.glob("*.bin")):
        size = path.stat().st_size
        total.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            for start in range(0, size, max(BLOCK, size // BLOCKS)):
                file.seek(start)
                total.update(file.read(BLOCK))
    return total.hexdigest()


@contextmanager
def loading(model: str) -> Iterator[None]:
    """What a library says of a model's files that it cannot use, in one line.

    Raises:
        UserError: in place of the library's own error.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # each of the libraries beneath has errors of its own for a file that does not fit
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"cannot be loaded ({reason})", where=model, remedy=REMEDY) from None
