"""Missing categories: what the reviews without a product, and those of an unsure label, have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tsirius import tables
from tsirius.commands.categories.preview import categories_of
from tsirius.errors import UserError
from tsirius.language.rarity import is_noun, kind
from tsirius.language.words import lemmas
from tsirius.models import embeddings
from tsirius.reporting.figures import excerpt
from tsirius.store import Store

UNSURE = 0.2
"""A label whose lead over the second is smaller than this is unsure."""
ROWS = 25
"""Reviews of a cluster on average, of those that are looked at."""
CLUSTERS = 12
FEWEST = 5
"""Smaller clusters are not shown, and words that fewer of its reviews have do not name it."""
WORDS = 5
DESCRIBING = ("ADJF", "INFN")
"""pymorphy3's parts of speech, beside nouns, that may name a cluster: adjectives and verbs, as lemmas have them."""
EXAMPLES = 3
MOST = 5_000
"""Reviews that are looked at, at most: drawn at random."""


@dataclass(frozen=True)
class Cluster:
    """Reviews that are like each other.

    Attributes:
        count: how many.
        none: how many of them have the category without a product.
        words: that they have more often than the run's other reviews: nouns, then adjectives and verbs, the most
            telling first.
        texts: the middlemost ones.
    """

    count: int
    none: int
    words: list[str]
    texts: list[str]


def clusters(run: Path, *, seed: int = 0) -> list[Cluster]:
    """Clusters of the reviews with the none-category, or an unsure label, the largest first.

    k-means on their embeddings (Lloyd 1982); a cluster is named by :func:`telling` lemmas.

    Raises:
        UserError: the run is not finished, or has no embeddings.
    """
    from sklearn.cluster import KMeans

    store, categories = Store(run), categories_of(run)
    reviews = tables.read(store.read("ingest") / "reviews.parquet", tables.REVIEWS)
    labels = tables.read(store.read("label") / "labels.parquet", tables.LABELS)
    sampled = labels["labellers"].is_not_null()
    reviews, labels = reviews.filter(sampled), labels.filter(sampled)
    embed = embeddings.published(store.folder("label"))
    if embed is None:
        raise UserError("has no embeddings", where=run, remedy="Run it with label.doubt = true.")
    none = (labels["label"] == categories.none).fill_null(False).to_numpy()
    wanted = np.flatnonzero(none | (labels["margin"].fill_null(0.0) < UNSURE).to_numpy())
    rows = wanted[reviews["clean"].gather(wanted).is_first_distinct().to_numpy()]
    random = np.random.default_rng(seed)
    if len(rows) > MOST:
        rows = np.sort(random.choice(rows, MOST, replace=False))
    if len(rows) < FEWEST:
        return []
    vectors = embed(reviews["clean"].gather(rows).to_list())
    size = max(1, min(CLUSTERS, len(rows) // ROWS))
    found = KMeans(size, n_init=3, random_state=seed).fit(vectors)
    near = vectors @ found.cluster_centers_.T
    words = [set(lemmas(text)) for text in reviews["clean"].gather(rows)]
    sample = reviews["clean"].sample(min(MOST, reviews.height), seed=seed)
    everywhere = Counter(word for text in sample for word in set(lemmas(text)))
    result = list[Cluster]()
    for number in range(size):
        own = np.flatnonzero(found.labels_ == number)
        if len(own) < FEWEST:
            continue
        middle = own[np.argsort(-near[own, number], kind="stable")][:EXAMPLES]
        result.append(
            Cluster(
                count=len(own),
                none=int(none[rows[own]].sum()),
                words=telling([words[row] for row in own.tolist()], everywhere, len(sample)),
                texts=reviews["text"].gather(rows[middle]).to_list(),
            )
        )
    return sorted(result, key=lambda one: -one.count)


def telling(texts: Sequence[set[str]], everywhere: Counter[str], rows: int) -> list[str]:
    """The words that name a cluster's texts: nouns, then adjectives and verbs, each the most telling first.

    As in c-TF-IDF (Grootendorst 2022) a word weighs how often the cluster has it, times how rare it is elsewhere: here
    the logarithm of its share among the cluster's texts over that among all ``rows``, with one text more on each side.
    """
    own = Counter(word for text in texts for word in text if len(word) > 1)
    weights = {
        word: float(np.log((count + 1) / (len(texts) + 2)) - np.log((everywhere[word] + 1) / (rows + 2))) * count
        for word, count in own.items()
        if count >= max(FEWEST // 2, len(texts) // 20) and (is_noun(word) or kind(word) in DESCRIBING)
    }
    telling_ones = (word for word, weight in weights.items() if weight > 0)
    return sorted(telling_ones, key=lambda word: (not is_noun(word), -weights[word], word))[:WORDS]


def table(found: Sequence[Cluster]) -> str:
    """The clusters as lines of text."""
    lines = list[str]()
    for one in found:
        lines.append(f"{one.count:,} reviews ({one.none:,} without a product): {', '.join(one.words)}")
        lines += [f"    {excerpt(text)}" for text in one.texts]
    return "\n".join(lines) or "no group of reviews stands out"
