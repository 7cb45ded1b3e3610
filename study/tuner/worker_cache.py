"""Workers between two trials: kept for the next of their kind, given back for one of another."""

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import Any

from ray.tune.execution.placement_groups import PlacementGroupFactory, resource_dict_to_pg_factory
from ray.tune.utils.object_cache import _ObjectCache

from study.cluster.resources import SearchResources


class Workers(_ObjectCache):  # type: ignore[misc]
    """The cache in which Tune 2.60 keeps the workers of trials that have ended, with another rule.

    Tune hands a worker on only to a trial that asks for the same resources, and gives it back as
    soon as any other trial is to start: across budgets nearly every trial would wait for a new one.
    Here a worker is kept as long as there is room beside the trials at work and those that are to
    start. An exclusive one is never kept, for its memory is freed with its process alone.

    Args:
        resources: what the trials of each budget ask for, and on how many nodes.
        at_work: returns the budget of every trial that is at work or is to start.
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
        """Keep a worker, and say whether it is kept."""
        if self._by_key[key].exclusive:
            return False
        self._cached_objects[key].append(obj)
        self._num_cached_objects += 1
        return True

    def flush_cached_objects(self, force_all: bool = False) -> Iterator[Any]:
        """Yield the workers whose room is needed by a trial that is to start, or all of them."""
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
            # Shares of the whole cluster do not say on which of its nodes there is room.
            return False
        idle = sum((self._by_key[key].share * n for key, n in spare.items()), Fraction(0))
        return self._resources.shares(self._at_work()) + idle <= 1

    def _spare(self, key: PlacementGroupFactory) -> int:
        """Return how many workers of a kind will not be taken over by a trial that is to start."""
        n_to_start: int = self._max_num_objects[key]
        return max(0, self.count(key) - n_to_start)

    def count(self, key: PlacementGroupFactory) -> int:
        """Return how many workers of a kind are kept."""
        return len(self._cached_objects[key])
