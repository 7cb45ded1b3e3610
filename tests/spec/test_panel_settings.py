import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from study.data.data_config import OF_PANELS, DataConfig
from study.errors import SpecError
from study.final.run_plan import with_validation_days
from study.spec.overrides import Overrides
from study.spec.spec_file import load_study
from tests.data.panel.planted import planted_panel

SPACES = Path(__file__).parents[2] / "search_spaces"


def test_a_search_on_a_panel_that_names_no_metric_ranks_by_rank_ic() -> None:
    study = load_study(SPACES / "panel.yaml")
    silent = dataclasses.replace(study, search={"trials": 3})
    assert silent.cell("20k", 5).search.metric == "rank_ic"
    market = load_study(SPACES / "phase6a.yaml")
    assert dataclasses.replace(market, search={"trials": 3}).cell("2M", 3).search.metric == (
        "log_loss"
    )


@pytest.mark.parametrize(
    ("space", "budget", "metric", "words"),
    [
        ("panel", "20k", "auc", "task ranking is scored by rank_ic, ic, sharpe, loss"),
        ("phase6a", "2M", "rank_ic", "task threshold_1pct is scored by log_loss, auc"),
    ],
)
def test_a_metric_of_the_other_kind_is_refused(
    space: str, budget: str, metric: str, words: str
) -> None:
    study = load_study(SPACES / f"{space}.yaml")
    with pytest.raises(SpecError, match=words):
        study.cell(budget, 5, Overrides(search={"metric": metric}))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tier": "closes"}, "tier closes is of panels"),
        ({"normalization": "cross_z"}, "compare the assets of a panel"),
        (
            {"horizons": "all"},
            "horizons all is of panels, .* task=threshold_1pct",
        ),
        ({"task": "ranking"}, "takes the normalizations cross_rank, cross_z, zscore"),
        (
            {"task": "ranking", "normalization": "cross_z", "tier": "c", "vix": "embedded"},
            "a panel has no tier with a volatility index",
        ),
    ],
)
def test_settings_of_markets_and_panels_are_not_mixed(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        DataConfig(horizon=5, **changes)


def test_a_market_is_described_without_what_only_panels_read() -> None:
    assert not set(OF_PANELS) & set(DataConfig(horizon=5).resolved())
    panel = DataConfig(horizon=5, task="ranking", tier="closes", normalization="cross_z")
    assert set(OF_PANELS) - {"horizons"} <= set(panel.resolved())


def test_a_panel_may_learn_all_horizons_at_once() -> None:
    study = load_study(SPACES / "panel.yaml")
    plain = study.cell("20k", 5)
    assert plain.data.further_horizons == ()
    # As before there was the setting, so that such a search is resumed.
    assert "horizons" not in plain.data.resolved()
    of_one = dataclasses.replace(study, horizons=(5,), data={**study.data, "horizons": "all"})
    cell = of_one.cell("20k", 5)
    assert cell.data.further_horizons == (1, 10, 20)
    # Labels of the longest head must not reach over a border.
    assert cell.data.purge_days == 20
    assert cell.data.resolved()["horizons"] == "all"
    assert DataConfig(**cell.data.resolved()) == cell.data
    other = of_one.cell("20k", 30).data
    assert (other.further_horizons, other.purge_days) == ((1, 5, 10, 20), 30)
    too_few = dataclasses.replace(of_one, data={**of_one.data, "purge_days": 10})
    words = "the longest horizon that is learned, .* but got purge_days=10, horizon=20"
    with pytest.raises(SpecError, match=words):
        too_few.cell("20k", 5)


def test_a_refit_on_a_panel_learns_from_its_validation_days_too() -> None:
    data = planted_panel(n_days=60, n_assets=5)
    days = with_validation_days(data).train_days
    assert set(days.tolist()) == {*data.train_days.tolist(), *data.validation_days.tolist()}
    assert len(np.unique(days)) == len(days)
