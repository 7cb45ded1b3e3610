"""The data command: lists sources, checks one, builds a cell's data set, imports a market."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar, get_args

from study.command import CommandParser, command_parser, exit_code
from study.data import show
from study.data.checks.acceptable import ACCEPTABLE, require_acceptable
from study.data.checks.price_checks import check_table, require_clean
from study.data.data_config import (
    EMBEDDED_VIX,
    DataConfig,
    Normalization,
    SearchSplitKind,
    SplitKind,
    Tier,
)
from study.data.dataset import build_dataset
from study.data.evaluation.baselines import score_baselines
from study.data.features import TIERS
from study.data.panel.panel_command import (
    add_panel_flags,
    build_panel_cell,
    check_panel,
    import_as_panel,
    list_closes,
    panel_as_json,
    require_flags_of,
)
from study.data.panel.panel_sources import PANEL_SOURCES, is_panel_source, load_panel
from study.data.reading.read_options import ReadOptions
from study.data.sources import (
    EMBEDDED_SOURCES,
    IMPORT_FOLDER,
    import_prices,
    list_imported,
    list_panels,
    load_prices,
    read_source,
)
from study.data.vix_series import import_vix, list_vix, load_vix
from study.errors import DataError
from study.names import RANKING

_DESCRIBED = ("name", "formula", "look_back", "weekly", "recursive", "source", "to_input")
"""Fields of a feature that JSON shows."""

_OF_PANELS = DataConfig(
    horizon=1, task=RANKING, tier="closes", normalization="cross_z", context_length=10
)
"""What is not given of a panel's cell: the settings of ``search_spaces/panel.yaml``."""

_EXAMPLES = """\
examples:
  python -m study.data list                      the markets at hand
  python -m study.data list --tier a200          the features of a tier
  python -m study.data check prices.csv          every rule, with row and date of a breach
  python -m study.data import prices.csv --name spy
  python -m study.data import tasi.csv --name tasi --accept weekdays     Sunday to Thursday
  python -m study.data import five_hundred.csv --symbol SPY --adjust --name spy
  python -m study.data import --panel stocks.csv --sectors sectors.csv    many assets a day
  python -m study.data build --source spy --horizon 3 --baselines
  python -m study.data build --source stocks20 --horizon 5 --baselines    days of many assets
  python -m study.data import ^VIX.csv --series vix --name vix
  python -m study.data build --tier c --vix vix --source spy
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand and return the exit code: 0, or 2 for an error of the user."""

    def work() -> int:
        arguments = _parser().parse_args(argv)
        commands = {"list": _list, "check": _check, "build": _build, "import": _import}
        return commands[arguments.command](arguments)

    return exit_code(work)


def _list(arguments: argparse.Namespace) -> int:
    if arguments.tier == "closes":
        return list_closes(as_json=arguments.json)
    if arguments.tier is not None:
        specs = TIERS[arguments.tier]
        if arguments.json:
            _print_json([{name: getattr(spec, name) for name in _DESCRIBED} for spec in specs])
        else:
            show.features(specs)
        return 0
    names = (*EMBEDDED_SOURCES, *list_imported(arguments.import_folder))
    prices, unusable = _loaded(load_prices, names, arguments.import_folder)
    panel_names = (*PANEL_SOURCES, *list_panels(arguments.import_folder))
    panels, unusable_panels = _loaded(load_panel, panel_names, arguments.import_folder)
    unusable |= unusable_panels
    if arguments.json:
        _print_json(
            [
                {
                    "name": each.name,
                    "rows": len(each.frame),
                    "first_day": f"{each.frame.index[0]:%Y-%m-%d}",
                    "last_day": f"{each.frame.index[-1]:%Y-%m-%d}",
                    "fingerprint": each.fingerprint,
                    "origin": each.origin,
                }
                for each in prices
            ]
            + [panel_as_json(panel) for panel in panels]
            + [{"name": name, "problem": problem} for name, problem in unusable.items()]
        )
    else:
        show.sources(prices)
        vix_names = (EMBEDDED_VIX, *list_vix(arguments.import_folder))
        series, unusable_series = _loaded(load_vix, vix_names, arguments.import_folder)
        show.vix_series(series)
        show.panels(panels)
        show.remarks("", [*unusable.values(), *unusable_series.values()])
    return 0


_Series = TypeVar("_Series")


def _loaded(
    load: Callable[[str, Path], _Series], names: Sequence[str], folder: Path
) -> tuple[list[_Series], dict[str, str]]:
    """Return the series that can be used, and why others cannot, by name: one hides no other."""
    usable, problems = [], {}
    for name in names:
        try:
            usable.append(load(name, folder))
        except DataError as problem:
            problems[name] = str(problem)
    return usable, problems


def _check(arguments: argparse.Namespace) -> int:
    require_acceptable(arguments.accept)
    is_panel = arguments.panel or is_panel_source(arguments.source, arguments.import_folder)
    require_flags_of(arguments, is_panel)
    if is_panel:
        return check_panel(arguments)
    table = read_source(arguments.source, arguments.import_folder, _options(arguments))
    results = check_table(table, arguments.accept)
    if arguments.json:
        _print_json([asdict(result) for result in results])
    else:
        show.checks(table, results)
    require_clean(results)
    return 0


def _build(arguments: argparse.Namespace) -> int:
    folder = arguments.import_folder
    task = arguments.task
    if task is None and is_panel_source(arguments.source, folder):
        task = RANKING
    usual = _OF_PANELS if task == RANKING else DataConfig(horizon=1)
    config = DataConfig(
        source=arguments.source,
        tier=arguments.tier or usual.tier,
        vix=arguments.vix,
        without=arguments.without,
        horizon=arguments.horizon,
        task=task or usual.task,
        label_price=arguments.label,
        normalization=arguments.normalization or usual.normalization,
        context_length=arguments.context_length or usual.context_length,
        validation_share=arguments.validation_share,
        test_share=arguments.test_share,
        purge_days=arguments.purge_days,
        embargo_days=arguments.embargo_days,
        splits=arguments.splits,
        first_test_day=arguments.first_test_day,
        fold_days=arguments.fold_days,
        validation_days=arguments.validation_days,
        window_days=arguments.window_days,
        search_splits=arguments.search_splits,
        search_groups=arguments.search_groups,
        search_validation_groups=arguments.search_validation_groups,
        max_shift=arguments.max_shift,
        accept=tuple(arguments.accept),
    )
    if config.is_panel:
        return build_panel_cell(
            config, folder, with_baselines=arguments.baselines, as_json=arguments.json
        )
    dataset = build_dataset(config, import_folder=folder)
    scores = score_baselines(dataset) if arguments.baselines else ()
    if arguments.json:
        _print_json(
            {
                "config": asdict(config),
                "source": dataset.source,
                "fingerprint": dataset.fingerprint,
                "feature_hash": dataset.feature_hash,
                "rows": len(dataset.dates),
                "features": dataset.feature_names,
                "base_rate": dataset.base_rate,
                "fold_train_rows": dataset.fold_train_rows,
                "splits": {part: asdict(each) for part, each in dataset.splits.items()},
                "shift": dataset.shift,
                "baselines": [asdict(score) for score in scores],
                "understood": dataset.understood,
                "warnings": dataset.warnings,
            }
        )
    else:
        show.dataset(dataset, config, scores)
    return 0


def _import(arguments: argparse.Namespace) -> int:
    file, name, folder = arguments.file, arguments.name, arguments.import_folder
    require_acceptable(arguments.accept)
    require_flags_of(arguments, arguments.panel)
    if arguments.panel:
        return import_as_panel(arguments)
    if arguments.series == "vix":
        series = import_vix(file, name, folder, _options(arguments), arguments.accept)
        show.vix_series([series])
        show.remarks(series.understood, series.warnings)
        print(f"Use it with --tier c --vix {series.name}")
        return 0
    prices = import_prices(file, name, folder, _options(arguments), arguments.accept)
    show.sources([prices])
    show.remarks(prices.understood, prices.warnings)
    print(f"Use it with --source {prices.name}")
    return 0


def _options(arguments: argparse.Namespace) -> ReadOptions:
    return ReadOptions(
        symbol=arguments.symbol, adjust=arguments.adjust, timezone=arguments.timezone
    )


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2))


def _parser() -> CommandParser:
    parser = command_parser("study.data", "Prices, features and splits of the study.", _EXAMPLES)
    commands = parser.add_subparsers(dest="command", required=True)

    def add(name: str, help_: str, example: str) -> CommandParser:
        command = commands.add_parser(
            name,
            help=help_,
            description=help_,
            epilog=f"example:\n  python -m study.data {example}",
        )
        command.add_argument(
            "--import-folder",
            type=Path,
            default=IMPORT_FOLDER,
            help=f"where imported series live (default {IMPORT_FOLDER})",
        )
        return command

    listing = add("list", "show the markets at hand, or the features of a tier", "list --tier a200")
    listing.add_argument("--tier", choices=get_args(Tier), help="show its features instead")
    listing.add_argument("--json", action="store_true", help="print JSON")

    check = add("check", "check the bars of a source, rule by rule", "check prices.csv")
    check.add_argument("source", help="embedded or imported market or panel, or CSV/Parquet path")
    _add_read_flags(check)
    add_panel_flags(check)
    _add_accept_flag(check)
    check.add_argument("--json", action="store_true", help="print JSON")

    importing = add(
        "import", "check a CSV or Parquet file and keep it", "import prices.csv --name spy"
    )
    importing.add_argument(
        "file",
        type=Path,
        help="text (.csv, .txt, .tsv, also .gz) or Parquet, as vendors give it: Date, Open, High, "
        "Low, Close, Volume; for vix Date and Close or VIX",
    )
    importing.add_argument(
        "--series",
        choices=("prices", "vix"),
        default="prices",
        help="what the file holds (%(default)s)",
    )
    importing.add_argument("--name", help="how to call it (default: the file's name)")
    _add_read_flags(importing)
    add_panel_flags(importing)
    _add_accept_flag(importing)

    _add_build_flags(
        add("build", "build one cell's data set and describe it", "build --horizon 3 --baselines")
    )
    return parser


def _add_read_flags(command: argparse.ArgumentParser) -> None:
    command.add_argument("--symbol", help="the instrument of a file that holds several")
    command.add_argument(
        "--adjust",
        action="store_true",
        help="multiply prices by Adj Close / Close (default: as traded)",
    )
    command.add_argument(
        "--timezone",
        metavar="ZONE",
        help="take the days of a zone such as Europe/Berlin for stamps that name theirs (default: "
        "the day that a stamp shows; of epoch stamps that in UTC)",
    )


def _add_accept_flag(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--accept",
        nargs="+",
        default=(),
        metavar="CHECK",
        help=f"take what a check refuses, and record it: {', '.join(ACCEPTABLE)}",
    )


def _add_build_flags(build: argparse.ArgumentParser) -> None:
    default = DataConfig(horizon=1)
    build.add_argument(
        "--source", default=default.source, help="market, panel or path (%(default)s)"
    )
    build.add_argument(
        "--tier", choices=get_args(Tier), help=f"({default.tier}; {_OF_PANELS.tier} for panels)"
    )
    build.add_argument("--vix", help="for tier c: embedded, an imported series or a path")
    build.add_argument("--without", metavar="SOURCE", help="stop if the tier is made of it: vix")
    build.add_argument("--horizon", type=int, default=1, help="trading days ahead (%(default)s)")
    build.add_argument(
        "--task",
        help=f"threshold_<percent>pct, direction or {RANKING} ({default.task}; {RANKING} for "
        "panels that have a name)",
    )
    build.add_argument(
        "--label",
        choices=("high", "close"),
        default=default.label_price,
        help="price that must reach the threshold (%(default)s)",
    )
    build.add_argument(
        "--normalization",
        choices=get_args(Normalization),
        help=f"how features become inputs ({default.normalization}; {_OF_PANELS.normalization} "
        "for panels)",
    )
    _add_split_flags(build, default)
    _add_accept_flag(build)
    build.add_argument(
        "--baselines", action="store_true", help="score the baselines of a search too"
    )
    build.add_argument("--json", action="store_true", help="print JSON")


def _add_split_flags(build: argparse.ArgumentParser, default: DataConfig) -> None:
    """Add the flags that decide which days train, validate and test, and how far inputs drift."""
    build.add_argument(
        "--splits",
        choices=get_args(SplitKind),
        help="train once or walk forward (shares, and walk_forward for sp500-long)",
    )
    build.add_argument(
        "--search-splits",
        choices=get_args(SearchSplitKind),
        default=default.search_splits,
        help="validate a search on its latest days or on folds (%(default)s)",
    )
    build.add_argument(
        "--context-length",
        type=int,
        help=f"days a model sees ({default.context_length}; {_OF_PANELS.context_length} for "
        "panels)",
    )
    for flag, kind, value, help_ in (
        ("--validation-share", float, default.validation_share, "share of the days"),
        ("--test-share", float, default.test_share, "share of the days, the latest"),
        ("--purge-days", int, default.purge_days, "days left out before a border"),
        ("--embargo-days", int, default.embargo_days, "days left out after a border"),
        (
            "--first-test-day",
            str,
            default.first_test_day,
            "walking forward: first test day, or by market",
        ),
        ("--fold-days", int, default.fold_days, "walking forward: test days of a fold"),
        ("--validation-days", int, default.validation_days, "walking forward: of a fold's past"),
        ("--window-days", int, default.window_days, "walking forward: days of a past, or all"),
        ("--search-groups", int, default.search_groups, "groups of a search's folds, or the usual"),
        (
            "--search-validation-groups",
            int,
            default.search_validation_groups,
            "groups that validate in a combinatorial fold, or 2",
        ),
        ("--max-shift", float, default.max_shift, "largest input drift, in train sd"),
    ):
        build.add_argument(flag, type=kind, default=value, help=f"{help_} (%(default)s)")


if __name__ == "__main__":
    sys.exit(main())
