"""The status command, which shows how the searches stand: python -m study.status."""

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path

from rich.console import Group
from rich.live import Live

from study.cluster.machine import describe_machine
from study.command import Exit, command_parser, exit_code
from study.errors import quoted, require
from study.output import open_console
from study.results.status_files import unreadable
from study.results.status_snapshot import StudyStatus, read_status
from study.terminal.status_tables import view

_LONGEST_WATCH = 86_400.0
"""Longest time between two looks: a day, in seconds."""

_PIPED_WIDTH = 200
"""Characters of a line for a log or a pipe: its tables are wide, and their rows must stay whole."""

_EXAMPLES = """examples:
  python -m study.status
  python -m study.status phase6a --watch
  python -m study.status phase6a_2M_h3_threshold_1pct --json

states:
  waiting      planned, not begun        interrupted  ended by you; --resume goes on
  running      at work                   stopped      ended by a fault; --resume goes on
  complete     every trial ended         dead         killed; --resume goes on
  failed       no usable result          stalled      alive, but shows no life
  unknown      its files say nothing     stale        on another machine, and shows no life
  left out     nothing of it fits a node

exit code: 0; 1 if anything is dead, stalled, stale, stopped or failed; 2 for a wrong flag
"""


def parser() -> argparse.ArgumentParser:
    """Return the command's flags."""
    flags = command_parser(
        "study.status",
        "Say how the searches of a results folder stand; needs no Ray, writes nothing.",
        _EXAMPLES,
    )
    add = flags.add_argument
    add("names", nargs="*", metavar="NAME", help="cells or studies (default: all)")
    add("--storage", type=Path, default=Path("ray_results"), metavar="FOLDER",
        help="results folder (default: %(default)s)")  # fmt: skip
    add("--watch", nargs="?", type=float, const=2.0, metavar="SECONDS",
        help="show it again every so many seconds (2) until Ctrl+C")  # fmt: skip
    add("--json", action="store_true", help="print one JSON object")
    return flags


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return exit_code(lambda: run(parser().parse_args(argv)))


def run(arguments: argparse.Namespace) -> int:
    """Check the flags, then read and show."""
    require(
        arguments.storage.is_dir(),
        "--storage",
        "must be a results folder",
        got=quoted(str(arguments.storage)),
        remedy="Give the folder that study.tune wrote into.",
    )
    problem = unreadable(arguments.storage)
    require(
        problem is None,
        "--storage",
        "must be a folder that you may read",
        got=f"{quoted(str(arguments.storage))}: {problem}",
        remedy="Ask its owner.",
    )
    require(
        arguments.watch is None or 0 < arguments.watch <= _LONGEST_WATCH,
        "--watch",
        f"must be > 0 seconds and at most a day, {_LONGEST_WATCH:.0f}",
        got=f"--watch {arguments.watch:g}" if arguments.watch is not None else "",
        remedy="Leave the number out for 2.",
    )
    require(
        arguments.watch is None or not arguments.json,
        "flags",
        "--watch and --json exclude each other",
        got="both",
        remedy="Repeat --json yourself as often as you like.",
    )
    if arguments.watch is not None:
        return _watch(arguments)
    status = read_status(arguments.storage, arguments.names)
    if arguments.json:
        print(json.dumps(_plain(status), indent=2, allow_nan=False))
    else:
        open_console(_PIPED_WIDTH).print(view(status, describe_machine()))
    return Exit.FAILED if status.is_alarming else Exit.OK


def _watch(arguments: argparse.Namespace) -> int:
    def current() -> Group:
        return view(read_status(arguments.storage, arguments.names), describe_machine())

    console = open_console(_PIPED_WIDTH)
    try:
        if not console.is_terminal:
            # A block after the other, for a file or a program to read.
            while True:
                console.print(current(), end="\n\n")
                time.sleep(arguments.watch)
        with Live(current(), console=console, auto_refresh=False, screen=False) as live:
            while True:
                time.sleep(arguments.watch)
                live.update(current(), refresh=True)
    except KeyboardInterrupt:
        return Exit.OK


def _plain(status: StudyStatus) -> dict[str, object]:
    return {
        **dataclasses.asdict(status),
        "is_alarming": status.is_alarming,
        "machine": describe_machine(),
    }


if __name__ == "__main__":
    sys.exit(main())
