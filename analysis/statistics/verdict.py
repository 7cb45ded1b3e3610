"""The verdict on what runs of several sizes say about scaling, and what they cannot, in words."""

import numpy as np

from analysis.statistics.interval import Estimate
from analysis.statistics.law_report import FormReport, Verdict
from analysis.statistics.run_resampling import LEAST_LEVELS, Runs
from analysis.statistics.trend import LEAST_SIZES, Trend

MOST_HALF_WIDTH = 0.5
"""Half of the interval of an exponent, as a share of it, beyond which a law is not identified. In
simulations with four sizes, a noise of 1 % of the excess at the smallest one stays below it and of
4 % does not."""

_MISSPECIFIED_P = 0.01


def verdict_on(runs: Runs, trend: Trend, form: FormReport) -> tuple[Verdict, str]:
    """Return what follows from a trend and a fitted form, and the sentence with its numbers.

    Args:
        runs: what was fitted.
        trend: of their losses over size.
        form: the form that is looked for.
    """
    of = f"{_counted(trend.n_sizes, 'size')}, {_counted(len(runs), 'run')}"
    n_searches = len(runs.members)
    if n_searches > trend.n_sizes:
        of = f"{_counted(trend.n_sizes, 'size')}, {n_searches} searches, {len(runs)} runs"
    for name, column in zip(runs.names, runs.sizes.T, strict=True):
        n_levels = len(np.unique(column))
        if n_levels < LEAST_LEVELS:
            return "not identified", (
                f"{of}: a law needs at least {LEAST_LEVELS} sizes, and {name} has {n_levels}; "
                "nothing follows from fewer."
            )
    if not form.is_defined:
        return "not identified", (
            f"{of}: {form.fit.law.n_parameters} parameters need as many different sizes, and axes "
            "that do not grow together; nothing follows from fewer."
        )
    if np.ptp(runs.losses) == 0:
        return "no measurable effect", f"{of}: all losses are equal."
    interval = f"slope of log loss on log size {_shown(trend.slope)}, permutation p = {trend.p:.3f}"
    missing = LEAST_SIZES - trend.n_sizes
    if missing > 0:
        return "not identified", (
            f"{of}: a claim about size needs at least {LEAST_SIZES} sizes, so {missing} more "
            f"{'is' if missing == 1 else 'are'} missing ({interval})."
        )
    if trend.slope.low is None:
        return "not identified", (
            f"{of}: the losses lie on a line without any scatter; without a measure of the noise "
            "no interval can be given, and whatever fits so few points well may be chance."
        )
    if not trend.is_told:
        return (
            "no measurable effect",
            f"{of}: no effect of size can be told from noise ({interval}).",
        )
    direction: Verdict = "scaling" if trend.slope.value < 0 else "inverse scaling"
    identified, sentence = _of_the_law(
        form, "falls" if direction == "scaling" else "rises", interval
    )
    return direction if identified else "not identified", f"{of}: {sentence}"


def _of_the_law(form: FormReport, moves: str, interval: str) -> tuple[bool, str]:
    """Return whether a law is identified whose loss moves with size, and the sentence on it.

    Args:
        form: the form that is looked for.
        moves: what loss does with size.
        interval: the slope with its interval, in words.
    """
    over = f"loss {moves} with size over the range measured ({interval})"
    if is_misspecified(form):
        return False, (
            f"{over}, but a law without a floor is misspecified: a floor explains more "
            f"(p = {form.misspecified_p:.1g}), so that no exponent is given."
        )
    exponents = [name for name in ("alpha", "beta") if name in form.estimates]
    shown = ", ".join(_exponent(form, name) for name in exponents)
    if not all(_is_identified(form.estimates[name]) for name in exponents):
        return False, f"{over}, but the law is not identified: {shown}."
    floor = ""
    if form.fit.law.has_floor:
        floor = f", floor E {_shown(form.estimates['E'])}{not_unique(form, 'E')}"
    return True, f"loss {moves} with size ({interval}); {shown}{floor}."


def _exponent(form: FormReport, name: str) -> str:
    """Return an exponent with its interval, or the range of those that fit as well."""
    if name in form.ranges:
        return f"no {name} is the best, {_any_of(form, name)}"
    return f"{name} {_shown(form.estimates[name])}"


def not_unique(form: FormReport, name: str) -> str:
    """Return what is to be added to a number that is one of many which fit equally well."""
    if name not in form.ranges:
        return ""
    low, high = told_apart(*form.ranges[name], 4)
    return f", not unique (any from {low} to {high} fits as well)"


def _any_of(form: FormReport, name: str) -> str:
    """Return the range of a number of which none is the best, with the interval that holds it."""
    low, high = told_apart(*form.ranges[name], 4)
    estimate, interval = form.estimates[name], "no interval"
    if estimate.low is not None and estimate.high is not None:
        interval = "interval [{}, {}]".format(*told_apart(estimate.low, estimate.high, 4))
    return f"any from {low} to {high} fits equally well ({interval})"


def is_misspecified(form: FormReport) -> bool:
    """Would a floor explain more than chance?"""
    return form.misspecified_p is not None and form.misspecified_p < _MISSPECIFIED_P


def _counted(n: int, thing: str) -> str:
    return f"{n} {thing}{'s' * (n != 1)}"


def _is_identified(exponent: Estimate) -> bool:
    if exponent.low is None or exponent.high is None:
        return False
    has_sign = exponent.low > 0 or exponent.high < 0
    return has_sign and exponent.high - exponent.low <= 2 * MOST_HALF_WIDTH * abs(exponent.value)


def _shown(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.4g} (no interval)"
    low, high = told_apart(estimate.low, estimate.high, 4)
    return f"{estimate.value:.4g} [{low}, {high}]"


def told_apart(low: float, high: float, digits: int) -> tuple[str, str]:
    """Return two numbers with as many significant digits as distinguish them, at least so many."""
    while f"{low:.{digits}g}" == f"{high:.{digits}g}" and low < high:
        digits += 1
    return f"{low:.{digits}g}", f"{high:.{digits}g}"
