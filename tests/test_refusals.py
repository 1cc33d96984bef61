"""Bad input: one clear line that says what, where and what to do, exit code 2, and nothing lost or half-written."""

import gzip
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import save_file

from tsirius.store import seal

CATEGORIES = """
[[category]]
name = "обувь"
description = "ботинки, кроссовки"
[[category]]
name = "посуда"
description = "тарелки, кружки"
[[category]]
name = "нет товара"
description = "доставка, продавец"
none = true
"""
REVIEWS = "id,text\n1,Ботинки жмут\n2,Кружка треснула\n3,Доставка быстрая\n4,Кроссовки лёгкие\n"
CONFIG = '[ingest]\ntrain = "reviews.csv"\ntest = "reviews.csv"\ncategories = "categories.toml"\n'


@dataclass
class Case:
    """A kind of bad input: what is done to a good folder, what is run, and the words that its one line must have."""

    name: str
    words: list[str]
    harm: Callable[[Path], object] = lambda folder: None
    command: list[str] = field(default_factory=lambda: ["run", "shop.toml"])
    file_size: int | None = None
    environment: dict[str, str] = field(default_factory=dict)


def put(name: str, content: str | bytes) -> Callable[[Path], object]:
    def harm(folder: Path) -> None:
        data = content.encode() if isinstance(content, str) else content
        (folder / name).write_bytes(data)

    return harm


def remove(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def folder_instead(name: str) -> Callable[[Path], object]:
    def harm(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).mkdir()

    return harm


def pipe_instead(name: str) -> Callable[[Path], object]:
    def harm(folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return harm


def model_without_weights(folder: Path) -> None:
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text('{"model_type": "xlm-roberta"}')


def model_without_labels(folder: Path) -> None:
    model_without_weights(folder)
    (folder / "model" / "tokenizer.json").write_text("{}")
    save_file({"weight": np.zeros(1)}, folder / "model" / "model.safetensors")


def labelled_run(folder: Path) -> None:
    """What an audit's answers are checked against, and answers that do not fit."""
    for stage in ("ingest", "label"):
        (folder / "audited" / stage).mkdir(parents=True)
    categories = '[{"name": "обувь"}, {"name": "нет товара", "none": true}]'
    (folder / "audited" / "ingest" / "categories.json").write_text(categories, encoding="utf-8")
    labels = pl.DataFrame({"id": ["1"], "label": ["обувь"], "confidence": [0.9], "labellers": [["lexicon"]]})
    labels.write_parquet(folder / "audited" / "label" / "labels.parquet")
    for stage in ("ingest", "label"):
        seal(folder / "audited" / stage, {})
    (folder / "answers.csv").write_bytes("id;text;category\n1;Ботинки жмут, но тёплые;обувъ\n".encode("cp1251"))


def unpacks_to_more(folder: Path) -> None:
    table = pl.DataFrame({"text": [f"Ботинки жмут, пара {row}" for row in range(2_000)]})
    table.write_parquet(folder / "reviews.parquet", compression="uncompressed")
    (folder / "reviews.parquet.gz").write_bytes(gzip.compress((folder / "reviews.parquet").read_bytes()))


RUN = ["run", "shop.toml"]
LORA = [*RUN, "train.use=lora"]
CASES = [
    Case("no configuration", ["nowhere.toml", "no such file"], command=["run", "nowhere.toml"]),
    Case("configuration is a folder", ["shop.toml", "folder"], folder_instead("shop.toml")),
    Case("configuration is not TOML", ["shop.toml", "not valid TOML"], put("shop.toml", "[ingest")),
    Case("unknown key", ["select.shure", "did you mean 'sure'"], command=[*RUN, "select.shure=0.5"]),
    Case("unknown section", ["selekt", "did you mean 'select'"], command=[*RUN, "selekt.sure=0.5"]),
    Case("no file named", ["ingest.train", "names no file"], command=[*RUN, "ingest.train="]),
    Case("threshold out of range", ["select.sure", "less than or equal to 1"], command=[*RUN, "select.sure=1.5"]),
    Case("thresholds crossed", ["grey", "above sure"], command=[*RUN, "select.grey=0.9", "select.sure=0.5"]),
    Case("not an override", ["section.key=value"], command=[*RUN, "select.sure"]),
    Case("no reviews file", ["reviews.csv", "no such file"], remove("reviews.csv")),
    Case("reviews are a folder", ["reviews.csv", "folder"], folder_instead("reviews.csv")),
    Case("reviews file is empty", ["reviews.csv", "empty"], put("reviews.csv", "")),
    Case("reviews are a pointer of Git LFS", ["reviews.csv", "Git LFS", "git lfs pull"],
         put("reviews.csv", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")),
    Case("reviews are a web page", ["reviews.csv", "HTML"], put("reviews.csv", "<!DOCTYPE html><html></html>")),
    Case("reviews are a log", ["reviews.csv", "log"], put("reviews.csv", "2026-11-25 12:00:01 INFO started\n" * 3)),
    Case("a title above the header", ["reviews.csv", "row 2, after a title"],
         put("reviews.csv", "Отзывы за март\n" + REVIEWS)),
    Case("two files joined", ["reviews.csv, row 5", "repeats the header"], put("reviews.csv", REVIEWS * 2)),
    Case("an encoding that cannot be told", ["reviews.csv", "CP1251", 'encoding = "'],
         put("reviews.csv", "id,text\n1,Да\n".encode("cp1251"))),
    Case("no rows", ["reviews.csv", "no rows"], put("reviews.csv", "id,text\n")),
    Case("compare of nothing with options", ["nowhere", "holds no run"],
         command=["compare", "nowhere", "--id-column", "a", "--category-column", "b", "--encoding", "cp1251"]),
    Case("no text column", ["reviews.csv", "texts"], put("reviews.csv", "id,a,b\n1,x,y\n"),
         command=[*RUN, "ingest.text_column=texts"]),
    Case("no row of use", ["reviews.csv", "no"], put("reviews.csv", "id,text\n1,\n2, \n")),
    Case("duplicate ids", ["reviews.csv", "'2'"], put("reviews.csv", REVIEWS + "2,Тапки\n")),
    Case("torn row", ["reviews.csv", "row 5"], put("reviews.csv", REVIEWS + "5,Тапки,лишнее,ещё\n")),
    Case("open quote", ["reviews.csv", "quote"], put("reviews.csv", REVIEWS + '5,"Тапки без конца\n6,Тапки\n')),
    Case("not text", ["reviews.csv"], put("reviews.csv", b"\x00\x01\x02\xff\xfe\x00" * 100)),
    Case("encoding named wrongly", ["reviews.csv", "UTF-8"], put("reviews.csv", REVIEWS.encode("cp1251")),
         command=[*RUN, "ingest.encoding=utf-8"]),
    Case("unknown kind of file", ["reviews.docx", "unsupported file type"], put("reviews.docx", b"PK\x03\x04"),
         command=[*RUN, "ingest.train=reviews.docx"]),
    Case("no workbook", ["reviews.xlsx", "damaged"], put("reviews.xlsx", b"PK\x03\x04"),
         command=[*RUN, "ingest.train=reviews.xlsx"]),
    Case("an old Excel file", ["reviews.xls", "save it as .xlsx"], put("reviews.xls", b"\xd0\xcf\x11\xe0"),
         command=[*RUN, "ingest.train=reviews.xls"]),
    Case("a workbook with a password", ["reviews.xlsx", "password"], put("reviews.xlsx", b"\xd0\xcf\x11\xe0"),
         command=[*RUN, "ingest.train=reviews.xlsx"]),
    Case("a pattern of no file", ["*.tsv", "no file has such a name"], command=[*RUN, 'ingest.train=["*.tsv"]']),
    Case("truncated archive", ["reviews.csv.gz"], put("reviews.csv.gz", gzip.compress(REVIEWS.encode() * 9)[:60]),
         command=[*RUN, "ingest.train=reviews.csv.gz"]),
    Case("broken JSON line", ["reviews.jsonl", "2"], put("reviews.jsonl", '{"text": "Тапки"}\n{"text": \n'),
         command=[*RUN, "ingest.train=reviews.jsonl"]),
    Case("no test file", ["test.csv", "no such file"], command=[*RUN, "ingest.test=test.csv"]),
    Case("no categories file", ["categories.toml", "no such file"], remove("categories.toml")),
    Case("category repeated", ["categories.toml", "repeats the name"],
         put("categories.toml", CATEGORIES.replace("посуда", "обувь"))),
    Case("no none-category", ["categories.toml", "no category marked"],
         put("categories.toml", CATEGORIES.replace("none = true", ""))),
    Case("two none-categories", ["categories.toml", "2 categories"],
         put("categories.toml", CATEGORIES.replace('"тарелки, кружки"', '"тарелки"\nnone = true'))),
    Case("model path without weights", ["model", "weights"], model_without_weights, [*LORA, "train.model=./model"]),
    Case("model path that is nothing", ["nowhere", "no such model"], command=[*LORA, "train.model=./nowhere"]),
    Case("teacher that is nothing", ["nowhere", "no such model"],
         command=["run", "shop.toml", 'label.use=["nli"]', "label.nli.model=./nowhere"]),
    Case("teacher that knows no entailment", ["model", "entailment", "LABEL_0"], model_without_labels,
         ["run", "shop.toml", 'label.use=["nli"]', "label.nli.model=./model"]),
    Case("encoder that is nothing", ["nowhere", "no such model"],
         command=["run", "shop.toml", "label.encoder=./nowhere"]),
    Case("template with no place for the category", ["label.nli.templates", "{}"],
         command=["run", "shop.toml", 'label.nli.templates=["Это товар"]']),
    Case("setting under its old name", ["label.nli_model is now label.nli.model"],
         command=["run", "shop.toml", "label.nli_model=./model"]),
    Case("model not at hand offline", ["nobody/nothing"], command=[*LORA, "train.model=nobody/nothing"]),
    Case("unknown method", ["train.use"], command=[*RUN, "train.use=magic"]),
    Case("augmenter's model missing", ["no/model", "neither a folder nor a hub name"],
         command=[*RUN, "augment.target_per_class=9", 'augment.methods=["paraphrase"]',
                  "augment.paraphrase.model=./no/model"]),
    Case("more candidates than beams", ["augment", "candidates", "beams"],
         command=[*RUN, "augment.paraphrase.generate.candidates=9"]),
    Case("benchmark of an unknown method", ["edda", "eda"],
         command=["bench", "augment", "shop.toml", "--gold", "reviews.csv", "--method", "edda"]),
    Case("unknown metric", ["train.early_stopping_metric", "weighted_f1", "eval_loss"],
         command=[*LORA, "train.early_stopping_metric=acuracy"]),
    Case("unknown card", ["--device", "t44", "did you mean 't4'"], command=["plan", "shop.toml", "--device", "t44"]),
    Case("nothing to distil", ["train.distil", "train.folds"], command=[*RUN, "train.distil=true"]),
    Case("unknown gold category", ["gold.csv", "обувъ", "обувь"], put("gold.csv", "text,category\nТапки,обувъ\n"),
         command=[*RUN, "evaluate.gold=gold.csv"]),
    Case("runs is a file", ["runs", "not a folder"], put("runs", "")),
    Case("full disk", ["too large", "runs"], command=RUN, file_size=2_000),
    Case("no room to unpack in", ["too large", tempfile.gettempdir()], unpacks_to_more,
         ["check", "shop.toml", "ingest.train=reviews.parquet.gz"], file_size=20_000),
    Case("a section in place of a setting", ["select", "is a section"], command=[*RUN, "select=5"]),
    Case("unknown stage asked for", ["selct", "did you mean 'select'"], command=[*RUN, "--again", "selct"]),
    Case("predict without a model", ["nowhere"], command=["predict", "nowhere", "reviews.csv"]),
    Case("predict into the reviews", ["reviews.csv", "itself"],
         command=["predict", "nowhere", "reviews.csv", "-o", "./reviews.csv"]),
    Case("predict into an unknown format", ["out.docx", "unsupported file type"],
         command=["predict", "nowhere", "reviews.csv", "-o", "out.docx"]),
    Case("export of nothing", ["nowhere"], command=["export", "nowhere", "--to", "onnx"]),
    Case("export to an unknown form", ["did you mean 'merged'"], command=["export", "nowhere", "--to", "merge"]),
    Case("comparison of nothing", ["nowhere", "holds no run"], command=["compare", "nowhere"]),
    Case("latency of nothing", ["nowhere"], command=["bench", "latency", "nowhere"]),
    Case("an unknown level of notices", ["TSIRIUS_LOG", "'LOUD'"], environment={"TSIRIUS_LOG": "loud"}),
    Case("train is a pipe", ["reviews.csv", "not an ordinary file"], pipe_instead("reviews.csv")),
    Case("report of nothing", ["nowhere", "holds no run"], command=["report", "nowhere"]),
    Case("audit of nothing", ["nowhere", "no labelled reviews"], command=["audit", "nowhere"]),
    Case("audit of unknown things", ["labls", "did you mean 'labels'"], command=["audit", "nowhere", "--of", "labls"]),
    Case("audit answers of an unknown category", ["answers.csv, row 1", "did you mean 'обувь'"], labelled_run,
         ["audit", "audited", "--answers", "answers.csv"]),
    Case("audit answers without ids", ["answers.csv", "no column id"],
         lambda folder: (labelled_run(folder), put("answers.csv", "text,category\nТапки,обувь\n")(folder)),
         ["audit", "audited", "--answers", "answers.csv"]),
    Case("categories of nothing", ["nowhere", "holds no run"], command=["categories", "nowhere", "categories.toml"]),
    Case("categories without a file", ["nothing to do", "--missing"], command=["categories", "nowhere"]),
    Case("categories with a file and without", ["FILE and --missing"],
         command=["categories", "nowhere", "categories.toml", "--missing"]),
    Case("new over an old one", ["shop.toml", "already"], command=["new", "shop"]),
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in {"shop.toml": CONFIG, "reviews.csv": REVIEWS, "categories.toml": CATEGORIES}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def elsewhere(case: Case, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, for what would change this one."""
    prelude = ""
    if case.file_size:
        prelude = (
            "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
            f"resource.setrlimit(resource.RLIMIT_FSIZE, ({case.file_size}, {case.file_size}));"
        )
    code = f"{prelude}import sys; sys.argv[0] = 'tsirius'; from tsirius.cli import main; main()"
    return subprocess.run([sys.executable, "-c", code, *case.command], cwd=folder, capture_output=True, text=True,
                          env={**os.environ, **case.environment})  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_one_clear_line_and_exit_code_2(
    case: Case, folder: Path, call: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    case.harm(folder)
    submission = folder / "runs" / "shop" / "submission.csv"
    if not (folder / "runs").exists():
        submission.parent.mkdir(parents=True)
        submission.write_text("what was there before")
    done = elsewhere(case, folder) if case.file_size or case.environment else call(*case.command, cwd=folder)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("tsirius: ")]
    assert len(lines) == 1 and done.stderr.splitlines()[-1] == lines[0]
    for word in case.words:
        assert word in lines[0]
    assert "?." not in lines[0]
    assert done.stdout == ""
    if submission.exists():
        assert submission.read_text() == "what was there before"
    assert not list(folder.rglob("*.partial"))


def test_an_output_that_cannot_be_written(folder: Path, call: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    assert call("predict", "nowhere", "reviews.csv", "-o", "/proc/nowhere/out.csv", cwd=folder).returncode == 2


def test_the_list_is_long_enough() -> None:
    assert len(CASES) >= 25
