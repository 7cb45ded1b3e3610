"""The rows of a table of trials before they are checked: what a file of any kind becomes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from study.errors import StudyError, quoted

PARAMETERS, USER_ATTRIBUTES = "params_", "user_attrs_"
"""Prefixes of names in a table that Optuna wrote."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialRows:
    """The trials of a file, unchecked."""

    rows: Sequence[tuple[str, Mapping[str, Any]]]
    """Where each trial stands, as messages name it, and ``number``, ``value``, ``params`` and, if
    known, ``value_se``, ``state``, ``user_attrs`` and ``ended`` (seconds)."""
    larger_is_better: bool | None = None
    """Direction of the values; None if the file does not say."""
    notes: Sequence[str] = ()
    """Remarks on how the file was read, a sentence or phrase each."""


def objective_index(where: str, names: Sequence[str], wanted: str | None) -> int:
    """Return which of several objectives ``--value`` names.

    Raises:
        StudyError: none of them, or there are several and the flag is missing.
    """
    if wanted is None and len(names) == 1:
        return 0
    if wanted not in names:
        got = "none" if wanted is None else quoted(wanted)
        raise StudyError(
            f"{where}: --value must name one of {', '.join(map(quoted, names))}, but got {got}. "
            "A search is replayed by one of its values."
        )
    return names.index(wanted)


def flat_parts(cells: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the parameters and the attributes of a row whose columns are marked as Optuna's."""
    return {
        part: {
            name.removeprefix(prefix): cell
            for name, cell in cells.items()
            if name.startswith(prefix) and name != prefix
        }
        for part, prefix in (("params", PARAMETERS), ("user_attrs", USER_ATTRIBUTES))
    }


def parameter(cell: str) -> Any:
    """Return a parameter as the number it is, so that 2 is 2.0; any other is text."""
    try:
        return cell if "_" in cell else float(cell)
    except ValueError:
        return cell
