"""The judgement of runs of several sizes: every form of a law is fitted and compared."""

from dataclasses import replace
from typing import Literal

import numpy as np
from scipy.special import fdtrc

from analysis.statistics.floats import Floats
from analysis.statistics.interval import Estimate, estimate
from analysis.statistics.law import CONSTANT, Law, coefficients, floors, log_predictions
from analysis.statistics.law_fit import Fit, fit, plateau, refit, refit_plateau
from analysis.statistics.law_report import FormReport, HeldOut, LawReport
from analysis.statistics.minimiser import minimise
from analysis.statistics.run_resampling import (
    LEAST_LEVELS,
    Misfit,
    Resamples,
    Runs,
    resample,
)
from analysis.statistics.trend import trend_of
from analysis.statistics.verdict import verdict_on

N_RESAMPLES = 1000

_N_PROFILE = 41

_NO_WIDTH = 1e-9
"""Relative difference of resampled values that is no more than rounding."""

_FLAT, _FLAT_WITHOUT_NOISE = 1e-3, 1e-2
"""Least step of a log or an exponent along a plateau; less is rounding. Without a measure of noise
a parameter may be so badly known that its optimum is flatter than the first."""
_FLAT_SHARE = 0.1
"""Share of a standard error: a narrower plateau changes no interval that can be read."""
_WORTH_TELLING = 0.01
"""Least width of a range of equally good values that is reported, relative to them; of floors,
relative to the least loss if that is greater."""

AXIS_NAMES = ("alpha", "beta")
COEFFICIENT_NAMES = ("A", "B")


def judge(
    runs: Runs,
    *,
    floor: float | Literal["none", "free"] = "free",
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> LawReport:
    """Fit every form to runs and say what follows.

    Args:
        runs: any; of fewer than three sizes nothing follows.
        floor: fitted, absent, or given, in the form that is looked for.
        n_resamples: of the bootstrap.
        seed: of everything that is drawn.
    """
    n_axes = runs.sizes.shape[1]
    laws = {
        "constant": CONSTANT,
        "power": Law(n_terms=n_axes, has_floor=False),
        "saturating": Law(n_terms=n_axes, has_floor=True),
    }
    chosen = {"none": "power", "free": "saturating"}.get(str(floor), "fixed floor")
    if not isinstance(floor, str):
        laws[chosen] = Law(n_terms=n_axes, has_floor=False, floor=floor)
    law = laws[chosen]
    fits = {name: fit(each, _axes(each, runs), runs.losses) for name, each in laws.items()}
    drawn = resample(runs, n_resamples, seed=seed, misfit=_misfit(fits["saturating"]))
    forms = {name: _report(best, runs, drawn) for name, best in fits.items()}
    forms["power"] = _with_misspecification(forms["power"], forms["saturating"])
    trend = trend_of(runs, seed=seed)
    verdict, sentence = verdict_on(runs, trend, forms[chosen])
    return LawReport(
        runs=runs,
        forms=forms,
        chosen=chosen,
        trend=trend,
        resampled=None if drawn is None else drawn.how,
        profile=_profile(runs, law)
        if law.has_floor and n_axes == 1 and forms[chosen].is_defined
        else [],
        held_out=_held_out(runs, law, n_resamples, seed),
        verdict=verdict,
        sentence=sentence,
    )


def _axes(law: Law, runs: Runs) -> Floats:
    return runs.sizes[:, : law.n_terms]


def _is_defined(law: Law, runs: Runs) -> bool:
    x = np.log(np.unique(_axes(law, runs), axis=0))
    return len(runs.levels) >= law.n_parameters and (
        law.n_terms == 0 or int(np.linalg.matrix_rank(x - x.mean(axis=0))) == law.n_terms
    )


def _misfit(best: Fit) -> Misfit:
    return Misfit(residuals=best.residuals, n_parameters=best.law.n_parameters)


def _report(best: Fit, runs: Runs, drawn: Resamples | None) -> FormReport:
    law = best.law
    is_defined = _is_defined(law, runs)
    values = _numbers(law, best.theta, best.centre)
    if not is_defined:
        return FormReport(
            fit=best,
            estimates={name: _without_interval(np.nan) for name in values},
            ranges={},
            is_defined=False,
            aicc=None,
            misspecified_p=None,
        )
    optima, theta = _refits(best, runs, drawn)
    ends = _numbers(law, optima, best.centre)
    spread = {} if theta is None else _numbers(law, theta, best.centre)
    if not law.has_floor:
        # No parameter of it was fitted.
        del ends["E"]
        spread.pop("E", None)
    return FormReport(
        fit=best,
        estimates={
            name: _holding(_estimate(float(value), spread.get(name)), ends.get(name))
            for name, value in values.items()
        },
        ranges={
            name: (float(each.min()), float(each.max()))
            for name, each in ends.items()
            if np.ptp(each)
            > _WORTH_TELLING * max(np.abs(each).max(), runs.losses.min() if name == "E" else 0)
        },
        is_defined=True,
        aicc=_aicc(best),
        misspecified_p=None,
    )


def _refits(best: Fit, runs: Runs, drawn: Resamples | None) -> tuple[Floats, Floats | None]:
    """Return the best fit and the ends of its plateau, and those of resampled runs.

    Returns: parameters of shape (n_optima, n_parameters), one optimum where it is unique, and of
    shape (n_optima, n_resamples, n_parameters); None where nothing was resampled.
    """
    axes = _axes(best.law, runs)
    steps = np.full(len(best.theta), _FLAT_WITHOUT_NOISE)
    theta = None
    if drawn is not None:
        theta = refit(best, axes, drawn.losses, weights=drawn.weights)[None]
        below, above = np.quantile(theta[0], [0.1587, 0.8413], axis=0)
        steps = np.maximum(_FLAT, _FLAT_SHARE * (above - below) / 2)
    optima = np.concatenate([best.theta[None], plateau(best, axes, runs.losses, steps)])
    if drawn is not None and len(optima) > 1:
        theta = refit_plateau(best, optima, axes, drawn.losses, weights=drawn.weights)
    return optima, theta


def _numbers(law: Law, theta: Floats, centre: Floats) -> dict[str, Floats]:
    """Return E, A, alpha and so on, each of the shape of ``theta`` less its last axis."""
    # A coefficient is that of a size of one, which may be beyond what a float can hold.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        found = {"E": floors(np.atleast_2d(theta), law).reshape(theta.shape[:-1])}
        scale = coefficients(theta, law, centre)
        for term in range(law.n_terms):
            found[COEFFICIENT_NAMES[term]] = scale[..., term]
            found[AXIS_NAMES[term]] = theta[..., 2 * term + 1]
        if law.n_terms == 2:
            found["a_opt"] = found["beta"] / (found["alpha"] + found["beta"])
    return found


def _estimate(value: float, spread: Floats | None) -> Estimate:
    """Return a number with its interval, from resampled values of shape (n_optima, n_resamples).

    Of several optima the interval reaches from the lower end of the least to the upper end of the
    greatest, without a standard error. Values that do not differ are no measure of anything.
    """
    if spread is None:
        return _without_interval(value)
    found = estimate(value, spread.min(axis=0))
    if len(spread) > 1:
        found = Estimate(
            value=value, low=found.low, high=estimate(value, spread.max(axis=0)).high, se=None
        )
    if found.low is None or found.high is None:
        return _without_interval(value)
    has_width = found.high - found.low > _NO_WIDTH * max(abs(found.low), abs(found.high))
    return found if has_width else _without_interval(value)


def _holding(found: Estimate, optima: Floats | None) -> Estimate:
    """Return an estimate whose interval holds all of several optima: they fit all runs best."""
    if optima is None or len(optima) == 1 or found.low is None or found.high is None:
        return found
    return replace(
        found,
        low=min(found.low, float(optima.min())),
        high=max(found.high, float(optima.max())),
    )


def _without_interval(value: float) -> Estimate:
    return Estimate(value=value, low=None, high=None, se=None)


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
    if freedom > 0 and power.is_defined and saturating.is_defined:
        without, with_floor = (float(np.sum(form.fit.residuals**2)) for form in (power, saturating))
        noise = max(with_floor, n * np.finfo(np.float64).eps ** 2)
        p = float(fdtrc(1, freedom, max(without - with_floor, 0.0) / (noise / freedom)))
    return replace(power, misspecified_p=p)


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
    rows = np.flatnonzero(np.isin(runs.budgets, runs.budgets[runs.sizes[:, 0] == largest]))
    rest = runs.without(rows)
    if not len(rest) or len(rest.levels) < LEAST_LEVELS or not _is_defined(law, rest):
        return None
    best = fit(law, _axes(law, rest), rest.losses)
    at = _axes(law, runs)[rows]
    predicted = float(np.exp(np.mean(np.log(best.predict(at)))))
    measured = float(np.exp(np.mean(np.log(runs.losses[rows]))))
    drawn = resample(rest, n_resamples, seed=seed, misfit=_misfit(best))
    low = high = None
    if drawn is not None:
        _, theta = _refits(best, rest, drawn)
        assert theta is not None
        # What is measured has other runs, and another winner, than the rest.
        means = np.array([best.residuals[each].mean() for each in rest.members])
        noise = np.sqrt(
            max(
                np.sum(each**2) / max(1, len(each) - law.n_parameters) / n
                for each, n in (
                    (best.residuals, len(rows)),
                    (means, len(runs.members) - len(means)),
                )
            )
        )
        moved = noise * np.random.default_rng(seed).standard_normal(theta.shape[1])
        logs = np.stack([log_predictions(law, t, best.centre, at).mean(axis=1) for t in theta])
        spread = _estimate(float(np.log(predicted)), logs + moved)
        if spread.low is not None and spread.high is not None:
            low, high = float(np.exp(spread.low)), float(np.exp(spread.high))
    return HeldOut(
        size=float(largest),
        measured=measured,
        predicted=predicted,
        low=low,
        high=high,
    )
