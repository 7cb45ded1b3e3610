"""Measures what a plan needs to know of steps, with workers like those of the trials."""

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError

from study.cluster.resources import SearchResources, TrialResources
from study.errors import SpecError
from study.planning.device_sharing import measured_sharing, timed_architectures
from study.planning.probing.models import ProbedModel, probed_models
from study.planning.probing.probe_worker import ProbeWorker, as_probed
from study.planning.probing.remembered_times import RememberedTimes, digest
from study.planning.step_times import (
    CheckpointTime,
    LayerTimes,
    ProbeTime,
    StepTimes,
    layer_flops,
)
from study.search.space import SearchSpace, TrialConfig
from study.text.short_forms import counted
from study.training.step.samples import Samples

_MOST_PROBES = 8
"""Most probes that run at once. They slow each other down as trials that share a device do, and no
more trials share one (``study.cluster.resources.MOST_TRIALS_PER_DEVICE``)."""

_READY_SECONDS = 300.0
"""Seconds that the probes may take to start: a cluster that is full of other work may have no room
for them."""


class Probing:
    """What times steps in a command: workers that are kept between budgets, and known times.

    Args:
        remembered: the times that are known.
        n_nodes: machines of the cluster.
    """

    def __init__(self, remembered: RememberedTimes, *, n_nodes: int) -> None:
        self.remembered = remembered
        self._has_one_node = n_nodes == 1
        self._asked: tuple[object, ...] | None = None
        """What the workers that run were requested with; None without any."""
        self._workers: list[Any] = []

    def __enter__(self) -> "Probing":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def has_workers(self) -> bool:
        """Do any workers run?"""
        return bool(self._workers)

    def end(self) -> None:
        """End the workers."""
        for worker in self._workers:
            ray.kill(worker)
        self._workers, self._asked = [], None

    def end_from(self, first: int) -> None:
        """End the workers from the one of this number on."""
        for worker in self._workers[first:]:
            ray.kill(worker)
        # Fewer run than were requested.
        self._workers, self._asked = self._workers[:first], None

    def workers(
        self,
        number: int,
        data: Samples,
        request: Mapping[str, float],
        *,
        device: str | None,
        capture: bool,
    ) -> tuple[list[Any], bool]:
        """Return workers with such resources, and whether they were started by this call.

        On one machine those of another budget are kept if they have as many processors and
        accelerators: memory is what Ray books, and changes no time.
        """
        amounts = {name: request.get(name, 0) for name in ("GPU", "CPU", "memory")}
        told = amounts | {"memory": 0} if self._has_one_node else amounts
        asked = (number, device, capture, *told.values())
        if asked == self._asked:
            return self._workers, False
        self.end()
        actor = ray.remote(ProbeWorker).options(
            num_cpus=amounts["CPU"],
            num_gpus=amounts["GPU"],
            memory=amounts["memory"],
            max_restarts=0,
        )
        self._workers = [actor.remote(data, device, capture) for _ in range(number)]
        self._asked = asked
        return self._workers, True


def measure_search(
    space: SearchSpace,
    data: Samples,
    resources: SearchResources,
    *,
    probing: Probing,
    device: str | None,
    capture: bool,
    concurrency: int,
    times_sharing: bool = False,
    meanwhile: Callable[[], object] = lambda: None,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, StepTimes]:
    """Time steps of each budget with its trials' resources; budgets of equal ones share the times.

    Args:
        space: search space whose architectures are to be estimated.
        data: the samples of a trial's network; any horizon's.
        resources: resources that the search's trials request.
        probing: the workers and the known times of this command.
        device: the user's choice; None follows the assignment.
        capture: are steps captured as graphs of the device, where it can?
        concurrency: number of trials that will run at once, if as many fit.
        times_sharing: is it to be timed how many trials train best on one accelerator?
        meanwhile: work of this process that is done while the workers start.
        say: takes the name of each part that takes more than two seconds, before it begins.

    Raises:
        SpecError: a step could not be run.
    """
    alike: dict[TrialResources, list[str]] = {}
    for budget, own in resources.by_budget.items():
        alike.setdefault(own, []).append(budget)
    times: dict[str, StepTimes] = {}
    for own, budgets in alike.items():
        found = measure_steps(
            space.of(shape for shape in space.shapes if shape.budget in budgets),
            data,
            probing=probing,
            request=own.request(),
            device=device,
            capture=capture,
            concurrency=min(concurrency, own.capacity),
            shared_by=own.per_device if times_sharing and not own.exclusive else 0,
            meanwhile=meanwhile,
            say=say,
        )
        times |= dict.fromkeys(budgets, found)
    return times


def measure_steps(
    space: SearchSpace,
    data: Samples,
    *,
    probing: Probing,
    request: Mapping[str, float],
    device: str | None,
    capture: bool,
    concurrency: int,
    shared_by: int = 0,
    meanwhile: Callable[[], object] = lambda: None,
    say: Callable[[str], None] = lambda line: None,
) -> StepTimes:
    """Time a few steps of small, middle and large layers under the load that trials will meet.

    As many probes as trials will run at once take the same steps at the same time, each with a
    trial's resources; the median of their times is used. What is known is not timed again.

    Args:
        space: search space whose architectures are to be estimated.
        data: the samples of a trial's network; any horizon's.
        probing: the workers and the known times of this command.
        request: resources of a trial.
        device: the user's choice; None follows the assignment.
        capture: are steps captured as graphs of the device, where it can?
        concurrency: number of trials that will run at once.
        shared_by: the most trials that could share an accelerator, of which the best number is
            found and then timed; below 2 nothing is tried.
        meanwhile: work of this process that is done while the workers start.
        say: takes the name of each part that takes more than two seconds, before it begins.

    Raises:
        SpecError: a step could not be run.
    """
    load = _Load.of(data, request, device=device, capture=capture)
    n_probes = min(concurrency, shared_by or _MOST_PROBES)
    times = _Times(space, load, probing.remembered, n_probes=n_probes, shared_by=shared_by)
    if times.are_known:
        meanwhile()
        return times.fitted()
    # The thread no longer waits for workers that have been ended.
    with ThreadPoolExecutor(max_workers=1) as thread, _failures_told(probing):
        missing = counted(len(times.missing), "model")
        say(f"{counted(times.n_probes, 'worker')}, to time steps of {missing}")
        began = time.monotonic()
        workers, is_new = probing.workers(
            times.n_probes, data, request, device=device, capture=capture
        )
        ready_at = thread.submit(_ready_at, workers, times.models[0].config) if is_new else None
        meanwhile()
        worker_seconds = None if ready_at is None else ready_at.result() - began
        if times.needs_sharing:
            times.share(*_share(space, workers))
            probing.end_from(times.n_probes)
            workers = workers[: times.n_probes]
        times.measure(workers, worker_seconds)
    probing.remembered.keep()
    return times.fitted()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Load:
    """What the time of a model depends on besides the model and the machine."""

    values: Mapping[str, object]
    n_train: int
    on_cpu: bool

    @classmethod
    def of(
        cls, data: Samples, request: Mapping[str, float], *, device: str | None, capture: bool
    ) -> "_Load":
        """Return the load of trials with such resources; their memory changes no time."""
        cpus, gpus = (request.get(name, 0.0) for name in ("CPU", "GPU"))
        return cls(
            values={
                "cpus": float(cpus), "gpus": float(gpus), "device": device, "capture": capture,
                "samples": type(data).__name__,
            },
            n_train=len(data.train_days),
            on_cpu=gpus == 0 or device == "cpu",
        )  # fmt: skip

    def key(self, model: ProbedModel, n_probes: int) -> str:
        """Return the name of a model's times with so many workers at once."""
        train = as_probed(model.config.train)
        batch = min(train.effective_batch, self.n_train)
        return digest(
            {
                **self.values, "probes": n_probes, "batch": batch,
                "model": dataclasses.asdict(model.config.model), "train": dataclasses.asdict(train),
            }
        )  # fmt: skip

    def start_key(self, n_probes: int) -> str:
        """Return the name of the seconds that so many workers take to start."""
        return digest({**self.values, "probes": n_probes, "of": "start"})

    def sharing_key(self, space: SearchSpace, most: int) -> str:
        """Return the name of the number of trials that share an accelerator best."""
        timed = [ProbedModel(config=each, saves=False) for each in timed_architectures(space)]
        return digest(
            {**self.values, "of": "sharing", "models": [self.key(each, most) for each in timed]}
        )


class _Times:
    """The times that a space needs, of which some are known.

    Args:
        space: search space whose architectures are to be estimated.
        load: what its trials ask for.
        known: the known times, and those that are measured.
        n_probes: number of workers at once; of trials that share an accelerator, as many as may.
        shared_by: that number, where the best one is to be found; below 2 none is.
    """

    def __init__(
        self, space: SearchSpace, load: "_Load", known: RememberedTimes, *, n_probes: int,
        shared_by: int,
    ) -> None:  # fmt: skip
        self.models = probed_models(space, on_cpu=load.on_cpu)
        self.n_probes = n_probes
        self._load, self._known = load, known
        self._sharing_key = load.sharing_key(space, shared_by) if shared_by > 1 else None
        if self._sharing is not None:
            self.n_probes = self._sharing

    @property
    def _sharing(self) -> int | None:
        """Number of trials that share an accelerator best; None if it is not known."""
        found = None if self._sharing_key is None else self._known.number(self._sharing_key)
        return None if found is None else int(found)

    @property
    def needs_sharing(self) -> bool:
        """Is that number asked for, and not known?"""
        return self._sharing_key is not None and self._sharing is None

    @property
    def missing(self) -> list[ProbedModel]:
        """The models whose times are not known."""
        return [each for each in self.models if self._time(each) is None]

    @property
    def are_known(self) -> bool:
        """Is nothing left to measure?"""
        start = self._known.number(self._load.start_key(self.n_probes))
        return start is not None and not self.needs_sharing and not self.missing

    def share(self, number: int, waited_share: float) -> None:
        """Note how many trials share an accelerator best, and how long those waited that tried."""
        assert self._sharing_key is not None
        self._known.add_number(self._sharing_key, number, waited_share)
        self.n_probes = number

    def measure(self, workers: list[Any], worker_seconds: float | None) -> None:
        """Time the models that are missing; the workers took so long to start, if they did."""
        waited = []
        for model in self.missing:
            timed = [each.measure.remote(model.config, saves=model.saves) for each in workers]
            found = _median(ray.get(timed))
            self._known.add_probe(self._load.key(model, self.n_probes), found)
            waited.append(found.waited_share)
        if worker_seconds is not None:
            key = self._load.start_key(self.n_probes)
            self._known.add_number(key, worker_seconds, max(waited, default=1.0))

    def fitted(self) -> StepTimes:
        """Return the times of all models of the space, which are known."""
        times = [found for each in self.models if (found := self._time(each)) is not None]
        start_key = self._load.start_key(self.n_probes)
        worker_seconds = self._known.number(start_key)
        assert worker_seconds is not None
        saved = [
            found.checkpoint
            for each, found in zip(self.models, times, strict=True)
            if each.saves and found.checkpoint is not None
        ]
        pairs = zip(self.models[::2], self.models[1::2], times[::2], times[1::2], strict=True)
        keys = [self._load.key(each, self.n_probes) for each in self.models]
        sharing_keys = [] if self._sharing_key is None else [self._sharing_key]
        return StepTimes(
            layers=tuple(
                LayerTimes(
                    memory=shallow.config.train.memory,
                    layer_flops=layer_flops(shallow.config.model),
                    deep_layers=deep.config.model.n_layers,
                    shallow=of_shallow,
                    deep=of_deep,
                )
                for shallow, deep, of_shallow, of_deep in pairs
            ),
            checkpoints=tuple(sorted(saved, key=lambda one: one.n_params)),
            worker_seconds=worker_seconds,
            per_device=self._sharing,
            measured_at=self._known.measured_at([*keys, start_key, *sharing_keys]),
        )

    def _time(self, model: ProbedModel) -> ProbeTime | None:
        key = self._load.key(model, self.n_probes)
        return self._known.probe(key, model.config, saves=model.saves)


@contextmanager
def _failures_told(probing: Probing) -> Iterator[None]:
    """End the workers if one of them fails, and say why.

    Raises:
        SpecError: one of them has failed.
    """
    try:
        yield
    except RayError as error:
        probing.end()
        reason = str(error).strip().splitlines()[0]
        raise SpecError(
            f"plan: a few training steps must run where trials will, but got "
            f"{type(error).__name__}: {reason}. Free memory or CPUs, or choose a smaller "
            "budget."
        ) from error
    except BaseException:
        probing.end()
        raise


def _ready_at(probes: list[Any], config: TrialConfig) -> float:
    """Return the time, in seconds of ``time.monotonic``, at which all have taken a first step."""
    ray.get([probe.warm_up.remote(config) for probe in probes], timeout=_READY_SECONDS)
    return time.monotonic()


def _share(space: SearchSpace, probes: list[Any]) -> tuple[int, float]:
    """Return how many of the probes train best side by side, and their longest share of waiting."""
    waited: list[float] = []

    def prepare(config: TrialConfig) -> None:
        ray.get([probe.prepare.remote(config) for probe in probes])

    def rate(number: int) -> float:
        found = ray.get([probe.rate.remote() for probe in probes[:number]])
        waited.append(statistics.median(share for _, share in found))
        return float(sum(each for each, _ in found))

    best = measured_sharing(space, len(probes), prepare, rate)
    ray.get([probe.release.remote() for probe in probes[:best]])
    return best, max(waited)


def _median(times: list[ProbeTime]) -> ProbeTime:
    def middle(name: str) -> float:
        return float(statistics.median(getattr(one, name) for one in times))

    saved = [one.checkpoint for one in times if one.checkpoint is not None]
    return ProbeTime(
        window_seconds=middle("window_seconds"),
        step_seconds=middle("step_seconds"),
        validation_seconds=middle("validation_seconds"),
        begin_seconds=middle("begin_seconds"),
        waited_share=middle("waited_share"),
        checkpoint=CheckpointTime(
            memory=saved[0].memory,
            n_params=saved[0].n_params,
            written_seconds=statistics.median(one.written_seconds for one in saved),
            copied_seconds=statistics.median(one.copied_seconds for one in saved),
        )
        if saved
        else None,
    )
