"""GeRaCl: all category names and the review in one sequence, so that a review costs one pass.

An encoder reads the names, each closed by a token of its own, and then the text. The states of a name's tokens are
averaged and go through one small network, those of the text through another; a category's score is the product of both
vectors. As published at github.com/deepvk/geracl for deepvk/GeRaCl-USER2-base (Apache-2.0), after GLiNER (Zaratiana et
al. 2023, arXiv 2311.08526). Its folder asks for code of its own, which is never executed: the head is read here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field
from scipy.special import softmax

from tsirius.errors import UserError
from tsirius.labellers import Labeller, Material, Votes
from tsirius.labellers.hypotheses import descriptions
from tsirius.models import hub
from tsirius.models.batching import HALF, Budget, budget_on, check_alone, does_not_fit, in_batches, padded_with_mask
from tsirius.models.load import Precision
from tsirius.models.tokens import token_ids
from tsirius.progress import Advance
from tsirius.section import Section

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

BLIND = True
KEEP = True
MODEL_TYPE, ENCODER_CONFIG = "geracl", "embedder_config"
CORE = "_classification_core"
ENCODER, TEXT_NETWORK, NAME_NETWORK = f"{CORE}._token_embedder.", f"{CORE}._mlp_text.", f"{CORE}._mlp_classes."
"""What the weights of each part are called by."""
POOLED = ("mean", "first")
"""A name's vector: the mean of its tokens' states, or the state of the token that closes it."""
ROOM = 16
"""Tokens that have to be left for a text beside the names."""


class Config(Section):
    """GeRaCl: an encoder reads all category names and the review at once."""

    model: str = Field("deepvk/GeRaCl-USER2-base", min_length=1)
    """A model of this kind, a folder or a hub name."""
    parts: Literal["name", "description", "joined"] = "name"
    """What of a category is read: its "name", its "description", or both "joined" by a colon."""
    none_description: bool = True
    """Read the description of the none-category in place of its name, which says nothing to such a model."""
    precision: Precision = "auto"
    """"fp32"; or "auto": 16-bit floats on a GPU, and in the linear layers on a CPU that multiplies them."""
    max_length: int = Field(1024, ge=64)
    """Tokens of a sequence, the names counted."""
    batch_tokens: int = Field(1024, ge=1)
    """Initial tokens of a batch; fewer where memory is short."""

    speed_only = frozenset({"batch_tokens"})


def models(config: Config, *, encoder: str) -> dict[str, str]:
    """The model."""
    return {"label.geracl.model": config.model}


def check(config: Config) -> None:
    """Make sure that a model at hand is of this kind; one to be downloaded is looked at when it is read.

    Raises:
        UserError: it is not.
    """
    if given := hub.described(config.model):
        _check(given, where=config.model)


def make(config: Config, material: Material) -> Labeller:
    """The labeller of the categories.

    Raises:
        UserError: the model cannot be read, or the names leave no room for a text.
    """
    names = [
        descriptions(category, "description" if category.none and config.none_description else config.parts)[0]
        for category in material.categories
    ]
    return geracl(
        config.model, names, shown=material.categories.names, precision=config.precision, max_length=config.max_length,
        batch_tokens=config.batch_tokens,
    )  # fmt: skip


def reopen(config: Config, material: Material) -> Labeller:
    """As :func:`make`: it learns nothing."""
    return make(config, material)


@dataclass(frozen=True, eq=False)
class Geracl:
    """The model with the names of some categories.

    Attributes:
        model: its name, for messages.
        shown: the categories.
        tokens: texts → their token ids, without special ones, cut to what fits.
        score: token ids of texts → the score of each category, [B, K].
        around: tokens of a sequence beside the text's.
        budget: tokens of a batch, padding included.
    """

    model: str
    shown: Sequence[str]
    tokens: Callable[[Sequence[str]], list[list[int]]]
    score: Callable[[list[list[int]]], NDArray[np.float32]]
    around: int
    budget: Budget

    @property
    def name(self) -> str:
        return "geracl"

    def label(self, texts: Sequence[str], *, advance: Advance | None = None) -> Votes:
        """The softmax of the scores; it abstains on a text without a token. The evidence is the best category."""
        tokens = self.tokens(texts)
        spoken = [row for row, ids in enumerate(tokens) if ids]
        if advance and len(spoken) < len(texts):
            advance(len(texts) - len(spoken))
        result = np.full((len(texts), len(self.shown)), np.nan, dtype=np.float32)
        lengths = [len(tokens[row]) + self.around for row in spoken]

        def compute(rows: NDArray[np.int64]) -> NDArray[np.float32]:
            return self.score([tokens[spoken[row]] for row in rows])

        for rows, scores in in_batches(lengths, compute, budget=self.budget):
            if scores is None:
                raise does_not_fit(lengths[rows[0]], where=self.model)
            result[[spoken[row] for row in rows]] = softmax(scores, axis=1)
            if advance:
                advance(len(rows))
        silent = np.isnan(result[:, 0])
        best = np.nan_to_num(result).argmax(axis=1)
        return Votes(result, [[] if none else [self.shown[k]] for none, k in zip(silent, best, strict=True)])


def geracl(
    model: str, names: Sequence[str], *, shown: Sequence[str], precision: Precision, max_length: int, batch_tokens: int
) -> Geracl:
    """The model as a labeller.

    Args:
        model: a folder or hub name.
        names: what is read of each category.
        shown: what each category is called.
        precision: as of :func:`tsirius.models.load.judge`.
        max_length: tokens of a sequence.
        batch_tokens: initial tokens of a batch on a CPU; a GPU takes more.

    Raises:
        UserError: the model cannot be read, or the names leave no room for a text.
    """
    import torch

    from tsirius.models import encode, load

    about = _check(hub.read_json(hub.fetch(model) / hub.CONFIG), where=model)
    words = load.tokenizer(model)
    inner = {"model_type": "modernbert", **about[ENCODER_CONFIG]}
    inner["vocab_size"] = about.get("tokenizer_len") or inner.get("vocab_size")  # names and text have a token between
    encoder, head = load.composed(model, inner, prefix=ENCODER, precision=precision)
    load.settle(encoder, words, where=model)
    length = encode.longest(encoder, words, max_length)
    ends = _ends(words, where=model)
    before, spans = _named(words, names, ends)
    room = length - len(before) - 2
    if room < ROOM:
        raise UserError(f"its {len(names)} category names leave {max(0, room)} of {length} tokens for a text",
                        where=model, remedy="Shorten them, or label with another labeller.")  # fmt: skip
    networks = [_network(head, prefix, encoder.device, where=model) for prefix in (TEXT_NETWORK, NAME_NETWORK)]
    first = about.get("pooling_type") == "first"

    def score(rows: list[list[int]]) -> NDArray[np.float32]:
        sequences = [[*before, ends["sep"], *row, ends["eos"]] for row in rows]
        with torch.inference_mode():
            return _scores(encoder, sequences, spans, networks, pad=ends["pad"], start=len(before) + 1, first=first)

    def tokens(texts: Sequence[str]) -> list[list[int]]:
        return [ids[:room] for ids in token_ids(words, texts, max_length=None, special=False)]

    check_alone(score, tokens(encode.NEIGHBOURS), rounding=HALF, where=model)
    budget = budget_on(encoder.device, batch_tokens)
    return Geracl(model, shown, tokens, score, len(before) + 2, budget)


def _check(config: Mapping[str, Any], *, where: str) -> Mapping[str, Any]:
    """What a config.json of this kind of model says.

    Raises:
        UserError: it is another kind's.
    """
    remedy = "Name a model such as deepvk/GeRaCl-USER2-base."
    if str(config.get("model_type", "")).lower() != MODEL_TYPE or not isinstance(config.get(ENCODER_CONFIG), dict):
        raise UserError("is no GeRaCl model", where=where, remedy=remedy)
    if config.get("pooling_type", POOLED[0]) not in POOLED:
        raise UserError(f"its pooling_type {config['pooling_type']!r} is not known", where=where, remedy=remedy)
    return config


def _ends(words: Any, *, where: str) -> dict[str, int]:
    """The special tokens that the sequence is built of."""
    result = {name: getattr(words, f"{name}_token_id") for name in ("bos", "cls", "sep", "eos", "pad")}
    for name, token in result.items():
        if token is None:
            raise UserError(f"its tokenizer has no {name}_token", where=where, remedy=hub.AGAIN)
    return result


def _named(words: Any, names: Sequence[str], ends: Mapping[str, int]) -> tuple[list[int], list[tuple[int, int]]]:
    """The tokens up to the last name's end, and where each name begins and ends among them."""
    before, spans = [ends["bos"]], []
    for ids in words(list(names), add_special_tokens=False)["input_ids"]:
        spans.append((len(before), len(before) + len(ids)))
        before += [*ids, ends["cls"]]
    return before, spans


def _scores(
    encoder: Any,
    sequences: list[list[int]],
    spans: Sequence[tuple[int, int]],
    networks: Sequence[torch.nn.Module],
    *,
    pad: int,
    start: int,
    first: bool,
) -> NDArray[np.float32]:
    """The score of each name for each text, [B, K].

    Args:
        encoder: of transformers.
        sequences: token ids.
        spans: where each name begins and ends in all of them.
        networks: of the text, and of the names.
        pad: fills up.
        start: of the text.
        first: a name's vector is the state of the token that closes it.
    """
    import torch

    ids, mask = (torch.from_numpy(part).to(encoder.device) for part in padded_with_mask(sequences, pad, left=False,
                                                                                        multiple=1))  # fmt: skip
    states = encoder(input_ids=ids, attention_mask=mask).last_hidden_state.float()
    lengths = mask.sum(dim=1, keepdim=True)
    at = torch.arange(ids.shape[1], device=ids.device)[None]
    spoken = ((at >= start) & (at < lengths - 1)).float()[:, :, None]
    text = (states * spoken).sum(dim=1) / spoken.sum(dim=1).clamp(min=1e-9)
    names = [states[:, end] if first else states[:, begin:end].mean(dim=1) for begin, end in spans]
    own, named = networks[0](text), networks[1](torch.stack(names, dim=1))
    result: NDArray[np.float32] = (named * own[:, None]).sum(dim=-1).cpu().numpy()
    return result


def _network(weights: Mapping[str, torch.Tensor], prefix: str, device: Any, *, where: str) -> torch.nn.Module:
    """Linear, GELU, linear; a dropout stands between them in training."""
    import torch

    own = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    expected = {f"{layer}.{part}" for layer in (0, 3) for part in ("weight", "bias")}
    if set(own) != expected:
        raise UserError(f"has no weights {prefix}{min(expected - set(own), default='')}", where=where,
                        remedy=hub.AGAIN)  # fmt: skip
    wide, width = own["0.weight"].shape
    result = torch.nn.Sequential(
        torch.nn.Linear(width, wide), torch.nn.Identity(), torch.nn.GELU(), torch.nn.Linear(wide, width)
    )
    with hub.loading(where):
        result.load_state_dict(own)
    if not all(value.isfinite().all() for value in own.values()):
        raise UserError("its weights are NaN or infinite", where=where, remedy=hub.AGAIN)
    return result.to(device).eval()
