"""A cell is prepared, planned, claimed and begun from Python, without flags and Ray."""

import dataclasses
import json
from pathlib import Path

import pytest

from study.planning.plan_summary import plan_summary
from study.planning.prepared_cell import PlanOptions, prepare
from study.results.store import read_cell
from study.search.known.earlier_trials import Imported, TrialToRepeat
from study.search.known.neighbours import Neighbours
from study.search.space import TrialConfig
from study.storage.driver_status import DriverStatus
from study.storage.lock import FolderLock, LockError
from study.storage.place import LocalPlace
from study.tuner.claim import claim
from study.tuner.run_cell import known_neighbours
from tests.search.known.test_neighbours import KNOWING, STUDY, write
from tests.search.simulated_search import CELL, SPACE
from tests.tuner.command import ESTIMATE, POWER
from tests.tuner.planned import NODE, plan


@pytest.fixture
def place(tmp_path: Path) -> LocalPlace:
    return LocalPlace(tmp_path / "ray_results" / CELL.name)


def begun(place: LocalPlace) -> str:
    """Begin and end a search; return its name."""
    with claim(place, CELL, plan().data) as claimed:
        assert claimed.earlier is None
        opened = claimed.begin(plan())
        claimed.end("interrupted", "Ctrl+C")
    return opened.folder.journal.search


def state(place: LocalPlace) -> str | None:
    status = DriverStatus.read(place.path)
    return None if status is None else status.state


@pytest.mark.slow
def test_a_cell_is_prepared_and_planned_without_flags(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    file.write_text(
        json.dumps({"cells": [{"cell": CELL.name, "estimate": ESTIMATE, "power": POWER}]})
    )
    options = PlanOptions(results=tmp_path / "ray_results", device="cpu", estimate=file)
    prepared = prepare(CELL, options)
    planned = prepared.plan([NODE])
    assert planned.estimate == plan().estimate
    assert prepared.imported_by(planned) is None
    assert not options.results.exists()
    # The description of the beginning stays, whatever a later plan has measured.
    first = {
        **plan_summary(plan()).to_json(),
        "estimate": {**ESTIMATE, "search_seconds_expected": 7.0},
    }
    resumed = prepare(CELL, options, is_resumed=True).resuming(first, CELL)
    assert resumed.plan([NODE]).estimate.search_seconds_expected == 7.0


def test_a_search_is_made_when_it_begins_and_not_before(place: LocalPlace) -> None:
    with claim(place, CELL, plan().data) as claimed:
        assert not place.path.exists()
        opened = claimed.begin(plan())
        assert opened.ledger.records == []
        assert state(place) == "running"
        with pytest.raises(LockError):
            FolderLock(place.path)
        claimed.end("complete", None)
    assert state(place) == "complete"
    FolderLock(place.path).release()


def test_a_search_is_resumed_as_it_was_begun(place: LocalPlace) -> None:
    search = begun(place)
    with claim(place, CELL, plan().data, resume=True) as claimed:
        assert claimed.earlier is not None
        assert claimed.earlier["estimate"]["search_seconds_expected"] == 20.0
        assert claimed.begin(plan()).folder.journal.search == search


def test_a_resumed_search_that_cannot_be_planned_says_so(place: LocalPlace) -> None:
    begun(place)
    with pytest.raises(RuntimeError), claim(place, CELL, plan().data, resume=True):
        raise RuntimeError("no plan")
    assert state(place) == "stopped"
    FolderLock(place.path).release()


def test_a_search_that_is_replaced_is_held_until_it_is_moved(
    place: LocalPlace, tmp_path: Path
) -> None:
    first = begun(place)
    lines: list[str] = []
    with claim(place, CELL, plan().data, fresh=True) as claimed:
        assert claimed.earlier is None
        assert place.path.exists()
        with pytest.raises(LockError):
            FolderLock(place.path)
        second = claimed.begin(plan(), say=lines.append).folder.journal.search
    (aside,) = (tmp_path / "ray_results_replaced").iterdir()
    assert first in (aside / "journal.jsonl").read_text()
    assert second in (place.path / "journal.jsonl").read_text()
    assert [line.partition(" the ")[0] for line in lines] == ["  moved  "]


def test_imported_trials_leave_other_cells_less_room_and_a_resumed_search_knows_no_more(
    place: LocalPlace,
) -> None:
    made, results = dataclasses.replace(plan(), cell=KNOWING), place.path.parent
    write(results, STUDY.cell("50k", 3), SPACE, made.data)
    n_forced = sum(slot.config is not None for slot in made.forced)
    again = TrialToRepeat(source="imported:1", params={})
    imported = Imported(
        known=[], again=[again] * (KNOWING.search.trials - n_forced), n_rescheduled=0,
        n_outside=0, incomparable=None,
    )  # fmt: skip
    full = known_neighbours(KNOWING, made, results, imported)
    assert full is not None
    assert full.describe() == "knows no finished cell; its trials are all forced or imported ones"
    room = dataclasses.replace(imported, again=imported.again[1:])
    known = known_neighbours(KNOWING, made, results, room)
    assert known is not None
    assert len(known.found) == 1
    # Asked for when it is resumed.
    late = known_neighbours(KNOWING, made, results, None, {})
    assert late is not None
    assert late.describe().endswith("the search was begun without --neighbours, and stays so")
    assert known_neighbours(CELL, made, results, None, {}) is None


def test_a_resumed_search_knows_of_other_cells_what_it_was_begun_with(place: LocalPlace) -> None:
    made, results = dataclasses.replace(plan(), cell=KNOWING), place.path.parent
    for horizon in (5, 3):
        write(results, STUDY.cell("50k", horizon), SPACE, made.data, best_rate=4e-4 * horizon)
    with claim(place, KNOWING, made.data) as claimed:
        known = known_neighbours(KNOWING, made, results)
        assert known is not None
        claimed.begin(made, neighbours=known)
        claimed.end("interrupted", "Ctrl+C")
    write(results, STUDY.cell("50k", 2), SPACE, made.data)
    assert Neighbours.of_cell(read_cell(place.path)) == known
    # Whether the flag is repeated or not.
    with claim(place, CELL, made.data, resume=True) as claimed:
        assert claimed.continued is not None
        assert claimed.continued.search.neighbours
        assert known_neighbours(CELL, made, results, None, claimed.earlier) == known
        opened = claimed.begin(made)
        asked = [opened.ledger.next() for _ in range(4)]
        claimed.end("interrupted", "Ctrl+C")
    sources = [each.source for each in asked if each is not None]
    assert sources[:2] == [f"neighbour:smoke_50k_h{h}_threshold_1pct/1" for h in (3, 5)]
    assert [source.split(":")[0] for source in sources[2:]] == ["forced"] * 2
    assert asked[0] is not None
    assert asked[0].config == TrialConfig.from_flat(known.found[0].params)
