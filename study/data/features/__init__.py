"""Named features of each day, computed from that day's bar and earlier ones only.

One file per tier says what it adds to the one before, each feature with its formula; ``tiers`` puts
them together. ``closes`` is a tier of panels, made of closes alone.
"""

from study.data.features.a25 import A25
from study.data.features.feature import FeatureSpec, InputRule
from study.data.features.tiers import (
    SPECS,
    TIERS,
    WARM_UP_DAYS,
    build_features,
    compute_columns,
    days_with_vix,
    feature_hash,
    features_of_all_days,
    require_finite,
    warm_up_days,
)
from study.data.features.vix import LOOK_BACK as VIX_LOOK_BACK
from study.data.features.vix import has_vix

__all__ = [
    "A25",
    "SPECS",
    "TIERS",
    "VIX_LOOK_BACK",
    "WARM_UP_DAYS",
    "FeatureSpec",
    "InputRule",
    "build_features",
    "compute_columns",
    "days_with_vix",
    "feature_hash",
    "features_of_all_days",
    "has_vix",
    "require_finite",
    "warm_up_days",
]
