"""Augment: the target, sources in turn, and what is reported."""

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from hypothesis import example, settings
from hypothesis import given as any_of
from hypothesis import strategies as st
from rows import examples

from tsirius import augmenters, tables
from tsirius.augmenters import Material, Source, accept, eda, grow
from tsirius.categories import Categories, Category
from tsirius.labellers import lexicon, published
from tsirius.language import terms
from tsirius.language.words import words
from tsirius.models import hub
from tsirius.section import Section
from tsirius.stages import augment
from tsirius.stages.augment import Config

CATEGORIES = Categories(
    [Category("обувь", "ботинки"), Category("посуда"), Category("текстиль"), Category("нет", none=True)]
)
REVIEWS = {
    "обувь": [f"Ботинки номер {n}: удобные, тёплые, купила сыну на зиму по хорошей цене" for n in range(12)],
    "посуда": ["Тарелка пришла целая, без сколов, рисунок яркий", "Кружка большая и удобная, ручка не греется"],
    "нет": ["Доставка быстрая, спасибо", "да"],
}


def used(configs: Mapping[str, Section], folders: Mapping[str, Path]) -> None:
    """Say that the reviews were labelled by these labellers."""
    published.write(configs, folders["label"], encoder=hub.EMBEDDED, max_length=256)


def lay_out(folder: Path) -> dict[str, Path]:
    folders = {name: folder / name for name in ("ingest", "label", "split", "balance")}
    for path in folders.values():
        path.mkdir()
    rows = examples(REVIEWS)
    (folders["ingest"] / "categories.json").write_text(CATEGORIES.to_json(), encoding="utf-8")
    config = lexicon.Config(widen=False, rounds=2, min_count=1)
    learned = lexicon.learn(terms.of(rows["clean"].to_list()), CATEGORIES, config)
    learned.save(folders["label"] / "lexicon.json")
    used({"lexicon": lexicon.Config()}, folders)
    votes = rows.select(
        "id",
        labeller=pl.lit("lexicon"),
        probabilities=pl.lit(None, dtype=tables.PROBABILITIES),
        said=pl.lit(None, dtype=pl.String),
        evidence=pl.lit(["хороший", "доставка"]),
    )
    tables.write(votes, tables.VOTES, folders["label"] / "votes.parquet")
    tables.write(rows, tables.EXAMPLES, folders["balance"] / "train.parquet")
    tables.write(rows.clear(), tables.EXAMPLES, folders["split"] / "valid.parquet")
    return folders


@pytest.fixture
def given(tmp_path: Path) -> dict[str, Path]:
    return lay_out(tmp_path)


def run(config: Config, given: Mapping[str, Path], out: Path) -> dict[str, Any]:
    return augment.run(config, given, out, seed=0, scratch=out)


def test_off_by_default(given: dict[str, Path], tmp_path: Path) -> None:
    counts = run(Config(), given, tmp_path)
    assert counts["variants"] == 0 and counts["empty"] == ["текстиль"]
    assert tables.read(tmp_path / "train.parquet", tables.EXAMPLES).equals(examples(REVIEWS))
    assert tables.read(tmp_path / "variants.parquet", tables.VARIANTS).is_empty()


def test_up_to_the_target_and_no_further(
    given: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = run(Config(target_per_class=10, eda={"typo": 0}, agree="none"), given, tmp_path)
    train = tables.read(tmp_path / "train.parquet", tables.EXAMPLES)
    made = train.filter(pl.col("method") == "eda")
    assert counts["categories"]["обувь"] == 12 and counts["categories"]["посуда"] == 10
    assert counts["short"]["текстиль"] == 10 and counts["short"]["нет"] > 0
    assert counts["rows"] == train.height and counts["variants"] == counts["methods"]["eda"] == made.height
    assert Counter(made.filter(pl.col("label") == "посуда")["origin"].to_list()) == {"r12": 4, "r13": 4}, "evenly"
    assert {"r12~eda1", "r13~eda4"} <= set(made["id"])
    written = train.filter(pl.col("method") == "written")
    sources = {id: (group, confidence) for id, group, confidence in written.select("id", "group", "confidence").rows()}
    for origin, group, confidence in made.select("origin", "group", "confidence").iter_rows():
        assert sources[origin] == (group, confidence)
    assert set(written["weight"]) == {1.0} and set(made["weight"]) == {0.5}
    said = capsys.readouterr().err
    assert "текстиль: 10 short of 10 (no review to make variants of)" in said
    assert f"нет: {counts['short']['нет']} short of 10 (from 2 reviews; most often refused: " in said


def test_a_variant_carries_its_source_and_its_scores(given: dict[str, Path], tmp_path: Path) -> None:
    counts = run(Config(target_per_class=20, max_per_source=3), given, tmp_path)
    variants = tables.read(tmp_path / "variants.parquet", tables.VARIANTS)
    refused = tables.read(tmp_path / "refused.parquet", tables.REFUSED)
    texts = dict(examples(REVIEWS).select("id", "clean").iter_rows())
    assert all(texts[origin] == source for origin, source in variants.select("origin", "source").iter_rows())
    assert variants["similarity"].is_between(0.6, 1.001).all()
    assert set(refused["reason"]) == set(counts["refused"]) <= set(accept.REASONS)
    assert refused.group_by("reason", "method").len()["len"].max() <= grow.EXAMPLES_PER_REASON
    assert sum(counts["refused_by_method"]["eda"].values()) == sum(counts["refused"].values())


def test_eda_spares_the_evidence_of_each_source(tmp_path: Path) -> None:
    config = eda.Config(swap=0, delete=0.5, insert=0, synonym=0, typo=0.5, tries=40)
    evidence = {"r1": frozenset({"юбка"})}
    make = eda.make(config, Material(frozenset(), evidence, wanted=1, seed=0, scratch=tmp_path))
    spared, other = (list(found) for found in make([Source("r1", "Юбка сидит идеально"), Source("r2", "Юбка сидит")]))
    assert len(set(spared)) > 5 and all("Юбка" in variant for variant in spared)
    assert not all("Юбка" in variant for variant in other)


def test_without_the_lexicon_its_word_is_not_asked(given: dict[str, Path], tmp_path: Path) -> None:
    (given["label"] / "lexicon.json").unlink()
    assert run(Config(target_per_class=13, agree="none"), given, tmp_path)["variants"]
    assert run(Config(target_per_class=13, agree="matcher"), given, tmp_path)["variants"]
    used({}, given)
    assert run(Config(target_per_class=13), given, tmp_path)["variants"]


def test_a_category_whose_reviews_give_nothing_says_so(
    given: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables.write(examples({"нет": ["да", "нет"]}), tables.EXAMPLES, given["balance"] / "train.parquet")
    assert run(Config(target_per_class=3), given, tmp_path)["short"]["нет"] == 1
    assert "нет: 1 short of 3 (from 2 reviews; no more variants)" in capsys.readouterr().err


TEXTS = st.lists(
    st.sampled_from(["чайник", "греет", "не", "быстро", "платье", "ткань", "1", "мягкая", "воду", "села"]),
    min_size=1,
    max_size=9,
).map(" ".join)
ODD = [
    *("", " ", "\x00", "да да да да да", "ха" * 50, "水" * 9, "а" * 10_000, "слово " * 2_000),
    *("a kettle that heats the water fast", "Das Kleid sitzt gut", "чайник " * 9, None, 7),
]


def less(text: str) -> str:
    return " ".join(text.split()[:-1])


def more(text: str) -> str:
    return f"{text} хорошо"


def turned(text: str) -> str:
    return " ".join(reversed(text.split()))


ANSWER = st.one_of(
    st.sampled_from(["copy", "another review", "a validation review", less, more, turned]),
    st.sampled_from([less, more, turned]),
    st.sampled_from(ODD),
    st.text(max_size=30),
    TEXTS,
    st.just(RuntimeError("odd")),
)


@pytest.mark.slow
def test_whatever_augmenters_return_the_training_rows_are_good() -> None:
    seen = Counter[str]()

    @settings(max_examples=100, deadline=None)
    @example(
        texts=["чайник греет воду быстро", "мягкая ткань села"], held=["быстро греет воду чайник"],
        answers=[["a validation review", more, less]], fails=set(), short=set(), target=4,
    )  # fmt: skip
    @any_of(
        texts=st.lists(TEXTS, min_size=1, max_size=12, unique=True),
        held=st.lists(TEXTS, max_size=4),
        answers=st.lists(st.lists(ANSWER, max_size=5), min_size=1, max_size=8),
        fails=st.sets(st.integers(0, 3), max_size=2),
        short=st.sets(st.integers(0, 3), max_size=1),
        target=st.integers(1, 30),
    )
    def check(**drawn: Any) -> None:
        seen.update(check_training_rows(**drawn))

    check()
    assert seen["accepted"] > 5, "not for want of variants"
    assert {"failed", "empty", "same as its source", "another script", "like a validation review"} <= set(seen)


def check_training_rows(
    texts: list[str], held: list[str], answers: list[list[Any]], fails: set[int], short: set[int], target: int
) -> Counter[str]:
    """Have the stage run with an augmenter that answers so, fails at some calls and answers for too few at others."""
    calls = 0

    def odd(sources: Sequence[Source]) -> list[Iterator[str]]:
        nonlocal calls
        calls += 1
        if calls - 1 in fails:
            raise ValueError("a batch failed")
        return [variants(source) for source in sources[calls - 1 in short :]]

    def variants(source: Source) -> Iterator[Any]:
        named = {"copy": source.text, "another review": texts[0], "a validation review": (held or [""])[0]}
        for answer in answers[len(source.text) % len(answers)]:
            if isinstance(answer, Exception):
                raise answer
            yield answer(source.text) if callable(answer) else named.get(answer, answer)

    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folders = lay_out(Path(name))
        rows = examples({"обувь": texts[::2], "нет": texts[1::2]})
        valid = pl.DataFrame(
            [(f"v{n}", text, 1000 + n, "нет", 0.9, f"v{n}", "written", 1.0) for n, text in enumerate(held)],
            schema=dict(tables.EXAMPLES),
            orient="row",
        )
        tables.write(rows, tables.EXAMPLES, folders["balance"] / "train.parquet")
        tables.write(valid, tables.EXAMPLES, folders["split"] / "valid.parquet")
        patch.setattr(augmenters, "module", lambda _: SimpleNamespace(make=lambda *_: odd))
        config = Config(target_per_class=target, methods=["eda", "paraphrase"])
        counts = run(config, folders, Path(name))
        train = tables.read(Path(name) / "train.parquet", tables.EXAMPLES)
    made = train.filter(pl.col("method") != "written")
    assert train.head(rows.height).equals(rows) and made.height == counts["variants"]
    assert train["id"].is_unique().all() and not set(train["id"]) & set(valid["id"])
    assert not any(train.null_count().row(0)) and not (train["clean"] == "").any()
    assert set(made["origin"]) <= set(rows["id"]) and not set(made["group"]) & set(valid["group"])
    groups, labels, sources = (dict(rows.select("id", column).iter_rows()) for column in ("group", "label", "clean"))
    said = [" ".join(words(text)) for text in train["clean"]]
    assert len(set(said[rows.height :])) == made.height and not set(said[rows.height :]) & set(said[: rows.height])
    for origin, group, label, clean, weight in made.select("origin", "group", "label", "clean", "weight").iter_rows():
        assert (groups[origin], labels[origin], weight) == (group, label, 0.5)
        assert len(clean) <= 2 * len(sources[origin]) + 20
        for text in held:
            ours, theirs = set(words(clean)), set(words(text))
            assert len(ours & theirs) < config.likeness * len(ours | theirs)
    after = Counter(train["label"].to_list())
    assert all(after[name] <= max(target, rows.filter(label=name).height) for name in ("обувь", "нет"))
    assert all(after[name] + counts["short"].get(name, 0) >= target for name in ("обувь", "нет"))
    return Counter(counts["refused"]) + Counter(accepted=made.height)
