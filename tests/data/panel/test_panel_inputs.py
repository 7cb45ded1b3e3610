import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import rankdata

from study.data.data_config import Normalization
from study.data.panel.panel import Panel
from study.data.panel.panel_features import features_by_asset
from study.data.panel.panel_inputs import (
    CODE_OF_INPUTS,
    STUDY,
    PanelInputs,
    build_panel_inputs,
    panel_inputs_code,
)
from study.errors import DataError
from tests.data.panel.walks import first_days, walk_panel, with_assets
from tests.test_architecture import module_name, modules, modules_imported

TRAIN_ROWS = np.arange(240, 330)
NORMALIZATIONS: tuple[Normalization, ...] = ("cross_z", "cross_rank", "zscore")
ACROSS: tuple[Normalization, ...] = ("cross_z", "cross_rank")


def build(panel: Panel, normalization: Normalization = "cross_z") -> PanelInputs:
    return build_panel_inputs(panel, "closes", normalization, TRAIN_ROWS)


def rough_panel(n_assets: int, n_days: int, seed: int = 3, **fields: Any) -> Panel:
    """Return independent random walks that all have a price on every day."""
    rng = np.random.default_rng(seed)
    close = 10 * np.exp(np.cumsum(rng.normal(0, 0.02, (n_days, n_assets)), axis=0))
    days = np.datetime64("2001-01-01") + np.arange(n_days)
    names = tuple(f"B{number:03d}" for number in range(n_assets))
    given = {"name": "rough", "dates": days, "assets": names, "close": close, "fingerprint": "r"}
    return Panel(**{**given, **fields})


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_inputs_are_32_bits_and_0_where_an_asset_has_none(normalization: Normalization) -> None:
    panel = walk_panel()
    inputs = build(panel, normalization)
    assert inputs.values.dtype == np.float32
    assert inputs.values.flags.c_contiguous
    assert inputs.values.shape == (*panel.close.shape, len(inputs.names))
    assert np.isfinite(inputs.values).all()
    assert (inputs.values[~inputs.known] == 0).all()
    assert (inputs.values[inputs.known] != 0).mean() > 0.8
    for asset, (days, _) in enumerate(features_by_asset(panel, "closes")):
        np.testing.assert_array_equal(np.flatnonzero(inputs.known[:, asset]), days)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_no_input_sees_a_later_day(normalization: Normalization) -> None:
    panel, n_days = walk_panel(), 360
    whole = build(panel, normalization)
    part = build(first_days(panel, n_days), normalization)
    changed = panel.close.copy()
    changed[n_days:] **= 1.1
    later = build(replace(panel, close=changed), normalization)
    for inputs in (part, later):
        np.testing.assert_array_equal(inputs.values[:n_days], whole.values[:n_days])
        np.testing.assert_array_equal(inputs.known[:n_days], whole.known[:n_days])
    assert not np.array_equal(later.values[n_days:], whole.values[n_days:])


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_neither_order_nor_an_asset_without_prices_matters(normalization: Normalization) -> None:
    panel, order = walk_panel(), [5, 2, 7, 0, 6, 3, 1, 4]
    inputs = build(panel, normalization)
    permuted = build(with_assets(panel, order), normalization)
    np.testing.assert_allclose(permuted.values, inputs.values[:, order], atol=2e-5)
    wider = with_assets(panel, [*range(8), 0])
    wider.close[:, 8] = np.nan
    more = build(wider, normalization)
    np.testing.assert_allclose(more.values[:, :8], inputs.values, atol=1e-6)
    assert not more.known[:, 8].any()
    assert not more.values[:, 8].any()


def test_z_across_the_known_assets_of_a_day_has_mean_0_and_variance_1() -> None:
    panel = walk_panel()
    inputs = build(panel)
    for day in (311, 345, 399):
        values = inputs.values[day, inputs.known[day]].astype(np.float64)
        np.testing.assert_allclose(values.mean(axis=0), 0, atol=1e-6)
        np.testing.assert_allclose(values.std(axis=0), 1, rtol=1e-5)
    close = panel.close
    known = inputs.known[399]
    returns = np.log(close[399, known] / close[389, known])
    expected = (returns - returns.mean()) / returns.std()
    place = inputs.names.index("return_10d")
    np.testing.assert_allclose(inputs.values[399, known, place], expected, rtol=1e-4)


def test_ranks_across_the_known_assets_of_a_day_are_even_and_of_unit_variance() -> None:
    panel = walk_panel()
    inputs, place = build(panel, "cross_rank"), 3
    assert inputs.names[place] == "return_10d"
    known = inputs.known[399]
    n = int(known.sum())
    ranks = rankdata(panel.close[399, known] / panel.close[389, known])
    np.testing.assert_allclose(
        inputs.values[399, known, place], np.sqrt(3) * (2 * ranks - 1 - n) / n, rtol=1e-6
    )
    many = build(rough_panel(60, 252), "cross_rank").values[251]
    np.testing.assert_allclose(many.mean(axis=0), 0, atol=1e-6)
    # Some assets tie: those at their highest close.
    tied = np.array([len({*column}) < 60 for column in many.T])
    np.testing.assert_allclose(many.var(axis=0)[~tied], 1 - 1 / 60**2, rtol=1e-5)
    assert tied.sum() < 10
    assert np.abs(many).max() < np.sqrt(3)


def test_ties_share_the_mean_of_their_ranks() -> None:
    panel = rough_panel(6, 252)
    panel.close[:, [1, 3, 5]] = panel.close[:, [0, 2, 2]]
    values = build(panel, "cross_rank").values[251]
    for place in range(30):
        pair, triple = values[[0, 1], place], values[[2, 3, 5], place]
        assert len({*pair}) == 1
        assert len({*triple}) == 1
    close = panel.close
    ranks = rankdata(close[251] / close[250])
    np.testing.assert_allclose(values[:, 0], np.sqrt(3) * (2 * ranks - 7) / 6, rtol=1e-6)


def test_z_along_time_is_pooled_over_the_assets_of_the_training_rows() -> None:
    panel = walk_panel()
    inputs = build(panel, "zscore")
    known = inputs.known[TRAIN_ROWS]
    values = inputs.values[TRAIN_ROWS][known].astype(np.float64)
    unclipped = np.abs(values).max(axis=0) < 5
    assert unclipped.sum() > 25
    np.testing.assert_allclose(values.mean(axis=0)[unclipped], 0, atol=1e-5)
    np.testing.assert_allclose(values.std(axis=0)[unclipped], 1, rtol=1e-5)
    # Days after them do not move the mean, and rows given twice weigh once.
    twice = np.concatenate([TRAIN_ROWS, TRAIN_ROWS[:30]])
    again = build_panel_inputs(panel, "closes", "zscore", twice)
    np.testing.assert_array_equal(again.values, inputs.values)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_inputs_of_some_days_are_those_of_the_whole(normalization: Normalization) -> None:
    rows, panel = np.array([3, 260, 261, 399]), walk_panel()
    whole = build(panel, normalization)
    some = build_panel_inputs(panel, "closes", normalization, TRAIN_ROWS, rows)
    np.testing.assert_array_equal(some.values, whole.values[rows])
    np.testing.assert_array_equal(some.known, whole.known[rows])
    assert some.values[1:].any(axis=(1, 2)).all()


def test_z_is_clipped() -> None:
    panel = rough_panel(40, 252)
    panel.close[251, 7] *= 1e6
    for normalization in ("cross_z", "zscore"):
        inputs = build_panel_inputs(panel, "closes", normalization, np.arange(250, 251))
        assert np.abs(inputs.values).max() == 5
        assert inputs.values[251, 7, 0] == 5


@pytest.mark.parametrize("normalization", ACROSS)
def test_a_day_of_two_known_assets_or_without_a_spread_is_0(normalization: Normalization) -> None:
    panel = rough_panel(4, 254)
    panel.close[252, :2] = np.nan
    inputs = build(panel, normalization)
    np.testing.assert_array_equal(inputs.known.sum(axis=1)[250:], [4, 4, 2, 4])
    assert not inputs.values[252].any()
    assert inputs.values[253].any()
    panel.close[:] = panel.close[:, 2:3] * [1, 2, 3, 4]
    assert build(panel, normalization).known[252:].any()
    assert not build(panel, normalization).values.any()


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_the_rounding_of_a_sector_of_one_asset_is_no_signal(normalization: Normalization) -> None:
    alone = tuple(f"sector {number}" for number in range(5))
    inputs = build(rough_panel(5, 330, sectors=alone), normalization)
    relative = [name.startswith("sector_relative") for name in inputs.names]
    assert not inputs.values[..., relative].any()
    assert inputs.values[329].any(axis=0).sum() == len(inputs.names) - 2


def test_an_undefined_value_of_bars_makes_that_day_unknown_and_no_other_asset() -> None:
    panel = walk_panel(bars=True)
    whole = build_panel_inputs(panel, "a25", "cross_z", TRAIN_ROWS)
    # In the days after such a fall, twice an average less the average of averages is below zero.
    panel.close[350:, 0] /= 1e6
    for name in ("Open", "High", "Low"):
        panel.bars[name][350:, 0] /= 1e6
    fallen = build_panel_inputs(panel, "a25", "cross_z", TRAIN_ROWS)
    np.testing.assert_array_equal(fallen.known[:350], whole.known[:350])
    np.testing.assert_array_equal(fallen.known[:, 1:], whole.known[:, 1:])
    assert whole.known[350:, 0].all()
    assert not fallen.known[370, 0]


def test_what_cannot_be_standardised_is_refused() -> None:
    panel = walk_panel()
    with pytest.raises(DataError, match="walks: an asset must have inputs on a training day"):
        build_panel_inputs(panel, "closes", "zscore", np.arange(100))
    with pytest.raises(DataError, match="must be cross_z, cross_rank or zscore, but got relative"):
        build_panel_inputs(panel, "closes", "relative", TRAIN_ROWS)


COMPUTING = {path for pattern in CODE_OF_INPUTS for path in STUDY.glob(pattern)}


def test_the_code_of_inputs_is_all_that_computes_them() -> None:
    paths = {module_name(path): path for path in modules()}
    reached: set[str] = set()
    ahead = {"study.data.panel.panel_inputs"}
    while ahead:
        reached |= ahead
        ahead = {name for each in ahead for name in modules_imported(paths[each])} - reached
    # The rest reads prices, whose content has its own digest, or defines types and errors.
    parts = ("study.data.features", "study.data.inputs", "study.data.panel", "study.statistics")
    computing = {paths[name] for name in reached if name.startswith(parts)}
    assert computing - {paths["study.data.panel.panel"]} == COMPUTING & computing
    assert len(COMPUTING) > 15


def test_an_edit_of_the_code_or_another_library_changes_its_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in COMPUTING:
        copy = tmp_path / "study" / path.relative_to(STUDY)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    digest = panel_inputs_code.__wrapped__
    found = {digest(tmp_path / "study"), panel_inputs_code()}
    assert len(found) == 1
    for edited in ("data/features/closes.py", "data/inputs.py", "data/panel/panel_features.py"):
        with (tmp_path / "study" / edited).open("a") as file:
            file.write("# changed\n")
        found.add(digest(tmp_path / "study"))
    monkeypatch.setattr("talib.__version__", "0")
    found.add(digest(tmp_path / "study"))
    assert len(found) == 5


def test_thousands_of_asset_days_take_a_fraction_of_a_second() -> None:
    panel = rough_panel(40, 500)
    begun = time.process_time()
    build(panel, "cross_rank")
    # About 0.15 s; a loop over days or over windows in Python would take over 3 s.
    assert time.process_time() - begun < 1.5
