"""The listed configurations, and the space across budgets from which the later ones are drawn."""

from pathlib import Path

import optuna
import pytest

from study.errors import SpecError
from study.model.sizing import count_parameters
from study.search.forced import first_configurations
from study.search.space import SearchSpace, build_space
from study.spec.overrides import Overrides
from study.spec.spec_file import load_study
from study.spec.specification import Cell

SPACES = Path(__file__).parent.parent.parent / "search_spaces"
STUDY = load_study(SPACES / "two_phase.yaml")
N_FEATURES = 25

ORIGIN = {
    # Weights of the layers as the original study counts them: 12 n_layers d_model^2.
    "750k_shallow": 884_736, "750k_deep": 786_432, "2M_shallow": 2_457_600, "2M_deep": 2_211_840,
    "20M_shallow": 21_233_664, "20M_deep": 21_233_664, "200M_shallow": 226_492_416,
    "200M_deep": 198_180_864,
}  # fmt: skip


def cell_of(*budgets: str) -> Cell:
    return STUDY.cell_of_all(budgets or None, None)


def space_of(cell: Cell) -> SearchSpace:
    return build_space(cell, n_features=N_FEATURES)


def test_all_eighteen_are_listed_with_sizes_near_those_of_the_original_study() -> None:
    cell = cell_of()
    slots = first_configurations(space_of(cell), cell)
    assert [slot.group for slot in slots] == (
        ["architecture"] * 8 + ["dropout"] * 4 + ["learning_rate"] * 3 + ["weight_decay"] * 3
    )
    sizes = {slot.name: count_parameters(slot.config.model) for slot in slots[:8] if slot.config}
    for name, approximate in ORIGIN.items():
        # Embedding, positions, norms and heads come on top of the layers.
        assert approximate < sizes[name] < 1.08 * approximate
    # Each takes one setting to an extreme; all others are those of its shallow model.
    shallow = {s.config.budget: s.config for s in slots[:8:2] if s.config is not None}
    for slot in slots[8:]:
        assert slot.config is not None
        own, usual = slot.config.flat(), shallow[slot.config.budget].flat()
        assert [name for name in own if own[name] != usual[name]] == [slot.group]


def test_with_some_budgets_the_others_are_left_out_in_any_order() -> None:
    for given in (("2M", "20M"), ("20M", "2M")):
        cell = cell_of(*given)
        slots = first_configurations(space_of(cell), cell)
        assert [slot.config.budget for slot in slots if slot.config is not None] == (
            ["2M"] * 2 + ["20M"] * 2 + ["2M"] * 3 + ["2M"] * 2 + ["20M"] + ["2M"] * 2
        )


def test_a_range_that_lacks_a_listed_value_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    text = (SPACES / "two_phase.yaml").read_text()
    path.write_text(text.replace("dropout: {uniform: [0.1, 0.7]}", "dropout: 0.5"))
    cell = load_study(path).cell_of_all(None, None)
    with pytest.raises(SpecError, match=r"must hold every value of forced18, but got dropout_0\.1"):
        first_configurations(space_of(cell), cell)


@pytest.mark.slow
def test_draws_stay_in_their_budget_and_reach_all_of_them() -> None:
    cell = cell_of()
    space = space_of(cell)
    targets = {budget.label: budget.target for budget in cell.budgets}
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [space.sample(study.ask()) for _ in range(200)]
    assert {config.budget for config in drawn} == set(targets)
    for config in drawn:
        # The shallow model of the list is 28 % larger than its budget.
        assert abs(count_parameters(config.model) / targets[config.budget] - 1) < 0.29
        again = optuna.create_study()
        again.enqueue_trial(space.optuna_params(config))
        assert space.sample(again.ask()) == config


def test_a_space_across_budgets_has_no_extremes_of_one() -> None:
    cell = STUDY.cell_of_all(None, None, Overrides(search={"forced": "extremes6"}))
    with pytest.raises(SpecError, match="extremes6 needs a search of one budget"):
        first_configurations(space_of(cell), cell)


@pytest.mark.parametrize(
    ("budgets", "message"),
    [(("3M",), "must be one of 750k, 2M, 20M, 200M"), (("2M", "2M"), "name each budget once")],
)
def test_budgets_that_are_unknown_or_given_twice_are_refused(
    budgets: tuple[str, ...], message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        cell_of(*budgets)
