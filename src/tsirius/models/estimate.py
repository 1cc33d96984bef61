"""Will a training fit on a card, and how long will it take? Arithmetic alone: nothing is loaded. See docs/memory.md.

The counts are of a model trained as :mod:`tsirius.models.adapters` says, on a GPU under autocast. BERT-like encoders
are known by the numbers of their config.json; of all other kinds transformers makes the layers, without weights.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from tsirius import extras
from tsirius.errors import UserError, nearest
from tsirius.models import hub

MIB, GIB = 2**20, 2**30

CONTEXT = 600 * MIB
"""What CUDA and its libraries take before the first tensor, outside torch's own count."""
PLAIN_LAYER = 6
"""Linear layers in a layer of BERT's kind."""
SLACK = 1.05
"""torch's allocator keeps gaps between tensors of different size."""
NF4 = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Bytes of a weight in 4 bits: a scale of a byte for 64 of them, and one of 4 bytes for 256 scales."""
CATEGORIES = 5
"""Of a head whose weights are counted."""
ENDLESS = 1 << 20
"""Positions of a model without a table of them and without a limit in its config.json."""
REVIEW_TOKENS = 48
"""A review's length where nothing better is known: what the case's reviews have, rounded up."""


@dataclass(frozen=True)
class Device:
    """A card: its memory in GiB as a program sees it, and the TFLOP/s of its 16-bit matrix units at best."""

    name: str
    gib: float
    half: str
    tflops: float

    @property
    def newer(self) -> bool:
        """Whether it has bf16, as cards have from Ampere on: there layers are those of :mod:`tsirius.models.layers`."""
        return self.half == "bf16"


DEVICES = {
    device.name: device
    for device in (
        Device("t4", 14.7, "fp16", 65),
        Device("p100", 15.9, "fp16", 19),
        Device("v100", 15.8, "fp16", 112),
        Device("rtx3060", 11.8, "bf16", 51),
        Device("l4", 22.0, "bf16", 121),
        Device("a10", 22.0, "bf16", 125),
        Device("a100", 39.4, "bf16", 312),
        Device("h100", 79.2, "bf16", 989),
        Device("h200", 139.8, "bf16", 989),
    )
}
SHARE = 0.25
"""Of a card's best, what training reaches: an assumption, on the careful side."""


@dataclass(frozen=True)
class Shape:
    """An encoder or decoder with a classifier's head, as far as memory and time depend on it.

    Attributes:
        layers: how many.
        hidden: width of a state.
        inner: width inside the feed-forward part.
        heads: of attention.
        query: width of the queries of all heads together.
        keys: width of the keys, and of the values: less than ``query`` where heads share them.
        gated: the feed-forward part has two layers side by side, whose outputs are multiplied.
        whole_attention: the scores of every token with every other are kept, as DeBERTa's: no fused kernel makes them.
        positions: tokens that can be read at most, with those that a table of positions leaves out.
        matrices: (in, out) of each linear layer beneath the head.
        others: all other weights beneath the head: embeddings, biases, normalisation.
        head: weights of the head, and those that each category adds to it.
    """

    layers: int
    hidden: int
    inner: int
    heads: int
    query: int
    keys: int
    gated: bool
    whole_attention: bool
    positions: int
    matrices: tuple[tuple[int, int], ...]
    others: int
    head: tuple[int, int]

    @property
    def linear(self) -> int:
        """Weights of the linear layers beneath the head."""
        return sum(into * out for into, out in self.matrices)

    @property
    def widths(self) -> int:
        """Numbers that go into the linear layers and come out of them, all together: adapters have them ``r`` times."""
        return sum(into + out for into, out in self.matrices)

    @property
    def in_a_layer(self) -> int:
        """Linear layers in one of the layers."""
        return round(len(self.matrices) / self.layers)


def bert_like(given: Mapping[str, Any]) -> Shape:
    """The shape of a BERT, RoBERTa or XLM-R with the numbers of its config.json."""
    layers, h, i = given["num_hidden_layers"], given["hidden_size"], given["intermediate_size"]
    a_layer = ((h, h),) * 4 + ((h, i), (i, h))
    # Of BERT the layer that pools comes with the weights, and is adapted; of the others it is in the head.
    pools = given.get("model_type") == "bert"
    tables = given["vocab_size"] + given["max_position_embeddings"] + given.get("type_vocab_size", 1)
    return Shape(
        layers=layers,
        hidden=h,
        inner=i,
        heads=given["num_attention_heads"],
        query=h,
        keys=h,
        gated=False,
        whole_attention=False,
        positions=given["max_position_embeddings"],
        matrices=a_layer * layers + ((h, h),) * pools,
        others=(tables + 2) * h + layers * (4 * h + i + h + 4 * h) + h * pools,
        head=(0 if pools else h * h + h, h + 1),
    )


BERT_LIKE = ("bert", "camembert", "roberta", "xlm-roberta")
NUMBERS = ("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "vocab_size",
           "max_position_embeddings")  # fmt: skip
"""What config.json has to say of these. Models of other kinds are made without weights, and counted."""
KNOWN = {
    name: bert_like(dict(zip((*NUMBERS, "type_vocab_size", "model_type"), numbers, strict=True)))
    for name, numbers in {
        "xlm-roberta-base": (12, 768, 3072, 12, 250_002, 514, 1, "xlm-roberta"),
        "xlm-roberta-large": (24, 1024, 4096, 16, 250_002, 514, 1, "xlm-roberta"),
        "intfloat/multilingual-e5-small": (12, 384, 1536, 12, 250_037, 512, 2, "bert"),
        "intfloat/multilingual-e5-base": (12, 768, 3072, 12, 250_002, 514, 1, "xlm-roberta"),
        "intfloat/multilingual-e5-large": (24, 1024, 4096, 16, 250_002, 514, 1, "xlm-roberta"),
        "deepvk/USER-bge-m3": (24, 1024, 4096, 16, 46_166, 8194, 1, "xlm-roberta"),
        "BAAI/bge-m3": (24, 1024, 4096, 16, 250_002, 8194, 1, "xlm-roberta"),
    }.items()
}
"""Hub models whose shape is known without looking."""
WHOLE_ATTENTION = ("deberta", "deberta-v2")


@dataclass(frozen=True)
class Use:
    """How a model is trained: what the memory depends on.

    Attributes:
        method: ``lora``, ``qlora`` or ``full``.
        r: rank of the adapters.
        rows: put through the model at a time.
        length: tokens of each, padding included.
        checkpointing: whether activations are computed again in the backward pass; qlora always does.
        categories: how many there are.
        several: whether a step takes several such passes: the gradients of one then wait while the next is computed.
    """

    method: str
    r: int
    rows: int
    length: int
    checkpointing: bool
    categories: int
    several: bool


def shape(model: str) -> Shape:
    """The shape of a model that is at hand, or known.

    Raises:
        UserError: it is neither; or it is of a kind that only transformers knows, which is not installed.
    """
    known = KNOWN.get(model.removeprefix("FacebookAI/"))
    if known is not None and not hub.folder(model).exists():
        return known
    folder = hub.folder(model) if hub.is_folder(model) else hub.cached(model)
    if folder is None or not (folder / hub.CONFIG).is_file():
        raise UserError("is not at hand, so that its shape is not known", where=model, remedy=hub.REMEDY)
    result = hub.read_json(folder / hub.CONFIG)
    lacking = [name for name in NUMBERS if not isinstance(result.get(name), int)]
    if result.get("model_type", "bert") in BERT_LIKE:
        if lacking:
            raise UserError(f"does not say {lacking[0]}", where=folder / hub.CONFIG, remedy="Name another model.")
        return bert_like(result)
    extras.need_training("the shape of a model of this kind", where=model)
    return counted(model)


def counted(model: str) -> Shape:
    """The shape of a model at hand of any kind that loads: it is made without weights, and its layers are counted.

    Raises:
        UserError: transformers has no classifier of this kind.
    """
    import torch

    from tsirius.models import adapters, load

    made, larger = (load.unfilled(model, categories) for categories in (CATEGORIES, CATEGORIES + 1))
    heads = [] if made.base_model is made else adapters.parts(made, [], model)[0]
    beneath = [part for name, part in made.base_model.named_modules() if name.split(".")[0] not in heads]
    below = {id(value): value.numel() for part in beneath for value in part.parameters(recurse=False)}
    linear = [part for part in beneath if isinstance(part, torch.nn.Linear)]
    whole, more = (sum(value.numel() for value in one.parameters()) for one in (made, larger))
    config, sizes = made.config.get_text_config(), tuple((part.in_features, part.out_features) for part in linear)
    layers = config.num_hidden_layers + (made.config.is_encoder_decoder and config.num_decoder_layers)
    width = getattr(config, "head_dim", None) or getattr(config, "d_kv", None)
    width = width or config.hidden_size // config.num_attention_heads
    inner = _inner(config, sizes)
    return Shape(
        layers=layers,
        hidden=config.hidden_size,
        inner=inner,
        heads=config.num_attention_heads,
        query=config.num_attention_heads * width,
        keys=(getattr(config, "num_key_value_heads", None) or config.num_attention_heads) * width,
        gated=sum(out for into, out in sizes if out in (inner, 2 * inner)) >= 2 * inner * layers,
        whole_attention=config.model_type in WHOLE_ATTENTION,
        positions=getattr(config, "max_position_embeddings", None) or ENDLESS,
        matrices=sizes,
        others=sum(below.values()) - sum(part.weight.numel() for part in linear),
        head=(whole - sum(below.values()) - CATEGORIES * (more - whole), more - whole),
    )


def _inner(config: Any, sizes: Sequence[tuple[int, int]]) -> int:
    """The width inside the feed-forward part: as config.json names it, or the widest layer's input."""
    named = (getattr(config, name, None) for name in ("intermediate_size", "d_ff", "ffn_dim", "hidden_dim", "n_inner"))
    return next((int(value) for value in named if isinstance(value, int)), max(into for into, _ in sizes))


def trained(of: Shape, use: Use) -> int:
    """How many weights are trained."""
    head = of.head[0] + of.head[1] * use.categories
    if use.method == "full":
        return of.linear + of.others + head
    return use.r * of.widths + head


def written_out(of: Shape, use: Use) -> bool:
    """Whether layers can be those of :mod:`tsirius.models.layers`: of BERT's kind, with nothing computed again."""
    plain = not of.gated and not of.whole_attention and of.in_a_layer == PLAIN_LAYER
    return plain and use.method != "qlora" and not use.checkpointing


def kept(of: Shape, use: Use, *, newer: bool) -> float:
    """Bytes that one token leaves in one layer for the backward pass; ``newer`` as of :class:`Device`."""
    if newer and written_out(of, use):
        # In 16 bits: what each of the four products takes, beside it what the adapters' first halves give (query, key
        # and value have three), and what it gives, attention's result, which without adapters is what the second
        # takes; four numbers of normalisation, one a head.
        ranks = of.query + 6 * use.r if use.method == "lora" else 0
        taken = 2 * of.hidden + of.inner
        return 2 * (taken + 2 * of.query + 2 * of.keys + 2 * of.hidden + of.inner + ranks) + 16 + 4 * of.heads
    h, i, s = of.hidden, of.inner, use.length
    # Query, key, value and the result in 16 bits, a number a head, the mask; the inputs of two normalisations in 32
    # bits, with two numbers each; two masks of dropout.
    shared = 2 * (2 * of.query + 2 * of.keys) + 4 * of.heads + 2 * s + 8 * h + 16 + 2 * h
    if of.whole_attention:  # the softmax in 32 bits, its copy in 16, and a mask of dropout
        shared += of.heads * s * 7
    # What the activation function takes; where the part is gated, also what it gives, and what that is multiplied with.
    inside = 6 * i if of.gated else 2 * i
    beside = of.in_a_layer - 2  # layers that take a state: all but the last ones of attention and feed-forward part
    if use.method == "full":
        # The inputs of query, key, value and the first inner layer, copied to 16 bits for each; that of the last.
        return shared + 2 * h * beside + inside + 2 * i
    # Each adapter keeps its input after dropout, the mask, and what its first half gives. What bitsandbytes' layers
    # give is in 32 bits where their input is.
    # Query, key and value share theirs (see :mod:`tsirius.models.lora`), but not on layers of bitsandbytes.
    inputs = beside if use.method == "qlora" else beside - 2 if beside >= 4 else beside
    adapters = 3 * (h * inputs + of.query + i) + of.in_a_layer * 2 * use.r
    return shared + adapters + (2 * inside if use.method == "qlora" else inside)


def peak(of: Shape, use: Use, *, newer: bool) -> dict[str, float]:
    """Bytes at the peak of a step by what they are for; their sum is what torch counts as allocated; ``newer``
    as of :class:`Device`."""
    tokens = use.rows * use.length
    own = trained(of, use)
    if use.method == "full":
        weights, states, copies = 0.0, 8.0 * own, 2.0 * of.linear
    else:
        weights = (NF4 if use.method == "qlora" else 2.0) * of.linear + 2.0 * of.others
        states, copies = (2.0 if use.method == "qlora" else 8.0) * own, 2.0 * own
    again = use.checkpointing or use.method == "qlora"
    layer = tokens * kept(of, use, newer=newer)
    activations = of.layers * layer
    if again:  # of each layer only its input, in 32 bits, and one layer whole
        activations = of.layers * tokens * 4.0 * of.hidden + layer
    # In the backward pass of a layer: the gradient of its input and output, and three of the inner width.
    working = tokens * (8.0 * of.hidden + (12.0 if of.gated else 6.0) * of.inner)
    if use.method == "qlora":
        working += 2.0 * max(into * out for into, out in of.matrices)  # one layer's weights, unpacked
    # Where steps are captured as CUDA graphs, gradients stay. Else in a step's only pass they come as activations go:
    # what is more of the two counts.
    gradients = 4.0 * own if use.several or not again else max(0.0, 4.0 * own - activations)
    return {
        "frozen weights": weights,
        "trained weights": 4.0 * own,
        "gradients beside activations": gradients,
        "the optimiser's state": states,
        "16-bit copies of what is trained": copies,
        "activations kept": activations,
        "working space": working,
    }


def fits(of: Shape, use: Use, device: Device) -> bool:
    """Whether a step has room on the card."""
    return sum(peak(of, use, newer=device.newer).values()) * SLACK + CONTEXT <= device.gib * GIB


def needed(of: Shape, use: Use, rows: int, device: Device) -> float:
    """Bytes on the card at the peak of a step that takes ``rows`` rows at a time, its libraries included."""
    return sum(peak(of, _with_rows(use, rows), newer=device.newer).values()) * SLACK + CONTEXT


def rows_that_fit(of: Shape, use: Use, device: Device) -> int:
    """The most rows at a time, a power of two up to ``use.rows`` or that itself; 0 where not even one fits."""
    candidates = [use.rows, *(2**n for n in range(12, -1, -1) if 2**n < use.rows)]
    return next((rows for rows in candidates if fits(of, _with_rows(use, rows), device)), 0)


def flops(of: Shape, use: Use) -> float:
    """Floating-point operations that a token costs, forward and backward."""
    matrices = 2 * of.linear
    attention = of.layers * 4 * use.length * of.query
    forward = matrices + attention
    again = forward if use.checkpointing or use.method == "qlora" else 0
    adapters = 0 if use.method == "full" else 6 * use.r * of.widths
    return forward + again + matrices * (2 if use.method == "full" else 1) + 2 * attention + adapters


def mfu(of: Shape, use: Use, *, tokens_per_second: float, card: str) -> float | None:
    """Model FLOPs utilisation: the share of a card's best that the tokens of the texts are worth.

    Chowdhery et al. 2022, "PaLM" (arXiv 2204.02311), appendix B.

    Args:
        of: the model's shape.
        use: how it is trained; its ``length`` is the mean of the texts.
        tokens_per_second: padding not counted.
        card: its name, as CUDA has it; None is returned for one that is not known.
    """
    best = tflops(card)
    return None if best is None else tokens_per_second * flops(of, use) / (best * 1e12)


def tflops(card: str) -> float | None:
    """What a card computes at best, by its name as CUDA has it; None: it is not known."""
    words = re.split(r"[^a-z0-9]+", card.lower())
    names = {*words, *(first + second for first, second in pairwise(words))}
    return next((one.tflops for name, one in DEVICES.items() if name in names), None)


def _with_rows(use: Use, rows: int) -> Use:
    return replace(use, rows=rows, several=use.several or rows < use.rows)


def device(name: str) -> Device:
    """A card by its name.

    Raises:
        UserError: it is not known.
    """
    result = DEVICES.get(name.lower())
    if result is None:
        raise UserError(f"unknown card {name!r}{nearest(name.lower(), list(DEVICES))}", where="--device",
                        remedy=f"Known: {', '.join(DEVICES)}.")  # fmt: skip
    return result


def plan(
    model: str,
    use: Use,
    *,
    device_name: str,
    batch_tokens: int,
    epochs: int,
    models: int,
    texts: Mapping[str, Any] | None,
) -> list[str]:
    """The arithmetic for a training as lines of text.

    Args:
        model: the encoder.
        use: how it is trained, with the rows of a step and the tokens of a review that are read.
        device_name: of :data:`DEVICES`.
        batch_tokens: tokens of a micro-batch, as it is set.
        epochs: passes over the rows.
        models: how many are trained.
        texts: ``rows`` and mean ``tokens`` of the training rows, where they are known.

    Raises:
        UserError: the card or the encoder's shape is not known.
    """
    card, of = device(device_name), shape(model)
    if not any(of.head):
        raise UserError("is an encoder alone, which makes embeddings and has no classifier to train", where=model,
                        remedy="Name another model in train.model.")  # fmt: skip
    step = replace(use, length=min(use.length, of.positions - 2), several=False)
    lines = [
        f"card     {card.name}: {card.gib:g} GiB, {card.half}, {card.tflops:g} TFLOP/s at best",
        f"model    {model}: {of.layers} layers of {of.hidden}, {(of.linear + of.others) / 1e6:,.0f} million weights",
        f"method   {use.method}: trains {trained(of, step) / 1e6:,.1f} million weights",
    ]
    rows = rows_that_fit(of, step, card)
    if not rows:
        one = needed(of, step, 1, card)
        cure = "train.use=qlora" if use.method != "qlora" else "a smaller model"
        cure = "train.gradient_checkpointing=true or train.use=lora" if use.method == "full" else cure
        return [*lines, f"fits     not even one row of {step.length} tokens: it takes {one / GIB:.1f} GiB; try {cure}"]
    chosen = _with_rows(step, rows)
    lines += _memory(of, chosen, card)
    passes = -(-step.rows // rows)
    lines.append(
        f"set      train.batch_size={step.rows} train.batch_tokens={rows * step.length}: a step's {step.rows} rows go"
        f" in at most {passes} {'micro-batch' if passes == 1 else 'micro-batches'}"
    )
    if batch_tokens < rows * step.length:
        lines.append(f"         (it is {batch_tokens} now: less memory, more micro-batches)")
    elif batch_tokens > rows * step.length:
        lines.append(f"         (it is {batch_tokens} now, which may be too many for this card)")
    return [*lines, _time(of, chosen, card, epochs=epochs, models=models, texts=texts)]


def _memory(of: Shape, use: Use, card: Device) -> list[str]:
    """What the memory of a micro-batch is for, as lines of text."""
    parts = peak(of, use, newer=card.newer)
    total = sum(parts.values())
    return [
        f"memory   of a micro-batch of {use.rows} rows of {use.length} tokens, in MiB",
        *(f"{value / MIB:14,.0f}  {name}" for name, value in parts.items() if value),
        f"{total / MIB:14,.0f}  in all: the peak that torch counts and the run's record shows",
        f"{total * (SLACK - 1) / MIB:14,.0f}  gaps that torch's allocator leaves",
        f"{CONTEXT / MIB:14,.0f}  CUDA and its libraries",
        f"{(total * SLACK + CONTEXT) / MIB:14,.0f}  of {card.gib * 1024:,.0f} on the card",
    ]


def _time(of: Shape, use: Use, card: Device, *, epochs: int, models: int, texts: Mapping[str, Any] | None) -> str:
    """How long the training takes, as a line of text. Arguments as of :func:`plan`."""
    speed = card.tflops * 1e12 * SHARE / flops(of, use)
    known = dict(texts) if texts else {"rows": 1000, "tokens": REVIEW_TOKENS}
    seconds = known["rows"] * known["tokens"] * epochs * models / speed
    of_what = "the run's" if texts else "for example"
    several = f", {models} models" if models > 1 else ""
    return (
        f"time     {speed:,.0f} tokens a second if a quarter of the card's best is reached: {of_what}"
        f" {known['rows']:,} rows of {known['tokens']:.0f} tokens, {epochs} epochs{several}: {seconds / 60:.1f} minutes"
    )
