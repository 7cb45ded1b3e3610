"""The judgement of a winner at the edge of what was searched: does the edge bind?

An edge binds where the loss still falls towards it: the optimum lies beyond. Where the inner side
is as good within the noise of seeds, the optimum may as well be inside.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit

from analysis.statistics.interval import LEVEL
from study.results.finals.final_records import FinalRecord
from study.results.records import TrialRecord

_INNER = (0.05, 0.25)
"""Shares of a range between which a value is on the inner side of an end, an own choice: nearer
it is at the end, and further other things differ."""

_ONLY_IF_IT_BINDS = "n_heads"
"""Dimension whose edge is no remark unless it binds: the number of heads rarely changes a loss."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SeedNoise:
    """The spread of validation losses of one configuration between seeds."""

    sd: float
    freedom: int
    """Degrees of freedom with which the spread was measured."""

    def bound(self, n: int, other: int) -> float:
        """Return the greatest difference that two means of so many seeds have by chance."""
        return float(
            stdtrit(self.freedom, (1 + LEVEL) / 2) * self.sd * math.sqrt(1 / n + 1 / other)
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgedEdge:
    """A value of a winner at the edge of what was searched."""

    name: str
    binds: bool
    """Does the loss fall towards the edge, or is that not known?"""
    remark: str

    @property
    def is_told(self) -> bool:
        """Is it worth a remark?"""
        return self.binds or self.name != _ONLY_IF_IT_BINDS


def edge_remarks(
    final: FinalRecord, trials: Sequence[TrialRecord], searched: Mapping[str, Any]
) -> tuple[list[str], list[str]]:
    """Return the reason for which a winner's edges leave its cell out of the law, and remarks.

    Args:
        final: as for ``judge_edges``.
        trials: as for ``judge_edges``.
        searched: as for ``judge_edges``.

    Returns: at most one reason, which names every edge that binds, and a remark on each that does
    not.
    """
    edges = judge_edges(final, trials, searched)
    binding = ", ".join(each.remark for each in edges if each.binds)
    others = [each.remark for each in edges if each.is_told and not each.binds]
    at = "the winner is at the edge of what was searched"
    return [f"{at} ({binding})"] if binding else [], [f"{at} ({remark})" for remark in others]


def judge_edges(
    final: FinalRecord, trials: Sequence[TrialRecord], searched: Mapping[str, Any]
) -> list[JudgedEdge]:
    """Judge the values of a winner that lie at an edge.

    Args:
        final: the record of its final runs.
        trials: those of the search with a usable result, of the same budget.
        searched: the content of ``cell.yaml``.
    """
    spec = searched["spec"]
    own = _run_values(final, spec)
    noise = _seed_noise(final, own)
    dimensions = {**spec.get("model", {}), **spec.get("train", {})}
    found = []
    for edge in final.edges:
        name = edge.partition(" = ")[0]
        inner = _inner(name, final.params[name], trials, dimensions.get(name))
        found.append(_judge(edge, name, final, inner, noise, own))
    return found


def _judge(
    edge: str,
    name: str,
    final: FinalRecord,
    inner: Sequence[TrialRecord],
    noise: SeedNoise | None,
    own: Sequence[float],
) -> JudgedEdge:
    if not inner or noise is None:
        missing = "nothing was tried beside it" if not inner else "no noise of seeds is known"
        return JudgedEdge(name=name, binds=True, remark=f"{edge}; {missing}")
    difference, bound, beside = _rise(name, final, inner, noise, own)
    if difference > bound:
        verdict = f"the loss falls towards it: {beside} has {difference:+.4f}, noise explains"
    elif difference < -bound:
        verdict = f"it does not bind: {beside} is better by {-difference:.4f}, noise explains"
    else:
        verdict = (
            f"nothing shows that it binds, so the cell is kept: {beside}, further in, is as good "
            f"({difference:+.4f}) within the noise of seeds,"
        )
    return JudgedEdge(name=name, binds=difference > bound, remark=f"{edge}; {verdict} {bound:.4f}")


def _rise(
    name: str,
    final: FinalRecord,
    inner: Sequence[TrialRecord],
    noise: SeedNoise,
    own: Sequence[float],
) -> tuple[float, float, str]:
    """Return how much more the best of the inner side loses, what noise explains, and its value.

    If a trial of the inner side was trained again, it is compared with the winner's final runs: not
    with the seeds by which the winner was chosen, which were lucky. Else the losses of the search
    are compared, each of which is the least of many.
    """
    fresh = {each.trial: each for each in final.selection}
    means = {n: each.mean_value for n, each in fresh.items() if each.mean_value is not None}
    again = [trial for trial in inner if trial.number in means]
    if again and own:
        best = min(again, key=lambda trial: means[trial.number])
        difference = means[best.number] - float(np.mean(own))
        bound = noise.bound(len(own), len(fresh[best.number].values))
    else:
        values = {trial.number: trial.value for trial in inner if trial.value is not None}
        best = min(inner, key=lambda trial: values[trial.number])
        difference, bound = values[best.number] - final.search_value, noise.bound(1, 1)
    return difference, bound, f"{name} = {best.params[name]:.3g}"


def _inner(
    name: str, own: float, trials: Sequence[TrialRecord], dimension: Any
) -> list[TrialRecord]:
    """Return the trials on the inner side of the edge at which a value is.

    The edge need not be that of the file: a search may have gone beyond it, or have tried to
    without a usable result. It is where the value is.

    Args:
        name: the dimension.
        own: the value of the winner.
        trials: those that it is compared with.
        dimension: of a range its bounds by the name of its scale, as in the file of the search.
    """
    tried = {
        trial.number: float(trial.params[name])
        for trial in trials
        if isinstance(trial.params.get(name), int | float)
    }
    scales: dict[str, Callable[[float], float]] = {"uniform": float, "log_uniform": math.log}
    kind = next(iter(dimension)) if isinstance(dimension, dict) else ""
    if kind in scales:
        scale = scales[kind]
        low, high = (scale(float(end)) for end in dimension[kind])
        end, other = (high, low) if scale(own) > (low + high) / 2 else (low, high)
        least, most = _INNER
        if abs(scale(own) - end) > least * (high - low):
            end = scale(own)
        is_inner = {
            number: least <= (scale(value) - end) / (other - end) <= most
            for number, value in tried.items()
        }
        return [trial for trial in trials if is_inner.get(trial.number)]
    others = sorted({*tried.values()} - {own})
    if not others:
        return []
    is_most = own > float(np.median([*others, own]))
    inner = [value for value in others if (value < own) == is_most]
    if not inner:
        return []
    beside = max(inner) if is_most else min(inner)
    return [trial for trial in trials if tried.get(trial.number) == beside]


def _seed_noise(final: FinalRecord, own: Sequence[float]) -> SeedNoise | None:
    """Return the spread of fresh seeds, of the winner and of the trials it was chosen from.

    None where no configuration has two of them.
    """
    groups = [*(list(each.values) for each in final.selection), list(own)]
    groups = [group for group in groups if len(group) > 1]
    freedom = sum(len(group) - 1 for group in groups)
    squares = sum(float(np.var(group)) * len(group) for group in groups)
    return SeedNoise(sd=math.sqrt(squares / freedom), freedom=freedom) if freedom else None


def _run_values(final: FinalRecord, spec: Mapping[str, Any]) -> list[float]:
    """Return the validation losses of final runs on the days of the search.

    There are none if the runs have learned from those days, or if the search was judged on folds.
    Of a walk forward the runs before the first fold of test days have them, and no others.
    """
    if final.with_validation or "search_splits" in spec.get("data", {}):
        return []
    return final.validation_losses
