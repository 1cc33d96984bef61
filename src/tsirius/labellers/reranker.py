"""A reranker as teacher: a model that says how well a document, the text, answers a query, a hypothesis.

Two kinds are read, told apart by their config.json, behind the same interface as :mod:`tsirius.labellers.nli`:

- a language model that says "yes" or "no", as Qwen3-Reranker (Zhang et al., arXiv 2506.05176), with the prompt of its
  model card: the score is the softmax over the logits of "no" and "yes" after the prompt. More work for the same text,
  as each prompt has some eighty tokens of its own;
- a classifier of pairs with one score, as BAAI/bge-reranker-v2-m3 (Chen et al., arXiv 2402.03216): the query comes
  first, and the sigmoid of the score is how probable it is that the document answers it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field

from tsirius.errors import UserError
from tsirius.labellers import Labeller, Material
from tsirius.labellers import hypotheses as ask
from tsirius.labellers.pairs import Batch, Frame, Scorer, cross_encoder, inputs
from tsirius.models import hub
from tsirius.models.batching import HALF, Later, budget_on, check_alone, fetched, padding
from tsirius.models.load import Precision
from tsirius.models.tokens import token_ids
from tsirius.section import Section

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BEFORE = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
)
QUERY = "<Instruct>: {instruction}\n<Query>: {query}\n"
DOCUMENT = "<Document>: "
AFTER = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
"""The model card's prompt. It is cut into parts where the tokenizer cuts too: after a line's end."""
ANSWERS = ("no", "yes")
HEAD = "AutoModelForCausalLM"
INSTRUCTION = "Given a statement about a product review, judge whether the review bears it out"


BLIND = True
KEEP = True
asked = ask.asked
"""Its hypotheses: each one's answers are kept by themselves."""


class Config(Section):
    """The reranker: a model that was trained to rank documents judges how well the review fits a query."""

    model: str = Field("Qwen/Qwen3-Reranker-0.6B", min_length=1)
    """A reranker that answers yes or no, or one with a single score (BAAI/bge-reranker-v2-m3, say); a folder or a hub
    name."""
    templates: Annotated[list[str], AfterValidator(ask.filled)] = Field(default=[*ask.TEMPLATES])
    """The queries, with {} where a category goes; the answers to several are averaged."""
    hypotheses: ask.Parts = "joined"
    """What {} stands for: a category's "name", its "description", "both" in turn, or "joined" by a colon."""
    none: ask.Asking = "description"
    """Hypotheses of the none-category: its "description", as of the others, or "statements" on delivery, seller, refund
    and bare praise, which suit models that were not trained on such descriptions."""
    correct_bias: bool = False
    """Subtract what the model says of texts without content."""
    precision: Precision = "auto"
    """"fp32"; or "auto": 16-bit floats on a GPU and on a CPU that multiplies them, else "fp32"."""
    max_length: int = Field(512, ge=64)
    """Tokens of a prompt, or of a query with a review."""
    batch_tokens: int = Field(1024, ge=1)
    """Initial tokens of a batch; fewer where memory is short."""

    speed_only = frozenset({"batch_tokens"})


def models(config: Config, *, encoder: str) -> dict[str, str]:
    """The reranker."""
    return {"label.reranker.model": config.model}


def check(config: Config) -> None:
    """Make sure that a model at hand has one score, or can say yes and no; one to be downloaded is looked at when it
    is read.

    Raises:
        UserError: it cannot.
    """
    from tsirius.models import load

    if (given := hub.described(config.model)) and _one_score(given, where=config.model):
        load.check(config.model, head=load.CLASSIFIER, new_head=False)
    elif given:
        load.check(config.model, head=HEAD, new_head=False)
        _columns(load.tokenizer(config.model), where=config.model)


def make(config: Config, material: Material) -> Labeller:
    """The teacher for the categories.

    Raises:
        UserError: the model cannot be read, or is no reranker of these kinds.
    """
    network = scorer(
        config.model,
        instruction=INSTRUCTION,
        precision=config.precision,
        max_length=config.max_length,
        batch_tokens=config.batch_tokens,
    )
    return ask.teacher("reranker", config, material.categories, network)


def reopen(config: Config, material: Material) -> Labeller:
    """As :func:`make`: it learns nothing."""
    return make(config, material)


def scorer(model: str, *, instruction: str, precision: Precision, max_length: int, batch_tokens: int) -> Scorer:
    """The reranker as a scorer of pairs.

    Args:
        model: a folder or hub name of a reranker.
        instruction: what to judge, in English as the model was trained; for one that says yes or no.
        precision: see :func:`tsirius.models.load.judge`.
        max_length: tokens of a prompt, or of a query with a text.
        batch_tokens: initial tokens of a batch on a CPU; a GPU takes more.

    Raises:
        UserError: the model cannot be read, or is no reranker of these kinds.
    """
    if _one_score(hub.read_json(hub.fetch(model) / hub.CONFIG), where=model):
        return _ranked(model, precision=precision, max_length=max_length, batch_tokens=batch_tokens)
    return _said(model, instruction=instruction, precision=precision, max_length=max_length, batch_tokens=batch_tokens)


def _one_score(given: Mapping[str, Any], *, where: str) -> bool:
    """Whether a reranker's config.json is that of a classifier of pairs with one score; else it says yes or no.

    Raises:
        UserError: it is that of a classifier with several labels.
    """
    kinds = given.get("architectures")
    if not isinstance(kinds, list) or not any(str(kind).endswith("ForSequenceClassification") for kind in kinds):
        return False
    count = len(hub.labels(given, where=where)) or given.get("num_labels", 2)
    if count != 1:
        raise UserError(f"is a classifier of {count} labels, and a reranker has one score", where=where,
                        remedy="Name it in label.nli.model if it was trained on inference, or name a reranker, such as"
                               " BAAI/bge-reranker-v2-m3.")  # fmt: skip
    return True


def _ranked(model: str, *, precision: Precision, max_length: int, batch_tokens: int) -> Scorer:
    """A classifier of pairs with one score, the query first. Arguments and errors as of :func:`scorer`."""
    import torch

    from tsirius.models.load import CLASSIFIER, judge

    network = judge(model, head=CLASSIFIER, precision=precision)

    def pick(logits: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.pad(logits, (1, 0))  # the sigmoid of a score is its softmax beside a 0

    result = cross_encoder(
        network, pick, model=model, text_first=False, max_length=max_length, batch_tokens=batch_tokens
    )
    query = result.frame(ask.CONTENT_FREE[1])
    if not query.after and [query.before] == result.tokens([ask.CONTENT_FREE[1]]):
        raise UserError("its tokenizer has nothing between a query and a text: the prompt that it was trained with is"
                        " not known", where=model, remedy="Name another reranker.")  # fmt: skip
    return result


def _said(model: str, *, instruction: str, precision: Precision, max_length: int, batch_tokens: int) -> Scorer:
    """A language model that says yes or no. Arguments and errors as of :func:`scorer`."""
    from tsirius.models import encode
    from tsirius.models.load import judge, settle, tokenizer

    network = judge(model, head=HEAD, precision=precision)
    words = tokenizer(model)
    settle(network, words, where=model)
    columns = _columns(words, where=model)
    pad = padding(words, network.config)
    length = encode.longest(network, words, max_length)
    numbered = _has_position_table(network)

    def ids(texts: Sequence[str]) -> list[list[int]]:
        return token_ids(words, texts, max_length=length, special=False)

    before, after = ids([BEFORE, AFTER])

    def tokens(texts: Sequence[str]) -> list[list[int]]:
        rows = ids([DOCUMENT + text for text in texts])
        return [row if text.strip() else [] for row, text in zip(rows, texts, strict=True)]

    def frame(hypothesis: str) -> Frame:
        query = ids([QUERY.format(instruction=instruction, query=hypothesis)])[0]
        return Frame(before + query, after, [0] * len(after))

    def forward(batch: Batch) -> NDArray[np.float32] | Later:
        given = inputs(batch, pad=pad, kinds=False, left=True, device=network.device)
        if numbered:  # else the padding on the left would be counted
            given["position_ids"] = (given["attention_mask"].cumsum(dim=1) - 1).clamp(min=0)
        logits = network(**given, use_cache=False, logits_to_keep=1).logits
        return fetched(logits[:, -1, columns].float())

    prompts = [row[: length // 2] + after for row in tokens(encode.NEIGHBOURS)]
    check_alone(lambda rows: forward(Batch(rows, [])), prompts, rounding=HALF, where=model)
    return Scorer(model, tokens, frame, forward, length, budget_on(network.device, batch_tokens))


def _columns(words: Any, *, where: str) -> list[int]:
    """The tokens of the answers.

    Raises:
        UserError: the tokenizer lacks one.
    """
    vocabulary = words.get_vocab()
    if lacking := [answer for answer in ANSWERS if answer not in vocabulary]:
        raise UserError(f"its tokenizer has no token {lacking[0]!r}", where=where,
                        remedy="Name a reranker that says yes or no, such as Qwen/Qwen3-Reranker-0.6B.")  # fmt: skip
    return [vocabulary[answer] for answer in ANSWERS]


def _has_position_table(network: Any) -> bool:
    """Whether a model looks its positions up in a table (GPT-2, OPT), and takes them as an argument."""
    from inspect import signature

    tables = any(name.rpartition(".")[2] in ("wpe", "embed_positions") for name, _ in network.named_modules())
    return tables and "position_ids" in signature(network.forward).parameters
