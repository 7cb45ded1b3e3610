"""How every command ends: its exit code, and one line where the user can mend something."""

import argparse
import os
import sys
from collections.abc import Callable
from enum import IntEnum

from study.errors import StudyError


class Exit(IntEnum):
    """Exit codes; 130 is what a shell gives for Ctrl+C."""

    OK = 0
    FAILED = 1
    USER_ERROR = 2
    INTERRUPTED = 130


def command_parser(name: str, description: str, examples: str) -> argparse.ArgumentParser:
    """Return the parser of ``python -m name``, without flags; ``examples`` end its help."""
    return argparse.ArgumentParser(
        prog=f"python -m {name}",
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def exit_code(work: Callable[[], int]) -> int:
    """Do a command's work and return its exit code; what the user can mend becomes one line."""
    try:
        return work()
    except StudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return Exit.USER_ERROR
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has gone, and Python would stumble over what is left of it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.INTERRUPTED
