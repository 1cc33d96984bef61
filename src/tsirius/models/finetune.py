"""Fine-tuning: a loop of steps that can be killed at any of them and resumes from its last checkpoint.

All chance in a step (dropout, the order of the rows) comes from the seed and the step's number, so that a resumed run
takes the same steps as one that was never stopped; on a CPU the weights are the same to the bit. (On a GPU some sums
are added up in another order each time.)

The loop is our own, and not transformers' Trainer, for two reasons. Its micro-batches are a number of rows, not of
tokens: the memory of a step depends on its longest review, and where memory runs out the training starts over with
fewer rows (``auto_find_batch_size``); here the same step is taken again in smaller micro-batches. And with
``train_sampling_strategy="group_by_length"``, without which much of a batch is padding, it draws its order from the
global random state, which a run that resumes within an epoch no longer has. It is slower too: see
benchmarks/training.py.

On a GPU the steps are captured as CUDA graphs (see :mod:`tsirius.models.graphs`): rows then have one of a few shapes.

Where several processes train (see :mod:`tsirius.models.distributed`), each takes its share of every step's rows, and
the gradients are summed: the rows of a step, and what is learned, do not depend on the number of GPUs.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from scipy.special import log_softmax

from tsirius.errors import UserError
from tsirius.headline import AGREEMENT
from tsirius.metrics import weighted_f1
from tsirius.models import (
    adamw,
    adapters,
    batching,
    checkpoint,
    distributed,
    encode,
    estimate,
    graphs,
    kernels,
    layers,
    load,
    lora,
    loss,
    micro_batches,
    trackers,
)
from tsirius.models.adapters import Method
from tsirius.models.checkpoint import BEST, LAST, WEIGHTS, State
from tsirius.models.loss import Imbalance
from tsirius.models.trackers import Track, Trackers
from tsirius.progress import Advance, progress, say

if TYPE_CHECKING:
    from numpy.typing import NDArray

Metric = Literal["weighted_f1", "eval_loss"]

SMALLEST = 512
"""A budget of fewer tokens is not tried when memory is short."""


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes:
        method: what is trained.
        r, alpha, dropout: of the adapters: rank, scale times rank, dropout before them.
        classifier_dropout: in the head.
        epochs: passes over the rows at most.
        learning_rate: of AdamW at its height, which it reaches after ``warmup`` (a share of all steps); it falls to 0
            linearly.
        layer_decay: full: each layer's learning rate is that of the layer above it times this.
        batch_size: rows of a step.
        batch_tokens: tokens of a micro-batch, padding included; changes no result but by rounding and dropout.
        max_length: tokens of a text that are read.
        label_smoothing: share of each label that is spread over all categories.
        imbalance: treatment of rare categories, see :mod:`tsirius.models.loss`.
        weight_decay: of AdamW, but for biases and normalisation layers.
        max_grad_norm: gradients are clipped to this norm; 0: no clipping.
        gradient_checkpointing: recompute activations in the backward pass; qlora always does.
        evaluations_per_epoch: evaluations on the validation rows per epoch, each with a checkpoint.
        evaluation_steps: steps between evaluations; 0: by epoch.
        early_stopping_metric: metric of the best checkpoint.
        early_stopping_patience: evaluations without improvement before training stops.
    """

    method: Method
    r: int
    alpha: int
    dropout: float
    classifier_dropout: float
    epochs: int
    learning_rate: float
    layer_decay: float
    batch_size: int
    batch_tokens: int
    max_length: int
    label_smoothing: float
    imbalance: Imbalance
    weight_decay: float
    warmup: float
    max_grad_norm: float
    gradient_checkpointing: bool
    evaluations_per_epoch: int
    evaluation_steps: int
    early_stopping_metric: Metric
    early_stopping_patience: int


@dataclass(frozen=True)
class Rows:
    """What is learned from, or scored.

    Attributes:
        texts: cleaned.
        labels: the index of each one's category.
        weights: how much each counts; None: all the same.
        targets: the share of each category in each one's label, [N, K]; None: all in ``labels``.
    """

    texts: Sequence[str]
    labels: Sequence[int]
    weights: Sequence[float] | None = None
    targets: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Job:
    """A training, as every process that takes part in it has to know it.

    Attributes:
        train: what to learn from.
        valid: what to stop early on and to choose the best checkpoint by; where it is empty the last one counts.
        model: a folder or hub name of an encoder that :func:`tsirius.models.hub.check` accepts.
        names: the categories.
        shift: added to the scores on ``valid``, as it is when the model is used; see
            :func:`tsirius.models.classifier.prior_shift`.
        recipe: how to train.
        seed: of the head, the adapters, the order of the rows and the dropout.
        scratch: keeps the checkpoints.
        trackers: who is told of each evaluation; None: nobody.
    """

    train: Rows
    valid: Rows
    model: str
    names: Sequence[str]
    shift: Sequence[float]
    recipe: Recipe
    seed: int
    scratch: Path
    trackers: Trackers | None = None


NOTHING: Job | None = None
"""In place of a job: there is nothing more to train."""


def build(model: str, *, names: Sequence[str], recipe: Recipe) -> Any:
    """The model that is trained, see :func:`tsirius.models.adapters.build`."""
    if load.device().type == "cuda" and adapters.captures(recipe.method, recipe.gradient_checkpointing):
        kernels.prepare()
    return adapters.build(
        model,
        names=names,
        method=recipe.method,
        r=recipe.r,
        alpha=recipe.alpha,
        dropout=recipe.dropout,
        classifier_dropout=recipe.classifier_dropout,
        gradient_checkpointing=recipe.gradient_checkpointing,
    )


def fit(job: Job) -> tuple[Any, dict[str, Any]]:
    """Train; resumes from the checkpoint in the job's ``scratch``, if it holds one.

    Returns:
        The model, a transformers or peft one on :func:`tsirius.models.load.device`, and notes: ``max_length`` (tokens
        that are read), ``steps``, ``trainable`` (parameters), ``evaluations``, ``tokens_per_second``, and on a GPU
        ``peak_gpu_mib``, ``mfu`` (see :func:`tsirius.models.estimate.mfu`) and ``cuda_graphs``.

    Raises:
        UserError: the model cannot be trained so, or training diverged.
    """
    distributed.join()
    return _fit(distributed.from_first(job))


def help_first() -> None:
    """Take part in every training that the first process begins, in silence, until it calls :func:`dismiss`."""
    distributed.join()
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stderr(nowhere):
        while (job := distributed.from_first(NOTHING)) is not None:
            _fit(job)
    distributed.part()


def dismiss() -> None:
    """Tell the processes that help this one that there is nothing more to train."""
    distributed.join()
    distributed.from_first(NOTHING)
    distributed.part()


def _fit(job: Job) -> tuple[Any, dict[str, Any]]:
    """Results and errors as of :func:`fit`."""
    recipe, scratch = job.recipe, job.scratch
    torch.manual_seed(job.seed)
    device = load.device()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    with load.quiet():
        model = build(job.model, names=job.names, recipe=recipe)
        tokenizer = load.tokenizer(job.model)
    length = encode.longest(model, tokenizer, recipe.max_length)
    if length < recipe.max_length:
        say(f"  {job.model} reads {length} tokens of a text, not {recipe.max_length}")
    training = Training(
        model, tokenizer, job.train, recipe=recipe, categories=len(job.names), max_length=length, seed=job.seed
    )
    state = checkpoint.resume(scratch, model, optimiser=training.optimiser, scaler=training.scaler, device=device)
    judge = _judge(model, tokenizer, job.valid, shift=job.shift, max_length=length) if job.valid.texts else None
    if not state.finished:
        if state.step:
            say(f"  resumes after step {state.step:,}")
        told = job.trackers if distributed.process() == 0 else None
        with (
            progress("train", total=training.total) as advance,
            trackers.opened(told, scratch.name) as track,
            training.shortened(),
        ):
            advance(state.step)
            _train(training, state, judge, scratch, advance, track)
    distributed.meet()  # the first process writes the checkpoints
    if judge is not None:
        checkpoint.restore(model, scratch / BEST / WEIGHTS)
    sample = encode.logits(model, tokenizer, job.train.texts[:1], max_length=length, half=adapters.half())
    if not np.isfinite(sample).all():
        raise UserError("training diverged: scores are NaN or infinite", where="train.learning_rate",
                        remedy=f"Lower it from {recipe.learning_rate:g}.")  # fmt: skip
    notes = {
        "max_length": length,
        "steps": state.step,
        "trainable": sum(part.numel() for part in model.parameters() if part.requires_grad),
        "evaluations": [
            {name: value if name == "step" else round(value, 4) for name, value in result.items()}
            for result in state.evaluations
        ],
        "tokens_per_second": round(state.tokens / state.seconds) if state.seconds else None,
    }
    if device.type == "cuda":
        notes["peak_gpu_mib"] = round(torch.cuda.max_memory_allocated() / 2**20)
        notes |= _use_of_the_card(job, training, notes["tokens_per_second"])
    return model.eval(), notes


def _use_of_the_card(job: Job, training: Training, speed: float | None) -> dict[str, Any]:
    """What the record says of the GPU's use, said aloud too: ``mfu``, a share, and ``cuda_graphs``, how many."""
    recipe, notes = job.recipe, dict[str, Any]()
    mean = round(sum(training.lengths) / max(1, len(training.lengths)))
    use = estimate.Use(recipe.method, recipe.r, recipe.batch_size, mean, recipe.gradient_checkpointing,
                       len(job.names), False)  # fmt: skip
    share = None
    with contextlib.suppress(UserError):  # not BERT-like: its shape says nothing
        card = torch.cuda.get_device_name()
        share = estimate.mfu(estimate.shape(job.model), use, tokens_per_second=speed or 0.0, card=card)
    said = [f"{speed:,} tokens/s"] if speed else []
    if share:
        notes["mfu"] = round(share, 4)
        said.append(f"{share:.1%} of the card's arithmetic")
    if training.graphs is not None:
        notes["cuda_graphs"] = len(training.graphs)
        said.append(f"{len(training.graphs)} CUDA graphs captured in {training.graphs.seconds:.1f} s")
    if said:
        say(f"  {', '.join(said)}")
    return notes


class Training:
    """A model with its rows and its optimiser, one step at a time.

    Args:
        model: from :func:`build`.
        tokenizer: of the model.
        rows: what to learn from.
        recipe: how.
        categories: how many there are.
        max_length: tokens of a text that are read.
        seed: of the order of the rows and the dropout.

    Attributes:
        per_epoch: steps of an epoch.
        total: steps of the whole training.
        every: steps between two evaluations.
        budget: tokens of a micro-batch.
        graphs: captures the steps on a GPU, see :mod:`tsirius.models.graphs`; None: shapes are as the rows have it.
    """

    def __init__(
        self, model: Any, tokenizer: Any, rows: Rows, *, recipe: Recipe, categories: int, max_length: int, seed: int
    ) -> None:
        self.model, self.recipe, self.seed = model, recipe, seed
        self.pad = batching.padding(tokenizer, model.config)
        self.ids = encode.token_ids(tokenizer, rows.texts, max_length=max_length)
        self.lengths = [len(ids) for ids in self.ids]
        self.targets = loss.targets(rows.labels, categories=categories) if rows.targets is None else rows.targets
        mass = loss.masses(rows.labels, rows.weights, categories=categories)
        self.weights = np.ones(len(rows.labels)) if rows.weights is None else np.array(rows.weights, dtype=np.float64)
        if recipe.imbalance == "weights":
            self.weights = self.weights * loss.category_weights(mass)[list(rows.labels)]
        self.device = load.device()
        self.adjustment = None
        if recipe.imbalance == "logits":
            self.adjustment = torch.tensor(loss.logit_adjustment(mass), dtype=torch.float32, device=self.device)
        self.trained = {name: part for name, part in model.named_parameters() if part.requires_grad}
        self.optimiser = adapters.optimiser(
            adapters.groups(
                model,
                learning_rate=recipe.learning_rate,
                weight_decay=recipe.weight_decay,
                layer_decay=recipe.layer_decay if recipe.method == "full" else 1.0,
            ),
            method=recipe.method,
        )
        self.half = adapters.half()
        # 16-bit floats of this kind end at 6e-8: small gradients are lost unless the loss is multiplied.
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.half == torch.float16)
        self.per_epoch = math.ceil(len(self.ids) / recipe.batch_size)
        self.total = self.per_epoch * recipe.epochs
        self.every = recipe.evaluation_steps or math.ceil(self.per_epoch / recipe.evaluations_per_epoch)
        self.budget = batching.Budget(recipe.batch_tokens)
        self.graphs: graphs.Graphs | None = None
        self.padded = self.lengths
        if self.device.type == "cuda" and adapters.captures(recipe.method, recipe.gradient_checkpointing):
            longest, least = max(self.lengths, default=1), self._idle() // recipe.batch_size
            self.padded = [graphs.bucket(length, longest=longest, least=least) for length in self.lengths]
            self.graphs = graphs.Graphs(plans=graphs.worth_plans(self.padded, epochs=recipe.epochs))
        self._written_out = False
        self._adamw: adamw.AdamW | None = None
        self._epoch, self._order = -1, list[list[int]]()

    def _idle(self) -> int:
        """Tokens of a step up to which the card at hand takes no longer, see :func:`tsirius.models.graphs.idle`."""
        layers, table = getattr(self.model.config, "num_hidden_layers", 0), self.model.get_input_embeddings().weight
        best = estimate.tflops(torch.cuda.get_device_name())
        weights = sum(part.numel() for part in self.model.parameters() if part.dim() == 2) - table.numel()
        products = 3 if self.recipe.method == "full" else 2
        return graphs.idle(layers=layers, weights=weights, products=products, tflops=best or 0.0)

    @contextlib.contextmanager
    def shortened(self) -> Iterator[None]:
        """Within this, on a GPU, steps are taken with fewer kernels, see :mod:`tsirius.models.layers`: enter it with
        the weights that training goes on from."""
        on_card = self.device.type == "cuda"
        if not adapters.captures(self.recipe.method, self.recipe.gradient_checkpointing):
            with lora.shortened(self.model, when=on_card):
                yield
            return
        with layers.shortened(self.model, half=self.half, when=on_card) as held:
            self._written_out = held is not None
            if held is not None and self.graphs is not None:
                held.gather()
                self._clear()  # every gradient has its place
                if self.half == torch.bfloat16 and adamw.fits(self.optimiser):  # fp16's scaler may leave a step out
                    self._adamw = adamw.AdamW(self.optimiser, held.copies)
            hook = self.optimiser.register_step_post_hook(lambda *_: held.refresh() if held is not None else None)
            try:
                yield
            finally:
                self._written_out, self._adamw = False, None
                hook.remove()

    def rows(self, step: int) -> list[int]:
        """The rows of a step, counted from 0."""
        epoch, number = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            self._order = micro_batches.steps(self.lengths, rows=self.recipe.batch_size, seed=self.seed, epoch=epoch)
            self._epoch = epoch
        return self._order[number]

    def step(self, step: int) -> None:
        """Learn from one step's rows; where memory is short, from fewer of them at a time."""
        rate = _rate(step, total=self.total, warmup=self.recipe.warmup)
        for group in self.optimiser.param_groups:
            adapters.set_rate(group, group["peak"] * rate)
        while True:
            torch.manual_seed(self.seed * 1_000_003 + step * distributed.processes() + distributed.process())
            self._clear()
            try:
                self.gradients(self.rows(step))
                break
            except torch.cuda.OutOfMemoryError:
                if self.budget.tokens // 2 < SMALLEST or distributed.processes() > 1:  # others would wait for this one
                    raise
                self.budget.ran_out(self.budget.tokens)
            if self.graphs is not None:
                self.graphs.forget()
            torch.cuda.empty_cache()
            say(f"  out of memory: micro-batches of {self.budget.tokens:,} tokens from here on")
        self._run("update", self._update)

    def _clear(self) -> None:
        """Gradients are 0 again; where graphs add to them, they stay where they are."""
        if self.graphs is None:
            self.optimiser.zero_grad(set_to_none=True)
            return
        for part in self.trained.values():
            if part.grad is None:
                part.grad = torch.zeros_like(part)
        torch._foreach_zero_([part.grad for part in self.trained.values()])

    def _update(self) -> None:
        """Take the step that the gradients say."""
        most = self.recipe.max_grad_norm
        if self._adamw is not None:
            self._adamw.step(adapters.divisor(self.trained.values(), most) if most else None)
            return
        self.scaler.unscale_(self.optimiser)
        if most:
            adapters.clip(self.trained.values(), self.optimiser, most)
        self.scaler.step(self.optimiser)
        self.scaler.update()

    def _run(self, key: Any, work: Callable[..., None], *given: torch.Tensor) -> None:
        if self.graphs is None:
            work(*given)
        else:
            self.graphs.run(key, work, *given)

    def gradients(self, rows: Sequence[int]) -> None:
        """Accumulate the gradients of the mean loss of ``rows``, in as many micro-batches as the budget asks for."""
        self.model.train()
        divisor = float(self.weights[list(rows)].sum()) or 1.0
        own = sorted(rows, key=lambda row: self.lengths[row])[distributed.process() :: distributed.processes()]
        for members in micro_batches.split(own, self.padded, budget=self.budget):
            ids, mask, *others = self.micro_batch(members, divisor)
            if self._written_out and mask.all():  # attention is faster without a mask
                given = self._there(ids, *others)
                self._run((given[0].shape, "whole"), self._learn_whole, *given)
                continue
            given = self._there(ids, mask, *others)
            self._run(given[0].shape, self._learn, *given)
        distributed.add_up(self.trained.values())

    def micro_batch(self, members: Sequence[int], divisor: float) -> tuple[NDArray[Any], ...]:
        """Tokens, mask, targets and weights of some rows, [B, L], [B, L], [B, K], [B]; for graphs in a fixed shape."""
        ids, mask = batching.padded_with_mask(
            [self.ids[row] for row in members], self.pad, left=False, multiple=8 if self.device.type == "cuda" else 1
        )
        targets, weights = self.targets[members], (self.weights[members] / divisor).astype(np.float32)
        if self.graphs is None:
            return ids, mask, targets, weights
        length = max(ids.shape[1], max(self.padded[row] for row in members))
        most = min(-(-self.recipe.batch_size // distributed.processes()), self.budget.rows(length))
        rows = graphs.fixed_rows(len(members), most=most)
        return graphs.fill_up(ids, mask, targets, weights, rows=rows, length=length, pad=self.pad)

    def _learn_whole(self, ids: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> None:
        """The same of rows without padding."""
        self._learn(ids, None, targets, weights)

    def _learn(
        self, ids: torch.Tensor, mask: torch.Tensor | None, targets: torch.Tensor, weights: torch.Tensor
    ) -> None:
        """Add the gradients of a micro-batch."""
        # A cast of a weight that one graph keeps would be freed with it.
        with torch.autocast(self.device.type, dtype=self.half, enabled=self.half is not None,
                            cache_enabled=self.graphs is None):  # fmt: skip
            logits = self.model(input_ids=ids, attention_mask=mask).logits
        result = loss.total(logits, targets, weights, smoothing=self.recipe.label_smoothing, adjustment=self.adjustment)
        self.scaler.scale(result).backward()  # type: ignore[no-untyped-call]  # torch's

    def _there(self, *parts: NDArray[Any]) -> list[torch.Tensor]:
        """``parts`` on the device, without waiting until they are there."""
        return batching.there(parts, device=self.device)


def _train(
    training: Training,
    state: State,
    judge: Callable[[], Mapping[str, float]] | None,
    scratch: Path,
    advance: Advance,
    track: Track,
) -> None:
    """Take all steps from ``state`` on, with evaluations and checkpoints; ``state`` is brought up to date."""
    recipe, start = training.recipe, time.monotonic()
    while state.step < training.total and not state.finished:
        state.tokens += sum(training.lengths[row] for row in training.rows(state.step))
        training.step(state.step)
        state.step += 1
        advance()
        last = state.step == training.total
        if state.step % training.every and not last:
            continue
        _wait(training.device)
        state.seconds += time.monotonic() - start
        if judge is not None:
            _note(state, judge(), recipe)
            track(state.step, {name: value for name, value in state.evaluations[-1].items() if name != "step"})
            if state.best_step == state.step:
                checkpoint.save(scratch / BEST, training.trained, optimiser=training.optimiser, state=None)
        state.finished = last or state.waited >= recipe.early_stopping_patience
        state.scale = training.scaler.state_dict()
        checkpoint.save(scratch / LAST, training.trained, optimiser=training.optimiser, state=state)
        start = time.monotonic()


def _note(state: State, result: Mapping[str, float], recipe: Recipe) -> None:
    """Write an evaluation down: is it the best, and how long ago was that?"""
    shared = distributed.from_first(dict(result))
    state.evaluations.append({"step": state.step, **shared})
    value = shared["weighted_f1"] if recipe.early_stopping_metric == "weighted_f1" else -shared["eval_loss"]
    value = value if math.isfinite(shared["eval_loss"]) else -math.inf  # diverged
    if state.best is None or value > state.best:
        state.best, state.best_step, state.waited = value, state.step, 0
    else:
        state.waited += 1
    say(f"  step {state.step:,}: {AGREEMENT} {shared['weighted_f1']:.3f} (weighted F1), loss {shared['eval_loss']:.3f}")


def _judge(
    model: Any, tokenizer: Any, valid: Rows, *, shift: Sequence[float], max_length: int
) -> Callable[[], dict[str, float]]:
    """What scores the validation rows: weighted F1 and cross-entropy of the scores as they are used, shift included."""
    labels, size = np.array(valid.labels), len(shift)

    def score() -> dict[str, float]:
        result = encode.logits(model, tokenizer, valid.texts, max_length=max_length, half=adapters.half())
        scores = result.astype(np.float64) + np.array(shift)
        cells = labels * size + scores.argmax(axis=1)
        confusion = np.bincount(cells, minlength=size * size).reshape(size, size)
        losses = -log_softmax(scores, axis=1)[np.arange(len(labels)), labels]
        return {"weighted_f1": float(weighted_f1(confusion)), "eval_loss": float(losses.mean())}

    return score


def _rate(step: int, *, total: int, warmup: float) -> float:
    """The learning rate of a step as a share of its height: up to 1 over the warm-up, then down to 0."""
    rising = math.ceil(total * warmup)
    if step < rising:
        return (step + 1) / (rising + 1)
    return max(0.0, (total - step) / max(1, total - rising))


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()
