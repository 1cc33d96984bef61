"""The zero-shot teacher: a classifier trained on natural language inference says what a text bears out.

Yin et al., "Benchmarking Zero-shot Text Classification" (arXiv 1909.00161): the text is the premise, each hypothesis
names a category. Any sequence classifier with an entailment label will do: joeddav/xlm-roberta-large-xnli (model card:
XNLI in 15 languages, Russian among them), or one of two labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field

from tsirius.errors import UserError
from tsirius.labellers import Labeller, Material
from tsirius.labellers import hypotheses as ask
from tsirius.labellers.pairs import Batch, Frame, Scorer, inputs
from tsirius.models import hub, onnx
from tsirius.models.batching import HALF, Budget, budget_on, check_alone, padded_with_mask, padding
from tsirius.models.hub import EMBEDDED
from tsirius.models.load import Precision
from tsirius.section import Section

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PROBE = "Отзыв. A review, 5 звёзд! "
"""A text whose pair encodings are compared with the tokenizer's own."""


BLIND = True
KEEP = True


class Config(Section):
    """The NLI teacher: does the review entail a statement about it?"""

    model: str = Field(EMBEDDED, min_length=1)
    """A classifier with an entailment label, a folder or a hub name (joeddav/xlm-roberta-large-xnli, say)."""
    templates: Annotated[list[str], AfterValidator(ask.filled)] = Field(default=[*ask.TEMPLATES])
    """The hypotheses, with {} where a category goes; the answers to several are averaged."""
    hypotheses: ask.Parts = "joined"
    """What {} stands for: a category's "name", its "description", "both" in turn, or "joined" by a colon."""
    none: ask.Asking = "description"
    """Hypotheses of the none-category: its "description", as of the others, or "statements" on delivery, seller, refund
    and bare praise, which suit models that were not trained on such descriptions."""
    correct_bias: bool = False
    """Subtract what the model says of texts without content."""
    precision: Precision = "auto"
    """"fp32"; or "auto": 16-bit floats on a GPU and on a CPU that multiplies them, else "fp32"."""
    batch_tokens: int = Field(1024, ge=1)
    """Initial tokens of a batch; fewer where memory is short."""

    speed_only = frozenset({"batch_tokens"})


def models(config: Config, *, encoder: str) -> dict[str, str]:
    """The classifier."""
    return {"label.nli.model": config.model}


def check(config: Config) -> None:
    """Make sure that a model at hand knows entailment; one that has yet to be downloaded is looked at when it is read.

    Raises:
        UserError: it does not.
    """
    if config.model == EMBEDDED:
        return
    from tsirius.models import load

    if given := hub.described(config.model):
        named = hub.labels(given, where=config.model)
        answers(named or {0: "LABEL_0", 1: "LABEL_1"}, where=config.model)  # what transformers takes where none are
        load.check(config.model, head=load.CLASSIFIER, new_head=False)


def make(config: Config, material: Material) -> Labeller:
    """The teacher for the categories.

    Raises:
        UserError: the model cannot be read, or knows no entailment.
    """
    network = scorer(
        config.model,
        precision=config.precision,
        max_length=material.max_length,
        batch_tokens=config.batch_tokens,
    )
    return ask.teacher("nli", config, material.categories, network)


def reopen(config: Config, material: Material) -> Labeller:
    """As :func:`make`: it learns nothing."""
    return make(config, material)


def scorer(model: str, *, precision: Precision, max_length: int, batch_tokens: int) -> Scorer:
    """The classifier as a scorer of pairs.

    Args:
        model: a folder or hub name of a sequence classifier with an entailment label.
        precision: see :func:`tsirius.models.load.judge`.
        max_length: tokens of a text with a hypothesis; at most what the model can read.
        batch_tokens: initial tokens of a batch on a CPU; a GPU takes more.

    Raises:
        UserError: the model cannot be read, or knows no entailment.
    """
    if model == EMBEDDED:
        return _built_in(max_length=max_length, batch_tokens=batch_tokens)
    from tsirius.models import encode
    from tsirius.models.load import CLASSIFIER, judge, settle, tokenizer

    network = judge(model, head=CLASSIFIER, precision=precision)
    columns = list(answers(network.config.id2label, where=model))
    words = tokenizer(model)
    settle(network, words, where=model)
    length = encode.longest(network, words, max_length)
    kinds = "token_type_ids" in words.model_input_names
    pad = padding(words, network.config)

    def forward(batch: Batch) -> NDArray[np.float32]:
        logits = network(**inputs(batch, pad=pad, kinds=kinds, left=False, device=network.device)).logits
        result: NDArray[np.float32] = logits[:, columns].float().cpu().numpy()
        return result

    def tokens(texts: Sequence[str]) -> list[list[int]]:
        result = words(list(texts), add_special_tokens=False, truncation=True, max_length=length,
                      return_attention_mask=False, return_token_type_ids=False)  # fmt: skip
        return list(result["input_ids"])

    def frame(hypothesis: str) -> Frame:
        return _frame(words, hypothesis, tokens, where=model, max_length=length)

    around = frame("Отзыв.")
    pairs = [around.before + text[: length // 2] + around.after for text in tokens(encode.NEIGHBOURS)]
    check_alone(lambda rows: forward(Batch(rows, [[0] * len(row) for row in rows])), pairs, rounding=HALF, where=model)
    return Scorer(model, tokens, frame, forward, length, budget_on(network.device, batch_tokens))


def _built_in(*, max_length: int, batch_tokens: int) -> Scorer:
    """The classifier that comes with the package, by onnxruntime in 32-bit floats."""
    folder = hub.fetch(EMBEDDED)
    session, words, pad, length = onnx.built_in(folder, max_length=max_length)
    columns = list(answers(hub.labels(hub.described(EMBEDDED), where=EMBEDDED), where=EMBEDDED))
    begin, end = (words.token_to_id(token) for token in ("<s>", "</s>"))

    def tokens(texts: Sequence[str]) -> list[list[int]]:
        return [given.ids[:length] for given in words.encode_batch(list(texts), add_special_tokens=False)]

    def frame(hypothesis: str) -> Frame:
        after = [end, end, *tokens([hypothesis])[0], end]
        return Frame([begin], after, [0] * len(after))

    def forward(batch: Batch) -> NDArray[np.float32]:
        ids, mask = padded_with_mask(batch.ids, pad, left=False, multiple=1)
        logits = session.run(["logits"], {"input_ids": ids, "attention_mask": mask})[0]
        result: NDArray[np.float32] = logits[:, columns]
        return result

    return Scorer(EMBEDDED, tokens, frame, forward, length, Budget(batch_tokens))


def answers(labels: Mapping[int, str], *, where: str) -> tuple[int, int]:
    """The indices of contradiction and entailment, found by name: models order them differently.

    Of two labels the one that is not entailment stands for contradiction.

    Raises:
        UserError: there is no entailment, or what contradicts it cannot be told.
    """
    yes = [index for index, label in labels.items() if label.lower().startswith("entail")]
    no = [index for index, label in labels.items() if label.lower().startswith("contra")]
    if len(labels) == 2 and len(yes) == 1:
        no = [index for index in labels if index != yes[0]]
    if len(yes) != 1 or len(no) != 1:
        lacking = "contradiction" if len(yes) == 1 else "entailment"
        raise UserError(f"has no label for {lacking}: {', '.join(map(str, labels.values()))}", where=where,
                        remedy="Name a model that was trained on natural language inference.")  # fmt: skip
    return no[0], yes[0]


def _frame(words: Any, hypothesis: str, tokens: Any, *, where: str, max_length: int) -> Frame:
    """What the tokenizer puts around the first of a pair, its special tokens included.

    Raises:
        UserError: the tokenizer joins pairs in another way than one after the other.
    """
    whole = words(PROBE, hypothesis, return_token_type_ids=True)
    ids, kinds = whole["input_ids"], whole["token_type_ids"]
    text = tokens([PROBE])[0]
    start = next((at for at in range(len(ids)) if ids[at : at + len(text)] == text), 0)
    end = start + len(text)
    result = Frame(ids[:start], ids[end:], kinds[end:])
    room = max_length - len(result.before) - len(result.after)
    if room > 0:
        long = PROBE * max_length
        cut = words(PROBE * max_length, hypothesis, truncation="only_first", max_length=max_length)["input_ids"]
        if ids[start:end] != text or cut != result.before + tokens([long])[0][:room] + result.after or any(kinds[:end]):
            raise UserError("its tokenizer joins a text and a hypothesis in an unknown way", where=where,
                            remedy="Name another model.")  # fmt: skip
    return result
