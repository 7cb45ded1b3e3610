"""A command run in this process, and the form that its end must have."""

import io
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

from study.errors import StudyError

_LONGEST_LINE = 3000
"""Characters of an error: nobody reads more, and a log holds many."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


def run(main: Callable[[list[str]], int], argv: Sequence[str]) -> Outcome:
    """Run a command; what it raises is not caught."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = int(main(list(argv)))
        except SystemExit as ended:  # argparse refuses a flag so
            code = int(ended.code or 0)
    return Outcome(code, out.getvalue(), err.getvalue())


def check_form(outcome: Outcome, *, may_fail: bool = False) -> None:
    """A command does its work in silence, or says in one line why it does not.

    Args:
        outcome: of the command.
        may_fail: is exit code 1 an answer too, as of ``status`` that has found something amiss?
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
    """Return the message of a refusal, None if the work was done; anything else is raised."""
    try:
        work()
    except StudyError as error:
        message = str(error)
        assert message.isprintable(), message
        assert 0 < len(message) <= _LONGEST_LINE, message
        return message
    return None
