"""What is made of measured times, without measuring any."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest

from study.cluster.resources import SearchResources
from study.data.dataset import Dataset, build_dataset
from study.errors import SpecError
from study.model.sizing import count_parameters
from study.planning.probing import models
from study.planning.simulation import TrialCost
from study.planning.step_times import (
    CheckpointTime,
    LayerTimes,
    ProbeTime,
    StepTimes,
    layer_flops,
)
from study.planning.time_estimate import _queues, estimate_search, mode_seconds, saved_shares
from study.results.plans.grid_record import MemoryMode, ModeRecord
from study.results.plans.plan_file import read_measurements
from study.results.plans.plan_record import Estimate
from study.search.space import SearchSpace, TrialConfig, build_space
from study.spec.dimension import Fixed
from study.spec.overrides import Overrides
from study.spec.search_config import SearchConfig
from study.spec.spec_file import load_study
from study.spec.specification import Cell
from tests.search.simulated_search import request

ALIKE = 1e18
"""Operations of the smallest layer that is timed: all smaller ones take as long."""
SPACES = Path(__file__).parent.parent.parent / "search_spaces"
ESTIMATE = Estimate(
    epoch_seconds_min=1.0,
    epoch_seconds_median=2.0,
    epoch_seconds_max=3.5,
    search_seconds_expected=60.0,
    search_seconds_most=90.0,
    trained_share=0.6,
    start_seconds=10.0,
    planning_seconds=4.0,
    epoch_seconds={"d64 L3": 1.5},
)


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    cell = load_study(SPACES / "phase6a.yaml").cell("2M", 1)
    return build_space(cell, n_features=25)


def linear(window_seconds: float, *, step_seconds: float = 0.0) -> ProbeTime:
    return ProbeTime(
        window_seconds=window_seconds,
        step_seconds=step_seconds,
        validation_seconds=window_seconds / 4,
        begin_seconds=0.0,
        checkpoint=None,
    )


def written(n_params: int, seconds: float, copied_seconds: float = 0.0) -> CheckpointTime:
    return CheckpointTime(
        memory="full", n_params=n_params, written_seconds=seconds, copied_seconds=copied_seconds
    )


def test_layers_beyond_the_measured_ones_follow_a_straight_line(space: SearchSpace) -> None:
    rows = list(space.configs())
    work = sorted({layer_flops(config.model) for config in rows})
    # A sample costs its layers' work, and 2 for what surrounds them.
    times = StepTimes(
        layers=tuple(
            LayerTimes(
                memory="full",
                layer_flops=w,
                deep_layers=8,
                shallow=linear(2 + w),
                deep=linear(2 + 8 * w),
            )
            for w in (work[0], work[-1])
        ),
        checkpoints=(written(1_000_000, 0.1), written(2_000_000, 0.2)),
        worker_seconds=0.0,
    )

    def expected(config: TrialConfig) -> float:
        return 2 + config.model.n_layers * layer_flops(config.model)

    for config in rows:
        # A hundred samples for training; four for validation cost as much as one of them.
        per_sample = (times.epoch_seconds(config, 100, 4) - times.epoch_seconds(config, 0, 0)) / 101
        assert per_sample == pytest.approx(expected(config))


def test_the_optimizer_counts_once_per_batch(space: SearchSpace) -> None:
    config = next(iter(space.configs()))
    layer = LayerTimes(
        memory="full",
        layer_flops=layer_flops(config.model),
        deep_layers=8,
        shallow=linear(0.0, step_seconds=3.0),
        deep=linear(0.0, step_seconds=3.0),
    )
    times = StepTimes(layers=(layer,), checkpoints=(written(1, 0.0),), worker_seconds=0.0)
    assert config.train.effective_batch == 256
    assert times.epoch_seconds(config, 257, 0) == pytest.approx(2 * 3.0)


def test_each_memory_mode_has_its_own_times(space: SearchSpace) -> None:
    config = next(iter(space.configs()))
    lean = dataclasses.replace(config, train=dataclasses.replace(config.train, memory="lean"))
    flops = layer_flops(config.model)
    full = LayerTimes(
        memory="full", layer_flops=flops, deep_layers=8, shallow=linear(3.0), deep=linear(3.0)
    )
    slower = dataclasses.replace(full, memory="lean", shallow=linear(4.0), deep=linear(4.0))
    times = StepTimes(
        layers=(full, slower),
        checkpoints=(written(1, 0.2), dataclasses.replace(written(1, 0.1), memory="lean")),
        worker_seconds=0.0,
    )
    full_seconds, lean_seconds = (times.epoch_seconds(one, 10, 0) for one in (config, lean))
    assert lean_seconds / full_seconds == pytest.approx(4 / 3)
    found = [times.checkpoint(one) for one in (config, lean)]
    assert [(one.memory, one.written_seconds) for one in found] == [("full", 0.2), ("lean", 0.1)]


def test_both_modes_of_a_space_are_probed_each_in_its_own_sizes(space: SearchSpace) -> None:
    wide = max(space.shapes, key=lambda shape: shape.d_model)
    mixed = space.with_lean(shape for shape in space.shapes if shape.d_model == wide.d_model)
    timed = models.probed_models(mixed, on_cpu=True)
    probed: dict[str, list[int]] = {"full": [], "lean": []}
    for one in timed[::2]:
        probed[one.config.train.memory].append(one.config.model.d_model)
    assert set(probed["lean"]) == {wide.d_model}
    assert wide.d_model not in probed["full"]
    assert len(probed["full"]) == 3
    # The smallest of each mode is written, for there is nothing else to extrapolate from.
    assert {one.config.train.memory for one in timed if one.saves} == {"full", "lean"}


def test_budgets_of_a_study_share_the_models_of_the_layers_that_they_share() -> None:
    study = load_study(SPACES / "phase6a.yaml")
    timed = [
        {
            one.config.model
            for one in models.probed_models(build_space(cell, n_features=25), on_cpu=True)
        }
        for cell in (study.cell("750k", 1), study.cell("2M", 1))
    ]
    # The narrowest layer in both depths, and the flat model of another one.
    assert sorted(
        (model.d_model, model.d_ff_ratio, model.n_layers) for model in timed[0] & timed[1]
    ) == [(64, 2, 1), (64, 2, 8), (192, 2, 1)]


@pytest.mark.parametrize(
    ("on_cpu", "expected"),
    [
        (True, [(768, 1), (768, 2), (1024, 1), (1024, 2)]),
        (False, [(768, 1), (768, 8), (2048, 1), (2048, 2)]),
    ],
)
def test_large_layers_are_timed_in_few_and_those_of_a_minute_only_where_they_take_none(
    on_cpu: bool, expected: list[tuple[int, int]]
) -> None:
    cell = load_study(SPACES / "phase6a.yaml").cell("2B", 1)
    timed = models.probed_models(build_space(cell, n_features=25), on_cpu=on_cpu)
    assert [(one.config.model.d_model, one.config.model.n_layers) for one in timed] == expected


def test_a_layer_larger_than_those_that_were_timed_takes_as_much_longer_as_it_has_to_do(
    space: SearchSpace,
) -> None:
    rows = sorted(space.configs(), key=lambda config: layer_flops(config.model))
    small, large = rows[0], rows[-1]
    layer = LayerTimes(
        memory="full",
        layer_flops=layer_flops(small.model),
        deep_layers=2,
        shallow=linear(1.0, step_seconds=2.0),
        deep=linear(1.0, step_seconds=2.0),
    )
    times = StepTimes(layers=(layer,), checkpoints=(written(1, 0.0),), worker_seconds=0.0)
    ratio = layer_flops(large.model) / layer_flops(small.model)
    assert ratio > 10
    assert times.epoch_seconds(large, 256, 4) == pytest.approx(
        ratio * times.epoch_seconds(small, 256, 4)
    )


def test_an_epoch_that_is_cut_short_takes_the_time_of_its_steps(space: SearchSpace) -> None:
    config = next(iter(space.configs()))
    cut = dataclasses.replace(config, train=dataclasses.replace(config.train, steps_per_epoch=2))
    times = StepTimes(
        layers=(
            LayerTimes(
                memory="full",
                layer_flops=ALIKE,
                deep_layers=8,
                shallow=linear(1.0),
                deep=linear(1.0),
            ),
        ),
        checkpoints=(written(1, 0.0),),
        worker_seconds=0.0,
    )
    assert times.epoch_seconds(cut, 5000, 0) == times.epoch_seconds(config, 512, 0)
    assert times.epoch_seconds(cut, 300, 0) == times.epoch_seconds(config, 300, 0)


def test_a_search_in_the_other_mode_takes_the_products_that_it_computes_more() -> None:
    estimate = dataclasses.replace(ESTIMATE, search_seconds_expected=130.0, start_seconds=10.0)

    def mode(memory: MemoryMode, n_planned: int, obstacle: str | None = None) -> ModeRecord:
        return ModeRecord(
            memory=memory, n_planned=n_planned, needed_min_bytes=1, needed_max_bytes=1,
            checkpoint_bytes=1, obstacle=obstacle,
        )  # fmt: skip

    assert mode_seconds(estimate, [mode("full", 5), mode("lean", 0)]) == {"full": 130, "lean": 170}
    assert mode_seconds(estimate, [mode("full", 0), mode("lean", 5)]) == {"full": None, "lean": 130}
    assert mode_seconds(estimate, [mode("full", 2), mode("lean", 3)]) == {
        "full": None,
        "lean": None,
    }
    refused = mode_seconds(estimate, [mode("full", 5), mode("lean", 0, "it has phases")])
    assert refused == {"full": 130, "lean": None}


def test_few_short_epochs_are_saved_and_every_long_one() -> None:
    search = SearchConfig(trials=50, grace_share=0.25, reduction_factor=3, checkpoint_seconds=10.0)
    # Two rungs and the end are waited for; a thread writes as much as ten seconds allow.
    assert saved_shares(search, 20, 0.5) == pytest.approx((3 / 20, 1 / 20))
    assert saved_shares(search, 20, 0.0) == pytest.approx((3 / 20, 0.0))
    assert saved_shares(search, 20, 60.0) == pytest.approx((3 / 20, 17 / 20))
    assert saved_shares(search, 1, 0.5) == (1.0, 0.0)
    without_rungs = dataclasses.replace(search, scheduler="fifo")
    assert saved_shares(without_rungs, 20, 0.0) == (1 / 20, 0.0)
    at_once = dataclasses.replace(search, checkpoint_seconds=0.0)
    assert saved_shares(at_once, 20, 0.5) == (1.0, 0.0)


def test_the_trials_before_tpe_draws_are_simulated_cheap_ones_first() -> None:
    search = SearchConfig(trials=9, startup_trials=4, cheap_first=True)
    costs = [
        TrialCost(budget="2M", epochs=2, epoch_seconds=float(n), begin_seconds=0.0)
        for n in range(1, 30)
    ]
    first = [costs[25], costs[5]]
    listed, ordered = (
        _queues(first, costs, each, np.random.default_rng(0))
        for each in (dataclasses.replace(search, cheap_first=False), search)
    )
    for as_listed, queue in zip(listed, ordered, strict=True):
        assert queue[:4] == sorted(as_listed[:4], key=lambda trial: trial.epoch_seconds)
        assert queue[4:] == as_listed[4:]
    assert listed != ordered


def test_a_checkpoint_takes_as_long_as_its_parameters_say(space: SearchSpace) -> None:
    config = next(iter(space.configs()))
    layer = LayerTimes(
        memory="full",
        layer_flops=layer_flops(config.model),
        deep_layers=8,
        shallow=linear(0.0),
        deep=linear(0.0),
    )
    count = count_parameters(config.model)
    measured = (written(count - 100, 0.1, 0.02), written(count + 100, 0.3, 0.04))
    times = StepTimes(layers=(layer,), checkpoints=measured, worker_seconds=0.0)
    found = times.checkpoint(config)
    assert found.written_seconds == pytest.approx(0.2)
    assert found.copied_seconds == pytest.approx(0.03)
    # Two of equal size say nothing of a larger one, however their noise differs.
    alike = (written(count - 100, 0.1, 0.02), written(count - 100, 0.3, 0.04))
    found = dataclasses.replace(times, checkpoints=alike).checkpoint(config)
    assert found.written_seconds == pytest.approx(0.1)


TERMS = {
    "window_seconds": 0.001, "step_seconds": 0.02, "validation_seconds": 0.0005,
    "begin_seconds": 0.7, "written_seconds": 0.4, "copied_seconds": 0.1, "worker_seconds": 5.0,
    "driver_seconds": 6.0, "planning_seconds": 9.0,
}  # fmt: skip
"""Made-up seconds of everything that a search is planned from, the same for all architectures."""


def expected_seconds(cell: Cell, data: Dataset, **terms: float) -> float:
    """Return the estimate of a search of one slot in which everything takes these times."""
    space = build_space(cell, n_features=len(data.feature_names))
    probe = ProbeTime(
        checkpoint=None,
        **{name: terms[name] for name in (
            "window_seconds", "step_seconds", "validation_seconds", "begin_seconds",
        )},
    )  # fmt: skip
    times = StepTimes(
        layers=(
            LayerTimes(memory="full", layer_flops=ALIKE, deep_layers=2, shallow=probe, deep=probe),
        ),
        checkpoints=(written(1, terms["written_seconds"], terms["copied_seconds"]),),
        worker_seconds=terms["worker_seconds"],
    )
    estimate = estimate_search(
        space, cell.search, data, (), {"750k": times}, concurrency=1,
        resources=SearchResources(by_budget={"750k": request(1)}, n_nodes=1),
        driver_seconds=terms["driver_seconds"], planning_seconds=terms["planning_seconds"],
    )  # fmt: skip
    start = terms["driver_seconds"] + terms["planning_seconds"] + terms["worker_seconds"]
    assert estimate.start_seconds == pytest.approx(start)
    assert estimate.planning_seconds == terms["planning_seconds"]
    return estimate.search_seconds_expected


@pytest.fixture(scope="module")
def short() -> tuple[Cell, Dataset]:
    search = {"trials": 3, "scheduler": "fifo", "checkpoint_seconds": 30.0}
    cell = load_study(SPACES / "smoke.yaml").cell("750k", 1, Overrides(search=search))
    return cell, build_dataset(cell.data)


@pytest.mark.parametrize("term", [None, *TERMS])
def test_the_time_of_a_search_is_the_sum_of_its_terms(
    term: str | None, short: tuple[Cell, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    # All architectures take equally long, so that a few draws stand for all.
    monkeypatch.setattr("study.planning.time_estimate._N_DRAWN", 2)
    cell, data = short
    terms = dict(TERMS)
    if term is not None:
        terms[term] += 1e-3
    n_train, n_validation = len(data.train_days), len(data.validation_days)
    epoch = (
        n_train * terms["window_seconds"]
        + math.ceil(n_train / 256) * terms["step_seconds"]
        + n_validation * terms["validation_seconds"]
    )
    # The last of two epochs is saved before it is reported, and one every thirty seconds by a
    # thread; a report takes a hundredth of a second.
    trial = (
        2 * (epoch + 0.01)
        + terms["written_seconds"]
        + 2 * epoch / 30.0 * terms["copied_seconds"]
        # From one trial to the next.
        + 0.3
        + terms["begin_seconds"]
    )
    # The end of the command takes three seconds.
    around = terms["driver_seconds"] + terms["planning_seconds"] + terms["worker_seconds"] + 3.0
    found = expected_seconds(cell, data, **terms)
    assert found == pytest.approx(around + 3 * trial, abs=1e-6)
    if term is not None:
        assert found > expected_seconds(cell, data, **TERMS)


def test_the_epochs_of_all_folds_are_counted(
    short: tuple[Cell, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("study.planning.time_estimate._N_DRAWN", 2)
    cell, data = short
    folded = dataclasses.replace(data, search_folds=(data, data, data))
    free = dict.fromkeys(TERMS, 0.0)
    for term in ("window_seconds", "step_seconds", "validation_seconds", "begin_seconds"):
        own = free | {term: 0.5}
        # The report and the change to the next trial are those of one trial, as the end is.
        fixed = expected_seconds(cell, data, **free)
        one = expected_seconds(cell, data, **own) - fixed
        assert expected_seconds(cell, folded, **own) - fixed == pytest.approx(3 * one)


def test_epochs_of_a_pretraining_are_counted_without_a_validation(
    short: tuple[Cell, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("study.planning.time_estimate._N_DRAWN", 2)
    cell, data = short
    more = dataclasses.replace(cell, train={**cell.train, "pretrain_epochs": Fixed(2)})
    terms = dict.fromkeys(TERMS, 0.0) | {"window_seconds": 0.5, "validation_seconds": 0.5}
    added = expected_seconds(more, data, **terms) - expected_seconds(cell, data, **terms)
    assert added == pytest.approx(3 * 2 * 0.5 * len(data.train_days))


def test_an_estimate_survives_its_file(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    cells = [
        {"cell": "a", "problem": "too large", "estimate": None},
        {"cell": "b", "problem": None, "estimate": dataclasses.asdict(ESTIMATE)},
    ]
    path.write_text(json.dumps({"cells": cells, "total": {}}))
    assert Estimate.from_json(read_measurements(path, "b")["estimate"], "b") == ESTIMATE
    for cell in ("a", "c"):
        with pytest.raises(SpecError, match=f"with the estimate of {cell}, but got b"):
            read_measurements(path, cell)


@pytest.mark.parametrize("text", ["[]", "{}", '{"cells": [1]}', '{"cells": [{}]}'])
def test_any_other_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(SpecError, match=r"must be what study\.plan --json wrote"):
        read_measurements(path, "a")


def test_a_damaged_plan_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    for text in ("", "{", "[" * 100_000):
        path.write_text(text)
        with pytest.raises(SpecError, match=r"plan\.json: must be JSON, .* leave --estimate out"):
            read_measurements(path, "a")


def test_an_estimate_with_a_hole_is_refused() -> None:
    raw = dataclasses.asdict(ESTIMATE)
    assert Estimate.from_json(raw, "here") == ESTIMATE
    for name in raw.keys() - {"remembered"}:
        with pytest.raises(SpecError, match="here: must hold the estimate of a plan"):
            Estimate.from_json({**raw, name: None}, "here")


def test_an_estimate_of_an_older_version_knows_no_planning_time() -> None:
    raw = dataclasses.asdict(ESTIMATE)
    del raw["planning_seconds"]
    older = dataclasses.replace(ESTIMATE, planning_seconds=0.0)
    assert Estimate.from_json(raw, "here") == older
