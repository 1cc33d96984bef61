"""What `tsirius doctor --model` tells of a model: of a folder, of the cache, and of the hub before a download."""

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import families
import huggingface_hub
import pytest
import test_geracl
import tiny

from tsirius import cli
from tsirius.commands import doctor_model
from tsirius.errors import UserError
from tsirius.models import hub, load

CARD = "---\nlicense: {}\nlanguage: ru\n---\n# A model\n"


@pytest.fixture(scope="module")
def user2(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as sentence-transformers writes it."""
    path = tmp_path_factory.mktemp("user2")
    families.build("USER2-base", families.FAMILIES["USER2-base"], load.tokenizer(str(tiny_model)), path)
    (path / "USER2-base" / "README.md").write_text(CARD.format("apache-2.0"), encoding="utf-8")
    return path / "USER2-base"


def test_an_encoder(user2: Path) -> None:
    from safetensors.numpy import load_file

    said = doctor_model.describe(str(user2))
    weights = load_file(user2 / "model.safetensors")
    assert said["model"].endswith("USER2-base, a folder")
    assert said["class"] == "modernbert, ModernBertModel"
    assert said["for"] == "label.encoder, train.linear_encoder, train.model"
    assert said["pooling"] == "mean (by its modules.json)" and said["prefix"] == "'classification: '"
    millions = sum(array.size for array in weights.values()) / 1e6
    assert said["size"].startswith(f"{millions:,.1f} million weights, 0 MiB on disk")
    assert said["reads"] == "48 tokens at most" and said["licence"] == "apache-2.0"
    assert said["on a T4"].startswith("fits: 600 MiB as 16-bit floats, of 14.7 GiB")
    assert all(said[f"  {method}"].startswith("fits: ") for method in ("lora", "qlora", "full"))
    assert said["on this CPU"].startswith("fits: 0 MiB as 32-bit floats, of ")


@pytest.mark.parametrize(
    ("labels", "said", "uses"),
    [
        (["LABEL_0"], "one score of a pair", "label.reranker.model, train.model"),
        (["entailment", "neutral", "contradiction"], "labels entailment, neutral, contradiction",
         "label.nli.model, train.model"),
        (["a", "b", "c", "d", "e"], "labels a, b, c, d …", "train.model"),
    ],
)  # fmt: skip
def test_a_classifier_is_known_by_its_labels(labels: list[str], said: str, uses: str, tmp_path: Path) -> None:
    found = doctor_model.describe(str(tiny.build_pairs(tmp_path / "model", "DebertaV2", labels=labels)))
    assert found["class"] == f"deberta-v2, DebertaV2ForSequenceClassification: {said}"
    assert found["for"] == uses and "pooling" not in found
    assert found["reads"] == "128 tokens at most" and found["licence"] == "not known: no README.md"


def test_other_kinds(tiny_model: Path, tiny_t5: Path, tmp_path: Path) -> None:
    words = load.tokenizer(str(tiny_model))
    asked = doctor_model.describe(str(tiny.build_reranker(tmp_path / "qwen")))
    assert asked["for"] == "label.reranker.model, if it says yes or no, train.model"
    assert doctor_model.describe(str(tiny_t5))["for"] == "augment (paraphrase, backtranslate)"
    assert doctor_model.describe(str(test_geracl.build(tmp_path / "geracl", tiny_model)))["for"] == "label.geracl.model"
    alone = doctor_model.describe(str(families.plain("T5", words, tmp_path / "FRIDA")))
    assert alone["for"] == "label.encoder, train.linear_encoder" and "  lora" not in alone
    assert alone["pooling"] == "cls (known of frida)" and alone["prefix"] == "'categorize_topic: '"
    assert doctor_model.describe(hub.EMBEDDED)["licence"] == "mit"
    with pytest.raises(UserError, match=r"is two models\. Name one of them: tsirius-goods, tsirius-mini"):
        doctor_model.describe(hub.PAIR)


def test_code_of_its_own_is_told(user2: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(user2, tmp_path / "own"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "new", "auto_map": {"AutoModel": "a.B"}}))
    said = doctor_model.describe(str(folder))
    assert "code of its own, named by auto_map" in said["class"] and said["for"] == "nothing here"


def test_a_large_one_does_not_fit(user2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from tsirius.models import estimate

    monkeypatch.setitem(estimate.DEVICES, "t4", replace(estimate.DEVICES["t4"], gib=0.5))
    said = doctor_model.describe(str(user2))
    assert said["on a T4"].startswith("does not fit: 600 MiB as 16-bit floats, of 512 MiB")
    assert said["  lora"].startswith("does not fit: 6")


@pytest.mark.parametrize(
    ("card", "said"),
    [
        (CARD.format("other\nlicense_name: gemma"), "gemma"),
        ("# no header\n", "not known: its README.md has no tag license"),
        ("---\nlicense: [\n---\n", "not known: the header of its README.md cannot be read"),
    ],
)
def test_the_licence_is_the_tag_of_the_card(card: str, said: str, user2: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(user2, tmp_path / "model"))
    (folder / "README.md").write_text(card, encoding="utf-8")
    assert doctor_model.describe(str(folder))["licence"] == said


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["tsirius", "doctor", "--model", model])
    with pytest.raises(SystemExit) as end:
        cli.main()
    said = capsys.readouterr()
    return int(str(end.value.code or 0)), said.out, said.err


def test_a_hub_model_in_the_cache_and_one_that_is_not(
    user2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "models--deepvk--USER2-base"
    shutil.copytree(user2, home / "snapshots" / "0")
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text("0")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    real = huggingface_hub.try_to_load_from_cache
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache",
                        lambda name, file: real(name, file, cache_dir=tmp_path))  # fmt: skip
    code, out, _ = run(monkeypatch, capsys, "deepvk/USER2-base")
    assert code == 0 and "deepvk/USER2-base, in the cache of hub models" in out and "apache-2.0" in out
    code, out, err = run(monkeypatch, capsys, "deepvk/USER2-small")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "deepvk/USER2-small: no such folder, not in the cache of hub models, and the hub is switched off" in err


def test_of_a_hub_model_the_small_files_alone_are_downloaded(
    user2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def download(model: str, *, allow_patterns: list[str]) -> str:
        asked.extend(allow_patterns)
        folder = tmp_path / "snapshot"
        shutil.copytree(user2, folder, ignore=shutil.ignore_patterns("*.safetensors", "tokenizer.json"))
        return str(folder)

    files = [SimpleNamespace(rfilename=path.relative_to(user2).as_posix(), size=path.stat().st_size)
             for path in user2.rglob("*") if path.is_file()]  # fmt: skip
    files = [*files, SimpleNamespace(rfilename="pytorch_model.bin", size=1 << 30)]  # the same again, not downloaded
    info = SimpleNamespace(siblings=files, safetensors=SimpleNamespace(total=149_000_000))
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda self, model, **_: info)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    said = doctor_model.describe("deepvk/USER2-base")
    assert said["model"] == "deepvk/USER2-base, on the hub, not downloaded yet"
    assert said["size"].startswith("149.0 million weights, ") and said["size"].endswith("MiB to download")
    assert said["pooling"] == "mean (by its modules.json)" and said["  lora"].startswith("fits")
    assert not any("safetensors" in one or "tokenizer.json" in one or ".bin" in one for one in asked)
