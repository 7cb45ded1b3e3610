"""A Ray that is started before the search that uses it ends when the search does, or unused."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from study.cluster.resources import Node
from study.planning.early_ray import early_ray


class Started:
    """A stand-in for a cluster, which notes whether it runs."""

    def __init__(self) -> None:
        self.runs = False
        self.thread: threading.Thread | None = None

    @contextmanager
    def cluster(self) -> Iterator[list[Node]]:
        self.runs, self.thread = True, threading.current_thread()
        try:
            yield []
        finally:
            self.runs = False


def test_it_ends_with_the_block_that_uses_it() -> None:
    started, imported = Started(), threading.Event()
    with early_ray(started.cluster(), imported.set) as use:
        assert started.runs
        assert started.thread is threading.current_thread()
        assert imported.is_set()
        with use() as nodes:
            assert nodes == []
            assert started.runs
        assert not started.runs


def test_it_ends_unused_too() -> None:
    started = Started()
    with early_ray(started.cluster(), lambda: None):
        assert started.runs
    assert not started.runs


def test_it_ends_if_what_was_done_meanwhile_fails() -> None:
    started = Started()

    def fail() -> None:
        raise ImportError("no library")

    with pytest.raises(ImportError, match="no library"), early_ray(started.cluster(), fail):
        pass
    assert not started.runs
