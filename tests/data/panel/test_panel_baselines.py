import hashlib
from collections.abc import Callable
from dataclasses import fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from study.data.panel import panel_baselines
from study.data.panel.arrow_cache import InputsKey, cached_inputs, cached_scores
from study.data.panel.panel_baselines import (
    PanelBaseline,
    SeenPanel,
    judge_panel_scores,
    judged_days,
    panel_baseline_scores,
    score_panel_baselines,
)
from study.data.panel.panel_dataset import PanelDataset
from study.data.panel.panel_inputs import PanelInputs
from study.data.panel.shared_inputs import SharedInputs
from study.statistics.rank_comparison import compare_days
from tests.data.panel.planted import planted_panel

HAS_LIGHTGBM = find_spec("lightgbm") is not None
needs_lightgbm = pytest.mark.skipif(not HAS_LIGHTGBM, reason="the extra lightgbm is not installed")
by_both = pytest.mark.parametrize(
    "fit",
    [
        panel_baselines._fit_histograms,
        pytest.param(panel_baselines._fit_lightgbm, marks=needs_lightgbm),
    ],
    ids=["scikit-learn", "lightgbm"],
)

PORTFOLIO: dict[str, Any] = {"share": 0.2, "cost_basis_points": 10.0}


def scored(data: PanelDataset) -> tuple[PanelBaseline, ...]:
    return score_panel_baselines(data, **PORTFOLIO)[0]


@pytest.fixture(scope="module")
def data() -> PanelDataset:
    return planted_panel()


@pytest.fixture(scope="module")
def small() -> PanelDataset:
    return planted_panel(n_days=500, n_assets=8)


@pytest.fixture(scope="module")
def found(data: PanelDataset) -> dict[str, PanelBaseline]:
    return {each.name: each for each in scored(data)}


def test_the_baselines_come_in_the_order_of_what_they_learn(
    found: dict[str, PanelBaseline],
) -> None:
    names = ["zero", "momentum", "reversal", "low volatility", "ridge", "boosting"]
    assert list(found) == [*names, *(["lightgbm"] if HAS_LIGHTGBM else [])]


def mapped(data: PanelDataset, folder: Path) -> PanelDataset:
    """Return a data set whose inputs are mapped from a file in a folder."""
    built = PanelInputs(
        names=data.feature_names, values=data.inputs.values, known=data.present.copy()
    )
    key = InputsKey(
        fingerprint=hashlib.sha256(data.inputs.values.tobytes()).hexdigest(), tier="closes",
        normalization="cross_z", train_rows="", feature_hash="", code="",
    )  # fmt: skip
    return replace(data, inputs=cached_inputs(key, folder, lambda: built).inputs)


def assert_same(some: tuple[PanelBaseline, ...], others: tuple[PanelBaseline, ...]) -> None:
    for one, other in zip(some, others, strict=True):
        for field in fields(PanelBaseline):
            np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name))


def test_baselines_of_the_same_arrays_are_fitted_once(small: PanelDataset, tmp_path: Path) -> None:
    data = mapped(small, tmp_path)
    score_panel_baselines(data, **PORTFOLIO, may_write=False)
    assert list(tmp_path.iterdir()) == [data.inputs.file]
    first, notes = score_panel_baselines(data, **PORTFOLIO)
    assert notes == ()
    assert_same(first, scored(small))
    (kept,) = (path for path in tmp_path.iterdir() if path != data.inputs.file)
    # What is in the file is what comes back: it is replaced by that of scores negated.
    (scores, _) = cached_scores(kept.stem, tmp_path, lambda: pytest.fail("it must be there"))
    kept.unlink()
    cached_scores(kept.stem, tmp_path, lambda: {name: -own for name, own in scores.items()})
    for may_write in (True, False):
        again, _ = score_panel_baselines(data, **PORTFOLIO, may_write=may_write)
        for one, other in zip(again, first, strict=True):
            np.testing.assert_array_equal(one.scores, -other.scores)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: {"targets": data.targets * 2},
        lambda data: {"horizon": 2},
        lambda data: {"train_days": data.train_days[1:]},
        lambda data: {"validation_days": data.validation_days[1:]},
        lambda data: {"closes": data.closes[1:]},
        lambda data: {"present": np.roll(data.present, 1, axis=1)},
        lambda data: {"inputs": data.inputs.between(0, len(data.dates) - 1)},
    ],
    ids=["targets", "horizon", "train", "validation", "closes", "present", "inputs"],
)
def test_everything_that_scores_depend_on_names_another_file(
    small: PanelDataset, tmp_path: Path, change: Callable[[PanelDataset], dict[str, Any]]
) -> None:
    data = mapped(small, tmp_path)
    file = data.inputs.file
    assert file is not None
    digest = panel_baselines._digest(data, file)
    assert panel_baselines._digest(mapped(small, tmp_path), file) == digest
    assert panel_baselines._digest(replace(data, **change(data)), file) != digest
    assert panel_baselines._digest(data, file.with_stem("0" * 64)) != digest


def test_damaged_scores_are_fitted_again_and_said_so(small: PanelDataset, tmp_path: Path) -> None:
    data = mapped(small, tmp_path)
    first = scored(data)
    (kept,) = (path for path in tmp_path.iterdir() if path != data.inputs.file)
    content = bytearray(kept.read_bytes())
    content[content.index(first[4].scores[50].tobytes())] ^= 1
    kept.write_bytes(content)
    again, notes = score_panel_baselines(data, **PORTFOLIO)
    assert_same(again, first)
    assert notes == (
        f"{kept}: the cache of the baselines' scores is damaged (its content has another "
        "checksum); they were built again",
    )
    assert score_panel_baselines(data, **PORTFOLIO)[1] == ()


@needs_lightgbm
def test_lightgbm_finds_the_same_signal_and_repeats_itself(
    data: PanelDataset, found: dict[str, PanelBaseline]
) -> None:
    own, other = found["lightgbm"], found["boosting"]
    assert own.rank_ic == pytest.approx(other.rank_ic, abs=0.01)
    assert not np.array_equal(own.scores, other.scores)
    again = panel_baseline_scores(data, data.validation_days)["lightgbm"]
    np.testing.assert_array_equal(again, own.scores)


def test_lightgbm_is_a_baseline_where_it_is_installed_alone(
    small: PanelDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    days, file = small.validation_days[:5], Path("inputs.arrow")
    assert ("lightgbm" in panel_baseline_scores(small, days)) == HAS_LIGHTGBM
    digests = {panel_baselines._digest(small, file)}
    for installed in (None, "4.0.0", "4.0.1"):
        monkeypatch.setattr(panel_baselines, "_version", lambda _, found=installed: found)
        panel_baselines._code.cache_clear()
        digests.add(panel_baselines._digest(small, file))
        if installed is None:
            assert "lightgbm" not in panel_baseline_scores(small, days)
    panel_baselines._code.cache_clear()
    # Kept scores are those of the libraries that fitted them.
    assert len(digests) == 4


def test_equal_scores_have_a_rank_correlation_of_exactly_zero(
    found: dict[str, PanelBaseline],
) -> None:
    zero = found["zero"]
    assert (zero.rank_ic, zero.rank_ic_se, zero.ic, zero.sharpe) == (0.0, 0.0, 0.0, None)
    assert not zero.rank_ics.any()


def test_a_planted_linear_signal_is_recovered(
    data: PanelDataset, found: dict[str, PanelBaseline]
) -> None:
    days = data.validation_days
    assert data.oracle is not None
    oracle = judge_panel_scores(
        "oracle", [data.oracle[days]], [judged_days(data, days)], horizon=1, **PORTFOLIO
    )
    assert oracle.rank_ic > 0.07
    assert found["ridge"].rank_ic > 0.95 * oracle.rank_ic
    assert found["boosting"].rank_ic > 0.8 * oracle.rank_ic
    zero = found["zero"].rank_ics
    assert compare_days(found["ridge"].rank_ics, zero, block=20).is_better
    assert not compare_days(found["momentum"].rank_ics, oracle.rank_ics, block=20).is_better


def test_a_value_is_the_mean_over_all_validation_days_of_what_scipy_finds(
    data: PanelDataset, found: dict[str, PanelBaseline]
) -> None:
    ridge = found["ridge"]
    labelled = data.labelled(data.validation_days)
    expected = [
        spearmanr(scores[mask], data.returns[day, mask]).statistic
        for day, scores, mask in zip(data.validation_days, ridge.scores, labelled, strict=True)
    ]
    np.testing.assert_allclose(ridge.rank_ics, expected, atol=1e-12)
    assert ridge.rank_ic == pytest.approx(np.mean(expected))
    assert ridge.scores.shape == (len(data.validation_days), len(data.assets))
    assert np.array_equal(np.isnan(ridge.scores), ~data.present[data.validation_days])


def test_scores_of_prices_equal_those_computed_by_hand(data: PanelDataset) -> None:
    day, closes = int(data.validation_days[7]), data.closes.copy()
    # Halted five days before: the latest close counts.
    closes[day - 7 : day - 4, 3] = np.nan
    # Listed too late for momentum: the mean of the day's others.
    closes[: day - 200, 5] = np.nan
    present = data.present.copy()
    present[day] = True
    scores = panel_baseline_scores(replace(data, closes=closes, present=present), np.array([day]))
    filled = closes.copy()
    filled[day - 7 : day - 4, 3] = filled[day - 8, 3]
    momentum = filled[day - 20] / filled[day - 250] - 1
    momentum[5] = np.delete(momentum, 5).mean()
    daily = filled[day - 59 : day + 1] / filled[day - 60 : day] - 1
    by_hand = {
        "momentum": momentum,
        "reversal": 1 - filled[day] / filled[day - 5],
        "low volatility": -daily.std(axis=0),
    }
    for name, expected in by_hand.items():
        np.testing.assert_allclose(scores[name][0], expected, rtol=1e-5, err_msg=name)


def test_days_without_enough_past_have_equal_scores_of_prices(data: PanelDataset) -> None:
    scores = panel_baseline_scores(data, np.array([3, 59]))
    for name, day in (("momentum", 0), ("reversal", 0), ("low volatility", 1)):
        assert (scores[name][day][data.present[(3, 59)[day]]] == 0).all()


def test_the_order_of_assets_does_not_matter(small: PanelDataset) -> None:
    data = small
    order = np.random.default_rng(5).permutation(len(data.assets))
    shuffled = planted_panel(n_days=500, n_assets=8, order=order)
    expected = panel_baseline_scores(data, data.validation_days)
    for name, scores in panel_baseline_scores(shuffled, data.validation_days).items():
        np.testing.assert_allclose(scores, expected[name][:, order], atol=1e-6, err_msg=name)


def test_validation_returns_change_no_score(
    data: PanelDataset, found: dict[str, PanelBaseline]
) -> None:
    days, changed = data.validation_days, {}
    for name in ("returns", "targets"):
        changed[name] = getattr(data, name).copy()
        changed[name][days] *= -3
    other = scored(replace(data, **changed))
    for each in other:
        assert np.array_equal(each.scores, found[each.name].scores, equal_nan=True)
    assert other[4].rank_ic == pytest.approx(-found["ridge"].rank_ic)


def test_inputs_of_a_validation_day_change_the_scores_of_that_day_alone(
    data: PanelDataset, found: dict[str, PanelBaseline]
) -> None:
    row, values = 30, data.inputs.values.copy()
    values[data.validation_days[row]] *= -1
    changed = panel_baseline_scores(
        replace(data, inputs=SharedInputs(values)), data.validation_days
    )
    for name, scores in changed.items():
        differs = ~np.isclose(scores, found[name].scores, equal_nan=True).all(axis=1)
        expected = [row] if name in ("ridge", "boosting", "lightgbm") else []
        assert np.flatnonzero(differs).tolist() == expected, name


def test_an_asset_that_is_never_ranked_changes_nothing(small: PanelDataset) -> None:
    data = small
    masked = data.present.copy()
    masked[:, 4] = False
    values, returns, targets = data.inputs.values.copy(), data.returns.copy(), data.targets.copy()
    closes = data.closes.copy()
    returns[:, 4] = targets[:, 4] = np.nan
    plain = replace(data, present=masked, returns=returns, targets=targets)
    values[:, 4], closes[:, 4] = np.nan, 1e9
    wild = replace(plain, inputs=SharedInputs(values), closes=closes)
    for one, other in zip(scored(plain), scored(wild), strict=True):
        assert np.array_equal(one.scores, other.scores, equal_nan=True)
        assert np.array_equal(one.rank_ics, other.rank_ics)


def test_later_days_are_scored_by_models_of_the_training_days(small: PanelDataset) -> None:
    data = small
    longer = planted_panel(n_days=500, n_assets=8)
    n_visible = int(data.validation_days[50])
    seen = SeenPanel(inputs=longer.inputs.values, present=longer.present, closes=longer.closes)
    cut = replace(
        data,
        **{
            name: getattr(data, name)[:n_visible]
            for name in ("returns", "targets", "closes", "present")
        },
        inputs=data.inputs.between(0, n_visible),
    )
    days = data.validation_days[50:]
    expected = panel_baseline_scores(data, days)
    for name, scores in panel_baseline_scores(cut, days, seen).items():
        assert np.array_equal(scores, expected[name], equal_nan=True), name


def test_folds_are_fitted_one_by_one_and_judged_together(small: PanelDataset) -> None:
    data = small
    halves = np.array_split(data.validation_days, 2)
    # Both have the days in the middle.
    days = [np.concatenate((halves[0], halves[1][:40])), halves[1]]
    folds = tuple(
        replace(data, train_days=data.train_days[at:], validation_days=own)
        for at, own in zip((0, 200), days, strict=True)
    )
    pooled = scored(replace(data, search_folds=folds))[4]
    own = [scored(fold)[4] for fold in folds]
    assert np.array_equal(pooled.rank_ics, np.concatenate([each.rank_ics for each in own]))
    assert len(pooled.scores) == len(pooled.rank_ics)
    twice = (own[0].rank_ics[-40:] + own[1].rank_ics[:40]) / 2
    once = (own[0].rank_ics[:-40], twice, own[1].rank_ics[40:])
    assert pooled.rank_ic == pytest.approx(np.concatenate(once).mean())


def test_boosting_learns_from_a_sample_of_all_days(
    data: PanelDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(panel_baselines, "_BOOSTED_ROWS", 3000)
    boosting = scored(data)[5]
    assert 0.4 * 0.08 < boosting.rank_ic
    days, assets = panel_baselines._sampled(data)
    assert set(days.tolist()) == set(data.train_days.tolist())
    assert 0.8 * 3000 < len(days) <= 3100
    # Its targets are spread as those of all.
    targets = data.targets[data.train_days]
    whole = targets[np.isfinite(targets)]
    assert data.targets[days, assets].std() == pytest.approx(whole.std(), rel=0.03)


@by_both
def test_boosting_takes_as_many_trees_as_help_on_the_latest_training_days(fit: Any) -> None:
    trees = [
        panel_baselines._boosted(planted_panel(n_days=600, n_assets=10, ic=ic, seed=1), fit)[1]
        for ic in (0.0, 0.1, 0.6)
    ]
    # 1, 13 and 80 by scikit-learn.
    assert trees[0] <= 5 < trees[1] < 40 < trees[2]


@by_both
def test_days_whose_labels_reach_into_the_latest_ones_choose_no_trees(fit: Any) -> None:
    data = planted_panel(n_days=600, n_assets=10, horizon=5, ic=0.2)
    first = int(data.train_days[int(0.8 * len(data.train_days))])
    targets = data.targets.copy()
    targets[first - 4 : first] = 1000.0 * np.sign(data.inputs.values[first - 4 : first, :, 5])
    targets[~data.present] = np.nan
    wild = replace(data, targets=targets)
    n_trees = panel_baselines._boosted(data, fit)[1]
    # Fitted to such targets, the first tree would do harm.
    assert panel_baselines._boosted(wild, fit)[1] == n_trees > 10
