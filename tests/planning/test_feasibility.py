"""What no node can train is left out by name; what is left is the search."""

import dataclasses
import json
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pytest

import study.planning.study_plan as study_plan
from study.cluster.resources import Node, needed_bytes
from study.data.dataset import Dataset, build_dataset
from study.planning.cell_plan import plan_cell, trial_device
from study.planning.feasibility import (
    InfeasibleError,
    begun_space,
    fitting_space,
    require_fits,
    step_bytes,
)
from study.planning.plan_summary import plan_summary, summary_without_plan
from study.planning.study_plan import folder_state, plan_cells
from study.results.journal import Journal
from study.results.plans.plan_record import Estimate
from study.search.cell_folder import create, identity
from study.search.forced import first_configurations
from study.search.ledger import Ledger
from study.search.space import SearchSpace, TrialConfig, build_space
from study.spec.overrides import Overrides
from study.spec.spec_file import load_study
from study.spec.specification import Cell
from study.storage.place import LocalPlace
from tests.search import simulated_search

SPACES = Path(__file__).parent.parent.parent / "search_spaces"
PHASE6A = load_study(SPACES / "phase6a.yaml")
LARGE = PHASE6A.cell("2B", 1)
GIB = 2**30
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


def whole(cell: Cell = LARGE) -> SearchSpace:
    return build_space(cell, n_features=25)


def at(space: SearchSpace, gib: float) -> SearchSpace:
    return fitting_space(space, [node(gib)], bf16=True, label="cell")


@pytest.fixture(scope="module")
def data() -> Dataset:
    return build_dataset(LARGE.data)


def needed(space: SearchSpace) -> list[int]:
    return [needed_bytes(step_bytes(config, 1, bf16=True)) for config in space.configs()]


def test_what_fits_is_kept_and_the_rest_is_named_with_its_numbers() -> None:
    everything = whole()
    limit = 70 * GIB * 0.95
    left = at(everything, 70)
    assert left.left_out is not None
    assert set(left.shapes) | set(left.left_out.needed) == set(everything.shapes)
    assert max(needed(left)) <= limit
    assert all(bytes_ > limit for bytes_ in left.left_out.needed.values())
    assert 0 < len(left.left_out.needed) < len(everything.shapes)
    assert "GiB against 66.5 GiB on a, the roomiest node" in left.left_out.numbers()
    assert at(everything, 90) is everything


def test_a_pretrained_trial_needs_what_its_pretraining_needs() -> None:
    config = next(iter(whole().configs()))
    model = dataclasses.replace(config.model, head="last")
    plain, pretrained = (
        dataclasses.replace(
            config, model=model, train=dataclasses.replace(config.train, pretrain_epochs=n)
        )
        for n in (0, 1)
    )
    assert step_bytes(pretrained, 1, bf16=True) > step_bytes(plain, 1, bf16=True)


def test_a_card_of_80_gb_keeps_all_of_2b_but_its_three_largest_shapes() -> None:
    # What the driver of such a card reports is less than 80 GiB.
    left = at(whole(), 79.2)
    assert left.left_out is not None
    assert len(left.shapes) == 60
    largest = {(s.d_model, s.n_layers) for s in left.left_out.needed}
    assert largest == {(1024, 192), (1536, 128), (2048, 48)}
    assert len(left.left_out.needed) == 15


def test_a_cell_is_infeasible_only_if_nothing_of_it_fits() -> None:
    smallest = min(needed(whole())) / GIB / 0.95
    assert len(at(whole(), smallest + 0.1).shapes) >= 1
    with pytest.raises(InfeasibleError, match=r"some architecture must fit .* got 47\.5 to 75\.7"):
        at(whole(), smallest - 0.1)


@pytest.mark.slow
def test_an_architecture_that_is_kept_can_take_a_step_with_what_it_is_granted() -> None:
    data = build_dataset(LARGE.data)
    nodes = [node(60, gpus=0)]
    plan = plan_cell(LARGE, data, whole(), nodes, device="cpu", concurrency=None, estimate=ESTIMATE)
    steps = [step_bytes(config, 1, bf16=plan.bf16) for config in plan.space.configs()]
    assert plan.space.left_out is not None
    assert max(steps) <= plan.share_bytes["2B"]
    written = json.loads(json.dumps(plan_summary(plan).to_json(), allow_nan=False))
    assert written["left_out"]["architectures"][0]["budget"] == "2B"
    assert begun_space(whole(), written) == plan.space


def test_the_extremes_and_the_draws_are_of_what_is_left() -> None:
    left = at(whole(), 70)
    slots = first_configurations(left, LARGE)
    assert [slot.problem for slot in slots] == [None] * 6
    assert all(slot.config is not None and left.contains(slot.config) for slot in slots)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = {left.sample(study.ask()).shape for _ in range(100)}
    assert drawn <= set(left.shapes)


def test_a_listed_configuration_that_does_not_fit_is_a_problem_and_takes_no_trial() -> None:
    study = load_study(SPACES / "two_phase.yaml")
    cell = study.cell_of_all(None, None, Overrides(search={"trials": 12}))
    left = at(whole(cell), 3)
    assert left.left_out is not None
    assert left.budgets == {"750k", "2M", "20M"}
    slots = first_configurations(left, cell)
    said = [slot.name for slot in slots if slot.problem is not None]
    assert said == ["200M_shallow", "200M_deep", "dropout_0.1"]
    assert all("GiB against 2.8 GiB on a" in str(s.problem) for s in slots if s.problem)
    assert sum(slot.config is not None for slot in slots) == 12


def begun(path: Path, cell: Cell, data: Dataset, space: SearchSpace) -> dict[str, Any]:
    """Make the folder of a search that was killed before its first trial."""
    recorded = None if space.left_out is None else space.left_out.record().to_json()
    described = {**identity(cell, data, path), "left_out": json.loads(json.dumps(recorded))}
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
    require_fits(again, [node(90)], bf16=True, label="cell")
    with pytest.raises(InfeasibleError, match="every one of its architectures"):
        require_fits(again, [node(60)], bf16=True, label="cell")


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
        [node(24, gpus=0)],
        tmp_path,
        device="cpu",
        capture=True,
        concurrency=None,
        driver_seconds=0.0,
    )
    summary = found.row.summary
    assert (summary.feasible, found.row.folder_state) == (False, "new")
    assert "47.6 to 75.8 GiB at micro-batch 1" not in str(summary.problem)
    assert "GiB against 22.8 GiB on a" in str(summary.problem)
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
