"""Models in a folder or on the hub: is one there, and whole, what does it say of itself, and fetching it.

Nothing here loads torch or transformers: a run checks its models before any work. :mod:`tsirius.models.load` reads them
into memory.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import zipfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from tsirius import extras
from tsirius.errors import UserError

CONFIG = "config.json"
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
TOKENIZERS = ("tokenizer.json", "sentencepiece.bpe.model", "spiece.model", "spm.model", "tokenizer.model", "vocab.txt",
              "vocab.json")  # fmt: skip
"""Files that are a tokenizer: one of them is enough."""
MARIAN = ("source.spm", "target.spm", "vocab.json")
"""Marian's tokenizer: all of them are needed."""
DECIDING = (CONFIG, *TOKENIZERS, *MARIAN[:2], "merges.txt", "tokenizer_config.json", "special_tokens_map.json",
            "added_tokens.json", "adapter_config.json", "modules.json", "config_sentence_transformers.json",
            "sentence_bert_config.json")  # fmt: skip
"""Files beside the weights that are read for an encoder or a classifier: what it says hangs on them."""
READ = ("generation_config.json", "processor_config.json", "preprocessor_config.json", "chat_template.json")
"""Further settings that transformers reads where they are there."""
PATTERNS = ("*.json", "*.txt", *TOKENIZERS[1:5], *MARIAN[:2])
"""What is downloaded beside the weights."""
LAYERS = ("[0-9]*_*/model.safetensors", "[0-9]*_*/pytorch_model.bin")
"""Weights of the layers after the pooling, in the layout of sentence-transformers."""
STEPS = ("[0-9]*_*/config.json", *LAYERS)
"""What pooling and layers after it are read from."""

LIGHT = (CONFIG, "tokenizer_config.json", "modules.json", "config_sentence_transformers.json",
         "sentence_bert_config.json", STEPS[0], "README.md")  # fmt: skip
"""What tells of a model before it is downloaded."""

HUB_NAME = re.compile(r"[\w][\w.-]*(/[\w][\w.-]*)?")
HUB_SECONDS = 10.0
EMBEDDED = "tsirius-mini"
"""The small encoder that comes with the package: its name stands for its folder."""
EMBEDDED_FOLDER = Path(__file__).parents[1] / "assets" / EMBEDDED
GOODS = "tsirius-goods"
"""The larger embedding model that comes with the package, as ONNX: it knows more goods. It cannot be fine-tuned."""
GOODS_FOLDER = EMBEDDED_FOLDER.with_name(GOODS)
PAIR = f"{GOODS}+{EMBEDDED}"
"""Both: their embeddings side by side."""
OWN = (EMBEDDED, GOODS, PAIR)
"""What comes with the package."""
ONNX = "model.onnx"
SHA256 = {
    EMBEDDED: {
        WEIGHTS[0]: "6045f5222bef7c1c4d9dec64568809dbca80c22ae5fd4e9fc64c4883453b6e48",
        ONNX: "31d7dddd575afad216d3d3bd2603fb739b103a89a617be981a6507027d872386",
    },
    GOODS: {ONNX: "0f3b7f5b59441858bbd61fb10fd62d4c4716d39b6d2e95a011c6cbe864d8849e"},
}
"""Of the files of their weights."""
ADAPTER, MERGED = "adapter", "merged"
"""The folders of a fine-tuned model's forms."""
BLOCK, BLOCKS = 1 << 20, 64
"""Of a file of weights so many bytes are looked at, in so many places."""
REMEDY = "Name a folder with a model, or a hub model that is in the cache or can be downloaded."
OWN_CODE = "it needs code of its own, named by auto_map, and a model's code is never executed"
AGAIN = "Copy or download it again."
ADAPTER_CONFIG = "adapter_config.json"

SETTINGS_BYTES, VOCABULARY_BYTES = 8 << 20, 128 << 20
"""The most of a JSON file that holds settings, and of one that holds a tokenizer or the names of weights."""
TERMS, TERMS_BYTES = "vocabulary.json", 1 << 30
"""The terms of a linear model, which may be millions."""
VOCABULARIES = (
    "tokenizer.json", "vocab.json", TERMS, "added_tokens.json", "tokenizer_config.json", *WEIGHTS[1::2],
)  # fmt: skip
DEPTH = 64
"""The most levels of a JSON file that holds settings; a vocabulary's are limited by its reader."""
POINTER = b"version https://git-lfs"
"""How a file begins that Git LFS put in place of a large one."""
ZIP, PICKLE = b"PK\x03\x04", b"\x80"
"""How torch's files begin: since 2020, and before."""
COUNTS = {
    ("num_hidden_layers", "num_layers", "n_layer", "n_layers", "encoder_layers", "decoder_layers"): 1000,
    ("hidden_size", "d_model", "n_embd", "dim", "intermediate_size", "d_ff"): 1 << 20,
    ("num_attention_heads", "n_head", "n_heads", "num_heads"): 1 << 12,
    ("vocab_size",): 1 << 24,
}
"""Names that config.json has for a count, and the most there can be: beyond it is damage, and would fill the memory."""


def check(model: str) -> None:
    """Make sure that an encoder is at hand, or can be fetched, and is whole; nothing large is read or downloaded.

    Args:
        model: a folder in the hub's layout (config.json, weights, tokenizer files), or a hub name.

    Raises:
        UserError: it is neither, or a part of it is missing or broken.
    """
    if model in OWN:
        for part in parts(model):
            place = folder(part)
            states = [path.stat() for path in sorted(place.iterdir())] if place.is_dir() else []
            state = tuple((one.st_size, one.st_mtime_ns) for one in states)
            _check_embedded(place, tuple(SHA256[part].items()), state)
        return
    extras.need_training("a model that does not come with the package", where=model)
    if is_folder(model):
        _check_folder(folder(model))
    elif (result := cached(model)) is not None:
        _check_folder(result)
    else:
        _check_hub(model)


def parts(model: str) -> tuple[str, ...]:
    """The encoders that ``model`` is made of: itself, but of the pair both."""
    return (GOODS, EMBEDDED) if model == PAIR else (model,)


def is_folder(model: str) -> bool:
    """Whether ``model`` is meant as a path: it exists, or does not look like a hub name; or an embedded one."""
    return model in OWN or Path(model).expanduser().exists() or not HUB_NAME.fullmatch(model)


def folder(model: str) -> Path:
    """The folder that ``model`` names, where :func:`is_folder` says that it names one."""
    embedded = {EMBEDDED: EMBEDDED_FOLDER, GOODS: GOODS_FOLDER}
    return embedded[model] if model in embedded else Path(model).expanduser()


@cache  # once per process, as long as sizes and times of the folder's files (state) stay
def _check_embedded(place: Path, sums: tuple[tuple[str, str], ...], state: tuple[tuple[int, int], ...]) -> None:
    for name, sha256 in sums:
        try:
            with (place / name).open("rb") as handle:
                intact = hashlib.file_digest(handle, "sha256").hexdigest() == sha256
        except FileNotFoundError:
            intact = False
        if not intact:
            raise UserError("its weights are not those that the package came with", where=place,
                            remedy="Install tsirius again.")  # fmt: skip
    if place == EMBEDDED_FOLDER:
        _check_folder(place)


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
        if model in (EMBEDDED, GOODS):
            check(model)
        return folder(model)
    result = cached(model)
    if result is None:
        with loading(model):
            from huggingface_hub import snapshot_download

            result = Path(snapshot_download(model, allow_patterns=[*PATTERNS, "model*.safetensors", *LAYERS]))
            if missing({path.name for path in result.iterdir()}):
                snapshot_download(model, allow_patterns=["pytorch_model*.bin"])
        _check_folder(result)
    return result


def at_hand(model: str) -> Path | None:
    """The folder of a model that :func:`check` accepts; None for one that has yet to be downloaded."""
    return folder(model) if is_folder(model) else cached(model)


@dataclass(frozen=True)
class Glance:
    """What is known of a model before its weights are there.

    Attributes:
        folder: with its small files.
        where: it lies: "folder", "cache" or "hub".
        weights: bytes of its weights; None: not known.
        parameters: numbers in them; None: not known.
    """

    folder: Path
    where: Literal["folder", "cache", "hub"]
    weights: int | None
    parameters: int | None


def glance(model: str) -> Glance:
    """Look at a model without reading its weights; of one that is not at hand the small files alone are downloaded.

    Raises:
        UserError: there is no such model, or it is not at hand and the hub cannot be asked.
    """
    place = at_hand(model)
    if place is None:
        return _glance_at_hub(model)
    if not (place / CONFIG).is_file():
        _check_folder(place)
    held = (sorted(place.glob(f"*.{kind}")) for kind in ("safetensors", "bin", "onnx"))
    files = next(filter(None, held), [])
    safe = [path for path in files if path.suffix == ".safetensors"]
    numbers = sum(map(_numbers, safe)) if safe else None
    size = sum(path.stat().st_size for path in files) if files else None
    return Glance(place, "folder" if is_folder(model) else "cache", size, numbers)


def _numbers(path: Path) -> int:
    """How many numbers a file of weights says that it holds."""
    from safetensors import safe_open

    _check_weights(path)
    with safe_open(path, framework="numpy") as file:
        return sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118  # no dict


def _glance_at_hub(model: str) -> Glance:
    from huggingface_hub import HfApi, snapshot_download

    _check_hub(model)
    with loading(model):
        info = HfApi().model_info(model, timeout=HUB_SECONDS, files_metadata=True)
        folder = Path(snapshot_download(model, allow_patterns=[*LIGHT]))
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or []}
    for kind in (r"model[\w.-]*\.safetensors", r"pytorch_model[\w.-]*\.bin"):
        if size := sum(bytes_ for name, bytes_ in sizes.items() if re.fullmatch(kind, name)):
            numbers = info.safetensors.total if info.safetensors else None
            return Glance(folder, "hub", size, numbers)
    return Glance(folder, "hub", None, None)


def described(model: str) -> dict[str, Any]:
    """What config.json of a model that :func:`check` accepts says; {} for one that has yet to be downloaded."""
    result = at_hand(model)
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
    if ADAPTER_CONFIG in names:
        raise UserError(f"holds an adapter ({ADAPTER_CONFIG}), which would be read in place of the model", where=folder,
                        remedy="Give the folder of a whole model.")  # fmt: skip
    for name in sorted({*DECIDING, *READ, *WEIGHTS} & names):
        if name.endswith(".json"):
            read_json(folder / name)
        elif not name.endswith(".bin"):
            _check_bytes(folder / name)
    config = read_json(folder / CONFIG)
    if not isinstance(config.get("model_type"), str):
        raise UserError("names no model_type", where=folder / CONFIG, remedy="Give the folder of a transformers model.")
    if config["model_type"] == "marian" and MARIAN[0] not in names:
        raise UserError(f"the model has no tokenizer files ({MARIAN[0]})", where=folder,
                        remedy="Give the whole folder of the model.")  # fmt: skip
    _check_counts(config, folder / CONFIG)
    labels(config, where=folder / CONFIG)
    _check_shards(folder, names)
    for path in sorted(folder.glob("*.safetensors")):
        _check_weights(path)
    if not names & {*WEIGHTS[:2]}:
        for path in sorted(folder.glob("pytorch_model*.bin")):
            _check_pickle(path)


def _check_bytes(path: Path) -> None:
    """Make sure that a file is not empty, nor stands for another one."""
    with path.open("rb") as handle:
        start = handle.read(len(POINTER))
    if not start:
        raise UserError("is empty", where=path, remedy=AGAIN)
    if start == POINTER:
        raise UserError("is a pointer of Git LFS, not the file itself", where=path,
                        remedy="Fetch it with: git lfs pull.")  # fmt: skip


def _check_counts(config: Mapping[str, Any], path: Path) -> None:
    for names, most in COUNTS.items():
        for name in names:
            value = config.get(name, 1)
            if value is None or isinstance(value, list):  # one of each layer
                continue
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
                raise UserError(f"{name} is {str(value)[:40]!r}, not a number from 1 to {most:,}", where=path,
                                remedy=AGAIN)  # fmt: skip


def labels(config: Mapping[str, Any], *, where: str | Path) -> dict[int, str]:
    """The labels that a config.json names, by their index; {} where it names none.

    Raises:
        UserError: they are not numbered from 0, or label2id contradicts id2label.
    """
    remedy = "Mend it, or download the model again."
    named, back = config.get("id2label"), config.get("label2id")
    for name, value in (("id2label", named), ("label2id", back)):
        if value is not None and not isinstance(value, dict):
            raise UserError(f"its {name} is no table", where=where, remedy=remedy)
    result = {str(index): str(label) for index, label in (named or {}).items()}
    if set(result) != set(map(str, range(len(result)))):
        raise UserError("its id2label does not number the labels from 0", where=where, remedy=remedy)
    if result and config.get("num_labels", len(result)) != len(result):
        raise UserError("its num_labels contradicts its id2label", where=where, remedy=remedy)
    for index, label in result.items():
        if back and str(back.get(label, index)) != index:
            raise UserError(f"its label2id contradicts its id2label: {label!r} is {back[label]} and {index}",
                            where=where, remedy=remedy)  # fmt: skip
    return {index: result[str(index)] for index in range(len(result))}


def _check_shards(folder: Path, names: Collection[str]) -> None:
    for index in WEIGHTS[1::2]:
        if index not in names:
            continue
        shards = read_json(folder / index).get("weight_map")
        if not isinstance(shards, dict) or not shards or not all(isinstance(name, str) for name in shards.values()):
            raise UserError("its weight_map names no files", where=folder / index, remedy=AGAIN)
        for name in sorted(set(shards.values())):
            if not re.fullmatch(r"[\w-][\w.-]*\.(safetensors|bin)", name):
                raise UserError(f"its weight_map names {name[:80]!r}, which is no file of weights beside it",
                                where=folder / index, remedy=AGAIN)  # fmt: skip
            if name not in names:
                raise UserError(f"the model has no weights {name}", where=folder, remedy="Give the whole folder.")
            _check_bytes(folder / name)


def _check_weights(path: Path) -> None:
    from safetensors import safe_open

    _check_bytes(path)
    try:
        with safe_open(path, framework="numpy") as file:  # reads the header, and that the file is as long as it says
            if file.keys():
                return
    except Exception as error:  # its own kind, and the system's
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"the weights are broken ({reason})", where=path, remedy="Copy or download them again."
        ) from None
    raise UserError("holds no weights", where=path, remedy=AGAIN)


def _check_pickle(path: Path) -> None:
    """Make sure that a file of weights is one of torch's, and whole as far as its table of contents says."""
    _check_bytes(path)
    with path.open("rb") as handle:
        start = handle.read(len(ZIP))
    if start != ZIP and not start.startswith(PICKLE):
        raise UserError("is no file of weights", where=path, remedy=AGAIN)
    if start == ZIP:
        try:
            with zipfile.ZipFile(path) as archive:
                whole = any(name.endswith("data.pkl") for name in archive.namelist())
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
            whole = False
        if not whole:
            raise UserError("the weights are broken (the archive is cut off or damaged)", where=path, remedy=AGAIN)


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object of a file of a model; {} where it holds something else.

    Raises:
        UserError: it cannot be read, is too large or too deep, or is not valid JSON.
    """
    result = _json(path)
    return result if isinstance(result, dict) else {}


def read_json_list(path: Path) -> list[Any]:
    """The JSON list of a file of a model; [] where it holds something else. Errors as of :func:`read_json`."""
    result = _json(path)
    return result if isinstance(result, list) else []


def _json(path: Path) -> Any:
    vocabulary = path.name in VOCABULARIES
    most = TERMS_BYTES if path.name == TERMS else VOCABULARY_BYTES if vocabulary else SETTINGS_BYTES
    try:
        _check_bytes(path)
        if path.stat().st_size > most:
            raise UserError(f"is larger than {most >> 20} MiB", where=path, remedy=AGAIN)
        result = json.loads(path.read_bytes().decode())
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", where=path, remedy=AGAIN) from None
    except RecursionError:
        raise UserError("is nested too deeply", where=path, remedy=AGAIN) from None
    except ValueError as error:
        raise UserError(f"not valid JSON ({error})", where=path, remedy=AGAIN) from None
    if not vocabulary and _deeper(result, DEPTH):
        raise UserError("is nested too deeply", where=path, remedy=AGAIN)
    return result


def _deeper(value: Any, most: int) -> bool:
    """Whether a JSON value has more than ``most`` levels."""
    level = [value]
    for _ in range(most):
        inner = (one.values() if isinstance(one, dict) else one for one in level if isinstance(one, (dict, list)))
        level = [part for parts in inner for part in parts]
        if not level:
            return False
    return True


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
    if model == PAIR:
        total.update(" ".join(map(fingerprint, parts(model))).encode())
        return total.hexdigest()
    result = fetch(model)
    steps = (path for pattern in STEPS for path in sorted(result.glob(pattern)))
    for path in (*(result / name for name in DECIDING), *steps):
        if path.is_file():
            total.update(f"{path.name} {path.stat().st_size}\n".encode() + path.read_bytes())
    for path in next(filter(None, (sorted(result.glob(f"*.{kind}")) for kind in ("safetensors", "bin", "onnx"))), []):
        size = path.stat().st_size
        total.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            for start in range(0, size, max(BLOCK, size // BLOCKS)):
                file.seek(start)
                total.update(file.read(BLOCK))
    return total.hexdigest()


@contextmanager
def loading(model: str | Path) -> Iterator[None]:
    """What a library says of a model's files that it cannot use, in one line.

    Raises:
        UserError: in place of the library's own error.
    """
    try:
        yield
    except (UserError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # each library has errors of its own; a panic of tokenizers' is no Exception
        raise UserError(f"cannot be loaded ({reason(error)})", where=model, remedy=REMEDY) from None


def reason(error: BaseException) -> str:
    """What went wrong in one line. The advice that some libraries add, to switch their safety off, is not repeated."""
    text = " ".join(str(error).split())
    if "trust_remote_code" in text or "custom code" in text:
        return OWN_CODE
    if "weights_only" in text or "weights only" in text.lower() or "torch.load" in text:
        return "its file of weights is damaged, or holds more than weights, which is never executed"
    return text[:200] or type(error).__name__
