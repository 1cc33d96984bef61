"""Models that are replaced, tried beside one another, and refused; and the process from its start to its end."""

import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
import serving
from serving import Running, running

from tsirius.errors import UserError
from tsirius.models import linear, probes
from tsirius.models.classifier import Classifier
from tsirius.serve import settings as serving_settings
from tsirius.store import CHECKSUMS


def ask(server: Running, text: str = "чашка", **options: Any) -> tuple[str, str]:
    """The version and the category that are answered."""
    answer = server.post("/v1/classify", {"texts": [text]}, **options).json()
    return answer["model"], answer["results"][0]["category"]


def put(folder: Path, new: Path) -> None:
    """Put another model in the place of ``folder``, at one moment."""
    link = folder.with_name("link")
    link.symlink_to(new)
    link.replace(folder)


def reload(server: Running) -> list[str]:
    return server.call(lambda: server.service.deployment.reload(force=False))  # type: ignore[no-any-return]  # a list


@pytest.fixture
def current(tmp_path: Path) -> Path:
    """A link to the model that answers."""
    link = tmp_path / "current"
    link.symlink_to(serving.save(tmp_path / "first"))
    return link


def test_a_new_model_takes_the_place_of_the_old_one(current: Path, tmp_path: Path) -> None:
    with running(current) as server:
        before = ask(server)
        assert reload(server) == ["same"]
        put(current, serving.save(tmp_path / "second", turned=True))
        assert ask(server) == before
        assert reload(server) == ["loaded"] and reload(server) == ["same"]
        after = ask(server)
        assert before[1] == "посуда" and after[1] == "обувь" and before[0] != after[0]
        assert server.get("/v1/model").json()["version"] == after[0]


def cut_weights(folder: Path) -> None:
    path = folder / linear.WEIGHTS
    path.write_bytes(path.read_bytes()[:-8])


def other_weights(folder: Path) -> None:
    """Weights of another model, and checksums that say so: only the probes tell."""
    shutil.copy(serving.save(folder.with_name("other")) / linear.WEIGHTS, folder)
    serving.write_checksums(folder)


def no_description(folder: Path) -> None:
    (folder / "model.json").unlink()


def no_checksums(folder: Path) -> None:
    """As of a folder of which not every file is copied yet."""
    (folder / CHECKSUMS).unlink()


@pytest.mark.parametrize("harm", [cut_weights, other_weights, no_description, no_checksums])
def test_a_damaged_model_is_refused_and_the_old_one_stays(current: Path, tmp_path: Path, harm: Any) -> None:
    new = serving.save(tmp_path / "second", turned=True)
    harm(new)
    with running(current) as server:
        before = ask(server)
        put(current, new)
        assert reload(server) == (["same"] if harm is no_description else ["refused"])
        assert ask(server) == before
        shutil.rmtree(new)
        serving.save(new, turned=True, with_probes=False)
        assert reload(server) == ["loaded"]
        assert ask(server)[1] == "обувь"


def test_under_load_no_request_fails_and_no_answer_mixes_models(current: Path, tmp_path: Path) -> None:
    second = serving.save(tmp_path / "second", turned=True)
    expected = {}
    for folder in (current, second):
        classifier = Classifier.load(folder)
        expected[serving.server_version(folder)] = classifier.predict(serving.TEXTS)
    seen, end, answered = list[tuple[str, list[str]]](), threading.Event(), queue.Queue[None]()

    def client(url: str) -> None:
        with httpx2.Client(timeout=60) as session:
            while not end.is_set():
                answer = session.post(f"{url}/v1/classify", json={"texts": serving.TEXTS}).raise_for_status().json()
                seen.append((answer["model"], [result["category"] for result in answer["results"]]))
                answered.put(None)

    with running(current) as server:
        clients = [threading.Thread(target=client, args=[server.url]) for _ in range(4)]
        for one in clients:
            one.start()
        for _ in range(20):
            answered.get(timeout=60)
        put(current, second)
        assert reload(server) == ["loaded"]
        for _ in range(answered.qsize() + 20):
            answered.get(timeout=60)
        end.set()
        for one in clients:
            one.join()
        assert ask(server)[1] == "обувь"
    assert {version for version, _ in seen} == set(expected)
    assert all(expected[version] == categories for version, categories in seen)


@pytest.mark.slow
def test_a_second_model_gets_its_share_and_a_request_keeps_its_model(current: Path, tmp_path: Path) -> None:
    second = serving.save(tmp_path / "second", turned=True)
    with running(current, second=second, share=0.25) as server:
        ids = [f"request-{number}" for number in range(80)]
        found = [ask(server, headers={"x-request-id": name})[1] for name in ids]
        assert 8 <= found.count("обувь") <= 36 and len(set(found)) == 2  # a hash of the ids: the same each time
        assert [ask(server, headers={"x-request-id": name})[1] for name in ids[:20]] == found[:20]
        about = server.get("/v1/model").json()
        assert (about["second"]["share"], about["second"]["version"] != about["version"]) == (0.25, True)


def test_the_shadow_is_counted_and_not_answered(current: Path, tmp_path: Path) -> None:
    second = serving.save(tmp_path / "second", turned=True)
    with running(current, second=second, shadow=True) as server:
        for text in ("чашка", "тапки", "спасибо"):
            assert ask(server, text)[0] == server.service.deployment.first.version
        while server.metric("shadow_texts_total") < 3:
            pass
        assert server.metric("shadow_disagreements_total") == 2


def test_models_with_other_categories_are_not_compared(current: Path, tmp_path: Path) -> None:
    other = serving.save(tmp_path / "other", with_probes=False)
    description = json.loads((other / "model.json").read_text(encoding="utf-8"))
    description["names"][0] = "мебель"
    (other / "model.json").write_text(json.dumps(description), encoding="utf-8")
    serving.write_checksums(other)
    with pytest.raises(UserError, match="other categories apart than the first model: мебель, посуда"), \
         running(current, second=other):  # fmt: skip
        pass


def test_probes_tell_another_model(tmp_path: Path) -> None:
    folder = serving.save(tmp_path / "model")
    assert probes.check(folder, Classifier.load(folder)) == len(probes.TEXTS) + len(serving.NAMES)
    other = Classifier.load(serving.save(tmp_path / "turned", turned=True))
    with pytest.raises(UserError, match=r"answers its probe «.+» otherwise"):
        probes.check(folder, other)
    (folder / probes.FILE).write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match="does not hold this model's probes"):
        probes.check(folder, other)


# --- the process ------------------------------------------------------------------------------------------------------


@contextmanager
def process(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command, and the address at which it answers."""
    command = [sys.executable, "-m", "tsirius", "serve", *arguments, "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        try:
            assert running.stderr is not None
            said = next(line for line in running.stderr if line.startswith("{"))
            assert json.loads(said)["event"] == "listening", said
            yield running, json.loads(said)["address"]
        finally:
            running.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_answers_and_ends_well_when_told_to(current: Path, number: int) -> None:
    with process(str(current), "threshold=0.5") as (running, url):
        answer = httpx2.post(f"{url}/predict", json={"inputs": "чашка"}, timeout=60).json()
        assert answer[0]["label"] == "посуда"
        running.send_signal(number)
        _, said = running.communicate(timeout=60)
        assert running.returncode == 0
        assert serving.lines(said)[-1]["event"] == "stopped" and "Traceback" not in said


def test_a_hangup_loads_a_new_model(current: Path, tmp_path: Path) -> None:
    with process(str(current), "watch_seconds=0") as (running, url):
        put(current, serving.save(tmp_path / "second", turned=True))
        running.send_signal(signal.SIGHUP)
        while httpx2.post(f"{url}/predict", json={"inputs": "чашка"}, timeout=60).json()[0]["label"] != "обувь":
            pass


def test_a_killed_server_leaves_nothing_that_hinders_the_next(current: Path, tmp_path: Path) -> None:
    unsure = tmp_path / "unsure.jsonl"
    for _ in range(2):
        with process(str(current), "--threshold", "1", "--log-unsure", str(unsure)) as (running, url):
            for _ in range(5):
                httpx2.post(f"{url}/predict", json={"inputs": "чашка"}, timeout=60)
            os.kill(running.pid, signal.SIGKILL)
    assert all(json.loads(line)["text"] == "чашка" for line in unsure.read_text(encoding="utf-8").splitlines())


def test_a_full_disk_for_the_log_hinders_neither_start_nor_end(current: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tsirius", "serve", str(current), "--port", str(port)]
    with Path("/dev/full").open("wb") as full, subprocess.Popen(command, stderr=full) as running:
        try:
            answer = None
            while answer is None and running.poll() is None:
                with suppress(httpx2.TransportError):
                    answer = httpx2.post(f"http://127.0.0.1:{port}/predict", json={"inputs": "чашка"}, timeout=60)
            assert answer is not None and answer.json()[0]["label"] == "посуда"
            running.terminate()
            assert running.wait(60) == 0
        finally:
            running.kill()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: no such folder"),
        (["{model}", "thresold=1"], "unknown key 'thresold'; did you mean 'threshold'?"),
        (["{model}", "threshold=2"], "threshold: input should be less than or equal to 1"),
        (["{model}", "share=0.5"], "share and shadow need a second model"),
        (["{model}", "thresholds={мебель = 0.5}"], "not a setting|unknown category|thresholds"),
        (["{model}", "word"], "not a setting: 'word'"),
        (["{model}", "api_keys=nowhere.txt"], "nowhere.txt: cannot be read"),
        (["{model}", "--log-unsure", "/nowhere/a.jsonl"], "cannot be written"),
        (["{model}", "--host", "203.0.113.7"], "203.0.113.7:0: cannot listen there"),
    ],
)
def test_what_cannot_be_served_is_told_in_one_line(current: Path, arguments: list[str], message: str) -> None:
    command = [part.format(model=current) if part == "{model}" else part for part in arguments]
    done = subprocess.run([sys.executable, "-m", "tsirius", "serve", *command, "--port", "0"],
                          capture_output=True, text=True, timeout=120)  # fmt: skip
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert any(part in done.stderr for part in message.split("|")), done.stderr


def test_settings_come_from_a_file_and_the_command_line_wins(tmp_path: Path) -> None:
    path = tmp_path / "serve.toml"
    path.write_text('threshold = 0.5\n[thresholds]\n"обувь" = 0.9\n', encoding="utf-8")
    found = serving_settings.load(path, ["max_texts=16", "name=shop"], port=None, threshold=0.7)
    assert (found.threshold, found.thresholds, found.max_texts, found.name) == (0.7, {"обувь": 0.9}, 16, "shop")
    path.write_text("threshold = ", encoding="utf-8")
    with pytest.raises(UserError, match="not valid TOML"):
        serving_settings.load(path)


def test_nothing_of_the_server_is_needed_to_say_what_is_missing(current: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tsirius.serve import server

    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(UserError, match=r"uvicorn is not installed\. Install it with: pip install 'tsirius\[serve\]'"):
        server.serve(current, serving_settings.Settings())
