"""An instruction reranker as teacher: a language model that says "yes" or "no" to a text and a query.

Written for Qwen3-Reranker (Zhang et al., arXiv 2506.05176), with the prompt of its model card: the score is the softmax
over the logits of "no" and "yes" after the prompt. The text is the document, a hypothesis the query. Behind the same
interface as :mod:`tsirius.labellers.nli`; more work for the same text, as each prompt has some eighty tokens of its
own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field

from tsirius.errors import UserError
from tsirius.labellers import Labeller, Material
from tsirius.labellers import hypotheses as ask
from tsirius.labellers.pairs import Batch, Frame, Scorer, inputs
from tsirius.models.batching import HALF, budget_on, check_alone, padding
from tsirius.models.load import Precision
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


class Config(Section):
    """The reranker: an instruction-tuned language model judges whether the review fits a query."""

    model: str = Field("Qwen/Qwen3-Reranker-0.6B", min_length=1)
    """An instruction reranker that answers yes or no, a folder or a hub name."""
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
    """Tokens of a prompt."""
    batch_tokens: int = Field(1024, ge=1)
    """Initial tokens of a batch; fewer where memory is short."""

    speed_only = frozenset({"batch_tokens"})


def models(config: Config, *, encoder: str) -> dict[str, str]:
    """The reranker."""
    return {"label.reranker.model": config.model}


def check(config: Config) -> None:
    """Make sure that a model at hand can say yes and no; one to be downloaded is looked at when it is read.

    Raises:
        UserError: it cannot.
    """
    from tsirius.models import hub, load

    if hub.at_hand(config.model) is not None:
        load.check(config.model, head=HEAD, new_head=False)
        _columns(load.tokenizer(config.model), where=config.model)


def make(config: Config, material: Material) -> Labeller:
    """The teacher for the categories.

    Raises:
        UserError: the model cannot be read, or has no "yes" and "no".
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
        model: a folder or hub name of a reranker of this kind.
        instruction: what to judge, in English as the model was trained.
        precision: see :func:`tsirius.models.load.judge`.
        max_length: tokens of a prompt.
        batch_tokens: initial tokens of a batch on a CPU; a GPU takes more.

    Raises:
        UserError: the model cannot be read, or has no "yes" and "no".
    """
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
        result = words(list(texts), add_special_tokens=False, truncation=True, max_length=length,
                      return_attention_mask=False)  # fmt: skip
        return list(result["input_ids"])

    before, after = ids([BEFORE, AFTER])

    def tokens(texts: Sequence[str]) -> list[list[int]]:
        rows = ids([DOCUMENT + text for text in texts])
        return [row if text.strip() else [] for row, text in zip(rows, texts, strict=True)]

    def frame(hypothesis: str) -> Frame:
        query = ids([QUERY.format(instruction=instruction, query=hypothesis)])[0]
        return Frame(before + query, after, [0] * len(after))

    def forward(batch: Batch) -> NDArray[np.float32]:
        given = inputs(batch, pad=pad, kinds=False, left=True, device=network.device)
        if numbered:  # else the padding on the left would be counted
            given["position_ids"] = (given["attention_mask"].cumsum(dim=1) - 1).clamp(min=0)
        logits = network(**given, use_cache=False, logits_to_keep=1).logits
        result: NDArray[np.float32] = logits[:, -1, columns].float().cpu().numpy()
        return result

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
