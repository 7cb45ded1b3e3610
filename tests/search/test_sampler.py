import gc
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study.results.records import TrialState
from study.search.sampler import Sampler
from study.search.space import SearchSpace, TrialConfig, build_space
from study.spec.dimension import Range
from study.spec.spec_file import load_study

SPACES = Path(__file__).parent.parent.parent / "search_spaces"
STARTUP = 4


def build(text: str, path: Path) -> SearchSpace:
    path.write_text(text)
    return build_space(load_study(path).cell("50k", 1), n_features=25)


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    cell = load_study(SPACES / "smoke.yaml").cell("50k", 1)
    return build_space(cell, n_features=25)


@pytest.fixture
def finite(tmp_path: Path) -> SearchSpace:
    text = (SPACES / "smoke.yaml").read_text()
    text = text.replace("{uniform: [0.1, 0.3]}", "0.1")
    text = text.replace("{log_uniform: [3.0e-4, 3.0e-3]}", "0.001")
    return build(text, tmp_path / "finite.yaml")


def sampler(space: SearchSpace, seed: int = 1) -> Sampler:
    return Sampler(space, seed=seed, startup_trials=STARTUP)


def drawn(found: Sampler, number: int) -> TrialConfig:
    config = found.draw(number)
    assert config is not None
    return config


def started(found: Sampler, number: int) -> TrialConfig:
    config = drawn(found, number)
    found.place(number, config)
    return config


@dataclass(frozen=True)
class Step:
    """One call of a sampler."""

    kind: str
    number: int
    config: TrialConfig | None = None
    percent: int = 0
    value: float | None = None
    state: TrialState = "COMPLETE"

    def happen(self, found: Sampler) -> None:
        match self.kind:
            case "place":
                assert self.config is not None
                found.place(self.number, self.config)
            case "report":
                assert self.value is not None
                found.report(self.number, self.percent, self.value)
            case "tell":
                found.tell(self.number, self.state, self.value)


def play(found: Sampler, draw: Any, trials: int) -> list[Step]:
    """Run three trials at a time in random order, and return all calls of the sampler."""
    steps: list[Step] = []
    percents: dict[int, int] = {}
    number = 0

    def happens(step: Step) -> None:
        step.happen(found)
        steps.append(step)

    while number < trials or percents:
        if number < trials and len(percents) < 3 and (not percents or draw.random() < 0.5):
            happens(Step("place", number, config=drawn(found, number)))
            percents[number] = 0
            number += 1
            continue
        chosen = draw.choice(sorted(percents))
        percents[chosen] += 25
        percent, loss = percents[chosen], draw.uniform(0.5, 0.8)
        fate = draw.random()
        if fate < 0.1:
            happens(Step("tell", chosen, state="FAIL", value=draw.choice([None, 0.3])))
        else:
            happens(Step("report", chosen, percent=percent, value=loss))
            if fate < 0.4:
                happens(Step("tell", chosen, state="PRUNED", value=loss))
            elif percent == 100:
                happens(Step("tell", chosen, value=loss))
            else:
                continue
        del percents[chosen]
    return steps


def test_optuna_receives_how_a_trial_ended(space: SearchSpace) -> None:
    found = sampler(space)
    configs = [started(found, number) for number in range(5)]
    found.report(0, 100, 0.4)
    found.tell(0, "COMPLETE", 0.4)
    found.report(1, 25, 0.6)
    found.tell(1, "PRUNED", 0.6)
    # A collapsed trial has a value, which must not count as a score.
    found.report(2, 25, 0.1)
    found.tell(2, "FAIL", 0.1)
    found.tell(3, "FAIL", None)
    history = found.history()
    assert [(state, value, course) for state, _, value, course in history] == [
        ("COMPLETE", 0.4, {100: 0.4}),
        # Optuna takes the last intermediate value of a pruned trial for its value.
        ("PRUNED", 0.6, {25: 0.6}),
        ("RUNNING", None, {}),
    ]
    entered = [params for _, params, _, _ in history]
    assert entered == [space.optuna_params(configs[number]) for number in (0, 1, 4)]


def test_a_draw_leaves_nothing_behind(finite: SearchSpace) -> None:
    def n_trials() -> int:
        gc.collect()
        return sum(isinstance(each, optuna.trial.FrozenTrial) for each in gc.get_objects())

    found = sampler(finite)
    for number, config in enumerate(finite.configs()):
        found.place(number, config)
    before = n_trials()
    # Nothing is left to draw, so that it takes all attempts.
    assert found.draw(100) is None
    assert n_trials() == before


def test_of_a_long_history_tpe_sees_the_best_and_the_latest(
    space: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = sampler(space, seed=9)
    configs = [started(source, number) for number in range(60)]

    def drawn_after(changed: range, near: TrialConfig) -> list[TrialConfig]:
        """Draw after sixty trials, the earlier the better, of which ten are next to another one."""
        found = sampler(space)
        for number, config in enumerate(configs):
            if number in changed:
                rate = near.train.learning_rate
                rate += (1 + number % 10) / 100 * (0.001 - rate)
                config = replace(near, train=replace(near.train, learning_rate=rate))
            found.learn(config, "COMPLETE", 0.5 + number / 100, 100)
        return [drawn(found, 100 + number) for number in range(4)]

    # Neither of the 25 best nor of the 25 latest; of the best; of the latest.
    forgotten, best, latest = range(25, 35), range(10), range(45, 55)
    whole = drawn_after(range(0), configs[0])
    assert drawn_after(forgotten, whole[0]) != whole
    monkeypatch.setattr("study.search.sampler._MOST_SEEN", 50)
    short = drawn_after(range(0), configs[0])
    assert drawn_after(forgotten, short[0]) == short
    assert drawn_after(best, configs[50]) != short
    assert drawn_after(latest, short[0]) != short


def test_the_end_of_a_trial_is_reported_once(space: SearchSpace) -> None:
    found = sampler(space)
    started(found, 0)
    found.tell(0, "COMPLETE", 0.4)
    with pytest.raises(KeyError):
        found.tell(0, "COMPLETE", 0.1)


def test_a_schedule_of_many_epochs_reports_without_a_word(space: SearchSpace) -> None:
    found = sampler(space)
    started(found, 0)
    losses = [0.7 - 0.001 * epoch for epoch in range(1, 201)]
    for epoch, loss in enumerate(losses, start=1):
        found.report(0, 100 * epoch // 200, loss)
    found.tell(0, "COMPLETE", losses[-1])
    (_, _, value, course), *_ = found.history()
    assert value == losses[-1]
    assert course[100] == losses[-1]


@pytest.mark.slow
def test_a_finite_space_never_repeats_a_configuration_and_then_ends(finite: SearchSpace) -> None:
    found = sampler(finite)
    configs: list[TrialConfig] = []
    while (config := found.draw(len(configs))) is not None:
        found.place(len(configs), config)
        found.tell(len(configs), "COMPLETE", 0.5)
        configs.append(config)
        assert len(configs) <= len(finite.shapes)
    assert len(set(configs)) == len(configs) > len(finite.shapes) // 2


def test_a_known_configuration_is_not_drawn(finite: SearchSpace) -> None:
    found = sampler(finite)
    *known, last = finite.configs()
    for number, config in enumerate(known[: len(known) // 2]):
        found.place(number, config)
    for config in known[len(known) // 2 :]:
        found.learn(config, "COMPLETE", 0.5, 100)
    draws = {found.draw(number) for number in range(len(known), len(known) + 4)}
    assert draws <= {last, None}
    assert last in draws


def test_a_draw_depends_on_seed_and_number(space: SearchSpace) -> None:
    draws = [drawn(sampler(space, seed), number) for seed in (1, 2) for number in range(5)]
    assert len(set(draws)) == 10
    assert draws == [drawn(sampler(space, seed), n) for seed in (1, 2) for n in range(5)]


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(
    draw=st.randoms(use_true_random=False),
    trials=st.integers(1, 14),
    length=st.floats(0, 1),
    dropped=st.lists(st.integers(0, 20), max_size=4),
)
def test_a_rebuilt_sampler_draws_what_the_undisturbed_one_draws(
    space: SearchSpace, draw: Any, trials: int, length: float, dropped: list[int]
) -> None:
    undisturbed = sampler(space)
    steps = play(undisturbed, draw, trials)
    cut = round(length * len(steps))
    rebuilt = sampler(space)
    for step in steps[:cut]:
        step.happen(rebuilt)
    # These draws were made before a crash and never written down.
    for number in dropped:
        rebuilt.draw(number)
    for step in steps[cut:]:
        if step.kind == "place":
            assert rebuilt.draw(step.number) == step.config
        step.happen(rebuilt)
    assert rebuilt.history() == undisturbed.history()
    for number in range(trials, trials + 3):
        assert rebuilt.draw(number) == undisturbed.draw(number)


def test_what_was_learnt_changes_what_is_drawn_after_the_startup_only(space: SearchSpace) -> None:
    def history(values: list[float]) -> Sampler:
        found = sampler(space)
        for number, value in enumerate(values):
            started(found, number)
            found.tell(number, "COMPLETE", value)
        return found

    few = [history([0.5, 0.6, 0.7]), history([0.7, 0.6, 0.5])]
    assert few[0].draw(3) == few[1].draw(3)
    rising = [0.5 + 0.01 * number for number in range(12)]
    many = [history(rising), history(rising[::-1])]
    draws = [{found.draw(number) for number in range(12, 16)} for found in many]
    assert not draws[0] & draws[1]


def test_trials_of_an_earlier_search_are_history(space: SearchSpace) -> None:
    old, found = sampler(space), sampler(space, seed=7)
    for number, (state, value) in enumerate(
        (("COMPLETE", 0.4), ("PRUNED", 0.6), ("FAIL", None), ("FAIL", 0.1))
    ):
        config = started(old, number)
        if value is not None:
            old.report(number, 50, value)
        old.tell(number, state, value)  # type: ignore[arg-type]
        found.learn(config, state, value, 50)  # type: ignore[arg-type]
    assert found.history() == old.history()
    assert len(found.history()) == 2


def test_no_trial_is_twice_in_a_history_that_is_lengthened_widened_and_lengthened(
    space: SearchSpace,
) -> None:
    found = sampler(space)
    configs = {number: started(found, number) for number in range(6)}
    for number in configs:
        found.report(number, 25, 0.5 + number / 100)
        found.tell(number, "PRUNED" if number % 2 else "COMPLETE", 0.5 + number / 100)
    assert space.epochs is not None
    for factor in (2, 4):
        epochs = factor * space.epochs
        found.lengthen(epochs, {n: configs[n].with_epochs(epochs) for n in (0, 2, 4)})
        for number in (0, 2, 4):
            found.report(number, 100, 0.4 + number / 100)
            found.tell(number, "COMPLETE", 0.4 + number / 100)
        history = [(state, value) for state, _, value, _ in found.history()]
        completed = [("COMPLETE", 0.4 + number / 100) for number in (0, 2, 4)]
        assert sorted(history) == [*completed, *(("PRUNED", 0.5 + n / 100) for n in (1, 3, 5))]
        if factor == 2:
            found.widen(found.space.wider("dropout", Range(0.1, 0.35, log=False), ()))
