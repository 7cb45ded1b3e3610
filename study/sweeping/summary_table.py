"""The table with which a sweep ends."""

from collections.abc import Sequence

from rich.table import Table

from study.sweeping.cell_process import CellRun
from study.terminal.panel_overview import best_score
from study.text.short_forms import architecture, duration


def summary_table(cells: Sequence[CellRun]) -> Table:
    """Return a line per cell: how it ended, its best trial, its time against the estimate."""
    table = Table(box=None, padding=(0, 1), show_edge=False)
    for heading in ("cell", "end"):
        table.add_column(heading, no_wrap=True)
    # The plan's time is that of the cell alone; beside others it takes longer.
    for heading in ("trials", "best score", "took", "plan, alone"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("best architecture, or why it ended")
    for cell in cells:
        scores = None if cell.best is None else cell.best.best
        best, planned = cell.best, cell.plan.demand
        last = "" if best is None else architecture(best.params)
        table.add_row(
            cell.name,
            str(cell.end),
            f"{len(cell.records)}/{cell.trials}",
            "-" if scores is None else best_score(scores, cell.plan.metric),
            "-" if cell.seconds is None else duration(cell.seconds),
            "-" if planned is None else duration(planned.search_seconds_expected),
            cell.reason or last,
        )
    return table
