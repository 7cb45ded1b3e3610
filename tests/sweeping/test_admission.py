from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.sweeping.admission import CellDemand, allot


def cell(name: str, capacity: int, usable: int = 50, exclusive: bool = False) -> CellDemand:
    return CellDemand(name=name, capacity=capacity, usable=usable, exclusive=exclusive)


def test_small_cells_share_the_cluster_evenly() -> None:
    waiting = [cell("a", 8), cell("b", 8), cell("c", 8)]
    assert allot([], waiting, most_cells=4) == {"a": 3, "b": 3, "c": 2}


def test_two_slots_run_two_cells_with_one_trial_each() -> None:
    waiting = [cell("a", 2), cell("b", 2), cell("c", 2)]
    assert allot([], waiting, most_cells=9) == {"a": 1, "b": 1}


def test_what_a_cell_cannot_use_goes_to_the_others() -> None:
    assert allot([cell("a", 8, usable=1)], [cell("b", 8)], most_cells=2) == {"a": 1, "b": 7}


def test_the_last_cell_gets_all() -> None:
    assert allot([cell("a", 8)], [], most_cells=4) == {"a": 8}


def test_an_exclusive_cell_waits_until_all_have_ended_and_nothing_overtakes_it() -> None:
    large, small = cell("2B", 1, exclusive=True), cell("a", 8)
    assert allot([small], [large, cell("b", 8)], most_cells=4) == {"a": 8}
    assert allot([], [large, cell("b", 8)], most_cells=4) == {"2B": 1}
    assert allot([large], [cell("b", 8)], most_cells=4) == {"2B": 1}


def test_a_large_cell_begins_as_soon_as_it_fits_beside_the_running_ones() -> None:
    running = [cell("a", 8), cell("b", 8)]
    # Half of the cluster for one trial: the small ones must give back what they had.
    assert allot(running, [cell("200M", 2)], most_cells=4) == {"a": 2, "b": 2, "200M": 1}
    assert "200M" not in allot([cell("w", 1)], [cell("200M", 2)], most_cells=4)


def test_no_more_cells_than_there_may_be_processes() -> None:
    assert len(allot([], [cell(str(i), 100) for i in range(9)], most_cells=3)) == 3


cells = st.builds(
    CellDemand,
    name=st.uuids().map(str),
    capacity=st.integers(1, 20),
    usable=st.integers(1, 60),
    exclusive=st.booleans(),
)


@given(waiting=st.lists(cells, min_size=1, max_size=8), most=st.integers(1, 5))
def test_whatever_the_cells_all_have_their_turn_and_no_slot_is_left_idle(
    waiting: list[CellDemand], most: int
) -> None:
    by_name = {c.name: c for c in waiting}
    begun: list[str] = []
    at_work: list[CellDemand] = []
    while waiting or at_work:
        slots = allot(at_work, waiting, most_cells=most)
        assert set(slots) >= {c.name for c in at_work}
        assert 1 <= len(slots) <= most
        shares = {name: by_name[name].share(count) for name, count in slots.items()}
        used = sum(shares.values(), Fraction(0))
        assert used <= 1
        assert len(slots) == 1 or not any(by_name[name].exclusive for name in slots)
        for name, count in slots.items():
            c = by_name[name]
            assert 1 <= count <= c.capacity
            could_grow = count < min(c.capacity, c.usable) and used + c.share(1) <= 1
            assert not could_grow
        begun += [name for name in slots if name not in begun]
        waiting = [c for c in waiting if c.name not in slots]
        # The first of those at work ends.
        at_work = [by_name[name] for name in slots][1:]
    assert begun == list(by_name)


@pytest.mark.parametrize("capacity", [1, 3, 7])
def test_thirds_and_sevenths_add_up_exactly(capacity: int) -> None:
    assert allot([], [cell("a", capacity)], most_cells=1) == {"a": capacity}
