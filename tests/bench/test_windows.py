"""How much means of disjoint windows of days differ, in standard errors of one window's own days.

Run by hand with ``make bench``. Baselines are fitted anew before each window of the embedded
history, on all days before it; the windows are as long as a study's test part.
"""

import dataclasses
import itertools

import numpy as np
import pytest
from scipy.stats import chi2

from study.data.data_config import LONG_HISTORY, DataConfig
from study.data.dataset import build_dataset
from study.data.evaluation.probability_scores import standard_error
from study.data.holdout import Holdout, open_holdout
from study.final.baseline_predictions import BASELINES
from study.results.finals.final_records import LOGISTIC, bounded
from study.statistics.block_length import block_days, judged_block_days

pytestmark = pytest.mark.bench

WINDOW_DAYS = 712
"""Length of a window: the test days of the default study on the S&P 500 of 1999 to 2018."""
FIRST_TRAINING_DAYS = 2_000
MODELS = ("GJR-GARCH, Platt", "HAR", "logistic, ranges", LOGISTIC)


def losses(model: str, config: DataConfig, whole: Holdout, days: np.ndarray) -> np.ndarray:
    """Return the log-losses of a window's days, of a baseline that was fitted before them."""
    before = np.arange(config.context_length - 1, days[0] - config.purge_days)
    p = bounded(BASELINES[model](config, dataclasses.replace(whole, train_days=before))[days])
    return np.asarray(-np.where(whole.labels[days] == 1, np.log(p), np.log1p(-p)))


@pytest.mark.parametrize("horizon", [1, 3, 5])
def test_windows_differ_by_more_than_their_own_error(horizon: int) -> None:
    config = DataConfig(source=LONG_HISTORY, horizon=horizon, tier="a25", splits="shares")
    whole = open_holdout(config, build_dataset(config))
    n_days = int(np.isfinite(whole.labels).sum())
    starts = range(FIRST_TRAINING_DAYS, n_days - WINDOW_DAYS, WINDOW_DAYS)
    windows = [np.arange(start, start + WINDOW_DAYS) for start in starts]
    found = {model: [losses(model, config, whole, days) for days in windows] for model in MODELS}
    first, last = whole.dates[windows[0][0]], whole.dates[windows[-1][-1]]
    print(f"\nhorizon {horizon}, {len(windows)} windows of {WINDOW_DAYS} days, {first} to {last}:")
    ratios, of_years = [], []
    for one, two in itertools.combinations(MODELS, 2):
        differences = [a - b for a, b in zip(found[one], found[two], strict=True)]
        means = np.array([each.mean() for each in differences])
        errors = [standard_error(each, block_days(horizon)) for each in differences]
        own = float(np.sqrt(np.mean(np.square(np.array(errors, dtype=np.float64)))))
        ratio, freedom = float(means.std(ddof=1)) / own, len(windows) - 1
        low, high = (ratio * float(np.sqrt(freedom / chi2.ppf(q, freedom))) for q in (0.975, 0.025))
        ratios.append(ratio)
        print(
            f"  {one} less {two}: window means from {means.min():+.4f} to {means.max():+.4f}, sd "
            f"{means.std(ddof=1):.4f}, {ratio:.2f} [{low:.2f}, {high:.2f}] times their own error"
        )
        every = np.concatenate(differences)
        blocks = (block_days(horizon), judged_block_days(horizon, len(every)))
        short, long = (standard_error(every, block) for block in blocks)
        assert short is not None
        assert long is not None
        by_windows = float(means.std(ddof=1)) / len(windows) ** 0.5
        of_years.append(by_windows / long)
        print(
            f"    mean of all windows: error {short:.5f} by blocks of {blocks[0]} days, {long:.5f} "
            f"by blocks of {blocks[1]}, {by_windows:.5f} by the means of windows"
        )
    print(f"  median of {len(ratios)} pairs: {np.median(ratios):.2f}")
    print(f"  by blocks of a year, of {len(of_years)} pairs: {np.median(of_years):.2f}")
    assert 0.8 <= np.median(ratios) <= 2.5
    assert np.median(of_years) < np.median(ratios)
