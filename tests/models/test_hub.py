"""Models are looked for, checked and fetched before any work, without torch."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tsirius.errors import UserError
from tsirius.models import hub


def test_a_whole_model_is_accepted(tiny_model: Path) -> None:
    hub.check(str(tiny_model))


def test_nothing_of_it_needs_torch(tiny_model: Path) -> None:
    code = (
        "import sys; from tsirius.models import hub; model = sys.argv[1]; hub.check(model); hub.fetch(model);"
        "hub.described(model); hub.fingerprint(model); hub.missing(()); hub.cached('nobody/nothing');"
        "print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tiny_model)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])


def no_tokenizer(folder: Path) -> None:
    for name in hub.TOKENIZERS:
        (folder / name).unlink(missing_ok=True)


def lost_shard(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    shards = {"weight_map": {"a": "model-1-of-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(shards))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "the model has no config.json"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json: not valid JSON"),
        (lambda folder: (folder / "config.json").write_text("{}"), "names no model_type"),
        (lambda folder: (folder / "model.safetensors").unlink(), "the model has no weights"),
        (lost_shard, "no weights model-1-of-2"),
        (cut, "the weights are broken"),
        (no_tokenizer, "the model has no tokenizer"),
        (shutil.rmtree, "no such model"),
    ],
)
def test_a_broken_model_is_refused(
    tiny_model: Path, tmp_path: Path, harm: Callable[[Path], object], message: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    harm(folder)
    with pytest.raises(UserError, match=message):
        hub.check(str(folder))


@pytest.mark.parametrize("model", ["./nowhere", "/nowhere/at/all", "nobody/nothing", "some words", ""])
def test_what_is_not_at_hand_is_refused(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError):
        hub.check(model)


def test_a_hub_that_cannot_be_reached_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*args: object, **settings: object) -> None:
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", unreachable)
    with pytest.raises(UserError, match=r"cannot be reached \(no route to host\)"):
        hub.check("nobody/nothing")


def test_a_model_that_is_not_in_the_cache_is_downloaded(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def download(model: str, *, allow_patterns: list[str]) -> str:
        asked.append(model)
        for path in tiny_model.iterdir():
            if any(path.match(pattern) for pattern in allow_patterns):
                shutil.copy(path, tmp_path)
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert hub.fetch("nobody/nothing") == tmp_path
    assert asked == ["nobody/nothing"]
    hub.check(str(tmp_path))


def test_the_fingerprint_is_of_all_that_decides_what_a_model_says(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    assert hub.fingerprint(str(folder)) == hub.fingerprint(str(tiny_model))
    (folder / "README.md").write_text("of no account")
    found = {hub.fingerprint(str(folder))}
    assert found == {hub.fingerprint(str(tiny_model))}
    for number, name in enumerate(("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"), 2):
        path = folder / name
        path.write_bytes(path.read_bytes()[:-1] + b" ")
        found.add(hub.fingerprint(str(folder)))
        assert len(found) == number, name
    monkeypatch.setattr(hub, "cached", lambda model: {"nobody/nothing": folder}.get(model))
    assert hub.fingerprint("nobody/nothing") == hub.fingerprint(str(folder))


@pytest.mark.parametrize("name", ["source.spm", "target.spm", "vocab.json"])
def test_a_marian_without_a_part_of_its_tokenizer_is_refused(name: str, tiny_marian: Path, tmp_path: Path) -> None:
    folder = tmp_path / "marian"
    shutil.copytree(tiny_marian, folder)
    (folder / name).unlink()
    with pytest.raises(UserError, match="the model has no tokenizer files"):
        hub.check(str(folder))
