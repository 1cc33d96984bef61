"""How a model makes one embedding of a text: the prompt before it, what is taken of its states, the layers after that.

A folder in the layout of sentence-transformers says it itself: ``modules.json`` lists the steps, each with a folder of
its own, and ``config_sentence_transformers.json`` holds the prompts. Families that are published without these files,
or whose files leave something out, are known by name from their model cards. Of any other folder the mean is taken, and
it is said that the folder did not ask for it. Nothing here loads torch before a text is read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from tsirius.errors import UserError
from tsirius.models import hub

if TYPE_CHECKING:
    import torch

    Compute = Callable[[torch.Tensor], torch.Tensor]

Mode = Literal["mean", "cls", "last", "max", "weighted", "mean_sqrt"]
"""What is taken of the states of a text's tokens: their mean, the first, the last, the largest of each number, the mean
weighted by position, or the sum over the square root of the number of tokens."""
MODULES, PROMPTS, LENGTH = "modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"
POOLING_MODES: dict[str, Mode] = {
    "cls": "cls", "max": "max", "mean": "mean", "mean_sqrt_len_tokens": "mean_sqrt", "weightedmean": "weighted",
    "lasttoken": "last",
}  # fmt: skip
"""Names of pooling.py of sentence-transformers, in the order in which several are put side by side."""
OLDER_MODES = {
    "pooling_mode_cls_token": "cls", "pooling_mode_max_tokens": "max", "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt", "pooling_mode_weightedmean_tokens": "weighted",
    "pooling_mode_lasttoken": "last",
}  # fmt: skip
"""The same as switches, as releases before the sixth wrote them."""
OWN_PROMPTS = ("classification", "categorize_topic", "categorize", "topic", "query", "search_query")
"""Names of prompts for a text that is put under a category, the most fitting first."""
ANSWER_PROMPTS = {"query": ("document", "passage"), "search_query": ("search_document",)}
"""For a prompt that is a question: those of what it is answered with."""
INSTRUCTION = "Instruct: Given a product review, name the category of the product\nQuery: "
"""For models that take an instruction; in the form of their cards."""
ACTIVATIONS = ("Tanh", "Identity", "ReLU", "GELU", "SiLU", "Sigmoid")
"""Of torch.nn, after a dense layer."""


@dataclass(frozen=True)
class Layer:
    """A layer after the pooling.

    Attributes:
        kind: "Dense" or "LayerNorm".
        folder: with its weights, under the model's.
        activation: of torch.nn, after a dense one.
        residual: a dense layer's input is added to what it gives.
    """

    kind: Literal["Dense", "LayerNorm"]
    folder: str
    activation: str = "Identity"
    residual: bool = False


@dataclass(frozen=True)
class Pooling:
    """How an embedding is made; it is always scaled to length 1.

    Attributes:
        modes: put side by side where there are several.
        prompt: stands before a text.
        category_prompt: stands before the words of a category.
        prompt_counts: whether the prompt's own tokens are pooled.
        layers: after the pooling.
        max_length: tokens that the model was made for, where its folder says so.
        lower: whether texts are in lower case.
        source: where this is from, in words.
    """

    modes: tuple[Mode, ...] = ("mean",)
    prompt: str = ""
    category_prompt: str = ""
    prompt_counts: bool = True
    layers: tuple[Layer, ...] = ()
    max_length: int | None = None
    lower: bool = False
    source: str = "its folder does not say"

    def __str__(self) -> str:
        parts = [" + ".join(self.modes)]
        parts += [f"prompt {self.prompt!r}"] if self.prompt else ["no prompt"]
        if self.category_prompt != self.prompt:
            parts.append(f"for categories {self.category_prompt!r}" if self.category_prompt else "none for categories")
        parts += [layer.kind.lower() for layer in self.layers]
        return f"{', '.join(parts)} ({self.source})"

    def key(self) -> dict[str, Any]:
        """What decides an embedding, beside the model's files and the length."""
        return {
            "modes": list(self.modes),
            "prompt": self.prompt,
            "category_prompt": self.category_prompt,
            "prompt_counts": self.prompt_counts,
            "layers": [[layer.kind, layer.folder, layer.activation, layer.residual] for layer in self.layers],
            "lower": self.lower,
        }


FAMILIES: tuple[tuple[str, Pooling], ...] = (
    (r"e5-large-instruct|e5-mistral|qwen3-embedding|gte-qwen2|f2llm", Pooling(("last",), INSTRUCTION, "")),
    (r"(^|[-/])(multilingual-)?e5-(small|base|large)", Pooling(("mean",), "query: ", "query: ")),
    (r"user2-", Pooling(("mean",), "classification: ", "classification: ")),
    (r"(^|[-/])berta$|rubert-\w+-frida|frida$", Pooling(("mean",), "categorize_topic: ", "categorize_topic: ")),
    (r"ru-en-rosberta", Pooling(("cls",), "classification: ", "classification: ")),
    (r"(^|[-/])(user-)?bge-|(^|[-/])gte-(base|large|small|multilingual)|labse", Pooling(("cls",))),
    (r"embeddinggemma", Pooling(("mean",), "task: classification | query: ", "task: classification | query: ")),
)
"""Part of a name → what the model's card says. What the folder says goes before."""
BY_CARD = {"e5-large-instruct": ("mean",), "frida": ("cls",)}
"""Exceptions in a family: multilingual-e5-large-instruct is pooled by the mean, FRIDA itself by its first token."""


def of(model: str, *, mode: Mode | None = None, prefix: str | None = None) -> Pooling:
    """How the embeddings of an encoder are made.

    Args:
        model: a folder or hub name at hand, see :func:`tsirius.models.hub.at_hand`.
        mode: in place of what the model says.
        prefix: in place of its prompts, before reviews and categories.

    Raises:
        UserError: its folder asks for a step that is not known, or contradicts itself.
    """
    result = in_folder(model, hub.folder(model) if model in hub.OWN else hub.fetch(model))
    if model in hub.OWN:
        return result
    if mode is not None:
        result = replace(result, modes=(mode,), source="pooling by setting")
    if prefix is not None:
        source = "prompt by setting" if mode is None else "by setting"
        result = replace(result, prompt=prefix, category_prompt=prefix, source=source)
    return result


def in_folder(model: str, folder: Path) -> Pooling:
    """How an encoder's embeddings are made, by its name and the small files in ``folder``; errors as of :func:`of`."""
    if model in hub.OWN:
        return Pooling(source="built in")
    family = _family(model, folder)
    return _from_folder(folder, family) if (folder / MODULES).is_file() else family or Pooling()


def _family(model: str, folder: Path) -> Pooling | None:
    """What is known of the family of a model, by its name, its folder's name or the name in its config.json."""
    names = [model, folder.name, str(hub.read_json(folder / hub.CONFIG).get("_name_or_path", ""))]
    for name in (part.lower().rstrip("/") for part in names):
        for pattern, result in FAMILIES:
            if match := re.search(pattern, name):
                for part, modes in BY_CARD.items():
                    if name.endswith(part) and "rubert" not in name:
                        result = replace(result, modes=modes)  # type: ignore[arg-type]  # Modes
                return replace(result, source=f"known of {match[0].strip('-/')}")
    return None


def _from_folder(folder: Path, family: Pooling | None) -> Pooling:
    steps = hub.read_json_list(folder / MODULES)
    modes, layers, counts = tuple[Mode, ...](), list[Layer](), True
    for step in steps:
        where = folder / MODULES
        kind = str(step.get("type", "")).rpartition(".")[2] if isinstance(step, dict) else ""
        path = str(step.get("path", "")) if isinstance(step, dict) else ""
        if path and not re.fullmatch(r"[\w-][\w.-]*", path):
            raise UserError(f"names the folder {path[:80]!r}", where=where, remedy=hub.AGAIN)
        if kind == "Pooling":
            modes, counts = _modes(folder / path / hub.CONFIG)
        elif kind == "Dense" and modes:
            layers.append(_dense(folder, path))
        elif kind == "LayerNorm" and modes:
            layers.append(Layer("LayerNorm", path))
        elif kind not in ("Transformer", "Normalize", "Dropout"):
            raise UserError(f"asks for a step {kind or str(step)!r}, which is not known", where=where,
                            remedy="Name another encoder.")  # fmt: skip
    if not modes:
        raise UserError("has no step Pooling", where=folder / MODULES, remedy="Name another encoder.")
    prompt, category_prompt = _prompts(folder, family)
    about = hub.read_json(folder / LENGTH) if (folder / LENGTH).is_file() else {}
    length = about.get("max_seq_length")
    return Pooling(
        modes=modes,
        prompt=prompt,
        category_prompt=category_prompt,
        prompt_counts=counts,
        layers=tuple(layers),
        max_length=length if isinstance(length, int) and length > 0 else None,
        lower=about.get("do_lower_case") is True,
        source=f"by its {MODULES}",
    )


def _modes(path: Path) -> tuple[tuple[Mode, ...], bool]:
    about = hub.read_json(path)
    named = about.get("pooling_mode")
    if named is None:
        found = tuple(mode for switch, mode in OLDER_MODES.items() if about.get(switch) is True) or ("mean",)
    else:
        found = tuple(
            POOLING_MODES.get(str(name), str(name)) for name in ([named] if isinstance(named, str) else named)
        )
    for name in found:
        if name not in get_args(Mode):
            raise UserError(f"asks for the pooling {name!r}, which is not known", where=path,
                            remedy=f"Known are {', '.join(POOLING_MODES)}.")  # fmt: skip
    return found, about.get("include_prompt", True) is not False  # type: ignore[return-value]  # checked above


def _dense(folder: Path, path: str) -> Layer:
    about = hub.read_json(folder / path / hub.CONFIG)
    name = str(about.get("activation_function", "torch.nn.modules.activation.Tanh"))
    activation = name.rpartition(".")[2]
    if not name.startswith("torch.nn.") or activation not in ACTIVATIONS:
        raise UserError(f"asks for the activation {name!r}, which is not known", where=folder / path / hub.CONFIG,
                        remedy=f"Known are {', '.join(ACTIVATIONS)} of torch.nn.")  # fmt: skip
    if about.get("module_input_name", "sentence_embedding") != "sentence_embedding":
        raise UserError("is a dense layer of tokens, not of the embedding", where=folder / path / hub.CONFIG,
                        remedy="Name another encoder.")  # fmt: skip
    return Layer("Dense", path, activation, about.get("use_residual") is True)


def _prompts(folder: Path, family: Pooling | None) -> tuple[str, str]:
    """The prompts before a review and before a category's words."""
    about = hub.read_json(folder / PROMPTS) if (folder / PROMPTS).is_file() else {}
    prompts = about.get("prompts")
    named = {str(name).lower(): text for name, text in prompts.items()} if isinstance(prompts, Mapping) else {}
    named = {name: text for name, text in named.items() if isinstance(text, str)}
    if not any(named.values()):
        return (family.prompt, family.category_prompt) if family else ("", "")
    for name in (*OWN_PROMPTS, str(about.get("default_prompt_name"))):
        if name in named:
            if named[name].startswith("Instruct:"):
                return (family.prompt if family else INSTRUCTION), ""
            answer = next((named[other] for other in ANSWER_PROMPTS.get(name, ()) if other in named), named[name])
            return named[name], answer
    return "", ""


def restored(model: str, key: Mapping[str, Any] | None, *, where: Path) -> Pooling:
    """The pooling that :meth:`Pooling.key` described; None: that of the encoder itself.

    Args:
        model: the encoder.
        key: as it was published.
        where: it was published, for messages.

    Raises:
        UserError: it describes none.
    """
    own = of(model)
    if key is None:
        return own
    try:
        return replace(own, modes=tuple(key["modes"]), prompt=key["prompt"], category_prompt=key["category_prompt"],
                       prompt_counts=key["prompt_counts"], layers=tuple(Layer(*part) for part in key["layers"]),
                       lower=key["lower"])  # fmt: skip
    except (KeyError, TypeError) as error:
        raise UserError(f"does not describe a pooling ({error})", where=where, remedy="Run it again.") from None


def pooled(states: torch.Tensor, mask: torch.Tensor, modes: Sequence[Mode], *, skipped: int) -> torch.Tensor:
    """One vector of each text's states.

    Args:
        states: of its tokens, [B, L, W], in 32-bit floats.
        mask: 1 for a token and 0 for padding, on either side, [B, L].
        modes: what is taken.
        skipped: tokens at its beginning that are left out: the prompt's.

    Returns:
        [B, W times the modes].
    """
    import torch

    position = mask.cumsum(dim=1)  # from 1 on, by token
    kept = (mask > 0) & (position > skipped)
    weight = kept.to(states.dtype)[:, :, None]
    rows = torch.arange(len(states), device=states.device)
    result = []
    for mode in modes:
        if mode == "cls":
            result.append(states[rows, kept.to(torch.int32).argmax(dim=1)])
        elif mode == "last":
            result.append(states[rows, (position * mask).argmax(dim=1)])
        elif mode == "max":
            result.append(states.masked_fill(~kept[:, :, None], float("-inf")).amax(dim=1))
        elif mode == "weighted":
            weighted = weight * position[:, :, None]
            result.append((states * weighted).sum(dim=1) / weighted.sum(dim=1).clamp(min=1e-9))
        else:
            count = weight.sum(dim=1).clamp(min=1e-9)
            result.append((states * weight).sum(dim=1) / (count if mode == "mean" else count.sqrt()))
    return torch.cat(result, dim=1)


def head(model: str, pooling: Pooling, *, width: int, device: torch.device) -> tuple[list[Compute], int]:
    """The layers after the pooling, in 32-bit floats, one after the other, and the numbers that the last one gives.

    Args:
        model: a folder or hub name at hand.
        pooling: of :func:`of`.
        width: numbers of a state.
        device: where they compute.

    Raises:
        UserError: weights are missing, of another shape, or NaN.
    """
    folder, width = hub.fetch(model), width * len(pooling.modes)
    result: list[Compute] = []
    for layer in pooling.layers:
        compute, width = _read(folder / layer.folder, layer, width, device)
        result.append(compute)
    return result, width


def _read(folder: Path, layer: Layer, width: int, device: torch.device) -> tuple[Compute, int]:
    import torch

    weights = _weights(folder)
    prefix = "linear" if layer.kind == "Dense" else "norm"
    if f"{prefix}.weight" not in weights:
        raise UserError(f"has no weights {prefix}.weight", where=folder, remedy=hub.AGAIN)
    inner: torch.nn.Module
    if layer.kind == "LayerNorm":
        inner, wide = torch.nn.LayerNorm(width), width
    else:
        wide = int(weights["linear.weight"].shape[0])
        inner = torch.nn.Linear(width, wide, bias="linear.bias" in weights)
    own = {name.partition(".")[2]: value for name, value in weights.items() if name.startswith(f"{prefix}.")}
    shortcut: torch.nn.Module = torch.nn.Identity()
    with hub.loading(folder):
        inner.load_state_dict(own)
        if "residual.weight" in weights:
            shortcut = torch.nn.Linear(width, wide, bias=False)
            shortcut.load_state_dict({"weight": weights["residual.weight"]})
    if not all(value.isfinite().all() for value in weights.values()):
        raise UserError("its weights are NaN or infinite", where=folder, remedy=hub.AGAIN)
    inner, shortcut = inner.to(device), shortcut.to(device)
    if layer.kind == "LayerNorm":
        return inner, wide
    activation = getattr(torch.nn, layer.activation)()
    if not layer.residual:
        return lambda given: activation(inner(given)), wide
    return lambda given: activation(inner(given)) + shortcut(given), wide


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    import torch
    from safetensors.torch import load_file

    path = folder / hub.WEIGHTS[0]
    with hub.loading(folder):
        if path.is_file():
            found = load_file(path)
        elif (path := folder / hub.WEIGHTS[2]).is_file():
            found = torch.load(path, map_location="cpu", weights_only=True)
        else:
            raise UserError(f"the model has no {hub.WEIGHTS[0]}", where=folder, remedy="Give the model's whole folder.")
        return {name: value.float() for name, value in found.items()}
