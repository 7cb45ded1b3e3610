"""Starts Ray while this process imports the libraries of a search: both take seconds."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager

from study.cluster.resources import Node

RayUse = Callable[[], AbstractContextManager[list[Node]]]
"""Function whose block has a running Ray cluster, which may end with the block."""


@contextmanager
def early_ray(
    ray: AbstractContextManager[list[Node]], meanwhile: Callable[[], object]
) -> Iterator[RayUse]:
    """Start Ray and call ``meanwhile`` at the same time; return when both are done.

    Ray's own part is done by other processes. It starts in the calling thread, because it installs
    signal handlers; ``meanwhile`` is called in another one.

    Args:
        ray: starts Ray, and ends it.
        meanwhile: what this process does until Ray runs.

    Yields: a function that can be used once. Ray ends with its block or, if there is none, with
        the block of this function.
    """
    with ThreadPoolExecutor(max_workers=1) as thread, ExitStack() as held:
        done = thread.submit(meanwhile)
        nodes = held.enter_context(ray)
        done.result()

        @contextmanager
        def use() -> Iterator[list[Node]]:
            with held.pop_all():
                yield nodes

        yield use
