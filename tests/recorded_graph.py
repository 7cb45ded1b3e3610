"""A graph of the CPU, with the signatures and the refusals of ``torch.accelerator.Graph``.

A capture keeps every call of a kernel with its tensors; a replay makes the same calls again, and
their results replace those of the capture. So a number of the host stays what it was, nothing that
Python does is repeated, and only tensors that stay where they are see the results of a replay. Like
a capture on CUDA it changes no tensor and no generator, and it refuses what would make the host
wait for the device.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_HOST_READS = {
    "aten::_local_scalar_dense", "aten::equal", "aten::is_nonzero", "aten::masked_select",
    "aten::nonzero", "aten::_unique2", "aten::unique_dim",
}  # fmt: skip
"""Kernels whose result the host waits for."""

_HOST_WRITES = {"aten::lift_fresh"}
"""What ``torch.tensor`` ends with: on CUDA a copy from memory that may be paged out."""

_REFUSAL = "CUDA error: operation not permitted when stream is capturing"
_BROKEN = "CUDA error: operation failed due to a previous error during capture"
"""Texts of cudaErrorStreamCaptureUnsupported and cudaErrorStreamCaptureInvalidated."""

Mode = Literal["default", "global", "thread_local", "relaxed"]
"""What other calls may do to a device while it captures."""

Call = tuple[Any, tuple[Any, ...], dict[str, Any], list[Tensor]]
"""A kernel, its arguments, and its results that lie in memory of their own."""


class Graph:
    """A recorded piece of work; its methods are those of ``torch.accelerator.Graph``."""

    def __init__(
        self,
        keep_graph: bool = False,
        *,
        pool: tuple[int, int] | None = None,
        capture_error_mode: Mode = "default",
    ) -> None:
        if capture_error_mode not in get_args(Mode):
            raise RuntimeError(f"Unknown capture error mode {capture_error_mode}")
        self._recording: _Recording | None = None
        self._calls: list[Call] | None = None

    def capture_begin(self) -> None:
        if self._calls is not None:
            raise RuntimeError("This CUDAGraph instance already owns a captured graph.")
        self._recording = _Recording()
        self._recording.__enter__()  # type: ignore[no-untyped-call]

    def capture_end(self) -> None:
        assert self._recording is not None
        self._recording.__exit__(None, None, None)  # type: ignore[no-untyped-call]
        self._recording.undo()
        if self._recording.is_broken:
            raise RuntimeError(_BROKEN)
        self._calls = self._recording.calls

    def replay(self) -> None:
        if self._calls is None:
            raise RuntimeError("Called CUDAGraph::replay without a preceding successful capture.")
        with torch.no_grad():
            for function, arguments, options, results in self._calls:
                again = _own_results(function(*arguments, **options), arguments, options)
                for result, new in zip(results, again, strict=True):
                    result.copy_(new)

    def __enter__(self) -> None:
        self.capture_begin()

    def __exit__(self, *exc_info: object) -> None:
        self.capture_end()


class RecordedGraphs:
    """The CPU as ``study.training.step.graphs.Graphs``, with counts of what was done."""

    def __init__(self) -> None:
        self.n_captures = 0
        """Number of captures."""
        self.n_replays = 0
        """Number of replays."""
        self._is_active = False

    @contextmanager
    def active(self) -> Iterator[None]:
        self._is_active = True
        yield
        self._is_active = False

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        assert self._is_active
        graph = Graph()
        with graph:
            work()
        self.n_captures += 1

        def replay() -> None:
            assert self._is_active
            self.n_replays += 1
            graph.replay()

        return replay

    def forget(self) -> None:
        """Nothing is shared."""


class _Recording(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps the calls of kernels, and what they overwrite."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[Call] = []
        self.is_broken = False
        self._own: set[int] = set()
        self._before: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}
        self._generators: dict[int, tuple[torch.Generator, Tensor]] = {}
        self._kept: list[Any] = []
        """All results, so that none of their addresses is given to another tensor."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = kwargs or {}
        name = func._schema.name
        if name in _HOST_READS or name in _HOST_WRITES or _has_mask(name, args):
            self.is_broken = True
            raise RuntimeError(f"{_REFUSAL}: {name}")
        for generator in tree_leaves((args, options)):
            if isinstance(generator, torch._C.Generator):
                state = generator.get_state()
                self._generators.setdefault(id(generator), (generator, state))
        for storage in map(Tensor.untyped_storage, _written(func, args, options)):
            if storage._cdata not in self._own:
                copied = storage.clone()  # type: ignore[no-untyped-call]
                self._before.setdefault(storage._cdata, (storage, copied))
        result = func(*args, **options)
        own = _own_results(result, args, options)
        self._own |= {one.untyped_storage()._cdata for one in own}
        # A view needs no second call, and what an empty tensor holds has no meaning.
        is_empty = name.startswith(("aten::empty", "aten::new_empty"))
        if (own and not is_empty) or _written(func, args, options):
            self.calls.append((func, args, options, own))
        self._kept.append(result)
        return result

    def undo(self) -> None:
        """Give tensors and generators the values from before the capture."""
        for storage, before in self._before.values():
            storage.copy_(before)
        for generator, state in self._generators.values():
            generator.set_state(state)


def _tensors(values: Any) -> Iterable[Tensor]:
    return (leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor))


def _has_mask(name: str, arguments: Any) -> bool:
    """Does a kernel select by a mask, of which the host must count the elements?"""
    is_index = name in ("aten::index", "aten::index_put", "aten::index_put_")
    return is_index and any(one.dtype == torch.bool for one in _tensors(arguments[1]))


def _written(function: Any, arguments: Any, options: dict[str, Any]) -> list[Tensor]:
    """Return the tensors that a kernel writes to."""
    schema = function._schema.arguments
    given = dict(zip((each.name for each in schema), arguments, strict=False)) | options
    return [
        tensor
        for each in schema
        if each.alias_info is not None and each.alias_info.is_write
        for tensor in _tensors(given.get(each.name))
    ]


def _own_results(result: Any, arguments: Any, options: dict[str, Any]) -> list[Tensor]:
    """Return the results that are no views of an argument, nor an argument."""
    seen = {one.untyped_storage()._cdata for one in _tensors((arguments, options))}
    return [one for one in _tensors(result) if one.untyped_storage()._cdata not in seen]
