from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState
from ray.tune.search import Searcher

from study.search.forced import forced_configurations
from study.search.searcher import METRIC, PROGRESS, CellSearcher
from study.search.space import SearchSpace, TrialConfig, build_space
from study.spec import load_study

SPACES = Path(__file__).parent.parent.parent / "search_spaces"


@pytest.fixture
def space() -> SearchSpace:
    cell = load_study(SPACES / "smoke.yaml").cell("50k", 1, data={}, search={})
    return build_space(cell, n_features=25)


def searcher(space: SearchSpace, seed: int = 1) -> CellSearcher:
    forced = forced_configurations(space, "extremes6")
    return CellSearcher(space, forced, seed=seed, startup_trials=3)


def end(value: float, percent: int, reason: str | None) -> dict[str, Any]:
    return {METRIC: value, PROGRESS: percent, "stop_reason": reason}


def states(found: CellSearcher) -> list[TrialState]:
    return [trial.state for trial in found._study.trials]


def test_forced_configurations_come_first_and_in_order(space: SearchSpace) -> None:
    found = searcher(space)
    slots = forced_configurations(space, "extremes6")
    for number, slot in enumerate(slots):
        config = found.suggest(f"id{number}")
        assert isinstance(config, dict)
        assert config["source"] == f"forced:{slot.name}"
        assert config["number"] == number
        assert TrialConfig.from_flat(config) == slot.config
    sampled = found.suggest("id6")
    assert isinstance(sampled, dict)
    assert sampled["source"] == "sampled"


def test_how_a_trial_ended_is_what_optuna_is_told(space: SearchSpace) -> None:
    found = searcher(space)
    for number in range(6):
        found.suggest(f"id{number}")
    found.on_trial_complete("id0", end(0.4, 100, "completed"))
    found.on_trial_complete("id1", end(0.5, 50, "early_stopping"))
    found.on_trial_complete("id2", end(0.6, 25, None))
    found.on_trial_complete("id3", end(0.45, 30, "collapsed"))
    found.on_trial_complete("id4", {PROGRESS: 5, "stop_reason": "diverged"})
    found.on_trial_complete("id5", None, error=True)
    assert states(found) == [
        TrialState.COMPLETE, TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL,
        TrialState.FAIL, TrialState.FAIL,
    ]  # fmt: skip
    trials = found._study.trials
    assert trials[0].value == 0.4
    assert trials[2].intermediate_values == {25: 0.6}
    assert trials[4].value is None


def test_a_replayed_result_or_end_changes_nothing(space: SearchSpace) -> None:
    found = searcher(space)
    found.suggest("id0")
    for _ in range(2):
        found.on_trial_result("id0", end(0.5, 25, None))
    for value in (0.4, 0.1):
        found.on_trial_complete("id0", end(value, 100, "completed"))
    found.on_trial_result("unknown", end(0.5, 25, None))
    assert found._study.trials[0].value == 0.4
    assert found._study.trials[0].intermediate_values == {25: 0.5}


def test_the_same_seed_draws_the_same_trials(space: SearchSpace) -> None:
    one, same, other = searcher(space), searcher(space), searcher(space, seed=2)
    draws = [[each.suggest(f"id{n}") for n in range(10)] for each in (one, same, other)]
    assert draws[0] == draws[1]
    assert draws[0] != draws[2]


def test_a_restored_searcher_goes_on_as_if_nothing_had_happened(
    space: SearchSpace, tmp_path: Path
) -> None:
    undisturbed = searcher(space)
    for number in range(8):
        undisturbed.suggest(f"id{number}")
        undisturbed.on_trial_result(f"id{number}", end(0.5 + number / 100, 25, None))
        if number % 2:
            undisturbed.on_trial_complete(f"id{number}", end(0.4, 100, "completed"))
    undisturbed.save(str(tmp_path / "state"))
    restored = searcher(space, seed=99)
    restored.restore(str(tmp_path / "state"))
    for number in range(8, 12):
        assert restored.suggest(f"id{number}") == undisturbed.suggest(f"id{number}")
    restored.on_trial_complete("id0", end(0.3, 100, "completed"))
    assert restored._study.best_value == 0.3


def test_a_finite_space_never_repeats_a_configuration_and_then_ends(tmp_path: Path) -> None:
    text = (SPACES / "smoke.yaml").read_text()
    text = text.replace("{uniform: [0.1, 0.3]}", "0.1")
    text = text.replace("{log_uniform: [3.0e-4, 3.0e-3]}", "0.001")
    path = tmp_path / "finite.yaml"
    path.write_text(text)
    finite = build_space(load_study(path).cell("50k", 1, data={}, search={}), n_features=25)
    found = searcher(finite)
    drawn = []
    for number in range(len(finite.shapes) + 1):
        config = found.suggest(f"id{number}")
        if config == Searcher.FINISHED:
            break
        drawn.append(TrialConfig.from_flat(config))  # type: ignore[arg-type]
    assert len(drawn) == len(set(drawn)) > len(forced_configurations(finite, "extremes6"))
