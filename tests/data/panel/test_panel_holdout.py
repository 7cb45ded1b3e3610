import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from study.data.data_config import Normalization
from study.data.panel import panel_holdout
from study.data.panel.arrow_cache import InputsKey, cached_inputs
from study.data.panel.build_panel import build_panel_dataset
from study.data.panel.panel import Panel
from study.data.panel.panel_holdout import open_panel_holdout
from study.data.panel.panel_inputs import (
    build_panel_inputs,
    panel_feature_hash,
    panel_inputs_code,
)
from study.data.panel.shared_inputs import SharedInputs
from study.data.splits import split_days
from study.errors import DataError
from tests.data.panel.long_walks import long_walks, of_closes, panel_config


@pytest.fixture(scope="module")
def panel() -> Panel:
    return long_walks()


@pytest.mark.parametrize("normalization", ["cross_z", "zscore"])
@pytest.mark.parametrize("is_mapped", [False, True])
def test_the_holdout_continues_what_the_search_saw(
    panel: Panel, tmp_path: Path, normalization: Normalization, is_mapped: bool
) -> None:
    config = panel_config(horizon=2, normalization=normalization)
    data = build_panel_dataset(config, panel, cache=tmp_path if is_mapped else None)
    found = open_panel_holdout(config, data, panel)
    n_visible = len(data.dates)
    assert len(found.dates) == data.n_rows > n_visible
    assert (found.inputs.file, found.inputs.file is None) == (data.inputs.file, not is_mapped)
    np.testing.assert_array_equal(found.inputs.values[:n_visible], data.inputs.values)
    np.testing.assert_array_equal(found.present[:n_visible], data.present)
    in_parts = np.union1d(data.train_days, data.validation_days)
    np.testing.assert_array_equal(found.returns[in_parts], data.returns[in_parts])
    # The test days are those that the search knew by their summary alone.
    assert found.test_days[0] > data.validation_days[-1]
    assert len(found.test_days) == data.splits["test"].rows
    assert np.isfinite(found.returns[found.test_days]).sum() == data.splits["test"].labels
    assert str(found.dates[found.test_days[-1]]) == data.splits["test"].last_day
    first = len(panel.dates) - len(found.dates)
    close = panel.close[first:]
    day = found.test_days[7]
    earned = np.where(found.present[day], close[day + 2] / close[day] - 1, np.nan)
    np.testing.assert_array_equal(found.returns[day], earned.astype(np.float32))
    # The last day has inputs, though nobody knows what it earns.
    assert found.present[-1].sum() == 5
    assert np.isnan(found.returns[-2:]).all()


def test_the_holdout_of_a_fold_has_its_own_days(panel: Panel, tmp_path: Path) -> None:
    config = panel_config(splits="walk_forward", fold_days=200, validation_days=260)
    data = build_panel_dataset(config, panel, fold=1, cache=tmp_path)
    found = open_panel_holdout(config, data, panel, fold=1)
    days = split_days(found.dates, config, 1)
    for name, expected in (("validation_days", days.validation), ("test_days", days.test)):
        np.testing.assert_array_equal(getattr(found, name), expected)


def test_other_prices_are_refused(panel: Panel) -> None:
    data = build_panel_dataset(panel_config(), panel)
    later = panel.close.copy()
    later[-1] *= 1.01
    with pytest.raises(DataError, match="walks: must hold the prices that the search saw"):
        open_panel_holdout(panel_config(), data, of_closes(later))


def test_inputs_that_the_past_alone_does_not_give_are_an_error(
    panel: Panel, tmp_path: Path
) -> None:
    # As a feature that looks ahead would: the same in the search and now, but not of its days.
    key = InputsKey(
        fingerprint=panel.fingerprint,
        tier="closes",
        normalization="cross_rank",
        train_rows="",
        feature_hash=panel_feature_hash("closes"),
        code=panel_inputs_code(),
    )
    inputs = build_panel_inputs(panel, "closes", "cross_rank", np.arange(0))
    ahead = replace(inputs, values=np.roll(inputs.values, -1, axis=0))
    cached_inputs(key, tmp_path, lambda: ahead)
    data = build_panel_dataset(panel_config(), panel, cache=tmp_path)
    np.testing.assert_array_equal(data.inputs.values[0], inputs.values[251])
    for _ in range(2):
        with pytest.raises(DataError, match="a day must be made of the prices up to that day"):
            open_panel_holdout(panel_config(), data, panel)


def test_the_past_is_built_again_in_little_memory_and_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel = long_walks(n_assets=40)
    data = build_panel_dataset(panel_config(), panel, cache=tmp_path)
    tracemalloc.start()
    open_panel_holdout(panel_config(), data, panel)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < data.inputs.values.nbytes
    monkeypatch.setattr(panel_holdout, "build_panel_inputs", None)
    open_panel_holdout(panel_config(), data, panel)


@pytest.mark.parametrize("name", ["inputs", "present", "returns"])
def test_a_search_that_saw_something_else_is_an_error(panel: Panel, name: str) -> None:
    data = build_panel_dataset(panel_config(), panel)
    day = data.validation_days[3]
    if name == "inputs":
        values = data.inputs.values.copy()
        values[day, 0, 0] += 1
        other = replace(data, inputs=SharedInputs(values))
    else:
        array = getattr(data, name).copy()
        array[day, 0] = not array[day, 0] if name == "present" else array[day, 0] + 1
        other = replace(data, **{name: array})
    word = "assets" if name == "present" else name
    with pytest.raises(DataError, match=f"{word} of the days that the search saw must be what"):
        open_panel_holdout(panel_config(), other, panel)
