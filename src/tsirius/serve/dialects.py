"""The forms in which texts come and answers go: the server's own, and those of servers that clients know already.

Each dialect is the model of a request, which names what is wrong with it, and a function from a request and an answer
to the form of the answer. None of them decides anything: all answers are those of one engine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictStr

from tsirius.serve.service import Answer, Call, Refusal

EXAMPLE = "Чайник гудит, но греет быстро"


def _whole(value: Any) -> Any:
    """2.0 as 2: to JSON Schema both are integers."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _false(value: bool) -> bool:
    if value:
        raise ValueError("is not offered")
    return value


Whole = Annotated[int, BeforeValidator(_whole)]
Count = Annotated[int, BeforeValidator(_whole), Field(ge=1)]
Texts = Annotated[list[StrictStr], Field(min_length=1)]
Single = Annotated[list[StrictStr], Field(min_length=1, max_length=1)]
FAILED = "could not be classified"


class Lenient(BaseModel):
    """A request of another server's dialect: what it has beyond this is not looked at."""

    model_config = ConfigDict(extra="ignore", strict=True)


# --- the server's own -------------------------------------------------------------------------------------------------


class Classify(BaseModel):
    """Texts to classify."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        use_attribute_docstrings=True,
        json_schema_extra={"examples": [{"texts": [EXAMPLE, "Спасибо"], "ids": ["7", "8"], "top_k": 2}]},
    )

    texts: list[Any] = Field(min_length=1)
    """The texts, as strings; null is an empty text. Anything else gets an error of its own in the answer."""
    ids: list[StrictStr | Whole] | None = None
    """One for each text, to come back with its answer."""
    top_k: Count | None = None
    """Also give this many categories, the likeliest first."""


class Ranked(BaseModel):
    """A category with its probability."""

    category: str
    confidence: float


class Result(BaseModel):
    """What is said of a text: a category, or an error."""

    index: int
    id: str | int | None = None
    category: str | None = None
    confidence: float | None = None
    unsure: bool | None = None
    truncated: bool | None = None
    tokens: int | None = None
    top: list[Ranked] | None = None
    error: str | None = None


class Classified(BaseModel):
    """The answers, in the order of the texts."""

    model: str
    results: list[Result]


def own(given: Classify) -> tuple[list[str], dict[int, str]]:
    """The texts of a request, and what is wrong with those that are none."""
    if given.ids is not None and len(given.ids) != len(given.texts):
        raise Refusal(
            HTTPStatus.UNPROCESSABLE_ENTITY, f"{len(given.ids):,} ids for {len(given.texts):,} texts",
            item=min(len(given.ids), len(given.texts)), reason="invalid",
        )  # fmt: skip
    wrong = {
        number: f"is not a string but of type {_type(text)}"
        for number, text in enumerate(given.texts)
        if text is not None and not isinstance(text, str)
    }
    return [text or "" for number, text in enumerate(given.texts) if number not in wrong], wrong


def _type(value: Any) -> str:
    names = {bool: "boolean", int: "number", float: "number", list: "array", dict: "object"}
    return names.get(type(value), type(value).__name__)


def own_answer(given: Classify, answer: Answer, wrong: dict[int, str]) -> dict[str, Any]:
    """The answer in the server's own form."""
    results, place = [], 0
    for index in range(len(given.texts)):
        result: dict[str, Any] = {"index": index}
        if given.ids is not None:
            result["id"] = given.ids[index]
        if index in wrong:
            results.append({**result, "error": wrong[index]})
            continue
        row, number = answer.rows[place], place
        place += 1
        if row.probabilities is None:
            results.append({**result, "error": FAILED})
            continue
        result |= {"category": answer.category(number), "confidence": answer.confidence(number)}
        result |= {"unsure": answer.unsure[number], "truncated": row.truncated, "tokens": row.tokens}
        if given.top_k is not None:
            ranked = answer.ranked(number, given.top_k)
            result["top"] = [{"category": name, "confidence": share} for name, share in ranked]
        results.append(result)
    return {"model": answer.model.version, "results": results}


# --- text-embeddings-inference, Hugging Face inference ----------------------------------------------------------------


class Predict(Lenient):
    """Texts to classify, as text-embeddings-inference takes them: a text, a list of texts, or a list of lists of one
    text."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"inputs": EXAMPLE}, {"inputs": [[EXAMPLE], ["Спасибо"]]}]}
    )

    inputs: StrictStr | Annotated[list[StrictStr | Single], Field(min_length=1)]
    raw_scores: Annotated[StrictBool, AfterValidator(_false), Field(json_schema_extra={"const": False})] = False
    truncate: bool | None = None


class Labelled(BaseModel):
    """A label with its probability."""

    label: str
    score: float


class Parameters(Lenient):
    """What Hugging Face's clients may ask for beside the texts."""

    top_k: Count | None = None
    function_to_apply: Literal["softmax"] | None = None


class Inference(Lenient):
    """Texts to classify, as Hugging Face's clients send them."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"inputs": EXAMPLE, "parameters": {"top_k": 2}}]})

    inputs: StrictStr | Texts
    parameters: Parameters | None = None


def predict(given: Predict) -> list[str]:
    """The texts of a request."""
    if isinstance(given.inputs, str):
        return [given.inputs]
    return [text if isinstance(text, str) else text[0] for text in given.inputs]


def predict_answer(given: Predict, answer: Answer) -> list[Any]:
    """The labels of each text, the likeliest first; of a single text not in a list of lists."""
    _check_rows(answer)
    if given.truncate is False:
        cut = next((number for number, row in enumerate(answer.rows) if row.truncated), None)
        if cut is not None:
            message = "a text is longer than the model reads, and truncate is false"
            raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, message, item=cut, reason="too_long")
    lists = _labels(answer, None)
    return lists[0] if isinstance(given.inputs, str) else lists


def inference_answer(given: Inference, answer: Answer) -> list[Any]:
    """The labels of each text, the likeliest first."""
    _check_rows(answer)
    return _labels(answer, None if given.parameters is None else given.parameters.top_k)


def _labels(answer: Answer, count: int | None) -> list[Any]:
    return [
        [{"label": name, "score": share} for name, share in answer.ranked(number, count)]
        for number in range(len(answer.rows))
    ]


def _check_rows(answer: Answer) -> None:
    """These forms have no place for the error of a single text: the request fails, and names it."""
    for number, row in enumerate(answer.rows):
        if row.probabilities is None:
            raise Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, f"a text {FAILED}", item=number, reason="failed")


# --- vLLM and SGLang --------------------------------------------------------------------------------------------------


class Input(Lenient):
    """Texts to classify, as vLLM and SGLang take them."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"model": "tsirius", "input": [EXAMPLE, "Спасибо"]}]})

    model: StrictStr | None = None
    input: StrictStr | Texts


class InputResult(BaseModel):
    """What is said of a text; ``probs`` are in the order of the categories, see /v1/model."""

    index: int
    label: str
    probs: list[float]
    num_classes: int


class Usage(BaseModel):
    """Tokens that were read."""

    prompt_tokens: int
    total_tokens: int
    completion_tokens: int = 0


class InputClassified(BaseModel):
    """The answers, in the order of the texts."""

    id: str
    object: str = "list"
    created: int
    model: str
    data: list[InputResult]
    usage: Usage


def input_answer(answer: Answer, *, call: Call, name: str) -> dict[str, Any]:
    """The answer in vLLM's form."""
    _check_rows(answer)
    tokens = sum(row.tokens or 0 for row in answer.rows)
    data = [
        {"index": index, "label": answer.category(index), "probs": row.probabilities.tolist(),
         "num_classes": len(answer.model.names)}
        for index, row in enumerate(answer.rows)
    ]  # fmt: skip
    return {
        "id": f"classify-{call.request_id}",
        "object": "list",
        "created": int(time.time()),
        "model": name,
        "data": data,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0},
    }


# --- KServe's open inference protocol, version 2 ----------------------------------------------------------------------


class Tensor(Lenient):
    """A tensor of texts; nested data are read row by row."""

    name: StrictStr
    shape: list[Annotated[int, BeforeValidator(_whole), Field(ge=0)]]
    datatype: Literal["BYTES"]
    data: list[Any] = Field(min_length=1)


class Wanted(Lenient):
    """A tensor that is asked for."""

    name: Literal["category", "confidence", "probabilities"]


class Infer(Lenient):
    """Texts to classify, as KServe and Triton take them: one tensor of datatype BYTES."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"id": "7", "inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [EXAMPLE]}]}
            ]
        }
    )

    id: StrictStr | None = None
    inputs: list[Tensor] = Field(min_length=1, max_length=1)
    outputs: list[Wanted] | None = None


class OutputTensor(BaseModel):
    """A tensor of the answer."""

    name: str
    datatype: str
    shape: list[int]
    data: list[Any]


class Inferred(BaseModel):
    """The answers: ``category`` [N] and ``confidence`` [N]; ``probabilities`` [N, K] where they are asked for."""

    model_name: str
    model_version: str
    id: str
    outputs: list[OutputTensor]


def infer(given: Infer) -> list[str]:
    """The texts of a request.

    Raises:
        Refusal: an element is no string, or the shape is another one than that of the data.
    """
    tensor, texts = given.inputs[0], list[str]()
    pending = list(reversed(tensor.data))
    while pending:
        value = pending.pop()
        if isinstance(value, list):
            pending.extend(reversed(value))
        elif isinstance(value, str):
            texts.append(value)
        else:
            raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, f"an element is not a string but of type {_type(value)}",
                          item=len(texts), reason="invalid")  # fmt: skip
    count = 1
    for size in tensor.shape:
        count *= size
    if count != len(texts):
        raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY,
                      f"the shape has room for {count:,} elements, and {len(texts):,} are given",
                      item=min(count, len(texts)), reason="invalid")  # fmt: skip
    return texts


def infer_answer(given: Infer, answer: Answer, *, call: Call, name: str) -> dict[str, Any]:
    """The answer in KServe's form."""
    _check_rows(answer)
    count, names = len(answer.rows), answer.model.names
    wanted = ["category", "confidence"] if given.outputs is None else [output.name for output in given.outputs]
    tensors: dict[str, Callable[[], tuple[str, list[int], list[Any]]]] = {
        "category": lambda: ("BYTES", [count], [answer.category(number) for number in range(count)]),
        "confidence": lambda: ("FP32", [count], [answer.confidence(number) for number in range(count)]),
        "probabilities": lambda: (
            "FP32",
            [count, len(names)],
            [float(share) for row in answer.rows for share in row.probabilities],
        ),
    }
    outputs = []
    for output in wanted:
        datatype, shape, data = tensors[output]()
        outputs.append({"name": output, "datatype": datatype, "shape": shape, "data": data})
    return {"model_name": name, "model_version": answer.model.version, "id": given.id or call.request_id,
            "outputs": outputs}  # fmt: skip


class Error(BaseModel):
    """What is wrong; ``item`` is the number of the text that it is about, from 0."""

    error: str
    error_type: str
    request_id: str
    item: int | None = None


def texts_of(texts: str | Sequence[str]) -> list[str]:
    """A text or a list of texts as a list."""
    return [texts] if isinstance(texts, str) else list(texts)
