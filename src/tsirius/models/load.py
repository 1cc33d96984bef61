"""Models from a folder or from the hub: whether one is there and whole, and loading it.

:func:`check` and what it needs load neither torch nor transformers: a run looks at its model before any work.
"""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tsirius.errors import UserError

if TYPE_CHECKING:
    import torch

Precision = Literal["auto", "fp32", "int8"]

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
        found = hashlib.file_digest(handle, "sha256").hexdigest()
    if found != EMBEDDED_SHA256:
        raise UserError("its weights are not those that the package came with", where=EMBEDDED_FOLDER,
                        remedy="Install tsirius again.")  # fmt: skip


def cached(model: str) -> Path | None:
    """The folder of a hub model that lies in the cache as a whole, else None."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(model, CONFIG)
    if not isinstance(found, str) or missing({path.name for path in Path(found).parent.iterdir()}):
        return None
    return Path(found).parent


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
    found = cached(model)
    if found is None:
        with _mendable(model):
            from huggingface_hub import snapshot_download

            found = Path(snapshot_download(model, allow_patterns=[*PATTERNS, "model*.safetensors"]))
            if missing({path.name for path in found.iterdir()}):
                snapshot_download(model, allow_patterns=["pytorch_model*.bin"])
    return found


def described(model: str) -> dict[str, Any]:
    """What config.json of a model that :func:`check` accepts says; {} for one that has yet to be downloaded."""
    found = folder(model) if is_folder(model) else cached(model)
    return _json(found / CONFIG) if found is not None else {}


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
        found = Path(snapshot_download(model, local_files_only=constants.HF_HUB_OFFLINE,
                                       allow_patterns=[*PATTERNS, "*.safetensors", "README.md"]))  # fmt: skip
    except RepositoryNotFoundError:
        raise UserError("no such folder, and no such model on the hub", where=model, remedy=remedy) from None
    except Exception as error:  # as in _check_hub
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"no such folder, not in the cache of hub models, and it cannot be fetched ({reason})",
                        where=model, remedy=remedy) from None  # fmt: skip
    if not (found / file).is_file():
        raise UserError(f"the hub model has no {file}", where=model, remedy=remedy)
    return found


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
    config = _json(folder / CONFIG)
    if "model_type" not in config:
        raise UserError("names no model_type", where=folder / CONFIG, remedy="Give the folder of a transformers model.")
    if config["model_type"] == "marian" and MARIAN[0] not in names:
        raise UserError(f"the model has no tokenizer files ({MARIAN[0]})", where=folder,
                        remedy="Give the whole folder of the model.")  # fmt: skip
    for index in WEIGHTS[1::2]:
        if index in names:
            shards = set(_json(folder / index).get("weight_map", {}).values())
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


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"not valid JSON ({error})", where=path, remedy="Copy or download it again.") from None
    return found if isinstance(found, dict) else {}


def _check_hub(model: str) -> None:
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import RepositoryNotFoundError

    if constants.HF_HUB_OFFLINE:
        raise UserError("no such folder, not in the cache of hub models, and the hub is switched off", where=model,
                        remedy=REMEDY)  # fmt: skip
    try:
        found = HfApi().model_info(model, timeout=HUB_SECONDS)
    except RepositoryNotFoundError:
        raise UserError("no such folder, and no such model on the hub", where=model, remedy=REMEDY) from None
    except Exception as error:  # the hub's client does not say which of its network library's errors it lets through
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"no such folder, not in the cache of hub models, and the hub cannot be reached ({reason})",
                        where=model, remedy=REMEDY) from None  # fmt: skip
    lack = missing({file.rfilename for file in found.siblings or []})
    if lack:
        raise UserError(f"the hub model has no {lack}", where=model, remedy=REMEDY)


def fingerprint(model: str) -> str:
    """A short name for all that decides what a model says: its weights, its config.json and its tokenizer.

    Of a file of weights its size and blocks spread evenly over it, 64 MiB at most, so that it takes no longer to look
    at a large encoder; training an encoder changes all of them.
    """
    total = hashlib.blake2b(digest_size=16)
    found = fetch(model)
    for path in (found / name for name in DECIDING):
        if path.is_file():
            total.update(f"{path.name} {path.stat().st_size}\n".encode() + path.read_bytes())
    for path in sorted(found.glob("*.safetensors")) or sorted(found.glob("*.bin")):
        size = path.stat().st_size
        total.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            for start in range(0, size, max(BLOCK, size // BLOCKS)):
                file.seek(start)
                total.update(file.read(BLOCK))
    return total.hexdigest()


def device() -> torch.device:
    """The GPU where torch can use one, else the CPU."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' notices and bars to itself: a new head is meant to be new, and stdout is ours."""
    import logging as standard
    import warnings

    from transformers.utils import logging

    # Where it is installed, peft imports it, and on a CPU it recommends a package that fetches code.
    standard.getLogger("bitsandbytes").setLevel(standard.ERROR)

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # transformers'
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers'
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of transformers about itself
            yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]  # transformers'


def base_classifier(model: str, *, names: Sequence[str], dropout: float | None) -> tuple[Any, list[str]]:
    """An encoder with a new head for ``names``, in 32-bit floats on the CPU.

    Args:
        model: a folder or hub name that :func:`check` accepts.
        names: the categories.
        dropout: before the head; None: as the model has it.

    Returns:
        The model, and the names of the parameters that its weights do not hold: the head's, and what the head needs.

    Raises:
        UserError: transformers has no classifier of this kind, or the weights are of another model.
    """
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    folder = str(fetch(model))
    labels: dict[str, Any] = {
        "num_labels": len(names),
        "id2label": dict(enumerate(names)),
        "label2id": {name: place for place, name in enumerate(names)},
    }
    with quiet(), _mendable(model):
        config = AutoConfig.from_pretrained(folder, **labels)
        if config.pad_token_id is None:  # a decoder's head looks for the last token before it
            config.pad_token_id = tokenizer(model).pad_token_id
        made, loading = AutoModelForSequenceClassification.from_pretrained(
            folder, config=config, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True
        )
    other = {name for name, *_ in loading["mismatched_keys"]}  # a head for other labels, which is made anew
    new = sorted({*loading["missing_keys"], *other})
    held = made.base_model.state_dict().keys()
    prefix = f"{made.base_model_prefix}."
    lacking = sum(name.removeprefix(prefix) in held for name in new)
    if dropout is not None:  # config.json has another name for it in each kind of model, and some have none
        for part in _head(made):
            if isinstance(part, torch.nn.Dropout):
                part.p = dropout
    if lacking > len(held) / 2 or any(name.startswith(prefix) for name in other):
        raise UserError("the weights are of another kind of model than config.json says", where=model, remedy=REMEDY)
    return made, new


def _head(made: Any) -> Iterator[torch.nn.Module]:
    """The modules of a classifier that are not its encoder's."""
    return (part for child in made.children() if child is not made.base_model for part in child.modules())


def judge(model: str, *, head: str, precision: Precision) -> Any:
    """A model with the head that it was trained with, ready to score on :func:`device`.

    Args:
        model: a folder or hub name that :func:`check` accepts.
        head: the transformers class that reads it: "AutoModelForSequenceClassification" or "AutoModelForCausalLM".
        precision: "auto": 16-bit floats on a GPU, and in the linear layers on a CPU that multiplies them; "fp32"; or
            "int8": 8-bit integers in the linear layers on a CPU, on a GPU as "auto".

    Raises:
        UserError: it cannot be read so, or has no head of this kind.
    """
    import torch
    import transformers

    from tsirius.models import first_token

    with quiet(), _mendable(model):
        made, loading = getattr(transformers, head).from_pretrained(
            str(fetch(model)), dtype=torch.float32, output_loading_info=True
        )
    if loading["missing_keys"]:
        raise UserError(f"has no trained weights for {sorted(loading['missing_keys'])[0]}", where=model,
                        remedy="Name a model that was trained for this.")  # fmt: skip
    return _placed(first_token.only(made), precision=precision, half=True, half_on_cpu=True)


def encoder(model: str, *, precision: Precision) -> Any:
    """An encoder without a head, ready to read on :func:`device`; arguments and errors as of :func:`judge`.

    On a CPU it computes in 32-bit floats: what is learned from its answers is used on other processors too.
    """
    import torch
    from transformers import AutoModel

    with quiet(), _mendable(model):
        made = AutoModel.from_pretrained(str(fetch(model)), dtype=torch.float32)
    return _placed(made, precision=precision, half=True)


def seq2seq(model: str, *, precision: Precision) -> Any:
    """A model that writes a text for a text, such as T5 or Marian, ready to generate on :func:`device`.

    T5's activations overflow 16-bit floats with few bits of exponent: on a GPU without bfloat16 it stays in 32 bits.

    Args:
        model: a folder or hub name that :func:`check` accepts.
        precision: as of :func:`judge`.

    Raises:
        UserError: it cannot be read so, or its weights are not all there.
    """
    import torch
    from transformers import AutoModelForSeq2SeqLM

    path = fetch(model)
    with quiet(), _mendable(model):
        made, loading = AutoModelForSeq2SeqLM.from_pretrained(str(path), dtype=torch.float32, output_loading_info=True)
    if loading["missing_keys"]:
        raise UserError(f"has no trained weights for {sorted(loading['missing_keys'])[0]}", where=model, remedy=REMEDY)
    # Of T5 1.1 the head has weights of its own. Tying it to the embeddings would overwrite them without a word.
    head, embeddings = made.get_output_embeddings(), made.get_input_embeddings()
    if _json(path / CONFIG).get("tie_word_embeddings") is False and head.weight is embeddings.weight:
        raise UserError("its head took the weights of its embeddings on loading", where=model,
                        remedy="Install another version of transformers.")  # fmt: skip
    return _placed(made, precision=precision, half=made.config.model_type == "marian")


def _placed(made: Any, *, precision: Precision, half: bool, half_on_cpu: bool = False) -> Any:
    """Bring a model to the device and the precision wanted.

    Args:
        made: the model.
        precision: as of :func:`judge`.
        half: on a GPU fp16 will do where there is no bf16.
        half_on_cpu: bf16 will do on a CPU, under "auto".
    """
    import torch

    place = device()
    if place.type == "cuda" and precision != "fp32":
        # A T4 says that it knows bf16, but only emulates it.
        if torch.cuda.is_bf16_supported(including_emulation=False):
            made = made.to(torch.bfloat16)
        elif half:
            made = made.to(torch.float16)
    if place.type == "cpu":
        from tsirius.models import cpu

        if precision == "int8":
            made = cpu.quantised(made)
        else:
            made = cpu.packed(made, half=half_on_cpu and precision == "auto")
    return made.to(place).eval()


def tokenizer(model: str) -> Any:
    """The tokenizer of a folder or hub name that :func:`check` accepts.

    Raises:
        UserError: its files cannot be read.
    """
    from transformers import AutoTokenizer

    path = fetch(model)
    with quiet(), _mendable(model), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*sacremoses.*")  # Marian does without
        return AutoTokenizer.from_pretrained(str(path))


@contextmanager
def _mendable(model: str) -> Iterator[None]:
    """What transformers says of files that it cannot use, in one line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # each of the libraries beneath has errors of its own for a file that does not fit
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"cannot be loaded ({reason})", where=model, remedy=REMEDY) from None
