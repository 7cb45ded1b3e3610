"""A trial's checkpoints take no more of the disk than is planned, wherever a process is killed."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from study.model.sizing import count_parameters
from study.training.checkpoint import CheckpointFolder
from study.training.checkpoint_bytes import MOST_SPARED_BYTES, running_bytes, states_kept
from study.training.state_file import State, state_bytes
from tests.training.checkpoints import names, trial_state
from tests.training.planted import MODEL, make_trainer

EVERY_STATE_IS_LARGE = 0
STEPS = ((4, 1), (8, 2))
"""Steps and best epochs of the states that a trial saves one after the other."""
LAST = (12, 3)
"""Step and best epoch of the state that a resumed trial saves after them."""


class Killed(BaseException):
    pass


@contextmanager
def killed_after(n_operations: int, look: Callable[[], None]) -> Iterator[None]:
    """Look at the disk before every operation on it, and let none after so many take place."""
    left = n_operations

    def or_die(operation: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            look()
            if left == 0:
                raise Killed
            left -= 1
            return operation(*arguments, **options)

        return run

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", or_die(lambda _: None))
        for name in ("unlink", "replace"):
            patch.setattr(Path, name, or_die(getattr(Path, name)))
        yield


def states(steps: Iterable[tuple[int, int]]) -> list[State]:
    return [trial_state(step, best_epoch=best, n_floats=20_000) for step, best in steps]


def content(state: State) -> list[float]:
    """Return what tells the state of a step from those of others."""
    tensors = state["model"]["w"], state["best"]["weights"]["w"]
    return [state["step"], state["best"]["epoch"], *(float(each.mean()) for each in tensors)]


def taken(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(("most_spared", "n_kept"), [(EVERY_STATE_IS_LARGE, 1), (2**20, 2)])
def test_a_trial_that_is_killed_anywhere_has_a_state_and_takes_no_more_room_after(
    tmp_path: Path, most_spared: int, n_kept: int
) -> None:
    state = states(STEPS)[0]
    most = (n_kept + 1) * state_bytes(state)
    seen: list[int] = []
    n_operations, is_killed = 0, True
    while is_killed:
        here = tmp_path / str(n_operations)
        here.mkdir()
        look = partial(lambda folder: seen.append(taken(folder)), here)
        saved = []
        folder = CheckpointFolder(here, most_spared_bytes=most_spared)
        try:
            with killed_after(n_operations, look):
                for state in states(STEPS):
                    folder.save(state)
                    saved.append(content(state))
            is_killed = False
        except Killed:
            n_operations += 1

        resumed = CheckpointFolder(here, most_spared_bytes=most_spared)
        found = resumed.newest_intact()
        if saved:
            assert found is not None
            # The state that was being written may be complete.
            possible = [content(each) for each in states(STEPS[len(saved) - 1 : len(saved) + 1])]
            assert content(found.state) in possible
        with killed_after(10**6, look):
            for state in states((*STEPS, LAST)):
                if found is None or state["step"] > found.state["step"]:
                    resumed.save(state)
        assert len([name for name in names(here) if "state" in name]) == n_kept
    assert n_operations > 15
    # Names, numbers and hashes come on top of the tensors.
    assert 0.9 * most < max(seen) < 1.1 * most


def test_a_state_is_as_large_as_is_planned() -> None:
    for ema_decay in (0.0, 0.9):
        trainer = make_trainer(ema_decay=ema_decay)
        trainer.run_epoch()
        state = trainer.state_dict()
        weights = 4 * count_parameters(MODEL)
        best = state_bytes(state["best"])
        assert best == weights
        planned = (3 + (ema_decay > 0)) * weights
        # Two states of generators and the days of an epoch are the rest.
        assert planned <= state_bytes(state) - best <= planned + 20_000


def test_only_of_small_states_is_a_second_one_kept() -> None:
    assert states_kept(MOST_SPARED_BYTES) == 2
    assert states_kept(MOST_SPARED_BYTES + 1) == 1
    weights = 4 * 2_420_000_000
    # Two states of 36 GiB, the newest and the one that is written, and the best weights of each.
    assert running_bytes(4 * weights, weights) == 2 * 5 * weights
    assert running_bytes(4 * 2_000_000, 2_000_000) == 3 * (4 * 2_000_000 + 2_000_000)
