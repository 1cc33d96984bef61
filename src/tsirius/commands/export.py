"""Export: a run's model in a form that others can use, and the proof that it predicts the same.

``adapter`` is the adapter beside its tokenizer, as peft takes it; ``merged`` a plain transformers model with the
adapter worked into its weights (in 32-bit floats: in 16-bit ones some labels change) and the prior's shift into its
bias; ``onnx`` and ``onnx-int8`` need neither torch nor transformers. What was written is read again, and its labels on
the run's own reviews are compared with the model's: where more than one in two hundred differs, nothing is published.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from tsirius import tables
from tsirius.errors import UserError, nearest
from tsirius.models import onnx, probes, saved_encoder
from tsirius.models.batching import longest_first
from tsirius.models.classifier import CHUNK, DESCRIPTION, Classifier, Description, describe, find
from tsirius.progress import progress, say
from tsirius.publish import publishing, write_text
from tsirius.store import verify, write_checksums

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMS = ("adapter", "merged", "onnx", "onnx-int8")
AGREEMENT = 0.995
"""The share of reviews that must keep their label."""
ROWS = 2000
"""Reviews that are compared, drawn evenly over the run's."""
PARITY = "parity.json"
TRAINED, REVIEWS = Path("train", "model"), Path("ingest", "reviews.parquet")
"""In a run's folder."""


@dataclass(frozen=True)
class Parity:
    """How an exported model compares with the original.

    Attributes:
        rows: reviews compared.
        agreement: the share of them that keep their label.
        largest: the largest difference of a score before the softmax.
        spread: the standard deviation of these scores, to read ``largest`` beside.
    """

    rows: int
    agreement: float
    largest: float
    spread: float

    def line(self) -> str:
        """The comparison in one line."""
        return (
            f"{self.agreement:.2%} of {self.rows:,} reviews keep their label; largest difference of a score"
            f" {self.largest:.2g} (their standard deviation is {self.spread:.2g})"
        )


def export(run: str | Path, *, to: str, out: str | Path | None = None) -> Path:
    """Write a run's model in another form; returns the folder.

    Args:
        run: the folder of a finished run with a fine-tuned encoder, or in it that of one member of an ensemble.
        to: one of ``FORMS``.
        out: the folder to write, which must not be there yet, or hold an earlier export; None: in the run's folder.

    Raises:
        UserError: there is nothing to export, a package is missing, or the exported model predicts something else.
    """
    if to not in FORMS:
        raise UserError(f"no form {to!r}{nearest(to, FORMS)}", remedy=f"Forms: {', '.join(FORMS)}.")
    folder = find(Path(run))
    verify(folder)
    description = describe(folder)
    _check(folder, description, to=to)
    root = _run(folder)
    part = folder.resolve().relative_to((root / TRAINED).resolve())  # of an ensemble, one member
    target = Path(out) if out is not None else root / "export" / "-".join([*part.parts, to])
    if target.exists() and not target.is_dir():
        raise UserError("is a file", where=target, remedy="Name a folder with -o.")
    if target.exists() and (other := _not_exported(target)) is not None:
        raise UserError(f"holds something else: {other}", where=target, remedy="Name another folder with -o.")
    texts = _texts(root)
    with publishing(target) as new:
        parity = _write(folder, description, texts, to=to, work=new)
        if parity.agreement < AGREEMENT:
            raise UserError(f"{to} does not predict the same: {parity.line()}", where=folder,
                            remedy=f"{AGREEMENT:.1%} must: nothing was written. Export to another form.")  # fmt: skip
        if (new / DESCRIPTION).is_file():
            probes.write(new, Classifier.load(new))
            write_checksums(new)
        files = [*_names(new), PARITY]
        write_text(new / PARITY, json.dumps({"form": to, **asdict(parity), "files": files}, indent=1))
    say(f"{to}: {parity.line()}")
    return target


def _not_exported(folder: Path) -> str | None:
    """A file in ``folder`` that no earlier export wrote; None where there is none."""
    while True:  # another process may replace the folder meanwhile
        before = _identity(folder)
        try:
            exported = [*json.loads((folder / PARITY).read_text(encoding="utf-8"))["files"]]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            exported = []
        try:
            names = _names(folder)
        except OSError:
            names = []
        if before == _identity(folder):
            return next((name for name in names if name not in exported), None)


def _identity(folder: Path) -> tuple[int, ...]:
    try:
        state = folder.stat()
    except FileNotFoundError:
        return ()
    return state.st_ino, state.st_mtime_ns


def _names(folder: Path) -> list[str]:
    """All that lies in ``folder`` but folders; a link to one is no folder."""
    paths = [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]
    return sorted(path.relative_to(folder).as_posix() for path in paths)


def _check(folder: Path, description: Description, *, to: str) -> None:
    """Refuse what cannot be exported to ``to``."""
    if description.kind == "linear":
        raise UserError("is a linear model: its folder is all there is to export", where=folder,
                        remedy="Copy this folder to where it is needed.")  # fmt: skip
    if description.kind == "ensemble":
        raise UserError("is an ensemble", where=folder,
                        remedy="Make one model of it with train.distil = true, or name a member's folder, such as"
                               f" {folder / description.parts[0]}.")  # fmt: skip
    if to == "adapter" and not _adapter(folder).is_dir():
        raise UserError("has no adapter", where=folder, remedy="Export to another form.")
    if description.kind == "onnx":
        raise UserError("is an exported model already", where=folder, remedy="Name the run that it was exported from.")
    if to.startswith("onnx"):
        onnx.check()


def _write(folder: Path, description: Description, texts: Sequence[str], *, to: str, work: Path) -> Parity:
    classifier = Classifier.load(folder)
    scorer: Any = classifier.scorer
    shift, heat = np.array(description.prior_shift, dtype=np.float64), description.temperature
    original = _scores("the run's model", scorer.logits, texts)
    if to == "adapter":
        shutil.copytree(_adapter(folder), work, dirs_exist_ok=True)
        exported = _scores("the export", Classifier.load(work).scorer.logits, texts)
        return compare(original + shift, exported + shift)
    if to == "merged" and scorer.windows:  # whoever uses a plain model cuts its texts
        original = _scores("the run's model, texts cut", replace(scorer, windows=False).logits, texts)
    merged, tokenizer = _merged(scorer.model), scorer.tokenizer
    if to == "merged":
        if not fold(merged, description.prior_shift, temperature=heat):
            raise UserError("its head has no bias to take the prior's shift", where=folder,
                            remedy="Export to onnx or adapter, which keep it beside the weights, or train it with"
                                   " train.prior_correction = false.")  # fmt: skip
        merged.save_pretrained(work)
        tokenizer.save_pretrained(work)
        exported = _scores("the export", _plain(work, scorer.max_length), texts)
        return compare((original + shift) / heat, exported)
    onnx.write(merged, tokenizer, work, int8=to == "onnx-int8")
    plain = {"base_model": None, "base_fingerprint": None, "parts": [], "max_length": scorer.max_length}
    replace(description, kind="onnx", **plain).save(work)
    exported = _scores("the export", Classifier.load(work).scorer.logits, texts)
    return compare(original + shift, exported + shift)


def compare(original: NDArray[Any], exported: NDArray[Any]) -> Parity:
    """Compare scores, [N, K] each, of the same texts."""
    return Parity(
        rows=len(original),
        agreement=float((original.argmax(axis=1) == exported.argmax(axis=1)).mean()),
        largest=float(np.abs(original - exported).max()),
        spread=float(original.std()),
    )


def fold(model: Any, shift: Sequence[float], *, temperature: float) -> bool:
    """Work the prior's shift and the temperature into a classifier's last layer: whoever uses it need not know of them.

    Returns:
        Whether it could be: a decoder's head has no bias to take a shift.
    """
    import torch

    layers = [
        layer for layer in model.modules() if isinstance(layer, torch.nn.Linear) and layer.out_features == len(shift)
    ]
    if not layers or (layers[-1].bias is None and max(shift) > min(shift)):
        return False
    with torch.no_grad():
        if layers[-1].bias is not None:
            layers[-1].bias.add_(torch.tensor(shift, dtype=layers[-1].bias.dtype)).div_(temperature)
        layers[-1].weight.div_(temperature)
    return True


def _merged(model: Any) -> Any:
    """The encoder with its adapter worked in, in 32-bit floats on the CPU."""
    plain = model.float().cpu()
    return (plain.merge_and_unload() if hasattr(plain, "merge_and_unload") else plain).eval()


def _plain(folder: Path, max_length: int) -> Callable[[Sequence[str]], NDArray[np.float32]]:
    """What scores texts by a plain transformers classifier, read without anything of ours."""
    from tsirius.models import encode, load

    model = load.read(load.CLASSIFIER, str(folder)).to(load.device())
    tokenizer = load.tokenizer(str(folder))
    return lambda texts: encode.logits(model, tokenizer, texts, max_length=max_length, half=None)


def _adapter(folder: Path) -> Path:
    """The adapter of a model's folder: in a part of its own, or the folder itself."""
    return folder if (folder / saved_encoder.ADAPTER_CONFIG).is_file() else folder / saved_encoder.ADAPTER


def _scores(what: str, logits: Callable[[Sequence[str]], NDArray[np.float32]], texts: Sequence[str]) -> NDArray[Any]:
    parts = []
    with progress(f"compare ({what})", total=len(texts)) as advance:
        for start in range(0, len(texts), CHUNK):
            parts.append(logits(texts[start : start + CHUNK]))
            advance(len(parts[-1]))
    return np.concatenate(parts)


def _run(folder: Path) -> Path:
    """The run's folder that a model's folder lies in."""
    inside = folder.resolve()
    for path in (*folder.parents, *inside.parents):
        if (path / REVIEWS).is_file() and inside.is_relative_to((path / TRAINED).resolve()):
            return path
    raise UserError("there are no reviews to compare the export on: it lies in no run's folder", where=folder,
                    remedy="Name the folder of a run.")  # fmt: skip


def _texts(run: Path) -> list[str]:
    """Reviews of the run, drawn evenly over them, in a classifier's order.

    The order matters: in 8-bit integers a review's scores depend a little on those that share its batch.
    """
    verify(run / REVIEWS)
    texts = tables.scan(run / REVIEWS).select(pl.col("clean").unique(maintain_order=True)).collect()["clean"]
    drawn = texts.gather(np.linspace(0, len(texts) - 1, min(len(texts), ROWS)).astype(int))
    ordered = sorted(drawn)
    return [ordered[row] for row in longest_first([len(text) for text in ordered])]
