"""Models and tokenizers into memory, on the device and in the precision wanted."""

from __future__ import annotations

import inspect
import re
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator

from tsirius.errors import UserError
from tsirius.models import hub
from tsirius.models.batching import padding

if TYPE_CHECKING:
    import torch


def _without_int8(value: object) -> object:
    if value == "int8":
        raise ValueError("int8 is no longer offered: 16-bit floats (auto) are faster and nearer to fp32")
    return value


Precision = Annotated[Literal["auto", "fp32"], BeforeValidator(_without_int8)]
"""What a model computes in, see :func:`judge`."""
ENCODER, CLASSIFIER = "AutoModel", "AutoModelForSequenceClassification"
TEXT_ENCODERS = {"t5": "T5EncoderModel", "mt5": "MT5EncoderModel", "umt5": "UMT5EncoderModel",
                 "longt5": "LongT5EncoderModel"}  # fmt: skip
"""Kinds of models with a decoder whose encoder alone makes embeddings (ai-forever/FRIDA), and its class."""
NAMED = 4
"""Of weights that are missing, so many are named."""
SHORTEST = 8
"""Tokens that a model has to read of a text, special ones included, to be of use."""
LAYER = re.compile(r"(.*?\.)\d+\.")
"""Where a parameter's name says which layer of a stack it belongs to."""


def device() -> torch.device:
    """The GPU where torch can use one, else the CPU."""
    import torch

    if not torch.cuda.is_available():
        return torch.device("cpu")
    # cuDNN's attention builds a plan for every new shape, some 0.2 s each, and reviews come in many shapes.
    torch.backends.cuda.enable_cudnn_sdp(False)
    return torch.device("cuda")


_ALONE = threading.RLock()


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' notices and bars to itself: a new head is meant to be new, and stdout is ours.

    One thread at a time: while it reads a model, transformers replaces functions of torch and of its own classes, and
    of two threads the second would put the replacements back for good.
    """
    import logging as standard

    from transformers.utils import logging

    # Where it is installed, peft imports it, and on a CPU it recommends a package that fetches code.
    standard.getLogger("bitsandbytes").setLevel(standard.ERROR)

    with _ALONE:
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


def read(head: str, model: str, **settings: Any) -> Any:
    """What a class of transformers reads from a model's folder: the only way in which a model, a config or a tokenizer
    comes into memory. Code that the folder may hold is never executed, nothing is asked on standard input, and the
    network is left alone.

    Args:
        head: the class, "AutoModel" or "AutoTokenizer" say.
        model: a folder or hub name that :func:`tsirius.models.hub.check` accepts.
        settings: of the class's ``from_pretrained``.

    Raises:
        UserError: it cannot be read so.
    """
    folder = hub.fetch(model)
    if head not in ("AutoTokenizer", "AutoConfig") and (folder / hub.ADAPTER_CONFIG).is_file():
        raise UserError(f"holds an adapter ({hub.ADAPTER_CONFIG}), which would be read in place of the model",
                        where=model, remedy="Give the folder of a whole model.")  # fmt: skip
    with quiet(), hub.loading(model), warnings.catch_warnings():
        import transformers

        warnings.filterwarnings("ignore", message=".*sacremoses.*")  # Marian does without
        return getattr(transformers, head).from_pretrained(
            str(folder), trust_remote_code=False, local_files_only=True, **settings
        )


def check(model: str, *, head: str, new_head: bool) -> None:
    """Make sure that a model at hand can be read, without reading its weights: its kind, their names and shapes, its
    tokenizer, its padding. One that has yet to be downloaded is looked at when it is read.

    Args:
        model: a folder or hub name that :func:`tsirius.models.hub.check` accepts.
        head: the transformers class that will read it.
        new_head: its head is made anew, for other labels.

    Raises:
        UserError: it cannot be read so.
    """
    if model != hub.EMBEDDED and hub.at_hand(model) is not None:  # the package's own is known by its fingerprint
        settle(_whole(head, model, new_head=new_head, device_map="meta")[0], tokenizer(model), where=model)


def _whole(head: str, model: str, *, new_head: bool, **settings: Any) -> tuple[Any, list[str]]:
    """A model in 32-bit floats with all of its weights.

    Args:
        head: the transformers class that reads it.
        model: a folder or hub name.
        new_head: the head may be lacking, or be for other labels: it is made anew.
        settings: of :func:`read`.

    Returns:
        The model, and the names of the parameters that its weights do not hold.

    Raises:
        UserError: it cannot be read so; or weights are missing, of other shapes, of more layers, or NaN.
    """
    import torch

    reader = TEXT_ENCODERS.get(hub.described(model).get("model_type", ""), head) if head == ENCODER else head
    loaded, loading = read(
        reader, model, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True, **settings
    )
    _check_use(loaded, head, where=model)
    mismatched = {str(name) for name, *_ in loading["mismatched_keys"]}
    new = sorted({*map(str, loading["missing_keys"]), *mismatched})
    prefix = "" if loaded.base_model is loaded else f"{loaded.base_model_prefix}."
    lacking = []
    for name in new:
        in_head = new_head and not name.startswith(prefix)
        pooler = name.startswith(f"{prefix}pooler.") and name not in mismatched  # embeddings do without
        if not in_head and not (pooler and (new_head or head == ENCODER)):
            lacking.append(name)
    inner = [name for name in lacking if name.startswith(prefix)]
    if len(inner) > len(loaded.base_model.state_dict()) / 2 or (new_head and mismatched & set(inner)):
        about = hub.described(model)
        own, kind = "auto_map" in about, about.get("model_type", "")
        if head == CLASSIFIER and kind in TEXT_ENCODERS and all("decoder" in name for name in lacking):
            raise UserError(f"holds the encoder of a {kind} alone, which makes embeddings and has no classifier",
                            where=model, remedy="Train a linear model on them: train.linear_encoder.")  # fmt: skip
        what = hub.OWN_CODE if own else "the weights are of another kind of model than config.json says"
        raise UserError(what, where=model, remedy=hub.REMEDY)
    if lacking:
        listed = ", ".join(lacking[:NAMED]) + (f" and {len(lacking) - NAMED} more" if len(lacking) > NAMED else "")
        what = "weights of the right shape" if mismatched & set(lacking) else "trained weights"
        raise UserError(f"has no {what} for {listed}", where=model,
                        remedy="Name a model that was trained for this, and give its whole folder.")  # fmt: skip
    _check_layers(loaded, loading["unexpected_keys"], where=model)
    for name, part in loaded.named_parameters():
        if not part.is_meta and not part.sum().isfinite() and not part.isfinite().all():
            raise UserError(f"its weights are NaN or infinite: {name}", where=model,
                            remedy="Train it again, or copy or download it again.")  # fmt: skip
    return loaded, new


def _check_use(loaded: Any, head: str, *, where: str) -> None:
    """Refuse a kind of model that is not called as the others are."""
    remedy = "Name another model."
    if not {"input_ids", "attention_mask"} <= inspect.signature(loaded.forward).parameters.keys():
        raise UserError(f"{loaded.config.model_type} takes no attention mask: what it says of a text would depend on"
                        " the texts beside it", where=where, remedy=remedy)  # fmt: skip
    if head == ENCODER and loaded.config.is_encoder_decoder:
        raise UserError(f"{loaded.config.model_type} is an encoder with a decoder, which gives no embeddings",
                        where=where, remedy="Name an encoder.")  # fmt: skip
    if head == CLASSIFIER and getattr(loaded.config, "summary_type", None) == "last":
        raise UserError(f"{loaded.config.model_type} classifies by the last column, padding included", where=where,
                        remedy=remedy)  # fmt: skip


def _check_layers(loaded: Any, unexpected: Iterable[str], *, where: str) -> None:
    """Refuse weights of layers that config.json does not count: without them it is another model."""
    stacks = {match[1] for name, _ in loaded.named_parameters() if (match := LAYER.match(name))}
    for name in sorted(map(str, unexpected)):
        match = LAYER.match(name)
        own = f".{match[1]}" if match else ""
        if own and any(own.endswith(f".{stack}") or f".{stack}".endswith(own) for stack in stacks):
            raise UserError(f"its weights have more layers than config.json says: {name}", where=where,
                            remedy=hub.REMEDY)  # fmt: skip


def settle(model: Any, tokenizer: Any, *, where: str) -> None:
    """Let a model know the padding that :func:`tsirius.models.batching.padding` decides on: a decoder's classifier
    looks for the last token before it.

    Args:
        model: a transformers or peft model.
        tokenizer: of the model.
        where: the model's name, for messages.

    Raises:
        UserError: no padding can be told, or the tokenizer is another model's.
    """
    remedy = "Give the tokenizer that belongs to the model."
    with hub.loading(where):
        embedded = model.get_input_embeddings().weight.shape[0]
        highest = max(tokenizer.get_vocab().values(), default=-1)
        longest = tokenizer.model_max_length
    if highest >= embedded:
        raise UserError(f"its tokenizer has {highest + 1:,} tokens, its embedding only {embedded:,}", where=where,
                        remedy=remedy)  # fmt: skip
    if isinstance(longest, bool) or not isinstance(longest, (int, float)) or not longest >= SHORTEST:
        raise UserError(f"its tokenizer's model_max_length is {longest!r}", where=where,
                        remedy=f"Set it to a number from {SHORTEST} on in its tokenizer_config.json.")  # fmt: skip
    config = model.config.get_text_config()
    pad = padding(tokenizer, config)
    by_end = model.config.is_encoder_decoder and type(model).__name__.endswith("Classification")
    if by_end and pad == model.config.eos_token_id:
        raise UserError("it classifies by the end token, which is its padding too", where=where,
                        remedy="Set another pad_token in its tokenizer_config.json.")  # fmt: skip
    if config.pad_token_id is None or not _counts_from_padding(model):
        model.config.pad_token_id = config.pad_token_id = pad


def _counts_from_padding(model: Any) -> bool:
    """Whether positions begin after a row of the padding, as XLM-R's: another padding would move them."""
    import torch

    return any(
        "position" in name.rpartition(".")[2] and isinstance(part, torch.nn.Embedding) and part.padding_idx is not None
        for name, part in model.named_modules()
    )


def base_classifier(model: str, *, names: Sequence[str], dropout: float | None) -> tuple[Any, list[str]]:
    """An encoder with a new head for ``names``, in 32-bit floats on the CPU.

    Args:
        model: a folder or hub name that :func:`tsirius.models.hub.check` accepts.
        names: the categories.
        dropout: before the head; None: as the model has it.

    Returns:
        The model, and the names of the parameters that its weights do not hold: the head's, and what the head needs.

    Raises:
        UserError: transformers has no classifier of this kind, or the weights are of another model.
    """
    import torch

    labels: dict[str, Any] = {
        "num_labels": len(names),
        "id2label": dict(enumerate(names)),
        "label2id": {name: index for index, name in enumerate(names)},
    }
    config = read("AutoConfig", model, **labels)
    loaded, new = _whole(CLASSIFIER, model, new_head=True, config=config)
    settle(loaded, tokenizer(model), where=model)
    if dropout is not None:  # config.json has another name for it in each kind of model, and some have none
        for part in _head(loaded):
            if isinstance(part, torch.nn.Dropout):
                part.p = dropout
    return loaded, new


def unfilled(model: str, categories: int) -> Any:
    """A classifier of a model's kind without weights, as large as it would be; of an encoder whose decoder its folder
    does not hold, the encoder.

    Raises:
        UserError: transformers has none of this kind.
    """
    import torch

    config = read("AutoConfig", model, num_labels=categories)
    with quiet(), hub.loading(model), torch.device("meta"):
        import transformers

        encoder = TEXT_ENCODERS.get(config.model_type, "")
        if encoder in (config.architectures or []):
            return getattr(transformers, encoder)(config)
        return transformers.AutoModelForSequenceClassification.from_config(config, trust_remote_code=False)  # type: ignore[no-untyped-call]  # transformers'


def _head(loaded: Any) -> Iterator[torch.nn.Module]:
    """The modules of a classifier that are not its encoder's."""
    return (part for child in loaded.children() if child is not loaded.base_model for part in child.modules())


def judge(model: str, *, head: str, precision: Precision) -> Any:
    """A model with the head that it was trained with, ready to score on :func:`device`.

    Args:
        model: a folder or hub name that :func:`tsirius.models.hub.check` accepts.
        head: the transformers class that reads it: "AutoModelForSequenceClassification" or "AutoModelForCausalLM".
        precision: "auto": 16-bit floats on a GPU, and in the linear layers on a CPU that multiplies them; or "fp32".

    Raises:
        UserError: it cannot be read so, or has no head of this kind.
    """
    from tsirius.models import first_token

    loaded, _ = _whole(head, model, new_head=False)
    return _placed(first_token.only(loaded), precision=precision, half=True, half_on_cpu=True)


def encoder(model: str, *, precision: Precision) -> Any:
    """An encoder without a head, ready to read on :func:`device`; arguments and errors as of :func:`judge`.

    On a CPU it computes in 32-bit floats: what is learned from its answers is used on other processors too.
    """
    loaded, _ = _whole(ENCODER, model, new_head=False)
    return _placed(loaded, precision=precision, half=True)


def composed(model: str, config: Mapping[str, Any], *, prefix: str, precision: Precision) -> tuple[Any, dict[str, Any]]:
    """The encoder inside a model of a kind that transformers does not know, and the weights beside it.

    Args:
        model: a folder or hub name; its weights are read from safetensors alone.
        config: of the encoder.
        prefix: what the names of the encoder's weights begin with.
        precision: as of :func:`judge`.

    Raises:
        UserError: the weights are not all there, or of another encoder.
    """
    import torch
    from safetensors.torch import load_file

    weights = {name: value.float() for path in sorted(hub.fetch(model).glob("*.safetensors"))
               for name, value in load_file(path).items()}  # fmt: skip
    inner = {name.removeprefix(prefix): weights.pop(name) for name in list(weights) if name.startswith(prefix)}
    if not inner:
        raise UserError(f"has no weights {prefix}… in safetensors", where=model, remedy=hub.REMEDY)
    with quiet(), hub.loading(model):
        from transformers import CONFIG_MAPPING, AutoModel

        own = CONFIG_MAPPING[config["model_type"]](**config)
        loaded: Any = AutoModel.from_config(own, trust_remote_code=False, dtype=torch.float32)  # type: ignore[no-untyped-call]  # transformers'
        loaded.load_state_dict(inner)
    return _placed(loaded, precision=precision, half=True, half_on_cpu=True), weights


def seq2seq(model: str, *, precision: Precision) -> Any:
    """A model that writes a text for a text, such as T5 or Marian, ready to generate on :func:`device`.

    T5's activations overflow 16-bit floats with few bits of exponent: on a GPU without bfloat16 it stays in 32 bits.

    Args:
        model: a folder or hub name that :func:`tsirius.models.hub.check` accepts.
        precision: as of :func:`judge`.

    Raises:
        UserError: it cannot be read so, or its weights are not all there.
    """
    loaded, _ = _whole("AutoModelForSeq2SeqLM", model, new_head=False)
    # Of T5 1.1 the head has weights of its own. Tying it to the embeddings would overwrite them without a word.
    head, embeddings = loaded.get_output_embeddings(), loaded.get_input_embeddings()
    if hub.described(model).get("tie_word_embeddings") is False and head.weight is embeddings.weight:
        raise UserError("its head took the weights of its embeddings on loading", where=model,
                        remedy="Install another version of transformers.")  # fmt: skip
    return _placed(loaded, precision=precision, half=loaded.config.model_type == "marian")


def _placed(loaded: Any, *, precision: Precision, half: bool, half_on_cpu: bool = False) -> Any:
    """Bring a model to the device and the precision wanted.

    Args:
        made: the model.
        precision: as of :func:`judge`.
        half: on a GPU fp16 will do where there is no bf16.
        half_on_cpu: bf16 will do on a CPU, under "auto".
    """
    import torch

    target = device()
    if target.type == "cuda" and precision != "fp32":
        # A T4 says that it knows bf16, but only emulates it.
        if torch.cuda.is_bf16_supported(including_emulation=False):
            loaded = loaded.to(torch.bfloat16)
        elif half:
            loaded = loaded.to(torch.float16)
    if target.type == "cpu":
        from tsirius.models import cpu

        loaded = cpu.packed(loaded, half=half_on_cpu and precision == "auto")
    return loaded.to(target).eval()


def tokenizer(model: str) -> Any:
    """The tokenizer of a folder or hub name that :func:`tsirius.models.hub.check` accepts.

    Raises:
        UserError: its files cannot be read.
    """
    return read("AutoTokenizer", model)
