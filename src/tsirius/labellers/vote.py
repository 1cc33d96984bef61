"""Reconcile labellers without answers: their opinions are brought to one scale and one mix, and multiplied.

1. *Mix.* A labeller that judges each text by itself (``blind``) gives every category the same chance beforehand; a pile
   of reviews does not. The share of each category is estimated from the reviews (Saerens et al. 2002, "Adjusting the
   outputs of a classifier to new a priori probabilities") and multiplied in. That estimate feeds on its own mistakes: a
   category that labellers like too well grows by it. So it is pulled towards equal shares while it is made, the more,
   the more even it is, for the less there is to gain by it: hardly where three quarters are of one category.
2. *Scale.* Such a labeller is often far surer than it is right. Its probabilities are softened by the temperature (Guo
   et al. 2017, arXiv 1706.04599) under which it least surprises the *other* labellers where they are sure.
3. *Pool.* The logarithms are averaged over the labellers that speak (a logarithmic opinion pool, Genest and
   Zidek 1986).
4. *Confidence.* The pool is sharpened or softened until its mean confidence is what the labellers' agreement lets one
   expect of the accuracy of one of them: two that err independently agree about as often as both are right, so that the
   share of agreement is near the product of their accuracies. Their pool is better than one, and the confidence is
   too low; but labellers that share errors agree too often, as do all where one category holds most reviews, and it is
   too high. No more can be known without answers.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LEAST = 1e-4
"""A probability below this counts as this: no single labeller may rule a category out."""
ROUNDS = 30
"""Of the estimate of the mix: it moves no more long before."""
EVEN, BEND = 3.0, 3
"""How much equal shares count beside an estimated mix that is even, and the power by which that vanishes where it is
not; chosen by the beds of recipes/goods."""
TEMPERATURES = (0.7, 1.0, 1.4, 2.0, 2.8, 4.0)
POWERS = tuple(float(power) for power in np.geomspace(0.25, 4, 33).round(4))
FEW = 50
"""Rows on which two labellers speak, below which their agreement says nothing."""


@dataclass(frozen=True, eq=False)
class Consensus:
    """The consensus of the labellers.

    Attributes:
        probabilities: [N, K]; NaN where none speaks.
        prior: the estimated share of each category, [K].
        temperatures: labeller → what its logits were divided by.
        agreement: the share of rows on which the labellers that speak, two at least, give one label; None: too few.
        power: what the pool was raised to, so that its confidence fits the agreement.
    """

    probabilities: Floats
    prior: Floats
    temperatures: dict[str, float]
    agreement: float | None
    power: float


def reconcile(
    votes: Mapping[str, NDArray[np.float32]], *, blind: Collection[str], taught: Collection[str], sure: float
) -> Consensus:
    """Reconcile the votes on some texts.

    Args:
        votes: labeller → probabilities [N, K], NaN rows where it abstains; the same texts and categories for all.
        blind: the labellers that know nothing of the mix of categories.
        taught: those that learned from the others: their agreement with them says nothing, and they have seen too few
            reviews of a rare category to know how rare it is.
        sure: another labeller's label counts in the choice of a temperature from this probability on.
    """
    logs = {name: _log(vote) for name, vote in votes.items()}
    temperatures = dict.fromkeys(votes, 1.0)
    for name in sorted(set(blind) & votes.keys()):
        others = {other: log for other, log in logs.items() if other != name and other not in taught}
        if others:
            temperatures[name] = _temperature(logs[name], _pool(others), sure=sure)
    scaled = {name: _normal(logs[name] / temperatures[name]) for name in votes}
    untaught = {name: log for name, log in scaled.items() if name not in taught} or scaled
    estimate = _mix(untaught, blind, pull=0.0)
    weights = np.log(_mix(untaught, blind, pull=EVEN * (1 - _unevenness(estimate)) ** BEND))
    adjusted = {name: _normal(log + weights) if name in blind else log for name, log in scaled.items()}
    prior = _shares(_pool({name: adjusted[name] for name in untaught}))
    pooled = _pool(adjusted)
    agreement = _agreement({name: log for name, log in adjusted.items() if name not in taught})
    power = _power(pooled, agreement)
    return Consensus(np.exp(_normal(power * pooled)), prior, temperatures, agreement, power)


def _log(vote: NDArray[np.float32]) -> Floats:
    result: Floats = _normal(np.log(np.maximum(vote.astype(np.float64), LEAST)))
    return result


def _normal(logs: Floats) -> Floats:
    """Logarithms of probabilities, normal again; rows of NaN stay."""
    with np.errstate(invalid="ignore"):
        result: Floats = logs - np.logaddexp.reduce(logs, axis=1, keepdims=True)
    return result


def _pool(logs: Mapping[str, Floats]) -> Floats:
    """The mean over the labellers that speak; NaN where none does."""
    each = np.stack(list(logs.values()))
    spoke = ~np.isnan(each[:, :, :1])
    total = np.where(spoke, each, 0).sum(axis=0)
    return _normal(total / np.where(spoke.any(axis=0), spoke.sum(axis=0), np.nan))


def _mix(logs: Mapping[str, Floats], blind: Collection[str], *, pull: float) -> Floats:
    """The share of each category under which the pool, corrected by it, has that share, [K].

    Equal shares count ``pull`` times as much as the pool's.
    """
    kinds = next(iter(logs.values())).shape[1]
    prior = np.full(kinds, 1 / kinds)
    for _ in range(ROUNDS):
        pool = _pool({name: _normal(log + np.log(prior)) if name in blind else log for name, log in logs.items()})
        prior = (_shares(pool) + pull / kinds) / (1 + pull)
    return prior


def _shares(pool: Floats) -> Floats:
    """The share of each category, [K]. Half a row is added: one that no text seems to speak of stays possible."""
    rows = np.exp(pool[~np.isnan(pool[:, 0])])
    result: Floats = (rows.sum(axis=0) + 0.5) / (len(rows) + 0.5 * pool.shape[1])
    return result


def _unevenness(shares: Floats) -> float:
    """0 where all shares are equal, 1 where one category has all: what is lacking to the greatest entropy."""
    return float(1 + (shares * np.log(shares)).sum() / np.log(len(shares)))


def _temperature(logs: Floats, others: Floats, *, sure: float) -> float:
    """The one of ``TEMPERATURES`` under which the labeller, its own mix estimated, least surprises the others."""
    rows = ~np.isnan(logs[:, 0]) & (others.max(axis=1) >= np.log(sure))  # nowhere where the others abstain
    if rows.sum() < FEW:
        return 1.0
    labels = others[rows].argmax(axis=1)
    losses = []
    for temperature in TEMPERATURES:
        softened = _normal(logs / temperature)
        adjusted = _normal(softened + np.log(_mix({"": softened}, {""}, pull=0.0)))
        losses.append(-float(np.maximum(adjusted[rows, labels], np.log(LEAST)).mean()))
    return TEMPERATURES[int(np.argmin(np.round(losses, 6)))]


def _agreement(logs: Mapping[str, Floats]) -> float | None:
    if len(logs) < 2:
        return None
    each = np.stack(list(logs.values()))
    spoke = ~np.isnan(each[:, :, 0])
    several = spoke.sum(axis=0) >= 2
    if several.sum() < FEW:
        return None
    best = np.where(spoke, each.argmax(axis=2), -1)[:, several]
    lowest = np.where(best < 0, each.shape[2], best).min(axis=0)
    return float((best.max(axis=0) == lowest).mean())


def _power(pool: Floats, agreement: float | None) -> float:
    """The power at which the pool's mean confidence is the root of the agreement; 1 where that is not known."""
    rows = pool[~np.isnan(pool[:, 0])]
    if agreement is None or not len(rows):
        return 1.0
    wanted = agreement**0.5
    means = [float(np.exp(_normal(power * rows)).max(axis=1).mean()) for power in POWERS]
    return POWERS[int(np.abs(np.array(means) - wanted).round(6).argmin())]
