"""The records of a study of panels, with rankings that know a planted share of the returns."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.statistics.floats import Floats
from study.names import RANKING
from study.results.finals.final_records import (
    FinalRecord,
    ShareRecord,
    share_folder,
    write_final,
    write_share,
)
from study.results.finals.panel_predictions import (
    panel_rows,
    write_panel_predictions,
)
from study.results.finals.variant_records import VariantRecord, variant_folder, write_variant
from study.results.store import CellIdentity, CellStore, write_cell
from study.storage.layout import EPOCHS_FILE, FINAL_FOLDER, PREDICTIONS_FILE, RUNS_FOLDER
from tests.analysis.records import FAMILY, final_record
from tests.results.conftest import PARAMS, record

N_SEEDS = 3
BASELINES = {"zero": 0.0, "momentum": 0.0, "reversal": 0.01, "ridge": 0.05, "boosting": 0.04}
"""Correlation with the returns that is planted, by baseline; zero gives every asset the score 0."""

WARNING = "the assets are those of 2022: what was delisted before is missing"


def returns(n_days: int, n_assets: int, seed: int = 7) -> Floats:
    """Return independent returns of a few percent, shape (n_days, n_assets)."""
    return np.asarray(0.02 * np.random.default_rng(seed).standard_normal((n_days, n_assets)))


def scores(returns_DA: Floats, correlation: float, seed: int) -> Floats:
    """Return scores that have a planted correlation with the returns of each day."""
    noise = np.random.default_rng(seed).standard_normal(returns_DA.shape)
    return np.asarray(correlation * returns_DA / 0.02 + np.sqrt(1 - correlation**2) * noise)


def rows(
    models: Mapping[str, Sequence[Floats]], returns_DA: Floats, *, part: str = "test"
) -> list[pd.DataFrame]:
    """Return the rows of models' scores: several runs of the winner, one of every other."""
    n_days, n_assets = returns_DA.shape
    dates = np.datetime64("2014-01-01") + np.arange(n_days)
    assets = tuple(f"A{number:02d}" for number in range(n_assets))
    return [
        panel_rows(
            model, seed if model == FAMILY else None, part, dates, assets,
            each.astype(np.float32), returns_DA.astype(np.float32), np.ones(each.shape, bool),
        )
        for model, runs in models.items()
        for seed, each in enumerate(runs)
    ]  # fmt: skip


def concatenated(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Return tables as one whose texts are categorical, as the reader makes it."""
    table = pd.concat(tables, ignore_index=True)
    return table.astype(dict.fromkeys(("model", "part", "asset"), "category"))


def cell_name(size: int, horizon: int) -> str:
    return f"demo_{size}_h{horizon}_{RANKING}_synthetic-panel"


def write_panel_study(
    results: Path,
    correlations: Mapping[int, float],
    *,
    horizons: tuple[int, ...] = (5,),
    n_days: int = 300,
    n_assets: int = 20,
    oracle: float | None = None,
    with_final: bool = True,
    variants: Mapping[str, float] | None = None,
    rivals: Mapping[str, float] = BASELINES,
    **changes: Any,
) -> None:
    """Write a study of panels whose model of each size knows a planted share of the returns.

    Args:
        results: the results folder.
        correlations: of the winner's scores with the returns, by number of parameters.
        horizons: of the cells.
        n_days: of the test days, and of the validation days.
        n_assets: of the panel.
        oracle: correlation of the best possible scores; None of a panel that is not simulated.
        with_final: are there final runs?
        variants: correlations of optimizers beside adamw, by name.
        rivals: correlations of the baselines.
        changes: of the final record.
    """
    for size, correlation in correlations.items():
        for horizon in horizons:
            name = cell_name(size, horizon)
            _write_search(results / name, size, horizon)
            if not with_final:
                continue
            folder = results / FINAL_FOLDER / name
            tables = []
            for part, seed in (("validation", 1), ("test", 2)):
                y = returns(n_days, n_assets, seed)
                models = {FAMILY: [scores(y, correlation, 100 * size + k) for k in range(N_SEEDS)]}
                for number, (rival, own) in enumerate(rivals.items()):
                    models[rival] = [0 * y if rival == "zero" else scores(y, own, 50 + number)]
                if oracle is not None:
                    models["oracle"] = [scores(y, oracle, 99)]
                tables += rows(models, y, part=part)
            write_panel_predictions(folder / PREDICTIONS_FILE, tables)
            write_final(folder, panel_final(name, size, horizon, **changes))
            y = returns(n_days, n_assets, 2)
            for optimizer, own in (variants or {}).items():
                runs = [scores(y, own, 100 * size + k) for k in range(N_SEEDS)]
                write_planted_variant(folder, name, optimizer, rows({FAMILY: runs}, y))


def panel_final(name: str, size: int, horizon: int, **changes: Any) -> FinalRecord:
    found = final_record(
        name, size, horizon, task=RANKING, source="synthetic-panel", search_value=0.97
    )
    runs = [dataclasses.replace(run, value=0.97) for run in found.runs[:N_SEEDS]]
    fields = {"runs": runs, "params": {**found.params, "ic_weight": 0.5}, **changes}
    return dataclasses.replace(found, **fields)


def write_planted_variant(
    folder: Path, cell: str, optimizer: str, tables: list[pd.DataFrame], winner: int = 1
) -> None:
    variant = VariantRecord(
        cell=cell, field="optimizer", value=optimizer, base_value="adamw", winner=winner,
        runs=panel_final(cell, 10, 5).runs, commit="0123456789ab",
    )  # fmt: skip
    write_panel_predictions(variant_folder(folder, variant.name) / PREDICTIONS_FILE, tables)
    write_variant(folder, variant)


def write_planted_share(
    folder: Path, cell: str, share: float, tables: list[pd.DataFrame], winner: int = 1
) -> None:
    record = ShareRecord(
        cell=cell, share=share, choice="recent", seed=42, winner=winner, n_train=[150],
        runs=panel_final(cell, 10, 5).runs, commit="0123456789ab",
    )  # fmt: skip
    write_panel_predictions(share_folder(folder, record.name) / PREDICTIONS_FILE, tables)
    write_share(folder, record)


def write_epochs(folder: Path, run: str, lines: Sequence[Mapping[str, Any]]) -> None:
    """Write the reports of a run's epochs, with the values that are given of each."""
    path = folder / RUNS_FOLDER / run / EPOCHS_FILE
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def _write_search(folder: Path, size: int, horizon: int) -> None:
    folder.mkdir(parents=True)
    split = {
        "rows": 300, "labels": 6000, "assets_mean": 20.0, "effective_size": 300 / horizon,
        "first_day": "2000-01-03", "last_day": "2002-06-01", "base_rate": 0.5,
    }  # fmt: skip
    write_cell(
        folder,
        {
            "search": "abcd1234", "cell": folder.name, "study": "demo", "budget": str(size),
            "horizon": horizon, "task": RANKING, "source": "synthetic-panel",
            "data_sha256": "0123456789abcdef", "trials": 1, "phase": None, "search_number": 1,
            "spec": {
                "budgets": [{"label": str(size), "target": size}],
                "data": {"portfolio_share": 0.2, "cost_bps": 10.0},
            },
            "splits": {part: split for part in ("train", "validation", "test")},
            "warnings": [WARNING],
        },
    )  # fmt: skip
    identity = CellIdentity(
        name=folder.name, study="demo", budget=str(size), phase=None, metric="log_loss",
        horizon=horizon, task=RANKING, data_sha256="0123456789abcdef",
        versions={"torch": "2.13.0"},
    )  # fmt: skip
    trial = record(1, value=0.97, params={**PARAMS, "budget": str(size)}, param_count=size)
    CellStore(folder, identity).write_trials([trial])
