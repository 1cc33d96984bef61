"""Streams: a file's bytes, compressed or not, their encoding, and what can go wrong while they are read."""

from __future__ import annotations

import codecs
import errno
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from tsirius.errors import UserError, nearest

COMPRESSIONS = {".gz": "gz", ".xz": "xz", ".zst": "zst"}
SAMPLE_BYTES = 1 << 20
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_MENDS = 'Save the file as UTF-8, or set encoding = "cp1251" if all of it is that.'


@contextmanager
def open_bytes(path: Path, compression: str) -> Iterator[IO[bytes]]:
    opened: Any
    if compression == "gz":
        opened = gzip.open(path)  # noqa: SIM115
    elif compression == "xz":
        opened = lzma.open(path)  # noqa: SIM115
    elif compression == "zst":
        import pyarrow as pa

        opened = io.BufferedReader(cast(Any, pa.input_stream(str(path), compression="zstd")))
    else:
        opened = path.open("rb")
    with opened as stream:
        yield stream


@contextmanager
def faults(path: Path, encoding: str, compression: str, at: Callable[[], str]) -> Iterator[None]:
    """Turn what reading can raise into one line. ``at`` names the position that was reached."""
    import pyarrow as pa

    try:
        yield
    except UnicodeDecodeError as error:
        if not encoding:  # Parquet's texts are UTF-8 by its definition
            raise UserError(f"damaged: a text is not UTF-8 ({error})", where=at(),
                            remedy="Get the file again.") from None  # fmt: skip
        byte = f"0x{error.object[error.start]:02X}"
        raise UserError(f"byte {byte} is not {SPOKEN.get(encoding, encoding.upper())}",
                        where=f"{path}, line {_fault_line(path, encoding, compression)}",
                        remedy=_MENDS) from None  # fmt: skip
    except UnicodeError as error:
        raise UserError(f"not {encoding.upper()}: {error}", where=path, remedy=_MENDS) from None
    except PermissionError:
        raise UserError("may not be read", where=path, remedy="Check its permissions.") from None
    except (EOFError, lzma.LZMAError, zlib.error, pa.ArrowException, OSError) as error:
        if getattr(error, "errno", None) in NO_ROOM:  # to unpack the file in
            raise
        raise UserError(f"damaged or cut off ({error})", where=at(), remedy="Get the file again.") from None


_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
          (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))  # fmt: skip
_SIGNATURES = {b"PK\x03\x04": "a zip or Excel file", b"\x1f\x8b": "gzip", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zst",
               b"PAR1": "Parquet", b"\xd0\xcf\x11\xe0": "an old Excel file"}  # fmt: skip
SPOKEN = {"utf-8": "UTF-8", "utf-8-sig": "UTF-8", "cp1251": "CP1251"}
_NO_FILE_CODECS = ("idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined")
_CYRILLIC_CODECS = ("cp1251", "koi8-r", "cp866")


def named_encoding(path: Path, wanted: str) -> str:
    try:
        codec = codecs.lookup(wanted)
        if not cast(Any, codec)._is_text_encoding or codec.name in _NO_FILE_CODECS:
            raise LookupError
    except LookupError:
        known = ("utf-8", "utf-16", *_CYRILLIC_CODECS)
        raise UserError(f"unknown encoding {wanted!r}{nearest(wanted, known)}", where=path,
                        remedy=f"Use auto, or one of: {', '.join(known)}.") from None  # fmt: skip
    return "utf-8-sig" if codec.name == "utf-8" else codec.name


def guessed_encoding(sample: bytes, stream: IO[bytes], path: Path) -> str:
    """Guess from ``sample``, the file's beginning; where that is plain ASCII, from what follows in ``stream``."""
    for mark, codec in _MARKS:
        if sample.startswith(mark):
            return codec
    for mark, name in _SIGNATURES.items():
        if sample.startswith(mark):
            raise UserError(f"holds {name}, which its name does not say", where=path,
                            remedy="Give it its right ending, or save it as CSV.")  # fmt: skip
    while sample.isascii() and (more := stream.read(SAMPLE_BYTES)):
        sample = more
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample)
        return "utf-8"
    except UnicodeDecodeError as error:
        byte = f"0x{sample[error.start]:02X}"
    likely = max(_CYRILLIC_CODECS, key=lambda codec: _russian(sample, codec))
    if _russian(sample, likely) < 0.25:
        raise UserError(f"neither UTF-8 (byte {byte}) nor Russian in CP1251", where=path, remedy=_MENDS)
    if likely != "cp1251":
        raise UserError(f"not UTF-8, looks like {likely.upper()}", where=path, remedy=f'Set encoding = "{likely}".')
    return likely


def _russian(sample: bytes, codec: str) -> float:
    """The share of the commonest Russian letters among the characters beyond ASCII: about 0.5 in Russian text, next
    to none in UTF-8 taken for another encoding («р» and «с», its lead bytes in CP1251, do not count)."""
    beyond = re.sub(r"[\x00-\x7f]+", "", sample.decode(codec, "replace")).lower()
    return sum(beyond.count(letter) for letter in "оеаинтл") / max(1, len(beyond))


def _fault_line(path: Path, encoding: str, compression: str) -> int:
    """The line at which the file's bytes stop being ``encoding``."""
    decoder = codecs.getincrementaldecoder(encoding)()
    line = 1
    with open_bytes(path, compression) as stream:
        while block := stream.read(SAMPLE_BYTES):
            try:
                line += decoder.decode(block).count("\n")
            except UnicodeDecodeError as error:
                return line + error.object[: error.start].decode(encoding, "replace").count("\n")
    return line
