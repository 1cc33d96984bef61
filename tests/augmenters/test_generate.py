"""Texts rewritten by a model: the same in batches as one by one, on little memory, and each by its own chance."""

import random
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch

from tsirius.augmenters import generate
from tsirius.augmenters.generate import Search, Writer

SEARCH = Search(
    beams=3, candidates=2, sample=False, temperature=1.0, top_p=0.95, no_repeat=3, no_copy=4, max_tokens=100
)
PARTS = [part for line in tiny.SENTENCES for part in line.rstrip(".").split(", ")]
TEXTS = [" ".join(random.Random(n).sample(PARTS, 1 + n % 3)) for n in range(12)]
KEYS = [f"r{n}" for n in range(len(TEXTS))]


@pytest.fixture(params=["t5", "marian"])
def model(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(f"tiny_{request.param}"))


def writer(model: str, batch_tokens: int = 8192, **other: Any) -> Writer:
    return generate.load(model, prefix="", search=replace(SEARCH, **other), precision="fp32", batch_tokens=batch_tokens)


@cache
def rewritten(model: str) -> list[list[str] | None]:
    """What it writes for :data:`TEXTS`."""
    return writer(model).rewrite(TEXTS, KEYS)


def one_by_one(model: str, search: Search) -> list[list[str]]:
    """What transformers' own ``generate`` gives for each text by itself, on the model as transformers loads it."""
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    made, words = AutoModelForSeq2SeqLM.from_pretrained(model).eval(), AutoTokenizer.from_pretrained(model)
    made.generation_config.max_length = None
    found = []
    for text in TEXTS:
        given = words(text, return_tensors="pt")
        outputs = made.generate(
            **given,
            do_sample=False,
            num_beams=search.beams,
            num_return_sequences=search.candidates,
            no_repeat_ngram_size=search.no_repeat,
            encoder_no_repeat_ngram_size=search.no_copy,
            max_new_tokens=generate.limit(given["input_ids"].shape[1]),
        )
        found.append(list(dict.fromkeys(words.batch_decode(outputs, skip_special_tokens=True))))
    return found


def test_batches_give_what_each_text_gives_by_itself(model: str) -> None:
    expected = one_by_one(model, SEARCH)
    assert len({text for texts in expected for text in texts}) > 15, "the outputs differ"
    assert rewritten(model) == expected


def test_some_outputs_end_by_themselves(model: str) -> None:
    made = writer(model)
    ids = made.tokens(TEXTS)
    assert any(len(made.write([row], generate.limit(len(row)), ["k"])[0]) < generate.limit(len(row)) for row in ids)


def test_of_a_text_that_is_too_long_nothing_is_written(model: str) -> None:
    found = writer(model, max_tokens=20).rewrite(TEXTS, KEYS)
    lengths = [len(row) for row in writer(model).tokens(TEXTS)]
    assert [texts is None for texts in found] == [length > 20 for length in lengths]
    assert 0 < sum(texts is None for texts in found) < len(TEXTS)


def test_positions_are_not_overrun(tiny_marian: Path) -> None:
    made = writer(str(tiny_marian), max_tokens=1000)
    assert generate.limit(made.search.max_tokens) <= 128
    assert made.rewrite([" ".join(tiny.SENTENCES)], ["k"]) == [None]


def test_what_is_drawn_hangs_on_the_key_alone(model: str) -> None:
    made = writer(model, sample=True, candidates=3)
    whole = made.rewrite(TEXTS, KEYS)
    assert writer(model, sample=True, candidates=3, batch_tokens=1).rewrite(TEXTS[::-4], KEYS[::-4]) == whole[::-4]
    other = made.rewrite(TEXTS[:4], [f"{key}'" for key in KEYS[:4]])
    assert sum(one == two for one, two in zip(whole[:4], other, strict=True)) < 2


def test_draws_follow_the_models_distribution() -> None:
    logits = torch.tensor([[1.0, 0.0, 2.0, -1.0]]).repeat(4000, 1)
    for temperature, top_p in ((1.0, 1.0), (2.0, 1.0), (1.0, 0.8)):
        search = replace(SEARCH, sample=True, temperature=temperature, top_p=top_p)
        drawn = generate.Drawn([str(n) for n in range(4000)], search)(torch.zeros(4000, 1), logits).argmax(dim=1)
        shares = (logits[0] / temperature).softmax(dim=0)
        if top_p < 1:
            shares = torch.tensor([shares[0], 0, shares[2], 0]) / (shares[0] + shares[2])
        found = torch.bincount(drawn, minlength=4) / 4000
        assert (found - shares).abs().max() < 0.03


@pytest.mark.parametrize("room", [90, 200])
def test_a_lack_of_memory_is_survived(model: str, room: int) -> None:
    made = writer(model)

    def tight(ids: list[list[int]], most: int, keys: Sequence[str]) -> list[list[int]]:
        if sum(len(row) + most for row in ids) > room:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        return made.write(ids, most, keys)

    found = replace(made, write=tight).rewrite(TEXTS, KEYS)
    needs = [len(row) + generate.limit(len(row)) for row in made.tokens(TEXTS)]
    assert found == [texts if need <= room else None for texts, need in zip(rewritten(model), needs, strict=True)]
    assert any(found)


def test_another_failure_is_not_taken_for_a_lack_of_memory(model: str) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        replace(writer(model), write=broken).rewrite(TEXTS, KEYS)


def test_nothing_to_rewrite(model: str) -> None:
    assert writer(model).rewrite([], []) == []


def test_the_prefix_is_read(model: str) -> None:
    made = generate.load(model, prefix="суп ", search=SEARCH, precision="fp32", batch_tokens=999)
    assert made.rewrite(["быстро"], ["k"]) == writer(model).rewrite(["суп быстро"], ["k"])
