"""The application: which path is answered by what, and its description (OpenAPI), both from one table."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic.json_schema import models_json_schema
from pydantic_core import to_json
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import tsirius
from tsirius.serve import dialects
from tsirius.serve.guard import Guard, error
from tsirius.serve.metrics import TYPE
from tsirius.serve.service import Call, Refusal, Service

Handler = Callable[[Service, Call, Request], Awaitable[Any]]
M = TypeVar("M", bound=BaseModel)
JSON = "application/json"
REFUSALS = {
    400: "not JSON, or a header that is not valid",
    401: "no valid API key, where keys are asked for",
    404: "no such model",
    408: "the request came too slowly",
    413: "the request is too large, or has too many texts",
    415: "the content type is not application/json",
    422: "the request is not valid; `item` is the number of the text that it is about",
    429: "the queue is full; try again after the seconds of Retry-After",
    500: "a text could not be classified",
    503: "the server is stopping",
    504: "no answer in the time there was",
}


@dataclass(frozen=True)
class Endpoint:
    """A path and what answers it.

    Attributes:
        method: GET or POST.
        path: with parameters in braces.
        dialect: whose it is.
        summary: what it does.
        handler: gives the content of the answer, JSON or a response.
        takes: the forms of a request's body; empty: none.
        gives: the form of the answer; None: as the summary says.
        statuses: of errors, beside those that every path has.
    """

    method: str
    path: str
    dialect: str
    summary: str
    handler: Handler
    takes: Sequence[type[BaseModel]] = ()
    gives: type[BaseModel] | None = None
    statuses: Sequence[int] = ()


def parsed(form: type[M], body: bytes) -> M:
    """The body of a request.

    Raises:
        Refusal: it is not JSON, or not of that form; the message says where.
    """
    try:
        return form.model_validate_json(body)
    except ValidationError as problems:
        every = problems.errors(include_url=False, include_input=False, include_context=False)
        if every[0]["type"] == "json_invalid":
            raise Refusal(HTTPStatus.BAD_REQUEST, f"not JSON: {_plain(every[0]['msg'])}", reason="not_json") from None
        # of the forms that a field may have, that with items counts: it says which one is wrong
        first = next((problem for problem in every if _item(problem["loc"]) is not None), every[0])
        where = [part for part in first["loc"] if isinstance(part, int) or re.fullmatch(r"[a-z_]+", part)]
        item = None if form is dialects.Infer else _item(first["loc"])
        name = ".".join(map(str, where))
        message = f"{name}: {_plain(first['msg'])}" if name else _plain(first["msg"])
        raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, message, item=item, reason="invalid") from None


def _item(where: Sequence[int | str]) -> int | None:
    return next((part for part in where if isinstance(part, int)), None)


def _plain(message: str) -> str:
    message = message.removeprefix("Invalid JSON: ")
    return message[:1].lower() + message[1:200]


async def _body(request: Request) -> bytes:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != JSON:  # a page of another site may send others without asking
        raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"the content type is not {JSON}", reason="content_type")
    return await request.body()


def _check_name(service: Service, name: str | None) -> None:
    if name is not None and name != service.settings.name:
        raise Refusal(HTTPStatus.NOT_FOUND, f"no such model; this one is called {service.settings.name!r}")


# --- classifying ------------------------------------------------------------------------------------------------------


async def classify(service: Service, call: Call, request: Request) -> Any:
    body = await _body(request)
    if b'"input"' in body and (given := _as_input(body)) is not None:
        return await _input(service, call, given)
    own = parsed(dialects.Classify, body)
    texts, wrong = dialects.own(own)
    answer = await service.classify(call, texts)
    if wrong:
        call.notes["invalid"] = len(wrong)
    return dialects.own_answer(own, answer, wrong)


def _as_input(body: bytes) -> dialects.Input | None:
    """The request as vLLM's clients send it to the same path; None where it is the server's own."""
    from pydantic_core import from_json

    try:
        keys = from_json(body)
    except ValueError:
        return None
    return parsed(dialects.Input, body) if isinstance(keys, dict) and "input" in keys and "texts" not in keys else None


async def _input(service: Service, call: Call, given: dialects.Input) -> Any:
    call.dialect = "vllm"
    _check_name(service, given.model)
    answer = await service.classify(call, dialects.texts_of(given.input))
    return dialects.input_answer(answer, call=call, name=service.settings.name)


async def vllm(service: Service, call: Call, request: Request) -> Any:
    return await _input(service, call, parsed(dialects.Input, await _body(request)))


async def tei(service: Service, call: Call, request: Request) -> Any:
    given = parsed(dialects.Predict, await _body(request))
    return dialects.predict_answer(given, await service.classify(call, dialects.predict(given)))


async def huggingface(service: Service, call: Call, request: Request) -> Any:
    _check_name(service, request.path_params.get("model"))
    given = parsed(dialects.Inference, await _body(request))
    return dialects.inference_answer(given, await service.classify(call, dialects.texts_of(given.inputs)))


async def kserve(service: Service, call: Call, request: Request) -> Any:
    _check_name(service, request.path_params["model"])
    given = parsed(dialects.Infer, await _body(request))
    answer = await service.classify(call, dialects.infer(given))
    return dialects.infer_answer(given, answer, call=call, name=service.settings.name)


# --- what it is, and how it is ----------------------------------------------------------------------------------------


async def health(service: Service, _call: Call, _request: Request) -> Any:
    if not service.engine.alive:
        raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "the engine has ended", reason="dead")
    return {"status": "alive"}


async def ready(service: Service, _call: Call, _request: Request) -> Any:
    if not service.ready:
        raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "not ready", reason="not_ready")
    return {"status": "ready"}


async def metrics(service: Service, _call: Call, _request: Request) -> Any:
    service.metrics.queue.set(service.engine.waiting)
    service.metrics.shadow_lost.set(service.engine.left_out)
    return Response(service.metrics.page(), headers={"content-type": TYPE})


async def model(service: Service, _call: Call, _request: Request) -> Any:
    deployment, settings = service.deployment, service.settings
    about: dict[str, Any] = {"name": settings.name, **deployment.first.about()}
    about |= {"threshold": settings.threshold, "thresholds": settings.thresholds}
    if deployment.second is not None:
        about["second"] = {**deployment.second.about(), "share": settings.share, "shadow": settings.shadow}
    return about


async def info(service: Service, _call: Call, _request: Request) -> Any:
    settings, first = service.settings, service.deployment.first
    return {
        "model_id": settings.name,
        "model_sha": first.fingerprint,
        "model_dtype": "float32",
        "model_type": {
            "classifier": {
                "id2label": {str(number): name for number, name in enumerate(first.names)},
                "label2id": {name: number for number, name in enumerate(first.names)},
            }
        },
        "max_concurrent_requests": settings.max_connections,
        "max_input_length": first.description.max_length or 2**31 - 1,
        "max_batch_tokens": settings.batch_tokens,
        "max_batch_requests": None,
        "max_client_batch_size": settings.max_texts,
        "auto_truncate": True,
        "tokenization_workers": 1,
        "version": tsirius.__version__,
    }


async def models(service: Service, _call: Call, _request: Request) -> Any:
    return {"object": "list", "data": [{"id": service.settings.name, "object": "model", "owned_by": "tsirius"}]}


async def kserve_server(service: Service, _call: Call, _request: Request) -> Any:
    return {"name": "tsirius", "version": tsirius.__version__, "extensions": []}


async def kserve_live(service: Service, call: Call, request: Request) -> Any:
    await health(service, call, request)
    return {"live": True}


async def kserve_ready(service: Service, call: Call, request: Request) -> Any:
    await ready(service, call, request)
    return {"ready": True}


async def kserve_model(service: Service, _call: Call, request: Request) -> Any:
    _check_name(service, request.path_params["model"])
    first = service.deployment.first
    return {
        "name": service.settings.name,
        "versions": [first.version],
        "platform": "tsirius",
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1]}],
        "outputs": [
            {"name": "category", "datatype": "BYTES", "shape": [-1]},
            {"name": "confidence", "datatype": "FP32", "shape": [-1]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, len(first.names)]},
        ],
    }


async def kserve_model_ready(service: Service, call: Call, request: Request) -> Any:
    _check_name(service, request.path_params["model"])
    await ready(service, call, request)
    return {"name": service.settings.name, "ready": True}


async def description(service: Service, _call: Call, _request: Request) -> Any:
    return openapi()


WORK = (400, 408, 413, 415, 422, 429, 500, 503, 504)
"""The errors of a path that classifies."""
ENDPOINTS = (
    Endpoint("POST", "/v1/classify", "own", "Classify texts; a text that is none gets an error of its own.", classify,
             (dialects.Classify, dialects.Input), dialects.Classified, (*WORK, 404)),
    Endpoint("POST", "/classify", "vllm", "The same, as vLLM and SGLang have it.", vllm,
             (dialects.Input,), dialects.InputClassified, (*WORK, 404)),
    Endpoint("POST", "/predict", "tei", "The same, as text-embeddings-inference has it.", tei,
             (dialects.Predict,), None, WORK),
    Endpoint("POST", "/", "huggingface", "The same, as Hugging Face's inference has it.", huggingface,
             (dialects.Inference,), None, WORK),
    Endpoint("POST", "/models/{model}", "huggingface", "The same, under the model's name.", huggingface,
             (dialects.Inference,), None, (*WORK, 404)),
    Endpoint("POST", "/v2/models/{model}/infer", "kserve", "The same, as KServe and Triton have it.", kserve,
             (dialects.Infer,), dialects.Inferred, (*WORK, 404)),
    Endpoint("GET", "/v1/model", "own", "The model that answers: version, date, categories, scores.", model),
    Endpoint("GET", "/v1/models", "vllm", "The model's name.", models),
    Endpoint("GET", "/info", "tei", "The model and the limits, as text-embeddings-inference has it.", info),
    Endpoint("GET", "/health", "own", "Whether the server lives.", health, statuses=(503,)),
    Endpoint("GET", "/ready", "own", "Whether it takes requests.", ready, statuses=(503,)),
    Endpoint("GET", "/metrics", "own", "Counters for Prometheus, as text.", metrics),
    Endpoint("GET", "/v2", "kserve", "The server.", kserve_server),
    Endpoint("GET", "/v2/health/live", "kserve", "Whether the server lives.", kserve_live, statuses=(503,)),
    Endpoint("GET", "/v2/health/ready", "kserve", "Whether it takes requests.", kserve_ready, statuses=(503,)),
    Endpoint("GET", "/v2/models/{model}", "kserve", "The model's tensors.", kserve_model, statuses=(404,)),
    Endpoint("GET", "/v2/models/{model}/ready", "kserve", "Whether the model takes requests.", kserve_model_ready,
             statuses=(404, 503)),
    Endpoint("GET", "/openapi.json", "own", "This description.", description),
)  # fmt: skip


def application(service: Service, keys: Sequence[bytes]) -> Guard:
    """The application of ``service``; ``keys`` are the digests of the API keys, none where none is asked for."""

    async def refuse(request: Request, problem: Exception) -> Response:
        if isinstance(problem, HTTPException):
            status = HTTPStatus(problem.status_code)
            problem = Refusal(status, status.phrase.lower(), headers=problem.headers)
        assert isinstance(problem, Refusal)
        service.metrics.rejected.labels(problem.reason).inc()
        return error(problem, request.scope["call"].request_id)

    app = Starlette(
        routes=[_route(service, endpoint) for endpoint in ENDPOINTS],
        exception_handlers={HTTPException: refuse, Refusal: refuse},
    )
    app.router.redirect_slashes = False
    return Guard(app, service, keys)


def _route(service: Service, endpoint: Endpoint) -> Route:
    async def answer(request: Request) -> Response:
        call: Call = request.scope["call"]
        call.dialect = endpoint.dialect
        content = await endpoint.handler(service, call, request)
        return content if isinstance(content, Response) else Response(to_json(content), media_type=JSON)

    return Route(endpoint.path, answer, methods=[endpoint.method])


def openapi() -> dict[str, Any]:
    """The description of the paths, by OpenAPI 3.1."""
    forms = {form for one in ENDPOINTS for form in (*one.takes, one.gives, dialects.Error) if form is not None}
    references, definitions = models_json_schema(
        [(form, "validation") for form in sorted(forms, key=lambda form: form.__name__)],
        ref_template="#/components/schemas/{model}",
    )
    paths: dict[str, Any] = {}
    for one in ENDPOINTS:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one, references)
    return {
        "openapi": "3.1.0",
        "info": {"title": "tsirius", "version": tsirius.__version__,
                 "description": "The category of product reviews, by several dialects on one engine."},
        "paths": paths,
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"key": []}],
    }  # fmt: skip


def _operation(one: Endpoint, references: Any) -> dict[str, Any]:
    def content(form: type[BaseModel]) -> dict[str, Any]:
        return {JSON: {"schema": references[form, "validation"]}}

    good: dict[str, Any] = {"description": one.summary}
    if one.handler is metrics:
        good["content"] = {"text/plain": {"schema": {"type": "string"}}}
    elif one.gives is None:
        good["content"] = {JSON: {"schema": {}}}
    elif len(one.takes) > 1:
        good["content"] = {JSON: {"schema": {"anyOf": [references[form, "validation"] for form in
                                                      (one.gives, dialects.InputClassified)]}}}  # fmt: skip
    else:
        good["content"] = content(one.gives)
    statuses = sorted({*one.statuses, 400, 401})
    operation: dict[str, Any] = {
        "tags": [one.dialect],
        "summary": one.summary,
        "responses": {
            "200": good,
            **{
                str(status): {"description": REFUSALS[status], "content": content(dialects.Error)}
                for status in statuses
            },
        },
    }
    if names := re.findall(r"\{(\w+)\}", one.path):
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
        ]
    if one.takes:
        schemas = [references[form, "validation"] for form in one.takes]
        examples = [value for form in one.takes for value in form.model_json_schema().get("examples", [])]
        named = {f"example {number}": {"value": value} for number, value in enumerate(examples, 1)}
        schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
        operation["requestBody"] = {"required": True, "content": {JSON: {"schema": schema, "examples": named}}}
    return operation
