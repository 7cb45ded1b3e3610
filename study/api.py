"""The study from Python, for a script or a notebook: the functions that the commands call.

>>> from study import Study
>>> cell = Study.load("smoke").cell("50k", 1)
>>> cell.search(trials=6)
>>> cell.trials().sort_values("value")
"""

import dataclasses
from pathlib import Path

import pandas as pd

from analysis.report import WrittenReport, report_study
from study.errors import require
from study.interruptions import interruptible
from study.planning.feasibility import InfeasibleError
from study.planning.plan_summary import plan_summary
from study.planning.prepared_cell import PlanOptions, prepare
from study.results.plans.plan_record import PlanSummary
from study.results.records import TrialRecord, best_trial
from study.results.store import read_trials
from study.spec.command_flags import WORKING_COPY
from study.spec.overrides import NO_OVERRIDES, Overrides
from study.spec.spec_file import load_study
from study.spec.specification import Cell, with_most_epochs
from study.spec.specification import Study as Specification
from study.storage.place import place_of
from study.storage.search_place import require_place
from study.tuner.run_cell import RunOptions, RunStatus, run_cell


@dataclasses.dataclass(frozen=True, slots=True)
class Study:
    """A study and the folder in which its results lie."""

    specification: Specification
    results: Path
    """The absolute path of the results folder."""

    @classmethod
    def load(cls, name_or_path: str | Path, results: str | Path = WORKING_COPY) -> "Study":
        """Read a search space.

        Args:
            name_or_path: the name of one that comes with the project, or a YAML file.
            results: the results folder; need not exist.

        Raises:
            SpecError: there is no such search space, or a value in it breaks its rule.
        """
        return cls(load_study(Path(name_or_path)), Path(results).resolve())

    def cell(
        self,
        budget: str,
        horizon: int,
        overrides: Overrides = NO_OVERRIDES,
        *,
        search_number: int = 1,
    ) -> "SearchableCell":
        """Return the cell of one budget at one horizon.

        Args:
            budget: a label of the search space, such as ``2M``.
            horizon: number of trading days, >= 1.
            overrides: values that replace those of the file.
            search_number: which of several independent searches of the cell, from 1; a further one
                has a seed and a folder of its own.

        Raises:
            SpecError: the budget is unknown, or a value breaks its rule.
        """
        cell = self.specification.cell(budget, horizon, overrides)
        return SearchableCell(cell.of_search(search_number), self.results)

    def report(self) -> WrittenReport:
        """Judge every cell that has results, and write the report beside them.

        Raises:
            StudyError: there are no results, or they cannot be read.
        """
        return report_study(self.results, self.specification.name)


@dataclasses.dataclass(frozen=True, slots=True)
class SearchableCell:
    """One cell of a study, with its results."""

    specification: Cell
    results: Path
    """The absolute path of the results folder."""

    @property
    def folder(self) -> Path:
        """The folder of the search, which need not exist."""
        return self.results / self.specification.name

    def plan(self, *, trials: int | None = None, options: PlanOptions | None = None) -> PlanSummary:
        """Return what a search would try and take, or why it cannot run; trains and writes nothing.

        Args:
            trials: number of trials in all; None takes the search space's.
            options: where it would run; None takes this machine, and as many trials at once as fit.

        Raises:
            StudyError: the data, the space or the options cannot serve the cell.
        """
        options = dataclasses.replace(options or PlanOptions(results=self.results), may_write=False)
        prepared = prepare(self._asked(trials), options)
        with options.cluster() as nodes:
            try:
                return plan_summary(prepared.plan(nodes))
            except InfeasibleError as error:
                return prepared.describe_infeasible(error, nodes)

    def search(
        self,
        *,
        trials: int | None = None,
        max_epochs: int | None = None,
        resume: bool = False,
        fresh: bool = False,
        options: PlanOptions | None = None,
    ) -> RunStatus:
        """Search the cell, print its progress, and record every trial in ``folder``.

        Args:
            trials: number of trials in all; None takes the search space's.
            max_epochs: most epochs of a trial; None takes the search space's. With ``resume``,
                trials that ran to their last epoch go on to this one.
            resume: resume the search that is there.
            fresh: begin anew, and move aside the search that is there.
            options: where it runs; None takes this machine, and as many trials at once as fit.

        Raises:
            StudyError: the cell cannot be searched, or a search is there and neither ``resume`` nor
                ``fresh`` is true.
        """
        cell = self._asked(trials)
        if max_epochs is not None:
            epochs = with_most_epochs(cell.train["epochs"], max_epochs, may_lengthen=resume)
            cell = dataclasses.replace(cell, train={**cell.train, "epochs": epochs})
        require(
            not (resume and fresh),
            "search()",
            "resume and fresh exclude each other",
            got="both",
            remedy="Give one of them.",
        )
        require_place(place_of(None, self.folder), resume=resume, fresh=fresh)
        run = RunOptions(
            planning=options or PlanOptions(results=self.results),
            resume=resume,
            fresh=fresh,
            resume_command="the same call of search(), with resume=True",
        )
        with interruptible() as interruptions:
            return run_cell(cell, run, interruptions)

    def trials(self) -> pd.DataFrame:
        """Return settings and scores of the trials that have ended, one row each, by number.

        The columns are those of ``all_trials.json``, with one for each setting in ``params``.

        Raises:
            StudyError: the records cannot be read; before a trial has ended there is no row.
        """
        rows = [
            {**row, "state": record.state, **record.params}
            for record in read_trials(self.folder)
            for row in (record.to_json(),)
        ]
        frame = pd.DataFrame(rows) if rows else pd.DataFrame(columns=["number"])
        return frame.drop(columns="params", errors="ignore").set_index("number").sort_index()

    @property
    def best(self) -> TrialRecord | None:
        """The best trial whose result can be ranked; None if there is none.

        Raises:
            StudyError: the records cannot be read.
        """
        return best_trial(read_trials(self.folder))

    def _asked(self, trials: int | None) -> Cell:
        """Return the cell with another number of trials, if one is given."""
        if trials is None:
            return self.specification
        search = dataclasses.replace(self.specification.search, trials=trials)
        return dataclasses.replace(self.specification, search=search)
