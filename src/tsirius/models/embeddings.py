"""Embeddings of many texts as a folder of files: what one stage embedded, the next one looks up."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tsirius.models import hub, pooling
from tsirius.models.pooling import Pooling

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Embed = Callable[[Sequence[str]], NDArray[np.float32]]

FOLDER = "embeddings"
ABOUT, TEXTS, VECTORS = "embeddings.json", "texts.npy", "vectors.npy"


def publish(
    folder: Path,
    texts: Sequence[str],
    vectors: NDArray[np.float32],
    how: Pooling | None = None,
    *,
    model: str,
    max_length: int,
) -> None:
    """Write embeddings into ``folder``.

    Args:
        folder: of the stage; those of each encoder get a folder of their own in it.
        texts: cleaned texts, each once; of each a hash of 64 bits is kept.
        vectors: their embeddings, [N, W].
        how: they were made; None: as the encoder's folder says.
        model: the encoder.
        max_length: tokens of a text that it read.
    """
    folder = folder / FOLDER / hub.fingerprint(model)
    folder.mkdir(parents=True)
    np.save(folder / TEXTS, _hashes(texts), allow_pickle=False)
    np.save(folder / VECTORS, np.asarray(vectors, dtype=np.float32), allow_pickle=False)
    (folder / ABOUT).write_text(json.dumps(_about(how, model, max_length)), encoding="utf-8")


def known(embed: Embed, folder: Path, how: Pooling | None = None, *, model: str, max_length: int) -> Embed:
    """``embed``, but asked only for texts whose embeddings by the same encoder, pooling and length are not in
    ``folder``.

    Args:
        embed: texts → their embeddings, [N, W].
        folder: of the stage that published them; nothing has to be there.
        how: ``embed`` makes them; None: as the encoder's folder says.
        model: the encoder of ``embed``.
        max_length: tokens of a text that it reads.
    """
    folder = folder / FOLDER / hub.fingerprint(model)
    if not (folder / ABOUT).is_file():
        return embed
    if hub.read_json(folder / ABOUT) != _about(how, model, max_length):
        return embed
    return _known(embed, folder)


def published(folder: Path) -> Embed | None:
    """Texts → their embeddings, each of length 1, as a stage published them in ``folder``; None where it did not.

    Of several encoders they stand side by side: the cosine of two texts is then the mean of the encoders' cosines. The
    function raises a ValueError where it is asked for a text that has none.
    """

    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        raise ValueError(f"{len(texts)} texts have no embedding in {folder}")

    encoders = [_known(embed, about.parent) for about in sorted((folder / FOLDER).glob(f"*/{ABOUT}"))]
    if not encoders:
        return None
    scale = np.float32(len(encoders) ** -0.5)
    return lambda texts: np.concatenate([encoder(texts) for encoder in encoders], axis=1) * scale


def _known(embed: Embed, folder: Path) -> Embed:
    hashes = np.load(folder / TEXTS, allow_pickle=False)
    vectors: NDArray[np.float32] = np.load(folder / VECTORS, mmap_mode="r", allow_pickle=False)
    order = np.argsort(hashes)
    hashes = hashes[order]

    def look_up(texts: Sequence[str]) -> NDArray[np.float32]:
        wanted = _hashes(texts)
        at = np.minimum(np.searchsorted(hashes, wanted), len(hashes) - 1)
        present = hashes[at] == wanted
        result = np.empty((len(texts), vectors.shape[1]), dtype=np.float32)
        result[present] = vectors[order[at[present]]]
        if not present.all():
            result[~present] = embed([texts[row] for row in np.flatnonzero(~present).tolist()])
        return result

    return look_up if len(hashes) else embed


def _about(how: Pooling | None, model: str, max_length: int) -> dict[str, Any]:
    key = (how or pooling.of(model)).key()
    return {"fingerprint": hub.fingerprint(model), "max_length": max_length, "pooling": key}


def _hashes(texts: Sequence[str]) -> NDArray[np.uint64]:
    digests = b"".join(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest() for text in texts)
    return np.frombuffer(digests, dtype="<u8")
