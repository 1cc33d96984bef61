"""LoRA: low-rank adapters on a frozen encoder and a new head, trained by transformers' Trainer and kept by peft.

Hu et al. 2021 (arXiv 2106.09685). What is saved is the adapter with the head (``adapter/``, as peft lays it out) and
the tokenizer (``tokenizer/``); the encoder itself stays where it is.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model, set_peft_model_state_dict
from safetensors.torch import load_file
from transformers import (
    DataCollatorWithPadding,
    EarlyStoppingCallback,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

from tsirius.errors import UserError
from tsirius.metrics import weighted_f1
from tsirius.models import encode, load
from tsirius.progress import Advance, progress, say

if TYPE_CHECKING:
    from numpy.typing import NDArray

ADAPTER, TOKENIZER = "adapter", "tokenizer"
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


@dataclass(frozen=True)
class Recipe:
    """How to train; the units are those of transformers' TrainingArguments.

    ``evaluations_per_epoch`` is also how often an epoch leaves a checkpoint to go on from.
    """

    r: int
    alpha: int
    dropout: float
    classifier_dropout: float
    epochs: int
    learning_rate: float
    batch_size: int
    gradient_accumulation: int
    max_length: int
    label_smoothing: float
    weight_decay: float
    warmup: float
    evaluations_per_epoch: int
    early_stopping_patience: int


@dataclass(frozen=True)
class Rows:
    """Cleaned texts with the place of each one's category."""

    texts: Sequence[str]
    labels: Sequence[int]


@dataclass(frozen=True)
class Lora:
    """An encoder with its adapter, ready to score."""

    model: Any
    tokenizer: Any
    base_model: str
    max_length: int

    def logits(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Scores of cleaned texts before the softmax, [N, K]."""
        return encode.logits(self.model, self.tokenizer, texts, max_length=self.max_length)

    def save(self, folder: Path) -> None:
        """Write the adapter and the tokenizer into ``folder``."""
        # Where the encoder was loaded from is the hub's cache; others know it by its name.
        self.model.peft_config["default"].base_model_name_or_path = self.base_model
        # The embeddings are frozen; to find that out, peft would ask the hub.
        self.model.save_pretrained(folder / ADAPTER, save_embedding_layers=False)
        (folder / ADAPTER / "README.md").unlink(missing_ok=True)  # a form that nobody has filled in
        _sort_lists(folder / ADAPTER / ADAPTER_FILES[0])
        self.tokenizer.save_pretrained(folder / TOKENIZER)


def _sort_lists(path: Path) -> None:
    """peft writes sets in the order of their hashes, which differs from process to process."""
    config = json.loads(path.read_text(encoding="utf-8"))
    for name in ("target_modules", "modules_to_save"):
        config[name] = sorted(set(config[name]))
    path.write_text(json.dumps(config, ensure_ascii=False, indent=1, sort_keys=True), encoding="utf-8")


def read(folder: Path, *, base_model: str, names: Sequence[str], max_length: int) -> Lora:
    """Read what :meth:`Lora.save` wrote.

    Raises:
        UserError: a part is missing or broken, or does not fit the base model.
    """
    remedy = "Train the model again."
    for part in (*(f"{ADAPTER}/{name}" for name in ADAPTER_FILES), TOKENIZER):
        if not (folder / part).exists():
            raise UserError(f"has no {part}", where=folder, remedy=remedy)
    base, _ = load.base_classifier(base_model, names=names, dropout=None)
    try:
        with load.quiet():
            model = PeftModel.from_pretrained(base, str(folder / ADAPTER))
    except Exception as error:  # peft, safetensors and torch each have their own for a file that does not fit
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"the adapter does not fit {base_model} ({reason})", where=folder, remedy=remedy) from None
    tokenizer = load.tokenizer(str(folder / TOKENIZER))
    length = encode.longest(base, tokenizer, max_length)
    return Lora(model.to(load.device()).eval(), tokenizer, base_model, length)


def fit(
    train: Rows,
    valid: Rows,
    *,
    model: str,
    names: Sequence[str],
    shift: Sequence[float],
    recipe: Recipe,
    seed: int,
    scratch: Path,
) -> tuple[Lora, dict[str, Any]]:
    """Train an adapter; goes on from the newest whole checkpoint in ``scratch``.

    Args:
        train: what to learn from.
        valid: what to stop early on and to choose the best checkpoint by; where it is empty the last one counts.
        model: a folder or hub name of an encoder that :func:`tsirius.models.load.check` accepts.
        names: the categories.
        shift: added to the scores on ``valid``, as it is when the model is used; see
            :func:`tsirius.models.classifier.prior_shift`.
        recipe: how to train.
        seed: of the head, the adapters, the order of the rows and the dropout.
        scratch: keeps the checkpoints.

    Returns:
        The model, and notes: ``max_length`` (tokens that are read), ``steps``, ``trainable`` (parameters) and
        ``evaluations``.
    """
    set_seed(seed)
    with load.quiet():
        adapted = _adapted(model, names=names, recipe=recipe)
        tokenizer = load.tokenizer(model)
        length = encode.longest(adapted, tokenizer, recipe.max_length)
        if length < recipe.max_length:
            say(f"  {model} reads {length} tokens of a text, not {recipe.max_length}")
        dataset = partial(_dataset, tokenizer=tokenizer, max_length=length)
        trainer = _trainer(
            adapted, tokenizer, dataset(train), dataset(valid), shift, recipe, seed=seed, scratch=scratch
        )
        checkpoint = _newest(scratch)
        stopped = None if checkpoint is None else _stopped(checkpoint, recipe.early_stopping_patience)
        if stopped is not None:
            best = scratch / Path(stopped["best_model_checkpoint"]).name
            set_peft_model_state_dict(adapted, load_file(best / ADAPTER_FILES[1]))
            state = stopped
        else:
            if checkpoint is not None:
                say(f"  goes on from {checkpoint.name}")
            with progress("train", total=trainer.args.max_steps) as advance:
                trainer.add_callback(_Report(advance))
                trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
            state = {"global_step": trainer.state.global_step, "log_history": trainer.state.log_history}
    notes = {
        "max_length": length,
        "steps": state["global_step"],
        "trainable": sum(part.numel() for part in adapted.parameters() if part.requires_grad),
        "evaluations": [
            {
                "step": entry["step"],
                "weighted_f1": round(entry["eval_weighted_f1"], 4),
                "loss": round(entry["eval_loss"], 4),
            }
            for entry in state["log_history"]
            if "eval_weighted_f1" in entry
        ],
    }
    return Lora(adapted.to(load.device()).eval(), tokenizer, model, length), notes


def _adapted(model: str, *, names: Sequence[str], recipe: Recipe) -> Any:
    base, new = load.base_classifier(model, names=names, dropout=recipe.classifier_dropout)
    encoder = base.base_model
    # The head goes by its real name: a head that is not named here would be neither trained nor saved. A pooler that
    # the weights did not hold is as new as the head.
    prefix = f"{base.base_model_prefix}."
    inner = {name.removeprefix(prefix).split(".")[0] for name in new if name.startswith(prefix)}
    outer = {
        name for name, part in base.named_children() if part is not encoder and any(True for _ in part.parameters())
    }
    heads = sorted(outer | inner)
    linear = {
        name.rpartition(".")[2]
        for name, part in encoder.named_modules()
        if isinstance(part, torch.nn.Linear) and name.split(".")[0] not in heads
    }
    if not linear or not outer:
        raise UserError("has no linear layers to adapt, or no head of its own", where=model, remedy=load.REMEDY)
    config = LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=recipe.r,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules=sorted(linear),
        modules_to_save=heads,
    )
    # Trainer takes the encoder's forward to divide the loss by the rows of all accumulated batches, which it does not:
    # without this, accumulating N batches multiplies the gradient by N.
    base.accepts_loss_kwargs = False
    return get_peft_model(base, config)


def _dataset(rows: Rows, *, tokenizer: Any, max_length: int) -> list[dict[str, Any]]:
    ids = encode.token_ids(tokenizer, rows.texts, max_length=max_length)
    return [
        {"input_ids": row, "attention_mask": [1] * len(row), "labels": label}
        for row, label in zip(ids, rows.labels, strict=True)
    ]


def _trainer(
    model: Any,
    tokenizer: Any,
    train: list[dict[str, Any]],
    valid: list[dict[str, Any]],
    shift: Sequence[float],
    recipe: Recipe,
    *,
    seed: int,
    scratch: Path,
) -> Trainer:
    place = load.device().type
    # A T4 says that it knows bf16, but only emulates it.
    bf16 = place == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    steps = math.ceil(math.ceil(len(train) / recipe.batch_size) / recipe.gradient_accumulation)
    every = math.ceil(steps / recipe.evaluations_per_epoch)
    arguments = TrainingArguments(
        output_dir=str(scratch),
        max_steps=steps * recipe.epochs,
        learning_rate=recipe.learning_rate,
        per_device_train_batch_size=recipe.batch_size,
        per_device_eval_batch_size=64,
        gradient_accumulation_steps=recipe.gradient_accumulation,
        weight_decay=recipe.weight_decay,
        warmup_steps=recipe.warmup,
        label_smoothing_factor=recipe.label_smoothing,
        optim="adamw_torch",
        train_sampling_strategy="group_by_length",
        bf16=bf16,
        fp16=place == "cuda" and not bf16,
        use_cpu=place == "cpu",
        dataloader_pin_memory=place == "cuda",
        seed=seed,
        eval_strategy="steps" if valid else "no",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=2,
        load_best_model_at_end=bool(valid),
        metric_for_best_model="eval_weighted_f1" if valid else None,
        greater_is_better=True if valid else None,
        restore_callback_states_from_checkpoint=True,
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=train,
        eval_dataset=valid or None,
        data_collator=DataCollatorWithPadding(tokenizer, pad_to_multiple_of=8 if place == "cuda" else None),
        processing_class=tokenizer,
        compute_metrics=partial(_metrics, shift=np.array(shift)),
        callbacks=[EarlyStoppingCallback(recipe.early_stopping_patience)] if valid else [],
    )
    trainer.remove_callback(PrinterCallback)  # it prints to stdout
    order = _Order([len(row["input_ids"]) for row in train], recipe.batch_size * recipe.gradient_accumulation, seed)
    trainer._get_train_sampler = lambda train_dataset=None: order  # type: ignore[method-assign]  # its only hook for it
    return trainer


class _Order(torch.utils.data.Sampler[int]):
    """The rows in an order that seed and epoch alone decide, like lengths together.

    Trainer's own draws from the global random state, which a resumed run has no longer as it was when the epoch began:
    some rows would come twice in that epoch and others never.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self.lengths, self.batch_size, self.seed, self.epoch = list(lengths), batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Any:
        from transformers.trainer_pt_utils import get_length_grouped_indices

        random = torch.Generator().manual_seed(self.seed + self.epoch)
        order = get_length_grouped_indices(self.lengths, self.batch_size, generator=random)  # type: ignore[no-untyped-call]
        return iter(order)


class _Report(TrainerCallback):
    def __init__(self, advance: Advance) -> None:
        self.advance = advance

    def on_train_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        self.advance(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        self.advance()

    def on_evaluate(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        say(
            f"  step {state.global_step:,}: weighted F1 {rest['metrics']['eval_weighted_f1']:.3f} against pseudo-labels"
        )


def _metrics(given: Any, *, shift: NDArray[np.float64]) -> dict[str, float]:
    scores = given.predictions[0] if isinstance(given.predictions, tuple) else given.predictions
    size = len(shift)
    cells = given.label_ids * size + (scores + shift).argmax(axis=-1)
    return {"weighted_f1": float(weighted_f1(np.bincount(cells, minlength=size * size).reshape(size, size)))}


def _newest(scratch: Path) -> Path | None:
    """The newest whole checkpoint. trainer_state.json is written last; checkpoints without it are removed."""
    whole: dict[int, Path] = {}
    for path in scratch.glob("checkpoint-*"):
        if _is_whole(path):
            whole[int(path.name.rpartition("-")[2])] = path
        else:
            shutil.rmtree(path)
    return whole[max(whole)] if whole else None


def _is_whole(checkpoint: Path) -> bool:
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def _stopped(checkpoint: Path, patience: int) -> dict[str, Any] | None:
    """The state of a checkpoint at which training had stopped early: to go on from it would train past the stop."""
    state: dict[str, Any] = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    counters = state.get("stateful_callbacks", {}).get("EarlyStoppingCallback", {})
    found = (counters[0] if isinstance(counters, list) else counters).get("attributes", {})
    return state if found.get("early_stopping_patience_counter", 0) >= patience else None
