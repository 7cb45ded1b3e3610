"""The journal against everything that can happen to one of its two files."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study.results.journal import Journal, JournalError
from study.storage.layout import JOURNAL_FILES
from tests.results.conftest import full_disk

SEARCH, FOREIGN = "5ea7c400", "f07e1691"

EVENTS: list[dict[str, Any]] = [
    {"kind": "created", "time": 0.0, "cell": {"name": "demo", "widths": [32, 64]}},
    # A byte of a small number can turn it into an infinite one, or into another number.
    {"kind": "asked", "time": 1.5, "number": 0, "params": {"learning_rate": 1e-05, "head": "last"}},
    {"kind": "epoch", "time": 2.5, "number": 0, "report": {"epoch": 1, "loss": 0.6931471805599453}},
    {
        "kind": "fault",
        "time": 3.5,
        "number": 0,
        "message": 'a "quoted"\nword of \u00fcber \u2028 all',
    },
    {"kind": "ended", "time": 4.5, "record": {"value": None, "faults": []}},
]

Damage = Callable[[Path, random.Random], object]


def written(folder: Path, search: str = SEARCH, events: list[dict[str, Any]] = EVENTS) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    journal = Journal.create(folder, search, events[0])
    for event in events[1:]:
        journal.append(event)
    return folder


def contents(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in JOURNAL_FILES]


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines(keepends=True)


def put_lines(path: Path, new: list[str]) -> None:
    path.write_text("".join(new), encoding="utf-8")


def truncate(path: Path, draw: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: draw.randrange(len(content))])


def overwrite(path: Path, draw: random.Random) -> None:
    content = bytearray(path.read_bytes())
    start = draw.randrange(len(content))
    for position in range(start, min(len(content), start + draw.randint(1, 200))):
        content[position] = draw.randrange(256)
    path.write_bytes(content)


def flip_one(path: Path, draw: random.Random) -> None:
    content = bytearray(path.read_bytes())
    position = draw.randrange(len(content))
    content[position] = draw.choice([each for each in range(256) if each != content[position]])
    path.write_bytes(content)


def swap(path: Path, draw: random.Random) -> None:
    other = written(path.parent / "other", FOREIGN, EVENTS[: draw.randint(1, len(EVENTS))])
    path.write_bytes((other / path.name).read_bytes())


def shuffle(path: Path, draw: random.Random) -> None:
    rows = lines(path)
    rows += draw.choices(rows, k=3)
    draw.shuffle(rows)
    put_lines(path, rows)


def append_noise(path: Path, draw: random.Random) -> None:
    with path.open("ab") as file:
        file.write(draw.randbytes(50))


DAMAGES: dict[str, Damage] = {
    "truncated": truncate,
    "overwritten": overwrite,
    "one byte flipped": flip_one,
    "emptied": lambda path, _: path.write_bytes(b""),
    "deleted": lambda path, _: path.unlink(),
    "swapped": swap,
    "shuffled": shuffle,
    "followed by noise": append_noise,
}


def test_what_is_appended_is_read_back_from_two_equal_files(tmp_path: Path) -> None:
    folder = written(tmp_path)
    first, second = contents(folder)
    assert first == second
    assert first.count(b"\n") == len(EVENTS)
    opened = Journal.open(folder, witness=None)
    assert (opened.search, opened.replay()) == (SEARCH, EVENTS)


def test_an_opened_journal_goes_on(tmp_path: Path) -> None:
    folder = written(tmp_path, events=EVENTS[:2])
    for event in EVENTS[2:]:
        Journal.open(folder, witness=SEARCH).append(event)
    assert Journal.open(folder, witness=SEARCH).replay() == EVENTS
    assert contents(folder) == contents(written(tmp_path / "at_once"))


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(JOURNAL_FILES),
    damage=st.sampled_from(sorted(DAMAGES)),
    draw=st.randoms(use_true_random=False),
)
def test_any_damage_to_one_copy_loses_nothing(
    tmp_path_factory: pytest.TempPathFactory, name: str, damage: str, draw: random.Random
) -> None:
    folder = written(tmp_path_factory.mktemp("damaged"))
    intact = contents(folder)
    DAMAGES[damage](folder / name, draw)
    opened = Journal.open(folder, witness=SEARCH)
    assert (opened.search, opened.replay()) == (SEARCH, EVENTS)
    assert contents(folder) == intact
    opened.append({"kind": "exhausted", "time": 9.0})
    assert len(Journal.open(folder, witness=SEARCH).replay()) == len(EVENTS) + 1


@pytest.mark.parametrize(
    ("intact", "damaged"),
    [
        # One byte is enough to make a number that is beyond all floats.
        ("1e-05", "1e905"),
        ('"hash": "', '"hash": "\\ud800'),
        (f'"search": "{SEARCH[:6]}', '"search": "\\ud800'),
        ('"index": 1', '"index": 1e999'),
    ],
)
def test_a_line_that_breaks_its_reader_is_a_damaged_line(
    tmp_path: Path, intact: str, damaged: str
) -> None:
    folder = written(tmp_path)
    path = folder / JOURNAL_FILES[0]
    text = path.read_text(encoding="utf-8")
    assert intact in text
    path.write_text(text.replace(intact, damaged, 1), encoding="utf-8")
    assert Journal.open(folder, witness=SEARCH).replay() == EVENTS
    first, second = contents(folder)
    assert first == second


@settings(max_examples=20, deadline=None)
@given(cuts=st.tuples(st.integers(0, 60), st.integers(0, 60)))
def test_a_torn_last_line_is_cut_off_and_the_events_before_survive(
    tmp_path_factory: pytest.TempPathFactory, cuts: tuple[int, int]
) -> None:
    folder = written(tmp_path_factory.mktemp("torn"))
    for name, cut in zip(JOURNAL_FILES, cuts, strict=True):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) - cut])
    # Without its line feed alone a line is complete.
    survives = min(cuts) <= 1
    opened = Journal.open(folder, witness=SEARCH)
    assert opened.replay() == (EVENTS if survives else EVENTS[:-1])
    opened.append(EVENTS[-1])
    first, second = contents(folder)
    assert first == second
    expected = [*EVENTS, EVENTS[-1]] if survives else EVENTS
    assert Journal.open(folder, witness=SEARCH).replay() == expected


def test_a_line_is_torn_in_both_copies_and_the_next_is_whole(tmp_path: Path) -> None:
    folder = written(tmp_path)
    journal = Journal.open(folder, witness=None)
    for name in JOURNAL_FILES:
        with (folder / name).open("a") as file:
            file.write(f'{{"search": "{SEARCH}", "index": 5, "ha')
    # As after a full disk, in the same process.
    journal.append({"kind": "exhausted", "time": 9.0})
    assert len(Journal.open(folder, witness=None).replay()) == 6


@settings(max_examples=20, deadline=None)
@given(owners=st.lists(st.sampled_from([0, 1, None]), min_size=len(EVENTS), max_size=len(EVENTS)))
def test_copies_damaged_at_different_events_are_merged(
    tmp_path_factory: pytest.TempPathFactory, owners: list[int | None]
) -> None:
    folder = written(tmp_path_factory.mktemp("merged"))
    intact = contents(folder)
    for copy, name in enumerate(JOURNAL_FILES):
        rows = lines(folder / name)
        for index, owner in enumerate(owners):
            if owner == copy:
                rows[index] = rows[index].replace("0", "1")
        put_lines(folder / name, rows)
    assert Journal.open(folder, witness=SEARCH).replay() == EVENTS
    assert contents(folder) == intact


@pytest.mark.parametrize("lost", [0, 2])
def test_an_event_that_both_copies_lost_is_named(tmp_path: Path, lost: int) -> None:
    folder = written(tmp_path)
    for name in JOURNAL_FILES:
        rows = lines(folder / name)
        rows[lost] = rows[lost].replace('"kind"', '"kimd"')
        put_lines(folder / name, rows)
    damaged = contents(folder)
    with pytest.raises(
        JournalError, match=rf"at 1 of 5 events, the first of them number {lost}\..*--import-trials"
    ):
        Journal.open(folder, witness=SEARCH)
    assert contents(folder) == damaged


@pytest.mark.parametrize("content", [None, b"", b"\x00\xff" * 100, b'{"search": "5ea7c400"}\n'])
def test_without_an_intact_event_there_is_no_search(tmp_path: Path, content: bytes | None) -> None:
    folder = written(tmp_path)
    for name in JOURNAL_FILES:
        (folder / name).unlink()
        if content is not None:
            (folder / name).write_bytes(content)
    with pytest.raises(JournalError, match=r"no intact event.*--fresh"):
        Journal.open(folder, witness=SEARCH)


@pytest.mark.parametrize("name", JOURNAL_FILES)
def test_copies_of_two_searches_are_told_apart_by_a_witness(tmp_path: Path, name: str) -> None:
    folder = written(tmp_path)
    swap(folder / name, random.Random(0))
    with pytest.raises(JournalError, match=f"one search, but got {SEARCH}, {FOREIGN}"):
        Journal.open(folder, witness=None)
    with pytest.raises(JournalError, match="one search"):
        Journal.open(folder, witness="a third")
    assert Journal.open(folder, witness=SEARCH).replay() == EVENTS


def test_a_witness_alone_decides_nothing(tmp_path: Path) -> None:
    folder = written(tmp_path)
    # cell.yaml was swapped, the journals were not.
    assert Journal.open(folder, witness=FOREIGN).search == SEARCH


def test_two_searches_in_one_file_are_refused(tmp_path: Path) -> None:
    folder = written(tmp_path)
    foreign = lines(written(tmp_path / "other", FOREIGN) / JOURNAL_FILES[0])
    put_lines(folder / JOURNAL_FILES[0], [*lines(folder / JOURNAL_FILES[0]), foreign[2]])
    with pytest.raises(JournalError, match="one search at a time may write a journal"):
        Journal.open(folder, witness=SEARCH)


def test_a_journal_that_was_removed_does_not_come_back_with_half_of_it(tmp_path: Path) -> None:
    folder = written(tmp_path)
    journal = Journal.open(folder, witness=SEARCH)
    (folder / JOURNAL_FILES[0]).unlink()
    with pytest.raises(FileNotFoundError):
        journal.append({"kind": "more"})
    assert not (folder / JOURNAL_FILES[0]).exists()


def test_a_line_counts_at_its_own_place_only(tmp_path: Path) -> None:
    folder = written(tmp_path)
    for name in JOURNAL_FILES:
        rows = lines(folder / name)
        rows[2] = rows[3].replace('"index": 3', '"index": 2')
        put_lines(folder / name, rows)
    with pytest.raises(JournalError, match="the first of them number 2"):
        Journal.open(folder, witness=SEARCH)


def test_an_event_without_a_plain_value_is_refused_before_it_is_written(tmp_path: Path) -> None:
    folder = written(tmp_path)
    before = contents(folder)
    journal = Journal.open(folder, witness=None)
    for unfit in (float("nan"), float("inf"), object()):
        with pytest.raises((ValueError, TypeError)):
            journal.append({"kind": "epoch", "time": 9.0, "loss": unfit})
    assert contents(folder) == before


@pytest.mark.parametrize("room", [0, 1, 70])
def test_a_full_disk_tears_no_search(tmp_path: Path, room: int) -> None:
    folder = written(tmp_path)
    journal = Journal.open(folder, witness=None)
    with (
        full_disk(len(contents(folder)[0]) + room),
        pytest.raises(OSError, match="File too large"),
    ):
        journal.append({"kind": "exhausted", "time": 9.0})
    assert Journal.read(folder, witness=None).replay() == EVENTS
    later = {"kind": "exhausted", "time": 10.0}
    journal.append(later)
    assert Journal.open(folder, witness=None).replay() == [*EVENTS, later]


def test_an_event_that_reached_one_copy_only_happened_or_did_not(tmp_path: Path) -> None:
    folder = written(tmp_path)
    journal = Journal.open(folder, witness=None)
    second = folder / JOURNAL_FILES[1]
    kept = second.read_bytes()
    second.unlink()
    second.mkdir()
    with pytest.raises(OSError, match=JOURNAL_FILES[1]):
        journal.append({"kind": "exhausted", "time": 9.0})
    second.rmdir()
    second.write_bytes(kept)
    # The process continues with what it knows, and the later event stands.
    later = {"kind": "exhausted", "time": 10.0}
    journal.append(later)
    assert Journal.open(folder, witness=None).replay() == [*EVENTS, later]


def test_lines_are_readable_json(tmp_path: Path) -> None:
    rows = [json.loads(line) for line in lines(written(tmp_path) / JOURNAL_FILES[0])]
    assert [row["event"] for row in rows] == EVENTS


@pytest.mark.parametrize("name", JOURNAL_FILES)
def test_a_folder_in_the_place_of_a_copy_costs_nothing(tmp_path: Path, name: str) -> None:
    folder = written(tmp_path)
    before = contents(folder)
    (folder / name).unlink()
    (folder / name).mkdir()
    (folder / name / "work").write_text("of years")
    assert Journal.open(folder, witness=None).replay() == EVENTS
    assert contents(folder) == before
    (aside,) = folder.glob(f"{name}.moved-*")
    assert (aside / "work").read_text() == "of years"


@pytest.mark.parametrize("name", JOURNAL_FILES)
def test_a_link_in_the_place_of_a_copy_is_replaced(tmp_path: Path, name: str) -> None:
    folder = written(tmp_path)
    before = contents(folder)
    target = (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to(target)
    journal = Journal.open(folder, witness=None)
    journal.append({"kind": "exhausted", "time": 9.0})
    assert target.read_bytes() == before[0]
    assert not (folder / name).is_symlink()


def test_copies_that_may_not_be_read_are_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = written(tmp_path)
    before = contents(folder)
    refused = set(JOURNAL_FILES)

    def read_bytes(path: Path) -> bytes:
        if path.name in refused:
            raise PermissionError(13, "Permission denied", str(path))
        with path.open("rb") as file:
            return file.read()

    # Root may read everything.
    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    with pytest.raises(JournalError, match=r"journal\.jsonl: must be readable, but got Perm"):
        Journal.open(folder, witness=None)
    refused.remove(JOURNAL_FILES[0])
    assert Journal.read(folder, witness=None).replay() == EVENTS
    refused.clear()
    assert contents(folder) == before
