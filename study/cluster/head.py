"""A Ray of one machine in a process of its own: ``python -m study.cluster.head``, for a sweep.

The sweep itself stays free of Ray, whose library ends a process when its Ray dies. This process
prints the address in one line of JSON, and ends Ray on SIGTERM, with the process that started it,
and when one of Ray's processes has died.
"""

import argparse
import json
import os
import signal
import sys
import threading

import ray

from study.cluster.lifeline import end_with
from study.cluster.runtime import cluster, is_alive, ray_processes
from study.errors import StudyError

EXIT_OK, EXIT_DIED, EXIT_USER_ERROR = 0, 1, 2

_LOOK_SECONDS = 0.5


def main(argv: list[str] | None = None) -> int:
    """Run until the process is asked to end, and return its exit code."""
    flags = argparse.ArgumentParser(prog="python -m study.cluster.head", description=__doc__)
    flags.add_argument("--no-accelerators", action="store_true", help="offer CPUs only")
    arguments = flags.parse_args(argv)
    end_with(os.getppid())
    ended = threading.Event()
    try:
        with cluster(None, use_accelerators=not arguments.no_accelerators):
            # Ray has taken SIGTERM for itself.
            signal.signal(signal.SIGTERM, lambda *_: ended.set())
            print(json.dumps({"address": ray.get_runtime_context().gcs_address}), flush=True)
            started = ray_processes()
            while not ended.wait(_LOOK_SECONDS):
                if not all(is_alive(process) for process in started):
                    return EXIT_DIED
    except StudyError as error:
        print(error, file=sys.stderr)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        return EXIT_OK
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
