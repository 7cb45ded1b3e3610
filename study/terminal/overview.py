"""The header before a cell's first trial, and the summary after its last."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from study.results.plans.grid_record import GridRecord
from study.results.plans.input_record import InputRecord, PanelSplitRecord, SplitRecord
from study.results.plans.plan_record import (
    Contents,
    ForcedRecord,
    PanelPowerRecord,
    PlanSummary,
    PowerRecord,
    Question,
    Requirements,
    TemperatureRecord,
)
from study.results.records import (
    BEYOND,
    PANEL_METRICS,
    BaselineRecord,
    PanelBaselineRecord,
    TrialRecord,
    shown_objective,
)
from study.results.scores import BestEpoch, PanelBest
from study.statistics.block_length import block_days
from study.terminal.grid_overview import left_out, memory_modes
from study.terminal.market_overview import (
    market_baselines,
    market_power_line,
    market_splits,
    shown_skill,
    with_error,
)
from study.terminal.panel_overview import (
    panel_baselines,
    panel_best_lines,
    panel_power_line,
    panel_splits,
    signed,
)
from study.text.byte_text import gib, size
from study.text.short_forms import (
    MIXED_MODES,
    architecture,
    counted,
    duration,
    has_both_modes,
)

RAY_START = "Ray and the libraries of a search"
"""Name of the first part of a start."""


def start_line(part: str) -> str:
    """Return the line that is printed before a part of a start that takes more than two seconds."""
    return f"  start   {part}"


def training_start(n_workers: int) -> str:
    """Return the name of the last part of a start."""
    return f"{counted(n_workers, 'worker')}, to train trials"


def print_plan(console: Console, plan: PlanSummary) -> None:
    """Print what will run: data, splits, grid, resources, time, baselines, forced trials.

    The data must have been read: a cell that lacks them is an error and no plan.
    """
    contents, required = plan.contents, plan.requirements
    assert contents is not None
    console.print(Text(plan.question.cell, style="bold"))
    facts = _facts(plan.question, contents)
    if required is None:
        facts |= _sizes(contents.grid)
    else:
        facts |= _requirements(plan.question, contents, required)
    for name, text in facts.items():
        console.print(Text(f"  {name:<8}{text}"), soft_wrap=True)
    console.print(_splits(contents.inputs))
    if required is not None:
        console.print(_baselines(contents.inputs, required.baselines))
    if contents.inputs.understood:
        console.print(Text(f"  read    {contents.inputs.understood}"), soft_wrap=True)
    for warning in contents.inputs.warnings:
        console.print(Text(f"  note    {warning}", style="yellow"), soft_wrap=True)
    if required is None:
        console.print(Text(f"  cannot run here: {plan.problem}", style="yellow"), soft_wrap=True)
        return
    print_forced(console, required.forced)


def print_forced(console: Console, forced: Sequence[ForcedRecord]) -> None:
    """Print the trials that come first: a table of those of a list, a line for each other one."""
    if any(slot.configuration is not None and slot.group is not None for slot in forced):
        console.print(_listed(forced))
    else:
        for slot in forced:
            if slot.configuration is not None:
                found = slot.configuration
                settings = {**found.architecture, **found.training}
                text = f"{architecture(settings)}, {found.param_count:,} parameters"
                _forced(console, slot, text)
    waiting = [slot for slot in forced if slot.waits_for is not None]
    if waiting:
        names = ", ".join(slot.name for slot in waiting)
        text = (
            f"  waiting {names}, until the search has {waiting[0].waits_for} trials: with fewer, "
            "only the extremes with the fewest layers, the fastest, come first"
        )
        console.print(Text(text), soft_wrap=True)
    for slot in forced:
        if slot.problem is not None:
            _forced(console, slot, f"cannot be tried: {slot.problem}")


def _forced(console: Console, slot: ForcedRecord, text: str) -> None:
    console.print(Text(f"  forced  {slot.name:<13} {text}"), soft_wrap=True)


def requests(required: Requirements) -> list[str]:
    """Return how many trials run at once and what each asks for: a line for budgets that do alike.

    Where all budgets ask alike, the one line names none of them.
    """
    alike: dict[str, list[str]] = {}
    for budget, own in required.budget_resources.items():
        request, at_once = own.request, min(required.concurrency, own.capacity)
        gpu = f"{request['GPU']:.3g} of an accelerator, " if "GPU" in request else ""
        alone = ", alone on its node" if own.exclusive else ""
        text = (
            f"{at_once} {'trial' if at_once == 1 else 'trials'} at once ({own.capacity} fit), "
            f"each {gpu}{request['CPU']:g} CPU, {gib(request['memory'])}{alone}"
        )
        alike.setdefault(text, []).append(budget)
    if len(alike) == 1:
        return list(alike)
    return [f"{', '.join(budgets)}: {text}" for text, budgets in alike.items()]


def _facts(question: Question, contents: Contents) -> dict[str, str]:
    """Return what is known of a cell whether or not it can run here."""
    inputs, grid, without = contents.inputs, contents.grid, left_out(contents.grid)
    facts = {
        "data": f"{question.source}, {inputs.n_rows:,} days x {inputs.n_features} features "
        f"(tier {question.tier}, inputs {question.normalization})",
        **search_folds(inputs),
        "label": question.label,
        "grid": f"{grid.grid_size} architectures of {grid.params_min:,} to "
        f"{grid.params_max:,} parameters, {grid.n_dimensions} search dimensions",
    }
    lean = memory_modes(grid)
    if lean is not None:
        facts["lean"] = lean
    return facts if without is None else {**facts, "without": without}


def _sizes(grid: GridRecord) -> dict[str, str]:
    """Return what the steps of a cell that cannot run here would take."""
    small, large = grid.memory_min, grid.memory_max
    return {
        "memory": f"of a step at the whole batch (model): {size(small.bytes)} for "
        f"{small.architecture}",
        "": f"{size(large.bytes)} for {large.architecture}",
    }


def _requirements(question: Question, contents: Contents, required: Requirements) -> dict[str, str]:
    """Return what a cell that can run here takes."""
    estimate, least = required.estimate, required.sensitivity
    return {
        "device": f"{contents.device}, {contents.precision}; {'; '.join(requests(required))}",
        "disk": f"checkpoints take up to {size(required.running_checkpoint_bytes)} while trials "
        f"run, at most {size(required.kept_checkpoint_bytes)} in the end",
        "time": f"{question.trials} trials, {seconds_per_epoch(estimate.epoch_seconds_min)} to "
        f"{seconds_per_epoch(estimate.epoch_seconds_max)} per epoch ({estimate.source}): "
        f"the search takes about {duration(estimate.search_seconds_expected)} in all, "
        f"at most {duration(estimate.search_seconds_most)}",
        **folds(question, contents.inputs, required),
        **beyond_edges(question),
        "heat": _heat(required.temperature),
        "inputs": f"every feature changes the output, {least.feature} the least (by "
        f"{least.change:.2g})",
        "power": _power(contents.inputs, required.power),
    }


def _power(inputs: InputRecord, power: PowerRecord | PanelPowerRecord) -> str:
    """Return what the days can show, one line."""
    if isinstance(power, PanelPowerRecord):
        return panel_power_line(power)
    # The folds of a search are more days than those that are measured here.
    has_folds = inputs.search_folds is not None
    return market_power_line(power, "validation of the final runs" if has_folds else "validation")


def search_folds(inputs: InputRecord) -> dict[str, str]:
    """Return what the folds of a search cost and break; nothing where it has none."""
    return {} if inputs.search_folds is None else {"search": inputs.search_folds.sentence}


def beyond_edges(question: Question) -> dict[str, str]:
    """Return how many trials the search may add; nothing where it stays within its file."""
    if not question.beyond_trials:
        return {}
    return {
        "beyond": f"up to {question.beyond_trials} more trials if the best one ends at an edge of "
        "the file; the time is without them"
    }


def folds(question: Question, inputs: InputRecord, required: Requirements) -> dict[str, str]:
    """Return what training the winner before every fold costs; nothing where it is trained once.

    Times are those of a winner with the shortest and with the longest step of the space.
    """
    rows = inputs.fold_train_rows
    if len(rows) == 1:
        return {}
    return {
        "folds": f"{len(rows)} of test days: with each seed the winner is trained {len(rows)} "
        f"times, on {min(rows):,} to {max(rows):,} days, in "
        f"{_seed_seconds(question, inputs, required, 1.0)} if no training stops early"
    }


def data_shares(
    question: Question, inputs: InputRecord, required: Requirements, shares: Sequence[float]
) -> dict[str, str]:
    """Return what training the winner on shares of the days costs; nothing without any.

    Args:
        question: what the cell asks.
        inputs: its data.
        required: what a trial of it takes.
        shares: the shares below 1.
    """
    if not shares:
        return {}
    # An epoch takes time by its samples, and every share has as many epochs.
    whole = 1 + sum(shares)
    named = ", ".join(f"{share:g}" for share in (*shares, 1.0))
    return {
        "shares": f"{named} of the training days: with each seed the winner is trained "
        f"{len(shares) + 1} times{' before every fold' * (len(inputs.fold_train_rows) > 1)}, "
        f"{whole:.4g} times as long as on all days alone, in "
        f"{_seed_seconds(question, inputs, required, whole)} if no training stops early"
    }


def _seed_seconds(
    question: Question, inputs: InputRecord, required: Requirements, factor: float
) -> str:
    """Return how long a seed of the winner trains, from the shortest to the longest step."""
    rows, estimate, of_search = inputs.fold_train_rows, required.estimate, inputs.search_folds
    # An epoch of a fold takes the time of the search's as often as it has the search's samples.
    samples = rows[0] if of_search is None else sum(of_search.train_rows)
    epochs = factor * question.epochs * sum(rows) / samples / required.concurrency
    seconds = (epochs * estimate.epoch_seconds_min, epochs * estimate.epoch_seconds_max)
    return f"{duration(seconds[0])} to {duration(seconds[1])}"


def _listed(forced: Sequence[ForcedRecord]) -> Table:
    """Return the forced trials of a search across budgets, with the usual size beside the exact."""
    table = Table(box=None, pad_edge=False, show_edge=False)
    table.add_column(" forced")
    for name in ("budget", "architecture"):
        table.add_column(name)
    for name in ("parameters", "of budget", "12 L d^2", "dropout", "learning rate", "decay"):
        table.add_column(name, justify="right")
    for slot in forced:
        found = slot.configuration
        if found is None:
            continue
        model, train = found.architecture, found.training
        table.add_row(
            f" {slot.name}", found.budget,
            f"d{model['d_model']} L{model['n_layers']} h{model['n_heads']} ff{model['d_ff']}",
            f"{found.param_count:,}", f"{found.budget_share:.0%}",
            f"{found.param_count_12ld2:,}", f"{model['dropout']:g}",
            f"{train['learning_rate']:g}", f"{train['weight_decay']:g}",
        )  # fmt: skip
    return table


def print_summary(
    console: Console,
    *,
    records: Sequence[TrialRecord],
    best: TrialRecord | None,
    plan: PlanSummary,
    folder: str,
    baseline_name: str,
    seconds: float,
) -> None:
    """Print how a search ended: best loss beside the baselines, architecture, where to look."""
    required = plan.requirements
    assert required is not None
    reasons: dict[str, int] = {}
    for record in records:
        reasons[record.reason] = reasons.get(record.reason, 0) + 1
    beyond = sum(record.source == BEYOND for record in records)
    ended = f"{len(records) - beyond} of {plan.question.trials}"
    if beyond:
        ended += f" and {beyond} beyond an edge"
    ends = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    console.print()
    console.print(Text(plan.question.cell, style="bold"))
    lines = [
        f"trials      {ended} in {duration(seconds)}: {ends}",
        *best_lines(
            records,
            best,
            metric=plan.question.metric,
            baseline_name=baseline_name,
            n_blocks=_n_blocks(plan),
        ),
        *(
            f"{baseline.name:<14} {baseline_score(baseline)} on the same days"
            if isinstance(baseline, PanelBaselineRecord)
            else f"{baseline.name:<11} {baseline_score(baseline)} on the same days"
            for baseline in required.baselines
        ),
        *([f"note        {MIXED_MODES}"] if has_both_modes(r.params for r in records) else []),
        f"results     {folder}",
        f"look        tensorboard --logdir {shlex.quote(str(Path(folder).parent))}",
    ]
    for line in lines:
        console.print(Text(f"  {line}"), soft_wrap=True)


def _n_blocks(plan: PlanSummary) -> float:
    """Return the number of blocks that the days have by which a search judges."""
    contents, horizon = plan.contents, plan.question.horizon
    assert contents is not None
    folds, validation = contents.inputs.search_folds, contents.inputs.splits["validation"]
    return (validation if folds is None else folds).rows / block_days(horizon)


def best_lines(
    records: Sequence[TrialRecord],
    best: TrialRecord | None,
    *,
    metric: str,
    baseline_name: str,
    n_blocks: float,
) -> list[str]:
    """Return what is said of the best trial: its loss, its skill on the same days, its distance.

    Args:
        records: all trials, of which it is the best.
        best: the trial; None if none has a usable result.
        metric: what trials were scored by.
        baseline_name: the forecast to beat; a panel has two, which are named.
        n_blocks: days on which trials are judged over those of a block.
    """
    scores = None if best is None else best.best
    if best is not None and isinstance(scores, PanelBest):
        return [
            *panel_best_lines(
                scores,
                metric=metric,
                number=best.number,
                n_trials=len(records),
                n_blocks=n_blocks,
            ),
            *_fresh_seeds(best),
        ]
    if best is None or not isinstance(scores, BestEpoch):
        values = [record.value for record in records if record.value is not None]
        if metric in PANEL_METRICS:
            most = f"; a collapsed one has {shown_objective(min(values), metric)}" if values else ""
            return [f"best        none: no trial learnt to rank the assets of a day{most}"]
        lowest = f"; the lowest loss of a collapsed one is {min(values):.4f}" if values else ""
        return [f"best        none: no trial learnt more than the base rate{lowest}"]
    auc = "undefined" if scores.auc is None else f"{scores.auc:.3f}"
    lines = []
    if metric == "auc":
        lines.append(f"scored by   AUC {auc} +- {best.objective_se:.3f}: the highest of all")
    return [
        *lines,
        f"best        {with_error(scores.loss, scores.loss_se)} validation log-loss (trial "
        f"{best.number}, epoch {scores.epoch}), skill {shown_skill(scores.skill_own_base_rate)} "
        f"against the base rate of these days, AUC {auc}",
        f"            {with_error(scores.difference, scores.difference_se, sign=True)} against "
        f"{baseline_name} (negative is better; the best of {len(records)} is optimistic)",
        *_fresh_seeds(best),
    ]


def _fresh_seeds(best: TrialRecord) -> list[str]:
    return [
        "            study.train adds the value with fresh seeds, which is the one to report",
        f"            {architecture(best.params)}, {best.param_count:,} parameters",
    ]


def baseline_score(baseline: BaselineRecord | PanelBaselineRecord) -> str:
    """Return the score of a baseline by which it is compared, with its error."""
    if isinstance(baseline, PanelBaselineRecord):
        return f"RankIC {signed(baseline.rank_ic, baseline.rank_ic_se)}"
    return with_error(baseline.log_loss, baseline.log_loss_se)


def _splits(inputs: InputRecord) -> Table:
    """Return a line for each part of the days."""
    of_panel = {n: part for n, part in inputs.splits.items() if isinstance(part, PanelSplitRecord)}
    of_market = {n: part for n, part in inputs.splits.items() if isinstance(part, SplitRecord)}
    return panel_splits(of_panel) if of_panel else market_splits(of_market)


def _baselines(
    inputs: InputRecord, baselines: Sequence[BaselineRecord | PanelBaselineRecord]
) -> Table:
    """Return a line for each baseline, on the days by which the search judges."""
    folds, validation = inputs.search_folds, inputs.splits["validation"]
    days = "the validation days" if folds is None else f"the days of {folds.n_folds} folds"
    of_panel = [each for each in baselines if isinstance(each, PanelBaselineRecord)]
    if isinstance(validation, PanelSplitRecord):
        return panel_baselines(of_panel, days)
    base_rate = validation.base_rate if folds is None else folds.base_rate
    assert base_rate is not None
    of_market = [each for each in baselines if isinstance(each, BaselineRecord)]
    return market_baselines(of_market, base_rate, days)


def _heat(temperature: TemperatureRecord) -> str:
    """Return how hot the machine is; a reading that is missing is never taken for a good one."""
    if temperature.state == "unknown":
        return f"unknown, so heat stops nothing ({temperature.said})"
    return f"{temperature.said}, {temperature.state}"


def seconds_per_epoch(value: float) -> str:
    """Return the seconds of an epoch as a person says them."""
    return f"{value:.1f} s" if value < 60 else duration(value)
