"""The table of winners beside themselves with one setting changed, paired by seed."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.table import Table
from scipy.special import stdtrit

from study.results.finals.final_records import FinalRecord, read_predictions
from study.results.finals.panel_predictions import read_panel_predictions
from study.results.finals.variant_records import VariantRecord, variant_folder
from study.storage.layout import FINAL_FOLDER, PREDICTIONS_FILE
from study.terminal.final_tables import test_losses
from study.terminal.panel_final_table import test_rank_ics

_FEWEST_SEEDS = 3
"""Fewest seeds whose differences have an interval: that of two is 3.6 times as wide as that of
three which differ as much; an own choice."""

_LEVEL = 0.95
"""Confidence level of an interval."""


def variant_table(
    variants: Sequence[VariantRecord], records: Sequence[FinalRecord], results: Path
) -> Table:
    """Return a line per cell and variant: its mean score on the test days, and the winner's.

    The difference is the mean over the seeds that both have; its interval is that of Student's t
    over these seeds.

    Args:
        variants: of winners whose final runs are in ``records``.
        records: the final runs.
        results: the results folder.
    """
    table = Table(box=None, padding=(0, 1), show_edge=False)
    table.add_column("cell", overflow="fold", min_width=8)
    table.add_column("variant", overflow="fold", min_width=8)
    table.add_column("winner", overflow="fold")
    score = "test RankIC" if records[0].is_panel else "test loss"
    for heading in ("seeds", score, "winner's", "difference", f"{_LEVEL:.0%} of seeds"):
        table.add_column(heading, justify="right", overflow="fold")
    finals = {record.cell: record for record in records}
    for variant in variants:
        own, base = _paired(variant, finals[variant.cell], results)
        difference = own - base
        table.add_row(
            variant.cell,
            variant.name,
            variant.base_name.removeprefix(f"{variant.field}="),
            str(len(difference)),
            _mean(own),
            _mean(base),
            f"{np.mean(difference):+.4f}" if len(difference) else "-",
            _interval(difference),
        )
    return table


def variant_notes(records: Sequence[FinalRecord]) -> list[str]:
    """Return the lines below the table: what a difference is, and what its interval leaves out."""
    better = "above" if records[0].is_panel else "below"
    lines = [
        f"difference: variant less winner, seed by seed; {better} 0 the variant scores better",
        f"intervals, from {_FEWEST_SEEDS} seeds on, are of seeds on these test days, which other "
        "days may not confirm; of several variants one may exclude 0 by chance",
    ]
    if records[0].is_panel:
        lines.append("the report (python -m analysis) judges them over seeds and days")
    return lines


def _paired(
    variant: VariantRecord, record: FinalRecord, results: Path
) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores of a variant and of its winner at the seeds that both have."""
    folder = results / FINAL_FOLDER / record.cell
    base = _scores(folder / PREDICTIONS_FILE, record)
    path = variant_folder(folder, variant.name) / PREDICTIONS_FILE
    own = _scores(path, record) if variant.is_usable and path.exists() else {}
    both = sorted(own.keys() & base.keys())
    return np.array([own[seed] for seed in both]), np.array([base[seed] for seed in both])


def _scores(path: Path, record: FinalRecord) -> Mapping[int, float]:
    """Return the mean score on the test days of each seed of a winner's family."""
    if record.is_panel:
        table = read_panel_predictions(path)
        found = test_rank_ics(table[table["model"] == record.model])
    else:
        found = test_losses(read_predictions(path))
    return {
        seed: value
        for (model, seed), value in found.items()
        if model == record.model and seed is not None
    }


def _mean(values: np.ndarray) -> str:
    return f"{np.mean(values):.4f}" if len(values) else "-"


def _interval(difference: np.ndarray) -> str:
    n = len(difference)
    if n < _FEWEST_SEEDS:
        return "-"
    reach = stdtrit(n - 1, (1 + _LEVEL) / 2) * np.std(difference, ddof=1) / np.sqrt(n)
    return f"[{np.mean(difference) - reach:+.4f}, {np.mean(difference) + reach:+.4f}]"
