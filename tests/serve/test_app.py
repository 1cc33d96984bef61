"""The server as clients see it: every dialect, every refusal, and what is counted and logged."""

import asyncio
import json
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import serving
from serving import NAMES, Running, gate, lines, running

from tsirius.models import encode, hub
from tsirius.models.classifier import Classifier
from tsirius.serve.app import ENDPOINTS, openapi
from tsirius.serve.server import _listen

REVIEWS = ["Чашка треснула", "ботинок порвался", "", "спасибо!  ", "тапки и чашка", "a <b>👍</b> 😀 кастрюля"]
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return serving.save(tmp_path_factory.mktemp("models") / "model")


@pytest.fixture(scope="module")
def server(model: Path) -> Iterator[Running]:
    with running(model, max_texts=8, queue_texts=8, max_body_bytes=4096, max_bodies_bytes=65536) as found:
        yield found


@pytest.fixture(scope="module")
def classifier(model: Path) -> Classifier:
    return Classifier.load(model)


def by_own(server: Running, texts: list[str]) -> list[tuple[str, float]]:
    found = server.post("/v1/classify", {"texts": texts}).json()["results"]
    assert [result["index"] for result in found] == list(range(len(texts)))
    return [(result["category"], result["confidence"]) for result in found]


def by_tei(server: Running, texts: list[str]) -> list[tuple[str, float]]:
    found = server.post("/predict", {"inputs": texts, "truncate": True}).json()
    assert found == server.post("/predict", {"inputs": [[text] for text in texts]}).json()
    assert found[0] == server.post("/predict", {"inputs": texts[0]}).json()
    return [(ranked[0]["label"], ranked[0]["score"]) for ranked in found]


def by_vllm(server: Running, texts: list[str]) -> list[tuple[str, float]]:
    request = {"model": "tsirius", "input": texts, "priority": 0}
    found = server.post("/v1/classify", request).json()
    assert found["data"] == server.post("/classify", request).json()["data"]
    assert [entry["index"] for entry in found["data"]] == list(range(len(texts)))
    assert all(entry["label"] == NAMES[entry["probs"].index(max(entry["probs"]))] for entry in found["data"])
    return [(entry["label"], max(entry["probs"])) for entry in found["data"]]


def by_huggingface(server: Running, texts: list[str]) -> list[tuple[str, float]]:
    from huggingface_hub import InferenceClient

    client = InferenceClient(model=server.url, token="none")
    named = InferenceClient(model=f"{server.url}/models/tsirius", token="none")
    found = [client.text_classification(text, top_k=2) for text in texts]
    assert [len(ranked) for ranked in found] == [2] * len(texts)
    assert [named.text_classification(text, top_k=2) for text in texts] == found
    return [(ranked[0].label, ranked[0].score) for ranked in found]


def by_kserve(server: Running, texts: list[str]) -> list[tuple[str, float]]:
    tensor = {"name": "text", "shape": [len(texts), 1], "datatype": "BYTES", "data": [[text] for text in texts]}
    found = server.post("/v2/models/tsirius/infer", {"id": "7", "inputs": [tensor]}).json()
    assert (found["id"], found["model_name"]) == ("7", "tsirius")
    outputs = {output["name"]: output for output in found["outputs"]}
    assert outputs["category"]["shape"] == outputs["confidence"]["shape"] == [len(texts)]
    return list(zip(outputs["category"]["data"], outputs["confidence"]["data"], strict=True))


@pytest.mark.parametrize("dialect", [by_own, by_tei, by_vllm, by_huggingface, by_kserve])
def test_every_dialect_answers_as_the_classifier(
    server: Running, classifier: Classifier, dialect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)  # its client calls this machine
    expected = classifier.predict_proba(REVIEWS)
    found = dialect(server, REVIEWS)
    assert [name for name, _ in found] == classifier.predict(REVIEWS)
    assert [share for _, share in found] == pytest.approx(expected.max(axis=1).tolist(), abs=1e-6)


def test_the_own_dialect_gives_ids_and_the_likeliest_and_an_error_for_each_item(server: Running) -> None:
    answer = server.post("/v1/classify", {"texts": ["чашка", 5, None, ["а"]], "ids": ["a", 2, "c", "d"], "top_k": 2})
    good, number, empty, nested = answer.json()["results"]
    assert (good["id"], good["category"], good["top"][0]["category"]) == ("a", "посуда", "посуда")
    assert len(good["top"]) == 2 and good["top"][0]["confidence"] == good["confidence"]
    assert number == {"index": 1, "id": 2, "error": "is not a string but of type number"}
    assert (empty["category"], empty["confidence"]) == ("нет товара", 1.0)
    assert nested["error"] == "is not a string but of type array"
    assert answer.status_code == 200 and answer.json()["model"] == server.service.deployment.first.version


@pytest.mark.parametrize(
    ("path", "content", "status", "item"),
    [
        ("/v1/classify", {"texts": []}, 422, None),
        ("/v1/classify", {"texts": "чашка"}, 422, None),
        ("/v1/classify", {"texts": ["а"], "top": 1}, 422, None),
        ("/v1/classify", {"texts": ["а", "б"], "ids": ["1"]}, 422, 1),
        ("/v1/classify", {"texts": ["а"], "top_k": 0}, 422, None),
        ("/v1/classify", {"texts": ["а"] * 9}, 413, None),
        ("/v1/classify", {"texts": ["а" * 4096]}, 413, None),
        ("/v1/classify", {"model": "tsirius", "input": ["а", "б", 3]}, 422, 2),
        ("/v1/classify", {"model": "another", "input": "а"}, 404, None),
        ("/v1/classify", {"input": [1, 2]}, 422, 0),
        ("/predict", {"inputs": ["а", 3, "б", 4]}, 422, 1),
        ("/predict", {"inputs": [["а"], ["б", "в"]]}, 422, 1),
        ("/predict", {"inputs": "а", "raw_scores": True}, 422, None),
        ("/predict", {}, 422, None),
        ("/", {"inputs": "а", "parameters": {"function_to_apply": "sigmoid"}}, 422, None),
        ("/models/another", {"inputs": "а"}, 404, None),
        ("/v2/models/another/infer", {"inputs": []}, 404, None),
        ("/v2/models/tsirius/infer", {"inputs": []}, 422, None),
        ("/v2/models/tsirius/infer",
         {"inputs": [{"name": "t", "shape": [1], "datatype": "FP32", "data": [1.0]}]}, 422, None),
        ("/v2/models/tsirius/infer",
         {"inputs": [{"name": "t", "shape": [3], "datatype": "BYTES", "data": ["а", ["б", 1]]}]}, 422, 2),
        ("/v2/models/tsirius/infer",
         {"inputs": [{"name": "t", "shape": [3], "datatype": "BYTES", "data": ["а", "б"]}]}, 422, 2),
        ("/nowhere", {}, 404, None),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_in_one_form(
    server: Running, path: str, content: Any, status: int, item: int | None
) -> None:
    answer = server.post(path, content)
    assert answer.status_code == status, answer.text
    told = answer.json()
    assert told["error"] and told["error_type"] and told.get("item") == item
    assert told["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{", JSON, 400),
        (b'{"texts": ["\xff\xfe"]}', JSON, 400),
        (b"", JSON, 400),
        (b"[" * 3000, JSON, 400),
        (b'{"texts": ["a"]}', {"content-type": "text/plain"}, 415),
        (b'{"texts": ["a"]}', {}, 415),
        (b'{"texts": ["a"]}', JSON | {"x-timeout-seconds": "soon"}, 400),
        (b'{"texts": ["a"]}', JSON | {"x-timeout-seconds": "-1"}, 400),
    ],
)
def test_a_body_that_is_none_is_refused(server: Running, body: bytes, headers: dict[str, str], status: int) -> None:
    answer = serving.httpx2.post(f"{server.url}/v1/classify", content=body, headers=headers)
    assert answer.status_code == status, answer.text


def test_a_method_that_is_none_is_refused(server: Running) -> None:
    answer = server.get("/predict")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


def test_it_says_what_it_is_and_how_it_is(server: Running) -> None:
    about = server.get("/v1/model").json()
    assert (about["name"], about["categories"], about["kind"]) == ("tsirius", NAMES, "linear")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", about["trained"])
    told = server.get("/info").json()
    assert told["model_type"]["classifier"]["label2id"] == {name: number for number, name in enumerate(NAMES)}
    assert (told["max_client_batch_size"], told["model_sha"][:12]) == (8, about["version"])
    assert server.get("/v1/models").json()["data"][0]["id"] == "tsirius"
    for path in ("/health", "/ready", "/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/tsirius",
                 "/v2/models/tsirius/ready"):  # fmt: skip
        assert server.get(path).status_code == 200, path
    assert server.get("/v2/models/another/ready").status_code == 404


def test_it_counts(server: Running) -> None:
    version = server.service.deployment.first.version

    def values() -> list[float]:
        return [
            server.metric("requests_total", dialect="own", status="413"),
            server.metric("texts_total", model=version),
            server.metric("categories_total", category="посуда", model=version),
            server.metric("confidence_count", model=version),
            server.metric("batch_texts_sum"),
            server.metric("rejected_total", reason="too_many_texts"),
        ]

    before = values()
    server.post("/v1/classify", {"texts": ["чашка", "чашка", "спасибо"]})
    server.post("/v1/classify", {"texts": ["чашка"] * 9})
    assert [after - was for was, after in zip(before, values(), strict=True)] == [1, 3, 2, 3, 3, 1]
    assert server.metric("queue_texts") == server.metric("body_bytes") == 0


def test_the_description_names_every_path_and_its_examples_are_answered(server: Running) -> None:
    described = server.get("/openapi.json").json()
    assert described == openapi()
    assert len(ENDPOINTS) == sum(len(methods) for methods in described["paths"].values())
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            for example in operation.get("requestBody", {"content": {"application/json": {"examples": {}}}})["content"][
                "application/json"
            ]["examples"].values():
                assert method == "post"
                assert server.post(path.format(model="tsirius"), example["value"]).status_code == 200, (path, example)


# --- limits -----------------------------------------------------------------------------------------------------------


def test_a_full_queue_refuses_whole_requests_and_says_when_to_come_again(model: Path) -> None:
    with running(model, max_texts=4, queue_texts=4) as server, ThreadPoolExecutor(2) as pool:
        held = gate(server)
        first = pool.submit(server.post, "/v1/classify", {"texts": ["чашка", "тапки"]})
        assert held.entered.wait(60)
        refused = server.post("/v1/classify", {"texts": ["а", "б", "в"]})
        assert (refused.status_code, refused.json()["error_type"]) == (429, "too_many_requests")
        assert int(refused.headers["retry-after"]) >= 1
        second = pool.submit(server.post, "/v1/classify", {"texts": ["спасибо", "тапки"]})
        held.open.set()
        assert [result["category"] for result in first.result().json()["results"]] == ["посуда", "обувь"]
        assert second.result().status_code == 200
        assert "в" not in held.seen
        assert server.metric("rejected_total", reason="too_many_requests") == 1


def test_a_deadline_ends_the_wait_and_the_work(model: Path) -> None:
    with running(model) as server, ThreadPoolExecutor(1) as pool:
        held = gate(server)
        first = pool.submit(server.post, "/v1/classify", {"texts": ["чашка"]})
        assert held.entered.wait(60)
        late = server.post("/predict", {"inputs": "поздно"}, headers={"x-timeout-seconds": "0.05"})
        assert (late.status_code, late.json()["error_type"]) == (504, "deadline")
        held.open.set()
        assert first.result().status_code == 200
        assert server.post("/v1/classify", {"texts": ["потом"]}).status_code == 200
        assert held.seen == ["чашка", "потом"]


def send_head(server: Running, body: bytes, *, length: int | None = None) -> socket.socket:
    """Begin a request on a connection of its own."""
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=60)
    head = "POST /v1/classify HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    connection.sendall(f"{head}Content-Length: {length or len(body)}\r\n\r\n".encode() + body)
    return connection


@pytest.mark.parametrize("how", ["closed", "half-closed"])
def test_a_request_whose_caller_left_is_not_computed(model: Path, how: str) -> None:
    with running(model) as server, ThreadPoolExecutor(1) as pool:
        held = gate(server)
        first = pool.submit(server.post, "/v1/classify", {"texts": ["чашка"]})
        assert held.entered.wait(60)
        connection = send_head(server, json.dumps({"texts": ["ушёл"] * 5}).encode())
        while server.call(lambda: server.service.engine.waiting) < 6:
            pass
        if how == "closed":
            connection.close()
        else:
            connection.shutdown(socket.SHUT_WR)
        while server.call(lambda: server.service.engine.waiting) > 1:
            pass
        held.open.set()
        assert first.result().status_code == 200
        connection.close()
        assert held.seen == ["чашка"] and server.metric("left_total") == 1


def received(connection: socket.socket) -> bytes:
    """All that comes until the connection ends."""
    found = b""
    try:
        while part := connection.recv(65536):
            found += part
    except ConnectionError:
        pass
    return found


def test_a_large_body_is_refused_before_it_is_read(server: Running) -> None:
    with send_head(server, b"{", length=10**9) as connection:
        assert received(connection).startswith(b"HTTP/1.1 413 ")
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(b"POST /v1/classify HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
                           b"Transfer-Encoding: chunked\r\n\r\n")  # fmt: skip
        try:
            for _ in range(1000):
                connection.sendall(b"400\r\n" + b" " * 1024 + b"\r\n")
        except ConnectionError:
            pass
        assert received(connection).startswith((b"HTTP/1.1 413 ", b""))
    assert server.metric("rejected_total", reason="too_large") >= 2
    assert server.metric("body_bytes") == 0


def test_slow_clients_are_told_or_cut_off(model: Path) -> None:
    with running(model, body_seconds=1.0) as server:
        with send_head(server, b"{", length=100) as connection:
            assert received(connection).startswith(b"HTTP/1.1 408 ")
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
            connection.sendall(b"POST /v1/classify HTTP/1.1\r\nHost")
            assert received(connection) == b""
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
            assert received(connection) == b""
        assert server.post("/v1/classify", {"texts": ["чашка"]}).status_code == 200


def test_what_all_requests_may_hold_is_limited(model: Path) -> None:
    with running(model, max_body_bytes=2048, max_bodies_bytes=3000) as server:
        with send_head(server, b" " * 2000, length=2048) as first:
            while server.metric("body_bytes") < 2000:
                pass
            refused = server.post("/v1/classify", {"texts": ["a" * 1500]})
            assert (refused.status_code, refused.json()["error_type"]) == (429, "memory")
            first.sendall(b" " * 48)
            assert received_head(first).startswith(b"HTTP/1.1 400 ")
        assert server.metric("body_bytes") == 0


def received_head(connection: socket.socket) -> bytes:
    return connection.recv(65536)


def test_small_answers_are_sent_at_once() -> None:
    """Without TCP_NODELAY a client that keeps its connection waits some 40 ms for the body behind the headers."""
    accepted = list[int]()

    class Connection(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            given = transport.get_extra_info("socket")
            accepted.append(given.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            transport.close()

    async def accept(listening: socket.socket) -> None:
        async with await asyncio.get_running_loop().create_server(Connection, sock=listening):
            reader, writer = await asyncio.open_connection(*listening.getsockname())
            assert await reader.read() == b""
            writer.close()

    with _listen("127.0.0.1", 0) as listening:
        asyncio.run(accept(listening))
    assert len(accepted) == 1 and accepted[0]


# --- keys, logs, unsure answers ---------------------------------------------------------------------------------------


def test_keys_are_asked_for_where_there_are_some(model: Path) -> None:
    with running(model, keys=["первый", "second"]) as server:
        request = {"texts": ["чашка"]}
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic second"}, {"x-api-key": ""}):
            refused = server.post("/v1/classify", request, headers=headers)
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        for headers in ({"authorization": "Bearer second"}, {"x-api-key": "second"},
                        {b"authorization": "bearer первый".encode()}):  # fmt: skip
            assert server.post("/v1/classify", request, headers=headers).status_code == 200
        assert server.get("/metrics").status_code == server.get("/v1/model").status_code == 401
        assert server.get("/health").status_code == server.get("/ready").status_code == 200


def test_no_other_site_may_ask(server: Running) -> None:
    answer = server.post("/v1/classify", {"texts": ["чашка"]}, headers={"origin": "https://example.org"})
    assert not [name for name in answer.headers if name.startswith("access-control")]
    preflight = serving.httpx2.options(f"{server.url}/v1/classify", headers={"origin": "https://example.org"})
    assert preflight.status_code == 405


def test_the_log_has_ids_and_counts_and_no_texts(model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with running(model) as server:
        answer = server.post("/v1/classify", {"texts": ["секретная чашка", 5]}, headers={"x-request-id": "abc-1"})
        assert answer.headers["x-request-id"] == "abc-1"
        server.get("/health")
    text = capfd.readouterr().err
    assert "секретная" not in text
    events = lines(text)
    request = next(event for event in events if event["event"] == "request")
    assert (request["request_id"], request["status"], request["texts"], request["invalid"]) == ("abc-1", 200, 1, 1)
    assert request["model"] == server.service.deployment.first.version and request["seconds"] > 0
    assert [event["event"] for event in events] == ["listening", "request", "stopped"]


def test_texts_are_logged_where_that_is_asked_for(model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with running(model, log_texts=True) as server:
        server.post("/predict", {"inputs": "секретная чашка"})
    assert next(event for event in lines(capfd.readouterr().err) if event["event"] == "request")["content"] == [
        "секретная чашка"
    ]


def test_unsure_answers_are_marked_counted_and_kept(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "unsure.jsonl"
    with running(model, threshold=0.99, thresholds={"нет товара": 0.0}, log_unsure=path) as server:
        found = server.post("/v1/classify", {"texts": ["чашка", "", "тапки\nчашка"]}).json()["results"]
        assert [result["unsure"] for result in found] == [True, False, True]
        assert server.metric("unsure_total", model=server.service.deployment.first.version) == 2
    kept = lines(path.read_text(encoding="utf-8"))
    assert [line["text"] for line in kept] == ["чашка", "тапки\nчашка"]
    assert [line["category"] for line in kept] == [found[0]["category"], found[2]["category"]]
    assert len({line["id"] for line in kept}) == 2 and path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("where", ["full disk", "bounded"])
def test_no_room_for_unsure_answers_costs_no_request(model: Path, tmp_path: Path, where: str) -> None:
    path = Path("/dev/full") if where == "full disk" else tmp_path / "unsure.jsonl"
    with running(model, threshold=1.0, log_unsure=path, log_unsure_bytes=1024) as server:
        for _ in range(8):
            assert server.post("/v1/classify", {"texts": ["чашка"]}).status_code == 200
        while not server.metric("unsure_lost_total"):
            time.sleep(0)
    if where == "bounded":
        assert 0 < path.stat().st_size <= 1024 and path.read_text(encoding="utf-8").endswith("\n")


# --- what a model reads -----------------------------------------------------------------------------------------------


def test_truncated_texts_are_told(tmp_path: Path) -> None:
    encoder = encode.embedder(hub.GOODS, max_length=8)
    with running(serving.save(tmp_path / "model", encoder=encoder)) as server:
        short, long = "чашка", "чашка и тарелка " * 20
        found = server.post("/v1/classify", {"texts": [short, long]}).json()["results"]
        assert [result["truncated"] for result in found] == [False, True]
        assert found[0]["tokens"] < 8 and found[1]["tokens"] == 8
        assert server.metric("truncated_texts_total") == 1
        refused = server.post("/predict", {"inputs": [short, long], "truncate": False})
        assert (refused.status_code, refused.json()["item"]) == (422, 1)


def test_a_text_that_fails_is_told_and_the_others_are_answered(model: Path) -> None:
    with running(model) as server:
        first = server.service.deployment.first
        within = first.classifier

        class Breaking:
            names, none = within.names, within.none

            def predict_proba(self, texts: list[str]) -> Any:
                if "плохо" in texts:
                    raise MemoryError("/secret/path")
                return within.predict_proba(texts)

        object.__setattr__(first, "classifier", Breaking())
        answer = server.post("/v1/classify", {"texts": ["чашка", "плохо", "тапки"]})
        assert [result.get("category") for result in answer.json()["results"]] == ["посуда", None, "обувь"]
        assert answer.json()["results"][1]["error"] == "could not be classified" and "secret" not in answer.text
        whole = server.post("/predict", {"inputs": ["чашка", "плохо"]})
        assert (whole.status_code, whole.json()["item"]) == (500, 1)
        assert server.metric("failed_texts_total") == 2
