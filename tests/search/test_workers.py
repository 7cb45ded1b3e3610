"""Which workers are kept between two trials."""

from ray.tune.execution.placement_groups import PlacementGroupFactory, resource_dict_to_pg_factory

from study.cluster.resources import SearchResources
from tests.search.played import request

EIGHTH, QUARTER, WHOLE = request(8), request(4), request(1, cpus=16)
RESOURCES = SearchResources(
    by_budget={"2M": EIGHTH, "20M": EIGHTH, "200M": QUARTER, "2B": WHOLE}, n_nodes=1
)
# Requests that differ in nothing but how many fit would be one.
RESOURCES.by_budget["200M"]


def key(budget: str) -> PlacementGroupFactory:
    return resource_dict_to_pg_factory(RESOURCES.by_budget[budget].request())
