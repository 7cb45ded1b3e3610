"""Keeps idle workers for the next trial of their kind, or releases them for one of another."""

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import Any

from ray.tune.execution.placement_groups import PlacementGroupFactory, resource_dict_to_pg_factory
from ray.tune.utils.object_cache import _ObjectCache

from study.cluster.resources import SearchResources


class Workers(_ObjectCache):  # type: ignore[misc]
    """Tune 2.60's cache of the workers of ended trials, with another rule of release.

    Tune reuses a worker only for a trial with the same resources, and releases it as soon as any
    other trial is to start, so that across budgets nearly every trial would wait for a new worker.
    Here a worker is kept as long as the trials that run or are about to start leave room for it. An
    exclusive worker is never kept, because its memory is freed only when its process ends.

    Args:
        resources: the resources of a trial of each budget, and the number of nodes.
        at_work: returns the budget of every trial that runs or is about to start.
    """

    def __init__(self, resources: SearchResources, at_work: Callable[[], Iterable[str]]) -> None:
        super().__init__(may_keep_one=False)
        self._resources = resources
        self._at_work = at_work
        self._by_key = {
            resource_dict_to_pg_factory(each.request()): each
            for each in resources.by_budget.values()
        }

    def cache_object(self, key: PlacementGroupFactory, obj: Any) -> bool:
        """Keep a worker unless it is exclusive, and return whether it is kept."""
        if self._by_key[key].exclusive:
            return False
        self._cached_objects[key].append(obj)
        self._num_cached_objects += 1
        return True

    def flush_cached_objects(self, force_all: bool = False) -> Iterator[Any]:
        """Yield the workers whose resources a new trial needs, or all of them."""
        for key in list(self._cached_objects):
            n_spare = self.count(key) if force_all else self._spare(key)
            for _ in range(n_spare):
                if not force_all and self._has_room():
                    return
                yield self.pop_cached_object(key)

    def _has_room(self) -> bool:
        spare = {key: self._spare(key) for key in self._cached_objects}
        is_to_start = any(self._max_num_objects[k] > self.count(k) for k in self._by_key)
        if is_to_start and self._resources.n_nodes > 1 and any(spare.values()):
            # On several nodes, a share of the whole cluster does not show which node has room.
            return False
        idle = sum((self._by_key[key].share * n for key, n in spare.items()), Fraction(0))
        return self._resources.shares(self._at_work()) + idle <= 1

    def _spare(self, key: PlacementGroupFactory) -> int:
        """Return the number of workers of a kind that no starting trial will take."""
        n_to_start: int = self._max_num_objects[key]
        return max(0, self.count(key) - n_to_start)

    def count(self, key: PlacementGroupFactory) -> int:
        """Return the number of kept workers of a kind."""
        return len(self._cached_objects[key])
