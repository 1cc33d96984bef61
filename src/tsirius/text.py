"""Text: cleaning, words and lemmas, and groups of near duplicates."""

from __future__ import annotations

import hashlib
import html
import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# --- cleaning ---------------------------------------------------------------------------------------------------------

_OOXML = re.compile(r"_x([0-9A-Fa-f]{4})_")  # how spreadsheets write a character that XML cannot hold: _x000D_
_AMPERSANDS = re.compile(r"&(?:amp;)+")  # escaped again and again: one pass for all of them
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_TAG = re.compile(  # known names only: «размер <XL>» and «<3» are not markup
    r"</?(?:a|b|blockquote|br|center|code|div|em|font|h[1-6]|hr|i|img|li|ol|p|pre|s|small|span|strong|sub|sup|table|tbody"
    r"|td|th|thead|tr|u|ul)(?:\s[^<>]{0,500})?\s{0,9}/?>|<!--.{0,2000}?-->",
    re.IGNORECASE | re.DOTALL,
)
_LINK = re.compile(
    r"(?:https?|ftp)://[^\s<>\"«»]*[^\s<>\"«».,!?;:)]"
    r"|(?<![\w.])www\.[^\s<>\"«»]*[^\s<>\"«».,!?;:)]"
    r"|(?<![\w.@-])(?:[a-z0-9-]{1,63}\.){1,5}(?:(?:com|ru|org|su|kz|ua|xyz)(?![\w.-]*\w)(?:/[^\s<>\"«»]*)?"
    r"|(?:net|by|info|io|me|shop)/[^\s<>\"«»]*)"  # bare, they are words too: «I bought it.Me too»
    r"|(?<![\w.@-])(?:[а-яё0-9-]{1,63}\.){1,5}рф(?!\w)(?:/[^\s<>\"«»]*)?",
    re.IGNORECASE,
)
_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,5}")
_PHONE = re.compile(  # with a country or trunk prefix, or an area code in brackets: «90-60-90» and «116-96-116» stay
    r"(?<![\d+])(?:\+?7|8|\+?375|\+?380|\+?998)[\s(-]{0,3}\d{2,3}[\s)-]{0,3}\d{3}[\s-]{0,2}\d{2}[\s-]{0,2}\d{2}(?!\d)"
    r"|\+\d(?:[\s().-]{0,2}\d){9,13}(?!\d)"
    r"|\(\d{3,5}\)[\s-]{0,2}\d{1,3}(?:[\s-]\d{2}){2}(?!\d)"
)
_INVISIBLE = re.compile(  # a zero-width joiner stays inside an emoji
    "[\u00ad\u034f\u061c\u180e\u200b\u200c\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffd\ud800-\udfff]"
    "|(?<![\u2600-\u27bf\U0001f000-\U0001faff\ufe0f])\u200d"
)
_COMPATIBLE = re.compile("[\ufb00-\ufb06\uff01-\uff5e\U0001d400-\U0001d7ff]+")  # ligatures, full width, «𝐛𝐨𝐥𝐝»
_SPACES = re.compile(r"[\s\u0000-\u001f\u007f-\u009f\u2800\u3164]+")
_DIGITS = re.compile(r"\d[^\d]{0,3}\d")


PASSES = 20
"""What is hidden deeper than this stays: no text may take time that grows faster than its length."""


def normalise(text: str) -> str:
    """The text cleaned of what exports and senders leave in it, on one line.

    Removed: spreadsheet escapes (``_x000D_``), HTML tags, control and zero-width characters, links, e-mail addresses,
    phone numbers. HTML entities become their characters, every run of white space one space. Case, punctuation,
    numbers and emoji stay. Unicode is composed (NFC); full-width and mathematical letters become plain ones, but not
    everything that NFKC would touch: it writes «№» as «No». Cleaning what is clean changes nothing, but for text made
    to be peeled more than ``PASSES`` times.

    Example:
        >>> normalise("Отличный&nbsp;чайник!_x000D_ Фото: https://a.ru/1 <br> тел. 8 900 123-45-67")
        'Отличный чайник! Фото: тел.'
    """
    for _ in range(PASSES):  # an entity may hide a tag, or another entity
        if (cleaned := _clean(text)) == text:
            break
        text = cleaned
    return text


def _clean(text: str) -> str:
    if "_x" in text:
        text = _OOXML.sub(lambda match: chr(int(match[1], 16)), text)
    if "&" in text:
        text = _ENTITY.sub(lambda match: html.unescape(match[0]), _AMPERSANDS.sub("&amp;", text))
    if not text.isascii():
        text = _INVISIBLE.sub("", text)
        text = _COMPATIBLE.sub(lambda match: unicodedata.normalize("NFKC", match[0]), text)
        text = unicodedata.normalize("NFC", text)
    if "<" in text:
        text = _TAG.sub(" ", text)
    if "." in text or "://" in text:
        text = _LINK.sub(" ", text)
    if "@" in text:
        text = _EMAIL.sub(" ", text)
    if _DIGITS.search(text):
        text = _PHONE.sub(" ", text)
    return _SPACES.sub(" ", text).strip()


# --- words ------------------------------------------------------------------------------------------------------------

_WORD = re.compile(r"[^\W_]+")
_FOLD = str.maketrans({"ё": "е", "\u0300": None, "\u0301": None})  # stress marks split no word
_RUSSIAN = re.compile(r"[а-я]")
LONGEST_WORD = 40
"""A longer run of letters is no word of a dictionary: it is its own lemma."""


def words(text: str) -> list[str]:
    """The runs of letters and digits, in lower case, ё as е. A hyphen separates: «платье-рубашка» is two words.

    Example:
        >>> words("Ещё одно Wi-Fi реле, 220В!")
        ['еще', 'одно', 'wi', 'fi', 'реле', '220в']
    """
    return _WORD.findall(text.lower().translate(_FOLD))


def lemmas(text: str) -> list[str]:
    """The dictionary form of each of :func:`words`, in their order.

    Example:
        >>> lemmas("Купила красивые чашки")
        ['купить', 'красивый', 'чашка']
    """
    return [lemma(word) for word in words(text)]


@lru_cache(maxsize=1 << 17)
def lemma(word: str) -> str:
    """The dictionary form of one word as :func:`words` gives it: pymorphy3's likeliest parse, ё as е.

    Verbs become infinitives. Words without Russian letters come back as they are.
    """
    if len(word) > LONGEST_WORD or not _RUSSIAN.search(word):
        return word
    form: str = _analyser().parse(word)[0].normal_form
    return form.translate(_FOLD)


@cache
def _analyser() -> Any:
    import pymorphy3

    return pymorphy3.MorphAnalyzer()


# --- near duplicates --------------------------------------------------------------------------------------------------

SHINGLE = 5
"""Near duplicates are compared by their sets of this many consecutive characters."""
SHORTEST = 40
"""Texts with fewer characters than this (about six words) are alike only where their words are the same: one shared
phrase is most of a short text."""
PERMUTATIONS = 64
"""Numbers in a MinHash signature: 256 bytes a text. Candidates are verified, so that a short signature is enough."""
LARGE = 100
"""Beyond this many different texts, a group takes others in only where they are like its first text, so that a chain
of small steps does not run through a whole file."""
BATCH = 4096


def near_duplicate_groups(texts: Sequence[str], *, similarity: float) -> list[int]:
    """For each text the row (0-based) of the first text of its group.

    Texts with the same words in the same order (case, punctuation and ё aside) share a group; texts without words
    only where they are equal. Longer ones also do where the Jaccard similarity of their character 5-grams reaches
    ``similarity``, or where others connect them. Candidates come from MinHash with banded LSH (Broder 1997;
    datasketch's permutations and its choice of bands, weighted towards finding pairs) and are verified exactly: at
    0.8, about 5 pairs in 100 that are just that similar are missed, 1 in 100 at 0.85. Buckets are sorted arrays, since
    datasketch's tables of Python sets take 3.7 KB a text.

    Args:
        texts: cleaned texts; a million are fine (about 0.5 GB beside the texts themselves).
        similarity: above 0, at most 1.

    Raises:
        ValueError: ``similarity`` is out of range.
    """
    if not 0 < similarity <= 1:
        raise ValueError(f"similarity is {similarity}, not above 0 and at most 1")
    parent: list[int] = []
    different: list[int] = []  # the first row of each different long text
    first: dict[bytes, int] = {}
    for row, text in enumerate(texts):
        key = _key(text)
        written = (key or f"\n{text}").encode("utf-8", "surrogatepass")
        # 16 bytes of a digest instead of the text: two texts will not share them by chance
        parent.append(first.setdefault(hashlib.blake2b(written, digest_size=16).digest(), row))
        if parent[row] == row and len(key) >= SHORTEST:
            different.append(row)
    del first
    if similarity < 1 and len(different) > 1:
        _unite(texts, different, parent, similarity=similarity)
    # a row's parent always comes before it, so that one pass resolves them all
    for row, above in enumerate(parent):
        parent[row] = parent[above]
    return parent


def _key(text: str) -> str:
    return " ".join(words(text))


def _unite(texts: Sequence[str], rows: list[int], parent: list[int], *, similarity: float) -> None:
    """Let the parents of similar rows meet; a parent is never a later row."""
    from datasketch import MinHashLSH

    bands = MinHashLSH(threshold=similarity, num_perm=PERMUTATIONS, weights=(0.05, 0.95))
    signatures = _signatures(texts, rows)
    size = dict.fromkeys(rows, 1)

    def find(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    @lru_cache(maxsize=1024)
    def shingles(row: int) -> frozenset[str]:
        key = _key(texts[row])
        return frozenset(key[at : at + SHINGLE] for at in range(len(key) - SHINGLE + 1))

    def alike(one: int, other: int) -> bool:
        left, right = shingles(one), shingles(other)
        shared = len(left & right)
        return shared >= similarity * (len(left) + len(right) - shared)

    for start in range(0, bands.b * bands.r, bands.r):
        for leader, member in _candidates(signatures, start, start + bands.r, similarity=similarity):
            one, other = find(rows[leader]), find(rows[member])
            if one == other or not alike(rows[leader], rows[member]):
                continue
            if size[one] + size[other] > LARGE and not alike(one, other):
                continue
            one, other = min(one, other), max(one, other)
            parent[other] = one
            size[one] += size.pop(other)


def _signatures(texts: Sequence[str], rows: list[int]) -> NDArray[np.uint32]:
    """MinHash signatures, [len(rows), PERMUTATIONS]: the ones that datasketch's MinHash gives for the same hashes,
    made for many texts at once."""
    from datasketch import MinHash

    a, b = MinHash(num_perm=PERMUTATIONS, seed=1, scheme="affine32").permutations
    factors = a.astype(np.uint32).reshape(-1)
    shifts = b.astype(np.uint32).reshape(-1)
    signatures = np.empty((len(rows), PERMUTATIONS), dtype=np.uint32)
    for at in range(0, len(rows), BATCH):
        hashes, starts = shingle_hashes([_key(texts[row]) for row in rows[at : at + BATCH]])
        mixed = _mix(hashes)
        for column in range(PERMUTATIONS):
            permuted = mixed * factors[column] + shifts[column]
            signatures[at : at + len(starts), column] = np.minimum.reduceat(permuted, starts)
    return signatures


def shingle_hashes(keys: Sequence[str]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """A 32-bit hash of every run of ``SHINGLE`` characters in each key (none may be shorter), keys one after the
    other, and where each key's hashes start."""
    lengths = np.array([len(key) for key in keys], dtype=np.int64)
    letters = np.frombuffer("".join(keys).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    windows = len(letters) - SHINGLE + 1
    hashes = np.zeros(windows, dtype=np.uint32)
    for place in range(SHINGLE):
        hashes *= np.uint32(0x01000193)
        hashes += letters[place : place + windows]
    inside = np.ones(len(letters), dtype=bool)
    ends = np.cumsum(lengths)
    for back in range(1, SHINGLE):
        inside[ends - back] = False  # a run that starts here would reach into the next key
    counts = lengths - (SHINGLE - 1)
    return hashes[inside[:windows]], np.cumsum(counts) - counts


def _mix(hashes: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """MurmurHash3's finaliser, as datasketch applies it before the permutations."""
    mixed = hashes.copy()
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        mixed ^= mixed >> np.uint32(shift)
        mixed *= np.uint32(factor)
    mixed ^= mixed >> np.uint32(16)
    return mixed


def _candidates(
    signatures: NDArray[np.uint32], start: int, stop: int, *, similarity: float
) -> Iterator[tuple[int, int]]:
    """Pairs of signatures that share a band and look alike, in a fixed order.

    In each bucket all are compared with the first; those unlike it with the first of themselves, up to four times.
    """
    bucket = np.zeros(len(signatures), dtype=np.uint64)
    for column in range(start, stop):
        bucket = (bucket ^ signatures[:, column]) * np.uint64(0x9E3779B97F4A7C15)
        bucket ^= bucket >> np.uint64(29)
    order = np.argsort(bucket, kind="stable")
    bucket = bucket[order]
    for _ in range(4):
        new = np.ones(len(bucket), dtype=bool)
        new[1:] = bucket[1:] != bucket[:-1]
        leaders = order[np.maximum.accumulate(np.where(new, np.arange(len(bucket)), 0))]
        members, leaders, bucket = order[~new], leaders[~new], bucket[~new]
        if not len(members):
            return
        close = np.empty(len(members), dtype=bool)
        for at in range(0, len(members), BATCH):
            part = slice(at, at + BATCH)
            agree = (signatures[members[part]] == signatures[leaders[part]]).mean(axis=1)
            close[part] = agree >= similarity - 0.15  # three standard errors of the estimate
        yield from zip(leaders[close].tolist(), members[close].tolist(), strict=True)
        order, bucket = members[~close], bucket[~close]
