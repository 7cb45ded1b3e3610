"""A search whose best trial is at an edge of its file goes on beyond it, without Ray."""

import contextlib
import dataclasses
import json
import math
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from study.results.epoch_report import EpochRecord
from study.results.journal import Journal
from study.results.records import BEYOND, TrialRecord
from study.search.assignment import Assignment
from study.search.beyond import Beyond, Widening, most_beyond, searched_cell, widened_part
from study.search.edges import searched_edges
from study.search.forced import forced_configurations
from study.search.known.earlier_trials import TrialToRepeat
from study.search.ledger import Ledger
from study.search.space import TrialConfig, build_space
from study.spec.dimension import Choice, End
from tests.results.reports import epoch_record
from tests.search.simulated_search import (
    CELL,
    SEARCH,
    SPACE,
    known,
    ledger_of,
    play,
)
from tests.search.test_ledger import Killed, Mortal

Loss = Callable[[TrialConfig], float]
BEGUN = dataclasses.replace(SEARCH, beyond_edges=True)
BEYOND_ALL = Beyond(CELL, lambda _: True)
NOT_NARROWER = Beyond(CELL, lambda config: config.model.d_model >= 32)
"""Goes beyond every edge but that of the least width, which the others would lead to."""


def deeper_is_better(config: TrialConfig) -> float:
    return 0.6 - 0.05 * math.log2(config.model.n_layers) + config.model.dropout / 1000


def deep_enough_at_four(config: TrialConfig) -> float:
    return 0.5 + 0.05 * abs(math.log2(config.model.n_layers / 4)) + config.model.dropout / 1000


def reports(loss: Loss) -> Callable[..., EpochRecord]:
    """Return what makes the reports of trials whose loss follows from the configuration."""

    def make(assignment: Assignment, epoch: int, *, of: int) -> EpochRecord:
        return epoch_record(
            epoch,
            loss=loss(assignment.config) + 0.001 * (of - epoch),
            schedule_percent=100 * epoch // of,
            stop_reason="completed" if epoch == of else None,
            worker={"reported": float(epoch)},
        )

    return make


def opened(folder: Path, beyond: Beyond | None = BEYOND_ALL) -> Ledger:
    folder.mkdir(exist_ok=True)
    if not (folder / "journal.jsonl").exists():
        Journal.create(folder, "abcd", {"kind": "created", "time": 0.0})
    return ledger_of(Journal.open(folder, witness=None), BEGUN, beyond)


def searched(
    folder: Path, loss: Loss, *, slots: int = 1, beyond: Beyond | None = BEYOND_ALL
) -> Ledger:
    ledger = opened(folder, beyond)
    play(ledger, random.Random(0), slots, {}, reports(loss))
    return ledger


def tried_beyond(ledger: Ledger) -> list[TrialRecord]:
    return [record for record in ledger.records if record.source == BEYOND]


def kinds(folder: Path) -> list[str]:
    return [event["kind"] for event in Journal.read(folder, witness=None).replay()]


@pytest.fixture(scope="module")
def deeper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a search in which the deepest and narrowest model always wins."""
    folder = tmp_path_factory.mktemp("deeper") / "cell"
    searched(folder, deeper_is_better)
    return folder


@pytest.fixture(scope="module")
def deep_enough(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a search whose winner has the most layers of the file, and not more."""
    folder = tmp_path_factory.mktemp("deep_enough") / "cell"
    searched(folder, deep_enough_at_four, beyond=NOT_NARROWER)
    return folder


def test_a_winner_at_an_edge_is_followed_beyond_it_twice_at_most(deeper: Path) -> None:
    ledger = opened(deeper)
    assert [each.message for each in ledger.widenings] == [
        "n_layers ended at 4, the largest of the file: 3 more trials with n_layers 6",
        "d_model ended at 32, the least of the file: 3 more trials with d_model 24",
    ]
    assert ledger.is_complete
    beyond = tried_beyond(ledger)
    assert [r.number for r in beyond] == list(range(12, 18))
    assert [r.params["n_layers"] for r in beyond] == [6] * 6
    assert [r.params["d_model"] for r in beyond] == [32, 32, 32, 24, 24, 24]
    assert len({TrialConfig.from_flat(r.params) for r in ledger.records}) == 18
    # The first trial beyond an edge differs from the best so far in what the edge needs alone.
    before = min(ledger.records[:12], key=lambda r: (r.objective or math.inf, r.number))
    for name in ("dropout", "learning_rate", "weight_decay", "epochs"):
        assert beyond[0].params[name] == before.params[name]
    budget = CELL.budget
    for record in beyond:
        assert abs(record.param_count / budget.target - 1) <= budget.tolerance
    assert kinds(deeper)[-1] == "settled"
    cell = dataclasses.replace(CELL, search=BEGUN)
    assert most_beyond(cell) == ledger.n_beyond == 6
    assert most_beyond(CELL) == 0
    # As many follow an edge as when the search was begun, and none that was passed is passed again.
    more = dataclasses.replace(BEGUN, trials=100)
    extended = dataclasses.replace(cell, search=more, n_begun=BEGUN.trials)
    assert [most_beyond(extended, passed=passed) for passed in range(3)] == [6, 3, 0]


def test_a_winner_at_the_edge_after_the_next_value_was_tried_is_at_none(deep_enough: Path) -> None:
    ledger = opened(deep_enough)
    assert [each.name for each in ledger.widenings] == ["n_layers"]
    assert ledger.best is not None
    assert ledger.best.params["n_layers"] == 4
    layers = {"n_layers": CELL.model["n_layers"]}
    at_edge = ["n_layers = 4 is the largest of 4 choices"]
    assert searched_edges(ledger.best.params, layers, {}, ledger.records) == at_edge
    described = widened_part(ledger.widenings, ledger.trials)
    assert described == {"trials": 15, "widened": {"n_layers": {"choice": [1, 2, 3, 4, 6]}}}
    assert searched_edges(ledger.best.params, layers, described, ledger.records) == []
    # Final runs find every architecture in the space of the records.
    space = build_space(searched_cell(CELL, described), n_features=25)
    assert all(space.contains(TrialConfig.from_flat(r.params)) for r in ledger.records)


def test_nothing_follows_where_the_winner_is_inside_or_nothing_asks_for_it(tmp_path: Path) -> None:
    def inside(config: TrialConfig) -> float:
        return 0.5 + abs(math.log2(config.model.n_layers / 2.1))

    off = searched(tmp_path / "off", deeper_is_better, beyond=None)
    assert off.is_complete
    assert "widened" not in kinds(tmp_path / "off")
    assert not searched(tmp_path / "inside", inside).widenings
    assert opened(tmp_path / "inside").is_complete
    # Asked for later, it follows; a reader who decides nothing sees that there is more to come.
    shutil.copytree(tmp_path / "off", tmp_path / "longer")
    reader = Ledger(
        Journal.open(tmp_path / "longer", witness=None),
        space=SPACE,
        forced=forced_configurations(SPACE, BEGUN.forced),
        search=BEGUN,
        granted_bytes={},
        beyond=BEYOND_ALL,
    )
    reader.finish_due()
    assert not reader.is_complete
    # Nor is an edge passed whose trials go on with longer schedules.
    assert SPACE.epochs is not None
    reader.lengthen(2 * SPACE.epochs)
    reader.look_beyond()
    assert not reader.widenings
    later = opened(tmp_path / "off")
    assert not later.is_complete
    assert [each.name for each in later.widenings] == ["n_layers"]


@pytest.mark.parametrize("fits", [lambda _: False, lambda config: config.model.n_layers < 6])
def test_an_architecture_without_the_memory_for_it_is_not_tried(
    tmp_path: Path, fits: Callable[[TrialConfig], bool]
) -> None:
    ledger = searched(tmp_path / "cell", deeper_is_better, beyond=Beyond(CELL, fits))
    assert not ledger.widenings
    assert ledger.is_complete


def test_a_setting_that_needs_more_memory_than_there_is_is_not_tried(deeper: Path) -> None:
    """Settings of a trial, as its average of weights, need memory too."""
    best = at(deeper, learning_rate=2.99e-3, d_model=48, n_layers=2)
    some = BEYOND_ALL.widening(SPACE, {}, [best], BEGUN, 12)
    assert some is not None
    beyond = Beyond(CELL, lambda config: config not in some.configs[1:])
    found = beyond.widening(SPACE, {}, [best], BEGUN, 12)
    assert found is not None
    assert len(found.configs) == 3
    assert not {*found.configs} & {*some.configs[1:]}
    (first, *_) = some.configs
    alone = Beyond(CELL, lambda config: config == first).widening(SPACE, {}, [best], BEGUN, 12)
    assert alone is not None
    assert ": 1 more trial with learning_rate from " in alone.message
    assert Beyond(CELL, lambda _: False).widening(SPACE, {}, [best], BEGUN, 12) is None


def at(folder: Path, **params: float) -> TrialRecord:
    """Return the first trial of a search as if it had been the best, with these values."""
    record = opened(folder).records[0]
    return dataclasses.replace(record, params={**record.params, **params})


def test_what_the_budget_ends_is_no_edge_of_the_file(deeper: Path) -> None:
    """Eight layers of the least width have more parameters than the budget."""
    layers = Choice((1, 2, 3, 4, 6))
    cell = dataclasses.replace(CELL, model={**CELL.model, "n_layers": layers})
    beyond = Beyond(cell, lambda config: config.model.d_model >= 32)
    space = build_space(cell, n_features=25)
    assert beyond.widening(space, {}, [at(deeper, n_layers=6)], BEGUN, 12) is None


@pytest.mark.parametrize(("worse", "is_passed"), [(0.001, False), (0.1, True)])
def test_heads_are_an_edge_only_where_other_numbers_of_heads_lose_more_than_the_noise(
    tmp_path: Path, worse: float, is_passed: bool
) -> None:
    def heads(config: TrialConfig) -> float:
        is_off = config.model.n_heads != 16
        return 0.5 + worse * is_off + 0.01 * abs(math.log2(config.model.n_layers / 2.1))

    ledger = searched(tmp_path / "cell", heads)
    assert ledger.best is not None
    assert ledger.best.params["n_heads"] >= 16
    assert [each.name for each in ledger.widenings][:1] == ["n_heads"] * is_passed


@pytest.mark.parametrize("end", ["least", "largest"])
def test_a_setting_goes_beyond_its_range_and_the_architecture_stays(deeper: Path, end: End) -> None:
    value, low, high = (3.01e-4, 1.69e-4, 3e-4) if end == "least" else (2.99e-3, 3e-3, 5.33e-3)
    best = at(deeper, learning_rate=value, d_model=48, n_layers=2)
    found = BEYOND_ALL.widening(SPACE, {}, [best], BEGUN, 12)
    assert found is not None
    assert found.message == (
        f"learning_rate ended at {value:g}, near {high if end == 'least' else low:g}, the {end} of "
        f"the file: 3 more trials with learning_rate from {low:g} to {high:g}"
    )
    assert found.shapes == ()
    assert len(found.configs) == 3
    for config in found.configs:
        assert low <= config.train.learning_rate <= high
        assert config.shape == TrialConfig.from_flat(best.params).shape
    assert Widening.from_event(json.loads(json.dumps(found.to_event()))) == found
    # Where an architecture is at an edge too, it comes first.
    deepest = at(deeper, learning_rate=value, n_layers=4)
    first = BEYOND_ALL.widening(SPACE, {}, [deepest], BEGUN, 12)
    assert first is not None
    assert first.name == "n_layers"


def test_the_length_of_training_is_never_extended(deeper: Path) -> None:
    lengths = Choice((2, 4, 8, 16))
    cell = dataclasses.replace(CELL, train={**CELL.train, "epochs": lengths})
    best = at(deeper, epochs=16, d_model=48, n_layers=2, learning_rate=1e-3)
    space = build_space(cell, n_features=25)
    assert Beyond(cell, lambda _: True).widening(space, {}, [best], BEGUN, 12) is None


@pytest.fixture(scope="module")
def undisturbed(deeper: Path) -> dict[str, Any]:
    return known(opened(deeper))


def killed(folder: Path, life: int, saved: dict[int, int]) -> None:
    """Play a search in a process that is killed after so many events."""
    journal = Mortal.open(folder, witness=None)
    assert isinstance(journal, Mortal)
    journal.lives = life
    with contextlib.suppress(Killed):
        ledger = ledger_of(journal, BEGUN, BEYOND_ALL)
        play(ledger, random.Random(0), 1, saved, reports(deeper_is_better))


@pytest.fixture(scope="module")
def events_at_the_edge(deeper: Path) -> list[int]:
    """Return how many events there are just before and after each decision about an edge."""
    found = kinds(deeper)
    places = [index for index, kind in enumerate(found) if kind in ("widened", "settled")]
    return [place + offset for place in places for offset in (-1, 0, 1, 3)]


@pytest.mark.slow
@pytest.mark.parametrize("which", range(11))
def test_a_search_killed_around_an_edge_is_the_search_that_was_not(
    tmp_path: Path, undisturbed: dict[str, Any], events_at_the_edge: list[int], which: int
) -> None:
    """Also between the end of the last trial, the decision, and the first trial beyond."""
    folder, saved = tmp_path / "cell", dict[int, int]()
    opened(folder)
    # The first event began the journal.
    killed(folder, events_at_the_edge[which] - 1, saved)
    ledger = opened(folder)
    play(ledger, random.Random(0), 1, saved, reports(deeper_is_better))
    assert known(ledger) == undisturbed
    assert known(opened(folder)) == undisturbed
    # A process that goes beyond no edge knows what was tried there too.
    assert known(opened(folder, None)) == undisturbed


def test_side_by_side_the_trials_beyond_wait_for_all_others(tmp_path: Path) -> None:
    ledger = searched(tmp_path / "cell", deeper_is_better, slots=3)
    beyond = tried_beyond(ledger)
    assert [r.number for r in beyond] == list(range(12, 18))
    events = Journal.read(tmp_path / "cell", witness=None).replay()
    first = [event["kind"] for event in events].index("widened")
    assert sum(event["kind"] == "ended" for event in events[:first]) == 12


def test_more_trials_are_ordinary_ones_of_the_wider_space(
    deep_enough: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "cell"
    shutil.copytree(deep_enough, folder)
    ledger = opened(folder, NOT_NARROWER)
    ledger.extend(20)
    assert not ledger.is_complete
    play(ledger, random.Random(0), 1, {}, reports(deep_enough_at_four))
    assert [r.source for r in ledger.records[15:]] == ["sampled"] * 8
    assert ledger.n_beyond == 3
    assert ledger.is_complete
    # It has looked again, for the best trial may be another one.
    assert kinds(folder).count("settled") == 2
    assert known(opened(folder)) == known(ledger)


def test_longer_schedules_reach_the_trials_beyond_an_edge_too(tmp_path: Path) -> None:
    folder, saved = tmp_path / "cell", dict[int, int]()
    ledger = opened(folder)
    make = reports(deep_enough_at_four)
    while not ledger.widenings:
        assignment = ledger.next()
        assert assignment is not None
        for epoch in range(1, 5):
            saved[assignment.number] = epoch
            if ledger.epoch(assignment.number, make(assignment, epoch, of=4)):
                break
    assert SPACE.epochs is not None
    longer = 2 * SPACE.epochs
    ledger.lengthen(longer)
    play(ledger, random.Random(0), 1, saved, make)
    states = [state for state, *_ in ledger.history()]
    assert states.count("COMPLETE") == [r.state for r in ledger.records].count("COMPLETE")
    assert {r.params["epochs"] for r in tried_beyond(ledger)} == {longer}
    assert known(opened(folder)) == known(ledger)


def test_trials_beyond_an_edge_come_before_imported_ones_that_there_was_no_room_for(
    tmp_path: Path,
) -> None:
    few = dataclasses.replace(BEGUN, trials=7)
    tmp_path.joinpath("cell").mkdir()
    journal = Journal.create(tmp_path / "cell", "abcd", {"kind": "created", "time": 0.0})
    ledger = ledger_of(journal, few, BEYOND_ALL)
    again = [
        TrialToRepeat(source=f"imported:{n}", params=config.flat())
        for n, config in enumerate(
            config for config in SPACE.configs() if config.model.n_heads == 4
        )
    ]
    ledger.learn([], again[:3])
    play(ledger, random.Random(0), 1, {}, reports(deeper_is_better))
    sources = [r.source for r in ledger.records]
    assert sources[6:] == ["imported:0", *[BEYOND] * (len(sources) - 7)]
    assert len(sources) > 7
    ledger.extend(9)
    play(ledger, random.Random(0), 1, {}, reports(deeper_is_better))
    assert [r.source for r in ledger.records][len(sources) :][:2] == ["imported:1", "imported:2"]


def test_the_sampler_knows_the_same_of_every_trial_after_the_space_became_wider(
    deeper: Path, tmp_path: Path
) -> None:
    without = searched(tmp_path / "cell", deeper_is_better, beyond=None)

    def learnt(ledger: Ledger) -> list[tuple[object, ...]]:
        return [(state, value, curve) for state, _, value, curve in ledger.history()]

    assert learnt(opened(deeper))[:12] == learnt(without)


def test_trials_beyond_an_edge_are_on_the_rungs_and_run_to_their_end(deep_enough: Path) -> None:
    ledger = opened(deep_enough)
    assert {r.reason for r in tried_beyond(ledger)} == {"completed"}
    first = min(ledger.rungs()[CELL.budget_label])
    assert {12, 13, 14} <= set(first[1])


def test_trials_beyond_an_edge_do_not_make_a_search_converge(
    deep_enough: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "cell"
    shutil.copytree(deep_enough, folder)
    within = opened(folder, NOT_NARROWER).records[:12]
    n_distinct = 1 + sum(record.reason == "completed" for record in within)
    stops = dataclasses.replace(
        BEGUN, early_stop_patience=max(5, n_distinct), early_stop_threshold=9.0
    )
    ledger = ledger_of(Journal.open(folder, witness=None), stops, NOT_NARROWER)
    ledger.extend(20)
    assignment = ledger.next()
    assert assignment is not None
    assert assignment.source == "sampled"
