"""Tables that people read in a terminal or in a pipe."""

from collections.abc import Sequence

import numpy as np
from rich.table import Table

from study.data.checks.acceptable import ACCEPTABLE
from study.data.checks.check_result import CheckResult
from study.data.checks.panel_series_checks import missing_share
from study.data.data_config import DataConfig
from study.data.dataset import Dataset
from study.data.evaluation.baselines import Baseline
from study.data.features import FeatureSpec
from study.data.features.closes import CloseFeature
from study.data.panel.panel import Panel
from study.data.panel.panel_baselines import PanelBaseline
from study.data.panel.panel_dataset import PanelDataset
from study.data.prices import Prices
from study.data.reading.import_notes import understood_line
from study.data.reading.tables import BarTable
from study.data.vix_series import VixSeries
from study.output import open_console

_PIPED_WIDTH = 140
"""Characters of a line without a terminal: 80 are too few for a message with a path in it."""
_SHIFTS_SHOWN = 5
_SHORT_HASH = 16


def sources(prices: Sequence[Prices]) -> None:
    """Print one row per market."""
    table = _table(None, "name", ">rows", "first day", "last day", "fingerprint", "origin")
    for each in prices:
        days = each.frame.index
        table.add_row(
            each.name,
            str(len(days)),
            f"{days[0]:%Y-%m-%d}",
            f"{days[-1]:%Y-%m-%d}",
            each.fingerprint[:_SHORT_HASH],
            each.origin,
        )
    open_console(_PIPED_WIDTH).print(table)


def vix_series(series: Sequence[VixSeries]) -> None:
    """Print one row per volatility index."""
    table = _table(
        "VIX, for tier c", "name", ">values", "first day", "last day", "fingerprint", "origin"
    )
    for each in series:
        table.add_row(
            each.name,
            str(len(each.days)),
            str(each.days[0]),
            str(each.days[-1]),
            each.fingerprint[:_SHORT_HASH],
            each.origin,
        )
    open_console(_PIPED_WIDTH).print(table)


def panels(found: Sequence[Panel]) -> None:
    """Print one row per panel."""
    table = _table(
        "panels, for the task ranking",
        "name",
        ">days",
        ">assets",
        ">sectors",
        "first day",
        "last day",
        "fingerprint",
    )
    for each in found:
        table.add_row(
            each.name,
            str(len(each.dates)),
            str(len(each.assets)),
            "-" if each.sectors is None else str(len(set(each.sectors))),
            str(each.dates[0]),
            str(each.dates[-1]),
            each.fingerprint[:_SHORT_HASH],
        )
    open_console(_PIPED_WIDTH).print(table)


def panel(found: Panel) -> None:
    """Print the size of a panel, its assets per day and what is missing."""
    a_day = np.isfinite(found.close).sum(axis=1)
    sectors = "no sectors" if found.sectors is None else f"{len(set(found.sectors))} sectors"
    columns = "bars" if found.has_bars else "closes alone"
    open_console(_PIPED_WIDTH).print(
        f"{found.name}: {len(found.dates)} days x {len(found.assets)} assets, {sectors}, "
        f"{found.dates[0]} to {found.dates[-1]}, {columns}\n"
        f"assets a day {a_day.min()} to {a_day.max()}, median {np.median(a_day):.0f}; missing "
        f"between an asset's first and last day {missing_share(found.close):.2%}",
        soft_wrap=True,
    )


def remarks(understood: str, warnings: Sequence[str] = ()) -> None:
    """Print how a file was read, and what is odd in it, a line each."""
    console = open_console(_PIPED_WIDTH)
    if understood:
        console.print(f"read {understood}", soft_wrap=True)
    for warning in warnings:
        console.print(f"warning: {warning}", soft_wrap=True)


def features(specs: Sequence[FeatureSpec]) -> None:
    """Print one row per feature."""
    table = _table(None, "#", "name", "formula", ">look-back", "source")
    for number, spec in enumerate(specs, start=1):
        unit = "weeks" if spec.weekly else "days"
        # A recursive average depends on all earlier bars, with a weight that fades.
        look_back = f"{spec.look_back}{'+' if spec.recursive else ''} {unit}"
        table.add_row(str(number), spec.name, spec.formula, look_back, spec.source)
    open_console(_PIPED_WIDTH).print(table)


def close_features(specs: Sequence[CloseFeature]) -> None:
    """Print one row per feature of closes alone."""
    table = _table(None, "#", "name", "formula", ">look-back")
    for number, spec in enumerate(specs, start=1):
        table.add_row(str(number), spec.name, spec.formula, f"{spec.look_back} days")
    open_console(_PIPED_WIDTH).print(table)


def checks(bars: BarTable, results: Sequence[CheckResult]) -> None:
    """Print how the file was read, and one row per check with every message."""
    remarks(understood_line(bars.understood))
    check_results(f"{bars.where}: {len(bars.days)} rows", results)


def check_results(title: str, results: Sequence[CheckResult]) -> None:
    """Print one row per check with every message."""
    table = _table(title, "check", "result", "what was found")
    for result in results:
        table.add_row(result.name, result.status, "\n".join(result.messages))
    console = open_console(_PIPED_WIDTH)
    console.print(table)
    if any(result.status == "error" and result.name not in ACCEPTABLE for result in results):
        console.print("Bars are compared with each other once each of them is right.")


def dataset(built: Dataset, config: DataConfig, scores: Sequence[Baseline]) -> None:
    """Print what a data set holds, and what could spoil it."""
    console = open_console(_PIPED_WIDTH)
    console.print(
        f"{built.source}, {config.task} ({config.label_kind}), horizon {config.horizon}, tier "
        f"{config.tier}, {config.normalization}: {len(built.dates)} days x "
        f"{len(built.feature_names)} features up to {built.dates[-1]}\n"
        f"prices {built.fingerprint[:_SHORT_HASH]}, features {built.feature_hash[:_SHORT_HASH]}"
    )
    counts = [
        (str(each.rows), str(each.positives), f"{each.base_rate:.3f}")
        for each in built.splits.values()
    ]
    _print_days(built, config, (">rows", ">positives", ">rate"), counts)
    if scores:
        console.print(_baselines(scores, _judged_days(built)))
    remarks(built.understood, built.warnings)


def panel_dataset(built: PanelDataset, config: DataConfig, scores: Sequence[PanelBaseline]) -> None:
    """Print what the data set of a panel holds, and what could spoil it."""
    console = open_console(_PIPED_WIDTH)
    sectors = f"{built.n_sectors} sectors" if built.n_sectors else "no sectors"
    console.print(
        f"{built.source}, {config.task}, horizon {config.horizon}, tier {config.tier}, "
        f"{config.normalization}: {len(built.dates)} days x {len(built.assets)} assets x "
        f"{len(built.feature_names)} features up to {built.dates[-1]}, {sectors}\n"
        f"prices {built.fingerprint[:_SHORT_HASH]}, features {built.feature_hash[:_SHORT_HASH]}"
    )
    counts = [
        (str(each.rows), str(each.labels), f"{each.assets_mean:.1f}")
        for each in built.splits.values()
    ]
    _print_days(built, config, (">days", ">labels", ">assets a day"), counts)
    if scores:
        console.print(_panel_baselines(scores, _judged_days(built)))
    remarks(built.understood, built.warnings)


def _print_days(
    built: Dataset | PanelDataset,
    config: DataConfig,
    headings: Sequence[str],
    counts: Sequence[Sequence[str]],
) -> None:
    """Print the parts of the days with what each counts, the folds, and what moves between parts.

    Args:
        built: the data set.
        config: its settings.
        headings: of the counts.
        counts: a row for each part.
    """
    parts = _table("splits", "part", "first day", "last day", *headings, ">effective")
    for part, row in zip(built.splits, counts, strict=True):
        each = built.splits[part]
        parts.add_row(part, each.first_day, each.last_day, *row, f"{each.effective_size:.0f}")
    console = open_console(_PIPED_WIDTH)
    console.print(parts)
    _print_folds(built, config)
    console.print(_shifts(built))


def _print_folds(built: Dataset | PanelDataset, config: DataConfig) -> None:
    """Print the folds of the test days and of a search, where there are any."""
    console = open_console(_PIPED_WIDTH)
    if built.n_folds > 1:
        rows = built.fold_train_rows
        console.print(
            f"the test days are {built.n_folds} folds of {config.fold_days}, before each of which "
            f"the winner is trained again, on {min(rows)} to {max(rows)} days"
        )
    if built.search_folds:
        sizes = [len(fold.train_days) for fold in built.search_folds]
        console.print(
            f"a search trains on {len(sizes)} purged folds of the days up to {built.dates[-1]}, on "
            f"{min(sizes)} to {max(sizes)} days each, and learns from days after those that judge "
            "it"
        )


def _judged_days(built: Dataset | PanelDataset) -> str:
    """Return the days on which a search judges, in words."""
    n_folds = len(built.search_folds)
    return f"the days of {n_folds} folds" if n_folds else "validation"


def _shifts(built: Dataset | PanelDataset) -> Table:
    worst = sorted(built.shift, key=lambda name: -abs(built.shift[name]))[:_SHIFTS_SHOWN]
    table = _table("largest shifts, training to validation", "input", ">train sd")
    for name in worst:
        table.add_row(name, f"{built.shift[name]:+.2f}")
    return table


def _baselines(scores: Sequence[Baseline], judged: str) -> Table:
    table = _table(f"baselines on {judged}", "name", ">log loss", ">AUC", ">Brier", ">skill")
    for score in scores:
        auc = "-" if score.auc is None else f"{score.auc:.3f}"
        loss = f"{score.log_loss:.4f}"
        table.add_row(
            score.name,
            loss if score.log_loss_se is None else f"{loss} +- {score.log_loss_se:.4f}",
            auc if score.auc_se is None else f"{auc} +- {score.auc_se:.3f}",
            f"{score.brier:.4f}",
            "-" if score.skill_own_base_rate is None else f"{score.skill_own_base_rate:+.3f}",
        )
    return table


def _panel_baselines(scores: Sequence[PanelBaseline], judged: str) -> Table:
    table = _table(
        f"baselines on {judged}", "name", ">RankIC", ">IC", ">Sharpe a year", ">after costs"
    )
    for score in scores:
        error = "" if score.rank_ic_se is None else f" +- {score.rank_ic_se:.4f}"
        ratios = (score.sharpe, score.sharpe_net)
        table.add_row(
            score.name,
            f"{score.rank_ic:+.4f}{error}",
            f"{score.ic:+.4f}",
            *("-" if ratio is None else f"{ratio:+.2f}" for ratio in ratios),
        )
    return table


def _table(title: str | None, *headings: str) -> Table:
    """Return an empty table; a heading that starts with > is aligned right."""
    table = Table(title=title, title_justify="left")
    for heading in headings:
        table.add_column(
            heading.removeprefix(">"),
            justify="right" if heading.startswith(">") else "left",
            # A cell wraps where it is too long: a message that is cut off helps nobody.
            overflow="fold",
        )
    return table
