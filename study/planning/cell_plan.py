"""Plans a cell: all that is measured before its first trial, and the resources of its trials."""

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext

import torch

from study.cluster.resources import MOST_TIMED_PER_DEVICE, Node, SearchResources, plan_search
from study.cluster.thermal import Temperature, measure
from study.data.evaluation.power import Power
from study.data.panel.panel_power import PanelPower
from study.errors import require
from study.model.sensitivity import Sensitivity, require_sensitivity
from study.model.sizing import count_parameters
from study.planning.cell_series import AnyDataset
from study.planning.device_sharing import untimed_sharing
from study.planning.feasibility import fitting_space, require_fits
from study.planning.probing.remembered_times import RememberedTimes
from study.planning.probing.step_probe import Probing, measure_search
from study.planning.simple_models import SimpleModels, samples_of, simple_models
from study.planning.step_times import StepTimes
from study.planning.time_estimate import estimate_search
from study.results.plans.plan_record import Estimate
from study.search.beyond import most_beyond
from study.search.forced import Forced, first_configurations
from study.search.space import SearchSpace, TrialConfig
from study.search.trial_memory import StepSetting, heaviest, step_bytes
from study.spec.specification import Cell
from study.training.checkpoint_bytes import checkpoint_bytes, running_bytes
from study.training.device import supports_bf16
from study.training.step.samples import Samples


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class CellPlan:
    """A cell ready to run."""

    cell: Cell
    data: AnyDataset
    space: SearchSpace
    forced: tuple[Forced, ...]
    resources: SearchResources
    concurrency: int
    device: str | None
    """Device that the user chose; None follows what Ray assigns."""
    capture: bool
    """Are training steps captured as graphs of the device, where it can?"""
    device_type: str
    """Kind of device on which the trials will run: ``cpu``, ``cuda`` or ``mps``."""
    bf16: bool
    """Are matrix products computed in bfloat16 on that device?"""
    simple: SimpleModels
    """The baselines of the days by which a search judges, and what these days can show."""
    sensitivity: Sensitivity
    """How much each feature changes the output of the smallest architecture."""
    estimate: Estimate
    temperature: Temperature
    """Temperature of this machine when the plan was made."""
    notes: tuple[str, ...] = ()
    """Why remembered times were of no use or could not be written, one line each."""
    may_repeat: bool = False
    """May forced configurations be equal?"""
    folds: tuple[AnyDataset, ...] = ()
    """Data sets of final runs, which take them in turn by their numbers; empty: all trials have
    ``data``."""

    @property
    def n_folds(self) -> int:
        """Number of data sets that trials take in turn; 1 in a search."""
        return max(1, len(self.folds))

    @property
    def networks(self) -> int:
        """Number of networks that a trial trains: one for each fold of a search, else one."""
        return len(self.data.per_network)

    @property
    def setting(self) -> StepSetting:
        """How its trials take their steps."""
        return StepSetting(bf16=self.bf16, networks=self.networks, device=self.device_type)

    @property
    def training_data(self) -> tuple[tuple[Samples, ...], ...]:
        """The samples that trials take in turn by their numbers: those of a search have the same.

        Those of a trial are one for each of its networks. Only ``data`` comes with the daily values
        of its baseline to beat.
        """
        return tuple(
            samples_of(
                data,
                self.cell.data,
                self.cell.search.metric,
                self.simple.daily if data is self.data else None,
                n_nodes=self.resources.n_nodes,
            )
            for data in self.folds or (self.data,)
        )

    @property
    def share_bytes(self) -> dict[str, int]:
        """Bytes of its device's memory that a training step may use, by budget."""
        return {budget: each.share_bytes for budget, each in self.resources.by_budget.items()}

    def holds(self, config: TrialConfig) -> bool:
        """Can a trial train one sample at a time with the memory of the trials of its budget?"""
        return step_bytes(config, 1, self.setting) <= self.share_bytes[config.budget]

    @property
    def running_checkpoint_bytes(self) -> int:
        """Bytes that the checkpoints of the trials that run at once may take on the disk."""
        # No mixture of budgets takes more than the worst of them alone.
        return max(
            min(self.concurrency, self.resources.by_budget[config.budget].capacity)
            * running_bytes(*self._checkpoint_bytes(config))
            for config in heaviest(self.space)
        )

    @property
    def kept_checkpoint_bytes(self) -> int:
        """Bytes that the best weights and kept states of all trials may take in the end."""
        most = self.cell.search.keep_state_mib * 2**20
        kept = []
        for config in heaviest(self.space):
            state, best = self._checkpoint_bytes(config)
            kept.append(best + (state if state <= most else 0))
        return (self.cell.search.trials + most_beyond(self.cell)) * max(kept)

    def _checkpoint_bytes(self, config: TrialConfig) -> tuple[int, int]:
        """Return the bytes of a state, and of its best weights, of all networks of a trial."""
        train = config.train
        state, best = checkpoint_bytes(config.model, memory=train.memory, ema=train.ema_decay > 0)
        return self.networks * state, self.networks * best


def plan_cell(
    cell: Cell,
    data: AnyDataset,
    space: SearchSpace,
    nodes: Sequence[Node],
    *,
    device: str | None,
    concurrency: int | None,
    capture: bool = True,
    estimate: Estimate | None = None,
    power: Power | PanelPower | None = None,
    simple: SimpleModels | None = None,
    per_device: Mapping[str, int] | None = None,
    probing: Probing | None = None,
    driver_seconds: float = 0.0,
    is_searched_now: bool = False,
    is_begun: bool = False,
    may_write: bool = True,
    say: Callable[[str], None] = lambda line: None,
) -> CellPlan:
    """Check a cell against its data and the cluster, and measure the time it will take.

    Args:
        cell: the cell to search.
        data: its data set.
        space: its search space; architectures that no node can train are left out of it, unless
            the search ``is_begun``.
        nodes: the machines of the running Ray cluster.
        device: ``cpu``, ``cuda`` or ``mps``; None follows what Ray assigns.
        concurrency: number of trials at once; None takes as many as fit.
        capture: are training steps captured as graphs of the device, where it can?
        estimate: the estimate of an earlier plan; None makes one.
        power: the power of an earlier plan; None measures it.
        simple: the baselines of an earlier plan of the same data; None fits them.
        per_device: trials that share a device in an earlier plan, by budget; None times how many
            train best, on an accelerator and unless ``concurrency`` is given.
        probing: what measures them; None measures all of them anew, and remembers none.
        driver_seconds: seconds from the command's start to this call.
        is_searched_now: does this command search the cell next, so that the time of this plan is
            part of the search's?
        is_begun: is ``space`` that of a search that is resumed?
        may_write: may scores of a panel's baselines be kept in the results folder?
        say: takes the name of each part that takes more than two seconds, before it begins.

    Raises:
        InfeasibleError: no architecture fits a node or, if the search ``is_begun``, one does not.
        SpecError: more trials are to run at once than fit, or the networks ignore a feature.
    """
    began = time.monotonic()
    where = trial_device(nodes, device)
    setting = step_setting(where, data)
    space = _fitting(space, nodes, setting, label=cell.name, is_begun=is_begun)
    is_timed = where.type != "cpu" and concurrency is None and estimate is None
    shared = _most_sharing(space, nodes, concurrency, is_timed=is_timed) | dict(per_device or {})
    resources = _resources(space, nodes, shared, setting)
    sensitivity = _require_every_feature_read(space, data)
    forced = first_configurations(space, cell)
    at_once = _trials_at_once(concurrency, resources, cell)
    # Its seconds are those that workers need to start.
    judged = functools.cache(
        lambda: simple or simple_models(data, cell.data, power, may_write=may_write)
    )
    if estimate is None:
        with nullcontext(probing) if probing else _forgetting(nodes) as own:
            times = measure_search(
                space, _probed_samples(data, cell, len(nodes)), resources, probing=own,
                device=device, capture=capture, concurrency=at_once, times_sharing=is_timed,
                meanwhile=judged, say=say,
            )  # fmt: skip
        shared |= _best_sharing(times)
        resources = _resources(space, nodes, shared, setting)
        at_once = _trials_at_once(concurrency, resources, cell)
        estimate = estimate_search(
            space, cell.search, data, forced, times, concurrency=at_once, resources=resources,
            driver_seconds=driver_seconds,
            planning_seconds=time.monotonic() - began if is_searched_now else 0.0,
        )  # fmt: skip
    else:
        say("the baselines")
    return CellPlan(
        cell=cell, data=data, space=space, forced=forced, resources=resources, concurrency=at_once,
        device=device, capture=capture, device_type=where.type, bf16=setting.bf16,
        simple=judged(), sensitivity=sensitivity, estimate=estimate,
        temperature=measure(),
        notes=() if probing is None else probing.remembered.take_note(),
    )  # fmt: skip


def _forgetting(nodes: Sequence[Node]) -> Probing:
    """Return what measures all times anew."""
    return Probing(RememberedTimes(None, nodes), n_nodes=len(nodes))


def _probed_samples(data: AnyDataset, cell: Cell, n_nodes: int) -> Samples:
    """Return the samples of a network, of which steps are timed."""
    data = data.without_search_folds
    (samples,) = samples_of(data, cell.data, cell.search.metric, n_nodes=n_nodes)
    return samples


def step_setting(where: torch.device, data: AnyDataset) -> StepSetting:
    """Return how trials take their steps on a kind of device."""
    return StepSetting(bf16=supports_bf16(where), networks=len(data.per_network), device=where.type)


def _fitting(
    space: SearchSpace,
    nodes: Sequence[Node],
    setting: StepSetting,
    *,
    label: str,
    is_begun: bool,
) -> SearchSpace:
    """Return the space without what fits no node; a search that is begun must keep all of it."""
    if not is_begun:
        return fitting_space(space, nodes, setting, label=label)
    require_fits(space, nodes, setting, label=label)
    return space


def _most_sharing(
    space: SearchSpace, nodes: Sequence[Node], concurrency: int | None, *, is_timed: bool
) -> dict[str, int]:
    """Return the most trials that may share a device, by budget, before their gain is timed."""
    most = MOST_TIMED_PER_DEVICE if is_timed else untimed_sharing(concurrency, nodes)
    return {shape.budget: most for shape in space.shapes}


def _best_sharing(times: Mapping[str, StepTimes]) -> dict[str, int]:
    """Return how many trials share a device best, for the budgets of which that was timed."""
    timed = {budget: each.per_device for budget, each in times.items()}
    return {budget: number for budget, number in timed.items() if number is not None}


def trial_device(nodes: Sequence[Node], device: str | None) -> torch.device:
    """Return the kind of device on which trials will run."""
    if device is not None:
        return torch.device(device)
    if not any(node.gpus for node in nodes):
        return torch.device("cpu")
    return torch.device("mps" if torch.backends.mps.is_available() else "cuda")


def _require_every_feature_read(space: SearchSpace, data: AnyDataset) -> Sensitivity:
    """Return how much each feature changes the output of the smallest architecture."""
    smallest = min(space.configs(), key=lambda c: (count_parameters(c.model), c.model.n_heads))
    return require_sensitivity(smallest.model, data.feature_names)


def _trials_at_once(concurrency: int | None, resources: SearchResources, cell: Cell) -> int:
    """Return how many trials run at once: what the user asks for, or as many as fit."""
    require(
        concurrency is None or 1 <= concurrency <= resources.capacity,
        "--concurrency",
        f"must lie between 1 and {resources.capacity}, the trials that fit at once",
        got=f"--concurrency {concurrency}",
        remedy="Leave it at auto, or add nodes.",
    )
    return min(concurrency or resources.capacity, cell.search.trials)


def _resources(
    space: SearchSpace,
    nodes: Sequence[Node],
    per_device: Mapping[str, int],
    setting: StepSetting,
) -> SearchResources:
    """Return the resources of trials: those that the largest model of their budget needs."""
    wanted: dict[str, int] = {}
    for config in heaviest(space):
        step = step_bytes(config, config.train.effective_batch, setting)
        wanted[config.budget] = max(step, wanted.get(config.budget, 0))
    return plan_search(nodes, wanted, per_device)
