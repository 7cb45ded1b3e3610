"""A search begins with the best trials of finished cells of its study, and keeps them."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from study.data.cell_data import CellData
from study.data.dataset import build_dataset
from study.errors import SpecError
from study.results.journal import Journal
from study.results.store import CellIdentity, CellStore, read_cell, write_cell
from study.search.assignment import Assignment
from study.search.cell_folder import identity, identity_in_records
from study.search.forced import forced_configurations
from study.search.known.earlier_trials import TrialToRepeat
from study.search.known.neighbours import Neighbour, Neighbours, find_neighbours
from study.search.ledger import Ledger
from study.search.space import SearchSpace, TrialConfig, build_space
from study.spec.overrides import Overrides
from study.spec.search_config import SearchConfig
from study.spec.selection import select_cells
from study.spec.spec_file import load_study
from study.spec.specification import Cell
from tests.results.conftest import record
from tests.results.reports import epoch_record
from tests.search.simulated_search import CELL, SEARCH, SPACE, SPACES, known
from tests.search.test_costs import COST, DESCRIBED

STUDY = load_study(SPACES / "smoke.yaml")
LARGE = build_space(STUDY.cell("750k", 1), n_features=25)
KNOWING = dataclasses.replace(CELL, search=dataclasses.replace(CELL.search, neighbours=True))


@pytest.fixture(scope="module")
def data() -> CellData:
    return build_dataset(CELL.data)


def write(
    results: Path, cell: Cell, space: SearchSpace, data: CellData, *, best_rate: float = 9e-4
) -> TrialConfig:
    """Write the folder of a search of three trials, and return the configuration of its best."""
    folder = results / cell.name
    folder.mkdir(parents=True)
    configs = [
        space.forced(shape, learning_rate=rate)
        for shape, rate in zip(
            (space.shapes[0], space.shapes[-1], space.shapes[1]),
            (4e-4, best_rate, 2e-3),
            strict=True,
        )
    ]
    own: CellIdentity = identity_in_records(cell, data.fingerprint)
    CellStore(folder, own).write_trials(
        [
            record(number, value=value, params=config.flat())
            for number, (value, config) in enumerate(zip((0.6, 0.5, 0.55), configs, strict=True))
        ]
    )
    plain = json.loads(json.dumps(identity(cell, data, folder)))
    content = {
        **plain, "study": cell.study, "metric": "log_loss", "horizon": cell.data.horizon,
        "trials": 3, "search_number": cell.search_number,
    }  # fmt: skip
    write_cell(folder, content)
    return configs[1]


def test_the_nearest_finished_cells_are_known_and_others_are_not(
    tmp_path: Path, data: CellData
) -> None:
    best = write(tmp_path, STUDY.cell("50k", 3), SPACE, data)
    write(tmp_path, STUDY.cell("50k", 5), SPACE, data)
    write(tmp_path, STUDY.cell("750k", 5), LARGE, data)
    large = write(tmp_path, STUDY.cell("750k", 1), LARGE, data)
    found = find_neighbours(tmp_path, KNOWING, data, SPACE)
    assert found is not None
    assert [one.cell for one in found.found] == [
        "smoke_50k_h3_threshold_1pct", "smoke_50k_h5_threshold_1pct", "smoke_750k_h1_threshold_1pct"
    ]  # fmt: skip
    same, _, other = found.found
    assert TrialConfig.from_flat(same.params) == best
    assert same.is_same_size
    assert not other.is_same_size
    assert (same.trial, same.n_trials) == (1, 3)
    taken = TrialConfig.from_flat(other.params)
    assert SPACE.contains(taken)
    assert taken.train.learning_rate == large.train.learning_rate == 9e-4
    # The large one's best is its widest and shallowest architecture, and so is what stands for it.
    ratios = [shape.n_layers / shape.d_model for shape in SPACE.shapes]
    assert taken.model.n_layers / taken.model.d_model == min(ratios)
    assert found.describe() == (
        "begins with 3 trials of finished cells: trial 1 of smoke_50k_h3_threshold_1pct (best of "
        "3), trial 1 of smoke_50k_h5_threshold_1pct (best of 3), trial 1 of "
        "smoke_750k_h1_threshold_1pct (best of 3, in the style of its architecture)"
    )
    fewer = find_neighbours(tmp_path, KNOWING, data, SPACE, most=1)
    assert fewer is not None
    assert fewer.found == found.found[:1]
    assert find_neighbours(tmp_path, CELL, data, SPACE) is None


@pytest.mark.parametrize(
    ("part", "change"),
    [
        (None, {"trials": 9}),
        (None, {"data_sha256": "0"}),
        (None, {"feature_hash": "0"}),
        (None, {"metric": "auc"}),
        (None, {"search_number": 2}),
        ("train", {"epochs": 9}),
        ("model", {"n_layers": {"choice": [1, 2]}}),
        ("data", {"purge_days": 9}),
    ],
)
def test_a_cell_that_is_not_finished_or_not_alike_is_not_known(
    tmp_path: Path, data: CellData, part: str | None, change: dict[str, Any]
) -> None:
    cell = STUDY.cell("50k", 3)
    write(tmp_path, cell, SPACE, data)
    described = read_cell(tmp_path / cell.name)
    (described if part is None else described["spec"][part]).update(change)
    write_cell(tmp_path / cell.name, described)
    assert find_neighbours(tmp_path, KNOWING, data, SPACE) == Neighbours()


def test_a_cell_that_cannot_be_read_is_named_and_left_out(tmp_path: Path, data: CellData) -> None:
    trials, horizon = STUDY.cell("50k", 3).name, STUDY.cell("50k", 5)
    write(tmp_path, STUDY.cell("50k", 3), SPACE, data)
    (tmp_path / trials / "all_trials.json").write_text("[{")
    write(tmp_path, horizon, SPACE, data)
    write_cell(tmp_path / horizon.name, {**read_cell(tmp_path / horizon.name), "horizon": 0})
    found = find_neighbours(tmp_path, KNOWING, data, SPACE)
    assert found is not None
    first, second, third = found.describe().split("; ")
    assert first == "knows no finished cell"
    assert second.startswith(f"{trials} cannot be read (StudyError: ")
    assert "line 1 column 3" in second
    assert second.endswith(" and is left out: move it away, or search it anew with --fresh")
    assert third.startswith(f"{horizon.name} cannot be read (ValueError: ")


def test_values_beyond_the_ranges_here_are_taken_to_their_ends(
    tmp_path: Path, data: CellData
) -> None:
    cell = STUDY.cell("50k", 3)
    best = write(tmp_path, cell, SPACE, data)
    rows = json.loads((tmp_path / cell.name / "all_trials.json").read_text())
    rows[1]["params"]["learning_rate"] = 1.0
    (tmp_path / cell.name / "all_trials.json").write_text(json.dumps(rows))
    found = find_neighbours(tmp_path, KNOWING, data, SPACE)
    assert found is not None
    taken = TrialConfig.from_flat(found.found[0].params)
    assert taken == SPACE.forced(best.shape, learning_rate=3e-3)


def begun_with(folder: Path, configs: Sequence[TrialConfig], search: SearchConfig) -> Ledger:
    """Begin a search with other cells' best and one forced trial; deeper models take longer."""
    folder.mkdir(exist_ok=True)
    best = Neighbours(
        found=tuple(
            Neighbour(cell="other", trial=n, n_trials=9, is_same_size=True, params=config.flat())
            for n, config in enumerate(configs)
        )
    )
    described = {**DESCRIBED, "neighbours": best.to_json()}
    Journal.create(folder, "abcd", {"kind": "created", "time": 0.0, "cell": described})
    return opened(folder, search)


def opened(folder: Path, search: SearchConfig) -> Ledger:
    return Ledger(
        Journal.open(folder, witness=None),
        space=SPACE,
        forced=forced_configurations(SPACE, "extremes6")[:1],
        search=search,
        granted_bytes={},
    )


def complete(ledger: Ledger) -> list[Assignment]:
    """Run the trials that are left, of one epoch each, and return all of the search."""
    while (trial := ledger.next()) is not None:
        last = epoch_record(1, loss=0.5, schedule_percent=100, stop_reason="completed")
        assert ledger.epoch(trial.number, last)
    return [ledger.assignment(number) for number in ledger.numbers]


def test_other_cells_best_do_not_make_a_search_converge(tmp_path: Path) -> None:
    stops = dataclasses.replace(
        SEARCH, scheduler="fifo", early_stop_patience=5, early_stop_threshold=9.0
    )
    ledger = begun_with(tmp_path / "cell", [*SPACE.configs()][-3:], stops)
    assert len(complete(ledger)) == 3 + 5
    assert ledger.converged is not None


def test_of_more_first_trials_than_there_is_room_for_the_first_ones_run_cheap_ones_first(
    tmp_path: Path,
) -> None:
    configs = [*SPACE.configs()]
    forced = forced_configurations(SPACE, "extremes6")[0].config
    left = [config for config in configs if config != forced]
    search = dataclasses.replace(SEARCH, trials=6, startup_trials=10, cheap_first=True)
    ledger = begun_with(tmp_path / "cell", left[:3], search)
    # The first one is that of a neighbour already, and takes no trial.
    again = [left[0], *left[-5:]]
    ledger.learn(
        [],
        [TrialToRepeat(source=f"imported:{n}", params=one.flat()) for n, one in enumerate(again)],
    )
    ran = complete(ledger)
    assert {trial.config for trial in ran} == {*left[:3], forced, *left[-5:-3]}
    costs = [COST(trial.config) for trial in ran]
    assert costs == sorted(costs)
    # What there was no room for is next when there is.
    ledger = opened(tmp_path / "cell", search)
    ledger.extend(9)
    assert [trial.config for trial in complete(ledger)[6:]] == left[-3:]
    assert known(opened(tmp_path / "cell", search)) == known(ledger)


def test_several_searches_of_a_cell_know_nothing(tmp_path: Path, data: CellData) -> None:
    write(tmp_path, STUDY.cell("50k", 3), SPACE, data)
    found = find_neighbours(tmp_path, KNOWING.of_search(2), data, SPACE)
    assert found is not None
    assert found.found == ()
    assert found.describe().endswith("independent searches of a cell know nothing of others")
    # Nor does the first one, searched anew beside a further one.
    further = tmp_path / KNOWING.of_search(2).name
    further.mkdir()
    assert find_neighbours(tmp_path, KNOWING, data, SPACE) == found
    further.rmdir()
    assert find_neighbours(tmp_path, KNOWING, data, SPACE) != found
    knowing = dataclasses.replace(STUDY, search={**STUDY.search, "neighbours": True})
    alone = select_cells(knowing, budgets=["50k"], horizons=[1])
    assert [cell.search.neighbours for cell in alone] == [True]
    several = select_cells(knowing, budgets=["50k"], horizons=[1], searches=2)
    assert [cell.search.neighbours for cell in several] == [False, False]
    with pytest.raises(SpecError, match="but got --neighbours --searches 2"):
        select_cells(STUDY, searches=2, overrides=Overrides(search={"neighbours": True}))
