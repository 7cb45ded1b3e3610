"""Trials in the files in which Optuna itself keeps studies: SQLite, or a journal.

The only file outside the search that imports Optuna: its own reader knows all versions of both
formats. It may create or upgrade tables, so it is given a copy.
"""

import shutil
import tempfile
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from sqlalchemy.exc import SQLAlchemyError

from analysis.tables.trial_rows import TrialRows, objective_index
from study.errors import StudyError, cause, quoted

_BESIDE = ("-wal", "-journal")
"""Ends of the files in which SQLite keeps what is not in the database yet."""

_OPTUNAS_FAULTS = (
    SQLAlchemyError, optuna.exceptions.OptunaError, OSError, RuntimeError, ValueError, TypeError,
    LookupError, AttributeError, AssertionError,
)  # fmt: skip
"""Exceptions that Optuna's readers raise on files that are damaged or of another kind: they check
nothing."""


def read_storage(path: Path, *, is_sqlite: bool, study: str | None, value: str | None) -> TrialRows:
    """Read the trials of a study.

    Args:
        path: of the file, which stays as it is.
        is_sqlite: or else a journal.
        study: name of the study; None for the only one.
        value: name of one of several objectives, ``values_0`` and so on where they have none.

    Raises:
        StudyError: the file is not Optuna's, or the study or the objective has to be named.
    """
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "storage"
            for end in ("", *(_BESIDE if is_sqlite else ())):
                original = path.with_name(path.name + end)
                if not end or original.exists():
                    shutil.copyfile(original, copy.with_name(copy.name + end))
            storage = _sqlite(copy) if is_sqlite else _journal(copy)
            found = _chosen(path, storage, study)
            return _rows(path, found, value)
    except StudyError:
        raise
    except _OPTUNAS_FAULTS as error:
        kind = "SQLite database" if is_sqlite else "journal"
        raise StudyError(
            f"{path}: must be a {kind} of Optuna, but got {cause(error)}. Give the file of an "
            "Optuna storage, or what study.trials_dataframe().to_csv() writes."
        ) from error
    finally:
        optuna.logging.set_verbosity(verbosity)


def _sqlite(copy: Path) -> BaseStorage:
    storage = RDBStorage(f"sqlite:///{copy}", skip_compatibility_check=True)
    if storage.get_current_version() != storage.get_head_version():
        storage.upgrade()
    return storage


def _journal(copy: Path) -> BaseStorage:
    return JournalStorage(JournalFileBackend(str(copy)))


def _chosen(path: Path, storage: BaseStorage, name: str | None) -> optuna.Study:
    names = optuna.get_all_study_names(storage)
    if not names:
        raise StudyError(
            f"{path}: must hold a study of Optuna, but got none. Give the file of an Optuna "
            "storage."
        )
    if name not in names and not (name is None and len(names) == 1):
        got = "none" if name is None else quoted(name)
        raise StudyError(
            f"{path}: --study must name one of {', '.join(map(quoted, names))}, but got {got}. "
            "One study is replayed at a time."
        )
    return optuna.load_study(study_name=name or names[0], storage=storage)


def _rows(path: Path, study: optuna.Study, value: str | None) -> TrialRows:
    directions = study.directions
    if len(directions) == 1:
        names = study.metric_names or ["value"]
    else:
        of = study.metric_names or [str(place) for place in range(len(directions))]
        names = [f"values_{name}" for name in of]
        value = f"values_{value}" if value in of else value
    place = objective_index(str(path), names, value)
    rows = [
        (
            f"{path} trial {trial.number}",
            {
                "number": trial.number,
                "value": trial.values[place] if trial.values else None,
                "state": trial.state.name,
                "params": trial.params,
                "user_attrs": trial.user_attrs,
                "ended": trial.datetime_complete.timestamp() if trial.datetime_complete else None,
            },
        )
        for trial in study.get_trials(deepcopy=False)
    ]
    known = directions[place] != StudyDirection.NOT_SET
    return TrialRows(
        rows=rows,
        larger_is_better=directions[place] == StudyDirection.MAXIMIZE if known else None,
        notes=[f"study {quoted(study.study_name)} of an Optuna storage"],
    )
