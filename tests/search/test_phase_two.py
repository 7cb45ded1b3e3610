"""The choice of budgets for the second phase, and the cells that follow from it."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from study.errors import StudyError
from study.model.sizing import count_parameters
from study.results.records import TrialRecord
from study.results.store import CellIdentity, CellStore, write_cell
from study.search.forced import first_configurations
from study.search.phase_two import PhaseOne, second_phases, supplementary_cell
from study.search.space import Shape, build_space
from study.spec.spec_file import load_study
from tests.results.conftest import PARAMS, record
from tests.results.reports import panel_best

SPACES = Path(__file__).parent.parent.parent / "search_spaces"
STUDY = load_study(SPACES / "two_phase.yaml")
CELL = STUDY.cell_of_all(None, None)


def phase_one(folder: Path, losses: dict[str, list[float]], **changes: Any) -> PhaseOne:
    folder.mkdir()
    write_cell(folder, {"metric": "log_loss", "trials": 70})
    trials: list[TrialRecord] = []
    for budget, own in losses.items():
        trials += [
            record(len(trials) + n, value=loss, params={**PARAMS, "budget": budget}, **changes)
            for n, loss in enumerate(own)
        ]
    identity = CellIdentity(
        name="cell", study="two-phase", budget="all", phase=1, metric="log_loss", horizon=1,
        task="threshold_1pct", data_sha256="abc", versions={},
    )  # fmt: skip
    CellStore(folder, identity).write_trials(trials)
    return PhaseOne.read(folder)


def test_a_lucky_trial_does_not_choose_a_budget(tmp_path: Path) -> None:
    found = phase_one(
        tmp_path / "cell",
        {"750k": [0.30, *[0.5] * 9], "2M": [0.40] * 10, "20M": [0.41] * 10, "200M": [0.45] * 3},
        difference_se=0.001,
    )
    assert [each.budget for each in found.budgets] == ["2M", "20M", "200M", "750k"]
    assert [each.budget for each in found.choose(None)] == ["2M", "20M"]
    assert found.choose("750k")[0].mean == pytest.approx((0.30 + 4 * 0.5) / 5)
    with pytest.raises(StudyError, match=r"--param-budget: must be a budget with usable trials"):
        found.choose("2B")


def test_budgets_differ_if_their_means_do_by_two_standard_errors(tmp_path: Path) -> None:
    losses = {"2M": [0.400] * 5, "20M": [0.404] * 5}
    sure = phase_one(tmp_path / "sure", losses, difference_se=0.001).budgets
    vague = phase_one(tmp_path / "vague", losses, difference_se=0.004).budgets
    unknown = phase_one(tmp_path / "unknown", losses, difference_se=None).budgets
    differs = [first.differs_from(second) for first, second in (sure, vague, unknown)]
    assert differs == [True, False, None]


def test_trials_that_cannot_be_ranked_are_no_evidence(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="some trial of phase 1 must have a usable result"):
        phase_one(tmp_path / "cell", {"2M": [0.4] * 5}, reason="collapsed")


def test_the_cell_is_the_best_trial_but_for_what_is_searched() -> None:
    assert STUDY.supplementary is not None
    space = build_space(CELL, n_features=25)
    # A listed trial, 28 % above its budget, with settings outside of the second phase's ranges.
    config = space.forced(
        Shape("2M", 320, 2, 4, 4), dropout=0.3, learning_rate=1e-3, weight_decay=0.0
    )
    best = record(5, params=config.flat(), param_count=count_parameters(config.model))
    cell = supplementary_cell(CELL, STUDY.supplementary, best, 25)
    assert (cell.phase, cell.search.trials, cell.search.forced) == (2, 25, "none")
    assert cell.name == "two-phase-2_2M_h1_threshold_1pct"
    own = build_space(cell, n_features=25)
    assert {(row.d_model, row.n_layers, row.n_heads) for row in own.shapes} == {
        (320, 2, heads) for heads in (1, 2, 4, 8, 16)
    }
    (first,) = first_configurations(own, cell)
    assert first.config is not None
    before, now = config.flat(), first.config.flat()
    assert {name: now[name] for name in now if now[name] != before[name]} == {"weight_decay": 0.05}
    # A record of a version that did not have a field yet is one of the field's default.
    old = {name: value for name, value in config.flat().items() if name != "fall_weight"}
    assert (
        supplementary_cell(CELL, STUDY.supplementary, dataclasses.replace(best, params=old), 25)
        == cell
    )


def test_a_panel_has_two_phases_whose_second_looks_closer_at_its_best_ranking(
    tmp_path: Path,
) -> None:
    raw = yaml.safe_load((SPACES / "panel.yaml").read_text())
    raw["search"] |= {"across_budgets": True, "forced": "none"}
    raw["supplementary"] = {
        "trials": 5, "model": {"n_heads": {"choice": [2, 4]}},
        "train": {"rank_weight": {"choice": [0.1, 0.3]}},
    }  # fmt: skip
    (tmp_path / "two.yaml").write_text(yaml.safe_dump(raw))
    study = load_study(tmp_path / "two.yaml")
    first = study.cell_of_all(["20k", "60k"], 5)
    shape = {"n_features": 36, "n_assets": 20, "n_sectors": 7}
    space = build_space(first, **shape)
    folder = tmp_path / first.name
    folder.mkdir()
    write_cell(folder, {"metric": "rank_ic", "trials": 4})
    configs = {label: config for config in space.configs() for label in [config.budget]}
    trials = [
        dataclasses.replace(
            record(number, params=configs[label].flat()), best=panel_best(rank_ic),
            objective=1 - rank_ic,
        )
        for number, (label, rank_ic) in enumerate(
            (("20k", 0.03), ("60k", 0.05), ("20k", 0.01), ("60k", 0.02))
        )
    ]  # fmt: skip
    identity = CellIdentity(
        name=first.name, study="panel", budget="20k-60k", phase=1, metric="rank_ic", horizon=5,
        task="ranking", data_sha256="abc", versions={},
    )  # fmt: skip
    CellStore(folder, identity).write_trials(trials)
    ((second,), waiting) = second_phases(study, [first], tmp_path, trials=None, metric=None)
    assert waiting == []
    chosen = second.phase_one.choose(None)
    assert [each.budget for each in chosen] == ["60k", "20k"]
    lines = second.phase_one.lines(chosen)
    assert lines[0].startswith("60k    mean 1 - RankIC of the best 2: 0.9650 +- ")
    (best, _) = second.cells(chosen)
    assert (best.phase, best.search.metric, best.search.trials) == (2, "rank_ic", 5)
    (start,) = first_configurations(build_space(best, **shape), best)
    assert start.config is not None
    assert start.config.shape._replace(n_heads=0) == configs["60k"].shape._replace(n_heads=0)
    assert start.config.train.rank_weight == 0.1


def test_a_second_phase_waits_for_the_end_of_the_first(tmp_path: Path) -> None:
    cells = [STUDY.cell_of_all(None, days) for days in (1, 3, 5)]
    phase_one(tmp_path / cells[0].name, {"2M": [0.40] * 40, "20M": [0.41] * 30})
    phase_one(tmp_path / cells[1].name, {"2M": [0.40] * 12, "20M": [0.41] * 9, "200M": [0.5]})
    found, waiting = second_phases(STUDY, cells, tmp_path, trials=None, metric=None)
    assert [second.first.name for second in found] == [cells[0].name]
    assert waiting == [
        f"phase 2 of {cells[1].name}: phase 1 is NOT complete: 22 of 70 trials; the best budgets "
        "so far are 2M, 20M",
        f"phase 2 of {cells[2].name}: phase 1 has not begun",
    ]


def test_a_first_phase_without_a_usable_trial_has_no_second(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="must have a usable result"):
        phase_one(tmp_path / CELL.name, {"2M": [0.4] * 70}, reason="collapsed")
    found, (line,) = second_phases(STUDY, [CELL], tmp_path, trials=None, metric=None)
    assert found == []
    assert line.startswith(f"phase 2 of {CELL.name}: ")
    assert "70 trials, none of them usable" in line
