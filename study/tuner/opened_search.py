"""A search that is ready to run: the objects that the parts of a Tune run share."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from study.errors import require
from study.interruptions import Stop
from study.planning.cell_plan import CellPlan
from study.planning.feasibility import InfeasibleError
from study.results.store import CellIdentity
from study.search.beyond import Beyond
from study.search.cell_folder import (
    CellFolder,
    as_begun,
    identity_in_records,
    require_nothing_lost,
)
from study.search.known.earlier_trials import Imported
from study.search.ledger import Ledger
from study.tuner.slot_limit import Slots


def require_holds(plan: CellPlan, ledger: Ledger) -> None:
    """Refuse to resume a search if a configuration beyond an edge has not the memory that it had.

    Raises:
        InfeasibleError: one does not fit.
    """
    ahead = ledger.beyond_ahead()
    without = [config for config in ahead if not plan.holds(config)]
    require(
        not without,
        plan.cell.name,
        "can only go on where every trial beyond an edge fits the memory of a trial at "
        "micro-batch 1",
        got=f"{len(without)} of {len(ahead)} configurations that do not",
        remedy="Free memory, or go on on a machine like the one where it was begun.",
        error=InfeasibleError,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenedSearch:
    """A plan, its locked folder, and the ledger rebuilt from the folder's journal."""

    plan: CellPlan
    folder: CellFolder
    ledger: Ledger
    stop: Stop
    """The request to end the search before its last trial, from any part."""
    slots: Slots
    """The number of trials that may run now."""
    imported: Imported | None = None
    """Trials of an earlier search that the ledger has not imported yet; None if there are none."""

    @classmethod
    def open(
        cls,
        plan: CellPlan,
        folder: CellFolder,
        *,
        imported: Imported | None = None,
        slots_file: Path | None = None,
    ) -> Self:
        """Read the journal of a folder into the ledger of a plan.

        Args:
            plan: the cell, ready to run.
            folder: its folder, new or reopened, locked.
            imported: trials of an earlier search, for a new one.
            slots_file: the file in which a sweep grants slots; None outside of one.

        Raises:
            StudyError: the journal lacks trials that have a record.
        """
        ledger = Ledger(
            folder.journal,
            space=plan.space,
            forced=plan.forced,
            search=as_begun(plan.cell, folder.journal.first["cell"]).search,
            granted_bytes={b: each.granted_bytes for b, each in plan.resources.by_budget.items()},
            phase=plan.cell.phase,
            may_repeat=plan.may_repeat,
            beyond=Beyond(plan.cell, plan.holds) if plan.cell.search.beyond_edges else None,
            networks=plan.networks,
        )
        require_nothing_lost(folder.path, ledger, folder.journal.search)
        if not ledger.is_complete:
            require_holds(plan, ledger)
        return cls(
            plan=plan,
            folder=folder,
            ledger=ledger,
            stop=Stop(folder.stop_file),
            slots=Slots(slots_file, plan.concurrency),
            imported=imported,
        )

    @property
    def identity(self) -> CellIdentity:
        """The part of every record of a trial that names its cell."""
        return identity_in_records(self.plan.cell, self.plan.data.fingerprint)
