"""The record types: the plain values that a study keeps of a trial and of a cell.

No field has a default: a missing value is None on purpose and stays missing in every file.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NotRequired, TypedDict, get_type_hints

from study.results.scores import BestEpoch, PanelBest

Metric = Literal["log_loss", "auc", "rank_ic", "ic", "sharpe", "loss"]
"""Score by which a search ranks trials: losses are minimised, all others maximised. The last four
are of panels."""

SMALLER_IS_BETTER: tuple[Metric, ...] = ("log_loss", "loss")
"""Scores that are losses."""

PANEL_METRICS: tuple[Metric, ...] = ("rank_ic", "ic", "sharpe", "loss")
"""Scores by which a search on a panel may rank trials."""

TrialState = Literal["COMPLETE", "PRUNED", "FAIL"]
"""State of an ended trial in Optuna's words: run to its end, stopped early by comparison with
others, or ended without a usable value."""

StopReason = Literal[
    "completed", "early_stopping", "asha", "diverged", "collapsed", "oom", "stalled", "error",
]  # fmt: skip
"""Reason why a trial ended."""

BEYOND = "beyond"
"""Source of a trial that a search adds beyond an edge of its file."""

NEIGHBOUR = "neighbour:"
"""Prefix of the source of a trial with the settings of another cell's best; the name of that cell
and the number there follow, as ``neighbour:small_20k_h1_threshold_1pct/7``."""

STATE_OF_REASON: Mapping[StopReason, TrialState] = {
    "completed": "COMPLETE",
    "early_stopping": "COMPLETE",
    "asha": "PRUNED",
    "collapsed": "FAIL",
    "diverged": "FAIL",
    "oom": "FAIL",
    "stalled": "FAIL",
    "error": "FAIL",
}
"""State of a trial by the reason why it ended."""


_BEST_NAMES: Mapping[str, str] = {
    "value": "loss",
    "value_se": "loss_se",
    "half_values": "half_losses",
    "difference": "difference",
    "difference_se": "difference_se",
    "best_epoch": "epoch",
}
"""Names of the best epoch's loss in a row, in the order of the row, with their fields."""

_BEST_SCORE_NAMES: Mapping[str, str] = {
    "skill": "skill",
    "skill_own_base_rate": "skill_own_base_rate",
    "auc": "auc",
    "brier": "brier",
}
"""Names of the best epoch's other scores in a row, after the number of epochs, with their fields.
"""

_PANEL_NAMES = (
    "rank_ic", "rank_ic_se", "ic", "ic_se", "icir", "hit_rate", "long_short", "turnover", "sharpe",
    "sharpe_se", "sharpe_net", "base_loss", "spread",
)  # fmt: skip
"""Names of a panel's scores in a row, which are those of their fields; rows of markets lack them.
"""

_FURTHER_NAMES = ("further_rank_ic", "further_rank_ic_se", "further_ic")
"""Names of the scores of further heads in a row, which are those of their fields; rows of networks
of one horizon lack them."""
ADDED_NAMES = ("boosting_difference", "boosting_difference_se")
"""Names of further scores of a panel in a row, which are those of their fields; rows that were
written before there were any lack them."""

PHASES = ("data", "step", "validation", "checkpoint")
"""Phases of an epoch; each line of an epoch has their seconds, as ``data_seconds``."""

HOT_CELSIUS = 85.0
"""Degrees Celsius from which no new trial starts on a machine, and a running one may throttle."""


class Parameters(TypedDict):
    """The part of a trial's configuration that is read; a record has the other fields too."""

    budget: str
    family: str
    d_model: int
    n_layers: int
    n_heads: int
    d_ff_ratio: int
    patch_length: int
    patch_stride: int
    head: str
    last_day_skip: bool
    dropout: float
    learning_rate: float
    epochs: int
    effective_batch: int
    weight_decay: float
    warmup_share: float


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialRecord:
    """One trial that has ended: the configuration that trained, and its outcome."""

    number: int
    trial_id: str
    source: str
    """Origin of its configuration: ``sampled``, ``forced:<slot>``, ``imported:<number there>``,
    ``neighbour:<cell>/<number there>``, or ``beyond`` an edge of the file."""
    phase: int | None
    """1 or 2 in a search of two phases."""
    group: str | None
    """Group of a forced configuration, as the property that it takes to an extreme; None without
    one."""
    name: str | None
    """Name of a forced configuration, as ``2M_deep`` or ``dropout_0.7``."""
    folder: str
    """Name of the trial's folder inside the cell's."""
    seed: int
    params: Mapping[str, Any]
    """Every field of ModelConfig and TrainConfig that trained."""
    d_ff: int
    param_count: int
    """Number of parameters, exact, counted from the architecture."""
    reason: StopReason
    message: str | None
    """Message of the error; None without one."""
    faults: Sequence[str]
    """Faults that interrupted the trial and were retried, oldest first."""
    objective: float | None
    """Value that the search minimises: the loss of the best epoch, or 1 - its AUC, RankIC, IC or
    Sharpe ratio."""
    objective_se: float | None
    """Standard error of ``objective`` on the validation days."""
    best: BestEpoch | PanelBest | None
    """Scores of the epoch of the lowest validation loss; None if no epoch was validated."""
    epochs_trained: int
    """Number of epochs that were run."""
    micro_batch: int | None
    accumulation_steps: int | None
    out_of_memory_count: int | None
    device: str | None
    assigned_cpus: float | None
    assigned_gpus: float | None
    peak_memory_bytes: int | None
    """Measured peak of its device's memory; on the CPU the resident size of the worker."""
    granted_memory_bytes: int | None
    """Bytes of its device's memory that the trial was granted."""
    thermal_max_temp: float | None
    """Highest temperature of its machine while it trained, degrees Celsius; None if unknown."""
    seconds: Mapping[str, float]
    """Measured seconds by phase, and of the ``pretraining`` of a trial that had one; the unreported
    work of a killed worker is not in them."""
    started: float
    """Unix time at which the trial was asked for."""
    ended: float
    """Unix time at which its end was decided."""

    @property
    def value(self) -> float | None:
        """Best validation loss: log-loss in nats, or ``objective`` of a panel; None without any."""
        return None if self.best is None else self.best.loss

    @property
    def state(self) -> TrialState:
        """State of the trial in Optuna's words."""
        return STATE_OF_REASON[self.reason]

    @property
    def budget(self) -> str:
        """Label of the budget among whose trials it competed."""
        return str(self.params["budget"])

    @property
    def is_rankable(self) -> bool:
        """Can this trial be the best of its cell? A collapsed or failed one cannot."""
        return self.objective is not None and self.reason in ("completed", "early_stopping", "asha")

    def comparison_se(self, metric: Metric) -> float | None:
        """Return the standard error that counts where this trial is compared with others.

        All trials share the days, so of a log-loss or a RankIC it is that of its difference to the
        baseline, and of any other score its own.
        """
        if metric not in ("log_loss", "rank_ic"):
            return self.objective_se
        return None if self.best is None else self.best.difference_se

    @property
    def duration_seconds(self) -> float | None:
        """Seconds of work; a pause between an interruption and its resume does not count."""
        return sum(self.seconds.values()) if self.seconds else None

    def to_json(self) -> dict[str, Any]:
        """Return the flat values of a row; a value that is missing is None."""
        row: dict[str, Any] = {}
        for name in _field_names():
            if name == "best":
                row |= _flat(self.best, _BEST_NAMES)
            else:
                row[name] = getattr(self, name)
            if name == "epochs_trained":
                is_panel = isinstance(self.best, PanelBest)
                row |= _flat(None if is_panel else self.best, _BEST_SCORE_NAMES)
                names = (*_PANEL_NAMES, *ADDED_NAMES) if is_panel else ()
                row |= _flat(self.best, {own: own for own in names})
                row |= _further(self.best)
        return row

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "TrialRecord":
        """Rebuild the record from its row; other names in the row are ignored."""
        return cls(
            **{name: row[name] for name in _field_names() if name != "best"}, best=_best(row)
        )


@functools.cache
def row_types(*, is_panel: bool = False, has_further: bool = False) -> Mapping[str, Any]:
    """Return the types of the values in a row that ``TrialRecord.to_json`` makes.

    Args:
        is_panel: is it the row of a panel's trial that has scores?
        has_further: has it those of further heads?
    """
    of_best = get_type_hints(BestEpoch)
    names = {**_BEST_NAMES, **_BEST_SCORE_NAMES}
    types = get_type_hints(TrialRecord)
    del types["best"]
    types |= {name: of_best[own] | None for name, own in names.items()}
    of_panel = get_type_hints(PanelBest)
    names_of_panel = (*_PANEL_NAMES, *ADDED_NAMES, *(_FURTHER_NAMES if has_further else ()))
    return types | {name: of_panel[name] for name in names_of_panel if is_panel}


def is_panel_row(row: Mapping[str, Any]) -> bool:
    """Is it the row of a panel's trial that has scores?"""
    return row.get("rank_ic") is not None


def is_row_of_heads(row: Mapping[str, Any]) -> bool:
    """Is it the row of a panel's trial whose network has further heads?"""
    return is_panel_row(row) and row.get("further_rank_ic") is not None


def _best(row: Mapping[str, Any]) -> BestEpoch | PanelBest | None:
    """Return the scores of the best epoch in a row."""
    common = {own: row[name] for name, own in _BEST_NAMES.items()}
    if common["loss"] is None and not is_panel_row(row):
        return None
    if common["half_losses"] is not None:
        common["half_losses"] = tuple(common["half_losses"])
    if is_panel_row(row):
        added: dict[str, Any] = {name: row.get(name) for name in ADDED_NAMES}
        if is_row_of_heads(row):
            added |= {name: row[name] for name in _FURTHER_NAMES}
        return PanelBest(**common, **{name: row[name] for name in _PANEL_NAMES}, **added)
    scores = {own: row[name] for name, own in _BEST_SCORE_NAMES.items()}
    return BestEpoch(**common, **scores, auc_se=None)


def _field_names() -> list[str]:
    return [field.name for field in dataclasses.fields(TrialRecord)]


def _flat(best: BestEpoch | PanelBest | None, names: Mapping[str, str]) -> dict[str, Any]:
    flat = {name: None if best is None else getattr(best, own) for name, own in names.items()}
    # Lists, as JSON gives them back: rows are compared with their files.
    return {name: list(v) if isinstance(v, tuple) else v for name, v in flat.items()}


def _further(best: BestEpoch | PanelBest | None) -> dict[str, Any]:
    if not isinstance(best, PanelBest) or best.further_rank_ic is None:
        return {}
    return {name: getattr(best, name) for name in _FURTHER_NAMES}


def fold_of_run(number: int, n_folds: int) -> int:
    """Return the fold of test days, from 0, before which a run is trained, by the run's number.

    The runs of one seed are those of all folds in order, so that more seeds add runs at the end and
    every run keeps its number.
    """
    return number % n_folds


def best_trial(records: Sequence[TrialRecord]) -> TrialRecord | None:
    """Return the best rankable trial, the earliest of equals; None without one."""
    return next(iter(ranked(records)), None)


def ranked(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the rankable trials, the lowest objective first, the earliest of equals first."""
    rankable = [record for record in records if record.is_rankable]
    return sorted(rankable, key=lambda record: (record.objective, record.number))


def objective(best: BestEpoch | PanelBest | None, metric: Metric) -> float | None:
    """Return what a search minimises, of the best epoch so far; None if it is undefined.

    The best epoch is the one of least log-loss for both metrics of a market: AUC on a few hundred
    days jumps from epoch to epoch, and its highest value of many is mostly luck. That of a panel
    is the one of least objective.
    """
    if isinstance(best, BestEpoch) and metric == "auc":
        return None if best.auc is None else 1 - best.auc
    return None if best is None else best.loss


def score(best: BestEpoch | PanelBest, metric: Metric) -> float | None:
    """Return the score by which a search ranks trials, of the best epoch so far."""
    if isinstance(best, BestEpoch):
        return best.auc if metric == "auc" else best.loss
    return {"rank_ic": best.rank_ic, "ic": best.ic, "sharpe": best.sharpe}.get(
        metric, best.base_loss
    )


def objective_name(metric: Metric) -> str:
    """Return what a search minimises, in words: a loss, or 1 less a score."""
    if metric in SMALLER_IS_BETTER:
        return {"log_loss": "log-loss", "loss": "loss"}[metric]
    return f"1 - {_SHOWN.get(metric, 'AUC')}"


_SHOWN: Mapping[str, str] = {"rank_ic": "RankIC", "ic": "IC", "sharpe": "Sharpe"}
"""Names of the scores of which a search minimises the distance from 1."""


def shown_objective(value: float, metric: str) -> str:
    """Return a value that a search minimises in words: a panel's as the score that it stands for.

    The validation loss of a market's trial is its log-loss whatever the metric.
    """
    return f"{_SHOWN[metric]} {1 - value:+.4f}" if metric in _SHOWN else f"{value:.4f}"


def objective_error(best: BestEpoch | PanelBest | None, metric: Metric) -> float | None:
    """Return the standard error of the objective; None if it is undefined."""
    if isinstance(best, BestEpoch) and metric == "auc":
        return best.auc_se
    return None if best is None else best.loss_se


class SplitDescription(TypedDict):
    """The values of a part of the days that are read from cell.yaml."""

    rows: int
    base_rate: NotRequired[float]
    """Share of positives; missing of a panel."""
    effective_size: float
    first_day: str
    last_day: str


class SplitDescriptions(TypedDict):
    """The parts of the days in cell.yaml."""

    train: SplitDescription
    validation: SplitDescription
    test: SplitDescription


class BudgetDescription(TypedDict):
    """A budget of the resolved spec in cell.yaml."""

    label: str
    target: int


class SpecDescription(TypedDict, total=False):
    """The values of the resolved spec that are read from cell.yaml."""

    budgets: Sequence[BudgetDescription]
    data: Mapping[str, Any]


class EstimateDescription(TypedDict):
    """The value of the plan's estimate that is read."""

    search_seconds_expected: float


class NeighboursDescription(TypedDict):
    """The value that is read of what a search knew of other cells when it began."""

    found: Sequence[Mapping[str, Any]]


class CellDescription(TypedDict, total=False):
    """The values that are read from cell.yaml; its other keys are for people."""

    search: str
    cell: str
    study: str
    search_number: int
    phase: int | None
    spec: SpecDescription
    data_sha256: str
    feature_hash: str
    metric: Metric
    horizon: int
    task: str
    source: str
    trials: int
    widened: Mapping[str, Mapping[str, Sequence[Any]]]
    neighbours: NeighboursDescription
    splits: SplitDescriptions
    estimate: EstimateDescription


@dataclass(frozen=True, kw_only=True, slots=True)
class BaselineRecord:
    """The scores of a simple forecast on the same validation days."""

    name: str
    log_loss: float
    log_loss_se: float | None
    auc: float | None
    skill: float


@dataclass(frozen=True, kw_only=True, slots=True)
class PanelBaselineRecord:
    """The scores of a simple ranking of a panel's assets on the same validation days."""

    name: str
    rank_ic: float
    """Mean over the days."""
    rank_ic_se: float | None
    ic: float
    sharpe: float | None
    """Sharpe ratio of its long-short portfolio before costs, a year; None if it never varies."""
    sharpe_net: float | None
    """The same after costs."""
