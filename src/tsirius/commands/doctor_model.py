"""Doctor of one model: what it is, how it is read, whether it fits, before its weights are downloaded."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from tsirius.errors import UserError
from tsirius.labellers import geracl, nli
from tsirius.models import estimate, hub, pooling
from tsirius.models.hub import Glance

GIB = 2**30
CARD = "t4"
CATEGORIES, ROWS, LENGTH, RANK = 9, 32, 256, 16
"""A training that is planned: the recipe of ``configs/t4.toml``."""
WHERE = {"folder": "a folder", "cache": "in the cache of hub models", "hub": "on the hub, not downloaded yet"}
README = "README.md"


def describe(model: str) -> dict[str, str]:
    """Names of properties of a model with their values in words, in the order to print them.

    Args:
        model: a folder or a hub name; of one that is not in the cache its small files are downloaded.

    Raises:
        UserError: there is no such model, it is not at hand and the hub cannot be asked, or a file of it is damaged.
    """
    if len(hub.parts(model)) > 1:
        raise UserError("is two models", where=model, remedy=f"Name one of them: {', '.join(hub.parts(model))}.")
    given = hub.glance(model)
    config = hub.read_json(given.folder / hub.CONFIG)
    kind, uses = _kind(config, given.folder, where=model)
    result = {"model": f"{model}, {WHERE[given.where]}", "class": kind, "for": ", ".join(uses) or "nothing here"}
    if "label.encoder" in uses:
        how = pooling.in_folder(model, given.folder)
        modes = " + ".join(how.modes) + "".join(f", then {layer.kind}" for layer in how.layers)
        result["pooling"] = f"{modes} ({how.source})"
        other = "" if how.category_prompt == how.prompt else f"; before a category: {how.category_prompt!r}"
        result["prefix"] = (repr(how.prompt) if how.prompt else "none") + other
    reads = _reads(config, given.folder)
    return {
        **result,
        "size": _size(given),
        "reads": f"{reads:,} tokens at most" if reads else "as many tokens as the memory holds",
        "licence": _licence(given.folder),
        **_on_card(given, uses),
        "on this CPU": _on_cpu(given),
    }


def _kind(config: Mapping[str, Any], folder: Path, *, where: str) -> tuple[str, list[str]]:
    """The class in words, and the settings that can name the model."""
    named = config.get("architectures")
    name = str(named[0]) if isinstance(named, list) and named else "no class named"
    kind = f"{config.get('model_type', 'no model_type')}, {name}"
    if where in hub.OWN:
        own = ["label.encoder", "train.linear_encoder"]
        return kind, [*own, "label.nli.model", "train.model"] if where == hub.EMBEDDED else own
    if str(config.get("model_type", "")).lower() == geracl.MODEL_TYPE:
        return kind, ["label.geracl.model"]
    if "auto_map" in config and not _known(str(config.get("model_type", ""))):
        return f"{kind}; {hub.OWN_CODE}", []
    if name.endswith("ForSequenceClassification"):
        return _classifier(kind, hub.labels(config, where=folder / hub.CONFIG), where=where)
    if re.search(r"For(ConditionalGeneration|MaskedLM|CausalLM|PreTraining)$|MTModel$|LMHeadModel$", name):
        if name.endswith(("ForConditionalGeneration", "MTModel")):
            return f"{kind}: writes a text for a text", ["augment (paraphrase, backtranslate)"]
        if name.endswith(("ForCausalLM", "LMHeadModel")):
            if (folder / pooling.MODULES).is_file():
                return kind, ["label.encoder", "train.linear_encoder", "train.model"]
            return f"{kind}: a language model", ["label.reranker.model, if it says yes or no", "train.model"]
    trainable = [] if name.endswith("EncoderModel") else ["train.model"]
    return kind, ["label.encoder", "train.linear_encoder", *trainable]


def _classifier(kind: str, labels: Mapping[int, str], *, where: str) -> tuple[str, list[str]]:
    if len(labels) == 1:
        return f"{kind}: one score of a pair", ["label.reranker.model", "train.model"]
    shown = f"{kind}: labels {', '.join(list(labels.values())[:4])}{' …' if len(labels) > 4 else ''}"
    try:
        nli.answers(labels, where=where)
    except UserError:
        return shown, ["train.model"]
    return shown, ["label.nli.model", "train.model"]


def _known(kind: str) -> bool:
    """Whether transformers has this kind of model itself; yes where it is not installed to be asked."""
    try:
        from transformers import CONFIG_MAPPING
    except ImportError:
        return True
    return kind in CONFIG_MAPPING


def _reads(config: Mapping[str, Any], folder: Path) -> int | None:
    """Tokens of a text, as the strictest of its files has it."""
    found = [config.get("max_position_embeddings"), config.get("n_positions")]
    for name, key in (("tokenizer_config.json", "model_max_length"), (pooling.LENGTH, "max_seq_length")):
        if (folder / name).is_file():
            found.append(hub.read_json(folder / name).get(key))
    inner = config.get(geracl.ENCODER_CONFIG)
    found.append(inner.get("max_position_embeddings") if isinstance(inner, dict) else None)
    known = [value for value in found if isinstance(value, int) and not isinstance(value, bool) and value > 0]
    limits = [value for value in known if value < estimate.ENDLESS]
    before = 2 if config.get("model_type") in ("xlm-roberta", "roberta", "camembert") else 0  # rows that are no text's
    table = config.get("max_position_embeddings")
    return min((value - before if value == table else value for value in limits), default=None)


def _size(given: Glance) -> str:
    parts = [f"{given.parameters / 1e6:,.1f} million weights"] if given.parameters else []
    if given.weights:
        verb = "to download" if given.where == "hub" else "on disk"
        parts.append(f"{_bytes(given.weights)} {verb}")
    return ", ".join(parts) or "not known: no file of weights"


def _licence(folder: Path) -> str:
    """The tag in the header of the model card."""
    from huggingface_hub import metadata_load

    path = folder / README
    if not path.is_file():
        return f"not known: no {README}"
    try:
        said = metadata_load(path)
    except Exception:  # the reader of YAML has errors of its own
        return f"not known: the header of its {README} cannot be read"
    tag = said.get("license") if isinstance(said, dict) else None
    if tag == "other" and isinstance(said, dict) and said.get("license_name"):
        return str(said["license_name"])
    return str(tag) if isinstance(tag, str) and tag else f"not known: its {README} has no tag license"


def _on_card(given: Glance, uses: list[str]) -> dict[str, str]:
    """Whether reading fits on a T4, and by each method whether training does."""
    card = estimate.device(CARD)
    need = 2 * given.parameters + estimate.CONTEXT if given.parameters else None
    result = {"on a T4": _fits(need, card.gib * GIB, "as 16-bit floats", "")}
    if "train.model" not in uses:
        return result
    try:
        of = estimate.shape(str(given.folder))
    except UserError as error:
        return result | {"  training": error.what}
    length = min(LENGTH, of.positions - 2)
    for method in ("lora", "qlora", "full"):
        use = estimate.Use(method, RANK, ROWS, length, False, CATEGORIES, False)
        if rows := estimate.rows_that_fit(of, use, card):
            text = f"fits: {_bytes(estimate.needed(of, use, rows, card))}, {rows} rows of {length} tokens at a time"
        else:
            text = f"does not fit: {_bytes(estimate.needed(of, use, 1, card))} for one row of {length} tokens"
        result[f"  {method}"] = text
    return result


def _on_cpu(given: Glance) -> str:
    free = psutil.virtual_memory().available
    return _fits(4 * given.parameters if given.parameters else None, free, "as 32-bit floats", " free")


def _fits(need: float | None, room: float, how: str, free: str) -> str:
    if need is None:
        return "not known: nothing says how many weights it has"
    return f"{'fits' if need < room else 'does not fit'}: {_bytes(need)} {how}, of {_bytes(room)}{free}"


def _bytes(size: float) -> str:
    return f"{size / GIB:,.1f} GiB" if size >= GIB else f"{size / 2**20:,.0f} MiB"
