"""Foretold seconds order the first trials of a search, and decide between draws."""

import dataclasses
import functools
import random
from pathlib import Path

import pytest

from study.errors import StudyError
from study.results.journal import Journal
from study.results.plans.plan_record import shape_name
from study.search.costs import DRAWS, Cost, foretold
from study.search.forced import Forced, first_configurations
from study.search.ledger import Ledger
from study.search.sampler import Sampler
from tests.search.simulated_search import CELL, SEARCH, SPACE, known, ledger_of, play, reopened

SECONDS = {
    shape_name(shape.d_model, shape.n_layers): 100.0 / shape.d_model for shape in SPACE.shapes
}
DESCRIBED = {"estimate": {"epoch_seconds": SECONDS}}
COST: Cost = foretold(DESCRIBED)
CHEAP_FIRST = dataclasses.replace(SEARCH, cheap_first=True, startup_trials=9)


def test_an_architecture_that_was_not_timed_counts_as_the_slowest() -> None:
    config = SPACE.forced(SPACE.shapes[0])
    deeper = dataclasses.replace(config, model=dataclasses.replace(config.model, n_layers=7))
    assert (
        COST(config)
        == config.train.epochs * SECONDS[shape_name(config.model.d_model, config.model.n_layers)]
    )
    assert COST(deeper) == config.train.epochs * max(SECONDS.values())
    with pytest.raises(StudyError, match="need the seconds of an epoch"):
        foretold({})


def test_the_first_trials_are_the_same_ones_cheap_ones_first(tmp_path: Path) -> None:
    first = {"kind": "created", "time": 0.0, "cell": DESCRIBED}
    found = {}
    for search in (CHEAP_FIRST, dataclasses.replace(CHEAP_FIRST, cheap_first=False)):
        folder = tmp_path / str(search.cheap_first)
        folder.mkdir()
        begun = ledger_of(Journal.create(folder, "abcd", first), search)
        handed_out = [begun.next() for _ in range(3)]
        # What was decided is decided again when the journal is read back.
        ledger = reopened(folder, search)
        play(ledger, random.Random(0), 1, {})
        found[search.cheap_first] = known(ledger)
        assert found[search.cheap_first]["assignments"][:3] == handed_out
        assert known(reopened(folder, search)) == found[search.cheap_first]
    cheap = [(each.source, each.config) for each in found[True]["assignments"][:9]]
    listed = [(each.source, each.config) for each in found[False]["assignments"][:9]]
    assert set(cheap) == set(listed)
    costs = [COST(config) for _, config in cheap]
    assert costs == sorted(costs) != [COST(config) for _, config in listed]


def test_equal_configurations_take_a_trial_each_where_they_may_repeat(tmp_path: Path) -> None:
    search = dataclasses.replace(CHEAP_FIRST, trials=3)
    dear, cheap = (Forced(name=str(n), config=[*SPACE.configs()][n]) for n in (0, -1))
    ledger = Ledger(
        Journal.create(tmp_path, "abcd", {"kind": "created", "time": 0.0, "cell": DESCRIBED}),
        space=SPACE,
        forced=[dear, dear, dataclasses.replace(dear, name="third"), cheap],
        search=search,
        granted_bytes={},
        may_repeat=True,
    )
    sources = [each.source for _ in range(4) if (each := ledger.next()) is not None]
    assert sources == ["forced:0", "forced:0", "forced:third"]


def test_a_search_that_is_extended_runs_the_extremes_that_waited(tmp_path: Path) -> None:
    first = {"kind": "created", "time": 0.0, "cell": DESCRIBED}
    search = dataclasses.replace(CHEAP_FIRST, startup_trials=10)
    few, all_six = (
        first_configurations(
            SPACE, dataclasses.replace(CELL, search=dataclasses.replace(search, trials=trials))
        )
        for trials in (12, 20)
    )
    make = functools.partial(Ledger, space=SPACE, search=search, granted_bytes={})
    ledger = make(Journal.create(tmp_path, "abcd", first), forced=few)
    handed_out = [ledger.next() for _ in range(2)]
    ledger = make(Journal.open(tmp_path, witness=None), forced=all_six)
    ledger.extend(20)
    play(ledger, random.Random(0), 1, {})
    found = known(ledger)
    assert found["assignments"][:2] == handed_out
    assert len(found["assignments"]) == len({each.config for each in found["assignments"]}) == 20
    tried = [each.config for each in found["assignments"] if each.source.startswith("forced")]
    assert {slot.config for slot in all_six} == set(tried)
    assert known(make(Journal.open(tmp_path, witness=None), forced=all_six)) == found


def test_the_cheapest_of_several_draws_is_taken_once_tpe_draws() -> None:
    def drawn(n_draws: int, startup: int) -> float:
        sampler = Sampler(SPACE, seed=1, startup_trials=startup)
        sampler.prefer(COST, n_draws)
        for number, config in enumerate(SPACE.configs()):
            if number < 4:
                sampler.place(number, config)
                sampler.tell(number, "COMPLETE", 0.5 + 0.01 * number)
        drawn_one = sampler.draw(4)
        assert drawn_one is not None
        return COST(drawn_one)

    one, two, many = (drawn(DRAWS[rule], 4) for rule in ("ignore", "tie", "per_second"))
    assert many <= two <= one > many
    # A random draw is not chosen: it would be no random one.
    assert drawn(DRAWS["per_second"], 5) == drawn(1, 5)
