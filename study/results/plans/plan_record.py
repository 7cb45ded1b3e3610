"""The plan of a cell as typed values, which are printed and written as JSON."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from study.errors import SpecError
from study.fields import rebuild
from study.results.plans.grid_record import GridRecord, MemoryMode
from study.results.plans.input_record import InputRecord
from study.results.records import BaselineRecord, PanelBaselineRecord
from study.text.short_forms import of_search

FolderState = Literal["new", "complete", "partial", "refused"]
"""State of a cell's folder: absent, every trial ended, some are left, or not to be resumed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """The question of a cell, which is known before any data is read."""

    cell: str
    """Name of the cell and of its folder."""
    study: str
    budget: str
    search_number: int
    """Number of the search among the independent ones of the cell, from 1."""
    phase: int | None
    metric: str
    horizon: int
    task: str
    label: str
    """The question that a label answers, in words."""
    source: str
    tier: str
    normalization: str
    trials: int
    epochs: int
    """Length of the longest schedule."""
    scheduler: str
    beyond_trials: int
    """Greatest number of trials that the search adds beyond edges of its file; not told if 0."""

    @property
    def short_name(self) -> str:
        """Return the horizon, and which further search of it is meant."""
        return of_search(f"h{self.horizon}", self.search_number)


@dataclass(frozen=True, kw_only=True, slots=True)
class Contents:
    """Data and architectures of a cell whose data could be read, whether or not it can run here."""

    inputs: InputRecord
    grid: GridRecord
    device: str
    precision: str

    def to_json(self) -> dict[str, Any]:
        """Return plain values, all at one level."""
        return {
            **self.inputs.to_json(),
            **dataclasses.asdict(self.grid),
            "device": self.device,
            "precision": self.precision,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class BudgetRecord:
    """One budget of a search: its architectures, and how long an epoch of them takes."""

    label: str
    target: int
    grid: GridRecord
    n_forced: int
    epoch_seconds_min: float | None
    """Shortest epoch; None where the estimate has none of the budget's architectures."""
    epoch_seconds_max: float | None

    def to_json(self) -> dict[str, Any]:
        """Return plain values, all at one level."""
        return {
            "label": self.label,
            "target": self.target,
            **dataclasses.asdict(self.grid),
            "n_forced": self.n_forced,
            "epoch_seconds_min": self.epoch_seconds_min,
            "epoch_seconds_max": self.epoch_seconds_max,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestRecord:
    """The resources that each trial of a budget requests."""

    request: Mapping[str, float]
    """Amounts by Ray's names: CPU, memory and, where there are accelerators, GPU."""
    exclusive: bool
    capacity: int
    """Number of such trials that fit the cluster at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """The expected seconds of a search before its first trial."""

    epoch_seconds_min: float
    epoch_seconds_median: float
    epoch_seconds_max: float
    search_seconds_expected: float
    """Time with ASHA, from the command's start to its end."""
    search_seconds_most: float
    """Time if every trial runs its whole schedule."""
    trained_share: float
    """Epochs that are trained with ASHA, as a share of all epochs of all schedules."""
    start_seconds: float
    """Part of both times that passes before the first trial's first step."""
    planning_seconds: float
    """Part of that time in which the command plans and times steps; 0 in a plan of several cells,
    whose searches are given these times."""
    epoch_seconds: Mapping[str, float]
    """Time of an epoch by width and depth, as ``shape_name`` writes them."""
    remembered: str | None = None
    """When the oldest of the times was measured that an earlier command has left, UTC, as
    ``2026-11-29 03:10``; None where all were measured now."""

    @property
    def source(self) -> str:
        """Where its times come from, in words."""
        known = "" if self.remembered is None else f", remembered of {self.remembered} UTC"
        return f"measured steps{known}"

    @classmethod
    def from_json(cls, raw: object, where: str) -> "Estimate":
        """Rebuild an estimate from plain values; other keys are ignored.

        One of an older version has no planning time, which was no part of its times.

        Raises:
            SpecError: a key is missing or no number.
        """
        rule = f"{where}: must hold the estimate of a plan"
        known = {"planning_seconds": 0.0, **raw} if isinstance(raw, Mapping) else raw
        return rebuild(cls, known, rule, "Write it with python -m study.plan --json.", SpecError)


def shape_name(d_model: int, n_layers: int) -> str:
    """Return the key of ``Estimate.epoch_seconds`` for a width and a depth, as ``d64 L48``."""
    return f"d{d_model} L{n_layers}"


@dataclass(frozen=True, kw_only=True, slots=True)
class TemperatureRecord:
    """The temperature of the machine when the plan was made."""

    state: str
    degrees: float | None
    source: str | None
    said: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PowerRecord:
    """Smallest differences between two networks that the days can show, in nats and in AUC."""

    difference_sd: float
    log_loss_se: float
    auc_se: float | None
    log_loss_validation: float
    log_loss_test: float
    auc_validation: float | None
    auc_test: float | None
    gain: float
    share: float
    """Error between two networks in log-loss as a share of that between logistic regression and
    small trees, by which the plan scales what it measures."""
    share_low: float
    share_high: float
    auc_share: float
    """Share in AUC."""
    auc_share_low: float
    auc_share_high: float
    sentences: Sequence[str]

    @property
    def source(self) -> str:
        """How the differences follow from what was measured, in words."""
        return (
            f"{self.share:g} in log-loss and {self.auc_share:g} in AUC of that between logistic "
            f"regression and boosted trees; networks on the S&P 500 have {self.share_low:g} to "
            f"{self.share_high:g} and {self.auc_share_low:g} to {self.auc_share_high:g}"
        )

    def shown(self, part: str) -> tuple[float | None, float | None]:
        """Return the smallest differences in log-loss and AUC of a part; None where unknown."""
        return {
            "validation": (self.log_loss_validation, self.auc_validation),
            "test": (self.log_loss_test, self.auc_test),
        }.get(part, (None, None))


@dataclass(frozen=True, kw_only=True, slots=True)
class PanelPowerRecord:
    """Smallest mean RankICs that a panel's days can tell from zero, and from a baseline's."""

    null_day_sd: float
    day_sd: float
    null_se: float
    measured_se: float | None
    rank_ic_se: float
    """Standard error of a mean RankIC on validation, by which the rest is computed."""
    rank_ic_validation: float
    """Smallest mean RankIC that is distinguishable from zero on the validation days."""
    rank_ic_test: float
    difference_se: float | None
    difference_validation: float | None
    """Smallest difference from ridge in RankIC that the validation days show."""
    difference_test: float | None
    ridge: float
    """Mean RankIC of ridge on validation."""
    sentences: Sequence[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class LeastFeature:
    """The feature that changes the output of an untrained network least, and by how much."""

    feature: str
    change: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ForcedConfiguration:
    """The configuration of a forced trial."""

    budget: str
    param_count: int
    budget_share: float
    """Exact parameter count as a share of the budget's target."""
    param_count_12ld2: int
    """Usual parameter count of a transformer, 12 L d^2: the layers alone, with d_ff = 4 d_model."""
    architecture: Mapping[str, Any]
    """Every field of ModelConfig, and ``d_ff``."""
    training: Mapping[str, Any]
    """Every field of TrainConfig."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ForcedRecord:
    """A trial that comes before all sampled ones, or why it does not."""

    name: str
    group: str | None
    configuration: ForcedConfiguration | None
    problem: str | None
    """Reason why it cannot be tried; None if it can."""
    waits_for: int | None = None
    """Number of trials that the search would have to be asked for; None if it does not wait."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values: those of the configuration, or why it is not tried."""
        named = {"name": self.name, "group": self.group}
        if self.waits_for is not None:
            return {**named, "waits_for_trials": self.waits_for}
        if self.configuration is None:
            return {**named, "problem": self.problem}
        values = dataclasses.asdict(self.configuration)
        return named | {
            {"param_count_12ld2": "param_count_12Ld2"}.get(key, key): value
            for key, value in values.items()
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Requirements:
    """Resources, time and starting points of a cell that can run here."""

    budgets: Sequence[BudgetRecord]
    sensitivity: LeastFeature
    trial_resources: Mapping[str, float]
    """Largest request of a trial."""
    budget_resources: Mapping[str, RequestRecord]
    exclusive: bool
    capacity: int
    concurrency: int
    running_checkpoint_bytes: int
    kept_checkpoint_bytes: int
    estimate: Estimate
    mode_seconds: Mapping[MemoryMode, float | None]
    """Time of the search if all of its architectures had one memory mode: measured in the mode that
    is planned, modelled in ``lean`` where all are planned in full, None where it is not known."""
    temperature: TemperatureRecord
    power: PowerRecord | PanelPowerRecord
    baselines: Sequence[BaselineRecord | PanelBaselineRecord]
    forced: Sequence[ForcedRecord]

    def to_json(self) -> dict[str, Any]:
        """Return plain values by field."""
        return {
            "sensitivity": {"least": dataclasses.asdict(self.sensitivity)},
            "trial_resources": dict(self.trial_resources),
            "budget_resources": {
                budget: dataclasses.asdict(each) for budget, each in self.budget_resources.items()
            },
            "exclusive": self.exclusive,
            "capacity": self.capacity,
            "concurrency": self.concurrency,
            "running_checkpoint_bytes": self.running_checkpoint_bytes,
            "kept_checkpoint_bytes": self.kept_checkpoint_bytes,
            "estimate": dataclasses.asdict(self.estimate),
            "mode_seconds": dict(self.mode_seconds),
            "temperature": dataclasses.asdict(self.temperature),
            "power": dataclasses.asdict(self.power),
            "baselines": [dataclasses.asdict(each) for each in self.baselines],
            "forced": [each.to_json() for each in self.forced],
        }


_OF_A_CELL_THAT_CAN_RUN = (
    "trial_resources", "budget_resources", "exclusive", "capacity", "concurrency", "estimate",
    "running_checkpoint_bytes", "kept_checkpoint_bytes", "power", "sensitivity", "temperature",
    "baselines", "forced", "budgets", "mode_seconds",
)  # fmt: skip
"""Keys of Requirements in JSON, which are null for a cell that cannot run here."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanSummary:
    """Everything that is known of a cell before its first trial."""

    question: Question
    contents: Contents | None
    """Data and architectures; None if the data could not be read or have no search space."""
    requirements: Requirements | None
    """Resources and time; None if the cell cannot run here."""
    feasible: bool | None
    """Can a node train some of its architectures? None if that is not known."""
    problem: str | None
    """Reason why the cell cannot run here."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values, with the same keys whether or not the cell can run here."""
        question = dataclasses.asdict(self.question)
        known = {
            **{name: value for name, value in question.items() if value or name != "beyond_trials"},
            **({} if self.contents is None else self.contents.to_json()),
        }
        judged = {"feasible": self.feasible, "problem": self.problem}
        if self.requirements is None:
            return {**dict.fromkeys(_OF_A_CELL_THAT_CAN_RUN), **known, **judged}
        budgets = [each.to_json() for each in self.requirements.budgets]
        return {**known, "budgets": budgets, **judged, **self.requirements.to_json()}


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanRow:
    """One cell of a plan of several: its plan, and the state of its folder."""

    summary: PlanSummary
    folder_state: FolderState
    folder_problem: str | None
    """Reason why the folder cannot be resumed."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values, with the same keys whether or not the cell can run here."""
        return {
            **self.summary.to_json(),
            "folder_state": self.folder_state,
            "folder_problem": self.folder_problem,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanTotal:
    """Totals of a plan of several cells; times and bytes are those of the cells that will run."""

    cells: int
    cells_to_run: int
    cells_complete: int
    cells_refused: int
    cells_with_problem: int
    trials: int
    search_seconds_expected: float
    search_seconds_most: float
    running_checkpoint_bytes: int
    kept_checkpoint_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PhaseTwoHorizon:
    """The evidence that the records of phase 1 give on the second phase of one horizon."""

    horizon: int
    search_number: int
    """Number of the search of phase 1, from 1."""
    lines: Sequence[str]
    budgets: Sequence[Mapping[str, Any]]
    """Evidence on each budget, as plain values."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PhaseTwoRecord:
    """The facts about a second phase that are known before it begins."""

    searches_per_horizon: int
    trials: int
    """Number of trials of each search."""
    horizons: Sequence[PhaseTwoHorizon]
    waiting: Sequence[str]
    """A line for each horizon whose second phase cannot begin yet, which says why."""
