"""Search one cell: python -m study.tune --budget 2M --horizon 3."""

import argparse
import os
import shlex
import shutil
import sys
from pathlib import Path

from study.errors import StudyError, require
from study.results.journal import COPIES
from study.results.mirror import Mirror, is_uri
from study.search.stop import Interruptions, interruptible
from study.spec import Cell, load_study

EXIT_OK, EXIT_FAILED, EXIT_USER_ERROR, EXIT_INTERRUPTED = 0, 1, 2, 130

WORKING_COPY = "ray_results"
"""Results folder, and where a search whose results are in a store works."""

_EXAMPLES = """examples:
  python -m study.tune --budget 2M --horizon 3
  python -m study.tune --budget 2M --horizon 3 --trials 20 --resume
  python -m study.tune --budget 20M --horizon 1 --dry-run
  python -m study.tune --search search_spaces/smoke.yaml --budget 2M --horizon 1
  python -m study.tune --budget 2M --horizon 3 --fresh \\
      --import-trials ray_results/phase6a_2M_h3_threshold_1pct
"""


def parser() -> argparse.ArgumentParser:
    """Return the command's flags."""
    flags = argparse.ArgumentParser(
        prog="python -m study.tune",
        description="Search the best architecture and training settings of one budget and horizon.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = flags.add_argument
    add("--budget", required=True, help="label of a parameter budget in the search space, as 2M")
    add("--horizon", required=True, type=int, help="trading days ahead, as 1, 3 or 5")
    add("--search", type=Path, default=Path("search_spaces/phase6a.yaml"), metavar="FILE",
        help="search space (default: %(default)s)")  # fmt: skip
    add("--trials", type=int, help="trials in all (default: the search space's)")
    add("--max-epochs", type=int, help="cut every schedule to at most this many epochs")
    add("--seed", type=int, help="of the sampler and, plus its number, of each trial")
    add("--source", help="sp500, nasdaq, the name of an imported market, or a CSV/Parquet file")
    add("--tier", help="feature set (default: the search space's)")
    add("--task", help="threshold_1pct, threshold_0.5pct, ..., or direction")
    add("--label", choices=("high", "close"), help="price that must reach the threshold")
    add("--normalization", help="relative, zscore, revin or none")
    add("--concurrency", default="auto", help="trials at once: a number or auto (default)")
    add("--device", choices=("cpu", "cuda", "mps"), help="default: what Ray assigns to a trial")
    add("--address", help="of a running Ray cluster (default: start one on this machine)")
    add("--storage", default=WORKING_COPY, metavar="FOLDER|URI",
        help="results folder (default: %(default)s), or s3://bucket/prefix with "
        "[?endpoint_override=http://host:port]: then %(default)s is a working copy")  # fmt: skip
    add("--resume", action="store_true", help="go on with an interrupted search")
    add("--fresh", action="store_true", help="start anew; an existing cell is moved aside")
    add("--import-trials", type=Path, metavar="FOLDER",
        help="folder of an earlier search whose trials a new one shall know")  # fmt: skip
    add("--dry-run", action="store_true", help="print what would run, train nothing, write nothing")
    add("--json", action="store_true", help="with --dry-run: print the plan as JSON")
    return flags


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        with interruptible() as interruptions:
            return run(parser().parse_args(argv), argv, interruptions)
    except StudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has gone, and Python would stumble over what is left of it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_INTERRUPTED


def run(arguments: argparse.Namespace, argv: list[str], interruptions: Interruptions) -> int:
    """Check the flags, then run the cell."""
    require(
        not (arguments.resume and arguments.fresh),
        "flags",
        "--resume and --fresh exclude each other",
        got="both",
        remedy="Give one of them.",
    )
    require(
        arguments.import_trials is None or not arguments.resume,
        "flags",
        "--import-trials belongs to a new search",
        got="it with --resume",
        remedy="Leave one of them out.",
    )
    require(
        arguments.dry_run or not arguments.json,
        "flags",
        "--json belongs to --dry-run",
        got="--json alone",
        remedy="Read ray_results/<cell>/best_params.json after a search.",
    )
    cell = _cell(arguments)
    concurrency = _concurrency(arguments.concurrency)
    storage = arguments.storage if is_uri(arguments.storage) else None
    results = Path(WORKING_COPY if storage else arguments.storage).resolve()
    folder = results / cell.name
    mirror = None if storage is None else Mirror(storage, cell.name, folder)
    if not arguments.dry_run:
        _check_folder(folder, arguments, mirror)
    # Ray and torch take seconds to import: a wrong flag and --help are answered before.
    from study.search.run import RunOptions, RunStatus, run_cell

    status = run_cell(
        cell,
        RunOptions(
            results=results,
            resume=arguments.resume,
            fresh=arguments.fresh,
            dry_run=arguments.dry_run,
            as_json=arguments.json,
            concurrency=concurrency,
            device=arguments.device,
            address=arguments.address,
            import_trials=arguments.import_trials,
            storage=storage,
            resume_command=_resume_command(argv),
        ),
        interruptions,
    )
    return {
        RunStatus.DONE: EXIT_OK,
        RunStatus.FAILED: EXIT_FAILED,
        RunStatus.INTERRUPTED: EXIT_INTERRUPTED,
    }[status]


def _cell(arguments: argparse.Namespace) -> Cell:
    data = {
        "source": arguments.source,
        "tier": arguments.tier,
        "task": arguments.task,
        "label_price": arguments.label,
        "normalization": arguments.normalization,
    }
    search = {"trials": arguments.trials, "seed": arguments.seed}
    return load_study(arguments.search).cell(
        arguments.budget,
        arguments.horizon,
        data={name: value for name, value in data.items() if value is not None},
        search={name: value for name, value in search.items() if value is not None},
        max_epochs=arguments.max_epochs,
    )


def _check_folder(folder: Path, arguments: argparse.Namespace, mirror: Mirror | None) -> None:
    above = next(parent for parent in folder.parents if parent.exists())
    require(
        above.is_dir() and os.access(above, os.W_OK),
        "--storage",
        "must be a folder that can be written",
        got=str(above),
        remedy="Choose another one.",
    )
    place, is_there = str(folder), folder.exists()
    if mirror is not None:
        is_there |= mirror.is_usable_with(COPIES[0])
        place = f"{folder} or {mirror.uri}"
    require(
        not is_there or arguments.resume or arguments.fresh,
        place,
        "a cell is searched once",
        got="an existing one" if mirror else "an existing folder",
        remedy="Go on with --resume, or start anew with --fresh (the old one is moved aside).",
    )
    require(
        is_there or not arguments.resume,
        place,
        "--resume needs a search to go on with",
        got="none" if mirror else "no such folder",
        remedy="Leave --resume out.",
    )


def _concurrency(text: str) -> int | None:
    require(
        text == "auto" or text.isdecimal(),
        "--concurrency",
        "must be auto or a whole number",
        got=f"--concurrency {text}",
        remedy="Leave it out for auto.",
    )
    return None if text == "auto" else int(text)


def _resume_command(argv: list[str]) -> str:
    """Return the command that goes on, with the Python that runs now."""
    python, here = Path(sys.executable), Path.cwd()
    if shutil.which("python") == sys.executable:
        name = "python"
    else:
        name = str(python.relative_to(here) if python.is_relative_to(here) else python)
    flags, rest = [], iter(argv)
    for flag in rest:
        if flag == "--import-trials":
            next(rest)
        elif flag not in ("--resume", "--fresh") and not flag.startswith("--import-trials="):
            flags.append(flag)
    return shlex.join([name, "-m", "study.tune", *flags, "--resume"])


if __name__ == "__main__":
    sys.exit(main())
