"""Variants kept on the disk: none is made twice, and a failing model spoils no more than its shard."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from tsirius.augmenters import Refused, Source, kept
from tsirius.errors import UserError

SOURCES = [Source(f"r{n}", "а" * (n % 37 + 1)) for n in range(300)]


class Rewriter:
    """Counts what it is asked; may fail at some of its calls."""

    def __init__(self, fails: Sequence[int] = ()) -> None:
        self.asked: list[str] = []
        self.calls, self.fails, self.made = 0, fails, 0

    def make(self) -> kept.Rewrite:
        self.made += 1
        return self

    def __call__(self, sources: Sequence[Source]) -> list[list[str] | None]:
        self.calls += 1
        if self.calls in self.fails:
            raise IndexError("odd")
        self.asked += [source.id for source in sources]
        return [[f"{source.id} {n}" for n in range(2)] if source.id != "r7" else None for source in sources]


def test_the_variants_are_those_of_each_source(tmp_path: Path) -> None:
    augment = kept.kept("paraphrase", Rewriter().make, tmp_path)
    found = augment(SOURCES[:7] + SOURCES[8:])
    assert [next(variants) for variants in found] == [f"r{n} 0" for n in range(300) if n != 7]
    with pytest.raises(Refused, match="too long to rewrite"):
        next(augment([SOURCES[7]])[0])


def test_nothing_is_made_twice_nor_a_model_read_in_vain(tmp_path: Path) -> None:
    first, second, third = Rewriter(), Rewriter(), Rewriter()
    augment = kept.kept("paraphrase", first.make, tmp_path)
    augment(SOURCES[:100])
    augment(SOURCES[:200])
    assert sorted(first.asked) == sorted(source.id for source in SOURCES[:200]) and first.made == 1
    augment = kept.kept("paraphrase", second.make, tmp_path)
    augment(SOURCES)
    assert set(second.asked) == {source.id for source in SOURCES[200:]}
    again = kept.kept("paraphrase", third.make, tmp_path)(SOURCES)
    assert third.made == 0 and next(again[0]) == "r0 0"


def test_a_shard_that_cannot_be_read_is_made_again(tmp_path: Path) -> None:
    kept.kept("paraphrase", Rewriter().make, tmp_path)(SOURCES)
    broken = min(tmp_path.glob("*.shard"))
    broken.write_bytes(broken.read_bytes()[:100])
    again, third = Rewriter(), Rewriter()
    kept.kept("paraphrase", again.make, tmp_path)(SOURCES)
    assert len(again.asked) == kept.SHARD
    kept.kept("paraphrase", third.make, tmp_path)(SOURCES)
    assert third.made == 0


def test_a_failing_shard_spoils_no_other_and_is_made_next_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = kept.kept("paraphrase", Rewriter(fails=[2]).make, tmp_path)(SOURCES)
    spoilt = []
    for source, variants in zip(SOURCES, found, strict=True):
        try:
            next(variants)
        except Refused as refused:
            spoilt += [source.id] * (str(refused) == "failed")
    assert len(spoilt) == kept.SHARD
    assert f"{kept.SHARD} reviews get no variants, the model failed (IndexError: odd)" in capsys.readouterr().err
    later = Rewriter()
    kept.kept("paraphrase", later.make, tmp_path)(SOURCES)
    assert sorted(later.asked) == sorted(spoilt)


def test_a_model_that_always_fails_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="paraphrase: the model fails again and again"):
        kept.kept("paraphrase", Rewriter(fails=range(99)).make, tmp_path)(SOURCES)


def test_a_half_written_shard_is_not_read(tmp_path: Path) -> None:
    kept.kept("paraphrase", Rewriter().make, tmp_path)(SOURCES[:10])
    (tmp_path / ".000001.shard.1.partial").write_bytes(b"PAR1")
    later = Rewriter()
    kept.kept("paraphrase", later.make, tmp_path)(SOURCES[:20])
    assert len(later.asked) == 10
