"""The header before a cell's first trial, and the summary after its last."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from study.results.records import TrialRecord
from study.results.short_forms import architecture, duration

_GIB = 2**30

_NAMED = 6
"""Widths and depths that are named where many are left out; --json names all."""


def print_plan(console: Console, plan: Mapping[str, Any]) -> None:
    """Print what will run: data, splits, grid, resources, time, baselines, forced trials."""
    console.print(Text(plan["cell"], style="bold"))
    facts = {
        "data": f"{plan['source']}, {plan['n_rows']:,} days x {plan['n_features']} features "
        f"(tier {plan['tier']}, inputs {plan['normalization']})",
        "label": plan["label"],
        "grid": f"{plan['grid_size']} architectures of {plan['params_min']:,} to "
        f"{plan['params_max']:,} parameters, {plan['n_dimensions']} search dimensions",
    }
    if plan["left_out"] is not None:
        facts["without"] = left_out(plan)
    if plan["feasible"]:
        facts |= _facts(plan)
    else:
        facts |= _sizes(plan)
    for name, text in facts.items():
        console.print(Text(f"  {name:<8}{text}"), soft_wrap=True)
    console.print(_splits(plan["splits"]))
    if plan["feasible"]:
        console.print(_baselines(plan["baselines"]))
    if plan["understood"]:
        console.print(Text(f"  read    {plan['understood']}"), soft_wrap=True)
    for warning in plan["warnings"]:
        console.print(Text(f"  note    {warning}", style="yellow"), soft_wrap=True)
    if not plan["feasible"]:
        console.print(Text(f"  cannot run here: {plan['problem']}", style="yellow"), soft_wrap=True)
        return
    print_forced(console, plan["forced"])


def print_forced(console: Console, forced: Sequence[Mapping[str, Any]]) -> None:
    """Print the trials that come first: a table of those of a list, a line for each other one."""
    tried = [slot for slot in forced if "problem" not in slot]
    if any(slot["group"] is not None for slot in tried):
        console.print(_listed(tried))
        tried = []
    for slot in tried:
        _forced(console, slot, f"{architecture(slot['architecture'])}, "
                f"{slot['param_count']:,} parameters")  # fmt: skip
    for slot in forced:
        if "problem" in slot:
            _forced(console, slot, f"cannot be tried: {slot['problem']}")


def _forced(console: Console, slot: Mapping[str, Any], text: str) -> None:
    console.print(Text(f"  forced  {slot['name']:<13} {text}"), soft_wrap=True)


def left_out(plan: Mapping[str, Any]) -> str:
    """Say how many architectures no node can train, which, and why."""
    found = plan["left_out"]
    rows = found["architectures"]
    # Heads hardly change what a step needs.
    names = list(dict.fromkeys(f"{r['budget']} d{r['d_model']} L{r['n_layers']}" for r in rows))
    named = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
    of = plan["grid_size"] + len(rows)
    return f"{len(rows)} of {of} architectures ({named}): {found['reason']}"


def requests(plan: Mapping[str, Any]) -> list[str]:
    """Say how many trials run at once and what each asks for: once for budgets that ask alike."""
    alike: dict[str, list[str]] = {}
    for budget, own in plan["budget_resources"].items():
        request, at_once = own["request"], min(plan["concurrency"], own["capacity"])
        gpu = f"{request['GPU']:.3g} of an accelerator, " if "GPU" in request else ""
        alone = ", alone on its node" if own["exclusive"] else ""
        text = (
            f"{at_once} {'trial' if at_once == 1 else 'trials'} at once ({own['capacity']} fit), "
            f"each {gpu}{request['CPU']:g} CPU, {request['memory'] / _GIB:.1f} GiB{alone}"
        )
        alike.setdefault(text, []).append(budget)
    if len(alike) == 1:
        return list(alike)
    return [f"{', '.join(budgets)}: {text}" for text, budgets in alike.items()]


def _sizes(plan: Mapping[str, Any]) -> dict[str, str]:
    """Return what the steps of a cell that cannot run here would take."""
    small, large = plan["memory_min"], plan["memory_max"]
    return {
        "memory": f"of a step at the whole batch (model): {size(small['bytes'])} for "
        f"{small['architecture']}",
        "": f"{size(large['bytes'])} for {large['architecture']}",
    }


def _facts(plan: Mapping[str, Any]) -> dict[str, str]:
    """Return what a cell that can run here takes."""
    estimate = plan["estimate"]
    least, power = plan["sensitivity"]["least"], plan["power"]
    auc = "" if power["auc_validation"] is None else f" or {power['auc_validation']:.3f} AUC"
    return {
        "device": f"{plan['device']}, {plan['precision']}; {'; '.join(requests(plan))}",
        "disk": f"checkpoints take up to {size(plan['running_checkpoint_bytes'])} while trials "
        f"run, the best weights {size(plan['kept_checkpoint_bytes'])} in the end",
        "time": f"{plan['trials']} trials, {seconds_per_epoch(estimate['epoch_seconds_min'])} to "
        f"{seconds_per_epoch(estimate['epoch_seconds_max'])} per epoch (measured steps): "
        f"the search takes about {duration(estimate['search_seconds_expected'])} in all, "
        f"at most {duration(estimate['search_seconds_most'])}",
        "heat": _heat(plan["temperature"]),
        "inputs": f"every feature changes the output, {least['feature']} the least (by "
        f"{least['change']:.2g})",
        "power": "validation shows a difference between two models from "
        f"{power['log_loss_validation']:.4f} nat{auc} on; logistic regression gains "
        f"{power['gain']:.4f} nat on a constant",
    }


def _listed(forced: Sequence[Mapping[str, Any]]) -> Table:
    """Return the forced trials of a search across budgets, with the usual size beside the exact."""
    table = Table(box=None, pad_edge=False, show_edge=False)
    table.add_column(" forced")
    for name in ("budget", "architecture"):
        table.add_column(name)
    for name in ("parameters", "of budget", "12 L d^2", "dropout", "learning rate", "decay"):
        table.add_column(name, justify="right")
    for slot in forced:
        model, train = slot["architecture"], slot["training"]
        table.add_row(
            f" {slot['name']}", slot["budget"],
            f"d{model['d_model']} L{model['n_layers']} h{model['n_heads']} ff{model['d_ff']}",
            f"{slot['param_count']:,}", f"{slot['budget_share']:.0%}",
            f"{slot['param_count_12Ld2']:,}", f"{model['dropout']:g}",
            f"{train['learning_rate']:g}", f"{train['weight_decay']:g}",
        )  # fmt: skip
    return table


def print_summary(
    console: Console,
    *,
    records: list[TrialRecord],
    best: TrialRecord | None,
    plan: Mapping[str, Any],
    folder: str,
    baseline_name: str,
    seconds: float,
) -> None:
    """Print how a search ended: best loss beside the baselines, architecture, where to look."""
    reasons: dict[str, int] = {}
    for record in records:
        reasons[record.reason] = reasons.get(record.reason, 0) + 1
    ends = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    console.print()
    console.print(Text(plan["cell"], style="bold"))
    lines = [f"trials      {len(records)} of {plan['trials']} in {duration(seconds)}: {ends}"]
    scores = None if best is None else best.best
    if best is None or scores is None:
        values = [record.value for record in records if record.value is not None]
        lowest = f"; the lowest loss of a collapsed one is {min(values):.4f}" if values else ""
        lines.append(f"best        none: no trial learnt more than the base rate{lowest}")
    else:
        auc = "undefined" if scores.auc is None else f"{scores.auc:.3f}"
        if plan["metric"] == "auc":
            lines.append(f"scored by   AUC {auc} +- {best.objective_se:.3f}: the highest of all")
        lines += [
            f"best        {with_error(scores.loss, scores.loss_se)} validation log-loss (trial "
            f"{best.number}, epoch {scores.epoch}), skill {scores.skill:+.3f} against the base "
            f"rate, AUC {auc}",
            f"            {with_error(scores.difference, scores.difference_se, sign=True)} against "
            f"{baseline_name} (negative is better; the best of {len(records)} is optimistic)",
            f"            {architecture(best.params)}, {best.param_count:,} parameters",
        ]
    lines += [
        f"{baseline['name']:<11} {with_error(baseline['log_loss'], baseline['log_loss_se'])} "
        "on the same days"
        for baseline in plan["baselines"]
    ]
    lines += [
        f"results     {folder}",
        f"look        tensorboard --logdir {shlex.quote(str(Path(folder).parent))}",
    ]
    for line in lines:
        console.print(Text(f"  {line}"), soft_wrap=True)


def number(value: float | None, *, sign: bool = False) -> str:
    """Return a loss with four digits, or a dash for what is unknown."""
    return "-" if value is None else f"{value:{'+' if sign else ''}.4f}"


def with_error(value: float | None, error: float | None, *, sign: bool = False) -> str:
    """Return a value and its standard error."""
    return f"{number(value, sign=sign)} +- {number(error)}"


def _splits(splits: Mapping[str, Mapping[str, Any]]) -> Table:
    table = Table(box=None, padding=(0, 1))
    table.add_column("part", no_wrap=True)
    table.add_column("days", no_wrap=True)
    for heading in ("samples", "positives", "base rate", "effective"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, part in splits.items():
        table.add_row(
            name,
            f"{part['first_day']} to {part['last_day']}",
            f"{part['rows']:,}",
            f"{part['positives']:,}",
            f"{part['base_rate']:.3f}",
            f"{part['effective_size']:,.0f}",
        )
    return table


def _baselines(baselines: list[Mapping[str, Any]]) -> Table:
    table = Table(box=None, padding=(0, 1))
    table.add_column("baseline on the validation days", no_wrap=True)
    for heading in ("log-loss", "standard error", "skill", "AUC"):
        table.add_column(heading, justify="right", no_wrap=True)
    for baseline in baselines:
        table.add_row(
            baseline["name"],
            f"{baseline['log_loss']:.4f}",
            number(baseline["log_loss_se"]),
            f"{baseline['skill']:+.3f}",
            "-" if baseline["auc"] is None else f"{baseline['auc']:.3f}",
        )
    return table


def _heat(temperature: Mapping[str, Any]) -> str:
    """Say how hot the machine is; a reading that is missing is never taken for a good one."""
    if temperature["state"] == "unknown":
        return f"unknown, so heat stops nothing ({temperature['said']})"
    return f"{temperature['said']}, {temperature['state']}"


def seconds_per_epoch(value: float) -> str:
    """Return the seconds of an epoch as a person says them."""
    return f"{value:.1f} s" if value < 60 else duration(value)


def size(count: int) -> str:
    """Return a number of bytes as a person says it."""
    return f"{count / _GIB:.1f} GiB" if count >= _GIB else f"{count / 2**20:.0f} MiB"
