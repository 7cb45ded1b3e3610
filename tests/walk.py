"""Counts the jumps of a search from its command line to Ray Tune: python -m tests.walk.

A jump is a line of one file of the project that calls into another one; a line in a loop counts
once. A return is a jump to a file that was entered before. Readers of the code from the command to
the first training step make the same jumps, and must find a file again at every return.

The search has two trials of tiny models. Counting ends where Ray Tune is started. The code that
reads prices is left out, because it has no part in the course of a search.
"""

import os
import sys
import tempfile
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from tests.tuner.command import write_space

_ROOT = Path(__file__).parent.parent
_FLAGS = ("--search", "tiny.yaml", "--budget", "50k", "--horizon", "3", "--device", "cpu",
          "--concurrency", "1", "--estimate", "estimate.json")  # fmt: skip


class FirstStepReached(BaseException):
    """The end of the walk; it is no Exception, so that the search does not handle it as a fault."""


class Walk:
    """The jumps between files of the project, in the order in which a search makes them."""

    def __init__(self) -> None:
        self.jumps: list[str] = []
        """File that each jump enters, in order."""
        self._known: set[tuple[CodeType, int, CodeType]] = set()

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        """Record a call; this is a profile function for ``sys.setprofile``."""
        if event != "call" or frame.f_back is None:
            return
        caller, code = frame.f_back, frame.f_code
        if code.co_name == "run" and code.co_filename.endswith("tune/tune.py"):
            raise FirstStepReached
        before, now = _place(caller.f_code), _place(code)
        jump = (caller.f_code, caller.f_lineno, code)
        if before is None or now is None or before == now or jump in self._known:
            return
        self._known.add(jump)
        self.jumps.append(now)

    def describe(self) -> str:
        """Return the counts in words."""
        files = Counter(self.jumps)
        lines = [
            f"{len(self.jumps)} jumps, {len(files)} files, {len(self.jumps) - len(files)} returns"
        ]
        for package, jumps in Counter(map(_package, self.jumps)).most_common():
            n_files = len({each for each in files if _package(each) == package})
            lines.append(f"{package:<16} {jumps:>4} jumps, {n_files:>3} files")
        return "\n".join(lines)


def _place(code: CodeType) -> str | None:
    """Return the file of the project that holds the code; None if it is not counted."""
    path = Path(code.co_filename)
    if code.co_name == "<module>" or not path.is_relative_to(_ROOT / "study"):
        return None
    return None if path.is_relative_to(_ROOT / "study" / "data") else str(path.relative_to(_ROOT))


def _package(file: str) -> str:
    return "/".join(Path(file).parts[:2]) if file.count("/") > 1 else "study"


def main() -> None:
    """Search two trials in a temporary folder and print the walk."""
    walk = Walk()
    with tempfile.TemporaryDirectory() as folder:
        write_space(Path(folder), trials=2)
        os.chdir(folder)
        os.environ["HOME"] = folder
        from study.tune import main as tune

        sys.setprofile(walk)
        try:
            tune(list(_FLAGS))
        except FirstStepReached:
            pass
        finally:
            sys.setprofile(None)
            os.chdir(_ROOT)
    print(walk.describe())


if __name__ == "__main__":
    main()
