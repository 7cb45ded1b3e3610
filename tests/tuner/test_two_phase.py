"""A search across budgets and its second phase, through the command and with real Ray."""

import json
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import study.tune
from study.cluster.runtime import cluster
from study.results.journal import Journal
from study.results.scores import BestEpoch
from study.results.store import read_trials
from study.search.forced import first_configurations
from study.search.ledger import Ledger
from study.search.space import build_space
from study.spec.overrides import Overrides
from study.spec.spec_file import load_study
from study.tuner.trainable import CellTrainable
from tests.tuner.command import ESTIMATE, FEW_TOKENS, POWER, SPACES
from tests.tuner.in_process import MARKS, ray_environment
from tests.tuner.stand_in_cell import StandIn

Run = Callable[..., str]

pytestmark = MARKS

FORCED = [
    # The list of the original study, in the order of FIELDS.
    ("750k", 192, 2, 4, 0.5, 1e-4, 1e-3),
    ("750k", 128, 4, 4, 0.5, 1e-4, 1e-3),
    ("2M", 320, 2, 4, 0.5, 1e-4, 1e-3),
    ("2M", 192, 5, 4, 0.5, 1e-4, 1e-3),
    ("20M", 768, 3, 8, 0.5, 1e-4, 1e-3),
    ("20M", 384, 12, 8, 0.5, 1e-4, 1e-3),
    ("200M", 1536, 8, 16, 0.5, 1e-4, 1e-3),
    ("200M", 768, 28, 16, 0.5, 1e-4, 1e-3),
    ("2M", 320, 2, 4, 0.1, 1e-4, 1e-3),
    ("2M", 320, 2, 4, 0.3, 1e-4, 1e-3),
    ("2M", 320, 2, 4, 0.7, 1e-4, 1e-3),
    ("200M", 1536, 8, 16, 0.1, 1e-4, 1e-3),
    ("2M", 320, 2, 4, 0.5, 1e-5, 1e-3),
    ("2M", 320, 2, 4, 0.5, 1e-3, 1e-3),
    ("20M", 768, 3, 8, 0.5, 1e-5, 1e-3),
    ("2M", 320, 2, 4, 0.5, 1e-4, 0.0),
    ("2M", 320, 2, 4, 0.5, 1e-4, 1e-2),
    ("200M", 1536, 8, 16, 0.5, 1e-4, 0.0),
]
FIELDS = (
    "budget", "d_model", "n_layers", "n_heads", "dropout", "learning_rate", "weight_decay",
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def one_ray() -> Iterator[None]:
    """Run all commands of these tests on one Ray, whose start takes seconds."""
    with ray_environment(), cluster(None, use_accelerators=True):
        yield


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return the search command as a function in a folder, which returns what it prints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def search(*flags: str, trainable: type[CellTrainable] = CellTrainable) -> str:
        code = study.tune.main([*flags], trainable=trainable)
        shown = capsys.readouterr()
        assert code == 0, shown.out + shown.err
        return shown.out

    return search


@pytest.mark.parametrize(
    "budgets",
    [
        ("2M", "20M"),
        # Large trials take a small machine alone, each with a new worker: five minutes.
        pytest.param(("750k", "2M", "20M", "200M"), marks=pytest.mark.bench),
    ],
    ids="-".join,
)
def test_the_listed_come_first_and_a_search_that_has_converged_ends(
    tmp_path: Path, run: Run, budgets: tuple[str, ...]
) -> None:
    name = f"two-phase-1_{'-'.join(budgets)}_h1_threshold_1pct"
    plan = {"cells": [{"cell": name, "estimate": ESTIMATE, "power": POWER}]}
    (tmp_path / "estimate.json").write_text(json.dumps(plan))
    listed = [row for row in FORCED if row[0] in budgets]
    # All listed trials but those of the lowest rate complete, and one sampled trial.
    patience = sum(row[5] > 1e-5 for row in listed) + 1
    flags = (
        "--search", str(SPACES / "two_phase.yaml"), "--estimate", "estimate.json",
        "--budgets", *budgets, "--max-epochs", "1", "--trials", "30", "--metric", "auc",
        "--early-stop-patience", str(patience), "--early-stop-threshold", "1.0",
    )  # fmt: skip

    dry = json.loads(run(*flags, "--dry-run", "--json"))
    assert not (tmp_path / "ray_results").exists()
    planned = [
        {**slot["architecture"], **slot["training"], "budget": slot["budget"]}
        for slot in dry["forced"]
    ]
    assert [tuple(slot[field] for field in FIELDS) for slot in planned] == listed

    output = run(*flags, trainable=StandIn)
    folder = tmp_path / "ray_results" / name
    records = read_trials(folder)
    first, later = records[: len(listed)], records[len(listed) :]
    assert [tuple(r.params[field] for field in FIELDS) for r in first] == listed
    assert [(r.name, r.group) for r in first] == [(s["name"], s["group"]) for s in dry["forced"]]
    assert {r.phase for r in records} == {1}
    # A trial that ran beside the last one that was needed has ended too.
    assert f"converged after {len(records)} of 30 trials" in output
    assert patience <= sum(r.state == "COMPLETE" for r in records)
    assert len(listed) < len(records) < 30
    assert {r.source for r in later} == {"sampled"}
    assert {r.budget for r in records} <= set(budgets)
    bests = {r.number: r.best for r in records if isinstance(r.best, BestEpoch)}
    aucs = {number: best.auc for number, best in bests.items() if best.auc is not None}
    objectives = {r.number: r.objective for r in records if r.objective is not None}
    assert objectives == pytest.approx({number: 1 - auc for number, auc in aucs.items()})

    best = json.loads((folder / "best_params.json").read_text())
    winner = next(r for r in records if r.number == best["best_trial_number"])
    assert (best["phase"], best["group"], best["name"]) == (1, winner.group, winner.name)
    assert best["best_value"] == max(aucs[r.number] for r in records if r.is_rankable)

    # The sampler that chose the later trials had the listed ones in its history.
    overrides = Overrides(
        search={"trials": 30, "metric": "auc", "early_stop_patience": patience,
                "early_stop_threshold": 1.0},
        max_epochs=1,
    )  # fmt: skip
    cell = load_study(SPACES / "two_phase.yaml").cell_of_all(budgets, None, overrides)
    own = build_space(cell, n_features=25)
    ledger = Ledger(
        Journal.open(folder, witness=None), space=own, forced=first_configurations(own, cell),
        search=cell.search, granted_bytes={},
    )  # fmt: skip
    usable = [r for r in first if r.is_rankable]
    known = ledger.history()[: len(usable)]
    assert len(usable) >= patience - 1
    assert [value for _, _, value, _ in known] == [r.objective for r in usable]
    assert [params["budget"] for _, params, _, _ in known] == [r.budget for r in usable]
    assert ledger.converged is not None


def write_small(here: Path) -> None:
    """Write a search across three budgets whose trials take a second."""
    raw: dict[str, Any] = yaml.safe_load((SPACES / "small.yaml").read_text())
    two_phase = yaml.safe_load((SPACES / "two_phase.yaml").read_text())
    raw["study"] = "tiny"
    raw["train"]["epochs"] = 2
    raw["model"]["patch_stride"] = FEW_TOKENS
    raw["model"]["n_layers"] = {"choice": [1, 2, 3]}
    raw["search"] |= {"trials": 10, "across_budgets": True, "forced": "none", "startup_trials": 10,
                      "beyond_edges": False}  # fmt: skip
    raw["supplementary"] = two_phase["supplementary"] | {"trials": 2}
    (here / "tiny.yaml").write_text(yaml.safe_dump(raw))
    names = ["tiny-1_20k-60k-200k", *(f"tiny-2_{budget}" for budget in raw["budgets"])]
    cells = [
        {"cell": f"{name}_h1_threshold_1pct", "estimate": ESTIMATE, "power": POWER}
        for name in names
    ]
    (here / "estimate.json").write_text(json.dumps({"cells": cells}))


def test_the_second_phase_looks_at_the_two_best_budgets_only(tmp_path: Path, run: Run) -> None:
    write_small(tmp_path)
    flags = ("--search", "tiny.yaml", "--estimate", "estimate.json", "--concurrency", "1")
    run(*flags)
    results = tmp_path / "ray_results"
    scores: dict[str, list[float]] = {}
    rows = json.loads(
        (results / "tiny-1_20k-60k-200k_h1_threshold_1pct/all_trials.json").read_text()
    )
    for row in rows:
        if row["reason"] in ("completed", "early_stopping", "asha") and row["value"] is not None:
            scores.setdefault(row["params"]["budget"], []).append(row["value"])
    means = {budget: statistics.fmean(sorted(own)[:5]) for budget, own in scores.items()}
    assert len(means) == 3
    chosen = sorted(means, key=lambda budget: means[budget])[:2]

    output = run(*flags, "--supplementary")
    for budget in chosen:
        assert (
            f"mean log-loss of the best {min(5, len(scores[budget]))}: {means[budget]:.4f}"
            in output
        )
    cells = sorted(path.parent.name for path in results.glob("tiny-2_*/all_trials.json"))
    assert cells == sorted(f"tiny-2_{budget}_h1_threshold_1pct" for budget in chosen)
    for budget in chosen:
        best = min((r for r in rows if r["params"]["budget"] == budget and r["value"] is not None),
                   key=lambda r: r["value"])  # fmt: skip
        records = read_trials(results / f"tiny-2_{budget}_h1_threshold_1pct")
        assert len(records) == 2
        assert records[0].name == "phase1_best"
        assert {r.phase for r in records} == {2}
        for record in records:
            for name in ("d_model", "n_layers", "d_ff_ratio", "dropout", "epochs"):
                assert record.params[name] == best["params"][name]
            assert record.params["n_heads"] in (1, 2, 4, 8, 16)
            assert 5e-6 <= record.params["learning_rate"] <= 2e-3
            assert record.params["weight_decay"] in (0.05, 0.1)
            assert record.params["effective_batch"] in (8, 16, 32, 64, 128, 256)
