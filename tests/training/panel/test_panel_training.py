import json
from dataclasses import replace

import numpy as np
import pytest

from study.errors import StudyError
from study.results.epoch_report import EpochReport
from study.results.scores import PanelBest, PanelValidation
from tests.training.panel.planted_panel import DATA, MODEL, make_trainer
from tests.training.planted import make_trainer as make_single
from tests.training.planted import run_to_end


def test_a_planted_ranking_is_learned_and_reported() -> None:
    reports = run_to_end(make_trainer())
    last = reports[-1]
    assert last.stop_reason == "completed"
    assert isinstance(last.validation, PanelValidation)
    assert isinstance(last.best, PanelBest)
    assert last.validation.rank_ic > 0.6
    assert last.best.loss == pytest.approx(1 - last.best.rank_ic)
    assert last.best.difference == pytest.approx(0.1 - last.best.rank_ic)
    assert last.best_is_collapsed is False
    assert last.train_terms == {"squared": last.train_loss}
    assert EpochReport.from_json(json.loads(json.dumps(last.to_json()))) == last


def test_parts_that_do_not_fit_a_panel_are_refused() -> None:
    with pytest.raises(StudyError, match="n_assets=7, panel with 6"):
        make_trainer(model=replace(MODEL, n_assets=7))
    with pytest.raises(StudyError, match="n_features=4, data with 3"):
        make_trainer(model=replace(MODEL, n_features=4))
    with pytest.raises(StudyError, match="fall_weight must be off on a panel"):
        make_trainer(fall_weight=0.5)
    with pytest.raises(StudyError, match=r"ic_weight must be 0\.0 for one asset"):
        make_single(ic_weight=0.5)
    unknown = DATA.returns.copy()
    unknown[DATA.validation_days[3], 2:] = np.nan
    with pytest.raises(StudyError, match="validation_days must have 3 assets with a label"):
        replace(DATA, returns=unknown)
