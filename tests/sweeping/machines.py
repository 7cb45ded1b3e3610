"""Run as a program: a Ray cluster of several machines on this one, by Ray's own cluster utility.

A head without CPUs, and as many machines as the first argument says, with so many CPUs as the
second, a logical GPU and 6 GiB each. Prints the address; each line that it reads then ends one
machine without a word, and the end of the input all.
"""

import sys

from ray.cluster_utils import Cluster

from study.cluster.runtime import lean_start

MEMORY_BYTES = 6 * 2**30


def main() -> None:
    n_machines, n_cpus = map(int, sys.argv[1:])
    small = {"object_store_memory": 100 * 2**20, "include_dashboard": False}
    with lean_start():
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **small})
        machines = [
            cluster.add_node(num_cpus=n_cpus, num_gpus=1, memory=MEMORY_BYTES, **small)
            for _ in range(n_machines)
        ]
    try:
        print(cluster.address, flush=True)
        for _ in sys.stdin:
            cluster.remove_node(machines.pop(), allow_graceful=False)
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main()
