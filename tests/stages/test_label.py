"""Label: a vote for every review and labeller, and a label where one spoke."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import tiny
from polars.testing import assert_frame_equal
from pydantic import ValidationError

from tsirius import tables
from tsirius.categories import Categories, Category
from tsirius.errors import UserError
from tsirius.labellers import pairs
from tsirius.progress import Advance
from tsirius.stages import label

CATEGORIES = Categories(
    [Category("обувь", "ботинки, сапоги"), Category("посуда", "кружки"), Category("нет товара", "доставка", none=True)]
)
TEXTS = ["ботинки жмут", "кружка целая", "доставка быстрая", "42", "ботинки жмут", "сапоги жмут", "кружка жмут"]


def lay_out(folder: Path, texts: list[str]) -> dict[str, Path]:
    ingest = folder / "ingest"
    ingest.mkdir()
    (ingest / "categories.json").write_text(CATEGORIES.to_json(), encoding="utf-8")
    count = len(texts)
    reviews = pl.DataFrame(
        {
            "id": [f"r{number}" for number in range(count)],
            "source": ["a.csv"] * count,
            "row": list(range(1, count + 1)),
            "text": texts,
            "clean": texts,
            "group": list(range(count)),
        },
        schema=dict(tables.REVIEWS),
    )
    tables.write(reviews, tables.REVIEWS, ingest / "reviews.parquet")
    (folder / "out").mkdir()
    return {"ingest": ingest}


def run(folder: Path, texts: list[str], **settings: Any) -> tuple[dict[str, Any], pl.DataFrame, pl.DataFrame]:
    given = lay_out(folder, texts)
    usual = {"use": ["lexicon", "matcher", "nli"], "encoder": "tsirius-mini"}
    config = label.Config(**({**usual, "lexicon": {"widen": False, "min_count": 1}} | settings))
    (folder / "scratch").mkdir(exist_ok=True)
    counts = label.run(config, given, folder / "out", seed=0, scratch=folder / "scratch")
    assert json.loads(json.dumps(counts)) == counts
    out = folder / "out"
    return counts, tables.read(out / "votes.parquet", tables.VOTES), tables.read(out / "labels.parquet", tables.LABELS)


def test_every_review_has_a_vote_and_a_label_or_none(tmp_path: Path) -> None:
    counts, votes, labels = run(tmp_path, TEXTS, use=["lexicon"], doubt=False)
    assert votes["id"].to_list() == labels["id"].to_list() == [f"r{number}" for number in range(len(TEXTS))]
    assert labels["label"].to_list()[:5] == ["обувь", "посуда", "нет товара", None, "обувь"]
    silent = labels.row(3, named=True)
    assert silent["confidence"] is silent["margin"] is None
    assert votes["probabilities"].to_list()[3] is None
    assert votes["said"].to_list() == labels["label"].to_list(), "it is alone"
    assert votes["evidence"].to_list()[:2] == [["ботинок"], ["кружка"]]
    for probabilities, found in zip(votes["probabilities"], labels.iter_rows(named=True), strict=True):
        if probabilities is not None:
            first, second, _ = sorted(probabilities, reverse=True)
            assert found["confidence"] == pytest.approx(first, abs=1e-6)
            assert found["margin"] == pytest.approx(first - second, abs=1e-6)
            assert found["labellers"] == ["lexicon"]
    assert counts["rows"] == 7 and counts["texts"] == 6
    assert counts["labelled"] == labels["label"].count() and counts["abstained"] == labels["label"].null_count()


def test_where_the_lexicon_is_silent_the_others_speak(tmp_path: Path) -> None:
    counts, votes, labels = run(tmp_path, TEXTS)
    each = len(TEXTS)
    assert votes["labeller"].to_list() == ["lexicon"] * each + ["matcher"] * each + ["nli"] * each
    assert labels["labellers"].to_list()[0] == ["lexicon", "matcher", "nli"]
    assert "lexicon" not in labels["labellers"].to_list()[3]
    assert labels["label"].null_count() == 0 == counts["abstained"]
    assert set(counts["estimated_mix"]) == set(CATEGORIES.names)


def test_shards_do_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    exact = {"precision": "fp32"}  # in 16 bits, batches of other shapes differ more
    _, votes, labels = run(tmp_path / "one", TEXTS, nli=exact)
    monkeypatch.setattr(label, "SHARD", 2)
    _, other_votes, other_labels = run(tmp_path / "other", TEXTS, nli=exact)
    assert_frame_equal(votes, other_votes, abs_tol=1e-5)  # sums over batches of other shapes round otherwise
    assert_frame_equal(labels, other_labels, abs_tol=1e-5)


def test_a_killed_labelling_goes_on_with_the_shard_it_had_not_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label, "SHARD", 2)
    (tmp_path / "whole").mkdir()
    whole = run(tmp_path / "whole", TEXTS)[1:]
    asked: list[str] = []
    original = pairs.Scorer.logits

    def dying(self: pairs.Scorer, texts: Sequence[str], queries: Sequence[str], *, advance: Advance | None) -> Any:
        if len(asked) == 4:
            raise KeyboardInterrupt
        asked.extend(texts)
        return original(self, texts, queries, advance=advance)

    monkeypatch.setattr(pairs.Scorer, "logits", dying)
    broken = tmp_path / "broken"
    broken.mkdir()
    with pytest.raises(KeyboardInterrupt):
        run(broken, TEXTS)
    before = list(asked)
    asked.clear()
    shutil.rmtree(broken / "out")
    shutil.rmtree(broken / "ingest")
    again = run(broken, TEXTS)[1:]
    assert sorted([*before, *asked]) == sorted(set(TEXTS))
    assert all(one.equals(other) for one, other in zip(whole, again, strict=True))
    assert (broken / "out" / "lexicon.json").read_bytes() == (tmp_path / "whole/out/lexicon.json").read_bytes()


def test_a_changed_category_asks_its_own_hypotheses_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Added, reworded, renamed and removed: the other answers are those that were kept."""
    exact = {"precision": "fp32"}
    run(tmp_path, TEXTS, use=["nli"], nli=exact, doubt=False)
    asked: list[str] = []
    original = pairs.Scorer.logits

    def listening(self: pairs.Scorer, texts: Sequence[str], queries: Sequence[str], *, advance: Advance | None) -> Any:
        asked.extend(queries)
        return original(self, texts, queries, advance=advance)

    monkeypatch.setattr(pairs.Scorer, "logits", listening)
    first, second, none = CATEGORIES
    changed = Categories([first, replace(second, description="тарелки"), Category("книги", "романы"), none])
    monkeypatch.setitem(globals(), "CATEGORIES", changed)
    for stage in ("out", "ingest"):
        shutil.rmtree(tmp_path / stage)
    _, votes, _ = run(tmp_path, TEXTS, use=["nli"], nli=exact, doubt=False)
    wanted = [f"Этот отзыв о товаре: {second.plain}: тарелки.", "Этот отзыв о товаре: книги: романы."]
    assert asked == wanted
    (tmp_path / "fresh").mkdir()
    _, fresh, _ = run(tmp_path / "fresh", TEXTS, use=["nli"], nli=exact, doubt=False)
    assert_frame_equal(votes, fresh, abs_tol=1e-5)
    asked.clear()
    monkeypatch.setitem(globals(), "CATEGORIES", Categories([first, none]))
    for stage in ("out", "ingest"):
        shutil.rmtree(tmp_path / stage)
    run(tmp_path, TEXTS, use=["nli"], nli=exact, doubt=False)
    assert asked == [], "a removed category asks nothing"


def test_a_shard_that_cannot_be_read_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label, "SHARD", 2)
    whole = run(tmp_path, TEXTS)[1:]
    kept = sorted((tmp_path / "scratch").glob("nli-*/*.shard"))
    kept[0].write_bytes(kept[0].read_bytes()[:100])
    shutil.rmtree(tmp_path / "out")
    shutil.rmtree(tmp_path / "ingest")
    again = run(tmp_path, TEXTS)[1:]
    assert all(one.equals(other) for one, other in zip(whole, again, strict=True))


def test_no_reviews_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no reviews to label"):
        run(tmp_path, [])


def test_a_labeller_named_twice_or_unknown_is_refused() -> None:
    with pytest.raises(ValidationError, match="twice"):
        label.Config(use=["lexicon", "lexicon"])
    with pytest.raises(ValidationError, match="no labeller 'lexicom'; did you mean 'lexicon'"):
        label.Config(use=["lexicom"])


def test_other_settings_ask_a_model_again_only_where_its_answers_would_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    original = pairs.Scorer.logits

    def counting(self: pairs.Scorer, texts: Sequence[str], queries: Sequence[str], *, advance: Advance | None) -> Any:
        asked.append(len(texts))
        return original(self, texts, queries, advance=advance)

    monkeypatch.setattr(pairs.Scorer, "logits", counting)

    def again(**settings: Any) -> int:
        asked.clear()
        for name in ("ingest", "out"):
            shutil.rmtree(tmp_path / name, ignore_errors=True)
        run(tmp_path, TEXTS, **settings)
        return sum(asked)

    unique = len(set(TEXTS))
    assert again() == unique
    assert again(student={"rounds": 1}, sure=0.5, use=["nli", "lexicon"]) == 0
    assert again(nli={"templates": ["Речь о товаре: {}."]}) == unique
    assert again() == 0


def test_another_config_or_tokenizer_of_the_model_is_another_model(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny.build_nli(tmp_path / "nli", encoder=tiny_model, labels=["contradiction", "neutral", "entailment"])
    made = []
    original = label._in_shards

    def counting(what: str, work: Any, texts: pl.Series, scratch: Path, *, key: Any) -> pl.DataFrame:
        def counted(part: list[str], advance: Advance) -> pl.DataFrame:
            made.append(what)
            return work(part, advance)

        return original(what, counted, texts, scratch, key=key)

    monkeypatch.setattr(label, "_in_shards", counting)
    answers = pairs.Scorer.logits

    def asking(self: pairs.Scorer, texts: Sequence[str], queries: Sequence[str], *, advance: Advance | None) -> Any:
        made.append("nli")
        return answers(self, texts, queries, advance=advance)

    monkeypatch.setattr(pairs.Scorer, "logits", asking)

    def again() -> list[str]:
        made.clear()
        for name in ("ingest", "out"):
            shutil.rmtree(tmp_path / name, ignore_errors=True)
        run(tmp_path, TEXTS, use=["matcher", "nli"], encoder=str(model), nli={"model": str(model)}, doubt=False)
        return sorted(made)

    assert again() == ["embeddings", "nli"]
    assert again() == []
    for name, key, value in (
        ("config.json", "layer_norm_eps", 0.1),
        ("tokenizer_config.json", "model_max_length", 100),
    ):
        settings = json.loads((model / name).read_text(encoding="utf-8"))
        (model / name).write_text(json.dumps({**settings, key: value}), encoding="utf-8")
        assert again() == ["embeddings", "nli"], name
        assert again() == []


def test_the_student_votes_where_it_is_asked_to(tmp_path: Path) -> None:
    texts = [f"{word} {number}" for number in range(20) for word in ("ботинки жмут", "кружка целая", "доставка долгая")]
    counts, votes, labels = run(tmp_path, texts, student={"rounds": 2, "sure": 0.5})
    assert votes["labeller"].unique(maintain_order=True).to_list() == ["lexicon", "matcher", "nli", "student"]
    assert 1 <= len(counts["student_agreement"]) <= 2 and counts["student_agreement"][0] > 0.9
    assert not labels["doubtful"].any()


def shop(count: int) -> list[str]:
    """Different reviews of three kinds, every third of a kind, and a copy of each tenth."""
    kinds = ["ботинки жмут", "кружка целая", "доставка быстрая"]
    return [f"{kinds[row % 3]} {row}" for row in [*range(count), *range(0, count, 10)]]


def test_a_sample_is_labelled_and_stands_for_all(tmp_path: Path) -> None:
    counts, votes, labels = run(tmp_path, shop(60), use=["lexicon"], doubt=False, sample=20)
    asked = labels["labellers"].is_not_null()
    texts = pl.Series(shop(60))
    assert texts.filter(asked).n_unique() == 20, "copies of a text share its label"
    assert not set(texts.filter(asked)) & set(texts.filter(~asked))
    assert labels.filter(~asked)["label"].null_count() == labels.height - asked.sum()
    assert not labels["doubtful"].has_nulls()
    assert votes["id"].to_list() == labels.filter(asked)["id"].to_list()
    assert counts["rows"] == 66 and counts["sampled"] == asked.sum() and counts["texts"] == 20
    assert counts["weight"] == pytest.approx(66 / counts["sampled"], abs=1e-3)
    consensus = np.load(tmp_path / "out" / "consensus.npy")
    assert len(consensus) == 66 and np.isnan(consensus[~asked.to_numpy()]).all()
    assert not np.isnan(consensus[asked.to_numpy()]).any()
    assert sum(counts["estimated_mix"].values()) == pytest.approx(1, abs=1e-4)


def test_a_sample_is_labelled_as_if_it_were_all(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    one, _, labels = run(tmp_path / "one", shop(60), sample=20)
    asked = labels["labellers"].is_not_null()
    other, _, alone = run(tmp_path / "other", pl.Series(shop(60)).filter(asked).to_list())
    assert one["estimated_mix"] == other["estimated_mix"] and one["labelled"] == other["labelled"]
    assert_frame_equal(labels.filter(asked).drop("id"), alone.drop("id"))


def test_rows_that_are_added_displace_some_of_a_sample_and_keep_the_others(tmp_path: Path) -> None:
    chosen = []
    for count in (60, 90):
        (tmp_path / str(count)).mkdir()
        _, _, labels = run(tmp_path / str(count), shop(count)[::-1], use=["lexicon"], doubt=False, sample=20)
        chosen.append(set(pl.Series(shop(count)[::-1]).filter(labels["labellers"].is_not_null())))
    old, new = chosen
    assert new & set(shop(60)) <= old and len(new) == len(old) == 20
    assert 0 < len(new - old) < 20
