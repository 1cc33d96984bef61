"""What of an encoder is trained, and by which optimiser.

- ``full``: every weight.
- ``lora``: low-rank adapters on every linear layer of the encoder, which itself stays as it is (Hu et al. 2021, arXiv
  2106.09685), and the whole head.
- ``qlora``: the same on an encoder rounded to 4 bits (NF4, its scales rounded too), whose activations are computed
  again in the backward pass in place of being kept (Dettmers et al. 2023, arXiv 2305.14314).

On a GPU, what is frozen lies there in 16-bit floats (normalisation layers in 32), what is trained in 32-bit floats, and
autocast computes in 16 bits.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Literal

import torch

from tsirius.errors import UserError
from tsirius.models import hub, load

Method = Literal["lora", "qlora", "full"]

GPU_EXTRA = "Install it with: pip install 'tsirius[gpu]'."
LAYER = re.compile(r"\.layers?\.(\d+)\.")
"""Where a parameter's name says which of the encoder's layers it belongs to."""


def check(method: str) -> None:
    """Make sure that what the method needs is installed.

    Raises:
        UserError: it is not.
    """
    import importlib.util

    if method == "qlora" and importlib.util.find_spec("bitsandbytes") is None:
        raise UserError("qlora needs bitsandbytes, which is not installed", where="train.use", remedy=GPU_EXTRA)


def half() -> torch.dtype | None:
    """The 16-bit floats that the GPU computes in; None on a CPU, where 32-bit ones are as fast.

    A T4 says that it knows bf16, but only emulates it.
    """
    if load.device().type != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def build(
    model: str,
    *,
    names: Sequence[str],
    method: Method,
    r: int,
    alpha: int,
    dropout: float,
    classifier_dropout: float,
    gradient_checkpointing: bool,
) -> Any:
    """An encoder with a new head for ``names`` on :func:`tsirius.models.load.device`, its trainable part marked so.

    Args:
        model: a folder or hub name that :func:`tsirius.models.hub.check` accepts.
        names: the categories.
        method, r, alpha, dropout, classifier_dropout, gradient_checkpointing: as of
            :class:`tsirius.models.finetune.Recipe`.

    Raises:
        UserError: the model cannot be trained so.
    """
    base, new = load.base_classifier(model, names=names, dropout=classifier_dropout)
    heads, linear = parts(base, new, model)
    compute = half()
    if method == "full":
        result = base
    else:
        base.requires_grad_(False)
        if method == "qlora":
            _quantise(base, heads, compute=compute or torch.float32)
        if compute is not None:
            _halve(base, heads, compute)
        result = _adapted(base, heads, linear, r=r, alpha=alpha, dropout=dropout)
        if compute is not None:
            _keep_input_types(result)
    if gradient_checkpointing or method == "qlora":
        base.config.use_cache = False
        base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return result.to(load.device())


def parts(base: Any, new: Collection[str], model: str) -> tuple[list[str], list[str]]:
    """The names of a classifier's heads and, by their last part, of the linear layers of its encoder.

    The heads go by their real names: one that peft is not told of would be neither trained nor saved, and come back
    random. A pooler that the weights did not hold is as new as the head.

    Args:
        base: a transformers model with a head.
        new: the parameters that its weights did not hold.
        model: its name, for the message.

    Raises:
        UserError: it has neither.
    """
    encoder = base.base_model
    prefix = f"{base.base_model_prefix}."
    inner = {name.removeprefix(prefix).split(".")[0] for name in new if name.startswith(prefix)}
    outer = {
        name for name, part in base.named_children() if part is not encoder and any(True for _ in part.parameters())
    }
    heads = sorted(outer | inner)
    linear = sorted({name.rpartition(".")[2] for name, _ in _linear(encoder, heads)})
    if not linear or not outer:
        raise UserError("has no linear layers to adapt, or no head of its own", where=model, remedy=hub.REMEDY)
    return heads, linear


def _linear(encoder: Any, heads: Collection[str]) -> Iterator[tuple[str, torch.nn.Linear]]:
    for name, part in encoder.named_modules():
        if isinstance(part, torch.nn.Linear) and name.split(".")[0] not in heads:
            yield name, part


def _adapted(base: Any, heads: list[str], linear: list[str], *, r: int, alpha: int, dropout: float) -> Any:
    from peft import LoraConfig, TaskType, get_peft_model

    # With the head among the modules to save, peft (0.16 and later) leaves a `dense` inside it without an adapter.
    config = LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=r,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=linear,
        modules_to_save=heads,
    )
    # In 32-bit floats whatever the encoder's: an update would otherwise be rounded away.
    return get_peft_model(base, config, autocast_adapter_dtype=True)


def _halve(base: Any, heads: Collection[str], kind: torch.dtype) -> None:
    """Put what is frozen into 16-bit floats, but for normalisation layers, which are small and sensitive."""
    for name, part in base.named_modules():
        inner = name.removeprefix(f"{base.base_model_prefix}.").split(".")[0]
        if isinstance(part, torch.nn.LayerNorm) or inner in heads:
            continue
        for parameter in part.parameters(recurse=False):
            if parameter.is_floating_point():
                parameter.data = parameter.data.to(kind)


def _keep_input_types(adapted: Any) -> None:
    """Let autocast alone choose the types: peft would copy each layer's input to 32 bits, and autocast back to 16."""
    for part in adapted.modules():
        if hasattr(part, "cast_input_dtype_enabled"):
            part.cast_input_dtype_enabled = False


def _quantise(base: Any, heads: Collection[str], *, compute: torch.dtype) -> None:
    """Round the linear layers of the encoder to NF4, in place; the head stays as it is."""
    import bitsandbytes as bnb

    device = load.device()
    encoder = base.base_model
    for name, layer in list(_linear(encoder, heads)):
        if layer.in_features % 64 or layer.out_features % 64:
            raise UserError(f"{name} is {layer.out_features} × {layer.in_features}; qlora needs multiples of 64",
                            where=str(base.config.model_type), remedy="Use lora.")  # fmt: skip
        rounded = bnb.nn.Linear4bit(
            layer.in_features, layer.out_features, bias=layer.bias is not None, compute_dtype=compute,
            compress_statistics=True, quant_type="nf4", device="meta",
        )  # fmt: skip
        # On CPUs with AVX512-BF16 an evaluation would pack the weights in a way that training cannot use.
        rounded.support_avx512bf16_for_cpu = False
        rounded.weight = bnb.nn.Params4bit(
            layer.weight.data, requires_grad=False, compress_statistics=True, quant_type="nf4", module=rounded
        )
        rounded.bias = layer.bias
        parent, _, last = name.rpartition(".")
        setattr(encoder.get_submodule(parent) if parent else encoder, last, rounded.to(device))
    base.is_loaded_in_4bit = base.is_quantized = True  # how peft knows


def rounded_to_nf4(base: Any, heads: Collection[str]) -> None:
    """Give the linear layers of the encoder, in place, the values that they had while qlora trained, in 32-bit floats.

    The adapter has learned to make up for the rounding: on the unrounded encoder it would make up for what is not
    there.
    """
    check("qlora")
    from bitsandbytes import functional

    for _, layer in _linear(base.base_model, heads):
        packed, state = functional.quantize_4bit(
            layer.weight.data.to(load.device()), compress_statistics=True, quant_type="nf4"
        )
        layer.weight.data = functional.dequantize_4bit(packed, state).float().to(layer.weight.device)


def groups(model: Any, *, learning_rate: float, weight_decay: float, layer_decay: float) -> list[dict[str, Any]]:
    """The trainable parameters in groups for the optimiser, each with ``lr``, ``peak`` (the same) and ``weight_decay``.

    Biases and normalisation layers are not decayed. With ``layer_decay`` below 1 the learning rate falls from the head
    down to the embeddings (Howard and Ruder 2018, arXiv 1801.06146).
    """
    normal = {
        f"{name}.{inner}"
        for name, part in model.named_modules()
        if isinstance(part, torch.nn.LayerNorm)
        for inner, _ in part.named_parameters(recurse=False)
    }
    trained = [(name, part) for name, part in model.named_parameters() if part.requires_grad]
    layers = [int(layer[1]) for name, _ in trained if (layer := LAYER.search(name))]
    top = max(layers, default=-1) + 1
    members_of: dict[tuple[float, float], list[Any]] = {}
    for name, part in trained:
        decayed = name not in normal and not name.endswith("bias")
        layer = LAYER.search(name)
        depth = top - int(layer[1]) if layer else (top + 1 if "embeddings" in name else 0)
        key = (learning_rate * layer_decay**depth, weight_decay if decayed else 0.0)
        members_of.setdefault(key, []).append(part)
    return [
        {"params": members, "lr": rate, "peak": rate, "weight_decay": decay}
        for (rate, decay), members in members_of.items()
    ]


def set_rate(group: dict[str, Any], rate: float) -> None:
    """Set the learning rate of an optimiser's group, where it is: a number, or a tensor on the GPU."""
    if isinstance(group["lr"], torch.Tensor):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate


def captures(method: Method, gradient_checkpointing: bool) -> bool:
    """Whether a step can be captured as CUDA graphs.

    The 8-bit optimiser of qlora waits for the GPU; and activations that are computed again bring back the state of the
    random numbers, which a graph has on the GPU.
    """
    return method != "qlora" and not gradient_checkpointing


def optimiser(groups: list[dict[str, Any]], *, method: Method) -> torch.optim.Optimizer:
    """AdamW: fused where torch has it so; for qlora with an 8-bit state that can leave the GPU when memory is short."""
    if method == "qlora":
        from bitsandbytes.optim import AdamW8bit, PagedAdamW8bit

        small: torch.optim.Optimizer = (PagedAdamW8bit if load.device().type == "cuda" else AdamW8bit)(groups)
        return small
    if load.device().type == "cuda":  # its numbers are on the GPU, so that a step can be captured
        for group in groups:
            group["lr"] = torch.tensor(group["lr"], dtype=torch.float32, device=load.device())
        return torch.optim.AdamW(groups, fused=True, capturable=True)
    try:
        return torch.optim.AdamW(groups, fused=True)
    except (RuntimeError, ValueError):  # not for this device
        return torch.optim.AdamW(groups)


def clip(trained: Iterable[torch.Tensor], optimiser: torch.optim.Optimizer, most: float) -> None:
    """Scale the gradients so that their norm is ``most`` at most: in the optimiser's own pass over them, where it has
    one on a GPU.

    Args:
        trained: parameters with gradients.
        optimiser: of these; it takes its step next.
        most: the largest norm.
    """
    parts = list(trained)
    by_itself = (
        optimiser.defaults.get("capturable") and half() == torch.bfloat16
    )  # fp16's scaler has a scale of its own
    if not by_itself:
        torch.nn.utils.clip_grad_norm_(parts, most)
        return
    optimiser.grad_scale = divisor(parts, most)  # type: ignore[attr-defined]


def divisor(trained: Iterable[torch.Tensor], most: float) -> torch.Tensor:
    """What gradients are divided by so that their norm is ``most`` at most."""
    norm = torch.nn.utils.get_total_norm([part.grad for part in trained if part.grad is not None])
    return ((norm + 1e-6) / most).clamp(min=1.0)
