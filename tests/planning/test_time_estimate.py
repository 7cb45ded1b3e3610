"""What is made of measured steps, without measuring any."""

import dataclasses
import json
from pathlib import Path

import pytest

from study.errors import SpecError
from study.model.sizing import count_parameters
from study.planning.step_times import LayerTimes, ProbeTime, StepTimes, layer_flops
from study.planning.time_estimate import saved_share
from study.results.plans.plan_file import read_measurements
from study.results.plans.plan_record import Estimate
from study.search.space import SearchSpace, TrialConfig, build_space
from study.spec.spec_file import load_study
from study.spec.specification import SearchConfig

SPACES = Path(__file__).parent.parent.parent / "search_spaces"
ESTIMATE = Estimate(
    epoch_seconds_min=1.0,
    epoch_seconds_median=2.0,
    epoch_seconds_max=3.5,
    search_seconds_expected=60.0,
    search_seconds_most=90.0,
    trained_share=0.6,
    start_seconds=10.0,
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
        checkpoint_seconds=0.1,
    )


def test_layers_beyond_the_measured_ones_follow_a_straight_line(space: SearchSpace) -> None:
    rows = list(space.configs())
    work = sorted({layer_flops(config.model) for config in rows})
    # A sample costs its layers' work, and 2 for what surrounds them.
    times = StepTimes(
        layers=tuple(
            LayerTimes(layer_flops=w, deep_layers=8, shallow=linear(2 + w), deep=linear(2 + 8 * w))
            for w in (work[0], work[-1])
        ),
        checkpoints=((1_000_000, 0.1), (2_000_000, 0.2)),
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
        layer_flops=layer_flops(config.model),
        deep_layers=8,
        shallow=linear(0.0, step_seconds=3.0),
        deep=linear(0.0, step_seconds=3.0),
    )
    times = StepTimes(layers=(layer,), checkpoints=((1, 0.0),), worker_seconds=0.0)
    assert config.train.effective_batch == 256
    assert times.epoch_seconds(config, 257, 0) == pytest.approx(2 * 3.0)


def test_few_short_epochs_are_saved_and_every_long_one() -> None:
    search = SearchConfig(trials=50, grace_share=0.25, reduction_factor=3, checkpoint_seconds=10.0)
    # Two rungs and the end, and as much as ten seconds allow.
    assert saved_share(search, 20, 0.5) == pytest.approx((3 + 1) / 20)
    assert saved_share(search, 20, 0.0) == pytest.approx(3 / 20)
    assert saved_share(search, 20, 60.0) == 1.0
    assert saved_share(search, 1, 0.5) == 1.0
    assert saved_share(dataclasses.replace(search, scheduler="fifo"), 20, 0.0) == 1 / 20
    assert saved_share(dataclasses.replace(search, checkpoint_seconds=0.0), 20, 0.5) == 1.0


def test_a_checkpoint_takes_as_long_as_its_parameters_say(space: SearchSpace) -> None:
    config = next(iter(space.configs()))
    layer = LayerTimes(
        layer_flops=layer_flops(config.model), deep_layers=8, shallow=linear(0.0), deep=linear(0.0)
    )
    count = count_parameters(config.model)
    measured = ((count - 100, 0.1), (count + 100, 0.3))
    times = StepTimes(layers=(layer,), checkpoints=measured, worker_seconds=0.0)
    assert times.checkpoint_seconds(config) == pytest.approx(0.2)


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
    for name in raw:
        with pytest.raises(SpecError, match="here: must hold the estimate of a plan"):
            Estimate.from_json({**raw, name: None}, "here")
