"""Models and tokenizers are read into memory whole, from a folder or the hub's cache, or refused."""

import ast
import json
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from tsirius.errors import UserError
from tsirius.models import hub, load


def test_a_model_of_another_kind_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    config = json.loads((folder / "config.json").read_text())
    for kind, message in (("electra", "another kind of model"), ("magic", "cannot be loaded")):
        (folder / "config.json").write_text(json.dumps({**config, "model_type": kind}))
        with pytest.raises(UserError, match=message):
            load.base_classifier(str(folder), names=["посуда", "обувь"], dropout=None)


CACHED = """
import socket, sys
from pathlib import Path
def refuse(*args): raise AssertionError("the network was asked")
socket.getaddrinfo = socket.socket.connect = refuse
from test_finetune import RECIPE, saved_encoder, finetune, TRAIN, VALID, NAMES, SHIFT
from tsirius.models import hub, load
hub.check("nobody/tiny")
for folder in ("scratch", "saved"):
    Path(folder).mkdir()
made, _ = finetune.fit(finetune.Job(
    TRAIN, VALID, model="nobody/tiny", names=NAMES, shift=SHIFT, recipe=RECIPE, seed=1, scratch=Path("scratch")
))
saved_encoder.save(made, Path("saved"), method="lora", base_model="nobody/tiny", names=NAMES, merged=True)
saved_encoder.read_adapter(
    Path("saved/adapter"), method="lora", base_model="nobody/tiny", names=NAMES, max_length=32, windows=False
)
saved_encoder.read_plain(Path("saved/merged"), names=NAMES, max_length=32, windows=False)
"""


@pytest.mark.slow
def test_a_model_in_the_cache_is_trained_without_the_network(tiny_model: Path, tmp_path: Path) -> None:
    home = tmp_path / "cache" / "models--nobody--tiny"
    shutil.copytree(tiny_model, home / "snapshots" / "0")
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text("0")
    settings = {**os.environ, "HF_HUB_CACHE": str(tmp_path / "cache")}
    settings.pop("HF_HUB_OFFLINE")
    settings["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", CACHED], capture_output=True, text=True, env=settings, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "" and "http" not in done.stderr
    adapter = json.loads((tmp_path / "saved" / "adapter" / "adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == "nobody/tiny"


def test_the_encoder_of_the_package_is_checked_on_loading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / hub.EMBEDDED
    shutil.copytree(hub.EMBEDDED_FOLDER, folder)
    monkeypatch.setattr(hub, "EMBEDDED_FOLDER", folder)
    load.encoder(hub.EMBEDDED, precision="auto")
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    for reads in (hub.check, lambda model: load.encoder(model, precision="auto"), hub.fingerprint):
        with pytest.raises(UserError, match="not those that the package came with"):
            reads(hub.EMBEDDED)


def test_a_head_for_other_labels_is_made_anew(tiny_model: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    load.tokenizer(str(tiny_model)).save_pretrained(tmp_path)
    AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=3).save_pretrained(tmp_path)
    made, new = load.base_classifier(str(tmp_path), names=["а", "б", "в", "г"], dropout=None)
    assert made.classifier.out_proj.out_features == 4
    assert set(new) == {"classifier.out_proj.weight", "classifier.out_proj.bias"}


def test_a_t5_keeps_the_head_of_its_own(tiny_t5: Path) -> None:
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForSeq2SeqLM

    made = load.seq2seq(str(tiny_t5), precision="fp32")
    held = load_file(tiny_t5 / "model.safetensors")
    exact = AutoModelForSeq2SeqLM.from_pretrained(tiny_t5, dtype=torch.float32).eval()
    assert torch.equal(exact.lm_head.weight, held["lm_head.weight"])
    assert not torch.equal(held["lm_head.weight"], held["shared.weight"])
    given = {"input_ids": torch.arange(5, 25).reshape(2, 10), "decoder_input_ids": torch.arange(30, 36).reshape(2, 3)}
    with torch.inference_mode():
        torch.testing.assert_close(made(**given).logits, exact(**given).logits, atol=1e-4, rtol=1e-4)


def test_a_head_that_was_tied_on_loading_is_noticed(tiny_t5: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoModelForSeq2SeqLM

    read = AutoModelForSeq2SeqLM.from_pretrained

    def tied(*names: str, **settings: object) -> object:
        made, loading = read(*names, **settings)
        made.lm_head.weight = made.shared.weight
        return made, loading

    monkeypatch.setattr(AutoModelForSeq2SeqLM, "from_pretrained", tied)
    with pytest.raises(UserError, match="took the weights of its embeddings"):
        load.seq2seq(str(tiny_t5), precision="fp32")


def test_a_marian_is_read_from_a_bin_of_weights_alone(tiny_marian: Path, tmp_path: Path) -> None:
    assert not list(tiny_marian.glob("*.safetensors"))
    hub.check(str(tiny_marian))
    words = load.tokenizer(str(tiny_marian))
    assert words.decode(words("Суп варится быстро").input_ids, skip_special_tokens=True)
    assert load.seq2seq(str(tiny_marian), precision="auto").config.model_type == "marian"

    import torch

    broken = tmp_path / "marian"
    shutil.copytree(tiny_marian, broken)
    torch.save({"weights": subprocess.Popen}, broken / "pytorch_model.bin")  # what a pickle may hold beside weights
    with pytest.raises(UserError, match="cannot be loaded"):
        load.seq2seq(str(broken), precision="auto")


def test_an_encoder_writes_nothing(tiny_model: Path) -> None:
    with pytest.raises(UserError, match="cannot be loaded"):
        load.seq2seq(str(tiny_model), precision="auto")


def test_8_bits_are_refused_with_the_reason() -> None:
    precision = TypeAdapter(load.Precision)
    assert [precision.validate_python(one) for one in ("auto", "fp32")] == ["auto", "fp32"]
    with pytest.raises(ValidationError, match="int8 is no longer offered: 16-bit floats"):
        precision.validate_python("int8")


def test_models_are_read_by_one_function_alone() -> None:
    root, calls = Path(hub.__file__).parents[1], []
    for path in sorted(root.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in ("from_pretrained", "load_adapter"):
                calls.append((path.relative_to(root).as_posix(), ast.unparse(node)))
    read, *of_adapters = calls
    assert read == ("models/load.py", "getattr(transformers, head).from_pretrained")
    assert of_adapters == [
        ("models/saved_encoder.py", "PeftModel.from_pretrained"),  # they take a model that is in memory
        ("models/saved_encoder.py", "other.model.load_adapter"),
    ]


def test_weights_of_other_names_are_listed_and_nothing_is_drawn(tiny_model: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    held = load_file(folder / "model.safetensors")
    lost = [name for name in held if ".layer.1.attention." in name]
    save_file({name: array for name, array in held.items() if name not in lost}, folder / "model.safetensors",
              metadata={"format": "pt"})  # fmt: skip
    for refused in (
        lambda: load.check(str(folder), head="AutoModel", new_head=False),
        lambda: load.encoder(str(folder), precision="fp32"),
        lambda: load.base_classifier(str(folder), names=["а", "б"], dropout=None),
    ):
        with pytest.raises(UserError, match=r"has no trained weights for .*layer\.1\.attention.* and \d+ more"):
            refused()


def test_the_advice_to_switch_safety_off_is_not_repeated() -> None:
    for said, told in (
        ("Weights only load failed. Re-running with `weights_only` set to `False` can execute code", "never executed"),
        ("Please pass the argument `trust_remote_code=True` to allow custom code to be run.", "auto_map"),
    ):
        with pytest.raises(UserError) as refused, hub.loading("model"):
            raise ValueError(said)
        assert told in str(refused.value) and "False" not in str(refused.value) and "True" not in str(refused.value)


def test_what_is_read_from_the_cache_is_checked_as_a_folder_is(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    monkeypatch.setattr(hub, "cached", lambda model: folder)
    hub.check("nobody/nothing")
    load.check("nobody/nothing", head="AutoModel", new_head=False)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-3])
    with pytest.raises(UserError, match="the weights are broken"):
        hub.check("nobody/nothing")


def test_threads_that_load_at_once_leave_transformers_as_it_was(tiny_model: Path) -> None:
    from transformers import PreTrainedModel

    whole, begin = PreTrainedModel.tie_weights, threading.Barrier(4)

    def read(_: int) -> int:
        begin.wait()
        return len([load.read("AutoModel", str(tiny_model)) for _ in range(4)])

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(read, range(4))) == [4] * 4
    assert PreTrainedModel.tie_weights is whole
