"""Graphs of a device: work that it records once and then replays without its host."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import torch

WARM_UP_RUNS = 2
"""Eager runs of a piece of work before it is captured: the libraries choose their kernels and make
their workspaces in them. An own choice; ``torch.cuda.make_graphed_callables`` has three."""


class Graphs(Protocol):
    """A device that captures work."""

    def active(self) -> AbstractContextManager[None]:
        """Let the work of the block run where it can be captured."""

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record ``work`` without running it; call it inside ``active``.

        Returns: a function that replays the work on the same tensors.
        Raises: RuntimeError if the work cannot be captured; no tensor has then been changed.
        """

    def forget(self) -> None:
        """Let go of the memory that the graphs share, once none of them is used any more."""


class DeviceGraphs:
    """The graphs of a CUDA device; a process makes one such object and uses it for all its trials.

    All work, the eager runs before a capture included, runs on one side stream, because what
    autograd and the libraries set up for a stream is valid for that stream alone, and cuBLAS keeps
    a workspace for every stream that it has seen. The graphs of a trial share one pool of memory.
    That is safe in any order of replays, because no graph leaves a tensor in the pool that is read
    after its replay: all results lie in tensors made outside of it. Another thread may use the
    device during a capture, such as one that writes a checkpoint.

    The kernels of dropout read seed and offset of the device's default generator from the device;
    a replay sets both and advances the generator by as much as eager work would, so that a state
    of the generator that is set between two replays is where the next one draws from.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()

    @contextmanager
    def active(self) -> Iterator[None]:
        """Let the work of the block run on the side stream."""
        outer = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(outer)
        with torch.cuda.stream(self._stream):
            yield
        outer.wait_stream(self._stream)

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record ``work`` as one graph."""
        # torch before 2.13 may not have the first. The side stream is the current one.
        if hasattr(torch.accelerator, "Graph"):
            graph = torch.accelerator.Graph(pool=self._pool, capture_error_mode="thread_local")
            with graph:
                work()
            return graph.replay
        older = torch.cuda.CUDAGraph()
        with torch.cuda.graph(
            older, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
        ):
            work()
        return older.replay

    def forget(self) -> None:
        """Begin a new pool, because torch refuses one whose graphs have all been freed."""
        self._pool = torch.cuda.graph_pool_handle()


def graphs_of(device: torch.device, *, is_wanted: bool) -> Graphs | None:
    """Return what captures work of ``device``; None if it is not wanted or the device cannot."""
    return DeviceGraphs(device) if is_wanted and device.type == "cuda" else None


class Replayer:
    """Runs pieces of work: eagerly at first, then captured once, then replayed.

    A piece of work reads and writes tensors that stay where they are, reads none of them on the
    host, and changes nothing else. If a capture fails, all work is run eagerly from then on.
    """

    def __init__(self, graphs: Graphs) -> None:
        graphs.forget()
        self._graphs = graphs
        self._replays: dict[Hashable, Callable[[], None]] = {}
        self._runs: Counter[Hashable] = Counter()
        self.failure: str | None = None
        """Why work is no longer captured; None while it is."""

    def active(self) -> AbstractContextManager[None]:
        """Let the block run work."""
        return self._graphs.active()

    def run(self, key: Hashable, work: Callable[[], None]) -> None:
        """Run a piece of work once; call it inside ``active``.

        Args:
            key: name of the work, with the shapes of its tensors.
            work: the work, the same under the same name.
        """
        replay = self._replays.get(key)
        if replay is None and self.failure is None and self._runs[key] >= WARM_UP_RUNS:
            replay = self._captured(work)
            if replay is not None:
                self._replays[key] = replay
        if replay is not None:
            replay()
            return
        self._runs[key] += 1
        work()

    def forget(self) -> None:
        """Free all graphs: work begins with its eager runs again, on other tensors perhaps."""
        self._replays.clear()
        self._runs.clear()
        self._graphs.forget()

    def gives_way(self, error: BaseException) -> bool:
        """Free all graphs for good if memory ran out beside them; return whether there were any.

        Eager work of other shapes has memory of its own beside that of the graphs, and must not
        fail where a trial without graphs would not.
        """
        if not self._replays:
            return False
        self._give_up(error)
        return True

    def _captured(self, work: Callable[[], None]) -> Callable[[], None] | None:
        try:
            return self._graphs.capture(work)
        except (RuntimeError, MemoryError) as error:
            self._give_up(error)
        return None

    def _give_up(self, error: BaseException) -> None:
        # The end of a broken capture raises an error of its own; the first one is the reason.
        while error.__context__ is not None:
            error = error.__context__
        line = next(iter(str(error).splitlines()), "")
        self.failure = f"{type(error).__name__}: {line}"
        self.forget()
