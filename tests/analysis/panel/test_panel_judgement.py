"""Claims on a panel's cells, with answers that are planted."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import yaml

from analysis.panel.day_scores import day_scores
from analysis.panel.panel_judgement import JudgedPanel, judge_panel, risen
from analysis.panel.panel_records import PanelRecords, read_panel
from analysis.panel.panel_words import verdict
from analysis.study_records import read_study
from study.errors import StudyError
from study.results.finals.panel_predictions import write_panel_predictions
from study.results.finals.variant_records import variant_folder
from study.storage.layout import CELL_FILE, FINAL_FOLDER, PREDICTIONS_FILE
from tests.analysis.panel.planted import (
    cell_name,
    concatenated,
    returns,
    rows,
    scores,
    write_panel_study,
    write_planted_variant,
)
from tests.analysis.records import FAMILY


def read(results: Path) -> PanelRecords:
    return read_panel(results, read_study(results, None))


def judged(results: Path) -> JudgedPanel:
    return judge_panel(read(results))


def test_a_difference_is_the_mean_of_paired_days(tmp_path: Path) -> None:
    write_panel_study(tmp_path, {1000: 0.3}, n_days=120)
    (cell,) = judged(tmp_path).cells
    own, ridge = cell.cell.own.rank_ic, cell.cell.test.models["ridge"].rank_ic
    against = cell.against("ridge")
    assert against is not None
    gain = risen(against.difference)
    assert gain.value == pytest.approx(own.mean() - ridge.mean())
    assert gain.low is not None
    assert gain.high is not None
    assert gain.low < gain.value < gain.high
    assert cell.own.rank_ic.value == pytest.approx(own.mean())
    # All cells and baselines are one family.
    assert len(cell.standing.differences) == 5
    assert cell.rival == "ridge"


@pytest.mark.parametrize(
    ("correlation", "ridge", "claim"),
    [(0.3, 0.05, "better"), (0.05, 0.3, "worse"), (0.05, 0.05, "not told apart")],
)
def test_what_is_planted_is_claimed(
    tmp_path: Path, correlation: float, ridge: float, claim: str
) -> None:
    write_panel_study(tmp_path, {1000: correlation}, n_days=200, rivals={"ridge": ridge})
    (cell,) = judged(tmp_path).cells
    against = cell.against("ridge")
    assert against is not None
    assert against.claim == claim
    said = "cannot be told apart" if claim == "not told apart" else claim
    assert verdict(cell).startswith(f"RankIC +{cell.own.rank_ic.value:.4f} [")
    assert "on 200 test days; against ridge " in verdict(cell)
    assert verdict(cell).endswith(f": {said}")


@pytest.mark.slow
def test_rankings_that_know_nothing_are_seldom_called_better_than_zero(tmp_path: Path) -> None:
    write_panel_study(tmp_path, {1000: 0.0}, n_days=150, n_assets=10, rivals={"zero": 0.0})
    records = read(tmp_path)
    (cell,) = records.cells
    claims = []
    for seed in range(40):
        y = returns(150, 10, seed)
        noise = {FAMILY: [scores(y, 0.0, 1000 + seed)], "zero": [0 * y]}
        test = day_scores(concatenated(rows(noise, y)), "test", "demo", cell.portfolio)
        assert test is not None
        own = dataclasses.replace(cell, test=test)
        (found,) = judge_panel(dataclasses.replace(records, cells=[own])).cells
        claims.append(found.standing.differences[0].claim)
    # One in forty is meant to be called either.
    assert claims.count("better") <= 2
    assert claims.count("worse") <= 2


@pytest.mark.slow
def test_more_comparisons_make_a_claim_harder(tmp_path: Path) -> None:
    write_panel_study(tmp_path, {1000: 0.045}, n_days=300, rivals={"zero": 0.0})
    records = read(tmp_path)
    (alone,) = judge_panel(records).cells
    assert alone.standing.differences[0].claim == "better"
    write_panel_study(
        tmp_path, {10_000 * k: 0.0 for k in range(1, 5)}, n_days=300,
        rivals={f"noise {k}": 0.0 for k in range(12)},
    )  # fmt: skip
    cell = next(each for each in judged(tmp_path).cells if each.label == "1000")
    (difference,) = cell.standing.differences
    assert difference.difference == alone.standing.differences[0].difference
    assert difference.excludes_zero
    assert difference.claim == "not told apart"
    assert verdict(cell).endswith("cannot be told apart after all comparisons")


def test_a_ranking_above_the_best_possible_one_is_a_leak(tmp_path: Path) -> None:
    write_panel_study(tmp_path, {1000: 0.05, 2000: 0.3}, n_days=200, oracle=0.1)
    below, above = judged(tmp_path).cells
    assert (below.is_leak, above.is_leak) == (False, True)
    assert above.under_oracle is not None
    oracle = above.cell.test.models["oracle"].rank_ic
    assert above.under_oracle.value == pytest.approx(above.own.rank_ic.value - oracle.mean())
    assert above.oracle_errors is not None
    assert above.oracle_errors > 3
    # The best possible scores are no baseline.
    assert above.against("oracle") is None


@pytest.mark.slow
@pytest.mark.parametrize(("n_sizes", "is_told"), [(4, False), (5, True)])
def test_a_trend_over_size_takes_five_sizes(tmp_path: Path, n_sizes: int, is_told: bool) -> None:
    planted = {1000 * 4**k: 0.05 + 0.1 * k for k in range(n_sizes)}
    write_panel_study(tmp_path, planted, n_days=100, rivals={"zero": 0.0})
    (horizon,) = judged(tmp_path).horizons
    assert horizon.n_sizes == n_sizes
    assert horizon.trend is not None
    assert horizon.trend.slope.value < 0
    assert horizon.trend.is_told == is_told


def test_cells_of_a_horizon_with_other_days_are_refused(tmp_path: Path) -> None:
    write_panel_study(tmp_path, {1000: 0.1}, n_days=60)
    write_panel_study(tmp_path, {2000: 0.1}, n_days=50)
    with pytest.raises(StudyError, match="must have the days of demo_1000"):
        judged(tmp_path)


def test_a_collapsed_or_incomplete_winner_is_left_out_of_the_trend(tmp_path: Path) -> None:
    unfinished = {"asked": 8, "ended": 3, "reasons": {}, "is_complete": False}
    write_panel_study(tmp_path, {1000: 0.1}, n_days=60, search=unfinished)
    write_panel_study(tmp_path, {2000: 0.1}, n_days=60)
    incomplete, whole = judged(tmp_path).cells
    assert incomplete.flags == ["the winner is of an incomplete search: 3 of 8 trials"]
    assert not whole.flags
    zero = dataclasses.replace(whole.cell.own, rank_ic=0 * whole.cell.own.rank_ic)
    models = {**whole.cell.test.models, FAMILY: zero}
    test = dataclasses.replace(whole.cell.test, models=models)
    collapsed = dataclasses.replace(whole.cell, test=test)
    records = dataclasses.replace(read(tmp_path), cells=[collapsed])
    (found,) = judge_panel(records).cells
    assert found.flags == ["the winner has collapsed: it ranks nothing"]


def test_a_variant_is_paired_with_its_winner_by_seed(tmp_path: Path) -> None:
    write_panel_study(tmp_path, {1000: 0.1}, n_days=100, variants={"adabelief": 0.2, "lion": 0.1})
    better, same = judged(tmp_path).variants
    assert better.difference.model == "optimizer=adabelief"
    assert better.difference.other == "optimizer=adamw"
    assert better.n_seeds == 3
    changed, base = better.variant.test.rank_ic, better.cell.own.rank_ic
    gain = risen(better.difference.difference)
    assert gain.value == pytest.approx((changed - base).mean())
    assert better.difference.is_better
    # Its scores are those of the final runs.
    assert same.difference.difference.value == 0
    assert same.difference.claim == "not told apart"


def test_a_variant_of_other_seeds_counts_only_where_both_have_one(tmp_path: Path) -> None:
    write_panel_study(tmp_path, {1000: 0.1}, n_days=100)
    name = cell_name(1000, 5)
    folder = tmp_path / FINAL_FOLDER / name
    y = returns(100, 20, 2)
    tables = rows({FAMILY: [scores(y, 0.2, seed) for seed in range(6)]}, y)
    # Seeds 2 and up: one of the final runs' three.
    write_planted_variant(folder, name, "adabelief", tables[2:])
    (variant,) = judged(tmp_path).variants
    assert variant.n_seeds == 1
    base = variant.cell.own.rank_ic[2]
    gain = risen(variant.difference.difference).value
    assert gain == pytest.approx((variant.variant.test.rank_ic[0] - base).mean())


@pytest.mark.parametrize("what", ["winner", "days", "seeds", "file"])
def test_a_variant_that_cannot_be_paired_is_named_and_left_out(tmp_path: Path, what: str) -> None:
    write_panel_study(tmp_path, {1000: 0.1}, n_days=60)
    name = cell_name(1000, 5)
    folder = tmp_path / FINAL_FOLDER / name
    y = returns(60, 20, 2)[: 50 if what == "days" else 60]
    tables = rows({FAMILY: [scores(y, 0.2, seed) for seed in range(6)]}, y)
    write_planted_variant(
        folder, name, "adabelief", tables[3:] if what == "seeds" else tables,
        winner=2 if what == "winner" else 1,
    )  # fmt: skip
    if what == "file":
        (variant_folder(folder, "optimizer=adabelief") / PREDICTIONS_FILE).write_bytes(b"torn")
    records = read(tmp_path)
    assert len(records.cells) == 1
    assert not records.cells[0].variants
    (problem,) = records.problems
    assert "optimizer=adabelief" in problem


def test_a_cell_without_a_winner_or_a_baseline_is_left_out(tmp_path: Path) -> None:
    write_panel_study(tmp_path, {1000: 0.1, 2000: 0.1, 3000: 0.1}, n_days=60)
    y = returns(60, 20, 2)
    for size, models in ((1000, {"ridge": [y]}), (2000, {FAMILY: [y], "oracle": [y]})):
        path = tmp_path / FINAL_FOLDER / cell_name(size, 5) / PREDICTIONS_FILE
        write_panel_predictions(path, rows(models, y))
    records = read(tmp_path)
    assert [cell.label for cell in records.cells] == ["3000"]
    assert len(records.problems) == 2
    assert all("must hold test days of patchtst and of a baseline" in p for p in records.problems)


@pytest.mark.parametrize("setting", [{"portfolio_share": 0.4}, {"cost_bps": 50.0}])
def test_the_portfolio_and_its_costs_reach_the_report(
    tmp_path: Path, setting: dict[str, float]
) -> None:
    write_panel_study(tmp_path, {1000: 0.1}, n_days=60, rivals={"ridge": 0.0})
    (before,) = read(tmp_path).cells
    path = tmp_path / cell_name(1000, 5) / CELL_FILE
    described = yaml.safe_load(path.read_text(encoding="utf-8"))
    described["spec"]["data"] |= setting
    path.write_text(yaml.safe_dump(described), encoding="utf-8")
    (after,) = read(tmp_path).cells
    assert not np.array_equal(before.own.net, after.own.net)
    assert np.array_equal(before.own.rank_ic, after.own.rank_ic)
