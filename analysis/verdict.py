"""What runs of several sizes say about scaling, and what they cannot."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from analysis.estimate import LEVEL, Estimate, estimate
from analysis.law import (
    CONSTANT,
    Fit,
    Floats,
    Law,
    coefficients,
    fit,
    floors,
    minimise,
    refit,
)
from analysis.runs import LEAST_LEVELS, Resamples, Runs, permutation_p, resample, trend

Verdict = Literal["scaling", "inverse scaling", "no measurable effect", "not identified"]

N_RESAMPLES = 1000
N_PERMUTATIONS = 1999

MOST_HALF_WIDTH = 0.5
"""Half of the interval of alpha, as a share of alpha, beyond which a law is not identified. With
four sizes a noise of 1 % of the excess at the smallest one stays below it and of 4 % does not
(notes on statistics, section 0.3)."""

_MISSPECIFIED_P = 0.01
_N_PROFILE = 41

AXIS_NAMES = ("alpha", "beta")
COEFFICIENT_NAMES = ("A", "B")


@dataclass(frozen=True, kw_only=True, slots=True)
class FormReport:
    """One form, fitted."""

    fit: Fit
    estimates: dict[str, Estimate]
    """E, A, alpha, and B, beta with a second axis; ``a_opt`` = beta / (alpha + beta)."""
    aicc: float | None
    """None where its correction is not defined, or where the residuals are zero."""
    misspecified_p: float | None
    """Of a form without a floor: that a floor would explain so much more by chance."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldOut:
    """The largest size, predicted from the others."""

    size: float
    measured: float
    """Mean loss."""
    predicted: float
    low: float | None
    high: float | None
    """Of the prediction, the noise of a mean of runs included."""

    @property
    def log_error(self) -> float:
        """Log of the measured less log of the predicted loss."""
        return float(np.log(self.measured / self.predicted))

    @property
    def is_covered(self) -> bool | None:
        """Does the interval hold what was measured? None without one."""
        return (
            None
            if self.low is None or self.high is None
            else (self.low <= self.measured <= self.high)
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class LawReport:
    """Everything that is known of how loss depends on size."""

    runs: Runs
    forms: dict[str, FormReport]
    chosen: str
    """The form on which the verdict rests."""
    trend: Estimate
    """Slope of log loss on log size."""
    permutation_p: float
    resampled: str | None
    """What was resampled for the intervals; None if nothing could be."""
    profile: list[tuple[float, float, float]]
    """Floor, objective, alpha: of a law with that floor given."""
    held_out: HeldOut | None
    verdict: Verdict
    sentence: str


def judge(
    runs: Runs,
    *,
    floor: float | Literal["none", "free"] = "free",
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> LawReport:
    """Fit every form to runs and say what follows.

    Args:
        runs: at least three sizes.
        floor: fitted, absent, or given, in the form that is looked for.
        n_resamples: of the bootstrap.
        seed: of everything that is drawn.
    """
    n_axes = runs.sizes.shape[1]
    drawn = resample(runs, n_resamples, seed=seed)
    laws = {
        "constant": CONSTANT,
        "power": Law(n_terms=n_axes, has_floor=False),
        "saturating": Law(n_terms=n_axes, has_floor=True),
    }
    chosen = {"none": "power", "free": "saturating"}.get(str(floor), "fixed floor")
    if not isinstance(floor, str):
        laws[chosen] = Law(n_terms=n_axes, has_floor=False, floor=floor)
    law = laws[chosen]
    forms = {name: _report(each, runs, drawn) for name, each in laws.items()}
    forms["power"] = _with_misspecification(forms["power"], forms["saturating"])
    slopes = None
    if drawn is not None:
        slopes = _trends(runs, drawn)
    slope = _estimate(float(trend(runs.sizes[:, 0], runs.losses)), slopes)
    p = permutation_p(runs, N_PERMUTATIONS, seed=seed)
    verdict, sentence = _verdict(runs, slope, p, forms[chosen])
    return LawReport(
        runs=runs,
        forms=forms,
        chosen=chosen,
        trend=slope,
        permutation_p=p,
        resampled=None if drawn is None else drawn.how,
        profile=_profile(runs, law) if law.has_floor and n_axes == 1 else [],
        held_out=_held_out(runs, law, n_resamples, seed),
        verdict=verdict,
        sentence=sentence,
    )


def _axes(law: Law, runs: Runs) -> Floats:
    return runs.sizes[:, : law.n_terms]


def _report(law: Law, runs: Runs, drawn: Resamples | None) -> FormReport:
    best = fit(law, _axes(law, runs), runs.losses)
    values = _numbers(law, best.theta, best.centre)
    spread: dict[str, Floats] = {}
    if drawn is not None:
        theta = refit(best, _axes(law, runs), drawn.losses, weights=drawn.weights)
        spread = _numbers(law, theta, best.centre)
        if not law.has_floor:
            # Nothing was fitted of it.
            del spread["E"]
    estimates = {name: _estimate(float(value), spread.get(name)) for name, value in values.items()}
    return FormReport(fit=best, estimates=estimates, aicc=_aicc(best), misspecified_p=None)


def _numbers(law: Law, theta: Floats, centre: Floats) -> dict[str, Floats]:
    """Return E, A, alpha and so on, each of the shape of ``theta`` less its last axis."""
    found = {"E": floors(np.atleast_2d(theta), law).reshape(theta.shape[:-1])}
    scale = coefficients(theta, law, centre)
    for term in range(law.n_terms):
        found[COEFFICIENT_NAMES[term]] = scale[..., term]
        found[AXIS_NAMES[term]] = theta[..., 2 * term + 1]
    if law.n_terms == 2:
        found["a_opt"] = found["beta"] / (found["alpha"] + found["beta"])
    return found


def _estimate(value: float, spread: Floats | None) -> Estimate:
    if spread is None:
        return Estimate(value=value, low=None, high=None, se=None)
    return estimate(value, spread)


def _aicc(best: Fit) -> float | None:
    """Return Akaike's criterion for small samples, of normal residuals on logs."""
    n, k = len(best.residuals), best.law.n_parameters + 1
    mean_square = float(np.mean(best.residuals**2))
    # Below the rounding of the losses themselves there is no noise to judge by.
    if n - k - 1 <= 0 or mean_square < np.finfo(np.float64).eps ** 2:
        return None
    return n * float(np.log(mean_square)) + 2 * k + 2 * k * (k + 1) / (n - k - 1)


def _with_misspecification(power: FormReport, saturating: FormReport) -> FormReport:
    """Test a law without a floor against the one with it, by F of the squares of residuals."""
    n = len(power.fit.residuals)
    freedom = n - saturating.fit.law.n_parameters
    p = None
    if freedom > 0:
        without, with_floor = (float(np.sum(form.fit.residuals**2)) for form in (power, saturating))
        noise = max(with_floor, n * np.finfo(np.float64).eps ** 2)
        p = float(stats.f.sf(max(without - with_floor, 0.0) / (noise / freedom), 1, freedom))
    return FormReport(fit=power.fit, estimates=power.estimates, aicc=power.aicc, misspecified_p=p)


def is_misspecified(form: FormReport) -> bool:
    """Would a floor explain more than chance?"""
    return form.misspecified_p is not None and form.misspecified_p < _MISSPECIFIED_P


def _trends(runs: Runs, drawn: Resamples) -> Floats:
    sizes = runs.sizes[:, 0]
    if drawn.weights is None:
        return trend(sizes, drawn.losses)
    x, y, w = np.log(sizes), np.log(runs.losses), drawn.weights
    total = w.sum(axis=1)
    centred = x - (w @ x / total)[:, None]
    return np.asarray((w * centred * y).sum(axis=1) / (w * centred**2).sum(axis=1))


def _profile(runs: Runs, law: Law) -> list[tuple[float, float, float]]:
    """Return the best objective and exponent for each floor from 0 to below the least loss."""
    least = float(runs.losses.min())
    given = np.concatenate(([0.0], least * (1 - np.geomspace(0.99, 1e-3, _N_PROFILE - 1))))
    free = Law(n_terms=law.n_terms, has_floor=False)
    x = np.log(runs.sizes) - np.log(runs.sizes).mean(axis=0)
    above = np.log(np.maximum(runs.losses.mean() - given, 1e-6 * least))
    theta = np.full((len(given), free.n_parameters), np.inf)
    objective = np.full(len(given), np.inf)
    for exponent in (-0.2, 0.05, 0.3, 1.0):
        starts = np.stack([above, np.full(len(given), exponent)], axis=1)
        found, reached, _ = minimise(free, x, np.log(runs.losses), starts, floor=given)
        is_better = reached < objective
        theta[is_better], objective[is_better] = found[is_better], reached[is_better]
    return [
        (float(e), float(o), float(t[1])) for e, o, t in zip(given, objective, theta, strict=True)
    ]


def _held_out(runs: Runs, law: Law, n_resamples: int, seed: int) -> HeldOut | None:
    """Predict the largest size from the others; None where too few are left for the form."""
    largest = runs.sizes[:, 0].max()
    rows = np.flatnonzero(runs.sizes[:, 0] == largest)
    rest = runs.without(rows)
    if len(rest.levels) < max(LEAST_LEVELS, law.n_parameters):
        return None
    best = fit(law, _axes(law, rest), rest.losses)
    at = _axes(law, runs)[rows]
    predicted = float(np.exp(np.mean(np.log(best.predict(at)))))
    measured = float(np.exp(np.mean(np.log(runs.losses[rows]))))
    drawn = resample(rest, n_resamples, seed=seed)
    low = high = None
    if drawn is not None:
        theta = refit(best, _axes(law, rest), drawn.losses, weights=drawn.weights)
        logs = _predicted_logs(law, theta, best.centre, at)
        freedom = max(1, len(rest) - law.n_parameters)
        noise = np.sqrt(np.sum(best.residuals**2) / freedom / len(rows))
        logs = logs + noise * np.random.default_rng(seed).standard_normal(len(logs))
        low, high = np.exp(np.quantile(logs, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    return HeldOut(
        size=float(largest),
        measured=measured,
        predicted=predicted,
        low=None if low is None else float(low),
        high=None if high is None else float(high),
    )


def _predicted_logs(law: Law, theta: Floats, centre: Floats, at: Floats) -> Floats:
    scale, floor = coefficients(theta, law, centre), floors(theta, law)
    exponents = theta[:, 1 : 2 * law.n_terms : 2]
    terms = scale[:, None, :] * np.exp(-exponents[:, None, :] * np.log(at)[None])
    return np.asarray(np.log(floor[:, None] + terms.sum(axis=-1)).mean(axis=1))


def _verdict(runs: Runs, slope: Estimate, p: float, form: FormReport) -> tuple[Verdict, str]:
    n_levels = len(np.unique(runs.sizes[:, 0]))
    of = f"{n_levels} sizes, {len(runs)} runs"
    if n_levels < LEAST_LEVELS:
        return "not identified", (
            f"{of}: a law needs at least {LEAST_LEVELS} sizes; nothing follows from fewer."
        )
    if slope.low is None or slope.high is None:
        return "not identified", (
            f"{of}, none repeated: without a measure of the noise no interval can be given, and "
            "whatever fits so few points well may be chance."
        )
    interval = f"slope of log loss on log size {_shown(slope)}, permutation p = {p:.3f}"
    if p >= 1 - LEVEL or slope.low <= 0 <= slope.high:
        return (
            "no measurable effect",
            f"{of}: no effect of size can be told from noise ({interval}).",
        )
    direction: Verdict = "scaling" if slope.value < 0 else "inverse scaling"
    moves = "falls" if slope.value < 0 else "rises"
    alpha = form.estimates["alpha"]
    if not _is_identified(alpha):
        return "not identified", (
            f"{of}: loss {moves} with size over the range measured ({interval}), but the law is "
            f"not identified: alpha {_shown(alpha)}."
        )
    floor = f", floor E {_shown(form.estimates['E'])}" if form.fit.law.has_floor else ""
    return direction, f"{of}: loss {moves} with size ({interval}); alpha {_shown(alpha)}{floor}."


def _is_identified(alpha: Estimate) -> bool:
    assert alpha.low is not None
    assert alpha.high is not None
    has_sign = alpha.low > 0 or alpha.high < 0
    return has_sign and alpha.high - alpha.low <= 2 * MOST_HALF_WIDTH * abs(alpha.value)


def _shown(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.4g} (no interval)"
    return f"{estimate.value:.4g} [{estimate.low:.4g}, {estimate.high:.4g}]"
