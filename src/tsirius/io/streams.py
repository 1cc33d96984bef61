"""Streams: a file's bytes, compressed or not, their encoding, and what can go wrong while they are read."""

from __future__ import annotations

import codecs
import errno
import gzip
import io
import lzma
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import polars as pl

from tsirius.errors import UserError, nearest
from tsirius.io import encodings

COMPRESSIONS = {".gz": "gz", ".xz": "xz", ".zst": "zst"}
SAMPLE_BYTES = 1 << 20
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_MENDS = 'Save the file as UTF-8, or set encoding = "cp1251" if all of it is that.'


class _Xz(io.RawIOBase):
    """The bytes of an xz file, of one stream or several; lzma.open ends at a stream whose beginning is damaged.

    Raises:
        EOFError: a stream is cut off.
        lzma.LZMAError: one is damaged, or something else follows it.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._stream: lzma.LZMADecompressor | None = None
        self._waiting = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = b""
        while not data:
            if self._stream is None or self._stream.eof:
                if not self._next_stream():
                    return 0
            elif self._stream.needs_input and not self._more():
                raise EOFError("the compressed data end too early")
            stream, given = cast(lzma.LZMADecompressor, self._stream), self._waiting
            data, self._waiting = stream.decompress(given, len(buffer)), stream.unused_data
        buffer[: len(data)] = data
        return len(data)

    def _more(self) -> bool:
        self._waiting += (block := self._file.read(1 << 16))
        return bool(block)

    def _next_stream(self) -> bool:
        """Begin the next stream; False at the end of the file. Between two there may be zeros, four at a time."""
        zeros = 0
        while self._waiting or self._more():
            rest = self._waiting.lstrip(b"\0")
            zeros += len(self._waiting) - len(rest)
            self._waiting = rest
            if rest:
                break
        if zeros % 4 or (zeros and self._stream is None):
            raise lzma.LZMAError("zeros where xz has none")
        while self._waiting and len(self._waiting) < len(_PACKED["xz"]) and self._more():
            pass
        if not self._waiting:
            return False
        if not self._waiting.startswith(_PACKED["xz"]):
            raise lzma.LZMAError("something else follows the compressed data")
        self._stream = lzma.LZMADecompressor(lzma.FORMAT_XZ)
        return True

    def close(self) -> None:
        self._file.close()
        super().close()


@contextmanager
def open_bytes(path: Path, compression: str) -> Iterator[IO[bytes]]:
    """The bytes of a file, unpacked; a file cut off or damaged between any two of its bytes raises at the latest when
    all is read, as does what follows the compressed data.

    A file cut between two of its compressed streams is whole, and what has no checksum (zst without one) may be
    altered unseen.
    """
    opened: Any
    if compression == "gz":
        opened = gzip.open(path)  # noqa: SIM115
    elif compression == "xz":
        opened = io.BufferedReader(_Xz(path))
    elif compression == "zst":
        opened = zstd().open(path)
    else:
        opened = path.open("rb")
    with opened as stream:
        yield stream


def zstd() -> Any:
    """The module of Zstandard: of the standard library from Python 3.14 on, of its backport before."""
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd

    return zstd


@contextmanager
def faults(path: Path, encoding: str, compression: str, at: Callable[[], str]) -> Iterator[None]:
    """Turn what reading can raise into one line. ``at`` names the position that was reached."""
    try:
        yield
    except UnicodeDecodeError as error:
        byte = f"0x{error.object[error.start]:02X}"
        raise UserError(f"byte {byte} is not {SPOKEN.get(encoding, encoding.upper())}",
                        where=f"{path}, line {_fault_line(path, encoding, compression)}",
                        remedy=_MENDS) from None  # fmt: skip
    except UnicodeError as error:
        raise UserError(f"not {encoding.upper()}: {error}", where=path, remedy=_MENDS) from None
    except PermissionError:
        raise UserError("may not be read", where=path, remedy="Check its permissions.") from None
    except (EOFError, lzma.LZMAError, zlib.error, zstd().ZstdError, OSError) as error:
        if getattr(error, "errno", None) in NO_ROOM:  # to unpack the file in
            raise
        raise UserError(f"damaged or cut off ({error})", where=at(), remedy="Get the file again.") from None
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:  # the latter at damage, for a few
        what = str(error).partition("\n")[0]
        said = f"damaged: a text is not UTF-8 ({what})" if "UTF-8" in what else f"damaged or cut off ({what})"
        raise UserError(said, where=at(), remedy="Get the file again.") from None


_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
          (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))  # fmt: skip
_SIGNATURES = {b"PK\x03\x04": "a zip or Excel file", b"\x1f\x8b": "gzip", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zst",
               b"PAR1": "Parquet", b"\xd0\xcf\x11\xe0": "an old Excel file", b"%PDF": "a PDF", b"Rar!": "rar",
               b"7z\xbc\xaf": "7z", b"BZh9": "bzip2", b"SQLite format 3": "an SQLite database", b"{\\rtf": "rich text",
               b"\x89PNG": "a picture", b"\xff\xd8\xff": "a picture", b"Obj\x01": "Avro",
               b"ARROW1": "Arrow", b"\x7fELF": "a program"}  # fmt: skip
_PACKED = {"gz": b"\x1f\x8b", "xz": b"\xfd7zXZ", "zst": b"\x28\xb5\x2f\xfd"}
_MARKUP = re.compile(r"<(?:\?xml|!doctype|!--|[a-z][\w:.-]*(?:\s[^<>]*)?/?>)", re.IGNORECASE)
_HTML = re.compile(r"<(?:!doctype\s+html|html|head|body|table|div|p|meta)\b", re.IGNORECASE)
SPOKEN = {"utf-8": "UTF-8", "utf-8-sig": "UTF-8", "cp1251": "CP1251"}
_NO_FILE_CODECS = ("idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined")


def named_encoding(path: Path, wanted: str) -> str:
    try:
        codec = codecs.lookup(wanted)
        if not cast(Any, codec)._is_text_encoding or codec.name in _NO_FILE_CODECS:
            raise LookupError
    except LookupError:
        known = ("utf-8", "utf-16", "utf-16-le", "cp1251", "koi8-r", "cp866")
        raise UserError(f"unknown encoding {wanted!r}{nearest(wanted, known)}", where=path,
                        remedy=f"Use auto, or one of: {', '.join(known)}.") from None  # fmt: skip
    return "utf-8-sig" if codec.name == "utf-8" else codec.name


def guessed_encoding(sample: bytes, stream: IO[bytes], path: Path) -> str:
    """Guess from ``sample``, the file's beginning; where that is plain ASCII, from what follows in ``stream``."""
    for mark, codec in _MARKS:
        if sample.startswith(mark):
            _check_mark(sample[len(mark) :], mark, codec, path)
            return codec
    if _CONTROLS.search(sample):
        wide = encodings.wide(sample)
        if len(wide) == 1:
            return wide[0]
    while sample.isascii() and (more := stream.read(SAMPLE_BYTES)):
        sample = more
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample)
        return "utf-8"
    except UnicodeDecodeError as error:
        byte = f"0x{sample[error.start]:02X}"
    codec_page, likely = encodings.code_page(sample)
    if codec_page is not None:
        return codec_page
    if not likely:
        raise UserError(f"neither UTF-8 (byte {byte}) nor in a code page whose words are known", where=path,
                        remedy=_MENDS)  # fmt: skip
    shown = " or ".join(SPOKEN.get(codec, codec.upper()) for codec in likely[:2])
    raise UserError(f"neither UTF-8 (byte {byte}) nor surely in one code page; perhaps {shown}", where=path,
                    remedy=f'Save it as UTF-8, or set encoding = "{likely[0]}" if all of it is that.')  # fmt: skip


_CONTROLS = re.compile(rb"[\x00-\x08\x0e-\x1f]")


def _check_mark(rest: bytes, mark: bytes, codec: str, path: Path) -> None:
    """Refuse a mark of UTF-16 or UTF-32 before what is in another encoding.

    Raises:
        UserError: it is.
    """
    if codec == "utf-8-sig":
        return
    order = "le" if mark[0] == 0xFF else "be"
    if encodings.is_usual(rest, f"{codec}-{order}"):
        return
    try:
        codecs.getincrementaldecoder("utf-8")().decode(rest)
        other = ["utf-8"] if b"\0" not in rest else []
    except UnicodeDecodeError:
        other = []
    other += encodings.wide(rest)
    if other:
        raise UserError(f"begins with the mark of {codec.upper()}, but the rest is {other[0].upper()}", where=path,
                        remedy=f"Remove the first {len(mark)} bytes.")  # fmt: skip


def refuse_binary(head: bytes, path: Path, *, expected: bytes) -> None:
    """Refuse what is another kind of file by its first bytes.

    Args:
        head: the first bytes.
        path: the file.
        expected: the signature that the file's name promises; b"" for text.

    Raises:
        UserError: it is.
    """
    for mark, name in _SIGNATURES.items():
        if head.startswith(mark) and mark != expected:
            raise UserError(f"holds {name}, which its name does not say", where=path,
                            remedy="Give it its right ending, or save it as CSV.")  # fmt: skip
    refuse_markup(head[:2000].decode("utf-8", "ignore"), path)


def refuse_markup(text: str, path: Path) -> None:
    """Refuse what is no table by the beginning of its text: a pointer of Git LFS, HTML, XML.

    Raises:
        UserError: it is.
    """
    start = text.lstrip("\ufeff\u200b \t\r\n")
    if start.startswith("version https://git-lfs"):
        raise UserError("is a pointer of Git LFS, not the file itself", where=path, remedy="Fetch it: git lfs pull.")
    if _MARKUP.match(start):
        raise UserError(f"is {'an HTML page' if _HTML.search(start[:2000]) else 'XML'}, not a table", where=path,
                        remedy="Download the file itself, or save the table as CSV.")  # fmt: skip


def packed_signature(compression: str) -> bytes:
    """The first bytes of a compressed file."""
    return _PACKED.get(compression, b"")


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
