"""Names that data sets and the records of results share."""

RANKING = "ranking"
"""Task of a panel: which assets will rise more than the others of their day?"""

RIDGE = "ridge"
"""Ridge regression on all inputs of the last day, the baseline of a panel to beat."""

BOOSTING = "boosting"
"""Gradient boosting on the same, the baseline of a panel that is not linear; its best trial is
compared with it too."""
