"""The names of the checks whose refusal a user may override."""

from collections.abc import Sequence

from study.errors import quoted, require

ACCEPTABLE = (
    "future-days",
    "units",
    "adjustment",
    "spacing",
    "weekdays",
    "filled-bars",
    "repeated-stretch",
    "constant-prices",
    "level-shift",
    "range-shift",
    "broken-bar",
    "broken-volume",
    "vix-future-days",
    "vix-spacing",
    "vix-weekdays",
    "vix-filled-values",
    "vix-broken-value",
    "vix-level",
    "vix-timing",
    "panel-future-days",
    "panel-spacing",
    "panel-weekdays",
    "panel-splits",
    "panel-broken-price",
    "panel-constant-prices",
    "panel-same-prices",
)
"""Checks of prices, of the volatility index and of panels whose refusal can be overridden, because
the market may be unusual and the file right. All other rules hold for every file."""


def require_acceptable(names: Sequence[str]) -> None:
    """Refuse to accept what is no check that can be accepted.

    Raises:
        SpecError: a name is none of ACCEPTABLE.
    """
    unknown = [name for name in names if name not in ACCEPTABLE]
    require(
        not unknown,
        "accept",
        "must name checks whose refusal can be overridden",
        got=", ".join(map(quoted, unknown)),
        remedy=f"There are: {', '.join(ACCEPTABLE)}.",
    )
