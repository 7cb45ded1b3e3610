"""What no node can train is left out by name; what is left is the search."""

import dataclasses
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pytest

import study.planning.study_plan as study_plan
from study.cluster.resources import Node, needed_bytes
from study.data.dataset import Dataset, build_dataset
from study.errors import SpecError
from study.planning.cell_plan import plan_cell, trial_device
from study.planning.feasibility import (
    InfeasibleError,
    begun_space,
    fitting_space,
    require_fits,
)
from study.planning.plan_summary import grid_record, plan_summary, summary_without_plan
from study.planning.study_plan import folder_state, plan_cells
from study.results.journal import Journal
from study.results.plans.grid_record import LeftOutRecord
from study.results.plans.plan_record import Estimate
from study.search.cell_folder import create, identity
from study.search.forced import first_configurations
from study.search.ledger import Ledger
from study.search.space import LeftOut, SearchSpace, Shape, TrialConfig, build_space
from study.search.trial_memory import StepSetting, step_bytes
from study.spec.dimension import Choice, Dimension, Fixed
from study.spec.overrides import Overrides
from study.spec.spec_file import load_study
from study.spec.specification import Cell
from study.storage.place import LocalPlace
from tests.search import simulated_search

SPACES = Path(__file__).parent.parent.parent / "search_spaces"
PHASE6A = load_study(SPACES / "phase6a.yaml")
LARGE = PHASE6A.cell("2B", 1)
GIB = 2**30
SETTING = StepSetting(bf16=True)
PHASES = json.dumps([{"name": "base", "epochs": 15}])
ESTIMATE = Estimate(
    epoch_seconds_min=1.0, epoch_seconds_median=2.0, epoch_seconds_max=3.5,
    search_seconds_expected=60.0, search_seconds_most=90.0, trained_share=0.6, start_seconds=10.0,
    planning_seconds=4.0,
    epoch_seconds={},
)  # fmt: skip


def node(gib: float, *, gpus: int = 1) -> Node:
    memory = int(gib * GIB)
    return Node(
        name="a", cpus=16, gpus=gpus, memory_bytes=128 * GIB if gpus else memory,
        device_bytes=memory, unified_memory=not gpus,
    )  # fmt: skip


def whole(cell: Cell = LARGE, train: Mapping[str, Dimension] | None = None) -> SearchSpace:
    space = build_space(cell, n_features=25)
    return dataclasses.replace(space, train={**space.train, **(train or {})})


def in_full(cell: Cell = LARGE) -> SearchSpace:
    """Return the space of which every trial is held in full, as its file says."""
    return whole(cell, {"memory": Fixed("full")})


def at(space: SearchSpace, gib: float, setting: StepSetting = SETTING) -> SearchSpace:
    return fitting_space(space, [node(gib)], setting, label="cell")


def lean_of(space: SearchSpace) -> frozenset[Shape]:
    assert space.lean is not None
    return space.lean


@pytest.fixture(scope="module")
def data() -> Dataset:
    return build_dataset(LARGE.data)


def needed(space: SearchSpace) -> list[int]:
    return [needed_bytes(step_bytes(config, 1, SETTING)) for config in space.configs()]


def test_what_fits_is_kept_and_the_rest_is_named_with_its_numbers() -> None:
    everything = in_full()
    limit = 70 * GIB * 0.95
    left = at(everything, 70)
    assert left.left_out is not None
    assert set(left.shapes) | set(left.left_out.needed) == set(everything.shapes)
    assert max(needed(left)) <= limit
    assert all(bytes_ > limit for bytes_ in left.left_out.needed.values())
    assert 0 < len(left.left_out.needed) < len(everything.shapes)
    assert "GiB against 66.5 GiB on a, the roomiest node" in left.left_out.numbers()
    assert at(everything, 90) is everything
    assert left.lean is None


def test_a_pretrained_trial_needs_what_its_pretraining_needs() -> None:
    config = next(iter(whole().configs()))
    model = dataclasses.replace(config.model, head="last")
    plain, pretrained = (
        dataclasses.replace(
            config, model=model, train=dataclasses.replace(config.train, pretrain_epochs=n)
        )
        for n in (0, 1)
    )
    assert step_bytes(pretrained, 1, SETTING) > step_bytes(plain, 1, SETTING)


def test_a_card_of_80_gb_keeps_all_of_2b_but_its_three_largest_shapes() -> None:
    # What the driver of such a card reports is less than 80 GiB.
    left = at(in_full(), 79.2)
    assert left.left_out is not None
    assert len(left.shapes) == 60
    largest = {(s.d_model, s.n_layers) for s in left.left_out.needed}
    assert largest == {(1024, 192), (1536, 128), (2048, 48)}
    assert len(left.left_out.needed) == 15


def test_a_cell_is_infeasible_only_if_nothing_of_it_fits() -> None:
    smallest = min(needed(in_full())) / GIB / 0.95
    assert len(at(in_full(), smallest + 0.1).shapes) >= 1
    with pytest.raises(InfeasibleError, match=r"some architecture must fit .* got 47\.5 to 75\.7"):
        at(in_full(), smallest - 0.1)


@pytest.mark.slow
def test_an_architecture_that_is_kept_can_take_a_step_with_what_it_is_granted() -> None:
    data = build_dataset(LARGE.data)
    nodes = [node(60, gpus=0)]
    everything = in_full()
    plan = plan_cell(
        LARGE, data, everything, nodes, device="cpu", concurrency=None, estimate=ESTIMATE
    )
    steps = [step_bytes(config, 1, plan.setting) for config in plan.space.configs()]
    assert plan.space.left_out is not None
    assert max(steps) <= plan.share_bytes["2B"]
    written = json.loads(json.dumps(plan_summary(plan).to_json(), allow_nan=False))
    assert written["left_out"]["architectures"][0]["budget"] == "2B"
    assert begun_space(everything, written) == plan.space


def test_the_extremes_and_the_draws_are_of_what_is_left() -> None:
    left = at(in_full(), 70)
    slots = first_configurations(left, LARGE)
    assert [slot.problem for slot in slots] == [None] * 6
    assert all(slot.config is not None and left.contains(slot.config) for slot in slots)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = {left.sample(study.ask()).shape for _ in range(100)}
    assert drawn <= set(left.shapes)


def test_a_listed_configuration_that_does_not_fit_is_a_problem_and_takes_no_trial() -> None:
    study = load_study(SPACES / "two_phase.yaml")
    cell = study.cell_of_all(None, None, Overrides(search={"trials": 12}))
    left = at(in_full(cell), 3)
    assert left.left_out is not None
    assert left.budgets == {"750k", "2M", "20M"}
    slots = first_configurations(left, cell)
    said = [slot.name for slot in slots if slot.problem is not None]
    assert said == ["200M_shallow", "200M_deep", "dropout_0.1"]
    assert all("GiB against 2.8 GiB on a" in str(s.problem) for s in slots if s.problem)
    assert sum(slot.config is not None for slot in slots) == 12


def begun(path: Path, cell: Cell, data: Dataset, space: SearchSpace) -> dict[str, Any]:
    """Make the folder of a search that was killed before its first trial."""
    grid = dataclasses.asdict(grid_record(space, SETTING))
    described = {**identity(cell, data, path), **json.loads(json.dumps(grid))}
    create(LocalPlace(path), described).lock.release()
    return described


@pytest.mark.parametrize("gib", [70.0, 90.0])
def test_a_search_goes_on_with_what_it_began_with_on_any_machine_that_has_room(
    tmp_path: Path, data: Dataset, gib: float
) -> None:
    left = at(whole(), gib)
    again = begun_space(whole(), begun(tmp_path / "cell", LARGE, data, left))
    assert again == left
    assert folder_state(tmp_path / "cell", LARGE, data, whole()) == ("partial", None)
    require_fits(again, [node(90)], SETTING, label="cell")
    with pytest.raises(InfeasibleError, match="every one of its architectures"):
        require_fits(again, [node(60)], SETTING, label="cell")


def test_what_does_not_fit_in_full_is_trained_lean_and_nothing_else() -> None:
    space = at(whole(), 70)
    unfit = {shape for shape, bytes_ in zip(whole().shapes, needed(whole()), strict=True)
             if bytes_ > 70 * GIB * 0.95}  # fmt: skip
    assert 0 < len(unfit) < len(space.shapes)
    assert lean_of(space) == unfit
    assert space.left_out is None
    assert space.shapes == whole().shapes
    modes = {config.shape: config.train.memory for config in space.configs()}
    assert modes == {shape: "lean" if shape in unfit else "full" for shape in space.shapes}
    # A draw is what is recorded; the same values in full are none of this search.
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [space.sample(study.ask()) for _ in range(60)]
    assert {config.train.memory for config in drawn} == {"full", "lean"}
    one = next(config for config in drawn if config.train.memory == "lean")
    assert space.contains(one)
    full = dataclasses.replace(one, train=dataclasses.replace(one.train, memory="full"))
    assert not space.contains(full)
    # Trials of an earlier search are read before the plan decides, and again after it has.
    assert whole().contains(one)
    assert whole().contains(full)
    assert not at(whole(), 200).contains(one)


def test_a_machine_of_24_gib_trains_all_of_2b_lean_and_alone(data: Dataset) -> None:
    nodes = [node(24, gpus=0)]
    plan = plan_cell(LARGE, data, whole(), nodes, device="cpu", concurrency=None, estimate=ESTIMATE)
    assert plan.space.left_out is None
    assert lean_of(plan.space) == set(whole().shapes)
    assert (plan.concurrency, plan.resources.largest.exclusive) == (1, True)
    written = json.loads(json.dumps(plan_summary(plan).to_json(), allow_nan=False))
    assert {row["n_layers"] for row in written["lean"]} == {s.n_layers for s in whole().shapes}
    full, lean = written["modes"]
    assert (full["memory"], full["n_planned"], lean["n_planned"]) == ("full", 0, 75)
    assert lean["needed_max_bytes"] < 16 * GIB < 40 * GIB < full["needed_min_bytes"]
    assert written["mode_seconds"] == {"full": None, "lean": 60.0}
    # One state is kept while the next is written; of 2.42 billion parameters it is 12 GiB.
    assert plan.running_checkpoint_bytes == lean["checkpoint_bytes"] < 35 * GIB
    assert full["checkpoint_bytes"] > 80 * GIB
    assert begun_space(whole(), written) == plan.space


def test_what_does_not_even_fit_lean_says_what_would() -> None:
    space = at(whole(), 12)
    assert space.left_out is not None
    assert space.left_out.memory == "lean"
    assert lean_of(space) == set(space.shapes)
    record = space.left_out.record()
    assert record.reason.startswith("even in memory mode lean, a training step of one sample needs")
    assert LeftOut.from_record(LeftOutRecord.from_json(record.to_json())) == space.left_out
    with pytest.raises(InfeasibleError, match=r"micro-batch 1, in memory mode lean, .*"
                       r"A machine of \d+\.\d GiB can train one of them") as error:  # fmt: skip
        at(whole(), 4)
    # The machine that it names has room.
    named = float(str(error.value).split("A machine of ")[1].split()[0])
    assert at(whole(), named + 0.1).shapes


@pytest.mark.parametrize(
    ("train", "networks", "why"),
    [
        ({"optimizer": Choice(("adamw", "adabelief"))}, 1, "optimizer: adabelief"),
        ({"pretrain_epochs": Fixed(2)}, 1, "pretrain_epochs"),
        ({"phases": Fixed(PHASES)}, 1, "phases"),
        ({"memory": Fixed("full")}, 1, "fixes train.memory: full"),
        ({}, 5, "this search has 5"),
    ],
    ids=str,
)
def test_where_lean_is_refused_the_refusal_says_why_and_what_it_would_need(
    train: dict[str, Dimension], networks: int, why: str
) -> None:
    setting = dataclasses.replace(SETTING, networks=networks)
    with pytest.raises(InfeasibleError, match=rf"lean would train 75 of 75 .* but .*{why}"):
        at(whole(train=train), 24, setting)
    space = at(whole(train=train), 1000, setting)
    assert not space.lean
    if "memory" not in train:
        said = whole(train={**train, "memory": Fixed("lean")})
        with pytest.raises(SpecError, match=f"got one that it cannot: .*{why}"):
            at(said, 1000, setting)


def test_a_space_that_says_lean_is_trained_lean_everywhere() -> None:
    space = at(whole(train={"memory": Fixed("lean")}), 1000)
    assert space.lean is None
    assert {config.train.memory for config in space.configs()} == {"lean"}
    said = whole(train={"memory": Fixed("lean")})
    left = at(said, 12)
    assert left.left_out is not None
    assert left.left_out.memory == "lean"
    with pytest.raises(InfeasibleError, match="in memory mode lean, but got"):
        at(said, 4)
    with pytest.raises(InfeasibleError, match="micro-batch 1, in memory mode lean, but got"):
        require_fits(said, [node(12)], SETTING, label="cell")
    both = at(whole(train={"memory": Choice(("lean", "full"))}), 70)
    # What may be drawn in full must fit in full.
    assert both.left_out is not None


def test_a_search_keeps_the_modes_it_began_with_on_a_larger_machine(
    tmp_path: Path, data: Dataset
) -> None:
    small = at(whole(), 24)
    again = begun_space(whole(), begun(tmp_path / "cell", LARGE, data, small))
    assert again == small
    require_fits(again, [node(24)], SETTING, label="cell")
    nodes = [node(200)]
    plan = plan_cell(
        LARGE, data, again, nodes, device="cpu", concurrency=None, estimate=ESTIMATE, is_begun=True
    )
    assert plan.space == small
    # A search of an earlier version has full trials alone.
    assert begun_space(whole(), {"left_out": None}).lean == frozenset()


def test_beyond_an_edge_a_budget_that_is_lean_throughout_stays_lean() -> None:
    lean, mixed = at(whole(), 24), at(whole(), 70)
    added = Shape("2B", 4096, 12, 4, 16)
    dimension = Choice((1024, 2048, 4096))
    assert added in lean_of(lean.wider("d_model", dimension, [added]))
    assert lean_of(mixed.wider("d_model", dimension, [added])) == lean_of(mixed)


def test_final_runs_have_the_mode_of_their_trial() -> None:
    lean = next(iter(at(whole(), 24).configs()))
    again = whole().of_configs([lean])
    assert [config.train.memory for config in again.configs()] == ["lean"]
    full = next(iter(at(whole(), 200).configs()))
    assert lean_of(whole().of_configs([full])) == frozenset()


@pytest.mark.slow
def test_a_search_that_goes_on_on_a_larger_machine_is_the_undisturbed_one(tmp_path: Path) -> None:
    everything = build_space(simulated_search.CELL, n_features=25)
    limit = sorted(needed(everything))[len(everything.shapes) // 2]
    left = at(everything, (limit + 1000) / GIB / 0.95)
    assert left.left_out is not None

    def ledger(journal: Journal, space: SearchSpace) -> Ledger:
        return Ledger(
            journal, space=space, forced=first_configurations(space, simulated_search.CELL),
            search=simulated_search.SEARCH, granted_bytes={},
        )  # fmt: skip

    def configs(found: Ledger, n_trials: int) -> list[TrialConfig]:
        while len(found.records) < n_trials:
            trial = found.next()
            assert trial is not None
            epoch = 1
            while not found.epoch(trial.number, simulated_search.report(trial, epoch)):
                epoch += 1
        return [found.assignment(n).config for n in found.numbers]

    first = {"kind": "created", "time": 0.0}
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    undisturbed = configs(ledger(Journal.create(tmp_path / "whole", "abcd", first), left), 12)
    configs(ledger(Journal.create(tmp_path / "cut", "abcd", first), left), 7)
    again = begun_space(everything, {"left_out": left.left_out.record().to_json()})
    journal = Journal.open(tmp_path / "cut", witness=None)
    assert configs(ledger(journal, again), 12) == undisturbed
    assert {config.shape for config in undisturbed} <= set(left.shapes)


@pytest.mark.slow
def test_a_cell_that_cannot_run_is_described_with_the_keys_of_one_that_can(data: Dataset) -> None:
    nodes = [node(8, gpus=0)]
    small = PHASE6A.cell("2M", 1)
    plan = plan_cell(
        small, data, whole(small), nodes, device="cpu", concurrency=None, estimate=ESTIMATE
    )
    where = trial_device(nodes, "cpu")
    found = summary_without_plan(LARGE, "too large", data, whole(), where, feasible=False).to_json()
    assert set(found) == set(plan_summary(plan).to_json())
    assert (found["feasible"], found["problem"], found["grid_size"]) == (False, "too large", 75)
    assert plan_summary(plan).feasible is True
    # What is odd about the baselines is said with what is odd about the data.
    noted = dataclasses.replace(plan, simple=dataclasses.replace(plan.simple, notes=("damaged",)))
    contents = plan_summary(noted).contents
    assert contents is not None
    assert contents.inputs.warnings[-1] == "damaged"


def test_a_plan_of_several_cells_says_which_cannot_run(tmp_path: Path) -> None:
    (found,) = plan_cells(
        [LARGE],
        [node(8, gpus=0)],
        tmp_path,
        device="cpu",
        capture=True,
        concurrency=None,
        driver_seconds=0.0,
    )
    summary = found.row.summary
    assert (summary.feasible, found.row.folder_state) == (False, "new")
    assert "GiB against 7.6 GiB on a" in str(summary.problem)
    assert summary.contents is not None
    assert summary.contents.grid.params_max > 2_000_000_000
    assert not found.will_run


@pytest.mark.slow
def test_the_baselines_of_a_horizon_are_fitted_once_for_all_budgets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With an estimate no step is timed, which needs Ray.
    monkeypatch.setattr(study_plan, "plan_cell", partial(plan_cell, estimate=ESTIMATE))
    smoke = load_study(SPACES / "smoke.yaml")
    cells = [smoke.cell("50k", 1), smoke.cell("2M", 1), smoke.cell("50k", 3)]
    plans = [
        found.plan
        for found in plan_cells(
            cells, [node(24, gpus=0)], tmp_path, device="cpu", capture=True, concurrency=None,
            driver_seconds=0.0,
        )
    ]  # fmt: skip
    one, two, other = (plan.simple for plan in plans if plan is not None)
    assert one is two
    assert one.to_beat != other.to_beat


def test_a_phase_two_whose_start_does_not_fit_says_so() -> None:
    small = PHASE6A.cell("2M", 1, Overrides(search={"forced": "none"}))
    cell = dataclasses.replace(small, start={"n_heads": 64})
    (slot,) = first_configurations(whole(cell), cell)
    assert slot.config is None
    assert slot.problem == "no architecture of 64 heads fits a node"
