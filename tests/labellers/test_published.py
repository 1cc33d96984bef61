"""What a labelling published is opened again and labels as before; a model that was changed is refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from tsirius import labellers
from tsirius.categories import Categories, Category
from tsirius.errors import UserError
from tsirius.labellers import Material, lexicon, matcher, published
from tsirius.models import encode, hub

CATEGORIES = Categories([Category("обувь", "ботинки"), Category("посуда", "кружки"), Category("прочее", none=True)])
TEXTS = ["ботинки жмут", "кружка целая", "ботинки малы", "всё хорошо", "кружка с ботинками"]
CONFIGS = {"lexicon": lexicon.Config(widen=False, min_count=1), "matcher": matcher.Config(scale=7.0)}


def publish(folder: Path) -> dict[str, labellers.Labeller]:
    embed = encode.embedder(hub.EMBEDDED, max_length=64)
    material = Material(CATEGORIES, TEXTS, folder, embed, embed, max_length=64)
    made = {name: labellers.module(name).make(config, material) for name, config in CONFIGS.items()}
    published.write(CONFIGS, folder, encoder=hub.EMBEDDED, max_length=64)
    return made


def test_what_is_opened_again_labels_as_before(tmp_path: Path) -> None:
    made = publish(tmp_path)
    again = published.reopen(tmp_path, CATEGORIES, only=None)
    assert [one.name for one in again] == list(CONFIGS)
    for one in again:
        before, after = made[one.name].label(TEXTS), one.label(TEXTS)
        np.testing.assert_array_equal(before.probabilities, after.probabilities)
        assert before.evidence == after.evidence
    assert [one.name for one in published.reopen(tmp_path, CATEGORIES, only="matcher")] == ["matcher"]
    assert published.reopen(tmp_path, CATEGORIES, only="nli") == []


def test_another_model_under_the_same_name_is_refused(tmp_path: Path) -> None:
    publish(tmp_path)
    described = json.loads((tmp_path / published.FILE).read_text(encoding="utf-8"))
    described["labellers"]["matcher"]["models"][hub.EMBEDDED] = "another"
    (tmp_path / published.FILE).write_text(json.dumps(described), encoding="utf-8")
    assert published.reopen(tmp_path, CATEGORIES, only="lexicon")
    with pytest.raises(UserError, match="is not the model that matcher labelled with"):
        published.reopen(tmp_path, CATEGORIES, only=None)
