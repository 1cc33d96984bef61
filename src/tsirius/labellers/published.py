"""The labellers that a labelling used, as it published them: written beside its votes, opened again from there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tsirius import labellers
from tsirius.categories import Categories
from tsirius.errors import UserError
from tsirius.labellers import Labeller, Material
from tsirius.models import encode, hub, pooling
from tsirius.models.pooling import Pooling
from tsirius.section import Section

FILE = "labellers.json"


def write(
    configs: Mapping[str, Section], folder: Path, how: Pooling | None = None, *, encoder: str, max_length: int
) -> None:
    """Write down the labellers that were used, with their settings and the fingerprints of their models.

    What they learned, they write themselves, see :meth:`tsirius.labellers.Module.make`.

    Args:
        configs: labeller → its settings.
        folder: of what is published.
        how: the encoder makes an embedding; None: as its folder says.
        encoder: the shared one.
        max_length: tokens of a text that models read.
    """
    described = {
        name: {
            "settings": config.key(),
            "models": {
                model: hub.fingerprint(model)
                for model in labellers.module(name).models(config, encoder=encoder).values()
            },
        }
        for name, config in configs.items()
    }
    text = {
        "encoder": encoder,
        "pooling": (how or pooling.of(encoder)).key(),
        "max_length": max_length,
        "labellers": described,
    }
    (folder / FILE).write_text(json.dumps(text, ensure_ascii=False, indent=1), encoding="utf-8")


def reopen(folder: Path, categories: Categories, *, only: str | None) -> list[Labeller]:
    """The labellers that ``folder`` describes.

    Args:
        folder: of what is published.
        categories: as of the labelling.
        only: the name of the only one to open, where it is among them; None: all.

    Raises:
        UserError: a model is not at hand, or no longer the one that labelled.
    """
    described = json.loads((folder / FILE).read_text(encoding="utf-8"))
    how = pooling.restored(described["encoder"], described["pooling"], where=folder / FILE)
    embedder = partial(encode.embedder, described["encoder"], how, max_length=described["max_length"])
    material = Material(
        categories=categories,
        texts=(),
        folder=folder,
        embed=embedder(),
        embed_categories=embedder(category=True),
        max_length=described["max_length"],
    )
    return [_reopen(name, one, material) for name, one in described["labellers"].items() if only in (None, name)]


def _reopen(name: str, described: Mapping[str, Any], material: Material) -> Labeller:
    for model, fingerprint in described["models"].items():
        hub.check(model)
        if hub.fingerprint(model) != fingerprint:
            raise UserError(f"is not the model that {name} labelled with", where=model,
                            remedy="Put it back, or run the labelling again with '--again label'.")  # fmt: skip
    module = labellers.module(name)
    return module.reopen(module.Config.model_validate(described["settings"]), material)
