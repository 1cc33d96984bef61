"""The engine: what it takes, in which order it computes it, and what it leaves out."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence

import pytest

from tsirius.serve.engine import Engine, Full, Row, Step, Stopped


class Model:
    """Says of a text how long it is, and keeps the batches; waits while ``hold`` is not set."""

    def __init__(self, *, held: bool = False, breaks: str = "") -> None:
        self.batches = list[list[str]]()
        self.entered, self.hold, self.breaks = threading.Event(), threading.Event(), breaks
        if not held:
            self.hold.set()

    def rows(self, texts: Sequence[str]) -> list[Row]:
        self.batches.append(list(texts))
        self.entered.set()
        assert self.hold.wait(60)
        if self.breaks and self.breaks in texts:
            raise RuntimeError("of no use")
        return [Row(len(text), 1, False) for text in texts]


def run(work: Callable[[Engine], Awaitable[None]], *, queue_texts: int = 100, batch_tokens: int = 40) -> list[Step]:
    """Have ``work`` use an engine; the steps that it took."""
    steps = list[Step]()

    async def main() -> None:
        engine = Engine(queue_texts=queue_texts, batch_tokens=batch_tokens, observe=steps.append)
        engine.start()
        try:
            await work(engine)
        finally:
            await engine.stop()

    asyncio.run(main())
    return steps


def start(engine: Engine, model: Model, texts: Sequence[str]) -> asyncio.Task[list[Row]]:
    return asyncio.ensure_future(engine.classify(model, texts))


async def busy(model: Model) -> None:
    """Wait until the model computes."""
    assert await asyncio.to_thread(model.entered.wait, 60)


def test_rows_come_in_the_order_of_the_texts_and_longer_ones_are_computed_first() -> None:
    model, texts = Model(), ["аб" * size for size in (3, 30, 1, 20, 2)]

    async def work(engine: Engine) -> None:
        assert [row.probabilities for row in await engine.classify(model, texts)] == list(map(len, texts))
        assert engine.waiting == 0
        assert await engine.classify(model, []) == []

    steps = run(work, batch_tokens=20)
    assert [text for batch in model.batches for text in batch] == sorted(texts, key=len, reverse=True)
    assert len(model.batches) > 1  # by tokens: not all of them at a time
    assert sum(step.texts for step in steps) == sum(step.tokens for step in steps) == len(texts)


def test_requests_share_a_batch() -> None:
    model = Model(held=True)

    async def work(engine: Engine) -> None:
        first = start(engine, model, ["первый"])
        await busy(model)
        rest = [start(engine, model, [f"текст {number}"]) for number in range(5)]
        await asyncio.sleep(0)
        model.hold.set()
        await asyncio.gather(first, *rest)

    steps = run(work)
    assert [step.jobs for step in steps] == [1, 5]


def test_a_request_is_taken_whole_or_refused_whole() -> None:
    model = Model(held=True)

    async def work(engine: Engine) -> None:
        taken = start(engine, model, ["а"] * 6)
        await busy(model)
        with pytest.raises(Full) as full:
            await engine.classify(model, ["б"] * 5)
        assert full.value.seconds >= 1
        also = start(engine, model, ["в"] * 4)
        await asyncio.sleep(0)
        assert engine.waiting == 10
        model.hold.set()
        await asyncio.gather(taken, also)
        assert engine.waiting == 0
        await engine.classify(model, ["б"] * 10)

    run(work, queue_texts=10)
    assert [text for batch in model.batches for text in batch].count("б") == 10


def test_what_nobody_waits_for_is_not_computed() -> None:
    model = Model(held=True)

    async def work(engine: Engine) -> None:
        taken = start(engine, model, ["занято"])
        await busy(model)
        left = start(engine, model, ["напрасно"] * 20)
        stays = start(engine, model, ["нужно"])
        await asyncio.sleep(0)
        left.cancel()
        await asyncio.wait([left])
        assert engine.waiting == 2
        model.hold.set()
        await asyncio.gather(taken, stays)

    run(work)
    assert model.batches == [["занято"], ["нужно"]]


def test_a_short_request_does_not_wait_for_a_long_one_nor_the_other_way_round() -> None:
    model = Model(held=True)

    async def work(engine: Engine) -> None:
        taken = start(engine, model, ["занято"])
        await busy(model)
        long = start(engine, model, ["длинный"] * 60)
        short = [start(engine, model, ["короткий"]) for _ in range(20)]
        await asyncio.sleep(0)
        model.hold.set()
        await asyncio.gather(taken, long, *short)

    run(work)
    second = model.batches[1]
    assert "длинный" in second and "короткий" in second
    last_short = max(number for number, batch in enumerate(model.batches) if "короткий" in batch)
    last_long = max(number for number, batch in enumerate(model.batches) if "длинный" in batch)
    assert last_short < last_long
    assert all("длинный" in batch for batch in model.batches[1 : last_short + 1])


def test_a_text_that_fails_fails_alone() -> None:
    model = Model(breaks="плохо")

    async def work(engine: Engine) -> None:
        rows = await engine.classify(model, ["хорошо", "плохо", "тоже хорошо"])
        assert [row.error for row in rows] == [None, "RuntimeError: of no use", None]
        assert [row.probabilities for row in rows] == [6, None, 11]

    run(work)


def test_models_do_not_share_a_batch_and_both_answer() -> None:
    one, other = Model(held=True), Model()

    async def work(engine: Engine) -> None:
        first = start(engine, one, ["а"])
        await busy(one)
        rest = [start(engine, model, [name]) for model, name in ((one, "б"), (other, "в"), (one, "г"))]
        await asyncio.sleep(0)
        one.hold.set()
        await asyncio.gather(first, *rest)

    run(work)
    assert one.batches == [["а"], ["б", "г"]] and other.batches == [["в"]]


def test_it_finishes_what_it_took_and_takes_nothing_more() -> None:
    model = Model(held=True)

    async def work(engine: Engine) -> None:
        taken = start(engine, model, ["а"] * 30)
        await busy(model)
        stopping = asyncio.ensure_future(engine.stop())
        await asyncio.sleep(0)
        with pytest.raises(Stopped):
            await engine.classify(model, ["б"])
        model.hold.set()
        assert len(await taken) == 30
        await stopping
        assert not engine.alive

    run(work)


def test_the_shadow_comes_last_and_is_left_out_where_too_much_waits() -> None:
    model, shadow = Model(held=True), Model()
    seen = list[Row]()

    async def work(engine: Engine) -> None:
        taken = start(engine, model, ["а"])
        await busy(model)
        engine.shadow(shadow, ["тень"] * 3, seen.extend)
        engine.shadow(shadow, ["тень"] * 10_000, seen.extend)
        later = start(engine, model, ["б"])
        await asyncio.sleep(0)
        model.hold.set()
        await asyncio.gather(taken, later)
        assert engine.left_out == 10_000
        while len(seen) < 3:
            await asyncio.to_thread(shadow.entered.wait, 60)

    steps = run(work)
    assert len(seen) == 3 and [step.texts for step in steps] == [1, 1, 3]
