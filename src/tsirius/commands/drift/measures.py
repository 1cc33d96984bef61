"""What is measured of reviews, and whether two files of them differ by more than chance.

Each measure compares two samples of reviews: those that are known, and the new ones. A p-value says how often samples
of these sizes differ as much where nothing has changed. The measures' p-values are corrected for their number (Holm
1979), so that the chance of any alarm where nothing has changed is at most ``alpha``.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tsirius.calibration import Z, wilson
from tsirius.language.words import lemmas

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CYRILLIC, _OTHER = re.compile("[а-яё]", re.IGNORECASE), re.compile("[^\\W\\d_а-яё]", re.IGNORECASE)
LANGUAGES = ("Cyrillic", "another script", "no letters")
NEW_WORDS = 12
"""Words that no known review has are listed, this many at most."""
FEWEST = 5
"""A cell of a table of counts that is expected to hold fewer is put together with others: the test needs that."""


@dataclass(frozen=True)
class Measure:
    """A measure in both samples.

    Attributes:
        name: what is measured.
        known: its value in the known reviews.
        new: in the new ones.
        interval: of the difference, new - known, 95 %.
        p: how often chance alone differs as much.
        drifted: whether it is more than chance, with all measures taken together.
        detail: what differs most, in words; may be empty.
    """

    name: str
    known: float
    new: float
    interval: tuple[float, float]
    p: float
    drifted: bool
    detail: str

    def to_dict(self) -> dict[str, Any]:
        """The measure as JSON takes it."""
        return asdict(self)


@dataclass(frozen=True)
class Texts:
    """What is seen of each text: the share of its words that no known review has, its length, its script."""

    unknown: NDArray[np.float64]
    lengths: NDArray[np.float64]
    languages: NDArray[np.int64]


def language(text: str) -> int:
    """The script that most of a text's letters are of, as an index into :data:`LANGUAGES`."""
    cyrillic, other = len(_CYRILLIC.findall(text)), len(_OTHER.findall(text))
    return 2 if not cyrillic + other else int(other > cyrillic)


def document_counts(texts: Sequence[str]) -> Counter[str]:
    """In how many of the texts each lemma occurs."""
    counts = Counter[str]()
    for text in texts:
        counts.update(set(lemmas(text)))
    return counts


def see(texts: Sequence[str], known: Mapping[str, int], own: Set[str]) -> Texts:
    """What is seen of cleaned texts.

    Args:
        texts: cleaned texts.
        known: in how many known texts each lemma occurs.
        own: the known texts. Of one of them a word counts as known where another text has it too, so that known texts
            are seen as new ones are.
    """
    unknown = []
    for text in texts:
        words, least = set(lemmas(text)), 2 if text in own else 1
        unknown.append(sum(known.get(word, 0) < least for word in words) / len(words) if words else 0.0)
    return Texts(
        np.array(unknown, dtype=np.float64),
        np.array([len(text) for text in texts], dtype=np.float64),
        np.array([language(text) for text in texts], dtype=np.int64),
    )


def new_words(texts: Sequence[str], known: Mapping[str, int]) -> list[tuple[str, int]]:
    """Words of several texts and of no known one, with the number of texts; the commonest first."""
    counts = document_counts(texts)
    found = [(word, count) for word, count in counts.items() if count > 1 and not known.get(word) and len(word) > 2]
    return sorted(found, key=lambda pair: (-pair[1], pair[0]))[:NEW_WORDS]


def mix(known: NDArray[np.int64], new: NDArray[np.int64], names: Sequence[str], title: str) -> Measure:
    """Whether the shares of categories differ: the chi-squared test of homogeneity; the one that differs most is told.

    Args:
        known: rows of each category, [K].
        new: the same of the new reviews, [K].
        names: of the categories.
        title: the measure's name.
    """
    from scipy.stats import chi2

    order = np.argsort(-(known + new), kind="stable")
    table = np.stack([known, new])[:, order].astype(np.float64)
    small = table.sum(axis=1).min() / max(1.0, table.sum())
    while table.shape[1] > 2 and table[:, -1].sum() * small < FEWEST:
        table = np.concatenate([table[:, :-2], table[:, -2:].sum(axis=1, keepdims=True)], axis=1)
    table = table[:, table.sum(axis=0) > 0]
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    statistic = float(((table - expected) ** 2 / expected).sum())
    p = float(chi2.sf(statistic, table.shape[1] - 1)) if table.shape[1] > 1 else 1.0
    before, after = known / known.sum(), new / new.sum()
    scale = np.sqrt(np.maximum((known + new) / (known.sum() + new.sum()), 1e-12))
    most = int(np.argmax(np.abs(after - before) / scale))
    interval = _difference(float(before[most]), int(known.sum()), float(after[most]), int(new.sum()))
    return Measure(title, float(before[most]), float(after[most]), interval, p, False, f"share of «{names[most]}»")


def spread(known: NDArray[np.float64], new: NDArray[np.float64], title: str, detail: str) -> Measure:
    """Whether two samples of numbers are spread differently: the Kolmogorov-Smirnov test; the means are told."""
    from scipy.stats import ks_2samp

    p = float(ks_2samp(known, new, method="asymp").pvalue)
    return Measure(title, float(known.mean()), float(new.mean()), _means(known, new)[1], p, False, detail)


def mean(known: NDArray[np.float64], new: NDArray[np.float64], title: str, detail: str) -> Measure:
    """Whether the means of two samples differ: Welch's test, with the normal distribution."""
    z, interval = _means(known, new)
    p = math.erfc(abs(z) / math.sqrt(2))
    return Measure(title, float(known.mean()), float(new.mean()), interval, p, False, detail)


def _means(known: NDArray[np.float64], new: NDArray[np.float64]) -> tuple[float, tuple[float, float]]:
    """The difference of the means in standard errors, and its 95 % interval."""
    difference = float(new.mean() - known.mean())
    error = math.sqrt(sum(float(one.var(ddof=1)) / len(one) if len(one) > 1 else 0.0 for one in (known, new)))
    return (difference / error if error else 0.0), (difference - Z * error, difference + Z * error)


def _difference(before: float, rows: int, after: float, new_rows: int) -> tuple[float, float]:
    """The 95 % interval of the difference of two shares (Newcombe 1998, from Wilson's intervals of each)."""
    low, high = wilson(before, rows)
    new_low, new_high = wilson(after, new_rows)
    gap = after - before
    return (
        gap - math.hypot(after - new_low, high - before),
        gap + math.hypot(new_high - after, before - low),
    )


def judged(measures: Sequence[Measure], *, alpha: float) -> list[Measure]:
    """The measures with the verdict on each, corrected for their number (Holm 1979)."""
    from dataclasses import replace

    order = sorted(range(len(measures)), key=lambda number: measures[number].p)
    result, rejected = list(measures), True
    for place, number in enumerate(order):
        rejected = rejected and measures[number].p <= alpha / (len(measures) - place)
        result[number] = replace(measures[number], drifted=rejected)
    return result
