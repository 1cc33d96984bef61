"""Model folders that are damaged: one line that says what and where, from check, from predict and from Python; never a
traceback, a question, or code of the folder's own."""

from __future__ import annotations

import importlib.util
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import damage_models as damage
import pytest
from damage_models import CASES, CHECK, LOAD, READ

from tsirius import cli

PROJECT = Path(__file__).parents[2]
EACH = {(name.partition(": ")[2] or name): seed for seed, (_, name, _, _) in reversed(list(enumerate(CASES)))}
"""One seed of each kind of damage."""
CATEGORIES = '[[category]]\nname = "обувь"\n[[category]]\nname = "нет товара"\nnone = true\n'
CONFIG = '[ingest]\ntrain = "reviews.csv"\ncategories = "categories.toml"\n'
REVIEWS = "id,text\n1,Ботинки жмут\n2,Доставка быстрая\n3,Кроссовки лёгкие\n"
ROLES = {
    damage.ENCODER: ["train.use=lora", "train.model=./model"], damage.PICKLED: ["label.encoder=./model"],
    damage.SHARDED: ["train.linear_encoder=./model"], damage.NLI: ["label.nli.model=./model", 'label.use=["nli"]'],
    damage.RERANKER: ["label.reranker.model=./model", 'label.use=["reranker"]'],
    damage.WRITER: ["augment.target_per_class=9", 'augment.methods=["paraphrase"]', "augment.paraphrase.model=./model"],
}  # fmt: skip
"""The settings that name a model of each kind."""
COMMANDS = {name: seed for place, (name, seed) in enumerate(EACH.items()) if place % 3 == 0 or "code" in name}
HOSTILE = ["code of its own", "code of its own for a known kind", "merged code of its own"]


def test_there_are_enough_cases() -> None:
    assert len({(kind, name) for kind, name, _, _ in CASES}) == len(CASES) >= 150
    assert len(EACH) >= 100 and len(COMMANDS) >= 40 and {expected for *_, expected in CASES} == {CHECK, LOAD, READ}


def test_a_seed_says_what_is_damaged(tmp_path: Path) -> None:
    seed = EACH["noise"]
    for folder, number in (("a", seed), ("b", seed), ("c", seed + len(CASES))):
        assert damage.damaged(tmp_path / folder, number) == damage.damaged(tmp_path / f"{folder} again", number)
    trees = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in "abc"]
    assert trees[0] == trees[1] != trees[2]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ROLES | dict.fromkeys(damage.TRAINED))
def test_a_whole_model_is_read(kind: str, tmp_path: Path) -> None:
    shutil.copytree(damage.whole(kind), tmp_path / "model")
    seed = next(seed for seed, case in enumerate(CASES) if case[0] == kind)
    assert damage.outcome(tmp_path / "model", seed) == READ


@pytest.mark.parametrize("seed", EACH.values(), ids=EACH)
def test_each_kind_of_damage_is_refused(seed: int, tmp_path: Path) -> None:
    _, expected = damage.damaged(tmp_path / "model", seed)
    assert damage.outcome(tmp_path / "model", seed) == expected


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2 * len(CASES)))
def test_every_damage_is_refused(seed: int, tmp_path: Path) -> None:
    _, expected = damage.damaged(tmp_path / "model", seed)
    assert damage.outcome(tmp_path / "model", seed) == expected


def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str]:
    """The exit code of a command, and what it wrote to standard error."""
    monkeypatch.setattr(sys, "argv", ["tsirius", *arguments])
    answers = io.StringIO("y\n" * 20)
    monkeypatch.setattr(sys, "stdin", answers)
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert answers.tell() == 0, "standard input was read"
    return int(stopped.value.code or 0), capsys.readouterr().err


@pytest.mark.parametrize("seed", COMMANDS.values(), ids=COMMANDS)
def test_the_commands_say_so_in_one_line(
    seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, expected = CASES[seed][0], CASES[seed][3]
    damage.damaged(tmp_path / "model", seed)
    capsys.readouterr()
    monkeypatch.chdir(tmp_path)
    for name, text in {"shop.toml": CONFIG, "reviews.csv": REVIEWS, "categories.toml": CATEGORIES}.items():
        Path(name).write_text(text, encoding="utf-8")
    trained = kind in damage.TRAINED
    arguments = (
        ["predict", "model", "reviews.csv", "-o", "out.csv"] if trained else ["check", "shop.toml", *ROLES[kind]]
    )
    code, told = command(capsys, monkeypatch, *arguments)
    refused = expected == CHECK or (expected == LOAD and trained)
    assert code == (2 if refused else 0), told
    lines = [line for line in told.splitlines() if line.startswith("tsirius: ")]
    assert len(lines) == refused and "Traceback" not in told and "trust_remote_code" not in told
    if refused:
        assert told.splitlines()[-1] == lines[0] and "model" in lines[0] and lines[0].endswith(".")
    assert Path("out.csv").exists() == (trained and not refused)
    assert not (tmp_path / f"model {damage.MARK}").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_folder_is_neither_executed_nor_asked_about(name: str, tmp_path: Path) -> None:
    seed = EACH[name]
    kind, expected = CASES[seed][0], CASES[seed][3]
    damage.damaged(tmp_path / "model", seed)
    for file, text in {"shop.toml": CONFIG, "reviews.csv": REVIEWS, "categories.toml": CATEGORIES}.items():
        (tmp_path / file).write_text(text, encoding="utf-8")
    arguments = ["check", "shop.toml", *ROLES.get(kind, [])]
    if kind in damage.TRAINED:
        arguments = ["predict", "model", "reviews.csv", "-o", "out.csv"]
    done = subprocess.run([sys.executable, "-m", "tsirius", *arguments], input="y\n" * 20, cwd=tmp_path, text=True,
                          capture_output=True, check=False)  # fmt: skip
    assert done.returncode == (0 if expected == READ else 2), done.stderr
    assert "[y/N]" not in done.stdout + done.stderr and "trust_remote_code" not in done.stdout + done.stderr
    assert not (tmp_path / f"model {damage.MARK}").exists()


QUIET = """
import sys
def hook(event, arguments):
    if event.startswith("socket.") and event != "socket.gethostname" or event == "builtins.input":
        sys.stderr.write(f"\\nOPENED {event} {arguments}\\n")
sys.addaudithook(hook)
sys.argv[0] = "tsirius"
from tsirius.cli import main
main()
"""


@pytest.mark.slow
def test_no_command_opens_a_socket_or_asks(tmp_path: Path) -> None:
    for kind in (damage.NLI, damage.ENCODER, damage.WRITER):
        shutil.copytree(damage.whole(kind), tmp_path / kind)
    nouns = ["Кружка", "Ботинки", "Доставка", "Тапки", "Чайник", "Продавец", "Сандалии", "Тарелка"]
    rows = [f"{number},{noun} {number} раз" for number, noun in enumerate(nouns * 6)]
    (tmp_path / "reviews.csv").write_text("\n".join(["id,text", *rows]) + "\n", encoding="utf-8")
    (tmp_path / "categories.toml").write_text(CATEGORIES, encoding="utf-8")
    (tmp_path / "shop.toml").write_text(CONFIG + 'test = "reviews.csv"\n', encoding="utf-8")
    settings = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    settings["HF_HOME"] = str(tmp_path / "cache")
    commands = [
        ["run", "shop.toml", 'label.use=["lexicon", "matcher", "nli"]', "label.nli.model=./nli",
         "label.encoder=./encoder", "select.sure=0", "select.grey=0", "train.use=lora", "train.model=./encoder",
         "train.epochs=1", "train.max_length=32"],
        ["predict", "runs/shop", "reviews.csv", "-o", "out.csv"],
    ]  # fmt: skip
    for arguments in commands:
        done = subprocess.run([sys.executable, "-c", QUIET, *arguments], cwd=tmp_path, text=True, capture_output=True,
                              stdin=subprocess.DEVNULL, env=settings, check=False)  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "OPENED" not in done.stderr, done.stderr


WITH_TRITON = () if importlib.util.find_spec("triton") else ("triton_kernels.py",)
"""Modules that import triton, which torch brings along for GPUs under Linux: imported by name where it is there."""


def test_everything_is_imported_without_a_warning() -> None:
    names = [".".join(path.relative_to(PROJECT / "src").with_suffix("").parts)
             for path in sorted((PROJECT / "src" / "tsirius").rglob("*.py"))
             if path.name not in ("__init__.py", "__main__.py", *WITH_TRITON)]  # fmt: skip
    code = "import importlib, tsirius, tsirius.cli\nfor name in {}: importlib.import_module(name)"
    for given in (names, []):
        done = subprocess.run([sys.executable, "-W", "error", "-c", code.format(given)], capture_output=True, text=True,
                              check=False)  # fmt: skip
        assert done.returncode == 0 and done.stderr == "", done.stderr
