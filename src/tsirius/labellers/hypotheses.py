"""The hypotheses on the categories, and the probabilities that follow from a teacher's scores.

A category has several hypotheses: templates filled with its name or its description. Their scores are averaged, since
the wording of a single one swings the result.

The none-category is decided in two steps. A negation («об этом товаре ничего не сказано») is a poor hypothesis: such
models hardly see negations in training, and take nearly every text to bear them out. So the none-category has
statements of its own about what such reviews do speak of. First the best of them is held against the best product: does
the text speak of a product at all? Then the products are held against each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from scipy.special import softmax

from tsirius.categories import Categories, Category
from tsirius.errors import UserError
from tsirius.labellers import Votes
from tsirius.labellers.pairs import Scorer
from tsirius.progress import Advance

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

TEMPLATES = ("Этот отзыв о товаре: {}.",)
"""The hypothesis where no other is given."""
Parts = Literal["name", "description", "both", "joined"]

Asking = Literal["description", "statements"]
"""Hypotheses of the none-category: its description, as of the others, or ``NONE_STATEMENTS``."""

NONE_STATEMENTS: tuple[tuple[str, ...], ...] = (
    ("В этом отзыве говорится о доставке.", "This review is about the delivery."),
    ("В этом отзыве говорится о продавце или о магазине.", "This review is about the seller or the shop."),
    ("В этом отзыве говорится о возврате денег.", "This review is about a refund."),
    ("Это общая похвала: всё хорошо, всё понравилось.", "This is general praise: everything is fine, I like it."),
    ("Это общая жалоба: всё плохо, ничего не понравилось.", "This is a general complaint: everything is bad."),
)
"""Topics of reviews that name no product. Each is in two languages, whose scores are averaged: teachers are trained
mostly in English, and reviews are mostly in Russian."""
CONTENT_FREE = ("…", "отзыв", "N/A", "review")
"""Texts that say nothing (arXiv 2102.09690 takes "", "N/A" and "[MASK]"; an empty one is not labelled here)."""
SURE = 1e-9
"""A mean of probabilities nearer to 0 or 1 than this is taken to be this near."""


@dataclass(frozen=True)
class Questions:
    """The hypotheses of each category, and those of each of the none-category's statements.

    Attributes:
        names: the categories.
        none: the index of the none-category.
        products: for each other category, in their order, its hypotheses.
        statements: for each statement of the none-category, its wordings.
    """

    names: tuple[str, ...]
    none: int
    products: tuple[tuple[str, ...], ...]
    statements: tuple[tuple[str, ...], ...]

    @property
    def all(self) -> list[str]:
        """Each hypothesis once."""
        return list(dict.fromkeys(one for group in (*self.products, *self.statements) for one in group))


def questions(
    categories: Categories, *, templates: Sequence[str], parts: Parts, none_statements: Sequence[Sequence[str]]
) -> Questions:
    """The hypotheses on ``categories``.

    Args:
        categories: their names and descriptions. One without a description goes by its name.
        templates: sentences with ``{}`` where the name or the description goes.
        parts: what fills it; "both": each by itself; "joined": the two with a colon between them.
        none_statements: statements of the none-category, each in one or several wordings; none: its
            hypotheses are made as those of the others, which suits models that were trained on such descriptions.

    Raises:
        UserError: a template has no ``{}``, or there is none, or no statement.
    """
    try:
        filled(templates)
    except ValueError as error:
        raise UserError(str(error), where="label") from None
    if not all(none_statements):
        raise UserError("a statement without a wording", where="label", remedy="Give at least one.")
    products = []
    for category in categories:
        fillings = descriptions(category, parts)
        products.append(tuple(template.replace("{}", filling) for filling in fillings for template in templates))
    own = products.pop(categories.none_index)
    return Questions(
        tuple(categories.names),
        categories.none_index,
        tuple(products),
        tuple(tuple(wordings) for wordings in none_statements) or (own,),
    )


def filled(templates: Sequence[str]) -> Sequence[str]:
    """The templates themselves, if there are any and each of them can be filled.

    Raises:
        ValueError: there is none, or one has no ``{}``.
    """
    for template in templates or [""]:
        if "{}" not in template:
            raise ValueError(f"no {{}} in the template {template!r}; put {{}} where the category's name goes")
    return templates


def descriptions(category: Category, parts: Parts) -> list[str]:
    """``category`` in words, one text or two: see :func:`questions`; its name where there would be nothing."""
    wanted = {
        "name": [category.plain],
        "description": [category.plain_description],
        "both": [category.plain, category.plain_description],
        "joined": [": ".join(part for part in (category.plain, category.plain_description) if part)],
    }[parts]
    return [part.strip() for part in wanted if part.strip()] or [category.plain]


@dataclass(frozen=True, eq=False)
class Teacher:
    """A model that labels texts by the answers to questions on the categories.

    Attributes:
        name: of the labeller.
        scorer: the model.
        questions: the hypotheses.
        bias: how much each product is favoured whatever the text, [P], in logits; zeros for no correction.
    """

    name: str
    scorer: Scorer
    questions: Questions
    bias: Floats

    def scores(
        self, texts: Sequence[str], hypotheses: Sequence[str], *, advance: Advance | None = None
    ) -> NDArray[np.float32]:
        """How probable the model takes each hypothesis to be, against its contrary, [N, H]; NaN for an empty text.

        Equal to the scores of transformers' zero-shot pipeline with ``multi_label=True``.
        """
        return probabilities(self.scorer.logits(texts, hypotheses, advance=advance)).astype(np.float32)

    def label(self, texts: Sequence[str], *, advance: Advance | None = None) -> Votes:
        """Label each text by itself; abstain on one that is empty. The evidence is what of the none-category's
        statements and the products the text bears out best."""
        return self.votes(self.scorer.logits(texts, self.questions.all, advance=advance))

    def votes(self, logits: NDArray[np.float32]) -> Votes:
        """The same from the logits against and for each of ``questions.all``, [N, H, 2]; NaN for an empty text."""
        return votes(self.questions, logits, self.bias)

    def without_bias(self, texts: Sequence[str]) -> Teacher:
        """The teacher that no longer favours some products whatever the text.

        Contextual calibration (Zhao et al., arXiv 2102.09690) with texts that say nothing; label words of such models
        carry a prior (arXiv 2309.04992). What a text without content is taken to say of *which* product is bias. That
        it speaks of none is true, so the first step is left alone: the bias is taken from its own mean.
        """
        spoken = [text for text in texts if text.strip()]
        result, _ = strengths(self.questions, self.scorer.logits(spoken, self.questions.all, advance=None))
        result = result[~np.isnan(result).any(axis=1)]
        if not len(result):
            return self
        bias = result.mean(axis=0)
        return replace(self, bias=bias - bias.mean())


def votes(questions: Questions, logits: NDArray[np.float32], bias: Floats) -> Votes:
    """What the logits against and for each hypothesis come to.

    Args:
        questions: the hypotheses.
        logits: of ``questions.all``, [N, H, 2]; NaN for an empty text.
        bias: how much each product is favoured whatever the text, [P], in logits.
    """
    products, statements = strengths(questions, logits)
    result = two_steps(products - bias, statements, none=questions.none)
    evidence = list[list[str]]()
    shown = [name for index, name in enumerate(questions.names) if index != questions.none]
    for row in range(len(logits)):
        if np.isnan(result[row, 0]):
            evidence.append([])
        elif result[row].argmax() == questions.none:
            evidence.append([questions.statements[int(statements[row].argmax())][0]])
        else:
            evidence.append([shown[int((products[row] - bias).argmax())]])
    return Votes(result.astype(np.float32), evidence)


def strengths(questions: Questions, logits: NDArray[np.float32]) -> tuple[Floats, Floats]:
    """How far each text bears out each product and each statement of the none-category, in logits, [N, P] and [N, S],
    from the logits against and for each of ``questions.all``, [N, H, 2]."""
    index = {hypothesis: column for column, hypothesis in enumerate(questions.all)}
    answers = probabilities(logits)
    result = []
    for groups in (questions.products, questions.statements):
        mean = np.stack([answers[:, [index[one] for one in group]].mean(axis=1) for group in groups], axis=1)
        mean = np.clip(mean, SURE, 1 - SURE)
        result.append(np.log(mean) - np.log1p(-mean))
    return result[0], result[1]


def probabilities(logits: NDArray[np.float32]) -> Floats:
    """Of the logits against and for, [..., 2], the probability of the second, [...]."""
    return _sigmoid(logits[..., 1].astype(np.float64) - logits[..., 0])


def two_steps(products: Floats, statements: Floats, *, none: int) -> Floats:
    """The probability of each category, [N, K].

    The best statement against the best product gives the probability g of the none-category; the products share the
    rest by the softmax of their logits.

    Args:
        products: logits of the products, [N, K - 1].
        statements: logits of the none-category's statements, [N, S].
        none: the index of the none-category.
    """
    top = products.max(axis=1)
    gone = _sigmoid(statements.max(axis=1) - top)
    share = softmax(products, axis=1) * (1 - gone)[:, None]
    result: Floats = np.insert(share, none, gone, axis=1)
    return result


def _sigmoid(logits: Floats) -> Floats:
    with np.errstate(invalid="ignore"):  # of an empty text
        result: Floats = np.exp(-np.logaddexp(0, -logits))
    return result


class Asked(Protocol):
    """The settings of a teacher's hypotheses; documented in ``label.nli``."""

    @property
    def templates(self) -> list[str]: ...
    @property
    def hypotheses(self) -> Parts: ...
    @property
    def none(self) -> Asking: ...
    @property
    def correct_bias(self) -> bool: ...


def asked(config: Asked, categories: Categories) -> Questions:
    """The hypotheses on ``categories`` that the settings describe; errors as of :func:`questions`."""
    return questions(
        categories,
        templates=config.templates,
        parts=config.hypotheses,
        none_statements=NONE_STATEMENTS if config.none == "statements" else (),
    )


def teacher(name: str, config: Asked, categories: Categories, scorer: Scorer) -> Teacher:
    """The teacher of ``categories`` that its settings describe; errors as of :func:`questions`."""
    queries = asked(config, categories)
    result = Teacher(name, scorer, queries, np.zeros(len(queries.products)))
    return result.without_bias(CONTENT_FREE) if config.correct_bias else result


WORDING = frozenset({"templates", "hypotheses", "none", "correct_bias"})
"""Settings that say what is asked, not how a model answers a question."""
