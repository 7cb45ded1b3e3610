import numpy as np
import pytest
from sklearn.linear_model import Ridge

from study.statistics import within_day_ridge
from study.statistics.within_day_ridge import (
    PENALTIES,
    Floats,
    Inputs,
    Mask,
    fit_within_day_ridge,
    ridge_scores,
)

Numbers = tuple[Inputs, Inputs, Mask]


def numbers(n_days: int = 300, *, signal: float = 0.3, seed: int = 0) -> Numbers:
    """Return inputs, targets and mask; values outside of the mask are not numbers."""
    draw = np.random.default_rng(seed)
    inputs = draw.normal(size=(n_days, 12, 4))
    # Something that a day's assets have in common, which ranks nothing.
    inputs += 3 * draw.normal(size=(n_days, 1, 4))
    target = signal * inputs[..., 0] + draw.normal(size=(n_days, 12))
    target += 5 * draw.normal(size=(n_days, 1))
    mask = draw.random((n_days, 12)) > 0.2
    inputs[~mask], target[~mask] = np.nan, np.nan
    return inputs.astype(np.float32), target.astype(np.float32), mask


def centred(values: Inputs, mask: Mask) -> Floats:
    """Return the values of the mask, each less the mean of its day."""
    each = [row[own] - row[own].mean(axis=0) for row, own in zip(values, mask, strict=True)]
    return np.concatenate(each).astype(np.float64)


def test_weights_are_those_of_scikit_learn_on_differences_from_the_day() -> None:
    inputs, target, mask = numbers()
    model = fit_within_day_ridge(inputs, target, mask, np.arange(300), horizon=1)
    x, y = centred(inputs, mask), centred(target, mask)
    scale = x.std(axis=0)
    reference = Ridge(alpha=model.penalty, fit_intercept=False).fit(x / scale, y)
    np.testing.assert_allclose(model.weights, reference.coef_ / scale, rtol=1e-4)
    scores = ridge_scores(model, inputs, np.array([7, 3]))
    expected = inputs[[7, 3]].astype(np.float64) @ model.weights
    np.testing.assert_allclose(scores, expected, equal_nan=True)


def test_a_penalty_is_judged_by_the_groups_of_days_after_those_it_is_fitted_to() -> None:
    inputs, target, mask = numbers(signal=0.05)
    horizon, groups = 5, np.array_split(np.arange(300), 5)
    errors = np.zeros(len(PENALTIES))
    for at in range(1, 5):
        before = np.concatenate(groups[:at])
        after = groups[at][horizon - 1 :]
        assert after[0] == groups[at - 1][-1] + horizon
        x, y = centred(inputs[before], mask[before]), centred(target[before], mask[before])
        scale = x.std(axis=0)
        for row, penalty in enumerate(PENALTIES):
            model = Ridge(alpha=penalty, fit_intercept=False).fit(x / scale, y)
            said = model.predict(centred(inputs[after], mask[after]) / scale)
            errors[row] += ((said - centred(target[after], mask[after])) ** 2).sum()
    found = fit_within_day_ridge(inputs, target, mask, np.arange(300), horizon=horizon)
    assert found.penalty == PENALTIES[int(np.argmin(errors))]


@pytest.mark.parametrize(("signal", "low", "high"), [(0.5, 10, 40), (0.0, 1e4, 1e8)])
def test_a_strong_signal_is_shrunk_little_and_noise_much(
    signal: float, low: float, high: float
) -> None:
    # With 12 assets of 300 days.
    chosen = [
        fit_within_day_ridge(*numbers(signal=signal, seed=n), np.arange(300), horizon=1).penalty
        for n in range(15)
    ]
    assert low <= np.median(chosen) <= high


def test_parts_of_the_days_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fit_within_day_ridge(*numbers(), np.arange(300), horizon=1)
    monkeypatch.setattr(within_day_ridge, "_ROWS_AT_ONCE", 60)
    parts = fit_within_day_ridge(*numbers(), np.arange(300), horizon=1)
    np.testing.assert_allclose(parts.weights, whole.weights)
    inputs = numbers()[0]
    found = ridge_scores(parts, inputs, np.arange(300))
    np.testing.assert_allclose(found, ridge_scores(whole, inputs, np.arange(300)), equal_nan=True)


def test_an_input_that_is_the_same_for_all_assets_has_no_weight() -> None:
    inputs, target, mask = numbers()
    same = np.broadcast_to(inputs[:, :1, :1], (300, 12, 1))
    inputs = np.concatenate((inputs, np.where(mask[..., None], np.nan_to_num(same), np.nan)), 2)
    model = fit_within_day_ridge(inputs, target, mask, np.arange(300), horizon=1)
    assert model.weights[-1] == 0
    plain = fit_within_day_ridge(*numbers(), np.arange(300), horizon=1)
    np.testing.assert_allclose(model.weights[:-1], plain.weights)
