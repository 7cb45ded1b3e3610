"""What a market's cell prints: base rates, log-losses, AUCs and skills."""

from collections.abc import Mapping, Sequence

from rich.table import Table

from study.results.plans.input_record import SplitRecord
from study.results.plans.plan_record import PowerRecord
from study.results.records import BaselineRecord
from study.statistics.skill import skill_on


def shown_skill(value: float | None) -> str:
    """Return a skill with its sign, or a dash where it is undefined."""
    return "-" if value is None else f"{value:+.3f}"


def number(value: float | None, *, sign: bool = False) -> str:
    """Return a loss with four digits, or a dash for what is unknown."""
    return "-" if value is None else f"{value:{'+' if sign else ''}.4f}"


def with_error(value: float | None, error: float | None, *, sign: bool = False) -> str:
    """Return a value and its standard error."""
    return f"{number(value, sign=sign)} +- {number(error)}"


def market_splits(splits: Mapping[str, SplitRecord]) -> Table:
    """Return a line for each part of a market's days."""
    table = Table(box=None, padding=(0, 1))
    table.add_column("part", no_wrap=True)
    table.add_column("days", no_wrap=True)
    for heading in ("samples", "positives", "base rate", "effective"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, part in splits.items():
        table.add_row(name, *split_cells(part))
    return table


def split_cells(part: SplitRecord) -> tuple[str, ...]:
    """Return the cells of a table's row: days, samples, positives, base rate, effective size."""
    return (
        f"{part.first_day} to {part.last_day}",
        f"{part.rows:,}",
        f"{part.positives:,}",
        f"{part.base_rate:.3f}",
        f"{part.effective_size:,.0f}",
    )


def market_baselines(baselines: Sequence[BaselineRecord], base_rate: float, days: str) -> Table:
    """Return a line for each baseline, with its skill against the base rate of the same days."""
    table = Table(box=None, padding=(0, 1))
    table.add_column(f"baseline on {days}", no_wrap=True)
    for heading in ("log-loss", "standard error", "skill", "AUC"):
        table.add_column(heading, justify="right", no_wrap=True)
    for baseline in baselines:
        table.add_row(
            baseline.name,
            f"{baseline.log_loss:.4f}",
            number(baseline.log_loss_se),
            shown_skill(skill_on(baseline.log_loss, base_rate)),
            "-" if baseline.auc is None else f"{baseline.auc:.3f}",
        )
    return table


def market_power_line(power: PowerRecord, part: str) -> str:
    """Return what the days of a market can show, one line.

    Args:
        power: what was measured.
        part: the days that were measured, in words.
    """
    auc = "" if power.auc_validation is None else f" or {power.auc_validation:.3f} AUC"
    return (
        f"{part} shows a difference between two networks from about "
        f"{power.log_loss_validation:.4f} nat{auc} on ({power.source}); logistic regression gains "
        f"{power.gain:.4f} nat on a constant"
    )
