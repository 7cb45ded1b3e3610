"""Starts Ray quietly and safely, or joins a running cluster, and reports what its nodes offer."""

import logging
import os
import secrets
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NoReturn

import psutil
import ray
from ray._private import node as ray_node
from ray._private import parameter, ray_constants

from study.cluster import reaper
from study.cluster.accelerator.devices import (
    DeviceFacts,
    device_facts,
    facts_meanwhile,
    nvidia_devices,
)
from study.cluster.accelerator.mps import mps_daemon, pipes_of
from study.cluster.cpus import usable_cpus
from study.cluster.loopback import keep_to_loopback, require_loopback
from study.cluster.resources import Node
from study.cluster.temporary import ray_folder
from study.cluster.usable_memory import available_memory_bytes
from study.errors import SpecError, StudyError, cause, one_line, quoted, require, shortened

_OBJECT_STORE_BYTES = 200 * 2**20
"""Bytes of the object store. A cell's data set is about a megabyte; Ray's default is 30 % of the
machine."""

_FAILED = 1
"""Exit code of a command that failed."""

_REASON_LENGTH = 300
"""Characters of Ray's own words, which go on for pages."""

_LARGEST_PORT = 2**16 - 1

_CONNECT_SECONDS = 10.0
"""Seconds to wait for a connection to a cluster's head, which takes milliseconds where there is
one."""

_SETTINGS = {
    # One voice: our own lines. Ray's tables, headers and duplicate loggers stay off.
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    # Its snapshots, from which nothing is ever restored, keep 20 KB of every trial in memory.
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",
    # A trial may end without a metric (diverged): that is a state, not a crash of the run.
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    # Reports come once an epoch; buffering would hold back the decision to stop a trial.
    "TUNE_RESULT_BUFFER_LENGTH": "1",
    # Paths stay relative to where the user stands.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # Ours handles it: the first Ctrl+C ends gracefully, the second at once.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    # The workers of trials have an environment of their own, and would not use those that Ray
    # starts in advance, one per CPU.
    "RAY_prestart_worker_first_driver": "0",
    # Without it Ray would retry for ever: a task that memory ran out for is an error, which says
    # so.
    "RAY_task_oom_retries": "0",
}


@contextmanager
def cluster(address: str | None, *, use_accelerators: bool) -> Iterator[list[Node]]:
    """Yield the nodes of a Ray cluster; one that we started is shut down at the end.

    A cluster that we start has token authentication on, its dashboard off, and a token that lives
    in this process's environment only, so that nothing is written to the home folder. It listens
    on the loopback interface alone, its temporary files are closed to other users, and all of its
    processes end with this one, however that ends.

    Args:
        address: of a running cluster, of which this machine is a node: ``auto``, ``host:port`` or
            ``ray://host:port``; None starts one on this machine. A Ray instance that this process
            has already initialised is used as it is.
        use_accelerators: False starts the local cluster without any.

    Raises:
        SpecError: the cluster cannot be reached or started.

    If a process of a Ray that was started here has died by the end, this process ends there too.
    """
    os.environ.update({name: os.environ.get(name, value) for name, value in _SETTINGS.items()})
    if ray.is_initialized():
        yield _nodes(is_own=False)
        return
    # Ray's notices on starting; errors come as exceptions.
    logging.getLogger("ray").setLevel(logging.ERROR)
    options: dict[str, object] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        options |= _options_of_a_start(use_accelerators)
    own_facts: Callable[[], DeviceFacts] | None = None
    with ExitStack() as held:
        try:
            if address is not None:
                _require_reachable(address)
                options["address"] = _own_address(address)
            else:
                require_loopback()
                if keep_to_loopback():
                    # Ray has read the variable already, when it was imported.
                    ray_constants.ENABLE_RAY_CLUSTER = False
                folder = held.enter_context(ray_folder())
                options["_temp_dir"] = str(folder)
                own_facts = _beside_ray(held, folder.parent / "m", use_accelerators)
            with lean_start():
                ray.init(**options)
        except SystemExit as error:
            # Ray's own handler, which takes SIGTERM while it starts.
            raise KeyboardInterrupt from error
        except StudyError:
            raise
        except (ConnectionError, RuntimeError, OSError, ValueError) as error:
            raise _no_cluster(address, error) from error
        started = ray_processes()
        try:
            yield _nodes(is_own=address is None, own_facts=own_facts)
        finally:
            if all(is_alive(process) for process in started):
                ray.shutdown()
            else:
                held.close()
                _exit_without_ray()


def _beside_ray(
    held: ExitStack, daemon: Path, use_accelerators: bool
) -> Callable[[], DeviceFacts] | None:
    """Start what runs beside Ray; return what waits for the accelerator's facts, None without."""
    held.enter_context(reaper.reaping(pipes_of(daemon)))
    n_gpus = use_accelerators * nvidia_devices()
    held.enter_context(mps_daemon(daemon, n_gpus=n_gpus))
    return held.enter_context(facts_meanwhile()) if n_gpus else None


def _options_of_a_start(use_accelerators: bool) -> dict[str, object]:
    # Ray turns token authentication on by itself, and takes this token instead of a new file.
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    options: dict[str, object] = {
        # "local" never joins a cluster that happens to run on this machine.
        "address": "local",
        "include_dashboard": False,
        "num_cpus": usable_cpus(),
        "object_store_memory": _OBJECT_STORE_BYTES,
        # What is free now, less a tenth for the system: Ray's default also keeps 30 % for objects.
        "_memory": int(available_memory_bytes() * 0.9) - _OBJECT_STORE_BYTES,
    }
    return options if use_accelerators else options | {"num_gpus": 0}


@contextmanager
def lean_start() -> Iterator[None]:
    """Have what starts Ray in this block leave out three of its processes that nothing here asks.

    One asks a cloud for further machines; one shows a driver what its workers print, which
    ``log_to_driver`` turns off; one serves the dashboard, and idles where that is off, but Ray
    waits for it. Each takes 80 MiB, and a core for 0.7 seconds. ``ray start`` has flags for the
    first two, but ``ray.init`` has none.
    """
    of_ray, start_api_server = parameter.RayParams, ray_node.Node.start_api_server
    parameter.RayParams = partial(of_ray, no_monitor=True, include_log_monitor=False)
    ray_node.Node.start_api_server = _start_no_api_server
    try:
        yield
    finally:
        parameter.RayParams, ray_node.Node.start_api_server = of_ray, start_api_server


def _start_no_api_server(_node: object, **_options: object) -> None:
    """Start nothing, where a ``Node`` of ``ray._private.node`` starts the dashboard's process."""


def _no_cluster(address: str | None, error: Exception) -> SpecError:
    what = "start Ray on this machine" if address is None else f"reach Ray at {address}"
    reason = shortened(one_line(str(error)), _REASON_LENGTH)
    return SpecError(
        f"Ray: must be able to {what}, but got {type(error).__name__}: {reason}. Check --address, "
        "RAY_AUTH_TOKEN, that this machine is a node of the cluster, free memory, free space for "
        "Ray's temporary files, and that it may open ports."
    )


def _require_reachable(address: str) -> None:
    """Refuse an address at which nobody answers: Ray itself would keep trying.

    Raises:
        SpecError: it is none, or nothing listens there.
    """
    if address in ("auto", "local"):
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    require(
        bool(host) and port.isdecimal() and 0 < int(port) <= _LARGEST_PORT,
        "--address",
        "must be auto, host:port or ray://host:port",
        got=quoted(address),
        remedy="Give the address that `ray start --head` has printed.",
    )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        raise SpecError(
            f"--address: something must listen at {quoted(address)}, but got "
            f"{error.strerror or cause(error)}. Start the cluster, or check host and port."
        ) from error


def _own_address(address: str) -> str:
    """Return where a node finds its cluster: that of ``ray://`` is for programs outside of it.

    Through Ray Client a search would run on the head, apart from its journal and its signals. It
    is asked for the cluster's own address, and must be asked on a node.
    """
    if not address.startswith("ray://"):
        return address
    ray.init(address, logging_level=logging.ERROR)
    try:
        task = ray.remote(num_cpus=0)(_gcs_address)
        found: str = ray.get(task.remote())
    finally:
        ray.shutdown()
    return found


def _gcs_address() -> str:
    found: str = ray.get_runtime_context().gcs_address
    return found


def _exit_without_ray() -> NoReturn:
    """End this process now: Ray's library would ask its dead processes for a minute and then do so.

    Its callers have reported what there is to report; the exit code is that of a failure.
    """
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            child.kill()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(_FAILED)


def ray_processes() -> list[psutil.Process]:
    """Return the processes of a Ray that this process has started; none if it joined one."""
    return reaper.ray_processes(psutil.Process())


def is_alive(process: psutil.Process) -> bool:
    """Does a process of Ray still run? A zombie does not."""
    return reaper.name_of(process) is not None


def _nodes(*, is_own: bool, own_facts: Callable[[], DeviceFacts] | None = None) -> list[Node]:
    """Return what the machines offer; of an own cluster nobody else's memory is offered.

    Args:
        is_own: was the cluster started here?
        own_facts: returns the accelerator of the one node of such a cluster; None asks the nodes.
    """
    nodes = []
    for alive in (node for node in ray.nodes() if node["Alive"]):
        offered = alive["Resources"]
        memory, gpus = int(offered.get("memory", 0)), int(offered.get("GPU", 0))
        facts = DeviceFacts()
        if gpus:
            facts = _device_facts(alive["NodeID"]) if own_facts is None else own_facts()
        facts.require_usable(alive["NodeManagerHostname"])
        total = memory if facts.total_bytes is None else facts.total_bytes
        held = facts.held_bytes if is_own else 0
        nodes.append(
            Node(
                name=alive["NodeManagerHostname"],
                cpus=int(offered.get("CPU", 0)),
                gpus=gpus,
                memory_bytes=memory,
                device_bytes=total - held,
                unified_memory=facts.is_unified,
                held_bytes=held,
                mps=facts.mps,
            )
        )
    usable = [node for node in nodes if node.cpus >= 1 and node.memory_bytes > 0]
    require(
        bool(usable),
        "Ray",
        "some node must offer a CPU and memory",
        got=f"{len(nodes)} nodes without",
        remedy="Start a worker node.",
    )
    return usable


def _device_facts(node_id: str) -> DeviceFacts:
    """Ask a node for its accelerator."""
    strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node_id, soft=False)
    # It asks for no share of the device: trials of other cells may have taken all of it. Its
    # process sees every device, and would hand what it saw on to the trial that is next in there.
    probe = ray.remote(num_cpus=0, max_calls=1)(device_facts).options(scheduling_strategy=strategy)
    found: DeviceFacts = ray.get(probe.remote())
    return found
