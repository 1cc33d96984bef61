"""Models and tokenizers into memory, on the device and in the precision wanted."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator

from tsirius.errors import UserError
from tsirius.models import hub

if TYPE_CHECKING:
    import torch


def _without_int8(value: object) -> object:
    if value == "int8":
        raise ValueError("int8 is no longer offered: 16-bit floats (auto) are faster and nearer to fp32")
    return value


Precision = Annotated[Literal["auto", "fp32"], BeforeValidator(_without_int8)]
"""What a model computes in, see :func:`judge`."""


def device() -> torch.device:
    """The GPU where torch can use one, else the CPU."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' notices and bars to itself: a new head is meant to be new, and stdout is ours."""
    import logging as standard

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
        model: a folder or hub name that :func:`tsirius.models.hub.check` accepts.
        names: the categories.
        dropout: before the head; None: as the model has it.

    Returns:
        The model, and the names of the parameters that its weights do not hold: the head's, and what the head needs.

    Raises:
        UserError: transformers has no classifier of this kind, or the weights are of another model.
    """
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    folder = str(hub.fetch(model))
    labels: dict[str, Any] = {
        "num_labels": len(names),
        "id2label": dict(enumerate(names)),
        "label2id": {name: index for index, name in enumerate(names)},
    }
    with quiet(), hub.loading(model):
        config = AutoConfig.from_pretrained(folder, **labels)
        if config.pad_token_id is None:  # a decoder's head looks for the last token before it
            config.pad_token_id = tokenizer(model).pad_token_id
        loaded, loading = AutoModelForSequenceClassification.from_pretrained(
            folder, config=config, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True
        )
    other = {name for name, *_ in loading["mismatched_keys"]}  # a head for other labels, which is made anew
    new = sorted({*loading["missing_keys"], *other})
    held = loaded.base_model.state_dict().keys()
    prefix = f"{loaded.base_model_prefix}."
    lacking = sum(name.removeprefix(prefix) in held for name in new)
    if dropout is not None:  # config.json has another name for it in each kind of model, and some have none
        for part in _head(loaded):
            if isinstance(part, torch.nn.Dropout):
                part.p = dropout
    if lacking > len(held) / 2 or any(name.startswith(prefix) for name in other):
        raise UserError(
            "the weights are of another kind of model than config.json says", where=model, remedy=hub.REMEDY
        )
    return loaded, new


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
    import torch
    import transformers

    from tsirius.models import first_token

    with quiet(), hub.loading(model):
        loaded, loading = getattr(transformers, head).from_pretrained(
            str(hub.fetch(model)), dtype=torch.float32, output_loading_info=True
        )
    if loading["missing_keys"]:
        raise UserError(f"has no trained weights for {sorted(loading['missing_keys'])[0]}", where=model,
                        remedy="Name a model that was trained for this.")  # fmt: skip
    return _placed(first_token.only(loaded), precision=precision, half=True, half_on_cpu=True)


def encoder(model: str, *, precision: Precision) -> Any:
    """An encoder without a head, ready to read on :func:`device`; arguments and errors as of :func:`judge`.

    On a CPU it computes in 32-bit floats: what is learned from its answers is used on other processors too.
    """
    import torch
    from transformers import AutoModel

    with quiet(), hub.loading(model):
        loaded = AutoModel.from_pretrained(str(hub.fetch(model)), dtype=torch.float32)
    return _placed(loaded, precision=precision, half=True)


def seq2seq(model: str, *, precision: Precision) -> Any:
    """A model that writes a text for a text, such as T5 or Marian, ready to generate on :func:`device`.

    T5's activations overflow 16-bit floats with few bits of exponent: on a GPU without bfloat16 it stays in 32 bits.

    Args:
        model: a folder or hub name that :func:`tsirius.models.hub.check` accepts.
        precision: as of :func:`judge`.

    Raises:
        UserError: it cannot be read so, or its weights are not all there.
    """
    import torch
    from transformers import AutoModelForSeq2SeqLM

    path = hub.fetch(model)
    with quiet(), hub.loading(model):
        loaded, loading = AutoModelForSeq2SeqLM.from_pretrained(
            str(path), dtype=torch.float32, output_loading_info=True
        )
    if loading["missing_keys"]:
        raise UserError(
            f"has no trained weights for {sorted(loading['missing_keys'])[0]}", where=model, remedy=hub.REMEDY
        )
    # Of T5 1.1 the head has weights of its own. Tying it to the embeddings would overwrite them without a word.
    head, embeddings = loaded.get_output_embeddings(), loaded.get_input_embeddings()
    if hub.read_json(path / hub.CONFIG).get("tie_word_embeddings") is False and head.weight is embeddings.weight:
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
    from transformers import AutoTokenizer

    path = hub.fetch(model)
    with quiet(), hub.loading(model), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*sacremoses.*")  # Marian does without
        return AutoTokenizer.from_pretrained(str(path))
