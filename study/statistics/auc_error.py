"""The standard error of an area under the ROC curve."""

import math


def auc_standard_error(auc: float, n_positive: int, n_negative: int) -> float:
    """Return the standard error of an area under the ROC curve, without the scores themselves.

    Days are taken for independent (Hanley and McNeil 1982,
    https://doi.org/10.1148/radiology.143.1.7063747).
    """
    both_positive, both_negative = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = (
        auc * (1 - auc)
        + (n_positive - 1) * (both_positive - auc**2)
        + (n_negative - 1) * (both_negative - auc**2)
    )
    return math.sqrt(variance / (n_positive * n_negative))
