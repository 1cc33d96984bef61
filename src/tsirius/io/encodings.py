"""Encodings: which one a file's bytes are in, by what its words look like; refused where it cannot be told.

Every reading of the bytes is judged on its words alone: a word of Russian has the letter pairs of the sample reviews,
a word of another language the accents of that language. A reading is taken if it is likely in itself, likelier by far
than every other that differs, and not ruled out by charset-normalizer.
"""

from __future__ import annotations

import csv
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from itertools import pairwise

import numpy as np

CYRILLIC = ("cp1251", "koi8-r", "koi8-u", "cp866", "iso8859-5", "mac-cyrillic", "ptcp154", "kz1048", "cp855", "cp1125")
"""Code pages of Cyrillic, the commonest first: of those that give the same text the first is taken."""
LATIN = ("cp1252", "mac-roman", "cp850", "cp437", "cp1250", "iso8859-2", "cp1254", "cp1257", "iso8859-15")
MARGIN = 15.0
"""By how much the logarithm of a reading's likelihood has to exceed that of every other (e^15: 3 million times)."""
APART, PARTS = 8.0, 40.0
"""A word is of another code page if it is likelier there by the first; a file, if its words are by the second."""
FLOOR = -3.9
"""The least mean logarithm of a letter's probability: Russian has about -2.6, a wrong reading -5 and less."""
LETTERS = 4
"""Cyrillic letters that the words of a reading have at least: less is no evidence."""
WORDS = 4000
"""Different words that are looked at."""
SCRIPTS = (
    (0x20, 0x7E), (0xA0, 0x17F), (0x400, 0x52F), (0x200B, 0x200D), (0x2010, 0x203A), (0x20A0, 0x20BF),
    (0x2100, 0x214F), (0x2190, 0x21FF), (0x2600, 0x27BF), (0xFE0F, 0xFE0F), (0xFEFF, 0xFEFF), (0x1F000, 0x1FAFF),
)  # fmt: skip
"""Where reviews have their characters: a wrong width or byte order reads as others."""

_TOKEN = re.compile(rb"[^\x00-\x20,;\"|()!?<>=/*\x7f]*[\x80-\xff][^\x00-\x20,;\"|()!?<>=/*\x7f]*")
_RUSSIAN = "абвгдежзийклмнопрстуфхцчшщъыьэюяё"
_OTHER_CYRILLIC = "іїєґўәғқңөұүһҗҳҷӯӣјљњћђџќѓѕ"
_OPENING, _CLOSING, _DASHES, _SIGNS = "«„“‘", "»”’", "—–", "…№•°×™\u00a0"
_UNKNOWN, _FOREIGN = -13.0, -10.0

_COMMON = {
    "English": ("the and is it was for this with not but very have are you my they good that of in to", "éèêçïàü"),
    "Italian": ("il la di che non per un una con ma molto sono ho del della prodotto le in mi si", "àèéìòù"),
    "French": ("le la les de des et est un une pas pour que je il très en dans avec ce produit", "àâæçéèêëîïôœùûü"),
    "German": ("der die das und ist nicht ich mit ein eine es sehr für auf war gut zu den aber von", "äöüß"),
    "Spanish": ("el la los de que y es en un una no por con muy para lo se producto pero las", "áéíñóúü¿¡"),
    "Portuguese": ("o a os de que e é em um uma não por com muito para se produto mas do da", "ãáàâçéêíõóú"),
}
"""Of each language its commonest words and its letters beyond ASCII."""


def wide(sample: bytes) -> list[str]:
    """The UTF-16 and UTF-32 encodings, without a mark, under which ``sample`` has the characters of reviews."""
    return [
        codec
        for codec, width in (("utf-32-le", 4), ("utf-32-be", 4), ("utf-16-le", 2), ("utf-16-be", 2))
        if is_usual(sample[: len(sample) // width * width], codec)
    ]


def is_usual(sample: bytes, codec: str) -> bool:
    """Whether nearly all characters of ``sample`` are those of reviews under ``codec``."""
    try:
        text = sample[: 1 << 16].decode(codec, "ignore")
    except UnicodeError:
        return False
    text = "".join(text.split())
    known = sum(any(low <= ord(letter) <= high for low, high in SCRIPTS) for letter in text)
    # "ignore" leaves out what is not of the codec: it counts as wrong too
    return bool(text) and known >= 0.97 * len(text) and "\ufffd" not in sample[: 1 << 16].decode(codec, "replace")[:-1]


def code_page(sample: bytes) -> tuple[str | None, list[str]]:
    """The code page of ``sample``, which is not UTF-8.

    Returns:
        The code page, None where it cannot be told; and the likeliest ones, the likeliest first.
    """
    tokens = list(dict.fromkeys(_TOKEN.findall(sample)))[:WORDS]
    readings: dict[str, list[str]] = {}
    for codec in (*CYRILLIC, *LATIN):
        try:
            readings[codec] = [token.decode(codec) for token in tokens]
        except UnicodeDecodeError:
            continue
    cyrillic = _told({codec: words for codec, words in readings.items() if codec in CYRILLIC})
    latin = _latin(sample, readings)
    likely = [*cyrillic, *latin]
    passing = [codec for codec in cyrillic[:1] if _is_russian(readings[codec])] + latin[:1]
    if len(cyrillic) > 1 and passing[:1] == cyrillic[:1]:
        return None, cyrillic
    if len({tuple(readings[codec]) for codec in passing}) != 1 or (latin[1:] and passing == latin[:1]):
        return None, likely
    if passing[0] in CYRILLIC and not _seconded(tokens, readings[passing[0]], passing[0]):
        return None, likely
    return passing[0], likely


def _told(readings: dict[str, list[str]]) -> list[str]:
    """The likeliest reading, then those that differ and are not far less likely, in all or for some of the words."""
    distinct: dict[tuple[str, ...], str] = {}
    for codec, words in readings.items():
        distinct.setdefault(tuple(words), codec)
    scores = {codec: np.array([_likelihood(word) for word in words]) for words, codec in distinct.items()}
    order = sorted(scores, key=lambda codec: -scores[codec].sum())
    likely, sizes = order[:1], np.array([len(word) + 1 for word in readings[order[0]]])
    for codec in order[1:]:
        ahead = scores[codec] - scores[order[0]]
        words_of_it = (ahead > APART) & (scores[codec] > FLOOR * sizes)
        if ahead.sum() > -MARGIN or np.minimum(ahead[words_of_it], MARGIN).sum() > PARTS:
            likely.append(codec)
    return likely


def _is_russian(words: list[str]) -> bool:
    """Whether the words have letters enough, and are as likely as words of Russian are."""
    cyrillic = [word for word in words if len(re.findall("[Ѐ-ӿ]", word)) > 1]
    letters = sum(len(re.findall("[Ѐ-ӿ]", word)) for word in cyrillic)
    total, size = sum(map(_likelihood, words)), sum(len(word) + 1 for word in words)
    return letters >= LETTERS and total / max(1, size) > FLOOR


def _seconded(tokens: list[bytes], words: list[str], codec: str) -> bool:
    """Whether charset-normalizer takes the reading for text, too."""
    from charset_normalizer import from_bytes

    some = b"\n".join(tokens[:1000])
    matches = from_bytes(some, cp_isolation=[name.replace("-", "_") for name in CYRILLIC], enable_fallback=False)
    text = "\n".join(words[:1000])
    return any(str(match) == text for one in matches for match in (one, *one.submatch))


def _latin(sample: bytes, readings: dict[str, list[str]]) -> list[str]:
    """The readings that differ and have no character but those of the language that the plain words are of."""
    plain = Counter(word.decode() for word in re.findall(rb"(?<![\x80-\xff\w])[a-z]+(?![\x80-\xff\w])", sample.lower()))
    hits = {language: sum(plain[word] for word in words.split()) for language, (words, _) in _COMMON.items()}
    language = max(hits, key=lambda name: hits[name])
    if hits[language] < 3 or 20 * hits[language] < sum(plain.values()):
        return []
    letters = _COMMON[language][1]
    allowed = {*letters, *letters.upper(), *_OPENING, *_CLOSING, *_DASHES, *_SIGNS, *"€£®©½"}
    found: dict[tuple[str, ...], str] = {}
    for codec, words in readings.items():
        beyond = {letter for word in words for letter in word if not letter.isascii()}
        if beyond <= allowed and all(map(_sane_case, words)):
            found.setdefault(tuple(words), codec)
    return list(found.values())


def _sane_case(word: str) -> bool:
    """No capital follows a small letter: «cittÀ»."""
    return not any(a.islower() and b.isupper() and not b.isascii() for a, b in pairwise(word))


# --- how likely a word is ---------------------------------------------------------------------------------------------


def _likelihood(word: str) -> float:
    """The logarithm of a word's probability by its pairs of letters, and by where its capitals are."""
    table = _table()
    total, before, kinds = 0.0, " ", ""
    for letter in f"{word} ":
        small = letter.lower()
        now = _class(small)
        total += table.get((before, now), _floor(before, now))
        if letter.isalpha() and small in _RUSSIAN + _OTHER_CYRILLIC:
            kind = "U" if letter != small else "l"
            if kinds[-1:] == "l" and kind == "U":
                total -= 8
            elif kinds[-2:] == "UU" and kind == "l":
                total -= 5
            elif (kinds[-1:] == "U" and kind == "U") or (not kinds and kind == "U"):
                total -= 0.7
            kinds += kind
        else:
            kinds = ""
        before = now
    return total


def _class(letter: str) -> str:
    if letter in _RUSSIAN:
        return letter
    if letter.isascii():
        return "a" if letter.isalpha() else "0" if letter.isdigit() else " " if letter.isspace() else "."
    for known, name in ((_OPENING, "("), (_CLOSING, ")"), (_DASHES, "-"), (_SIGNS, "~"), (_OTHER_CYRILLIC, "u")):
        if letter in known:
            return name
    return "?"


def _floor(before: str, now: str) -> float:
    """The logarithm of the probability of a pair that the sample does not have."""
    if "?" in (before, now):
        return _UNKNOWN
    if "u" in (before, now):
        return _FOREIGN
    outer, inner = (" ", ".", "(", ")", "~"), (*_RUSSIAN, "a", "0")
    if now == "(":
        return -3.0 if before in outer else _FOREIGN
    if before == "(":
        return -3.0 if now in inner else _FOREIGN
    if now == ")":
        return -3.0 if before in (*inner, ".") else _FOREIGN
    if before == ")":
        return -1.0 if now in outer else _FOREIGN
    if "-" in (before, now):
        return -2.0 if " " in (before, now) else -7.0
    if "~" in (before, now):
        return -4.0 if " " in (before, now) or "." in (before, now) or "0" in (before, now) else -6.0
    if "a" in (before, now) and (before in _RUSSIAN or now in _RUSSIAN):
        return _FOREIGN
    return -8.0


@cache
def _table() -> dict[tuple[str, str], float]:
    """The logarithms of the probabilities of pairs of classes, from the words of the sample reviews."""
    sample = files("tsirius").joinpath("assets/sample/reviews.csv").read_text(encoding="utf-8")
    texts = [unicodedata.normalize("NFC", " ".join(row)) for row in csv.reader(sample.splitlines(keepends=True))]
    return _pairs(word for text in texts for word in text.split())


def _pairs(words: Iterable[str]) -> dict[tuple[str, str], float]:
    counts: Counter[tuple[str, str]] = Counter()
    for word in words:
        classes = [" ", *(_class(letter) for letter in word.lower()), " "]
        counts.update(pairwise(classes))
    firsts: Counter[str] = Counter()
    for (first, _), count in counts.items():
        firsts[first] += count
    known = {*counts, *((first, second) for first in (*_RUSSIAN, " ") for second in (*_RUSSIAN, " ", ".", "0"))}
    return {
        (first, second): math.log((counts[first, second] + 0.3) / (firsts[first] + 12))
        for first, second in known
        if {first, second} <= {*_RUSSIAN, " ", ".", "0"} or (first, second) == (" ", "a")
    }
