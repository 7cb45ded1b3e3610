"""What simple models reach on the days by which a search judges, and what these days can show."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from study.data.arrays import PriceArray
from study.data.data_config import DataConfig
from study.data.evaluation.baselines import Baseline, score_baselines
from study.data.evaluation.power import Power, measure_power, read_power
from study.data.panel.panel_baselines import PanelBaseline, score_panel_baselines
from study.data.panel.panel_dataset import PanelDataset
from study.data.panel.panel_power import PanelPower, measure_panel_power, read_panel_power
from study.data.panel.shared_inputs import SharedInputs
from study.names import BOOSTING, RIDGE
from study.planning.cell_series import AnyDataset
from study.results.plans.plan_record import PanelPowerRecord, PowerRecord
from study.results.records import BaselineRecord, Metric, PanelBaselineRecord
from study.training.panel.panel_metrics import PanelMetric
from study.training.panel.panel_samples import PanelTrainingData
from study.training.step.samples import Samples
from study.training.windows import TrainingData

_TO_BEAT = {False: "logistic", True: RIDGE}
"""Name of the baseline that the terminal shows beside the best trial so far; is it of a panel?"""


@dataclass(frozen=True, kw_only=True, slots=True)
class SimpleModels:
    """The baselines of a cell, and what its days can show."""

    baselines: tuple[BaselineRecord | PanelBaselineRecord, ...]
    to_beat: BaselineRecord | PanelBaselineRecord
    """The baseline that the terminal shows beside the best trial."""
    daily: Mapping[str, PriceArray]
    """Log-losses, nats, or RankICs on the validation days of each baseline, by its name; on the
    folds of a search those of one fold after the other."""
    power: Power | PanelPower
    notes: tuple[str, ...]
    """Why kept scores of baselines were of no use or could not be kept, one line each."""

    @property
    def power_record(self) -> PowerRecord | PanelPowerRecord:
        """What the days can show, as a plan records it."""
        if isinstance(self.power, PanelPower):
            return PanelPowerRecord(**asdict(self.power))
        return PowerRecord(**asdict(self.power))


def read_simple_power(
    config: DataConfig, raw: Mapping[str, Any] | None
) -> Power | PanelPower | None:
    """Rebuild the power of an earlier plan; None if it holds none."""
    return read_panel_power(raw) if config.is_panel else read_power(raw)


def simple_models(
    data: AnyDataset,
    config: DataConfig,
    power: Power | PanelPower | None = None,
    *,
    may_write: bool = True,
) -> SimpleModels:
    """Fit the baselines on the training days and judge them on the validation days.

    Args:
        data: the data set of a cell.
        config: its definition, which names the portfolios by which a ranking is judged.
        power: what its days can show, if that has been measured.
        may_write: may scores of a panel's baselines be kept in the results folder?
    """
    if isinstance(data, PanelDataset):
        judge = functools.partial(
            score_panel_baselines,
            share=config.portfolio_share,
            cost_basis_points=config.cost_bps,
            may_write=may_write,
        )
        found, notes = judge(data)
        if power is None:
            latest, more = judge(data.without_search_folds) if data.search_folds else (found, ())
            power, notes = measure_panel_power(data, latest), (*notes, *more)
        return _simple_models(
            [_panel_record(each) for each in found],
            {each.name: each.rank_ics for each in found},
            power,
            notes,
            is_panel=True,
        )
    of_market = score_baselines(data)
    return _simple_models(
        [_record(each) for each in of_market],
        {each.name: each.losses for each in of_market},
        power or measure_power(data),
        (),
        is_panel=False,
    )


def samples_of(
    data: AnyDataset,
    config: DataConfig,
    metric: Metric,
    daily: Mapping[str, PriceArray] | None = None,
    *,
    n_nodes: int = 1,
) -> tuple[Samples, ...]:
    """Return the samples of a trial, one set for each of its networks.

    Args:
        data: the data set of a cell.
        config: its definition.
        metric: the score by which trials are ranked.
        daily: values of the baselines, as ``SimpleModels.daily``; None without them.
        n_nodes: machines of the cluster; several may share no file of a panel's inputs.
    """
    ends = np.cumsum([len(own.validation_days) for own in data.per_network])

    def parts(name: str) -> Sequence[PriceArray | None]:
        return [None] * len(ends) if daily is None else np.split(daily[name], ends[:-1])

    if isinstance(data, PanelDataset):
        networks = data.per_network if n_nodes == 1 else _carried(data.per_network)
        return tuple(
            PanelTrainingData.of(
                own,
                baseline_rank_ics=ridge,
                boosting_rank_ics=boosting,
                metric=cast(PanelMetric, metric),
                share=config.portfolio_share,
                cost_bps=config.cost_bps,
            )
            for own, ridge, boosting in zip(networks, parts(RIDGE), parts(BOOSTING), strict=True)
        )
    return tuple(map(TrainingData.of, data.per_network, parts(_TO_BEAT[False])))


def _carried(networks: Sequence[PanelDataset]) -> Sequence[PanelDataset]:
    """Return data sets whose inputs are sent with their values, equal ones once."""
    sent: dict[tuple[Path | None, int, int], SharedInputs] = {}
    found = []
    for own in networks:
        place = (own.inputs.file, own.inputs.offset, len(own.inputs.values))
        found.append(replace(own, inputs=sent.setdefault(place, own.inputs.carried)))
    return found


def _simple_models(
    records: Sequence[BaselineRecord | PanelBaselineRecord],
    daily: Mapping[str, PriceArray],
    power: Power | PanelPower,
    notes: tuple[str, ...],
    *,
    is_panel: bool,
) -> SimpleModels:
    name = _TO_BEAT[is_panel]
    return SimpleModels(
        baselines=tuple(records),
        to_beat=next(each for each in records if each.name == name),
        daily=daily,
        power=power,
        notes=notes,
    )


def _record(baseline: Baseline) -> BaselineRecord:
    return BaselineRecord(
        name=baseline.name,
        log_loss=baseline.log_loss,
        log_loss_se=baseline.log_loss_se,
        auc=baseline.auc,
        skill=baseline.skill,
    )


def _panel_record(baseline: PanelBaseline) -> PanelBaselineRecord:
    return PanelBaselineRecord(
        name=baseline.name,
        rank_ic=baseline.rank_ic,
        rank_ic_se=baseline.rank_ic_se,
        ic=baseline.ic,
        sharpe=baseline.sharpe,
        sharpe_net=baseline.sharpe_net,
    )
