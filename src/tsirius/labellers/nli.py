"""The zero-shot teacher: a classifier trained on natural language inference says what a text bears out.

Yin et al., "Benchmarking Zero-shot Text Classification" (arXiv 1909.00161): the text is the premise, each hypothesis
names a category. Any sequence classifier with an entailment label will do: joeddav/xlm-roberta-large-xnli (model card:
XNLI in 15 languages, Russian among them), or one of two labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field

from tsirius.errors import UserError
from tsirius.labellers import Labeller, Material
from tsirius.labellers import hypotheses as ask
from tsirius.labellers.pairs import Batch, Frame, Scorer, cross_encoder
from tsirius.models import hub, onnx
from tsirius.models.batching import Budget, padded_with_mask
from tsirius.models.hub import EMBEDDED
from tsirius.models.load import Precision
from tsirius.section import Section

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BLIND = True
KEEP = True
asked = ask.asked
"""Its hypotheses: each one's answers are kept by themselves."""


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
    from tsirius.models.load import CLASSIFIER, judge

    network = judge(model, head=CLASSIFIER, precision=precision)
    columns = list(answers(network.config.id2label, where=model))
    return cross_encoder(
        network, lambda logits: logits[:, columns], model=model, text_first=True, max_length=max_length,
        batch_tokens=batch_tokens,
    )  # fmt: skip


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
