"""The exclusive right to search a cell, taken before the cell is planned."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from study.cluster.machine import machine
from study.data.cell_data import CellData
from study.errors import StudyError
from study.planning.cell_plan import CellPlan
from study.planning.plan_summary import plan_summary
from study.results.provenance import commit
from study.search.cell_folder import CellFolder, create, identity, reopen
from study.search.known.earlier_trials import Imported
from study.search.known.neighbours import Neighbours
from study.spec.specification import Cell
from study.storage.driver_status import Driver, DriverState, at_work
from study.storage.lock import FolderLock
from study.storage.place import Place
from study.tuner.opened_search import OpenedSearch


class Claim:
    """Excludes other processes from a cell; ``claim`` makes and releases it."""

    def __init__(
        self,
        place: Place,
        held: ExitStack,
        *,
        resumed: CellFolder | None,
        is_replacing: bool,
    ) -> None:
        self.place = place
        self._held = held
        self._resumed = resumed
        self._is_replacing = is_replacing
        self._driver = None if resumed is None else self._enter(resumed)

    @property
    def earlier(self) -> dict[str, Any] | None:
        """The description of the cell in the journal; None for a new search."""
        if self._resumed is None:
            return None
        first: dict[str, Any] = self._resumed.journal.first["cell"]
        return first

    @property
    def continued(self) -> Cell | None:
        """The cell with its present number of trials; None for a new search."""
        return None if self._resumed is None else self._resumed.continued

    def begin(
        self,
        plan: CellPlan,
        *,
        imported: Imported | None = None,
        neighbours: Neighbours | None = None,
        slots_file: Path | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> OpenedSearch:
        """Resume the search, or move an earlier one aside and create a new one.

        Args:
            plan: the cell, ready to run.
            imported: trials of an earlier search, for a new one.
            neighbours: what a new search knows of other cells; None if it looked at none.
            slots_file: the file in which a sweep grants slots; None outside of one.
            say: takes a line for each place to which something was moved.

        Raises:
            StudyError: the folder or the store cannot be written, or its journal lacks trials.
        """
        folder = self._resumed
        if folder is None:
            self._move_aside(say)
            folder = create(self.place, describe(plan, self.place, neighbours))
            self._driver = self._enter(folder)
        return OpenedSearch.open(plan, folder, imported=imported, slots_file=slots_file)

    def end(self, state: DriverState, reason: str | None) -> None:
        """Record how the search has ended."""
        assert self._driver is not None
        self._driver.end(state, reason)

    def _enter(self, folder: CellFolder) -> Driver:
        """Write into a folder, until the claim ends, that this process works there."""
        self._held.callback(folder.lock.release)
        return self._held.enter_context(at_work(folder.path))

    def _move_aside(self, say: Callable[[str], None]) -> None:
        stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
        if self._is_replacing:
            say(f"  moved   the earlier search to {shown(_move_aside(self.place.path, stamp))}")
        moved = self.place.move_objects_aside(stamp)
        if moved is not None:
            say(f"  moved   the earlier search to {moved}")


@contextmanager
def claim(
    place: Place,
    cell: Cell,
    data: CellData,
    *,
    resume: bool = False,
    fresh: bool = False,
) -> Iterator[Claim]:
    """Exclude other processes from a cell until the end of the block.

    A folder that is resumed is locked and read at once, because the plan depends on its journal. A
    folder that will be replaced is locked too, and is moved when the search begins.

    Args:
        place: where the cell is kept.
        cell: what is searched.
        data: its data set.
        resume: continue the search that is there.
        fresh: move aside the search that is there.

    Raises:
        StudyError: another process is at work there, or the search was begun differently.
    """
    with ExitStack() as held:
        held.enter_context(place.claim())
        resumed = reopen(place, cell, data) if resume else None
        is_replacing = fresh and not resume and place.path.exists()
        if is_replacing:
            held.enter_context(FolderLock(place.path))
        yield Claim(place, held, resumed=resumed, is_replacing=is_replacing)


def shown(folder: Path) -> Path:
    """Return a folder relative to the working directory if it lies below it."""
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder


def describe(plan: CellPlan, place: Place, neighbours: Neighbours | None = None) -> dict[str, Any]:
    """Return the content of ``cell.yaml``: what must stay equal, where it ran, and its plan.

    And what it knows of other cells, if it looked at them.
    """
    known = {} if neighbours is None else {"neighbours": neighbours.to_json()}
    described = {
        **identity(plan.cell, plan.data, place.identity),
        "commit": commit(),
        "machine": machine(),
        **plan_summary(plan).to_json(),
        **known,
    }
    plain: dict[str, Any] = json.loads(json.dumps(described, allow_nan=False))
    return plain


def _move_aside(path: Path, stamp: str) -> Path:
    # TensorBoard would show it among the current searches if it stayed in the results folder.
    replaced = path.parent.with_name(f"{path.parent.name}_replaced")
    aside = replaced / f"{path.name}-{stamp}"
    try:
        replaced.mkdir(exist_ok=True)
        path.rename(aside)
    except OSError as error:
        raise StudyError(
            f"{path}: must be moved to {aside} by --fresh, but got {error.strerror}. "
            "Move it away yourself."
        ) from error
    return aside
