"""The baselines of a cell: what its settings change, and what comes back from a plan."""

import dataclasses
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from study.data.data_config import DataConfig
from study.data.panel.build_panel import build_panel_dataset
from study.errors import DataError
from study.planning.simple_models import read_simple_power, samples_of, simple_models
from study.results.records import PanelBaselineRecord
from study.training.panel.panel_metrics import PanelMetrics
from study.training.panel.panel_samples import PanelTrainingData
from tests.data.panel.long_walks import long_walks, panel_config
from tests.data.panel.planted import planted_panel

CONFIG = DataConfig(
    source="synthetic-panel", horizon=5, tier="closes", normalization="cross_z", task="ranking",
    context_length=10,
)  # fmt: skip
DATA = planted_panel(n_days=500, n_assets=10, horizon=5)
CHANGED = [
    dataclasses.replace(CONFIG, portfolio_share=0.4),
    dataclasses.replace(CONFIG, cost_bps=50.0),
]


def test_the_power_of_a_panel_comes_back_from_the_plan_that_holds_it() -> None:
    simple = simple_models(DATA, CONFIG)
    raw = json.loads(json.dumps(dataclasses.asdict(simple.power_record)))
    assert read_simple_power(CONFIG, raw) == simple.power
    del raw["ridge"]
    assert read_simple_power(CONFIG, raw) is None


@pytest.mark.parametrize("changed", CHANGED)
def test_the_portfolio_and_its_costs_reach_samples_and_baselines(changed: DataConfig) -> None:
    power = simple_models(DATA, CONFIG).power
    answers = DATA.inputs.values[DATA.validation_days, :, 0]

    def scores(config: DataConfig) -> list[PanelMetrics | PanelBaselineRecord]:
        (samples,) = samples_of(DATA, config, "sharpe")
        assert isinstance(samples, PanelTrainingData)
        metrics = samples.evaluate(np.ascontiguousarray(answers))
        ridge = simple_models(DATA, config, power).to_beat
        assert metrics is not None
        assert isinstance(ridge, PanelBaselineRecord)
        return [metrics, ridge]

    before, after = scores(CONFIG), scores(changed)
    is_portfolio = changed.portfolio_share != CONFIG.portfolio_share
    pairs: list[tuple[Any, Any]] = list(zip(before, after, strict=True))
    for one, two in pairs:
        assert one.sharpe_net != two.sharpe_net
        assert (one.sharpe != two.sharpe) == is_portfolio
        assert one.rank_ic == two.rank_ic


def test_a_panels_samples_are_compared_with_ridge_and_with_boosting() -> None:
    simple = simple_models(DATA, CONFIG)
    (samples,) = samples_of(DATA, CONFIG, "rank_ic", simple.daily)
    assert isinstance(samples, PanelTrainingData)
    scores = samples.evaluate(np.ascontiguousarray(DATA.inputs.values[DATA.validation_days, :, 1]))
    assert scores is not None
    by_name = {each.name: each for each in simple.baselines}
    for name, difference in (
        ("ridge", scores.difference),
        ("boosting", scores.boosting_difference),
    ):
        baseline = by_name[name]
        assert isinstance(baseline, PanelBaselineRecord)
        assert difference == pytest.approx(baseline.rank_ic - scores.rank_ic)
    assert scores.difference_se != scores.boosting_difference_se


def test_machines_of_a_cluster_need_not_share_the_file_of_a_panels_inputs(tmp_path: Path) -> None:
    config = panel_config(search_splits="purged_k_fold", search_groups=4)
    data = build_panel_dataset(config, long_walks(), cache=tmp_path)
    alone, several = (
        pickle.dumps(samples_of(data, config, "rank_ic", n_nodes=number)) for number in (1, 2)
    )
    # The folds have the same inputs, which are sent once.
    assert abs(len(several) - len(alone) - data.inputs.values.nbytes) < 2000
    for path in tmp_path.iterdir():
        path.unlink()
    for samples in pickle.loads(several):
        assert isinstance(samples, PanelTrainingData)
        np.testing.assert_array_equal(samples.inputs.values, data.inputs.values)
    with pytest.raises(DataError, match="no such file"):
        pickle.loads(alone)
