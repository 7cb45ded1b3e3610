"""A panel of six assets whose returns persist from day to day, and a search space of its own."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from study.data.panel.panel_sources import import_panel
from tests.tuner.command import ESTIMATE, SPACES

CELL = "tiny_20k_h1_ranking_tiny_closes"
CELL_OF_FOLDS = f"{CELL}_purged-k-fold"
FLAGS = ("--search", "tiny.yaml", "--budget", "20k", "--horizon", "1", "--concurrency", "1")


def write_tiny_panel(here: Path, *, epochs: int, **search: Any) -> None:
    """Import the panel into the results folder of ``here``; write ``tiny.yaml`` and an estimate.

    Its 760 days leave 70 to validation behind the 250 that features look back.
    """
    draw = np.random.default_rng(3)
    returns = 0.01 * draw.normal(size=(760, 6))
    for day in range(1, len(returns)):
        returns[day] += 0.15 * returns[day - 1]
    days = pd.bdate_range("2012-01-02", periods=len(returns), name="Date")
    closes = 50 * np.exp(np.cumsum(returns, axis=0))
    table = pd.DataFrame(closes, index=days, columns=[f"A{number}" for number in range(6)])
    table.to_csv(here / "tiny.csv")
    sectors = here / "sectors.csv"
    pd.DataFrame({"Asset": table.columns, "Sector": [*"XXXYYY"]}).to_csv(sectors, index=False)
    import_panel(here / "tiny.csv", "tiny", here / "ray_results" / "data", sectors=sectors)
    raw = yaml.safe_load((SPACES / "panel.yaml").read_text())
    raw |= {"study": "tiny", "horizons": [1], "budgets": {"20k": 20_000}}
    raw["data"]["source"] = "tiny"
    # Deeper ones take longer.
    raw["model"]["n_layers"] = {"choice": [1, 2, 3]}
    raw["train"] |= {"epochs": epochs, "rank_weight": 0.1}
    # Every epoch is saved, so that a trial that is interrupted goes on from a state.
    raw["search"] |= {"checkpoint_seconds": 0.0, **search}
    (here / "tiny.yaml").write_text(yaml.safe_dump(raw))
    plans = [{"cell": name, "estimate": ESTIMATE} for name in (CELL, CELL_OF_FOLDS)]
    (here / "estimate.json").write_text(json.dumps({"cells": plans}))
