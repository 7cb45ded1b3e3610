"""Makes the record of a plan, which is printed and written, whether or not the cell can run."""

import dataclasses
from collections.abc import Callable, Iterable

import numpy as np
import torch

from study.cluster.resources import needed_bytes
from study.data.data_config import DataConfig
from study.data.panel.panel_dataset import PanelDataset, PanelSplit
from study.data.splits import SplitSummary
from study.model.sizing import count_parameters
from study.planning.cell_plan import CellPlan, step_setting
from study.planning.cell_series import AnyDataset
from study.planning.time_estimate import mode_seconds
from study.results.plans.grid_record import GridRecord, LeanArchitecture, ModeRecord, StepMemory
from study.results.plans.input_record import (
    InputRecord,
    PanelSplitRecord,
    SearchFoldsRecord,
    SplitRecord,
)
from study.results.plans.plan_record import (
    BudgetRecord,
    Contents,
    ForcedConfiguration,
    ForcedRecord,
    LeastFeature,
    PlanSummary,
    Question,
    RequestRecord,
    Requirements,
    TemperatureRecord,
)
from study.search.beyond import most_beyond
from study.search.costs import shape_name
from study.search.forced import Forced
from study.search.space import SearchSpace, TrialConfig
from study.search.trial_memory import MEMORY_MODES, StepSetting, heaviest, lean_obstacle, step_bytes
from study.spec.dimension import numbers
from study.spec.specification import Budget, Cell
from study.text.short_forms import architecture
from study.training.checkpoint_bytes import checkpoint_bytes, running_bytes
from study.training.train_config import Memory


def plan_summary(plan: CellPlan) -> PlanSummary:
    """Return what is known of a cell that can run here."""
    contents = _contents(plan.cell.data, plan.data, plan.space, plan.setting)
    warnings = (*contents.inputs.warnings, *plan.simple.notes)
    return PlanSummary(
        question=_question(plan.cell),
        contents=dataclasses.replace(
            contents, inputs=dataclasses.replace(contents.inputs, warnings=warnings)
        ),
        requirements=_requirements(plan, contents.grid),
        feasible=True,
        problem=None,
    )


def summary_without_plan(
    cell: Cell,
    problem: str,
    data: AnyDataset | None = None,
    space: SearchSpace | None = None,
    where: torch.device | None = None,
    *,
    feasible: bool | None,
) -> PlanSummary:
    """Return what is known of a cell that cannot run here.

    Args:
        cell: the cell.
        problem: why it cannot.
        data: its data set, if there is one.
        space: its search space, all that its budget allows, if there is one.
        where: the kind of device on which trials would run, if it has a space.
        feasible: False if none of its architectures fits a node; None if that is not known.
    """
    contents = None
    if data is not None and space is not None and where is not None:
        contents = _contents(cell.data, data, space, step_setting(where, data))
    return PlanSummary(
        question=_question(cell),
        contents=contents,
        requirements=None,
        feasible=feasible,
        problem=problem,
    )


def grid_record(space: SearchSpace, setting: StepSetting) -> GridRecord:
    """Return the sizes of a search space, the memory of a step, and what was left out of it.

    Args:
        space: the search space.
        setting: how the trials take their steps.
    """
    rows = [(count_parameters(config.model), config) for config in heaviest(space)]
    counts = sorted(count for count, _ in rows)
    steps = [(step_bytes(c, c.train.effective_batch, setting), c) for _, c in rows]
    lean = None if space.lean is None else sorted(space.lean & set(space.shapes))
    return GridRecord(
        grid_size=len(counts),
        params_min=counts[0],
        params_median=counts[len(counts) // 2],
        params_max=counts[-1],
        n_dimensions=space.n_dimensions,
        left_out=None if space.left_out is None else space.left_out.record(),
        lean=None if lean is None else [LeanArchitecture(**shape._asdict()) for shape in lean],
        modes=[_mode(memory, space, setting) for memory in MEMORY_MODES],
        memory_min=_memory(steps, min),
        memory_max=_memory(steps, max),
    )


def _mode(memory: Memory, space: SearchSpace, setting: StepSetting) -> ModeRecord:
    """Return what the architectures of a space would take in a memory mode."""
    configs = list(heaviest(space))
    needed = [needed_bytes(step_bytes(config, 1, setting, memory)) for config in configs]
    on_disk = (
        checkpoint_bytes(config.model, memory=memory, ema=config.train.ema_decay > 0)
        for config in configs
    )
    return ModeRecord(
        memory=memory,
        n_planned=sum(config.train.memory == memory for config in configs),
        needed_min_bytes=min(needed),
        needed_max_bytes=max(needed),
        checkpoint_bytes=max(running_bytes(*each) for each in on_disk) * setting.networks,
        obstacle=lean_obstacle(space, setting.networks) if memory == "lean" else None,
    )


def _memory(
    steps: Iterable[tuple[int, TrialConfig]],
    choose: Callable[..., tuple[int, TrialConfig]],
) -> StepMemory:
    n_bytes, config = choose(steps, key=lambda step: step[0])
    return StepMemory(bytes=n_bytes, architecture=architecture(config.flat()))


def _question(cell: Cell) -> Question:
    return Question(
        cell=cell.name,
        study=cell.study,
        budget=cell.budget_label,
        search_number=cell.search_number,
        phase=cell.phase,
        metric=cell.search.metric,
        horizon=cell.data.horizon,
        task=cell.data.task,
        label=_label(cell.data),
        source=cell.data.source,
        tier=cell.data.tier,
        normalization=cell.data.normalization,
        trials=cell.search.trials,
        epochs=int(max(numbers(cell.train["epochs"]))),
        scheduler=cell.search.scheduler,
        beyond_trials=most_beyond(cell, passed=cell.n_passed),
    )


def _label(data: DataConfig) -> str:
    days = "the next day" if data.horizon == 1 else f"the next {data.horizon} days"
    if data.is_panel:
        further = ", ".join(map(str, data.further_horizons))
        heads = f"; other heads learn {further} days" if further else ""
        return (
            f"whose close rises most within {days}? Targets: {data.target} of each day's returns"
            f"{heads}"
        )
    if data.label_kind == "direction":
        return f"is the close higher after {data.horizon} trading days?"
    return f"does the {data.label_kind} reach +{100 * data.threshold:.4g} % within {days}?"


def _contents(
    config: DataConfig, data: AnyDataset, space: SearchSpace, setting: StepSetting
) -> Contents:
    return Contents(
        inputs=InputRecord(
            n_rows=data.n_rows,
            fold_train_rows=data.fold_train_rows,
            n_features=len(data.feature_names),
            features=tuple(data.feature_names),
            splits={name: _split(part) for name, part in data.splits.items()},
            understood=data.understood,
            warnings=tuple(data.warnings),
            search_folds=_search_folds(config, data) if data.search_folds else None,
        ),
        grid=grid_record(space, setting),
        device=setting.device,
        precision="bfloat16" if setting.bf16 else "float32",
    )


def _split(part: SplitSummary | PanelSplit) -> SplitRecord | PanelSplitRecord:
    values = dataclasses.asdict(part)
    return PanelSplitRecord(**values) if isinstance(part, PanelSplit) else SplitRecord(**values)


def _search_folds(config: DataConfig, data: AnyDataset) -> SearchFoldsRecord:
    folds = data.search_folds
    days = np.unique(np.concatenate([fold.validation_days for fold in folds]))
    assert config.search_groups is not None
    return SearchFoldsRecord(
        kind=config.search_splits,
        n_folds=len(folds),
        groups=config.search_groups,
        validation_groups=config.search_validation_groups or 1,
        train_rows=tuple(len(fold.train_days) for fold in folds),
        rows=len(days),
        base_rate=_base_rate(data),
        first_day=str(data.dates[days[0]]),
        last_day=str(data.dates[days[-1]]),
    )


def _base_rate(data: AnyDataset) -> float | None:
    """Return the share of positives among the days that the folds validate; None of a panel."""
    if isinstance(data, PanelDataset):
        return None
    labels = {
        int(day): float(label)
        for fold in data.search_folds
        for day, label in zip(fold.validation_days, fold.labels[fold.validation_days], strict=True)
    }
    return sum(labels.values()) / len(labels)


def _requirements(plan: CellPlan, grid: GridRecord) -> Requirements:
    feature, change = plan.sensitivity.least
    largest, temperature = plan.resources.largest, plan.temperature
    # Final runs of one budget have no architectures of the others.
    there = plan.space.budgets
    return Requirements(
        budgets=tuple(_budget(plan, b) for b in plan.cell.budgets if b.label in there),
        sensitivity=LeastFeature(feature=feature, change=change),
        trial_resources=largest.request(),
        budget_resources={
            budget: RequestRecord(
                request=each.request(), exclusive=each.exclusive, capacity=each.capacity
            )
            for budget, each in plan.resources.by_budget.items()
        },
        exclusive=largest.exclusive,
        capacity=plan.resources.capacity,
        concurrency=plan.concurrency,
        running_checkpoint_bytes=plan.running_checkpoint_bytes,
        kept_checkpoint_bytes=plan.kept_checkpoint_bytes,
        estimate=plan.estimate,
        mode_seconds=mode_seconds(plan.estimate, grid.modes),
        temperature=TemperatureRecord(
            state=temperature.state.value,
            degrees=temperature.degrees,
            source=temperature.source,
            said=temperature.said,
        ),
        power=plan.simple.power_record,
        baselines=plan.simple.baselines,
        forced=tuple(_forced(slot, plan.cell) for slot in plan.forced),
    )


def _budget(plan: CellPlan, budget: Budget) -> BudgetRecord:
    """Return the architectures of a budget, the memory of their steps, and the time of an epoch."""
    own = plan.space.of(shape for shape in plan.space.shapes if shape.budget == budget.label)
    known = plan.estimate.epoch_seconds
    names = {shape_name(shape) for shape in own.shapes}
    # An estimate of an earlier plan may know other shapes.
    seconds = [known[name] for name in names if name in known]
    configs = [slot.config for slot in plan.forced if slot.config is not None]
    return BudgetRecord(
        label=budget.label,
        target=budget.target,
        grid=grid_record(own, plan.setting),
        n_forced=sum(config.budget == budget.label for config in configs),
        epoch_seconds_min=min(seconds, default=None),
        epoch_seconds_max=max(seconds, default=None),
    )


def _forced(slot: Forced, cell: Cell) -> ForcedRecord:
    configuration = None
    if slot.config is not None:
        model, count = slot.config.model, count_parameters(slot.config.model)
        (target,) = (b.target for b in cell.budgets if b.label == slot.config.budget)
        configuration = ForcedConfiguration(
            budget=slot.config.budget,
            param_count=count,
            budget_share=count / target,
            param_count_12ld2=12 * model.n_layers * model.d_model**2,
            architecture={**dataclasses.asdict(model), "d_ff": model.d_ff},
            training=dataclasses.asdict(slot.config.train),
        )
    return ForcedRecord(
        name=slot.name, group=slot.group, configuration=configuration, problem=slot.problem
    )
