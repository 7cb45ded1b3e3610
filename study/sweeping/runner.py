"""Runs the cells of a sweep to their ends, each in a process of its own, whatever fails."""

import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from study.cluster.thermal import ThermalGuard, ThermalState, too_hot
from study.interruptions import Stop
from study.storage.driver_status import DriverStatus
from study.storage.files import write_text
from study.storage.layout import JOURNAL_FILES
from study.storage.lock import FolderLock
from study.storage.mirror import Mirror
from study.sweeping.admission import allot
from study.sweeping.cell_process import CellEnd, CellRun, count_epochs
from study.sweeping.processes import Head, Process, last_line
from study.terminal.panel_overview import shown_score
from study.text.short_forms import duration

_POLL_SECONDS = 0.3

_RETRIES = 2
"""Times that a cell is resumed after its process died without a message and without one more
epoch."""

_ENDING_SECONDS = 10.0
"""Seconds to wait for a process that was asked a second time to end."""

_REFUSED = 2
"""Exit code of a search that did not begin."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepSettings:
    """The settings with which the cells of a sweep are run."""

    results: Path
    """Results folder, an absolute path."""
    store: str | None
    """URI of the store of which the results folder is a working copy."""
    folder: Path
    """Folder of the sweep itself, below the results folder."""
    address: str | None
    """Address of a running Ray cluster; None starts one on this machine."""
    use_accelerators: bool
    most_cells: int
    """Most processes at once."""
    driver: tuple[str, ...]
    """Command that searches a cell; the flags follow."""
    flags: tuple[str, ...]
    """Flags that every cell is given."""


class Sweep:
    """Searches cells side by side, each in a process of its own, on one Ray cluster.

    It remembers nothing that a later start would need: each cell's journal does.

    Args:
        settings: how they are run.
        stop: ends it gracefully.
        lock: of the sweep's folder; its time of change shows that the sweep lives.
        guard: at work; holds back new cells, or ends the sweep, when the machine is too hot.
        say: prints and logs a line.
    """

    def __init__(
        self,
        settings: SweepSettings,
        stop: Stop,
        lock: FolderLock,
        guard: ThermalGuard,
        say: Callable[[str], None],
    ) -> None:
        self._cells: list[CellRun] = []
        self._settings = settings
        self._stop = stop
        self._lock = lock
        self._guard = guard
        self._say = say
        self._head: Head | None = None
        self._slots: dict[str, int] = {}
        self._has_told_to_end = False
        self._is_held = False
        """Has heat held back new cells?"""

    def start_ray(self) -> str:
        """Return the cluster's address, starting one on this machine if none was given.

        Raises:
            StudyError: it could not be started.
        """
        # It may have died after a round.
        self._look_after_ray()
        return self._settings.address or self._ray().address

    def run(self, cells: Sequence[CellRun]) -> None:
        """Run until every cell has ended, or until ``stop`` is requested and all have saved.

        Ray stays for a next round, until ``close``.

        Args:
            cells: in the order in which they shall begin; how they ended is noted in them.
        """
        self._cells, self._slots = list(cells), {}
        for cell in self._cells:
            cell.read(self._settings.results)
        try:
            while any(cell.end is None for cell in self._cells):
                # A file system that is gone is missed by the searches, which say so.
                with suppress(OSError):
                    self._lock.show_life()
                self._look_after_ray()
                for cell in self._at_work():
                    self._look_after(cell)
                if self._stop.file.exists():
                    self._stop.request(f"the file {self._stop.file}", is_fault=False)
                self._look_after_heat()
                if not self._stop.is_requested:
                    self._admit()
                elif not self._at_work():
                    break
                elif not self._has_told_to_end:
                    self._tell_to_end()
                time.sleep(_POLL_SECONDS)
        except KeyboardInterrupt:
            self._stop.request("ended at once", is_fault=False)
            self._end_at_once()
            self.close()
        for cell in self._cells:
            if cell.end is None:
                cell.end, cell.reason = "interrupted", self._stop.reason

    def _at_work(self) -> list[CellRun]:
        return [cell for cell in self._cells if cell.process is not None]

    def _admit(self) -> None:
        """Start the cells whose turn it is, and inform each how many trials it may run."""
        at_work = self._at_work()
        waiting = [c for c in self._cells if c.process is None and c.end is None]
        if self._is_held:
            waiting = []
        slots = allot(
            [cell.demand for cell in at_work],
            [cell.demand for cell in waiting],
            most_cells=self._settings.most_cells,
        )
        for cell in self._cells:
            if cell.name in slots:
                self._grant(cell, slots[cell.name])
        for cell in waiting:
            if cell.name in slots:
                self._start(cell)

    def _grant(self, cell: CellRun, slots: int) -> None:
        if self._slots.get(cell.name) != slots:
            # On a full disk a search keeps the slots that it has; it ends by itself.
            with suppress(OSError):
                write_text(slots_file(self._settings.folder, cell.name), f"{slots}\n")
            self._slots[cell.name] = slots
            if cell.process is not None:
                self._say(f"{cell.name}: {_at_once(slots)}")

    def _start(self, cell: CellRun) -> None:
        settings, path = self._settings, self._settings.results / cell.name
        is_here = path.exists()
        is_there = is_here or self._is_in_store(cell.name)
        address = settings.address or self._ray().address
        command = [
            *settings.driver,
            *cell.flags,
            *settings.flags,
            *("--address", address, "--sweep", str(settings.folder)),
            *(["--resume"] if is_there else []),
        ]
        cell.n_epochs = count_epochs(path)
        cell.process = Process(command, self._output(cell.name))
        if cell.began is None:
            cell.began = time.monotonic()
        verb = "begins"
        if is_there:
            # Its own process reads there how many trials of it have ended.
            known = f"after {len(cell.records)} ended trials" if is_here else "from the store"
            verb = f"goes on {known}"
        planned = cell.plan.demand
        assert planned is not None
        expected = duration(planned.search_seconds_expected)
        self._say(
            f"{cell.name}: {verb}, {_at_once(self._slots[cell.name])} (the plan: {expected} with "
            f"the whole cluster), process {cell.process.number}"
        )

    def _is_in_store(self, name: str) -> bool:
        settings = self._settings
        if settings.store is None:
            return False
        return Mirror(settings.store, name, settings.results / name).is_usable_with(
            JOURNAL_FILES[0]
        )

    def _look_after(self, cell: CellRun) -> None:
        """Read the new records of a cell, and handle the end of its process."""
        assert cell.process is not None
        # Asked before the records are read, so that none is missed.
        code, number = cell.process.exit_code, cell.process.number
        cell.read(self._settings.results)
        if code is None:
            return
        cell.process = None
        self._slots.pop(cell.name, None)
        status = DriverStatus.read(self._settings.results / cell.name)
        if status is None or status.process != number:
            # The process was refused before it came to its folder, or died before.
            self._look_after_heat()
            if code == _REFUSED and not self._stop.is_requested:
                self._finish(cell, "fail", last_line(self._output(cell.name)))
            else:
                self._take_break(cell, _death(code))
        elif status.state == "complete":
            self._finish(cell, "pass", None)
        elif status.state == "failed":
            self._finish(cell, "fail", status.reason)
        elif self._stop.is_requested:
            cell.reason = status.reason or _death(code)
        elif status.state == "interrupted":
            # Somebody ended this cell alone.
            self._finish(cell, "interrupted", status.reason)
        else:
            self._take_break(cell, status.reason or _death(code))

    def _take_break(self, cell: CellRun, reason: str) -> None:
        """Resume a cell whose process died, unless it dies again and again."""
        if self._stop.is_requested:
            cell.reason = reason
            return
        has_advanced = count_epochs(self._settings.results / cell.name) > cell.n_epochs
        cell.retries = 0 if has_advanced else cell.retries + 1
        if cell.retries > _RETRIES:
            self._finish(cell, "fail", f"{reason} ({cell.retries} times without one more epoch)")
        else:
            self._say(f"{cell.name}: broke off ({reason}) and goes on from its journal")

    def _output(self, name: str) -> Path:
        return self._settings.folder / f"{name}.out"

    def _finish(self, cell: CellRun, end: CellEnd, reason: str | None) -> None:
        cell.end, cell.reason = end, reason
        assert cell.began is not None
        cell.seconds = time.monotonic() - cell.began
        slots_file(self._settings.folder, cell.name).unlink(missing_ok=True)
        scores = None if cell.best is None else cell.best.best
        best = "" if scores is None else f", best {shown_score(scores, cell.plan.metric)}"
        why = "" if reason is None else f": {reason}"
        self._say(f"{cell.name}: {end} after {duration(cell.seconds)}{best}{why}")

    def _ray(self) -> Head:
        if self._head is None:
            self._head = Head(
                self._settings.folder, use_accelerators=self._settings.use_accelerators
            )
        return self._head

    def _look_after_ray(self) -> None:
        """End what is left of a Ray that died; the cells are then resumed with another one."""
        if self._head is None or self._head.is_alive:
            return
        self._say("Ray has died; the cells go on with another one")
        for cell in self._at_work():
            assert cell.process is not None
            cell.process.kill()
            self._look_after(cell)
        self._head = None

    def _look_after_heat(self) -> None:
        temperature = self._guard.now()
        if temperature.state is ThermalState.CRITICAL:
            self._stop.request(too_hot("the machine", temperature), is_fault=True)
        is_held = temperature.state is ThermalState.WARNING
        if is_held != self._is_held:
            self._say(
                f"{temperature.said}: {'no new cell begins' if is_held else 'cells begin again'}"
            )
            self._is_held = is_held

    def _tell_to_end(self) -> None:
        self._has_told_to_end = True
        self._say(f"ending: {self._stop.reason}; running trials save themselves")
        for cell in self._at_work():
            assert cell.process is not None
            cell.process.end()

    def _end_at_once(self) -> None:
        """Send every process a second signal, upon which it ends at once."""
        at_work = self._at_work()
        for cell in at_work:
            assert cell.process is not None
            cell.process.end()
            if not self._has_told_to_end:
                cell.process.end()
        until = time.monotonic() + _ENDING_SECONDS
        for cell in at_work:
            assert cell.process is not None
            if not cell.process.wait(max(0.0, until - time.monotonic())):
                cell.process.kill()
            cell.read(self._settings.results)

    def close(self) -> None:
        """End what is still at work, Ray included."""
        for cell in self._at_work():
            assert cell.process is not None
            if cell.process.exit_code is None:
                cell.process.kill()
            cell.process = None
        if self._head is not None:
            self._head.end()
            self._head = None


def slots_file(folder: Path, cell: str) -> Path:
    """Return the file in which a sweep writes how many trials of a cell may be at work."""
    return folder / f"{cell}.slots"


def _at_once(slots: int) -> str:
    return "one trial at a time" if slots == 1 else f"{slots} trials at once"


def _death(code: int) -> str:
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return f"its process ended with {how}"
