"""Cleaning: a review without what exports and senders leave in it."""

from __future__ import annotations

import html
import re
import unicodedata

_OOXML = re.compile(r"_x([0-9A-Fa-f]{4})_")  # how spreadsheets write a character that XML cannot hold: _x000D_
_AMPERSANDS = re.compile(r"&(?:amp;)+")  # escaped again and again: one pass for all of them
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_TAG = re.compile(  # known names only: «размер <XL>» and «<3» are not markup
    r"</?(?:a|b|blockquote|br|center|code|div|em|font|h[1-6]|hr|i|img|li|ol|p|pre|s|small|span|strong|sub|sup|table|tbody"
    r"|td|th|thead|tr|u|ul)(?:\s[^<>]{0,500})?\s{0,9}/?>",
    re.IGNORECASE,
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


LONGEST = 100_000
"""Characters of a text that are read; the rest is left out, since no work on a text may cost more than its length."""
LONGEST_COMMENT = 2_000
MARKS_IN_A_ROW = 30
"""Combining marks that are kept: sorting more takes the square of their number (Unicode's Stream-Safe Text Format)."""
PASSES = 20
"""What is hidden deeper than this stays: no text may take time that grows faster than its length."""


def normalise(text: str) -> str:
    """The text cleaned of what exports and senders leave in it, on one line.

    Removed: spreadsheet escapes (``_x000D_``), HTML tags, control and zero-width characters, links, e-mail addresses,
    phone numbers. HTML entities become their characters, every run of white space one space. Case, punctuation,
    numbers and emoji stay. Unicode is composed (NFC); full-width and mathematical letters become plain ones, but not
    everything that NFKC would touch: it writes «№» as «No». Cleaning what is clean changes nothing, but for text made
    to be peeled more than ``PASSES`` times. Of a text the first ``LONGEST`` characters are cleaned.

    Example:
        >>> normalise("Отличный&nbsp;чайник!_x000D_ Фото: https://a.ru/1 <br> тел. 8 900 123-45-67")
        'Отличный чайник! Фото: тел.'
    """
    text = text[:LONGEST]
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
        text = compose(text)
    if "<" in text:
        text = _TAG.sub(" ", _without_comments(text))
    if "." in text or "://" in text:
        text = _LINK.sub(" ", text)
    if "@" in text:
        text = _EMAIL.sub(" ", text)
    if _DIGITS.search(text):
        text = _PHONE.sub(" ", text)
    return _SPACES.sub(" ", text).strip()


def compose(text: str) -> str:
    """``text`` in the normal form NFC, in time that grows with its length: of many combining marks the first stay."""
    return unicodedata.normalize("NFC", _SIGNS.sub(_few_marks, text))


_SIGNS = re.compile(rf"[^\w\s\x00-\x7f]{{{MARKS_IN_A_ROW + 1},}}")  # marks are no letters to re; other signs are few


def _few_marks(signs: re.Match[str]) -> str:
    kept, marks = [], 0
    for sign in signs[0]:
        marks = marks + 1 if unicodedata.combining(sign) else 0
        if marks <= MARKS_IN_A_ROW:
            kept.append(sign)
    return "".join(kept)


def _without_comments(text: str) -> str:
    """``text`` with a space for each HTML comment of up to ``LONGEST_COMMENT`` characters."""
    start = text.find("<!--")
    if start < 0:
        return text
    parts, done, end = [], 0, -1
    while start >= 0:
        if end < start + 4:
            end = text.find("-->", start + 4)
        if end < 0:
            break
        if end - start - 4 <= LONGEST_COMMENT:
            parts += [text[done:start], " "]
            done = end + 3
            start = text.find("<!--", done)
        else:
            start = text.find("<!--", start + 1)
    return "".join([*parts, text[done:]])
