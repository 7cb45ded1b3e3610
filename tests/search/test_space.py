import dataclasses
from pathlib import Path
from typing import Any

import optuna
import pytest

from study.errors import SpecError
from study.model.sizing import count_parameters
from study.search.forced import first_configurations, forced_configurations
from study.search.sampler import Sampler
from study.search.space import SampleShape, SearchSpace, TrialConfig, build_space
from study.spec.dimension import Fixed
from study.spec.overrides import Overrides
from study.spec.spec_file import load_study
from study.spec.specification import Cell

SPACES = Path(__file__).parent.parent.parent / "search_spaces"
FEATURES_A25 = 25


def space(study: str, budget: str) -> SearchSpace:
    cell = load_study(SPACES / f"{study}.yaml").cell(budget, 3)
    return build_space(cell, FEATURES_A25)


@pytest.mark.parametrize(("budget", "rows"), [("2M", 80), ("20M", 75), ("200M", 125), ("2B", 75)])
def test_the_origin_grid_has_its_documented_size(budget: str, rows: int) -> None:
    assert len(space("origin", budget).shapes) == rows


@pytest.mark.parametrize("budget", ["750k", "2M", "20M", "200M", "2B"])
def test_every_draw_stays_within_the_budget(budget: str) -> None:
    study = load_study(SPACES / "phase6a.yaml")
    drawn_from = space("phase6a", budget)
    sampler = optuna.samplers.RandomSampler(seed=0)
    optuna_study = optuna.create_study(sampler=sampler)
    for _ in range(50):
        config = drawn_from.sample(optuna_study.ask())
        count = count_parameters(config.model)
        assert abs(count / study.budgets[budget] - 1) <= study.tolerance
        assert config.model.auxiliary_head == (config.train.auxiliary_weight > 0)


def test_every_architecture_of_the_grid_can_be_drawn() -> None:
    drawn_from = space("phase6a", "2M")
    optuna_study = optuna.create_study()
    for config in drawn_from.configs():
        optuna_study.enqueue_trial(drawn_from.optuna_params(config))
        assert drawn_from.sample(optuna_study.ask()) == config


def test_a_flat_configuration_is_the_whole_configuration() -> None:
    config = next(iter(space("phase6a", "2M").configs()))
    assert TrialConfig.from_flat({**config.flat(), "number": 3}) == config
    # A record of an earlier version, in which no network learned from falls.
    earlier = {name: value for name, value in config.flat().items() if name != "fall_weight"}
    assert TrialConfig.from_flat(earlier) == config
    with pytest.raises(KeyError, match="learning_rate"):
        TrialConfig.from_flat({n: v for n, v in earlier.items() if n != "learning_rate"})


def test_a_space_without_an_architecture_is_refused() -> None:
    study = load_study(SPACES / "smoke.yaml")
    cell = study.cell("50k", 1, Overrides(data={"context_length": 60}))
    with pytest.raises(SpecError, match="some architecture must count 50,000 parameters"):
        build_space(cell, n_features=5_000)


@pytest.mark.parametrize("budget", ["750k", "2M", "20M", "200M", "2B"])
def test_the_six_extremes_are_six_architectures_at_the_ends(budget: str) -> None:
    drawn_from = space("phase6a", budget)
    slots = forced_configurations(drawn_from, "extremes6")
    shapes = {slot.name: slot.config.model for slot in slots if slot.config is not None}
    names = ["narrowest", "widest", "shallowest", "deepest", "fewest_heads", "most_heads"]
    assert list(shapes) == names
    assert len(set(shapes.values())) == len(names)
    widths = {row.d_model for row in drawn_from.shapes}
    heads = {row.n_heads for row in drawn_from.shapes}
    assert shapes["narrowest"].d_model == min(widths)
    assert shapes["widest"].d_model == max(widths)
    assert shapes["shallowest"].d_model == shapes["deepest"].d_model
    assert shapes["shallowest"].n_layers < shapes["deepest"].n_layers
    assert shapes["fewest_heads"].n_heads == min(heads)
    assert shapes["most_heads"].n_heads == max(heads)
    assert shapes["fewest_heads"].n_layers == shapes["most_heads"].n_layers
    assert len({slot.config.train for slot in slots if slot.config is not None}) == 1


@pytest.mark.parametrize(("trials", "room"), [(1, 1), (7, 1), (12, 3), (19, 4)])
def test_with_few_trials_the_extremes_of_many_layers_wait(trials: int, room: int) -> None:
    study = load_study(SPACES / "phase6a.yaml")
    drawn_from = space("phase6a", "2M")
    cell = study.cell("2M", 3, Overrides(search={"trials": trials}))
    slots = first_configurations(drawn_from, cell)
    tried = [slot.config.model.n_layers for slot in slots if slot.config is not None]
    waiting = [slot.later.model.n_layers for slot in slots if slot.later is not None]
    assert (len(tried), len(waiting)) == (room, 6 - room)
    assert tried == sorted(tried)
    assert tried[-1] <= min(waiting)
    # Those that come first are unchanged, and with room for all the order is that of the slots.
    all_six = forced_configurations(drawn_from, "extremes6")
    assert {slot.config for slot in slots if slot.config} <= {slot.config for slot in all_six}
    roomy = study.cell("2M", 3, Overrides(search={"trials": 20}))
    assert first_configurations(drawn_from, roomy) == all_six


def test_a_slot_without_an_architecture_says_so() -> None:
    drawn_from = space("phase6a", "2M")
    two = SearchSpace(
        shapes=drawn_from.shapes[:2],
        model=drawn_from.model,
        train=drawn_from.train,
        sample_shape=SampleShape(n_features=FEATURES_A25),
        context_length=60,
    )
    slots = forced_configurations(two, "extremes6")
    assert len(slots) == 6
    assert [slot.problem is None for slot in slots] == [True, True, False, False, False, False]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("{uniform: [0.2, 0.5]}", "{uniform: [0.5, 1.2]}", "dropout must lie in"),
        ("patience: 10", "patience: {choice: [10, 5, 0]}", "patience must be a whole number >= 1"),
    ],
)
def test_a_bound_that_breaks_a_rule_is_refused_before_any_draw(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    path = tmp_path / "space.yaml"
    path.write_text((SPACES / "phase6a.yaml").read_text().replace(old, new))
    with pytest.raises(SpecError, match=message):
        load_study(path)


def test_a_space_contains_what_it_draws() -> None:
    drawn_from = space("phase6a", "2M")
    optuna_study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(30):
        assert drawn_from.contains(drawn_from.sample(optuna_study.ask()))
    assert all(drawn_from.contains(config) for config in drawn_from.configs())


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("model", {"d_model": 8}),
        ("model", {"dropout": 0.95}),
        ("model", {"n_features": FEATURES_A25 + 1}),
        ("model", {"context_length": 65}),
        ("model", {"auxiliary_head": True}),
        ("train", {"learning_rate": 1.0}),
        ("train", {"epochs": 999}),
    ],
)
def test_a_space_does_not_contain_what_it_cannot_draw(part: str, changes: dict[str, Any]) -> None:
    drawn_from = space("phase6a", "2M")
    config = next(iter(drawn_from.configs()))
    if "auxiliary_head" in changes:
        changes = {"auxiliary_head": not config.model.auxiliary_head}
    changed: Any = dataclasses.replace(getattr(config, part), **changes)
    other = dataclasses.replace(config, **{part: changed})
    assert other != config
    assert not drawn_from.contains(other)
    assert drawn_from.contains(TrialConfig.from_flat(config.flat()))


def itransformer_cell(path: Path, **data: Any) -> Cell:
    family = {"family": Fixed("itransformer")}
    return load_study(path).cell("2M", 1, Overrides(data=data, model=family))


@pytest.mark.parametrize("n_features", [FEATURES_A25, 211])
def test_the_grid_of_a_family_is_counted_by_its_formula(n_features: int) -> None:
    found = build_space(itransformer_cell(SPACES / "phase6a.yaml"), n_features)
    assert found.shapes
    assert found.shapes != build_space(load_study(SPACES / "phase6a.yaml").cell(
        "2M", 1), 211).shapes  # fmt: skip
    for config in found.configs():
        assert config.model.family == "itransformer"
        assert abs(count_parameters(config.model) / 2_000_000 - 1) <= 0.25
        assert TrialConfig.from_flat(config.flat()) == config
    patchtst = next(iter(space("phase6a", "2M").configs()))
    assert not found.contains(patchtst)


def test_a_context_that_patches_do_not_fill_is_right_for_features() -> None:
    cell = itransformer_cell(SPACES / "phase6a.yaml", context_length=63)
    assert build_space(cell, FEATURES_A25).shapes
    plain = load_study(SPACES / "phase6a.yaml").cell(
        "2M", 1, Overrides(data={"context_length": 63})
    )
    with pytest.raises(SpecError, match="must be a multiple of patch_stride"):
        build_space(plain, FEATURES_A25)


def test_a_dimension_that_the_family_does_not_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    text = (SPACES / "phase6a.yaml").read_text()
    path.write_text(text.replace("patch_stride: 5", "patch_stride: {choice: [5, 10]}"))
    with pytest.raises(
        SpecError, match="itransformer does not read them, but got a list for patch_stride"
    ):
        build_space(itransformer_cell(path), FEATURES_A25)
    assert build_space(load_study(path).cell("2M", 1), FEATURES_A25).shapes


def test_the_bounds_of_a_range_belong_to_a_space() -> None:
    drawn_from = space("smoke", "50k")
    config = next(iter(drawn_from.configs()))
    for rate, is_inside in ((3.0e-4, True), (3.0e-3, True), (2.9e-4, False), (3.1e-3, False)):
        train = dataclasses.replace(config.train, learning_rate=rate)
        assert drawn_from.contains(dataclasses.replace(config, train=train)) is is_inside


def test_a_space_of_configurations_holds_the_schedules_of_all_of_them() -> None:
    """A search that was given longer schedules has cut trials with the old length."""
    begun = space("smoke", "750k").with_lean(())
    first, second = list(begun.configs())[:2]
    assert begun.of_configs([first, second]) == begun.of([first.shape, second.shape])
    longer = second.with_epochs(7)
    both = begun.of_configs([first, longer])
    assert both.contains(first)
    assert both.contains(longer)
    assert not both.contains(first.with_epochs(8))
    assert begun.of_configs([longer]).epochs == 7
    sampler = Sampler(both, seed=0, startup_trials=1)
    for number, config in enumerate((first, longer)):
        sampler.place(number, config)


def test_a_space_of_configurations_holds_what_its_file_has_no_longer() -> None:
    """Winners of a search are trained again although its settings have changed since."""
    now = space("smoke", "50k")
    config, other = list(now.configs())[:2]
    begun = dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, n_layers=7, patch_stride=10, dropout=0.45),
        train=dataclasses.replace(config.train, weight_decay=0.2, patience=3, rank_weight=0.1),
    )
    assert not now.contains(begun)
    found = now.of_configs([begun])
    assert found.shapes == (begun.shape,)
    rate = {"learning_rate": begun.train.learning_rate}
    assert [config.flat() | rate for config in found.configs()] == [begun.flat()]
    both = now.of_configs([begun, other])
    assert both.contains(begun)
    assert both.contains(other)
    # What holds the configurations stays as the file has it.
    assert both.train["learning_rate"] == now.train["learning_rate"]
    sampler = Sampler(both, seed=0, startup_trials=1)
    for number, each in enumerate((begun, other)):
        sampler.place(number, each)
