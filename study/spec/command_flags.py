"""Flags that several commands share, and the values that they stand for."""

import argparse
from pathlib import Path
from typing import get_args

from study.data.data_config import SearchSplitKind, SplitKind
from study.errors import quoted, require
from study.model.architecture import FAMILY_NAMES
from study.results.records import Metric
from study.spec.dimension import Fixed
from study.spec.overrides import Overrides
from study.spec.search_number import require_search_number
from study.spec.search_space_file import SHIPPED, names
from study.spec.selection import require_independent, select_cells
from study.spec.spec_file import load_study
from study.spec.specification import Cell, Study
from study.storage.mirror import is_uri

WORKING_COPY = "ray_results"
"""Name of the default results folder, in which a search also works whose results are in a store."""

_MOST_DIGITS = 6
"""Most digits of the number of trials at once: a million is beyond any cluster."""


def add_study_flags(flags: argparse.ArgumentParser) -> None:
    """Add the flags of a study: its search space, and values that override the space's."""
    add = flags.add_argument
    folder = str(SHIPPED).replace("%", "%%")  # argparse would replace a single %
    add("--search", type=Path, default=Path("phase6a"), metavar="NAME|FILE",
        help=f"search space: {', '.join(names())}, or a YAML file like those in {folder} "
        "(default: %(default)s)")  # fmt: skip
    add("--trials", type=int, help="trials in all (default: the search space's)")
    add("--max-epochs", type=int, help="cut every schedule to at most this many epochs")
    add(
        "--metric",
        choices=get_args(Metric),
        help="what trials are scored by (default: the search space's, usually log_loss)",
    )
    add(
        "--early-stop-patience",
        type=int,
        metavar="TRIALS",
        help="let a search stop, once so many distinct trials have run to their end, when its "
        "five best hardly differ",
    )
    add(
        "--early-stop-threshold",
        type=float,
        metavar="RANGE",
        help="range of the five best at which it stops, in the metric's units, as 0.02 "
        "(default: a share of the metric's standard error)",
    )
    add("--beyond-edges", action=argparse.BooleanOptionalAction,
        help="go on with a few trials where the best one is at an edge of the search space's "
        "ranges (default: the search space's)")  # fmt: skip
    add("--neighbours", action=argparse.BooleanOptionalAction,
        help="begin with the best trials of finished cells of the same study; never with several "
        "--searches, which stay independent (default: the search space's)")  # fmt: skip
    add("--seed", type=int, help="of the sampler and, plus its number, of each trial")
    add("--source", help="a name that python -m study.data list has, or a CSV/Parquet file")
    add("--tier", help="feature set (default: the search space's)")
    add("--vix", help="for tier c: embedded, the name of an imported series, or a CSV/Parquet file")
    add("--without", metavar="SOURCE", help="stop if the tier is made of it: vix")
    families = ", ".join(FAMILY_NAMES)
    add("--model", metavar="FAMILY", help=f"{families} (default: the search space's)")
    add("--task", help="threshold_1pct, threshold_0.5pct, ..., direction, or of panels ranking")
    add("--label", choices=("high", "close"), help="price that must reach the threshold")
    add(
        "--normalization", help="relative, zscore, revin, none; panels: cross_z, cross_rank, zscore"
    )
    add("--splits", choices=get_args(SplitKind),
        help="train winners once, or again before every fold of test days "
        "(default: shares, and walk_forward for sp500-long)")  # fmt: skip
    add("--search-splits", choices=get_args(SearchSplitKind),
        help="validate a search on its latest days, or train a network for each of several folds "
        "of its days (default: the search space's, usually chronological)")  # fmt: skip
    add(
        "--accept",
        nargs="+",
        metavar="CHECK",
        help="take what a check of prices or VIX refuses, as weekdays, and record it",
    )


def add_selection_flags(flags: argparse.ArgumentParser, *, searches: str = "1") -> None:
    """Add the flags that select cells of a study.

    Args:
        flags: the command's.
        searches: what the number of searches is without its flag, for the help.
    """
    add = flags.add_argument
    add("--budgets", nargs="+", metavar="BUDGET",
        help="labels of parameter budgets, as 2M 20M (default: all of the file)")  # fmt: skip
    add("--horizons", nargs="+", type=int, metavar="DAYS",
        help="trading days ahead, as 1 3 5 (default: those of the file)")  # fmt: skip
    add("--from", dest="first", metavar="CELL",
        help="leave out the cells before this one, as 20M_h3")  # fmt: skip
    add("--searches", type=int, metavar="K",
        help="independent searches of each cell, with a seed, a folder and a winner each "
        f"(default: {searches})")  # fmt: skip
    add("--phase", type=int, choices=(1, 2),
        help="of a search of two phases (default: both)")  # fmt: skip


def add_cluster_flags(flags: argparse.ArgumentParser) -> None:
    """Add the flags of the cluster and of the results folder."""
    add = flags.add_argument
    add("--concurrency", default="auto", help="trials at once: a number or auto (default)")
    add("--device", choices=("cpu", "cuda", "mps"), help="default: what Ray assigns to a trial")
    add("--capture", choices=("auto", "off"), default="auto",
        help="training steps as graphs, where the device can (default: %(default)s)")  # fmt: skip
    add("--address", help="of a running Ray cluster (default: start one on this machine)")
    add("--storage", default=WORKING_COPY, metavar="FOLDER|URI",
        help="results folder (default: %(default)s), or s3://bucket/prefix with "
        "[?endpoint_override=http://host:port]: then %(default)s is a working copy")  # fmt: skip


def add_data_share_flag(flags: argparse.ArgumentParser) -> None:
    """Add the flag of the shares of the training days on which winners are trained too."""
    flags.add_argument(
        "--data-shares",
        nargs="+",
        type=float,
        default=[],
        metavar="SHARE",
        help="train winners on shares of the training days too, as 0.25 0.5 1; 1 is always trained",
    )


def data_shares(arguments: argparse.Namespace) -> tuple[float, ...]:
    """Return the shares below 1 that ``--data-shares`` names, ascending.

    Raises:
        SpecError: a share is no number above 0 and up to 1.
    """
    for share in arguments.data_shares:
        require(
            0 < share <= 1,
            "--data-shares",
            "must be above 0 and at most 1",
            got=f"{share:g}",
            remedy="Give shares such as 0.25 0.5 1.",
        )
    return tuple(sorted({share for share in arguments.data_shares if share < 1}))


def one_cell(arguments: argparse.Namespace) -> Cell:
    """Return the cell that the flags name.

    The flags are ``--budget`` and ``--horizon``, or ``--budgets`` where the budget is searched, and
    ``--search-number``.

    Raises:
        SpecError: a value breaks its rule, or a flag is missing or not allowed for this space.
    """
    number = arguments.search_number
    require_search_number(number, "--search-number")
    if number > 1:
        require_independent(arguments.neighbours, f"--search-number {number}")
    study = load_study(arguments.search)
    if study.across_budgets:
        require(
            arguments.budget is None,
            "--budget",
            f"{study.path} searches across budgets",
            got=f"--budget {quoted(arguments.budget)}",
            remedy="Write --budgets, with one or several labels, or leave it out for all.",
        )
        cell = study.cell_of_all(arguments.budgets, arguments.horizon, _overrides(arguments))
        return cell.of_search(number)
    require(
        arguments.budgets is None,
        "--budgets",
        f"{study.path} has a search for each budget",
        got=f"--budgets {quoted(' '.join(arguments.budgets or ()))}",
        remedy="Write --budget, or use study.sweep for several.",
    )
    for flag, value in (("--budget", arguments.budget), ("--horizon", arguments.horizon)):
        require(
            value is not None,
            flag,
            "must be given",
            got="nothing",
            remedy=f"{study.path} has the budgets {', '.join(study.budgets)} and the horizons "
            f"{', '.join(map(str, study.horizons))}.",
        )
    cell = study.cell(arguments.budget, arguments.horizon, _overrides(arguments))
    return cell.of_search(number)


def selected_cells(arguments: argparse.Namespace) -> list[Cell]:
    """Return the cells that the selection and study flags name, in order.

    Raises:
        SpecError: a value breaks its rule.
    """
    return select_cells(
        load_study(arguments.search),
        budgets=arguments.budgets,
        horizons=arguments.horizons,
        first=arguments.first,
        searches=1 if arguments.searches is None else arguments.searches,
        overrides=_overrides(arguments),
    )


def selected_phases(arguments: argparse.Namespace, study: Study) -> tuple[int | None, ...]:
    """Return the phases that ``--phase`` selects, in order; None stands for the only one.

    Raises:
        SpecError: the study has no phases, or phase 2 is selected with results in a store.
    """
    asked: int | None = arguments.phase
    require(
        asked is None or asked in study.phases,
        "--phase",
        f"{study.path} has one phase",
        got=f"--phase {asked}",
        remedy="Leave it out.",
    )
    phases = study.phases if asked is None else (asked,)
    require(
        2 not in phases or not is_uri(arguments.storage),
        "--storage",
        "phase 2 needs a results folder, for it follows from the records of phase 1",
        got=quoted(arguments.storage),
        remedy="Run phase 1 there with --phase 1, and phase 2 in a folder with a copy of it.",
    )
    return phases


def concurrency(text: str) -> int | None:
    """Return the value of ``--concurrency``; None for auto.

    Raises:
        SpecError: it is neither a number nor auto.
    """
    require(
        text == "auto" or (text.isdecimal() and len(text) <= _MOST_DIGITS),
        "--concurrency",
        f"must be auto or a whole number of at most {_MOST_DIGITS} digits",
        got=f"--concurrency {quoted(text)}",
        remedy="Leave it out for auto.",
    )
    return None if text == "auto" else int(text)


def places(storage: str) -> tuple[Path, str | None]:
    """Return the results folder, absolute, and the URI of its store; None without a store."""
    uri = storage if is_uri(storage) else None
    return Path(WORKING_COPY if uri else storage).resolve(), uri


def _overrides(arguments: argparse.Namespace) -> Overrides:
    data = {
        "source": arguments.source,
        "tier": arguments.tier,
        "vix": arguments.vix,
        "without": arguments.without,
        "task": arguments.task,
        "label_price": arguments.label,
        "normalization": arguments.normalization,
        "splits": arguments.splits,
        "search_splits": arguments.search_splits,
        "accept": arguments.accept,
    }
    search = {
        name: getattr(arguments, name)
        for name in (
            "trials", "seed", "metric", "early_stop_patience", "early_stop_threshold",
            "beyond_edges", "neighbours",
        )
    }  # fmt: skip
    return Overrides(
        data={name: value for name, value in data.items() if value is not None},
        search={name: value for name, value in search.items() if value is not None},
        model={} if arguments.model is None else {"family": Fixed(arguments.model)},
        max_epochs=arguments.max_epochs,
        # A sweep resumes its cells with the flags that it began them with.
        may_lengthen=getattr(arguments, "resume", False)
        and getattr(arguments, "sweep", None) is None,
    )
