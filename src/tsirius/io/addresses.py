"""Addresses: files by path or URL (s3, gcs, abfs, http, …), through fsspec and the package of each store.

Credentials come from the environment alone, as the store's own package reads them. No message has more of an address
than its store, folder and name, or more of a store's failure than its kind. What a store fails to do for now is tried
again; what it refuses is not. An object appears whole or not at all.
"""

from __future__ import annotations

import errno
import logging
import os
import posixpath
import random
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from tsirius.errors import UserError
from tsirius.io.source import FORMATS, is_reviews, kind_of_name
from tsirius.publish import replacing

T = TypeVar("T")

URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
PATTERN = set("*?[")
TRIES = 6
"""How often a store is asked."""
FIRST_SECONDS, LONGEST_SECONDS = 0.5, 30.0
"""Between two tries: the first time, doubled each time up to the longest; half to one and a half times as much, so that
many workers do not come back at once."""
WHOLE = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "memory"}
"""Stores in which an object appears when all of it has come; in others it is renamed then."""
MARKS = ("ETag", "etag", "md5Hash", "content_md5", "mtime", "LastModified", "last_modified", "updated", "created")
"""What fsspec calls that by which a store tells an object's versions apart."""
REFUSED = {"NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "DefaultCredentialsError",
           "RefreshError", "ClientAuthenticationError", "TokenRetrievalError", "UnauthorizedSSOTokenError"}  # fmt: skip
"""What the stores' packages raise where the environment has no usable credentials."""
TALKATIVE = ("aiobotocore", "aiohttp", "azure", "botocore", "fsspec", "gcsfs", "google", "s3fs", "urllib3")
"""Loggers that write headers, and with them tokens, when they tell everything."""
_SECRET = re.compile(r"(?:^|[?&])[^=&]*(?:signature|sig|token|secret|password|credential|accesskey|api_?key)[^=&]*=",
                     re.IGNORECASE)  # fmt: skip
_CODE = re.compile(r"[A-Za-z0-9_.]{1,40}")

MISTAKES = (ImportError, MemoryError, TypeError, AttributeError, LookupError, AssertionError, NameError)
"""No failures of a store."""

wait = time.sleep


@dataclass(frozen=True)
class File:
    """A file as its store lists it.

    Attributes:
        address: where it is.
        name: its path in the folder that was listed.
        size: bytes.
        mark: changes when the file is replaced: the store's ETag, else the time of its last change; "" where neither
            is known.
    """

    address: str
    name: str
    size: int
    mark: str


def is_url(address: str) -> bool:
    """Whether an address is a URL, not a path."""
    return URL.match(address) is not None


def is_many(address: str) -> bool:
    """Whether an address stands for a folder or a pattern, not for one file; by its name alone for a URL."""
    if not is_url(address):
        return Path(address).is_dir() or (bool(PATTERN & set(address)) and not Path(address).exists())
    if PATTERN & set(address):
        return True
    try:
        kind_of_name(Path(urlsplit(address).path))
    except UserError:
        return True
    return False


def shown(address: str) -> str:
    """An address for a message: without user, password and query."""
    if not is_url(address):
        return address
    url = urlsplit(address)
    pattern = f"?{url.query}" if url.query and not _SECRET.search(url.query) and "=" not in url.query else ""
    return f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}{pattern}"


def join(folder: str, name: str) -> str:
    """The address of ``name`` in a folder."""
    return posixpath.join(folder, name)


def connect(address: str) -> tuple[Any, str]:
    """The file system of an address and the path in it.

    Raises:
        UserError: its package is not installed, or the address holds credentials.
    """
    import fsspec
    from fsspec.registry import known_implementations

    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    if not is_url(address):
        return fsspec.filesystem("file"), os.path.abspath(address)  # noqa: PTH100 (a pattern stays one)
    url = urlsplit(address)
    named = url.scheme.startswith("ab")  # the container is written as a user would be
    if url.password or (url.username and not named) or _SECRET.search(url.query):
        raise UserError("holds credentials", where=shown(address), remedy="Give them in the environment.")
    try:
        # fsspec leaves what it returns untyped.
        return retrying(lambda: fsspec.core.url_to_fs(address, use_listings_cache=False), shown(address))  # type: ignore[no-any-return]
    except ImportError:
        hint = str(known_implementations.get(url.scheme, {}).get("err", ""))
        raise UserError(f"needs a package that is not installed ({hint})", where=shown(address),
                        remedy="Install it with pip.") from None  # fmt: skip
    except ValueError:
        raise UserError(f"nothing is known of {url.scheme}://", where=shown(address),
                        remedy="Use a path, or a URL that fsspec knows: s3, gs, abfs, https.") from None  # fmt: skip


def retrying(action: Callable[[], T], where: str) -> T:
    """What ``action`` returns: tried again, after a longer wait each time, where the failure may pass.

    Raises:
        UserError: it was refused, there is nothing there, or it failed each time.
        ImportError, ValueError: as ``action`` raised them.
    """
    for number in range(1, TRIES + 1):
        try:
            return action()
        except (UserError, *MISTAKES):
            raise
        except Exception as error:
            refused = _refusal(error, where)
            if refused is not None:
                raise refused from None
            if isinstance(error, ValueError) and type(error) is ValueError:
                raise
            if number == TRIES:
                raise UserError(f"failed {TRIES} times: {_kind(error)}", where=where,
                                remedy="Run again when the store answers: it resumes.") from None  # fmt: skip
            wait(min(FIRST_SECONDS * 2 ** (number - 1), LONGEST_SECONDS) * random.uniform(0.5, 1.5))
    raise AssertionError


def _refusal(error: Exception, where: str) -> UserError | None:
    """The failure to tell where trying again is no use."""
    if isinstance(error, FileNotFoundError):
        return UserError("is not there", where=where, remedy="Check the address.")
    status = getattr(error, "status", getattr(error, "code", None))
    if isinstance(error, PermissionError) or type(error).__name__ in REFUSED or status in (401, 403):
        return UserError(
            "access is denied", where=where, remedy="Check the rights and the credentials in the environment."
        )
    if isinstance(error, (IsADirectoryError, NotADirectoryError)):
        return UserError("is a folder, or lies in a file", where=where, remedy="Check the address.")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        return UserError(
            os.strerror(error.errno).lower(), where=where, remedy="Free some space, then run again: it resumes."
        )
    return None


def _kind(error: BaseException) -> str:
    """What kind of failure it is; nothing of its text, which may quote a request with its credentials."""
    words = [type(error).__name__]
    if isinstance(error, OSError) and error.errno:
        words.append(os.strerror(error.errno).lower())
    response = getattr(error.__cause__, "response", None) or getattr(error, "response", None)
    code = response.get("Error", {}).get("Code", "") if isinstance(response, Mapping) else getattr(error, "status", "")
    if _CODE.fullmatch(str(code)):
        words.append(str(code))
    return ", ".join(words)


def listed(address: str) -> list[File]:
    """The files of reviews at an address, sorted by name: one, those of a folder and its folders, or of a pattern.

    Names that begin with a dot or an underscore are left out, as other readers of such folders do.

    Raises:
        UserError: there are none, or the store does not let them be listed.
    """
    store, path = connect(address)
    where = shown(address)
    if PATTERN & set(path) and not (not is_url(address) and Path(address).exists()):
        fixed = path[: min(path.index(sign) for sign in PATTERN if sign in path)]
        base = posixpath.dirname(fixed)
        found = retrying(lambda: store.glob(path, detail=True), where)
    elif retrying(lambda: store.isdir(path), where):
        base = path.rstrip("/")
        found = retrying(lambda: store.find(path, detail=True), where)
    else:
        base = posixpath.dirname(path)
        found = {path: retrying(lambda: store.info(path), where)}
    files = []
    for full, info in sorted(found.items()):
        name = full[len(base) :].lstrip("/")
        if info.get("type", "file") == "file" and is_reviews(name):
            address_of = store.unstrip_protocol(full) if is_url(address) else full
            files.append(File(address_of, name, int(info["size"] or 0), _mark(info)))
    if not files:
        raise UserError("holds no file of reviews", where=where, remedy=f"Name a folder with {', '.join(FORMATS)}.")
    return files


def _mark(info: Mapping[str, Any]) -> str:
    mark = next((info[name] for name in MARKS if info.get(name)), "")
    if isinstance(mark, datetime):  # a store may tell the same time in two ways
        mark = mark.timestamp()
    return str(mark).strip('"')


def state(address: str) -> tuple[int, str]:
    """The size and the mark of a file now: see :class:`File`.

    Raises:
        UserError: it is not there, or the store does not tell.
    """
    store, path = connect(address)
    info = retrying(lambda: store.info(path), shown(address))
    return int(info["size"] or 0), _mark(info)


def names_in(folder: str) -> set[str]:
    """The paths of all files below a folder; none where it does not exist."""
    store, path = connect(folder)
    if not is_url(folder) and not Path(folder).is_dir():
        return set()
    try:
        found = retrying(lambda: store.find(path), shown(folder))
    except UserError as error:
        if error.what == "is not there":
            return set()
        raise
    return {name[len(path.rstrip("/")) :].lstrip("/") for name in found}


@contextmanager
def opened(address: str, *, ahead: bool = False) -> Iterator[Any]:
    """A file to read bytes from at any position; ``ahead`` reads on where it is read from its start to its end."""
    store, path = connect(address)
    options = {} if not is_url(address) else {"cache_type": "readahead" if ahead else "none"}
    handle = retrying(lambda: store.open(path, "rb", **options), shown(address))
    with handle:
        yield handle


def fetch(address: str, folder: Path) -> Path:
    """Copy a file into a local folder, whole; returns the copy.

    Raises:
        UserError: the store denies it, or failed or cut it off each time.
    """
    store, path = connect(address)
    copy = folder / posixpath.basename(urlsplit(address).path if is_url(address) else path)

    def get() -> None:
        size = store.info(path)["size"]
        store.get_file(path, str(copy))
        if size is not None and copy.stat().st_size != size:
            raise OSError(errno.EIO, "cut off")

    retrying(get, shown(address))
    return copy


@contextmanager
def told_as(local: Path, name: str) -> Iterator[None]:
    """Have failures that are about a local copy name what it is a copy of."""
    try:
        yield
    except UserError as error:
        where = str(error.where or "")
        if not where.startswith(str(local)):
            raise
        raise UserError(error.what, where=name + where[len(str(local)) :], remedy=error.remedy) from None


def put(local: Path, address: str) -> None:
    """Publish a file at an address: it appears whole, in place of what was there.

    Raises:
        UserError: the store denies it, or failed each time.
    """
    if not is_url(address):
        target = Path(address)
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as temporary:
            shutil.copyfile(local, temporary)
        return
    store, path = connect(address)
    whole = bool(WHOLE & {store.protocol} if isinstance(store.protocol, str) else WHOLE & set(store.protocol))
    first = path if whole else f"{posixpath.dirname(path)}/.{posixpath.basename(path)}.partial"

    def send() -> None:
        if not whole:
            store.makedirs(posixpath.dirname(path), exist_ok=True)
        store.put_file(str(local), first)
        if store.info(first)["size"] != local.stat().st_size:
            raise OSError(errno.EIO, "cut off")
        if not whole:
            store.mv(first, path)

    try:
        retrying(send, shown(address))
    except NotImplementedError:
        raise UserError("cannot be written to", where=shown(address), remedy="Name another place.") from None


def put_text(text: str, address: str) -> None:
    """Publish a small text: see :func:`put`."""
    with tempfile.TemporaryDirectory(prefix="tsirius-") as folder:
        local = Path(folder) / "text"
        local.write_text(text, encoding="utf-8")
        put(local, address)


def get_text(address: str) -> str | None:
    """The text of a small file; None where there is none."""
    store, path = connect(address)
    try:
        return str(retrying(lambda: store.cat_file(path), shown(address)).decode("utf-8", "replace"))
    except UserError as error:
        if error.what == "is not there":
            return None
        raise


def remove(address: str) -> None:
    """Remove a file, where there is one."""
    store, path = connect(address)

    def action() -> None:
        if store.exists(path):
            store.rm_file(path)

    retrying(action, shown(address))
