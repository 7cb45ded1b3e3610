"""The records of a study as its commands leave them, with answers that are planted."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.statistics.floats import Floats
from study.results.finals.final_records import (
    FinalRecord,
    RunRecord,
    SelectionRecord,
    ShareRecord,
    share_folder,
    write_final,
    write_predictions,
    write_share,
)
from study.results.finals.fold_records import FoldRecord
from study.results.records import TrialRecord
from study.results.store import CellIdentity, CellStore, write_cell
from study.statistics.detectable import DETECTABLE
from study.storage.layout import FINAL_FOLDER, PREDICTIONS_FILE, SEARCH_SUFFIX
from tests.results.conftest import PARAMS, record

N_SEEDS = 5
FORETOLD = 0.0123
"""Standard error of the difference of two networks on the test days, as the plan foretold it."""
N_TRIALS = 12
FAMILY = str(PARAMS["family"])


def oracle_days(n_days: int, seed: int = 7) -> tuple[Floats, Floats]:
    """Return true probabilities that drift as volatility does, and what came of them."""
    draw = np.random.default_rng(seed)
    logit = np.convolve(draw.standard_normal(n_days + 49), np.full(50, 0.12), mode="valid") - 0.6
    p = 1 / (1 + np.exp(-logit))
    return p, (draw.random(n_days) < p).astype(np.int8)


def answers(p: Floats, variance: float, n_seeds: int, seed: int) -> Floats:
    """Return the answers of models that see the truth through noise, shape (n_seeds, n_days)."""
    draw = np.random.default_rng(seed)
    logit = np.log(p) - np.log1p(-p) + np.sqrt(variance) * draw.standard_normal((n_seeds, len(p)))
    return np.asarray(1 / (1 + np.exp(-logit)))


def write_study(
    results: Path,
    variances: Mapping[int, float],
    *,
    horizons: tuple[int, ...] = (1, 3),
    n_days: int = 600,
    with_final: bool = True,
    n_ended: int = N_TRIALS,
    edges: Mapping[int, list[str]] | None = None,
    market: str = "",
    search_number: int = 1,
) -> None:
    """Write a study whose model of each size answers with a planted noise.

    Of several searches of a budget each is written by itself, with its number.
    """
    suffix = f"{SEARCH_SUFFIX}{search_number}" if search_number > 1 else ""
    for size, variance in variances.items():
        for horizon in horizons:
            name = f"demo_{size}_h{horizon}_threshold_1pct{market}{suffix}"
            _write_search(results, name, size, horizon, n_ended, search_number)
            if with_final:
                own_edges = (edges or {}).get(size, [])
                _write_final(
                    results, name, size, horizon, variance, n_days, own_edges,
                    search_number=search_number,
                )  # fmt: skip


def fold(first_test_day: str, last_test_day: str, n_test: int) -> FoldRecord:
    """Return the record of a fold with these test days."""
    return FoldRecord(
        first_train_day="1999-01-01", last_train_day="2001-12-31", n_train=700, base_rate=0.4,
        n_validation=300, first_test_day=first_test_day, last_test_day=last_test_day, n_test=n_test,
    )  # fmt: skip


def write_search_across(
    results: Path, variances: Mapping[int, float], *, phase: int = 1, n_days: int = 300
) -> str:
    """Write a search across budgets, one listed trial in each, and its final runs by budget.

    Returns: the name of the search.
    """
    sizes = sorted(variances)
    name = f"demo-{phase}_{'-'.join(map(str, sizes))}_h1_threshold_1pct"
    trials = [
        record(
            number, folder=f"trial_{number:04d}", value=0.5 + 0.01 * number, param_count=size,
            params={**PARAMS, "budget": str(size)}, phase=phase,
            group="architecture" if number < len(sizes) else None,
            name=f"{size}_shallow" if number < len(sizes) else None,
        )
        for number, size in enumerate(sizes * 2)
    ]  # fmt: skip
    _write_records(results / name, sizes, 1, trials, phase=phase, n_asked=len(trials))
    for size, variance in variances.items():
        own = f"{name}_{size}"
        _write_final(results, own, size, 1, variance, n_days, [])
        final, winner = final_record(own, size, 1), sizes.index(size)
        selection = [dataclasses.replace(each, trial=winner) for each in final.selection]
        write_final(
            results / FINAL_FOLDER / own,
            dataclasses.replace(final, winner=winner, selection=selection),
        )
    return name


def _write_search(
    results: Path, name: str, size: int, horizon: int, n_ended: int, search_number: int
) -> None:
    draw = np.random.default_rng(size)
    trials = [
        record(
            number,
            folder=f"trial_{number:04d}",
            value=0.5 + 0.05 * float(draw.random()),
            param_count=round(size * float(draw.uniform(0.8, 1.2))),
            params={
                **PARAMS,
                "budget": str(size),
                "d_model": int(draw.choice([32, 64, 128])),
                "n_layers": int(draw.choice([1, 2, 4, 8])),
                "learning_rate": float(10 ** draw.uniform(-4, -2)),
            },
            started=1000.0 + 20 * number,
            ended=1020.0 + 20 * number,
        )
        for number in range(n_ended)
    ]
    _write_records(
        results / name, [size], horizon, trials, phase=None, n_asked=N_TRIALS,
        search_number=search_number,
    )  # fmt: skip


def _write_records(
    folder: Path, sizes: Sequence[int], horizon: int, trials: list[TrialRecord], *,
    phase: int | None, n_asked: int, search_number: int = 1,
) -> None:  # fmt: skip
    folder.mkdir(parents=True)
    split = {
        "rows": 600, "positives": 200, "base_rate": 0.35, "effective_size": 600 / horizon,
        "first_day": "2000-01-03", "last_day": "2002-06-01",
    }  # fmt: skip
    label = "-".join(map(str, sizes))
    write_cell(
        folder,
        {
            "search": "abcd1234", "cell": folder.name, "study": "demo", "budget": label,
            "horizon": horizon, "source": "sp500", "data_sha256": "0123456789abcdef",
            "trials": n_asked, "estimate": {"search_seconds_expected": 300.0}, "phase": phase,
            "search_number": search_number,
            "spec": {"budgets": [{"label": str(size), "target": size} for size in sizes]},
            "splits": {part: split for part in ("train", "validation", "test")},
            "power": {"log_loss_test": FORETOLD * DETECTABLE, "share": 0.4},
        },
    )  # fmt: skip
    identity = CellIdentity(
        name=folder.name, study="demo", budget=label, phase=phase, metric="log_loss",
        horizon=horizon, task="threshold_1pct",
        data_sha256="0123456789abcdef", versions={"torch": "2.13.0"},
    )  # fmt: skip
    CellStore(folder, identity).write_trials(trials)


def _write_final(
    results: Path, name: str, size: int, horizon: int, variance: float, n_days: int,
    edges: list[str], *, search_number: int = 1,
) -> None:  # fmt: skip
    p, y = oracle_days(2 * n_days)
    days = np.datetime64("2002-01-01") + np.arange(2 * n_days)
    models = {
        FAMILY: answers(p, variance, N_SEEDS, size + horizon + 100 * (search_number - 1)),
        "logistic": answers(p, 0.3, 1, 5),
        "constant": np.full((1, 2 * n_days), y.mean()),
    }
    tables = [
        pd.DataFrame(
            {
                "model": model,
                "seed": pd.array([seed if model == FAMILY else None] * len(p), dtype="Int64"),
                "part": np.repeat(["validation", "test"], n_days),
                "date": days, "p": each, "y": y,
            }
        )
        for model, own in models.items()
        for seed, each in enumerate(own)
    ]  # fmt: skip
    folder = results / FINAL_FOLDER / name
    write_predictions(folder / PREDICTIONS_FILE, pd.concat(tables, ignore_index=True))
    final = final_record(name, size, horizon, edges=edges, search_number=search_number)
    write_final(folder, final)


def write_share_runs(
    results: Path, size: int, share: float, variance: float | None, *, n_days: int,
    choice: str = "recent", **changes: Any,
) -> ShareRecord:  # fmt: skip
    """Write the runs of a winner on a share of the days, one day ahead, with a planted noise.

    Without a noise every run has collapsed.
    """
    name = f"demo_{size}_h1_threshold_1pct"
    folder = results / FINAL_FOLDER / name
    runs = final_record(name, size, 1).runs
    if variance is None:
        runs = [dataclasses.replace(run, reason="collapsed", is_rankable=False) for run in runs]
    record = ShareRecord(
        cell=name, share=share, choice=choice, seed=42, winner=1, n_train=[round(600 * share)],
        runs=runs, commit="0123456789ab",
    )  # fmt: skip
    record = dataclasses.replace(record, **changes)
    if variance is not None:
        p, y = oracle_days(2 * n_days)
        days = np.datetime64("2002-01-01") + np.arange(2 * n_days)
        tables = [
            pd.DataFrame(
                {
                    "model": FAMILY, "seed": pd.array([seed] * len(p), dtype="Int64"),
                    "part": np.repeat(["validation", "test"], n_days), "date": days, "p": each,
                    "y": y,
                }
            )
            for seed, each in enumerate(answers(p, variance, N_SEEDS, size + round(1000 * share)))
        ]  # fmt: skip
        path = share_folder(folder, record.name) / PREDICTIONS_FILE
        write_predictions(path, pd.concat(tables, ignore_index=True))
    write_share(folder, record)
    return record


def final_record(name: str, size: int, horizon: int, **changes: Any) -> FinalRecord:
    found = FinalRecord(
        cell=name, study="demo", budget=str(size), budget_parameters=size, horizon=horizon,
        task="threshold_1pct", source="sp500", data_sha256="0123456789abcdef",
        feature_hash="f", commit="0123456789ab", versions={"torch": "2.13.0"}, winner=1,
        params=PARAMS, param_count=size, search_value=0.50,
        selection=[
            SelectionRecord(
                trial=1, search_value=0.50, values=[0.51, 0.52], n_asked=2, mean_value=0.515,
                architecture="d64 L2",
            )
        ],
        runs=[
            RunRecord(
                seed=seed, trial_id=f"r{seed}", reason="completed", value=0.51 + 0.002 * seed,
                is_rankable=True, best_epoch=3, epochs_trained=8, seconds=10.0,
            )
            for seed in range(N_SEEDS)
        ],
        splits={"test": {"effective_size": 600 / horizon}},
        search={"asked": N_TRIALS, "ended": N_TRIALS, "reasons": {}, "is_complete": True},
        edges=[], differences=[], test_opened="2026-01-01T00:00:00Z",
    )  # fmt: skip
    return dataclasses.replace(found, **changes)
