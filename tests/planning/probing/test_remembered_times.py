"""Times in a file: whose they are, how long they live, and what becomes of a file that is none."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from study.cluster.resources import Node
from study.model.sizing import count_parameters
from study.planning.probing import step_probe
from study.planning.probing.remembered_times import RememberedTimes
from study.planning.step_times import CheckpointTime, ProbeTime
from study.search.space import TrialConfig
from tests.search.simulated_search import SPACE

HERE = Node(
    name="here", cpus=2, gpus=0, memory_bytes=2**33, device_bytes=2**33, unified_memory=True
)
CONFIG: TrialConfig = next(iter(SPACE.configs()))
HOUR, DAY = 3600.0, 86_400.0
TIME = ProbeTime(
    window_seconds=0.001,
    step_seconds=0.02,
    validation_seconds=0.0005,
    begin_seconds=0.7,
    checkpoint=CheckpointTime(
        memory=CONFIG.train.memory,
        n_params=count_parameters(CONFIG.model),
        written_seconds=0.4,
        copied_seconds=0.1,
    ),
    waited_share=0.02,
)


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def times(
    folder: Path, clock: Clock, nodes: Sequence[Node] = (HERE,), *, may_write: bool = True
) -> RememberedTimes:
    return RememberedTimes(folder, nodes, may_write=may_write, clock=clock)


def measured(folder: Path, clock: Clock, *, busy: bool = False) -> Path:
    """Leave times as a command does; return their file."""
    own = times(folder, clock)
    own.add_probe("model", dataclasses.replace(TIME, waited_share=0.5 if busy else 0.02))
    own.add_number("start", 5.0, 0.02)
    # What a command has measured itself is of now.
    assert own.measured_at(["model", "start"]) is None
    own.keep()
    (path,) = folder.glob("*.json")
    return path


def test_the_next_command_finds_what_was_measured_and_says_when(
    tmp_path: Path, clock: Clock
) -> None:
    measured(tmp_path, clock)
    measured_at, clock.now = clock.now, clock.now + HOUR
    found = times(tmp_path, clock)
    assert found.probe("model", CONFIG, saves=True) == TIME
    assert found.number("start") == 5.0
    assert found.measured_at(["model", "start"]) == measured_at
    assert found.take_note() == ()
    assert found.probe("another", CONFIG, saves=False) is None


def test_a_model_without_the_time_of_its_checkpoint_is_not_known_where_that_is_asked_for(
    tmp_path: Path, clock: Clock
) -> None:
    own = times(tmp_path, clock)
    own.add_probe("model", dataclasses.replace(TIME, checkpoint=None))
    assert own.probe("model", CONFIG, saves=True) is None
    assert own.probe("model", CONFIG, saves=False) is not None


@pytest.mark.parametrize(
    ("busy", "age", "lives"),
    [
        (False, 7 * DAY, True),
        (False, 7 * DAY + 1, False),
        (True, 600, True),
        (True, 601, False),
        # The clock was set back.
        (False, -1.0, False),
    ],
)
def test_times_live_a_week_and_those_of_a_busy_machine_ten_minutes(
    tmp_path: Path, clock: Clock, *, busy: bool, age: float, lives: bool
) -> None:
    measured(tmp_path, clock, busy=busy)
    clock.now += age
    assert (times(tmp_path, clock).probe("model", CONFIG, saves=True) is not None) == lives


def test_another_machine_has_times_of_its_own(tmp_path: Path, clock: Clock) -> None:
    measured(tmp_path, clock)
    for other in (
        dataclasses.replace(HERE, name="there"),
        dataclasses.replace(HERE, cpus=4),
        dataclasses.replace(HERE, gpus=1),
    ):
        assert times(tmp_path, clock, [other]).number("start") is None
    # The memory that is free changes no time.
    freer = dataclasses.replace(HERE, memory_bytes=2**34, device_bytes=2**34)
    assert times(tmp_path, clock, [freer]).number("start") == 5.0


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: text.replace('"value": 5.0', '"value": -5.0'),
        lambda text: text.replace('"begin_seconds": 0.7', '"begin_seconds": null'),
        lambda text: json.dumps({**json.loads(text), "machine": "another"}),
    ],
    ids=["cut", "other", "negative", "hole", "foreign"],
)
def test_a_damaged_file_is_measured_again_and_that_is_said_once(
    tmp_path: Path, clock: Clock, change: Callable[[str], str]
) -> None:
    path = measured(tmp_path, clock)
    path.write_text(change(path.read_text()))
    found = times(tmp_path, clock)
    assert found.number("start") is None
    (note,) = found.take_note()
    assert note.startswith(f"{path}: the times of steps are damaged (")
    assert found.take_note() == ()
    found.add_number("start", 6.0, 0.0)
    found.keep()
    assert times(tmp_path, clock).number("start") == 6.0


def test_commands_at_once_keep_the_times_of_each_other(tmp_path: Path, clock: Clock) -> None:
    first, second = times(tmp_path, clock), times(tmp_path, clock)
    first.add_number("first", 1.0, 0.0)
    second.add_number("second", 2.0, 0.0)
    first.keep()
    second.keep()
    found = times(tmp_path, clock)
    assert [found.number(key) for key in ("first", "second")] == [1.0, 2.0]
    assert [path.suffix for path in tmp_path.iterdir()] == [".json"]


def test_a_dry_run_reads_and_writes_nothing(tmp_path: Path, clock: Clock) -> None:
    folder = tmp_path / "cache"
    own = times(folder, clock, may_write=False)
    own.add_number("start", 1.0, 0.0)
    own.keep()
    assert not folder.exists()
    measured(folder, clock)
    assert times(folder, clock, may_write=False).number("start") == 5.0


def test_a_folder_that_cannot_be_written_costs_a_line(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "cache").write_text("a file")
    own = times(tmp_path / "cache", clock)
    own.add_number("start", 1.0, 0.0)
    own.keep()
    (note,) = own.take_note()
    assert "the times of steps could not be written" in note


@pytest.mark.parametrize("is_busy", [True, False])
def test_how_many_share_a_device_is_forgotten_as_soon_as_any_time_of_a_busy_machine(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, is_busy: bool
) -> None:
    def probe(waited_share: float) -> Any:
        done = SimpleNamespace(remote=lambda *_: None)
        rate = SimpleNamespace(remote=lambda: (100.0, waited_share))
        return SimpleNamespace(prepare=done, rate=rate, release=done)

    def sharing(known: RememberedTimes) -> step_probe._Times:
        load = step_probe._Load(values={}, n_train=256, on_cpu=True)
        return step_probe._Times(SPACE, load, known, n_probes=2, shared_by=2)

    monkeypatch.setattr(f"{step_probe.__name__}.ray.get", lambda calls: calls)
    known = times(tmp_path, clock)
    # The second one waits where two are at work.
    probes = [probe(0.02), probe(0.5 if is_busy else 0.02)]
    sharing(known).share(*step_probe._share(SPACE, probes))
    assert sharing(known).n_probes == 2
    known.keep()
    clock.now += HOUR
    assert sharing(times(tmp_path, clock)).needs_sharing is is_busy
