"""What a trial of each budget needs in both memory modes, and on which machines it fits."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from study.results.plans.machine_record import MachineFit, NeedTable
from study.text.byte_text import size


def print_needs(console: Console, needs: NeedTable) -> None:
    """Print a line for each budget and memory mode, and what the columns mean."""
    machines = list(needs.rows[0].machines) if needs.rows else []
    table = Table(box=None, padding=(0, 1))
    for heading in ("budget", "mode"):
        table.add_column(heading, no_wrap=True)
    for heading in ("memory of a trial", "state", *machines):
        # On a narrow terminal a range and a machine's name take two lines.
        table.add_column(heading, justify="right")
    for row in needs.rows:
        ends = dict.fromkeys(map(size, (row.needed_min_bytes, row.needed_max_bytes)))
        table.add_row(
            row.budget,
            row.memory,
            " to ".join(ends),
            size(row.state_bytes),
            *(_fit(row.machines[name], row.n_architectures) for name in machines),
        )
    console.print(Text(f"{needs.study}: what a trial needs", style="bold"))
    console.print(table)
    for line in (
        "memory of a trial: at micro-batch 1 on a CPU, from the smallest to the largest "
        "architecture, headroom included (modelled)",
        "state: the largest on the disk, with its best weights; one is kept while the next is "
        "written",
        "machines: the micro-batch at which every architecture fits, or how many fit at 1; a trial "
        "alone on the machine, and no other program",
    ):
        console.print(Text(f"  {line}"), soft_wrap=True)


def _fit(fit: MachineFit, n_architectures: int) -> str:
    if fit.micro_batch is not None:
        return str(fit.micro_batch)
    return f"{fit.n_fit} of {n_architectures}" if fit.n_fit else "none"
