"""The smallest true difference that a paired comparison shows, by its standard error."""

from statistics import NormalDist

DETECTABLE = NormalDist().inv_cdf(0.975) + NormalDist().inv_cdf(0.8)
"""Standard errors that a true difference must measure, to be distinguished from zero at 5 %
(two-sided) in four of five studies: 2.80, whose square is the 7.84 of the usual formula for sample
sizes (Cohen 1988, Statistical Power Analysis for the Behavioral Sciences)."""


def smallest_difference(standard_error: float) -> float:
    """Return the smallest true difference that a paired comparison with this error shows."""
    return DETECTABLE * standard_error
