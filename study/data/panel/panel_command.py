"""The data command's part for panels: checks one, imports one, builds a cell's data set of one."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from study.data import show
from study.data.data_config import DataConfig
from study.data.features.closes import CLOSES
from study.data.panel.build_panel import build_panel_dataset
from study.data.panel.panel import Panel
from study.data.panel.panel_baselines import PanelBaseline, score_panel_baselines
from study.data.panel.panel_sources import examine_panel, import_panel
from study.errors import require

_SCORES_OF_A_BASELINE = ("name", "rank_ic", "rank_ic_se", "ic", "sharpe", "sharpe_net")
"""Fields of a baseline that JSON shows."""


def add_panel_flags(command: argparse.ArgumentParser) -> None:
    """Add the flags of files that have many assets."""
    command.add_argument(
        "--panel",
        action="store_true",
        help="the file has many assets: a row per day and asset, or a column of closes per asset",
    )
    command.add_argument(
        "--sectors", type=Path, metavar="FILE", help="of a panel: two columns, asset and sector"
    )


def require_flags_of(arguments: argparse.Namespace, is_panel: bool) -> None:
    """Refuse flags of one asset for a panel, and those of panels for one asset."""
    require(
        is_panel or arguments.sectors is None,
        "--sectors",
        "is for panels",
        got="a single asset",
        remedy="Add --panel, or leave --sectors out.",
    )
    of_one = [flag for flag in ("symbol", "adjust") if is_panel and vars(arguments)[flag]]
    require(
        not of_one,
        "--panel",
        "takes all assets of a file, and adjusted closes where it has them",
        got=", ".join(f"--{flag}" for flag in of_one),
        remedy="Leave it out.",
    )


def check_panel(arguments: argparse.Namespace) -> int:
    """Print what the checks find in a panel, and refuse it if one does."""
    found = examine_panel(
        arguments.source,
        arguments.import_folder,
        arguments.accept,
        sectors=arguments.sectors,
        timezone=arguments.timezone,
    )
    if arguments.json:
        print(json.dumps([asdict(result) for result in found.results], indent=2))
    else:
        show.remarks(found.understood)
        if found.panel is not None:
            show.panel(found.panel)
        show.check_results(found.where, found.results)
        show.remarks("", () if found.panel is None else found.panel.warnings)
    found.checked()
    return 0


def import_as_panel(arguments: argparse.Namespace) -> int:
    """Import a panel and print what it holds."""
    require(
        arguments.series == "prices",
        "--panel",
        "is for prices",
        got=f"--series {arguments.series}",
        remedy="Leave one of them out.",
    )
    panel = import_panel(
        arguments.file,
        arguments.name,
        arguments.import_folder,
        arguments.accept,
        sectors=arguments.sectors,
        timezone=arguments.timezone,
    )
    show.panel(panel)
    show.remarks(panel.understood, panel.warnings)
    print(f"Use it with --search panel --source {panel.name}")
    return 0


def build_panel_cell(
    config: DataConfig, import_folder: Path, *, with_baselines: bool, as_json: bool
) -> int:
    """Build the data set of a panel's cell, keep nothing of it, and print what it holds."""
    built = build_panel_dataset(config, import_folder=import_folder)
    scores: Sequence[PanelBaseline] = ()
    if with_baselines:
        # The inputs lie in no cache, so no scores are kept beside them and there is nothing to say.
        scores, _ = score_panel_baselines(
            built, share=config.portfolio_share, cost_basis_points=config.cost_bps
        )
    if not as_json:
        show.panel_dataset(built, config, scores)
        return 0
    found = {
        "config": asdict(config),
        "source": built.source,
        "fingerprint": built.fingerprint,
        "feature_hash": built.feature_hash,
        "rows": len(built.dates),
        "assets": built.assets,
        "sectors": built.n_sectors,
        "features": built.feature_names,
        "fold_train_rows": built.fold_train_rows,
        "splits": {part: asdict(each) for part, each in built.splits.items()},
        "shift": built.shift,
        "baselines": [
            {name: getattr(score, name) for name in _SCORES_OF_A_BASELINE} for score in scores
        ],
        "understood": built.understood,
        "warnings": built.warnings,
    }
    print(json.dumps(found, indent=2))
    return 0


def list_closes(*, as_json: bool) -> int:
    """Print the features of the tier of closes."""
    if as_json:
        described = [
            {name: getattr(spec, name) for name in ("name", "formula", "look_back")}
            for spec in CLOSES
        ]
        print(json.dumps(described, indent=2))
    else:
        show.close_features(CLOSES)
    return 0


def panel_as_json(panel: Panel) -> dict[str, object]:
    """Return what the list of sources says of a panel."""
    return {
        "name": panel.name,
        "rows": len(panel.dates),
        "assets": len(panel.assets),
        "first_day": str(panel.dates[0]),
        "last_day": str(panel.dates[-1]),
        "fingerprint": panel.fingerprint,
    }
