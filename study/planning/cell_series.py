"""The series of a cell and its data set: of a market that is asked about, or a panel to rank."""

from pathlib import Path

from study.data.data_config import DataConfig
from study.data.data_share import DataShare
from study.data.dataset import Dataset, build_dataset
from study.data.panel.build_panel import build_panel_dataset
from study.data.panel.panel import Panel
from study.data.panel.panel_dataset import PanelDataset
from study.data.panel.panel_sources import load_panel
from study.data.prices import Prices
from study.data.sources import load_prices
from study.storage.layout import CACHE_FOLDER

AnyDataset = Dataset | PanelDataset


def load_series(config: DataConfig, results: Path) -> Prices | Panel:
    """Load the prices that a cell is made of.

    Args:
        config: its data set.
        results: the results folder, in which imported prices are.

    Raises:
        DataError: there is no such source, or its prices break a rule.
    """
    load = load_panel if config.is_panel else load_prices
    return load(config.source, results / "data", config.accept)


def build_data(
    config: DataConfig,
    results: Path,
    series: Prices | Panel | None = None,
    fold: int | None = None,
    share: DataShare | None = None,
    *,
    may_write: bool = True,
) -> AnyDataset:
    """Build the data set of a cell.

    Args:
        config: what to build.
        results: the results folder.
        series: prices that have been loaded; None loads those that ``config`` names.
        fold: number of the fold whose past is seen, from 0; None builds what a search sees.
        share: the part of the training days that is trained on; None takes all of them.
        may_write: may the inputs of a panel be kept in the results folder? Those that are kept
            there are read anyway.

    Raises:
        DataError: a source is missing, breaks a rule, or is too short.
    """
    imported = results / "data"
    if config.is_panel:
        panel = series if isinstance(series, Panel) else None
        cache = cache_folder(results)
        return build_panel_dataset(
            config, panel, imported, fold, share, cache=cache, may_write=may_write
        )
    prices = series if isinstance(series, Prices) else None
    return build_dataset(config, prices, imported, fold, share)


def cache_folder(results: Path) -> Path:
    """Return the folder of what any command computes or measures again."""
    return results / "data" / CACHE_FOLDER


def sample_shape(data: AnyDataset) -> dict[str, int]:
    """Return the shape of a sample, by the names that ``build_space`` has for it."""
    shape = {"n_features": len(data.feature_names)}
    if isinstance(data, PanelDataset):
        shape |= {
            "n_assets": len(data.assets),
            "n_sectors": data.n_sectors,
            "n_horizons": 1 + len(data.further),
        }
    return shape
