"""The result of a check: what it found, as an error or, where it was accepted, a warning."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from study.data.checks.acceptable import ACCEPTABLE

Status = Literal["ok", "warning", "accepted", "error"]

MOST_SHOWN = 20
"""Days or years that a message lists."""

FEW_SHOWN = 5
"""Days or years that a message lists with a number or two beside each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that is wrong or odd."""

    severity: Literal["warning", "error"]
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckResult:
    """The result of one check."""

    name: str
    status: Status
    messages: tuple[str, ...] = ()


def warning(message: str) -> Finding:
    """Return what is odd, and may be right."""
    return Finding(severity="warning", message=message)


def error(message: str) -> Finding:
    """Return what makes a study wrong."""
    return Finding(severity="error", message=message)


def judge(name: str, findings: Sequence[Finding], accept: Collection[str] = ()) -> CheckResult:
    """Return the result of a check: what an accepted check finds is a warning and no error.

    Args:
        name: of the check.
        findings: what it found, in any order.
        accept: names of the checks whose errors are accepted.
    """
    errors = [each.message for each in findings if each.severity == "error"]
    warnings = [each.message for each in findings if each.severity == "warning"]
    status: Status = "error" if errors else "warning" if warnings else "ok"
    if errors and name in ACCEPTABLE:
        if name in accept:
            status = "accepted"
            errors = [f"accepted ({name}): {message}" for message in errors]
        else:
            hint = f" If the file is right, --accept {name} lets it pass, and is recorded."
            errors = [message + hint for message in errors]
    return CheckResult(name=name, status=status, messages=(*errors, *warnings))


def listed(names: Sequence[str], most: int = MOST_SHOWN) -> str:
    """Return the first of the names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
