"""What prepare.py wrote, as tensors on the device, for one tokenizer."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recipes.mini.encoder import Texts
from recipes.mini.pairs import Choice, Judge

from . import forms as naming
from . import prepare, shop

LONGEST = 200


class Given:
    """Texts, hypotheses, strings and what is known of them.

    Attributes:
        texts, shown: the texts' pieces, and which of them belong to words of goods.
        forms, strings: hypotheses and names.
        judge: the label of a text for a hypothesis.
        spelled: which texts keep their words of goods.
    """

    def __init__(self, folder: Path, tokenizer: Path, *, seed: int, count: int, where: torch.device) -> None:
        self.folder, self.where = folder, where
        self.goods = shop.load(folder / "goods.json")
        arrays = dict(np.load(folder / "labels.npz"))
        self.arrays = arrays
        import json

        self.names = json.loads((folder / "names.json").read_text(encoding="utf-8"))
        self.away = set(arrays["away"].tolist())
        self.found = naming.draw(self.goods, self.names, arrays["group"], self.away, seed, count)
        self.none = len(self.goods.departments) + len(self.goods.kinds)
        self.recode(tokenizer)
        self.judge = Judge(arrays, self.found, where)
        self.by_concept = Choice(
            [
                [place for place, form in enumerate(self.found) if concept in form.concepts and form.thing is None]
                for concept in range(arrays["labels"].shape[1])
            ],
            where,
        )  # fmt: skip
        by_thing: dict[str, list[list[int]]] = {
            "item": [[] for _ in range(int(arrays["items"].max()) + 1)],
            "group": [[] for _ in range(int(arrays["group"].max()) + 1)],
        }
        for place, form in enumerate(self.found):
            if form.thing and form.thing[1] < len(by_thing[form.thing[0]]):
                by_thing[form.thing[0]][form.thing[1]].append(place)
        self.by_item, self.by_group = Choice(by_thing["item"], where), Choice(by_thing["group"], where)
        self.mostly = torch.tensor(
            [place for place, form in enumerate(self.found) if self.none in form.concepts], device=where
        )
        learned = arrays["split"] == prepare.LEARNED
        generic = learned & np.isin(arrays["source"], (0, 1, 9)) & (arrays["labels"][:, self.none] == 100)
        self.generic = torch.from_numpy(np.flatnonzero(generic)).to(where)
        written = np.isin(arrays["source"], [prepare.SOURCES.index(name) for name in SPELLED])
        self.spelled = torch.from_numpy(written).to(where)
        self.odds = chances(arrays, len(self.goods.departments), self.none)
        table = np.load(folder / "pairs.npz")
        self.pairs = {name: torch.from_numpy(table[name].astype(np.int64)).to(where) for name in table.files}

    def recode(self, tokenizer: Path) -> None:
        """Read the texts by another tokenizer."""
        lines = prepare.read_lines(self.folder / "texts.txt.xz")
        spots = np.load(self.folder / "spots.npz")["spots"]
        self.mask, self.begins, self.pieces = vocabulary(tokenizer)
        pieces, starts, flags = coded(tokenizer, lines, spots)
        self.texts = Texts(torch.from_numpy(pieces).to(self.where), torch.from_numpy(starts).to(self.where))
        self.shown = Texts(torch.from_numpy(flags).to(self.where), self.texts.starts)
        strings = prepare.read_lines(self.folder / "strings.txt.xz")
        self.strings, self.forms = (
            Texts(*(torch.from_numpy(part).to(self.where) for part in coded(tokenizer, rows, None)[:2]))
            for rows in (strings, [form.text for form in self.found])
        )


def vocabulary(tokenizer: Path) -> tuple[int, Any, int]:
    """The number of <mask>, which pieces begin a word, and how many there are."""
    import json

    made = json.loads(tokenizer.read_text(encoding="utf-8"))
    names = [piece for piece, _ in made["model"]["vocab"]]
    mask = next(entry["id"] for entry in made["added_tokens"] if entry["content"] == "<mask>")
    begins = np.zeros(max(len(names), mask + 1), dtype=np.int64)
    begins[[place for place, piece in enumerate(names) if piece.startswith("▁")]] = 1
    begins[:4] = 1
    return mask, begins, len(begins)


_WORK: dict[str, Any] = {}


def _part(bounds: tuple[int, int]) -> tuple[Any, Any, Any]:
    from tokenizers import Tokenizer

    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    if "made" not in _WORK:
        _WORK["made"] = Tokenizer.from_file(_WORK["tokenizer"])
    first, last = bounds
    rows = _WORK["made"].encode_batch(_WORK["lines"][first:last], add_special_tokens=False)
    spots, flags = _WORK["spots"], []
    at = np.searchsorted(spots[:, 0], first) if spots is not None else 0
    for place, row in enumerate(rows, first):
        flag = np.zeros(len(row.ids), dtype=np.int32)
        inside: list[tuple[int, int]] = []
        while spots is not None and at < len(spots) and spots[at, 0] == place:
            inside.append((spots[at, 1], spots[at, 2]))
            at += 1
        if inside:
            ends = np.array(row.offsets).reshape(-1, 2)
            for begin, end in inside:
                flag[(ends[:, 1] > begin) & (ends[:, 1] <= end) & (ends[:, 1] > ends[:, 0])] = 1
        flags.append(flag)
    lengths = np.array([len(row.ids) for row in rows], dtype=np.int32)
    pieces = np.fromiter((piece for row in rows for piece in row.ids), dtype=np.int32, count=int(lengths.sum()))
    return pieces, lengths, np.concatenate(flags) if flags else np.zeros(0, np.int32)


def coded(tokenizer: Path, lines: list[str], spots: Any) -> tuple[Any, Any, Any]:
    """Lines → (pieces, flat; where each line begins; which pieces lie in ``spots``)."""
    _WORK.clear()
    _WORK.update(tokenizer=str(tokenizer), lines=lines, spots=spots)
    step = 10_000
    bounds = [(first, min(first + step, len(lines))) for first in range(0, len(lines), step)]
    with multiprocessing.get_context("fork").Pool(min(os.cpu_count() or 1, 14)) as pool:
        parts = pool.map(_part, bounds, chunksize=1)
    lengths = np.concatenate([part[1] for part in parts])
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return np.concatenate([part[0] for part in parts]), starts, np.concatenate([part[2] for part in parts])


SHARES = {"ru_reviews": 0.11, "pairs": 0.18, "en_reviews": 0.05, "ru_dialogues": 0.02, "en_pairs": 0.05, "titles": 0.03,
          "named": 0.17, "implied": 0.17, "passing": 0.11, "none": 0.11}  # fmt: skip
SPELLED = ("named", "passing", "none")
"""Sources whose words of goods are never hidden: without them nothing tells what such a text is about."""
GENERIC = 0.22
"""Of the real reviews drawn, the share that names nothing."""


def chances(arrays: dict[str, Any], departments: int, none: int) -> Any:
    """How often each text is drawn: sources by ``SHARES``, within one departments by the square root of their size."""
    labels, source = arrays["labels"], arrays["source"]
    usable = np.where(labels == prepare.UNKNOWN, 0, labels)
    learned = arrays["split"] == prepare.LEARNED
    best, own = usable[:, :departments].max(1), usable[:, :departments].argmax(1)
    odds = np.zeros(len(labels))
    for place, name in enumerate(prepare.SOURCES):
        rows = learned & (source == place)
        speaks, generic = rows & (best >= 50), rows & (labels[:, none] == 100) & (best == 0)
        share = SHARES[name]
        quiet = (
            GENERIC if name in ("ru_reviews", "pairs") and generic.any() and speaks.any() else 1.0 * (not speaks.any())
        )
        for department in range(departments):
            chosen = speaks & (own == department)
            if chosen.any():
                odds[chosen] = chosen.sum() ** -0.5
        if speaks.any():
            odds[speaks] *= share * (1 - quiet) / odds[speaks].sum()
        if generic.any() and quiet:
            odds[generic] = share * quiet / generic.sum()
    return odds / odds.sum()
