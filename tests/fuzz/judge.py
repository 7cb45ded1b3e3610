"""Runs a command in this process, and checks the form of its exit code and its error."""

import io
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

from study.errors import StudyError

_LONGEST_LINE = 3000
"""Most characters of an error that a person would read."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str


def run(main: Callable[[list[str]], int], argv: Sequence[str]) -> Outcome:
    """Run a command; its exceptions are not caught."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = int(main(list(argv)))
        except SystemExit as ended:  # raised by argparse if it refuses a flag
            code = int(ended.code or 0)
    return Outcome(code, out.getvalue(), err.getvalue())


def check_form(outcome: Outcome, *, may_fail: bool = False) -> None:
    """Check that a command has printed no error, or one line with the reason of its refusal.

    Args:
        outcome: the outcome of the command.
        may_fail: is exit code 1 allowed, as that of a status with a damaged record?
    """
    lines = [line for line in outcome.err.splitlines() if line]
    assert "Traceback" not in outcome.err + outcome.out, outcome
    if outcome.code == 0 or (outcome.code == 1 and may_fail):
        assert not lines, outcome
        return
    assert outcome.code == 2, outcome
    if lines[0].startswith("usage:"):  # argparse shows its flags first
        lines = lines[-1:]
    assert len(lines) == 1, outcome
    assert len(lines[0]) <= _LONGEST_LINE, outcome
    assert lines[0].isprintable(), outcome
    assert "error:" in lines[0], outcome


def refuses(work: Callable[[], object]) -> str | None:
    """Return the message of a refusal, None if the work was done; other errors are raised."""
    try:
        work()
    except StudyError as error:
        message = str(error)
        assert message.isprintable(), message
        assert 0 < len(message) <= _LONGEST_LINE, message
        return message
    return None
